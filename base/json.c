#include "base/json.h"

#include "base/mem.h"

#include <stdarg.h>
#include <string.h>

/* Elements by decimal index; anything else is no index. */
static json_t *element(const json_t *array, const char *key)
{
    size_t index = 0;
    if (!*key)
        return NULL;
    for (const char *p = key; *p; p++) {
        if (*p < '0' || *p > '9' || index > json_array_size(array))
            return NULL;
        index = index * 10 + (size_t)(*p - '0');
    }
    return json_array_get(array, index);
}

static json_t *walk(const json_t *root, va_list path)
{
    const json_t *at = root;
    for (const char *key; at && (key = va_arg(path, const char *));)
        at = json_is_array(at) ? element(at, key) : json_object_get(at, key);
    return (json_t *)(uintptr_t)at; /* jansson's getters take the const away as well */
}

#define WALK(root, last)                                                                                               \
    va_list path;                                                                                                      \
    va_start(path, last);                                                                                              \
    json_t *found = walk(root, path);                                                                                  \
    va_end(path)

json_t *kfx_json_get_(const json_t *root, ...)
{
    WALK(root, root);
    return found;
}

const char *kfx_json_str_(const json_t *root, ...)
{
    WALK(root, root);
    return json_string_value(found);
}

int64_t kfx_json_int_(const json_t *root, int64_t fallback, ...)
{
    WALK(root, fallback);
    return json_is_integer(found) ? (int64_t)json_integer_value(found) : fallback;
}

bool kfx_json_bool_(const json_t *root, int fallback, ...)
{
    WALK(root, fallback);
    return json_is_boolean(found) ? json_is_true(found) : fallback != 0;
}

int kfx_json_put_(json_t *root, json_t *value, ...)
{
    int rc = -1;
    va_list path;
    va_start(path, value);
    json_t *at = root;
    const char *key = va_arg(path, const char *);
    while (at && key && json_is_object(at)) {
        const char *next = va_arg(path, const char *);
        if (!next) {
            rc = json_object_set_new(at, key, json_incref(value));
            break;
        }
        json_t *child = json_object_get(at, key);
        if (!child) {
            child = json_object();
            if (json_object_set_new(at, key, child) < 0)
                break;
        }
        at = child;
        key = next;
    }
    va_end(path);
    json_decref(value);
    return rc;
}

json_t *kfx_json_parse(const char *text, size_t len, kfx_error_t *err)
{
    json_error_t problem;
    json_t *value = json_loadb(text, len, JSON_DECODE_ANY, &problem);
    if (!value) {
        /* jansson quotes what stands there, which may be a secret. */
        char *quote = strstr(problem.text, " near '");
        if (quote)
            *quote = 0;
        kfx_error_set(err, KFX_E_INVALID, "line %d, column %d: %s", problem.line, problem.column, problem.text);
    }
    return value;
}

char *kfx_json_canonical(const json_t *value)
{
    return json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}

char *kfx_json_text(const json_t *value)
{
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}
