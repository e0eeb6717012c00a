/* Several Postgres servers and more than one password: two real servers, a plane on each, each turned over to a new
 * login role while its sessions go on. Ends with 77 (skipped) where the server's programs are not installed. */
#include "tests/pg/fixture.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/database.h"
#include "storage-agent/orphans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    int rc = fixture_setup(state);
    fixture_second(*state);
    return rc;
}

static void set_key(fixture_t *fx, const char *key, const char *value)
{
    store_set(fx->store, KFX_POOL_NAMESPACE, "east", key, value);
    crash(fx); /* a process that starts knows nothing of before */
}

/* A plane is placed, recorded, made; its Secret says where. */
static void create_on(plane_t *plane, const char *server)
{
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    plane->space = true;
    plane->recorded = server;
    plane_result(plane, false, result);
    if (result->outcome != KFX_OUTCOME_OK)
        fail_msg("%s: %s", plane->name, result->condition_count ? result->conditions[0].message : "nothing said");
    plane->secret = true;
    free(result);
}

static long planes_on(fixture_t *fx, const pg_server_t *server)
{
    KFX_PG kfx_pg_t *super = admin_of(fx, server, "postgres");
    return count_sql(super, "SELECT count(*) FROM pg_database WHERE datname ~ '_[0-9a-f]{32}$'");
}

/* Where there is a choice nothing is made before it is recorded, and what is recorded is followed. */
static void test_choice(void **state)
{
    fixture_t *fx = *state;
    plane_t first = plane_new(fx, "first"), second = plane_new(fx, "second");
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    kfx_error_t err = KFX_ERROR_INIT;

    first.space = second.space = true;
    plane_result(&first, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_WAITING);
    assert_true(result->awaits_record);
    assert_string_equal(result->conditions[0].reason, "ServerChosen");
    assert_int_equal(planes_on(fx, &fx->server) + planes_on(fx, &fx->second), 0);
    /* Asked again before the record came round, it says the same. */
    char chosen[64];
    kfx_copy(chosen, sizeof chosen, result->postgres_server);
    plane_result(&first, false, result);
    assert_string_equal(result->postgres_server, chosen);
    /* The next plane goes to the other server: the first one counts before its database is there. */
    plane_result(&second, false, result);
    assert_string_not_equal(result->postgres_server, chosen);

    create_on(&first, "east"); /* whichever it was: the record is what counts */
    create_on(&second, KFX_SERVER_OWN);
    assert_int_equal(planes_on(fx, &fx->second), 1);
    assert_int_equal(planes_on(fx, &fx->server), 1);
    KFX_PG kfx_pg_t *east = plane_connect_to(&first, &fx->second, NULL, &err);
    assert_non_null(east);
    KFX_SECRET json_t *secret = store_get(fx->store, "first-system", "kine-dsn");
    KFX_FREE char *dsn = kfx_secret_value(secret, "endpoint", NULL);
    assert_non_null(strstr(dsn, fx->second.port));
    /* A record that got lost is found again by the database, whichever server has more room. */
    first.recorded = NULL;
    crash(fx);
    plane_result(&first, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_OK);
    assert_string_equal(result->postgres_server, "east");
    /* Deletion without a record looks on all. */
    assert_int_equal(plane_run(&first, true), KFX_OUTCOME_GONE);
    assert_int_equal(planes_on(fx, &fx->second), 0);
    assert_int_equal(plane_run(&second, true), KFX_OUTCOME_GONE);
    assert_int_equal(planes_on(fx, &fx->server), 0);
    free(result);
}

static void test_pin(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "pinned");
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    plane.spec = json_pack("{s:s, s:{s:s}}", "type", "k8s", "storage", "server", "east");
    plane.space = true;
    plane_result(&plane, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_OK); /* no choice: nothing to wait for */
    assert_string_equal(result->postgres_server, "east");
    plane.recorded = "east";
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
    plane_t lost = plane_new(fx, "nowhere");
    lost.spec = json_pack("{s:s, s:{s:s}}", "type", "k8s", "storage", "server", "north");
    plane_result(&lost, false, result);
    assert_string_equal(result->conditions[0].reason, "UnknownServer");
    assert_non_null(strstr(result->conditions[0].message, "'north'"));
    json_decref(plane.spec);
    json_decref(lost.spec);
    free(result);
}

