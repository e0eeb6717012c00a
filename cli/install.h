/* cli/install.h: KubeFlex's own manifests (deploy/crds, deploy/manifests), compiled into kflex: what `init` and
 * `upgrade` apply. Pure but for kfx_install_put. */
#ifndef KFX_CLI_INSTALL_H
#define KFX_CLI_INSTALL_H

#include "kube/client.h"

#include <jansson.h>

/* The definitions of our kinds, which go first. Fresh array. */
json_t *kfx_install_crds(kfx_error_t *err);

/* Everything else, in the order of deploy/manifests/kustomization.yaml, put together as kustomize does (the patch of
 * all Deployments, the label); our image is `image`. Fresh array. */
json_t *kfx_install_objects(const char *image, kfx_error_t *err);

/* What is only there for the Postgres of our own: not applied where another one is. */
bool kfx_install_is_postgres(const json_t *object);
/* A volume of the default StorageClass instead of a folder of the node. object: the StatefulSet. */
void kfx_install_claim_volume(json_t *object);

/* "/apis/apps/v1/namespaces/x/deployments/y". Fresh. */
char *kfx_install_path(const json_t *object);
/* Server-side apply. object is borrowed. dry_run: the API server checks it and changes nothing. */
int kfx_install_put(kfx_kube_t *kube, json_t *object, bool dry_run, kfx_error_t *err);

#endif
