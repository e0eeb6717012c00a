/* watcher/announce.c: Events for transitions, never for a state that goes on. */
#include "watcher/announce.h"

#include "base/log.h"
#include "watcher/watcher.h"

/* A Warning for each of them would hide the real ones. */
bool kfx_announce_ordinary(const char *reason)
{
    static const char *const reasons[] = {
        "WaitingForStorage",         "WaitingForNamespace", "WaitingForToken", "WaitingForBootstrap",
        "NamespaceTerminating",      "TakeoverPending",     "Deleting",        "Creating",
        "WaitingForPostCreateHooks", "ObjectsNotReady"};
    for (size_t i = 0; i < KFX_COUNT(reasons); i++)
        if (strcmp(reason, reasons[i]) == 0)
            return true;
    return false;
}

static bool same_words(const kfx_cond_t *a, const kfx_cond_t *b)
{
    return a && strcmp(a->status, b->status) == 0 && strcmp(a->reason, b->reason) == 0 &&
           strcmp(a->message, b->message) == 0;
}

static void synced(const kfx_cond_t *was, const kfx_cond_t *is, kfx_news_t *news)
{
    if (strcmp(is->status, "True") == 0) {
        if (!was || strcmp(was->status, "True") != 0)
            news->list[news->count++] = (kfx_announcement_t){"Normal", "SyncSuccess", ""};
    } else if (strcmp(is->status, "False") == 0 && !kfx_announce_ordinary(is->reason) && !same_words(was, is)) {
        news->list[news->count++] = (kfx_announcement_t){"Warning", "SyncFail", is->message};
    }
}

static void ready(const kfx_cond_t *was, const kfx_cond_t *is, kfx_news_t *news)
{
    bool now = strcmp(is->status, "True") == 0, before = was && strcmp(was->status, "True") == 0;
    if (now && !before)
        news->list[news->count++] = (kfx_announcement_t){"Normal", "Ready", is->message};
    else if (!now && !kfx_announce_ordinary(is->reason) && (!was || strcmp(was->reason, is->reason) != 0))
        news->list[news->count++] = (kfx_announcement_t){"Warning", "NotReady", is->message};
}

static void storage(const kfx_cond_t *was, const kfx_cond_t *is, kfx_news_t *news)
{
    if (strcmp(is->status, "False") == 0 && !kfx_announce_ordinary(is->reason) && !same_words(was, is))
        news->list[news->count++] = (kfx_announcement_t){"Warning", "StorageFail", is->message};
}

static void hooks(const kfx_cond_t *was, const kfx_cond_t *is, kfx_news_t *news)
{
    bool now = strcmp(is->status, "True") == 0;
    if (now && (!was || strcmp(was->status, "True") != 0))
        news->list[news->count++] = (kfx_announcement_t){"Normal", "HooksApplied", is->message};
    else if (!now && !kfx_announce_ordinary(is->reason) && !same_words(was, is))
        news->list[news->count++] = (kfx_announcement_t){"Warning", "HookFail", is->message};
}

void kfx_announce_news(const kfx_status_t *before, const kfx_status_t *after, kfx_news_t *news)
{
    static const struct {
        const char *type;
        void (*look)(const kfx_cond_t *was, const kfx_cond_t *is, kfx_news_t *news);
    } looks[] = {{"Synced", synced}, {"Ready", ready}, {"StorageReady", storage}, {"HooksApplied", hooks}};
    news->count = 0;
    for (size_t i = 0; i < KFX_COUNT(looks); i++) {
        const kfx_cond_t *is = kfx_status_cond(after, looks[i].type);
        if (is)
            looks[i].look(kfx_status_cond(before, looks[i].type), is, news);
    }
}

static void emit(kfx_watcher_t *self, const kfx_plane_t *plane, const kfx_announcement_t *a, const char *action)
{
    kfx_object_ref_t about = {
        .api_version = KFX_API_VERSION, .kind = "ControlPlane", .name = plane->name, .uid = plane->uid};
    kfx_log_info("event", "plane", plane->name, "uid", plane->uid, "type", a->type, "reason", a->reason, "message",
                 a->message, NULL);
    kfx_events_emit(self->events, &about, a->type, a->reason, action, "%s", a->message);
}

void kfx_announce_status(kfx_watcher_t *self, const kfx_plane_t *plane, const kfx_status_t *before,
                         const kfx_status_t *after)
{
    kfx_news_t news;
    kfx_announce_news(before, after, &news);
    for (size_t i = 0; i < news.count; i++)
        emit(self, plane, &news.list[i], "Reconcile");
}

void kfx_announce_deleting(kfx_watcher_t *self, const kfx_plane_t *plane)
{
    emit(self, plane, &(kfx_announcement_t){"Normal", "Deleting", "deletion began"}, "Delete");
}

void kfx_announce_forced(kfx_watcher_t *self, const kfx_plane_t *plane, const char *service)
{
    char text[256];
    snprintf(
        text, sizeof text,
        "let go because of its annotation force-delete, though %s did not confirm that nothing is left: look for %s",
        service,
        strcmp(service, KFX_SERVICE_STORAGE) == 0 ? "its database and roles (docs/operations.md)" : "its Namespace");
    emit(self, plane, &(kfx_announcement_t){"Warning", "DeletionForced", text}, "Delete");
}
