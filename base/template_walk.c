/* base/template_walk.c: a tree whose texts are templates. */
#include "base/mem.h"
#include "base/template.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 100
#define PATH_SIZE 256

typedef struct {
    const json_t *vars; /* NULL: only to be parsed */
    bool lenient;
    char path[PATH_SIZE]; /* of the value that is looked at; cut where it is longer */
    unsigned depth;
    kfx_error_t *err;
} walk_t;

static json_t *walk_value(walk_t *w, const json_t *value);

/* Fresh; where nothing is run, the text itself. */
static json_t *walk_text(walk_t *w, const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *out = NULL;
    if (!strstr(text, "{{"))
        return json_string(text);
    kfx_template_t *tmpl = kfx_template_parse(text, &err);
    if (tmpl)
        out = w->vars ? kfx_template_run(tmpl, w->vars, w->lenient, &err) : json_string(text);
    kfx_template_destroy(&tmpl);
    if (!out)
        kfx_error_set(w->err, err.code, "%s: %s", w->path, err.msg);
    return out;
}

static json_t *walk_list(walk_t *w, const json_t *list)
{
    size_t i, at = strlen(w->path);
    const json_t *item;
    KFX_JSON json_t *out = json_array();
    json_array_foreach (list, i, item) {
        snprintf(w->path + at, PATH_SIZE - at, "[%zu]", i);
        json_t *next = walk_value(w, item);
        if (!next)
            return NULL;
        json_array_append_new(out, next);
        w->path[at] = '\0';
    }
    return KFX_STEAL(out);
}

/* A key is a text, whatever asInt would make of it. */
static int put_key(walk_t *w, json_t *out, const char *key, json_t *value)
{
    KFX_JSON json_t *name = walk_text(w, key);
    if (!name)
        return -1;
    if (!json_is_string(name))
        return kfx_error_set(w->err, KFX_E_INVALID, "%s: asInt and asBool are for values, this is a name", w->path);
    if (json_object_get(out, json_string_value(name)))
        return kfx_error_set(w->err, KFX_E_INVALID, "%s: two names are the same once variables are put in", w->path);
    return json_object_set(out, json_string_value(name), value);
}

static json_t *walk_object(walk_t *w, const json_t *object)
{
    size_t at = strlen(w->path);
    const char *key;
    json_t *item;
    KFX_JSON json_t *out = json_object();
    json_object_foreach ((json_t *)(uintptr_t)object, key, item) {
        snprintf(w->path + at, PATH_SIZE - at, "%s%s", at ? "." : "", key);
        KFX_JSON json_t *next = walk_value(w, item);
        if (!next || put_key(w, out, key, next))
            return NULL;
        w->path[at] = '\0';
    }
    return KFX_STEAL(out);
}

static json_t *walk_value(walk_t *w, const json_t *value)
{
    json_t *out;
    if (json_is_string(value))
        return walk_text(w, json_string_value(value));
    if (!json_is_array(value) && !json_is_object(value))
        return json_deep_copy(value);
    if (++w->depth > DEPTH_MAX) {
        kfx_error_set(w->err, KFX_E_INVALID, "%s: nested too deeply", w->path);
        return NULL;
    }
    out = json_is_array(value) ? walk_list(w, value) : walk_object(w, value);
    w->depth--;
    return out;
}

json_t *kfx_template_render(const json_t *tree, const json_t *vars, bool lenient, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    walk_t w = {.vars = vars, .lenient = lenient, .err = err ? err : &local};
    return walk_value(&w, tree);
}

int kfx_template_check(const json_t *tree, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    walk_t w = {.err = err ? err : &local};
    KFX_JSON json_t *same = walk_value(&w, tree);
    return same ? 0 : -1;
}
