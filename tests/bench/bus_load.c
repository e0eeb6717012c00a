/* tests/bench/bus_load.c: load for tests/bench/bus: a watcher and a worker as bare as the protocol allows, in one
 * process, so that one clock measures both; and a relay that only passes messages on, for comparison.
 *
 *   bus-load serve   ENDPOINT KEYS-DIR                          the bare relay
 *   bus-load relay   ENDPOINT KEYS-DIR SECONDS                  round trips through it: 4 messages each, 256 under way
 *   bus-load tasks   ENDPOINT KEYS-DIR SECONDS                  EVENT, TASK, DONE, DONE through the bus, 256 under way
 *   bus-load rate    ENDPOINT KEYS-DIR SECONDS EVENTS-PER-S     EVENT to TASK at that rate
 *   bus-load fill    ENDPOINT KEYS-DIR KEYS                     EVENTs that nobody takes; on a line of stdin a worker
 * takes all bus-load events  ENDPOINT KEYS-DIR SECONDS                  EVENTs for other workers: results a second
 *   bus-load work    ENDPOINT KEYS-DIR MS                       a worker whose 4 threads wait that long a task
 *
 * Bodies are of real size: a digest of 14 children, a result of 3 conditions and 4 written objects. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/worker.h"

#include <stdio.h>
#include <string.h>

#define UNDER_WAY 256
#define KEYS 1000
#define SAMPLES 1000000

typedef struct {
    const char *endpoint, *keys_dir;
    zsock_t *watcher, *worker;
    uint64_t lease[2]; /* of watcher, worker */
    uint64_t seq;
    zframe_t *digest, *result;
    int64_t pinged;
    int64_t *sent_us; /* by seq */
    uint32_t *waits;
    size_t wait_count;
} load_t;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void fail(const char *what)
{
    fprintf(stderr, "bus-load: %s\n", what);
    exit(1);
}

static void make_bodies(load_t *load)
{
    kfx_child_t children[14];
    memset(children, 0, sizeof(children));
    for (size_t i = 0; i < KFX_COUNT(children); i++) {
        kfx_copy(children[i].kind, sizeof(children[i].kind), i % 2 ? "Secret" : "Deployment");
        snprintf(children[i].name, sizeof(children[i].name), "kube-controller-manager-%zu", i);
        kfx_copy(children[i].uid, sizeof(children[i].uid), "4f0c8a52-0000-4000-8000-0123456789ab");
        kfx_copy(children[i].rv, sizeof(children[i].rv), "1234567");
        kfx_copy(children[i].hash, sizeof(children[i].hash), "0011223344556677");
        children[i].ready = children[i].owned = true;
    }
    kfx_digest_t digest = {.type = "k8s", .count = KFX_COUNT(children), .children = children};
    load->digest = kfx_digest_encode(&digest);
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
    static const char *const types[] = {"Synced", "Ready", "StorageReady"};
    for (size_t i = 0; i < KFX_COUNT(types); i++)
        kfx_result_condition(result, types[i], true, "ReconcileSuccess", "%s",
                             "every object of the plane is as desired");
    for (size_t i = 0; i < 4; i++)
        kfx_result_wrote(result, children[i].kind, children[i].name, children[i].uid, children[i].rv, children[i].hash);
    load->result = kfx_result_encode(result);
    free(result);
}

static zsock_t *dial(const load_t *load, const char *role)
{
    kfx_bus_keys_t keys;
    kfx_error_t err = KFX_ERROR_INIT;
    zsock_t *sock = zsock_new(ZMQ_DEALER);
    if (kfx_bus_keys_from_dir(load->keys_dir, role, &keys, &err) != 0)
        fail(err.msg);
    zsock_set_curve_serverkey(sock, keys.server_key);
    zsock_set_curve_publickey(sock, keys.public_key);
    zsock_set_curve_secretkey(sock, keys.secret_key);
    zsock_set_linger(sock, 0);
    zsock_set_rcvtimeo(sock, 5000);
    zsock_set_sndhwm(sock, 100000);
    zsock_set_rcvhwm(sock, 100000);
    if (zsock_connect(sock, "%s", load->endpoint) != 0)
        fail("cannot connect");
    return sock;
}

