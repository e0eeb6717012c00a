/* The publisher against a bus played by the test: window, coalescing, order of a snapshot, results, a higher epoch. */
#include "base/log.h"
#include "base/mem.h"
#include "bus/publisher.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WINDOW 4
#define SEEN_MAX 64

typedef struct {
    zloop_t *loop;
    zsock_t *router;
    kfx_publisher_t *publisher;
    zframe_t *client;
    kfx_msg_t seen[SEEN_MAX]; /* all but HELLO and PING */
    size_t count;
    size_t until; /* the loop stops when so much was seen */
    int connected, disconnected, results;
    uint64_t stale;
    kfx_state_t service_state;
    bool timed_out;
    bool stop_on_callback;
} site_t;

static void say(site_t *s, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload)
{
    zmsg_t *msg = kfx_msg_encode(kind, env, payload);
    zframe_t *front = zframe_dup(s->client);
    zmsg_prepend(msg, &front);
    zmsg_send(&msg, s->router);
}

static int on_router(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    site_t *s = arg;
    zmsg_t *msg = zmsg_recv(reader);
    zframe_t *id = zmsg_pop(msg);
    kfx_msg_t in;
    assert_int_equal(kfx_msg_decode(msg, &in, NULL), 0);
    zmsg_destroy(&msg);
    zframe_destroy(&s->client);
    s->client = id;
    if (in.kind == KFX_HELLO) {
        assert_string_equal(in.env.role, "watcher");
        assert_int_equal(in.env.epoch, 7);
        say(s, KFX_WELCOME, &(kfx_envelope_t){.seq = in.env.seq, .lease = 5, .lease_ms = 2500, .window = WINDOW}, NULL);
    }
    if (in.kind == KFX_HELLO || in.kind == KFX_PING) {
        kfx_msg_release(&in);
        return 0;
    }
    assert_true(s->count < SEEN_MAX);
    s->seen[s->count++] = in;
    return s->until && s->count >= s->until ? -1 : 0;
}

static int on_deadline(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    ((site_t *)arg)->timed_out = true;
    return -1;
}

static int on_pause(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    (void)arg;
    return -1;
}

/* Runs the loop until so many messages were seen, or a callback ended it. */
static void run_until(site_t *s, size_t until)
{
    s->until = until;
    if (until && s->count >= until)
        return;
    s->timed_out = false;
    int timer = zloop_timer(s->loop, 5000, 1, on_deadline, s);
    zloop_start(s->loop);
    zloop_timer_end(s->loop, timer);
    assert_false(s->timed_out);
}

/* Everything that is under way has arrived: a few turns of the loop (inproc delivers at once). */
static void settle(site_t *s)
{
    s->until = 0;
    zloop_timer(s->loop, 30, 1, on_pause, s);
    zloop_start(s->loop);
}

static int stop_soon(zloop_t *loop, int timer_id, void *arg)
{
    return on_pause(loop, timer_id, arg);
}

static void called(site_t *s)
{
    if (s->stop_on_callback)
        zloop_timer(s->loop, 1, 1, stop_soon, s);
}

static void on_connected(void *ctx)
{
    site_t *s = ctx;
    s->connected++;
    called(s);
}

static void on_disconnected(void *ctx)
{
    ((site_t *)ctx)->disconnected++;
}

