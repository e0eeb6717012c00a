/* bus/keyfetch.h: a role's keys from its Secret, read again while the process runs: what refresh_keys of worker.h and
 * publisher.h wants. */
#ifndef KFX_BUS_KEYFETCH_H
#define KFX_BUS_KEYFETCH_H

#include "bus/keys.h"
#include "kube/client.h"

#define KFX_KEYFETCH_MS 1500

/* One GET without repetition; ends within KFX_KEYFETCH_MS. keys stay as they are on failure. */
int kfx_bus_keys_fetch(kfx_kube_t *kube, const char *ns, const char *role, kfx_bus_keys_t *keys, kfx_error_t *err);

#endif
