/* Backend external on a real PostgreSQL 15: what is checked before a database is used, what the messages say, and what
 * is left behind. Ends with 77 (skipped) where the server's programs are not installed. */
#include "tests/pg/fixture.h"

#include "base/json.h"
#include "base/mem.h"
#include "storage-agent/external.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STORES "kubeflex-storage"
#define PASSWORD "p@ss:w/rd"
#define ESCAPED "p%40ss%3Aw%2Frd"

static kfx_result_t result;

/* Runs a task; the reason of its condition. */
static const char *run(plane_t *plane, bool deleting)
{
    plane_result(plane, deleting, &result);
    assert_int_equal(result.condition_count, 1);
    return result.conditions[0].reason;
}

static bool says(const char *text)
{
    return strstr(result.conditions[0].message, text) != NULL;
}

/* A database of the user's, which the role owns; and a plane that asks for it. Nothing of it is KubeFlex's doing. */
static plane_t plane_of(fixture_t *fx, const char *name)
{
    plane_t plane = plane_new(fx, name);
    KFX_PG kfx_pg_t *super = admin(fx, "postgres");
    KFX_FREE char *secret = kfx_xasprintf("db-%s", name);
    do_sql(super, "CREATE ROLE \"%s\" LOGIN PASSWORD '" PASSWORD "'", name);
    do_sql(super, "CREATE DATABASE \"%s\" OWNER \"%s\"", name, name);
    plane.space = true;
    plane.spec = json_pack("{s:s, s:s, s:{s:{s:s, s:s}}}", "type", "k8s", "backend", "external", "storage", "secretRef",
                           "namespace", STORES, "name", secret);
    return plane;
}

static void put_secret(plane_t *plane, const char *endpoint, const char *adopt)
{
    fixture_t *fx = plane->fx;
    kfx_secrets_t api = store_secrets(fx->store);
    KFX_FREE char *name = kfx_xasprintf("db-%s", plane->name);
    KFX_FREE char *own = kfx_xasprintf("postgres://%s:%s@127.0.0.1:%s/%s?sslmode=disable", plane->name, ESCAPED,
                                       fx->server.port, plane->name);
    json_t *secret = kfx_secret_new(STORES, name, "Opaque");
    kfx_json_put(secret, json_string(plane->name), "metadata", "labels", KFX_LABEL_EXTERNAL);
    kfx_secret_set(secret, "endpoint", endpoint ? endpoint : own);
    kfx_secret_set(secret, "ca.crt", fx->ca_pem);
    if (adopt)
        kfx_secret_set(secret, "adopt", adopt);
    store_delete(fx->store, STORES, name);
    assert_int_equal(api.create(api.ctx, STORES, secret, NULL), 0);
}

static char *dsn_of(plane_t *plane)
{
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);
    KFX_SECRET json_t *secret = store_get(plane->fx->store, ns, KFX_SECRET_DSN);
    return secret ? kfx_secret_value(secret, "endpoint", NULL) : NULL;
}

