/* watcher/announce.h: which Events a change of status is worth. Pure; announce.c also sends them (watcher.h). */
#ifndef KFX_WATCHER_ANNOUNCE_H
#define KFX_WATCHER_ANNOUNCE_H

#include "watcher/status.h"

typedef struct {
    const char *type, *reason, *message; /* message borrowed from the status */
} kfx_announcement_t;

typedef struct {
    size_t count;
    kfx_announcement_t list[4];
} kfx_news_t;

/* A condition with this reason is False because the plane starts or ends, not because something failed. */
bool kfx_announce_ordinary(const char *reason);

void kfx_announce_news(const kfx_status_t *before, const kfx_status_t *after, kfx_news_t *news);

#endif
