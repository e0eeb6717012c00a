/* storage-agent/etcd_secret.h: the Secrets of a plane's own etcd: its certificates, and what the API server needs.
 *
 *   etcd-certs   ca.crt; server.crt, server.key of the members (among each other too); client.crt, client.key
 *   etcd-client  endpoints, ca.crt, client.crt, client.key: the plane's API server mounts this one alone
 *
 * The authority's key signs these two certificates and is forgotten, so that nobody can make a third. Pure:
 * thread-safe.
 */
#ifndef KFX_STORAGE_ETCD_SECRET_H
#define KFX_STORAGE_ETCD_SECRET_H

#include "objects/object.h"

#define KFX_ETCD_MEMBERS_MAX 3

/* A fresh etcd-certs with new keys, for as many members as there may ever be. NULL with err. */
json_t *kfx_etcd_certs_new(const char *ns, kfx_error_t *err);
/* True where all five values are there. *hash: what stands for them, to be the Secret's applied-hash. */
bool kfx_etcd_certs_read(const json_t *certs, char hash[KFX_HASH_SIZE]);

/* A fresh etcd-client out of etcd-certs. */
json_t *kfx_etcd_client_new(const char *ns, const json_t *certs, const char *endpoints);
/* Its applied-hash, from what it is made of. */
void kfx_etcd_client_hash(const char *certs_hash, const char *endpoints, char hash[KFX_HASH_SIZE]);

/* "https://etcd-0.etcd.<ns>.svc:2379,…" of so many members; for peers "etcd-0=https://etcd-0.etcd.<ns>.svc:2380,…".
 * Caller frees. */
char *kfx_etcd_endpoints(const char *ns, int members);
char *kfx_etcd_peers(const char *ns, int members);

/* The quota for a volume of that size ("2Gi"): at most half of it, as defragmenting writes a second copy, less what the
 * log takes. 0 with err where the size is too small or not understood. */
int64_t kfx_etcd_quota(const char *size, kfx_error_t *err);

#endif
