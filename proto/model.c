/* proto/model.c: the one table of control plane types, and names derived from a plane's name. */
#include "proto/model.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const kfx_type_info_t types[] = {
    {.name = "k8s",
     .service = "reconcile.k8s",
     .storage = true,
     .built = true,
     .workload = "Deployment/kube-apiserver"},
    {.name = "vcluster", .service = "reconcile.vcluster", .built = true, .workload = "StatefulSet/vcluster"},
    {.name = "k3s", .service = "reconcile.k3s", .built = true, .workload = "StatefulSet/k3s-server"},
    {.name = "host", .service = "reconcile.host", .built = true},
    {.name = "external", .service = "reconcile.external", .built = true},
    {.name = "ocm", .service = "reconcile.ocm", .built = true, .workload = "Deployment/multicluster-controlplane"},
};

#define PLANE_NAME_MAX 56 /* "<name>-system" is a label of at most 63 characters */

const kfx_type_info_t *kfx_type_find(const char *name)
{
    for (size_t i = 0; name && i < KFX_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const kfx_type_info_t *kfx_type_at(size_t i)
{
    return i < KFX_COUNT(types) ? &types[i] : NULL;
}

size_t kfx_type_services(const kfx_type_info_t *type, const char *services[2])
{
    size_t n = 0;
    if (!type)
        return 0;
    services[n++] = type->service;
    if (type->storage)
        services[n++] = KFX_SERVICE_STORAGE;
    return n;
}

bool kfx_service_wants(const char *service, const char *kind, const char *name)
{
    if (strcmp(service, KFX_SERVICE_STORAGE) != 0)
        return true;
    if (strcmp(kind, "Namespace") == 0)
        return true;
    if (strcmp(kind, "Secret") == 0)
        return strcmp(name, KFX_SECRET_DSN) == 0 || strcmp(name, KFX_SECRET_ETCD) == 0 ||
               strcmp(name, KFX_SECRET_ETCD_CERTS) == 0;
    return (strcmp(kind, "StatefulSet") == 0 || strcmp(kind, "Service") == 0) && strcmp(name, KFX_ETCD) == 0;
}

void kfx_plane_namespace(const char *plane, char out[KFX_NAME_SIZE])
{
    snprintf(out, KFX_NAME_SIZE, "%s-system", plane);
}

bool kfx_namespace_plane(const char *ns, char out[KFX_NAME_SIZE])
{
    static const char suffix[] = "-system";
    size_t len = strlen(ns), tail = sizeof(suffix) - 1;
    if (len <= tail || len - tail >= KFX_NAME_SIZE || strcmp(ns + len - tail, suffix) != 0)
        return false;
    memcpy(out, ns, len - tail);
    out[len - tail] = '\0';
    return true;
}

void kfx_field_manager(const char *uid, char out[KFX_NAME_SIZE])
{
    snprintf(out, KFX_NAME_SIZE, "%s%s", KFX_FIELD_MANAGER_PREFIX, uid);
}

int kfx_plane_name_check(const char *name, kfx_error_t *err)
{
    size_t len = name ? strlen(name) : 0;
    if (len == 0)
        return kfx_error_set(err, KFX_E_INVALID, "a control plane needs a name");
    if (len > PLANE_NAME_MAX)
        return kfx_error_set(err, KFX_E_INVALID,
                             "the name has %zu characters, at most %d are allowed because its namespace is "
                             "<name>-system: choose a shorter one",
                             len, PLANE_NAME_MAX);
    if (name[0] < 'a' || name[0] > 'z')
        return kfx_error_set(err, KFX_E_INVALID, "the name \"%s\" must start with a lower-case letter a-z", name);
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return kfx_error_set(err, KFX_E_INVALID,
                                 "the name may hold lower-case letters, digits and '-' only; character %zu is another",
                                 i + 1);
    }
    if (name[len - 1] == '-')
        return kfx_error_set(err, KFX_E_INVALID, "the name \"%s\" must end with a letter or a digit", name);
    if (strcmp(name, "kube") == 0 || strcmp(name, "kubeflex") == 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "the name \"%s\" is reserved, its namespace %s-system belongs to the hosting cluster: "
                             "choose another",
                             name, name);
    return 0;
}
