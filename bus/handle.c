/* bus/handle.c: what each kind of message does at the bus. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/broker_private.h"

#include <string.h>

typedef struct {
    kfx_broker_t *broker;
    zframe_t *id;
    kfx_peer_t *peer; /* NULL before HELLO */
    kfx_role_t role;
    const kfx_msg_t *msg;
    kfx_msg_t *owner; /* the same message, where a handler takes its payload */
    int64_t now;
    int64_t latency_ms; /* for the tap */
    char address[64];   /* of the sender, looked up where it is needed */
    bool renew;         /* its key was replaced and ends soon */
} turn_t;

static void fill(const turn_t *t, kfx_envelope_t *env)
{
    kfx_copy(env->sender, sizeof(env->sender), t->broker->instance);
    kfx_copy(env->service, sizeof(env->service), t->msg->env.service);
    kfx_copy(env->key, sizeof(env->key), t->msg->env.key);
}

/* A new session of a worker takes over what its old one runs; the worker then says which of it is true. */
static void inherit(const turn_t *t, kfx_peer_t *fresh, kfx_peer_t *old)
{
    kfx_line_t *line = kfx_broker_line(t->broker, fresh->role.service);
    fresh->running += (uint32_t)kfx_queue_move(line->queue, old->lease, fresh->lease);
}

static int hello_watcher(turn_t *t, kfx_error_t *err)
{
    kfx_broker_t *self = t->broker;
    const kfx_envelope_t *env = &t->msg->env;
    if (env->epoch < self->epoch)
        return kfx_error_set(err, KFX_E_CONFLICT, "epoch %llu is over, the watcher of epoch %llu leads",
                             (unsigned long long)env->epoch, (unsigned long long)self->epoch);
    bool higher = env->epoch > self->epoch;
    self->epoch = env->epoch;
    kfx_peer_t *old = self->watcher;
    if (old) {
        if (higher) {
            kfx_error_t stale = KFX_ERROR_INIT;
            kfx_msg_t nothing = {.kind = KFX_HELLO};
            kfx_error_set(&stale, KFX_E_CONFLICT, "the watcher of epoch %llu leads now",
                          (unsigned long long)self->epoch);
            kfx_broker_refuse(self, old->id, old, old->address, &nothing, &stale);
        }
        kfx_broker_end_session(self, old, false, t->now);
    }
    t->peer = kfx_peers_add(self->peers, t->id, &t->role);
    t->peer->epoch = env->epoch;
    self->watcher = t->peer;
    return 0;
}

static void take_state(kfx_peer_t *peer, const kfx_envelope_t *env)
{
    peer->down = env->state == KFX_STATE_DOWN;
    kfx_copy(peer->why, sizeof(peer->why), peer->down ? env->text : "");
}

static void hello_worker(turn_t *t)
{
    kfx_broker_t *self = t->broker;
    const kfx_envelope_t *env = &t->msg->env;
    kfx_peer_t *old[2] = {t->peer, kfx_peers_by_lease(self->peers, env->lease)};
    if (old[1] == old[0] || (old[1] && strcmp(old[1]->role.name, t->role.name) != 0))
        old[1] = NULL;
    kfx_peer_t heir = {.role = t->role, .lease = (uint64_t)kfx_random_between(1, INT64_MAX)};
    for (size_t i = 0; i < KFX_COUNT(old); i++) {
        if (!old[i])
            continue;
        inherit(t, &heir, old[i]);
        kfx_peers_remove(self->peers, old[i]);
    }
    t->peer = kfx_peers_add(self->peers, t->id, &t->role);
    t->peer->lease = heir.lease;
    t->peer->running = heir.running;
    t->peer->credit = env->credit < KFX_CREDIT_MAX ? env->credit : KFX_CREDIT_MAX;
    t->peer->revision = env->revision;
    take_state(t->peer, env);
}

