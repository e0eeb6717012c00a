/* watcher/status.h: a ControlPlane's status as a small immutable value: one allocation, all texts inside it, released
 * by free (). May pass between threads with its owner. */
#ifndef KFX_WATCHER_STATUS_H
#define KFX_WATCHER_STATUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct {
    const char *type, *status, *reason, *message; /* never NULL */
    time_t transition, update;                    /* seconds since the epoch; -1: none */
} kfx_cond_t;

/* A PostCreateHook of the plane. */
typedef struct {
    const char *name;
    bool done;                    /* status.postCreateHooks says so */
    const char *reason, *message; /* of status.postCreateHookStatus; NULL: it does not name it */
} kfx_hook_state_t;

typedef struct {
    int64_t observed_generation;
    /* NULL: not there */
    const char *secret_ns, *secret_name, *secret_key, *secret_in_cluster_key, *version, *server;
    size_t count;
    const kfx_cond_t *conds;
    bool hooks_known, hooks_completed; /* hooks_known: the status, or a verdict, says something about hooks */
    size_t hook_count;
    const kfx_hook_state_t *hooks;
} kfx_status_t;

/* Packs a value whose texts may live anywhere. Fresh. */
kfx_status_t *kfx_status_dup(const kfx_status_t *value);
/* From the "status" member of a ControlPlane; NULL where there is none. Fresh. */
kfx_status_t *kfx_status_from_json(const json_t *status);
/* The member for a merge patch. Fresh. */
json_t *kfx_status_to_json(const kfx_status_t *status);

/* NULL where the status (may be NULL) has no such condition. */
const kfx_cond_t *kfx_status_cond(const kfx_status_t *status, const char *type);
bool kfx_status_hook_done(const kfx_status_t *status, const char *hook);
bool kfx_status_is(const kfx_status_t *status, const char *type, const char *value);
/* Equal in everything that is written. */
/* A number for what it says, whenever that was; never 0. */
uint32_t kfx_status_words(const kfx_status_t *status);

bool kfx_status_equal(const kfx_status_t *a, const kfx_status_t *b);

#endif
