/* base/health.h: counters of a process and the HTTP endpoint that shows them (libmicrohttpd, one thread of its own).
 *
 * /healthz  200 while the main loop has called kfx_health_beat within the last 15 s, else 503: "the loop turns".
 * /readyz   200 while kfx_health_set_ready (true) holds, else 503; with the reason.
 * /metrics  Prometheus text format 0.0.4; also what base/proc_metrics.h tells.
 *
 * Metrics are registered once at start (names and label sets are literals: bounded cardinality), then changed from any
 * thread without locks.
 */
#ifndef KFX_HEALTH_H
#define KFX_HEALTH_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct kfx_metric kfx_metric_t; /* lives until the process ends */

/* name as Prometheus wants it ("kubeflex_api_requests_total"); labels ready to print ("verb=\"get\",code=\"200\"") or
 * NULL. The same name with other labels makes another time series of the same metric. Asking again for the same name
 * and labels gives the same metric. Thread-safe. At most 512 series a process: beyond that, a shared dummy is returned.
 */
kfx_metric_t *kfx_counter(const char *name, const char *help, const char *labels);
kfx_metric_t *kfx_gauge(const char *name, const char *help, const char *labels);
/* Seconds, with buckets from 0.5 ms to 60 s. */
kfx_metric_t *kfx_histogram(const char *name, const char *help, const char *labels);

void kfx_metric_add(kfx_metric_t *metric, int64_t n);
void kfx_metric_set(kfx_metric_t *metric, int64_t value);
void kfx_metric_observe_ms(kfx_metric_t *metric, int64_t ms);

/* Starts the endpoint on "address:port", ":port" or "port" (0 = any free port). Optional; call once. */
int kfx_health_start(const char *listen, kfx_error_t *err);
/* The port in use after a successful start, else 0. */
int kfx_health_port(void);
void kfx_health_stop(void);

void kfx_health_beat(void); /* from the main loop, at least every 5 s */
/* reason: a literal: why not; or, while ready, in which way ("ok: standby"; "" or NULL: just "ok"). */
void kfx_health_set_ready(bool ready, const char *reason);

/* The text of /metrics, for tests. Caller frees. */
char *kfx_metrics_text(void);

#endif
