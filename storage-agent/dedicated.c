/* storage-agent/dedicated.c: see dedicated.h. */
#include "storage-agent/dedicated.h"

#include "base/clock.h"
#include "base/embedded.h"
#include "base/json.h"
#include "base/log.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "storage-agent/children.h"
#include "storage-agent/etcd.h"
#include "storage-agent/etcd_secret.h"

#include <stdio.h>
#include <string.h>

#define LOOK_MS (10 * 60 * 1000)           /* between two looks at an etcd that is ready, ± a sixth */
#define DEFRAGMENT_MIN ((int64_t)64 << 20) /* smaller files are left alone: a pause for nothing */

extern const kfx_embedded_t kfx_storage_manifests[]; /* made by embed.py */

/* One task. */
typedef struct {
    kfx_children_t base;
    const kfx_storage_spec_t *spec;
    char certs_hash[KFX_HASH_SIZE];
    json_t *certs; /* Secret etcd-certs, where this task had to read or make it */
} task_t;

/* The Secret as it is, into task->certs; NULL there where there is none. */
static int read_certs(task_t *task, kfx_error_t *err)
{
    const kfx_secrets_t *api = &task->base.self->bootstrap.secrets;
    kfx_error_t local = KFX_ERROR_INIT;

    kfx_secret_free(&task->certs);
    task->certs = api->get(api->ctx, task->base.ns, KFX_SECRET_ETCD_CERTS, &local);
    if (task->certs && !kfx_object_owned(task->certs, task->base.job->uid))
        return kfx_children_foreign(&task->base, "Secret", KFX_SECRET_ETCD_CERTS, err);
    if (task->certs || local.code == KFX_E_NOT_FOUND)
        return 0;
    *err = local;
    return kfx_error_wrap(err, "read Secret %s/" KFX_SECRET_ETCD_CERTS, task->base.ns);
}

/* What apply sends: the Secret's data without what the API server put around it. */
static json_t *plain_certs(const task_t *task)
{
    json_t *secret = kfx_secret_new(task->base.ns, KFX_SECRET_ETCD_CERTS, "Opaque");
    json_object_set_new(secret, "data", json_deep_copy(kfx_json_get(task->certs, "data")));
    return secret;
}

/* Certificates are made once. A Secret that lost its marks gets them back, one that lost a key is made anew, which
 * rolls the members and the API server. */
static int certs(task_t *task, kfx_error_t *err)
{
    const kfx_child_t *child = kfx_digest_child(task->base.job->digest, "Secret", KFX_SECRET_ETCD_CERTS);
    if (kfx_children_stands(child)) {
        kfx_copy(task->certs_hash, sizeof task->certs_hash, child->hash);
        return 0;
    }
    if (read_certs(task, err) < 0)
        return -1;
    if (!task->certs || !kfx_etcd_certs_read(task->certs, task->certs_hash)) {
        kfx_secret_free(&task->certs);
        task->certs = kfx_etcd_certs_new(task->base.ns, err);
        if (!task->certs || !kfx_etcd_certs_read(task->certs, task->certs_hash))
            return -1;
        kfx_log_info("certificates of etcd made", "plane", task->base.job->plane, "uid", task->base.job->uid, NULL);
    }
    return kfx_children_apply(&task->base, plain_certs(task), task->certs_hash, err) < 0 ? -1 : 0;
}

static json_t *render(task_t *task, const char *name, kfx_error_t *err)
{
    int64_t quota = kfx_etcd_quota(task->spec->size, err);
    if (!quota)
        return NULL;
    const char *class = task->spec->storage_class;
    int user = task->base.self->etcd_user;
    KFX_FREE char *peers = kfx_etcd_peers(task->base.ns, task->spec->members);
    KFX_JSON json_t *vars =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:o, s:o}", "plane", task->base.job->plane, "uid",
                  task->base.job->uid, "ns", task->base.ns, "image", task->base.self->etcd_image, "initial_cluster",
                  peers, "certs_hash", task->certs_hash, "size", task->spec->size, "members", task->spec->members,
                  "quota", (json_int_t)quota, "storage_class", class[0] ? json_string(class) : json_null(),
                  "run_as_user", user < 0 ? json_null() : json_integer(user));
    return kfx_manifest_render(kfx_storage_manifests, name, vars, err);
}

/* Service and StatefulSet. *ready: the digest shows the members ready, as they are desired now. */
static int workload(task_t *task, bool *ready, kfx_error_t *err)
{
    const kfx_child_t *child = kfx_digest_child(task->base.job->digest, "StatefulSet", KFX_ETCD);
    json_t *service = render(task, "etcd-service", err);
    if (!service || kfx_children_apply(&task->base, service, NULL, err) < 0)
        return -1;
    json_t *set = render(task, "etcd", err);
    int wrote = set ? kfx_children_apply(&task->base, set, NULL, err) : -1;
    *ready = wrote == 0 && child && child->ready;
    return wrote < 0 ? -1 : 0;
}

/* The Secret for the API server: made when the members are there, and from then on kept as it should be. */
static int client(task_t *task, bool ready, kfx_error_t *err)
{
    const kfx_child_t *child = kfx_digest_child(task->base.job->digest, "Secret", KFX_SECRET_ETCD);
    KFX_FREE char *endpoints = kfx_etcd_endpoints(task->base.ns, task->spec->members);
    char hash[KFX_HASH_SIZE];

    kfx_etcd_client_hash(task->certs_hash, endpoints, hash);
    if ((kfx_children_stands(child) && strcmp(child->hash, hash) == 0) || (!child && !ready))
        return 0;
    if (!task->certs && read_certs(task, err) < 0)
        return -1;
    if (!task->certs)
        return kfx_error_set(err, KFX_E_CONFLICT, "Secret " KFX_SECRET_ETCD_CERTS " is gone");
    return kfx_children_apply(&task->base, kfx_etcd_client_new(task->base.ns, task->certs, endpoints), hash, err) < 0
               ? -1
               : 0;
}

