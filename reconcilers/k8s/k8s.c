/* reconcilers/k8s/k8s.c: the steps of the type k8s, in the order of docs/architecture.md, "Life of one plane". */
#include "reconcilers/k8s/k8s.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/k8s/identity.h"
#include "reconcilers/k8s/workload.h"
#include "reconcilers/rollouts.h"
#include "reconcilers/run.h"

#include <stdio.h>
#include <string.h>

#define REVISION 2 /* of the manifests: raise it with every change of them */
#define WORKLOAD "kube-apiserver"
#define WORKLOADS 2

/* The Deployment without our hash: made by another KubeFlex, unless our own field manager stands in it. */
static int check_takeover(kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Deployment", WORKLOAD);
    if (!child || !child->owned || child->hash[0])
        return 0;
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/apis/apps/v1/namespaces/%s/deployments/" WORKLOAD, run->ns);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Deployment " WORKLOAD);
    if (kfx_object_hash(get->answer)[0] || kfx_object_managed_by(get->answer, run->manager))
        return 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "TakeoverPending",
                           "Deployment " WORKLOAD
                           " in Namespace %s was made by another KubeFlex; the plane's objects are "
                           "left as they are",
                           run->ns);
}

static int choose_version(kfx_run_t *run, kfx_k8s_choice_t *choice)
{
    kfx_error_t err = KFX_ERROR_INIT;
    const kfx_memo_t *memo = &run->memo;
    if (kfx_k8s_choose(memo->spec_version, memo->status_version, run->config.kubernetes_version, choice, &err)) {
        bool config = !memo->spec_version[0] && !memo->status_version[0];
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, config ? "InvalidConfig" : "InvalidSpec", "%s",
                               err.msg);
    }
    kfx_copy(run->result->kubernetes_version, sizeof(run->result->kubernetes_version), choice->version);
    return 0;
}

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
static int fetch(kfx_run_t *run, const char *root, const char *plural, void (*take)(kfx_run_t *, const json_t *))
{
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "%s/namespaces/%s/%s/%s", root, run->ns, plural, run->owner.plane);
    if (kfx_run_request(run, get) != KFX_OK)
        return kfx_run_fail(run, get, "read %s %s", plural, run->owner.plane);
    take(run, get->answer);
    return 0;
}

static bool service_facts_needed(const kfx_run_t *run)
{
    kfx_exposure_t exposure = run->config.exposure;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Service", run->owner.plane);
    const kfx_child_t *certs = kfx_digest_child(run->digest, "Secret", KFX_SECRET_CERTS);
    if (exposure == KFX_EXPOSE_NODEPORT || exposure == KFX_EXPOSE_LOADBALANCER)
        /* The address comes later and the port may be changed: each time with a new resourceVersion. */
        return !child || strcmp(child->rv, run->memo.service_rv) != 0;
    return (!certs || run->rec->ops.outside) && !run->memo.cluster_ip[0];
}

static bool route_facts_needed(const kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Route", run->owner.plane);
    return !run->memo.route_host[0] || !child || strcmp(child->rv, run->memo.route_rv) != 0;
}

static int render(kfx_run_t *run, const char *name, const kfx_k8s_values_t *values, kfx_desired_t *desired)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *object = kfx_k8s_manifest(name, values, &err);
    if (!object || kfx_desired_init(desired, object, &run->owner, NULL, &err))
        return kfx_run_error(run, &err, "manifest %s", name);
    return 0;
}

typedef struct {
    kfx_desired_t list[2];
    kfx_applied_t answers[2];
    size_t count;
} front_t;

static void clear_front(front_t *front)
{
    for (size_t i = 0; i < KFX_COUNT(front->list); i++) {
        kfx_desired_clear(&front->list[i]);
        json_decref(front->answers[i].object);
    }
}

/* Service and Ingress or Route, and what they say. *moved: the Service is a new one, so its address may be too. */
static int front(kfx_run_t *run, const kfx_k8s_values_t *values, bool *moved)
{
    KFX_CLEANUP(clear_front) front_t f = {.count = 0};
    bool ingress = run->config.exposure == KFX_EXPOSE_INGRESS, route = ingress && run->config.openshift;
    if (render(run, "service", values, &f.list[f.count++]))
        return -1;
    if (ingress && render(run, route ? "route" : "ingress", values, &f.list[f.count++]))
        return -1;
    if (kfx_apply(run, f.list, f.count, f.answers))
        return -1;
    *moved = f.answers[0].created;
    if (f.answers[0].object)
        service_facts(run, f.answers[0].object);
    else if (service_facts_needed(run) && fetch(run, "/api/v1", "services", service_facts))
        return -1;
    if (!route)
        run->memo.route_host[0] = '\0';
    else if (f.answers[1].object)
        route_facts(run, f.answers[1].object);
    else if (route_facts_needed(run) && fetch(run, "/apis/route.openshift.io/v1", "routes", route_facts))
        return -1;
    if (route && !run->memo.route_host[0])
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "ReconcileError",
                               "Route %s has no host name yet: the router assigns it", run->owner.plane);
    if (!ingress || route)
        return kfx_prune(run, "Ingress", run->owner.plane) || (!route && kfx_prune(run, "Route", run->owner.plane)) ? -1
                                                                                                                    : 0;
    return kfx_prune(run, "Route", run->owner.plane);
}

