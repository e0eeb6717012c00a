/* watcher/hooks.h: the PostCreateHooks that are there, and what planes have to do with them. Single-threaded: the main
 * loop; the reducer runs in the I/O thread. */
#ifndef KFX_WATCHER_HOOKS_H
#define KFX_WATCHER_HOOKS_H

#include "watcher/planes.h"

/* Conditions of a PostCreateHook. */
#define KFX_HOOK_VALID "Valid"     /* its templates can be parsed */
#define KFX_HOOK_APPLIED "Applied" /* it is applied, and well, wherever it is named; only where it is */

/* A condition as the status has it. */
typedef struct {
    bool there, yes;
    char reason[64];
    char message[512];
    char since[32]; /* lastTransitionTime */
} kfx_hook_said_t;

/* How a hook stands in the control planes that name it (those that are being deleted do not count). */
typedef struct {
    unsigned planes, applied; /* applied: and all it made is well */
    unsigned rank;            /* of the worst of the others: 0: there are none, 1: it waits, 2: it fails */
    char plane[KFX_NAME_SIZE];
    char reason[64];
    char message[384];
} kfx_hook_use_t;

/* A PostCreateHook, without its templates. */
typedef struct kfx_seen_hook {
    char name[KFX_NAME_SIZE];
    char uid[KFX_SEEN_UID_SIZE];
    char rv[KFX_SEEN_RV_SIZE];
    int64_t generation;
    bool fresh;      /* seen by the list that is going on */
    bool writing;    /* its status is on its way */
    char fault[512]; /* what is wrong with its templates; "": nothing */
    json_t *labels;  /* owned; NULL: none */
    kfx_hook_use_t use;
    kfx_hook_said_t valid, applied; /* as its status says it */
    int64_t said_generation;
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
/* The next name of kfx_plane_t.hooks (at: where to go on); false at its end. */
bool kfx_hook_next_name(const char **at, char out[KFX_NAME_SIZE]);
/* The plane names that hook. */
bool kfx_plane_names_hook(const kfx_plane_t *plane, const char *hook);

/* Labels of hooks that are done now and were not go to the plane: the patch, bound to uid and resourceVersion, or NULL
 * where there are none that it lacks. Fresh. */
json_t *kfx_hooks_labels(kfx_hook_table_t *self, const kfx_plane_t *plane);

/* A number for how the hooks that the plane names stand in it, by its status; 0: it names none. */
uint32_t kfx_hooks_stand(const kfx_plane_t *plane);

/* hook_use.c: sets `use` of every hook. */
void kfx_hooks_tally(kfx_hook_table_t *self, kfx_planes_t *planes);
/* hook_use.c: the merge patch for the hook's status, or NULL where that is right. Fresh. */
json_t *kfx_hook_status_patch(const kfx_seen_hook_t *hook, time_t now);

#endif
