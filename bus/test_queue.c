/* The rules of the keyed queue, on a virtual clock. */
#include "base/mem.h"
#include "bus/queue.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct {
    kfx_queue_t *queue;
    int64_t now;
    uint64_t seq;
    unsigned canceled;
    kfx_envelope_t last_cancel;
} bench_t;

static int64_t backoff(void *ctx, unsigned attempt)
{
    (void)ctx;
    return attempt < 6 ? (int64_t)200 << attempt : 10000; /* no jitter: the tests count */
}

static void on_cancel(void *ctx, const kfx_envelope_t *env)
{
    bench_t *b = ctx;
    b->canceled++;
    b->last_cancel = *env;
}

static void open_bench(bench_t *b, int64_t hold_until)
{
    memset(b, 0, sizeof(*b));
    b->now = 1000;
    kfx_queue_opts_t opts = {.service = "storage",
                             .first_task = 1,
                             .hold_until = hold_until,
                             .max_keys = 4,
                             .backoff = backoff,
                             .on_cancel = on_cancel,
                             .ctx = b};
    b->queue = kfx_queue_new(&opts);
    kfx_queue_tick(b->queue, b->now);
}

static int setup(void **state)
{
    bench_t *b = kfx_xcalloc(1, sizeof(*b));
    open_bench(b, 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench_t *b = *state;
    kfx_queue_destroy(&b->queue);
    free(b);
    return 0;
}

typedef struct {
    int none; /* so that the list in TELL is never empty */
    const char *uid;
    int64_t generation;
    uint64_t epoch, seq;
    bool deleting;
} news_t;

static void tell(bench_t *b, const char *key, news_t news)
{
    kfx_envelope_t env = {.generation = news.generation ? news.generation : 1,
                          .epoch = news.epoch ? news.epoch : 1,
                          .seq = news.seq ? news.seq : ++b->seq,
                          .deleting = news.deleting};
    kfx_copy(env.key, sizeof(env.key), key);
    kfx_copy(env.uid, sizeof(env.uid), news.uid ? news.uid : "u1");
    zframe_t *payload = zframe_from(key);
    assert_int_equal(kfx_queue_event(b->queue, &env, &payload, b->now, NULL), 0);
    assert_null(payload);
}

#define TELL(b, key, ...) tell((b), (key), (news_t){.none = 0, __VA_ARGS__})

static bool start(bench_t *b, uint64_t lease, kfx_envelope_t *task)
{
    zframe_t *payload;
    int64_t waited;
    kfx_queue_tick(b->queue, b->now);
    return kfx_queue_next(b->queue, lease, b->now, task, &payload, &waited);
}

static int end(bench_t *b, const kfx_envelope_t *task, kfx_outcome_t outcome, uint32_t retry_after_ms)
{
    kfx_envelope_t env = *task;
    env.outcome = outcome;
    env.retry_after_ms = retry_after_ms;
    zframe_t *payload = zframe_from("result");
    int64_t ran;
    int rc = kfx_queue_done(b->queue, &env, &payload, b->now, &ran, NULL);
    zframe_destroy(&payload);
    return rc;
}

static kfx_queue_stats_t stats(bench_t *b)
{
    kfx_queue_stats_t s;
    kfx_queue_stats(b->queue, &s);
    return s;
}

static bool offered(bench_t *b, kfx_envelope_t *done)
{
    const kfx_envelope_t *env;
    zframe_t *payload;
    if (!kfx_queue_done_next(b->queue, b->now, &env, &payload))
        return false;
    *done = *env;
    return true;
}

static void test_event_run_done_ack_leaves_nothing(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, done = {.seq = 0};
    TELL(b, "a", .generation = 3);
    assert_true(start(b, 7, &task));
    assert_string_equal(task.key, "a");
    assert_int_equal(task.generation, 3);
    assert_int_equal(task.lease, 7);
    assert_false(start(b, 7, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_true(offered(b, &done));
    assert_int_equal(done.seq, task.seq);
    assert_false(offered(b, &done));
    assert_true(kfx_queue_ack(b->queue, &done));
    assert_false(kfx_queue_ack(b->queue, &done));
    assert_int_equal(stats(b).keys, 0);
    assert_true(kfx_queue_due(b->queue, true) == KFX_NEVER);
}

static void test_newest_event_wins_and_old_ones_are_no_news(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a", .epoch = 2, .seq = 5);
    TELL(b, "a", .epoch = 2, .seq = 9);
    TELL(b, "a", .epoch = 2, .seq = 7);
    TELL(b, "a", .epoch = 1, .seq = 99);
    assert_true(start(b, 1, &task));
    assert_int_equal(task.epoch, 2);
    assert_int_equal(task.seq, 9);
    TELL(b, "a", .epoch = 2, .seq = 9);
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_int_equal(stats(b).ready, 0);
    TELL(b, "a", .epoch = 3, .seq = 1);
    assert_int_equal(stats(b).ready, 1);
}

static void test_one_run_per_key_and_one_more_for_all_that_came(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, other;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    TELL(b, "a");
    TELL(b, "a");
    assert_false(start(b, 2, &other));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_true(start(b, 2, &other));
    assert_int_equal(other.seq, 3);
    assert_int_equal(end(b, &other, KFX_OUTCOME_OK, 0), 0);
    assert_false(start(b, 2, &other));
}

static void test_result_of_another_dispatch_is_fenced(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, wrong;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    wrong = task;
    wrong.lease = 2;
    assert_int_equal(end(b, &wrong, KFX_OUTCOME_OK, 0), -1);
    wrong = task;
    wrong.task++;
    assert_int_equal(end(b, &wrong, KFX_OUTCOME_OK, 0), -1);
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), -1);
}

static void test_failures_back_off_and_success_resets(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    for (uint32_t attempt = 0; attempt < 4; attempt++) {
        assert_true(start(b, 1, &task));
        assert_int_equal(task.attempt, attempt);
        assert_int_equal(end(b, &task, KFX_OUTCOME_RETRY, 0), 0);
        assert_int_equal(kfx_queue_due(b->queue, false), b->now + backoff(NULL, attempt));
        b->now += backoff(NULL, attempt) - 1;
        assert_false(start(b, 1, &task));
        b->now += 1;
    }
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(task.attempt, 0);
}

static void test_new_generation_ends_the_backoff(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_RETRY, 50000), 0);
    TELL(b, "a", .generation = 2);
    assert_true(start(b, 1, &task));
    assert_int_equal(task.attempt, 0);
}

