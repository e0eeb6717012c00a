/* bus/keystore.h: where the bus keeps everybody's CURVE keys: Secrets in the cluster (made once, with create-only
 * requests) or folders of the same names and keys (outside a cluster). Used at start and now and then from the broker's
 * loop. */
#ifndef KFX_BUS_KEYSTORE_H
#define KFX_BUS_KEYSTORE_H

#include "bus/auth.h"
#include "bus/keys.h"

/* Reads DIR/kubeflex-bus and DIR/kubeflex-bus-<role> for every role there is, making what is missing (mode 0700 and
 * 0600). Fills server and the table. */
int kfx_keystore_dir(const char *dir, kfx_bus_keys_t *server, kfx_auth_t *auth, kfx_error_t *err);

typedef struct kfx_keystore kfx_keystore_t;

/* The same with Secrets in namespace ns. Blocks until the API server answers or deadline (kfx_now_ms) passes.
 * Afterwards a watch keeps the table current: a replaced Secret's key is taken, connections with the old one are
 * refused. */
kfx_keystore_t *kfx_keystore_cluster(zloop_t *loop, const char *kubeconfig, const char *ns, int64_t deadline,
                                     kfx_bus_keys_t *server, kfx_auth_t *auth, kfx_error_t *err);
void kfx_keystore_destroy(kfx_keystore_t **self_p);

#endif
