/* bus/peer.h: who is connected to the bus: one peer per session, found by routing id or lease. Single-threaded. */
#ifndef KFX_BUS_PEER_H
#define KFX_BUS_PEER_H

#include "bus/auth.h"

#define KFX_IDENTITY_HEX_SIZE 64

typedef struct {
    zframe_t *id;                    /* routing id of the ROUTER */
    char hex[KFX_IDENTITY_HEX_SIZE]; /* the same, for logs and the tap */
    kfx_role_t role;
    char sender[64];
    char address[64];  /* of its connection; "" if not known */
    uint64_t lease;    /* of the session */
    uint64_t epoch;    /* watcher */
    int64_t seen;      /* when the last PING (or the HELLO) came */
    uint32_t credit;   /* worker: tasks it takes in all */
    uint32_t running;  /* worker: tasks it has */
    uint32_t revision; /* worker: of its manifests */
    bool down;         /* worker: its target is down */
    char why[256];     /* worker: why it is down, in its own words */
    bool announced;    /* worker: it told what it runs already; it may get more */
} kfx_peer_t;

typedef struct kfx_peers kfx_peers_t;

kfx_peers_t *kfx_peers_new(void);
void kfx_peers_destroy(kfx_peers_t **self_p);
size_t kfx_peers_count(const kfx_peers_t *self);

/* Hex of a routing id. */
void kfx_peer_hex(zframe_t *id, char out[KFX_IDENTITY_HEX_SIZE]);

kfx_peer_t *kfx_peers_add(kfx_peers_t *self, zframe_t *id, const kfx_role_t *role);
void kfx_peers_remove(kfx_peers_t *self, kfx_peer_t *peer); /* frees it */
kfx_peer_t *kfx_peers_by_id(kfx_peers_t *self, zframe_t *id);
kfx_peer_t *kfx_peers_by_lease(kfx_peers_t *self, uint64_t lease);
/* Iteration; nothing may be added or removed meanwhile. */
kfx_peer_t *kfx_peers_first(kfx_peers_t *self);
kfx_peer_t *kfx_peers_next(kfx_peers_t *self);

/* The worker of the service that gets the next task: of those with the highest manifest revision present, the one with
 * most free credit; NULL where none has any. */
kfx_peer_t *kfx_peers_pick(kfx_peers_t *self, const char *service);
/* How many workers the service has, and how many tasks they take in all. */
void kfx_peers_workers(kfx_peers_t *self, const char *service, uint32_t *count, uint32_t *credit);
/* UP: a worker of the highest revision has its target; DOWN: all say it is down; NO_WORKER: there is none. */
kfx_state_t kfx_peers_state(kfx_peers_t *self, const char *service);
/* Why it is DOWN, as one of those workers says; borrowed, "" where none does. */
const char *kfx_peers_why(kfx_peers_t *self, const char *service);

#endif
