#include "watcher/sender.h"

static uint32_t fnv(uint32_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u; /* FNV-1a */
    return h;
}

static uint32_t config_view(const char *service, const kfx_config_seen_t *config)
{
    if (!config->exists || !kfx_service_wants(service, "ConfigMap", KFX_CONFIGMAP))
        return 0;
    return fnv(fnv(2166136261u, config->uid), config->rv) | 1;
}

static uint32_t awaited_view(const kfx_plane_t *plane, const char *service)
{
    return plane->awaited && strcmp(service, KFX_SERVICE_STORAGE) != 0 ? fnv(2166136261u, plane->awaited) | 1 : 0;
}

/* What of a service's words stands in the status. */
static uint32_t record_view(const kfx_plane_t *plane)
{
    const kfx_status_t *status = plane->status;
    if (!status || (!status->version && !status->server))
        return 0;
    uint32_t h = fnv(2166136261u, status->version ? status->version : "");
    return fnv(fnv(h, "\n"), status->server ? status->server : "") | 1;
}

static uint32_t rotate_view(const char *service, const kfx_plane_t *plane)
{
    bool storage = strcmp(service, KFX_SERVICE_STORAGE) == 0;
    return storage && plane->rotate[0] ? fnv(2166136261u, plane->rotate) | 1 : 0;
}

/* A server, once recorded, stays what it is: whoever chose another one meanwhile is to learn that. */
static bool all_stand(const kfx_status_t *says, const kfx_status_t *status)
{
    static const kfx_status_t none = {0};
    const kfx_status_t *s = status ? status : &none;
    if (says->version && (!s->version || strcmp(says->version, s->version) != 0))
        return false;
    return !says->server || s->server;
}

bool kfx_sender_unrecorded(const kfx_plane_t *plane, size_t index)
{
    const kfx_verdict_t *verdict = plane->views[index].verdict;
    return !plane->deleting && verdict && !all_stand(verdict->says, plane->status);
}

bool kfx_sender_place(const kfx_plane_t *plane, const char *service)
{
    return plane->has_place && strcmp(service, KFX_SERVICE_STORAGE) != 0;
}

/* The service waits for its own words to stand in the status, and now they do. */
static bool record_landed(const kfx_plane_t *plane, const kfx_view_t *view)
{
    const kfx_status_t *says = view->verdict ? view->verdict->says : NULL;
    if (!view->awaits || !says || (!says->version && !says->server))
        return false;
    return all_stand(says, plane->status) && view->told_record != record_view(plane);
}

static bool wants_hooks(const char *service)
{
    return strcmp(service, KFX_SERVICE_STORAGE) != 0;
}

/* Each object has one service that writes it. */
static bool is_writer(const char *service, const kfx_tracked_t *child)
{
    bool storage = strcmp(service, KFX_SERVICE_STORAGE) == 0;
    bool dsn = strcmp(child->kind, "Secret") == 0 && strcmp(child->name, KFX_SECRET_DSN) == 0;
    return storage == dsn;
}

bool kfx_sender_waits(const kfx_view_t *view)
{
    return view->sent_seq > view->done_seq;
}

static bool promised(const kfx_plane_t *plane, size_t index)
{
    for (const kfx_promise_t *p = plane->promises; p; p = p->next)
        if (p->service == index)
            return true;
    return false;
}

/* Not while the watch is behind: a digest that lacks what was just written makes the service write it once more. */
static bool refresh_due(const kfx_plane_t *plane, size_t index)
{
    const kfx_view_t *view = &plane->views[index];
    return view->again && view->lag && !kfx_sender_waits(view) && !promised(plane, index);
}

kfx_send_t kfx_sender_decide(const kfx_plane_t *plane, size_t index, const char *service,
                             const kfx_config_seen_t *config)
{
    const kfx_view_t *view = &plane->views[index];
    if (!view->told)
        return KFX_SEND_NOW;
    if (plane->deleting && view->gone)
        return KFX_SEND_NOTHING;
    if (view->told_generation != plane->generation || view->told_deleting != plane->deleting || view->lost_child ||
        view->told_config != config_view(service, config) || view->told_rotate != rotate_view(service, plane) ||
        record_landed(plane, view) || refresh_due(plane, index) ||
        view->told_place != kfx_sender_place(plane, service) || view->told_awaited != awaited_view(plane, service))
        return KFX_SEND_NOW;
    if (wants_hooks(service) && view->told_hooks != plane->hooks_view)
        return KFX_SEND_NOW;
    kfx_send_t answer = KFX_SEND_NOTHING;
    for (const kfx_tracked_t *c = plane->children; c; c = c->next) {
        if (c->hook || !kfx_service_wants(service, c->kind, c->name) || c->told[index] == kfx_child_view(plane, c))
            continue;
        bool own =
            kfx_sender_waits(view) && is_writer(service, c) && kfx_child_plain(plane, c) && !kfx_child_risen(c, index);
        if (!own)
            return KFX_SEND_NOW;
        answer = KFX_SEND_LATER;
    }
    return answer;
}

void kfx_sender_sent(kfx_plane_t *plane, size_t index, const char *service, const kfx_config_seen_t *config,
                     uint64_t seq)
{
    kfx_view_t *view = &plane->views[index];
    view->told = true;
    view->told_generation = plane->generation;
    view->told_deleting = plane->deleting;
    view->told_config = config_view(service, config);
    view->told_record = record_view(plane);
    view->told_rotate = rotate_view(service, plane);
    view->told_hooks = plane->hooks_view;
    view->told_place = kfx_sender_place(plane, service);
    view->told_awaited = awaited_view(plane, service);
    view->lost_child = false;
    view->lag = view->again = false;
    view->sent_seq = seq;
    for (kfx_tracked_t *c = plane->children; c; c = c->next)
        c->told[index] = !c->hook && kfx_service_wants(service, c->kind, c->name) ? kfx_child_view(plane, c) : 0;
}

void kfx_sender_done(kfx_view_t *view, const kfx_result_t *result)
{
    view->again =
        result->retry_after_ms > 0 && (result->outcome == KFX_OUTCOME_OK || result->outcome == KFX_OUTCOME_WAITING);
}
