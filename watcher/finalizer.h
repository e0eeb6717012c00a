/* watcher/finalizer.h: our entry in metadata.finalizers; those of others are kept as they are. Pure. */
#ifndef KFX_WATCHER_FINALIZER_H
#define KFX_WATCHER_FINALIZER_H

#include "watcher/planes.h"

/* Merge patches bound to this uid and resourceVersion. Fresh. */
json_t *kfx_finalizer_add(const kfx_plane_t *plane);
json_t *kfx_finalizer_remove(const kfx_plane_t *plane);

#endif
