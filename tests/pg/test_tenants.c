/* What one tenant can do to another, and what a fault at the worst moment can: the matrix of N login roles and all
 * databases of two real servers; SIGKILL of Postgres at each statement; an agent that wakes up after its plane was made
 * anew. Ends with 77 (skipped) where the server's programs are not installed. */
#include "tests/pg/fixture.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/database.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const pg_server_t *server_of(const plane_t *plane)
{
    return strcmp(plane->recorded, "east") == 0 ? &plane->fx->second : &plane->fx->server;
}

/* Database, roles, and what the end of the Namespace takes. */
static void gone(plane_t *plane)
{
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);
    assert_int_equal(plane_run(plane, true), KFX_OUTCOME_GONE);
    store_delete(plane->fx->store, ns, KFX_SECRET_DSN);
}

static void create_on(plane_t *plane, const char *server)
{
    plane->space = true;
    plane->recorded = server;
    assert_int_equal(plane_run(plane, false), KFX_OUTCOME_OK);
    plane->secret = true;
}

/* ---- tenants ----------------------------------------------------------------------------------------------------- */

#define TENANTS 4

typedef struct {
    plane_t planes[TENANTS];
    kfx_storage_names_t names[TENANTS];
} tenants_t;

static tenants_t t; /* the same ones for all tests */

/* Names that are words of SQL or of Postgres, half of them on each server; each with a row that tells whose it is. */
static void settle_in(fixture_t *fx)
{
    static const char *const names[TENANTS] = {"tenant-a", "template1", "postgres", "select"};
    kfx_error_t err = KFX_ERROR_INIT;

    for (size_t i = 0; i < TENANTS; i++) {
        t.planes[i] = plane_new(fx, names[i]);
        create_on(&t.planes[i], i % 2 ? "east" : KFX_SERVER_OWN);
        plane_names(&t.planes[i], &t.names[i]);
        KFX_PG kfx_pg_t *pg = plane_connect_to(&t.planes[i], server_of(&t.planes[i]), NULL, &err);
        if (!pg)
            fail_msg("%s: %s", names[i], err.msg);
        do_sql(pg, "CREATE TABLE kine (name TEXT); INSERT INTO kine VALUES ('%s')", names[i]);
    }
}

static int setup(void **state)
{
    int rc = fixture_setup(state);
    fixture_second(*state);
    settle_in(*state);
    return rc;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < TENANTS; i++)
        gone(&t.planes[i]);
    return fixture_teardown(state);
}

/* Each login role, at each database of both servers: in at its own, refused at all others, whoever's they are. */
static void test_matrix(void **state)
{
    fixture_t *fx = *state;
    static const char *const common[] = {"postgres", "template1", "bystander"};
    const pg_server_t *servers[] = {&fx->server, &fx->second};
    size_t in = 0, refused = 0;

    for (size_t s = 0; s < KFX_COUNT(servers); s++) {
        KFX_PG kfx_pg_t *super = admin_of(fx, servers[s], "postgres");
        do_sql(super, "CREATE DATABASE bystander");
        do_sql(super, "REVOKE CONNECT ON DATABASE bystander FROM PUBLIC");
        for (size_t i = 0; i < TENANTS; i++)
            for (size_t j = 0; j < TENANTS + KFX_COUNT(common); j++) {
                kfx_error_t err = KFX_ERROR_INIT;
                const char *database = j < TENANTS ? t.names[j].database : common[j - TENANTS];
                bool here = server_of(&t.planes[i]) == servers[s];
                KFX_PG kfx_pg_t *pg = plane_connect_to(&t.planes[i], servers[s], database, &err);
                if ((pg != NULL) != (here && i == j))
                    fail_msg("%s at %s: %s", t.names[i].login, database, pg ? "let in" : err.msg);
                if (pg) {
                    KFX_FREE char *whose = ask_sql(pg, "SELECT name FROM kine");
                    assert_string_equal(whose, t.planes[j].name);
                    in++;
                } else {
                    /* On the other server its role does not exist; a database of the other server is not there. */
                    bool there = j >= TENANTS || server_of(&t.planes[j]) == servers[s];
                    kfx_code_t code = !here ? KFX_E_UNAUTHORIZED : there ? KFX_E_FORBIDDEN : KFX_E_NOT_FOUND;
                    assert_int_equal(err.code, code);
                    refused++;
                }
            }
        do_sql(super, "DROP DATABASE bystander");
    }
    assert_int_equal(in, TENANTS);
    assert_int_equal(refused, 2 * TENANTS * (TENANTS + KFX_COUNT(common)) - TENANTS);
}

