/* watcher/places.c: see places.h. */
#include "watcher/places.h"

/* Pods that run are being exchanged, so far as the watch shows it. */
static bool exchanging(const kfx_plane_t *plane)
{
    bool runs = false, rolls = false;
    for (const kfx_tracked_t *c = plane->children; c; c = c->next) {
        if (strcmp(c->kind, "Deployment") != 0 || !kfx_child_owned(plane, c))
            continue;
        runs = runs || c->ready;
        rolls = rolls || (c->rolling && !c->stuck);
    }
    return runs && rolls;
}

void kfx_places_count(kfx_places_t *self, kfx_plane_t *plane)
{
    bool alive = plane->present && !plane->deleting;
    bool takes = alive && ((plane->has_place && !plane->place_idle) || exchanging(plane));
    bool wants = alive && plane->place_turn && !plane->has_place;
    self->taken += takes - plane->takes_place;
    self->wanted += wants - plane->wants_place;
    plane->takes_place = takes;
    plane->wants_place = wants;
}

void kfx_places_result(kfx_places_t *self, kfx_plane_t *plane, const kfx_result_t *result)
{
    switch (result->outcome) {
    case KFX_OUTCOME_DOWN: return; /* it will run again, and then it tells */
    case KFX_OUTCOME_RETRY: plane->place_idle = true; break;
    default:
        /* A result of before it got its place still asks for it. */
        plane->has_place = plane->has_place && (result->keeps_place || result->wants_place);
        plane->place_idle = false;
        if (!result->wants_place)
            plane->place_turn = 0;
        else if (!plane->place_turn)
            plane->place_turn = ++self->turn;
    }
    kfx_places_count(self, plane);
}

bool kfx_places_offer(kfx_places_t *self, kfx_plane_t *plane)
{
    if (!plane->wants_place || self->taken >= KFX_PLACES_MAX)
        return false;
    plane->has_place = true;
    plane->place_idle = false;
    kfx_places_count(self, plane);
    return true;
}

typedef struct {
    kfx_plane_t *first;
} search_t;

static void look(void *ctx, kfx_plane_t *plane)
{
    search_t *search = ctx;
    if (plane->wants_place && (!search->first || plane->place_turn < search->first->place_turn))
        search->first = plane;
}

kfx_plane_t *kfx_places_next(kfx_places_t *self, kfx_planes_t *planes)
{
    search_t search = {.first = NULL};
    if (!self->wanted || self->taken >= KFX_PLACES_MAX)
        return NULL;
    kfx_planes_each(planes, look, &search);
    return search.first && kfx_places_offer(self, search.first) ? search.first : NULL;
}
