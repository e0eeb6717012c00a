/* Reading a ControlPlane: whole, empty, and odd ones. */
#include "cli/plane.h"

#include "base/json.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static kfx_plane_t *read_text(const char *text)
{
    KFX_JSON json_t *object = kfx_json_parse(text, strlen(text), NULL);
    assert_non_null(object);
    return kfx_plane_reduce(NULL, object);
}

static void test_whole(void **state)
{
    (void)state;
    KFX_FREE kfx_plane_t *p =
        read_text("{\"metadata\":{\"name\":\"cp1\",\"uid\":\"u1\",\"creationTimestamp\":\"2026-11-23T10:00:00Z\"},"
                  "\"spec\":{\"type\":\"k8s\"},\"status\":{\"secretRef\":{\"namespace\":\"cp1-system\",\"name\":\"s\","
                  "\"key\":\"k\"},"
                  "\"conditions\":[{\"type\":\"Synced\",\"status\":\"True\",\"reason\":\"R\",\"message\":\"\"},"
                  "{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"Unavailable\",\"message\":\"refused\"}]}}");
    assert_string_equal(p->name, "cp1");
    assert_string_equal(p->uid, "u1");
    assert_string_equal(p->secret_ns, "cp1-system");
    assert_false(p->deleting);
    assert_true(p->created > 1700000000);
    assert_true(kfx_plane_is(p, "Synced"));
    assert_false(kfx_plane_is(p, "Ready"));
    assert_null(kfx_plane_condition(p, "StorageReady"));
    KFX_FREE char *missing = kfx_plane_missing(p);
    assert_string_equal(missing, "Ready is False (Unavailable: refused)");
}

static void test_empty(void **state)
{
    (void)state;
    KFX_FREE kfx_plane_t *p = read_text("{}");
    assert_string_equal(p->name, "");
    assert_int_equal(p->condition_count, 0);
    assert_int_equal(p->created, -1);
    KFX_FREE char *missing = kfx_plane_missing(p);
    assert_non_null(strstr(missing, "no condition yet"));
}

static void test_odd(void **state)
{
    (void)state;
    KFX_FREE kfx_plane_t *p = read_text(
        "{\"metadata\":7,\"status\":{\"conditions\":[1,{\"type\":3},{\"type\":\"Ready\"}],\"secretRef\":[]}}");
    assert_int_equal(p->condition_count, 1);
    assert_false(kfx_plane_is(p, "Ready"));
}

/* The first thing in the order of work is named, not the last. */
static void test_missing_order(void **state)
{
    (void)state;
    KFX_FREE kfx_plane_t *p =
        read_text("{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"Creating\"},"
                  "{\"type\":\"StorageReady\",\"status\":\"False\",\"reason\":\"PostgresUnavailable\"}]}}");
    KFX_FREE char *missing = kfx_plane_missing(p);
    assert_string_equal(missing, "StorageReady is False (PostgresUnavailable)");
}

/* The words of what waits, not of what is done or only goes along. */
static void test_held_by(void **state)
{
    (void)state;
#define DELETING(type, message)                                                                                        \
    "{\"type\":\"" type "\",\"status\":\"False\",\"reason\":\"Deleting\",\"message\":\"" message "\"}"
    KFX_FREE kfx_plane_t *p =
        read_text("{\"status\":{\"conditions\":[" DELETING("Synced", "no way; " KFX_FORCE_HINT) "," DELETING(
            "StorageReady", "dropped") "," DELETING("Exposed", "goes") "]}}");
    assert_string_equal(kfx_plane_held_by(p)->message, "no way; " KFX_FORCE_HINT);
    KFX_FREE kfx_plane_t *other = read_text("{\"status\":{\"conditions\":[" DELETING("Synced", "goes") "," DELETING(
        "StorageReady", "no way; " KFX_FORCE_HINT) "]}}");
    assert_string_equal(kfx_plane_held_by(other)->message, "no way; " KFX_FORCE_HINT);
    KFX_FREE kfx_plane_t *none = read_text("{\"status\":{\"conditions\":[" DELETING("Exposed", "goes") "]}}");
    assert_null(kfx_plane_held_by(none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),         cmocka_unit_test(test_empty),   cmocka_unit_test(test_odd),
        cmocka_unit_test(test_missing_order), cmocka_unit_test(test_held_by),
    };
    return cmocka_run_group_tests_name("cli-plane", tests, NULL, NULL);
}
