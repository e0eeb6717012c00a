/* bus/queue.c: see queue.h. */
#include "bus/queue.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

typedef enum { IDLE, READY, RUNNING, DELAYED } entry_state_t;

typedef struct entry {
    char *key;
    entry_state_t state;

    /* the newest event */
    bool have_event; /* false: adopted from a worker, or swept; nothing can be dispatched */
    char uid[KFX_UID_SIZE];
    uint64_t epoch, seq;
    int64_t generation;
    bool deleting;
    zframe_t *digest;
    uint64_t mark; /* the last snapshot that mentioned the key */

    /* the run (while RUNNING) */
    uint64_t lease, task;
    char run_uid[KFX_UID_SIZE];
    uint64_t run_epoch, run_seq;
    int64_t run_generation, run_start;
    uint32_t run_attempt;
    bool run_deleting;
    bool again;    /* a newer event came meanwhile */
    bool fresh;    /* … which makes a failure of this run irrelevant */
    bool canceled; /* asked to stop */
    bool moved;    /* its worker reconnected and has not said yet that it still runs */
    bool ended;    /* announced to a new bus, but over already: somebody else may have got the key from the old one */

    unsigned attempt;     /* failures in a row */
    unsigned redelivered; /* leases lost in a row */
    bool failed;          /* DELAYED because of a failure, at failed_at */
    int64_t failed_at;
    bool held;     /* DELAYED by the hold of a new bus */
    bool released; /* a run of this key ended under this bus: the hold is over for it */

    kfx_heap_node_t timer;
    struct entry *ready_prev, *ready_next;
    int64_t ready_at;

    kfx_envelope_t *done; /* result without ACK, or NULL */
    zframe_t *done_payload;
    unsigned done_sends;
    kfx_heap_node_t done_timer;
} entry_t;

struct kfx_queue {
    char service[KFX_SERVICE_SIZE];
    kfx_queue_opts_t opts;
    zhashx_t *entries; /* key -> entry_t */
    entry_t *ready_head, *ready_tail;
    size_t ready, running;
    kfx_heap_t timers, done_timers;
    uint64_t next_task;
    uint64_t mark;
    bool syncing;
    bool settled; /* the hold of a new bus is over */
    uint64_t redelivered;
};

static int64_t default_backoff(void *ctx, unsigned attempt)
{
    (void)ctx;
    return kfx_backoff_ms(attempt, KFX_QUEUE_BACKOFF_BASE_MS, KFX_QUEUE_BACKOFF_CAP_MS);
}

kfx_queue_t *kfx_queue_new(const kfx_queue_opts_t *opts)
{
    kfx_queue_t *self = kfx_xcalloc(1, sizeof(*self));
    kfx_copy(self->service, sizeof(self->service), opts->service);
    self->opts = *opts;
    self->opts.service = self->service;
    if (!self->opts.max_keys)
        self->opts.max_keys = KFX_QUEUE_KEYS_MAX;
    if (!self->opts.backoff)
        self->opts.backoff = default_backoff;
    self->entries = zhashx_new();
    self->next_task = opts->first_task ? opts->first_task : 1;
    self->mark = 1;
    return self;
}

const char *kfx_queue_service(const kfx_queue_t *self)
{
    return self->service;
}

static void drop_done(kfx_queue_t *self, entry_t *e)
{
    kfx_heap_remove(&self->done_timers, &e->done_timer);
    free(e->done);
    e->done = NULL;
    zframe_destroy(&e->done_payload);
}

/* Takes the entry out of the structure that its state says; it is IDLE afterwards. */
static void detach(kfx_queue_t *self, entry_t *e)
{
    switch (e->state) {
    case READY:
        *(e->ready_prev ? &e->ready_prev->ready_next : &self->ready_head) = e->ready_next;
        *(e->ready_next ? &e->ready_next->ready_prev : &self->ready_tail) = e->ready_prev;
        e->ready_prev = e->ready_next = NULL;
        self->ready--;
        break;
    case RUNNING: self->running--; break;
    case DELAYED: kfx_heap_remove(&self->timers, &e->timer); break;
    case IDLE: break;
    }
    e->failed = e->held = false;
    e->state = IDLE;
}

static void entry_free(kfx_queue_t *self, entry_t *e)
{
    detach(self, e);
    drop_done(self, e);
    zhashx_delete(self->entries, e->key);
    zframe_destroy(&e->digest);
    free(e->key);
    free(e);
}