/* What a tenant may try from inside, as the login role and as the owner it acts as. $1 to $4 below are another tenant's
 * database, owner, login, and the agents' role. */
static void attempts(plane_t *from, const kfx_storage_names_t *other, const char *agents)
{
    static const char *const forms[] = {
        "SET ROLE \"%2$s\"",
        "SET ROLE \"%3$s\"",
        "SET ROLE \"%4$s\"",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION \"%3$s\"",
        "ALTER ROLE \"%3$s\" PASSWORD 'stolen'",
        "ALTER ROLE \"%4$s\" PASSWORD 'stolen'",
        "GRANT \"%2$s\" TO CURRENT_USER",
        "GRANT pg_read_server_files TO CURRENT_USER",
        "GRANT pg_execute_server_program TO CURRENT_USER",
        "DROP ROLE \"%3$s\"",
        "DROP OWNED BY \"%2$s\"",
        "REASSIGN OWNED BY \"%2$s\" TO CURRENT_USER",
        "DROP DATABASE \"%1$s\"",
        "ALTER DATABASE \"%1$s\" OWNER TO CURRENT_USER",
        "GRANT CONNECT ON DATABASE \"%1$s\" TO CURRENT_USER",
        "COMMENT ON DATABASE \"%1$s\" IS 'mine'",
        "ALTER ROLE \"%3$s\" IN DATABASE \"%1$s\" SET role = postgres",
        "CREATE DATABASE mallory",
        "CREATE DATABASE mallory TEMPLATE \"%1$s\"",
        "CREATE ROLE mallory",
        "ALTER ROLE CURRENT_USER CREATEROLE",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
        "ALTER SYSTEM SET max_connections = 1",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_shadow",
        "SELECT * FROM pg_subscription",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_reload_conf()",
        "SELECT pg_stat_reset_shared('bgwriter')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/mallory'",
        "CREATE TABLE t (x TEXT); COPY t FROM '/etc/passwd'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw",
        "CREATE EXTENSION file_fdw",
        "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE TABLESPACE t LOCATION '/tmp'",
    };
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_PG kfx_pg_t *pg = plane_connect_to(from, server_of(from), NULL, &err);

    for (int as_owner = 0; as_owner < 2; as_owner++)
        for (size_t i = 0; i < KFX_COUNT(forms); i++) {
            KFX_FREE char *half = fixture_fill(forms[i], other->database, other->owner, other->login, agents);
            if (!as_owner)
                do_sql(pg, "RESET role");
            err = (kfx_error_t)KFX_ERROR_INIT;
            if (kfx_pg_exec(pg, half, &err) == 0)
                fail_msg("%s may: %s", from->name, half);
            if (err.code != KFX_E_FORBIDDEN)
                fail_msg("%s: %s", half, err.msg);
            do_sql(pg, "SET role = DEFAULT"); /* as a new session is: the owner */
        }
}

