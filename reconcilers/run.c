/* reconcilers/run.c: from a task to its result. */
#include "reconcilers/run.h"

#include "base/clock.h"
#include "base/health.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "reconcilers/config_cache.h"
#include "reconcilers/hooks/hooks.h"
#include "reconcilers/pods.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_SECONDS 31536000 /* the API's default */
#define MEMOS_MAX 1024         /* planes this process remembers facts about: about 3.5 KiB each */

void kfx_reconciler_init(kfx_reconciler_t *rec, const kfx_type_t *type, const kfx_ops_t *ops)
{
    *rec = (kfx_reconciler_t){.ops = *ops, .type = type};
    rec->memos = kfx_memos_new(MEMOS_MAX);
    rec->configs = kfx_config_cache_new();
    rec->hooks = kfx_hooks_new(MEMOS_MAX);
}

void kfx_reconciler_clear(kfx_reconciler_t *rec)
{
    kfx_memos_destroy(&rec->memos);
    kfx_config_cache_destroy(&rec->configs);
    kfx_hooks_destroy(&rec->hooks);
}

kfx_code_t kfx_run_request(kfx_run_t *run, kfx_request_t *req)
{
    kfx_error_t err = KFX_ERROR_INIT;
    if (run->rec->ops.stopped(run->task)) {
        kfx_error_set(&req->error, KFX_E_CANCELED, "the task was asked to stop");
        return KFX_E_CANCELED;
    }
    return run->rec->ops.call(run->rec->ops.ctx, req, &err) ? err.code : KFX_OK;
}

size_t kfx_run_batch(kfx_run_t *run, kfx_request_t **reqs, size_t count)
{
    if (count == 0)
        return 0;
    if (!run->rec->ops.stopped(run->task))
        return run->rec->ops.batch(run->rec->ops.ctx, reqs, count);
    for (size_t i = 0; i < count; i++)
        kfx_error_set(&reqs[i]->error, KFX_E_CANCELED, "the task was asked to stop");
    return count;
}

static int fail(kfx_run_t *run, const kfx_error_t *err, int status, const char *fmt, va_list args)
{
    char what[160];
    vsnprintf(what, sizeof(what), fmt, args);
    return kfx_verdict_error(&run->sync, err, status, what);
}

int kfx_run_fail(kfx_run_t *run, const kfx_request_t *req, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = fail(run, &req->error, req->status, fmt, args);
    va_end(args);
    return rc;
}

int kfx_run_error(kfx_run_t *run, const kfx_error_t *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = fail(run, err, 500, fmt, args);
    va_end(args);
    return rc;
}

void kfx_run_wrote(kfx_run_t *run, const kfx_desired_t *desired, const json_t *answer)
{
    const char *uid = kfx_json_str(answer, "metadata", "uid"),
               *rv = kfx_json_str(answer, "metadata", "resourceVersion");
    kfx_result_wrote(run->result, desired->kind, desired->name, uid ? uid : "", rv ? rv : "", desired->hash);
}

int kfx_run_conflict(kfx_run_t *run, const char *kind, const char *name)
{
    /* What has our label is watched. Of anything else no event tells when it goes: the task has failed then, and comes
     * back after the queue's growing pause. */
    bool watched = kfx_digest_child(run->digest, kind, name) != NULL;
    return kfx_verdict_set(&run->sync, watched ? KFX_OUTCOME_WAITING : KFX_OUTCOME_RETRY, 0, "NameConflict",
                           "%s %s in Namespace %s exists and does not belong to this control plane; it is left alone. "
                           "Remove it",
                           kind, name, run->ns);
}

/* A plane that is not (or no more) what the task is about: the watcher will say so in another event. */
static int not_ours(kfx_run_t *run)
{
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "", "the ControlPlane changed meanwhile");
}

/* What another process found out about it last. */
static void recall_ready(const json_t *plane, kfx_memo_t *memo)
{
    size_t i;
    const json_t *condition;
    json_array_foreach (kfx_json_get(plane, "status", "conditions"), i, condition) {
        const char *type = kfx_json_str(condition, "type"), *reason = kfx_json_str(condition, "reason");
        const char *status = kfx_json_str(condition, "status"), *message = kfx_json_str(condition, "message");
        if (!type || !status || !reason)
            continue;
        bool was = strcmp(status, "True") == 0 || strcmp(reason, "Unavailable") == 0;
        if (strcmp(type, "ControllerManagerReady") == 0)
            memo->helper_was_ready = was;
        if (strcmp(type, "Ready") != 0)
            continue;
        memo->was_ready = was;
        memo->trouble = kfx_trouble_known(reason) || (message && strstr(message, KFX_READY_BUT));
    }
}