static void test_plain_event_shortens_the_backoff_to_a_second(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_RETRY, 50000), 0);
    TELL(b, "a");
    assert_false(start(b, 1, &task));
    b->now += KFX_QUEUE_EVENT_GAP_MS;
    assert_true(start(b, 1, &task));
    assert_int_equal(task.attempt, 1);
    /* the same where the event came during the run */
    TELL(b, "a");
    assert_int_equal(end(b, &task, KFX_OUTCOME_RETRY, 50000), 0);
    assert_int_equal(kfx_queue_due(b->queue, false), b->now + KFX_QUEUE_EVENT_GAP_MS);
}

static void test_failure_of_an_outdated_run_does_not_count(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    TELL(b, "a", .generation = 2);
    assert_int_equal(end(b, &task, KFX_OUTCOME_RETRY, 0), 0);
    assert_true(start(b, 1, &task));
    assert_int_equal(task.attempt, 0);
    assert_int_equal(task.generation, 2);
}

static void test_waiting_runs_at_the_next_event_or_in_time(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_WAITING, 0), 0);
    assert_true(kfx_queue_due(b->queue, false) == KFX_NEVER);
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(task.attempt, 0);
    assert_int_equal(end(b, &task, KFX_OUTCOME_WAITING, 300), 0);
    b->now += 300;
    assert_true(start(b, 1, &task));
}