/* A server takes no more planes than it may; when none has room the plane says so, and goes on when there is. */
static void test_room(void **state)
{
    fixture_t *fx = *state;
    plane_t full = plane_new(fx, "full"), next = plane_new(fx, "next");
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    set_key(fx, "max-databases", "1");
    create_on(&full, "east");
    next.spec = json_pack("{s:s, s:{s:s}}", "type", "k8s", "storage", "server", "east");
    plane_result(&next, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_RETRY);
    assert_string_equal(result->conditions[0].reason, "NoRoom");
    assert_non_null(strstr(result->conditions[0].message, "1 databases"));
    json_decref(next.spec);
    next.spec = NULL;
    next.generation = 1;
    plane_result(&next, false, result); /* without the pin the other one has room */
    assert_string_equal(result->postgres_server, KFX_SERVER_OWN);
    assert_int_equal(plane_run(&full, true), KFX_OUTCOME_GONE);
    set_key(fx, "max-databases", "1000");
    free(result);
}

/* One server is away: its planes wait, the others' go on, new ones are put where somebody answers. */
static void test_one_away(void **state)
{
    fixture_t *fx = *state;
    plane_t there = plane_new(fx, "there"), fresh = plane_new(fx, "fresh");
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    create_on(&there, "east");
    pg_server_kill(&fx->second);
    there.secret = false;
    plane_result(&there, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_RETRY); /* and not DOWN, which would stop all */
    assert_string_equal(result->conditions[0].reason, "PostgresUnavailable");
    assert_int_equal(plane_run(&there, true), KFX_OUTCOME_RETRY);
    plane_result(&fresh, false, result);
    assert_string_equal(result->postgres_server, KFX_SERVER_OWN);
    assert_true(kfx_storage_up(&fx->storage, &(kfx_error_t)KFX_ERROR_INIT));
    /* A plane that has a Secret and no record may live on the one that is away: no second database is made for it. */
    there.recorded = NULL;
    there.secret = true;
    crash(fx);
    plane_result(&there, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(planes_on(fx, &fx->server), 0);
    pg_server_start(&fx->second);
    int64_t deadline = kfx_now_ms() + 20000;
    do { /* it recovers first */
        assert_true(kfx_now_ms() < deadline);
        plane_result(&there, false, result);
    } while (result->outcome != KFX_OUTCOME_OK);
    assert_string_equal(result->postgres_server, "east");
    assert_int_equal(plane_run(&there, true), KFX_OUTCOME_GONE);
    free(result);
}

/* What may stand in a pool's Secret, and what is said of what may not. */
static void test_secret(void **state)
{
    fixture_t *fx = *state;
    static const struct {
        const char *key, *value, *says;
    } bad[] = {
        {"port", "70000", "port is no port"},
        {"host", "h@evil/x", "host is no host name"},
        {"dsn-host", "h?sslmode=disable", "dsn-host is no host name"},
        {"max-databases", "many", "max-databases is no number"},
        {"username", "postgres", "username must be another role"},
        {"ca.crt", "", "ca.crt"},
    };
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        KFX_SECRET json_t *secret = store_get(fx->store, KFX_POOL_NAMESPACE, "east");
        kfx_secret_set(secret, bad[i].key, bad[i].value);
        assert_null(kfx_server_from_secret(secret, &err));
        assert_non_null(strstr(err.msg, bad[i].says));
        assert_non_null(strstr(err.msg, "east"));
    }
    KFX_SECRET json_t *secret = store_get(fx->store, KFX_POOL_NAMESPACE, "east");
    kfx_secret_set(secret, "dsn-host", "bouncer.example");
    KFX_SERVER kfx_server_t *server = kfx_server_from_secret(secret, NULL);
    assert_string_equal(kfx_server_for_dsn(server).host, "bouncer.example");
    assert_string_equal(kfx_server_for_dsn(server).port, fx->second.port);
    /* One that is no good does not hide the others. */
    kfx_error_t err = KFX_ERROR_INIT;
    set_key(fx, "port", "70000");
    KFX_SERVER kfx_server_t *own = kfx_pool_find(&fx->storage.pool, KFX_SERVER_OWN, &err);
    assert_non_null(own);
    assert_null(kfx_pool_find(&fx->storage.pool, "east", &err));
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    set_key(fx, "port", fx->second.port);
    /* A superuser is no login for the agents, and one without rights is told what it lacks. */
    set_key(fx, "admin-password", "Eastern-Admin-1");
    KFX_PG kfx_pg_t *super = admin_of(fx, &fx->second, "postgres");
    do_sql(super, "CREATE ROLE weak LOGIN PASSWORD 'Weak-1'; CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'Boss-1';"
                  "GRANT CONNECT ON DATABASE postgres TO weak");
    static const struct {
        const char *role, *password, *says;
    } logins[] = {{"weak", "Weak-1", "ALTER ROLE \"weak\" CREATEDB CREATEROLE"}, {"boss", "Boss-1", "is a superuser"}};
    for (size_t i = 0; i < KFX_COUNT(logins); i++) {
        KFX_SECRET json_t *other = store_get(fx->store, KFX_POOL_NAMESPACE, "east");
        kfx_secret_set(other, "username", logins[i].role);
        kfx_secret_set(other, "password", logins[i].password);
        KFX_SERVER kfx_server_t *bare = kfx_server_from_secret(other, NULL);
        assert_null(kfx_server_connect(bare, &err));
        assert_int_equal(err.code, KFX_E_FORBIDDEN);
        assert_non_null(strstr(err.msg, logins[i].says));
    }
}

