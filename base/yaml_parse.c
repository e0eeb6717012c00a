/* YAML to JSON trees (contract in base/yaml.h). */
#include "base/mem.h"
#include "base/yaml.h"
#include "base/yaml_scalar.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 100
#define SIZE_MAX_BYTES ((size_t)8 << 20)
#define NODES_MAX 200000
#define ANCHORS_MAX 1000

typedef struct {
    char *name;
    json_t *value; /* owned */
    size_t nodes, depth;
} anchor_t;

typedef struct {
    yaml_parser_t parser;
    size_t nodes; /* made so far, copies by aliases counted too */
    anchor_t *anchors;
    size_t anchor_count;
    kfx_error_t *err;
} reader_t;

static int fail_at(reader_t *self, const yaml_mark_t *mark, const char *fmt, ...) KFX_PRINTF(3, 4);

static int fail_at(reader_t *self, const yaml_mark_t *mark, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    return kfx_error_set(self->err, KFX_E_INVALID, "line %zu: %s", mark->line + 1, line);
}

/* libyaml's own texts are constant and never quote the input, which may be a secret. */
static int fail_parser(reader_t *self)
{
    yaml_parser_t *p = &self->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return kfx_error_set(self->err, KFX_E_INTERNAL, "out of memory");
    if (p->error == YAML_READER_ERROR)
        return kfx_error_set(self->err, KFX_E_INVALID, "byte %zu: %s", p->problem_offset, p->problem);
    return fail_at(self, &p->problem_mark, "%s%s%s", p->context ? p->context : "", p->context ? ": " : "",
                   p->problem ? p->problem : "malformed");
}

static int next_event(reader_t *self, yaml_event_t *event)
{
    return yaml_parser_parse(&self->parser, event) ? 0 : fail_parser(self);
}

static json_t *read_node(reader_t *self, yaml_event_t *event, size_t depth);

static bool has_tag(const yaml_char_t *tag, const char *name)
{
    return tag && strcmp((const char *)tag, name) == 0;
}

static json_t *string_value(reader_t *self, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (memchr(text, 0, len)) {
        fail_at(self, &event->start_mark, "a string must not hold a NUL");
        return NULL;
    }
    json_t *value = json_stringn(text, len);
    if (!value)
        fail_at(self, &event->start_mark, "a string is no UTF-8");
    return value;
}

/* An explicit tag: the text must be of that type. */
static json_t *tagged_value(reader_t *self, const yaml_event_t *event)
{
    static const struct {
        const char *tag;
        kfx_scalar_t type;
    } tags[] = {
        {YAML_NULL_TAG, KFX_SCALAR_NULL},
        {YAML_BOOL_TAG, KFX_SCALAR_BOOL},
        {YAML_INT_TAG, KFX_SCALAR_INT},
        {YAML_FLOAT_TAG, KFX_SCALAR_FLOAT},
    };
    const yaml_char_t *tag = event->data.scalar.tag;
    const char *text = (const char *)event->data.scalar.value;
    if (has_tag(tag, YAML_STR_TAG))
        return string_value(self, event);
    kfx_scalar_t type = memchr(text, 0, event->data.scalar.length) ? KFX_SCALAR_STRING : kfx_scalar_type(text);
    for (size_t i = 0; i < KFX_COUNT(tags); i++) {
        if (!has_tag(tag, tags[i].tag))
            continue;
        kfx_error_t problem = KFX_ERROR_INIT;
        bool fits = type == tags[i].type || (type == KFX_SCALAR_INT && tags[i].type == KFX_SCALAR_FLOAT);
        json_t *value = fits ? kfx_scalar_value(text, &problem) : NULL;
        if (!value)
            fail_at(self, &event->start_mark, "%s", fits ? problem.msg : "the value is not what its tag says");
        return value;
    }
    fail_at(self, &event->start_mark, "the tag %.80s is not supported", (const char *)tag);
    return NULL;
}

static json_t *read_scalar(reader_t *self, const yaml_event_t *event)
{
    if (event->data.scalar.tag && !event->data.scalar.plain_implicit && !event->data.scalar.quoted_implicit)
        return tagged_value(self, event);
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return string_value(self, event);
    const char *text = (const char *)event->data.scalar.value;
    if (kfx_scalar_type(text) == KFX_SCALAR_STRING)
        return string_value(self, event);
    kfx_error_t problem = KFX_ERROR_INIT;
    json_t *value = kfx_scalar_value(text, &problem);
    if (!value)
        fail_at(self, &event->start_mark, "%s", problem.msg);
    return value;
}

