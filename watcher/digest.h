/* watcher/digest.h: what was observed of a plane, as EVENTs carry it. */
#ifndef KFX_WATCHER_DIGEST_H
#define KFX_WATCHER_DIGEST_H

#include "watcher/planes.h"

/* ConfigMap kubeflex-config: listed among the children of every plane. */
typedef struct {
    bool exists;
    char uid[KFX_SEEN_UID_SIZE];
    char rv[KFX_SEEN_RV_SIZE];
} kfx_config_seen_t;

/* What the service wants to know of. Fresh; kfx_digest_free. */
kfx_digest_t *kfx_plane_digest(const kfx_plane_t *plane, const char *service, const kfx_config_seen_t *config);

#endif
