/* watcher/watches.c: the table of watches, and how what they show becomes planes.h. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/watch.h"
#include "watcher/hooks.h"
#include "watcher/intern.h"
#include "watcher/watcher.h"

#include <malloc.h>

#define TIDY_MS 3000
#define MORE_MAX 32 /* kinds that hooks made; a connection has 100 streams */

typedef struct {
    const char *kind;
    const char *path;
    const char *selector;
    bool metadata_only;
} kind_t;

/* Workloads in full, because readiness is in their status; of all others the metadata says enough.
 *
 * Namespaces without a selector, because one that is somebody else's, or has lost our label, keeps a plane from being
 * made until it changes. A watch by name for each such plane would be exact, but a connection has 100 streams, and a
 * plane would wait for a stream to open. All Namespaces cost less: one list of their metadata at the start (paged, and
 * reduced at once to those called <name>-system), and later an event for each Namespace of the cluster that comes, goes
 * or is labelled, most of which end in the reducer. */
static const kind_t kinds[] = {
    {"Namespace", "/api/v1/namespaces", NULL, true},
    {"Service", "/api/v1/services", KFX_LABEL_PLANE, true},
    {"Secret", "/api/v1/secrets", KFX_LABEL_PLANE, true},
    {"ConfigMap", "/api/v1/configmaps", KFX_LABEL_PLANE, true},
    {"ServiceAccount", "/api/v1/serviceaccounts", KFX_LABEL_PLANE, true},
    {"PersistentVolumeClaim", "/api/v1/persistentvolumeclaims", KFX_LABEL_PLANE, true},
    {"Role", "/apis/rbac.authorization.k8s.io/v1/roles", KFX_LABEL_PLANE, true},
    {"RoleBinding", "/apis/rbac.authorization.k8s.io/v1/rolebindings", KFX_LABEL_PLANE, true},
    {"Ingress", "/apis/networking.k8s.io/v1/ingresses", KFX_LABEL_PLANE, true},
    {"ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", KFX_LABEL_PLANE, true},
    {"Deployment", "/apis/apps/v1/deployments", KFX_LABEL_PLANE, false},
    {"StatefulSet", "/apis/apps/v1/statefulsets", KFX_LABEL_PLANE, false},
    {"Job", "/apis/batch/v1/jobs", KFX_LABEL_PLANE, false},
};

/* Not every cluster has Routes, and one may learn them while we run. Its APIService tells: OpenShift registers it, and
 * for a definition (CustomResourceDefinition) the API server itself does, and takes it away again with it. */
#define ROUTE KFX_COUNT(kinds)
#define APISERVICES_PATH "/apis/apiregistration.k8s.io/v1/apiservices"
#define ROUTE_API "v1.route.openshift.io"
static const kind_t route = {"Route", "/apis/route.openshift.io/v1/routes", KFX_LABEL_PLANE, true};

typedef struct {
    kfx_watcher_t *watcher;
    const kind_t *kind; /* NULL: ControlPlanes, kubeflex-config, the definition, the APIService */
    kfx_watch_t *watch;
    bool synced;
    bool failing;
    bool fresh;  /* the one object was in the list that is going on */
    bool listed; /* Routes: once at least */
} slot_t;

/* A kind that a hook made. It stays watched as long as the process lives. */
typedef struct {
    kind_t kind;
    slot_t slot;
} more_t;

struct kfx_watches {
    kfx_watcher_t *watcher;
    more_t *more[MORE_MAX];
    size_t more_count;
    slot_t planes, hooks, config, crd, route_api, children[KFX_COUNT(kinds) + 1];
};

/* ---- first fill ------------------------------------------------------------------------------------------------- */

static bool all_synced(const kfx_watches_t *self)
{
    if (!self->planes.synced || !self->hooks.synced || !self->config.synced || !self->route_api.synced)
        return false;
    for (size_t i = 0; i < KFX_COUNT(self->children); i++)
        if (self->children[i].watch && !self->children[i].synced)
            return false;
    return true;
}

