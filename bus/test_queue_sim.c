/* Random schedules against the queue, on a virtual clock: events (also twice, late and out of order), runs, results
 * (also twice, late, and without ACK), lost leases, reconnects that lost a TASK, restarts of bus and watcher, sweeps,
 * ACKs. After each step the invariants of queue.h are checked against a model; at the end faults stop and everything
 * has to come to rest. KFX_SIM_SCHEDULES says how many; a failing one is repeated with KFX_SIM_SEED=<seed>. */
#include "base/mem.h"
#include "bus/queue.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KEYS 5
#define WORKERS 3
#define RUNS 64
#define STEPS 250
#define SCHEDULES 3000
#define HOLD_MS 4500
#define SENT 16

typedef struct {
    kfx_envelope_t env;
    int worker;
    bool live;   /* a worker really runs it and may write; false: a ghost that may still send its DONE */
    bool orphan; /* live, but its bus is dead and the new one does not know it; ends with the new bus's hold */
    bool over;   /* its DONE was taken, but not the ACK: the worker will announce it to the next bus */
    bool taken;  /* over, and the next bus believed the announcement */
    bool canceled;
} run_t;

typedef struct {
    bool exists;
    unsigned incarnation;
    int64_t generation;
    bool deleting;
    uint64_t event_at; /* stamp of the newest sent */
    uint64_t run_at;   /* of the newest that a run began with, under any bus */
    uint64_t unacked;  /* task whose result the bus owes us, 0 = none */
} key_t_;

typedef struct {
    uint32_t random;
    kfx_queue_t *queue;
    int64_t now, hold_until;
    uint64_t epoch, seq, next_lease, first_task;
    uint64_t lease[WORKERS];
    key_t_ keys[KEYS];
    run_t runs[RUNS];
    size_t run_count;
    kfx_envelope_t sent[SENT]; /* the last events */
    size_t sent_count;
    kfx_envelope_t late; /* a result whose ACK is still under way */
} sim_t;

static uint64_t stamp(const kfx_envelope_t *env)
{
    return env->epoch << 32 | env->seq;
}

static uint32_t roll(sim_t *s, uint32_t sides)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return s->random % sides;
}

static int64_t backoff(void *ctx, unsigned attempt)
{
    (void)ctx;
    return attempt < 8 ? (int64_t)100 << attempt : 30000;
}

static int key_index(const char *key)
{
    return key[1] - '0';
}

/* Once a run at most, and only one that is going on. */
static void on_cancel(void *ctx, const kfx_envelope_t *env)
{
    sim_t *s = ctx;
    for (size_t i = 0; i < s->run_count; i++) {
        run_t *run = &s->runs[i];
        if (run->env.task != env->task || !(run->live || run->taken))
            continue;
        assert_string_equal(run->env.key, env->key);
        assert_string_equal(run->env.uid, env->uid);
        assert_int_equal(run->env.lease, env->lease);
        assert_false(run->canceled);
        run->canceled = true;
    }
}

static void open_queue(sim_t *s, int64_t hold_ms)
{
    kfx_queue_opts_t opts = {.service = "s",
                             .first_task = s->first_task,
                             .hold_until = s->now + hold_ms,
                             .backoff = backoff,
                             .on_cancel = on_cancel,
                             .ctx = s};
    s->first_task += 1000000;
    s->hold_until = s->now + hold_ms;
    s->queue = kfx_queue_new(&opts);
}

static void drop_run(sim_t *s, size_t i)
{
    s->runs[i] = s->runs[--s->run_count];
}

static run_t *current_run(sim_t *s, const char *key)
{
    for (size_t i = 0; i < s->run_count; i++)
        if (strcmp(s->runs[i].env.key, key) == 0 && ((s->runs[i].live && !s->runs[i].orphan) || s->runs[i].taken))
            return &s->runs[i];
    return NULL;
}

static void take_event(sim_t *s, const kfx_envelope_t *env)
{
    uint64_t carried = stamp(env);
    zframe_t *payload = zframe_new(&carried, sizeof(carried));
    assert_int_equal(kfx_queue_event(s->queue, env, &payload, s->now, NULL), 0);
    assert_null(payload);
}

