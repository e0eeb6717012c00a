/* reconcilers/world.h: what the tests of whole tasks share: the plane cp1 of type k8s, its reconciler, and an API
 * server in memory. Single-threaded; the asserts are cmocka's. */
#ifndef KFX_RECONCILERS_WORLD_H
#define KFX_RECONCILERS_WORLD_H

#include "reconcilers/fake_api.h"

#define UID "5e2b1c3a-0000-4000-8000-0000000000aa"
#define NS "/api/v1/namespaces/cp1-system"
#define DEPLOYMENT "/apis/apps/v1/namespaces/cp1-system/deployments/kube-apiserver"

typedef struct {
    kfx_fake_t api;
    kfx_reconciler_t rec;
    kfx_result_t result; /* of the last task */
    const char *hide;    /* path of an object that the digest misses */
    const char *vanish;  /* of one that goes while the digest is on its way */
    bool no_place;       /* the watcher gives it no place for exchanging pods */
} world_t;

/* Of cmocka: *state is a world_t with the ControlPlane and a right kubeflex-config. */
int world_setup(void **state);
int world_teardown(void **state);

json_t *plane_object(const char *uid);
/* A new kubeflex-config that differs in one key from the right one, or in none (NULL). */
void set_config(world_t *w, const char *key, const char *value);
/* One task as the bus would give it; the watcher's status write is imitated. */
void run_named(world_t *w, const char *name, const char *uid, bool deleting);
void run_as(world_t *w, const char *uid, bool deleting);
void run_task(world_t *w);
/* The next request whose "VERB path" contains at fails. */
void fail_next(world_t *w, const char *at, kfx_code_t code, int status, const char *message);
void write_dsn(world_t *w);
void set_ready(world_t *w, bool ready);
/* Until Ready. */
void bring_up(world_t *w);

const kfx_condition_t *condition(const world_t *w, const char *type); /* NULL: nothing was said */
void assert_condition(const world_t *w, const char *type, const char *status, const char *reason);
/* The message of condition Synced holds the text. */
void assert_says(const world_t *w, const char *text);

#endif
