/* watcher/awaited.c: see awaited.h. */
#include "watcher/awaited.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "watcher/intern.h"
#include "watcher/watcher.h"

/* A namespace in which planes wait for Secrets. */
typedef struct {
    kfx_awaited_t *owner;
    char *ns;
    unsigned users; /* planes */
    kfx_watch_t *watch;
    zhashx_t *there; /* name -> secret_t */
    bool failing;
} site_t;

typedef struct {
    char version[KFX_SEEN_UID_SIZE + KFX_SEEN_RV_SIZE + 1]; /* "uid/resourceVersion" */
    bool fresh;                                             /* seen by the list that is going on */
} secret_t;

typedef struct {
    char *name;
    secret_t secret;
} seen_t;

struct kfx_awaited {
    kfx_watcher_t *watcher;
    zhashx_t *sites; /* namespace -> site_t */
};

static void free_item(void **item)
{
    free(*item);
    *item = NULL;
}

static void free_seen(void *item)
{
    seen_t *seen = item;
    if (seen)
        free(seen->name);
    free(seen);
}

static void free_site(void **item)
{
    site_t *site = *item;
    kfx_watch_stop(&site->watch);
    zhashx_destroy(&site->there);
    free(site->ns);
    free(site);
    *item = NULL;
}

kfx_awaited_t *kfx_awaited_new(kfx_watcher_t *watcher)
{
    kfx_awaited_t *self = kfx_xcalloc(1, sizeof *self);
    self->watcher = watcher;
    self->sites = zhashx_new();
    zhashx_set_destructor(self->sites, free_site);
    return self;
}

void kfx_awaited_destroy(kfx_awaited_t **self_p)
{
    kfx_awaited_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    zhashx_destroy(&self->sites);
    free(self);
}

/* ---- what the watch shows ---------------------------------------------------------------------------------------- */

/* The name, where the text is "<ns>/<name>" with this namespace. */
static const char *name_in(const site_t *site, const char *text)
{
    size_t len = strlen(site->ns);
    return text && strncmp(text, site->ns, len) == 0 && text[len] == '/' ? text + len + 1 : NULL;
}

static void look(const site_t *site, kfx_plane_t *plane)
{
    const char *name = name_in(site, plane->awaits);
    const secret_t *secret = name ? zhashx_lookup(site->there, name) : NULL;
    const char *version = secret ? secret->version : NULL;
    if (!name || (!plane->awaited && !version) || (plane->awaited && version && strcmp(plane->awaited, version) == 0))
        return;
    kfx_intern_set(&plane->awaited, version);
    kfx_watcher_mark(site->owner->watcher, plane);
}

static void look_each(void *ctx, kfx_plane_t *plane)
{
    look(ctx, plane);
}

static void *reduce_secret(void *ctx, const json_t *object)
{
    (void)ctx;
    const char *name = kfx_json_str(object, "metadata", "name"), *uid = kfx_json_str(object, "metadata", "uid");
    const char *rv = kfx_json_str(object, "metadata", "resourceVersion");
    if (!name || !uid || !rv)
        return NULL;
    seen_t *seen = kfx_xcalloc(1, sizeof *seen);
    seen->name = kfx_xstrdup(name);
    snprintf(seen->secret.version, sizeof seen->secret.version, "%s/%s", uid, rv);
    return seen;
}

static void keep(site_t *site, const seen_t *seen)
{
    secret_t *secret = zhashx_lookup(site->there, seen->name);
    if (!secret) {
        secret = kfx_xcalloc(1, sizeof *secret);
        zhashx_insert(site->there, seen->name, secret);
    }
    *secret = seen->secret;
    secret->fresh = true;
}

static void begin_list(site_t *site)
{
    for (secret_t *s = zhashx_first(site->there); s; s = zhashx_next(site->there))
        s->fresh = false;
}

static void end_list(site_t *site)
{
    zlistx_t *names = zhashx_keys(site->there);
    for (const char *name = zlistx_first(names); name; name = zlistx_next(names))
        if (!((const secret_t *)zhashx_lookup(site->there, name))->fresh)
            zhashx_delete(site->there, name);
    zlistx_destroy(&names);
}

static void note_error(site_t *site, const kfx_error_t *err)
{
    if (!site->failing)
        kfx_log_warn("watch of awaited Secrets fails, what is known stays", "namespace", site->ns, "error", err->msg,
                     NULL);
    site->failing = true;
}

static void on_event(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    site_t *site = ctx;
    const seen_t *seen = item;
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN: begin_list(site); break;
    case KFX_WATCH_SYNC_END:
        site->failing = false;
        end_list(site);
        break;
    case KFX_WATCH_ERROR: note_error(site, err); break;
    case KFX_WATCH_DELETED:
        if (seen)
            zhashx_delete(site->there, seen->name);
        break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
        if (seen)
            keep(site, seen);
    }
    if (seen || event == KFX_WATCH_SYNC_END)
        kfx_planes_each(site->owner->watcher->planes, look_each, site);
    free_seen(item);
}

/* ---- who waits where --------------------------------------------------------------------------------------------- */

static site_t *add_site(kfx_awaited_t *self, const char *ns)
{
    if (zhashx_size(self->sites) >= KFX_AWAITED_NAMESPACES_MAX) {
        kfx_log_warn("too many namespaces hold awaited Secrets: this one is not watched", "namespace", ns, NULL);
        return NULL;
    }
    site_t *site = kfx_xcalloc(1, sizeof *site);
    site->owner = self;
    site->ns = kfx_xstrdup(ns);
    site->there = zhashx_new();
    zhashx_set_destructor(site->there, free_item);
    KFX_FREE char *escaped = kfx_kube_escape(ns), *path = kfx_xasprintf("/api/v1/namespaces/%s/secrets", escaped);
    kfx_watch_spec_t spec = {.path = path,
                             .metadata_only = true,
                             .reduce = reduce_secret,
                             .on_event = on_event,
                             .free_item = free_seen,
                             .ctx = site};
    site->watch = kfx_watch_start(self->watcher->mailbox, &spec);
    zhashx_insert(self->sites, ns, site);
    return site;
}

static bool namespace_of(const char *text, char out[KFX_NAME_SIZE])
{
    const char *slash = text ? strchr(text, '/') : NULL;
    if (!slash || slash == text || (size_t)(slash - text) >= KFX_NAME_SIZE)
        return false;
    memcpy(out, text, (size_t)(slash - text));
    out[slash - text] = '\0';
    return true;
}

static void leave(kfx_awaited_t *self, kfx_plane_t *plane)
{
    char ns[KFX_NAME_SIZE];
    site_t *site = namespace_of(plane->awaits_counted, ns) ? zhashx_lookup(self->sites, ns) : NULL;
    if (site && --site->users == 0)
        zhashx_delete(self->sites, ns);
    kfx_intern_set(&plane->awaits_counted, NULL);
    kfx_intern_set(&plane->awaited, NULL);
}

void kfx_awaited_plane(kfx_awaited_t *self, kfx_plane_t *plane)
{
    char ns[KFX_NAME_SIZE];
    const char *wanted = plane->present && !plane->deleting ? plane->awaits : NULL;
    if (wanted == plane->awaits_counted) /* interned */
        return;
    leave(self, plane);
    site_t *site = namespace_of(wanted, ns) ? zhashx_lookup(self->sites, ns) : NULL;
    if (!site && namespace_of(wanted, ns))
        site = add_site(self, ns);
    if (!site)
        return;
    site->users++;
    kfx_intern_set(&plane->awaits_counted, wanted);
    look(site, plane);
}
