/* reconcilers/namespace.c: the plane's Namespace: made with POST, never adopted, deleted by uid. */
#include "reconcilers/namespace.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/apply.h"
#include "reconcilers/run.h"

#include <string.h>

#define TRIES 3
#define FRESH_MS 60000
#define LABEL_POD_SECURITY "pod-security.kubernetes.io/enforce"

kfx_ns_state_t kfx_namespace_judge(const json_t *existing, const kfx_owner_t *owner)
{
    const char *label = kfx_json_str(existing, "metadata", "labels", KFX_LABEL_PLANE);
    if (kfx_object_terminating(existing))
        return KFX_NS_TERMINATING;
    if (!kfx_object_owned(existing, owner->uid))
        return kfx_object_of_plane(existing, owner->plane) ? KFX_NS_TERMINATING : KFX_NS_CONFLICT;
    bool marked = label && strcmp(label, owner->plane) == 0 && kfx_object_hash(existing)[0];
    return marked ? KFX_NS_OURS : KFX_NS_UNMARKED;
}

bool kfx_workload_foreign(const json_t *workload, const kfx_owner_t *owner)
{
    char manager[KFX_NAME_SIZE];
    kfx_field_manager(owner->uid, manager);
    return kfx_object_hash(workload)[0] == '\0' && !kfx_object_managed_by(workload, manager);
}

/* What keeps it, in the words of Kubernetes' namespace controller; NULL: nothing that it knows of. */
static const char *held_by(const json_t *existing)
{
    static const char *const types[] = {
        "NamespaceFinalizersRemaining", /* whose finalizers; before the kinds that have them, which come with it */
        "NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure", "NamespaceContentRemaining"};
    size_t at;
    json_t *c;
    for (size_t i = 0; i < KFX_COUNT(types); i++)
        json_array_foreach (kfx_json_get(existing, "status", "conditions"), at, c) {
            const char *type = kfx_json_str(c, "type"), *status = kfx_json_str(c, "status");
            if (type && status && strcmp(type, types[i]) == 0 && strcmp(status, "True") == 0)
                return kfx_json_str(c, "message");
        }
    return NULL;
}

static int terminating(kfx_run_t *run, const json_t *existing)
{
    const char *why = held_by(existing);
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "NamespaceTerminating",
                           "Namespace %s is still being deleted; the plane is made once it is gone%s%.300s%s", run->ns,
                           why ? ". It is held: " : "", why ? why : "",
                           why ? ". Remove that, or have its owner do it" : "");
}

/* The digest says that this plane's own is being deleted; it may be gone meanwhile, then its event is on the way. */
static int own_terminating(kfx_run_t *run)
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s", run->ns);
    kfx_code_t code = kfx_run_request(run, get);
    if (code != KFX_OK && code != KFX_E_NOT_FOUND)
        return kfx_run_fail(run, get, "read Namespace %s", run->ns);
    return terminating(run, code == KFX_OK ? get->answer : NULL);
}

static int make_desired(kfx_run_t *run, kfx_desired_t *desired)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *object = json_pack("{s:s, s:s, s:{s:s, s:{s:s*}}}", "apiVersion", "v1", "kind", "Namespace", "metadata",
                               "name", run->ns, "labels", LABEL_POD_SECURITY, run->rec->type->pod_security);
    if (kfx_desired_init(desired, object, &run->owner, NULL, &err))
        return kfx_run_error(run, &err, "Namespace %s", run->ns);
    return 0;
}

/* Ours by ownerReference, but without our label or hash: the type's chief object tells who made it. */
static int unmarked(kfx_run_t *run, const json_t *existing, kfx_desired_t *desired)
{
    const kfx_type_t *type = run->rec->type;
    const char *kind = type->workload ? kfx_type_workload_kind(type) : "Secret",
               *name = type->workload ? type->workload : type->secret_name;
    KFX_FREE char *path = kfx_object_path(kind, run->ns, name);
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s", path);
    get->metadata_only = true;
    kfx_code_t code = kfx_run_request(run, get);
    if (code != KFX_OK && code != KFX_E_NOT_FOUND)
        return kfx_run_fail(run, get, "read %s %s", kind, name);
    if (code == KFX_OK && kfx_workload_foreign(get->answer, &run->owner))
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "TakeoverPending",
                               "the objects in Namespace %s were made by another KubeFlex; they are left as they are",
                               run->ns);
    json_t *marks =
        json_pack("{s:{s:O, s:O, s:{s:s}, s:{s:s}}}", "metadata", "uid", kfx_json_get(existing, "metadata", "uid"),
                  "resourceVersion", kfx_json_get(existing, "metadata", "resourceVersion"), "labels", KFX_LABEL_PLANE,
                  run->owner.plane, "annotations", KFX_ANNOTATION_HASH, desired->hash);
    KFX_REQUEST kfx_request_t *patch = kfx_request_new(KFX_MERGE_PATCH, marks, "%s/%s", desired->collection, run->ns);
    patch->field_manager = strdup(run->manager);
    if (kfx_run_request(run, patch) != KFX_OK)
        return kfx_run_fail(run, patch, "label Namespace %s", run->ns);
    kfx_run_wrote(run, desired, patch->answer);
    return 0;
}

