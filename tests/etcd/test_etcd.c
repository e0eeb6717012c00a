/* The agent's calls to a real etcd, with certificates as it makes them: who is let in, what is read and written, what
 * is done about an etcd that is full. Ends with 77 (skipped) where there is no etcd: deploy/local builds one. */
#include "tests/etcd/server.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "storage-agent/etcd.h"
#include "storage-agent/etcd_secret.h"
#include "storage-agent/outside.h"
#include "storage-agent/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct {
    json_t *certs;
    char *ca, *cert, *key;
    etcd_server_t server;
} fixture_t;

static int setup(void **state)
{
    static const char *const extra[] = {"--quota-backend-bytes=20971520", NULL};
    fixture_t *fx = kfx_xcalloc(1, sizeof *fx);
    fx->certs = kfx_etcd_certs_new("cp1-system", NULL);
    fx->ca = kfx_secret_value(fx->certs, "ca.crt", NULL);
    fx->cert = kfx_secret_value(fx->certs, "client.crt", NULL);
    fx->key = kfx_secret_value(fx->certs, "client.key", NULL);
    etcd_server_start(&fx->server, fx->certs, extra);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *fx = *state;
    etcd_server_remove(&fx->server);
    kfx_secret_free(&fx->certs);
    free(fx->ca);
    free(fx->cert);
    free(fx->key);
    free(fx);
    return 0;
}

static kfx_etcd_t client_of(const fixture_t *fx)
{
    return (kfx_etcd_t){.endpoints = fx->server.url, .ca_pem = fx->ca, .cert_pem = fx->cert, .key_pem = fx->key};
}

/* Until it has elected itself: the port is open a little before. */
static void await_etcd(const kfx_etcd_t *etcd)
{
    kfx_error_t err = KFX_ERROR_INIT;
    int64_t deadline = kfx_now_ms() + 20000;
    while (kfx_etcd_count(etcd, "/", &err) < 0)
        if (kfx_now_ms() > deadline)
            fail_msg("%s", err.msg);
}

