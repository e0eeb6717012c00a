/* storage-agent/spec.c: see spec.h. */
#include "storage-agent/spec.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define PLANES_MAX 4096 /* beyond it all are forgotten, as by a restart */

static const char *const backends[] = {
    [KFX_BACKEND_SHARED] = "shared", [KFX_BACKEND_DEDICATED] = "dedicated", [KFX_BACKEND_EXTERNAL] = "external"};

static int read_backend(const json_t *plane, kfx_storage_spec_t *out, kfx_error_t *err)
{
    const char *name = kfx_json_str(plane, "spec", "backend");
    for (size_t i = 0; i < KFX_COUNT(backends); i++)
        if (!name || !*name || strcmp(name, backends[i]) == 0) { /* the first one is the default */
            out->backend = (kfx_backend_t)i;
            return 0;
        }
    return kfx_error_set(err, KFX_E_INVALID, "spec.backend \"%.32s\" is unknown: use shared, dedicated or external",
                         name);
}

/* A text of spec.storage into its buffer. */
static int read_text(const json_t *value, const char *what, char *out, size_t size, kfx_error_t *err)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    if (kfx_copy(out, size, text))
        return kfx_error_set(err, KFX_E_INVALID, "spec.storage.%s is longer than %zu bytes", what, size - 1);
    return 0;
}

int kfx_storage_spec(const json_t *plane, kfx_storage_spec_t *out, kfx_error_t *err)
{
    const json_t *storage = kfx_json_get(plane, "spec", "storage");
    const char *policy = kfx_json_str(storage, "deletionPolicy");

    *out = (kfx_storage_spec_t){.members = (int)kfx_json_int(storage, 1, "members"),
                                .drop = policy && strcmp(policy, "Delete") == 0};
    if (read_backend(plane, out, err) < 0)
        return -1;
    if (read_text(kfx_json_get(storage, "server"), "server", out->server, sizeof out->server, err) < 0)
        return -1;
    if (read_text(kfx_json_get(storage, "size"), "size", out->size, sizeof out->size, err) < 0 ||
        read_text(kfx_json_get(storage, "storageClassName"), "storageClassName", out->storage_class,
                  sizeof out->storage_class, err) < 0 ||
        read_text(kfx_json_get(storage, "secretRef", "namespace"), "secretRef.namespace", out->secret_ns,
                  sizeof out->secret_ns, err) < 0 ||
        read_text(kfx_json_get(storage, "secretRef", "name"), "secretRef.name", out->secret_name,
                  sizeof out->secret_name, err) < 0)
        return -1;
    if (!out->size[0])
        kfx_copy(out->size, sizeof out->size, "2Gi");
    if (out->members != 1 && out->members != 3)
        return kfx_error_set(err, KFX_E_INVALID, "spec.storage.members is %d: use 1 or 3", out->members);
    if (out->backend == KFX_BACKEND_EXTERNAL && (!out->secret_ns[0] || !out->secret_name[0]))
        return kfx_error_set(err, KFX_E_INVALID,
                             "spec.backend is external: say in spec.storage.secretRef (namespace, name) which Secret "
                             "names the database");
    return 0;
}

void kfx_specs_init(kfx_specs_t *self)
{
    pthread_mutex_init(&self->mutex, NULL);
    self->known = json_object();
}

void kfx_specs_clear(kfx_specs_t *self)
{
    json_decref(self->known);
    self->known = NULL;
    pthread_mutex_destroy(&self->mutex);
}

void kfx_specs_note(kfx_specs_t *self, const char *uid, const json_t *plane)
{
    static const char *const keys[] = {"backend", "storage"};
    json_t *entry = NULL;

    if (plane) {
        entry = json_object();
        kfx_json_put(entry, json_integer(kfx_json_int(plane, 0, "metadata", "generation")), "metadata", "generation");
        for (size_t i = 0; i < KFX_COUNT(keys); i++)
            if (kfx_json_get(plane, "spec", keys[i]))
                kfx_json_put(entry, json_deep_copy(kfx_json_get(plane, "spec", keys[i])), "spec", keys[i]);
    }
    pthread_mutex_lock(&self->mutex);
    if (json_object_size(self->known) >= PLANES_MAX)
        json_object_clear(self->known);
    if (entry)
        json_object_set_new(self->known, uid, entry);
    else
        json_object_del(self->known, uid);
    pthread_mutex_unlock(&self->mutex);
}

json_t *kfx_specs_get(kfx_specs_t *self, const char *uid, int64_t generation)
{
    pthread_mutex_lock(&self->mutex);
    const json_t *entry = json_object_get(self->known, uid);
    bool current = entry && kfx_json_int(entry, 0, "metadata", "generation") >= generation;
    json_t *copy = current ? json_deep_copy(entry) : NULL;
    pthread_mutex_unlock(&self->mutex);
    return copy;
}
