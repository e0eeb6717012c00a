/* reconcilers/hooks/objects.c: marks, comparison and readiness of hooks' objects. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/hooks/internal.h"

#include <stdio.h>
#include <string.h>

static bool is_mark(const char *key)
{
    static const char *const marks[] = {KFX_LABEL_PLANE, KFX_ANNOTATION_HOOK, KFX_ANNOTATION_HASH,
                                        KFX_ANNOTATION_RELEASE_NS};
    for (size_t i = 0; i < KFX_COUNT(marks); i++)
        if (strcmp(key, marks[i]) == 0)
            return true;
    return false;
}

int kfx_hook_mark(json_t *object, const kfx_owner_t *owner, const char *hook, bool namespaced, char hash[KFX_HASH_SIZE],
                  kfx_error_t *err)
{
    json_t *meta = json_object_get(object, "metadata");
    const char *ns = kfx_json_str(meta, "namespace");
    if (namespaced && ns && *ns && strcmp(ns, owner->ns) != 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "its namespace is %.100s, but hooks make objects in the control plane's "
                             "own only: leave metadata.namespace out",
                             ns);
    json_object_del(meta, "namespace");
    if (json_is_null(json_object_get(meta, "creationTimestamp"))) /* what generators leave behind */
        json_object_del(meta, "creationTimestamp");
    kfx_hash16(object, hash);
    int rc = kfx_json_put(object, json_string(owner->plane), "metadata", "labels", KFX_LABEL_PLANE) ||
             kfx_json_put(object, json_string(hash), "metadata", "annotations", KFX_ANNOTATION_HASH) ||
             kfx_json_put(object, json_string(hook), "metadata", "annotations", KFX_ANNOTATION_HOOK);
    if (namespaced) {
        json_object_set_new(meta, "namespace", json_string(owner->ns));
        json_object_set_new(meta, "ownerReferences",
                            json_pack("[{s:s, s:s, s:s, s:s}]", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane",
                                      "name", owner->plane, "uid", owner->uid));
    } else {
        rc = rc || kfx_json_put(object, json_string(KFX_MANAGED_BY), "metadata", "labels", KFX_LABEL_MANAGED_BY) ||
             kfx_json_put(object, json_string(owner->ns), "metadata", "annotations", KFX_ANNOTATION_RELEASE_NS);
    }
    return rc ? kfx_error_set(err, KFX_E_INVALID, "metadata.labels or metadata.annotations is no object") : 0;
}

const char *kfx_hook_inside_namespace(const json_t *object)
{
    const char *ns = kfx_json_str(object, "metadata", "namespace");
    return ns && *ns ? ns : "default";
}

int kfx_hook_mark_inside(json_t *object, const kfx_owner_t *owner, const char *hook, bool namespaced,
                         char hash[KFX_HASH_SIZE], kfx_error_t *err)
{
    json_t *meta = json_object_get(object, "metadata");
    if (json_is_null(json_object_get(meta, "creationTimestamp")))
        json_object_del(meta, "creationTimestamp");
    if (namespaced)
        json_object_set_new(meta, "namespace", json_string(kfx_hook_inside_namespace(object)));
    kfx_hash16(object, hash);
    if (kfx_json_put(object, json_string(owner->plane), "metadata", "labels", KFX_LABEL_PLANE) ||
        kfx_json_put(object, json_string(hash), "metadata", "annotations", KFX_ANNOTATION_HASH) ||
        kfx_json_put(object, json_string(hook), "metadata", "annotations", KFX_ANNOTATION_HOOK))
        return kfx_error_set(err, KFX_E_INVALID, "metadata.labels or metadata.annotations is no object");
    return 0;
}

static bool covers(const json_t *desired, const json_t *live, bool marks)
{
    const char *key;
    const json_t *value;
    size_t i;
    if (json_is_null(desired))
        return !live || json_is_null(live);
    if (json_is_object(desired)) {
        json_object_foreach ((json_t *)(uintptr_t)desired, key, value)
            if ((marks || !is_mark(key)) && !covers(value, json_object_get(live, key), marks))
                return false;
        return json_is_object(live) || json_object_size(desired) == 0;
    }
    if (!json_is_array(desired))
        return live && json_equal(desired, live);
    if (json_array_size(desired) != json_array_size(live))
        return false;
    json_array_foreach (desired, i, value)
        if (!covers(value, json_array_get(live, i), marks))
            return false;
    return true;
}

bool kfx_hook_covers(const json_t *desired, const json_t *live)
{
    return covers(desired, live, true);
}

bool kfx_hook_covers_shared(const json_t *desired, const json_t *live)
{
    return covers(desired, live, false);
}

/* ---- readiness -------------------------------------------------------------------------------------------------- */