/* 1: it is this plane's now, 0: it is gone again, -1: a verdict says why not. */
static int judge_existing(kfx_run_t *run, kfx_desired_t *desired)
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s/%s", desired->collection, run->ns);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Namespace %s", run->ns);
    switch (kfx_namespace_judge(get->answer, &run->owner)) {
    case KFX_NS_OURS:
        kfx_run_wrote(run, desired, get->answer); /* as it should be: whatever looked like drift was none */
        return 1;
    case KFX_NS_UNMARKED: return unmarked(run, get->answer, desired) ? -1 : 1;
    case KFX_NS_TERMINATING: return terminating(run, get->answer);
    case KFX_NS_CONFLICT: break;
    }
    return kfx_verdict_set(
        &run->sync, KFX_OUTCOME_WAITING, 0, "NameConflict",
        "Namespace %s exists and does not belong to this control plane; it is left alone. Delete the "
        "control plane and choose another name",
        run->ns);
}

static int create(kfx_run_t *run, kfx_desired_t *desired)
{
    KFX_REQUEST kfx_request_t *post =
        kfx_request_new(KFX_POST, json_incref(desired->object), "%s", desired->collection);
    post->field_manager = strdup(run->manager);
    kfx_code_t code = kfx_run_request(run, post);
    if (code == KFX_E_EXISTS)
        return 0;
    if (code != KFX_OK)
        return kfx_run_fail(run, post, "create Namespace %s", run->ns);
    run->memo.fresh_until = kfx_now_ms() + FRESH_MS;
    kfx_run_wrote(run, desired, post->answer);
    return 1;
}

/* Every change of a Namespace of this name is an event, whoever's it is: nothing here waits for time to pass. */
int kfx_namespace_ensure(kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Namespace", run->ns);
    if (child && child->owned && child->terminating)
        return own_terminating(run);
    if (child && child->owned && !child->drifted && child->hash[0])
        return 0;
    KFX_CLEANUP(kfx_desired_clear) kfx_desired_t desired = {.object = NULL};
    if (make_desired(run, &desired))
        return -1;
    bool there = child != NULL;
    for (int i = 0; i < TRIES; i++, there = !there) {
        int rc = there ? judge_existing(run, &desired) : create(run, &desired);
        if (rc)
            return rc < 0 ? -1 : 0;
    }
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "", "Namespace %s keeps changing", run->ns);
}

/* The Namespace's own uid where it is this plane's and there to stay; "" where there is nothing for us to delete. */
static int find_uid(kfx_run_t *run, char uid[KFX_UID_SIZE])
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s", run->ns);
    kfx_code_t code = kfx_run_request(run, get);
    uid[0] = '\0';
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Namespace %s", run->ns);
    const char *found = kfx_json_str(get->answer, "metadata", "uid");
    if (found && kfx_object_owned(get->answer, run->owner.uid) && !kfx_object_terminating(get->answer))
        kfx_copy(uid, KFX_UID_SIZE, found);
    return 0;
}

static int delete_namespace(kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Namespace", run->ns);
    char uid[KFX_UID_SIZE] = "";
    if (child && child->owned && child->terminating)
        return 0;
    if (child && child->owned)
        kfx_copy(uid, sizeof(uid), child->uid);
    else if (find_uid(run, uid))
        return -1;
    for (int i = 0; uid[0] && i < TRIES; i++) {
        KFX_REQUEST kfx_request_t *req = kfx_request_new(
            KFX_DELETE,
            json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "preconditions", "uid", uid),
            "/api/v1/namespaces/%s", run->ns);
        kfx_code_t code = kfx_run_request(run, req);
        if (code == KFX_OK || code == KFX_E_NOT_FOUND)
            return 0;
        /* 409: the digest was old, or it is going away already; 403 with "terminating" does not happen to DELETE. */
        if (code != KFX_E_CONFLICT)
            return kfx_run_fail(run, req, "delete Namespace %s", run->ns);
        if (find_uid(run, uid))
            return -1;
    }
    if (!uid[0])
        return 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "", "Namespace %s keeps changing", run->ns);
}

void kfx_namespace_teardown(kfx_run_t *run)
{
    if (delete_namespace(run) == 0)
        run->sync.outcome = KFX_OUTCOME_GONE;
}

int kfx_takeover_check(kfx_run_t *run)
{
    const kfx_type_t *type = run->rec->type;
    const char *kind = kfx_type_workload_kind(type);
    const kfx_child_t *child = kfx_digest_child(run->digest, kind, type->workload);
    if (!child || !child->owned || child->hash[0])
        return 0;
    KFX_FREE char *path = kfx_object_path(kind, run->ns, type->workload);
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s", path);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read %s %s", kind, type->workload);
    if (!kfx_workload_foreign(get->answer, &run->owner))
        return 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "TakeoverPending",
                           "%s %s in Namespace %s was made by another KubeFlex; the plane's objects are left as they "
                           "are",
                           kind, type->workload, run->ns);
}
