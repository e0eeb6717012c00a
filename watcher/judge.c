#include "watcher/judge.h"

#include "base/mem.h"

static void list_built(char *out, size_t size)
{
    size_t at = 0;
    const kfx_type_info_t *type;
    out[0] = '\0';
    for (size_t i = 0; (type = kfx_type_at(i)) != NULL; i++) {
        if (!type->built)
            continue;
        int n = snprintf(out + at, size - at, "%s%s", at ? ", " : "", type->name);
        if (n < 0 || (size_t)n >= size - at)
            return;
        at += (size_t)n;
    }
}

/* Name rules hold for planes that are not provisioned yet: one that is served stays served. */
static bool was_served(const kfx_plane_t *plane)
{
    if (plane->finalizer)
        return true;
    const kfx_cond_t *synced = kfx_status_cond(plane->status, "Synced");
    if (!synced)
        return false;
    static const char *const ours[] = {"InvalidName", "InvalidSpec", "NotSupported"};
    for (size_t i = 0; i < KFX_COUNT(ours); i++)
        if (strcmp(synced->reason, ours[i]) == 0)
            return false;
    return true;
}

/* The Namespace has this plane's ownerReference, but no mark of a worker of ours: neither annotation nor managedFields.
 */
static bool made_by_others(const kfx_plane_t *plane)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane->name, ns);
    const kfx_tracked_t *child = kfx_plane_child(plane, "Namespace", ns);
    return child && kfx_child_owned(plane, child) && child->hash[0] == '\0' && child->fields == 0;
}

/* The type whose workload of ours the plane has, NULL where it has none: what spec.type said when it was made, also to
 * a process that has seen nothing of that. */
static const kfx_type_info_t *made_as(const kfx_plane_t *plane)
{
    const kfx_type_info_t *type;
    for (size_t i = 0; (type = kfx_type_at(i)) != NULL; i++) {
        char kind[32];
        const char *slash = type->built && type->workload ? strchr(type->workload, '/') : NULL;
        if (!slash)
            continue;
        snprintf(kind, sizeof kind, "%.*s", (int)(slash - type->workload), type->workload);
        const kfx_tracked_t *child = kfx_plane_child(plane, kind, slash + 1);
        if (child && kfx_child_owned(plane, child) && child->hash[0])
            return type;
    }
    return NULL;
}

/* spec.type cannot change, but a definition without our rules lets it. The plane is served as what it is, so that
 * nothing of it is left behind when it goes. */
static bool retyped(const kfx_plane_t *plane, kfx_stance_t *out)
{
    const kfx_type_info_t *made = made_as(plane);
    if (!made && plane->retyped)
        made = kfx_type_find(plane->type);
    if (!made || !made->built || (!plane->retyped && plane->type && strcmp(made->name, plane->type) == 0))
        return false;
    out->type = made;
    out->count = kfx_type_services(made, out->services);
    out->reason = "InvalidSpec";
    snprintf(out->message, sizeof out->message,
             "spec.type was %s and cannot change: set it back, or delete this control plane and create another",
             made->name);
    return true;
}

void kfx_judge(const kfx_plane_t *plane, kfx_stance_t *out)
{
    memset(out, 0, sizeof *out);
    if (retyped(plane, out))
        return;
    if (!plane->type || !plane->type[0]) {
        out->reason = "InvalidSpec";
        kfx_copy(out->message, sizeof out->message,
                 "spec.type is missing: delete this control plane and create it with a type");
        return;
    }
    out->type = kfx_type_find(plane->type);
    if (!out->type || !out->type->built) {
        char built[256];
        list_built(built, sizeof built);
        out->reason = "NotSupported";
        snprintf(out->message, sizeof out->message, "type %s is not supported by this build, which supports: %s",
                 plane->type, built);
        return;
    }
    kfx_error_t err = KFX_ERROR_INIT;
    if (!was_served(plane) && kfx_plane_name_check(plane->name, &err) != 0) {
        out->reason = "InvalidName";
        kfx_copy(out->message, sizeof out->message, err.msg);
        return;
    }
    if (made_by_others(plane)) {
        out->reason = "TakeoverPending";
        snprintf(out->message, sizeof out->message,
                 "the objects in Namespace %s-system were made by another KubeFlex; they are left as they are",
                 plane->name);
        return;
    }
    out->count = kfx_type_services(out->type, out->services);
}

int kfx_stance_index(const kfx_stance_t *stance, const char *service)
{
    for (size_t i = 0; i < stance->count; i++)
        if (strcmp(stance->services[i], service) == 0)
            return (int)i;
    return -1;
}
