/* reconcilers/front.c: see front.h. */
#include "reconcilers/front.h"

#include "base/json.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "kube/apply.h"

#include <string.h>

extern const kfx_embedded_t kfx_shared_manifests[]; /* made by embed.py */

void kfx_front_clear(kfx_front_t *front)
{
    for (size_t i = 0; front && i < front->count; i++)
        kfx_desired_clear(&front->services[i]);
}

const char *kfx_service_type(kfx_exposure_t exposure)
{
    switch (exposure) {
    case KFX_EXPOSE_LOADBALANCER: return "LoadBalancer";
    case KFX_EXPOSE_NONE: return "ClusterIP";
    case KFX_EXPOSE_INGRESS:
    case KFX_EXPOSE_NODEPORT: break;
    }
    return "NodePort";
}

/* ---- Ingress and Route ------------------------------------------------------------------------------------------ */

/* The user's win, but passthrough is there unless they say otherwise. */
static json_t *ingress_annotations(const kfx_config_t *config)
{
    json_t *out = json_pack("{s:s}", "nginx.ingress.kubernetes.io/ssl-passthrough", "true");
    if (config->ingress_annotations)
        json_object_update(out, config->ingress_annotations);
    return out;
}

static json_t *manifest(const char *plane, const char *backend, const kfx_config_t *config, kfx_error_t *err)
{
    KFX_FREE char *host = kfx_xasprintf("%s.%s", plane, config->domain);
    KFX_JSON json_t *vars =
        json_pack("{s:s, s:s, s:s, s:s, s:o}", "plane", plane, "backend", backend, "host", host, "ingress_class",
                  config->ingress_class, "ingress_annotations", ingress_annotations(config));
    return kfx_manifest_render(kfx_shared_manifests, config->openshift ? "route" : "ingress", vars, err);
}

int kfx_front_render(json_t *list, const char *plane, const char *backend, const kfx_config_t *config, kfx_error_t *err)
{
    json_t *object = config->exposure == KFX_EXPOSE_INGRESS ? manifest(plane, backend, config, err) : NULL;
    if (!object)
        return config->exposure == KFX_EXPOSE_INGRESS ? -1 : 0;
    return json_array_append_new(list, object);
}

/* ---- what others wrote ------------------------------------------------------------------------------------------ */

static void service_facts(kfx_run_t *run, const json_t *service)
{
    kfx_memo_t *memo = &run->memo;
    const char *ip = kfx_json_str(service, "spec", "clusterIP");
    const char *balancer = kfx_json_str(service, "status", "loadBalancer", "ingress", "0", "ip");
    const char *rv = kfx_json_str(service, "metadata", "resourceVersion");
    if (!balancer)
        balancer = kfx_json_str(service, "status", "loadBalancer", "ingress", "0", "hostname");
    kfx_copy(memo->cluster_ip, sizeof(memo->cluster_ip), ip && strcmp(ip, "None") != 0 ? ip : "");
    kfx_copy(memo->balancer, sizeof(memo->balancer), balancer ? balancer : "");
    kfx_copy(memo->service_rv, sizeof(memo->service_rv), rv ? rv : "");
    memo->node_port = (int)kfx_json_int(service, 0, "spec", "ports", "0", "nodePort");
}

static void route_facts(kfx_run_t *run, const json_t *route)
{
    const char *host = kfx_json_str(route, "spec", "host"), *rv = kfx_json_str(route, "metadata", "resourceVersion");
    kfx_copy(run->memo.route_host, sizeof(run->memo.route_host), host ? host : "");
    kfx_copy(run->memo.route_rv, sizeof(run->memo.route_rv), rv ? rv : "");
}

/* Reads what an unchanged object would have told, where it is needed and this process has not seen it. */
static int fetch(kfx_run_t *run, const char *kind, const char *name, void (*take)(kfx_run_t *, const json_t *))
{
    KFX_FREE char *path = kfx_object_path(kind, run->ns, name);
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s", path);
    if (kfx_run_request(run, get) != KFX_OK)
        return kfx_run_fail(run, get, "read %s %s", kind, name);
    take(run, get->answer);
    return 0;
}

static bool service_facts_needed(const kfx_run_t *run, const kfx_front_t *front)
{
    kfx_exposure_t exposure = run->config.exposure;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Service", front->told_by);
    if (front->port || exposure == KFX_EXPOSE_NODEPORT || exposure == KFX_EXPOSE_LOADBALANCER)
        /* The address comes later and the port may be changed: each time with a new resourceVersion. */
        return !child || strcmp(child->rv, run->memo.service_rv) != 0;
    return front->address && !run->memo.cluster_ip[0];
}

