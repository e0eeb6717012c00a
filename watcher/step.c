/* watcher/step.c: a dirty plane -> what is to be done about it now. Level-triggered: everything is derived from what is
 * known, so a step may run at any time and as often as one likes. */
#include "base/clock.h"
#include "base/log.h"
#include "watcher/announce.h"
#include "watcher/finalizer.h"
#include "watcher/hooks.h"
#include "watcher/merge.h"
#include "watcher/watcher.h"

#define PATIENCE_MS 2000
#define LABEL_TRIES 5

void kfx_watcher_mark(kfx_watcher_t *self, kfx_plane_t *plane)
{
    if (plane->dirty)
        return;
    plane->dirty = true;
    plane->next_dirty = self->dirty;
    self->dirty = plane;
}

static void mark_one(void *ctx, kfx_plane_t *plane)
{
    kfx_watcher_mark(ctx, plane);
}

void kfx_watcher_mark_all(kfx_watcher_t *self)
{
    kfx_planes_each(self->planes, mark_one, self);
}

static void send_events(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance)
{
    if (!self->connected || !self->told)
        return; /* the snapshot will say it */
    for (size_t i = 0; i < stance->count; i++) {
        if (plane->op == KFX_OP_STATUS && kfx_sender_unrecorded(plane, i))
            continue; /* the answer of the write marks the plane again */
        if (kfx_sender_decide(plane, i, stance->services[i], &self->config) == KFX_SEND_NOW)
            kfx_bus_send(self, plane, stance, i);
    }
}

/* It has answered the deletion, and not that all is gone; or nobody is there who could. */
static bool fails_to_end(const kfx_watcher_t *self, const kfx_view_t *view, const char *service)
{
    return (view->told_deleting && !kfx_sender_waits(view)) || kfx_bus_away(self, service);
}

static bool all_gone(const kfx_watcher_t *self, const kfx_plane_t *plane, const kfx_stance_t *stance)
{
    for (size_t i = 0; i < stance->count; i++) {
        const kfx_view_t *view = &plane->views[i];
        if (!view->gone && !(plane->forced && fails_to_end(self, view, stance->services[i])))
            return false;
    }
    return true;
}

/* A DOWN service's own words are taken over once the outage has lasted. */
static void settle_held(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance)
{
    for (size_t i = 0; i < stance->count; i++) {
        kfx_view_t *view = &plane->views[i];
        if (!view->held)
            continue;
        int64_t left = view->down_since + self->opts.outage_ms - kfx_now_ms();
        if (left > 0) {
            kfx_bus_sweep_later(self, left);
            continue;
        }
        kfx_verdict_free(&view->verdict);
        view->verdict = KFX_STEAL(view->held);
    }
}

/* The plane needs this service and has nothing good to show without it. */
static bool suffers(const kfx_plane_t *plane, const kfx_view_t *view, const char *type)
{
    if (!kfx_sender_waits(view))
        return false;
    return plane->deleting || !plane->status || plane->status->observed_generation < plane->generation ||
           !kfx_status_is(plane->status, type, "True");
}

#define NOTE_SIZE 512

typedef struct {
    char text[KFX_SERVICES_MAX][NOTE_SIZE];
} texts_t;

/* why: in a worker's words, or "". */
static void outage_note(kfx_note_t *note, const char *service, kfx_state_t state, const char *why,
                        const kfx_type_info_t *type, char text[NOTE_SIZE])
{
    bool storage = strcmp(service, KFX_SERVICE_STORAGE) == 0;
    note->type = storage ? "StorageReady" : "Synced";
    note->message = text;
    if (storage && state == KFX_STATE_NO_WORKER) {
        note->reason = "NoStorageAgent";
        snprintf(text, NOTE_SIZE,
                 "no storage agent is running: look at Deployment kubeflex-storage-agent in namespace %s",
                 KFX_SYSTEM_NAMESPACE);
    } else if (storage) {
        note->reason = "PostgresUnavailable";
        snprintf(text, NOTE_SIZE,
                 "the storage agent cannot use Postgres%s%s: look at StatefulSet postgres-postgresql in namespace %s",
                 *why ? ": " : "", why, KFX_SYSTEM_NAMESPACE);
    } else if (state == KFX_STATE_NO_WORKER) {
        note->reason = "NoReconciler";
        snprintf(text, NOTE_SIZE,
                 "no reconciler for type %s is running: look at Deployment kubeflex-reconciler-%s in namespace %s",
                 type->name, type->name, KFX_SYSTEM_NAMESPACE);
    } else {
        note->reason = "ReconcileError";
        snprintf(text, NOTE_SIZE, "the reconciler for type %s cannot reach the API server%s%s: look at its log",
                 type->name, *why ? ": " : "", why);
    }
}

