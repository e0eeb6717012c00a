/* watcher/hook_status.c: the status of PostCreateHooks: whether their templates can be parsed. How a hook stands in a
 * plane is said in that plane's status. */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "watcher/hooks.h"
#include "watcher/watcher.h"

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
        if (self->hooks_timer == -1)
            self->hooks_timer = zloop_timer(self->loop, AGAIN_MS, 1, on_timer, self);
    } else if (hook && kfx_rv_compare(hook->rv, (const char *)req->user) > 0) {
        kfx_hook_status(self, hook); /* it was changed meanwhile */
    }
    free(req->user);
    kfx_request_free(req);
    free(call);
    kfx_leader_settle(self);
}

void kfx_hook_status(kfx_watcher_t *self, kfx_seen_hook_t *hook)
{
    json_t *patch = self->leading && !hook->writing ? kfx_hook_status_patch(hook, time(NULL)) : NULL;
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

static void each(void *ctx, kfx_seen_hook_t *hook)
{
    kfx_hook_status(ctx, hook);
}

void kfx_hook_status_all(kfx_watcher_t *self)
{
    kfx_hook_each(self->hooks, each, self);
}
