/* reconcilers/rollouts.c: uid -> until when it counts, as a holder of a place or as one that waits. */
#include "reconcilers/rollouts.h"

#include "base/clock.h"
#include "base/mem.h"

#include <czmq.h>
#include <pthread.h>

#define RETRY_PER_WAITING_MS 100 /* ten planes ask in a second, however many wait */

typedef struct {
    int64_t until;
    bool holds;
} entry_t;

struct kfx_rollouts {
    pthread_mutex_t lock;
    zhashx_t *entries; /* uid -> entry_t */
    size_t holders;
};

static void free_entry(void **item)
{
    free(*item);
    *item = NULL;
}

kfx_rollouts_t *kfx_rollouts_new(void)
{
    kfx_rollouts_t *self = kfx_xcalloc(1, sizeof(*self));
    pthread_mutex_init(&self->lock, NULL);
    self->entries = zhashx_new();
    zhashx_set_destructor(self->entries, free_entry);
    return self;
}

void kfx_rollouts_destroy(kfx_rollouts_t **self_p)
{
    kfx_rollouts_t *self = *self_p;
    if (!self)
        return;
    zhashx_destroy(&self->entries);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}

static void drop(kfx_rollouts_t *self, const char *uid)
{
    const entry_t *entry = zhashx_lookup(self->entries, uid);
    if (!entry)
        return;
    self->holders -= entry->holds;
    zhashx_delete(self->entries, uid);
}

/* Forgets those whose time is over: their workload did not become ready, or they ask no more. */
static void expire(kfx_rollouts_t *self, int64_t now)
{
    zlistx_t *uids = zhashx_keys(self->entries);
    for (const char *uid = zlistx_first(uids); uid; uid = zlistx_next(uids)) {
        const entry_t *entry = zhashx_lookup(self->entries, uid);
        if (entry->until <= now)
            drop(self, uid);
    }
    zlistx_destroy(&uids);
}

bool kfx_rollouts_enter(kfx_rollouts_t *self, const char *uid, int64_t now, uint32_t *retry_ms)
{
    pthread_mutex_lock(&self->lock);
    entry_t *entry = zhashx_lookup(self->entries, uid);
    if (entry && entry->until <= now) {
        drop(self, uid);
        entry = NULL;
    }
    bool holds = entry && entry->holds;
    if (!holds && self->holders >= KFX_ROLLOUTS_MAX)
        expire(self, now);
    if (!entry) {
        entry = kfx_xcalloc(1, sizeof(*entry));
        zhashx_insert(self->entries, uid, entry);
    }
    if (!holds && self->holders < KFX_ROLLOUTS_MAX) {
        entry->holds = holds = true;
        entry->until = now + KFX_ROLLOUT_HOLD_MS;
        self->holders++;
    }
    if (!holds) {
        uint32_t most = (uint32_t)((zhashx_size(self->entries) - self->holders) * RETRY_PER_WAITING_MS);
        most = most < KFX_ROLLOUT_RETRY_MIN_MS ? KFX_ROLLOUT_RETRY_MIN_MS : most;
        most = most > KFX_ROLLOUT_RETRY_MAX_MS ? KFX_ROLLOUT_RETRY_MAX_MS : most;
        entry->until = now + 2 * KFX_ROLLOUT_RETRY_MAX_MS;
        *retry_ms = (uint32_t)kfx_random_between(most / 2, most);
    }
    pthread_mutex_unlock(&self->lock);
    return holds;
}

void kfx_rollouts_leave(kfx_rollouts_t *self, const char *uid)
{
    pthread_mutex_lock(&self->lock);
    drop(self, uid);
    pthread_mutex_unlock(&self->lock);
}
