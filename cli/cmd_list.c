/* kflex list: the control planes of the hosting cluster, sorted by name; with --watch what changes, too. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/listing.h"
#include "cli/plane.h"
#include "kube/watch.h"

#include <string.h>

#define KFX_LIST_PAGE 500

static int fetch(kfx_kube_t *kube, kfx_listing_t *listing, kfx_error_t *err)
{
    KFX_FREE char *next = kfx_xstrdup("");
    do {
        KFX_FREE char *escaped = kfx_kube_escape(next);
        KFX_FREE char *path =
            kfx_xasprintf("%s?limit=%d%s%s", KFX_CONTROLPLANES_PATH, KFX_LIST_PAGE, *next ? "&continue=" : "", escaped);
        KFX_JSON json_t *page = kfx_hosting_get(kube, path, err);
        if (!page)
            return -1;
        size_t i;
        json_t *item;
        json_array_foreach (json_object_get(page, "items"), i, item)
            kfx_listing_add(listing, item);
        const char *token = kfx_json_str(page, "metadata", "continue");
        free(next);
        next = kfx_xstrdup(token ? token : "");
    } while (*next);
    return 0;
}

/* ---- --watch ---- */

typedef struct {
    kfx_listing_t *listing;
    json_t *known; /* name -> {"key": what was shown of it, "object": it} */
    json_t *seen;  /* names since the list began; NULL: not in a list */
    bool started;  /* the first list was printed */
    kfx_error_t error;
    bool failed;
} following_t;

/* I/O thread. */
static void *copy_object(void *ctx, const json_t *object)
{
    (void)ctx;
    return json_deep_copy(object);
}

static void free_object(void *object)
{
    json_decref(object);
}

static void tell(following_t *self, const char *type, const json_t *object)
{
    if (kfx_listing_tell(self->listing, type, object, &self->error) < 0)
        self->failed = true;
}

/* Shows it where anything that is shown of it has changed. */
static void meet(following_t *self, json_t *object)
{
    const char *name = kfx_json_str(object, "metadata", "name");
    if (!name)
        return;
    KFX_FREE char *key = kfx_listing_key(self->listing, object);
    const char *was = kfx_json_str(self->known, name, "key");
    if (self->started && (!was || strcmp(was, key) != 0))
        tell(self, was ? "MODIFIED" : "ADDED", object);
    json_object_set_new(self->known, name, json_pack("{s:s, s:O}", "key", key, "object", object));
    if (self->seen)
        json_object_set_new(self->seen, name, json_true());
}

static void lose(following_t *self, const char *name)
{
    if (self->started)
        tell(self, "DELETED", kfx_json_get(self->known, name, "object"));
    json_object_del(self->known, name);
}

static void end_of_list(following_t *self)
{
    void *next;
    const char *name;
    json_t *entry;
    json_object_foreach_safe(self->known, next, name, entry)
    {
        if (!json_object_get(self->seen, name))
            lose(self, name);
        else if (!self->started && kfx_format_is_tree(self->listing->format))
            tell(self, "ADDED", json_object_get(entry, "object"));
        else if (!self->started)
            kfx_listing_add(self->listing, json_object_get(entry, "object"));
    }
    json_decref(self->seen);
    self->seen = NULL;
    if (!self->started && !kfx_format_is_tree(self->listing->format) &&
        kfx_listing_print(self->listing, true, false, &self->error) < 0)
        self->failed = true;
    self->started = true;
    fflush(self->listing->out->out);
}

static void on_change(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    following_t *self = ctx;
    switch (event) {
    case KFX_WATCH_SYNC_BEGIN:
        json_decref(self->seen);
        self->seen = json_object();
        break;
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED: meet(self, item); break;
    case KFX_WATCH_DELETED: {
        const char *name = kfx_json_str(item, "metadata", "name");
        if (name && json_object_get(self->known, name))
            lose(self, name);
        break;
    }
    case KFX_WATCH_SYNC_END: end_of_list(self); break;
    case KFX_WATCH_ERROR:
        /* It goes on by itself, unless it cannot. */
        if (err && (!self->started || err->code == KFX_E_FORBIDDEN || err->code == KFX_E_UNAUTHORIZED)) {
            self->error = *err;
            self->failed = true;
        } else if (err)
            kfx_out_note(self->listing->out, "Waiting: %s", err->msg);
        break;
    }
    json_decref(item);
}

/* Until it fails; Ctrl-C ends the process. */
static int follow(kfx_kube_t *kube, kfx_listing_t *listing, kfx_error_t *err)
{
    following_t self = {.listing = listing, .known = json_object(), .error = KFX_ERROR_INIT};
    kfx_mailbox_t *mailbox = kfx_mailbox_new(kube);
    kfx_watch_spec_t spec = {.path = KFX_CONTROLPLANES_PATH,
                             .reduce = copy_object,
                             .on_event = on_change,
                             .free_item = free_object,
                             .ctx = &self};
    kfx_watch_t *watch = kfx_watch_start(mailbox, &spec);
    zpoller_t *poller = zpoller_new(kfx_mailbox_sock(mailbox), NULL);
    while (!self.failed && !ferror(listing->out->out)) {
        zpoller_wait(poller, -1);
        kfx_mailbox_dispatch(mailbox);
    }
    zpoller_destroy(&poller);
    kfx_watch_stop(&watch);
    kfx_mailbox_destroy(&mailbox);
    json_decref(self.known);
    json_decref(self.seen);
    if (err)
        *err = self.error;
    return self.failed ? -1 : 0;
}

int kfx_cmd_list(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    kfx_listing_t listing;
    kfx_listing_init(&listing, cli);
    kfx_error_t why = KFX_ERROR_INIT;
    int rc = cli->opts.watch ? follow(hosting.kube, &listing, &why) : fetch(hosting.kube, &listing, &why);
    if (rc == 0 && !cli->opts.watch)
        rc = kfx_listing_print(&listing, true, false, err);
    else if (rc < 0 && why.code == KFX_E_NOT_FOUND)
        kfx_hosting_no_api(&hosting, err);
    else if (rc < 0) {
        if (err)
            *err = why;
        kfx_hosting_explain(&hosting, err);
    }
    kfx_listing_release(&listing);
    kfx_hosting_close(&hosting);
    return rc;
}
