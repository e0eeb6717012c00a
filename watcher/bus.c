/* watcher/bus.c: the watcher's conversation with the bus. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/keyfetch.h"
#include "watcher/hooks.h"
#include "watcher/intern.h"
#include "watcher/merge.h"
#include "watcher/watcher.h"

#define CAUSE_MS 2000

/* ---- services --------------------------------------------------------------------------------------------------- */

static kfx_service_state_t *service_of(kfx_watcher_t *self, const char *name)
{
    for (size_t i = 0; i < self->service_count; i++)
        if (strcmp(self->services[i].name, name) == 0)
            return &self->services[i];
    return NULL;
}

static void fill_services(kfx_watcher_t *self)
{
    const kfx_type_info_t *type;
    self->service_count = 0;
    for (size_t i = 0; (type = kfx_type_at(i)) != NULL; i++) {
        const char *names[KFX_SERVICES_MAX];
        size_t count = kfx_type_services(type, names);
        for (size_t s = 0; s < count && self->service_count < KFX_COUNT(self->services); s++)
            if (!service_of(self, names[s]))
                self->services[self->service_count++] = (kfx_service_state_t){.name = names[s], .state = KFX_STATE_UP};
    }
}

kfx_state_t kfx_bus_outage(const kfx_watcher_t *self, const char *service)
{
    for (size_t i = 0; i < self->service_count; i++) {
        const kfx_service_state_t *s = &self->services[i];
        if (strcmp(s->name, service) != 0 || s->state == KFX_STATE_UP)
            continue;
        return kfx_now_ms() - s->since >= self->opts.outage_ms ? s->state : KFX_STATE_UP;
    }
    return KFX_STATE_UP;
}

bool kfx_bus_away(const kfx_watcher_t *self, const char *service)
{
    for (size_t i = 0; i < self->service_count; i++)
        if (strcmp(self->services[i].name, service) == 0)
            return self->services[i].state != KFX_STATE_UP;
    return false;
}

const char *kfx_bus_why(const kfx_watcher_t *self, const char *service)
{
    for (size_t i = 0; i < self->service_count; i++)
        if (strcmp(self->services[i].name, service) == 0)
            return self->services[i].why;
    return "";
}

static int on_sweep(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    kfx_watcher_t *self = arg;
    self->sweep_timer = -1;
    int64_t now = kfx_now_ms(), next = 0;
    for (size_t i = 0; i < self->service_count; i++) {
        int64_t left = self->services[i].since + self->opts.outage_ms - now;
        if (self->services[i].state != KFX_STATE_UP && left > 0 && (next == 0 || left < next))
            next = left;
    }
    if (next > 0)
        kfx_bus_sweep_later(self, next);
    kfx_watcher_mark_all(self);
    kfx_watcher_flush(self);
    return 0;
}

void kfx_bus_sweep_later(kfx_watcher_t *self, int64_t ms)
{
    if (self->sweep_timer == -1)
        self->sweep_timer = zloop_timer(self->loop, (size_t)ms + 1, 1, on_sweep, self);
}

