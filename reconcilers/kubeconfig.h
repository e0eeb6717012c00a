/* reconcilers/kubeconfig.h: builds the kubeconfigs of a plane. Pure: thread-safe. */
#ifndef KFX_RECONCILERS_KUBECONFIG_H
#define KFX_RECONCILERS_KUBECONFIG_H

#include "base/error.h"
#include "reconcilers/pki.h"

typedef struct {
    const char *plane;           /* context "<plane>", cluster "<plane>-cluster" */
    const char *user;            /* "<plane>-admin", "system:kube-controller-manager" */
    const char *server;          /* https://… */
    const char *tls_server_name; /* or NULL */
    const char *ca_pem;
    const kfx_keypair_t *client;
} kfx_kubeconfig_t;

/* YAML text that holds a private key: wipe it before freeing. NULL with err. */
char *kfx_kubeconfig_build(const kfx_kubeconfig_t *parts, kfx_error_t *err);

#endif
