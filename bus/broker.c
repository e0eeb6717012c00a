/* bus/broker.c: see broker.h. */
#include "bus/broker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/broker_private.h"

#include <stdio.h>
#include <string.h>

#define HOUSE_MS 500         /* housekeeping: beats, expiry, gauges */
#define BATCH 64             /* messages handled before timers get their turn */
#define WATCHER_GONE_MS 6000 /* a watcher that is silent this long has no session any more */
#define REFUSALS "kubeflex_bus_refusals_total"
#define REFUSALS_HELP "Messages refused, by the service they were for"

bool kfx_broker_send(kfx_broker_t *self, zframe_t *id, const kfx_peer_t *peer, kfx_kind_t kind,
                     const kfx_envelope_t *env, zframe_t *payload, int64_t latency_ms)
{
    zmsg_t *msg = kfx_msg_encode(kind, env, payload);
    if (!msg)
        return false;
    zframe_t *record = NULL;
    if (kfx_tap_admits(self->tap, kind, kfx_now_ms()))
        record =
            kfx_broker_record(self, true, id, peer ? peer->sender : "", peer ? peer->role.name : "", latency_ms, msg);
    zframe_t *front = zframe_dup(id);
    zmsg_prepend(msg, &front);
    bool sent = zmsg_send(&msg, self->work) == 0;
    zmsg_destroy(&msg);
    if (sent && record)
        kfx_tap_publish(self->tap, kind, env, &record);
    zframe_destroy(&record);
    return sent;
}

zframe_t *kfx_broker_record(kfx_broker_t *self, bool out, zframe_t *id, const char *peer, const char *role,
                            int64_t latency_ms, zmsg_t *frames)
{
    kfx_tap_meta_t meta = {.time_us = kfx_tap_now_us(), .out = out, .timed = latency_ms >= 0};
    meta.left_out = kfx_tap_left_out(self->tap);
    meta.latency_ms = latency_ms > 0 ? (uint32_t)(latency_ms < UINT32_MAX ? latency_ms : UINT32_MAX) : 0;
    kfx_copy(meta.peer, sizeof(meta.peer), peer);
    kfx_copy(meta.role, sizeof(meta.role), role);
    kfx_peer_hex(id, meta.identity);
    return kfx_tap_encode(&meta, frames);
}

/* A connection makes a new identity each time: the peer is its address and role, where those are known. */
static void grumble(kfx_broker_t *self, zframe_t *id, const kfx_peer_t *peer, const char *address, const kfx_msg_t *msg,
                    const kfx_error_t *why)
{
    char hex[KFX_IDENTITY_HEX_SIZE];
    uint64_t unsaid;
    kfx_peer_hex(id, hex);
    KFX_FREE char *who = kfx_xasprintf("%s %s", address[0] ? address : hex, peer ? peer->role.name : "");
    if (!kfx_grumble_may(self->grumble, who, kfx_now_ms(), &unsaid))
        return;
    kfx_log_warn("message refused", "peer", peer ? peer->sender : msg->env.sender, "role", peer ? peer->role.name : "",
                 "address", address, "identity", hex, "kind", kfx_kind_name(msg->kind), "key", msg->env.key, "reason",
                 kfx_code_name(why->code), "error", why->msg, "unsaid", kfx_log_num(unsaid), NULL);
}

void kfx_broker_refuse(kfx_broker_t *self, zframe_t *id, const kfx_peer_t *peer, const char *address,
                       const kfx_msg_t *msg, const kfx_error_t *why)
{
    kfx_line_t *line = kfx_broker_line(self, peer && peer->role.service[0] ? peer->role.service : msg->env.service);
    kfx_metric_add(line ? line->refusals : self->refusals, 1);
    if (line)
        line->refusal_count++;
    grumble(self, id, peer, address, msg, why);
    kfx_envelope_t env = {
        .code = why->code, .seq = msg->env.seq, .task = msg->env.task, .lease = msg->env.lease, .epoch = self->epoch};
    kfx_copy(env.sender, sizeof(env.sender), self->instance);
    kfx_copy(env.service, sizeof(env.service), msg->env.service);
    kfx_copy(env.key, sizeof(env.key), msg->env.key);
    kfx_copy(env.text, sizeof(env.text), why->msg);
    kfx_broker_send(self, id, peer, KFX_ERROR, &env, NULL, -1);
}

