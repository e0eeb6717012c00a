/* bus/session.c: see session.h. */
#include "bus/session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/alive.h"

#include <string.h>

#define PINGS 16          /* send times remembered; a PONG to an older one says nothing useful */
#define RETRY_BASE_MS 100 /* between connection attempts, doubling */
#define RETRY_CAP_MS 2000
#define REHELLO_MS 200 /* HELLOs on one connection are at least this far apart */
#define BATCH 64
#define REFRESH_ATTEMPTS 1 /* in vain, before the keys are suspected */
#define REFRESH_MS 10000

typedef enum { AWAY, GREETING, UP } session_state_t;

struct kfx_session {
    zloop_t *loop;
    kfx_session_opts_t opts;
    char *endpoint, *role, *service, *instance;
    kfx_bus_keys_t keys;

    session_state_t state;
    zsock_t *sock;
    int tick_timer, retry_timer;
    unsigned attempts;
    bool halted;
    bool complained; /* about this outage */
    int64_t refreshed_at;
    uint64_t lease;
    uint32_t lease_ms;
    uint64_t seq;
    uint64_t hello_seq;
    int64_t hello_at, heard_at;
    struct {
        uint64_t seq;
        int64_t at;
    } pings[PINGS];
    bool *gone; /* set where a callback destroyed us */
};

static int on_readable(zloop_t *loop, zsock_t *reader, void *arg);
static int on_retry(zloop_t *loop, int timer_id, void *arg);

static void disconnect(kfx_session_t *self)
{
    if (!self->sock)
        return;
    zloop_reader_end(self->loop, self->sock);
    zsock_destroy(&self->sock);
}

static void retry_in(kfx_session_t *self, int64_t delay)
{
    if (self->retry_timer != -1)
        zloop_timer_end(self->loop, self->retry_timer);
    self->retry_timer = zloop_timer(self->loop, (size_t)(delay > 0 ? delay : 1), 1, on_retry, self);
}

/* The connection is of no use: a new one after a while. The lease is kept, to be named in the next HELLO. */
static void give_up(kfx_session_t *self, const char *why)
{
    bool was_up = self->state == UP;
    self->state = AWAY;
    disconnect(self);
    if (!self->complained) {
        kfx_log_warn("bus is away", "endpoint", self->endpoint, "reason", why, NULL);
        self->complained = true;
    }
    if (!self->halted)
        retry_in(self, kfx_backoff_ms(self->attempts++, RETRY_BASE_MS, RETRY_CAP_MS));
    if (was_up && self->opts.on_down)
        self->opts.on_down(self->opts.ctx); /* last: it may destroy us */
}

int kfx_session_send(kfx_session_t *self, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload)
{
    if (!self->sock || (self->state != UP && kind != KFX_HELLO))
        return -1;
    kfx_envelope_t full = *env;
    kfx_copy(full.sender, sizeof(full.sender), self->instance);
    full.lease = self->lease;
    zmsg_t *msg = kfx_msg_encode(kind, &full, payload);
    if (!msg)
        return -1;
    int rc = zmsg_send(&msg, self->sock);
    zmsg_destroy(&msg);
    return rc;
}

static void say_hello(kfx_session_t *self)
{
    kfx_envelope_t env = {.epoch = self->opts.epoch,
                          .revision = self->opts.revision,
                          .version_min = KFX_PROTO_MIN,
                          .version_max = KFX_PROTO_MAX};
    kfx_copy(env.role, sizeof(env.role), self->role);
    kfx_copy(env.service, sizeof(env.service), self->service);
    if (self->opts.on_fill)
        self->opts.on_fill(self->opts.ctx, &env);
    self->hello_seq = env.seq = ++self->seq;
    self->hello_at = kfx_now_ms();
    self->state = GREETING;
    kfx_session_send(self, KFX_HELLO, &env, NULL);
}

void kfx_session_ping(kfx_session_t *self)
{
    if (self->state != UP)
        return;
    kfx_envelope_t env = {.seq = ++self->seq};
    if (self->opts.on_fill)
        self->opts.on_fill(self->opts.ctx, &env);
    self->pings[env.seq % PINGS].seq = env.seq;
    self->pings[env.seq % PINGS].at = kfx_now_ms(); /* before it is sent: the lease counts from here */
    kfx_session_send(self, KFX_PING, &env, NULL);
}

/* True where they are others now. */
static bool refresh_keys(kfx_session_t *self)
{
    int64_t now = kfx_now_ms();
    if (!self->opts.refresh_keys || (self->refreshed_at && now - self->refreshed_at < REFRESH_MS))
        return false;
    self->refreshed_at = now;
    kfx_bus_keys_t keys = self->keys;
    bool others = self->opts.refresh_keys(self->opts.ctx, &keys) == 0 && memcmp(&keys, &self->keys, sizeof(keys)) != 0;
    if (others) {
        kfx_log_info("keys read again", "role", self->role, NULL);
        self->keys = keys;
    }
    kfx_wipe(&keys, sizeof(keys));
    return others;
}

