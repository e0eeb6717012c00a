/* watcher/hook_use.c: what the status of a PostCreateHook says: whether its templates can be parsed, and how it stands
 * in the control planes that name it. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "watcher/hooks.h"

#include <stdio.h>
#include <string.h>

/* Reasons of the reconcilers (reconcilers/hooks/internal.h) that are no fault. */
#define APPLIED "Applied"
#define WAITS "ObjectsNotReady"
#define NOT_TRIED "NotTried"

static const kfx_hook_state_t *state_in(const kfx_plane_t *plane, const char *hook)
{
    const kfx_status_t *status = plane->status;
    for (size_t i = 0; status && i < status->hook_count; i++)
        if (strcmp(status->hooks[i].name, hook) == 0)
            return &status->hooks[i];
    return NULL;
}

static void add_use(kfx_hook_use_t *use, const kfx_plane_t *plane, const char *hook)
{
    const kfx_hook_state_t *state = state_in(plane, hook);
    const char *reason = state && state->reason ? state->reason : state && state->done ? APPLIED : NOT_TRIED;
    use->planes++;
    if (state && state->done && strcmp(reason, APPLIED) == 0) {
        use->applied++;
        return;
    }
    unsigned rank = strcmp(reason, NOT_TRIED) == 0 || strcmp(reason, WAITS) == 0 ? 1 : 2;
    /* The first by name, so that the text stays the same while others come and go. */
    if (rank < use->rank || (rank == use->rank && strcmp(plane->name, use->plane) > 0))
        return;
    use->rank = rank;
    kfx_copy(use->plane, sizeof use->plane, plane->name);
    kfx_copy(use->reason, sizeof use->reason, reason);
    kfx_copy(use->message, sizeof use->message, state && state->message ? state->message : "it was not tried yet");
}

static void clear(void *ctx, kfx_seen_hook_t *hook)
{
    (void)ctx;
    hook->use = (kfx_hook_use_t){0};
}

static void count(void *ctx, kfx_plane_t *plane)
{
    char name[KFX_NAME_SIZE];
    if (!plane->present || plane->deleting)
        return;
    for (const char *at = plane->hooks; kfx_hook_next_name(&at, name);) {
        kfx_seen_hook_t *hook = kfx_hook_find(ctx, name);
        if (hook)
            add_use(&hook->use, plane, name);
    }
}

void kfx_hooks_tally(kfx_hook_table_t *self, kfx_planes_t *planes)
{
    kfx_hook_each(self, clear, NULL);
    kfx_planes_each(planes, count, self);
}

/* ---- the patch -------------------------------------------------------------------------------------------------- */

static void say_use(const kfx_hook_use_t *use, kfx_hook_said_t *out)
{
    *out = (kfx_hook_said_t){.there = use->planes > 0, .yes = use->applied == use->planes};
    const char *planes = use->planes == 1 ? "control plane" : "control planes";
    if (out->yes) {
        kfx_copy(out->reason, sizeof out->reason, APPLIED);
        snprintf(out->message, sizeof out->message, "in %u %s", use->applied, planes);
        return;
    }
    KFX_FREE char *text =
        kfx_xasprintf("in %u of %u %s; %s: %s", use->applied, use->planes, planes, use->plane, use->message);
    kfx_copy(out->reason, sizeof out->reason, use->reason);
    kfx_copy(out->message, sizeof out->message, text); /* cut where a character ends */
}

static bool says(const kfx_hook_said_t *a, const kfx_hook_said_t *b)
{
    return a->there == b->there && a->yes == b->yes && strcmp(a->reason, b->reason) == 0 &&
           strcmp(a->message, b->message) == 0;
}

static json_t *condition(const char *type, const kfx_hook_said_t *is, const kfx_hook_said_t *was, const char *now)
{
    bool same = was->there && was->yes == is->yes && was->since[0];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "type", type, "status", is->yes ? "True" : "False", "reason",
                     is->reason, "message", is->message, "lastTransitionTime", same ? was->since : now,
                     "lastUpdateTime", now);
}

json_t *kfx_hook_status_patch(const kfx_seen_hook_t *hook, time_t now)
{
    kfx_hook_said_t valid = {.there = true, .yes = !hook->fault[0]}, applied;
    kfx_copy(valid.reason, sizeof valid.reason, valid.yes ? "TemplatesParsed" : "InvalidTemplate");
    kfx_copy(valid.message, sizeof valid.message, hook->fault);
    say_use(&hook->use, &applied);
    if (hook->said_generation == hook->generation && says(&valid, &hook->valid) &&
        (applied.there ? says(&applied, &hook->applied) : !hook->applied.there))
        return NULL;
    char at[KFX_RFC3339_SIZE];
    kfx_rfc3339(at, now);
    json_t *conditions = json_array();
    json_array_append_new(conditions, condition(KFX_HOOK_VALID, &valid, &hook->valid, at));
    if (applied.there)
        json_array_append_new(conditions, condition(KFX_HOOK_APPLIED, &applied, &hook->applied, at));
    return json_pack("{s:{s:s, s:s}, s:{s:I, s:o}}", "metadata", "uid", hook->uid, "resourceVersion", hook->rv,
                     "status", "observedGeneration", (json_int_t)hook->generation, "conditions", conditions);
}
