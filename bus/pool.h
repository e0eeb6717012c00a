/* bus/pool.h: a fixed pool of zactor threads that run jobs one after another. Private to the worker runtime; lives in
 * its zloop, jobs are handed over by pointer and come back by pointer: a job belongs to its thread from start to
 * on_ended. */
#ifndef KFX_BUS_POOL_H
#define KFX_BUS_POOL_H

#include <czmq.h>

typedef struct kfx_pool kfx_pool_t;

typedef struct {
    unsigned threads;
    /* In a pool thread; out is that thread's own PUSH socket for kfx_task_progress. */
    void (*run)(void *ctx, void *job, zsock_t *out);
    /* In the loop. */
    void (*on_ended)(void *ctx, void *job);
    /* In the loop: what a thread sent through `out`. */
    void (*on_out)(void *ctx, zsock_t *in);
    void *ctx;
} kfx_pool_opts_t;

kfx_pool_t *kfx_pool_new(zloop_t *loop, const kfx_pool_opts_t *opts);
/* Waits for all threads: none may be busy for long. */
void kfx_pool_destroy(kfx_pool_t **self_p);
/* False where every thread is busy. */
bool kfx_pool_start(kfx_pool_t *self, void *job);
size_t kfx_pool_busy(const kfx_pool_t *self);
/* Where `out` sockets connect to, for a thread that is not of the pool. */
const char *kfx_pool_endpoint(const kfx_pool_t *self);

#endif
