/* storage-agent/database.c: see database.h. */
#include "storage-agent/database.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_TEXT_(n) #n
#define LIMIT_TEXT(n) LIMIT_TEXT_(n)
#define LIMIT LIMIT_TEXT(KFX_DB_CONNECTION_LIMIT)

/* What sessions of a plane live under. Building an index over a large kine table may take a while; nothing else does.
 */
#define TENANT_STATEMENT_TIMEOUT "120s"
#define TENANT_IDLE_IN_TRANSACTION "60s"

/* A DROP waits for a checkpoint, which after many new databases (300 files each, all to be synced) takes seconds. */
#define DATABASE_TIMEOUT_MS 30000

/* More steps than a run can have: two, where somebody else undoes what we do. */
#define STEPS_MAX 16

/* An advisory lock that is taken is waited for in the server, so that whoever holds it hands it on the moment he ends.
 * The wait is cut into pieces, between which we look whether we still may. In all a little more than the 5 s after
 * which the server ends a session that holds a lock and stands still. */
#define LOCK_PIECE "500ms"
#define LOCK_WAIT_MS 6500

/* Names of one plane as SQL takes them. */
typedef struct {
    char *database, *owner, *login, *other, *self;                       /* identifiers */
    char *database_l, *owner_l, *login_l, *other_l, *self_l, *comment_l; /* literals */
} quoted_t;

static void quoted_free(quoted_t *q)
{
    free(q->database);
    free(q->owner);
    free(q->login);
    free(q->other);
    free(q->self);
    free(q->database_l);
    free(q->owner_l);
    free(q->login_l);
    free(q->other_l);
    free(q->self_l);
    free(q->comment_l);
}

static int quote(const kfx_db_t *self, quoted_t *q, kfx_error_t *err)
{
    KFX_FREE char *comment = kfx_xasprintf("KubeFlex control plane %s, uid %s", self->plane, self->uid);

    q->database = kfx_pg_identifier(self->pg, self->names->database, err);
    q->owner = kfx_pg_identifier(self->pg, self->names->owner, err);
    q->login = kfx_pg_identifier(self->pg, self->names->login, err);
    q->other = kfx_pg_identifier(self->pg, self->names->other, err);
    q->self = kfx_pg_identifier(self->pg, self->self, err);
    q->database_l = kfx_pg_literal(self->pg, self->names->database, err);
    q->owner_l = kfx_pg_literal(self->pg, self->names->owner, err);
    q->login_l = kfx_pg_literal(self->pg, self->names->login, err);
    q->other_l = kfx_pg_literal(self->pg, self->names->other, err);
    q->self_l = kfx_pg_literal(self->pg, self->self, err);
    q->comment_l = kfx_pg_literal(self->pg, comment, err);
    bool ok = q->database && q->owner && q->login && q->other && q->self && q->database_l && q->owner_l && q->login_l &&
              q->other_l && q->self_l && q->comment_l;
    return ok ? 0 : -1;
}

kfx_db_step_t kfx_db_next(const kfx_db_state_t *s, bool deleting)
{
    if (deleting) {
        if ((s->login && s->can_login) || (s->other && s->other_can_login))
            return KFX_DB_LOCKOUT;
        if (s->database)
            return KFX_DB_DROP;
        return s->owner || s->login || s->other ? KFX_DB_DROP_ROLES : KFX_DB_DONE;
    }
    if (s->database && !s->owned && s->owner)
        return KFX_DB_FOREIGN;
    if (!s->owner || !s->login || !s->member)
        return KFX_DB_ROLES;
    if (!s->database)
        return KFX_DB_CREATE;
    if (!s->settled || !s->open)
        return KFX_DB_SETTLE;
    return s->can_login && s->limited ? KFX_DB_DONE : KFX_DB_LOGIN;
}

const char *kfx_db_step_name(kfx_db_step_t step)
{
    static const char *const names[] = {
        "done",    "make roles",         "allow login",   "create database", "settle database",
        "foreign", "end the login role", "drop database", "drop roles"};
    return (size_t)step < KFX_COUNT(names) ? names[step] : "?";
}

