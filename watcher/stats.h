/* watcher/stats.h: the watcher's own metrics. */
#ifndef KFX_WATCHER_STATS_H
#define KFX_WATCHER_STATS_H

#include "base/health.h"
#include "watcher/planes.h"

typedef struct {
    kfx_metric_t *events, *results, *status_writes, *finalizer_writes, *conflicts, *failures, *leading, *connected,
        *crd_current, *ready_time;
    kfx_metric_t *planes[32]; /* by type and readiness */
    int64_t counts[32];
} kfx_stats_t;

kfx_stats_t *kfx_stats_new(void);
/* Counts the plane where it belongs now; call whenever that may have changed, and before it is forgotten. */
void kfx_stats_plane(kfx_stats_t *self, kfx_plane_t *plane);

#endif