static void test_from_inside(void **state)
{
    fixture_t *fx = *state;
    kfx_error_t err = KFX_ERROR_INIT;

    for (size_t i = 0; i < TENANTS; i++)
        attempts(&t.planes[i], &t.names[(i + 2) % TENANTS], i % 2 ? "agents" : KFX_STORAGE_ROLE);
    /* Another tenant's session cannot be ended, and what it runs cannot be seen. */
    KFX_PG kfx_pg_t *victim = plane_connect_to(&t.planes[2], &fx->server, NULL, &err);
    KFX_PG kfx_pg_t *pg = plane_connect_to(&t.planes[0], &fx->server, NULL, &err);
    do_sql(victim, "SELECT 'my own business'");
    KFX_FREE char *pid = ask_sql(victim, "SELECT pg_backend_pid()");
    KFX_FREE char *seen = ask_sql(pg, "SELECT query FROM pg_stat_activity WHERE pid = %s", pid);
    assert_string_equal(seen, "<insufficient privilege>");
    assert_int_equal(count_sql(pg, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%business%%'"
                                   " AND pid <> pg_backend_pid()"),
                     0);
    KFX_FREE char *kill = kfx_xasprintf("SELECT pg_terminate_backend(%s)", pid);
    assert_int_equal(kfx_pg_exec(pg, kill, &err), -1);
    assert_int_equal(err.code, KFX_E_FORBIDDEN);
    assert_int_equal(count_sql(victim, "SELECT count(*) FROM kine"), 1);
    /* The agents' lock of a plane is in a database that no tenant gets into: a tenant that takes the same number in its
     * own stops nobody. */
    do_sql(pg, "SELECT pg_advisory_lock(%lld)", (long long)t.names[2].lock);
    t.planes[2].secret = false;
    assert_int_equal(plane_run(&t.planes[2], false), KFX_OUTCOME_OK);
}