static void check_synced(kfx_watches_t *self)
{
    kfx_watcher_t *watcher = self->watcher;
    if (watcher->synced || !all_synced(self))
        return;
    watcher->synced = true;
    kfx_log_info("caches filled", "planes", kfx_log_num(kfx_planes_present(watcher->planes)), NULL);
    kfx_watcher_ready(watcher);
    kfx_watcher_mark_all(watcher);
    kfx_hook_status_later(watcher);
}

static int on_tidy(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    ((kfx_watcher_t *)arg)->tidy_timer = -1;
    malloc_trim(0);
    return 0;
}

void kfx_watcher_tidy_later(kfx_watcher_t *self)
{
    if (self->tidy_timer == -1)
        self->tidy_timer = zloop_timer(self->loop, TIDY_MS, 1, on_tidy, self);
}

static void synced(slot_t *slot)
{
    slot->synced = true;
    kfx_watcher_tidy_later(slot->watcher);
    check_synced(slot->watcher->watches);
}

static void note_error(slot_t *slot, const char *what, const kfx_error_t *err)
{
    if (err->code == KFX_E_GONE) { /* what is known is newer than what is true: begin anew */
        kfx_log_error("watch starts anew, and so does this process", "kind", what, "error", err->msg, NULL);
        slot->watcher->exit_code = 1;
        slot->watcher->stop = true;
        return;
    }
    if (slot->failing)
        kfx_log_debug("watch fails", "kind", what, "error", err->msg, NULL);
    else
        kfx_log_warn("watch fails, what is known stays", "kind", what, "error", err->msg, NULL);
    slot->failing = true;
}

static void note_works(slot_t *slot, const char *what)
{
    if (slot->failing)
        kfx_log_info("watch works again", "kind", what, NULL);
    slot->failing = false;
}

/* ---- ControlPlanes ---------------------------------------------------------------------------------------------- */

static void *reduce_plane(void *ctx, const json_t *object)
{
    (void)ctx;
    return kfx_reduce_plane(object);
}

static void begin_plane(void *ctx, kfx_plane_t *plane)
{
    (void)ctx;
    plane->fresh = false;
}

static void end_plane(void *ctx, kfx_plane_t *plane)
{
    if (!plane->present || plane->fresh)
        return;
    kfx_watcher_mark(ctx, plane);
    kfx_plane_forget(plane);
}

static void see_plane(kfx_watcher_t *self, kfx_watch_event_t event, kfx_seen_plane_t *seen)
{
    kfx_plane_t *plane = kfx_planes_get(self->planes, seen->name);
    if (event == KFX_WATCH_DELETED) {
        if (plane->present && strcmp(plane->uid, seen->uid) == 0)
            kfx_plane_forget(plane);
    } else {
        bool known = plane->present && strcmp(plane->uid, seen->uid) == 0;
        bool was_deleting = known && plane->deleting;
        kfx_plane_update(plane, seen);
        plane->fresh = true;
        plane->timed = known ? plane->timed : self->synced;
        if (known && !was_deleting && plane->deleting && self->leading)
            kfx_announce_deleting(self, plane);
    }
    kfx_watcher_mark(self, plane);
}

static void on_plane(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    slot_t *slot = ctx;
    kfx_watcher_t *self = slot->watcher;
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: kfx_planes_each(self->planes, begin_plane, self); break;
    case KFX_WATCH_SYNC_END:
        note_works(slot, "ControlPlane");
        kfx_planes_each(self->planes, end_plane, self);
        synced(slot);
        break;
    case KFX_WATCH_ERROR: note_error(slot, "ControlPlane", err); break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
    case KFX_WATCH_DELETED:
        if (item)
            see_plane(self, event, item);
    }
    kfx_seen_plane_free(item);
}

/* ---- children --------------------------------------------------------------------------------------------------- */

static void *reduce_child(void *ctx, const json_t *object)
{
    return kfx_reduce_child(((const slot_t *)ctx)->kind->kind, object);
}

