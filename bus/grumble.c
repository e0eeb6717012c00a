/* bus/grumble.c: see grumble.h. */
#include "bus/grumble.h"

#include "base/mem.h"

#include <czmq.h>

#define CROWD "*" /* no address and no identity is like this */

typedef struct {
    int64_t at;
    uint64_t unsaid;
} place_t;

struct kfx_grumble {
    zhashx_t *places;
};

static void place_free(void **item)
{
    free(*item);
    *item = NULL;
}

kfx_grumble_t *kfx_grumble_new(void)
{
    kfx_grumble_t *self = kfx_xcalloc(1, sizeof *self);
    self->places = zhashx_new();
    zhashx_set_destructor(self->places, place_free);
    return self;
}

void kfx_grumble_destroy(kfx_grumble_t **self_p)
{
    kfx_grumble_t *self = *self_p;
    if (!self)
        return;
    zhashx_destroy(&self->places);
    free(self);
    *self_p = NULL;
}

/* Peers that nothing was said about for a minute need no memory. */
static void forget_old(kfx_grumble_t *self, int64_t now)
{
    zlistx_t *names = zhashx_keys(self->places);
    for (const char *name = zlistx_first(names); name; name = zlistx_next(names)) {
        const place_t *place = zhashx_lookup(self->places, name);
        if (now - place->at >= KFX_GRUMBLE_MS)
            zhashx_delete(self->places, name);
    }
    zlistx_destroy(&names);
}

bool kfx_grumble_may(kfx_grumble_t *self, const char *peer, int64_t now, uint64_t *unsaid)
{
    place_t *place = zhashx_lookup(self->places, peer);
    if (!place && zhashx_size(self->places) >= KFX_GRUMBLE_PEERS_MAX) {
        place = zhashx_lookup(self->places, CROWD);
        if (!place || now - place->at >= KFX_GRUMBLE_MS) {
            forget_old(self, now);
            if (zhashx_size(self->places) >= KFX_GRUMBLE_PEERS_MAX)
                peer = CROWD;
            place = zhashx_lookup(self->places, peer);
        }
    }
    if (place && now - place->at < KFX_GRUMBLE_MS) {
        place->unsaid++;
        return false;
    }
    if (!place) {
        place = kfx_xcalloc(1, sizeof *place);
        zhashx_insert(self->places, peer, place);
    }
    *unsaid = place->unsaid;
    place->unsaid = 0;
    place->at = now;
    return true;
}
