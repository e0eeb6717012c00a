#include "bus/worker_stats.h"

#include "base/mem.h"

void kfx_worker_stats_init(kfx_worker_stats_t *self, const char *service)
{
    KFX_FREE char *labels = kfx_xasprintf("service=\"%s\"", service);
    self->connected = kfx_gauge("kubeflex_bus_connected", "1 while the bus answers this process.", NULL);
    self->target_up = kfx_gauge("kubeflex_target_up", "1 while what the worker works on answers.", labels);
    self->seconds = kfx_histogram("kubeflex_reconcile_seconds", "Time a task took.", labels);
    for (size_t i = 0; i < KFX_COUNT(self->outcomes); i++) {
        const char *name = kfx_outcome_name((kfx_outcome_t)i);
        KFX_FREE char *both = kfx_xasprintf("%s,outcome=\"%s\"", labels, *name ? name : "none");
        self->outcomes[i] = kfx_counter("kubeflex_reconciles_total", "Tasks done, by outcome.", both);
    }
    kfx_metric_set(self->target_up, 1);
}

void kfx_worker_stats_task(kfx_worker_stats_t *self, kfx_outcome_t outcome, int64_t ms)
{
    kfx_metric_add(self->outcomes[(size_t)outcome < KFX_COUNT(self->outcomes) ? outcome : KFX_OUTCOME_NONE], 1);
    kfx_metric_observe_ms(self->seconds, ms);
}

void kfx_worker_stats_state(kfx_worker_stats_t *self, bool connected, bool down)
{
    kfx_metric_set(self->connected, connected);
    kfx_metric_set(self->target_up, !down);
    if (connected)
        kfx_health_set_ready(true, down ? "connected to the bus, but what it works on does not answer" : "connected");
    else
        kfx_health_set_ready(false, "waiting for the bus");
}
