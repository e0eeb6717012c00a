#include "watcher/status.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define CONDITIONS_MAX 64
#define HOOKS_MAX 64

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *put(char **at, const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    char *start = memcpy(*at, text, size);
    *at += size;
    return start;
}

kfx_status_t *kfx_status_dup(const kfx_status_t *value)
{
    size_t size = sizeof *value + value->count * sizeof(kfx_cond_t);
    size += size_of(value->secret_ns) + size_of(value->secret_name) + size_of(value->secret_key) +
            size_of(value->secret_in_cluster_key) + size_of(value->version) + size_of(value->server);
    for (size_t i = 0; i < value->count; i++) {
        const kfx_cond_t *c = &value->conds[i];
        size += size_of(c->type) + size_of(c->status) + size_of(c->reason) + size_of(c->message);
    }
    size += value->hook_count * sizeof(kfx_hook_state_t);
    for (size_t i = 0; i < value->hook_count; i++)
        size += size_of(value->hooks[i].name) + size_of(value->hooks[i].reason) + size_of(value->hooks[i].message);
    kfx_status_t *self = kfx_xcalloc(1, size);
    kfx_cond_t *conds = (kfx_cond_t *)(self + 1);
    kfx_hook_state_t *hooks = (kfx_hook_state_t *)(conds + value->count);
    char *at = (char *)(hooks + value->hook_count);
    self->hooks_known = value->hooks_known;
    self->hooks_completed = value->hooks_completed;
    self->hook_count = value->hook_count;
    self->hooks = hooks;
    for (size_t i = 0; i < value->hook_count; i++) {
        const kfx_hook_state_t *h = &value->hooks[i];
        hooks[i] = (kfx_hook_state_t){put(&at, h->name), h->done, put(&at, h->reason), put(&at, h->message)};
    }
    self->observed_generation = value->observed_generation;
    self->secret_ns = put(&at, value->secret_ns);
    self->secret_name = put(&at, value->secret_name);
    self->secret_key = put(&at, value->secret_key);
    self->secret_in_cluster_key = put(&at, value->secret_in_cluster_key);
    self->version = put(&at, value->version);
    self->server = put(&at, value->server);
    self->count = value->count;
    self->conds = conds;
    for (size_t i = 0; i < value->count; i++) {
        const kfx_cond_t *c = &value->conds[i];
        conds[i] = (kfx_cond_t){put(&at, c->type),    put(&at, c->status), put(&at, c->reason),
                                put(&at, c->message), c->transition,       c->update};
    }
    return self;
}

static const char *text_or_empty(const json_t *object, const char *key)
{
    const char *text = kfx_json_str(object, key);
    return text ? text : "";
}

static time_t time_of(const json_t *object, const char *key)
{
    const char *text = kfx_json_str(object, key);
    return text ? kfx_rfc3339_parse(text) : (time_t)-1;
}

static size_t find_hook(const kfx_hook_state_t *hooks, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count && strcmp(hooks[i].name, name) != 0)
        i++;
    return i;
}

/* The list says how hooks stand, the map which are done; the Go implementation writes the map alone. */
static size_t read_hooks(const json_t *status, kfx_hook_state_t hooks[HOOKS_MAX])
{
    size_t count = 0, i;
    const json_t *entry;
    const char *name;
    json_t *done;
    json_array_foreach (kfx_json_get(status, "postCreateHookStatus"), i, entry) {
        name = kfx_json_str(entry, "hookName");
        if (name && count < HOOKS_MAX)
            hooks[count++] =
                (kfx_hook_state_t){name, false, text_or_empty(entry, "reason"), text_or_empty(entry, "message")};
    }
    json_object_foreach (kfx_json_get(status, "postCreateHooks"), name, done) {
        size_t at = find_hook(hooks, count, name);
        if (!json_is_true(done) || at == HOOKS_MAX)
            continue;
        if (at == count)
            hooks[count++] = (kfx_hook_state_t){.name = name};
        hooks[at].done = true;
    }
    return count;
}

kfx_status_t *kfx_status_from_json(const json_t *status)
{
    if (!json_is_object(status) || json_object_size(status) == 0)
        return NULL;
    kfx_cond_t conds[CONDITIONS_MAX];
    kfx_status_t value = {.observed_generation = kfx_json_int(status, 0, "observedGeneration"),
                          .secret_ns = kfx_json_str(status, "secretRef", "namespace"),
                          .secret_name = kfx_json_str(status, "secretRef", "name"),
                          .secret_key = kfx_json_str(status, "secretRef", "key"),
                          .secret_in_cluster_key = kfx_json_str(status, "secretRef", "inClusterKey"),
                          .version = kfx_json_str(status, "kubernetesVersion"),
                          .server = kfx_json_str(status, "postgresServer"),
                          .conds = conds};
    kfx_hook_state_t hooks[HOOKS_MAX];
    value.hook_count = read_hooks(status, hooks);
    value.hooks = hooks;
    value.hooks_completed = kfx_json_bool(status, false, "postCreateHookCompleted");
    value.hooks_known = value.hook_count > 0 || kfx_json_get(status, "postCreateHookCompleted");
    size_t i;
    json_t *c;
    json_array_foreach (kfx_json_get(status, "conditions"), i, c) {
        if (!json_is_object(c) || value.count == CONDITIONS_MAX)
            continue;
        conds[value.count++] =
            (kfx_cond_t){text_or_empty(c, "type"),    text_or_empty(c, "status"),       text_or_empty(c, "reason"),
                         text_or_empty(c, "message"), time_of(c, "lastTransitionTime"), time_of(c, "lastUpdateTime")};
    }
    return kfx_status_dup(&value);
}

