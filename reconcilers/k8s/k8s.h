/* reconcilers/k8s/k8s.h: the type k8s: an API server with kine and a controller manager per plane. */
#ifndef KFX_RECONCILERS_K8S_H
#define KFX_RECONCILERS_K8S_H

#include "reconcilers/type.h"

extern const kfx_type_t kfx_type_k8s;

#endif