static int refused(const kfx_db_t *self, kfx_error_t *err)
{
    if (!self->may || self->may(self->arg))
        return 0;
    return kfx_error_set(err, KFX_E_FENCED, "stopped before a statement: the lease is over or the task was taken back");
}

/* One statement (or one transaction of several), if we may. */
static PGresult *run(kfx_db_t *self, kfx_error_t *err, const char *fmt, ...) KFX_PRINTF(3, 4);
static PGresult *run(kfx_db_t *self, kfx_error_t *err, const char *fmt, ...)
{
    char *sql = NULL;
    va_list args;

    if (refused(self, err) < 0)
        return NULL;
    va_start(args, fmt);
    int len = vasprintf(&sql, fmt, args);
    va_end(args);
    if (len < 0) {
        kfx_error_set(err, KFX_E_INTERNAL, "out of memory");
        return NULL;
    }
    PGresult *result = kfx_pg_query(self->pg, sql, err);
    kfx_wipe(sql, (size_t)len); /* may hold a verifier */
    free(sql);
    return result;
}

#define EXEC(self, err, ...)                                                                                           \
    __extension__({                                                                                                    \
        PGresult *exec_ = run(self, err, __VA_ARGS__);                                                                 \
        PQclear(exec_);                                                                                                \
        exec_ ? 0 : -1;                                                                                                \
    })

/* Each try is one transaction, whose end forgets what was SET where it fails. */
int kfx_db_lock(kfx_db_t *self, kfx_error_t *err)
{
    KFX_RESULT PGresult *result =
        run(self, err, "SET idle_session_timeout = '5s'; SELECT pg_try_advisory_lock(%" PRId64 ")", self->names->lock);
    if (!result)
        return -1;
    if (strcmp(PQgetvalue(result, 0, 0), "t") == 0)
        return 0;
    kfx_pg_exec(self->pg, "RESET idle_session_timeout", NULL);
    return kfx_error_set(err, KFX_E_CONFLICT, "another session works on the database of plane %s", self->plane);
}

int kfx_db_lock_wait(kfx_db_t *self, kfx_error_t *err)
{
    int64_t deadline = kfx_now_ms() + LOCK_WAIT_MS;
    for (;;) {
        kfx_error_t local = KFX_ERROR_INIT;
        if (EXEC(self, &local,
                 "SET LOCAL lock_timeout = '" LOCK_PIECE "'; SET idle_session_timeout = '5s'; "
                 "SELECT pg_advisory_lock(%" PRId64 ")",
                 self->names->lock) == 0)
            return 0;
        if (local.code == KFX_E_CONFLICT && kfx_now_ms() < deadline)
            continue;
        if (local.code == KFX_E_CONFLICT)
            return kfx_error_set(err, KFX_E_CONFLICT, "another session goes on working on the database of plane %s",
                                 self->plane);
        if (err)
            *err = local;
        return -1;
    }
}

int kfx_db_unlock(kfx_db_t *self, kfx_error_t *err)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT pg_advisory_unlock(%" PRId64 "); RESET idle_session_timeout", self->names->lock);
    return kfx_pg_exec(self->pg, sql, err);
}

static bool truth(const PGresult *result, int column)
{
    return !PQgetisnull(result, 0, column) && strcmp(PQgetvalue(result, 0, column), "t") == 0;
}

/* `settled`: the ACL is not the default (NULL grants CONNECT and TEMPORARY to PUBLIC) and has no entry for PUBLIC
 * (grantee 0), the limits hold for the role (a tenant owns its database and could change that one's), sessions act as
 * the owner, the comment names the plane. */
