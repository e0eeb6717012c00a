/* base/manifest.c: substitution of variables in a parsed manifest. */
#include "base/manifest.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/yaml.h"

#include <stdbool.h>
#include <string.h>

#define TEXT_MAX 65536 /* bytes of one scalar after substitution */
#define NAME_MAX_LEN 63

static json_t *substitute(const json_t *tree, const json_t *vars, kfx_error_t *err);

/* Where text is exactly "${name}" (or "${name...}" with splice): copies the name and returns true. */
static bool whole_reference(const char *text, bool splice, char name[NAME_MAX_LEN + 1])
{
    const char *tail = splice ? "...}" : "}";
    size_t len = strlen(text), cut = strlen(tail);
    if (len < 2 + 1 + cut || strncmp(text, "${", 2) != 0 || strcmp(text + len - cut, tail) != 0)
        return false;
    len -= 2 + cut;
    if (len > NAME_MAX_LEN || memchr(text + 2, '}', len) || memchr(text + 2, '$', len))
        return false;
    if (!splice && len > 3 && strncmp(text + 2 + len - 3, "...", 3) == 0)
        return false;
    memcpy(name, text + 2, len);
    name[len] = '\0';
    return true;
}

static json_t *variable(const json_t *vars, const char *name, kfx_error_t *err)
{
    json_t *value = json_object_get(vars, name);
    if (!value)
        kfx_error_set(err, KFX_E_INVALID, "the manifest names the variable ${%s}, which has no value", name);
    return value;
}

static int interpolate_one(kfx_buf_t *out, const char *name, const json_t *vars, kfx_error_t *err)
{
    const json_t *value = variable(vars, name, err);
    if (!value)
        return -1;
    if (json_is_string(value))
        return kfx_buf_add(out, json_string_value(value), json_string_length(value));
    if (json_is_integer(value))
        return kfx_buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return kfx_error_set(err, KFX_E_INVALID,
                         "the variable ${%s} stands inside a text but is neither text nor an integer", name);
}

static json_t *interpolate(const char *text, const json_t *vars, kfx_error_t *err)
{
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(TEXT_MAX);
    while (*text) {
        const char *start = strstr(text, "${");
        const char *end = start ? strchr(start, '}') : NULL;
        if (start && !end) {
            kfx_error_set(err, KFX_E_INVALID, "the manifest has a \"${\" without \"}\": %.80s", start);
            return NULL;
        }
        kfx_buf_add(&out, text, start ? (size_t)(start - text) : strlen(text));
        if (!start)
            break;
        char name[NAME_MAX_LEN + 1];
        size_t len = (size_t)(end - start) - 2;
        if (len == 0 || len > NAME_MAX_LEN) {
            kfx_error_set(err, KFX_E_INVALID, "the manifest has a variable without a usable name: %.80s", start);
            return NULL;
        }
        memcpy(name, start + 2, len);
        name[len] = '\0';
        if (interpolate_one(&out, name, vars, err))
            return NULL;
        text = end + 1;
    }
    if (out.failed) {
        kfx_error_set(err, KFX_E_INVALID, "a value of the manifest is longer than %d bytes", TEXT_MAX);
        return NULL;
    }
    return json_stringn(out.data ? out.data : "", out.len);
}

/* Appends to list what item stands for: one value, the items of an array, or nothing. */
static int substitute_item(json_t *list, const json_t *item, const json_t *vars, kfx_error_t *err)
{
    char name[NAME_MAX_LEN + 1];
    if (json_is_string(item) && whole_reference(json_string_value(item), true, name)) {
        const json_t *array = variable(vars, name, err);
        size_t i;
        json_t *value;
        if (!array)
            return -1;
        if (!json_is_array(array))
            return kfx_error_set(err, KFX_E_INVALID, "the variable ${%s...} is no list", name);
        json_array_foreach (array, i, value)
            json_array_append_new(list, json_deep_copy(value));
        return 0;
    }
    json_t *value = substitute(item, vars, err);
    if (!value)
        return -1;
    if (json_is_null(value) && !json_is_null(item)) {
        json_decref(value);
        return 0;
    }
    return json_array_append_new(list, value);
}

static json_t *substitute_object(const json_t *tree, const json_t *vars, kfx_error_t *err)
{
    KFX_JSON json_t *out = json_object();
    const char *key;
    json_t *item;
    json_object_foreach ((json_t *)(uintptr_t)tree, key, item) {
        json_t *value = substitute(item, vars, err);
        if (!value)
            return NULL;
        if (json_is_null(value) && !json_is_null(item))
            json_decref(value);
        else if (json_object_set_new(out, key, value))
            return NULL;
    }
    return KFX_STEAL(out);
}

static json_t *substitute(const json_t *tree, const json_t *vars, kfx_error_t *err)
{
    char name[NAME_MAX_LEN + 1];
    if (json_is_object(tree))
        return substitute_object(tree, vars, err);
    if (json_is_array(tree)) {
        KFX_JSON json_t *out = json_array();
        size_t i;
        json_t *item;
        json_array_foreach (tree, i, item)
            if (substitute_item(out, item, vars, err))
                return NULL;
        return KFX_STEAL(out);
    }
    if (!json_is_string(tree))
        return json_deep_copy(tree);
    if (whole_reference(json_string_value(tree), false, name)) {
        const json_t *value = variable(vars, name, err);
        return value ? json_deep_copy(value) : NULL;
    }
    return interpolate(json_string_value(tree), vars, err);
}

json_t *kfx_manifest_substitute(const json_t *tree, const json_t *vars, kfx_error_t *err)
{
    return substitute(tree, vars, err);
}

json_t *kfx_manifest_render(const kfx_embedded_t *files, const char *name, const json_t *vars, kfx_error_t *err)
{
    for (; files->name; files++) {
        if (strcmp(files->name, name) != 0)
            continue;
        KFX_JSON json_t *tree = kfx_yaml_parse(files->text, strlen(files->text), err);
        json_t *out = tree ? substitute(tree, vars, err) : NULL;
        if (!out)
            kfx_error_wrap(err, "manifest %s.yaml", name);
        return out;
    }
    kfx_error_set(err, KFX_E_INTERNAL, "there is no manifest %s.yaml in this program", name);
    return NULL;
}