/* The bus says that our key ends soon. The new connection quotes the lease of this one: no task is lost. */
static void renew(kfx_session_t *self)
{
    if (!refresh_keys(self))
        return;
    self->state = AWAY;
    disconnect(self);
    retry_in(self, 1);
    if (self->opts.on_down)
        self->opts.on_down(self->opts.ctx); /* last: it may destroy us */
}

static int connect_now(kfx_session_t *self, kfx_error_t *err)
{
    zsock_t *sock = zsock_new(ZMQ_DEALER);
    if (!sock)
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot make a socket: %s", zmq_strerror(zmq_errno()));
    zsock_set_linger(sock, 0);
    zsock_set_sndtimeo(sock, 0);
    zsock_set_sndhwm(sock, 4096);
    zsock_set_rcvhwm(sock, 4096);
    zsock_set_maxmsgsize(sock, KFX_FRAME_MAX);
    zsock_set_reconnect_ivl(sock, RETRY_BASE_MS);
    zsock_set_reconnect_ivl_max(sock, 500);
    zsock_set_connect_timeout(sock, 2000);
    zsock_set_handshake_ivl(sock, 3000);
    zsock_set_heartbeat_ivl(sock, 1000);
    zsock_set_heartbeat_timeout(sock, 3000);
    zsock_set_tcp_keepalive(sock, 1);
    zsock_set_tcp_keepalive_idle(sock, 10);
    zsock_set_tcp_keepalive_intvl(sock, 5);
    zsock_set_tcp_keepalive_cnt(sock, 3);
    if (self->keys.public_key[0]) {
        zsock_set_curve_serverkey(sock, self->keys.server_key);
        zsock_set_curve_publickey(sock, self->keys.public_key);
        zsock_set_curve_secretkey(sock, self->keys.secret_key);
    }
    if (zsock_connect(sock, "%s", self->endpoint) != 0) {
        zsock_destroy(&sock);
        return kfx_error_set(err, KFX_E_INVALID, "cannot connect to %s: %s", self->endpoint, zmq_strerror(zmq_errno()));
    }
    self->sock = sock;
    zloop_reader(self->loop, sock, on_readable, self);
    zloop_reader_set_tolerant(self->loop, sock);
    say_hello(self);
    return 0;
}

static int on_retry(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_session_t *self = arg;
    kfx_error_t err = KFX_ERROR_INIT;
    if (!kfx_alive(self))
        return 0;
    self->retry_timer = -1;
    if (self->state == AWAY && self->attempts >= REFRESH_ATTEMPTS)
        (void)refresh_keys(self);
    if (self->state == GREETING)
        say_hello(self); /* on the same connection */
    else if (self->state == AWAY && connect_now(self, &err) != 0)
        give_up(self, err.msg);
    return 0;
}

static int on_tick(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_session_t *self = arg;
    int64_t now = kfx_now_ms();
    if (!kfx_alive(self))
        return 0;
    if (self->state == GREETING && now - self->hello_at > KFX_WELCOME_MS)
        give_up(self, "no answer to HELLO");
    else if (self->state == UP && now - self->heard_at > KFX_SILENCE_MS)
        give_up(self, "no answer to PING");
    else
        kfx_session_ping(self);
    return 0;
}

static void on_welcome(kfx_session_t *self, const kfx_envelope_t *env)
{
    if (self->state != GREETING || env->seq != self->hello_seq)
        return;
    self->state = UP;
    self->attempts = 0;
    self->complained = false;
    self->lease = env->lease;
    self->lease_ms = env->lease_ms;
    self->heard_at = kfx_now_ms();
    memset(self->pings, 0, sizeof(self->pings));
    kfx_log_info("bus says welcome", "endpoint", self->endpoint, "role", self->role, NULL);
    bool gone = false;
    bool *outer = self->gone;
    self->gone = &gone;
    self->opts.on_up(self->opts.ctx, env);
    if (gone) {
        if (outer)
            *outer = true;
        return;
    }
    self->gone = outer;
    if (self->opts.on_lease)
        self->opts.on_lease(self->opts.ctx, self->hello_at + self->lease_ms);
    kfx_session_ping(self); /* the HELLO may be older than a lease */
}

