/* bus/worker.c: see worker.h. The main loop owns everything but three atomics: the lease's deadline, "the process
 * stops", and each task's `canceled`. */
#include "bus/worker.h"

#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "bus/pool.h"
#include "bus/session.h"
#include "bus/signals.h"
#include "bus/worker_stats.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define TICK_MS 500
#define PROBE_MS 1000   /* between questions to a target that is down, and between steps of reopening */
#define RESEND_MS 5000  /* a DONE that the bus did not confirm */
#define GRACE_MS 2000   /* the bus gives lost tasks to others this long after the lease's end */
#define STOP_MS 3000    /* after drain_ms, how long cancelled tasks get to end: their writes end within 2 s */
#define CONFIRM_MS 1000 /* at the end, how long to wait for the bus to confirm the last DONEs */
#define THREADS_MAX 64
#define PROGRESS_SIZE 256
#define WHY_SIZE 256 /* as the envelope's text */

typedef enum { WAITING, RUNNING, REPORTED } job_state_t;

typedef struct {
    kfx_task_t task; /* the pool thread reads it; of it the main loop only sets canceled */
    kfx_envelope_t env;
    kfx_digest_t *digest;
    kfx_result_t result;
    int64_t took_ms; /* the run itself */
    job_state_t state;
    bool probe;      /* no task: asks target_up */
    bool target_up;  /* its answer */
    kfx_error_t why; /* where it is not */
    bool abandoned;  /* its lease was lost for good: the result is nobody's business */
    zframe_t *payload;
    int64_t sent_at; /* of DONE */
    pthread_t thread;
    zsock_t *out; /* the pool thread's own */
} job_t;

struct kfx_worker {
    kfx_worker_opts_t opts;
    char *endpoint, *role, *service, *instance;
    zloop_t *loop;
    kfx_session_t *session;
    kfx_pool_t *pool;
    zlistx_t *jobs; /* job_t: waiting, running, and reported without confirmation */

    _Atomic int64_t lease_until; /* kfx_now_ms; read by pool threads and the I/O actor of kube/ */
    atomic_bool stopping;        /* read by pool threads */
    int64_t held_until;          /* the last lease's end, also while lease_until is kept at 0 */
    bool fenced;                 /* old tasks still run: no lease before they have ended */

    bool down, probing;
    char why[WHY_SIZE]; /* the target is down, "" where nobody said */
    int64_t probe_at;   /* next probe or step of reopening */
    uint32_t credit;
    bool draining, stopped;
    int64_t drain_until, stop_until, confirm_until;
    kfx_worker_stats_t stats;
};

static bool lease_holds(const kfx_worker_t *self)
{
    return kfx_now_ms() < atomic_load(&self->lease_until);
}

bool kfx_worker_lease_valid(void *worker)
{
    return lease_holds(worker);
}

bool kfx_task_stopped(const kfx_task_t *task)
{
    return atomic_load(&task->canceled) || atomic_load(&task->worker->stopping) || !lease_holds(task->worker);
}

static const job_t *job_of(const kfx_task_t *task)
{
    return (const job_t *)(const void *)((const char *)task - offsetof(job_t, task));
}

void kfx_task_progress(const kfx_task_t *task, const char *fmt, ...)
{
    const job_t *job = job_of(task);
    char text[PROGRESS_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    zsock_t *own = NULL;
    zsock_t *out = job->out;
    if (!pthread_equal(pthread_self(), job->thread)) { /* a socket belongs to one thread */
        own = out = zsock_new(ZMQ_PUSH);
        if (!own)
            return;
        zsock_set_sndtimeo(own, 0);
        zsock_set_linger(own, 0);
        zsock_connect(own, "%s", kfx_pool_endpoint(task->worker->pool));
    }
    if (out)
        zsock_send(out, "sss8", task->env.key, task->env.uid, text, (uint64_t)task->env.generation);
    zsock_destroy(&own);
}

static void job_free(void **job_p)
{
    job_t *job = *job_p;
    kfx_digest_free(job->digest);
    zframe_destroy(&job->payload);
    free(job);
    *job_p = NULL;
}

static job_t *job_by_task(kfx_worker_t *self, uint64_t task)
{
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs))
        if (job->env.task == task && !job->probe)
            return job;
    return NULL;
}

