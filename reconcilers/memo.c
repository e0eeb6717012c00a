/* reconcilers/memo.c: a bounded table, uid -> memo. */
#include "reconcilers/memo.h"

#include "base/mem.h"

#include <czmq.h>
#include <pthread.h>
#include <string.h>

typedef struct {
    uint64_t used; /* tick of the last use */
    kfx_memo_t memo;
} entry_t;

struct kfx_memos {
    pthread_mutex_t lock;
    zhashx_t *entries; /* uid -> entry_t */
    uint64_t tick;
    size_t max;
};

static void free_entry(void **item)
{
    free(*item);
    *item = NULL;
}

kfx_memos_t *kfx_memos_new(size_t max)
{
    kfx_memos_t *self = kfx_xcalloc(1, sizeof(*self));
    pthread_mutex_init(&self->lock, NULL);
    self->max = max;
    self->entries = zhashx_new();
    zhashx_set_destructor(self->entries, free_entry);
    return self;
}

void kfx_memos_destroy(kfx_memos_t **self_p)
{
    kfx_memos_t *self = *self_p;
    if (!self)
        return;
    zhashx_destroy(&self->entries);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}

void kfx_memos_get(kfx_memos_t *self, const char *uid, kfx_memo_t *out)
{
    pthread_mutex_lock(&self->lock);
    entry_t *entry = zhashx_lookup(self->entries, uid);
    if (entry) {
        entry->used = ++self->tick;
        *out = entry->memo;
    } else {
        *out = (kfx_memo_t){.generation = 0};
        kfx_copy(out->uid, sizeof(out->uid), uid);
    }
    pthread_mutex_unlock(&self->lock);
}

/* Linear, but only when a full table meets a new plane. */
static void drop_oldest(kfx_memos_t *self)
{
    entry_t *oldest = NULL;
    for (entry_t *e = zhashx_first(self->entries); e; e = zhashx_next(self->entries))
        if (!oldest || e->used < oldest->used)
            oldest = e;
    if (oldest)
        zhashx_delete(self->entries, oldest->memo.uid);
}

void kfx_memos_put(kfx_memos_t *self, const kfx_memo_t *memo)
{
    pthread_mutex_lock(&self->lock);
    entry_t *entry = zhashx_lookup(self->entries, memo->uid);
    if (!entry) {
        if (zhashx_size(self->entries) >= self->max)
            drop_oldest(self);
        entry = kfx_xcalloc(1, sizeof(*entry));
        zhashx_insert(self->entries, memo->uid, entry);
    }
    entry->used = ++self->tick;
    entry->memo = *memo;
    pthread_mutex_unlock(&self->lock);
}

void kfx_memos_forget(kfx_memos_t *self, const char *uid)
{
    pthread_mutex_lock(&self->lock);
    zhashx_delete(self->entries, uid);
    pthread_mutex_unlock(&self->lock);
}
