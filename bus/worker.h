/* bus/worker.h: the life of a worker process (a reconciler, the storage agent): session with the bus, lease, a pool of
 * threads that run tasks one after another, drain on SIGTERM.
 *
 * The caller's thread becomes the main loop (one zloop). Tasks run in pool threads; at most one task per key runs in
 * the whole fleet while leases hold (docs/protocol.md). A bus that is away is retried for ever, with backoff; tasks
 * that run go on while the lease is valid and are re-announced to a restarted bus.
 */
#ifndef KFX_BUS_WORKER_H
#define KFX_BUS_WORKER_H

#include "bus/keys.h"
#include "proto/proto.h"

#include <stdatomic.h>

typedef struct kfx_worker kfx_worker_t;

typedef struct {
    kfx_envelope_t env;
    const kfx_digest_t *digest; /* borrowed, lives as long as run () */
    kfx_worker_t *worker;
    atomic_bool canceled;
} kfx_task_t;

typedef struct {
    const char *endpoint; /* "tcp://host:5570"; a name is resolved again at each reconnect */
    kfx_bus_keys_t keys;
    const char *role;     /* "reconciler:k8s" */
    const char *service;  /* "reconcile.k8s" */
    const char *instance; /* pod name */
    uint32_t revision;    /* manifest revision */
    unsigned threads;     /* pool size = credit; 1..64 */
    int drain_ms;         /* on SIGTERM: how long running tasks may finish before they are given back */

    /* Runs in a pool thread. Fills result (zeroed before). Must end within its own deadlines; should look at
     * kfx_task_stopped between steps and end with KFX_OUTCOME_RETRY when it is true. */
    void (*run)(void *ctx, const kfx_task_t *task, kfx_result_t *result);
    /* May be NULL. After a task ended in KFX_OUTCOME_DOWN the worker takes credit 0, says KFX_STATE_DOWN in its PINGs
     * and asks this once a second (in a pool thread) until it is true; then credit grows again 1, 2, 4 … While false,
     * err says why: it travels with the state and ends up in the conditions of planes, so no secret may be in it. */
    bool (*target_up)(void *ctx, kfx_error_t *err);
    /* May be NULL. Asked in the main loop, at most every 10 s, when the bus does not let us in: the role's keys may
     * have been replaced. Fills keys (0) or leaves them (-1); must not take longer than 2 s. */
    int (*refresh_keys)(void *ctx, kfx_bus_keys_t *keys);
    void *ctx;
} kfx_worker_opts_t;

/* Copies opts (strings too). NULL with err for bad options. */
kfx_worker_t *kfx_worker_new(const kfx_worker_opts_t *opts, kfx_error_t *err);
void kfx_worker_destroy(kfx_worker_t **self_p);

/* Serves until SIGTERM or SIGINT, then drains. 0, or -1 when the loop could not start. Beats base/health, and
 * is ready while the bus answers. */
int kfx_worker_serve(kfx_worker_t *self, kfx_error_t *err);

/* True while the session's lease holds: writes may start. Thread-safe; made for kfx_kube_set_gate. */
bool kfx_worker_lease_valid(void *worker);

/* True when the task should end early: canceled, lease over, or the process stops. Thread-safe. */
bool kfx_task_stopped(const kfx_task_t *task);

/* Lossy progress for people watching ("waiting for the API server"). Thread-safe, never blocks. */
void kfx_task_progress(const kfx_task_t *task, const char *fmt, ...) KFX_PRINTF(2, 3);

#endif
