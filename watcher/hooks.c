#include "watcher/hooks.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/template.h"
#include "watcher/status.h"

#include <string.h>

struct kfx_hook_table {
    zhashx_t *byname; /* name -> kfx_seen_hook_t */
};

/* ---- from JSON -------------------------------------------------------------------------------------------------- */

static void read_status(const json_t *object, kfx_seen_hook_t *self)
{
    size_t i;
    const json_t *c;
    json_array_foreach (kfx_json_get(object, "status", "conditions"), i, c) {
        const char *type = kfx_json_str(c, "type"), *status = kfx_json_str(c, "status");
        const char *reason = kfx_json_str(c, "reason"), *message = kfx_json_str(c, "message");
        const char *since = kfx_json_str(c, "lastTransitionTime");
        bool valid = type && strcmp(type, KFX_HOOK_VALID) == 0;
        if (!status || !(valid || (type && strcmp(type, KFX_HOOK_APPLIED) == 0)))
            continue;
        kfx_hook_said_t *said = valid ? &self->valid : &self->applied;
        said->there = true;
        said->yes = strcmp(status, "True") == 0;
        kfx_copy(said->reason, sizeof said->reason, reason ? reason : "");
        kfx_copy(said->message, sizeof said->message, message ? message : "");
        kfx_copy(said->since, sizeof said->since, since ? since : "");
    }
    self->said_generation = kfx_json_int(object, 0, "status", "observedGeneration");
}

void *kfx_reduce_hook(void *ctx, const json_t *object)
{
    const char *name = kfx_json_str(object, "metadata", "name"), *uid = kfx_json_str(object, "metadata", "uid");
    const char *rv = kfx_json_str(object, "metadata", "resourceVersion");
    kfx_error_t err = KFX_ERROR_INIT;
    (void)ctx;
    if (!name || !uid || !rv)
        return NULL;
    kfx_seen_hook_t *self = kfx_xcalloc(1, sizeof *self);
    if (kfx_copy(self->name, sizeof self->name, name) || kfx_copy(self->uid, sizeof self->uid, uid) ||
        kfx_copy(self->rv, sizeof self->rv, rv)) {
        free(self);
        return NULL;
    }
    self->generation = kfx_json_int(object, 0, "metadata", "generation");
    const json_t *templates = kfx_json_get(object, "spec", "templates");
    if (templates && kfx_template_check(templates, &err)) {
        KFX_FREE char *fault = kfx_xasprintf("templates%s", err.msg);
        kfx_copy(self->fault, sizeof self->fault, fault);
    }
    /* A copy of its own: the tree belongs to another thread. */
    self->labels = json_deep_copy(kfx_json_get(object, "metadata", "labels"));
    read_status(object, self);
    return self;
}

void kfx_seen_hook_free(void *hook)
{
    kfx_seen_hook_t *self = hook;
    if (!self)
        return;
    json_decref(self->labels);
    free(self);
}

/* ---- table ------------------------------------------------------------------------------------------------------ */

static void free_item(void **item)
{
    kfx_seen_hook_free(*item);
    *item = NULL;
}

kfx_hook_table_t *kfx_hook_table_new(void)
{
    kfx_hook_table_t *self = kfx_xcalloc(1, sizeof *self);
    self->byname = zhashx_new();
    zhashx_set_destructor(self->byname, free_item);
    return self;
}

void kfx_hook_table_destroy(kfx_hook_table_t **self_p)
{
    kfx_hook_table_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    zhashx_destroy(&self->byname);
    free(self);
}

kfx_seen_hook_t *kfx_hook_find(kfx_hook_table_t *self, const char *name)
{
    return self ? zhashx_lookup(self->byname, name) : NULL;
}

kfx_seen_hook_t *kfx_hook_put(kfx_hook_table_t *self, kfx_seen_hook_t *hook)
{
    const kfx_seen_hook_t *old = kfx_hook_find(self, hook->name);
    hook->writing = old && old->writing;
    if (old)
        hook->use = old->use;
    zhashx_update(self->byname, hook->name, hook);
    return hook;
}

void kfx_hook_drop(kfx_hook_table_t *self, const char *name)
{
    zhashx_delete(self->byname, name);
}

