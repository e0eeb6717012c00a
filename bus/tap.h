/* bus/tap.h: a copy of every message for people who watch. XPUB, so it is known whether anybody listens: nobody, no
 * work.
 *
 * Six frames: [topic][json][protocol][kind][envelope][payload]. topic is "KIND service key" (empty parts stay empty),
 * made for prefix subscriptions; json is one object for people (docs/protocol.md); the last four are the message
 * itself, so a recorded tap can be replayed. Single-threaded: the broker's loop.
 */
#ifndef KFX_BUS_TAP_H
#define KFX_BUS_TAP_H

#include "proto/proto.h"

typedef struct kfx_tap kfx_tap_t;

typedef struct {
    bool out;             /* sent by the bus; false: received */
    const char *peer;     /* instance name at the other end; "" if not known yet */
    const char *role;     /* its role as the key says */
    const char *identity; /* its routing id, hex */
    int64_t latency_ms;   /* TASK: waited in line; DONE from a worker: ran; -1: none */
} kfx_tap_meta_t;

/* The socket is bound already and owned by the tap from now on (nulled). */
kfx_tap_t *kfx_tap_new(zloop_t *loop, zsock_t **xpub_p);
void kfx_tap_destroy(kfx_tap_t **self_p);
bool kfx_tap_wanted(const kfx_tap_t *self); /* NULL-safe */
/* Lossy: a slow subscriber misses messages. */
void kfx_tap_publish(kfx_tap_t *self, const kfx_tap_meta_t *meta, kfx_kind_t kind, const kfx_envelope_t *env,
                     zframe_t *payload);

#endif