static void test_life(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_of(fx, "ext-life");

    assert_string_equal(run(&plane, false), "WaitingForSecret");
    assert_true(says("Secret kubeflex-storage/db-ext-life is not there") && says(KFX_LABEL_EXTERNAL "=ext-life"));
    assert_true(result.retry_after_ms > 0);
    put_secret(&plane, NULL, NULL);
    plane.space = false;
    assert_string_equal(run(&plane, false), "WaitingForNamespace");
    plane.space = true;
    assert_string_equal(run(&plane, false), "ExternalReady");
    assert_int_equal(result.outcome, KFX_OUTCOME_OK);
    assert_int_equal(result.written_count, 1);
    assert_null(strstr(result.conditions[0].message, PASSWORD));
    /* kine's way verifies the server, whatever the user wrote. */
    KFX_FREE char *dsn = dsn_of(&plane);
    KFX_FREE char *wanted = kfx_xasprintf("postgres://ext-life:%s@127.0.0.1:%s/ext-life?sslmode=verify-full"
                                          "&sslrootcert=" KFX_DSN_CA_FILE,
                                          ESCAPED, fx->server.port);
    assert_string_equal(dsn, wanted);
    plane.secret = true;
    run(&plane, false);
    assert_int_equal(result.written_count, 0);

    /* The user's Secret changes, and so does the plane's. */
    put_secret(&plane, NULL, NULL);
    run(&plane, false);
    assert_int_equal(result.written_count, 1);

    KFX_PG kfx_pg_t *super = admin(fx, "ext-life");
    do_sql(super, "CREATE TABLE kine (id int)");
    assert_string_equal(run(&plane, true), "Deleting");
    assert_int_equal(result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_class WHERE relname IN ('kine', 'kubeflex_owner')"), 2);
    json_decref(plane.spec);
}

/* Deleted only where that was asked for, only once nobody writes any more, and only this plane's. */
static void test_delete(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_of(fx, "ext-drop"), other = plane;

    kfx_json_put(plane.spec, json_string("Delete"), "storage", "deletionPolicy");
    put_secret(&plane, NULL, NULL);
    assert_string_equal(run(&plane, false), "ExternalReady");
    KFX_PG kfx_pg_t *super = admin(fx, "ext-drop");
    do_sql(super, "SET ROLE \"ext-drop\"; CREATE TABLE kine (id int); CREATE TABLE mine (id int); RESET ROLE");
    run(&plane, true);
    assert_int_equal(result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_class WHERE relname = 'kine'"), 1);
    kfx_copy(other.uid, sizeof other.uid, "00000000-0000-4000-8000-ffffffffffff");
    other.space = false;
    run(&other, true);
    assert_int_equal(result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_class WHERE relname = 'kine'"), 1);
    plane.space = false;
    run(&plane, true);
    assert_int_equal(result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_class WHERE relname IN ('kine', 'kubeflex_owner')"), 0);
    assert_int_equal(count_sql(super, "SELECT count(*) FROM pg_class WHERE relname = 'mine'"), 1);
    json_decref(plane.spec);
}

static void test_whose(void **state)
{
    fixture_t *fx = *state;
    plane_t first = plane_of(fx, "ext-own"), second = first;
    kfx_copy(second.uid, sizeof second.uid, "00000000-0000-4000-8000-eeeeeeeeeeee");

    put_secret(&first, NULL, NULL);
    KFX_PG kfx_pg_t *super = admin(fx, "ext-own");
    do_sql(super, "SET ROLE \"ext-own\"; CREATE TABLE kine (id int); RESET ROLE");
    assert_string_equal(run(&first, false), "ExternalRefused");
    assert_true(says("no control plane has marked") && says("unmarked"));
    assert_null(dsn_of(&first));
    put_secret(&first, NULL, "unmarked");
    assert_string_equal(run(&first, false), "ExternalReady");
    /* One of the same name that was created again finds the mark of the first. */
    assert_string_equal(run(&second, false), "ExternalRefused");
    assert_true(says(first.uid));
    put_secret(&second, NULL, "another");
    assert_string_equal(run(&second, false), "ExternalRefused");
    put_secret(&second, NULL, first.uid);
    store_delete(fx->store, "ext-own-system", KFX_SECRET_DSN); /* as with the first one's Namespace */
    assert_string_equal(run(&second, false), "ExternalReady");
    assert_string_equal(run(&first, false), "ExternalRefused");
    json_decref(first.spec);
}

static void test_refused(void **state)
{
    fixture_t *fx = *state;
    plane_t plane = plane_of(fx, "ext-bad");
    KFX_PG kfx_pg_t *super = admin(fx, "ext-bad");
    static const char *const bad[] = {"postgres://ext-bad@127.0.0.1/x", "mysql://u:p@tcp(h:1)/d",
                                      "host=127.0.0.1 user=x", "postgres://u:p@a,b:1,2/d", "postgres://u:p@%2Ftmp/d"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        put_secret(&plane, bad[i], NULL);
        assert_string_equal(run(&plane, false), "ExternalRefused");
        assert_true(says("key endpoint"));
    }
    KFX_FREE char *wrong = kfx_xasprintf("postgres://ext-bad:no@127.0.0.1:%s/ext-bad", fx->server.port);
    put_secret(&plane, wrong, NULL);
    assert_string_equal(run(&plane, false), "ExternalRefused");
    assert_true(says("password authentication failed"));
    put_secret(&plane, "postgres://ext-bad:no@127.0.0.1:1/ext-bad", NULL);
    assert_string_equal(run(&plane, false), "ExternalUnavailable");
    put_secret(&plane, NULL, NULL);
    do_sql(super, "ALTER DATABASE \"ext-bad\" OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    assert_string_equal(run(&plane, false), "ExternalRefused");
    assert_true(says("GRANT USAGE, CREATE ON SCHEMA public"));
    do_sql(super, "GRANT USAGE, CREATE ON SCHEMA public TO \"ext-bad\"");
    assert_string_equal(run(&plane, false), "ExternalReady");

    /* A Secret that was not meant for this plane is not used, whatever it says. */
    json_t *secret = store_get(fx->store, STORES, "db-ext-bad");
    kfx_json_put(secret, json_string("other"), "metadata", "labels", KFX_LABEL_EXTERNAL);
    store_delete(fx->store, STORES, "db-ext-bad");
    kfx_secrets_t api = store_secrets(fx->store);
    assert_int_equal(api.create(api.ctx, STORES, secret, NULL), 0);
    assert_string_equal(run(&plane, false), "WaitingForSecret");
    assert_true(says("not meant for this control plane"));
    json_decref(plane.spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_whose),
        cmocka_unit_test(test_refused),
    };
    if (!pg_server_available())
        return 77;
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
