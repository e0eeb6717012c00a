/* The storage agent on a real PostgreSQL 15: bootstrap, create, repair, crash after every statement, isolation, drop,
 * outage, many planes at once. Ends with 77 (skipped) where the server's programs are not installed. */
#include "tests/pg/fixture.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NS "kubeflex-system"
#define CRASHES_MAX 60

/* Our own log, kept to be searched for passwords. */
static char output_path[] = "/tmp/kubeflex-pg-log-XXXXXX";
static int real_stderr = -1;

static void assert_ready(plane_t *plane)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_PG kfx_pg_t *pg = plane_connect(plane, NULL, &err);
    if (!pg)
        fail_msg("plane %s: %s", plane->name, err.msg);
}

static void assert_gone(plane_t *plane)
{
    kfx_storage_names_t names;
    KFX_PG kfx_pg_t *pg = admin(plane->fx, "postgres");
    plane_names(plane, &names);
    const char *uid = strchr(names.database, '_') + 1;
    assert_int_equal(count_sql(pg, "SELECT count(*) FROM pg_database WHERE datname LIKE '%%%s%%'", uid), 0);
    assert_int_equal(count_sql(pg, "SELECT count(*) FROM pg_roles WHERE rolname LIKE '%%%s%%'", uid), 0);
}

static void create(plane_t *plane)
{
    plane->space = true;
    assert_int_equal(plane_run(plane, false), KFX_OUTCOME_OK);
    plane->secret = true;
    assert_ready(plane);
}

static void test_bootstrap(void **state)
{
    fixture_t *fx = *state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_PG kfx_pg_t *pg = agent_connect(fx, &err);
    if (!pg)
        fail_msg("%s", err.msg);
    KFX_FREE char *role = ask_sql(pg, "SELECT current_user");
    assert_string_equal(role, "kubeflex_storage");
    assert_int_equal(
        count_sql(pg, "SELECT count(*) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper AND rolcreatedb"
                      " AND rolcreaterole AND NOT rolreplication AND NOT rolbypassrls"),
        1);
    assert_int_equal(count_sql(pg, "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = 0"
                                   " AND d.datname IN ('postgres', 'template1')"),
                     0);
    /* From here on the superuser's password is not needed. */
    KFX_SECRET json_t *secret = store_get(fx->store, NS, KFX_SECRET_ADMIN_PASSWORD);
    KFX_FREE char *password = kfx_secret_value(secret, "postgres-password", NULL);
    store_set(fx->store, NS, KFX_SECRET_ADMIN_PASSWORD, "postgres-password", "wrong");
    KFX_PG kfx_pg_t *again = agent_connect(fx, &err);
    assert_non_null(again);
    /* Where it is, and is wrong, the message says which Secret to look at. */
    store_set(fx->store, NS, KFX_SECRET_LOGIN, "password", "lost");
    assert_null(agent_connect(fx, &err));
    assert_int_equal(err.code, KFX_E_UNAUTHORIZED);
    assert_non_null(strstr(err.msg, "Secret kubeflex-system/postgres-postgresql"));
    store_set(fx->store, NS, KFX_SECRET_ADMIN_PASSWORD, "postgres-password", password);
    KFX_PG kfx_pg_t *healed = agent_connect(fx, &err);
    assert_non_null(healed);
    /* Somebody opens postgres to all: the next connection closes it. */
    KFX_PG kfx_pg_t *super = admin(fx, "postgres");
    do_sql(super, "GRANT CONNECT ON DATABASE template1 TO PUBLIC");
    KFX_PG kfx_pg_t *closed = agent_connect(fx, &err);
    assert_non_null(closed);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a WHERE a.grantee = 0"
                                      " AND d.datname = 'template1'"),
                     0);
}

/* The backend is looked at in the ControlPlane. What an earlier KubeFlex put into the shared Postgres whatever the spec
 * said stays there, and goes with the plane. */
