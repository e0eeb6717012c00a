/* proto/model.h: the names that all processes share: API group, labels, types and the services each type needs.
 *
 * Source of the names: the compatibility contract of KubeFlex (docs/architecture.md). Constant data only: thread-safe.
 */
#ifndef KFX_MODEL_H
#define KFX_MODEL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define KFX_GROUP "tenancy.kflex.kubestellar.org"
#define KFX_API_VERSION KFX_GROUP "/v1alpha1"
#define KFX_CONTROLPLANES_PATH "/apis/" KFX_API_VERSION "/controlplanes"
#define KFX_POSTCREATEHOOKS_PATH "/apis/" KFX_API_VERSION "/postcreatehooks"

#define KFX_SYSTEM_NAMESPACE "kubeflex-system"
#define KFX_CONFIGMAP "kubeflex-config"
#define KFX_LEADER_CONFIGMAP "kubeflex-leader"
#define KFX_LEADER_LEASE "c6f71c85.kflex.kubestellar.org"
#define KFX_FINALIZER "kflex.kubestellar.org/finalizer"
#define KFX_LABEL_PLANE "kflex.kubestellar.org/controlplane"
#define KFX_ANNOTATION_HASH "kflex.kubestellar.org/applied-hash"
/* On a bootstrap Secret: the adopted cluster's address for users, where it is another one for the hosting cluster. */
#define KFX_ANNOTATION_SERVER "kflex.kubestellar.org/external-server"
/* On a ControlPlane: a new value makes a new password for its database. */
#define KFX_ANNOTATION_ROTATE "kflex.kubestellar.org/rotate-storage-password"
/* On what a PostCreateHook made: the hook's name. */
#define KFX_ANNOTATION_HOOK "kflex.kubestellar.org/hook"
#define KFX_FIELD_MANAGER_HOOKS "kubeflex" /* of hooks' objects, as the Go implementation has it */
/* "true" on a ControlPlane that is being deleted: it goes although something of it cannot be removed. */
#define KFX_ANNOTATION_FORCE "kflex.kubestellar.org/force-delete"
#define KFX_FORCE_HINT "annotation " KFX_ANNOTATION_FORCE "=true lets the control plane go without that"
#define KFX_ANNOTATION_EPOCH "kflex.kubestellar.org/epoch"
#define KFX_FIELD_MANAGER_PREFIX "kubeflex-" /* followed by the plane's uid */

#define KFX_DEFAULT_KUBERNETES_VERSION "v1.36.3"

/* A ControlPlane's name may have 253 characters for the API server; ours have at most 56 (the Namespace <name>-system
 * must fit 63). Buffers take the longer, so that an existing object is never cut. */
#define KFX_NAME_SIZE 256
#define KFX_UID_SIZE 64

/* Secrets of a plane of type k8s. */
#define KFX_SECRET_CERTS "k8s-certs"
#define KFX_SECRET_ADMIN "admin-kubeconfig"
#define KFX_SECRET_CM "cm-kubeconfig"
/* Written by the storage agent. Which of the two is there says by what the API server reaches its storage: kine, or an
 * etcd itself. */
#define KFX_SECRET_DSN "kine-dsn"     /* keys endpoint, ca.crt */
#define KFX_SECRET_ETCD "etcd-client" /* keys endpoints, ca.crt, client.crt, client.key */
#define KFX_SECRET_ETCD_CERTS "etcd-certs"
#define KFX_ETCD "etcd" /* Service and StatefulSet of a plane's own etcd */

/* Of a plane of type external: the reconciler's own copy of the credentials. */
#define KFX_SECRET_EXTERNAL "external-credentials"
#define KFX_KEY_BOOTSTRAP "kubeconfig-incluster" /* spec.bootstrapSecretRef.inClusterKey where that is empty */

/* Of a plane with hooks: ConfigMap with what they made (reconcilers/hooks/record.c). */
#define KFX_HOOKS_RECORD "kubeflex-hooks"

/* Services of the bus: one queue each. */
#define KFX_SERVICE_STORAGE "storage"
#define KFX_SERVICE_SIZE 48

/* One line per control plane type: the only list of types there is. */
typedef struct {
    const char *name;     /* spec.type */
    const char *service;  /* the reconciler's queue, "reconcile.k8s" */
    bool storage;         /* true: the storage agent takes part too */
    bool built;           /* false: known to the API, no reconciler yet: Synced=False, reason NotSupported */
    const char *workload; /* "Deployment/kube-apiserver": whose readiness triggers the probe; NULL: none */
} kfx_type_info_t;

/* NULL for a type the API does not know. */
const kfx_type_info_t *kfx_type_find(const char *name);
/* The i-th type, or NULL past the end. */
const kfx_type_info_t *kfx_type_at(size_t i);
/* Services a type needs, in order; returns how many (0..2). The names are literals. */
size_t kfx_type_services(const kfx_type_info_t *type, const char *services[2]);

/* True where a change of child kind/name can matter to the service: for storage the Namespace and what the storage
 * agent writes, for a reconciler everything. */
bool kfx_service_wants(const char *service, const char *kind, const char *name);

/* "<name>-system". */
void kfx_plane_namespace(const char *plane, char out[KFX_NAME_SIZE]);
/* The plane a Namespace belongs to by its name: writes it and returns true where it ends in "-system". */
bool kfx_namespace_plane(const char *ns, char out[KFX_NAME_SIZE]);
/* "kubeflex-<uid>". */
void kfx_field_manager(const char *uid, char out[KFX_NAME_SIZE]);

/* Name rules for a new plane (the CRD's CEL says the same): RFC 1035 label, at most 56 characters, not "kube" or
 * "kubeflex". The error says which rule and what to do. */
int kfx_plane_name_check(const char *name, kfx_error_t *err);

#endif