static void send_kind(zsock_t *sock, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload)
{
    zmsg_t *msg = kfx_msg_encode(kind, env, payload);
    if (zmsg_send(&msg, sock) != 0)
        fail("cannot send");
}

static bool receive(zsock_t *sock, kfx_msg_t *msg)
{
    zmsg_t *frames = zmsg_recv(sock);
    kfx_error_t err = KFX_ERROR_INIT;
    if (!frames)
        return false;
    if (kfx_msg_decode(frames, msg, &err) != 0)
        fail(err.msg);
    zmsg_destroy(&frames);
    return true;
}

static uint64_t hello(zsock_t *sock, const char *role, const char *service)
{
    kfx_envelope_t env = {.seq = 1, .epoch = 1, .credit = 1024, .version_min = 1, .version_max = 1, .revision = 1};
    kfx_copy(env.role, sizeof(env.role), role);
    kfx_copy(env.service, sizeof(env.service), service);
    kfx_copy(env.sender, sizeof(env.sender), "bus-load");
    send_kind(sock, KFX_HELLO, &env, NULL);
    for (kfx_msg_t msg; receive(sock, &msg);) {
        kfx_msg_release(&msg);
        if (msg.kind == KFX_WELCOME)
            return msg.env.lease;
    }
    fail("no WELCOME");
    return 0;
}

static void connect_watcher(load_t *load)
{
    load->watcher = dial(load, "watcher");
    load->lease[0] = hello(load->watcher, "watcher", "");
}

static void connect_worker(load_t *load)
{
    load->worker = dial(load, "reconciler:k8s");
    load->lease[1] = hello(load->worker, "reconciler:k8s", "reconcile.k8s");
    send_kind(load->worker, KFX_SYNC, &(kfx_envelope_t){.state = KFX_SYNC_END, .lease = load->lease[1]}, NULL);
}

static void keep_alive(load_t *load)
{
    int64_t now = kfx_now_ms();
    if (now - load->pinged < 400)
        return;
    load->pinged = now;
    send_kind(load->watcher, KFX_PING, &(kfx_envelope_t){.seq = 2, .lease = load->lease[0]}, NULL);
    if (load->worker)
        send_kind(load->worker, KFX_PING,
                  &(kfx_envelope_t){.seq = 2, .lease = load->lease[1], .credit = 1024, .state = KFX_STATE_UP}, NULL);
}

static void event(load_t *load, uint64_t keys)
{
    kfx_envelope_t env = {.epoch = 1, .seq = ++load->seq, .generation = 1, .lease = load->lease[0]};
    kfx_copy(env.service, sizeof(env.service), "reconcile.k8s");
    snprintf(env.key, sizeof(env.key), "plane-%llu", (unsigned long long)(load->seq % keys));
    kfx_copy(env.uid, sizeof(env.uid), "4f0c8a52-0000-4000-8000-0123456789ab");
    load->sent_us[load->seq % SAMPLES] = now_us();
    send_kind(load->watcher, KFX_EVENT, &env, load->digest);
}

/* The worker's end: each TASK is done at once. */
static void work_off(load_t *load)
{
    while (load->worker && (zsock_events(load->worker) & ZMQ_POLLIN)) {
        kfx_msg_t msg;
        if (!receive(load->worker, &msg))
            return;
        if (msg.kind == KFX_TASK) {
            if (load->wait_count < SAMPLES)
                load->waits[load->wait_count++] = (uint32_t)(now_us() - load->sent_us[msg.env.seq % SAMPLES]);
            msg.env.outcome = KFX_OUTCOME_OK;
            send_kind(load->worker, KFX_DONE, &msg.env, load->result);
        }
        kfx_msg_release(&msg);
    }
}

/* The watcher's end: how many results came. */
static uint64_t collect(load_t *load)
{
    uint64_t done = 0;
    while (zsock_events(load->watcher) & ZMQ_POLLIN) {
        kfx_msg_t msg;
        if (!receive(load->watcher, &msg))
            break;
        if (msg.kind == KFX_DONE) {
            done++;
            send_kind(load->watcher, KFX_ACK, &msg.env, NULL);
        }
        kfx_msg_release(&msg);
    }
    return done;
}