static void job_drop(kfx_worker_t *self, job_t *job)
{
    void *at = zlistx_find(self->jobs, job);
    if (at)
        zlistx_delete(self->jobs, at);
}

/* In a pool thread. */
static void pool_run(void *ctx, void *arg, zsock_t *out)
{
    const kfx_worker_t *self = ctx;
    job_t *job = arg;
    int64_t start = kfx_now_ms();
    job->thread = pthread_self();
    job->out = out;
    if (job->probe)
        job->target_up = self->opts.target_up(self->opts.ctx, &job->why);
    else
        self->opts.run(self->opts.ctx, &job->task, &job->result);
    job->took_ms = kfx_now_ms() - start;
}

/* None without a lease: it could do nothing, and end at once. After a WELCOME that came late the lease is over already,
 * until the first PONG. */
static void start_waiting(kfx_worker_t *self)
{
    bool may = !self->draining && !self->fenced && lease_holds(self);
    for (job_t *job = zlistx_first(self->jobs); job && may; job = zlistx_next(self->jobs)) {
        if (job->state != WAITING)
            continue;
        if (!kfx_pool_start(self->pool, job))
            return;
        job->state = RUNNING;
    }
}

static void send_done(kfx_worker_t *self, job_t *job)
{
    kfx_envelope_t env = job->env;
    env.outcome = job->result.outcome;
    env.retry_after_ms = job->result.retry_after_ms;
    job->sent_at = kfx_now_ms();
    kfx_session_send(self->session, KFX_DONE, &env, job->payload);
}

static void report(kfx_worker_t *self, job_t *job)
{
    job->state = REPORTED;
    job->payload = kfx_result_encode(&job->result);
    send_done(self, job);
}

static void set_lease(kfx_worker_t *self, int64_t until)
{
    self->held_until = until;
    atomic_store(&self->lease_until, self->fenced || atomic_load(&self->stopping) ? 0 : until);
}

static void show_state(kfx_worker_t *self)
{
    kfx_worker_stats_state(&self->stats, kfx_session_up(self->session), self->down);
}

/* What the task says of it in its first condition that is not met. */
static const char *first_complaint(const kfx_result_t *result)
{
    for (size_t i = 0; i < result->condition_count; i++)
        if (strcmp(result->conditions[i].status, "True") != 0)
            return result->conditions[i].message;
    return "";
}

static void go_down(kfx_worker_t *self, const char *why)
{
    if (!self->down)
        kfx_log_warn("target is down, taking no tasks", "service", self->service, "error", why, NULL);
    self->down = true;
    kfx_copy(self->why, sizeof(self->why), why);
    self->credit = 0;
    self->probe_at = kfx_now_ms() + PROBE_MS;
    show_state(self);
    kfx_session_ping(self->session); /* before the DONE that says why */
}

static void come_up(kfx_worker_t *self)
{
    kfx_log_info("target is up again", "service", self->service, NULL);
    self->down = false;
    self->credit = 1;
    self->probe_at = kfx_now_ms() + PROBE_MS;
    show_state(self);
    kfx_session_ping(self->session);
}

static bool any_abandoned(kfx_worker_t *self)
{
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs))
        if (job->abandoned && job->state == RUNNING)
            return true;
    return false;
}

static void unfence(kfx_worker_t *self)
{
    if (!self->fenced || any_abandoned(self))
        return;
    self->fenced = false;
    set_lease(self, self->held_until);
    kfx_session_ping(self->session);
    start_waiting(self);
}

static void on_ended(void *ctx, void *arg)
{
    kfx_worker_t *self = ctx;
    job_t *job = arg;
    if (job->probe) {
        self->probing = false;
        if (job->target_up && self->down)
            come_up(self);
        else if (job->why.code != KFX_OK && self->down)
            kfx_copy(self->why, sizeof(self->why), job->why.msg); /* the next PING tells */
        job_drop(self, job);
    } else if (job->abandoned) {
        job_drop(self, job);
        unfence(self);
    } else if (atomic_load(&self->stopping)) {
        job_drop(self, job); /* cut short: BYE hands the key back, which is no failure of it */
    } else {
        if (job->result.outcome == KFX_OUTCOME_NONE)
            job->result.outcome = KFX_OUTCOME_RETRY;
        if (job->result.outcome == KFX_OUTCOME_RETRY && !lease_holds(self))
            job->result.retry_after_ms = 1; /* cut short by the lease, not failed: no backoff */
        kfx_worker_stats_task(&self->stats, job->result.outcome, job->took_ms);
        if (job->result.outcome == KFX_OUTCOME_DOWN)
            go_down(self, first_complaint(&job->result));
        report(self, job);
    }
    start_waiting(self);
}