static int on_hello(turn_t *t, kfx_error_t *err)
{
    kfx_broker_t *self = t->broker;
    const kfx_envelope_t *env = &t->msg->env;
    uint32_t low = env->version_min ? env->version_min : KFX_PROTO_MIN;
    uint32_t high = env->version_max ? env->version_max : KFX_PROTO_MIN;
    if (low > high || low > KFX_PROTO_MAX || high < KFX_PROTO_MIN)
        return kfx_error_set(err, KFX_E_INVALID, "this bus speaks protocol %d to %d, you %u to %u", KFX_PROTO_MIN,
                             KFX_PROTO_MAX, low, high);
    if (t->peer && strcmp(t->peer->role.name, t->role.name) != 0) {
        kfx_broker_end_session(self, t->peer, false, t->now); /* only without CURVE can a connection change its role */
        t->peer = NULL;
    }
    if (!t->peer && kfx_peers_count(self->peers) >= KFX_PEERS_MAX)
        return kfx_error_set(err, KFX_E_BUSY, "the bus has %d sessions, its maximum", KFX_PEERS_MAX);
    if (t->role.party == KFX_PARTY_WATCHER) {
        if (hello_watcher(t, err) != 0)
            return -1;
    } else {
        hello_worker(t);
    }
    kfx_peer_t *peer = t->peer;
    kfx_copy(peer->sender, sizeof(peer->sender), env->sender);
    kfx_copy(peer->address, sizeof(peer->address), t->address);
    peer->seen = t->now;
    if (!peer->lease)
        peer->lease = (uint64_t)kfx_random_between(1, INT64_MAX);
    uint32_t version = high < KFX_PROTO_MAX ? high : KFX_PROTO_MAX;
    kfx_envelope_t welcome = {.lease = peer->lease,
                              .lease_ms = KFX_LEASE_MS,
                              .seq = env->seq,
                              .window = KFX_EVENT_WINDOW,
                              .epoch = self->epoch,
                              .version_min = version,
                              .version_max = version};
    fill(t, &welcome);
    kfx_copy(welcome.role, sizeof(welcome.role), peer->role.name);
    kfx_copy(welcome.service, sizeof(welcome.service), peer->role.service);
    kfx_log_info("session begins", "peer", peer->sender, "role", peer->role.name, "identity", peer->hex, "tasks",
                 kfx_log_num(peer->running), NULL);
    kfx_broker_send(self, peer->id, peer, KFX_WELCOME, &welcome, NULL, -1);
    for (size_t i = 0; peer == self->watcher && i < self->line_count; i++) {
        kfx_queue_sync_abort(self->lines[i].queue);
        kfx_queue_done_again(self->lines[i].queue, t->now);
        self->lines[i].told = KFX_STATE_NONE;
        kfx_broker_tell_state(self, &self->lines[i]);
    }
    return 0;
}

static int on_ping(turn_t *t, kfx_error_t *err)
{
    const kfx_envelope_t *env = &t->msg->env;
    (void)err;
    t->peer->seen = t->now;
    t->peer->credit = env->credit < KFX_CREDIT_MAX ? env->credit : KFX_CREDIT_MAX;
    take_state(t->peer, env);
    kfx_envelope_t pong = {.seq = env->seq, .lease = t->peer->lease, .lease_ms = KFX_LEASE_MS, .renew = t->renew};
    fill(t, &pong);
    kfx_broker_send(t->broker, t->id, t->peer, KFX_PONG, &pong, NULL, -1);
    return 0;
}

static int on_sync(turn_t *t, kfx_error_t *err)
{
    kfx_broker_t *self = t->broker;
    (void)err;
    if (t->role.party == KFX_PARTY_WORKER) {
        kfx_line_t *line = kfx_broker_line(self, t->role.service);
        kfx_queue_confirm(line->queue, t->peer->lease, t->now);
        t->peer->running = (uint32_t)kfx_queue_running(line->queue, t->peer->lease);
        t->peer->announced = true;
        return 0;
    }
    size_t swept = 0;
    for (size_t i = 0; i < self->line_count; i++) {
        if (t->msg->env.state == KFX_SYNC_BEGIN)
            kfx_queue_sync_begin(self->lines[i].queue);
        else
            swept += kfx_queue_sync_end(self->lines[i].queue);
    }
    if (t->msg->env.state != KFX_SYNC_BEGIN)
        kfx_log_info("snapshot taken", "peer", t->peer->sender, "swept", kfx_log_num(swept), NULL);
    return 0;
}

