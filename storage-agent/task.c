/* storage-agent/task.c: see task.h. */
#include "storage-agent/task.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/dedicated.h"
#include "storage-agent/external.h"
#include "storage-agent/shared.h"

#include <string.h>

int kfx_storage_init(kfx_storage_t *self, kfx_error_t *err)
{
    self->pool.bootstrap = &self->bootstrap;
    if (kfx_pool_init(&self->pool, err) < 0)
        return -1;
    kfx_wrote_init(&self->wrote);
    kfx_specs_init(&self->specs);
    return 0;
}

void kfx_storage_close(kfx_storage_t *self)
{
    kfx_pool_close(&self->pool);
    kfx_wrote_clear(&self->wrote);
    kfx_specs_clear(&self->specs);
}

bool kfx_storage_up(kfx_storage_t *self, kfx_error_t *err)
{
    return kfx_pool_up(&self->pool, err);
}

void kfx_storage_failed(const kfx_storage_job_t *job, const kfx_error_t *err, bool down, kfx_result_t *result)
{
    result->outcome = down ? KFX_OUTCOME_DOWN : KFX_OUTCOME_RETRY;
    if (err->code == KFX_E_FENCED)
        return; /* nothing to tell: whoever goes on will */
    if (err->code == KFX_E_INVALID)
        result->outcome = KFX_OUTCOME_WAITING; /* repeating cannot help; a change of the object will */
    kfx_result_condition(result, "StorageReady", false, down ? "PostgresUnavailable" : "StorageError", "%.380s%s",
                         err->msg, job->deleting ? "; " KFX_FORCE_HINT : "");
    kfx_log_warn("storage task failed", "plane", job->plane, "uid", job->uid, "error", err->msg, "code",
                 kfx_code_name(err->code), NULL);
}

/* The plane as this process knows it, or as the API server has it now. NULL without an error: there is none of this uid
 * (any more). */
static json_t *plane_of(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_error_t *err)
{
    const kfx_secrets_t *api = &self->bootstrap.secrets;
    kfx_error_t local = KFX_ERROR_INIT;

    json_t *plane = kfx_specs_get(&self->specs, job->uid, job->generation);
    if (plane)
        return plane;
    plane = api->plane(api->ctx, job->plane, &local);
    if (!plane && local.code != KFX_E_NOT_FOUND) {
        *err = local;
        kfx_error_wrap(err, "read ControlPlane %s", job->plane);
    }
    const char *uid = plane ? kfx_json_str(plane, "metadata", "uid") : NULL;
    if (uid && strcmp(uid, job->uid) == 0) {
        kfx_specs_note(&self->specs, job->uid, plane);
        /* An object does not hold on to the error that its call could have set. */
        return plane; /* cppcheck-suppress returnDanglingLifetime */
    }
    json_decref(plane);
    return NULL;
}

/* Before there were other backends than the shared one, whatever the spec said was served by it: such a plane has its
 * data there. One that is deleted and shows nothing else may have been served like this: there is nothing to lose in
 * looking. */
static bool served_by_shared(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_spec_t *spec)
{
    if (job->digest && job->digest->postgres_server[0])
        return true;
    if (job->deleting && spec->backend == KFX_BACKEND_DEDICATED)
        return !kfx_dedicated_seen(job->digest);
    return kfx_digest_child(job->digest, "Secret", KFX_SECRET_DSN) && kfx_shared_serves(self, job);
}

void kfx_storage_run(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_result_t *result)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_storage_spec_t spec = {.backend = KFX_BACKEND_SHARED};

    KFX_JSON json_t *plane = plane_of(self, job, &err);
    if (err.code == KFX_OK && !plane && !job->deleting) {
        result->outcome = KFX_OUTCOME_WAITING; /* the watcher tells what became of it */
        return;
    }
    if (err.code != KFX_OK || (plane && kfx_storage_spec(plane, &spec, &err) < 0 && !job->deleting)) {
        kfx_storage_failed(job, &err, false, result);
        return;
    }
    if (spec.backend == KFX_BACKEND_SHARED || served_by_shared(self, job, &spec))
        kfx_shared_run(self, job, spec.server[0] ? spec.server : NULL, result);
    else if (spec.backend == KFX_BACKEND_DEDICATED)
        kfx_dedicated_run(self, job, &spec, result);
    else
        kfx_external_run(self, job, &spec, result);
    if (result->outcome == KFX_OUTCOME_GONE)
        kfx_specs_note(&self->specs, job->uid, NULL);
}
