#include "cli/kubetext.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <string.h>
#include <yaml.h>

#define KEYS_MAX 64
#define ITEMS_MAX 4096
#define TEXT_MAX ((size_t)16 << 20)

/* Lines [first, end) of the old text. */
typedef struct {
    size_t first, end;
} span_t;

typedef struct {
    char *name;
    span_t span;
    span_t *item; /* of a list in block style */
    size_t items;
} section_t;

typedef struct {
    char *text; /* a copy with a NUL at its end */
    size_t len;
    size_t *line; /* offsets; one more than there are lines */
    size_t lines;
    section_t key[KEYS_MAX];
    size_t keys;
} layout_t;

static void index_lines(layout_t *self, const char *text, size_t len)
{
    self->text = kfx_xcalloc(1, len + 1);
    memcpy(self->text, text, len);
    self->len = len;
    size_t count = 1;
    for (size_t i = 0; i < len; i++)
        count += text[i] == '\n';
    self->line = kfx_xcalloc(count + 2, sizeof *self->line);
    for (size_t i = 0; i < len; i++)
        if (i == 0 || text[i - 1] == '\n')
            self->line[self->lines++] = i;
    self->line[self->lines] = len;
}

/* The first of the blank and comment lines right above this one: they belong to it. */
static size_t with_comments(const layout_t *self, size_t line, size_t least)
{
    while (line > least) {
        const char *above = self->text + self->line[line - 1];
        above += strspn(above, " \t");
        if (*above != '#' && *above != '\n' && *above != '\r')
            break;
        line--;
    }
    return line;
}

/* ---- finding where things stand ---- */

typedef struct {
    layout_t *layout;
    int depth;    /* of open collections; 1: the top-level mapping */
    bool value;   /* at depth 1: the next node is a value */
    bool in_list; /* inside a block list that is a value at depth 1 */
    bool failed;
} walk_t;

static bool opens(yaml_event_type_t type)
{
    return type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;
}

static bool closes(yaml_event_type_t type)
{
    return type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT;
}

static void meet_key(walk_t *self, const yaml_event_t *event)
{
    layout_t *layout = self->layout;
    if (event->type != YAML_SCALAR_EVENT || layout->keys == KEYS_MAX || event->start_mark.column != 0 ||
        event->start_mark.line >= layout->lines) { /* libyaml counts other line breaks, too */
        self->failed = true;
        return;
    }
    size_t least = layout->keys ? layout->key[layout->keys - 1].span.first + 1 : 0;
    section_t *key = &layout->key[layout->keys++];
    key->name = kfx_xstrdup((const char *)event->data.scalar.value);
    key->span.first = with_comments(layout, event->start_mark.line, least);
}

static void meet_item(walk_t *self, const yaml_event_t *event)
{
    layout_t *layout = self->layout;
    section_t *key = &layout->key[layout->keys - 1];
    size_t least = key->items ? key->item[key->items - 1].first + 1 : key->span.first + 1;
    const char *line =
        layout->text + (event->start_mark.line < layout->lines ? layout->line[event->start_mark.line] : 0);
    line += strspn(line, " ");
    if (*line != '-' || event->start_mark.line >= layout->lines || key->items == ITEMS_MAX ||
        event->start_mark.line < least) {
        self->failed = true; /* the dash stands on a line of its own, or two things on one line */
        return;
    }
    key->item = kfx_xrealloc(key->item, (key->items + 1) * sizeof *key->item);
    key->item[key->items++].first = with_comments(layout, event->start_mark.line, least);
}

static void meet_node(walk_t *self, const yaml_event_t *event)
{
    if (self->depth == 1 && !self->value)
        meet_key(self, event);
    else if (self->depth == 1)
        self->in_list =
            event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.style == YAML_BLOCK_SEQUENCE_STYLE;
    else if (self->depth == 2 && self->in_list)
        meet_item(self, event);
}

static void walk(walk_t *self, const yaml_event_t *event)
{
    bool node = opens(event->type) || event->type == YAML_SCALAR_EVENT || event->type == YAML_ALIAS_EVENT;
    if (self->depth == 0 && opens(event->type) &&
        (event->type != YAML_MAPPING_START_EVENT || event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE))
        self->failed = true;
    if (node && self->depth > 0)
        meet_node(self, event);
    if (opens(event->type))
        self->depth++;
    if (closes(event->type))
        self->depth--;
    if (self->depth == 1 &&
        (closes(event->type) || event->type == YAML_SCALAR_EVENT || event->type == YAML_ALIAS_EVENT))
        self->value = !self->value;
}

