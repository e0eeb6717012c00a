/* reconcilers/claim.c: cluster-scoped objects of a plane. Their names are not protected by a Namespace that is the
 * plane's, so each is made with POST, and one that is there already counts only with this uid's ownerReference. */
#include "base/json.h"
#include "base/mem.h"
#include "kube/apply.h"
#include "reconcilers/run.h"

#include <string.h>

/* 403 to an impersonated user is about that user's rights, not about the reconciler's. */
static int fail_as(kfx_run_t *run, const kfx_request_t *req, const char *verb, const char *kind, const char *name)
{
    if (req->impersonate && req->error.code == KFX_E_FORBIDDEN)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "ReconcileError",
                               "%s %s %s: not allowed to %s, as whom it is done: %.280s", verb, kind, name,
                               req->impersonate, req->error.msg);
    return kfx_run_fail(run, req, "%s %s %s", verb, kind, name);
}

static kfx_request_t *as_user(kfx_request_t *req, const char *as)
{
    req->impersonate = kfx_xstrdup(as);
    return req;
}

static kfx_request_t *new_delete(const char *collection, const char *name, const char *uid, const char *as)
{
    return as_user(kfx_request_new(KFX_DELETE,
                                   json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions",
                                             "preconditions", "uid", uid),
                                   "%s/%s", collection, name),
                   as);
}

static kfx_request_t *new_write(const kfx_run_t *run, kfx_verb_t verb, const kfx_desired_t *desired, const char *as)
{
    bool post = verb == KFX_POST;
    kfx_request_t *req = kfx_request_new(verb, json_incref(desired->object), "%s%s%s", desired->collection,
                                         post ? "" : "/", post ? "" : desired->name);
    req->field_manager = kfx_xstrdup(run->manager);
    return as_user(req, as);
}

/* 1: there is one of that name already. */
static int create(kfx_run_t *run, const kfx_desired_t *desired, const char *as)
{
    KFX_REQUEST kfx_request_t *post = new_write(run, KFX_POST, desired, as);
    kfx_code_t code = kfx_run_request(run, post);
    if (code == KFX_E_EXISTS)
        return 1;
    if (code != KFX_OK)
        return fail_as(run, post, "create", desired->kind, desired->name);
    kfx_run_wrote(run, desired, post->answer);
    return 0;
}

/* 1: what differs cannot be changed in place (the role of a binding). */
static int repair(kfx_run_t *run, const kfx_desired_t *desired, const char *as)
{
    KFX_REQUEST kfx_request_t *apply = new_write(run, KFX_APPLY, desired, as);
    kfx_code_t code = kfx_run_request(run, apply);
    if (code == KFX_E_INVALID)
        return 1;
    if (code != KFX_OK)
        return fail_as(run, apply, "apply", desired->kind, desired->name);
    kfx_run_wrote(run, desired, apply->answer);
    return 0;
}

static int vanished(kfx_run_t *run, const char *kind, const char *name)
{
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "", "%s %s keeps changing", kind, name);
}

static int existing(kfx_run_t *run, const kfx_desired_t *desired, const char *as)
{
    KFX_REQUEST kfx_request_t *get =
        as_user(kfx_request_new(KFX_GET, NULL, "%s/%s", desired->collection, desired->name), as);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return vanished(run, desired->kind, desired->name);
    if (code != KFX_OK)
        return fail_as(run, get, "read", desired->kind, desired->name);
    if (!kfx_object_owned(get->answer, run->owner.uid))
        return kfx_verdict_set(
            &run->sync, KFX_OUTCOME_RETRY, 0, "NameConflict",
            "%s %s exists and does not belong to this control plane; it is left alone. Remove it, or "
            "choose another name for the control plane",
            desired->kind, desired->name);
    int rc = repair(run, desired, as);
    if (rc <= 0)
        return rc;
    const char *uid = kfx_json_str(get->answer, "metadata", "uid");
    KFX_REQUEST kfx_request_t *gone = new_delete(desired->collection, desired->name, uid ? uid : "", as);
    code = kfx_run_request(run, gone);
    if (code != KFX_OK && code != KFX_E_NOT_FOUND && code != KFX_E_CONFLICT)
        return fail_as(run, gone, "delete", desired->kind, desired->name);
    rc = create(run, desired, as);
    return rc > 0 ? vanished(run, desired->kind, desired->name) : rc;
}

int kfx_claim(kfx_run_t *run, const kfx_desired_t *desired, const char *as)
{
    if (kfx_desired_current(desired, run->digest))
        return 0;
    int rc = create(run, desired, as);
    return rc > 0 ? existing(run, desired, as) : rc;
}

int kfx_disclaim(kfx_run_t *run, const char *kind, const char *name, const char *as)
{
    KFX_FREE char *collection = kfx_object_path(kind, NULL, NULL);
    KFX_REQUEST kfx_request_t *get = as_user(kfx_request_new(KFX_GET, NULL, "%s/%s", collection, name), as);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return fail_as(run, get, "read", kind, name);
    const char *uid = kfx_json_str(get->answer, "metadata", "uid");
    if (!kfx_object_owned(get->answer, run->owner.uid) || !uid)
        return 0;
    KFX_REQUEST kfx_request_t *gone = new_delete(collection, name, uid, as);
    code = kfx_run_request(run, gone);
    if (code == KFX_OK || code == KFX_E_NOT_FOUND || code == KFX_E_CONFLICT) /* 409: it is another one by now */
        return 0;
    return fail_as(run, gone, "delete", kind, name);
}
