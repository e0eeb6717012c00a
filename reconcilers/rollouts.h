/* reconcilers/rollouts.h: how many planes of this process have their running workload exchanged at a time.
 *
 * A changed ConfigMap, a changed Secret or a new KubeFlex can ask for it in every plane at once, and each new API
 * server costs seconds of CPU and, until the old one has gone, its memory twice. So a plane takes a place first, and
 * gives it back when its new workload is ready. One whose workload never becomes ready keeps its place for a while: a
 * change that breaks planes so reaches few of them in that time. First pods need no place: nothing else makes them come
 * at once. Thread-safe (locked inside). Times are kfx_now_ms.
 */
#ifndef KFX_RECONCILERS_ROLLOUTS_H
#define KFX_RECONCILERS_ROLLOUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KFX_ROLLOUTS_MAX 8             /* places */
#define KFX_ROLLOUT_HOLD_MS 120000     /* how long a place is kept for a workload that does not become ready */
#define KFX_ROLLOUT_RETRY_MIN_MS 1000  /* when to ask again: the more planes wait, the later, */
#define KFX_ROLLOUT_RETRY_MAX_MS 60000 /* so that waiting costs the same few tasks a second at any size */

typedef struct kfx_rollouts kfx_rollouts_t;

kfx_rollouts_t *kfx_rollouts_new(void);
void kfx_rollouts_destroy(kfx_rollouts_t **self_p);

/* True: the plane has a place (it may have had one). False: *retry_ms says when to ask again. */
bool kfx_rollouts_enter(kfx_rollouts_t *self, const char *uid, int64_t now, uint32_t *retry_ms);
/* The plane's workload is as desired and ready, or the plane is gone: it needs no place. */
void kfx_rollouts_leave(kfx_rollouts_t *self, const char *uid);

#endif
