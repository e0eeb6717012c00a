/* reconcilers/k8s/workload.c: values for the manifests. */
#include "reconcilers/k8s/workload.h"

#include "base/json.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "reconcilers/front.h"

#include <stdio.h>
#include <string.h>

extern const kfx_embedded_t kfx_k8s_manifests[]; /* made by embed.py */

#define RUN_AS_USER 65532 /* "nonroot" of distroless images */

/* What a profile sets: Go's collector, the containers' limits, and what the programs leave out. Measured one by one,
 * with an empty plane and with 10,000 objects, by tests/bench/memory; figures in docs/benchmarks.md. */
typedef struct {
    const char *apiserver_gogc, *apiserver_memory;
    const char *apiserver_flags[3];
    const char *kine_gogc, *kine_memory;
    const char *manager_gogc, *manager_memory;
    const char *left_out; /* a controller that others can do without; NULL: none */
} profile_t;

static const profile_t profiles[] = {
    /* A ratio, and no GOMEMLIMIT: with a soft limit instead the server starts a little quicker (1.9 instead of 2.4 s of
     * CPU), but once what lives comes close to the limit (10,000 objects, or some dozens of CustomResourceDefinitions)
     * the collector never rests: an idle plane then took from a sixth to a half of a core. */
    [KFX_PROFILE_DEFAULT] = {.apiserver_gogc = "38",
                             .apiserver_memory = "1Gi",
                             .kine_gogc = "25",
                             .kine_memory = "256Mi",
                             .manager_gogc = "15", /* nobody waits for it */
                             .manager_memory = "256Mi"},
    /* A lower ratio: starts slower, and works more when it has to work. Without the cache of watches, lists and watches
     * are served by kine, at the other end of a socket in the pod. Of the rest the controller that only writes type
     * warnings into the status of ValidatingAdmissionPolicies holds most: a schema of every kind, 8 MiB. Policies hold
     * without it. Fairness among users is for servers that many share: without it the bounds of requests in flight
     * still stand. */
    [KFX_PROFILE_SMALL] = {.apiserver_gogc = "10",
                           .apiserver_memory = "768Mi",
                           .apiserver_flags = {"--watch-cache=false", "--enable-priority-and-fairness=false"},
                           .kine_gogc = "15",
                           .kine_memory = "192Mi",
                           .manager_gogc = "15",
                           .manager_memory = "192Mi",
                           .left_out = "validatingadmissionpolicy-status-controller"},
};

static json_t *go_env(const char *gogc)
{
    return json_pack("[{s:s, s:s}]", "name", "GOGC", "value", gogc);
}

static const char *const no_flags[] = {NULL};

static json_t *flags(const char *const *first, const char *const *second)
{
    json_t *out = json_array();
    for (; *first; first++)
        json_array_append_new(out, json_string(*first));
    for (; *second; second++)
        json_array_append_new(out, json_string(*second));
    return out;
}

/* The first word about a controller counts. A name that the version does not know would be refused. */
static json_t *controllers(const char *all, const char *left_out)
{
    return left_out && strstr(all, left_out) ? json_sprintf("-%s,%s", left_out, all) : json_string(all);
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
    json_object_set_new(vars, "controllers", controllers(choice->minor->controllers, profile->left_out));
    json_object_set_new(vars, "apiserver_flags", flags(choice->minor->apiserver_flags, profile->apiserver_flags));
    json_object_set_new(vars, "controller_manager_flags", flags(choice->minor->manager_flags, no_flags));
    json_object_set_new(vars, "apiserver_env", go_env(profile->apiserver_gogc));
    json_object_set_new(vars, "kine_env", go_env(profile->kine_gogc));
    json_object_set_new(vars, "controller_manager_env", go_env(profile->manager_gogc));
    json_object_set_new(vars, "apiserver_memory", json_string(profile->apiserver_memory));
    json_object_set_new(vars, "kine_memory", json_string(profile->kine_memory));
    json_object_set_new(vars, "controller_manager_memory", json_string(profile->manager_memory));
    json_object_set_new(vars, "dsn_hash", json_string(values->dsn_hash));
    json_object_set_new(vars, "ca_id", json_string(values->ca_id));
    /* OpenShift assigns each Namespace a range of its own and refuses others. */
    json_object_set_new(vars, "run_as_user", values->config->openshift ? json_null() : json_integer(RUN_AS_USER));
}

/* What the API server's pod has more of for its storage, as variables of their own. */
static int put_storage(json_t *vars, bool etcd, kfx_error_t *err)
{
    static const char *const parts[] = {"containers", "flags", "env", "mounts", "volumes"};
    KFX_JSON json_t *storage =
        kfx_manifest_render(kfx_k8s_manifests, etcd ? "storage-etcd" : "storage-kine", vars, err);
    for (size_t i = 0; storage && i < KFX_COUNT(parts); i++) {
        KFX_FREE char *name = kfx_xasprintf("storage_%s", parts[i]);
        json_object_set(vars, name, kfx_json_get(storage, parts[i]));
    }
    return storage ? 0 : -1;
}

json_t *kfx_k8s_manifest(const char *name, const kfx_k8s_values_t *values, kfx_error_t *err)
{
    KFX_JSON json_t *vars =
        json_pack("{s:s, s:s}", "plane", values->plane, "service_type", kfx_service_type(values->config->exposure));
    if (values->choice) {
        put_workload(vars, values);
        if (put_storage(vars, values->etcd, err))
            return NULL;
    }
    return kfx_manifest_render(kfx_k8s_manifests, name, vars, err);
}

json_t *kfx_k8s_render(const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    static const char *const names[] = {"service", "kube-apiserver", "kube-controller-manager"};
    KFX_JSON json_t *out = json_array();
    kfx_k8s_choice_t choice;
    char ns[KFX_NAME_SIZE];
    size_t at;
    json_t *made;
    if (kfx_k8s_choose("", "", config->kubernetes_version, &choice, err))
        return NULL;
    kfx_k8s_values_t values = {
        .plane = plane, .config = config, .choice = &choice, .dsn_hash = "rendered", .ca_id = "rendered"};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        json_t *object = kfx_k8s_manifest(names[i], &values, err);
        if (!object || json_array_append_new(out, object))
            return NULL;
        if (i == 0 && kfx_front_render(out, plane, plane, config, err))
            return NULL;
    }
    kfx_plane_namespace(plane, ns);
    json_array_foreach (out, at, made)
        kfx_json_put(made, json_string(ns), "metadata", "namespace");
    return KFX_STEAL(out);
}