kfx_line_t *kfx_broker_line(kfx_broker_t *self, const char *service)
{
    for (size_t i = 0; i < self->line_count; i++)
        if (strcmp(kfx_queue_service(self->lines[i].queue), service) == 0)
            return &self->lines[i];
    return NULL;
}

void kfx_broker_tell_state(kfx_broker_t *self, kfx_line_t *line)
{
    kfx_state_t state = kfx_peers_state(self->peers, kfx_queue_service(line->queue));
    const char *why = state == KFX_STATE_DOWN ? kfx_peers_why(self->peers, kfx_queue_service(line->queue)) : "";
    if (!self->watcher || (state == line->told && strcmp(why, line->told_why) == 0))
        return;
    if (state == KFX_STATE_NO_WORKER && line->told == KFX_STATE_NONE && kfx_now_ms() < self->hold_until)
        return; /* a new bus: they may just not have found it yet */
    kfx_envelope_t env = {.state = state};
    kfx_copy(env.service, sizeof(env.service), kfx_queue_service(line->queue));
    kfx_copy(env.sender, sizeof(env.sender), self->instance);
    kfx_copy(env.text, sizeof(env.text), why);
    if (!kfx_broker_send(self, self->watcher->id, self->watcher, KFX_STATUS, &env, NULL, -1))
        return;
    line->told = state;
    kfx_copy(line->told_why, sizeof(line->told_why), why);
}

static void drop_acks(kfx_broker_t *self);

void kfx_broker_end_session(kfx_broker_t *self, kfx_peer_t *peer, bool lost, int64_t now)
{
    size_t back = 0;
    if (peer == self->watcher) {
        self->watcher = NULL;
        drop_acks(self);
        for (size_t i = 0; i < self->line_count; i++)
            kfx_queue_sync_abort(self->lines[i].queue);
    } else if (peer->role.party == KFX_PARTY_WORKER) {
        kfx_line_t *line = kfx_broker_line(self, peer->role.service);
        if (line)
            back = kfx_queue_release(line->queue, peer->lease, lost, now);
    }
    kfx_log_info(lost ? "session lost" : "session ended", "peer", peer->sender, "role", peer->role.name, "tasks",
                 kfx_log_num(back), NULL);
    kfx_peers_remove(self->peers, peer);
}

/* The queue says that a run should stop. */
static void on_cancel(void *ctx, const kfx_envelope_t *env)
{
    kfx_line_t *line = ctx;
    kfx_peer_t *peer = kfx_peers_by_lease(line->broker->peers, env->lease);
    if (peer)
        kfx_broker_send(line->broker, peer->id, peer, KFX_CANCEL, env, NULL, -1);
}

static void dispatch(kfx_broker_t *self, kfx_line_t *line, int64_t now)
{
    kfx_queue_stats_t stats;
    kfx_queue_stats(line->queue, &stats);
    while (stats.ready > 0) {
        kfx_peer_t *peer = kfx_peers_pick(self->peers, kfx_queue_service(line->queue));
        kfx_envelope_t task;
        zframe_t *digest;
        int64_t waited;
        if (!peer || !kfx_queue_next(line->queue, peer->lease, now, &task, &digest, &waited))
            return;
        if (kfx_broker_send(self, peer->id, peer, KFX_TASK, &task, digest, waited)) {
            peer->running++;
            kfx_metric_add(line->tasks, 1);
            kfx_metric_observe_ms(line->wait, waited);
            kfx_samples_add(&line->waits, waited);
            line->task_count++;
        } else {
            kfx_queue_undo(line->queue, &task, now);
            peer->credit = 0; /* until its next PING */
        }
        kfx_queue_stats(line->queue, &stats);
    }
}

static void send_results(kfx_broker_t *self, kfx_line_t *line, int64_t now)
{
    const kfx_envelope_t *env;
    zframe_t *payload;
    while (self->watcher && kfx_queue_done_next(line->queue, now, &env, &payload))
        if (!kfx_broker_send(self, self->watcher->id, self->watcher, KFX_DONE, env, payload, -1))
            return; /* it is offered again later */
}

