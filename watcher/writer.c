/* watcher/writer.c: finalizer and status writes: one at a time per plane, bound to uid and resourceVersion, so that a
 * conflict means "look again and merge again", never "overwrite". */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "watcher/watcher.h"

#define RETRY_BASE_MS 200
#define RETRY_CAP_MS 30000
#define UNKEPT_TRIES 8 /* in about a minute; a new definition takes effect some time after the watch shows it */

typedef struct {
    kfx_watcher_t *watcher;
    kfx_plane_t *plane; /* stays while its op is not NONE */
    char uid[KFX_SEEN_UID_SIZE];
    kfx_status_t *before; /* for Events; owned */
} call_t;

static void free_call(call_t *call)
{
    free(call->before);
    free(call);
}

static int on_retry(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    kfx_watcher_t *self = arg;
    self->retry_timer = -1;
    kfx_watcher_mark_all(self);
    kfx_watcher_flush(self);
    return 0;
}

/* Nothing before a pause that grows, unless the watch shows something newer (kfx_plane_update). */
static void pause_plane(kfx_watcher_t *self, kfx_plane_t *plane)
{
    int64_t ms = kfx_backoff_ms(plane->fails++, RETRY_BASE_MS, RETRY_CAP_MS);
    plane->retry_at = kfx_now_ms() + ms;
    kfx_writer_later(self, plane->retry_at);
}

void kfx_writer_later(kfx_watcher_t *self, int64_t at)
{
    int64_t left = at - kfx_now_ms();
    if (self->retry_timer != -1 && self->retry_due <= at)
        return;
    if (self->retry_timer != -1)
        zloop_timer_end(self->loop, self->retry_timer);
    self->retry_due = at;
    self->retry_timer = zloop_timer(self->loop, (size_t)(left > 0 ? left : 0) + 1, 1, on_retry, self);
}

static bool still_ours(const call_t *call)
{
    return call->plane->present && strcmp(call->plane->uid, call->uid) == 0;
}

static void on_read(void *ctx, kfx_request_t *req)
{
    call_t *call = ctx;
    kfx_watcher_t *self = call->watcher;
    kfx_plane_t *plane = call->plane;
    plane->op = KFX_OP_NONE;
    if (still_ours(call)) {
        char rv[KFX_SEEN_RV_SIZE];
        kfx_copy(rv, sizeof rv, plane->rv);
        kfx_seen_plane_t *seen = req->error.code == KFX_OK ? kfx_reduce_plane(req->answer) : NULL;
        if (seen && strcmp(seen->uid, plane->uid) == 0)
            kfx_plane_answered(plane, seen);
        kfx_seen_plane_free(seen);
        if (strcmp(rv, plane->rv) == 0) /* nothing newer to be had: the next try would fail alike */
            pause_plane(self, plane);
    }
    kfx_watcher_mark(self, plane);
    kfx_request_free(req);
    free_call(call);
}

static void read_again(call_t *call)
{
    call->plane->op = KFX_OP_READ;
    KFX_FREE char *name = kfx_kube_escape(call->plane->name);
    kfx_kube_submit(call->watcher->mailbox, kfx_request_new(KFX_GET, NULL, KFX_CONTROLPLANES_PATH "/%s", name), on_read,
                    call);
}

/* A definition without some field, or a webhook: writing the same again at once would go on for ever. */
static void check_kept(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_request_t *req, const kfx_status_t *kept)
{
    kfx_status_t *meant = kfx_status_from_json(kfx_json_get(req->body, "status"));
    uint32_t words = meant && !kfx_status_equal(meant, kept) ? kfx_status_words(meant) : 0;
    free(meant);
    if (words != plane->unkept)
        kfx_plane_kept(plane);
    if (!words)
        return;
    if (!plane->unkept)
        kfx_log_warn("the API server did not keep a status as it was written", "plane", plane->name, "uid", plane->uid,
                     NULL);
    bool hope = (!self->schema_known || self->schema.records) && plane->unkept_tries < UNKEPT_TRIES;
    plane->unkept = words;
    plane->unkept_until = hope ? kfx_now_ms() + kfx_backoff_ms(plane->unkept_tries++, RETRY_BASE_MS, RETRY_CAP_MS) : 0;
}

