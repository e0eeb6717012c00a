/* tests/fuzz/yaml.c: YAML that users wrote. What was read can be written and read again as the same. */
#include "base/yaml.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *documents = kfx_yaml_parse_all((const char *)data, size, &err);
    size_t i;
    json_t *one;
    json_array_foreach (documents, i, one) {
        KFX_FREE char *text = kfx_yaml_dump(one, &err);
        if (!text)
            continue;
        json_t *again = kfx_yaml_parse(text, strlen(text), &err);
        assert(again && json_equal(one, again));
        json_decref(again);
    }
    json_decref(documents);
    return 0;
}