static void test_backend(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "backend"), other = plane_new(fx, "backend2");
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    create(&plane);
    other.space = true;
    plane.spec = other.spec = json_pack("{s:s, s:s}", "type", "k8s", "backend", "tape");
    plane.generation = 2;
    plane_result(&plane, false, result);
    assert_string_equal(result->conditions[0].reason, "StorageError");
    assert_int_equal(result->outcome, KFX_OUTCOME_WAITING);
    json_object_set_new(plane.spec, "backend", json_string("dedicated"));
    plane.generation = 3; /* as the API server counts; else what is known is not read again */
    plane_result(&plane, false, result);
    assert_string_equal(result->conditions[0].reason, "DatabaseReady");
    plane_result(&other, false, result);
    assert_string_equal(result->conditions[0].reason, "EtcdNotReady");
    assert_gone(&other);
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
    assert_gone(&plane);
    json_decref(plane.spec);
    free(result);
}

static void test_create(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "cp1");
    kfx_storage_names_t names;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    /* Without a Namespace the database is made, and nothing is written. */
    size_t writes = store_writes(fx->store);
    plane_result(&plane, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_WAITING);
    assert_string_equal(result->conditions[0].reason, "WaitingForNamespace");
    assert_int_equal(store_writes(fx->store), writes);
    plane.space = true;
    plane_result(&plane, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_OK);
    assert_string_equal(result->conditions[0].reason, "DatabaseReady");
    assert_int_equal(result->written_count, 1);
    free(result);

    /* What kine does: tables in its own database, as a role that is nothing special, which belong to the owner. */
    plane_names(&plane, &names);
    KFX_PG kfx_pg_t *pg = plane_connect(&plane, NULL, &err);
    if (!pg)
        fail_msg("%s", err.msg);
    do_sql(pg, "CREATE TABLE kine (id BIGSERIAL PRIMARY KEY, name TEXT COLLATE \"C\", value BYTEA)");
    do_sql(pg, "INSERT INTO kine (name) VALUES ('x')");
    KFX_FREE char *owner = ask_sql(pg, "SELECT tableowner FROM pg_tables WHERE tablename = 'kine'");
    assert_string_equal(owner, names.owner);
    KFX_PG kfx_pg_t *super = admin(fx, "postgres");
    KFX_FREE char *settings = ask_sql(super,
                                      "SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole"
                                      " WHERE r.rolname = '%s'",
                                      names.login);
    assert_non_null(strstr(settings, "statement_timeout=120s"));
    assert_non_null(strstr(settings, "idle_in_transaction_session_timeout=60s"));
    assert_int_equal(
        count_sql(super,
                  "SELECT count(*) FROM pg_roles WHERE rolname IN ('%s', '%s') AND (rolsuper OR rolcreatedb"
                  " OR rolcreaterole OR rolreplication OR rolbypassrls)",
                  names.owner, names.login),
        0);
    assert_int_equal(count_sql(super, "SELECT rolconnlimit FROM pg_roles WHERE rolname = '%s'", names.login),
                     KFX_DB_CONNECTION_LIMIT);
    assert_int_equal(count_sql(super, "SELECT rolcanlogin::int FROM pg_roles WHERE rolname = '%s'", names.owner), 0);
    KFX_FREE char *comment = ask_sql(
        super, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '%s'", names.database);
    assert_non_null(strstr(comment, "cp1"));
    KFX_FREE char *scram =
        ask_sql(super, "SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = '%s'", names.login);
    assert_string_equal(scram, "SCRAM-SHA-256$");
}

static void test_idempotent(void **state)
{
    plane_t plane = plane_new(*state, "again");
    char before[KFX_PASSWORD_SIZE], after[KFX_PASSWORD_SIZE];

    create(&plane);
    assert_true(plane_password(&plane, before));
    /* The digest shows it all: not one statement, not one write. */
    size_t writes = store_writes(plane.fx->store);
    atomic_store(&plane.asked, 0);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_int_equal(atomic_load(&plane.asked), 0);
    assert_int_equal(store_writes(plane.fx->store), writes);
    /* A digest that lags does not change the password of a plane that runs. */
    plane.secret = false;
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_true(plane_password(&plane, after));
    assert_string_equal(before, after);
    assert_ready(&plane);
}

static void hash_of(plane_t *plane, char out[32])
{
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);
    KFX_SECRET json_t *secret = store_get(plane->fx->store, ns, "kine-dsn");
    const char *hash = kfx_json_str(secret, "metadata", "annotations", KFX_ANNOTATION_HASH);
    kfx_copy(out, 32, hash ? hash : "");
}

