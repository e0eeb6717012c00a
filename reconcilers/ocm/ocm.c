/* reconcilers/ocm/ocm.c: the type ocm: Open Cluster Management's multicluster-controlplane, with its etcd inside. Names
 * are those of its chart. */
#include "base/codec.h"
#include "base/json.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "base/pki.h"
#include "reconcilers/front.h"
#include "reconcilers/guest.h"

#include <stdio.h>
#include <string.h>

#define REVISION 2 /* of the manifests: raise it with every change of them */
#define SERVICE "multicluster-controlplane"
#define CONFIG_SECRET "controlplane-config"
#define CA_SECRET "controlplane-ca"
#define ACCOUNT "multicluster-controlplane-sa"
#define RUN_AS_USER 10001 /* the image's own */

extern const kfx_type_t kfx_type_ocm;
extern const kfx_embedded_t kfx_ocm_manifests[]; /* made by embed.py */

static kfx_guest_t guest_of(const kfx_config_t *config)
{
    return (kfx_guest_t){.service = SERVICE,
                         .domain = ".svc",
                         .program_secret = SERVICE "-svc-kubeconfig",
                         .program_key = "kubeconfig",
                         .one_name = true,
                         .cluster_info = true,
                         .job = "update-cluster-info",
                         .image = config->ocm_image};
}

static json_t *make_authority(kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL};
    kfx_cert_request_t subject = {.common_name = SERVICE "-ca"};
    if (kfx_pki_authority(&subject, &ca, err))
        return NULL;
    char *cert = kfx_base64_encode(ca.cert, strlen(ca.cert)), *key = kfx_base64_encode(ca.key, strlen(ca.key));
    json_t *data = json_pack("{s:s, s:s}", "ca.crt", cert, "ca.key", key);
    kfx_wipe(key, strlen(key));
    free(key);
    free(cert);
    return data;
}

static json_t *variables(const char *plane, const kfx_config_t *config, const kfx_endpoints_t *endpoints,
                         const kfx_memo_t *facts, const char *ca_id)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    json_t *vars = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "plane", plane, "namespace", ns, "service_type",
                             kfx_service_type(config->exposure), "image", config->ocm_image, "ca_id", ca_id, "host",
                             facts->route_host[0] ? facts->route_host : endpoints->host);
    json_object_set_new(vars, "run_as_user", config->openshift ? json_null() : json_integer(RUN_AS_USER));
    return vars;
}

static int front(kfx_run_t *run)
{
    bool moved;
    KFX_FRONT kfx_front_t front = {.told_by = SERVICE, .backend = SERVICE, .address = true, .port = true};
    KFX_JSON json_t *vars = json_pack("{s:s}", "service_type", kfx_service_type(run->config.exposure));
    KFX_GUEST_BATCH kfx_guest_batch_t services = {.count = 0};
    if (kfx_guest_add(run, &services, kfx_ocm_manifests, "service", vars))
        return -1;
    front.services[front.count++] = services.list[0];
    services.count = 0;
    return kfx_front_ensure(run, &front, &moved);
}

static int sync_plane(kfx_run_t *run)
{
    static const char *const names[] = {"serviceaccount", "role", "rolebinding", "claim"};
    kfx_endpoints_t endpoints;
    char id[KFX_HASH_SIZE] = "";
    KFX_GUEST_BATCH kfx_guest_batch_t children = {.count = 0}, workload = {.count = 0};
    const kfx_guest_t guest = guest_of(&run->config);
    if (kfx_takeover_check(run) || front(run) || kfx_guest_once(run, CA_SECRET, make_authority, id))
        return -1;
    kfx_endpoints(run->owner.plane, SERVICE, &run->config, &run->memo, &endpoints);
    KFX_JSON json_t *vars = variables(run->owner.plane, &run->config, &endpoints, &run->memo, id);
    if (kfx_guest_add_config(run, &children, kfx_ocm_manifests, CONFIG_SECRET, "ocmconfig.yaml", vars))
        return -1;
    json_object_set_new(vars, "config_hash", json_string(children.list[0].hash));
    for (size_t i = 0; i < KFX_COUNT(names); i++)
        if (kfx_guest_add(run, &children, kfx_ocm_manifests, names[i], vars))
            return -1;
    if (kfx_guest_children(run, &children, ACCOUNT, vars) ||
        kfx_guest_add(run, &workload, kfx_ocm_manifests, "deployment", vars))
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
    static const char *const names[] = {"serviceaccount", "role", "rolebinding", "service", "claim", "deployment"};
    const kfx_memo_t facts = {.generation = 0};
    kfx_endpoints_t endpoints;
    kfx_endpoints(plane, SERVICE, config, &facts, &endpoints);
    KFX_JSON json_t *vars = variables(plane, config, &endpoints, &facts, "rendered");
    json_object_set_new(vars, "config_hash", json_string("rendered"));
    json_object_set_new(vars, "account_uid", json_string("rendered"));
    return kfx_guest_render(kfx_ocm_manifests, names, KFX_COUNT(names), vars, plane, SERVICE, config, err);
}

const kfx_type_t kfx_type_ocm = {
    .name = "ocm",
    .revision = REVISION,
    .workload = SERVICE,
    .secret_name = SERVICE "-kubeconfig",
    .secret_key = "kubeconfig",
    .secret_in_cluster_key = "kubeconfig-incluster",
    .pod_security = "baseline",
    .sync = sync_plane,
    .alive = alive,
    .render = render_plane,
};