static void test_ok_with_retry_after_looks_again(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, done = {.seq = 0};
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 45000), 0);
    assert_true(offered(b, &done));
    assert_true(kfx_queue_ack(b->queue, &done));
    assert_int_equal(stats(b).keys, 1); /* not dropped: it has a timer */
    b->now += 45000;
    assert_true(start(b, 1, &task));
}

static void test_down_is_no_failure(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    for (int i = 0; i < 3; i++) {
        assert_true(start(b, 1, &task));
        assert_int_equal(task.attempt, 0);
        assert_int_equal(end(b, &task, KFX_OUTCOME_DOWN, 0), 0);
    }
}

static void test_lost_lease_gives_the_key_to_another_and_backs_off_the_second_time(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t first, second, third;
    TELL(b, "a");
    assert_true(start(b, 1, &first));
    assert_int_equal(kfx_queue_release(b->queue, 1, true, b->now), 1);
    assert_true(start(b, 2, &second));
    assert_int_equal(end(b, &first, KFX_OUTCOME_OK, 0), -1);
    assert_int_equal(kfx_queue_release(b->queue, 2, true, b->now), 1);
    assert_false(start(b, 3, &third));
    b->now += 200;
    assert_true(start(b, 3, &third));
    assert_int_equal(stats(b).redelivered, 2);
    assert_int_equal(kfx_queue_release(b->queue, 3, false, b->now), 1); /* handed back: at once, no blame */
    assert_true(start(b, 4, &third));
    assert_int_equal(stats(b).redelivered, 2);
}

static void test_other_uid_or_deletion_cancels_once(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    assert_true(start(b, 5, &task));
    TELL(b, "a");
    assert_int_equal(b->canceled, 0);
    TELL(b, "a", .deleting = true);
    TELL(b, "a", .uid = "u2");
    assert_int_equal(b->canceled, 1);
    assert_int_equal(b->last_cancel.lease, 5);
    assert_int_equal(b->last_cancel.task, task.task);
    assert_string_equal(b->last_cancel.uid, "u1");
    assert_int_equal(end(b, &task, KFX_OUTCOME_RETRY, 0), 0);
    assert_true(start(b, 5, &task));
    assert_string_equal(task.uid, "u2");
    assert_int_equal(task.attempt, 0);
}

static void test_result_is_offered_until_ack(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, done = {.seq = 0};
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_GONE, 0), 0);
    assert_true(offered(b, &done));
    assert_int_equal(done.outcome, KFX_OUTCOME_GONE);
    b->now += KFX_QUEUE_RESEND_MS;
    assert_true(offered(b, &done));
    kfx_queue_done_again(b->queue, b->now);
    assert_true(offered(b, &done));
    kfx_envelope_t by_seq = done;
    by_seq.task = 0;
    by_seq.seq++;
    assert_false(kfx_queue_ack(b->queue, &by_seq));
    by_seq.seq--;
    assert_true(kfx_queue_ack(b->queue, &by_seq));
    assert_false(offered(b, &done));
}

static void test_newer_result_replaces_and_old_ack_does_not_hit_it(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, first = {.seq = 0}, second = {.seq = 0};
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_true(offered(b, &first));
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_int_equal(stats(b).unacked, 1);
    assert_false(kfx_queue_ack(b->queue, &first));
    assert_true(offered(b, &second));
    assert_int_equal(second.seq, 2);
    assert_true(kfx_queue_ack(b->queue, &second));
}

static void test_result_about_an_older_uid_is_dropped(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, done = {.seq = 0};
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    TELL(b, "a", .uid = "u2");
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_false(offered(b, &done));
    assert_true(start(b, 1, &task));
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    TELL(b, "a", .uid = "u3");
    assert_false(offered(b, &done));
}

static void test_what_a_result_is_about_comes_from_the_dispatch(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task, done = {.seq = 0};
    TELL(b, "a", .generation = 4);
    assert_true(start(b, 1, &task));
    task.generation = 99;
    task.seq = 99;
    kfx_copy(task.uid, sizeof(task.uid), "forged");
    assert_int_equal(end(b, &task, KFX_OUTCOME_OK, 0), 0);
    assert_true(offered(b, &done));
    assert_int_equal(done.generation, 4);
    assert_int_equal(done.seq, 1);
    assert_string_equal(done.uid, "u1");
    assert_string_equal(done.service, "storage");
}