static void on_pong(kfx_session_t *self, const kfx_envelope_t *env)
{
    if (self->state != UP || env->lease != self->lease || env->seq == 0 ||
        self->pings[env->seq % PINGS].seq != env->seq)
        return;
    self->heard_at = kfx_now_ms();
    if (env->lease_ms)
        self->lease_ms = env->lease_ms;
    const bool *gone = self->gone;
    if (self->opts.on_lease)
        self->opts.on_lease(self->opts.ctx, self->pings[env->seq % PINGS].at + self->lease_ms);
    if (env->renew && !(gone && *gone))
        renew(self);
}

/* True where the bus does not know our session (it was restarted, or we were silent too long). */
static bool on_error(kfx_session_t *self, const kfx_envelope_t *env)
{
    if (env->code != KFX_E_UNAUTHORIZED) {
        kfx_log_warn("bus refuses", "code", kfx_code_name((kfx_code_t)env->code), "plane", env->key, "uid", env->uid,
                     "error", env->text, NULL);
        return false;
    }
    if (self->state != UP)
        return true; /* an answer to what was sent before HELLO */
    self->state = GREETING;
    self->hello_at = kfx_now_ms();
    self->hello_seq = 0;
    retry_in(self, kfx_random_between(1, REHELLO_MS));
    if (self->opts.on_down)
        self->opts.on_down(self->opts.ctx);
    return true;
}

static void take(kfx_session_t *self, kfx_msg_t *msg)
{
    switch (msg->kind) {
    case KFX_WELCOME: on_welcome(self, &msg->env); break;
    case KFX_PONG: on_pong(self, &msg->env); break;
    case KFX_ERROR:
        if (!on_error(self, &msg->env))
            self->opts.on_message(self->opts.ctx, msg);
        break;
    default:
        if (self->state == UP)
            self->opts.on_message(self->opts.ctx, msg);
    }
}

static int on_readable(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    kfx_session_t *self = arg;
    bool gone = false;
    for (int i = 0; i < BATCH && !gone && self->sock == reader && (zsock_events(reader) & ZMQ_POLLIN); i++) {
        zmsg_t *frames = zmsg_recv(reader);
        kfx_msg_t msg;
        kfx_error_t err = KFX_ERROR_INIT;
        if (!frames)
            break;
        self->gone = &gone;
        if (kfx_msg_decode(frames, &msg, &err) == 0)
            take(self, &msg);
        else
            kfx_log_warn("malformed message from the bus", "error", err.msg, NULL);
        if (!gone)
            self->gone = NULL;
        kfx_msg_release(&msg);
        zmsg_destroy(&frames);
    }
    return 0;
}

kfx_session_t *kfx_session_new(zloop_t *loop, const kfx_session_opts_t *opts, kfx_error_t *err)
{
    kfx_session_t *self = kfx_xcalloc(1, sizeof(*self));
    kfx_alive_add(self);
    self->loop = loop;
    self->opts = *opts;
    self->endpoint = kfx_xstrdup(opts->endpoint);
    self->role = kfx_xstrdup(opts->role);
    self->service = kfx_xstrdup(opts->service ? opts->service : "");
    self->instance = kfx_xstrdup(opts->instance ? opts->instance : "");
    if (opts->keys)
        self->keys = *opts->keys;
    self->tick_timer = self->retry_timer = -1;
    if (connect_now(self, err) != 0) {
        kfx_session_destroy(&self, false);
        return NULL;
    }
    self->tick_timer = zloop_timer(loop, KFX_PING_MS, 0, on_tick, self);
    return self;
}

void kfx_session_destroy(kfx_session_t **self_p, bool bye)
{
    kfx_session_t *self = *self_p;
    if (!self)
        return;
    if (self->gone)
        *self->gone = true;
    kfx_alive_remove(self);
    if (bye && self->state == UP) {
        kfx_session_send(self, KFX_BYE, &(kfx_envelope_t){.seq = ++self->seq}, NULL);
        zsock_set_linger(self->sock, 1000);
    }
    disconnect(self);
    if (self->tick_timer != -1)
        zloop_timer_end(self->loop, self->tick_timer);
    if (self->retry_timer != -1)
        zloop_timer_end(self->loop, self->retry_timer);
    free(self->endpoint);
    free(self->role);
    free(self->service);
    free(self->instance);
    kfx_wipe(&self->keys, sizeof(self->keys));
    free(self);
    *self_p = NULL;
}

bool kfx_session_up(const kfx_session_t *self)
{
    return self && self->state == UP;
}

uint64_t kfx_session_lease(const kfx_session_t *self)
{
    return self->lease;
}

void kfx_session_halt(kfx_session_t *self)
{
    self->halted = true;
    self->state = AWAY;
    disconnect(self);
    if (self->retry_timer != -1)
        zloop_timer_end(self->loop, self->retry_timer);
    self->retry_timer = -1;
}