int kfx_db_observe(kfx_db_t *self, kfx_db_state_t *state, kfx_error_t *err)
{
    KFX_CLEANUP(quoted_free) quoted_t q = {0};

    memset(state, 0, sizeof *state);
    if (quote(self, &q, err) < 0)
        return -1;
    KFX_RESULT PGresult *result =
        run(self, err,
            "SELECT o.oid IS NOT NULL, l.oid IS NOT NULL,"
            " coalesce(pg_has_role(l.oid, o.oid, 'MEMBER') AND pg_has_role(%s, o.oid, 'MEMBER')"
            "  AND pg_has_role(%s, l.oid, 'MEMBER'), false),"
            " coalesce(l.rolcanlogin, false),"
            " coalesce(l.rolconnlimit = " LIMIT " AND coalesce(l.rolvaliduntil, 'infinity') = 'infinity', false),"
            " d.oid IS NOT NULL,"
            " coalesce(d.datdba = o.oid, false),"
            " coalesce(d.datacl IS NOT NULL AND d.datconnlimit = " LIMIT
            "  AND NOT EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = 0)"
            "  AND EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = l.oid"
            "   AND 3 = (SELECT count(*) FROM unnest(s.setconfig) c WHERE c = 'role=' || o.rolname"
            "    OR c = 'statement_timeout=" TENANT_STATEMENT_TIMEOUT "'"
            "    OR c = 'idle_in_transaction_session_timeout=" TENANT_IDLE_IN_TRANSACTION "'))"
            "  AND shobj_description(d.oid, 'pg_database') = %s, false),"
            " coalesce(d.datallowconn, false), m.oid IS NOT NULL, coalesce(m.rolcanlogin, false),"
            " coalesce(m.rolvaliduntil <> 'infinity', false), coalesce(m.rolvaliduntil <= now(), false),"
            " (SELECT count(*) FROM pg_stat_activity WHERE usesysid = l.oid),"
            " (SELECT count(*) FROM pg_stat_activity WHERE usesysid = m.oid)"
            " FROM (SELECT 1) one LEFT JOIN pg_roles o ON o.rolname = %s LEFT JOIN pg_roles l ON l.rolname = %s"
            " LEFT JOIN pg_roles m ON m.rolname = %s LEFT JOIN pg_database d ON d.datname = %s",
            q.self_l, q.self_l, q.comment_l, q.owner_l, q.login_l, q.other_l, q.database_l);
    if (!result)
        return -1;
    state->owner = truth(result, 0);
    state->login = truth(result, 1);
    state->member = truth(result, 2);
    state->can_login = truth(result, 3);
    state->limited = truth(result, 4);
    state->database = truth(result, 5);
    state->owned = truth(result, 6);
    state->settled = truth(result, 7);
    state->open = truth(result, 8);
    state->other = truth(result, 9);
    state->other_can_login = truth(result, 10);
    state->other_ending = truth(result, 11);
    state->other_ended = truth(result, 12);
    state->sessions = strtol(PQgetvalue(result, 0, 13), NULL, 10);
    state->other_sessions = strtol(PQgetvalue(result, 0, 14), NULL, 10);
    self->seen = *state;
    return 0;
}

#define CREATE_OWNER "CREATE ROLE %s NOLOGIN ROLE %s; "
#define CREATE_LOGIN                                                                                                   \
    "CREATE ROLE %s LOGIN NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT " LIMIT " IN ROLE %s ROLE %s"

/* The agent is a member of both: that is what lets it create a database for the owner, drop it, and end the login's
 * sessions, without being a superuser. Each branch is one transaction. */
static int make_roles(kfx_db_t *self, const quoted_t *q, const kfx_db_state_t *s, kfx_error_t *err)
{
    if (!s->owner && !s->login)
        return EXEC(self, err, CREATE_OWNER CREATE_LOGIN, q->owner, q->self, q->login, q->owner, q->self);
    if (!s->owner && EXEC(self, err, CREATE_OWNER, q->owner, q->self) < 0)
        return -1;
    if (!s->login && EXEC(self, err, CREATE_LOGIN, q->login, q->owner, q->self) < 0)
        return -1;
    return EXEC(self, err, "GRANT %s TO %s; GRANT %s, %s TO %s", q->owner, q->login, q->owner, q->login, q->self);
}

