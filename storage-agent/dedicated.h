/* storage-agent/dedicated.h: backend dedicated: an etcd of the plane's own, as objects in the plane's Namespace.
 *
 * In this order, each step only once the digest shows what it needs: Secret etcd-certs, Service and StatefulSet etcd
 * (manifests/), and when that is ready Secret etcd-client, which the reconciler waits for before it applies the API
 * server. All of it goes with the Namespace. While ready it is looked at every ten minutes: an etcd of whose file more
 * than half is free is defragmented, one without space says so.
 */
#ifndef KFX_STORAGE_DEDICATED_H
#define KFX_STORAGE_DEDICATED_H

#include "storage-agent/task.h"

void kfx_dedicated_run(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_spec_t *spec,
                       kfx_result_t *result);

/* True where the digest shows that the plane has, or had, an etcd of its own. */
bool kfx_dedicated_seen(const kfx_digest_t *digest);

#endif