void kfx_queue_destroy(kfx_queue_t **self_p)
{
    kfx_queue_t *self = *self_p;
    if (!self)
        return;
    entry_t *e;
    while ((e = zhashx_first(self->entries)))
        entry_free(self, e);
    zhashx_destroy(&self->entries);
    kfx_heap_free(&self->timers);
    kfx_heap_free(&self->done_timers);
    free(self);
    *self_p = NULL;
}

static entry_t *entry_find(kfx_queue_t *self, const char *key)
{
    return zhashx_lookup(self->entries, key);
}

static entry_t *entry_new(kfx_queue_t *self, const char *key, kfx_error_t *err)
{
    if (zhashx_size(self->entries) >= self->opts.max_keys) {
        kfx_error_set(err, KFX_E_BUSY, "queue %s holds %zu keys, its maximum", self->service, self->opts.max_keys);
        return NULL;
    }
    entry_t *e = kfx_xcalloc(1, sizeof(*e));
    e->key = kfx_xstrdup(key);
    e->timer.owner = e->done_timer.owner = e;
    zhashx_insert(self->entries, e->key, e);
    return e;
}

/* An idle entry that nothing depends on is forgotten. */
static void maybe_drop(kfx_queue_t *self, entry_t *e)
{
    if (e->state == IDLE && !e->done && (self->settled || !e->released))
        entry_free(self, e);
}

static void make_ready(kfx_queue_t *self, entry_t *e, int64_t now)
{
    detach(self, e);
    if (!e->have_event)
        return; /* the watcher's snapshot, which every new bus gets, will bring one */
    if (now < self->opts.hold_until && !e->released) {
        e->state = DELAYED;
        e->held = true;
        kfx_heap_set(&self->timers, &e->timer, self->opts.hold_until);
        return;
    }
    e->state = READY;
    e->ready_at = now;
    e->ready_prev = self->ready_tail;
    *(self->ready_tail ? &self->ready_tail->ready_next : &self->ready_head) = e;
    self->ready_tail = e;
    self->ready++;
}

static void make_delayed(kfx_queue_t *self, entry_t *e, int64_t now, int64_t delay)
{
    detach(self, e);
    e->state = DELAYED;
    kfx_heap_set(&self->timers, &e->timer, now + (delay > 0 ? delay : 0));
}

static void make_failed(kfx_queue_t *self, entry_t *e, int64_t now, int64_t delay)
{
    make_delayed(self, e, now, delay);
    e->failed = true;
    e->failed_at = now;
}

static void cancel_run(kfx_queue_t *self, entry_t *e)
{
    if (e->canceled)
        return;
    e->canceled = true;
    if (!self->opts.on_cancel)
        return;
    kfx_envelope_t env = {.lease = e->lease, .task = e->task};
    kfx_copy(env.service, sizeof(env.service), self->service);
    kfx_copy(env.key, sizeof(env.key), e->key);
    kfx_copy(env.uid, sizeof(env.uid), e->run_uid);
    self->opts.on_cancel(self->opts.ctx, &env);
}

static bool newer(uint64_t epoch_a, uint64_t seq_a, uint64_t epoch_b, uint64_t seq_b)
{
    return epoch_a != epoch_b ? epoch_a > epoch_b : seq_a > seq_b;
}

/* The run in progress against the newest event: does it have to be followed by another, or stopped? */
static void compare_run(kfx_queue_t *self, entry_t *e)
{
    if (!newer(e->epoch, e->seq, e->run_epoch, e->run_seq))
        return;
    e->again = true;
    bool other = strcmp(e->uid, e->run_uid) != 0;
    bool deletion = e->deleting && !e->run_deleting;
    if (other || deletion || e->generation > e->run_generation)
        e->fresh = true;
    if (other || deletion)
        cancel_run(self, e);
}

/* What a new event means for an entry that is not running. */
static void wake(kfx_queue_t *self, entry_t *e, bool fresh, int64_t now)
{
    if (e->state == READY)
        return;
    if (e->state == DELAYED && e->held)
        return;
    if (e->state == DELAYED && e->failed && !fresh && e->failed_at + KFX_QUEUE_EVENT_GAP_MS > now) {
        if (e->timer.due > e->failed_at + KFX_QUEUE_EVENT_GAP_MS)
            kfx_heap_set(&self->timers, &e->timer, e->failed_at + KFX_QUEUE_EVENT_GAP_MS);
        return;
    }
    make_ready(self, e, now);
}

