/* reconcilers/k8s/versions.h: what differs between Kubernetes minors, and which version a plane runs. Pure. */
#ifndef KFX_K8S_VERSIONS_H
#define KFX_K8S_VERSIONS_H

#include "base/error.h"

#include <stdbool.h>

/* Not newer, until pkg/logstructured/logstructured.go, Create, is mended: since 0.17.3 a create that fails while
 * Postgres comes back is answered as done, though nothing was written (the error is lost in a shadowed variable). An
 * API server that starts then believes its APIServices are there and is never live; a user's object is gone without a
 * word. */
#define KFX_K8S_KINE_IMAGE "docker.io/rancher/kine:v0.17.2"

typedef struct {
    int first, last;                    /* minors, both included */
    const char *controllers;            /* value of --controllers */
    const char *const *apiserver_flags; /* ended by NULL */
    const char *const *manager_flags;
} kfx_k8s_minor_t;

/* NULL for a minor that is not supported. */
const kfx_k8s_minor_t *kfx_k8s_minor(int minor);
/* "v1.27 to v1.36" */
const char *kfx_k8s_supported(void);

typedef struct {
    char version[32]; /* "v1.36.3" */
    const kfx_k8s_minor_t *minor;
    bool asked; /* spec.kubernetesVersion says so */
} kfx_k8s_choice_t;

/* spec wins, then what is recorded in the status, then the configured default, then this build's. Each may be "".
 * INVALID names the field and the supported range. */
int kfx_k8s_choose(const char *spec, const char *status, const char *config, kfx_k8s_choice_t *choice,
                   kfx_error_t *err);

#endif