static void send_event(sim_t *s, int k)
{
    key_t_ *key = &s->keys[k];
    kfx_envelope_t env = {.epoch = s->epoch, .seq = ++s->seq, .generation = key->generation, .deleting = key->deleting};
    snprintf(env.key, sizeof(env.key), "k%d", k);
    snprintf(env.uid, sizeof(env.uid), "uid-%u", key->incarnation);
    take_event(s, &env);
    key->event_at = stamp(&env);
    s->sent[s->sent_count++ % SENT] = env;
    const run_t *run = current_run(s, env.key);
    if (run && (strcmp(run->env.uid, env.uid) != 0 || (env.deleting && !run->env.deleting)))
        assert_true(run->canceled);
}

/* An older event arrives behind a newer one, or the same again: nothing may come of it. Of keys that are at rest the
 * queue knows nothing any more, and their connection brings none. */
static void old_event(sim_t *s)
{
    size_t known = s->sent_count < SENT ? s->sent_count : SENT;
    if (known == 0)
        return;
    kfx_envelope_t env = s->sent[roll(s, (uint32_t)known)];
    const key_t_ *key = &s->keys[key_index(env.key)];
    if (key->exists && key->run_at != key->event_at)
        take_event(s, &env);
}

static void change(sim_t *s, int k)
{
    key_t_ *key = &s->keys[k];
    uint32_t what = roll(s, 10);
    if (!key->exists || what == 0) { /* created, or deleted and created again */
        key->exists = true;
        key->incarnation++;
        key->generation = 1;
        key->deleting = false;
        key->unacked = 0;
    } else if (what <= 3) {
        key->generation++;
    } else if (what == 4) {
        key->deleting = true;
    }
    send_event(s, k);
}

static void check_exclusive(const sim_t *s, const char *key)
{
    int live = 0;
    for (size_t i = 0; i < s->run_count; i++)
        live += s->runs[i].live && strcmp(s->runs[i].env.key, key) == 0;
    assert_true(live <= 1);
}

static void dispatch(sim_t *s)
{
    if (s->run_count == RUNS)
        return;
    int worker = (int)roll(s, WORKERS);
    run_t *run = &s->runs[s->run_count];
    zframe_t *payload;
    int64_t waited;
    kfx_queue_tick(s->queue, s->now);
    if (!kfx_queue_next(s->queue, s->lease[worker], s->now, &run->env, &payload, &waited))
        return;
    uint64_t carried;
    assert_int_equal(zframe_size(payload), sizeof(carried));
    memcpy(&carried, zframe_data(payload), sizeof(carried));
    assert_int_equal(carried, stamp(&run->env)); /* the digest of that very event */
    run->worker = worker;
    run->live = true;
    run->orphan = run->over = run->taken = run->canceled = false;
    s->run_count++;
    key_t_ *key = &s->keys[key_index(run->env.key)];
    assert_int_equal(stamp(&run->env), key->event_at); /* always the newest */
    key->run_at = stamp(&run->env);
    check_exclusive(s, run->env.key);
}

static void finish(sim_t *s, size_t i, kfx_outcome_t outcome, uint32_t retry_after_ms)
{
    run_t run = s->runs[i];
    int64_t ran;
    zframe_t *payload = zframe_from("r");
    run.env.outcome = outcome;
    run.env.retry_after_ms = retry_after_ms;
    int rc = kfx_queue_done(s->queue, &run.env, &payload, s->now, &ran, NULL);
    zframe_destroy(&payload);
    bool current = (run.live && !run.orphan) || run.taken;
    assert_int_equal(rc, current ? 0 : -1);
    if (current) {
        payload = zframe_from("again");
        assert_int_equal(kfx_queue_done(s->queue, &run.env, &payload, s->now, &ran, NULL), -1);
        zframe_destroy(&payload);
        key_t_ *key = &s->keys[key_index(run.env.key)];
        char uid[KFX_UID_SIZE];
        snprintf(uid, sizeof(uid), "uid-%u", key->incarnation);
        if (key->exists && strcmp(uid, run.env.uid) == 0)
            key->unacked = run.env.task;
    }
    if (run.live && !run.orphan && roll(s, 4) == 0) { /* the ACK is lost */
        s->runs[i].env.outcome = outcome ? outcome : KFX_OUTCOME_RETRY;
        s->runs[i].live = false;
        s->runs[i].over = true;
    } else {
        drop_run(s, i);
    }
}

static void lose_lease(sim_t *s, int worker, bool lost)
{
    kfx_queue_release(s->queue, s->lease[worker], lost, s->now);
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].worker == worker && !s->runs[i].orphan)
            s->runs[i].live = s->runs[i].over = s->runs[i].taken = false;
    s->lease[worker] = s->next_lease++;
}

