/* storage-agent/database.h: the database and the roles of one plane, statement by statement.
 *
 * What is there is observed with one query, the next step follows from that by a pure function, and so on until nothing
 * is left to do: whatever statement a crash came after, the next run goes on from there.
 *
 *   roles     NOLOGIN owner role; login role, member of the owner, without a password until the DSN Secret is written
 *   create    database of the owner, closed to connections
 *   settle    nothing for PUBLIC (read back, because a REVOKE that has no effect is only a warning), limits, sessions
 * act as the owner, full plane name as comment, and only then open deletion  no login any more, DROP DATABASE … WITH
 * (FORCE), roles dropped
 *
 * A plane has two login roles that take turns: the one in use, and, while pods still use a password that was replaced,
 * the other one. kfx_db_retire ends that one when nobody uses it any more.
 *
 * All of it happens in a session that holds an advisory lock keyed by the uid. While it holds the lock the server ends
 * the session after 5 s of silence: a process that was paused for longer finds its session gone, so it cannot go on
 * beside the one that took over. One thread per kfx_db_t.
 */
#ifndef KFX_STORAGE_DATABASE_H
#define KFX_STORAGE_DATABASE_H

#include "storage-agent/names.h"
#include "storage-agent/pg.h"

/* Per plane. kine is not bounded by its own pool (since 0.17.3 a write holds one connection while it waits for a
 * second: enough writes at once would wait for each other for ever), so this is the bound. An API server that starts
 * reads some 60 kinds at once; refused, it would try again a second later, and one pod may replace another meanwhile.
 */
#define KFX_DB_CONNECTION_LIMIT 128

typedef struct {
    bool owner; /* the roles exist */
    bool login;
    bool member;    /* login is a member of owner, and we of both */
    bool can_login; /* login has LOGIN … */
    bool limited;   /* … its connection limit, and no end */
    bool other;     /* the other login role exists */
    bool other_can_login;
    bool other_ending, other_ended; /* it has an end, which is over */
    long sessions, other_sessions;  /* of the login role, of the other one */
    bool database;                  /* it exists … */
    bool owned;                     /* … and belongs to the owner role */
    bool settled;                   /* PUBLIC has nothing, limits and settings are in place */
    bool open;                      /* accepts connections */
} kfx_db_state_t;

typedef enum {
    KFX_DB_DONE,      /* as desired */
    KFX_DB_ROLES,     /* make what is missing of roles and memberships */
    KFX_DB_LOGIN,     /* let the login role log in (again) */
    KFX_DB_CREATE,    /* CREATE DATABASE */
    KFX_DB_SETTLE,    /* close to the public, set limits, open */
    KFX_DB_FOREIGN,   /* the database of our name belongs to another role: hands off */
    KFX_DB_LOCKOUT,   /* deletion: login role may not log in any more */
    KFX_DB_DROP,      /* deletion: DROP DATABASE */
    KFX_DB_DROP_ROLES /* deletion: DROP ROLE */
} kfx_db_step_t;

/* Pure. */
kfx_db_step_t kfx_db_next(const kfx_db_state_t *state, bool deleting);
const char *kfx_db_step_name(kfx_db_step_t step);

typedef struct {
    kfx_pg_t *pg;                     /* connected as the agent's login to database postgres; borrowed */
    const kfx_storage_names_t *names; /* borrowed */
    const char *plane, *uid;
    const char *self;       /* the agent's role: member of what it makes, so that it may drop it */
    bool (*may)(void *arg); /* asked before each statement: false ends with FENCED */
    void *arg;
    kfx_db_state_t seen; /* what was observed last */
} kfx_db_t;

/* CONFLICT where another session works on this uid. */
int kfx_db_lock(kfx_db_t *self, kfx_error_t *err);
/* The same, but waits in the server for that session to end, 6.5 s at most: then CONFLICT. FENCED within 0.5 s of the
 * moment from which we may not write any more. */
int kfx_db_lock_wait(kfx_db_t *self, kfx_error_t *err);
/* The lock also ends with the connection. */
int kfx_db_unlock(kfx_db_t *self, kfx_error_t *err);

int kfx_db_observe(kfx_db_t *self, kfx_db_state_t *state, kfx_error_t *err);
/* Steps until DONE. Needs the lock. *changed (may be NULL) is set when a statement changed something. */
int kfx_db_converge(kfx_db_t *self, bool deleting, bool *changed, kfx_error_t *err);
/* Takes the other login role away where nobody uses it: *gone. Where it has no session now it gets an end some seconds
 * from now, which is taken back if one shows up until then (a pod whose connections broke comes back within a second).
 * To be called again after KFX_DB_RETIRE_MS. After kfx_db_converge; needs the lock. */
#define KFX_DB_RETIRE_MS 10000
int kfx_db_retire(kfx_db_t *self, bool *gone, kfx_error_t *err);
/* A new password for the login role. Needs the lock. */
int kfx_db_set_password(kfx_db_t *self, const char *password, kfx_error_t *err);

#endif
