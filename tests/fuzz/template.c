/* tests/fuzz/template.c: templates that users wrote, with values that others did. A value never changes the tree.
 * Input: 0 or 1 (lenient), the value up to the line's end, the template. */
#include "base/template.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    bool lenient = kfx_take(&in) & 1;
    KFX_FREE char *text = kfx_xcalloc(1, in.left + 1);
    memcpy(text, in.at, in.left);
    KFX_FREE char *value = strndup(text, strcspn(text, "\n"));
    size_t skip = strlen(value) + (text[strlen(value)] == '\n');
    memmove(text, text + skip, in.left + 1 - skip);
    KFX_JSON json_t *vars = json_pack("{s:s, s:s}", "A", value, "B", "b,c"); /* NULL where it is no UTF-8 */
    KFX_JSON json_t *tree = json_pack("{s:s, s:[s], s:s}", "one", text, "list", text, "two", "x");
    kfx_error_t err = KFX_ERROR_INIT;
    if (!vars || !tree)
        return 0;
    int parses = kfx_template_check(tree, &err);
    KFX_JSON json_t *out = kfx_template_render(tree, vars, lenient, &err);
    assert(!out || parses == 0);
    if (!out)
        return 0;
    assert(json_object_size(out) == json_object_size(tree));
    json_t *one = json_object_get(out, "one");
    assert(json_is_string(one) || json_is_integer(one) || json_is_boolean(one));
    assert(json_equal(one, json_array_get(json_object_get(out, "list"), 0)));
    assert(strcmp(json_string_value(json_object_get(out, "two")), "x") == 0);
    return 0;
}