/* A new bus may believe it, where it knows nothing better; one that took the DONE does not. */
static void announce_over(sim_t *s, run_t *run, bool same_bus)
{
    run->env.lease = s->lease[run->worker];
    bool known = run->taken;
    const run_t *current = current_run(s, run->env.key);
    run->canceled = run->canceled && known;
    run->over = false;
    run->taken = true; /* a CANCEL may come at once */
    run->taken = kfx_queue_adopt(s->queue, &run->env, s->now, NULL) == 0;
    if (same_bus && s->now >= s->hold_until) /* before, it may have been swept, and is as good as unknown */
        assert_int_equal(run->taken, known);
    else if (same_bus)
        assert_true(run->taken || !known);
    else
        assert_true(run->taken || current);
}

/* The worker says HELLO again and names its runs, except those whose TASK "got lost". */
static void reconnect(sim_t *s, int worker, bool same_bus)
{
    uint64_t old = s->lease[worker];
    s->lease[worker] = s->next_lease++;
    if (same_bus)
        kfx_queue_move(s->queue, old, s->lease[worker]);
    for (size_t i = 0; i < s->run_count; i++) {
        run_t *run = &s->runs[i];
        if (run->worker == worker && (run->over || run->taken))
            announce_over(s, run, same_bus);
        if (run->worker != worker || !run->live || run->orphan)
            continue;
        for (size_t other = 0; other < s->run_count; other++) /* what runs goes before what is over */
            if (!same_bus && strcmp(s->runs[other].env.key, run->env.key) == 0)
                s->runs[other].taken = false;
        if (same_bus && roll(s, 4) == 0) {
            run->live = false;
            continue;
        }
        run->env.lease = s->lease[worker];
        run->canceled = run->canceled && same_bus;
        assert_int_equal(kfx_queue_adopt(s->queue, &run->env, s->now, NULL), 0);
    }
    kfx_queue_confirm(s->queue, s->lease[worker], s->now);
}

static void snapshot(sim_t *s)
{
    kfx_queue_sync_begin(s->queue);
    for (int k = 0; k < KEYS; k++)
        if (s->keys[k].exists)
            send_event(s, k);
    kfx_queue_sync_end(s->queue);
}

static void vanish(sim_t *s, int k)
{
    s->keys[k].exists = false;
    s->keys[k].unacked = 0;
    snapshot(s);
}

static void restart_bus(sim_t *s)
{
    kfx_queue_destroy(&s->queue);
    open_queue(s, HOLD_MS);
    for (int k = 0; k < KEYS; k++)
        s->keys[k].unacked = 0; /* by design: the snapshot makes every key run again */
    for (size_t i = 0; i < s->run_count; i++) {
        s->runs[i].over |= s->runs[i].taken; /* not confirmed by the last bus either */
        s->runs[i].taken = false;
    }
    bool first = roll(s, 2);
    if (first)
        snapshot(s);
    for (int w = 0; w < WORKERS; w++) {
        if (roll(s, 4) == 0) { /* never comes back; its writes end with the hold at the latest */
            for (size_t i = 0; i < s->run_count; i++)
                if (s->runs[i].worker == w) {
                    s->runs[i].orphan = true;
                    s->runs[i].over = false;
                }
            s->lease[w] = s->next_lease++;
        } else {
            reconnect(s, w, false);
        }
    }
    if (!first)
        snapshot(s);
}

/* Another watcher leads: its numbers begin anew, under a higher epoch. */
static void restart_watcher(sim_t *s)
{
    s->epoch++;
    s->seq = 0;
    kfx_queue_sync_abort(s->queue);
    kfx_queue_done_again(s->queue, s->now);
    snapshot(s);
}

static void watcher_takes(sim_t *s, bool acks)
{
    const kfx_envelope_t *env;
    zframe_t *payload;
    while (kfx_queue_done_next(s->queue, s->now, &env, &payload)) {
        kfx_envelope_t done = *env;
        key_t_ *key = &s->keys[key_index(done.key)];
        char uid[KFX_UID_SIZE];
        snprintf(uid, sizeof(uid), "uid-%u", key->incarnation);
        if (key->exists)
            assert_string_equal(done.uid, uid); /* the name's former owner is nobody's business any more */
        if (key->exists && key->unacked)
            assert_int_equal(done.task, key->unacked); /* the newest result, never an older one */
        if (acks) {
            assert_true(kfx_queue_ack(s->queue, &done));
            if (key->unacked == done.task)
                key->unacked = 0;
        } else {
            s->late = done;
        }
    }
}

