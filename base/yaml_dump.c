/* JSON trees to YAML (contract in base/yaml.h). */
#include "base/buf.h"
#include "base/yaml.h"
#include "base/yaml_scalar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 2048 /* jansson's own bound */

static int append(void *ctx, unsigned char *data, size_t len)
{
    return kfx_buf_add(ctx, data, len) == 0;
}

/* A literal block is what people want to see for a certificate or a script. Where blanks at the start or at line ends,
 * or several line breaks at the end matter, quotes show them and a block hides them. */
static bool reads_well_as_block(const char *text, size_t len)
{
    if (!memchr(text, '\n', len) || text[0] == ' ' || text[0] == '\t' || text[0] == '\n')
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7F)
            return false;
        bool line_end = i + 1 == len || text[i + 1] == '\n';
        if (line_end && (c == ' ' || c == '\t'))
            return false;
    }
    return len < 2 || text[len - 1] != '\n' || text[len - 2] != '\n';
}

static int emit(yaml_emitter_t *emitter, yaml_event_t *event, int initialized)
{
    return initialized && yaml_emitter_emit(emitter, event) ? 0 : -1;
}

static int emit_scalar(yaml_emitter_t *emitter, const char *text, size_t len, yaml_scalar_style_t style)
{
    yaml_event_t event;
    return emit(emitter, &event,
                yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)len, 1, 1, style));
}

static int emit_string(yaml_emitter_t *emitter, const char *text, size_t len, bool key)
{
    yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
    if (!key && reads_well_as_block(text, len))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (kfx_scalar_needs_quotes(text) || memchr(text, '\n', len))
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    return emit_scalar(emitter, text, len, style);
}

/* The shortest decimal form that reads back as the same number. */
static int emit_real(yaml_emitter_t *emitter, const json_t *value)
{
    for (size_t digits = 15; digits <= 17; digits++) {
        KFX_FREE char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        KFX_JSON json_t *back = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        if (back && (digits == 17 || json_equal(back, value)))
            return emit_scalar(emitter, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
    }
    return -1;
}

static int emit_value(yaml_emitter_t *emitter, const json_t *value, int depth);

static int emit_array(yaml_emitter_t *emitter, const json_t *array, int depth)
{
    yaml_event_t event;
    size_t i;
    json_t *item;
    if (emit(emitter, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE)) <
        0)
        return -1;
    json_array_foreach (array, i, item) {
        if (emit_value(emitter, item, depth + 1) < 0)
            return -1;
    }
    return emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

static int emit_object(yaml_emitter_t *emitter, const json_t *object, int depth)
{
    yaml_event_t event;
    const char *key;
    json_t *item;
    if (emit(emitter, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)) < 0)
        return -1;
    json_object_foreach ((json_t *)(uintptr_t)object, key, item) {
        if (emit_string(emitter, key, strlen(key), true) < 0 || emit_value(emitter, item, depth + 1) < 0)
            return -1;
    }
    return emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
}

static int emit_value(yaml_emitter_t *emitter, const json_t *value, int depth)
{
    char number[32];
    if (depth > DEPTH_MAX)
        return -1;
    switch (json_typeof(value)) {
    case JSON_OBJECT: return emit_object(emitter, value, depth);
    case JSON_ARRAY: return emit_array(emitter, value, depth);
    case JSON_STRING: return emit_string(emitter, json_string_value(value), json_string_length(value), false);
    case JSON_REAL: return emit_real(emitter, value);
    case JSON_TRUE: return emit_scalar(emitter, "true", 4, YAML_PLAIN_SCALAR_STYLE);
    case JSON_FALSE: return emit_scalar(emitter, "false", 5, YAML_PLAIN_SCALAR_STYLE);
    case JSON_NULL: return emit_scalar(emitter, "null", 4, YAML_PLAIN_SCALAR_STYLE);
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%" PRId64, (int64_t)json_integer_value(value));
        return emit_scalar(emitter, number, strlen(number), YAML_PLAIN_SCALAR_STYLE);
    }
    return -1;
}

static int emit_document(yaml_emitter_t *emitter, const json_t *value)
{
    yaml_event_t event;
    if (emit(emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) < 0 ||
        emit(emitter, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) < 0 ||
        emit_value(emitter, value, 1) < 0 || emit(emitter, &event, yaml_document_end_event_initialize(&event, 1)) < 0 ||
        emit(emitter, &event, yaml_stream_end_event_initialize(&event)) < 0)
        return -1;
    return 0;
}

char *kfx_yaml_dump(const json_t *value, kfx_error_t *err)
{
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
    yaml_emitter_t emitter;
    if (!value) {
        kfx_error_set(err, KFX_E_INVALID, "nothing to write as YAML");
        return NULL;
    }
    if (!yaml_emitter_initialize(&emitter)) {
        kfx_error_set(err, KFX_E_INTERNAL, "out of memory");
        return NULL;
    }
    yaml_emitter_set_output(&emitter, append, &out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_indent(&emitter, 2);
    yaml_emitter_set_width(&emitter, -1);
    int rc = emit_document(&emitter, value);
    if (rc < 0)
        kfx_error_set(err, KFX_E_INTERNAL, "write YAML: %s",
                      emitter.problem ? emitter.problem : "too large or too deep");
    yaml_emitter_delete(&emitter);
    return rc < 0 ? NULL : kfx_buf_steal(&out, NULL);
}