static void test_snapshot_sweeps(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t running, task;
    TELL(b, "runs");
    assert_true(start(b, 1, &running));
    TELL(b, "waits");
    TELL(b, "stays");
    kfx_queue_sync_begin(b->queue);
    TELL(b, "stays");
    assert_int_equal(kfx_queue_sync_end(b->queue), 2);
    assert_int_equal(kfx_queue_sync_end(b->queue), 0); /* no begin, no sweep */
    assert_int_equal(b->canceled, 1);
    assert_int_equal(end(b, &running, KFX_OUTCOME_RETRY, 0), 0);
    assert_int_equal(stats(b).keys, 1);
    assert_true(start(b, 1, &task));
    assert_string_equal(task.key, "stays");
}

static void test_swept_key_that_comes_back_runs(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t running, task;
    TELL(b, "a");
    assert_true(start(b, 1, &running));
    kfx_queue_sync_begin(b->queue);
    assert_int_equal(kfx_queue_sync_end(b->queue), 1);
    TELL(b, "a", .uid = "u2");
    assert_false(start(b, 2, &task));
    assert_int_equal(end(b, &running, KFX_OUTCOME_RETRY, 0), 0);
    assert_true(start(b, 2, &task));
    assert_string_equal(task.uid, "u2");
}

static void test_aborted_snapshot_sweeps_nothing(void **state)
{
    bench_t *b = *state;
    TELL(b, "a");
    kfx_queue_sync_begin(b->queue);
    kfx_queue_sync_abort(b->queue);
    assert_int_equal(kfx_queue_sync_end(b->queue), 0);
    assert_int_equal(stats(b).ready, 1);
}

static void test_new_bus_holds_back_what_nobody_announced(void **state)
{
    (void)state;
    bench_t bench, *b = &bench;
    kfx_envelope_t task, mine = {.lease = 9, .task = 77, .epoch = 1, .seq = 1, .generation = 1};
    open_bench(b, 5500);
    kfx_copy(mine.key, sizeof(mine.key), "announced");
    kfx_copy(mine.uid, sizeof(mine.uid), "u1");
    TELL(b, "announced", .seq = 10);
    TELL(b, "silent", .seq = 11);
    assert_false(start(b, 9, &task));
    assert_int_equal(kfx_queue_adopt(b->queue, &mine, b->now, NULL), 0);
    assert_int_equal(kfx_queue_adopt(b->queue, &mine, b->now, NULL), 0); /* said twice */
    kfx_envelope_t other = mine;
    other.lease = 10;
    other.task = 78;
    assert_int_equal(kfx_queue_adopt(b->queue, &other, b->now, NULL), -1);
    assert_false(start(b, 9, &task));
    assert_int_equal(end(b, &mine, KFX_OUTCOME_OK, 0), 0);
    assert_true(start(b, 9, &task)); /* its own hold is over with its run */
    assert_string_equal(task.key, "announced");
    assert_int_equal(task.seq, 10);
    assert_false(start(b, 9, &task));
    b->now = 5500;
    assert_int_equal(kfx_queue_due(b->queue, false), 5500);
    assert_true(start(b, 9, &task));
    assert_string_equal(task.key, "silent");
    kfx_copy(other.key, sizeof(other.key), "late");
    assert_int_equal(kfx_queue_adopt(b->queue, &other, b->now, NULL), -1);
    kfx_queue_destroy(&b->queue);
}