static void test_who_is_let_in(void **state)
{
    fixture_t *fx = *state;
    kfx_etcd_t etcd = client_of(fx);
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_SECRET json_t *others = kfx_etcd_certs_new("cp2-system", NULL);
    KFX_FREE char *cert = kfx_secret_value(others, "client.crt", NULL);
    KFX_FREE char *key = kfx_secret_value(others, "client.key", NULL);
    KFX_FREE char *ca = kfx_secret_value(others, "ca.crt", NULL);

    await_etcd(&etcd);
    kfx_etcd_t bare = etcd, other = etcd, misled = etcd, away = etcd;
    bare.cert_pem = bare.key_pem = NULL;
    assert_int_equal(kfx_etcd_count(&bare, "/", &err), -1);
    other.cert_pem = cert;
    other.key_pem = key;
    assert_int_equal(kfx_etcd_count(&other, "/", &err), -1);
    misled.ca_pem = ca; /* a server that is not the plane's */
    assert_int_equal(kfx_etcd_count(&misled, "/", &err), -1);
    assert_int_equal(err.code, KFX_E_UNAUTHORIZED);
    away.endpoints = "https://127.0.0.1:1";
    assert_int_equal(kfx_etcd_count(&away, "/", &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    KFX_FREE char *two = kfx_xasprintf("https://127.0.0.1:1,%s", fx->server.url);
    away.endpoints = two; /* the first one that can be reached */
    assert_int_equal(kfx_etcd_count(&away, "/", &err), 0);
}

static void test_keys(void **state)
{
    fixture_t *fx = *state;
    kfx_etcd_t etcd = client_of(fx);
    kfx_error_t err = KFX_ERROR_INIT;

    assert_null(kfx_etcd_get(&etcd, "/kubeflex/owner", &err));
    assert_int_equal(err.code, KFX_OK);
    assert_int_equal(kfx_etcd_claim(&etcd, "/kubeflex/owner", "one", NULL, &err), 0);
    KFX_FREE char *one = kfx_etcd_get(&etcd, "/kubeflex/owner", &err);
    assert_string_equal(one, "one");
    assert_int_equal(kfx_etcd_claim(&etcd, "/kubeflex/owner", "two", NULL, &err), -1);
    assert_int_equal(err.code, KFX_E_EXISTS);
    assert_int_equal(kfx_etcd_claim(&etcd, "/kubeflex/owner", "two", "other", &err), -1);
    assert_int_equal(kfx_etcd_claim(&etcd, "/kubeflex/owner", "two", "one", &err), 0);
    assert_int_equal(kfx_etcd_claim(&etcd, "/registry/a", "x", NULL, &err), 0);
    assert_int_equal(kfx_etcd_claim(&etcd, "/registry/b", "x", NULL, &err), 0);
    assert_int_equal(kfx_etcd_claim(&etcd, "/registrz", "x", NULL, &err), 0);
    assert_int_equal(kfx_etcd_count(&etcd, "/registry/", &err), 2);
    assert_int_equal(kfx_etcd_delete_prefix(&etcd, "/registry/", &err), 0);
    assert_int_equal(kfx_etcd_count(&etcd, "/registry/", &err), 0);
    assert_int_equal(kfx_etcd_count(&etcd, "/registrz", &err), 1);
    etcd_server_kill(&fx->server);
    etcd_server_start(&fx->server, fx->certs, NULL);
    await_etcd(&etcd);
    KFX_FREE char *two = kfx_etcd_get(&etcd, "/kubeflex/owner", &err);
    assert_string_equal(two, "two");
}

/* Fills it until it refuses; what is deleted, compacted and defragmented makes it write again. */
static void test_full(void **state)
{
    static const char *const extra[] = {"--quota-backend-bytes=20971520", NULL};
    fixture_t *fx = *state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_etcd_status_t status;
    char *block = kfx_xcalloc(1, 500001);

    etcd_server_kill(&fx->server);
    etcd_server_start(&fx->server, fx->certs, extra);
    kfx_etcd_t etcd = client_of(fx);
    await_etcd(&etcd);
    memset(block, 'x', 500000);
    int rc = 0, written = 0;
    for (; rc == 0 && written < 100; written++) {
        KFX_FREE char *key = kfx_xasprintf("/registry/block-%d", written);
        rc = kfx_etcd_claim(&etcd, key, block, NULL, &err);
    }
    if (rc != -1 || !strstr(err.msg, "space"))
        fail_msg("after %d blocks: %s", written, err.msg);
    assert_int_equal(kfx_etcd_status(&etcd, fx->server.url, &status, &err), 0);
    assert_true(status.no_space);
    int64_t full = status.size;
    assert_int_equal(kfx_etcd_delete_prefix(&etcd, "/registry/", &err), 0);
    KFX_JSON json_t *range = kfx_etcd_call(&etcd, "/v3/kv/range", json_pack("{s:s}", "key", "Lw=="), &err);
    const char *revision = kfx_json_str(range, "header", "revision");
    KFX_JSON json_t *compacted =
        kfx_etcd_call(&etcd, "/v3/kv/compaction", json_pack("{s:s, s:b}", "revision", revision, "physical", 1), &err);
    assert_non_null(compacted);
    assert_int_equal(kfx_etcd_defragment(&etcd, fx->server.url, &err), 0);
    assert_int_equal(kfx_etcd_disarm(&etcd, &err), 0);
    assert_int_equal(kfx_etcd_status(&etcd, fx->server.url, &status, &err), 0);
    assert_false(status.no_space);
    assert_true(status.size < full / 2);
    assert_int_equal(kfx_etcd_claim(&etcd, "/registry/again", "x", NULL, &err), 0);
    free(block);
}

static void put(json_t *secret, const char *key, const char *value)
{
    kfx_secret_set(secret, key, value);
}

/* An etcd that a user brings: empty or marked for this plane, and whose data goes only where it is this plane's. */
static void test_outside(void **state)
{
    fixture_t *fx = *state;
    kfx_etcd_t etcd = client_of(fx);
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_SECRET json_t *secret = kfx_secret_new("kubeflex-storage", "x", "Opaque");
    KFX_CLEANUP(kfx_outside_clear) kfx_outside_t outside = {.etcd = false}, adopting = {.etcd = false};

    assert_int_equal(kfx_etcd_delete_prefix(&etcd, "/", &err), 0);
    put(secret, "endpoints", fx->server.url);
    put(secret, "ca.crt", fx->ca);
    assert_int_equal(kfx_outside_read(&outside, secret, &err), -1);
    assert_non_null(strstr(err.msg, "client.crt"));
    put(secret, "client.crt", fx->cert);
    put(secret, "client.key", fx->key);
    kfx_outside_clear(&outside);
    assert_int_equal(kfx_outside_read(&outside, secret, &err), 0);
    assert_int_equal(kfx_outside_claim(&outside, "cp1", "uid-1", &err), 0);
    assert_int_equal(kfx_outside_claim(&outside, "cp1", "uid-1", &err), 0);
    assert_int_equal(kfx_etcd_claim(&etcd, "/registry/a", "x", NULL, &err), 0);
    assert_int_equal(kfx_outside_claim(&outside, "cp1", "uid-2", &err), -1);
    assert_int_equal(err.code, KFX_E_EXISTS);
    assert_non_null(strstr(err.msg, "uid-1"));
    assert_int_equal(kfx_outside_empty(&outside, "uid-2", &err), 0); /* not its own: nothing happens */
    assert_int_equal(kfx_etcd_count(&etcd, "/registry/", &err), 1);
    put(secret, "adopt", "uid-1");
    assert_int_equal(kfx_outside_read(&adopting, secret, &err), 0);
    assert_int_equal(kfx_outside_claim(&adopting, "cp1", "uid-2", &err), 0);
    assert_int_equal(kfx_outside_empty(&adopting, "uid-2", &err), 0);
    assert_int_equal(kfx_etcd_count(&etcd, "/", &err), 0);
    assert_int_equal(kfx_etcd_claim(&etcd, "/registry/a", "x", NULL, &err), 0); /* nobody's */
    assert_int_equal(kfx_outside_claim(&outside, "cp1", "uid-1", &err), -1);
    assert_non_null(strstr(err.msg, "unmarked"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_let_in),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_full),
    };
    if (!etcd_program()) {
        fprintf(stderr, "no etcd here: deploy/local builds one\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