static void await(load_t *load, int ms)
{
    zmq_pollitem_t items[] = {{zsock_resolve(load->watcher), 0, ZMQ_POLLIN, 0},
                              {load->worker ? zsock_resolve(load->worker) : NULL, 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, load->worker ? 2 : 1, ms);
}

static void closed_loop(load_t *load, int seconds)
{
    uint64_t done = 0, sent = 0;
    int64_t begin = kfx_now_ms(), end = begin + (int64_t)seconds * 1000;
    while (kfx_now_ms() < end) {
        keep_alive(load);
        for (; sent - done < UNDER_WAY; sent++)
            event(load, KEYS);
        work_off(load);
        done += collect(load);
        await(load, 10);
    }
    printf("%.0f\n", (double)done * 1000 / (double)(kfx_now_ms() - begin));
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void at_rate(load_t *load, int seconds, int rate)
{
    int64_t begin = now_us();
    uint64_t wanted = (uint64_t)seconds * (uint64_t)rate;
    while (load->seq < wanted) {
        keep_alive(load);
        while (load->seq < wanted && (int64_t)load->seq * 1000000 / rate <= now_us() - begin)
            event(load, KEYS);
        work_off(load);
        collect(load);
        await(load, 1);
    }
    qsort(load->waits, load->wait_count, sizeof(*load->waits), by_size);
    if (load->wait_count == 0)
        fail("no TASK came");
    printf("%zu %u %u\n", load->wait_count, load->waits[load->wait_count / 2],
           load->waits[load->wait_count * 99 / 100]);
}

/* Prints us per EVENT; then, when told, us per TASK. */
static void fill(load_t *load, uint64_t keys)
{
    int64_t begin = now_us();
    uint64_t acks = 0;
    while (acks < keys) {
        keep_alive(load);
        while (load->seq < keys && load->seq - acks < UNDER_WAY)
            event(load, keys + 1);
        await(load, 10);
        while (zsock_events(load->watcher) & ZMQ_POLLIN) {
            kfx_msg_t msg;
            if (!receive(load->watcher, &msg))
                break;
            acks += msg.kind == KFX_ACK;
            kfx_msg_release(&msg);
        }
    }
    printf("%.2f\n", (double)(now_us() - begin) / (double)keys);
    zmq_pollitem_t in = {NULL, STDIN_FILENO, ZMQ_POLLIN, 0};
    while (zmq_poll(&in, 1, 100) == 0) {
        keep_alive(load);
        collect(load);
    }
    connect_worker(load);
    uint64_t done = 0;
    begin = now_us();
    while (done < keys) {
        keep_alive(load);
        work_off(load);
        done += collect(load);
        await(load, 10);
    }
    printf("%.2f\n", (double)(now_us() - begin) / (double)keys);
}

/* ---- the bare relay: what the first two peers say goes to the other one
 * ------------------------------------------------ */

static void serve(const load_t *load)
{
    KFX_FREE char *dir = kfx_xasprintf("%s/kubeflex-bus", load->keys_dir);
    char pair[2][KFX_Z85_SIZE] = {"", ""};
    static const char *const names[] = {"public.key", "secret.key"};
    for (size_t i = 0; i < 2; i++) {
        KFX_FREE char *path = kfx_xasprintf("%s/%s", dir, names[i]);
        FILE *file = fopen(path, "rb");
        if (!file || !fgets(pair[i], sizeof(pair[i]), file))
            fail("cannot read the bus's keys");
        fclose(file);
    }
    zsock_t *router = zsock_new(ZMQ_ROUTER);
    zsock_set_curve_server(router, 1);
    zsock_set_curve_publickey(router, pair[0]);
    zsock_set_curve_secretkey(router, pair[1]);
    zsock_set_sndhwm(router, 100000);
    zsock_set_rcvhwm(router, 100000);
    if (zsock_bind(router, "%s", load->endpoint) < 0)
        fail("cannot listen");
    printf("READY %s\n", zsock_endpoint(router));
    zframe_t *peers[2] = {NULL, NULL};
    for (zmsg_t *msg; (msg = zmsg_recv(router));) {
        zframe_t *from = zmsg_pop(msg);
        size_t i = !peers[0] || zframe_eq(peers[0], from) ? 0 : 1;
        if (!peers[i])
            peers[i] = zframe_dup(from);
        if (peers[1 - i]) {
            zframe_t *to = zframe_dup(peers[1 - i]);
            zmsg_prepend(msg, &to);
            zmsg_send(&msg, router);
        }
        zmsg_destroy(&msg);
        zframe_destroy(&from);
    }
}

static void relay(load_t *load, int seconds)
{
    load->watcher = dial(load, "watcher");
    send_kind(load->watcher, KFX_PING, &(kfx_envelope_t){.seq = 1}, NULL); /* makes it the first peer */
    zclock_sleep(300);
    load->worker = dial(load, "reconciler:k8s");
    send_kind(load->worker, KFX_PING, &(kfx_envelope_t){.seq = 1}, NULL);
    kfx_msg_t first;
    if (!receive(load->watcher, &first))
        fail("the relay does not answer");
    kfx_msg_release(&first);
    uint64_t done = 0, sent = 0;
    int64_t begin = kfx_now_ms(), end = begin + (int64_t)seconds * 1000;
    while (kfx_now_ms() < end) {
        for (; sent - done < UNDER_WAY; sent++)
            event(load, KEYS);
        while (zsock_events(load->worker) & ZMQ_POLLIN) {
            kfx_msg_t msg;
            if (!receive(load->worker, &msg))
                break;
            send_kind(load->worker, KFX_DONE, &msg.env, load->result);
            kfx_msg_release(&msg);
        }
        while (zsock_events(load->watcher) & ZMQ_POLLIN) {
            kfx_msg_t msg;
            if (!receive(load->watcher, &msg))
                break;
            done++;
            kfx_msg_release(&msg);
        }
        await(load, 10);
    }
    printf("%.0f\n", (double)done * 1000 / (double)(kfx_now_ms() - begin));
}

/* ---- a worker that waits -------------------------------------------------------------------------------------------
 */

static void run(void *ctx, const kfx_task_t *task, kfx_result_t *result)
{
    (void)task;
    zclock_sleep(*(const int *)ctx);
    result->outcome = KFX_OUTCOME_OK;
}

static int work(const load_t *load, int ms)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_worker_opts_t opts = {.endpoint = load->endpoint,
                              .role = "reconciler:k8s",
                              .service = "reconcile.k8s",
                              .instance = "bus-load",
                              .threads = 4,
                              .drain_ms = 1000,
                              .run = run,
                              .ctx = &ms};
    if (kfx_bus_keys_from_dir(load->keys_dir, opts.role, &opts.keys, &err) != 0)
        fail(err.msg);
    kfx_worker_t *worker = kfx_worker_new(&opts, &err);
    int rc = worker ? kfx_worker_serve(worker, &err) : -1;
    kfx_worker_destroy(&worker);
    return rc == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    kfx_log_init("bus-load");
    kfx_log_set_level(KFX_LOG_WARN);
    if (argc < 4)
        return 2;
    load_t load = {.endpoint = argv[2], .keys_dir = argv[3]};
    const char *mode = argv[1];
    int number = argc > 4 ? atoi(argv[4]) : 0;
    load.sent_us = kfx_xcalloc(SAMPLES, sizeof(*load.sent_us));
    load.waits = kfx_xcalloc(SAMPLES, sizeof(*load.waits));
    make_bodies(&load);
    if (strcmp(mode, "serve") == 0)
        serve(&load);
    else if (strcmp(mode, "work") == 0)
        return work(&load, number);
    else if (strcmp(mode, "relay") == 0)
        relay(&load, number);
    else
        connect_watcher(&load);
    if (strcmp(mode, "tasks") == 0 || strcmp(mode, "rate") == 0)
        connect_worker(&load);
    if (strcmp(mode, "tasks") == 0 || strcmp(mode, "events") == 0)
        closed_loop(&load, number);
    else if (strcmp(mode, "rate") == 0)
        at_rate(&load, number, argc > 5 ? atoi(argv[5]) : 1000);
    else if (strcmp(mode, "fill") == 0)
        fill(&load, (uint64_t)number);
    zsock_destroy(&load.watcher);
    zsock_destroy(&load.worker);
    zframe_destroy(&load.digest);
    zframe_destroy(&load.result);
    free(load.sent_us);
    free(load.waits);
    return 0;
}
