/* reconcilers/config_cache.h: the last kubeflex-config, by resourceVersion, for all threads of the process (locked
 * inside; values are copied out). A ConfigMap that is wrong is remembered as wrong, so it is not read for each plane.
 */
#ifndef KFX_RECONCILERS_CONFIG_CACHE_H
#define KFX_RECONCILERS_CONFIG_CACHE_H

#include "reconcilers/config.h"

#include <stdbool.h>

typedef struct kfx_config_cache kfx_config_cache_t;

kfx_config_cache_t *kfx_config_cache_new(void);
void kfx_config_cache_destroy(kfx_config_cache_t **self_p);

/* True when that version is known: 0 with config (a copy to clear) or -1 with err goes to *rc. */
bool kfx_config_cache_get(kfx_config_cache_t *self, const char *rv, kfx_config_t *config, int *rc, kfx_error_t *err);
/* Parses the ConfigMap, remembers what came out under its resourceVersion, and gives the same as above. */
int kfx_config_cache_put(kfx_config_cache_t *self, const json_t *configmap, kfx_config_t *config, kfx_error_t *err);

#endif