static void add_hooks(json_t *out, const kfx_status_t *status)
{
    json_t *map = json_object(), *list = json_array();
    for (size_t i = 0; i < status->hook_count; i++) {
        const kfx_hook_state_t *h = &status->hooks[i];
        if (h->done)
            json_object_set_new(map, h->name, json_true());
        if (h->reason)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "hookName", h->name, "reason", h->reason,
                                                  "message", h->message ? h->message : ""));
    }
    json_object_set_new(out, "postCreateHooks", map);
    json_object_set_new(out, "postCreateHookStatus", list);
    json_object_set_new(out, "postCreateHookCompleted", json_boolean(status->hooks_completed));
}

json_t *kfx_status_to_json(const kfx_status_t *status)
{
    json_t *conditions = json_array();
    for (size_t i = 0; i < status->count; i++) {
        const kfx_cond_t *c = &status->conds[i];
        char transition[KFX_RFC3339_SIZE], update[KFX_RFC3339_SIZE];
        kfx_rfc3339(transition, c->transition);
        kfx_rfc3339(update, c->update);
        json_array_append_new(conditions, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "type", c->type, "status",
                                                    c->status, "reason", c->reason, "message", c->message,
                                                    "lastTransitionTime", transition, "lastUpdateTime", update));
    }
    json_t *out = json_object();
    json_object_set_new(out, "conditions", conditions);
    json_object_set_new(out, "observedGeneration", json_integer(status->observed_generation));
    if (status->secret_name) {
        json_t *ref = json_object();
        json_object_set_new(ref, "namespace", json_string(status->secret_ns ? status->secret_ns : ""));
        json_object_set_new(ref, "name", json_string(status->secret_name));
        json_object_set_new(ref, "inClusterKey",
                            json_string(status->secret_in_cluster_key ? status->secret_in_cluster_key : ""));
        if (status->secret_key)
            json_object_set_new(ref, "key", json_string(status->secret_key));
        json_object_set_new(out, "secretRef", ref);
    }
    if (status->version)
        json_object_set_new(out, "kubernetesVersion", json_string(status->version));
    if (status->server)
        json_object_set_new(out, "postgresServer", json_string(status->server));
    if (status->hooks_known)
        add_hooks(out, status);
    return out;
}

const kfx_cond_t *kfx_status_cond(const kfx_status_t *status, const char *type)
{
    for (size_t i = 0; status && i < status->count; i++)
        if (strcmp(status->conds[i].type, type) == 0)
            return &status->conds[i];
    return NULL;
}

bool kfx_status_is(const kfx_status_t *status, const char *type, const char *value)
{
    const kfx_cond_t *c = kfx_status_cond(status, type);
    return c && strcmp(c->status, value) == 0;
}

bool kfx_status_hook_done(const kfx_status_t *status, const char *hook)
{
    size_t at = status ? find_hook(status->hooks, status->hook_count, hook) : 0;
    return status && at < status->hook_count && status->hooks[at].done;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_hooks(const kfx_status_t *a, const kfx_status_t *b)
{
    if (a->hooks_known != b->hooks_known || a->hooks_completed != b->hooks_completed || a->hook_count != b->hook_count)
        return false;
    for (size_t i = 0; i < a->hook_count; i++) {
        const kfx_hook_state_t *x = &a->hooks[i], *y = &b->hooks[i];
        if (x->done != y->done || !same(x->name, y->name) || !same(x->reason, y->reason) ||
            !same(x->message, y->message))
            return false;
    }
    return true;
}

bool kfx_status_equal(const kfx_status_t *a, const kfx_status_t *b)
{
    if (!a || !b)
        return a == b;
    if (a->observed_generation != b->observed_generation || a->count != b->count || !same(a->secret_ns, b->secret_ns) ||
        !same(a->secret_name, b->secret_name) || !same(a->secret_key, b->secret_key) ||
        !same(a->secret_in_cluster_key, b->secret_in_cluster_key) || !same(a->version, b->version) ||
        !same(a->server, b->server) || !same_hooks(a, b))
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const kfx_cond_t *x = &a->conds[i], *y = &b->conds[i];
        if (!same(x->type, y->type) || !same(x->status, y->status) || !same(x->reason, y->reason) ||
            !same(x->message, y->message) || x->transition != y->transition || x->update != y->update)
            return false;
    }
    return true;
}

static uint32_t mix(uint32_t h, const char *text)
{
    for (; text && *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u; /* FNV-1a */
    return (h ^ 0xff) * 16777619u;                  /* a mark between the parts */
}

uint32_t kfx_status_words(const kfx_status_t *status)
{
    uint32_t h = mix(mix(2166136261u, status->version), status->server) ^ (uint32_t)status->observed_generation;
    h = mix(mix(h, status->secret_ns), status->secret_name);
    h = mix(mix(h, status->secret_key), status->secret_in_cluster_key);
    for (size_t i = 0; i < status->count; i++) {
        const kfx_cond_t *c = &status->conds[i];
        h = mix(mix(mix(mix(h, c->type), c->status), c->reason), c->message);
    }
    for (size_t i = 0; i < status->hook_count; i++) {
        const kfx_hook_state_t *k = &status->hooks[i];
        h = mix(mix(mix(mix(h, k->name), k->done ? "done" : ""), k->reason), k->message);
    }
    return h | 1;
}
