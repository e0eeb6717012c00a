#include "cli/wait.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define KFX_WAIT_TARGETS_MAX 4
#define KFX_SPIN_MS 100
#define KFX_IDLE_MS 1000
#define KFX_OUTAGE_MS 5000 /* a server that does not answer for this long is worth a word */

typedef struct {
    const kfx_wait_t *spec;
    kfx_watch_t *watch;
    struct wait_all *all;
    char field[300];
    bool done;
    bool seen; /* between SYNC_BEGIN and SYNC_END: the list has it */
} target_t;

typedef struct wait_all {
    target_t target[KFX_WAIT_TARGETS_MAX];
    size_t count;
    bool failed;
    kfx_error_t error; /* of a callback, or the last one of a watch */
    int64_t error_since;
    bool error_told;
} wait_all_t;

/* Signals end the wait through a pipe: the handler may run at any time. */
static int stop_pipe[2] = {-1, -1};

static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    if (write(stop_pipe[1], &byte, 1) < 0) {
        /* the pipe is full: a byte is there already */
    }
    errno = saved;
}

static void tell(target_t *t, const void *item)
{
    if (t->done || t->all->failed)
        return;
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = t->spec->changed(t->spec->ctx, item, &err);
    t->done = rc > 0;
    if (rc < 0) {
        t->all->failed = true;
        t->all->error = err;
    }
}

static void forget_error(wait_all_t *all)
{
    all->error.code = KFX_OK;
    all->error_told = false;
}

/* A watch that fails goes on by itself, unless we have no right to it. */
static void watch_failed(target_t *t, const kfx_error_t *err)
{
    wait_all_t *all = t->all;
    if (t->done || all->failed)
        return;
    bool refused = err->code == KFX_E_FORBIDDEN || err->code == KFX_E_UNAUTHORIZED;
    if (refused && t->spec->refused) {
        t->spec->refused(t->spec->ctx, err);
        t->done = true;
        return;
    }
    if (!all->error.code)
        all->error_since = kfx_now_ms();
    all->error = *err;
    all->failed = refused;
}

/* Once per outage. The watches go on trying. */
static void tell_outage(wait_all_t *all, int64_t now, kfx_out_t *out)
{
    if (!all->error.code || all->error_told || now - all->error_since < KFX_OUTAGE_MS)
        return;
    kfx_out_note(out, "Waiting: %s", all->error.msg);
    all->error_told = true;
}

static void on_watch(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    target_t *t = ctx;
    if (event != KFX_WATCH_ERROR && !t->all->failed)
        forget_error(t->all); /* it answers again */
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: t->seen = false; break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
        t->seen = true;
        tell(t, item);
        break;
    case KFX_WATCH_DELETED: tell(t, NULL); break;
    case KFX_WATCH_SYNC_END:
        if (!t->seen)
            tell(t, NULL);
        break;
    case KFX_WATCH_ERROR:
        if (err)
            watch_failed(t, err);
        break;
    }
    free(item);
}

static bool all_done(const wait_all_t *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (!all->target[i].done)
            return false;
    return true;
}

static int loop(wait_all_t *all, kfx_mailbox_t *mailbox, int64_t deadline, kfx_out_t *out, int64_t since,
                const char *(*text)(void *ctx), void *text_ctx, kfx_error_t *err)
{
    zsock_t *sock = kfx_mailbox_sock(mailbox);
    zpoller_t *poller = zpoller_new(sock, &stop_pipe[0], NULL);
    assert(poller);
    int rc = 1;
    while (rc > 0) {
        kfx_mailbox_dispatch(mailbox);
        int64_t now = kfx_now_ms();
        if (all->failed) {
            if (err)
                *err = all->error;
            rc = -1;
        } else if (all_done(all))
            rc = 0;
        else if (now >= deadline)
            rc = kfx_error_set(err, KFX_E_TIMEOUT, "the time is over%s%s", all->error.code ? ": " : "",
                               all->error.code ? all->error.msg : "");
        else {
            tell_outage(all, now, out);
            if (text)
                kfx_out_spin(out, now - since, "%s", text(text_ctx));
            int64_t pause = out->spin && text ? KFX_SPIN_MS : KFX_IDLE_MS;
            void *which = zpoller_wait(poller, (int)(deadline - now < pause ? deadline - now : pause));
            if (which == (void *)&stop_pipe[0])
                rc = kfx_error_set(err, KFX_E_CANCELED, "interrupted");
        }
    }
    zpoller_destroy(&poller);
    kfx_out_spin_clear(out);
    return rc;
}

int kfx_wait(kfx_kube_t *kube, const kfx_wait_t *targets, size_t count, int64_t deadline, kfx_out_t *out, int64_t since,
             const char *(*text)(void *ctx), void *text_ctx, kfx_error_t *err)
{
    assert(count <= KFX_WAIT_TARGETS_MAX);
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "pipe: %s", strerror(errno));
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, was_int, was_term;
    sigaction(SIGINT, &action, &was_int);
    sigaction(SIGTERM, &action, &was_term);

    kfx_mailbox_t *mailbox = kfx_mailbox_new(kube);
    wait_all_t *all = kfx_xcalloc(1, sizeof *all);
    all->count = count;
    for (size_t i = 0; i < count; i++) {
        target_t *t = &all->target[i];
        t->spec = &targets[i];
        t->all = all;
        snprintf(t->field, sizeof t->field, "metadata.name=%s", targets[i].name);
        kfx_watch_spec_t spec = {.path = targets[i].collection,
                                 .field_selector = t->field,
                                 .metadata_only = targets[i].metadata_only,
                                 .reduce = targets[i].reduce,
                                 .on_event = on_watch,
                                 .free_item = free,
                                 .ctx = t};
        t->watch = kfx_watch_start(mailbox, &spec);
    }
    int rc = loop(all, mailbox, deadline, out, since, text, text_ctx, err);

    for (size_t i = 0; i < count; i++)
        kfx_watch_stop(&all->target[i].watch);
    kfx_mailbox_destroy(&mailbox);
    free(all);
    sigaction(SIGINT, &was_int, NULL);
    sigaction(SIGTERM, &was_term, NULL);
    close(stop_pipe[0]);
    close(stop_pipe[1]);
    return rc;
}