static void on_done(void *ctx, const kfx_envelope_t *env, const kfx_result_t *result)
{
    site_t *s = ctx;
    s->results++;
    assert_int_equal(result->outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(result->retry_after_ms, 1500);
    assert_string_equal(result->conditions[0].type, "Ready");
    kfx_publisher_ack(s->publisher, env);
}

static void on_service(void *ctx, const char *service, kfx_state_t state, const char *why)
{
    site_t *s = ctx;
    assert_string_equal(why, "no route");
    assert_string_equal(service, "storage");
    s->service_state = state;
    called(s);
}

static void on_stale(void *ctx, uint64_t epoch)
{
    site_t *s = ctx;
    s->stale = epoch;
    kfx_publisher_destroy(&s->publisher); /* what a watcher does */
    called(s);
}

static int setup(void **state)
{
    static int number;
    site_t *s = kfx_xcalloc(1, sizeof(*s));
    s->loop = zloop_new();
    s->router = zsock_new(ZMQ_ROUTER);
    KFX_FREE char *endpoint = kfx_xasprintf("inproc://test-publisher-%d", number++);
    assert_int_equal(zsock_bind(s->router, "%s", endpoint), 0);
    zloop_reader(s->loop, s->router, on_router, s);
    kfx_publisher_opts_t opts = {.endpoint = endpoint,
                                 .instance = "w",
                                 .epoch = 7,
                                 .on_connected = on_connected,
                                 .on_disconnected = on_disconnected,
                                 .on_done = on_done,
                                 .on_service = on_service,
                                 .on_stale = on_stale,
                                 .ctx = s};
    s->publisher = kfx_publisher_new(s->loop, &opts, NULL);
    assert_non_null(s->publisher);
    s->stop_on_callback = true;
    run_until(s, 0);
    s->stop_on_callback = false;
    assert_int_equal(s->connected, 1);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    site_t *s = *state;
    kfx_publisher_destroy(&s->publisher);
    for (size_t i = 0; i < s->count; i++)
        kfx_msg_release(&s->seen[i]);
    zframe_destroy(&s->client);
    zsock_destroy(&s->router);
    zloop_destroy(&s->loop);
    free(s);
    return 0;
}

static void publish(site_t *s, const char *key, uint64_t seq)
{
    kfx_envelope_t env = {.seq = seq, .generation = 1, .uid = "u"};
    kfx_digest_t digest = {.type = "k8s"};
    kfx_copy(env.key, sizeof(env.key), key);
    kfx_publisher_event(s->publisher, "storage", &env, &digest);
}

static void grant(site_t *s, size_t i)
{
    kfx_envelope_t ack = s->seen[i].env;
    say(s, KFX_ACK, &ack, NULL);
}

static void test_window_holds_back_and_newest_goes(void **state)
{
    site_t *s = *state;
    for (uint64_t seq = 1; seq <= 6; seq++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", (int)seq);
        publish(s, key, seq);
    }
    publish(s, "k6", 7); /* k5 and k6 wait: the older of k6 is never sent */
    publish(s, "k1", 8); /* sent already: waits behind them */
    settle(s);
    assert_int_equal(s->count, WINDOW);
    assert_int_equal(s->seen[0].env.epoch, 7);
    grant(s, 0);
    grant(s, 1);
    run_until(s, 6);
    assert_string_equal(s->seen[4].env.key, "k5");
    assert_string_equal(s->seen[5].env.key, "k6");
    assert_int_equal(s->seen[5].env.seq, 7);
    settle(s);
    assert_int_equal(s->count, 6);
    kfx_envelope_t refused = {.code = KFX_E_BUSY, .seq = 3, .key = "k3"}; /* frees a place, too */
    say(s, KFX_ERROR, &refused, NULL);
    run_until(s, 7);
    assert_int_equal(s->seen[6].env.seq, 8);
}

static void test_snapshot_keeps_its_order_inside_its_brackets(void **state)
{
    site_t *s = *state;
    for (uint64_t seq = 1; seq <= 5; seq++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", (int)seq);
        publish(s, key, seq);
    }
    kfx_publisher_sync_begin(s->publisher); /* k5 still waits: its place must not be in front of the bracket */
    publish(s, "k5", 6);
    kfx_publisher_sync_end(s->publisher);
    settle(s);
    assert_int_equal(s->count, WINDOW + 1);
    assert_int_equal(s->seen[4].kind, KFX_SYNC);
    assert_int_equal(s->seen[4].env.state, KFX_SYNC_BEGIN);
    grant(s, 0);
    run_until(s, 7);
    assert_int_equal(s->seen[5].env.seq, 6);
    assert_int_equal(s->seen[6].env.state, KFX_SYNC_END);
}

static void test_result_is_told_and_acknowledged(void **state)
{
    site_t *s = *state;
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
    kfx_result_condition(result, "Ready", false, "Creating", "soon");
    zframe_t *payload = kfx_result_encode(result);
    kfx_envelope_t done = {.service = "storage",
                           .key = "k1",
                           .uid = "u",
                           .seq = 3,
                           .epoch = 7,
                           .task = 99,
                           .outcome = KFX_OUTCOME_RETRY,
                           .retry_after_ms = 1500};
    say(s, KFX_DONE, &done, payload);
    run_until(s, 1);
    assert_int_equal(s->results, 1);
    assert_int_equal(s->seen[0].kind, KFX_ACK);
    assert_int_equal(s->seen[0].env.task, 99);
    assert_string_equal(s->seen[0].env.service, "storage");
    /* one that cannot be read would come for ever */
    zframe_destroy(&payload);
    payload = zframe_from("no msgpack");
    done.task = 100;
    say(s, KFX_DONE, &done, payload);
    run_until(s, 2);
    assert_int_equal(s->results, 1);
    assert_int_equal(s->seen[1].env.task, 100);
    zframe_destroy(&payload);
    free(result);
}

static void test_state_of_a_service(void **state)
{
    site_t *s = *state;
    s->stop_on_callback = true;
    say(s, KFX_STATUS, &(kfx_envelope_t){.service = "storage", .state = KFX_STATE_DOWN, .text = "no route"}, NULL);
    run_until(s, 0);
    assert_int_equal(s->service_state, KFX_STATE_DOWN);
}

static void test_higher_epoch_ends_it(void **state)
{
    site_t *s = *state;
    s->stop_on_callback = true;
    say(s, KFX_ERROR, &(kfx_envelope_t){.code = KFX_E_CONFLICT, .epoch = 8}, NULL);
    run_until(s, 0);
    assert_int_equal(s->stale, 8);
    assert_null(s->publisher);
}

static void test_restarted_bus_gets_hello_again_and_nothing_old(void **state)
{
    site_t *s = *state;
    for (uint64_t seq = 1; seq <= 5; seq++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", (int)seq);
        publish(s, key, seq);
    }
    run_until(s, WINDOW);
    s->stop_on_callback = true;
    say(s, KFX_ERROR, &(kfx_envelope_t){.code = KFX_E_UNAUTHORIZED, .text = "no session"}, NULL);
    run_until(s, 0);
    s->stop_on_callback = false;
    assert_int_equal(s->disconnected, 1);
    assert_int_equal(s->connected, 2);
    settle(s);
    assert_int_equal(s->count, WINDOW); /* k5 is the snapshot's business now */
    publish(s, "k9", 9);
    run_until(s, WINDOW + 1);
    assert_string_equal(s->seen[WINDOW].env.key, "k9");
}

static int block_loop(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    (void)arg;
    zclock_sleep(600); /* longer than the session's tick */
    return 0;
}

static int end_publisher(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_publisher_destroy(arg);
    return 0;
}

/* As in a process that was stopped for a while: a timer that ends the publisher, and the session's own, in one pass.
 * What would be used after its end is found by the sanitizers. */
static void test_ended_in_the_pass_of_its_own_timers(void **state)
{
    (void)state;
    kfx_publisher_t *publisher = NULL;
    zloop_t *loop = zloop_new();
    zloop_timer(loop, 1, 1, block_loop, NULL);
    zloop_timer(loop, 2, 1, end_publisher, &publisher);
    kfx_publisher_opts_t opts = {.endpoint = "ipc:///nonexistent/bus", .instance = "w", .epoch = 1};
    publisher = kfx_publisher_new(loop, &opts, NULL);
    assert_non_null(publisher);
    zloop_timer(loop, 700, 1, stop_soon, &(site_t){0});
    zloop_start(loop);
    assert_null(publisher);
    zloop_destroy(&loop);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_window_holds_back_and_newest_goes),
        TEST(test_snapshot_keeps_its_order_inside_its_brackets),
        TEST(test_result_is_told_and_acknowledged),
        TEST(test_state_of_a_service),
        TEST(test_higher_epoch_ends_it),
        TEST(test_restarted_bus_gets_hello_again_and_nothing_old),
        cmocka_unit_test(test_ended_in_the_pass_of_its_own_timers),
    };
    kfx_log_set_level(KFX_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