/* The old bus took the DONE, gave the key to another worker and died before its ACK arrived. */
static void test_announced_end_does_not_end_the_hold(void **state)
{
    (void)state;
    bench_t bench, *b = &bench;
    kfx_envelope_t task,
        over = {.lease = 9, .task = 77, .epoch = 1, .seq = 1, .generation = 1, .key = "a", .uid = "u1"};
    kfx_envelope_t runs = over;
    open_bench(b, 5500);
    TELL(b, "a", .seq = 10);
    over.outcome = KFX_OUTCOME_OK;
    assert_int_equal(kfx_queue_adopt(b->queue, &over, b->now, NULL), 0);
    assert_int_equal(end(b, &over, KFX_OUTCOME_OK, 0), 0);
    assert_false(start(b, 9, &task)); /* somebody may be running it */
    runs.lease = 10;
    runs.task = 78;
    assert_int_equal(kfx_queue_adopt(b->queue, &runs, b->now, NULL), 0);
    assert_int_equal(end(b, &runs, KFX_OUTCOME_OK, 0), 0);
    assert_true(start(b, 9, &task)); /* now it is known that nobody does */
    kfx_queue_destroy(&b->queue);
}

static void test_announced_run_goes_before_an_announced_end(void **state)
{
    (void)state;
    bench_t bench, *b = &bench;
    kfx_envelope_t task,
        over = {.lease = 9, .task = 77, .epoch = 1, .seq = 1, .generation = 1, .key = "a", .uid = "u1"};
    kfx_envelope_t runs = over, also = over;
    open_bench(b, 5500);
    TELL(b, "a", .seq = 10);
    over.outcome = also.outcome = KFX_OUTCOME_RETRY;
    runs.lease = 10;
    runs.task = 78;
    also.lease = 11;
    also.task = 79;
    assert_int_equal(kfx_queue_adopt(b->queue, &over, b->now, NULL), 0);
    assert_int_equal(kfx_queue_adopt(b->queue, &also, b->now, NULL), -1);
    assert_int_equal(kfx_queue_adopt(b->queue, &runs, b->now, NULL), 0);
    assert_int_equal(end(b, &over, KFX_OUTCOME_RETRY, 0), -1);
    assert_int_equal(end(b, &runs, KFX_OUTCOME_OK, 0), 0);
    assert_true(start(b, 9, &task));
    kfx_queue_destroy(&b->queue);

    open_bench(b, 5500);
    TELL(b, "a", .seq = 10);
    assert_int_equal(kfx_queue_adopt(b->queue, &over, b->now, NULL), 0);
    assert_int_equal(kfx_queue_release(b->queue, 9, false, b->now), 1); /* its worker left before the DONE came */
    assert_false(start(b, 10, &task));
    b->now = 5500;
    assert_true(start(b, 10, &task));
    kfx_queue_destroy(&b->queue);
}

static void test_adopted_run_of_another_uid_is_cancelled(void **state)
{
    (void)state;
    bench_t bench, *b = &bench;
    kfx_envelope_t task,
        mine = {.lease = 9, .task = 77, .epoch = 1, .seq = 1, .generation = 1, .key = "a", .uid = "old"};
    open_bench(b, 5500);
    TELL(b, "a", .seq = 10, .uid = "new");
    assert_int_equal(kfx_queue_adopt(b->queue, &mine, b->now, NULL), 0);
    assert_int_equal(b->canceled, 1);
    assert_int_equal(end(b, &mine, KFX_OUTCOME_RETRY, 0), 0);
    assert_true(start(b, 9, &task));
    assert_string_equal(task.uid, "new");
    kfx_queue_destroy(&b->queue);
}

static void test_reconnected_worker_keeps_what_it_names(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t one, two, task;
    TELL(b, "one");
    TELL(b, "two");
    assert_true(start(b, 1, &one));
    assert_true(start(b, 1, &two));
    assert_int_equal(kfx_queue_move(b->queue, 1, 2), 2);
    one.lease = two.lease = 2;
    assert_int_equal(kfx_queue_adopt(b->queue, &one, b->now, NULL), 0);
    assert_int_equal(kfx_queue_confirm(b->queue, 2, b->now), 1); /* the TASK for "two" was lost on the way */
    assert_int_equal(kfx_queue_running(b->queue, 2), 1);
    assert_int_equal(end(b, &two, KFX_OUTCOME_OK, 0), -1);
    assert_int_equal(end(b, &one, KFX_OUTCOME_OK, 0), 0);
    assert_true(start(b, 3, &task));
    assert_string_equal(task.key, "two");
}