/* A version that nobody asked for must be recorded in the status before anything runs with it, so that a later change
 * of the default cannot change this plane. The digest shows what is recorded, and the watcher sends an EVENT when what
 * this result says stands there. */
static int version_recorded(kfx_run_t *run, const kfx_k8s_choice_t *choice)
{
    if (choice->asked || kfx_digest_child(run->digest, "Deployment", WORKLOAD) ||
        strcmp(run->memo.status_version, choice->version) == 0)
        return 0;
    run->result->awaits_record = true;
    /* No condition: it could not be written before what is waited for. */
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "",
                           "Kubernetes %s is being recorded in the plane's status", choice->version);
}

/* Takes a place where running pods are going to be exchanged; gives it back once they are as desired and ready. */
static int await_rollout(kfx_run_t *run, const kfx_desired_t *list)
{
    const kfx_child_t *server = kfx_digest_child(run->digest, "Deployment", WORKLOAD);
    bool changes = false;
    uint32_t retry_ms = 0;
    for (size_t i = 0; i < WORKLOADS; i++) {
        const kfx_child_t *child = kfx_digest_child(run->digest, "Deployment", list[i].name);
        changes = changes || (child && child->owned && strcmp(child->hash, list[i].hash) != 0);
    }
    if (!changes) {
        if (server && server->ready)
            kfx_rollouts_leave(run->rec->rollouts, run->owner.uid);
        return 0;
    }
    if (kfx_rollouts_enter(run->rec->rollouts, run->owner.uid, kfx_now_ms(), &retry_ms))
        return 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, retry_ms, "RolloutQueued",
                           "the pods run on as they were: %d other planes are having theirs exchanged",
                           KFX_ROLLOUTS_MAX);
}

static int workload(kfx_run_t *run, kfx_k8s_values_t *values)
{
    const kfx_child_t *dsn = kfx_digest_child(run->digest, "Secret", KFX_SECRET_DSN);
    kfx_desired_t list[WORKLOADS] = {{.object = NULL}, {.object = NULL}};
    if (!dsn || !dsn->owned || dsn->terminating)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "WaitingForStorage",
                               "the storage agent has not written Secret " KFX_SECRET_DSN " yet");
    if (version_recorded(run, values->choice))
        return -1;
    values->dsn_hash = dsn->hash[0] ? dsn->hash : dsn->uid;
    int rc = render(run, "kube-apiserver", values, &list[0]) ||
                     render(run, "kube-controller-manager", values, &list[1]) || await_rollout(run, list)
                 ? -1
                 : kfx_apply(run, list, KFX_COUNT(list), NULL);
    kfx_desired_clear(&list[0]);
    kfx_desired_clear(&list[1]);
    return rc;
}

static int sync_plane(kfx_run_t *run)
{
    kfx_k8s_choice_t choice;
    kfx_k8s_endpoints_t endpoints;
    char host[sizeof(endpoints.host)], ca_id[KFX_CA_ID_SIZE] = "";
    bool moved = false;
    if (check_takeover(run) || choose_version(run, &choice))
        return -1;
    snprintf(host, sizeof(host), "%s.%s", run->owner.plane, run->config.domain);
    kfx_k8s_values_t values = {run->owner.plane, &run->config, host, &choice, "", ca_id};
    if (front(run, &values, &moved))
        return -1;
    kfx_k8s_endpoints(run->owner.plane, run->ns, &run->config, &run->memo, &endpoints);
    if (kfx_identity_ensure(run, &endpoints, moved, ca_id))
        return -1;
    return workload(run, &values);
}

const kfx_type_t kfx_type_k8s = {
    .name = "k8s",
    .revision = REVISION,
    .workload = WORKLOAD,
    .helper = "kube-controller-manager",
    .secret_name = KFX_SECRET_ADMIN,
    .secret_key = "kubeconfig",
    .secret_in_cluster_key = "kubeconfig-incluster",
    /* Its own pods pass "restricted"; what hooks and users put beside them may run as root, but not reach the node. */
    .pod_security = "baseline",
    .sync = sync_plane,
    .authority = kfx_identity_authority,
    .render = kfx_k8s_render,
};
