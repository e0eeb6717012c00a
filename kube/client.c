/* kube/client.c: the client as callers see it: start, end, and the way of commands to the I/O actor. */
#include "base/json.h"
#include "base/mem.h"
#include "kube/io.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct kfx_kube {
    kfx_transport_t transport; /* constant after new */
    atomic_uint refs;          /* the owner and each mailbox */
    pthread_mutex_t lock;      /* around push and closed */
    zsock_t *push;
    bool closed;
    zsock_t *pull; /* the actor's while it runs */
    zactor_t *actor;
};

static void curl_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void kfx_curl_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_once);
}

kfx_kube_t *kfx_kube_ref(kfx_kube_t *self)
{
    atomic_fetch_add(&self->refs, 1);
    return self;
}

void kfx_kube_unref(kfx_kube_t *self)
{
    if (atomic_fetch_sub(&self->refs, 1) != 1)
        return;
    zsock_destroy(&self->push);
    zsock_destroy(&self->pull);
    pthread_mutex_destroy(&self->lock);
    kfx_transport_free(&self->transport);
    free(self);
}

int kfx_pipe_new(zsock_t **pull, zsock_t **push)
{
    /* A number of its own: an address may come back while ZeroMQ still clears away its last owner. */
    static atomic_ullong serial;
    KFX_FREE char *endpoint = kfx_xasprintf("inproc://kfx-kube-%llu", atomic_fetch_add(&serial, 1));
    *pull = zsock_new(ZMQ_PULL);
    *push = zsock_new(ZMQ_PUSH);
    if (!*pull || !*push)
        return -1;
    zsock_set_unbounded(*pull);
    zsock_set_unbounded(*push);
    return zsock_bind(*pull, "%s", endpoint) == 0 && zsock_connect(*push, "%s", endpoint) == 0 ? 0 : -1;
}

kfx_kube_t *kfx_kube_new(kfx_kube_config_t *config, const char *user_agent, kfx_error_t *err)
{
    assert(config);
    kfx_curl_init();
    kfx_kube_t *self = kfx_xcalloc(1, sizeof *self);
    atomic_init(&self->refs, 1);
    pthread_mutex_init(&self->lock, NULL);
    self->closed = true;
    if (kfx_transport_init(&self->transport, config, user_agent, err) != 0) {
        kfx_kube_unref(self);
        return NULL;
    }
    /* Unbounded: nothing is lost, no caller blocks here, and callers wait for their answers, which bounds the queue. */
    if (kfx_pipe_new(&self->pull, &self->push) == 0) {
        kfx_io_args_t args = {.kube = self, .transport = &self->transport, .commands = self->pull};
        self->actor = zactor_new(kfx_io_actor, &args);
    }
    if (!self->actor) {
        kfx_error_set(err, KFX_E_INTERNAL, "cannot start the I/O thread: %s", strerror(errno));
        kfx_kube_unref(self);
        return NULL;
    }
    self->closed = false;
    return self;
}

static void send_cmd(kfx_kube_t *self, kfx_cmd_t *cmd)
{
    int rc;
    do
        rc = zmq_send(zsock_resolve(self->push), &cmd, sizeof cmd, ZMQ_DONTWAIT);
    while (rc == -1 && errno == EINTR);
    assert(rc == (int)sizeof cmd);
}

int kfx_kube_post(kfx_kube_t *self, kfx_cmd_t *cmd)
{
    pthread_mutex_lock(&self->lock);
    bool closed = self->closed;
    if (!closed)
        send_cmd(self, cmd);
    pthread_mutex_unlock(&self->lock);
    return closed ? -1 : 0;
}

bool kfx_kube_closed(kfx_kube_t *self)
{
    pthread_mutex_lock(&self->lock);
    bool closed = self->closed;
    pthread_mutex_unlock(&self->lock);
    return closed;
}

void kfx_sem_wait(sem_t *sem)
{
    while (sem_wait(sem) != 0 && errno == EINTR)
        ;
}

int kfx_kube_sync(kfx_kube_t *self, void (*run)(kfx_io_t *io, kfx_cmd_t *cmd), void *arg)
{
    assert(!kfx_in_io_thread());
    sem_t ack;
    sem_init(&ack, 0, 0);
    kfx_cmd_t cmd = {.run = run, .arg = arg, .ack = &ack};
    int rc = kfx_kube_post(self, &cmd);
    if (rc == 0)
        kfx_sem_wait(&ack);
    sem_destroy(&ack);
    return rc;
}

void kfx_kube_destroy(kfx_kube_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    kfx_kube_t *self = KFX_STEAL(*self_p);
    kfx_cmd_t stop = {.run = kfx_io_stop};
    /* The lock is held until the thread is gone: whoever finds the client closed may count on that. */
    pthread_mutex_lock(&self->lock);
    self->closed = true;
    send_cmd(self, &stop);
    zactor_destroy(&self->actor);
    pthread_mutex_unlock(&self->lock);
    kfx_kube_unref(self);
}

typedef struct {
    bool (*gate)(void *arg);
    void *arg;
} gate_t;

static void set_gate(kfx_io_t *io, kfx_cmd_t *cmd)
{
    const gate_t *gate = cmd->arg;
    io->gate = gate->gate;
    io->gate_arg = gate->arg;
}

void kfx_kube_set_gate(kfx_kube_t *self, bool (*gate)(void *arg), void *arg)
{
    gate_t g = {gate, arg};
    (void)kfx_kube_sync(self, set_gate, &g); /* a closed client writes nothing anyway */
}

const kfx_transport_t *kfx_kube_transport(const kfx_kube_t *self)
{
    return &self->transport;
}

const char *kfx_kube_server(const kfx_kube_t *self)
{
    return self->transport.config->server;
}

json_t *kfx_kube_get(kfx_kube_t *self, kfx_error_t *err, const char *path_fmt, ...)
{
    va_list args;
    va_start(args, path_fmt);
    char *path = NULL;
    int n = vasprintf(&path, path_fmt, args);
    va_end(args);
    assert(n >= 0);
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "%s", path);
    free(path);
    if (kfx_kube_call(self, req, err) != 0)
        return NULL;
    if (!req->answer)
        kfx_error_set(err, KFX_E_PROTOCOL, "get %s at %s: the answer is no JSON", req->path, kfx_kube_server(self));
    return KFX_STEAL(req->answer);
}
