/* kube/probe.h: asks a plane's API server whether it is ready. Apart from the client: probes of planes have connections
 * of their own (one a call), no client certificate and no proxy. Blocking; thread-safe. */
#ifndef KFX_KUBE_PROBE_H
#define KFX_KUBE_PROBE_H

#include "base/error.h"

typedef struct {
    const char *host; /* name or address: certificate and SNI must fit it */
    int port;         /* 0: 443 */
    const char *ca_pem;
    int timeout_ms;      /* of everything, name resolution included; 0: 1000 */
    const char *connect; /* "host:port" to connect to instead, SNI stays; or NULL */
} kfx_probe_t;

/* GET https://host:port/readyz. 0 on 200; else -1: UNAVAILABLE (refused, no route, 5xx, wrong certificate), TIMEOUT,
 * UNAUTHORIZED or FORBIDDEN (it answers, anonymous requests are off), INVALID (the probe itself is wrong), PROTOCOL
 * (another answer). */
int kfx_probe_readyz(const kfx_probe_t *probe, kfx_error_t *err);

#endif
