#include "watcher/planes.h"

#include "base/clock.h"
#include "base/mem.h"
#include "watcher/intern.h"

struct kfx_planes {
    zhashx_t *byname;
};

static size_t hash_name(const void *key)
{
    size_t h = 14695981039346656037u; /* FNV-1a */
    for (const unsigned char *p = key; *p; p++)
        h = (h ^ *p) * 1099511628211u;
    return h;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

kfx_planes_t *kfx_planes_new(void)
{
    kfx_planes_t *self = kfx_xcalloc(1, sizeof *self);
    self->byname = zhashx_new();
    /* The key is the entry's own name: no copy. */
    zhashx_set_key_duplicator(self->byname, NULL);
    zhashx_set_key_destructor(self->byname, NULL);
    zhashx_set_key_hasher(self->byname, hash_name);
    zhashx_set_key_comparator(self->byname, compare_names);
    return self;
}

static void free_child(kfx_tracked_t *child)
{
    kfx_unintern(child->name);
    kfx_unintern(child->owner);
    free(child);
}

void kfx_verdict_free(kfx_verdict_t **verdict_p)
{
    if (*verdict_p)
        free((*verdict_p)->says);
    free(*verdict_p);
    *verdict_p = NULL;
}

static void clear_promises(kfx_plane_t *plane)
{
    while (plane->promises) {
        kfx_promise_t *next = plane->promises->next;
        free(plane->promises);
        plane->promises = next;
    }
}

static void free_plane(kfx_plane_t *plane)
{
    kfx_plane_forget(plane);
    kfx_unintern(plane->awaits_counted);
    kfx_unintern(plane->awaited);
    while (plane->children) {
        kfx_tracked_t *next = plane->children->next;
        free_child(plane->children);
        plane->children = next;
    }
    free(plane->name);
    free(plane);
}

void kfx_planes_destroy(kfx_planes_t **self_p)
{
    kfx_planes_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    kfx_plane_t *plane;
    while ((plane = zhashx_first(self->byname)) != NULL) {
        zhashx_delete(self->byname, plane->name);
        free_plane(plane);
    }
    zhashx_destroy(&self->byname);
    free(self);
}

kfx_plane_t *kfx_planes_find(kfx_planes_t *self, const char *name)
{
    return zhashx_lookup(self->byname, name);
}

kfx_plane_t *kfx_planes_get(kfx_planes_t *self, const char *name)
{
    kfx_plane_t *plane = kfx_planes_find(self, name);
    if (plane)
        return plane;
    plane = kfx_xcalloc(1, sizeof *plane);
    plane->name = kfx_xstrdup(name);
    zhashx_insert(self->byname, plane->name, plane);
    return plane;
}

size_t kfx_planes_count(kfx_planes_t *self)
{
    return zhashx_size(self->byname);
}

size_t kfx_planes_present(kfx_planes_t *self)
{
    size_t count = 0;
    for (const kfx_plane_t *plane = zhashx_first(self->byname); plane; plane = zhashx_next(self->byname))
        count += plane->present;
    return count;
}

bool kfx_planes_purge(kfx_planes_t *self, kfx_plane_t *plane)
{
    if (plane->present || plane->children || plane->op != KFX_OP_NONE || plane->dirty)
        return false;
    zhashx_delete(self->byname, plane->name);
    free_plane(plane);
    return true;
}

void kfx_planes_each(kfx_planes_t *self, void (*fn)(void *ctx, kfx_plane_t *plane), void *ctx)
{
    for (kfx_plane_t *plane = zhashx_first(self->byname); plane; plane = zhashx_next(self->byname))
        fn(ctx, plane);
}

/* ---- the ControlPlane ----------------------------------------------------------------------------------------- */

void kfx_view_reset(kfx_view_t *view)
{
    view->told = false;
    view->sent_seq = 0;
    view->done_seq = 0;
    view->lag = view->again = false;
}

static void clear_views(kfx_plane_t *plane)
{
    for (size_t i = 0; i < KFX_SERVICES_MAX; i++) {
        kfx_verdict_free(&plane->views[i].verdict);
        kfx_verdict_free(&plane->views[i].held);
        memset(&plane->views[i], 0, sizeof plane->views[i]);
    }
    clear_promises(plane);
}

void kfx_plane_kept(kfx_plane_t *plane)
{
    plane->unkept = 0;
    plane->unkept_tries = 0;
    plane->unkept_until = 0;
}

void kfx_plane_forget(kfx_plane_t *plane)
{
    clear_views(plane);
    plane->present = plane->deleting = plane->forced = plane->finalizer = plane->timed = plane->retyped = false;
    kfx_intern_set(&plane->uid, NULL);
    kfx_intern_set(&plane->type, NULL);
    kfx_intern_set(&plane->finalizers, NULL);
    kfx_intern_set(&plane->hooks, NULL);
    kfx_intern_set(&plane->labels, NULL);
    plane->label_tries = 0;
    plane->rv[0] = '\0';
    plane->generation = 0;
    plane->fails = 0;
    plane->retry_at = plane->patient = 0;
    kfx_plane_kept(plane);
    kfx_intern_set(&plane->awaits, NULL);
    plane->has_place = plane->place_idle = false;
    plane->place_turn = 0;
    free(plane->status);
    plane->status = NULL;
}

bool kfx_plane_update(kfx_plane_t *plane, kfx_seen_plane_t *seen)
{
    if (plane->present && strcmp(plane->uid, seen->uid) == 0) {
        if (kfx_rv_compare(seen->rv, plane->rv) <= 0)
            return false;
    } else {
        if (plane->present) /* deleted and made again while we did not look */
            kfx_plane_forget(plane);
        plane->first_seen = kfx_now_ms();
    }
    plane->present = true;
    plane->deleting = seen->deleting;
    plane->forced = seen->forced;
    plane->finalizer = seen->finalizer;
    plane->generation = seen->generation;
    kfx_copy(plane->rotate, sizeof plane->rotate, seen->rotate);
    plane->retry_at = 0;
    kfx_copy(plane->rv, sizeof plane->rv, seen->rv);
    kfx_intern_set(&plane->uid, seen->uid);
    plane->retyped = plane->type && plane->type[0] && strcmp(plane->type, seen->type) != 0;
    if (!plane->retyped)
        kfx_intern_set(&plane->type, seen->type);
    kfx_intern_set(&plane->finalizers, seen->finalizers);
    kfx_intern_set(&plane->hooks, seen->hooks);
    kfx_intern_set(&plane->labels, seen->labels);
    free(plane->status);
    plane->status = KFX_STEAL(seen->status);
    return true;
}

void kfx_plane_answered(kfx_plane_t *plane, kfx_seen_plane_t *seen)
{
    if (plane->present && strcmp(plane->uid, seen->uid) == 0 && strcmp(plane->rv, seen->rv) == 0) {
        plane->finalizer = seen->finalizer;
        kfx_intern_set(&plane->finalizers, seen->finalizers);
        free(plane->status);
        plane->status = KFX_STEAL(seen->status);
    } else {
        kfx_plane_update(plane, seen);
    }
}

/* ---- children ------------------------------------------------------------------------------------------------- */

bool kfx_child_owned(const kfx_plane_t *plane, const kfx_tracked_t *child)
{
    return plane->uid && strcmp(child->owner, plane->uid) == 0;
}

static uint64_t mix(uint64_t h, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        h = (h ^ *p) * 1099511628211u;
    return (h ^ 0xff) * 1099511628211u; /* a mark between the parts */
}

/* Nothing but the resourceVersion says that the content of these changed: of what has no applied-hash of ours, and of
 * those into which others write the address they are reached by. */
static bool version_matters(const kfx_tracked_t *child)
{
    if (child->hook)
        return false;
    if (strcmp(child->kind, "Service") == 0 || strcmp(child->kind, "Route") == 0)
        return true;
    return child->hash[0] == '\0' && (strcmp(child->kind, "Secret") == 0 || strcmp(child->kind, "ConfigMap") == 0);
}

/* Its status tells what it waits for, and the plane's condition tells it on. While the plane goes too, nobody asks. */
static bool holds_up(const kfx_plane_t *plane, const kfx_tracked_t *child)
{
    return child->terminating && !plane->deleting && strcmp(child->kind, "Namespace") == 0;
}

uint32_t kfx_child_view(const kfx_plane_t *plane, const kfx_tracked_t *child)
{
    uint64_t h = mix(14695981039346656037u, child->uid);
    h = mix(h, child->hash);
    if (version_matters(child) || holds_up(plane, child))
        h = mix(h, child->rv);
    char flags[] = {child->ready ? 'r' : '-',
                    child->terminating ? 't' : '-',
                    child->drifted ? 'd' : '-',
                    kfx_child_owned(plane, child) ? 'o' : '-',
                    child->rolling ? 'p' : '-',
                    child->stuck ? 's' : '-',
                    child->hook && child->failed ? 'f' : '\0',
                    '\0'};
    h = mix(h, flags);
    uint32_t view = (uint32_t)(h ^ (h >> 32));
    return ((view | 2) & ~1u) | (child->ready ? 1 : 0);
}

kfx_tracked_t *kfx_plane_child(const kfx_plane_t *plane, const char *kind, const char *name)
{
    for (kfx_tracked_t *c = plane->children; c; c = c->next)
        if (strcmp(c->kind, kind) == 0 && strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static uint64_t promise_id(const char *kind, const char *name, const char *uid, const char *hash)
{
    char cut[KFX_HASH_SIZE];
    kfx_copy(cut, sizeof cut, hash);
    return mix(mix(mix(mix(14695981039346656037u, kind), name), uid), cut);
}

/* That all its pods are there is news even for the one who wrote it; so is what somebody else has done to it since. */
bool kfx_child_plain(const kfx_plane_t *plane, const kfx_tracked_t *child)
{
    bool workload = strcmp(child->kind, "Deployment") == 0 || strcmp(child->kind, "StatefulSet") == 0;
    bool over = workload ? !child->rolling || child->stuck : child->ready && strcmp(child->kind, "Job") == 0;
    return kfx_child_owned(plane, child) && !child->terminating && !child->drifted && !over;
}

bool kfx_child_risen(const kfx_tracked_t *child, size_t service)
{
    return child->ready && child->told[service] && !(child->told[service] & 1);
}

#define TOLD_OLD 2u /* no view but by a chance of one in 2^30 */

/* The watch shows what a service reported as written, at that resourceVersion or a later one. */
static void match_write(kfx_plane_t *plane, kfx_tracked_t *child, size_t service, const char *written_rv)
{
    bool exact = strcmp(child->rv, written_rv) == 0;
    if (exact) {
        child->baseline = child->fields;
        child->drifted = child->fields == 0;
    }
    /* It was harmed again after the service had put it right: what that was told before says the same, and is old. */
    if (!exact && child->drifted && child->told[service])
        child->told[service] = TOLD_OLD | (child->told[service] & 1);
    if (!kfx_child_plain(plane, child) || (!exact && version_matters(child)))
        return;
    if (!exact && child->told[service] && (child->told[service] & 1) != child->ready)
        return; /* it has become ready, or is so no more, and that came after the write */
    uint32_t view = kfx_child_view(plane, child);
    if (child->told[service] == view)
        return;
    child->told[service] = view;
    plane->views[service].lag = true;
}

static void keep_promises(kfx_plane_t *plane, kfx_tracked_t *child)
{
    if (!plane->promises)
        return;
    uint64_t id = promise_id(child->kind, child->name, child->uid, child->hash);
    for (kfx_promise_t **at = &plane->promises; *at;) {
        kfx_promise_t *p = *at;
        if (p->id != id || kfx_rv_compare(child->rv, p->rv) < 0) {
            at = &p->next;
            continue;
        }
        match_write(plane, child, p->service, p->rv);
        *at = p->next;
        free(p);
    }
}

void kfx_plane_wrote(kfx_plane_t *plane, size_t service, const kfx_written_t *written)
{
    kfx_tracked_t *child = kfx_plane_child(plane, written->kind, written->name);
    char hash[KFX_HASH_SIZE];
    kfx_copy(hash, sizeof hash, written->hash);
    if (child && strcmp(child->uid, written->uid) == 0 && kfx_rv_compare(child->rv, written->rv) >= 0) {
        if (strcmp(child->hash, hash) == 0)
            match_write(plane, child, service, written->rv);
        return;
    }
    size_t count = 0;
    for (kfx_promise_t *p = plane->promises; p; p = p->next)
        count++;
    if (count >= KFX_CHILDREN_MAX) /* promises nobody kept: objects that were gone again before the watch showed them */
        clear_promises(plane);
    kfx_promise_t *p = kfx_xcalloc(1, sizeof *p);
    p->service = (uint8_t)service;
    p->id = promise_id(written->kind, written->name, written->uid, written->hash);
    kfx_copy(p->rv, sizeof p->rv, written->rv);
    p->next = plane->promises;
    plane->promises = p;
}

static kfx_tracked_t *add_child(kfx_plane_t *plane, const char *kind, const char *name)
{
    kfx_tracked_t *child = kfx_xcalloc(1, sizeof *child);
    child->kind = kind;
    child->name = kfx_intern(name);
    child->owner = kfx_intern("");
    kfx_tracked_t **at = &plane->children;
    while (*at)
        at = &(*at)->next;
    *at = child;
    return child;
}

void kfx_plane_child_update(kfx_plane_t *plane, const kfx_seen_child_t *seen)
{
    kfx_tracked_t *child = kfx_plane_child(plane, seen->kind, seen->name);
    bool first = !child || strcmp(child->uid, seen->uid) != 0;
    if (!child)
        child = add_child(plane, seen->kind, seen->name);
    child->fresh = true;
    if (!first && kfx_rv_compare(seen->rv, child->rv) <= 0)
        return;
    bool rewritten = strncmp(child->hash, seen->hash, KFX_HASH_SIZE - 1) != 0;
    kfx_copy(child->uid, sizeof child->uid, seen->uid);
    kfx_copy(child->rv, sizeof child->rv, seen->rv);
    kfx_copy(child->hash, sizeof child->hash, seen->hash);
    kfx_intern_set(&child->owner, seen->owner);
    child->ready = seen->ready;
    child->failed = seen->failed;
    child->hook = seen->hook;
    child->rolling = seen->rolling;
    child->stuck = seen->stuck;
    child->terminating = seen->terminating;
    child->fields = seen->fields;
    /* Another applied-hash is another write of ours. At first sight there is nothing to compare with: then somebody
     * else's later fields make us suspicious, which costs one apply that changes nothing. */
    if (first || rewritten)
        child->baseline = first && seen->touched ? 0 : seen->fields;
    child->drifted = child->fields == 0 || child->fields != child->baseline;
    keep_promises(plane, child);
}

void kfx_plane_unsettle(kfx_plane_t *plane)
{
    for (size_t i = 0; i < KFX_SERVICES_MAX; i++)
        plane->views[i].lost_child = true;
}

/* A service looks for its Namespace itself: it may have met one that it never was told of, and waits for its end. And
 * one that is at work may have made what it was never told of: its DONE comes later than the end of that. */
static void drop_child(kfx_plane_t *plane, kfx_tracked_t **at)
{
    kfx_tracked_t *child = *at;
    if (strcmp(child->kind, "Namespace") == 0)
        kfx_plane_unsettle(plane);
    for (size_t i = 0; i < KFX_SERVICES_MAX; i++)
        if (child->told[i] || plane->views[i].sent_seq > plane->views[i].done_seq)
            plane->views[i].lost_child = true;
    *at = child->next;
    free_child(child);
}

void kfx_plane_child_remove(kfx_plane_t *plane, const char *kind, const char *name, const char *uid)
{
    for (kfx_tracked_t **at = &plane->children; *at; at = &(*at)->next) {
        if (strcmp((*at)->kind, kind) == 0 && strcmp((*at)->name, name) == 0) {
            if (strcmp((*at)->uid, uid) == 0)
                drop_child(plane, at);
            return;
        }
    }
}

size_t kfx_plane_sweep(kfx_plane_t *plane, const char *kind)
{
    size_t dropped = 0;
    for (kfx_tracked_t **at = &plane->children; *at;) {
        if (strcmp((*at)->kind, kind) == 0 && !(*at)->fresh) {
            drop_child(plane, at);
            dropped++;
        } else {
            at = &(*at)->next;
        }
    }
    return dropped;
}
