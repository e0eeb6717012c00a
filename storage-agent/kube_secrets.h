/* storage-agent/kube_secrets.h: the calls of secret.h, made to the API server. Thread-safe as kube/client.h is. */
#ifndef KFX_STORAGE_KUBE_SECRETS_H
#define KFX_STORAGE_KUBE_SECRETS_H

#include "kube/client.h"
#include "storage-agent/secret.h"

/* kube is borrowed and must outlive the calls. */
kfx_secrets_t kfx_kube_secrets(kfx_kube_t *kube);

#endif
