/* watcher/ready.c: what /readyz says. */
#include "watcher/watcher.h"

void kfx_watcher_ready(kfx_watcher_t *self)
{
    kfx_metric_set(self->stats->connected, self->connected);
    if (!self->synced)
        kfx_health_set_ready(false, "the caches are not filled yet");
    else if (self->leading && !self->connected)
        kfx_health_set_ready(false, "leads, but waits for the bus");
    else
        kfx_health_set_ready(true, self->leading ? "leading" : "standby");
}