static bool defragment(const task_t *task, const kfx_etcd_t *etcd, const char *endpoint, kfx_etcd_status_t *status)
{
    kfx_error_t err = KFX_ERROR_INIT;
    if (status->size < DEFRAGMENT_MIN || status->in_use > status->size / 2 || !task->base.job->may(task->base.job->arg))
        return false;
    int64_t before = status->size;
    if (kfx_etcd_defragment(etcd, endpoint, &err) < 0 || kfx_etcd_status(etcd, endpoint, status, &err) < 0) {
        kfx_log_warn("etcd was not defragmented", "plane", task->base.job->plane, "uid", task->base.job->uid, "error",
                     err.msg, NULL);
        return false;
    }
    kfx_log_info("etcd defragmented", "plane", task->base.job->plane, "uid", task->base.job->uid, "before",
                 kfx_log_num((size_t)before), "after", kfx_log_num((size_t)status->size), NULL);
    return true;
}

/* True where one of the members has no space left, after what could be done about it. */
static bool look_after(const task_t *task, const kfx_etcd_t *etcd)
{
    char endpoint[300];
    bool full = false, freed = false;

    for (size_t i = 0; kfx_etcd_endpoint(etcd->endpoints, i, endpoint, sizeof endpoint); i++) {
        kfx_etcd_status_t status;
        kfx_error_t err = KFX_ERROR_INIT;
        if (kfx_etcd_status(etcd, endpoint, &status, &err) < 0) {
            kfx_log_warn("etcd was not looked at", "plane", task->base.job->plane, "uid", task->base.job->uid, "error",
                         err.msg, NULL);
            continue;
        }
        full = full || status.no_space;
        freed = defragment(task, etcd, endpoint, &status) || freed;
    }
    return full && !(freed && kfx_etcd_disarm(etcd, NULL) == 0);
}

/* Ready: looks at it, and asks to be run again later. */
static void tend(task_t *task)
{
    KFX_FREE char *endpoints = kfx_etcd_endpoints(task->base.ns, task->spec->members);
    kfx_error_t err = KFX_ERROR_INIT;
    bool full = false;

    task->base.result->outcome = KFX_OUTCOME_OK;
    task->base.result->retry_after_ms = (uint32_t)kfx_random_between(LOOK_MS - LOOK_MS / 6, LOOK_MS + LOOK_MS / 6);
    if (task->certs || (read_certs(task, &err) == 0 && task->certs)) {
        KFX_FREE char *ca = kfx_secret_value(task->certs, "ca.crt", &err);
        KFX_FREE char *cert = kfx_secret_value(task->certs, "client.crt", &err);
        char *key = kfx_secret_value(task->certs, "client.key", &err);
        kfx_etcd_t etcd = {.endpoints = endpoints,
                           .connect_to = task->base.self->etcd_connect_to,
                           .ca_pem = ca,
                           .cert_pem = cert,
                           .key_pem = key};
        full = ca && cert && key && look_after(task, &etcd);
        kfx_wipe(key, key ? strlen(key) : 0);
        free(key);
    }
    if (full)
        kfx_result_condition(task->base.result, "StorageReady", false, "EtcdFull",
                             "etcd has reached its quota and takes no writes: delete objects of the control plane; its "
                             "space is given back within ten minutes of the next compaction");
    else
        kfx_result_condition(task->base.result, "StorageReady", true, "EtcdReady", "etcd of %d member%s",
                             task->spec->members, task->spec->members > 1 ? "s" : "");
}

static int converge(task_t *task, bool *ready, kfx_error_t *err)
{
    if (certs(task, err) < 0 || workload(task, ready, err) < 0 || client(task, *ready, err) < 0)
        return -1;
    return 0;
}

bool kfx_dedicated_seen(const kfx_digest_t *digest)
{
    return kfx_digest_child(digest, "Secret", KFX_SECRET_ETCD_CERTS) ||
           kfx_digest_child(digest, "Secret", KFX_SECRET_ETCD) || kfx_digest_child(digest, "StatefulSet", KFX_ETCD);
}

void kfx_dedicated_run(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_spec_t *spec,
                       kfx_result_t *result)
{
    task_t task = {.spec = spec};
    kfx_error_t err = KFX_ERROR_INIT;
    bool ready = false;

    if (job->deleting) { /* all of it is in the Namespace */
        result->outcome = KFX_OUTCOME_GONE;
        kfx_result_condition(result, "StorageReady", false, "Deleting", "etcd goes with the control plane's namespace");
        return;
    }
    kfx_children_init(&task.base, self, job, result);
    if (!kfx_children_space(&task.base))
        return;
    if (converge(&task, &ready, &err) < 0) {
        kfx_storage_failed(job, &err, false, result);
    } else if (ready) {
        tend(&task);
    } else {
        result->outcome = KFX_OUTCOME_WAITING; /* the StatefulSet's own event tells */
        kfx_result_condition(result, "StorageReady", false, "EtcdNotReady",
                             "not all %d members of etcd are ready: kubectl get pods,pvc,events -n %s", spec->members,
                             task.base.ns);
    }
    kfx_secret_free(&task.certs);
}