int kfx_queue_event(kfx_queue_t *self, const kfx_envelope_t *env, zframe_t **payload_p, int64_t now, kfx_error_t *err)
{
    entry_t *e = entry_find(self, env->key);
    if (!e)
        e = entry_new(self, env->key, err);
    if (!e)
        return -1;
    e->mark = self->mark;
    if (e->have_event && !newer(env->epoch, env->seq, e->epoch, e->seq)) {
        zframe_destroy(payload_p);
        return 0;
    }
    bool other = e->have_event && strcmp(e->uid, env->uid) != 0;
    bool fresh = !e->have_event || other || env->generation > e->generation || (env->deleting && !e->deleting);
    if (fresh)
        e->attempt = e->redelivered = 0;
    if (e->done && strcmp(e->done->uid, env->uid) != 0)
        drop_done(self, e);
    e->have_event = true;
    kfx_copy(e->uid, sizeof(e->uid), env->uid);
    e->epoch = env->epoch;
    e->seq = env->seq;
    e->generation = env->generation;
    e->deleting = env->deleting;
    zframe_destroy(&e->digest);
    e->digest = KFX_STEAL(*payload_p);
    if (e->state == RUNNING)
        compare_run(self, e);
    else
        wake(self, e, fresh, now);
    return 0;
}

bool kfx_queue_next(kfx_queue_t *self, uint64_t lease, int64_t now, kfx_envelope_t *task, zframe_t **payload,
                    int64_t *waited_ms)
{
    entry_t *e = self->ready_head;
    if (!e)
        return false;
    *waited_ms = now - e->ready_at;
    detach(self, e);
    e->state = RUNNING;
    self->running++;
    e->lease = lease;
    e->task = self->next_task++;
    kfx_copy(e->run_uid, sizeof(e->run_uid), e->uid);
    e->run_epoch = e->epoch;
    e->run_seq = e->seq;
    e->run_generation = e->generation;
    e->run_deleting = e->deleting;
    e->run_start = now;
    e->run_attempt = e->attempt;
    e->again = e->fresh = e->canceled = e->moved = e->ended = false;

    memset(task, 0, sizeof(*task));
    kfx_copy(task->service, sizeof(task->service), self->service);
    kfx_copy(task->key, sizeof(task->key), e->key);
    kfx_copy(task->uid, sizeof(task->uid), e->uid);
    task->generation = e->generation;
    task->epoch = e->epoch;
    task->seq = e->seq;
    task->lease = lease;
    task->task = e->task;
    task->attempt = e->attempt;
    task->deleting = e->deleting;
    *payload = e->digest;
    return true;
}

/* Keeps the result for the watcher. What it is about comes from our own record of the dispatch, not from the worker. */
static void keep_done(kfx_queue_t *self, entry_t *e, const kfx_envelope_t *env, zframe_t **payload_p, int64_t now)
{
    if (e->have_event && strcmp(e->uid, e->run_uid) != 0)
        return; /* about an object that is gone: its name has a new owner */
    drop_done(self, e);
    e->done = kfx_xcalloc(1, sizeof(*e->done));
    *e->done = *env;
    kfx_copy(e->done->service, sizeof(e->done->service), self->service);
    kfx_copy(e->done->uid, sizeof(e->done->uid), e->run_uid);
    e->done->generation = e->run_generation;
    e->done->epoch = e->run_epoch;
    e->done->seq = e->run_seq;
    e->done->attempt = e->run_attempt;
    e->done->deleting = e->run_deleting;
    e->done_payload = KFX_STEAL(*payload_p);
    e->done_sends = 0;
    kfx_heap_set(&self->done_timers, &e->done_timer, now);
}

static void after_failure(kfx_queue_t *self, entry_t *e, uint32_t retry_after_ms, int64_t now)
{
    if (e->canceled || e->fresh) {
        make_ready(self, e, now);
        return;
    }
    int64_t delay = retry_after_ms ? (int64_t)retry_after_ms : self->opts.backoff(self->opts.ctx, e->attempt);
    e->attempt++;
    if (e->again && delay > KFX_QUEUE_EVENT_GAP_MS)
        delay = KFX_QUEUE_EVENT_GAP_MS;
    make_failed(self, e, now, delay);
}

