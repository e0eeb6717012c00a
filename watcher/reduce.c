#include "watcher/reduce.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

static bool copy_text(char *out, size_t size, const json_t *object, const char *a, const char *b)
{
    const char *text = kfx_json_str(object, a, b);
    return text && text[0] && !kfx_copy(out, size, text);
}

/* The text is the user's and may be long: what counts is whether it is another one. */
static void read_rotate(const json_t *object, char out[KFX_ROTATE_SIZE])
{
    const char *text = kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_ROTATE);
    char hex[KFX_SHA256_HEX_SIZE];
    if (!text || !text[0])
        return;
    kfx_sha256_hex(text, strlen(text), hex);
    kfx_copy(out, KFX_ROTATE_SIZE, hex);
}

static void add_line(char **list, const char *before, const char *name, const char *between, const char *value)
{
    if (!name || !*name || strchr(name, '\n'))
        return;
    char *old = *list;
    *list = kfx_xasprintf("%s%s%s%s\n", old ? old : before, name, between, value);
    free(old);
}

static void read_hooks(const json_t *object, kfx_seen_plane_t *self)
{
    size_t i;
    const json_t *use;
    const char *key;
    json_t *value;
    add_line(&self->hooks, "", kfx_json_str(object, "spec", "postCreateHook"), "", "");
    json_array_foreach (kfx_json_get(object, "spec", "postCreateHooks"), i, use)
        add_line(&self->hooks, "", kfx_json_str(use, "hookName"), "", "");
    if (!self->hooks)
        return;
    json_object_foreach (kfx_json_get(object, "metadata", "labels"), key, value)
        if (json_is_string(value))
            add_line(&self->labels, "\n", key, "\t", json_string_value(value));
}

kfx_seen_plane_t *kfx_reduce_plane(const json_t *object)
{
    kfx_seen_plane_t *self = kfx_xcalloc(1, sizeof *self);
    if (!copy_text(self->name, sizeof self->name, object, "metadata", "name") ||
        !copy_text(self->uid, sizeof self->uid, object, "metadata", "uid") ||
        !copy_text(self->rv, sizeof self->rv, object, "metadata", "resourceVersion")) {
        free(self);
        return NULL;
    }
    copy_text(self->type, sizeof self->type, object, "spec", "type");
    read_rotate(object, self->rotate);
    self->generation = kfx_json_int(object, 0, "metadata", "generation");
    const char *force = kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_FORCE);
    self->forced = force && strcmp(force, "true") == 0;
    self->deleting = kfx_json_str(object, "metadata", "deletionTimestamp") != NULL;

    const json_t *list = kfx_json_get(object, "metadata", "finalizers");
    size_t length = 1, i;
    json_t *entry;
    json_array_foreach (list, i, entry) {
        length += json_string_length(entry) + 1;
    }
    self->finalizers = kfx_xcalloc(1, length);
    char *at = self->finalizers;
    json_array_foreach (list, i, entry) {
        const char *text = json_string_value(entry);
        if (!text)
            continue;
        if (strcmp(text, KFX_FINALIZER) == 0)
            self->finalizer = true;
        at = stpcpy(at, text);
        at = stpcpy(at, "\n");
    }
    read_hooks(object, self);
    self->status = kfx_status_from_json(kfx_json_get(object, "status"));
    return self;
}

void kfx_seen_plane_free(void *seen)
{
    kfx_seen_plane_t *self = seen;
    if (!self)
        return;
    free(self->finalizers);
    free(self->hooks);
    free(self->labels);
    free(self->status);
    free(self);
}

/* ---- children ------------------------------------------------------------------------------------------------- */

static void read_owner(const json_t *object, char out[KFX_SEEN_UID_SIZE])
{
    size_t i;
    json_t *ref;
    json_array_foreach (kfx_json_get(object, "metadata", "ownerReferences"), i, ref) {
        const char *uid = kfx_json_str(ref, "uid");
        if (uid && kfx_json_bool(ref, false, "controller")) {
            if (kfx_copy(out, KFX_SEEN_UID_SIZE, uid))
                out[0] = '\0';
            return;
        }
    }
}

/* What our field manager owns, and whether somebody else wrote fields (status aside) at the same time or later. */
static void read_fields(const json_t *object, kfx_seen_child_t *self)
{
    char manager[KFX_NAME_SIZE] = KFX_FIELD_MANAGER_HOOKS;
    if (!self->hook)
        kfx_field_manager(self->owner, manager);
    KFX_JSON json_t *ours = json_array();
    time_t our_time = -1, their_time = -1;
    size_t i;
    json_t *entry;
    json_array_foreach (kfx_json_get(object, "metadata", "managedFields"), i, entry) {
        const char *subresource = kfx_json_str(entry, "subresource");
        const char *name = kfx_json_str(entry, "manager");
        const char *when = kfx_json_str(entry, "time");
        time_t at = when ? kfx_rfc3339_parse(when) : -1;
        if ((subresource && subresource[0]) || !name)
            continue;
        if ((self->owner[0] || self->hook) && strcmp(name, manager) == 0) {
            json_t *fields = kfx_json_get(entry, "fieldsV1");
            if (fields)
                json_array_append(ours, fields);
            our_time = at > our_time ? at : our_time;
        } else {
            their_time = at > their_time ? at : their_time;
        }
    }
    if (json_array_size(ours) == 0)
        return;
    KFX_FREE char *text = kfx_json_canonical(ours);
    char hex[KFX_SHA256_HEX_SIZE];
    kfx_sha256_hex(text, strlen(text), hex);
    hex[16] = '\0';
    self->fields = strtoull(hex, NULL, 16) | 1; /* 64 bits of it, never 0 */
    self->touched = their_time >= 0 && their_time >= our_time;
}