typedef struct {
    kfx_watcher_t *watcher;
    const char *kind;
    bool again; /* not the first list */
} sweep_t;

static void begin_child(void *ctx, kfx_plane_t *plane)
{
    for (kfx_tracked_t *c = plane->children; c; c = c->next)
        if (strcmp(c->kind, ((sweep_t *)ctx)->kind) == 0)
            c->fresh = false;
}

static void end_child(void *ctx, kfx_plane_t *plane)
{
    sweep_t *sweep = ctx;
    bool changed = kfx_plane_sweep(plane, sweep->kind) > 0;
    /* What came and went before this list may have been met by a service, which waits for its end. */
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane->name, ns);
    bool unsure = sweep->again && plane->present && strcmp(sweep->kind, "Namespace") == 0 &&
                  !kfx_plane_child(plane, "Namespace", ns);
    if (unsure)
        kfx_plane_unsettle(plane);
    if (changed || unsure)
        kfx_watcher_mark(sweep->watcher, plane);
}

/* A plane may have been refused one. */
static void ask_again(void *ctx, kfx_plane_t *plane)
{
    kfx_plane_unsettle(plane);
    kfx_watcher_mark(ctx, plane);
}

/* Of Routes alone: all others are served everywhere. */
static void note_served(slot_t *slot)
{
    if (slot->kind != &route || slot->listed)
        return;
    slot->listed = true;
    kfx_planes_each(slot->watcher->planes, ask_again, slot->watcher);
}

static void see_child(kfx_watcher_t *self, kfx_watch_event_t event, const kfx_seen_child_t *seen)
{
    kfx_plane_t *plane = kfx_planes_get(self->planes, seen->plane);
    if (event == KFX_WATCH_DELETED)
        kfx_plane_child_remove(plane, seen->kind, seen->name, seen->uid);
    else
        kfx_plane_child_update(plane, seen);
    kfx_watcher_mark(self, plane);
}

static void on_child(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    slot_t *slot = ctx;
    kfx_watcher_t *self = slot->watcher;
    sweep_t sweep = {self, slot->kind->kind, slot->synced};
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: kfx_planes_each(self->planes, begin_child, &sweep); break;
    case KFX_WATCH_SYNC_END:
        note_works(slot, slot->kind->kind);
        kfx_planes_each(self->planes, end_child, &sweep);
        note_served(slot);
        synced(slot);
        break;
    case KFX_WATCH_ERROR:
        note_error(slot, slot->kind->kind, err);
        /* Registered, and not served yet, or never: nobody waits for that. */
        if (slot->kind == &route && !slot->synced && err->code == KFX_E_NOT_FOUND)
            synced(slot);
        break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
    case KFX_WATCH_DELETED:
        if (item)
            see_child(self, event, item);
    }
    free(item);
}

/* ---- kubeflex-config -------------------------------------------------------------------------------------------- */

static void *reduce_config(void *ctx, const json_t *object)
{
    (void)ctx;
    const char *uid = kfx_json_str(object, "metadata", "uid"),
               *rv = kfx_json_str(object, "metadata", "resourceVersion");
    if (!uid || !rv)
        return NULL;
    kfx_config_seen_t *seen = kfx_xcalloc(1, sizeof *seen);
    seen->exists = true;
    kfx_copy(seen->uid, sizeof seen->uid, uid);
    kfx_copy(seen->rv, sizeof seen->rv, rv);
    return seen;
}

static void take_config(kfx_watcher_t *self, const kfx_config_seen_t *seen)
{
    bool same = self->config.exists == seen->exists && strcmp(self->config.uid, seen->uid) == 0 &&
                strcmp(self->config.rv, seen->rv) == 0;
    self->config = *seen;
    if (same)
        return;
    kfx_watcher_mark_all(self); /* every plane's services hear of it */
    kfx_watcher_tidy_later(self);
}