static void on_out(void *ctx, zsock_t *in)
{
    kfx_worker_t *self = ctx;
    char *key = NULL, *uid = NULL, *text = NULL;
    uint64_t generation = 0;
    if (zsock_recv(in, "sss8", &key, &uid, &text, &generation) == 0 && key && uid && text) {
        kfx_envelope_t env = {.generation = (int64_t)generation};
        kfx_copy(env.service, sizeof(env.service), self->service);
        kfx_copy(env.key, sizeof(env.key), key);
        kfx_copy(env.uid, sizeof(env.uid), uid);
        kfx_copy(env.text, sizeof(env.text), text);
        kfx_session_send(self->session, KFX_STATUS, &env, NULL);
    }
    zstr_free(&key);
    zstr_free(&uid);
    zstr_free(&text);
}

/* A lease that ended more than the grace ago: others may have our tasks. They are stopped, nobody hears of them, and no
 * write may start before the last of them has ended. */
static void abandon_all(kfx_worker_t *self)
{
    zlistx_t *drop = zlistx_new();
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs)) {
        if (job->probe)
            continue;
        if (job->state == RUNNING) {
            atomic_store(&job->task.canceled, true);
            job->abandoned = true;
            self->fenced = true;
        } else {
            zlistx_add_end(drop, job);
        }
    }
    for (job_t *job = zlistx_first(drop); job; job = zlistx_next(drop))
        job_drop(self, job);
    zlistx_destroy(&drop);
}

static void on_up(void *ctx, const kfx_envelope_t *welcome)
{
    kfx_worker_t *self = ctx;
    (void)welcome;
    if (kfx_now_ms() > self->held_until + GRACE_MS)
        abandon_all(self);
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs)) {
        if (job->probe || job->abandoned)
            continue;
        kfx_envelope_t env = job->env;
        env.running = true;
        env.outcome = job->state == REPORTED ? job->result.outcome : KFX_OUTCOME_NONE;
        kfx_session_send(self->session, KFX_EVENT, &env, NULL);
    }
    kfx_session_send(self->session, KFX_SYNC, &(kfx_envelope_t){.state = KFX_SYNC_END}, NULL);
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs))
        if (job->state == REPORTED)
            send_done(self, job);
    show_state(self);
}

static void on_down(void *ctx)
{
    show_state(ctx);
}

static void on_lease(void *ctx, int64_t until)
{
    set_lease(ctx, until);
    start_waiting(ctx);
}

static uint32_t credit_now(const kfx_worker_t *self)
{
    return self->draining || self->fenced ? 0 : self->credit;
}

static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    kfx_worker_t *self = ctx;
    return self->opts.refresh_keys(self->opts.ctx, keys);
}

static void on_fill(void *ctx, kfx_envelope_t *env)
{
    const kfx_worker_t *self = ctx;
    env->credit = credit_now(self);
    env->state = self->down ? KFX_STATE_DOWN : KFX_STATE_UP;
    kfx_copy(env->text, sizeof(env->text), self->down ? self->why : "");
    kfx_copy(env->service, sizeof(env->service), self->service);
}

static void on_task(kfx_worker_t *self, kfx_msg_t *msg)
{
    if (job_by_task(self, msg->env.task))
        return;
    kfx_error_t err = KFX_ERROR_INIT;
    job_t *job = kfx_xcalloc(1, sizeof(*job));
    job->env = msg->env;
    job->digest = kfx_digest_decode(msg->payload, &err);
    job->task.env = msg->env;
    job->task.digest = job->digest;
    job->task.worker = self;
    atomic_init(&job->task.canceled, false);
    zlistx_add_end(self->jobs, job);
    if (!job->digest) {
        kfx_log_error("unreadable digest", "plane", msg->env.key, "uid", msg->env.uid, "error", err.msg, NULL);
        job->result.outcome = KFX_OUTCOME_RETRY;
        report(self, job);
    } else if (self->down) {
        job->result.outcome = KFX_OUTCOME_DOWN;
        report(self, job);
    } else {
        start_waiting(self);
    }
}