int kfx_queue_done(kfx_queue_t *self, const kfx_envelope_t *env, zframe_t **payload_p, int64_t now, int64_t *ran_ms,
                   kfx_error_t *err)
{
    entry_t *e = entry_find(self, env->key);
    if (!e || e->state != RUNNING || e->lease != env->lease || e->task != env->task)
        return kfx_error_set(err, KFX_E_FENCED, "task %llu of %s is not the current one", (unsigned long long)env->task,
                             env->key);
    *ran_ms = now - e->run_start;
    bool swept = !e->have_event && e->canceled;
    if (!swept)
        keep_done(self, e, env, payload_p, now);
    e->released |= !e->ended;
    e->redelivered = 0;
    switch (env->outcome) {
    case KFX_OUTCOME_OK:
    case KFX_OUTCOME_WAITING:
    case KFX_OUTCOME_GONE:
        e->attempt = 0;
        if (e->again)
            make_ready(self, e, now);
        else if (env->retry_after_ms && env->outcome != KFX_OUTCOME_GONE)
            make_delayed(self, e, now, env->retry_after_ms);
        else
            detach(self, e);
        break;
    case KFX_OUTCOME_DOWN:
        if (env->retry_after_ms && !e->again)
            make_delayed(self, e, now, env->retry_after_ms);
        else
            make_ready(self, e, now);
        break;
    default: after_failure(self, e, env->retry_after_ms, now); break;
    }
    if (!e->have_event)
        detach(self, e);
    zframe_destroy(payload_p);
    maybe_drop(self, e);
    return 0;
}

int kfx_queue_adopt(kfx_queue_t *self, const kfx_envelope_t *env, int64_t now, kfx_error_t *err)
{
    entry_t *e = entry_find(self, env->key);
    if (e && e->state == RUNNING && e->task == env->task) {
        e->lease = env->lease;
        e->moved = false;
        return 0;
    }
    bool ended = env->outcome != KFX_OUTCOME_NONE;
    bool taken = e && e->state == RUNNING && (ended || !e->ended); /* what still runs goes before what is over */
    if (now >= self->opts.hold_until || taken || (e && e->released))
        return kfx_error_set(err, KFX_E_FENCED, "task %llu of %s was given to somebody else or has ended",
                             (unsigned long long)env->task, env->key);
    if (!e)
        e = entry_new(self, env->key, err);
    if (!e)
        return -1;
    detach(self, e);
    e->state = RUNNING;
    self->running++;
    e->lease = env->lease;
    e->task = env->task;
    kfx_copy(e->run_uid, sizeof(e->run_uid), env->uid);
    e->run_epoch = env->epoch;
    e->run_seq = env->seq;
    e->run_generation = env->generation;
    e->run_deleting = env->deleting;
    e->run_attempt = env->attempt;
    e->run_start = now;
    e->attempt = env->attempt;
    e->again = e->fresh = e->canceled = e->moved = false;
    e->ended = ended;
    if (e->have_event)
        compare_run(self, e);
    return 0;
}

static void lose_run(kfx_queue_t *self, entry_t *e, bool lost, int64_t now)
{
    e->released |= !e->ended;
    if (!lost || !e->have_event) {
        make_ready(self, e, now);
        return;
    }
    self->redelivered++;
    if (e->redelivered++ == 0 || e->fresh)
        make_ready(self, e, now);
    else /* a key that takes its worker down with it must not take the fleet down */
        make_failed(self, e, now, self->opts.backoff(self->opts.ctx, e->redelivered - 2));
}

/* The runs of a lease, all or only those that were moved to it. Caller destroys the list. */
static zlistx_t *runs_of(const kfx_queue_t *self, uint64_t lease, bool moved_only)
{
    zlistx_t *runs = zlistx_new();
    for (entry_t *e = zhashx_first(self->entries); e; e = zhashx_next(self->entries))
        if (e->state == RUNNING && e->lease == lease && (e->moved || !moved_only))
            zlistx_add_end(runs, e);
    return runs;
}

size_t kfx_queue_running(const kfx_queue_t *self, uint64_t lease)
{
    zlistx_t *runs = runs_of(self, lease, false);
    size_t count = zlistx_size(runs);
    zlistx_destroy(&runs);
    return count;
}

static size_t release(kfx_queue_t *self, zlistx_t *runs, bool lost, int64_t now)
{
    size_t count = zlistx_size(runs);
    for (entry_t *e = zlistx_first(runs); e; e = zlistx_next(runs)) {
        lose_run(self, e, lost, now);
        maybe_drop(self, e);
    }
    zlistx_destroy(&runs);
    return count;
}

size_t kfx_queue_release(kfx_queue_t *self, uint64_t lease, bool lost, int64_t now)
{
    return release(self, runs_of(self, lease, false), lost, now);
}

size_t kfx_queue_confirm(kfx_queue_t *self, uint64_t lease, int64_t now)
{
    return release(self, runs_of(self, lease, true), false, now);
}