static int on_due(zloop_t *loop, int timer_id, void *arg);

/* What has to follow each batch of messages and each timer. */
static void turn(kfx_broker_t *self)
{
    int64_t now = kfx_now_ms(), due = KFX_NEVER;
    for (size_t i = 0; i < self->line_count; i++) {
        kfx_line_t *line = &self->lines[i];
        kfx_queue_tick(line->queue, now);
        dispatch(self, line, now);
        send_results(self, line, now);
        kfx_broker_tell_state(self, line);
        int64_t next = kfx_queue_due(line->queue, self->watcher != NULL);
        due = next < due ? next : due;
    }
    if (self->due_timer != -1)
        zloop_timer_end(self->loop, self->due_timer);
    self->due_timer = -1;
    if (due != KFX_NEVER) {
        int64_t delay = due > now ? due - now : 1;
        self->due_timer = zloop_timer(self->loop, (size_t)(delay < HOUSE_MS ? delay : HOUSE_MS), 1, on_due, self);
    }
}

static int on_due(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_broker_t *self = arg;
    self->due_timer = -1; /* it ran once and is gone */
    turn(self);
    return 0;
}

static void drop_acks(kfx_broker_t *self)
{
    for (size_t i = 0; i < self->ack_count; i++)
        free(self->acks[i].key);
    self->ack_count = 0;
}

int kfx_broker_owe_ack(kfx_broker_t *self, const kfx_line_t *line, const kfx_envelope_t *event, kfx_error_t *err)
{
    if (self->ack_count == KFX_EVENT_WINDOW)
        return kfx_error_set(err, KFX_E_BUSY, "more than %d EVENTs without ACK: keep to the window of WELCOME",
                             KFX_EVENT_WINDOW);
    self->acks[self->ack_count++] =
        (kfx_ack_t){.line = line, .key = kfx_xstrdup(event->key), .epoch = event->epoch, .seq = event->seq};
    return 0;
}

void kfx_broker_owe_none(kfx_broker_t *self)
{
    free(self->acks[--self->ack_count].key);
}

static bool send_ack(kfx_broker_t *self, const kfx_ack_t *ack)
{
    kfx_envelope_t env = {.epoch = ack->epoch, .seq = ack->seq};
    kfx_copy(env.sender, sizeof(env.sender), self->instance);
    kfx_copy(env.service, sizeof(env.service), kfx_queue_service(ack->line->queue));
    kfx_copy(env.key, sizeof(env.key), ack->key);
    return kfx_broker_send(self, self->watcher->id, self->watcher, KFX_ACK, &env, NULL, -1);
}

/* Those that the watcher has no room for stay: an EVENT without ACK would take a place of its window for ever. */
static void send_acks(kfx_broker_t *self)
{
    size_t sent = 0;
    while (self->watcher && sent < self->ack_count && send_ack(self, &self->acks[sent]))
        free(self->acks[sent++].key);
    self->ack_count -= sent;
    memmove(self->acks, self->acks + sent, self->ack_count * sizeof(self->acks[0]));
    self->handled = 0;
}

static int on_work(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    kfx_broker_t *self = arg;
    for (int i = 0; i < BATCH && (zsock_events(reader) & ZMQ_POLLIN); i++) {
        zmsg_t *msg = zmsg_recv(reader);
        if (!msg)
            break;
        kfx_metric_add(self->messages, 1);
        kfx_broker_take(self, &msg, kfx_now_ms());
        self->handled++;
    }
    if (self->handled >= KFX_ACK_MESSAGES || !(zsock_events(reader) & ZMQ_POLLIN))
        send_acks(self);
    turn(self);
    return 0;
}

static void expire(kfx_broker_t *self, int64_t now)
{
    kfx_peer_t *dead;
    do {
        dead = NULL;
        for (kfx_peer_t *peer = kfx_peers_first(self->peers); peer && !dead; peer = kfx_peers_next(self->peers)) {
            int64_t patience =
                peer->role.party == KFX_PARTY_WORKER ? KFX_LEASE_MS + KFX_LEASE_GRACE_MS : WATCHER_GONE_MS;
            if (now - peer->seen > patience)
                dead = peer;
        }
        if (dead)
            kfx_broker_end_session(self, dead, true, now);
    } while (dead);
}

