/* bus/peer.c: see peer.h. */
#include "bus/peer.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct kfx_peers {
    zhashx_t *by_hex;
};

static void peer_free(void **item)
{
    kfx_peer_t *peer = *item;
    zframe_destroy(&peer->id);
    free(peer);
    *item = NULL;
}

kfx_peers_t *kfx_peers_new(void)
{
    kfx_peers_t *self = kfx_xcalloc(1, sizeof(*self));
    self->by_hex = zhashx_new();
    zhashx_set_destructor(self->by_hex, peer_free);
    return self;
}

void kfx_peers_destroy(kfx_peers_t **self_p)
{
    kfx_peers_t *self = *self_p;
    if (!self)
        return;
    zhashx_destroy(&self->by_hex);
    free(self);
    *self_p = NULL;
}

size_t kfx_peers_count(const kfx_peers_t *self)
{
    return zhashx_size(self->by_hex);
}

/* A long identity (255 bytes are allowed) would be cut: the tail of its hash keeps it apart from others. */
void kfx_peer_hex(zframe_t *id, char out[KFX_IDENTITY_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    const byte *data = zframe_data(id);
    size_t size = zframe_size(id), n = 0;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 1099511628211u;
    for (size_t i = 0; i < size && i < 20; i++) {
        out[n++] = digits[data[i] >> 4];
        out[n++] = digits[data[i] & 15];
    }
    out[n] = '\0';
    if (size > 20)
        snprintf(out + n, KFX_IDENTITY_HEX_SIZE - n, "+%016llx", (unsigned long long)hash);
}

kfx_peer_t *kfx_peers_add(kfx_peers_t *self, zframe_t *id, const kfx_role_t *role)
{
    kfx_peer_t *peer = kfx_xcalloc(1, sizeof(*peer));
    peer->id = zframe_dup(id);
    peer->role = *role;
    kfx_peer_hex(id, peer->hex);
    zhashx_update(self->by_hex, peer->hex, peer);
    return peer;
}

void kfx_peers_remove(kfx_peers_t *self, kfx_peer_t *peer)
{
    zhashx_delete(self->by_hex, peer->hex);
}

kfx_peer_t *kfx_peers_by_id(kfx_peers_t *self, zframe_t *id)
{
    char hex[KFX_IDENTITY_HEX_SIZE];
    kfx_peer_hex(id, hex);
    kfx_peer_t *peer = zhashx_lookup(self->by_hex, hex);
    return peer && zframe_eq(peer->id, id) ? peer : NULL;
}

kfx_peer_t *kfx_peers_by_lease(kfx_peers_t *self, uint64_t lease)
{
    for (kfx_peer_t *peer = kfx_peers_first(self); peer && lease; peer = kfx_peers_next(self))
        if (peer->lease == lease)
            return peer;
    return NULL;
}

kfx_peer_t *kfx_peers_first(kfx_peers_t *self)
{
    return zhashx_first(self->by_hex);
}

kfx_peer_t *kfx_peers_next(kfx_peers_t *self)
{
    return zhashx_next(self->by_hex);
}

static bool serves(const kfx_peer_t *peer, const char *service)
{
    return peer->role.party == KFX_PARTY_WORKER && strcmp(peer->role.service, service) == 0;
}

/* Highest revision present; -1 where nobody serves the service. */
static int64_t highest(kfx_peers_t *self, const char *service)
{
    int64_t best = -1;
    for (kfx_peer_t *peer = kfx_peers_first(self); peer; peer = kfx_peers_next(self))
        if (serves(peer, service) && (int64_t)peer->revision > best)
            best = peer->revision;
    return best;
}

kfx_peer_t *kfx_peers_pick(kfx_peers_t *self, const char *service)
{
    int64_t revision = highest(self, service);
    kfx_peer_t *best = NULL;
    uint32_t best_free = 0;
    for (kfx_peer_t *peer = kfx_peers_first(self); peer; peer = kfx_peers_next(self)) {
        if (!serves(peer, service) || (int64_t)peer->revision != revision || !peer->announced ||
            peer->running >= peer->credit)
            continue;
        if (peer->credit - peer->running > best_free) {
            best = peer;
            best_free = peer->credit - peer->running;
        }
    }
    return best;
}

void kfx_peers_workers(kfx_peers_t *self, const char *service, uint32_t *count, uint32_t *credit)
{
    *count = *credit = 0;
    for (kfx_peer_t *peer = kfx_peers_first(self); peer; peer = kfx_peers_next(self)) {
        if (!serves(peer, service))
            continue;
        ++*count;
        *credit += peer->credit;
    }
}

kfx_state_t kfx_peers_state(kfx_peers_t *self, const char *service)
{
    int64_t revision = highest(self, service);
    if (revision < 0)
        return KFX_STATE_NO_WORKER;
    for (kfx_peer_t *peer = kfx_peers_first(self); peer; peer = kfx_peers_next(self))
        if (serves(peer, service) && (int64_t)peer->revision == revision && !peer->down)
            return KFX_STATE_UP;
    return KFX_STATE_DOWN;
}

const char *kfx_peers_why(kfx_peers_t *self, const char *service)
{
    int64_t revision = highest(self, service);
    for (kfx_peer_t *peer = kfx_peers_first(self); peer; peer = kfx_peers_next(self))
        if (serves(peer, service) && (int64_t)peer->revision == revision && peer->down && peer->why[0])
            return peer->why;
    return "";
}
