/* kube/apply.c: the table of kinds. */
#include "kube/apply.h"

#include "base/mem.h"
#include "kube/client.h"

#include <string.h>

#define CORE "v1", "/api/v1"
#define APPS "apps/v1", "/apis/apps/v1"
#define BATCH "batch/v1", "/apis/batch/v1"
#define RBAC "rbac.authorization.k8s.io/v1", "/apis/rbac.authorization.k8s.io/v1"
#define NETWORKING "networking.k8s.io/v1", "/apis/networking.k8s.io/v1"
#define ROUTES "route.openshift.io/v1", "/apis/route.openshift.io/v1"
#define COORDINATION "coordination.k8s.io/v1", "/apis/coordination.k8s.io/v1"
#define EVENTS "events.k8s.io/v1", "/apis/events.k8s.io/v1"
#define TENANCY "tenancy.kflex.kubestellar.org/v1alpha1", "/apis/tenancy.kflex.kubestellar.org/v1alpha1"

static const kfx_kind_info_t kinds[] = {
    {"Namespace", CORE, "namespaces", false},
    {"Service", CORE, "services", true},
    {"Secret", CORE, "secrets", true},
    {"ConfigMap", CORE, "configmaps", true},
    {"ServiceAccount", CORE, "serviceaccounts", true},
    {"PersistentVolumeClaim", CORE, "persistentvolumeclaims", true},
    {"Pod", CORE, "pods", true},
    {"Deployment", APPS, "deployments", true},
    {"StatefulSet", APPS, "statefulsets", true},
    {"Job", BATCH, "jobs", true},
    {"Ingress", NETWORKING, "ingresses", true},
    {"NetworkPolicy", NETWORKING, "networkpolicies", true},
    {"Route", ROUTES, "routes", true},
    {"Role", RBAC, "roles", true},
    {"RoleBinding", RBAC, "rolebindings", true},
    {"ClusterRole", RBAC, "clusterroles", false},
    {"ClusterRoleBinding", RBAC, "clusterrolebindings", false},
    {"Lease", COORDINATION, "leases", true},
    {"Event", EVENTS, "events", true},
    {"ControlPlane", TENANCY, "controlplanes", false},
    {"PostCreateHook", TENANCY, "postcreatehooks", false},
};

const kfx_kind_info_t *kfx_kind_find(const char *kind)
{
    for (size_t i = 0; kind && i < KFX_COUNT(kinds); i++) {
        if (strcmp(kinds[i].kind, kind) == 0)
            return &kinds[i];
    }
    return NULL;
}

char *kfx_object_path(const char *kind, const char *ns, const char *name)
{
    const kfx_kind_info_t *info = kfx_kind_find(kind);
    if (!info || (name && !*name) || (ns && !*ns) || (name && info->namespaced && !ns))
        return NULL;
    KFX_FREE char *ns_part = NULL;
    KFX_FREE char *name_part = NULL;
    if (ns && info->namespaced) {
        KFX_FREE char *escaped = kfx_kube_escape(ns);
        ns_part = kfx_xasprintf("/namespaces/%s", escaped);
    }
    if (name) {
        KFX_FREE char *escaped = kfx_kube_escape(name);
        name_part = kfx_xasprintf("/%s", escaped);
    }
    return kfx_xasprintf("%s%s/%s%s", info->prefix, ns_part ? ns_part : "", info->plural, name_part ? name_part : "");
}