/* template0: what somebody put into template1 is nothing for a tenant, and no session is ever in it. Collation C is the
 * one kine's keys want. The default strategy of PostgreSQL 15 (WAL_LOG) needs no checkpoint. */
static int create_database(kfx_db_t *self, const quoted_t *q, kfx_error_t *err)
{
    KFX_FREE char *sql =
        kfx_xasprintf("CREATE DATABASE %s OWNER %s TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' "
                      "ALLOW_CONNECTIONS false CONNECTION LIMIT " LIMIT,
                      q->database, q->owner);
    return refused(self, err) < 0 ? -1 : kfx_pg_exec_long(self->pg, sql, DATABASE_TIMEOUT_MS, err);
}

static int drop_database(kfx_db_t *self, const quoted_t *q, kfx_error_t *err)
{
    KFX_FREE char *sql = kfx_xasprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", q->database);
    return refused(self, err) < 0 ? -1 : kfx_pg_exec_long(self->pg, sql, DATABASE_TIMEOUT_MS, err);
}

static int settle(kfx_db_t *self, const quoted_t *q, kfx_error_t *err)
{
    kfx_db_state_t state;

    if (EXEC(self, err,
             "REVOKE ALL ON DATABASE %s FROM PUBLIC; ALTER DATABASE %s CONNECTION LIMIT " LIMIT
             "; ALTER ROLE %s IN DATABASE %s SET role = %s; "
             "ALTER ROLE %s IN DATABASE %s SET statement_timeout = '" TENANT_STATEMENT_TIMEOUT "'; "
             "ALTER ROLE %s IN DATABASE %s SET idle_in_transaction_session_timeout = '" TENANT_IDLE_IN_TRANSACTION "'; "
             "COMMENT ON DATABASE %s IS %s",
             q->database, q->database, q->login, q->database, q->owner, q->login, q->database, q->login, q->database,
             q->database, q->comment_l) < 0)
        return -1;
    if (kfx_db_observe(self, &state, err) < 0)
        return -1;
    if (!state.settled)
        return kfx_error_set(err, KFX_E_FORBIDDEN,
                             "database %s could not be closed to PUBLIC: is role %s still a member of its owner?",
                             self->names->database, self->self);
    return EXEC(self, err, "ALTER DATABASE %s ALLOW_CONNECTIONS true", q->database);
}

static int lock_out(kfx_db_t *self, const quoted_t *q, const kfx_db_state_t *s, kfx_error_t *err)
{
    if (s->login && EXEC(self, err, "ALTER ROLE %s NOLOGIN PASSWORD NULL", q->login) < 0)
        return -1;
    return s->other ? EXEC(self, err, "ALTER ROLE %s NOLOGIN PASSWORD NULL", q->other) : 0;
}

static int run_step(kfx_db_t *self, kfx_db_step_t step, const kfx_db_state_t *state, const quoted_t *q,
                    kfx_error_t *err)
{
    switch (step) {
    case KFX_DB_ROLES: return make_roles(self, q, state, err);
    case KFX_DB_LOGIN:
        return EXEC(self, err, "ALTER ROLE %s LOGIN CONNECTION LIMIT " LIMIT " VALID UNTIL 'infinity'", q->login);
    case KFX_DB_CREATE: return create_database(self, q, err);
    case KFX_DB_SETTLE: return settle(self, q, err);
    case KFX_DB_FOREIGN:
        return kfx_error_set(err, KFX_E_CONFLICT,
                             "database %s exists and belongs to another role than %s: rename or drop it",
                             self->names->database, self->names->owner);
    case KFX_DB_LOCKOUT: return lock_out(self, q, state, err);
    case KFX_DB_DROP: return drop_database(self, q, err);
    case KFX_DB_DROP_ROLES: return EXEC(self, err, "DROP ROLE IF EXISTS %s, %s, %s", q->login, q->other, q->owner);
    case KFX_DB_DONE: break;
    }
    return 0;
}

