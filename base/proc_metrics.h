/* base/proc_metrics.h: the metrics that Linux keeps about this process, under the names of Prometheus' own client
 * libraries (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics). Thread-safe. */
#ifndef KFX_PROC_METRICS_H
#define KFX_PROC_METRICS_H

#include "base/buf.h"

/* Appends them in the text format. What /proc does not tell is left out. */
void kfx_proc_metrics(kfx_buf_t *out);

#endif
