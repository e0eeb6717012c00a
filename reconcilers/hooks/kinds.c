/* reconcilers/hooks/kinds.c: kind -> path, as the API server told it, kept for the process. Only the group and version
 * that a template names is asked for: one that does not answer (an aggregated API whose server is away) stops nothing
 * else, and versions that are not preferred are as good as others. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/hooks/internal.h"

#include <pthread.h>
#include <string.h>

#define VERSIONS_MAX 256

struct kfx_kinds {
    pthread_mutex_t lock;
    json_t *versions; /* apiVersion -> kind -> [plural, namespaced] */
};

kfx_kinds_t *kfx_kinds_new(void)
{
    kfx_kinds_t *self = kfx_xcalloc(1, sizeof *self);
    pthread_mutex_init(&self->lock, NULL);
    self->versions = json_object();
    return self;
}

void kfx_kinds_destroy(kfx_kinds_t **self_p)
{
    kfx_kinds_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    json_decref(self->versions);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

bool kfx_kinds_get(kfx_kinds_t *self, const char *api_version, const char *kind, kfx_hook_kind_t *out)
{
    bool core = strchr(api_version, '/') == NULL;
    pthread_mutex_lock(&self->lock);
    const json_t *found = kfx_json_get(self->versions, api_version, kind);
    if (found) {
        KFX_FREE char *collection = kfx_xasprintf("%s/%s", core ? "/api" : "/apis", api_version);
        kfx_copy(out->collection, sizeof out->collection, collection);
        kfx_copy(out->plural, sizeof out->plural, json_string_value(json_array_get(found, 0)));
        out->namespaced = json_is_true(json_array_get(found, 1));
    }
    pthread_mutex_unlock(&self->lock);
    return found != NULL;
}

void kfx_kinds_put(kfx_kinds_t *self, const char *api_version, const json_t *list)
{
    size_t i;
    const json_t *resource;
    json_t *kinds = json_object();
    json_array_foreach (kfx_json_get(list, "resources"), i, resource) {
        const char *name = kfx_json_str(resource, "name"), *kind = kfx_json_str(resource, "kind");
        if (name && kind && !strchr(name, '/')) /* no subresource */
            json_object_set_new(kinds, kind, json_pack("[s, b]", name, kfx_json_bool(resource, false, "namespaced")));
    }
    pthread_mutex_lock(&self->lock);
    if (json_object_size(self->versions) >= VERSIONS_MAX)
        json_object_clear(self->versions);
    json_object_set_new(self->versions, api_version, kinds);
    pthread_mutex_unlock(&self->lock);
}

void kfx_kinds_forget(kfx_kinds_t *self, const char *api_version)
{
    pthread_mutex_lock(&self->lock);
    json_object_del(self->versions, api_version);
    pthread_mutex_unlock(&self->lock);
}
