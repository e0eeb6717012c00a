/* watcher/places.h: how many planes have their running pods exchanged at a time.
 *
 * A changed ConfigMap, a changed Secret or a new KubeFlex can ask for it in every plane at once, and each new API
 * server costs seconds of CPU and, until the old one has gone, its memory twice. So a plane's reconciler asks for a
 * place (result, wantsPlace), and is told with an EVENT when the plane has one (digest, place). The watcher gives them
 * out because it sees every plane: however many reconcilers there are, and whichever of them dies, a place is free when
 * the plane's workloads say so. First pods need none: nothing else makes them come at once.
 *
 * A place counts as taken from the moment it is given until the reconciler says that the exchange is over
 * (keepsPlace), be it that Kubernetes gave it up (progressDeadlineSeconds in the manifests): a change that breaks
 * planes so reaches few of them in that time. It does not count while the plane's task fails: that plane may go on,
 * and holds nobody up. What is seen to be exchanged counts even where no place was given: a new leader knows of no
 * place, so at a change of leaders it can be as many again, for once. Single-threaded: the main loop. */
#ifndef KFX_WATCHER_PLACES_H
#define KFX_WATCHER_PLACES_H

#include "watcher/planes.h"

#define KFX_PLACES_MAX 8

/* Zeroed: all are free. */
typedef struct {
    unsigned taken;  /* planes that count */
    unsigned wanted; /* planes that wait */
    uint64_t turn;   /* the last one given to a plane that began to wait */
} kfx_places_t;

/* Counts the plane as it is now; call whenever that may have changed, and before it is forgotten for good. */
void kfx_places_count(kfx_places_t *self, kfx_plane_t *plane);
/* What its reconciler said. */
void kfx_places_result(kfx_places_t *self, kfx_plane_t *plane, const kfx_result_t *result);
/* Gives the plane a place where it wants one and one is free. True when it did. */
bool kfx_places_offer(kfx_places_t *self, kfx_plane_t *plane);
/* Gives a free place to the plane that has waited longest; NULL where none is free or nobody waits. */
kfx_plane_t *kfx_places_next(kfx_places_t *self, kfx_planes_t *planes);

#endif
