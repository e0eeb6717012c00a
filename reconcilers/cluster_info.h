/* reconcilers/cluster_info.h: ConfigMap kube-public/cluster-info inside a plane, by which other clusters find its API
 * server (kubeadm and OCM read it): its server becomes the address that a neighbour on the hosting cluster's network
 * can reach. The Go implementation has a Job for that, update-cluster-info. */
#ifndef KFX_RECONCILERS_CLUSTER_INFO_H
#define KFX_RECONCILERS_CLUSTER_INFO_H

#include "reconcilers/run.h"

typedef struct {
    const char *server;          /* https://… */
    const char *tls_server_name; /* for the handshake, or NULL */
    const char *ca_pem;          /* written where there is no ConfigMap yet */
} kfx_cluster_info_t;

/* What the ConfigMap should become. Fresh; NULL without err where it is right already, with err where what is there
 * cannot be understood. existing: as it is now, or NULL. Pure. */
json_t *kfx_cluster_info_edit(const json_t *existing, const kfx_cluster_info_t *info, kfx_error_t *err);

/* Reads it and writes it where it differs, each request within limit_ms. -1 with err. */
int kfx_cluster_info_ensure(kfx_run_t *run, kfx_remote_t *remote, const kfx_cluster_info_t *info, int limit_ms,
                            kfx_error_t *err);

#endif