static void on_config(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    static const kfx_config_seen_t none = {0};
    slot_t *slot = ctx;
    kfx_watcher_t *self = slot->watcher;
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: slot->fresh = false; break;
    case KFX_WATCH_SYNC_END:
        note_works(slot, KFX_CONFIGMAP);
        if (!slot->fresh)
            take_config(self, &none);
        synced(slot);
        break;
    case KFX_WATCH_ERROR: note_error(slot, KFX_CONFIGMAP, err); break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
        if (item)
            take_config(self, item);
        slot->fresh = true;
        break;
    case KFX_WATCH_DELETED: take_config(self, &none);
    }
    free(item);
}

/* ---- the definition of ControlPlane ----------------------------------------------------------------------------- */

static void *reduce_crd(void *ctx, const json_t *object)
{
    (void)ctx;
    return kfx_schema_compare(object);
}

static void kept(void *ctx, kfx_plane_t *plane)
{
    (void)ctx;
    kfx_plane_kept(plane);
}

void kfx_watcher_announce_schema(kfx_watcher_t *self)
{
    const kfx_schema_t *schema = &self->schema;
    kfx_object_ref_t about = {.api_version = "apiextensions.k8s.io/v1",
                              .kind = "CustomResourceDefinition",
                              .name = KFX_CRD_NAME,
                              .uid = schema->uid};
    if (self->leading && self->schema_known && !schema->same)
        kfx_events_emit(self->events, &about, "Warning", "SchemaOutdated", "Start", KFX_SCHEMA_OUTDATED,
                        schema->missing);
}

static void take_schema(kfx_watcher_t *self, const kfx_schema_t *schema)
{
    bool changed = !self->schema_known || strcmp(self->schema.missing, schema->missing) != 0;
    self->schema = *schema;
    self->schema_known = true;
    kfx_metric_set(self->stats->crd_current, schema->same);
    if (!changed)
        return;
    if (schema->same)
        kfx_log_info("the API server's ControlPlane is the one this build knows", NULL);
    else
        kfx_log_warn("the API server's ControlPlane is not the one this build knows: apply this release's deploy/crds",
                     "missing", schema->missing, NULL);
    kfx_watcher_announce_schema(self);
    kfx_planes_each(self->planes, kept, self);
    kfx_watcher_mark_all(self);
}

/* Nothing waits for it: without the right to read it, or while it is away, all goes on as if it were right. */
static void on_crd(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    slot_t *slot = ctx;
    if (event == KFX_WATCH_SYNC_END)
        note_works(slot, KFX_CRD_NAME);
    else if (event == KFX_WATCH_ERROR)
        note_error(slot, KFX_CRD_NAME, err);
    else if (item && event != KFX_WATCH_DELETED)
        take_schema(slot->watcher, item);
    free(item);
}

/* ---- PostCreateHooks -------------------------------------------------------------------------------------------- */

typedef struct {
    kfx_watcher_t *watcher;
    const char *hook;
} named_t;

static void mark_named(void *ctx, kfx_plane_t *plane)
{
    const named_t *named = ctx;
    if (plane->hooks && kfx_plane_names_hook(plane, named->hook))
        kfx_watcher_mark(named->watcher, plane);
}

static void mark_users(kfx_watcher_t *self, const char *hook)
{
    named_t named = {self, hook};
    kfx_planes_each(self->planes, mark_named, &named);
}

static void begin_hook(void *ctx, kfx_seen_hook_t *hook)
{
    (void)ctx;
    hook->fresh = false;
}

static void end_hook(void *ctx, kfx_seen_hook_t *hook)
{
    kfx_watcher_t *self = ctx;
    if (hook->fresh)
        return;
    mark_users(self, hook->name);
    kfx_hook_drop(self->hooks, hook->name);
}

