/* kube/wait.c: waits for an object to be there, by a watch on its name. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <assert.h>
#include <string.h>

typedef struct {
    const char *data_key; /* read in the I/O thread, constant */
    json_t *found;
    kfx_error_t last;
} waiting_t;

static void *reduce(void *ctx, const json_t *object)
{
    const waiting_t *self = ctx;
    if (self->data_key && !kfx_json_str(object, "data", self->data_key))
        return NULL;
    return json_deep_copy(object);
}

static void free_item(void *item)
{
    json_decref(item);
}

static void on_event(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    waiting_t *self = ctx;
    if (event == KFX_WATCH_ERROR)
        self->last = *err;
    else if (event == KFX_WATCH_SYNC_END)
        self->last = (kfx_error_t)KFX_ERROR_INIT;
    if (event == KFX_WATCH_ADDED || event == KFX_WATCH_MODIFIED) {
        json_decref(self->found);
        self->found = KFX_STEAL(item);
    } else if (event == KFX_WATCH_DELETED) {
        json_decref(self->found);
        self->found = NULL;
    }
    json_decref(item);
}

json_t *kfx_kube_wait_object(kfx_kube_t *self, const char *collection, const char *name, const char *data_key,
                             int64_t deadline, kfx_error_t *err)
{
    assert(!kfx_in_io_thread());
    waiting_t waiting = {.data_key = data_key, .last = KFX_ERROR_INIT};
    KFX_FREE char *selector = kfx_xasprintf("metadata.name=%s", name);
    kfx_watch_spec_t spec = {.path = collection,
                             .field_selector = selector,
                             .reduce = reduce,
                             .on_event = on_event,
                             .free_item = free_item,
                             .ctx = &waiting};
    kfx_mailbox_t *box = kfx_mailbox_new(self);
    kfx_watch_t *watch = kfx_watch_start(box, &spec);
    bool closed = false;
    while (!waiting.found && !closed) {
        int64_t left = deadline - kfx_now_ms();
        if (left <= 0)
            break;
        zmq_pollitem_t item = {.socket = zsock_resolve(kfx_mailbox_sock(box)), .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, (long)(left < 1000 ? left : 1000)); /* an early return only looks again */
        kfx_mailbox_dispatch(box);
        closed = waiting.last.code == KFX_E_CANCELED || kfx_kube_closed(self);
    }
    kfx_watch_stop(&watch);
    kfx_mailbox_destroy(&box);
    if (!waiting.found) {
        if (closed)
            kfx_error_set(err, KFX_E_CANCELED, "wait for %s/%s: the client was closed", collection, name);
        else if (waiting.last.code != KFX_OK)
            kfx_error_set(err, waiting.last.code, "wait for %s/%s: %s", collection, name, waiting.last.msg);
        else
            kfx_error_set(err, KFX_E_TIMEOUT, "wait for %s/%s%s%s: it did not come in time", collection, name,
                          data_key ? " with key " : "", data_key ? data_key : "");
    }
    return waiting.found;
}
