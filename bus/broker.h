/* bus/broker.h: the broker: sockets, sessions and leases around the queues (bus/queue.h) in one zloop. Single-threaded.
 */
#ifndef KFX_BUS_BROKER_H
#define KFX_BUS_BROKER_H

#include "bus/auth.h"
#include "bus/keys.h"

#define KFX_LEASE_MS 2500       /* how long one echoed PING holds a worker's lease */
#define KFX_LEASE_GRACE_MS 2000 /* a write that started in time may take this long */
#define KFX_EVENT_WINDOW 256    /* EVENTs without ACK */
#define KFX_CREDIT_MAX 1024     /* tasks one worker may hold, whatever it asks for */
#define KFX_PEERS_MAX 512       /* sessions */

typedef struct {
    const char *work;           /* endpoint of the ROUTER: tcp with port 5570, or ipc:///tmp/x */
    const char *tap;            /* of the XPUB; NULL or "": no tap */
    const kfx_bus_keys_t *keys; /* the server's pair; NULL: no CURVE, ipc:// and inproc:// only */
    kfx_auth_t *auth;           /* with keys: whose keys are known; borrowed, may change */
    const char *instance;
    int64_t hold_ms; /* how long keys that nobody re-announced are held back at the start: lease plus grace */
} kfx_broker_opts_t;

typedef struct kfx_broker kfx_broker_t;

kfx_broker_t *kfx_broker_new(zloop_t *loop, const kfx_broker_opts_t *opts, kfx_error_t *err);
void kfx_broker_destroy(kfx_broker_t **self_p);
/* The endpoints as bound ("tcp://127.0.0.1:40123" for port *). Borrowed. */
const char *kfx_broker_work_endpoint(const kfx_broker_t *self);
const char *kfx_broker_tap_endpoint(const kfx_broker_t *self);

#endif
