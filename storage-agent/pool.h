/* storage-agent/pool.h: the Postgres servers that planes may be put on, and this thread's session to each.
 *
 * Which servers there are is read from the API server when a plane has to be placed, when a name is not known, and at
 * most once a minute otherwise; at rest, never. A plane's server is chosen once, by room, and recorded in its status.
 * One kfx_pool_t serves all threads; what they share is under its mutex. Sessions belong to the thread that made them.
 */
#ifndef KFX_STORAGE_POOL_H
#define KFX_STORAGE_POOL_H

#include "storage-agent/bootstrap.h"

#include <pthread.h>

#define KFX_POOL_MAX 64 /* servers; more are left out with a warning */

typedef struct {
    const kfx_bootstrap_t *bootstrap; /* our own server, and the Secrets; borrowed, set before kfx_pool_init */
    pthread_key_t sessions;
    pthread_mutex_t mutex; /* guards what follows */
    kfx_server_t *servers[KFX_POOL_MAX];
    size_t count;
    int64_t listed_at; /* kfx_now_ms; 0: never */
    json_t *chosen;    /* uid -> [server, time]: planes whose databases may not be counted yet */
    char warned[256];  /* the last warning about the pool */
} kfx_pool_t;

int kfx_pool_init(kfx_pool_t *self, kfx_error_t *err);
/* After the threads have ended; closes this thread's sessions. */
void kfx_pool_close(kfx_pool_t *self);

/* The server of that name, fresh. NOT_FOUND where there is none in the pool: the error says what to do. */
kfx_server_t *kfx_pool_find(kfx_pool_t *self, const char *name, kfx_error_t *err);
/* Reads the list again unless it is some seconds old. */
int kfx_pool_refresh(kfx_pool_t *self, kfx_error_t *err);
/* The names as far as is known; returns how many. */
size_t kfx_pool_names(kfx_pool_t *self, char names[KFX_POOL_MAX][KFX_PG_NAME_SIZE]);
/* There is no other server than one, as far as is known. */
bool kfx_pool_single(kfx_pool_t *self);

/* A session as the agents' role, the caller's own. */
kfx_pg_t *kfx_pool_connect(kfx_pool_t *self, const char *name, kfx_error_t *err);
/* This thread's session as the agents' role, made or made again where it broke. Borrowed until kfx_pool_drop. */
kfx_pg_t *kfx_pool_session(kfx_pool_t *self, const char *name, kfx_error_t *err);
void kfx_pool_drop(kfx_pool_t *self, const char *name);

/* Where to put a plane that no server is recorded for. */
typedef struct {
    const char *uid, *database;
    const char *pin; /* the server that is asked for, or NULL */
    bool old;        /* it has a DSN, so it has a database too: one that does not answer may be its server */
} kfx_pool_wish_t;

typedef struct {
    char server[KFX_PG_NAME_SIZE];
    bool open; /* another one could have been chosen: it has to be recorded before anything is made there */
} kfx_pool_choice_t;

/* A server that has the database already; else the one that is asked for, else the one with most room. NOT_FOUND: the
 * pinned one is not in the pool. BUSY: none has room. UNAVAILABLE: none answers. */
int kfx_pool_choose(kfx_pool_t *self, const kfx_pool_wish_t *wish, kfx_pool_choice_t *choice, kfx_error_t *err);

/* A plane that was placed is gone. */
void kfx_pool_forget(kfx_pool_t *self, const char *uid);

/* Some server answers SELECT 1 on this thread's session; else err says why the last one does not. */
bool kfx_pool_up(kfx_pool_t *self, kfx_error_t *err);

#endif
