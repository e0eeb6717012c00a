/* reconcilers/k8s/k8s.c: the steps of the type k8s, in the order of docs/architecture.md, "Life of one plane". */
#include "reconcilers/k8s/k8s.h"

#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/front.h"
#include "reconcilers/k8s/identity.h"
#include "reconcilers/k8s/workload.h"
#include "reconcilers/run.h"

#include <stdio.h>
#include <string.h>

#define REVISION 6 /* of the manifests: raise it with every change of them */
#define WORKLOAD "kube-apiserver"
#define WORKLOADS 2

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

static int render(kfx_run_t *run, const char *name, const kfx_k8s_values_t *values, kfx_desired_t *desired)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *object = kfx_k8s_manifest(name, values, &err);
    if (!object || kfx_desired_init(desired, object, &run->owner, NULL, &err))
        return kfx_run_error(run, &err, "manifest %s", name);
    return 0;
}

/* The Service, and what leads to it. *moved: it is a new one, so its address may be too. */
static int front(kfx_run_t *run, const kfx_k8s_values_t *values, bool *moved)
{
    const kfx_child_t *certs = kfx_digest_child(run->digest, "Secret", KFX_SECRET_CERTS);
    KFX_FRONT kfx_front_t front = {
        .told_by = run->owner.plane, .backend = run->owner.plane, .address = !certs || run->rec->ops.outside};
    if (render(run, "service", values, &front.services[front.count++]))
        return -1;
    return kfx_front_ensure(run, &front, moved);
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

static int workload(kfx_run_t *run, kfx_k8s_values_t *values)
{
    const kfx_child_t *dsn = kfx_digest_child(run->digest, "Secret", KFX_SECRET_DSN);
    const kfx_child_t *etcd = kfx_digest_child(run->digest, "Secret", KFX_SECRET_ETCD);
    values->etcd = etcd && !dsn;
    if (values->etcd)
        dsn = etcd;
    kfx_desired_t list[WORKLOADS] = {{.object = NULL}, {.object = NULL}};
    if (!dsn || !dsn->owned || dsn->terminating)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "WaitingForStorage",
                               "the storage agent has not written Secret " KFX_SECRET_DSN " or " KFX_SECRET_ETCD
                               " yet");
    if (version_recorded(run, values->choice))
        return -1;
    values->dsn_hash = dsn->hash[0] ? dsn->hash : dsn->uid;
    int rc = render(run, "kube-apiserver", values, &list[0]) ||
                     render(run, "kube-controller-manager", values, &list[1]) ||
                     kfx_await_place(run, list, KFX_COUNT(list))
                 ? -1
                 : kfx_apply(run, list, KFX_COUNT(list), NULL);
    kfx_desired_clear(&list[0]);
    kfx_desired_clear(&list[1]);
    return rc;
}

static int sync_plane(kfx_run_t *run)
{
    kfx_k8s_choice_t choice;
    kfx_endpoints_t endpoints;
    char ca_id[KFX_CA_ID_SIZE] = "";
    bool moved = false;
    if (kfx_takeover_check(run) || choose_version(run, &choice))
        return -1;
    kfx_k8s_values_t values = {
        .plane = run->owner.plane, .config = &run->config, .choice = &choice, .dsn_hash = "", .ca_id = ca_id};
    if (front(run, &values, &moved))
        return -1;
    kfx_endpoints(run->owner.plane, run->owner.plane, &run->config, &run->memo, &endpoints);
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