static void close_spans(layout_t *self)
{
    for (size_t k = 0; k < self->keys; k++) {
        section_t *key = &self->key[k];
        key->span.end = k + 1 < self->keys ? self->key[k + 1].span.first : self->lines;
        for (size_t i = 0; i < key->items; i++)
            key->item[i].end = i + 1 < key->items ? key->item[i + 1].first : key->span.end;
    }
}

static bool find_layout(layout_t *self, const char *text, size_t len)
{
    index_lines(self, text, len);
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return false;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    walk_t state = {.layout = self};
    bool end = false;
    while (!end && !state.failed) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            state.failed = true;
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        walk(&state, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    close_spans(self);
    return !state.failed && self->keys > 0;
}

static void release_layout(layout_t *self)
{
    for (size_t i = 0; i < self->keys; i++) {
        free(self->key[i].name);
        free(self->key[i].item);
    }
    free(self->line);
    kfx_wipe(self->text, self->len);
    free(self->text);
}

/* ---- putting the new text together ---- */

static void add_span(kfx_buf_t *out, const layout_t *layout, span_t span)
{
    size_t from = layout->line[span.first], to = layout->line[span.end];
    kfx_buf_add(out, layout->text + from, to - from);
    if (to > from && layout->text[to - 1] != '\n')
        kfx_buf_adds(out, "\n");
}

static const section_t *find_key(const layout_t *layout, const char *name)
{
    for (size_t i = 0; i < layout->keys; i++)
        if (strcmp(layout->key[i].name, name) == 0)
            return &layout->key[i];
    return NULL;
}

/* An entry as a list of one, as far to the right as the others stand. */
static void add_item(kfx_buf_t *out, json_t *item, size_t indent)
{
    KFX_JSON json_t *list = json_pack("[O]", item);
    KFX_FREE char *text = kfx_yaml_dump(list, NULL);
    char *rest = text;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        if (*line || rest)
            kfx_buf_addf(out, "%*s%s\n", *line ? (int)indent : 0, "", line);
}

static size_t indent_of(const layout_t *layout, span_t item)
{
    for (size_t line = item.first; line < item.end; line++) {
        const char *text = layout->text + layout->line[line];
        size_t indent = strspn(text, " ");
        if (text[indent] == '-')
            return indent;
    }
    return 0;
}

/* Of a list that has changed: its old entries that are the same, the others anew. */
static void add_list(kfx_buf_t *out, const layout_t *layout, const section_t *key, const json_t *before,
                     const json_t *after)
{
    add_span(out, layout, (span_t){key->span.first, key->item[0].first});
    size_t indent = indent_of(layout, key->item[0]), from = 0, i;
    json_t *item;
    json_array_foreach (after, i, item) {
        size_t at = from;
        while (at < key->items && !json_equal(json_array_get(before, at), item))
            at++;
        if (at == key->items) {
            add_item(out, item, indent);
            continue;
        }
        add_span(out, layout, key->item[at]);
        from = at + 1;
    }
}

static void add_value(kfx_buf_t *out, const char *name, json_t *value)
{
    KFX_JSON json_t *one = json_pack("{s:O}", name, value);
    KFX_FREE char *text = kfx_yaml_dump(one, NULL);
    kfx_buf_adds(out, text ? text : "");
}

static bool reads_as(const kfx_buf_t *text, const json_t *want)
{
    if (text->failed || !text->data)
        return false;
    KFX_JSON json_t *tree = kfx_yaml_parse(text->data, text->len, NULL);
    return tree && json_equal(tree, want);
}

static void compose(kfx_buf_t *out, const layout_t *layout, const json_t *before, json_t *after)
{
    add_span(out, layout, (span_t){0, layout->key[0].span.first});
    const char *name;
    json_t *value;
    json_object_foreach (after, name, value) {
        const section_t *key = find_key(layout, name);
        const json_t *was = json_object_get(before, name);
        if (key && json_equal(was, value))
            add_span(out, layout, key->span);
        else if (key && key->items && key->items == json_array_size(was) && json_array_size(value))
            add_list(out, layout, key, was, value);
        else
            add_value(out, name, value);
    }
}

char *kfx_kubetext_rewrite(const char *old, size_t len, const json_t *before, json_t *after, kfx_error_t *err)
{
    layout_t *layout = kfx_xcalloc(1, sizeof *layout);
    kfx_buf_t out = KFX_BUF_INIT(TEXT_MAX);
    if (find_layout(layout, old, len))
        compose(&out, layout, before, after);
    release_layout(layout);
    free(layout);
    /* Whatever the old text was like: what is written reads as what is meant. */
    if (reads_as(&out, after))
        return kfx_buf_steal(&out, NULL);
    kfx_buf_wipe(&out);
    return kfx_yaml_dump(after, err);
}
