/* bus/queue.h: the keyed work queue of one service. Pure: no socket, no clock of its own (`now` is passed in,
 * milliseconds, never going back), so that it can be tested as a model and simulated. Not thread-safe.
 *
 * One entry per key, never a log. What it promises:
 *  - at most one run of a key at a time, as long as kfx_queue_release is called no earlier than the lease's end plus
 * grace;
 *  - each event taken is followed by the start of a run that carries it or a newer one, unless the key is swept;
 *  - a result that was accepted is kept (the newest per key) and offered by kfx_queue_done_next until kfx_queue_ack,
 * unless the key is swept or an event with another uid makes it meaningless.
 *
 * States of an entry:
 *   IDLE     nothing to do. Dropped unless a result waits for its ACK
 *   READY    in line for a worker
 *   RUNNING  a worker has it
 *   DELAYED  runs when its timer fires: backoff, retry_after, or the hold of a new bus
 */
#ifndef KFX_BUS_QUEUE_H
#define KFX_BUS_QUEUE_H

#include "bus/heap.h"
#include "proto/proto.h"

#define KFX_QUEUE_BACKOFF_BASE_MS 200
#define KFX_QUEUE_BACKOFF_CAP_MS 60000
#define KFX_QUEUE_EVENT_GAP_MS                                                                                         \
    1000                          /* an event brings a failed key's next run forward to this long after the failure    \
                                   */
#define KFX_QUEUE_RESEND_MS 10000 /* a result without ACK is offered again after this, doubling to the cap */
#define KFX_QUEUE_RESEND_CAP_MS 60000
#define KFX_QUEUE_KEYS_MAX 65536

typedef struct kfx_queue kfx_queue_t;

typedef struct {
    const char *service;
    uint64_t first_task; /* dispatch numbers count up from here; a random start keeps two lives of a bus apart */
    int64_t hold_until;  /* a new bus: before this only keys that were re-announced and have ended are dispatched */
    size_t max_keys;     /* 0: KFX_QUEUE_KEYS_MAX */
    /* Delay before the run after failure number `attempt` (0 = the first). NULL: exponential with jitter. */
    int64_t (*backoff)(void *ctx, unsigned attempt);
    /* The run should stop early; env has service, key, uid, lease, task. At most once a run. */
    void (*on_cancel)(void *ctx, const kfx_envelope_t *env);
    void *ctx;
} kfx_queue_opts_t;

typedef struct {
    size_t keys, ready, running, delayed, unacked;
    int64_t oldest_at;    /* since when the first key in line waits; KFX_NEVER: none does */
    uint64_t redelivered; /* ever */
} kfx_queue_stats_t;

kfx_queue_t *kfx_queue_new(const kfx_queue_opts_t *opts); /* copies opts */
void kfx_queue_destroy(kfx_queue_t **self_p);
const char *kfx_queue_service(const kfx_queue_t *self);

/* An event: key, uid, generation, epoch, seq, deleting of env; *payload_p is taken (nulled). An event that is not newer
 * by (epoch, seq) than what is known of the key is no news and no error. -1 with BUSY when there are too many keys. */
int kfx_queue_event(kfx_queue_t *self, const kfx_envelope_t *env, zframe_t **payload_p, int64_t now, kfx_error_t *err);

/* Starts the next READY key for the lease: fills *task and lends the payload (valid until the next call; NULL where the
 * event had none). *waited_ms: since it became ready. False when nothing is ready. */
bool kfx_queue_next(kfx_queue_t *self, uint64_t lease, int64_t now, kfx_envelope_t *task, zframe_t **payload,
                    int64_t *waited_ms);

/* A result: key, lease, task, outcome, retry_after_ms of env; *payload_p is taken when accepted. *ran_ms: how long the
 * run took. -1 with FENCED when that dispatch is not the current one of the key (late, repeated, of a lost lease). */
int kfx_queue_done(kfx_queue_t *self, const kfx_envelope_t *env, zframe_t **payload_p, int64_t now, int64_t *ran_ms,
                   kfx_error_t *err);

/* A worker says that it runs key (uid, generation, epoch, seq, task) under env->lease, or (with an outcome) that it ran
 * it and its result was not confirmed. 0 when so be it: the run is known under an older lease of that worker's, or the
 * bus is new and knows nothing better. -1 with FENCED: it must stop. The end of a run that was over already does not
 * end the hold of its key: the old bus may have had the result, and given the key to somebody else. */
int kfx_queue_adopt(kfx_queue_t *self, const kfx_envelope_t *env, int64_t now, kfx_error_t *err);

/* The worker of lease `from` has a new session: what it runs goes on under `to`, if it says so (kfx_queue_adopt) before
 * kfx_queue_confirm, which hands the rest back. Both return how many keys that were. */
size_t kfx_queue_move(kfx_queue_t *self, uint64_t from, uint64_t to);
size_t kfx_queue_confirm(kfx_queue_t *self, uint64_t lease, int64_t now);

/* The task never reached its worker: the key is READY again, as if it had not been started. */
void kfx_queue_undo(kfx_queue_t *self, const kfx_envelope_t *task, int64_t now);

/* How many keys run under the lease. */
size_t kfx_queue_running(const kfx_queue_t *self, uint64_t lease);

/* The lease runs nothing any more. lost: it ended with its time and may come again and again (backoff from the second
 * time on); otherwise it was handed back. Returns how many keys were running. */
size_t kfx_queue_release(kfx_queue_t *self, uint64_t lease, bool lost, int64_t now);

/* The result that env (key, and task or uid, epoch, seq) speaks of has landed. False where there is no such. */
bool kfx_queue_ack(kfx_queue_t *self, const kfx_envelope_t *env);
/* The next result that is due for the watcher; lent until the next call. */
bool kfx_queue_done_next(kfx_queue_t *self, int64_t now, const kfx_envelope_t **env, zframe_t **payload);
/* A new watcher: all results are due. */
void kfx_queue_done_again(kfx_queue_t *self, int64_t now);

/* A snapshot begins; at its end keys it did not mention are swept (a run is cancelled). A second begin starts anew. */
void kfx_queue_sync_begin(kfx_queue_t *self);
void kfx_queue_sync_abort(kfx_queue_t *self);
size_t kfx_queue_sync_end(kfx_queue_t *self); /* how many were swept */

/* Moves what is due to READY. */
void kfx_queue_tick(kfx_queue_t *self, int64_t now);
/* When kfx_queue_tick (and with results: kfx_queue_done_next) has something to do; KFX_NEVER if never. */
int64_t kfx_queue_due(const kfx_queue_t *self, bool results);

void kfx_queue_stats(const kfx_queue_t *self, kfx_queue_stats_t *out);

#endif