/* A worker says what it runs. */
static int on_announce(turn_t *t)
{
    kfx_line_t *line = kfx_broker_line(t->broker, t->role.service);
    kfx_envelope_t env = t->msg->env;
    kfx_error_t why = KFX_ERROR_INIT;
    env.lease = t->peer->lease;
    if (kfx_queue_adopt(line->queue, &env, t->now, &why) == 0)
        return 0;
    kfx_envelope_t cancel = {.lease = t->peer->lease, .task = env.task};
    fill(t, &cancel);
    kfx_copy(cancel.service, sizeof(cancel.service), t->role.service);
    kfx_copy(cancel.uid, sizeof(cancel.uid), env.uid);
    kfx_copy(cancel.text, sizeof(cancel.text), why.msg);
    kfx_log_info("announced run refused", "peer", t->peer->sender, "plane", env.key, "uid", env.uid, "error", why.msg,
                 NULL);
    kfx_broker_send(t->broker, t->id, t->peer, KFX_CANCEL, &cancel, NULL, -1);
    return 0;
}

static int on_event(turn_t *t, kfx_error_t *err)
{
    const kfx_envelope_t *env = &t->msg->env;
    if (!env->key[0] || !env->uid[0])
        return kfx_error_set(err, KFX_E_INVALID, "an EVENT needs key and uid");
    if (t->role.party == KFX_PARTY_WORKER)
        return on_announce(t);
    if (env->epoch != t->peer->epoch)
        return kfx_error_set(err, KFX_E_INVALID, "the epoch differs from that of HELLO");
    kfx_line_t *line = kfx_broker_line(t->broker, env->service);
    if (!line)
        return kfx_error_set(err, KFX_E_NOT_FOUND, "there is no service %s", env->service);
    if (kfx_broker_owe_ack(t->broker, line, env, err) != 0)
        return -1;
    if (kfx_queue_event(line->queue, env, &t->owner->payload, t->now, err) != 0) {
        kfx_broker_owe_none(t->broker); /* the ERROR stands for it */
        return -1;
    }
    line->event_count++;
    return 0;
}

static int on_done(turn_t *t, kfx_error_t *err)
{
    kfx_line_t *line = kfx_broker_line(t->broker, t->role.service);
    const kfx_envelope_t *env = &t->msg->env;
    if (env->lease != t->peer->lease)
        return kfx_error_set(err, KFX_E_FENCED, "DONE quotes another lease than this session's");
    int64_t ran = 0;
    if (kfx_queue_done(line->queue, env, &t->owner->payload, t->now, &ran, err) != 0) {
        /* The run may have been somebody else's for a while (kfx_queue_adopt): what this session holds is counted anew.
         */
        t->peer->running = (uint32_t)kfx_queue_running(line->queue, t->peer->lease);
        return -1;
    }
    if (t->peer->running > 0)
        t->peer->running--;
    if (env->outcome == KFX_OUTCOME_DOWN) { /* its PING says more */
        t->peer->credit = 0;
        t->peer->down = true;
    }
    kfx_metric_observe_ms(line->run, ran);
    kfx_samples_add(&line->runs, ran);
    line->result_count++;
    t->latency_ms = ran;
    kfx_envelope_t ack = {.task = env->task, .lease = env->lease, .seq = env->seq};
    fill(t, &ack);
    kfx_copy(ack.service, sizeof(ack.service), t->role.service);
    kfx_broker_send(t->broker, t->id, t->peer, KFX_ACK, &ack, NULL, -1);
    return 0;
}

static int on_status(turn_t *t, kfx_error_t *err)
{
    kfx_broker_t *self = t->broker;
    (void)err;
    kfx_envelope_t env = t->msg->env;
    kfx_copy(env.service, sizeof(env.service), t->role.service);
    env.state = KFX_STATE_NONE; /* a state of the service is ours to tell */
    if (self->watcher)
        kfx_broker_send(self, self->watcher->id, self->watcher, KFX_STATUS, &env, NULL, -1);
    return 0;
}

static int on_ack(turn_t *t, kfx_error_t *err)
{
    kfx_line_t *line = kfx_broker_line(t->broker, t->msg->env.service);
    if (!line)
        return kfx_error_set(err, KFX_E_NOT_FOUND, "there is no service %s", t->msg->env.service);
    kfx_queue_ack(line->queue, &t->msg->env); /* of an older result than the newest: that one gets its own ACK */
    return 0;
}

