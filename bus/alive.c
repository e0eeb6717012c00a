#include "bus/alive.h"

#include "base/mem.h"

/* A handful at most: a process has one session. */
typedef struct entry {
    struct entry *next;
    const void *object;
} entry_t;

static _Thread_local entry_t *entries;

static entry_t **find(const void *object)
{
    entry_t **at = &entries;
    while (*at && (*at)->object != object)
        at = &(*at)->next;
    return at;
}

void kfx_alive_add(const void *object)
{
    entry_t *entry = kfx_xcalloc(1, sizeof *entry);
    entry->object = object;
    entry->next = entries;
    entries = entry;
}

void kfx_alive_remove(const void *object)
{
    entry_t **at = find(object), *entry = *at;
    if (!entry)
        return;
    *at = entry->next;
    free(entry);
}

bool kfx_alive(const void *object)
{
    return *find(object) != NULL;
}