static bool has_hooks(const json_t *plane)
{
    const char *single = kfx_json_str(plane, "spec", "postCreateHook");
    return (single && *single) || json_array_size(kfx_json_get(plane, "spec", "postCreateHooks")) > 0 ||
           json_object_size(kfx_json_get(plane, "status", "postCreateHooks")) > 0;
}

static void copy_json(char *out, size_t size, const char *text)
{
    kfx_copy(out, size, text ? text : "");
}

int kfx_run_read_plane(kfx_run_t *run)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, KFX_CONTROLPLANES_PATH "/%s", run->owner.plane);
    kfx_code_t code = kfx_run_request(run, req);
    if (code == KFX_E_NOT_FOUND)
        return not_ours(run);
    if (code != KFX_OK)
        return kfx_run_fail(run, req, "read ControlPlane %s", run->owner.plane);
    const char *uid = kfx_json_str(req->answer, "metadata", "uid");
    if (!uid || strcmp(uid, run->owner.uid) != 0 || kfx_object_terminating(req->answer))
        return not_ours(run);
    json_decref(run->plane);
    run->plane = json_incref(req->answer);
    if (!run->memo.generation)
        recall_ready(run->plane, &run->memo);
    run->memo.generation = kfx_json_int(run->plane, 0, "metadata", "generation");
    run->memo.token_seconds = kfx_json_int(run->plane, TOKEN_SECONDS, "spec", "tokenExpirationSeconds");
    copy_json(run->memo.spec_version, sizeof(run->memo.spec_version),
              kfx_json_str(run->plane, "spec", "kubernetesVersion"));
    copy_json(run->memo.status_version, sizeof(run->memo.status_version),
              kfx_json_str(run->plane, "status", "kubernetesVersion"));
    run->memo.waits = kfx_json_bool(run->plane, false, "spec", "waitForPostCreateHooks");
    run->memo.hooks = has_hooks(run->plane);
    return 0;
}

static int invalid_config(kfx_run_t *run, const kfx_error_t *err)
{
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidConfig", "%s", err->msg);
}

int kfx_run_load_config(kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "ConfigMap", KFX_CONFIGMAP);
    kfx_error_t err = KFX_ERROR_INIT;
    int rc;
    if (child && kfx_config_cache_get(run->rec->configs, child->rv, &run->config, &rc, &err))
        return rc ? invalid_config(run, &err) : 0;
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps/" KFX_CONFIGMAP);
    kfx_code_t code = kfx_run_request(run, req);
    if (code == KFX_E_NOT_FOUND)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidConfig",
                               "ConfigMap " KFX_CONFIGMAP " does not exist in namespace " KFX_SYSTEM_NAMESPACE
                               ": create it (KubeFlex's own manifests have one)");
    if (code != KFX_OK)
        return kfx_run_fail(run, req, "read ConfigMap " KFX_CONFIGMAP);
    if (kfx_config_cache_put(run->rec->configs, req->answer, &run->config, &err))
        return invalid_config(run, &err);
    return 0;
}

/* What sync found out, into the result. */
static void conclude(kfx_run_t *run)
{
    const kfx_type_t *type = run->rec->type;
    kfx_result_t *result = run->result;
    if (run->sync.reason[0])
        kfx_result_condition(result, "Synced", run->sync.outcome == KFX_OUTCOME_OK, run->sync.reason, "%s",
                             run->sync.message);
    result->outcome = run->sync.outcome;
    result->retry_after_ms = run->sync.retry_after_ms;
    if (run->credentials && (!type->alive || run->keys_known)) {
        kfx_copy(result->secret_name, sizeof(result->secret_name), type->secret_name);
        kfx_copy(result->secret_key, sizeof(result->secret_key), run->inside_only ? "" : type->secret_key);
        kfx_copy(result->secret_in_cluster_key, sizeof(result->secret_in_cluster_key), type->secret_in_cluster_key);
    }
}

/* A plane that runs goes on while the configuration is broken, and so does the news of it. */
static bool runs_anyway(const kfx_run_t *run)
{
    const kfx_type_t *type = run->rec->type;
    const char *name = type->workload;
    const kfx_child_t *workload = name ? kfx_digest_child(run->digest, kfx_type_workload_kind(type), name) : NULL;
    bool runs = name ? workload && workload->owned && workload->hash[0] : run->credentials;
    return strcmp(run->sync.reason, "InvalidConfig") == 0 && runs;
}

void kfx_run_cut_short(kfx_run_t *run)
{
    kfx_result_t *result = run->result;
    if (result->outcome == KFX_OUTCOME_OK || result->outcome == KFX_OUTCOME_WAITING) {
        result->outcome = KFX_OUTCOME_RETRY;
        result->retry_after_ms = 0;
    }
}

