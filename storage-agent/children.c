/* storage-agent/children.c: see children.h. */
#include "storage-agent/children.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

void kfx_children_init(kfx_children_t *task, kfx_storage_t *self, const kfx_storage_job_t *job, kfx_result_t *result)
{
    *task = (kfx_children_t){.self = self, .job = job, .result = result};
    kfx_plane_namespace(job->plane, task->ns);
    kfx_field_manager(job->uid, task->manager);
    task->owner = (kfx_owner_t){job->plane, job->uid, task->ns};
}

bool kfx_children_space(kfx_children_t *task)
{
    const kfx_child_t *space = kfx_digest_child(task->job->digest, "Namespace", task->ns);
    if (space && space->owned && !space->terminating)
        return true;
    task->result->outcome = KFX_OUTCOME_WAITING;
    kfx_result_condition(task->result, "StorageReady", false, "WaitingForNamespace",
                         "it goes on once Namespace %s is there", task->ns);
    return false;
}

int kfx_children_foreign(const kfx_children_t *task, const char *kind, const char *name, kfx_error_t *err)
{
    return kfx_error_set(err, KFX_E_CONFLICT,
                         "%s %s in Namespace %s exists and does not belong to this control plane; it is left alone. "
                         "Remove it",
                         kind, name, task->ns);
}

/* What has not our label is not in the digest: so what that does not show is looked up before it is written. */
static int check_owner(const kfx_children_t *task, const kfx_desired_t *desired, kfx_error_t *err)
{
    const kfx_child_t *child = kfx_digest_child(task->job->digest, desired->kind, desired->name);
    const kfx_secrets_t *api = &task->self->bootstrap.secrets;
    kfx_error_t local = KFX_ERROR_INIT;

    if (child)
        return child->owned || child->terminating ? 0 : kfx_children_foreign(task, desired->kind, desired->name, err);
    KFX_JSON json_t *there = api->look(api->ctx, desired->collection, desired->name, &local);
    if (there && !kfx_object_owned(there, task->job->uid))
        return kfx_children_foreign(task, desired->kind, desired->name, err);
    if (there || local.code == KFX_E_NOT_FOUND)
        return 0;
    *err = local;
    return kfx_error_wrap(err, "read %s %s", desired->kind, desired->name);
}

static int write_desired(kfx_children_t *task, kfx_desired_t *desired, kfx_error_t *err)
{
    const kfx_secrets_t *api = &task->self->bootstrap.secrets;

    if (check_owner(task, desired, err) < 0)
        return -1;
    if (!task->job->may(task->job->arg))
        return kfx_error_set(err, KFX_E_FENCED, "stopped before %s %s was written", desired->kind, desired->name);
    KFX_SECRET json_t *answer =
        api->write(api->ctx, desired->collection, task->manager, json_incref(desired->object), err);
    if (!answer)
        return kfx_error_wrap(err, "write %s %s", desired->kind, desired->name);
    const char *uid = kfx_json_str(answer, "metadata", "uid"),
               *rv = kfx_json_str(answer, "metadata", "resourceVersion");
    kfx_result_wrote(task->result, desired->kind, desired->name, uid ? uid : "", rv ? rv : "", desired->hash);
    return 1;
}

/* Consumes object. 1 when it was written, 0 when it stands as desired, -1 with err. hash NULL: of the object. */
int kfx_children_apply(kfx_children_t *task, json_t *object, const char *hash, kfx_error_t *err)
{
    kfx_desired_t desired;
    if (kfx_desired_init(&desired, object, &task->owner, hash, err) < 0)
        return -1;
    int rc = kfx_desired_current(&desired, task->job->digest) ? 0 : write_desired(task, &desired, err);
    kfx_desired_clear(&desired);
    return rc;
}

bool kfx_children_stands(const kfx_child_t *child)
{
    return child && child->owned && !child->drifted && !child->terminating && child->hash[0];
}