size_t kfx_queue_move(kfx_queue_t *self, uint64_t from, uint64_t to)
{
    zlistx_t *runs = runs_of(self, from, false);
    size_t count = zlistx_size(runs);
    for (entry_t *e = zlistx_first(runs); e; e = zlistx_next(runs)) {
        e->lease = to;
        e->moved = true;
    }
    zlistx_destroy(&runs);
    return count;
}

void kfx_queue_undo(kfx_queue_t *self, const kfx_envelope_t *task, int64_t now)
{
    entry_t *e = entry_find(self, task->key);
    if (e && e->state == RUNNING && e->task == task->task)
        make_ready(self, e, now);
}

bool kfx_queue_ack(kfx_queue_t *self, const kfx_envelope_t *env)
{
    entry_t *e = entry_find(self, env->key);
    if (!e || !e->done)
        return false;
    bool same = env->task
                    ? env->task == e->done->task
                    : strcmp(env->uid, e->done->uid) == 0 && env->epoch == e->done->epoch && env->seq == e->done->seq;
    if (!same)
        return false;
    drop_done(self, e);
    maybe_drop(self, e);
    return true;
}

bool kfx_queue_done_next(kfx_queue_t *self, int64_t now, const kfx_envelope_t **env, zframe_t **payload)
{
    kfx_heap_node_t *node = kfx_heap_first(&self->done_timers);
    if (!node || node->due > now)
        return false;
    entry_t *e = node->owner;
    int64_t delay = (int64_t)KFX_QUEUE_RESEND_MS << (e->done_sends < 3 ? e->done_sends : 3);
    e->done_sends++;
    kfx_heap_set(&self->done_timers, node, now + (delay < KFX_QUEUE_RESEND_CAP_MS ? delay : KFX_QUEUE_RESEND_CAP_MS));
    *env = e->done;
    *payload = e->done_payload;
    return true;
}

void kfx_queue_done_again(kfx_queue_t *self, int64_t now)
{
    for (entry_t *e = zhashx_first(self->entries); e; e = zhashx_next(self->entries)) {
        if (!e->done)
            continue;
        e->done_sends = 0;
        kfx_heap_set(&self->done_timers, &e->done_timer, now);
    }
}

void kfx_queue_sync_begin(kfx_queue_t *self)
{
    self->mark++;
    self->syncing = true;
}

void kfx_queue_sync_abort(kfx_queue_t *self)
{
    self->syncing = false;
}

size_t kfx_queue_sync_end(kfx_queue_t *self)
{
    if (!self->syncing)
        return 0;
    self->syncing = false;
    zlistx_t *absent = zlistx_new();
    for (entry_t *e = zhashx_first(self->entries); e; e = zhashx_next(self->entries))
        if (e->mark != self->mark)
            zlistx_add_end(absent, e);
    size_t count = zlistx_size(absent);
    for (entry_t *e = zlistx_first(absent); e; e = zlistx_next(absent)) {
        drop_done(self, e);
        e->have_event = false;
        zframe_destroy(&e->digest);
        if (e->state == RUNNING) {
            e->again = e->fresh = false;
            cancel_run(self, e);
        } else {
            entry_free(self, e);
        }
    }
    zlistx_destroy(&absent);
    return count;
}

void kfx_queue_tick(kfx_queue_t *self, int64_t now)
{
    if (!self->settled && now >= self->opts.hold_until) {
        self->settled = true;
        zlistx_t *all = zhashx_values(self->entries);
        for (entry_t *e = zlistx_first(all); e; e = zlistx_next(all))
            maybe_drop(self, e);
        zlistx_destroy(&all);
    }
    kfx_heap_node_t *node;
    while ((node = kfx_heap_first(&self->timers)) && node->due <= now) {
        entry_t *e = node->owner;
        make_ready(self, e, now);
        maybe_drop(self, e);
    }
}

int64_t kfx_queue_due(const kfx_queue_t *self, bool results)
{
    int64_t due = self->settled ? KFX_NEVER : self->opts.hold_until;
    const kfx_heap_node_t *node = kfx_heap_first(&self->timers);
    if (node && node->due < due)
        due = node->due;
    node = results ? kfx_heap_first(&self->done_timers) : NULL;
    if (node && node->due < due)
        due = node->due;
    return due;
}

void kfx_queue_stats(const kfx_queue_t *self, kfx_queue_stats_t *out)
{
    *out = (kfx_queue_stats_t){.keys = zhashx_size(self->entries),
                               .ready = self->ready,
                               .running = self->running,
                               .delayed = self->timers.count,
                               .unacked = self->done_timers.count,
                               .oldest_at = self->ready_head ? self->ready_head->ready_at : KFX_NEVER,
                               .redelivered = self->redelivered};
}