static void on_cancel(kfx_worker_t *self, const kfx_envelope_t *env)
{
    job_t *job = job_by_task(self, env->task);
    if (!job)
        return;
    kfx_log_info("task cancelled", "plane", job->env.key, "uid", job->env.uid, NULL);
    atomic_store(&job->task.canceled, true);
    if (job->state == WAITING) {
        job->result.outcome = KFX_OUTCOME_RETRY;
        report(self, job);
    }
}

static void on_message(void *ctx, kfx_msg_t *msg)
{
    kfx_worker_t *self = ctx;
    job_t *job;
    switch (msg->kind) {
    case KFX_TASK: on_task(self, msg); break;
    case KFX_CANCEL: on_cancel(self, &msg->env); break;
    case KFX_ERROR: /* FENCED: the result is of no use any more */
    case KFX_ACK:
        job = msg->env.task ? job_by_task(self, msg->env.task) : NULL;
        if (job && job->state == REPORTED)
            job_drop(self, job);
        break;
    default: break; /* nothing for a worker, or of a later version */
    }
}

static void probe_target(kfx_worker_t *self)
{
    if (!self->opts.target_up) {
        come_up(self);
        return;
    }
    job_t *job = kfx_xcalloc(1, sizeof(*job));
    job->probe = true;
    job->state = RUNNING;
    if (kfx_pool_start(self->pool, job)) {
        zlistx_add_end(self->jobs, job);
        self->probing = true;
    } else {
        free(job);
    }
}

/* Down: ask the target. Up again: credit grows 1, 2, 4 … to the pool's size. */
static void tend_target(kfx_worker_t *self, int64_t now)
{
    if (now < self->probe_at || self->draining)
        return;
    if (self->down) {
        if (!self->probing)
            probe_target(self);
        self->probe_at = now + PROBE_MS;
    } else if (self->credit < self->opts.threads) {
        self->credit = self->credit * 2 < self->opts.threads ? self->credit * 2 : self->opts.threads;
        self->probe_at = now + PROBE_MS;
        kfx_session_ping(self->session);
    }
}

static size_t count_jobs(kfx_worker_t *self, job_state_t state)
{
    size_t n = 0;
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs))
        n += job->state == state;
    return n;
}

static void stop_tasks(kfx_worker_t *self, int64_t now)
{
    atomic_store(&self->stopping, true);
    atomic_store(&self->lease_until, 0);
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs))
        atomic_store(&job->task.canceled, true);
    self->stop_until = now + STOP_MS;
}

static void finish(kfx_worker_t *self)
{
    self->stopped = true;
}

/* Running tasks may end until drain_until; then they are stopped; the bus has to confirm what was reported. */
static void tend_drain(kfx_worker_t *self, int64_t now)
{
    if (!self->draining || self->stopped)
        return;
    if (kfx_pool_busy(self->pool) > 0) {
        if (!self->stop_until && now >= self->drain_until)
            stop_tasks(self, now);
        if (self->stop_until && now >= self->stop_until)
            finish(self);
        return;
    }
    if (!self->confirm_until)
        self->confirm_until = now + CONFIRM_MS;
    if (count_jobs(self, REPORTED) == 0 || !kfx_session_up(self->session) || now >= self->confirm_until)
        finish(self);
}

static int on_tick(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_worker_t *self = arg;
    int64_t now = kfx_now_ms();
    kfx_health_beat();
    tend_target(self, now);
    for (job_t *job = zlistx_first(self->jobs); job; job = zlistx_next(self->jobs))
        if (job->state == REPORTED && now - job->sent_at >= RESEND_MS)
            send_done(self, job);
    return 0;
}

/* Only while draining: the end should not wait for a tick. */
static int on_drain_tick(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_worker_t *self = arg;
    tend_drain(self, kfx_now_ms());
    return self->stopped ? -1 : 0;
}

