/* reconcilers/rollout.c: when the pods of a plane that runs are exchanged. */
#include "base/clock.h"
#include "base/mem.h"
#include "kube/apply.h"
#include "reconcilers/run.h"

#include <string.h>

#define MARK "kflex.kubestellar.org/restarted-for"
#define MANAGER "kubeflex-restart"
/* As long as Deployments are given (progressDeadlineSeconds in the manifests), which say it themselves (`stuck`). A
 * StatefulSet knows of no such limit. */
#define DEADLINE_MS 120000

/* The pods are being exchanged, and not for so long that the plane should hold up others any more. */
static bool goes_on(kfx_run_t *run, bool rolls)
{
    int64_t now = kfx_now_ms();
    if (!rolls)
        run->memo.rolls_ms = 0;
    else if (!run->memo.rolls_ms)
        run->memo.rolls_ms = now;
    bool unlimited = strcmp(kfx_type_workload_kind(run->rec->type), "StatefulSet") != 0;
    return rolls && (unlimited || now - run->memo.rolls_ms < DEADLINE_MS);
}

int kfx_await_place(kfx_run_t *run, const kfx_desired_t *list, size_t count)
{
    bool changes = false, rolls = false;
    for (size_t i = 0; i < count; i++) {
        const kfx_child_t *child = kfx_digest_child(run->digest, list[i].kind, list[i].name);
        changes = changes || (child && child->owned && strcmp(child->hash, list[i].hash) != 0);
        rolls = rolls || (child && child->owned && child->rolling && !child->stuck);
    }
    run->result->wants_place = changes && !run->digest->place;
    run->result->keeps_place = goes_on(run, rolls) || (changes && run->digest->place);
    if (!run->result->wants_place)
        return 0;
    /* The watcher says RolloutQueued itself, so that a plane whose turn comes at once does not. */
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "",
                           "running pods are exchanged in a few planes at a time");
}

/* As `kubectl rollout restart` does it: an annotation that is nobody's desired state, so no apply takes it away.
 * Whoever comes second with the same reason, or late, changes nothing. */
int kfx_restart(kfx_run_t *run, const char *reason)
{
    const kfx_type_t *type = run->rec->type;
    const char *kind = kfx_type_workload_kind(type);
    KFX_FREE char *path = kfx_object_path(kind, run->ns, type->workload);
    json_t *body = json_pack("{s:{s:{s:{s:{s:s}}}}}", "spec", "template", "metadata", "annotations", MARK, reason);
    KFX_REQUEST kfx_request_t *patch = kfx_request_new(KFX_MERGE_PATCH, body, "%s", path);
    patch->field_manager = kfx_xstrdup(MANAGER);
    if (kfx_run_request(run, patch) != KFX_OK)
        return kfx_run_fail(run, patch, "restart %s %s", kind, type->workload);
    return 0;
}