/* ---- a new password ---------------------------------------------------------------------------------------------- */

static void stamp_of(plane_t *plane, char out[KFX_DSN_STAMP_SIZE])
{
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);
    KFX_SECRET json_t *secret = store_get(plane->fx->store, ns, "kine-dsn");
    const char *stamp = kfx_dsn_stamp(kfx_json_str(secret, "metadata", "annotations", KFX_ANNOTATION_HASH));
    assert_non_null(stamp);
    kfx_copy(out, KFX_DSN_STAMP_SIZE, stamp);
}

/* The end that was given to a role that nobody uses is over at once. */
static void let_it_end(kfx_pg_t *super, const char *role)
{
    assert_int_equal(
        count_sql(super, "SELECT count(*) FROM pg_roles WHERE rolname = '%s' AND rolvaliduntil > now()", role), 1);
    do_sql(super, "ALTER ROLE \"%s\" VALID UNTIL '2020-01-01'", role);
}

static kfx_pg_t *connect_old(fixture_t *fx, const kfx_storage_names_t *names, const char *password)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_SERVER kfx_server_t *server = kfx_pool_find(&fx->storage.pool, "east", &err);
    kfx_pg_t *pg = kfx_server_open(server, names->login, password, names->database, &err);
    if (!pg)
        fail_msg("%s", err.msg);
    return pg;
}

static void await_no_session(kfx_pg_t *super, const char *role)
{
    int64_t deadline = kfx_now_ms() + 10000;
    while (count_sql(super, "SELECT count(*) FROM pg_stat_activity WHERE usename = '%s'", role) > 0)
        assert_true(kfx_now_ms() < deadline);
}

/* It gets an end; a pod that shows up again takes that back; once the end is over it goes. */
static void old_role_goes(plane_t *plane, kfx_pg_t *super, const kfx_storage_names_t *before, const char *password)
{
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    await_no_session(super, before->login);
    crash(plane->fx); /* another process sees to it */
    plane_result(plane, false, result);
    assert_true(result->retry_after_ms > 0);
    KFX_PG kfx_pg_t *again = connect_old(plane->fx, before, password);
    plane_result(plane, false, result);
    assert_int_equal(count_sql(super,
                               "SELECT count(*) FROM pg_roles WHERE rolname = '%s' AND rolvaliduntil = 'infinity'",
                               before->login),
                     1);
    kfx_pg_close(&again);
    await_no_session(super, before->login);
    plane_result(plane, false, result);
    let_it_end(super, before->login);
    plane_result(plane, false, result);
    assert_int_equal(result->retry_after_ms, 0);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_roles WHERE rolname = '%s'", before->login), 0);
    free(result);
}

