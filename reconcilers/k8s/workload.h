/* reconcilers/k8s/workload.h: the manifests of a plane with their values. Pure: thread-safe. */
#ifndef KFX_K8S_WORKLOAD_H
#define KFX_K8S_WORKLOAD_H

#include "reconcilers/endpoints.h"
#include "reconcilers/k8s/versions.h"

#include <jansson.h>

typedef struct {
    const char *plane;
    const kfx_config_t *config;
    const kfx_k8s_choice_t *choice; /* may be NULL where no workload is rendered */
    const char *dsn_hash;           /* of Secret kine-dsn, or etcd-client */
    bool etcd;                      /* the API server reaches an etcd itself, without kine */
    const char *ca_id;
} kfx_k8s_values_t;

/* "service", "kube-apiserver", "kube-controller-manager". Fresh reference, NULL with err. */
json_t *kfx_k8s_manifest(const char *name, const kfx_k8s_values_t *values, kfx_error_t *err);

/* kfx_type_t.render */
json_t *kfx_k8s_render(const char *plane, const kfx_config_t *config, kfx_error_t *err);

#endif
