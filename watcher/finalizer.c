#include "watcher/finalizer.h"

#include "base/mem.h"

/* All finalizers but ours, in their order. */
static json_t *others(const kfx_plane_t *plane)
{
    json_t *list = json_array();
    const char *at = plane->finalizers ? plane->finalizers : "";
    while (*at) {
        size_t len = strcspn(at, "\n");
        if (len != strlen(KFX_FINALIZER) || strncmp(at, KFX_FINALIZER, len) != 0)
            json_array_append_new(list, json_stringn(at, len));
        at += len + (at[len] == '\n');
    }
    return list;
}

static json_t *patch(const kfx_plane_t *plane, json_t *finalizers)
{
    json_t *meta = json_pack("{s:s, s:s}", "uid", plane->uid, "resourceVersion", plane->rv);
    json_object_set_new(meta, "finalizers", finalizers);
    json_t *out = json_object();
    json_object_set_new(out, "metadata", meta);
    return out;
}

json_t *kfx_finalizer_add(const kfx_plane_t *plane)
{
    json_t *list = others(plane);
    json_array_append_new(list, json_string(KFX_FINALIZER));
    return patch(plane, list);
}

json_t *kfx_finalizer_remove(const kfx_plane_t *plane)
{
    return patch(plane, others(plane));
}
