/* objects/object.c: marks on objects. */
#include "objects/object.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/apply.h"

#include <stdio.h>
#include <string.h>

int kfx_collection_path(const char *kind, const char *ns, char *out, size_t size)
{
    KFX_FREE char *path = kfx_object_path(kind, ns, NULL);
    return !path || kfx_copy(out, size, path) ? -1 : 0;
}

static bool cluster_scoped(const char *kind)
{
    const kfx_kind_info_t *info = kfx_kind_find(kind);
    return info && !info->namespaced;
}

void kfx_hash16(const json_t *value, char out[KFX_HASH_SIZE])
{
    char hex[KFX_SHA256_HEX_SIZE];
    char *text = kfx_json_canonical(value);
    size_t len = text ? strlen(text) : 0;
    kfx_sha256_hex(text ? text : "", len, hex);
    kfx_wipe(text, len);
    free(text);
    kfx_copy(out, KFX_HASH_SIZE, hex);
}

int kfx_desired_init(kfx_desired_t *desired, json_t *object, const kfx_owner_t *owner, const char *hash,
                     kfx_error_t *err)
{
    const char *kind = kfx_json_str(object, "kind"), *name = kfx_json_str(object, "metadata", "name");
    *desired = (kfx_desired_t){.object = object};
    if (!kind || !name || kfx_collection_path(kind, owner->ns, desired->collection, sizeof(desired->collection))) {
        kfx_error_set(err, KFX_E_INTERNAL, "no path is known for a desired object of kind %s", kind ? kind : "(none)");
        kfx_desired_clear(desired);
        return -1;
    }
    kfx_copy(desired->kind, sizeof(desired->kind), kind);
    kfx_copy(desired->name, sizeof(desired->name), name);
    if (!cluster_scoped(kind))
        kfx_json_put(object, json_string(owner->ns), "metadata", "namespace");
    kfx_json_put(object, json_string(owner->plane), "metadata", "labels", KFX_LABEL_PLANE);
    kfx_json_put(object,
                 json_pack("[{s:s, s:s, s:s, s:s, s:b, s:b}]", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane",
                           "name", owner->plane, "uid", owner->uid, "controller", 1, "blockOwnerDeletion", 1),
                 "metadata", "ownerReferences");
    if (hash)
        kfx_copy(desired->hash, sizeof(desired->hash), hash);
    else
        kfx_hash16(object, desired->hash);
    kfx_json_put(object, json_string(desired->hash), "metadata", "annotations", KFX_ANNOTATION_HASH);
    return 0;
}

void kfx_desired_clear(kfx_desired_t *desired)
{
    if (!desired)
        return;
    json_decref(desired->object);
    desired->object = NULL;
}

bool kfx_desired_current(const kfx_desired_t *desired, const kfx_digest_t *digest)
{
    const kfx_child_t *child = kfx_digest_child(digest, desired->kind, desired->name);
    return child && child->owned && !child->terminating && !child->drifted && strcmp(child->hash, desired->hash) == 0;
}

static const json_t *controller_of(const json_t *object)
{
    size_t i;
    const json_t *owner;
    json_array_foreach (kfx_json_get(object, "metadata", "ownerReferences"), i, owner)
        if (kfx_json_bool(owner, false, "controller"))
            return owner;
    return NULL;
}

bool kfx_object_owned(const json_t *object, const char *uid)
{
    const char *owner = kfx_json_str(controller_of(object), "uid");
    return owner && strcmp(owner, uid) == 0;
}

bool kfx_object_of_plane(const json_t *object, const char *plane)
{
    const json_t *owner = controller_of(object);
    const char *kind = kfx_json_str(owner, "kind"), *name = kfx_json_str(owner, "name");
    const char *version = kfx_json_str(owner, "apiVersion");
    return kind && name && version && strcmp(kind, "ControlPlane") == 0 && strcmp(name, plane) == 0 &&
           strncmp(version, KFX_GROUP "/", strlen(KFX_GROUP) + 1) == 0;
}

bool kfx_object_terminating(const json_t *object)
{
    return kfx_json_str(object, "metadata", "deletionTimestamp") != NULL;
}

bool kfx_object_managed_by(const json_t *object, const char *manager)
{
    size_t i;
    const json_t *entry;
    json_array_foreach (kfx_json_get(object, "metadata", "managedFields"), i, entry) {
        const char *name = kfx_json_str(entry, "manager");
        if (name && strcmp(name, manager) == 0)
            return true;
    }
    return false;
}

const char *kfx_object_hash(const json_t *object)
{
    const char *hash = kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_HASH);
    return hash ? hash : "";
}