static void add_outages(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance, kfx_merge_t *in,
                        texts_t *texts)
{
    for (size_t i = 0; i < stance->count; i++) {
        kfx_view_t *view = &plane->views[i];
        kfx_state_t state = kfx_bus_outage(self, stance->services[i]);
        bool storage = strcmp(stance->services[i], KFX_SERVICE_STORAGE) == 0;
        if (state != KFX_STATE_UP && suffers(plane, view, storage ? "StorageReady" : "Synced"))
            view->noted = true;
        if (!view->noted || state == KFX_STATE_UP)
            continue; /* once it is back, what was written stands until its next DONE */
        outage_note(&in->notes[in->note_count++], stance->services[i], state, kfx_bus_why(self, stance->services[i]),
                    stance->type, texts->text[i]);
        if (plane->deleting) {
            size_t at = strlen(texts->text[i]);
            snprintf(texts->text[i] + at, NOTE_SIZE - at, "; " KFX_FORCE_HINT);
        }
    }
}

static void ack_all(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance)
{
    for (size_t i = 0; i < stance->count; i++)
        if (plane->views[i].verdict && !plane->views[i].verdict->acked)
            kfx_bus_ack(self, plane, stance->services[i], plane->views[i].verdict);
}

static bool may_write(kfx_watcher_t *self, const kfx_plane_t *plane)
{
    if (plane->op != KFX_OP_NONE)
        return false; /* its answer marks the plane again */
    if (plane->retry_at == 0 || kfx_now_ms() >= plane->retry_at)
        return true;
    kfx_writer_later(self, plane->retry_at);
    return false;
}

/* What the API server did not keep the last time it would not keep now. */
static bool is_unkept(kfx_watcher_t *self, const kfx_plane_t *plane, const kfx_status_t *status)
{
    if (!plane->unkept || plane->unkept != kfx_status_words(status))
        return false;
    if (plane->unkept_until == 0)
        return true;
    if (kfx_now_ms() >= plane->unkept_until)
        return false;
    kfx_writer_later(self, plane->unkept_until);
    return true;
}

/* One result has come, and soon another one will change the status again. */
static bool more_to_come(const kfx_watcher_t *self, const kfx_plane_t *plane, const kfx_stance_t *stance)
{
    if (!self->connected || !self->told)
        return false;
    for (size_t i = 0; i < stance->count; i++)
        if (kfx_sender_waits(&plane->views[i]) ||
            kfx_sender_decide(plane, i, stance->services[i], &self->config) != KFX_SEND_NOTHING)
            return true;
    return plane->promises != NULL; /* which the watch is about to show, and that may be an event */
}

/* It says that the plane runs, or that something has failed. */
static bool says_much(const kfx_status_t *status)
{
    for (size_t i = 0; status && i < status->count; i++) {
        const kfx_cond_t *c = &status->conds[i];
        /* being True is only a step */
        bool step = strcmp(c->type, "StorageReady") == 0 || strcmp(c->type, "Exposed") == 0;
        if (strcmp(c->status, "True") == 0 ? !step : !kfx_announce_ordinary(c->reason))
            return true;
    }
    return false;
}

/* Steps on the way: no goal reached or lost, no failure begun or over, and nothing that somebody waits for. */
static bool only_progress(const kfx_plane_t *plane, const kfx_stance_t *stance, const kfx_status_t *status)
{
    for (size_t i = 0; i < stance->count; i++)
        if (kfx_sender_unrecorded(plane, i))
            return false;
    return !plane->deleting && !says_much(plane->status) && !says_much(status);
}

/* A plane that is being made would be written once for each service, and each write costs the API server as much as an
 * object: a step on the way waits for the next result, for a moment. */
static bool waits_for_more(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance,
                           const kfx_status_t *status)
{
    int64_t now = kfx_now_ms();
    if (!only_progress(plane, stance, status) || !more_to_come(self, plane, stance))
        return false;
    if (!plane->patient)
        plane->patient = now + PATIENCE_MS;
    if (now >= plane->patient)
        return false;
    kfx_writer_later(self, plane->patient);
    return true;
}

/* The labels of a hook stand on the plane before its status says that the hook is done: so they are not forgotten when
 * the process ends in between, and not put back when somebody takes them away later. Some tries, then without them. */
