/* bus/worker_stats.h: what every worker process tells of itself: metrics by service, and /readyz. Private to the worker
 * runtime; main loop only. */
#ifndef KFX_BUS_WORKER_STATS_H
#define KFX_BUS_WORKER_STATS_H

#include "base/health.h"
#include "proto/proto.h"

typedef struct {
    kfx_metric_t *connected, *target_up, *seconds, *outcomes[KFX_OUTCOME_DOWN + 1];
} kfx_worker_stats_t;

void kfx_worker_stats_init(kfx_worker_stats_t *self, const char *service);
void kfx_worker_stats_task(kfx_worker_stats_t *self, kfx_outcome_t outcome, int64_t ms);
/* connected: the bus said WELCOME and still answers; down: the target (API server, Postgres) does not. */
void kfx_worker_stats_state(kfx_worker_stats_t *self, bool connected, bool down);

#endif
