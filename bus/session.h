/* bus/session.h: a client's session with the bus: connect, HELLO, PING, lease, reconnect. Used by the worker runtime
 * and the publisher. Lives in its owner's zloop, single-threaded.
 *
 *   AWAY --connect--> GREETING --WELCOME--> UP --no PONG, or "no session"--> AWAY or GREETING
 *
 * Each connection attempt makes a new socket, so a name is resolved again; attempts are spread by backoff.
 */
#ifndef KFX_BUS_SESSION_H
#define KFX_BUS_SESSION_H

#include "bus/keys.h"
#include "proto/proto.h"

#define KFX_PING_MS 500
#define KFX_SILENCE_MS 2500 /* no PONG for this long: the connection is taken for dead */
#define KFX_WELCOME_MS 3000 /* no WELCOME for this long after HELLO: likewise */

typedef struct kfx_session kfx_session_t;

typedef struct {
    const char *endpoint;
    const kfx_bus_keys_t *keys; /* public_key "": no CURVE */
    const char *role, *service, *instance;
    uint32_t revision; /* worker */
    uint64_t epoch;    /* watcher */

    /* Callbacks may destroy the session, but nothing else of it may be used afterwards. */
    void (*on_up)(void *ctx, const kfx_envelope_t *welcome);
    void (*on_down)(void *ctx);
    void (*on_message)(void *ctx, kfx_msg_t *msg); /* all but WELCOME and PONG; a payload may be taken (nulled) */
    /* Before each HELLO and PING: credit, state. May be NULL. */
    void (*on_fill)(void *ctx, kfx_envelope_t *env);
    /* The bus echoed a PING sent so long ago that the lease lasts until `until` (kfx_now_ms). May be NULL. */
    void (*on_lease)(void *ctx, int64_t until);
    /* See worker.h. May be NULL. */
    int (*refresh_keys)(void *ctx, kfx_bus_keys_t *keys);
    void *ctx;
} kfx_session_opts_t;

/* Copies opts. Connects at once. */
kfx_session_t *kfx_session_new(zloop_t *loop, const kfx_session_opts_t *opts, kfx_error_t *err);
/* bye: says so to the bus, and gives it up to a second to leave the machine. */
void kfx_session_destroy(kfx_session_t **self_p, bool bye);

bool kfx_session_up(const kfx_session_t *self);
uint64_t kfx_session_lease(const kfx_session_t *self);
/* Fills sender and lease. 0, or -1 where it cannot be sent now. */
int kfx_session_send(kfx_session_t *self, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload);
/* A PING now: something in it changed. */
void kfx_session_ping(kfx_session_t *self);
/* No attempts any more (the epoch is over). */
void kfx_session_halt(kfx_session_t *self);

#endif
