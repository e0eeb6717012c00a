/* reconcilers/external/cluster.h: what is done on an adopted cluster: an account of ours, its rights and its token.
 *
 * Both objects are called kubeflex-<uid of the plane>, so that planes, also of several hosting clusters, that adopt the
 * same cluster keep apart: ClusterRoleBinding to cluster-admin, and ServiceAccount in kube-system, owned by the
 * binding, so that the cluster's garbage collector takes it along. Every address is screened and every request has a
 * time limit.
 */
#ifndef KFX_EXTERNAL_CLUSTER_H
#define KFX_EXTERNAL_CLUSTER_H

#include "reconcilers/credentials.h"

/* Consumes config (a cluster administrator's). Makes what is missing and fills in the token of out, which must have the
 * address already. -1 with a verdict. */
int kfx_external_enroll(kfx_run_t *run, kfx_kube_config_t *config, kfx_credentials_t *out);
/* Another token, asked for with the one there is. */
int kfx_external_renew(kfx_run_t *run, kfx_credentials_t *credentials);
/* The token is taken, and has the rights. New ones are given a moment. -1 with a verdict. */
int kfx_external_prove(kfx_run_t *run, const kfx_credentials_t *credentials);
/* Removes both; with the account its tokens end. Consumes config. KFX_OK also where nothing (or no right to remove
 * anything) is left; else why not, and err. */
kfx_code_t kfx_external_remove(kfx_run_t *run, kfx_kube_config_t *config, kfx_error_t *err);
/* A path that only the account's own rights open. */
void kfx_external_right(const kfx_run_t *run, char *out, size_t size);

#endif
