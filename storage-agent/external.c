/* storage-agent/external.c: see external.h. */
#include "storage-agent/external.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/children.h"
#include "storage-agent/outside.h"
#include "storage-agent/secret.h"

#include <string.h>

#define FORM "1"
#define LOOK_MS (60 * 1000)  /* between two looks, ± a sixth: no event tells of what is outside */
#define AGAIN_MS (10 * 1000) /* the same while something is missing */

/* Something is missing that the user, or time, must mend: told, and looked at again. */
static void missing(kfx_children_t *task, const char *reason, const char *message)
{
    task->result->outcome = KFX_OUTCOME_WAITING;
    task->result->retry_after_ms = AGAIN_MS;
    kfx_result_condition(task->result, "StorageReady", false, reason, "%s", message);
    kfx_log_warn("external storage is not ready", "plane", task->job->plane, "uid", task->job->uid, "reason", reason,
                 "detail", message, NULL);
}

static void missing_error(kfx_children_t *task, const kfx_error_t *err)
{
    missing(task,
            err->code == KFX_E_UNAVAILABLE || err->code == KFX_E_TIMEOUT ? "ExternalUnavailable" : "ExternalRefused",
            err->msg);
}

/* The user's Secret; NULL with a condition where it cannot be used. */
static json_t *secret_of(kfx_children_t *task, const kfx_storage_spec_t *spec)
{
    const kfx_secrets_t *api = &task->self->bootstrap.secrets;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_SECRET json_t *secret = api->get(api->ctx, spec->secret_ns, spec->secret_name, &err);
    KFX_FREE char *message = NULL;

    if (!secret && err.code == KFX_E_NOT_FOUND)
        message = kfx_xasprintf("Secret %s/%s is not there: create it, with label " KFX_LABEL_EXTERNAL "=%s and key "
                                "endpoint (Postgres) or endpoints (etcd)",
                                spec->secret_ns, spec->secret_name, task->job->plane);
    else if (!secret && err.code == KFX_E_FORBIDDEN)
        message = kfx_xasprintf("Secret %s/%s may not be read: put it into namespace kubeflex-storage, or let "
                                "ServiceAccount kubeflex-system/kubeflex-storage-agent get it, by a Role",
                                spec->secret_ns, spec->secret_name);
    const char *meant = kfx_json_str(secret, "metadata", "labels", KFX_LABEL_EXTERNAL);
    if (secret && (!meant || strcmp(meant, task->job->plane) != 0))
        message = kfx_xasprintf("Secret %s/%s is not meant for this control plane: its label " KFX_LABEL_EXTERNAL
                                " must say %s",
                                spec->secret_ns, spec->secret_name, task->job->plane);
    if (message) {
        missing(task, "WaitingForSecret", message);
        return NULL;
    }
    if (!secret)
        kfx_storage_failed(task->job, &err, false, task->result);
    return KFX_STEAL(secret);
}

/* What changes with the user's Secret, but says nothing of what is in it: this hash is in annotations and on the bus.
 */
static void hash_of(const json_t *secret, char hash[KFX_HASH_SIZE])
{
    KFX_JSON json_t *told = json_pack("[s, s*, s*]", FORM, kfx_json_str(secret, "metadata", "uid"),
                                      kfx_json_str(secret, "metadata", "resourceVersion"));
    kfx_hash16(told, hash);
}

/* The Secret that the API server's pod reads. */
static json_t *child_of(const kfx_children_t *task, const kfx_outside_t *outside)
{
    json_t *secret = kfx_secret_new(task->ns, outside->etcd ? KFX_SECRET_ETCD : KFX_SECRET_DSN, "Opaque");
    kfx_secret_set(secret, "ca.crt", outside->ca);
    if (outside->etcd) {
        kfx_secret_set(secret, "endpoints", outside->endpoints);
        kfx_secret_set(secret, "client.crt", outside->cert);
        kfx_secret_set(secret, "client.key", outside->key);
    } else {
        kfx_secret_set(secret, "endpoint", outside->endpoint);
    }
    return secret;
}

static void live(kfx_children_t *task, const json_t *secret)
{
    KFX_CLEANUP(kfx_outside_clear) kfx_outside_t outside;
    kfx_error_t err = KFX_ERROR_INIT;
    char hash[KFX_HASH_SIZE];

    if (kfx_outside_read(&outside, secret, &err) < 0) {
        missing_error(task, &err);
        return;
    }
    if (!task->job->may(task->job->arg)) {
        kfx_error_set(&err, KFX_E_FENCED, "stopped");
        kfx_storage_failed(task->job, &err, false, task->result);
        return;
    }
    if (kfx_outside_claim(&outside, task->job->plane, task->job->uid, &err) < 0) {
        missing_error(task, &err);
        return;
    }
    hash_of(secret, hash);
    if (kfx_children_apply(task, child_of(task, &outside), hash, &err) < 0) {
        kfx_storage_failed(task->job, &err, false, task->result);
        return;
    }
    task->result->outcome = KFX_OUTCOME_OK;
    task->result->retry_after_ms = (uint32_t)kfx_random_between(LOOK_MS - LOOK_MS / 6, LOOK_MS + LOOK_MS / 6);
    kfx_result_condition(task->result, "StorageReady", true, "ExternalReady", "%s", outside.where);
}

static void gone(kfx_children_t *task, const char *message)
{
    task->result->outcome = KFX_OUTCOME_GONE;
    kfx_result_condition(task->result, "StorageReady", false, "Deleting", "%s", message);
}

static void leave(kfx_children_t *task, const kfx_storage_spec_t *spec)
{
    KFX_CLEANUP(kfx_outside_clear) kfx_outside_t outside = {.etcd = false};
    kfx_error_t err = KFX_ERROR_INIT;

    if (!spec->drop) {
        gone(task, "the external database is left as it is");
        return;
    }
    const kfx_child_t *space = kfx_digest_child(task->job->digest, "Namespace", task->ns);
    if (space && space->owned) { /* its event tells */
        task->result->outcome = KFX_OUTCOME_WAITING;
        kfx_result_condition(task->result, "StorageReady", false, "Deleting",
                             "the external data is deleted once Namespace %s is gone", task->ns);
        return;
    }
    KFX_SECRET json_t *secret = secret_of(task, spec);
    if (!secret)
        return;
    if (kfx_outside_read(&outside, secret, &err) < 0 || kfx_outside_empty(&outside, task->job->uid, &err) < 0) {
        kfx_error_wrap(&err, "the external data cannot be deleted (deletionPolicy Retain leaves it)");
        missing_error(task, &err);
        return;
    }
    kfx_log_info("external data deleted", "plane", task->job->plane, "uid", task->job->uid, "where", outside.where,
                 NULL);
    gone(task, "the external data is deleted");
}

void kfx_external_run(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_spec_t *spec,
                      kfx_result_t *result)
{
    kfx_children_t task;

    kfx_children_init(&task, self, job, result);
    if (job->deleting) {
        leave(&task, spec);
        return;
    }
    if (!kfx_children_space(&task))
        return;
    KFX_SECRET json_t *secret = secret_of(&task, spec);
    if (secret)
        live(&task, secret);
}