static bool step_labels(kfx_watcher_t *self, kfx_plane_t *plane)
{
    json_t *patch = plane->label_tries < LABEL_TRIES ? kfx_hooks_labels(self->hooks, plane) : NULL;
    if (!patch)
        return false;
    if (!may_write(self, plane)) {
        json_decref(patch);
        return true;
    }
    plane->label_tries++;
    kfx_writer_submit(self, plane, KFX_OP_LABELS, patch);
    return true;
}
#define QUEUED                                                                                                         \
    "the pods run on as they were: as many other planes as may at a time are having theirs exchanged; this one's "     \
    "turn comes by itself"

static void step_status(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance)
{
    texts_t texts;
    kfx_merge_t in = {.plane = plane, .services = stance->count, .now = time(NULL)};
    settle_held(self, plane, stance);
    char outdated[512];
    if (stance->reason)
        in.notes[in.note_count++] = (kfx_note_t){"Synced", stance->reason, stance->message};
    else if (self->schema_known && !self->schema.records && !kfx_status_is(plane->status, "Synced", "True")) {
        snprintf(outdated, sizeof outdated, KFX_SCHEMA_OUTDATED, self->schema.missing);
        in.notes[in.note_count++] = (kfx_note_t){"Synced", "SchemaOutdated", outdated};
    }
    if (plane->wants_place)
        in.notes[in.note_count++] = (kfx_note_t){"Synced", "RolloutQueued", QUEUED};
    add_outages(self, plane, stance, &in, &texts);
    if (step_labels(self, plane))
        return;
    kfx_status_t *status = kfx_merge(&in);
    if (!status || is_unkept(self, plane, status)) {
        if (plane->op == KFX_OP_NONE) /* else what is on its way may still change what stands there */
            ack_all(self, plane, stance);
        free(status);
        return;
    }
    bool patient = in.note_count == 0 && waits_for_more(self, plane, stance, status);
    if (!patient && may_write(self, plane)) {
        plane->patient = 0;
        kfx_writer_submit(self, plane, KFX_OP_STATUS, kfx_status_patch(plane, status));
    }
    free(status);
}

static void let_go(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance)
{
    if (!may_write(self, plane))
        return;
    for (size_t i = 0; i < stance->count; i++)
        if (!plane->views[i].gone)
            kfx_announce_forced(self, plane, stance->services[i]);
    kfx_writer_submit(self, plane, KFX_OP_FINALIZER, kfx_finalizer_remove(plane));
}

static void look_at_hooks(kfx_watcher_t *self, kfx_plane_t *plane)
{
    uint32_t stand = kfx_hooks_stand(plane);
    kfx_hooks_look(self->hooks, plane);
    if (stand != plane->hooks_stand)
        kfx_hook_status_later(self);
    plane->hooks_stand = stand;
}

static void step(kfx_watcher_t *self, kfx_plane_t *plane)
{
    kfx_stats_plane(self->stats, plane);
    look_at_hooks(self, plane);
    kfx_places_count(&self->places, plane);
    kfx_awaited_plane(self->awaited, plane);
    if (!self->leading || !self->synced || !plane->present)
        return;
    kfx_stance_t stance;
    kfx_judge(plane, &stance);
    if (plane->deleting && !plane->finalizer)
        return; /* not ours to hold: others' finalizers do */
    if (stance.count > 0 && !plane->finalizer) {
        if (may_write(self, plane))
            kfx_writer_submit(self, plane, KFX_OP_FINALIZER, kfx_finalizer_add(plane));
        return; /* nothing is made for a plane that could vanish without us */
    }
    kfx_places_offer(&self->places, plane);
    bool ends = plane->deleting && all_gone(self, plane, &stance); /* at once where nobody serves it */
    if (!ends)
        step_status(self, plane, &stance);
    send_events(self, plane, &stance);
    if (ends)
        let_go(self, plane, &stance);
}

void kfx_watcher_flush(kfx_watcher_t *self)
{
    kfx_plane_t *plane;
    kfx_bus_snapshot(self);
    do {
        while (self->dirty) {
            plane = self->dirty;
            self->dirty = plane->next_dirty;
            plane->next_dirty = NULL;
            plane->dirty = false;
            step(self, plane);
            kfx_planes_purge(self->planes, plane);
        }
        /* A place that became free wakes the plane that has waited longest for one. */
        plane = self->leading ? kfx_places_next(&self->places, self->planes) : NULL;
        if (plane)
            kfx_watcher_mark(self, plane);
    } while (plane);
}
