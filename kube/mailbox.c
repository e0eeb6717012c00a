/* kube/mailbox.c: answers and watch events on their way into a zloop.
 *
 * The mailbox has both ends of a PUSH/PULL pair. The I/O thread uses the PUSH end as long as it lives; once the client
 * is closed (kfx_kube_post says so, and then the thread is gone) the owner uses it.
 */
#include "base/mem.h"
#include "kube/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ITEMS_A_TURN 1024

kfx_mailbox_t *kfx_mailbox_new(kfx_kube_t *self)
{
    kfx_mailbox_t *box = kfx_xcalloc(1, sizeof *box);
    box->kube = kfx_kube_ref(self);
    TAILQ_INIT(&box->watches);
    atomic_init(&box->pending, 0);
    /* Unbounded, but watches bound themselves by `pending`, and requests are as many as were submitted. */
    if (kfx_pipe_new(&box->pull, &box->push) != 0)
        abort(); /* out of sockets or memory */
    return box;
}

zsock_t *kfx_mailbox_sock(kfx_mailbox_t *self)
{
    return self->pull;
}

bool kfx_mailbox_full(const kfx_mailbox_t *self)
{
    return atomic_load(&self->pending) >= KFX_MAILBOX_MAX;
}

void kfx_mailbox_push(kfx_mailbox_t *self, const kfx_item_t *item)
{
    kfx_item_t *copy = kfx_xcalloc(1, sizeof *copy);
    *copy = *item;
    atomic_fetch_add(&self->pending, 1);
    int rc;
    do
        rc = zmq_send(zsock_resolve(self->push), &copy, sizeof copy, ZMQ_DONTWAIT);
    while (rc == -1 && errno == EINTR);
    assert(rc == (int)sizeof copy);
}

static kfx_item_t *take(kfx_mailbox_t *self)
{
    kfx_item_t *item = NULL;
    int rc;
    do
        rc = zmq_recv(zsock_resolve(self->pull), &item, sizeof item, ZMQ_DONTWAIT);
    while (rc == -1 && errno == EINTR);
    if (rc != (int)sizeof item)
        return NULL;
    atomic_fetch_sub(&self->pending, 1);
    return item;
}

static void run_item(kfx_item_t *item, bool discard)
{
    kfx_watch_t *watch = item->watch;
    switch (item->kind) {
    case KFX_ITEM_REQUEST: {
        kfx_job_t *job = item->job;
        kfx_request_t *req = job->req;
        if (discard) {
            kfx_request_free(req);
        } else {
            kfx_job_finish(job);
            job->on_done(job->ctx, req);
        }
        kfx_job_free(job);
        break;
    }
    case KFX_ITEM_WATCH:
        if (!discard && !watch->stopped)
            watch->spec.on_event(watch->spec.ctx, item->event, item->item, item->err);
        else if (item->item)
            (watch->spec.free_item ? watch->spec.free_item : free)(item->item);
        break;
    case KFX_ITEM_WATCH_END: kfx_watch_free(watch); break; /* nothing of it can come any more */
    }
    free(item->err);
    free(item);
}

void kfx_mailbox_dispatch(kfx_mailbox_t *self)
{
    /* Bounded, so that a flood does not starve the owner's timers: the socket stays readable for the rest. */
    for (int i = 0; i < ITEMS_A_TURN; i++) {
        kfx_item_t *item = take(self);
        if (!item)
            return;
        run_item(item, false);
    }
}

/* ---- requests
 * -------------------------------------------------------------------------------------------------------------- */

static void done_mailbox(kfx_io_t *io, kfx_job_t *job)
{
    (void)io;
    kfx_mailbox_t *self = job->owner;
    kfx_item_t item = {.kind = KFX_ITEM_REQUEST, .job = job};
    if (self) {
        kfx_mailbox_push(self, &item);
    } else { /* the mailbox was closed meanwhile */
        kfx_request_free(job->req);
        kfx_job_free(job);
    }
}

void kfx_kube_submit(kfx_mailbox_t *self, kfx_request_t *req, void (*on_done)(void *ctx, kfx_request_t *req), void *ctx)
{
    kfx_job_t *job = kfx_job_new(req, done_mailbox, self);
    job->on_done = on_done;
    job->ctx = ctx;
    if (kfx_kube_post(self->kube, &job->cmd) == 0)
        return;
    kfx_error_set(&req->error, KFX_E_CANCELED, "%s %.200s: the client was closed", kfx_verb_name(req->verb), req->path);
    done_mailbox(NULL, job);
}

/* ---- end
 * ----------------------------------------------------------------------------------------------------------------------
 */

static void disown(struct kfx_job_list *list, kfx_mailbox_t *self)
{
    kfx_job_t *job;
    TAILQ_FOREACH(job, list, link)
    {
        if (job->done == done_mailbox && job->owner == self)
            job->owner = NULL;
    }
}

static void close_in_io(kfx_io_t *io, kfx_cmd_t *cmd)
{
    kfx_mailbox_t *self = cmd->arg;
    disown(&io->urgent, self);
    disown(&io->normal, self);
    disown(&io->sleeping, self);
    disown(&io->running, self);
    kfx_watch_t *watch, *next;
    for (watch = TAILQ_FIRST(&io->watch_list); watch; watch = next) {
        next = TAILQ_NEXT(watch, io_link);
        if (watch->mailbox == self)
            kfx_watch_io_stop(io, watch);
    }
}

void kfx_mailbox_destroy(kfx_mailbox_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    kfx_mailbox_t *self = KFX_STEAL(*self_p);
    (void)kfx_kube_sync(self->kube, close_in_io, self); /* closed: the I/O thread ended all already */
    kfx_item_t *item;
    while ((item = take(self)))
        run_item(item, true);
    kfx_watch_t *watch;
    while ((watch = TAILQ_FIRST(&self->watches))) {
        TAILQ_REMOVE(&self->watches, watch, owner_link);
        kfx_watch_free(watch);
    }
    zsock_destroy(&self->push);
    zsock_destroy(&self->pull);
    kfx_kube_unref(self->kube);
    free(self);
}