static const json_t *condition(const json_t *live, const char *type)
{
    size_t i;
    const json_t *c;
    json_array_foreach (kfx_json_get(live, "status", "conditions"), i, c) {
        const char *name = kfx_json_str(c, "type");
        if (name && strcmp(name, type) == 0)
            return c;
    }
    return NULL;
}

static bool condition_is(const json_t *live, const char *type, const char *wanted)
{
    const char *status = kfx_json_str(condition(live, type), "status");
    return status && strcmp(status, wanted) == 0;
}

static void quote_condition(const json_t *live, const char *type, char why[160])
{
    const json_t *c = condition(live, type);
    const char *reason = kfx_json_str(c, "reason"), *message = kfx_json_str(c, "message");
    snprintf(why, 160, "%s is %s%s%.40s%s%.80s", type, condition_is(live, type, "True") ? "True" : "False",
             reason ? ": " : "", reason ? reason : "", message && *message ? ": " : "", message ? message : "");
}

static bool seen_by_controller(const json_t *live)
{
    return kfx_json_int(live, 0, "status", "observedGeneration") >= kfx_json_int(live, 0, "metadata", "generation");
}

static kfx_object_state_t replicas_state(const json_t *live, char why[160])
{
    int64_t want = kfx_json_int(live, 1, "spec", "replicas"), have = kfx_json_int(live, 0, "status", "readyReplicas");
    snprintf(why, 160, "%lld of %lld replicas are ready", (long long)have, (long long)want);
    return have == want && seen_by_controller(live) ? KFX_OBJECT_READY : KFX_OBJECT_WAITS;
}

static kfx_object_state_t daemons_state(const json_t *live, char why[160])
{
    int64_t want = kfx_json_int(live, 0, "status", "desiredNumberScheduled");
    int64_t have = kfx_json_int(live, 0, "status", "numberReady");
    snprintf(why, 160, "%lld of %lld pods are ready", (long long)have, (long long)want);
    return have == want && seen_by_controller(live) ? KFX_OBJECT_READY : KFX_OBJECT_WAITS;
}

static kfx_object_state_t job_state(const json_t *live, char why[160])
{
    if (condition_is(live, "Failed", "True")) {
        quote_condition(live, "Failed", why);
        return KFX_OBJECT_FAILED;
    }
    snprintf(why, 160, "it has not succeeded yet");
    return condition_is(live, "Complete", "True") || kfx_json_int(live, 0, "status", "succeeded") > 0
               ? KFX_OBJECT_READY
               : KFX_OBJECT_WAITS;
}

static kfx_object_state_t pod_state(const json_t *live, char why[160])
{
    const char *phase = kfx_json_str(live, "status", "phase");
    phase = phase ? phase : "Pending";
    snprintf(why, 160, "it is %.40s", phase);
    if (strcmp(phase, "Failed") == 0)
        return KFX_OBJECT_FAILED;
    return strcmp(phase, "Running") == 0 || strcmp(phase, "Succeeded") == 0 ? KFX_OBJECT_READY : KFX_OBJECT_WAITS;
}

/* What a kind's controller says about itself, where it follows the convention. */
static kfx_object_state_t conditions_state(const json_t *live, char why[160])
{
    static const char *const types[] = {"Ready", "Available", "Established"};
    for (size_t i = 0; i < KFX_COUNT(types); i++) {
        if (!condition(live, types[i]) || condition_is(live, types[i], "True"))
            continue;
        quote_condition(live, types[i], why);
        return KFX_OBJECT_WAITS;
    }
    return KFX_OBJECT_READY;
}

kfx_object_state_t kfx_hook_object_state(const json_t *live, char why[160])
{
    const char *kind = kfx_json_str(live, "kind");
    kfx_object_state_t state;
    why[0] = '\0';
    kind = kind ? kind : "";
    if (strcmp(kind, "Deployment") == 0 || strcmp(kind, "StatefulSet") == 0)
        state = replicas_state(live, why);
    else if (strcmp(kind, "DaemonSet") == 0)
        state = daemons_state(live, why);
    else if (strcmp(kind, "Job") == 0)
        state = job_state(live, why);
    else if (strcmp(kind, "Pod") == 0)
        state = pod_state(live, why);
    else if (strcmp(kind, "CustomResourceDefinition") == 0 && !condition(live, "Established"))
        state = (snprintf(why, 160, "it is not established yet"), KFX_OBJECT_WAITS);
    else
        state = conditions_state(live, why);
    if (state == KFX_OBJECT_READY)
        why[0] = '\0';
    return state;
}

bool kfx_hook_finished(const json_t *live)
{
    const char *kind = kfx_json_str(live, "kind"), *phase = kfx_json_str(live, "status", "phase");
    if (kind && strcmp(kind, "Job") == 0)
        return condition_is(live, "Complete", "True") || condition_is(live, "Failed", "True");
    return kind && strcmp(kind, "Pod") == 0 && phase &&
           (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0);
}