static int on_bye(turn_t *t, kfx_error_t *err)
{
    (void)err;
    kfx_broker_end_session(t->broker, t->peer, false, t->now);
    t->peer = NULL;
    return 0;
}

/* Who speaks: with CURVE what the key says, per message; without (ipc:// in tests) what HELLO said. */
static int identify(turn_t *t, const char *user, kfx_error_t *err)
{
    if (t->broker->auth)
        return kfx_auth_role(t->broker->auth, user, t->now, &t->role, &t->renew, err);
    if (t->msg->kind == KFX_HELLO)
        return kfx_role_parse(t->msg->env.role, &t->role, err);
    if (!t->peer)
        return kfx_error_set(err, KFX_E_UNAUTHORIZED, "no session: say HELLO first");
    t->role = t->peer->role;
    return 0;
}

static int admit(turn_t *t, const char *user, kfx_error_t *err)
{
    if (identify(t, user, err) != 0)
        return -1;
    if (kfx_role_check(&t->role, t->msg, err) != 0)
        return -1;
    if (t->msg->kind == KFX_HELLO)
        return 0;
    if (!t->peer || strcmp(t->peer->role.name, t->role.name) != 0)
        return kfx_error_set(err, KFX_E_UNAUTHORIZED, "no session: say HELLO first");
    if (t->msg->kind == KFX_PING && t->msg->env.lease != t->peer->lease)
        return kfx_error_set(err, KFX_E_UNAUTHORIZED, "the lease is not this session's: say HELLO again");
    return 0;
}

static int act(turn_t *t, kfx_error_t *err)
{
    switch (t->msg->kind) {
    case KFX_HELLO: return on_hello(t, err);
    case KFX_PING: return on_ping(t, err);
    case KFX_SYNC: return on_sync(t, err);
    case KFX_EVENT: return on_event(t, err);
    case KFX_DONE: return on_done(t, err);
    case KFX_STATUS: return on_status(t, err);
    case KFX_ACK: return on_ack(t, err);
    case KFX_BYE: return on_bye(t, err);
    default: return 0; /* a kind of a later version */
    }
}

/* The tap shows what arrived, also what is refused. */
static void show(turn_t *t, zmsg_t *frames)
{
    if (!t->msg->kind || !kfx_tap_admits(t->broker->tap, t->msg->kind, t->now))
        return;
    zframe_t *record =
        kfx_broker_record(t->broker, false, t->id, t->msg->env.sender, t->role.name, t->latency_ms, frames);
    kfx_tap_publish(t->broker->tap, t->msg->kind, &t->msg->env, &record);
}

void kfx_broker_take(kfx_broker_t *self, zmsg_t **msg_p, int64_t now)
{
    kfx_msg_t msg = {.kind = (kfx_kind_t)0};
    kfx_error_t err = KFX_ERROR_INIT;
    turn_t t = {.broker = self, .id = zmsg_pop(*msg_p), .msg = &msg, .owner = &msg, .now = now, .latency_ms = -1};
    zframe_t *last = zmsg_last(*msg_p);
    const char *user = last ? zframe_meta(last, "User-Id") : NULL;
    t.peer = t.id ? kfx_peers_by_id(self->peers, t.id) : NULL;
    if (t.id && last) {
        int rc = kfx_msg_decode(*msg_p, &msg, &err);
        if (rc == 0)
            rc = admit(&t, user, &err);
        if (rc != 0 || msg.kind == KFX_HELLO) {
            const char *address = zframe_meta(last, "Peer-Address");
            kfx_copy(t.address, sizeof(t.address), t.peer ? t.peer->address : address ? address : "");
        }
        if (msg.kind != KFX_DONE) /* how long that one took is known afterwards only */
            show(&t, *msg_p);
        if (rc == 0)
            rc = act(&t, &err);
        if (msg.kind == KFX_DONE)
            show(&t, *msg_p);
        if (rc != 0)
            kfx_broker_refuse(self, t.id, t.peer, t.peer ? t.peer->address : t.address, &msg, &err);
    }
    kfx_msg_release(&msg);
    zframe_destroy(&t.id);
    zmsg_destroy(msg_p);
}