static size_t depth_of(const json_t *value)
{
    size_t deepest = 0, i;
    const char *key;
    json_t *child;
    if (json_is_array(value)) {
        json_array_foreach (value, i, child) {
            size_t depth = depth_of(child);
            deepest = depth > deepest ? depth : deepest;
        }
    } else if (json_is_object(value)) {
        json_object_foreach ((json_t *)(uintptr_t)value, key, child) {
            size_t depth = depth_of(child);
            deepest = depth > deepest ? depth : deepest;
        }
    }
    return deepest + 1;
}

static int count_nodes(reader_t *self, const yaml_event_t *event, size_t n)
{
    self->nodes += n;
    if (self->nodes <= NODES_MAX)
        return 0;
    return fail_at(self, &event->start_mark, "more than %d nodes (aliases counted as often as used)", NODES_MAX);
}

static json_t *read_alias(reader_t *self, const yaml_event_t *event, size_t depth)
{
    const char *name = (const char *)event->data.alias.anchor;
    for (size_t i = self->anchor_count; i-- > 0;) {
        const anchor_t *anchor = &self->anchors[i];
        if (strcmp(anchor->name, name) != 0)
            continue;
        if (count_nodes(self, event, anchor->nodes) < 0)
            return NULL;
        if (depth + anchor->depth - 1 > DEPTH_MAX) {
            fail_at(self, &event->start_mark, "nested deeper than %d levels", DEPTH_MAX);
            return NULL;
        }
        return json_deep_copy(anchor->value); /* whoever changes one place must not change the others */
    }
    fail_at(self, &event->start_mark, "no anchor before this alias has its name");
    return NULL;
}

/* Registered when complete, so an alias inside its own anchor finds nothing. A later anchor of the same name wins. */
static int keep_anchor(reader_t *self, const yaml_event_t *event, const char *name, json_t *value, size_t nodes)
{
    if (self->anchor_count == ANCHORS_MAX)
        return fail_at(self, &event->start_mark, "more than %d anchors", ANCHORS_MAX);
    self->anchors = kfx_xrealloc(self->anchors, (self->anchor_count + 1) * sizeof *self->anchors);
    self->anchors[self->anchor_count++] = (anchor_t){kfx_xstrdup(name), json_incref(value), nodes, depth_of(value)};
    return 0;
}

static void forget_anchors(reader_t *self)
{
    for (size_t i = 0; i < self->anchor_count; i++) {
        free(self->anchors[i].name);
        json_decref(self->anchors[i].value);
    }
    free(self->anchors);
    self->anchors = NULL;
    self->anchor_count = 0;
}

static json_t *read_sequence(reader_t *self, size_t depth)
{
    KFX_JSON json_t *array = json_array();
    for (;;) {
        yaml_event_t event;
        if (next_event(self, &event) < 0)
            return NULL;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return KFX_STEAL(array);
        }
        json_t *item = read_node(self, &event, depth + 1);
        yaml_event_delete(&event);
        if (!item || json_array_append_new(array, item) < 0)
            return NULL;
    }
}

/* Keys are strings as they are written; "<<" is told from a quoted one. Caller frees. */
static char *read_key(reader_t *self, const yaml_event_t *event, bool *merge)
{
    const char *text = event->type == YAML_SCALAR_EVENT ? (const char *)event->data.scalar.value : NULL;
    bool plain = text && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!text || (plain && kfx_scalar_type(text) == KFX_SCALAR_NULL)) {
        fail_at(self, &event->start_mark, "a key must be a string");
        return NULL;
    }
    if (count_nodes(self, event, 1) < 0)
        return NULL;
    if (event->data.scalar.anchor) {
        fail_at(self, &event->start_mark, "a key must not have an anchor");
        return NULL;
    }
    KFX_JSON json_t *checked = string_value(self, event);
    if (!checked)
        return NULL;
    *merge = plain && strcmp(text, "<<") == 0;
    return kfx_xstrdup(text);
}

/* Keys that the mapping has itself, or an earlier one gave, win (YAML 1.1 merge key). */
static int merge_into(reader_t *self, const yaml_event_t *event, json_t *object, const json_t *from)
{
    size_t i;
    json_t *item;
    if (json_is_object(from))
        return json_object_update_missing(object, (json_t *)(uintptr_t)from);
    if (!json_is_array(from))
        return fail_at(self, &event->start_mark, "<< needs a mapping or a sequence of mappings");
    json_array_foreach (from, i, item) {
        if (!json_is_object(item))
            return fail_at(self, &event->start_mark, "<< needs a mapping or a sequence of mappings");
        if (json_object_update_missing(object, item) < 0)
            return -1;
    }
    return 0;
}

