/* watcher/hooks.h: the PostCreateHooks that are there, and what planes have to do with them. Single-threaded: the main
 * loop; the reducer runs in the I/O thread. */
#ifndef KFX_WATCHER_HOOKS_H
#define KFX_WATCHER_HOOKS_H

#include "watcher/planes.h"

#define KFX_HOOK_VALID "Valid" /* condition of a PostCreateHook */

/* A PostCreateHook, without its templates. */
typedef struct kfx_seen_hook {
    char name[KFX_NAME_SIZE];
    char uid[KFX_SEEN_UID_SIZE];
    char rv[KFX_SEEN_RV_SIZE];
    int64_t generation;
    bool fresh;            /* seen by the list that is going on */
    bool writing;          /* its status is on its way */
    char fault[512];       /* what is wrong with its templates; "": nothing */
    json_t *labels;        /* owned; NULL: none */
    bool said, said_valid; /* its status has the condition, and what that says */
    int64_t said_generation;
    char said_message[512];
    char said_since[32]; /* lastTransitionTime */
} kfx_seen_hook_t;

void *kfx_reduce_hook(void *ctx, const json_t *object); /* kfx_watch_spec_t.reduce; fresh, kfx_seen_hook_free */
void kfx_seen_hook_free(void *hook);                    /* NULL-safe */

typedef struct kfx_hook_table kfx_hook_table_t;

kfx_hook_table_t *kfx_hook_table_new(void);
void kfx_hook_table_destroy(kfx_hook_table_t **self_p);
/* NULL where there is none; also where self is NULL. Borrowed. */
kfx_seen_hook_t *kfx_hook_find(kfx_hook_table_t *self, const char *name);
/* Consumes hook. */
kfx_seen_hook_t *kfx_hook_put(kfx_hook_table_t *self, kfx_seen_hook_t *hook);
void kfx_hook_drop(kfx_hook_table_t *self, const char *name);
void kfx_hook_each(kfx_hook_table_t *self, void (*fn)(void *ctx, kfx_seen_hook_t *hook), void *ctx);

/* Sets plane->hooks_view: a number for the hooks it names and the objects they made; 0: it has none. */
void kfx_hooks_look(kfx_hook_table_t *self, kfx_plane_t *plane);
/* The plane names that hook. */
bool kfx_plane_names_hook(const kfx_plane_t *plane, const char *hook);

/* Labels of hooks that are done now and were not go to the plane: the patch, bound to uid and resourceVersion, or NULL
 * where there are none that it lacks. Fresh. */
json_t *kfx_hooks_labels(kfx_hook_table_t *self, const kfx_plane_t *plane);

/* The merge patch for the hook's status, or NULL where that is right. Fresh. */
json_t *kfx_hook_status_patch(const kfx_seen_hook_t *hook, time_t now);

#endif