static void see_hook(kfx_watcher_t *self, kfx_watch_event_t event, kfx_seen_hook_t *seen)
{
    kfx_seen_hook_t *known = kfx_hook_find(self->hooks, seen->name);
    mark_users(self, seen->name);
    if (event == KFX_WATCH_DELETED) {
        if (known && strcmp(known->uid, seen->uid) == 0)
            kfx_hook_drop(self->hooks, seen->name);
        kfx_seen_hook_free(seen);
        return;
    }
    seen->fresh = true;
    kfx_hook_put(self->hooks, seen);
    kfx_hook_status_later(self);
}

static void on_hook(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    slot_t *slot = ctx;
    kfx_watcher_t *self = slot->watcher;
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: kfx_hook_each(self->hooks, begin_hook, self); break;
    case KFX_WATCH_SYNC_END:
        note_works(slot, "PostCreateHook");
        kfx_hook_each(self->hooks, end_hook, self);
        synced(slot);
        break;
    case KFX_WATCH_ERROR:
        note_error(slot, "PostCreateHook", err);
        /* Planes without hooks do not wait for a definition that is not there, or for a right that is missing. */
        if (!slot->synced && (err->code == KFX_E_NOT_FOUND || err->code == KFX_E_FORBIDDEN))
            synced(slot);
        break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
    case KFX_WATCH_DELETED:
        if (item)
            see_hook(self, event, item);
    }
}

/* ---- watches of children ---------------------------------------------------------------------------------------- */

static void start_child(kfx_watches_t *self, slot_t *slot, const kind_t *kind)
{
    slot->watcher = self->watcher;
    slot->kind = kind;
    kfx_watch_spec_t spec = {.path = kind->path,
                             .label_selector = kind->selector,
                             .metadata_only = kind->metadata_only,
                             .reduce = reduce_child,
                             .on_event = on_child,
                             .free_item = free,
                             .ctx = slot};
    slot->watch = kfx_watch_start(self->watcher->mailbox, &spec);
}

static bool is_watched(const kfx_watches_t *self, const char *path)
{
    for (size_t i = 0; i < KFX_COUNT(kinds); i++)
        if (strcmp(kinds[i].path, path) == 0)
            return true;
    for (size_t i = 0; i < self->more_count; i++)
        if (strcmp(self->more[i]->kind.path, path) == 0)
            return true;
    return strcmp(route.path, path) == 0;
}

void kfx_watches_add(kfx_watches_t *self, const char *path)
{
    if (!self || path[0] != '/' || is_watched(self, path))
        return;
    if (self->more_count == MORE_MAX) {
        kfx_log_warn("hooks make more kinds than are watched", "path", path, NULL);
        return;
    }
    more_t *more = kfx_xcalloc(1, sizeof *more);
    const char *name = kfx_intern(path);
    /* In full, as what makes such an object ready is in its status. Its path stands for the kind: kinds of several
     * groups may have one name. */
    more->kind = (kind_t){name, name, KFX_LABEL_PLANE, false};
    self->more[self->more_count++] = more;
    kfx_log_info("watching a kind that a hook made", "path", path, NULL);
    start_child(self, &more->slot, &more->kind);
}

/* ---- Routes ----------------------------------------------------------------------------------------------------- */

/* That it is there is all that counts. */
static void *reduce_route_api(void *ctx, const json_t *object)
{
    (void)ctx;
    (void)object;
    return kfx_xcalloc(1, 1);
}

static void routes_come(kfx_watches_t *self)
{
    slot_t *slot = &self->children[ROUTE];
    if (slot->watch)
        return;
    kfx_log_info("the API server has Routes", NULL);
    start_child(self, slot, &route);
}

static void routes_go(kfx_watches_t *self)
{
    slot_t *slot = &self->children[ROUTE];
    if (!slot->watch)
        return;
    kfx_log_info("the API server has no Routes any more", NULL);
    kfx_watch_stop(&slot->watch);
    sweep_t sweep = {self->watcher, route.kind, false};
    kfx_planes_each(self->watcher->planes, begin_child, &sweep);
    kfx_planes_each(self->watcher->planes, end_child, &sweep);
    *slot = (slot_t){0};
}