/* One "key: value" into object, or a merge's value into *merged. */
static int read_pair(reader_t *self, const yaml_event_t *key_event, json_t *object, json_t **merged, size_t depth)
{
    bool merge = false;
    KFX_FREE char *key = read_key(self, key_event, &merge);
    if (!key)
        return -1;
    if (merge ? *merged != NULL : json_object_get(object, key) != NULL)
        return fail_at(self, &key_event->start_mark, "the key %.80s stands there twice", key);
    yaml_event_t event;
    if (next_event(self, &event) < 0)
        return -1;
    json_t *value = read_node(self, &event, depth + 1);
    yaml_event_delete(&event);
    if (!value)
        return -1;
    if (merge) {
        *merged = value;
        return 0;
    }
    return json_object_set_new(object, key, value);
}

static json_t *read_mapping(reader_t *self, const yaml_event_t *start, size_t depth)
{
    KFX_JSON json_t *object = json_object();
    KFX_JSON json_t *merged = NULL;
    for (;;) {
        yaml_event_t event;
        if (next_event(self, &event) < 0)
            return NULL;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        int rc = end ? 0 : read_pair(self, &event, object, &merged, depth);
        yaml_event_delete(&event);
        if (rc < 0)
            return NULL;
        if (end)
            return merged && merge_into(self, start, object, merged) < 0 ? NULL : KFX_STEAL(object);
    }
}

static json_t *read_node(reader_t *self, yaml_event_t *event, size_t depth)
{
    if (depth > DEPTH_MAX) {
        fail_at(self, &event->start_mark, "nested deeper than %d levels", DEPTH_MAX);
        return NULL;
    }
    if (event->type == YAML_ALIAS_EVENT)
        return read_alias(self, event, depth);
    size_t before = self->nodes;
    if (count_nodes(self, event, 1) < 0)
        return NULL;

    const yaml_char_t *anchor = NULL, *tag = NULL;
    json_t *value = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        value = read_scalar(self, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        if (!tag || has_tag(tag, YAML_SEQ_TAG))
            value = read_sequence(self, depth);
        else
            fail_at(self, &event->start_mark, "the tag %.80s is not supported", (const char *)tag);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        if (!tag || has_tag(tag, YAML_MAP_TAG))
            value = read_mapping(self, event, depth);
        else
            fail_at(self, &event->start_mark, "the tag %.80s is not supported", (const char *)tag);
        break;
    default: fail_at(self, &event->start_mark, "malformed"); break;
    }
    if (value && anchor && keep_anchor(self, event, (const char *)anchor, value, self->nodes - before) < 0) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* The documents of the stream; an empty one is a plain null with no text. */
static int read_stream(reader_t *self, json_t *documents)
{
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (next_event(self, &event) < 0)
            return -1;
        int rc = 0;
        if (event.type == YAML_STREAM_END_EVENT) {
            end = true;
        } else if (event.type == YAML_DOCUMENT_START_EVENT) {
            forget_anchors(self);
        } else if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_END_EVENT) {
            bool empty = event.type == YAML_SCALAR_EVENT && event.data.scalar.length == 0 &&
                         event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !event.data.scalar.tag;
            json_t *value = empty ? NULL : read_node(self, &event, 1);
            rc = empty ? 0 : value ? json_array_append_new(documents, value) : -1;
        }
        yaml_event_delete(&event);
        if (rc < 0)
            return -1;
    }
    return 0;
}

json_t *kfx_yaml_parse_all(const char *text, size_t len, kfx_error_t *err)
{
    kfx_error_t unused = KFX_ERROR_INIT;
    reader_t self = {.err = err ? err : &unused};
    if (len > SIZE_MAX_BYTES) {
        kfx_error_set(err, KFX_E_INVALID, "larger than %zu bytes", SIZE_MAX_BYTES);
        return NULL;
    }
    if (!yaml_parser_initialize(&self.parser)) {
        kfx_error_set(err, KFX_E_INTERNAL, "out of memory");
        return NULL;
    }
    yaml_parser_set_input_string(&self.parser, (const unsigned char *)text, len);
    KFX_JSON json_t *documents = json_array();
    int rc = read_stream(&self, documents);
    forget_anchors(&self);
    yaml_parser_delete(&self.parser);
    return rc < 0 ? NULL : KFX_STEAL(documents);
}

json_t *kfx_yaml_parse(const char *text, size_t len, kfx_error_t *err)
{
    KFX_JSON json_t *documents = kfx_yaml_parse_all(text, len, err);
    if (!documents)
        return NULL;
    if (json_array_size(documents) > 1) {
        kfx_error_set(err, KFX_E_INVALID, "one document is wanted, there are %zu", json_array_size(documents));
        return NULL;
    }
    json_t *only = json_array_get(documents, 0);
    return only ? json_incref(only) : json_object();
}