static void reconcile(kfx_run_t *run)
{
    const kfx_child_t *secret = kfx_digest_child(run->digest, "Secret", run->rec->type->secret_name);
    bool known = run->memo.generation >= run->task->env.generation || kfx_run_read_plane(run) == 0;
    run->credentials = secret && secret->owned && !secret->terminating;
    bool usable = known && kfx_run_load_config(run) == 0 && kfx_namespace_ensure(run) == 0;
    if (usable && run->rec->type->sync(run) == 0) {
        kfx_verdict_set(&run->sync, KFX_OUTCOME_OK, 0, "ReconcileSuccess", "%s", run->note);
        run->memo.fresh_until = 0; /* all is there: what is missing later may have given way to somebody else's */
    }
    /* Observed only: nothing is said about the readiness of a plane that another KubeFlex runs. */
    bool foreign = strcmp(run->sync.reason, "TakeoverPending") == 0;
    conclude(run);
    bool looks = (usable || runs_anyway(run)) && !foreign && run->sync.outcome != KFX_OUTCOME_DOWN;
    if (looks && run->rec->ops.stopped(run->task))
        kfx_run_cut_short(run);
    else if (looks)
        kfx_ready_evaluate(run);
    if (!foreign)
        kfx_hooks_run(run);
}

static void report(const kfx_run_t *run, int64_t ms)
{
    const kfx_result_t *result = run->result;
    kfx_metric_add(kfx_counter("kubeflex_objects_written_total", "Objects created, applied or patched.", NULL),
                   (int64_t)result->written_count);
    kfx_log_level_t level = result->outcome == KFX_OUTCOME_RETRY || result->outcome == KFX_OUTCOME_DOWN ? KFX_LOG_WARN
                            : result->written_count || result->outcome == KFX_OUTCOME_GONE              ? KFX_LOG_INFO
                                                                                                        : KFX_LOG_DEBUG;
    if (kfx_log_enabled(level))
        kfx_log_at(level, "task done", "plane", run->owner.plane, "uid", run->owner.uid, "outcome",
                   kfx_outcome_name(result->outcome), "reason", run->sync.reason, "detail", run->sync.message,
                   "written", kfx_log_num(result->written_count), "ms", kfx_log_num(ms), NULL);
}

static void say_deleting(kfx_result_t *result, const kfx_type_t *type)
{
    const char *const conditions[] = {"Ready", "APIServerReady", type->helper ? "ControllerManagerReady" : NULL,
                                      type->workload ? "Exposed" : NULL};
    for (size_t i = 0; i < KFX_COUNT(conditions); i++)
        if (conditions[i])
            kfx_result_condition(result, conditions[i], false, "Deleting", "the control plane is being deleted");
}

void kfx_reconciler_run(void *ctx, const kfx_task_t *task, kfx_result_t *result)
{
    kfx_reconciler_t *rec = ctx;
    int64_t start = kfx_now_ms();
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_run_t run = {.rec = rec, .task = task, .digest = task->digest, .result = result};
    kfx_plane_namespace(task->env.key, run.ns);
    kfx_field_manager(task->env.uid, run.manager);
    run.owner = (kfx_owner_t){task->env.key, task->env.uid, run.ns};
    if (task->env.deleting || task->digest->deleting) {
        kfx_memos_forget(rec->memos, task->env.uid);
        kfx_hooks_forget(rec->hooks, task->env.uid);
        if (!rec->type->teardown || rec->type->teardown(&run) == 0)
            kfx_namespace_teardown(&run);
        result->outcome = run.sync.outcome;
        result->retry_after_ms = run.sync.retry_after_ms;
        if (result->outcome == KFX_OUTCOME_GONE)
            kfx_result_condition(result, "Synced", false, "Deleting", "its Namespace is being deleted");
        else
            kfx_result_condition(result, "Synced", false, "Deleting", "%.380s; " KFX_FORCE_HINT, run.sync.message);
        say_deleting(result, rec->type);
    } else if (kfx_plane_name_check(task->env.key, &err)) {
        /* It had its finalizer before the rules on names were there, so it is served; but nothing is made for it. */
        result->outcome = KFX_OUTCOME_WAITING;
        kfx_result_condition(result, "Synced", false, "InvalidName", "%s", err.msg);
    } else {
        kfx_memos_get(rec->memos, task->env.uid, &run.memo);
        if (run.digest->kubernetes_version[0]) /* recorded since the plane was read */
            kfx_copy(run.memo.status_version, sizeof(run.memo.status_version), run.digest->kubernetes_version);
        reconcile(&run);
        kfx_memos_put(rec->memos, &run.memo);
    }
    report(&run, kfx_now_ms() - start);
    json_decref(run.plane);
    kfx_config_clear(&run.config);
}
