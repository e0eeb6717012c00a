#include "watcher/merge.h"

#include "base/json.h"
#include "base/mem.h"

#define CONDITIONS_MAX 128

typedef struct {
    kfx_cond_t list[CONDITIONS_MAX];
    size_t count;
    time_t now;
} conds_t;

static void say(conds_t *conds, const char *type, const char *status, const char *reason, const char *message)
{
    kfx_cond_t *c = NULL;
    for (size_t i = 0; i < conds->count && !c; i++)
        if (strcmp(conds->list[i].type, type) == 0)
            c = &conds->list[i];
    if (!c) {
        if (conds->count == CONDITIONS_MAX)
            return;
        conds->list[conds->count++] = (kfx_cond_t){type, status, reason, message, conds->now, conds->now};
        return;
    }
    if (strcmp(c->status, status) != 0)
        c->transition = c->update = conds->now;
    else if (strcmp(c->reason, reason) != 0 || strcmp(c->message, message) != 0)
        c->update = conds->now;
    c->status = status;
    c->reason = reason;
    c->message = message;
}

static int rank(const char *type)
{
    static const char *const order[] = {
        "Synced", "Ready", "StorageReady", "APIServerReady", "ControllerManagerReady", "Exposed", "HooksApplied"};
    for (size_t i = 0; i < KFX_COUNT(order); i++)
        if (strcmp(type, order[i]) == 0)
            return (int)i;
    return (int)KFX_COUNT(order);
}

/* Stable insertion sort: there are a handful. */
static void sort(conds_t *conds)
{
    for (size_t i = 1; i < conds->count; i++) {
        kfx_cond_t c = conds->list[i];
        size_t at = i;
        for (; at > 0 && rank(conds->list[at - 1].type) > rank(c.type); at--)
            conds->list[at] = conds->list[at - 1];
        conds->list[at] = c;
    }
}

/* The least over the services; one that has not spoken since we lead has seen what the status says. */
static int64_t observed(const kfx_merge_t *in, int64_t current)
{
    if (in->services == 0)
        return in->plane->generation;
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < in->services; i++) {
        const kfx_verdict_t *v = in->plane->views[i].verdict;
        int64_t seen = v && !(v->early && in->plane->has_place) ? v->generation : current;
        least = seen < least ? seen : least;
    }
    return least;
}

static void add_verdict(kfx_status_t *value, conds_t *conds, const kfx_status_t *says, const char *ns)
{
    for (size_t i = 0; i < says->count; i++)
        say(conds, says->conds[i].type, says->conds[i].status, says->conds[i].reason, says->conds[i].message);
    if (says->version)
        value->version = says->version;
    if (says->server && !value->server) /* the first one counts: something may be there already */
        value->server = says->server;
    if (says->hooks_known) {
        value->hooks_known = true;
        value->hooks_completed = says->hooks_completed;
        value->hook_count = says->hook_count;
        value->hooks = says->hooks;
    }
    if (says->secret_name) {
        value->secret_ns = ns;
        value->secret_name = says->secret_name;
        value->secret_key = says->secret_key;
        value->secret_in_cluster_key = says->secret_in_cluster_key;
    }
}

kfx_status_t *kfx_merge(const kfx_merge_t *in)
{
    static const kfx_status_t none = {0};
    const kfx_status_t *current = in->plane->status;
    kfx_status_t value = current ? *current : none;
    conds_t conds = {.now = in->now};
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(in->plane->name, ns);

    for (size_t i = 0; i < value.count && conds.count < CONDITIONS_MAX; i++) {
        conds.list[conds.count] = value.conds[i];
        kfx_cond_t *c = &conds.list[conds.count++];
        c->transition = c->transition == (time_t)-1 ? in->now : c->transition;
        c->update = c->update == (time_t)-1 ? in->now : c->update;
    }
    bool spoken = in->note_count > 0;
    for (size_t i = 0; i < in->services; i++) {
        const kfx_verdict_t *v = in->plane->views[i].verdict;
        if (!v)
            continue;
        add_verdict(&value, &conds, v->says, ns);
        spoken = true;
    }
    if (!spoken)
        return NULL; /* nobody has said anything: what stands there, stands */
    for (size_t i = 0; i < in->note_count; i++)
        say(&conds, in->notes[i].type, "False", in->notes[i].reason, in->notes[i].message);

    value.observed_generation = observed(in, value.observed_generation);
    value.count = conds.count;
    value.conds = conds.list;
    if (current && kfx_status_equal(current, &value))
        return NULL;
    sort(&conds);
    return kfx_status_dup(&value);
}

json_t *kfx_status_patch(const kfx_plane_t *plane, const kfx_status_t *status)
{
    json_t *patch = json_object();
    json_object_set_new(patch, "metadata", json_pack("{s:s, s:s}", "uid", plane->uid, "resourceVersion", plane->rv));
    json_object_set_new(patch, "status", kfx_status_to_json(status));
    if (status->secret_name && !status->secret_key) /* a merge leaves what it does not mention */
        kfx_json_put(patch, json_null(), "status", "secretRef", "key");
    for (size_t i = 0; plane->status && status->hooks_known && i < plane->status->hook_count; i++) {
        const kfx_hook_state_t *old = &plane->status->hooks[i];
        if (old->done && !kfx_status_hook_done(status, old->name))
            kfx_json_put(patch, json_null(), "status", "postCreateHooks", old->name);
    }
    return patch;
}

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

kfx_verdict_t *kfx_verdict_new(const kfx_envelope_t *env, const kfx_result_t *result)
{
    kfx_verdict_t *self = kfx_xcalloc(1, sizeof *self);
    self->outcome = env->outcome;
    self->generation = env->generation;
    self->epoch = env->epoch;
    self->seq = env->seq;
    self->lease = env->lease;
    self->task = env->task;
    self->early = result->wants_place;
    kfx_cond_t conds[KFX_CONDITIONS_MAX];
    kfx_hook_state_t hooks[KFX_HOOKS_MAX];
    kfx_status_t value = {.version = or_null(result->kubernetes_version),
                          .server = or_null(result->postgres_server),
                          .conds = conds,
                          .hooks_known = result->hooks_known,
                          .hooks_completed = result->hooks_completed,
                          .hooks = hooks};
    for (size_t i = 0; i < result->hook_count && i < KFX_HOOKS_MAX; i++) {
        const kfx_hook_result_t *h = &result->hooks[i];
        hooks[value.hook_count++] = (kfx_hook_state_t){h->name, h->done, h->reason, h->message};
    }
    if (result->secret_name[0]) {
        value.secret_name = result->secret_name;
        value.secret_key = or_null(result->secret_key);
        value.secret_in_cluster_key = result->secret_in_cluster_key;
    }
    for (size_t i = 0; i < result->condition_count && i < KFX_CONDITIONS_MAX; i++) {
        const kfx_condition_t *c = &result->conditions[i];
        conds[value.count++] = (kfx_cond_t){c->type, c->status, c->reason, c->message, -1, -1};
    }
    self->says = kfx_status_dup(&value);
    return self;
}