static void on_route_api(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    slot_t *slot = ctx;
    kfx_watches_t *self = slot->watcher->watches;
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: slot->fresh = false; break;
    case KFX_WATCH_SYNC_END:
        note_works(slot, "APIService");
        if (!slot->fresh)
            routes_go(self);
        synced(slot);
        break;
    case KFX_WATCH_ERROR:
        note_error(slot, "APIService", err);
        /* Planes without Routes do not wait for a right that is missing. */
        if (!slot->synced && (err->code == KFX_E_NOT_FOUND || err->code == KFX_E_FORBIDDEN))
            synced(slot);
        break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
        slot->fresh = true;
        routes_come(self);
        break;
    case KFX_WATCH_DELETED: routes_go(self);
    }
    free(item);
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

kfx_watches_t *kfx_watches_start(kfx_watcher_t *watcher)
{
    kfx_watches_t *self = kfx_xcalloc(1, sizeof *self);
    self->watcher = watcher;
    watcher->watches = self;

    self->planes.watcher = watcher;
    kfx_watch_spec_t planes = {.path = KFX_CONTROLPLANES_PATH,
                               .label_selector = watcher->opts.selector,
                               .reduce = reduce_plane,
                               .on_event = on_plane,
                               .free_item = kfx_seen_plane_free,
                               .ctx = &self->planes};
    self->planes.watch = kfx_watch_start(watcher->mailbox, &planes);

    self->hooks.watcher = watcher;
    kfx_watch_spec_t hooks = {.path = KFX_POSTCREATEHOOKS_PATH,
                              .reduce = kfx_reduce_hook,
                              .on_event = on_hook,
                              .free_item = kfx_seen_hook_free,
                              .ctx = &self->hooks};
    self->hooks.watch = kfx_watch_start(watcher->mailbox, &hooks);

    self->config.watcher = watcher;
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/configmaps", watcher->opts.ns);
    kfx_watch_spec_t config = {.path = path,
                               .field_selector = "metadata.name=" KFX_CONFIGMAP,
                               .metadata_only = true,
                               .reduce = reduce_config,
                               .on_event = on_config,
                               .free_item = free,
                               .ctx = &self->config};
    self->config.watch = kfx_watch_start(watcher->mailbox, &config);

    self->crd.watcher = watcher;
    kfx_watch_spec_t crd = {.path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                            .field_selector = "metadata.name=" KFX_CRD_NAME,
                            .reduce = reduce_crd,
                            .on_event = on_crd,
                            .free_item = free,
                            .ctx = &self->crd};
    self->crd.watch = kfx_watch_start(watcher->mailbox, &crd);

    for (size_t i = 0; i < KFX_COUNT(kinds); i++)
        start_child(self, &self->children[i], &kinds[i]);

    self->route_api.watcher = watcher;
    kfx_watch_spec_t route_api = {.path = APISERVICES_PATH,
                                  .field_selector = "metadata.name=" ROUTE_API,
                                  .metadata_only = true,
                                  .reduce = reduce_route_api,
                                  .on_event = on_route_api,
                                  .free_item = free,
                                  .ctx = &self->route_api};
    self->route_api.watch = kfx_watch_start(watcher->mailbox, &route_api);
    return self;
}

void kfx_watches_stop(kfx_watches_t **watches_p)
{
    kfx_watches_t *self = *watches_p;
    if (!self)
        return;
    *watches_p = NULL;
    kfx_watch_stop(&self->planes.watch);
    kfx_watch_stop(&self->hooks.watch);
    for (size_t i = 0; i < self->more_count; i++) {
        kfx_watch_stop(&self->more[i]->slot.watch);
        free(self->more[i]); /* its name stays interned: children may have it */
    }
    kfx_watch_stop(&self->config.watch);
    kfx_watch_stop(&self->crd.watch);
    kfx_watch_stop(&self->route_api.watch);
    for (size_t i = 0; i < KFX_COUNT(self->children); i++)
        kfx_watch_stop(&self->children[i].watch);
    free(self);
}