static int64_t age_ms(const kfx_queue_stats_t *stats, int64_t now)
{
    return stats->oldest_at < now ? now - stats->oldest_at : 0;
}

static void measure(kfx_broker_t *self, int64_t now)
{
    for (size_t i = 0; i < self->line_count; i++) {
        kfx_line_t *line = &self->lines[i];
        kfx_queue_stats_t stats;
        kfx_queue_stats(line->queue, &stats);
        kfx_metric_set(line->ready, (int64_t)stats.ready);
        kfx_metric_set(line->running, (int64_t)stats.running);
        kfx_metric_set(line->delayed, (int64_t)stats.delayed);
        kfx_metric_set(line->unacked, (int64_t)stats.unacked);
        kfx_metric_set(line->oldest, age_ms(&stats, now) / 1000);
        kfx_metric_add(line->redeliveries, (int64_t)(stats.redelivered - line->redelivered));
        line->redelivered = stats.redelivered;
    }
    kfx_metric_set(self->sessions, (int64_t)kfx_peers_count(self->peers));
}

static void show_line(kfx_broker_t *self, const kfx_line_t *line, int64_t now)
{
    static const unsigned p[] = {50, 99};
    uint32_t wait[KFX_COUNT(p)], run[KFX_COUNT(p)];
    kfx_queue_stats_t queue;
    kfx_queue_stats(line->queue, &queue);
    kfx_samples_percentiles(&line->waits, p, wait, KFX_COUNT(p));
    kfx_samples_percentiles(&line->runs, p, run, KFX_COUNT(p));
    kfx_tap_stats_t stats = {.keys = (uint32_t)queue.keys,
                             .ready = (uint32_t)queue.ready,
                             .running = (uint32_t)queue.running,
                             .delayed = (uint32_t)queue.delayed,
                             .unacked = (uint32_t)queue.unacked,
                             .oldest_ms = (uint32_t)age_ms(&queue, now),
                             .events = line->event_count,
                             .tasks = line->task_count,
                             .results = line->result_count,
                             .redelivered = queue.redelivered,
                             .refused = line->refusal_count,
                             .wait_p50_ms = wait[0],
                             .wait_p99_ms = wait[1],
                             .run_p50_ms = run[0],
                             .run_p99_ms = run[1]};
    kfx_copy(stats.service, sizeof(stats.service), kfx_queue_service(line->queue));
    kfx_peers_workers(self->peers, stats.service, &stats.workers, &stats.credit);
    kfx_tap_publish_stats(self->tap, &stats);
}

/* Figures for taps that want them. */
static void show_stats(kfx_broker_t *self, int64_t now)
{
    if (!kfx_tap_stats_wanted(self->tap) || now - self->stats_at < KFX_TAP_STATS_EVERY_MS - HOUSE_MS / 2)
        return;
    self->stats_at = now;
    for (size_t i = 0; i < self->line_count; i++)
        show_line(self, &self->lines[i], now);
}

static zsock_t *bind_socket(int type, const char *endpoint, const char *domain, const kfx_bus_keys_t *keys,
                            kfx_error_t *err);

/* libzmq cannot end one connection of a bound socket: where a tap's key has ended the socket is made anew, and the taps
 * that are still let in come back by themselves. Its port may stay taken for a moment: then the next turn tries again.
 */
static void tend_tap(kfx_broker_t *self, int64_t now)
{
    if (!self->auth || !self->tap_endpoint[0])
        return;
    if (kfx_auth_taps_ended(self->auth, now)) {
        kfx_log_info("a key of role tap has ended: taps are cut", NULL);
        kfx_tap_destroy(&self->tap);
    }
    if (self->tap)
        return;
    kfx_error_t err = KFX_ERROR_INIT;
    zsock_t *xpub = bind_socket(ZMQ_XPUB, self->tap_endpoint, KFX_ZAP_TAP, &self->keys, &err);
    if (xpub)
        self->tap = kfx_tap_new(self->loop, &xpub);
    else
        kfx_log_debug("tap not bound yet", "error", err.msg, NULL);
}