/* The old password works, and its sessions stay, until nobody uses it any more; then its role is gone. */
static void test_rotation(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "turning");
    kfx_storage_names_t before, after;
    kfx_error_t err = KFX_ERROR_INIT;
    char stamp[KFX_DSN_STAMP_SIZE], turned[KFX_DSN_STAMP_SIZE], old[KFX_PASSWORD_SIZE];
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);

    create_on(&plane, "east");
    plane_names(&plane, &before);
    stamp_of(&plane, stamp);
    assert_true(plane_password(&plane, old));
    KFX_PG kfx_pg_t *pod = plane_connect_to(&plane, &fx->second, NULL, &err);
    assert_non_null(pod);
    do_sql(pod, "CREATE TABLE kine (id BIGSERIAL PRIMARY KEY)");

    plane.rotate = "aaaaaaaaaaaaaaaa";
    plane_result(&plane, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_OK);
    assert_int_equal(result->written_count, 1);
    assert_true(result->retry_after_ms > 0); /* to see to the old one */
    plane_names(&plane, &after);
    stamp_of(&plane, turned);
    assert_string_equal(after.login, before.other);
    assert_string_not_equal(stamp, turned); /* the pods roll */
    KFX_PG kfx_pg_t *next = plane_connect_to(&plane, &fx->second, NULL, &err);
    if (!next)
        fail_msg("%s", err.msg);
    do_sql(next, "INSERT INTO kine DEFAULT VALUES"); /* the owner's table, whoever made it */
    do_sql(pod, "INSERT INTO kine DEFAULT VALUES");
    KFX_PG kfx_pg_t *again = connect_old(fx, &before, old); /* a pod of before that has to connect anew */
    kfx_pg_close(&again);

    /* Nothing is due any more; while the old one is in use nothing happens to it. */
    size_t writes = store_writes(fx->store);
    KFX_PG kfx_pg_t *super = admin_of(fx, &fx->second, "postgres");
    plane_result(&plane, false, result);
    assert_true(result->retry_after_ms > 0);
    assert_int_equal(count_sql(super, "SELECT rolcanlogin::int FROM pg_roles WHERE rolname = '%s'", before.login), 1);
    /* A second request waits for that, and says nothing false meanwhile. */
    plane.rotate = "bbbbbbbbbbbbbbbb";
    plane_result(&plane, false, result);
    plane_names(&plane, &after);
    assert_string_equal(after.login, before.other);
    plane.rotate = "aaaaaaaaaaaaaaaa";

    /* The pod is gone. */
    assert_int_equal(store_writes(fx->store), writes);
    kfx_pg_close(&pod);
    old_role_goes(&plane, super, &before, old);
    /* From then on it is silent again. */
    atomic_store(&plane.asked, 0);
    plane_result(&plane, false, result);
    assert_int_equal(atomic_load(&plane.asked), 0);
    assert_int_equal(count_sql(next, "SELECT count(*) FROM kine"), 2);

    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
    assert_int_equal(planes_on(fx, &fx->second), 0);
    free(result);
}

/* By age: the day stands in the applied-hash. */
static void test_age(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_new(fx, "aging");
    kfx_storage_names_t before, after;
    char stamp[KFX_DSN_STAMP_SIZE], text[KFX_DSN_HASH_SIZE];

    create_on(&plane, "east");
    plane_names(&plane, &before);
    fx->storage.password_days = 90;
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    plane_result(&plane, false, result);
    assert_int_equal(result->outcome, KFX_OUTCOME_OK);
    assert_int_equal(result->retry_after_ms, 86400000); /* no event tells of a birthday */
    free(result);
    plane_names(&plane, &after);
    assert_string_equal(after.login, before.login);
    stamp_of(&plane, stamp);
    KFX_SECRET json_t *secret = store_get(fx->store, "aging-system", "kine-dsn");
    const char *hash = kfx_json_str(secret, "metadata", "annotations", KFX_ANNOTATION_HASH);
    snprintf(text, sizeof text, "%.16s-%04lx%s", hash, kfx_dsn_stamp_day(stamp) - 100, stamp + 4);
    kfx_json_put(secret, json_string(text), "metadata", "annotations", KFX_ANNOTATION_HASH);
    store_put(fx->store, "aging-system", KFX_STEAL(secret));
    crash(fx);
    assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
    plane_names(&plane, &after);
    assert_string_equal(after.login, before.other);
    fx->storage.password_days = 0;
    assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE); /* with both roles there */
    KFX_PG kfx_pg_t *super = admin_of(fx, &fx->second, "postgres");
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aging%%'"), 0);
}

/* The agent ends after each statement of a rotation in turn: the plane can always log in with what its Secret says, and
 * the rotation comes to its end. */
static void test_rotation_crash(void **state)
{
    fixture_t *fx = *state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_PG kfx_pg_t *super = admin_of(fx, &fx->second, "postgres");
    bool finished = false;

    for (int n = 0; !finished; n++) {
        plane_t plane = plane_new(fx, "turncrash");
        kfx_storage_names_t before, after;
        assert_true(n < 40);
        create_on(&plane, "east");
        plane_names(&plane, &before);
        crash(fx);
        plane.rotate = "aaaaaaaaaaaaaaaa";
        atomic_store(&plane.left, n);
        finished = plane_run(&plane, false) == KFX_OUTCOME_OK;
        crash(fx);
        atomic_store(&plane.left, -1);
        kfx_pg_t *pod = plane_connect_to(&plane, &fx->second, NULL, &err);
        if (!pod)
            fail_msg("after %d statements: %s", n, err.msg);
        kfx_pg_close(&pod);
        for (int i = 0; i < 6; i++) {
            assert_int_equal(plane_run(&plane, false), KFX_OUTCOME_OK);
            do_sql(
                super,
                "DO $$ DECLARE r text; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'turncrash%%'"
                " AND rolvaliduntil < 'infinity' LOOP EXECUTE format('ALTER ROLE %%I VALID UNTIL ''2020-01-01''', r);"
                " END LOOP; END $$");
        }
        plane_names(&plane, &after);
        assert_string_equal(after.login, before.other);
        assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_roles WHERE rolname = '%s'", before.login), 0);
        assert_int_equal(plane_run(&plane, true), KFX_OUTCOME_GONE);
        store_delete(fx->store, "turncrash-system", "kine-dsn");
    }
}

