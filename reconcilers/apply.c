/* reconcilers/apply.c: server-side apply of desired objects, and deletion of what is not desired any more. */
#include "base/clock.h"
#include "base/json.h"
#include "reconcilers/run.h"

#include <string.h>

#define APPLY_MAX 16

/* Frees a list of requests on every way out. */
typedef struct {
    kfx_request_t *reqs[APPLY_MAX];
    size_t index[APPLY_MAX]; /* into the list of desired objects */
    size_t count;
} requests_t;

static void free_requests(requests_t *list)
{
    for (size_t i = 0; i < list->count; i++)
        kfx_request_free(list->reqs[i]);
}
#define REQUESTS KFX_CLEANUP(free_requests) requests_t

/* Objects without our label are not in the digest, and an apply with force would take them over. So what the digest
 * does not show is looked up by name first, except while a Namespace that we have just made is filled. */
static int check_unseen(kfx_run_t *run, const kfx_desired_t *list, const bool *write, size_t count)
{
    REQUESTS gets = {.count = 0};
    if (kfx_now_ms() < run->memo.fresh_until)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (!write[i] || kfx_digest_child(run->digest, list[i].kind, list[i].name))
            continue;
        kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s/%s", list[i].collection, list[i].name);
        get->metadata_only = true;
        gets.index[gets.count] = i;
        gets.reqs[gets.count++] = get;
    }
    kfx_run_batch(run, gets.reqs, gets.count);
    for (size_t i = 0; i < gets.count; i++) {
        const kfx_request_t *get = gets.reqs[i];
        const kfx_desired_t *desired = &list[gets.index[i]];
        if (get->error.code == KFX_E_NOT_FOUND)
            continue;
        if (get->error.code != KFX_OK)
            return kfx_run_fail(run, get, "read %s %s", desired->kind, desired->name);
        if (!kfx_object_owned(get->answer, run->owner.uid))
            return kfx_run_conflict(run, desired->kind, desired->name);
    }
    return 0;
}

/* Which of the list must be written. -1 with a verdict where one belongs to somebody else. */
static int choose(kfx_run_t *run, const kfx_desired_t *list, size_t count, bool *write)
{
    for (size_t i = 0; i < count; i++) {
        const kfx_child_t *child = kfx_digest_child(run->digest, list[i].kind, list[i].name);
        if (child && !child->owned && !child->terminating)
            return kfx_run_conflict(run, list[i].kind, list[i].name);
        write[i] = !kfx_desired_current(&list[i], run->digest);
    }
    return check_unseen(run, list, write, count);
}

/* What is not found is the Namespace or the kind, and no kind but Route may be missing from a cluster. */
static int failed(kfx_run_t *run, const kfx_request_t *req, const kfx_desired_t *desired)
{
    if (req->error.code != KFX_E_NOT_FOUND || strcmp(desired->kind, "Route") != 0 ||
        strstr(req->error.msg, "namespaces \""))
        return kfx_run_fail(run, req, "apply %s %s", desired->kind, desired->name);
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "InvalidConfig",
                           "ConfigMap " KFX_CONFIGMAP ": key isOpenShift is true, but this cluster serves no Routes "
                           "(route.openshift.io/v1): set it to \"false\"");
}

int kfx_apply(kfx_run_t *run, kfx_desired_t *list, size_t count, kfx_applied_t *answers)
{
    bool write[APPLY_MAX] = {false};
    REQUESTS applies = {.count = 0};
    int rc = 0;
    if (count > APPLY_MAX) {
        kfx_error_t err = {KFX_E_INTERNAL, "too many objects in one batch"};
        return kfx_run_error(run, &err, "apply");
    }
    if (choose(run, list, count, write))
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!write[i])
            continue;
        kfx_request_t *req =
            kfx_request_new(KFX_APPLY, json_incref(list[i].object), "%s/%s", list[i].collection, list[i].name);
        req->field_manager = strdup(run->manager);
        applies.index[applies.count] = i;
        applies.reqs[applies.count++] = req;
    }
    kfx_run_batch(run, applies.reqs, applies.count);
    for (size_t i = 0; i < applies.count; i++) {
        kfx_request_t *req = applies.reqs[i];
        const kfx_desired_t *desired = &list[applies.index[i]];
        if (req->error.code == KFX_OK) {
            kfx_run_wrote(run, desired, req->answer);
            if (answers)
                answers[applies.index[i]] = (kfx_applied_t){json_incref(req->answer), req->status == 201};
        } else if (rc == 0) { /* the first failure is the one told; the others come back with it or vanish with it */
            rc = failed(run, req, desired);
        }
    }
    return rc;
}

int kfx_prune(kfx_run_t *run, const char *kind, const char *name)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, kind, name);
    char collection[KFX_NAME_SIZE + 96];
    if (!child || !child->owned || child->terminating ||
        kfx_collection_path(kind, run->ns, collection, sizeof(collection)))
        return 0;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_DELETE,
                                                     json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind",
                                                               "DeleteOptions", "preconditions", "uid", child->uid),
                                                     "%s/%s", collection, name);
    kfx_code_t code = kfx_run_request(run, req);
    if (code == KFX_OK || code == KFX_E_NOT_FOUND || code == KFX_E_CONFLICT) /* 409: it is another one by now */
        return 0;
    return kfx_run_fail(run, req, "delete %s %s", kind, name);
}