static int on_house(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_broker_t *self = arg;
    int64_t now = kfx_now_ms();
    kfx_health_beat();
    expire(self, now);
    send_acks(self);
    turn(self);
    measure(self, now);
    show_stats(self, now);
    tend_tap(self, now);
    return 0;
}

static bool local_only(const char *endpoint)
{
    return strncmp(endpoint, "ipc://", 6) == 0 || strncmp(endpoint, "inproc://", 9) == 0;
}

static zsock_t *bind_socket(int type, const char *endpoint, const char *domain, const kfx_bus_keys_t *keys,
                            kfx_error_t *err)
{
    if (!keys && !local_only(endpoint)) {
        kfx_error_set(err, KFX_E_INVALID, "without CURVE only ipc:// is allowed, not %s", endpoint);
        return NULL;
    }
    zsock_t *sock = zsock_new(type);
    if (!sock) {
        kfx_error_set(err, KFX_E_INTERNAL, "cannot make a socket: %s", zmq_strerror(zmq_errno()));
        return NULL;
    }
    zsock_set_linger(sock, 0);
    zsock_set_sndtimeo(sock, 0);
    zsock_set_sndhwm(sock, 4096);
    zsock_set_rcvhwm(sock, 4096);
    zsock_set_maxmsgsize(sock, KFX_FRAME_MAX);
    zsock_set_handshake_ivl(sock, 5000);
    zsock_set_heartbeat_ivl(sock, 1000);
    zsock_set_heartbeat_timeout(sock, 5000);
    zsock_set_heartbeat_ttl(sock, 5000);
    zsock_set_tcp_keepalive(sock, 1);
    zsock_set_tcp_keepalive_idle(sock, 10);
    zsock_set_tcp_keepalive_intvl(sock, 5);
    zsock_set_tcp_keepalive_cnt(sock, 3);
    if (type == ZMQ_ROUTER)
        zsock_set_router_mandatory(sock, 1); /* no handover: an identity must not be taken from a live peer */
    if (keys) {
        zsock_set_zap_domain(sock, domain);
        zsock_set_curve_server(sock, 1);
        zsock_set_curve_publickey(sock, keys->public_key);
        zsock_set_curve_secretkey(sock, keys->secret_key);
    }
    if (zsock_bind(sock, "%s", endpoint) < 0) {
        kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot listen on %s: %s%s", endpoint, zmq_strerror(zmq_errno()),
                      zmq_errno() == EADDRINUSE ? ": end what listens there, or choose another with --bind or --tap"
                                                : "");
        zsock_destroy(&sock);
    }
    return sock;
}

static kfx_metric_t *line_metric(kfx_metric_t *(*make)(const char *, const char *, const char *), const char *name,
                                 const char *help, const char *service)
{
    KFX_FREE char *labels = kfx_xasprintf("service=\"%s\"", service);
    return make(name, help, labels);
}

static void add_line(kfx_broker_t *self, const char *service, int64_t hold_until)
{
    kfx_line_t *line = &self->lines[self->line_count++];
    line->broker = self;
    kfx_queue_opts_t opts = {.service = service,
                             .first_task = (uint64_t)kfx_random_between(1, INT64_MAX / 2),
                             .hold_until = hold_until,
                             .on_cancel = on_cancel,
                             .ctx = line};
    line->queue = kfx_queue_new(&opts);
    line->told = KFX_STATE_NONE;
    line->ready = line_metric(kfx_gauge, "kubeflex_bus_ready", "Keys in line for a worker", service);
    line->running = line_metric(kfx_gauge, "kubeflex_bus_running", "Keys a worker has", service);
    line->delayed = line_metric(kfx_gauge, "kubeflex_bus_delayed", "Keys that wait for their time", service);
    line->unacked =
        line_metric(kfx_gauge, "kubeflex_bus_unacked", "Results that the watcher has not landed yet", service);
    line->oldest = line_metric(kfx_gauge, "kubeflex_bus_oldest_seconds",
                               "How long the first key in line has waited for a worker", service);
    line->refusals = line_metric(kfx_counter, REFUSALS, REFUSALS_HELP, service);
    line->redeliveries =
        line_metric(kfx_counter, "kubeflex_bus_redeliveries_total", "Runs lost with their worker's lease", service);
    line->tasks = line_metric(kfx_counter, "kubeflex_bus_tasks_total", "Tasks given to workers", service);
    line->wait =
        line_metric(kfx_histogram, "kubeflex_bus_dispatch_seconds", "From ready to given to a worker", service);
    line->run = line_metric(kfx_histogram, "kubeflex_bus_run_seconds", "From given to a worker to its result", service);
}

