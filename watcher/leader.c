/* watcher/leader.c: who leads. A standby keeps its watches and caches warm and writes nothing but the Lease. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "watcher/watcher.h"

#include <inttypes.h>

#define DRAIN_MS 2500 /* a write under the gate ends within 2 s */

/* Asked by the I/O thread before each write. While nothing of a leadership is on its way only the Lease and the record
 * of the epoch are written, which nobody has to hold the Lease for. */
static bool gate(void *arg)
{
    kfx_watcher_t *self = arg;
    return !atomic_load(&self->acting) || kfx_lease_held(self->lease);
}

static void forget_session(void *ctx, kfx_plane_t *plane)
{
    (void)ctx;
    for (size_t i = 0; i < KFX_SERVICES_MAX; i++) {
        kfx_view_t *view = &plane->views[i];
        kfx_verdict_free(&view->verdict);
        kfx_verdict_free(&view->held);
        memset(view, 0, sizeof *view);
    }
    plane->has_place = plane->place_idle = false;
    plane->place_turn = 0;
    plane->fails = 0;
    plane->retry_at = 0;
}

static void on_lead(void *ctx, uint64_t epoch)
{
    kfx_watcher_t *self = ctx;
    kfx_error_t err = KFX_ERROR_INIT;
    if (self->stop)
        return;
    kfx_planes_each(self->planes, forget_session, self);
    self->epoch = epoch;
    atomic_store(&self->acting, true);
    self->leading = true;
    kfx_metric_set(self->stats->leading, 1);
    kfx_watcher_ready(self);
    if (kfx_bus_start(self, epoch, &err) != 0) {
        kfx_log_error("no connection to the bus can be made", "error", err.msg, NULL);
        self->exit_code = 1;
        self->stop = true;
        return;
    }
    kfx_watcher_announce_schema(self);
    kfx_hook_status_all(self);
    kfx_watcher_mark_all(self);
    kfx_watcher_flush(self);
}

static void on_lost(void *ctx)
{
    kfx_watcher_t *self = ctx;
    self->leading = false;
    kfx_metric_set(self->stats->leading, 0);
    kfx_bus_stop(self);
    kfx_watcher_ready(self);
    kfx_leader_settle(self);
}

void kfx_leader_settle(kfx_watcher_t *self)
{
    if (!self->leading && self->writes == 0)
        atomic_store(&self->acting, false);
}

/* The end of the process: first nothing of ours is on its way any more, then the Lease goes. */
void kfx_leader_stop(kfx_watcher_t *self)
{
    zmq_pollitem_t item = {zsock_resolve(kfx_mailbox_sock(self->mailbox)), 0, ZMQ_POLLIN, 0};
    int64_t deadline = kfx_now_ms() + DRAIN_MS, left;
    if (self->leading)
        on_lost(self);
    kfx_leader_settle(self);
    while (self->writes > 0 && (left = deadline - kfx_now_ms()) > 0) {
        if (zmq_poll(&item, 1, (long)left) < 0 && errno != EINTR)
            break;
        kfx_mailbox_dispatch(self->mailbox);
    }
    if (self->writes > 0)
        return; /* the gate stays shut and the Lease ends with its time */
    /* self->lease stays as it is for the gate, which does not look at it any more: acting is false. */
    kfx_lease_t *lease = self->lease;
    kfx_lease_release(&lease);
}

void kfx_leader_start(kfx_watcher_t *self)
{
    KFX_FREE char *identity =
        kfx_xasprintf("%s_%016" PRIx64 "%016" PRIx64, self->opts.instance, (uint64_t)kfx_random_between(0, INT64_MAX),
                      (uint64_t)kfx_random_between(0, INT64_MAX));
    kfx_lease_opts_t opts = {.ns = self->opts.ns,
                             .name = self->opts.lease,
                             .configmap = KFX_LEADER_CONFIGMAP,
                             .identity = identity,
                             .on_lead = on_lead,
                             .on_lost = on_lost,
                             .ctx = self};
    self->lease = kfx_lease_start(self->loop, self->mailbox, &opts);
    kfx_kube_set_gate(self->kube, gate, self);
}

/* ---- a bus that knows a higher epoch ---------------------------------------------------------------------------- */

/* Either somebody else leads, then the Lease tells so soon; or the record of the epoch was lost. Then the bus's number
 * is recorded and this process starts anew: its next leadership counts on from there. */
static void restart(kfx_watcher_t *self)
{
    self->exit_code = 1;
    self->stop = true;
}

static void on_recorded(void *ctx, kfx_request_t *req)
{
    if (req->error.code != KFX_OK)
        kfx_log_warn("epoch of the bus not recorded", "error", req->error.msg, NULL);
    kfx_request_free(req);
    restart(ctx);
}

static void on_record_read(void *ctx, kfx_request_t *req)
{
    kfx_watcher_t *self = ctx;
    uint64_t epoch = (uint64_t)(uintptr_t)req->user;
    const char *text = kfx_json_str(req->answer, "metadata", "annotations", KFX_ANNOTATION_EPOCH);
    const char *rv = kfx_json_str(req->answer, "metadata", "resourceVersion");
    if (req->error.code != KFX_OK || !rv || (text && strtoull(text, NULL, 10) >= epoch)) {
        kfx_request_free(req);
        restart(self);
        return;
    }
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, epoch);
    kfx_request_t *patch = kfx_request_new(
        KFX_MERGE_PATCH,
        json_pack("{s:{s:s, s:{s:s}}}", "metadata", "resourceVersion", rv, "annotations", KFX_ANNOTATION_EPOCH, number),
        "/api/v1/namespaces/%s/configmaps/%s", self->opts.ns, KFX_LEADER_CONFIGMAP);
    kfx_request_free(req);
    kfx_kube_submit(self->mailbox, patch, on_recorded, self);
}

typedef struct {
    kfx_watcher_t *watcher;
    uint64_t epoch;
} stale_t;

static int on_stale_timer(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    stale_t *stale = arg;
    kfx_watcher_t *self = stale->watcher;
    uint64_t epoch = stale->epoch;
    free(stale);
    kfx_bus_stop(self);
    if (!kfx_lease_held(self->lease))
        return 0; /* on_lost is on its way */
    kfx_request_t *req =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/configmaps/%s", self->opts.ns, KFX_LEADER_CONFIGMAP);
    req->user = (void *)(uintptr_t)epoch;
    kfx_kube_submit(self->mailbox, req, on_record_read, self);
    return 0;
}

void kfx_leader_stale(kfx_watcher_t *self, uint64_t epoch)
{
    if (!self->leading)
        return;
    kfx_log_error("the bus knows a higher epoch: this watcher leads no more", "ours", kfx_log_num(self->epoch), "bus",
                  kfx_log_num(epoch), NULL);
    self->leading = false;
    kfx_metric_set(self->stats->leading, 0);
    kfx_watcher_ready(self);
    stale_t *stale = kfx_xcalloc(1, sizeof *stale);
    stale->watcher = self;
    stale->epoch = epoch;
    zloop_timer(self->loop, 1, 1, on_stale_timer, stale); /* not from inside the publisher */
}
