/* reconcilers/k8s/workload.c: values for the manifests. */
#include "reconcilers/k8s/workload.h"

#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/manifest.h"

#include <stdio.h>
#include <string.h>

extern const kfx_embedded_t kfx_k8s_manifests[]; /* made by embed.py */

#define RUN_AS_USER 65532 /* "nonroot" of distroless images */

/* Go's collector, and the limits, by profile. Numbers: docs/benchmarks.md. */
typedef struct {
    const char *apiserver_gogc, *apiserver_memlimit, *apiserver_memory;
    const char *kine_gogc, *kine_memory;
    const char *manager_gogc, *manager_memory;
} profile_t;

static const profile_t profiles[] = {
    /* Collecting garbage while it starts costs an API server two of its five seconds. Without a ratio it collects only
     * when the heap nears the soft limit, so starting is quick, and the limit keeps it lean afterwards. */
    [KFX_PROFILE_DEFAULT] = {"off", "160MiB", "1Gi", "50", "256Mi", "50", "256Mi"},
    [KFX_PROFILE_SMALL] = {"25", NULL, "768Mi", "25", "192Mi", "25", "192Mi"},
};

static json_t *go_env(const char *gogc, const char *memlimit)
{
    json_t *env = json_pack("[{s:s, s:s}]", "name", "GOGC", "value", gogc);
    if (memlimit)
        json_array_append_new(env, json_pack("{s:s, s:s}", "name", "GOMEMLIMIT", "value", memlimit));
    return env;
}

static json_t *flags(const char *const *list)
{
    json_t *out = json_array();
    for (; *list; list++)
        json_array_append_new(out, json_string(*list));
    return out;
}

static const char *service_type(kfx_exposure_t exposure)
{
    switch (exposure) {
    case KFX_EXPOSE_LOADBALANCER: return "LoadBalancer";
    case KFX_EXPOSE_NONE: return "ClusterIP";
    case KFX_EXPOSE_INGRESS:
    case KFX_EXPOSE_NODEPORT: break;
    }
    return "NodePort";
}

/* The user's win, but passthrough is there unless they say otherwise. */
static json_t *ingress_annotations(const kfx_config_t *config)
{
    json_t *out = json_pack("{s:s}", "nginx.ingress.kubernetes.io/ssl-passthrough", "true");
    if (config->ingress_annotations)
        json_object_update(out, config->ingress_annotations);
    return out;
}

static void put_image(json_t *vars, const char *var, const char *program, const char *version)
{
    json_object_set_new(vars, var, json_sprintf("registry.k8s.io/%s:%s", program, version));
}

static void put_workload(json_t *vars, const kfx_k8s_values_t *values)
{
    const kfx_k8s_choice_t *choice = values->choice;
    const profile_t *profile = &profiles[values->config->profile];
    put_image(vars, "apiserver_image", "kube-apiserver", choice->version);
    put_image(vars, "controller_manager_image", "kube-controller-manager", choice->version);
    json_object_set_new(vars, "kine_image", json_string(KFX_K8S_KINE_IMAGE));
    json_object_set_new(vars, "controllers", json_string(choice->minor->controllers));
    json_object_set_new(vars, "apiserver_flags", flags(choice->minor->apiserver_flags));
    json_object_set_new(vars, "controller_manager_flags", flags(choice->minor->manager_flags));
    json_object_set_new(vars, "apiserver_env", go_env(profile->apiserver_gogc, profile->apiserver_memlimit));
    json_object_set_new(vars, "kine_env", go_env(profile->kine_gogc, NULL));
    json_object_set_new(vars, "controller_manager_env", go_env(profile->manager_gogc, NULL));
    json_object_set_new(vars, "apiserver_memory", json_string(profile->apiserver_memory));
    json_object_set_new(vars, "kine_memory", json_string(profile->kine_memory));
    json_object_set_new(vars, "controller_manager_memory", json_string(profile->manager_memory));
    json_object_set_new(vars, "dsn_hash", json_string(values->dsn_hash));
    json_object_set_new(vars, "ca_id", json_string(values->ca_id));
    /* OpenShift assigns each Namespace a range of its own and refuses others. */
    json_object_set_new(vars, "run_as_user", values->config->openshift ? json_null() : json_integer(RUN_AS_USER));
}

json_t *kfx_k8s_manifest(const char *name, const kfx_k8s_values_t *values, kfx_error_t *err)
{
    KFX_JSON json_t *vars =
        json_pack("{s:s, s:s, s:s, s:s, s:o}", "plane", values->plane, "host", values->host, "service_type",
                  service_type(values->config->exposure), "ingress_class", values->config->ingress_class,
                  "ingress_annotations", ingress_annotations(values->config));
    if (values->choice)
        put_workload(vars, values);
    return kfx_manifest_render(kfx_k8s_manifests, name, vars, err);
}

json_t *kfx_k8s_render(const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    const char *names[4];
    size_t count = 0;
    KFX_JSON json_t *out = json_array();
    kfx_k8s_choice_t choice;
    if (kfx_k8s_choose("", "", config->kubernetes_version, &choice, err))
        return NULL;
    KFX_FREE char *host = kfx_xasprintf("%s.%s", plane, config->domain);
    kfx_k8s_values_t values = {plane, config, host, &choice, "rendered", "rendered"};
    names[count++] = "service";
    if (config->exposure == KFX_EXPOSE_INGRESS)
        names[count++] = config->openshift ? "route" : "ingress";
    names[count++] = "kube-apiserver";
    names[count++] = "kube-controller-manager";
    for (size_t i = 0; i < count; i++) {
        json_t *object = kfx_k8s_manifest(names[i], &values, err);
        if (!object)
            return NULL;
        char ns[KFX_NAME_SIZE];
        kfx_plane_namespace(plane, ns);
        kfx_json_put(object, json_string(ns), "metadata", "namespace");
        json_array_append_new(out, object);
    }
    return KFX_STEAL(out);
}
