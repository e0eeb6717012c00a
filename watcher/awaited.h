/* watcher/awaited.h: Secrets outside the planes' own Namespaces that a reconciler waits for (result, awaitsSecret).
 *
 * They have no label of ours, so the watches of watches.c do not show them. While any plane waits for one, all Secrets
 * of its namespace are watched, as metadata: one watch, however many planes wait, because a connection has few streams.
 * The namespaces are kubeflex-system and those that kubeflex-config allows, which the reconciler has checked. What is
 * there now stands in the plane (kfx_plane_t, awaited), and each change of it is an EVENT. Single-threaded: the main
 * loop. */
#ifndef KFX_WATCHER_AWAITED_H
#define KFX_WATCHER_AWAITED_H

#include "watcher/planes.h"

#define KFX_AWAITED_NAMESPACES_MAX 32 /* a watch each; more are not watched, and that is logged */

struct kfx_watcher;
typedef struct kfx_awaited kfx_awaited_t;

kfx_awaited_t *kfx_awaited_new(struct kfx_watcher *watcher);
void kfx_awaited_destroy(kfx_awaited_t **self_p); /* before the mailbox */

/* Starts or stops what the plane needs now; call whenever plane->awaits may have changed, and before it is forgotten.
 */
void kfx_awaited_plane(kfx_awaited_t *self, kfx_plane_t *plane);

#endif