/* In the tenants' namespaces stand their own DSNs and nothing else: no superuser, no password of the agents. */
static void test_secrets(void **state)
{
    fixture_t *fx = *state;
    static const char *const ours[][2] = {{KFX_SECRET_ADMIN_PASSWORD, "postgres-password"},
                                          {KFX_SECRET_LOGIN, "password"}};
    KFX_SECRET json_t *east = store_get(fx->store, KFX_POOL_NAMESPACE, "east");

    for (size_t i = 0; i < TENANTS; i++) {
        KFX_FREE char *ns = kfx_xasprintf("%s-system", t.planes[i].name);
        KFX_SECRET json_t *secret = store_get(fx->store, ns, KFX_SECRET_DSN);
        KFX_FREE char *dsn = kfx_secret_value(secret, "endpoint", NULL);
        KFX_FREE char *user = kfx_xasprintf("postgres://%s:", t.names[i].login);
        assert_int_equal(json_object_size(kfx_json_get(secret, "data")), 2); /* endpoint, ca.crt */
        assert_memory_equal(dsn, user, strlen(user));
        for (size_t j = 0; j < KFX_COUNT(ours); j++) {
            KFX_SECRET json_t *other = store_get(fx->store, "kubeflex-system", ours[j][0]);
            KFX_FREE char *password = kfx_secret_value(other, ours[j][1], NULL);
            assert_null(strstr(dsn, password));
        }
        assert_null(strstr(dsn, "Eastern"));
    }
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void kill_server(plane_t *plane)
{
    pg_server_kill(&plane->fx->second);
}

static void restart(fixture_t *fx)
{
    kfx_error_t err = KFX_ERROR_INIT;
    int64_t deadline = kfx_now_ms() + 30000;

    if (fx->second.pid == 0)
        pg_server_start(&fx->second);
    for (;;) { /* it recovers first */
        KFX_PG kfx_pg_t *pg = kfx_pool_connect(&fx->storage.pool, "east", &err);
        if (pg)
            return;
        assert_true(kfx_now_ms() < deadline);
    }
}

/* Postgres is killed right before each statement of creation, and of deletion, in turn: whatever came before it, the
 * next run brings the plane to the same end. */
static void kill_everywhere(fixture_t *fx, bool deleting)
{
    KFX_PG kfx_pg_t *after = NULL;
    bool killed = true;
    int n = 0;

    for (; killed; n++) {
        plane_t plane = plane_new(fx, deleting ? "kill-delete" : "kill-create");
        kfx_error_t err = KFX_ERROR_INIT;

        assert_true(n < 40);
        plane.space = true;
        plane.recorded = "east";
        if (deleting)
            create_on(&plane, "east");
        atomic_store(&plane.left, n);
        plane.at_zero = kill_server;
        kfx_outcome_t outcome = plane_run(&plane, deleting);
        killed = fx->second.pid == 0;
        if (killed)
            assert_true(outcome == KFX_OUTCOME_RETRY || outcome == KFX_OUTCOME_DOWN || n > 0);
        restart(fx);
        atomic_store(&plane.left, -1);
        plane.at_zero = NULL;
        if (!deleting) {
            create_on(&plane, "east");
            after = plane_connect_to(&plane, &fx->second, NULL, &err);
            if (!after)
                fail_msg("killed at statement %d: %s", n, err.msg);
            kfx_pg_close(&after);
        }
        gone(&plane);
        KFX_PG kfx_pg_t *super = admin_of(fx, &fx->second, "postgres");
        assert_int_equal(count_sql(super, "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'kill%%')"
                                          " + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'kill%%')"),
                         0);
    }
    assert_true(n > 4); /* it was killed at several places */
}

static void test_kill_create(void **state)
{
    kill_everywhere(*state, false);
}

static void test_kill_delete(void **state)
{
    kill_everywhere(*state, true);
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

/* An agent that was about to drop a plane's database stands still; another one drops it, and the plane is made again
 * under its name. What the first one does when it wakes up, in the session it had and in a new one, reaches nothing of
 * the new plane. */
static void test_wakes_up(void **state)
{
    fixture_t *fx = *state;
    plane_t old = plane_new(fx, "reborn"), again = plane_new(fx, "reborn");
    kfx_storage_names_t names, now;
    kfx_error_t err = KFX_ERROR_INIT;

    create_on(&old, "east");
    plane_names(&old, &names);
    KFX_PG kfx_pg_t *pg = kfx_pool_connect(&fx->storage.pool, "east", &err);
    kfx_db_t db = {.pg = pg, .names = &names, .plane = old.name, .uid = old.uid, .self = "agents", .may = always};
    assert_int_equal(kfx_db_lock(&db, &err), 0);
    gone(&old); /* once the server has ended the silent session */
    create_on(&again, "east");
    plane_names(&again, &now);
    assert_string_not_equal(names.database, now.database);
    KFX_PG kfx_pg_t *kine = plane_connect_to(&again, &fx->second, NULL, &err);
    do_sql(kine, "CREATE TABLE kine (name TEXT); INSERT INTO kine VALUES ('mine')");

    assert_int_equal(kfx_db_converge(&db, true, NULL, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_int_equal(plane_run(&old, true), KFX_OUTCOME_GONE);
    /* Even each of its statements by itself, without lock and session between it and the server. */
    KFX_PG kfx_pg_t *late = kfx_pool_connect(&fx->storage.pool, "east", &err);
    do_sql(late, "DROP DATABASE IF EXISTS \"%s\" WITH (FORCE)", names.database);
    do_sql(late, "DROP ROLE IF EXISTS \"%s\", \"%s\", \"%s\"", names.login, names.other, names.owner);
    KFX_FREE char *row = ask_sql(kine, "SELECT name FROM kine");
    assert_string_equal(row, "mine"); /* in a session that nobody ended */
    KFX_PG kfx_pg_t *anew = plane_connect_to(&again, &fx->second, NULL, &err);
    assert_non_null(anew);
    kfx_pg_close(&kine);
    kfx_pg_close(&anew);
    assert_int_equal(plane_run(&again, true), KFX_OUTCOME_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),      cmocka_unit_test(test_from_inside), cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_kill_create), cmocka_unit_test(test_kill_delete), cmocka_unit_test(test_wakes_up),
    };

    if (!pg_server_available()) {
        fprintf(stderr, "skipped: PostgreSQL 15 is not installed (package postgresql-15)\n");
        return 77;
    }
    cmocka_set_message_output(CM_OUTPUT_TAP); /* on stdout */
    kfx_log_init("test");
    return cmocka_run_group_tests(tests, setup, teardown);
}
