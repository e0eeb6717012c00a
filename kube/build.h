/* kube/build.h: writes a kubeconfig with one cluster, one user and one context. Pure: thread-safe. */
#ifndef KFX_KUBE_BUILD_H
#define KFX_KUBE_BUILD_H

#include "base/error.h"

typedef struct {
    const char *context; /* also the current one */
    const char *cluster, *user;
    const char *ns;              /* of the context; or NULL */
    const char *server;          /* https://… */
    const char *tls_server_name; /* or NULL */
    const char *ca_pem;          /* or NULL: the reader's own store */
    const char *token;           /* or NULL */
    const char *client_cert_pem; /* or NULL; goes with the key */
    const char *client_key_pem;
} kfx_kubeconfig_t;

/* YAML text that holds a credential: wipe it before freeing. NULL with err. */
char *kfx_kubeconfig_build(const kfx_kubeconfig_t *parts, kfx_error_t *err);

#endif
