/* bus/tap.h: a copy of every message for people who watch (proto/tap.h says what it looks like). XPUB, so it is known
 * which kinds anybody listens to: nobody, no work. Single-threaded: the broker's loop.
 */
#ifndef KFX_BUS_TAP_H
#define KFX_BUS_TAP_H

#include "proto/tap.h"

typedef struct kfx_tap kfx_tap_t;

/* What people watch must not slow down what they watch: a record costs the broker, its sockets and its reader some
 * 7 us, of the 100 us of two cores that a task and its seven messages take in all. So 8,000 a second are shown, which
 * is every message of a thousand tasks a second; of what goes beyond (also in a burst) each next record says how much
 * it was. */
#define KFX_TAP_A_SECOND 8000

/* The socket is bound already and owned by the tap from now on (nulled). */
kfx_tap_t *kfx_tap_new(zloop_t *loop, zsock_t **xpub_p);
void kfx_tap_destroy(kfx_tap_t **self_p);
/* Whether a message is shown; now as kfx_now_ms. To be followed by its record. NULL-safe. */
bool kfx_tap_admits(kfx_tap_t *self, kfx_kind_t kind, int64_t now);
/* For the next record: how many were wanted, but not admitted since one was published. */
uint32_t kfx_tap_left_out(const kfx_tap_t *self);
bool kfx_tap_stats_wanted(const kfx_tap_t *self); /* NULL-safe */
/* Takes the record of a message (nulled). Lossy: a slow subscriber misses messages. */
void kfx_tap_publish(kfx_tap_t *self, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t **record_p);
void kfx_tap_publish_stats(kfx_tap_t *self, kfx_tap_stats_t *stats);

#endif