static void measured(kfx_db_step_t step, int64_t ms)
{
    if (step == KFX_DB_CREATE)
        kfx_metric_observe_ms(
            kfx_histogram("kubeflex_storage_create_database_seconds", "Time of CREATE DATABASE.", NULL), ms);
    else if (step == KFX_DB_DROP)
        kfx_metric_observe_ms(kfx_histogram("kubeflex_storage_drop_database_seconds", "Time of DROP DATABASE.", NULL),
                              ms);
}

int kfx_db_converge(kfx_db_t *self, bool deleting, bool *changed, kfx_error_t *err)
{
    KFX_CLEANUP(quoted_free) quoted_t q = {0};

    if (changed)
        *changed = false;
    if (quote(self, &q, err) < 0)
        return -1;
    for (int i = 0; i < STEPS_MAX; i++) {
        kfx_db_state_t state;
        if (kfx_db_observe(self, &state, err) < 0)
            return -1;
        kfx_db_step_t step = kfx_db_next(&state, deleting);
        if (step == KFX_DB_DONE)
            return 0;
        int64_t start = kfx_now_ms();
        if (run_step(self, step, &state, &q, err) < 0)
            return kfx_error_wrap(err, "%s of plane %s", kfx_db_step_name(step), self->plane);
        measured(step, kfx_now_ms() - start);
        if (changed)
            *changed = true;
    }
    return kfx_error_set(err, KFX_E_CONFLICT, "database %s does not come to rest: somebody else changes it too",
                         self->names->database);
}

#define RETIRE_TEXT LIMIT_TEXT(KFX_DB_RETIRE_MS)

static int give_end(kfx_db_t *self, const quoted_t *q, kfx_error_t *err)
{
    KFX_RESULT PGresult *when = run(self, err, "SELECT now() + interval '" RETIRE_TEXT " ms' - interval '1 s'");
    KFX_FREE char *literal = when ? kfx_pg_literal(self->pg, PQgetvalue(when, 0, 0), err) : NULL;
    return literal ? EXEC(self, err, "ALTER ROLE %s VALID UNTIL %s", q->other, literal) : -1;
}

/* The end is the server's own note of when we looked, so that nothing has to be remembered here. */
int kfx_db_retire(kfx_db_t *self, bool *gone, kfx_error_t *err)
{
    KFX_CLEANUP(quoted_free) quoted_t q = {0};
    kfx_db_state_t s;
    int rc = 0;

    *gone = !self->seen.other;
    if (*gone)
        return 0;
    if (quote(self, &q, err) < 0 || kfx_db_observe(self, &s, err) < 0)
        return -1;
    if (!s.other) {
        *gone = true;
    } else if (s.other_sessions > 0) {
        rc = s.other_ending ? EXEC(self, err, "ALTER ROLE %s VALID UNTIL 'infinity'", q.other) : 0;
    } else if (s.other_ended) {
        rc = EXEC(self, err, "DROP ROLE %s", q.other);
        *gone = rc == 0;
        self->seen.other = !*gone;
    } else if (!s.other_ending) {
        rc = give_end(self, &q, err);
    }
    return rc < 0 ? kfx_error_wrap(err, "take login role %s away", self->names->other) : 0;
}

int kfx_db_set_password(kfx_db_t *self, const char *password, kfx_error_t *err)
{
    KFX_CLEANUP(quoted_free) quoted_t q = {0};
    KFX_FREE char *verifier = kfx_pg_verifier(self->pg, self->names->login, password, err);
    KFX_FREE char *literal = verifier ? kfx_pg_literal(self->pg, verifier, err) : NULL;

    if (!literal || quote(self, &q, err) < 0)
        return -1;
    if (EXEC(self, err, "ALTER ROLE %s PASSWORD %s", q.login, literal) < 0)
        return kfx_error_wrap(err, "set a password for role %s", self->names->login);
    return 0;
}
