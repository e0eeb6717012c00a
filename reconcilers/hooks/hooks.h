/* reconcilers/hooks/hooks.h: PostCreateHooks, a step common to all types that follows once the plane's API answers.
 *
 * A pass reads the ControlPlane and the hooks it names, puts variables into their templates, applies the objects in
 * order as the account that hooks run as, removes what is not asked for any more, and says in the result what became of
 * each hook. What was made stands in ConfigMap kubeflex-hooks of the plane's Namespace: written before the objects, so
 * that nothing is made that could not be found again. A pass is made when the watcher saw something change
 * (kfx_digest_t.hooks), when the plane's generation is new, and when the last one asked for it. Thread-safe.
 */
#ifndef KFX_RECONCILERS_HOOKS_H
#define KFX_RECONCILERS_HOOKS_H

#include "proto/proto.h"

typedef struct kfx_run kfx_run_t; /* reconcilers/run.h */

/* What this process knows between passes: the kinds that the API server serves, and how hooks of each plane stood. All
 * of it can be had again. */
typedef struct kfx_hooks kfx_hooks_t;

kfx_hooks_t *kfx_hooks_new(size_t planes_max);
void kfx_hooks_destroy(kfx_hooks_t **self_p);
void kfx_hooks_forget(kfx_hooks_t *self, const char *uid);

/* After condition Ready was evaluated: makes a pass where one is due, and says what is known about hooks. A plane that
 * waits for hooks gets Ready=False until they are done. */
void kfx_hooks_run(kfx_run_t *run);

#endif
