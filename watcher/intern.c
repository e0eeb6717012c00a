#include "watcher/intern.h"

#include "base/mem.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

typedef struct entry {
    struct entry *next;
    uint32_t refs;
    uint32_t hash;
    char text[];
} entry_t;

static entry_t **table;
static size_t buckets, entries;

static uint32_t hash_of(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        h = (h ^ *p) * 16777619u;
    return h;
}

static void grow(void)
{
    size_t bigger = buckets ? buckets * 2 : 256;
    entry_t **fresh = kfx_xcalloc(bigger, sizeof(entry_t *));
    for (size_t i = 0; i < buckets; i++) {
        for (entry_t *e = table[i]; e;) {
            entry_t *next = e->next;
            e->next = fresh[e->hash & (bigger - 1)];
            fresh[e->hash & (bigger - 1)] = e;
            e = next;
        }
    }
    free(table);
    table = fresh;
    buckets = bigger;
}

const char *kfx_intern(const char *text)
{
    if (!text)
        return NULL;
    if (entries >= buckets)
        grow();
    uint32_t hash = hash_of(text);
    for (entry_t *e = table[hash & (buckets - 1)]; e; e = e->next) {
        if (e->hash == hash && strcmp(e->text, text) == 0) {
            e->refs++;
            return e->text;
        }
    }
    size_t size = strlen(text) + 1;
    entry_t *e = kfx_xcalloc(1, sizeof *e + size);
    e->refs = 1;
    e->hash = hash;
    memcpy(e->text, text, size);
    e->next = table[hash & (buckets - 1)];
    table[hash & (buckets - 1)] = e;
    entries++;
    return e->text;
}

void kfx_unintern(const char *interned)
{
    if (!interned)
        return;
    entry_t **at = &table[hash_of(interned) & (buckets - 1)];
    while (*at && (*at)->text != interned)
        at = &(*at)->next;
    entry_t *e = *at;
    assert(e);
    if (--e->refs > 0)
        return;
    *at = e->next;
    free(e);
    if (--entries == 0) {
        free(table);
        table = NULL;
        buckets = 0;
    }
}

void kfx_intern_set(const char **slot, const char *text)
{
    if (*slot && text && strcmp(*slot, text) == 0)
        return;
    const char *old = *slot;
    *slot = kfx_intern(text);
    kfx_unintern(old);
}

size_t kfx_intern_count(void)
{
    return entries;
}