void kfx_hook_each(kfx_hook_table_t *self, void (*fn)(void *ctx, kfx_seen_hook_t *hook), void *ctx)
{
    if (!self)
        return;
    size_t count = 0;
    KFX_FREE kfx_seen_hook_t **all = kfx_xcalloc(zhashx_size(self->byname) + 1, sizeof(kfx_seen_hook_t *));
    for (kfx_seen_hook_t *hook = zhashx_first(self->byname); hook; hook = zhashx_next(self->byname))
        all[count++] = hook;
    for (size_t i = 0; i < count; i++) /* fn may drop what it is given */
        fn(ctx, all[i]);
}

/* ---- planes ----------------------------------------------------------------------------------------------------- */

bool kfx_hook_next_name(const char **at, char out[KFX_NAME_SIZE])
{
    size_t len = *at ? strcspn(*at, "\n") : 0;
    if (len == 0)
        return false;
    snprintf(out, KFX_NAME_SIZE, "%.*s", (int)len, *at);
    *at += len + ((*at)[len] == '\n');
    return true;
}

bool kfx_plane_names_hook(const kfx_plane_t *plane, const char *hook)
{
    char name[KFX_NAME_SIZE];
    for (const char *at = plane->hooks; kfx_hook_next_name(&at, name);)
        if (strcmp(name, hook) == 0)
            return true;
    return false;
}

static uint64_t mix(uint64_t h, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        h = (h ^ *p) * 1099511628211u; /* FNV-1a */
    return (h ^ 0xff) * 1099511628211u;
}

#define FNV_START 14695981039346656037u

static uint64_t view_of_child(const kfx_plane_t *plane, const kfx_tracked_t *child)
{
    char view[16];
    snprintf(view, sizeof view, "%u", kfx_child_view(plane, child));
    return mix(mix(mix(FNV_START, child->kind), child->name), view);
}

/* Sums, so that the order in which things are known does not matter. */
void kfx_hooks_look(kfx_hook_table_t *self, kfx_plane_t *plane)
{
    char name[KFX_NAME_SIZE];
    uint64_t sum = 0;
    for (const char *at = plane->hooks; kfx_hook_next_name(&at, name);) {
        const kfx_seen_hook_t *hook = kfx_hook_find(self, name);
        char generation[24] = "-";
        if (hook)
            snprintf(generation, sizeof generation, "%lld", (long long)hook->generation);
        sum += mix(mix(mix(FNV_START, name), hook ? hook->uid : ""), generation) | 1;
    }
    for (const kfx_tracked_t *c = plane->children; c; c = c->next)
        if (c->hook || (strcmp(c->name, KFX_HOOKS_RECORD) == 0 && strcmp(c->kind, "ConfigMap") == 0))
            sum += view_of_child(plane, c) | 1;
    plane->hooks_view = sum;
}

uint32_t kfx_hooks_stand(const kfx_plane_t *plane)
{
    const kfx_status_t *status = plane->status;
    if (!plane->present || plane->deleting || !plane->hooks)
        return 0;
    uint64_t h = mix(FNV_START, plane->hooks);
    for (size_t i = 0; status && i < status->hook_count; i++) {
        const kfx_hook_state_t *state = &status->hooks[i];
        h = mix(mix(h, state->name), state->done ? "done" : "");
        h = mix(mix(h, state->reason ? state->reason : ""), state->message ? state->message : "");
    }
    return (uint32_t)(h ^ h >> 32) | 1;
}

static bool has_label(const kfx_plane_t *plane, const char *key, const char *value)
{
    KFX_FREE char *line = kfx_xasprintf("\n%s\t%s\n", key, value);
    return plane->labels && strstr(plane->labels, line);
}

json_t *kfx_hooks_labels(kfx_hook_table_t *self, const kfx_plane_t *plane)
{
    const kfx_verdict_t *verdict = plane->views[0].verdict;
    KFX_JSON json_t *labels = json_object();
    for (size_t i = 0; verdict && i < verdict->says->hook_count; i++) {
        const kfx_hook_state_t *state = &verdict->says->hooks[i];
        const kfx_seen_hook_t *hook = state->done ? kfx_hook_find(self, state->name) : NULL;
        const char *key;
        json_t *value;
        if (!hook || kfx_status_hook_done(plane->status, state->name))
            continue;
        json_object_foreach (hook->labels, key, value)
            if (json_is_string(value) && !has_label(plane, key, json_string_value(value)))
                json_object_set(labels, key, value);
    }
    if (json_object_size(labels) == 0)
        return NULL;
    return json_pack("{s:{s:s, s:s, s:O}}", "metadata", "uid", plane->uid, "resourceVersion", plane->rv, "labels",
                     labels);
}