static void test_undone_dispatch_is_ready_again(void **state)
{
    bench_t *b = *state;
    kfx_envelope_t task;
    TELL(b, "a");
    assert_true(start(b, 1, &task));
    kfx_queue_undo(b->queue, &task, b->now);
    assert_int_equal(stats(b).running, 0);
    assert_true(start(b, 2, &task));
}

static void test_number_of_keys_is_bounded(void **state)
{
    bench_t *b = *state;
    TELL(b, "1");
    TELL(b, "2");
    TELL(b, "3");
    TELL(b, "4");
    kfx_envelope_t env = {.epoch = 1, .seq = 99, .key = "5", .uid = "u"};
    kfx_error_t err = KFX_ERROR_INIT;
    zframe_t *payload = NULL;
    assert_int_equal(kfx_queue_event(b->queue, &env, &payload, b->now, &err), -1);
    assert_int_equal(err.code, KFX_E_BUSY);
    TELL(b, "4");
}

static void test_heap_keeps_order_under_moves(void **state)
{
    (void)state;
    kfx_heap_t heap = {NULL, 0, 0};
    kfx_heap_node_t nodes[200];
    memset(nodes, 0, sizeof(nodes));
    uint32_t x = 12345;
    for (int round = 0; round < 2000; round++) {
        x = x * 1664525u + 1013904223u;
        kfx_heap_node_t *node = &nodes[(x >> 8) % 200];
        if ((x >> 24) % 3 == 0)
            kfx_heap_remove(&heap, node);
        else
            kfx_heap_set(&heap, node, (int64_t)((x >> 4) % 1000));
    }
    int64_t last = INT64_MIN;
    kfx_heap_node_t *node;
    while ((node = kfx_heap_first(&heap))) {
        assert_true(node->due >= last);
        last = node->due;
        kfx_heap_remove(&heap, node);
        assert_int_equal(node->slot, 0);
    }
    kfx_heap_free(&heap);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_event_run_done_ack_leaves_nothing),
        TEST(test_newest_event_wins_and_old_ones_are_no_news),
        TEST(test_one_run_per_key_and_one_more_for_all_that_came),
        TEST(test_result_of_another_dispatch_is_fenced),
        TEST(test_failures_back_off_and_success_resets),
        TEST(test_new_generation_ends_the_backoff),
        TEST(test_plain_event_shortens_the_backoff_to_a_second),
        TEST(test_failure_of_an_outdated_run_does_not_count),
        TEST(test_waiting_runs_at_the_next_event_or_in_time),
        TEST(test_ok_with_retry_after_looks_again),
        TEST(test_down_is_no_failure),
        TEST(test_lost_lease_gives_the_key_to_another_and_backs_off_the_second_time),
        TEST(test_other_uid_or_deletion_cancels_once),
        TEST(test_result_is_offered_until_ack),
        TEST(test_newer_result_replaces_and_old_ack_does_not_hit_it),
        TEST(test_result_about_an_older_uid_is_dropped),
        TEST(test_what_a_result_is_about_comes_from_the_dispatch),
        TEST(test_snapshot_sweeps),
        TEST(test_swept_key_that_comes_back_runs),
        TEST(test_aborted_snapshot_sweeps_nothing),
        cmocka_unit_test(test_new_bus_holds_back_what_nobody_announced),
        cmocka_unit_test(test_announced_end_does_not_end_the_hold),
        cmocka_unit_test(test_announced_run_goes_before_an_announced_end),
        cmocka_unit_test(test_adopted_run_of_another_uid_is_cancelled),
        TEST(test_reconnected_worker_keeps_what_it_names),
        TEST(test_undone_dispatch_is_ready_again),
        TEST(test_number_of_keys_is_bounded),
        cmocka_unit_test(test_heap_keeps_order_under_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
