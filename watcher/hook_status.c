/* watcher/hook_status.c: writes the status of PostCreateHooks (hook_use.c says what is in it), all of them a moment
 * after something has changed: a hook that many planes name would be written for each of them else. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "watcher/hooks.h"
#include "watcher/watcher.h"

#define SOON_MS 500
#define AGAIN_MS 30000

typedef struct {
    kfx_watcher_t *watcher;
    char name[KFX_NAME_SIZE];
} call_t;

static int on_timer(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    kfx_watcher_t *self = arg;
    self->hooks_timer = -1;
    kfx_hook_status_all(self);
    return 0;
}

static void later(kfx_watcher_t *self, int64_t ms)
{
    int64_t due = kfx_now_ms() + ms;
    if (self->hooks_timer != -1 && self->hooks_due <= due)
        return;
    if (self->hooks_timer != -1)
        zloop_timer_end(self->loop, self->hooks_timer);
    self->hooks_due = due;
    self->hooks_timer = zloop_timer(self->loop, (size_t)ms, 1, on_timer, self);
}

void kfx_hook_status_later(kfx_watcher_t *self)
{
    later(self, SOON_MS);
}

static void on_written(void *ctx, kfx_request_t *req)
{
    call_t *call = ctx;
    kfx_watcher_t *self = call->watcher;
    kfx_seen_hook_t *hook = kfx_hook_find(self->hooks, call->name);
    if (hook)
        hook->writing = false;
    self->writes--;
    /* A conflict means that the watch is about to show something newer, and with that comes the next try. */
    if (req->error.code != KFX_OK && req->error.code != KFX_E_CONFLICT && req->error.code != KFX_E_NOT_FOUND) {
        kfx_log_warn("status of a PostCreateHook not written", "hook", call->name, "error", req->error.msg, NULL);
        later(self, AGAIN_MS);
    } else if (hook && kfx_rv_compare(hook->rv, (const char *)req->user) > 0) {
        later(self, SOON_MS); /* it was changed meanwhile */
    }
    free(req->user);
    kfx_request_free(req);
    free(call);
    kfx_leader_settle(self);
}

static void write_status(void *ctx, kfx_seen_hook_t *hook)
{
    kfx_watcher_t *self = ctx;
    json_t *patch = hook->writing ? NULL : kfx_hook_status_patch(hook, time(NULL));
    if (!patch)
        return;
    KFX_FREE char *name = kfx_kube_escape(hook->name);
    kfx_request_t *req = kfx_request_new(KFX_MERGE_PATCH, patch, KFX_POSTCREATEHOOKS_PATH "/%s/status", name);
    req->field_manager = kfx_xstrdup(KFX_WRITER);
    req->user = kfx_xstrdup(hook->rv);
    call_t *call = kfx_xcalloc(1, sizeof *call);
    call->watcher = self;
    kfx_copy(call->name, sizeof call->name, hook->name);
    hook->writing = true;
    self->writes++;
    kfx_kube_submit(self->mailbox, req, on_written, call);
}

void kfx_hook_status_all(kfx_watcher_t *self)
{
    if (!self->leading || !self->synced) /* what is known is not all yet: the end of the list says that it is */
        return;
    kfx_hooks_tally(self->hooks, self->planes);
    kfx_hook_each(self->hooks, write_status, self);
}
