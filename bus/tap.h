/* bus/tap.h: a copy of every message for people who watch (proto/tap.h says what it looks like). XPUB, so it is known
 * which kinds anybody listens to: nobody, no work. Single-threaded: the broker's loop.
 */
#ifndef KFX_BUS_TAP_H
#define KFX_BUS_TAP_H

#include "proto/tap.h"

typedef struct kfx_tap kfx_tap_t;

/* The socket is bound already and owned by the tap from now on (nulled). */
kfx_tap_t *kfx_tap_new(zloop_t *loop, zsock_t **xpub_p);
void kfx_tap_destroy(kfx_tap_t **self_p);
bool kfx_tap_wanted(const kfx_tap_t *self, kfx_kind_t kind); /* NULL-safe */
bool kfx_tap_stats_wanted(const kfx_tap_t *self);            /* NULL-safe */
/* Takes the record of a message (nulled). Lossy: a slow subscriber misses messages. */
void kfx_tap_publish(kfx_tap_t *self, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t **record_p);
void kfx_tap_publish_stats(kfx_tap_t *self, kfx_tap_stats_t *stats);

#endif