static bool is_workload(const char *kind)
{
    return strcmp(kind, "Deployment") == 0 || strcmp(kind, "StatefulSet") == 0;
}

/* It answers as long as any pod of it is available, an old one too while pods are exchanged. */
static bool workload_ready(const json_t *o)
{
    return kfx_json_int(o, 1, "spec", "replicas") > 0 && kfx_json_int(o, 0, "status", "availableReplicas") > 0;
}

/* What condition Progressing of a Deployment gives as its reason; "" where it has none, as StatefulSets. */
static const char *progress(const json_t *o)
{
    size_t i;
    json_t *c;
    json_array_foreach (kfx_json_get(o, "status", "conditions"), i, c) {
        const char *type = kfx_json_str(c, "type"), *reason = kfx_json_str(c, "reason");
        if (type && reason && strcmp(type, "Progressing") == 0)
            return reason;
    }
    return "";
}

/* Kubernetes' own view of when an exchange is over, so that a pod that fails later does not count as one: all pods were
 * there once. It is stuck when too long went by without progress (progressDeadlineSeconds). */
static void read_rollout(const json_t *o, kfx_seen_child_t *self)
{
    int64_t want = kfx_json_int(o, 1, "spec", "replicas");
    const char *reason = progress(o);
    bool old = kfx_json_int(o, 0, "status", "observedGeneration") < kfx_json_int(o, 0, "metadata", "generation");
    bool complete = reason[0] ? strcmp(reason, "NewReplicaSetAvailable") == 0
                              : kfx_json_int(o, 0, "status", "availableReplicas") >= want;
    self->rolling = old || kfx_json_int(o, 0, "status", "updatedReplicas") < want || !complete;
    self->stuck = !old && strcmp(reason, "ProgressDeadlineExceeded") == 0;
}

static bool condition_is(const json_t *o, const char *wanted, const char *value)
{
    size_t i;
    json_t *c;
    json_array_foreach (kfx_json_get(o, "status", "conditions"), i, c) {
        const char *type = kfx_json_str(c, "type"), *status = kfx_json_str(c, "status");
        if (type && status && strcmp(type, wanted) == 0 && strcmp(status, value) == 0)
            return true;
    }
    return false;
}

/* Of a kind that is watched because a hook made it: enough to notice a change. */
static bool other_ready(const json_t *o)
{
    const char *phase = kfx_json_str(o, "status", "phase");
    if (phase)
        return strcmp(phase, "Running") == 0 || strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Bound") == 0;
    return !condition_is(o, "Ready", "False") && !condition_is(o, "Available", "False") &&
           !condition_is(o, "Established", "False") &&
           kfx_json_int(o, 0, "status", "numberReady") == kfx_json_int(o, 0, "status", "desiredNumberScheduled");
}

static bool has_failed(const json_t *o)
{
    const char *phase = kfx_json_str(o, "status", "phase");
    return condition_is(o, "Failed", "True") || (phase && strcmp(phase, "Failed") == 0);
}

static bool is_ready(const char *kind, const json_t *object)
{
    if (is_workload(kind))
        return workload_ready(object);
    if (strcmp(kind, "Job") == 0)
        return condition_is(object, "Complete", "True");
    return kind[0] != '/' || other_ready(object);
}

/* Which plane it belongs to: a Namespace by its name, anything else by label and by standing in the plane's namespace.
 */
static bool read_plane(const char *kind, const json_t *object, char out[KFX_NAME_SIZE])
{
    const char *name = kfx_json_str(object, "metadata", "name");
    if (strcmp(kind, "Namespace") == 0)
        return name && kfx_namespace_plane(name, out);
    const char *label = kfx_json_str(object, "metadata", "labels", KFX_LABEL_PLANE);
    if (!label || !label[0] || kfx_copy(out, KFX_NAME_SIZE, label))
        return false;
    const char *ns = kfx_json_str(object, "metadata", "namespace");
    char expected[KFX_NAME_SIZE];
    kfx_plane_namespace(out, expected);
    return !ns || strcmp(ns, expected) == 0;
}

kfx_seen_child_t *kfx_reduce_child(const char *kind, const json_t *object)
{
    kfx_seen_child_t *self = kfx_xcalloc(1, sizeof *self);
    self->kind = kind;
    if (!read_plane(kind, object, self->plane) ||
        !copy_text(self->name, sizeof self->name, object, "metadata", "name") ||
        !copy_text(self->uid, sizeof self->uid, object, "metadata", "uid") ||
        !copy_text(self->rv, sizeof self->rv, object, "metadata", "resourceVersion")) {
        free(self);
        return NULL;
    }
    const char *hash = kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_HASH);
    kfx_copy(self->hash, sizeof self->hash, hash ? hash : "");
    self->hook = kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_HOOK) != NULL;
    read_owner(object, self->owner);
    read_fields(object, self);
    self->ready = is_ready(kind, object);
    self->failed = has_failed(object);
    if (is_workload(kind))
        read_rollout(object, self);
    self->terminating = kfx_json_str(object, "metadata", "deletionTimestamp") != NULL;
    return self;
}
