/* reconcilers/vcluster/vcluster.c: the type vcluster: a vCluster (open-source build, 0.37 and its like) whose pods run
 * in the plane's Namespace on the hosting cluster. What it reads, writes and wants is in the manifests' comments; the
 * names are those of its chart, release "vcluster". */
#include "base/json.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "reconcilers/front.h"
#include "reconcilers/guest.h"

#include <string.h>

#define REVISION 2 /* of the manifests: raise it with every change of them */
#define SERVICE "vcluster"
#define CONFIG_SECRET "vc-config-vcluster"
#define ACCOUNT "vc-vcluster"
#define RUN_AS_USER 12345 /* the image's own */
#define NO_IMAGE "none"

extern const kfx_type_t kfx_type_vcluster;
extern const kfx_embedded_t kfx_vcluster_manifests[]; /* made by embed.py */

static kfx_guest_t guest_of(const kfx_config_t *config)
{
    return (kfx_guest_t){.service = SERVICE,
                         .domain = "",
                         .program_secret = "vc-vcluster-incluster",
                         .program_key = "config",
                         .parts = true,
                         .cluster_info = true,
                         .job = "update-cluster-info",
                         .image = config->vcluster_image};
}

/* Where the image has no API server in it: a container that brings one, and where it puts it. */
static int add_binaries(json_t *vars, const kfx_config_t *config, kfx_error_t *err)
{
    bool wanted = strcmp(config->vcluster_kubernetes_image, NO_IMAGE) != 0;
    json_object_set_new(vars, "kubernetes_image", json_string(config->vcluster_kubernetes_image));
    KFX_JSON json_t *parts = kfx_manifest_render(kfx_vcluster_manifests, "binaries", vars, err);
    static const char *const names[][2] = {
        {"init_containers", "init"}, {"binaries_mounts", "mount"}, {"binaries_volumes", "volume"}};
    if (!parts)
        return -1;
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        json_t *list = json_array();
        if (wanted)
            json_array_append(list, kfx_json_get(parts, names[i][1]));
        json_object_set_new(vars, names[i][0], list);
    }
    return 0;
}

static json_t *variables(const char *plane, const kfx_config_t *config, const kfx_endpoints_t *endpoints,
                         kfx_error_t *err)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    KFX_FREE char *inside = kfx_xasprintf("https://" SERVICE ".%s", ns);
    json_t *sans = json_array();
    for (size_t i = 0; i < endpoints->input_count; i++)
        json_array_append_new(sans, json_string(endpoints->sans[i]));
    KFX_JSON json_t *vars = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:{s:b, s:b, s:{s:[s]}}}", "plane", plane,
                                      "namespace", ns, "service_type", kfx_service_type(config->exposure), "sans", sans,
                                      "external_url", endpoints->external_url, "internal_url", inside, "image",
                                      config->vcluster_image, "container_security", "allowPrivilegeEscalation", 0,
                                      "readOnlyRootFilesystem", 1, "capabilities", "drop", "ALL");
    /* OpenShift assigns each Namespace a range of its own and refuses others. */
    json_object_set_new(vars, "run_as_user", config->openshift ? json_null() : json_integer(RUN_AS_USER));
    return add_binaries(vars, config, err) ? NULL : KFX_STEAL(vars);
}

static int front(kfx_run_t *run)
{
    bool moved;
    KFX_FRONT kfx_front_t front = {.told_by = "vcluster-nodeport", .backend = SERVICE, .address = true, .port = true};
    KFX_JSON json_t *vars = json_pack("{s:s}", "service_type", kfx_service_type(run->config.exposure));
    KFX_GUEST_BATCH kfx_guest_batch_t services = {.count = 0};
    if (kfx_guest_add(run, &services, kfx_vcluster_manifests, "service", vars) ||
        kfx_guest_add(run, &services, kfx_vcluster_manifests, "nodeport", vars))
        return -1;
    for (size_t i = 0; i < services.count; i++)
        front.services[front.count++] = services.list[i];
    services.count = 0;
    return kfx_front_ensure(run, &front, &moved);
}

static int sync_plane(kfx_run_t *run)
{
    static const char *const names[] = {"serviceaccount", "workload-serviceaccount", "role", "rolebinding", "headless"};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_endpoints_t endpoints;
    KFX_GUEST_BATCH kfx_guest_batch_t children = {.count = 0}, workload = {.count = 0};
    const kfx_guest_t guest = guest_of(&run->config);
    if (kfx_takeover_check(run) || front(run))
        return -1;
    kfx_endpoints(run->owner.plane, SERVICE, &run->config, &run->memo, &endpoints);
    KFX_JSON json_t *vars = variables(run->owner.plane, &run->config, &endpoints, &err);
    if (!vars)
        return kfx_run_error(run, &err, "manifests");
    if (kfx_guest_add_config(run, &children, kfx_vcluster_manifests, CONFIG_SECRET, "config.yaml", vars))
        return -1;
    json_object_set_new(vars, "config_hash", json_string(children.list[0].hash));
    for (size_t i = 0; i < KFX_COUNT(names); i++)
        if (kfx_guest_add(run, &children, kfx_vcluster_manifests, names[i], vars))
            return -1;
    if (kfx_guest_children(run, &children, ACCOUNT, vars) ||
        kfx_guest_add(run, &workload, kfx_vcluster_manifests, "statefulset", vars))
        return -1;
    return kfx_guest_start(run, &guest, &workload, &endpoints);
}

static int alive(kfx_run_t *run, int limit_ms, kfx_error_t *err)
{
    const kfx_guest_t guest = guest_of(&run->config);
    return kfx_guest_alive(run, &guest, limit_ms, err);
}

static json_t *render_plane(const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    static const char *const names[] = {
        "serviceaccount", "workload-serviceaccount", "role", "rolebinding", "service", "nodeport", "headless",
        "statefulset"};
    const kfx_memo_t facts = {.generation = 0};
    kfx_endpoints_t endpoints;
    kfx_endpoints(plane, SERVICE, config, &facts, &endpoints);
    KFX_JSON json_t *vars = variables(plane, config, &endpoints, err);
    if (!vars)
        return NULL;
    json_object_set_new(vars, "config_hash", json_string("rendered"));
    json_object_set_new(vars, "account_uid", json_string("rendered"));
    return kfx_guest_render(kfx_vcluster_manifests, names, KFX_COUNT(names), vars, plane, SERVICE, config, err);
}

const kfx_type_t kfx_type_vcluster = {
    .name = "vcluster",
    .revision = REVISION,
    .workload = "vcluster",
    .workload_kind = "StatefulSet",
    .secret_name = "vc-vcluster",
    .secret_key = "config",
    .secret_in_cluster_key = "config-incluster",
    /* The plane's pods run here: they get nothing of the node. */
    .pod_security = "baseline",
    .sync = sync_plane,
    .alive = alive,
    .render = render_plane,
};