static bool route_facts_needed(const kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Route", run->owner.plane);
    return !run->memo.route_host[0] || !child || strcmp(child->rv, run->memo.route_rv) != 0;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

#define OBJECTS (KFX_FRONT_SERVICES + 1)

typedef struct {
    kfx_desired_t list[OBJECTS]; /* the Services are the front's; what comes after them is our own */
    kfx_applied_t answers[OBJECTS];
    size_t count, own;
} batch_t;

static void clear_batch(batch_t *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        json_decref(batch->answers[i].object);
    for (size_t i = batch->own; i < batch->count; i++)
        kfx_desired_clear(&batch->list[i]);
}

static int add_entry(kfx_run_t *run, const kfx_front_t *front, batch_t *batch)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *object = manifest(run->owner.plane, front->backend, &run->config, &err);
    if (!object || kfx_desired_init(&batch->list[batch->count], object, &run->owner, NULL, &err))
        return kfx_run_error(run, &err, "manifest of the %s", run->config.openshift ? "Route" : "Ingress");
    batch->count++;
    return 0;
}

static int learn_service(kfx_run_t *run, const kfx_front_t *front, const batch_t *batch)
{
    for (size_t i = 0; i < front->count; i++) {
        if (strcmp(batch->list[i].name, front->told_by) != 0)
            continue;
        if (batch->answers[i].object)
            service_facts(run, batch->answers[i].object);
        else if (service_facts_needed(run, front))
            return fetch(run, "Service", front->told_by, service_facts);
    }
    return 0;
}

static int learn_route(kfx_run_t *run, const json_t *written)
{
    if (written)
        route_facts(run, written);
    else if (route_facts_needed(run) && fetch(run, "Route", run->owner.plane, route_facts))
        return -1;
    if (run->memo.route_host[0])
        return 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "ReconcileError",
                           "Route %s has no host name yet: the router assigns it", run->owner.plane);
}

/* Whether users outside the cluster have an address to reach the plane by, as far as the hosting cluster says so. */
static void say_exposed(kfx_run_t *run, const kfx_front_t *front, bool route)
{
    const kfx_memo_t *memo = &run->memo;
    const char *plane = run->owner.plane;
    kfx_result_t *result = run->result;
    switch (run->config.exposure) {
    case KFX_EXPOSE_NONE:
        kfx_result_condition(result, "Exposed", false, "NotExposed",
                             "reached inside the cluster only, as `exposure: none` in ConfigMap " KFX_CONFIGMAP
                             " asks; ingress, nodeport and loadbalancer lead outside");
        return;
    case KFX_EXPOSE_NODEPORT:
        if (memo->node_port > 0)
            kfx_result_condition(result, "Exposed", true, "NodePort", "Service %s, node port %d", front->told_by,
                                 memo->node_port);
        else
            kfx_result_condition(result, "Exposed", false, "WaitingForAddress", "Service %s has no node port yet",
                                 front->told_by);
        return;
    case KFX_EXPOSE_LOADBALANCER:
        if (memo->balancer[0])
            kfx_result_condition(result, "Exposed", true, "LoadBalancer", "Service %s, address %s", front->told_by,
                                 memo->balancer);
        else
            kfx_result_condition(result, "Exposed", false, "WaitingForAddress",
                                 "Service %s has no address yet: the hosting cluster's load balancer assigns it, where "
                                 "there is one",
                                 front->told_by);
        return;
    case KFX_EXPOSE_INGRESS: break;
    }
    if (route && !memo->route_host[0])
        kfx_result_condition(result, "Exposed", false, "WaitingForAddress",
                             "Route %s has no host name yet: the router assigns it", plane);
    else if (route)
        kfx_result_condition(result, "Exposed", true, "Route", "Route %s, host %s", plane, memo->route_host);
    else
        kfx_result_condition(result, "Exposed", true, "Ingress", "Ingress %s, host %s.%s", plane, plane,
                             run->config.domain);
}

int kfx_front_ensure(kfx_run_t *run, kfx_front_t *front, bool *moved)
{
    bool entry = run->config.exposure == KFX_EXPOSE_INGRESS, route = entry && run->config.openshift;
    KFX_CLEANUP(clear_batch) batch_t batch = {.count = front->count, .own = front->count};
    memcpy(batch.list, front->services, front->count * sizeof(*front->services));
    if ((entry && add_entry(run, front, &batch)) || kfx_apply(run, batch.list, batch.count, batch.answers))
        return -1;
    *moved = batch.answers[0].created;
    if (learn_service(run, front, &batch))
        return -1;
    if (!route) {
        run->memo.route_host[0] = '\0';
    } else if (learn_route(run, batch.answers[front->count].object)) {
        say_exposed(run, front, route);
        return -1;
    }
    say_exposed(run, front, route);
    if ((!entry || route) && kfx_prune(run, "Ingress", run->owner.plane))
        return -1;
    return route ? 0 : kfx_prune(run, "Route", run->owner.plane);
}