static void on_service(void *ctx, const char *name, kfx_state_t state, const char *why)
{
    kfx_watcher_t *self = ctx;
    kfx_service_state_t *service = service_of(self, name);
    if (!service || (service->state == state && strcmp(service->why, why) == 0))
        return;
    kfx_copy(service->why, sizeof service->why, why);
    if (service->state == state) { /* another cause: written soon, but not each one of a series */
        kfx_bus_sweep_later(self, CAUSE_MS);
        return;
    }
    if (service->state == KFX_STATE_UP) {
        service->since = kfx_now_ms();
        kfx_bus_sweep_later(self, self->opts.outage_ms);
    }
    service->state = state;
    kfx_log_info("service", "name", name, "state",
                 state == KFX_STATE_UP     ? "up"
                 : state == KFX_STATE_DOWN ? "down"
                                           : "no worker",
                 "error", why, NULL);
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

void kfx_bus_ack(kfx_watcher_t *self, const kfx_plane_t *plane, const char *service, kfx_verdict_t *verdict)
{
    if (!self->publisher || !self->connected)
        return; /* the bus offers it again */
    kfx_envelope_t env = {.generation = verdict->generation,
                          .epoch = verdict->epoch,
                          .seq = verdict->seq,
                          .lease = verdict->lease,
                          .task = verdict->task,
                          .outcome = verdict->outcome};
    snprintf(env.service, sizeof env.service, "%s", service);
    snprintf(env.key, sizeof env.key, "%s", plane->name);
    snprintf(env.uid, sizeof env.uid, "%s", plane->uid);
    kfx_publisher_ack(self->publisher, &env);
    verdict->acked = true;
}

static bool older(const kfx_envelope_t *env, const kfx_verdict_t *known)
{
    return known && (env->epoch < known->epoch || (env->epoch == known->epoch && env->seq < known->seq));
}

/* The target of the service is down: nobody's fault, and written only when it lasts. The bus runs the task again. */
static void hold(kfx_watcher_t *self, kfx_view_t *view, kfx_verdict_t *verdict)
{
    if (!view->down_since)
        view->down_since = kfx_now_ms();
    verdict->acked = true;
    kfx_verdict_free(&view->held);
    view->held = verdict;
    kfx_bus_sweep_later(self, self->opts.outage_ms);
}

static void take_verdict(kfx_watcher_t *self, kfx_plane_t *plane, kfx_view_t *view, const kfx_envelope_t *env,
                         const kfx_result_t *result)
{
    kfx_verdict_t *verdict = kfx_verdict_new(env, result);
    if (env->outcome == KFX_OUTCOME_DOWN) {
        kfx_publisher_ack(self->publisher, env);
        hold(self, view, verdict);
        return;
    }
    view->down_since = 0;
    kfx_verdict_free(&view->held);
    kfx_verdict_free(&view->verdict);
    view->verdict = verdict;
    view->awaits = result->awaits_record;
    if (env->outcome == KFX_OUTCOME_GONE && plane->deleting)
        view->gone = true;
    if (strcmp(env->service, KFX_SERVICE_STORAGE) == 0)
        return;
    kfx_places_result(&self->places, plane, result);
    kfx_intern_set(&plane->awaits, result->awaits_secret[0] ? result->awaits_secret : NULL);
}

static void on_done(void *ctx, const kfx_envelope_t *env, const kfx_result_t *result)
{
    kfx_watcher_t *self = ctx;
    kfx_metric_add(self->stats->results, 1);
    kfx_plane_t *plane = kfx_planes_find(self->planes, env->key);
    kfx_stance_t stance = {0};
    if (plane && plane->present)
        kfx_judge(plane, &stance);
    int index = kfx_stance_index(&stance, env->service);
    if (!plane || !plane->present || strcmp(plane->uid, env->uid) != 0 || index < 0) {
        kfx_publisher_ack(self->publisher, env); /* of a uid that is gone */
        return;
    }
    kfx_view_t *view = &plane->views[index];
    for (size_t i = 0; i < result->written_count && i < KFX_CHILDREN_MAX; i++)
        kfx_plane_wrote(plane, (size_t)index, &result->written[i]);
    for (size_t i = 0; i < result->kind_count; i++)
        kfx_watches_add(self->watches, result->kinds[i].path);
    if (env->epoch == self->epoch && env->seq > view->done_seq)
        view->done_seq = env->seq;
    view->noted = false;
    if (env->generation < plane->generation || older(env, view->verdict) || older(env, view->held))
        kfx_publisher_ack(self->publisher, env); /* about a state that is gone */
    else
        take_verdict(self, plane, view, env, result);
    kfx_sender_done(view, result);
    kfx_watcher_mark(self, plane);
    kfx_watcher_flush(self);
}

static void on_progress(void *ctx, const kfx_envelope_t *env)
{
    (void)ctx;
    kfx_log_debug("progress", "plane", env->key, "uid", env->uid, "service", env->service, "text", env->text, NULL);
}

/* ---- session ---------------------------------------------------------------------------------------------------- */

static void forget_told(void *ctx, kfx_plane_t *plane)
{
    (void)ctx;
    for (size_t i = 0; i < KFX_SERVICES_MAX; i++)
        kfx_view_reset(&plane->views[i]);
}

static void on_connected(void *ctx)
{
    kfx_watcher_t *self = ctx;
    self->connected = true;
    self->told = false;
    kfx_watcher_ready(self);
    kfx_planes_each(self->planes, forget_told, self);
    kfx_log_info("connected to the bus", "endpoint", self->opts.bus, NULL);
    kfx_watcher_mark_all(self); /* results that wait for their ACK, too */
    kfx_watcher_flush(self);
}

static void on_disconnected(void *ctx)
{
    kfx_watcher_t *self = ctx;
    if (self->connected)
        kfx_log_warn("the bus is away", "endpoint", self->opts.bus, NULL);
    self->connected = self->told = false;
    kfx_watcher_ready(self);
}

static void on_stale(void *ctx, uint64_t epoch)
{
    kfx_leader_stale(ctx, epoch);
}

void kfx_bus_send(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance, size_t index)
{
    const char *service = stance->services[index];
    kfx_envelope_t env = {.generation = plane->generation, .seq = ++self->seq, .deleting = plane->deleting};
    snprintf(env.service, sizeof env.service, "%s", service);
    snprintf(env.key, sizeof env.key, "%s", plane->name);
    snprintf(env.uid, sizeof env.uid, "%s", plane->uid);
    kfx_digest_t *digest = kfx_plane_digest(plane, service, &self->config);
    kfx_publisher_event(self->publisher, service, &env, digest);
    kfx_digest_free(digest);
    kfx_sender_sent(plane, index, service, &self->config, env.seq);
    kfx_metric_add(self->stats->events, 1);
}

static void send_all(void *ctx, kfx_plane_t *plane)
{
    kfx_watcher_t *self = ctx;
    if (!plane->present || !plane->finalizer)
        return;
    kfx_stance_t stance;
    kfx_judge(plane, &stance);
    kfx_hooks_look(self->hooks, plane);
    for (size_t i = 0; i < stance.count; i++)
        kfx_bus_send(self, plane, &stance, i);
}

void kfx_bus_snapshot(kfx_watcher_t *self)
{
    if (!self->leading || !self->synced || !self->connected || self->told)
        return;
    self->told = true;
    kfx_publisher_sync_begin(self->publisher);
    kfx_planes_each(self->planes, send_all, self);
    kfx_publisher_sync_end(self->publisher);
    kfx_watcher_tidy_later(self);
    kfx_log_info("snapshot sent", "planes", kfx_log_num(kfx_planes_present(self->planes)), NULL);
}

/* What is read is also what the next leadership begins with. */
static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    kfx_watcher_t *self = ctx;
    int rc = self->opts.keys_dir ? kfx_bus_keys_from_dir(self->opts.keys_dir, "watcher", keys, NULL)
                                 : kfx_bus_keys_fetch(self->kube, self->opts.ns, "watcher", keys, NULL);
    if (rc == 0)
        self->opts.keys = *keys;
    return rc;
}

int kfx_bus_start(kfx_watcher_t *self, uint64_t epoch, kfx_error_t *err)
{
    kfx_publisher_opts_t opts = {.endpoint = self->opts.bus,
                                 .keys = self->opts.keys,
                                 .instance = self->opts.instance,
                                 .epoch = epoch,
                                 .on_connected = on_connected,
                                 .on_disconnected = on_disconnected,
                                 .on_done = on_done,
                                 .on_progress = on_progress,
                                 .on_service = on_service,
                                 .on_stale = on_stale,
                                 .refresh_keys = self->opts.keys.public_key[0] ? refresh_keys : NULL,
                                 .ctx = self};
    fill_services(self);
    self->publisher = kfx_publisher_new(self->loop, &opts, err);
    return self->publisher ? 0 : -1;
}

void kfx_bus_stop(kfx_watcher_t *self)
{
    kfx_publisher_destroy(&self->publisher);
    self->connected = self->told = false;
}
