#include "watcher/digest.h"

#include "base/log.h"
#include "base/mem.h"
#include "watcher/sender.h"

static void add_config(kfx_digest_t *digest, const kfx_config_seen_t *config)
{
    kfx_child_t *out = &digest->children[digest->count++];
    kfx_copy(out->kind, sizeof out->kind, "ConfigMap");
    kfx_copy(out->name, sizeof out->name, KFX_CONFIGMAP);
    kfx_copy(out->uid, sizeof out->uid, config->uid);
    kfx_copy(out->rv, sizeof out->rv, config->rv);
    out->ready = true;
}

kfx_digest_t *kfx_plane_digest(const kfx_plane_t *plane, const char *service, const kfx_config_seen_t *config)
{
    kfx_digest_t *digest = kfx_xcalloc(1, sizeof *digest);
    kfx_copy(digest->type, sizeof digest->type, plane->type);
    digest->deleting = plane->deleting;
    if (plane->status && plane->status->version)
        kfx_copy(digest->kubernetes_version, sizeof digest->kubernetes_version, plane->status->version);
    if (plane->status && plane->status->server)
        kfx_copy(digest->postgres_server, sizeof digest->postgres_server, plane->status->server);
    kfx_copy(digest->rotate, sizeof digest->rotate, plane->rotate);

    if (plane->hooks_view && strcmp(service, KFX_SERVICE_STORAGE) != 0)
        snprintf(digest->hooks, sizeof digest->hooks, "%016llx", (unsigned long long)plane->hooks_view);
    digest->place = kfx_sender_place(plane, service);
    if (plane->awaited && strcmp(service, KFX_SERVICE_STORAGE) != 0)
        kfx_copy(digest->awaited, sizeof digest->awaited, plane->awaited);

    size_t count = 1;
    for (const kfx_tracked_t *c = plane->children; c; c = c->next)
        count++;
    digest->children = kfx_xcalloc(count, sizeof *digest->children);
    if (config->exists && kfx_service_wants(service, "ConfigMap", KFX_CONFIGMAP))
        add_config(digest, config);
    for (const kfx_tracked_t *c = plane->children; c; c = c->next) {
        if (c->hook || !kfx_service_wants(service, c->kind, c->name))
            continue;
        if (digest->count == KFX_CHILDREN_MAX) {
            kfx_log_warn("more objects than a digest holds: the rest is left out", "plane", plane->name, "uid",
                         plane->uid, NULL);
            break;
        }
        kfx_child_t *out = &digest->children[digest->count++];
        kfx_copy(out->kind, sizeof out->kind, c->kind);
        kfx_copy(out->name, sizeof out->name, c->name);
        kfx_copy(out->uid, sizeof out->uid, c->uid);
        kfx_copy(out->rv, sizeof out->rv, c->rv);
        kfx_copy(out->hash, sizeof out->hash, c->hash);
        out->ready = c->ready;
        out->rolling = c->rolling;
        out->terminating = c->terminating;
        out->drifted = c->drifted;
        out->owned = kfx_child_owned(plane, c);
    }
    return digest;
}
