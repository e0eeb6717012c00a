/* watcher/merge.h: what the services and the watcher itself say about a plane -> its status. Pure.
 *
 * Each condition has one source (docs/architecture.md); what nobody speaks about stays as it is. lastTransitionTime
 * moves only when a condition's status does, lastUpdateTime only when anything of it does, so an unchanged state gives
 * an equal status. */
#ifndef KFX_WATCHER_MERGE_H
#define KFX_WATCHER_MERGE_H

#include "watcher/planes.h"

#define KFX_NOTES_MAX 5

/* A condition that the watcher says itself, with status "False". It goes before what a service said. */
typedef struct {
    const char *type, *reason, *message; /* borrowed */
} kfx_note_t;

typedef struct {
    const kfx_plane_t *plane; /* current status, generation, verdicts */
    size_t services;          /* how many views count; 0: nobody serves the plane */
    size_t note_count;
    kfx_note_t notes[KFX_NOTES_MAX];
    time_t now;
} kfx_merge_t;

/* The status to be written, or NULL where the current one is right. Fresh. */
kfx_status_t *kfx_merge(const kfx_merge_t *in);

/* The body of the merge patch on /status, bound to this uid and resourceVersion. Fresh. */
json_t *kfx_status_patch(const kfx_plane_t *plane, const kfx_status_t *status);

/* Keeps what a DONE says, without the objects it wrote. Fresh; kfx_verdict_free. */
kfx_verdict_t *kfx_verdict_new(const kfx_envelope_t *env, const kfx_result_t *result);

#endif