/* ---- what is left of planes that are gone ------------------------------------------------------------------------ */

typedef struct {
    long count;
    kfx_orphan_t last;
} found_t;

static void take(void *ctx, const kfx_orphan_t *orphan)
{
    found_t *found = ctx;
    found->count++;
    found->last = *orphan;
}

static void test_orphans(void **state)
{
    fixture_t *fx = *state;
    plane_t kept = plane_new(fx, "kept"), lost = plane_new(fx, "lost-for-a-name-of-more-than-26");
    kfx_storage_names_t names, of_kept;
    kfx_error_t err = KFX_ERROR_INIT;
    found_t found = {.count = 0};
    unsigned unanswered;

    create_on(&kept, "east");
    create_on(&lost, "east");
    plane_names(&lost, &names);
    plane_names(&kept, &of_kept);
    KFX_PG kfx_pg_t *super = admin_of(fx, &fx->second, "postgres");
    do_sql(super, "CREATE DATABASE \"other_0123456789abcdef0123456789abcdef\""); /* of our form, and not ours */
    assert_int_equal(kfx_orphans_find(&fx->storage.pool, take, &found, &unanswered, &err), 0);
    store_delete(fx->store, "", lost.name); /* somebody took its finalizer away */
    assert_int_equal(kfx_orphans_find(&fx->storage.pool, take, &found, &unanswered, &err), 1);
    assert_int_equal(unanswered, 0);
    assert_string_equal(found.last.server, "east");
    assert_string_equal(found.last.name, names.database);
    assert_true(found.last.database && found.last.bytes > 0);
    /* Only what is one is removed, and only what is named. */
    assert_int_equal(kfx_orphan_remove(&fx->storage.pool, "east", of_kept.database, &err), -1);
    assert_int_equal(err.code, KFX_E_CONFLICT);
    static const char *const bad[] = {"postgres", "template1",
                                      "",         "_0123456789abcdef0123456789abcdef",
                                      "x_0123",   "abcdefghijklmnopqrstuvwxyz0_0123456789abcdef0123456789abcdef"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        assert_int_equal(kfx_orphan_remove(&fx->storage.pool, "east", bad[i], &err), -1);
        assert_int_equal(err.code, KFX_E_INVALID);
    }
    do_sql(super, "DROP DATABASE \"%s\"", names.database); /* roles alone are some too */
    assert_int_equal(kfx_orphans_find(&fx->storage.pool, take, &found, &unanswered, &err), 1);
    assert_false(found.last.database);
    assert_int_equal(kfx_orphan_remove(&fx->storage.pool, "east", names.database, &err), 0);
    assert_int_equal(kfx_orphans_find(&fx->storage.pool, take, &found, &unanswered, &err), 0);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'lost%%'"), 0);
    assert_int_equal(planes_on(fx, &fx->second), 2);
    do_sql(super, "DROP DATABASE \"other_0123456789abcdef0123456789abcdef\"");
    /* A server that is away is said to be so, not to have none. */
    pg_server_kill(&fx->second);
    assert_int_equal(kfx_orphans_find(&fx->storage.pool, take, &found, &unanswered, &err), 0);
    assert_int_equal(unanswered, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),  cmocka_unit_test(test_pin),
        cmocka_unit_test(test_room),    cmocka_unit_test(test_one_away),
        cmocka_unit_test(test_secret),  cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_age),     cmocka_unit_test(test_rotation_crash),
        cmocka_unit_test(test_orphans),
    };

    if (!pg_server_available()) {
        fprintf(stderr, "skipped: PostgreSQL 15 is not installed (package postgresql-15)\n");
        return 77;
    }
    cmocka_set_message_output(CM_OUTPUT_TAP); /* on stdout */
    kfx_log_init("test");
    return cmocka_run_group_tests(tests, setup, fixture_teardown);
}
