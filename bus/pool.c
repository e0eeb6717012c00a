/* bus/pool.c: see pool.h. */
#include "bus/pool.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

typedef struct {
    kfx_pool_t *pool;
    zactor_t *actor;
    bool busy;
} seat_t;

struct kfx_pool {
    zloop_t *loop;
    kfx_pool_opts_t opts;
    seat_t *seats;
    size_t busy;
    zsock_t *in;
    char *endpoint;
};

static void thread_main(zsock_t *pipe, void *arg)
{
    const kfx_pool_t *pool = arg; /* opts and endpoint only: they never change */
    sigset_t signals;
    sigfillset(&signals); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    zsock_t *out = zsock_new(ZMQ_PUSH);
    if (out) {
        zsock_set_linger(out, 0);
        zsock_set_sndtimeo(out, 0);
        zsock_connect(out, "%s", pool->endpoint);
    }
    zsock_signal(pipe, 0);
    bool stop = false;
    while (!stop) {
        char *command = NULL;
        void *job = NULL;
        if (zsock_recv(pipe, "sp", &command, &job) != 0) {
            stop = errno != EINTR && errno != EAGAIN;
            continue;
        }
        if (command && strcmp(command, "RUN") == 0) {
            pool->opts.run(pool->opts.ctx, job, out);
            zsock_send(pipe, "sp", "ENDED", job);
        } else if (command && strcmp(command, "$TERM") == 0) {
            stop = true;
        }
        zstr_free(&command);
    }
    zsock_destroy(&out);
}

static int on_seat(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    seat_t *seat = arg;
    char *command = NULL;
    void *job = NULL;
    if (zsock_recv(reader, "sp", &command, &job) == 0 && command && strcmp(command, "ENDED") == 0) {
        seat->busy = false;
        seat->pool->busy--;
        seat->pool->opts.on_ended(seat->pool->opts.ctx, job);
    }
    zstr_free(&command);
    return 0;
}

static int on_in(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    kfx_pool_t *self = arg;
    self->opts.on_out(self->opts.ctx, reader);
    return 0;
}

kfx_pool_t *kfx_pool_new(zloop_t *loop, const kfx_pool_opts_t *opts)
{
    static atomic_uint number;
    kfx_pool_t *self = kfx_xcalloc(1, sizeof(*self));
    self->loop = loop;
    self->opts = *opts;
    self->endpoint = kfx_xasprintf("inproc://kfx-pool-%u", atomic_fetch_add(&number, 1));
    self->in = zsock_new(ZMQ_PULL);
    zsock_bind(self->in, "%s", self->endpoint);
    zloop_reader(loop, self->in, on_in, self);
    zloop_reader_set_tolerant(loop, self->in);
    self->seats = kfx_xcalloc(opts->threads, sizeof(*self->seats));
    for (unsigned i = 0; i < opts->threads; i++) {
        seat_t *seat = &self->seats[i];
        seat->pool = self;
        seat->actor = zactor_new(thread_main, self);
        zloop_reader(loop, zactor_sock(seat->actor), on_seat, seat);
        zloop_reader_set_tolerant(loop, zactor_sock(seat->actor));
    }
    return self;
}

void kfx_pool_destroy(kfx_pool_t **self_p)
{
    kfx_pool_t *self = *self_p;
    if (!self)
        return;
    for (unsigned i = 0; i < self->opts.threads; i++) {
        zloop_reader_end(self->loop, zactor_sock(self->seats[i].actor));
        zactor_destroy(&self->seats[i].actor);
    }
    zloop_reader_end(self->loop, self->in);
    zsock_destroy(&self->in);
    free(self->seats);
    free(self->endpoint);
    free(self);
    *self_p = NULL;
}

bool kfx_pool_start(kfx_pool_t *self, void *job)
{
    for (unsigned i = 0; i < self->opts.threads; i++) {
        seat_t *seat = &self->seats[i];
        if (seat->busy)
            continue;
        seat->busy = true;
        self->busy++;
        zsock_send(seat->actor, "sp", "RUN", job);
        return true;
    }
    return false;
}

size_t kfx_pool_busy(const kfx_pool_t *self)
{
    return self->busy;
}

const char *kfx_pool_endpoint(const kfx_pool_t *self)
{
    return self->endpoint;
}