/* How a database of ours looks to those who may look at everything. */
static void assert_settled(kfx_pg_t *super, const kfx_storage_names_t *names)
{
    KFX_FREE char *state =
        ask_sql(super,
                "SELECT concat_ws(' ', d.datallowconn, d.datconnlimit, l.rolcanlogin, l.rolconnlimit, "
                "pg_has_role(l.oid, d.datdba, 'USAGE'), pg_has_role('kubeflex_storage', d.datdba, 'USAGE'), "
                "(SELECT count(*) FROM aclexplode(d.datacl) a WHERE a.grantee = 0), cardinality(s.setconfig), "
                "'statement_timeout=120s' = ANY (s.setconfig), shobj_description(d.oid, 'pg_database') LIKE '%%uid%%') "
                "FROM pg_database d JOIN pg_roles l ON l.rolname = '%s' "
                "JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = l.oid WHERE d.datname = '%s'",
                names->login, names->database);
    KFX_FREE char *wanted = kfx_xasprintf("t %d t %d t t 0 3 t t", KFX_DB_CONNECTION_LIMIT, KFX_DB_CONNECTION_LIMIT);
    assert_string_equal(state, wanted);
}

/* statement: %1$s is the database, %2$s the login role. */
static void mischief_done(kfx_pg_t *super, const char *statement, const char *database, const char *login)
{
    KFX_FREE char *sql = fixture_fill(statement, database, login, "", "");
    do_sql(super, "%s", sql);
}

static void test_repair(void **state)
{
    plane_t plane = plane_new(*state, "repair");
    kfx_storage_names_t names;
    char hash[32], other[32];

    create(&plane);
    plane_names(&plane, &names);
    hash_of(&plane, hash);
    /* The Secret is lost: a new password, and a hash that rolls the pods. */
    store_delete(plane.fx->store, "repair-system", "kine-dsn");
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_ready(&plane);
    hash_of(&plane, other);
    assert_string_not_equal(hash, other);
    assert_memory_equal(hash, other, 17);
    /* Postgres lost the password (restored from a backup): the same, once somebody looks. */
    KFX_PG kfx_pg_t *super = admin(plane.fx, "postgres");
    do_sql(super, "ALTER ROLE \"%s\" PASSWORD 'older'", names.login);
    plane.secret = false;
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_ready(&plane);
    /* Each thing that somebody may undo is put right, whichever it is. */
    static const char *const mischief[] = {
        "GRANT CONNECT ON DATABASE \"%1$s\" TO PUBLIC",
        "ALTER ROLE \"%2$s\" IN DATABASE \"%1$s\" RESET role",
        "ALTER ROLE \"%2$s\" IN DATABASE \"%1$s\" SET statement_timeout = 0",
        "ALTER ROLE \"%2$s\" CONNECTION LIMIT -1",
        "ALTER ROLE \"%2$s\" NOLOGIN",
        "ALTER DATABASE \"%1$s\" CONNECTION LIMIT -1",
        "ALTER DATABASE \"%1$s\" ALLOW_CONNECTIONS false",
        "REVOKE \"%1$s\" FROM \"%2$s\"",
        "REVOKE \"%1$s\" FROM kubeflex_storage",
        "COMMENT ON DATABASE \"%1$s\" IS 'mine'",
    };
    for (size_t i = 0; i < KFX_COUNT(mischief); i++) {
        mischief_done(super, mischief[i], names.database, names.login);
        assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
        assert_ready(&plane);
        assert_settled(super, &names);
    }
    /* A database of our name that belongs to somebody else is left alone and said to be so. */
    do_sql(super, "ALTER DATABASE \"%s\" OWNER TO postgres", names.database);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_RETRY);
    do_sql(super, "ALTER DATABASE \"%s\" OWNER TO \"%s\"", names.database, names.owner);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
}

/* A write of the Secret that got no answer lands after the one that was made instead of it: right in all but the
 * password, which Postgres does not know any more. */
