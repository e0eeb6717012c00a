/* bus/publisher.h: the watcher's side of the bus: events out, results in.
 *
 * Lives in the watcher's zloop, single-threaded. Keeps the window of the bus: where it is full, only the newest event
 * per (service, key) is kept until there is room. After a (re)connect on_connected is called; the watcher then sends
 * its whole snapshot between kfx_publisher_sync_begin and _end.
 */
#ifndef KFX_BUS_PUBLISHER_H
#define KFX_BUS_PUBLISHER_H

#include "bus/keys.h"
#include "proto/proto.h"

typedef struct kfx_publisher kfx_publisher_t;

typedef struct {
    const char *endpoint;
    kfx_bus_keys_t keys;
    const char *instance;
    uint64_t epoch;

    void (*on_connected)(void *ctx);
    /* The session ended (bus away). Reconnecting goes on by itself. */
    void (*on_disconnected)(void *ctx);
    /* A result; the publisher keeps nothing: answer with kfx_publisher_ack once it has landed. May come again until
     * then. */
    void (*on_done)(void *ctx, const kfx_envelope_t *env, const kfx_result_t *result);
    /* Lossy progress of a task. */
    void (*on_progress)(void *ctx, const kfx_envelope_t *env);
    /* A service's state changed: KFX_STATE_UP, _DOWN, _NO_WORKER. Sent for every known service after WELCOME too. why:
     * of DOWN, in a worker's words; else "". */
    void (*on_service)(void *ctx, const char *service, kfx_state_t state, const char *why);
    /* The bus knows a higher epoch: this watcher must stop leading. */
    void (*on_stale)(void *ctx, uint64_t epoch);
    /* May be NULL. Asked in the loop, at most every 10 s, when the bus does not let us in: the role's keys may have
     * been replaced. Fills keys (0) or leaves them (-1); must not take longer than 2 s. */
    int (*refresh_keys)(void *ctx, kfx_bus_keys_t *keys);
    void *ctx;
} kfx_publisher_opts_t;

kfx_publisher_t *kfx_publisher_new(zloop_t *loop, const kfx_publisher_opts_t *opts, kfx_error_t *err);
/* Sends BYE if connected and takes everything out of the loop. */
void kfx_publisher_destroy(kfx_publisher_t **self_p);

/* Queues an event; env needs key, uid, generation, seq (rising within the epoch); epoch and sender are filled in. Never
 * fails for a full window or a bus that is away (coalesced and, after a reconnect, superseded by the snapshot). */
void kfx_publisher_event(kfx_publisher_t *self, const char *service, const kfx_envelope_t *env,
                         const kfx_digest_t *digest);
void kfx_publisher_ack(kfx_publisher_t *self, const kfx_envelope_t *done);
void kfx_publisher_sync_begin(kfx_publisher_t *self);
void kfx_publisher_sync_end(kfx_publisher_t *self);

/* Sends CANCEL by way of the bus is the bus's own business: an EVENT with another uid or deleting=true does it. */

#endif
