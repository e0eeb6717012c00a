/* watcher/judge.h: whether and by whom a plane is served. Pure. */
#ifndef KFX_WATCHER_JUDGE_H
#define KFX_WATCHER_JUDGE_H

#include "watcher/planes.h"

typedef struct {
    const kfx_type_info_t *type;            /* NULL: unknown */
    size_t count;                           /* services; 0: rejected, reason and message say why */
    const char *services[KFX_SERVICES_MAX]; /* literals */
    const char *reason;                     /* of Synced=False, literal; NULL where nothing is wrong */
    char message[512];
} kfx_stance_t;

void kfx_judge(const kfx_plane_t *plane, kfx_stance_t *out);
/* Position of the service, or -1. */
int kfx_stance_index(const kfx_stance_t *stance, const char *service);

#endif