static void test_late_secret(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "late");
    kfx_storage_names_t names;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_secrets_t secrets = store_secrets(fx->store);
    kfx_storage_server_t server = {.host = "127.0.0.1", .port = fx->server.port, .ca_pem = fx->ca_pem};

    create(&plane);
    plane_names(&plane, &names);
    char before[KFX_PASSWORD_SIZE], after[KFX_PASSWORD_SIZE];
    assert_true(plane_password(&plane, before));
    KFX_SECRET json_t *good = store_get(fx->store, "late-system", KFX_SECRET_DSN);
    char hash[KFX_DSN_HASH_SIZE];
    kfx_copy(hash, sizeof hash, kfx_json_str(good, "metadata", "annotations", KFX_ANNOTATION_HASH));
    memcpy(hash + KFX_DSN_HASH_PART, "0123abcd", 8);
    KFX_SECRET json_t *late =
        secrets.apply(secrets.ctx, "late-system", "kubeflex-late",
                      kfx_dsn_secret(plane.name, plane.uid, &names, &server, "longforgotten", hash), &err);
    assert_non_null(late);
    assert_null(plane_connect(&plane, NULL, &err));

    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_ready(&plane);
    /* From here on it is as ever: no statement, no write. */
    size_t writes = store_writes(fx->store);
    assert_true(plane_password(&plane, after));
    assert_string_not_equal(before, after);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_int_equal(store_writes(fx->store), writes);
}

static void test_foreign_secret(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "foreign");
    json_t *secret = kfx_secret_new("foreign-system", "kine-dsn", "Opaque");

    kfx_secret_set(secret, "endpoint", "mysql://user:brought-by-the-user@h/db");
    assert_int_equal(fx->storage.bootstrap.secrets.create(fx->store, "foreign-system", secret, NULL), 0);
    plane.space = true;
    size_t writes = store_writes(fx->store);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_WAITING);
    assert_int_equal(store_writes(fx->store), writes);
    store_delete(fx->store, "foreign-system", "kine-dsn");
    create(&plane);
}

static void test_api_server_away(void **state)
{
    plane_t plane = plane_new(*state, "noapi");
    plane.space = true;
    store_fail_applies(plane.fx->store, 1);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_RETRY); /* and not "Postgres is down" */
    create(&plane);
}

/* After each statement in turn the process ends; the next one brings it to an end. */
static void crash_everywhere(fixture_t *fx, const char *name, bool deleting)
{
    int n = 0;
    for (;; n++) {
        plane_t plane = plane_new(fx, name);
        KFX_FREE char *ns = kfx_xasprintf("%s-system", name);
        assert_true(n < CRASHES_MAX);
        if (deleting)
            create(&plane);
        plane.space = true;
        atomic_store(&plane.left, n);
        kfx_outcome_t outcome = plane_run(&plane, deleting);
        crash(fx);
        bool finished = outcome == (deleting ? KFX_OUTCOME_GONE : KFX_OUTCOME_OK);
        if (!finished)
            assert_int_equal(outcome, KFX_OUTCOME_RETRY);
        atomic_store(&plane.left, -1);
        if (!deleting)
            create(&plane);
        assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
        assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE); /* gone is gone */
        assert_gone(&plane);
        store_delete(fx->store, ns, "kine-dsn");
        if (finished)
            break;
    }
    assert_true(n > 4); /* it did stop at several places */
}

static void test_crash_create(void **state)
{
    crash_everywhere(*state, "crash-create", false);
}

static void test_crash_delete(void **state)
{
    crash_everywhere(*state, "crash-delete", true);
}

/* Without TLS nobody gets in. */
static void test_tls(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "plain");
    kfx_storage_names_t names;
    char password[KFX_PASSWORD_SIZE];

    create(&plane);
    plane_names(&plane, &names);
    assert_true(plane_password(&plane, password));
    kfx_pg_opts_t plain = {.host = "127.0.0.1",
                           .port = fx->server.port,
                           .user = names.login,
                           .password = password,
                           .database = names.database};
    assert_null(kfx_pg_connect(&plain, NULL));
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
}

static void test_drop_with_sessions(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "busy"), twin = plane_new(fx, "busy");
    kfx_error_t err = KFX_ERROR_INIT;

    create(&plane);
    KFX_PG kfx_pg_t *kine = plane_connect(&plane, NULL, &err);
    do_sql(kine, "CREATE TABLE kine (id BIGSERIAL PRIMARY KEY); BEGIN; LOCK TABLE kine");
    /* The same name, another uid: its database lives on. */
    store_delete(fx->store, "busy-system", "kine-dsn");
    create(&twin);
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
    assert_int_equal(kfx_pg_exec(kine, "SELECT 1", NULL), -1);
    assert_gone(&plane);
    assert_ready(&twin);
    assert_int_equal(plane_run(&twin, true), KFX_OUTCOME_GONE);
}