static void add_lines(kfx_broker_t *self, int64_t hold_until)
{
    const kfx_type_info_t *type;
    for (size_t i = 0; (type = kfx_type_at(i)) && self->line_count < KFX_LINES_MAX - 1; i++)
        if (!kfx_broker_line(self, type->service))
            add_line(self, type->service, hold_until);
    add_line(self, KFX_SERVICE_STORAGE, hold_until);
}

kfx_broker_t *kfx_broker_new(zloop_t *loop, const kfx_broker_opts_t *opts, kfx_error_t *err)
{
    kfx_broker_t *self = kfx_xcalloc(1, sizeof(*self));
    self->loop = loop;
    self->auth = opts->keys ? opts->auth : NULL;
    self->due_timer = self->house_timer = -1;
    if (opts->keys)
        self->keys = *opts->keys;
    kfx_copy(self->instance, sizeof(self->instance), opts->instance ? opts->instance : "");
    self->peers = kfx_peers_new();
    self->grumble = kfx_grumble_new();
    self->messages = kfx_counter("kubeflex_bus_messages_total", "Messages received", NULL);
    self->refusals = kfx_counter(REFUSALS, REFUSALS_HELP, "service=\"\"");
    self->sessions = kfx_gauge("kubeflex_bus_sessions", "Sessions of watchers and workers", NULL);

    zsock_t *xpub = NULL;
    self->work = bind_socket(ZMQ_ROUTER, opts->work, KFX_ZAP_WORK, opts->keys, err);
    if (self->work && opts->tap && opts->tap[0])
        xpub = bind_socket(ZMQ_XPUB, opts->tap, KFX_ZAP_TAP, opts->keys, err);
    if (!self->work || (opts->tap && opts->tap[0] && !xpub)) {
        kfx_broker_destroy(&self);
        return NULL;
    }
    self->work_endpoint = kfx_xstrdup(zsock_endpoint(self->work));
    self->tap_endpoint = kfx_xstrdup(xpub ? zsock_endpoint(xpub) : "");
    if (xpub)
        self->tap = kfx_tap_new(loop, &xpub);
    self->hold_until = kfx_now_ms() + opts->hold_ms;
    add_lines(self, self->hold_until);
    zloop_reader(loop, self->work, on_work, self);
    zloop_reader_set_tolerant(loop, self->work);
    self->house_timer = zloop_timer(loop, HOUSE_MS, 0, on_house, self);
    return self;
}

void kfx_broker_destroy(kfx_broker_t **self_p)
{
    kfx_broker_t *self = *self_p;
    if (!self)
        return;
    if (self->house_timer != -1)
        zloop_timer_end(self->loop, self->house_timer);
    if (self->due_timer != -1)
        zloop_timer_end(self->loop, self->due_timer);
    if (self->work)
        zloop_reader_end(self->loop, self->work);
    zsock_destroy(&self->work);
    kfx_tap_destroy(&self->tap);
    for (size_t i = 0; i < self->line_count; i++)
        kfx_queue_destroy(&self->lines[i].queue);
    drop_acks(self);
    kfx_peers_destroy(&self->peers);
    kfx_grumble_destroy(&self->grumble);
    kfx_wipe(&self->keys, sizeof(self->keys));
    free(self->work_endpoint);
    free(self->tap_endpoint);
    free(self);
    *self_p = NULL;
}

const char *kfx_broker_work_endpoint(const kfx_broker_t *self)
{
    return self->work_endpoint;
}

const char *kfx_broker_tap_endpoint(const kfx_broker_t *self)
{
    return self->tap_endpoint;
}