static int on_stop(void *ctx, int number)
{
    kfx_worker_t *self = ctx;
    int64_t now = kfx_now_ms();
    if (self->draining) { /* asked twice: no more patience */
        self->drain_until = now;
        return 0;
    }
    kfx_log_info("draining", "signal", kfx_log_num(number), "running", kfx_log_num(kfx_pool_busy(self->pool)), NULL);
    self->draining = true;
    self->drain_until = now + self->opts.drain_ms;
    kfx_session_ping(self->session);
    zloop_timer(self->loop, 20, 0, on_drain_tick, self);
    return 0;
}

kfx_worker_t *kfx_worker_new(const kfx_worker_opts_t *opts, kfx_error_t *err)
{
    if (!opts->endpoint || !opts->role || !opts->service || !opts->run) {
        kfx_error_set(err, KFX_E_INVALID, "a worker needs endpoint, role, service and run");
        return NULL;
    }
    if (opts->threads < 1 || opts->threads > THREADS_MAX) {
        kfx_error_set(err, KFX_E_INVALID, "a worker has 1 to %d threads, not %u", THREADS_MAX, opts->threads);
        return NULL;
    }
    kfx_worker_t *self = kfx_xcalloc(1, sizeof(*self));
    self->opts = *opts;
    self->opts.endpoint = self->endpoint = kfx_xstrdup(opts->endpoint);
    self->opts.role = self->role = kfx_xstrdup(opts->role);
    self->opts.service = self->service = kfx_xstrdup(opts->service);
    self->opts.instance = self->instance = kfx_xstrdup(opts->instance ? opts->instance : "");
    self->credit = opts->threads;
    self->jobs = zlistx_new();
    zlistx_set_destructor(self->jobs, job_free);
    return self;
}

void kfx_worker_destroy(kfx_worker_t **self_p)
{
    kfx_worker_t *self = *self_p;
    if (!self)
        return;
    zlistx_destroy(&self->jobs);
    kfx_wipe(&self->opts.keys, sizeof(self->opts.keys));
    free(self->endpoint);
    free(self->role);
    free(self->service);
    free(self->instance);
    free(self);
    *self_p = NULL;
}

int kfx_worker_serve(kfx_worker_t *self, kfx_error_t *err)
{
    self->loop = zloop_new();
    if (kfx_signals_catch(self->loop, on_stop, self, err) != 0) {
        zloop_destroy(&self->loop);
        return -1;
    }
    kfx_worker_stats_init(&self->stats, self->service);
    show_state(self);
    kfx_pool_opts_t pool = {
        .threads = self->opts.threads, .run = pool_run, .on_ended = on_ended, .on_out = on_out, .ctx = self};
    self->pool = kfx_pool_new(self->loop, &pool);
    kfx_session_opts_t session = {.endpoint = self->endpoint,
                                  .keys = &self->opts.keys,
                                  .role = self->role,
                                  .service = self->service,
                                  .instance = self->instance,
                                  .revision = self->opts.revision,
                                  .on_up = on_up,
                                  .on_down = on_down,
                                  .on_message = on_message,
                                  .on_fill = on_fill,
                                  .on_lease = on_lease,
                                  .refresh_keys = self->opts.refresh_keys ? refresh_keys : NULL,
                                  .ctx = self};
    self->session = kfx_session_new(self->loop, &session, err);
    int rc = self->session ? 0 : -1;
    if (rc == 0) {
        zloop_timer(self->loop, TICK_MS, 0, on_tick, self);
        kfx_loop_run(self->loop, &self->stopped);
    }
    atomic_store(&self->lease_until, 0);
    atomic_store(&self->stopping, true);
    kfx_health_set_ready(false, "stopping");
    if (kfx_pool_busy(self->pool) > 0) {
        /* A thread that hangs cannot be joined. No BYE: the lease's end hands its task on, safely late. */
        kfx_log_error("a task does not end, leaving without it", "service", self->service, NULL);
        _exit(1);
    }
    kfx_session_destroy(&self->session, true);
    kfx_pool_destroy(&self->pool);
    kfx_signals_release(self->loop);
    zloop_destroy(&self->loop);
    return rc;
}