static void test_names(void **state)
{
    static const char *const names[] = {"1cp",
                                        "user",
                                        "a-b.c-d",
                                        "we\"ird",
                                        "o'brien; DROP DATABASE postgres; --",
                                        "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxyz"};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        plane_t plane = plane_new(*state, names[i]);
        create(&plane);
        assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
        assert_gone(&plane);
    }
    plane_t bad = plane_new(*state, "bad-uid");
    kfx_copy(bad.uid, sizeof bad.uid, "' OR 1=1; --");
    assert_int_equal(plane_run(&bad, false), KFX_OUTCOME_WAITING);
    assert_int_equal(plane_run(&bad, true), KFX_OUTCOME_GONE);
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

/* An agent that stands still while it holds the lock loses its session, and with it the right to go on. */
static void test_paused_agent(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "paused");
    kfx_storage_names_t names;
    kfx_error_t err = KFX_ERROR_INIT;

    create(&plane);
    plane_names(&plane, &names);
    KFX_PG kfx_pg_t *pg = agent_connect(fx, &err);
    kfx_db_t db = {
        .pg = pg, .names = &names, .plane = plane.name, .uid = plane.uid, .self = KFX_STORAGE_ROLE, .may = always};
    assert_int_equal(kfx_db_lock(&db, &err), 0);
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE); /* it waited for that, and nothing else */
    assert_int_equal(kfx_db_converge(&db, false, NULL, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_gone(&plane);
}

/* A plane whose lock is held by a session of the test's own, and a thread that wants to drop it. */
typedef struct {
    plane_t plane;
    kfx_storage_names_t names;
    kfx_pg_t *pg;
    kfx_db_t db;
    pthread_t thread;
    kfx_result_t result;
} held_t;

static void hold(held_t *self, fixture_t *fx, const char *name)
{
    kfx_error_t err = KFX_ERROR_INIT;
    self->plane = plane_new(fx, name);
    create(&self->plane);
    plane_names(&self->plane, &self->names);
    self->pg = agent_connect(fx, &err);
    self->db = (kfx_db_t){.pg = self->pg,
                          .names = &self->names,
                          .plane = self->plane.name,
                          .uid = self->plane.uid,
                          .self = KFX_STORAGE_ROLE,
                          .may = always};
    assert_int_equal(kfx_db_lock(&self->db, &err), 0);
}

static void *drop_held(void *arg)
{
    held_t *self = arg;
    plane_result(&self->plane, true, &self->result);
    return NULL;
}

static void await_waiters(kfx_pg_t *super, long wanted)
{
    int64_t deadline = kfx_now_ms() + 4000;
    while (count_sql(super, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") != wanted) {
        assert_true(kfx_now_ms() < deadline);
        struct timespec pause = {.tv_nsec = 5000000};
        nanosleep(&pause, NULL);
    }
}

/* The lock is handed on by the server when its holder ends; who may not wait, or may not go on, comes back at once. */
static void test_lock_handed_on(void **state)
{
    fixture_t *fx = *state;
    held_t *first = kfx_xcalloc(1, sizeof *first), *second = kfx_xcalloc(1, sizeof *second);
    KFX_PG kfx_pg_t *super = admin(fx, "postgres");

    fx->storage.waiters_max = 1;
    hold(first, fx, "held-1");
    hold(second, fx, "held-2");
    assert_int_equal(pthread_create(&first->thread, NULL, drop_held, first), 0);
    await_waiters(super, 1);
    drop_held(second); /* one thread waits already, and no more may */
    assert_int_equal(second->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(second->result.retry_after_ms, 0); /* a failure as any other: the bus's pause grows */
    assert_int_equal(second->result.condition_count, 0);
    assert_int_equal(kfx_db_unlock(&first->db, NULL), 0);
    pthread_join(first->thread, NULL);
    assert_int_equal(first->result.outcome, KFX_OUTCOME_GONE);
    assert_gone(&first->plane);

    second->result = (kfx_result_t){.outcome = KFX_OUTCOME_NONE};
    assert_int_equal(pthread_create(&second->thread, NULL, drop_held, second), 0);
    await_waiters(super, 1);
    atomic_store(&second->plane.left, 0); /* its lease is over */
    pthread_join(second->thread, NULL);
    assert_int_equal(second->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"), 1);
    kfx_pg_close(&second->pg); /* the holder's end is as good as his unlocking */
    atomic_store(&second->plane.left, -1);
    assert_int_equal(plane_run(&second->plane, true), KFX_OUTCOME_GONE);
    assert_gone(&second->plane);
    kfx_pg_close(&first->pg);
    free(first);
    free(second);
}

static void test_outage(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "outage");
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    create(&plane);
    assert_true(kfx_storage_up(&fx->storage, &(kfx_error_t)KFX_ERROR_INIT));
    pg_server_kill(&fx->server);
    plane.secret = false;
    plane_result(&plane, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_DOWN);
    assert_string_equal(result->conditions[0].reason, "PostgresUnavailable");
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_DOWN);
    assert_false(kfx_storage_up(&fx->storage, &(kfx_error_t)KFX_ERROR_INIT));
    pg_server_start(&fx->server);
    int64_t deadline = kfx_now_ms() + 20000;
    while (!kfx_storage_up(&fx->storage, &(kfx_error_t)KFX_ERROR_INIT)) { /* it recovers first */
        assert_true(kfx_now_ms() < deadline);
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
    }
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    assert_ready(&plane);
    free(result);
}

#define WORKERS 8
#define ROUNDS 3

typedef struct {
    plane_t plane;
    bool same; /* all work on one plane: a queue that broke its promise */
    int failures;
} worker_t;

static void *work(void *arg)
{
    worker_t *self = arg;
    for (int i = 0; i < ROUNDS; i++) {
        kfx_outcome_t outcome = plane_run(&self->plane, false);
        if (outcome != KFX_OUTCOME_OK && !(self->same && outcome == KFX_OUTCOME_RETRY))
            self->failures++;
    }
    return NULL;
}

static void run_workers(worker_t *workers)
{
    pthread_t threads[WORKERS];
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
    }
}

static void test_concurrency(void **state)
{
    fixture_t *fx = *state;
    static char names[WORKERS][16];
    worker_t *workers = kfx_xcalloc(WORKERS, sizeof *workers);

    for (size_t i = 0; i < WORKERS; i++) {
        snprintf(names[i], sizeof names[i], "many-%zu", i);
        workers[i].plane = plane_new(fx, names[i]);
        workers[i].plane.space = true;
    }
    run_workers(workers);
    for (size_t i = 0; i < WORKERS; i++) {
        assert_ready(&workers[i].plane);
        assert_int_equal(plane_run(&workers[i].plane, true), KFX_OUTCOME_GONE);
        assert_gone(&workers[i].plane);
    }
    /* The same plane from all sides: every one either works alone or is sent away. */
    plane_t one = plane_new(fx, "contended");
    one.space = true;
    for (size_t i = 0; i < WORKERS; i++)
        workers[i] = (worker_t){.plane = one, .same = true};
    run_workers(workers);
    create(&one);
    free(workers);
}

/* Runs last: what all the others wrote. */
static void test_no_password_in_logs(void **state)
{
    fixture_t *fx = *state;
    KFX_FREE char *server = pg_server_log(&fx->server);
    KFX_FREE char *ours = kfx_file_read(output_path, 64 << 20, NULL, NULL);

    assert_non_null(strstr(server, "CREATE DATABASE")); /* the log does show statements */
    assert_non_null(strstr(ours, "database ready"));
    assert_null(store_leak(fx->store, server));
    assert_null(store_leak(fx->store, ours));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_backend),
        cmocka_unit_test(test_idempotent),
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_late_secret),
        cmocka_unit_test(test_foreign_secret),
        cmocka_unit_test(test_api_server_away),
        cmocka_unit_test(test_crash_create),
        cmocka_unit_test(test_crash_delete),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_drop_with_sessions),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_paused_agent),
        cmocka_unit_test(test_lock_handed_on),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_no_password_in_logs),
    };

    if (!pg_server_available()) {
        fprintf(stderr, "skipped: PostgreSQL 15 is not installed (package postgresql-15)\n");
        return 77;
    }
    int fd = mkstemp(output_path);
    real_stderr = dup(2);
    if (fd < 0 || real_stderr < 0)
        return 1;
    cmocka_set_message_output(CM_OUTPUT_TAP); /* on stdout */
    fflush(stderr);
    dup2(fd, 2);
    kfx_log_init("test");
    int failed = cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
    dup2(real_stderr, 2);
    unlink(output_path);
    return failed;
}