static void landed(call_t *call, kfx_op_t op, const kfx_request_t *req)
{
    kfx_watcher_t *self = call->watcher;
    kfx_plane_t *plane = call->plane;
    bool first_ready = !kfx_status_is(call->before, "Ready", "True");
    plane->fails = 0;
    plane->retry_at = 0;
    if (op != KFX_OP_LABELS)
        kfx_metric_add(op == KFX_OP_STATUS ? self->stats->status_writes : self->stats->finalizer_writes, 1);
    kfx_seen_plane_t *seen = kfx_reduce_plane(req->answer);
    if (!seen || strcmp(seen->uid, call->uid) != 0) {
        kfx_seen_plane_free(seen);
        return; /* the watch will show it */
    }
    if (op == KFX_OP_STATUS)
        check_kept(self, plane, req, seen->status);
    if (op == KFX_OP_STATUS && self->leading) {
        kfx_announce_status(self, plane, call->before, seen->status);
        if (plane->timed && first_ready && kfx_status_is(seen->status, "Ready", "True")) {
            kfx_metric_observe_ms(self->stats->ready_time, kfx_now_ms() - plane->first_seen);
            plane->timed = false;
        }
    }
    kfx_plane_answered(plane, seen);
    kfx_seen_plane_free(seen);
}

static void on_written(void *ctx, kfx_request_t *req)
{
    call_t *call = ctx;
    kfx_watcher_t *self = call->watcher;
    kfx_plane_t *plane = call->plane;
    kfx_op_t op = plane->op;
    bool again = false;
    plane->op = KFX_OP_NONE;
    self->writes--;
    if (still_ours(call)) {
        switch (req->error.code) {
        case KFX_OK: landed(call, op, req); break;
        case KFX_E_CONFLICT:
            kfx_metric_add(self->stats->conflicts, 1);
            /* Where the watch has shown the newer one meanwhile, merge with that; else fetch it. */
            again = strcmp((const char *)req->user, plane->rv) == 0;
            break;
        case KFX_E_FENCED: /* we lead no more */
        case KFX_E_NOT_FOUND: /* the watch will say so */ pause_plane(self, plane); break;
        default:
            kfx_metric_add(self->stats->failures, 1);
            kfx_log_warn(op == KFX_OP_STATUS      ? "status not written"
                         : op == KFX_OP_FINALIZER ? "finalizer not written"
                                                  : "labels of a hook not written",
                         "plane", plane->name, "uid", plane->uid, "code", kfx_code_name(req->error.code), "error",
                         req->error.msg, NULL);
            pause_plane(self, plane);
        }
    }
    free(req->user);
    kfx_request_free(req);
    kfx_leader_settle(self);
    if (again && self->leading) {
        read_again(call);
        return;
    }
    kfx_watcher_mark(self, plane);
    free_call(call);
}

void kfx_writer_submit(kfx_watcher_t *self, kfx_plane_t *plane, kfx_op_t op, json_t *patch)
{
    KFX_FREE char *name = kfx_kube_escape(plane->name);
    kfx_request_t *req = kfx_request_new(KFX_MERGE_PATCH, patch, KFX_CONTROLPLANES_PATH "/%s%s", name,
                                         op == KFX_OP_STATUS ? "/status" : "");
    req->field_manager = kfx_xstrdup(KFX_WRITER);
    req->user = kfx_xstrdup(plane->rv);
    call_t *call = kfx_xcalloc(1, sizeof *call);
    call->watcher = self;
    call->plane = plane;
    kfx_copy(call->uid, sizeof call->uid, plane->uid);
    call->before = plane->status ? kfx_status_dup(plane->status) : NULL;
    plane->op = op;
    self->writes++;
    kfx_kube_submit(self->mailbox, req, on_written, call);
}