/* It settles the result it is about, and no newer one. */
static void late_ack(sim_t *s)
{
    key_t_ *key = s->late.task ? &s->keys[key_index(s->late.key)] : NULL;
    if (!key || !key->exists)
        return;
    bool settles = key->unacked == s->late.task;
    assert_int_equal(kfx_queue_ack(s->queue, &s->late), settles);
    if (settles)
        key->unacked = 0;
    s->late.task = 0;
}

static void end_orphans(sim_t *s)
{
    for (size_t i = 0; i < s->run_count; i++)
        if (s->runs[i].orphan && s->now >= s->hold_until)
            s->runs[i].live = false;
}

static void step(sim_t *s)
{
    s->now += roll(s, 3) ? roll(s, 50) : roll(s, 3000);
    end_orphans(s);
    kfx_queue_tick(s->queue, s->now);
    uint32_t what = roll(s, 100);
    if (what < 30)
        change(s, (int)roll(s, KEYS));
    else if (what < 60)
        dispatch(s);
    else if (what < 82 && s->run_count)
        finish(s, roll(s, (uint32_t)s->run_count), (kfx_outcome_t)roll(s, KFX_OUTCOME_DOWN + 1),
               roll(s, 3) ? 0 : roll(s, 2000));
    else if (what < 87)
        watcher_takes(s, roll(s, 2));
    else if (what < 88)
        late_ack(s);
    else if (what < 91)
        lose_lease(s, (int)roll(s, WORKERS), roll(s, 2));
    else if (what < 94)
        reconnect(s, (int)roll(s, WORKERS), true);
    else if (what < 95)
        old_event(s);
    else if (what < 96)
        snapshot(s);
    else if (what < 97)
        vanish(s, (int)roll(s, KEYS));
    else if (what < 98)
        restart_bus(s);
    else if (what < 99)
        restart_watcher(s);
    else
        old_event(s);
}

/* No more faults: everything ends well and the clock moves only where nothing else can. */
static void calm_down(sim_t *s)
{
    snapshot(s);
    for (int i = 0; i < 10000; i++) {
        kfx_queue_stats_t stats;
        kfx_queue_tick(s->queue, s->now);
        kfx_queue_stats(s->queue, &stats);
        if (stats.ready && s->run_count < RUNS)
            dispatch(s);
        else if (s->run_count)
            finish(s, 0, KFX_OUTCOME_OK, 0);
        else if (kfx_queue_due(s->queue, true) == KFX_NEVER)
            return;
        else {
            int64_t due = kfx_queue_due(s->queue, true);
            s->now = due > s->now ? due : s->now;
            end_orphans(s);
            watcher_takes(s, true);
        }
    }
    fail_msg("no rest");
}

static void one_schedule(uint32_t seed)
{
    sim_t s = {.random = seed * 2654435761u + 1, .now = 1000, .epoch = 1, .next_lease = 1, .first_task = 1};
    for (int w = 0; w < WORKERS; w++)
        s.lease[w] = s.next_lease++;
    open_queue(&s, 0);
    for (int i = 0; i < STEPS; i++)
        step(&s);
    calm_down(&s);
    kfx_queue_stats_t stats;
    kfx_queue_stats(s.queue, &stats);
    assert_int_equal(stats.keys, 0); /* acknowledged and idle: forgotten */
    for (int k = 0; k < KEYS; k++) {
        if (s.keys[k].exists)
            assert_int_equal(s.keys[k].run_at, s.keys[k].event_at);
        assert_int_equal(s.keys[k].unacked, 0);
    }
    kfx_queue_destroy(&s.queue);
}

static void test_random_schedules(void **state)
{
    (void)state;
    const char *only = getenv("KFX_SIM_SEED");
    if (only) {
        one_schedule((uint32_t)strtoul(only, NULL, 10));
        return;
    }
    const char *wanted = getenv("KFX_SIM_SCHEDULES");
    uint32_t schedules = wanted ? (uint32_t)strtoul(wanted, NULL, 10) : SCHEDULES;
    for (uint32_t seed = 1; seed <= schedules; seed++) {
        char text[16];
        snprintf(text, sizeof(text), "%u", seed);
        setenv("KFX_SIM_LAST", text, 1); /* for who looks at a core */
        one_schedule(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_schedules)};
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (rc && getenv("KFX_SIM_LAST"))
        fprintf(stderr, "repeat with KFX_SIM_SEED=%s\n", getenv("KFX_SIM_LAST"));
    return rc;
}
