#include "watcher/stats.h"

#include "base/mem.h"

#define PLANES_NAME "kubeflex_controlplanes"
#define PLANES_HELP "ControlPlanes by type and readiness."

kfx_stats_t *kfx_stats_new(void)
{
    kfx_stats_t *self = kfx_xcalloc(1, sizeof *self);
    self->events = kfx_counter("kubeflex_watcher_events_total", "EVENTs handed to the bus.", NULL);
    self->results = kfx_counter("kubeflex_watcher_results_total", "Results (DONE) taken from the bus.", NULL);
    self->status_writes = kfx_counter("kubeflex_watcher_writes_total", "Writes that landed.", "what=\"status\"");
    self->finalizer_writes = kfx_counter("kubeflex_watcher_writes_total", "Writes that landed.", "what=\"finalizer\"");
    self->conflicts = kfx_counter("kubeflex_watcher_conflicts_total", "Writes refused with 409.", NULL);
    self->failures = kfx_counter("kubeflex_watcher_write_failures_total", "Writes that failed otherwise.", NULL);
    self->leading = kfx_gauge("kubeflex_watcher_leader", "1 while this process leads.", NULL);
    self->connected = kfx_gauge("kubeflex_bus_connected", "1 while the bus answers this process.", NULL);
    self->crd_current = kfx_gauge("kubeflex_watcher_crd_current",
                                  "1 while the API server's ControlPlane is the one this build knows.", NULL);
    self->ready_time = kfx_histogram("kubeflex_controlplane_ready_seconds", "From creation to the first Ready.", NULL);

    const kfx_type_info_t *type;
    for (size_t i = 0; (type = kfx_type_at(i)) != NULL && 2 * i + 3 < KFX_COUNT(self->planes); i++) {
        char labels[96];
        for (size_t ready = 0; ready < 2; ready++) {
            snprintf(labels, sizeof labels, "type=\"%s\",ready=\"%s\"", type->name, ready ? "true" : "false");
            self->planes[2 * i + ready] = kfx_gauge(PLANES_NAME, PLANES_HELP, labels);
        }
    }
    size_t last = KFX_COUNT(self->planes) - 1; /* types the API does not know either */
    self->planes[last] = kfx_gauge(PLANES_NAME, PLANES_HELP, "type=\"other\",ready=\"false\"");
    return self;
}

static int slot_of(const kfx_plane_t *plane)
{
    const kfx_type_info_t *type;
    for (size_t i = 0; (type = kfx_type_at(i)) != NULL && 2 * i + 3 < 32; i++)
        if (plane->type && strcmp(plane->type, type->name) == 0)
            return (int)(2 * i) + (kfx_status_is(plane->status, "Ready", "True") ? 1 : 0);
    return 31;
}

static void change(kfx_stats_t *self, int slot, int by)
{
    self->counts[slot] += by;
    kfx_metric_set(self->planes[slot], self->counts[slot]);
}

void kfx_stats_plane(kfx_stats_t *self, kfx_plane_t *plane)
{
    int slot = plane->present ? slot_of(plane) : -1;
    if (plane->counted == slot + 1)
        return;
    if (plane->counted)
        change(self, plane->counted - 1, -1);
    if (slot >= 0)
        change(self, slot, 1);
    plane->counted = (int8_t)(slot + 1);
}
