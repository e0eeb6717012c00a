/* The table of types and the names made from a plane's name. */
#include "base/cleanup.h"
#include "proto/model.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_types(void **state)
{
    (void)state;
    const char *services[2] = {NULL, NULL};
    const kfx_type_info_t *k8s = kfx_type_find("k8s");
    assert_non_null(k8s);
    assert_true(k8s->built);
    assert_true(kfx_type_find("host")->built);
    assert_null(kfx_type_find("host")->workload);
    assert_int_equal(kfx_type_services(k8s, services), 2);
    assert_string_equal(services[0], "reconcile.k8s");
    assert_string_equal(services[1], "storage");
    assert_int_equal(kfx_type_services(kfx_type_find("vcluster"), services), 1);
    assert_string_equal(services[0], "reconcile.vcluster");
    assert_null(kfx_type_find("K8S"));
    assert_null(kfx_type_find(NULL));
    assert_int_equal(kfx_type_services(NULL, services), 0);
}

static void test_every_type_is_whole(void **state)
{
    (void)state;
    size_t n = 0;
    const kfx_type_info_t *type;
    for (; (type = kfx_type_at(n)); n++) {
        char service[KFX_SERVICE_SIZE];
        snprintf(service, sizeof(service), "reconcile.%s", type->name);
        assert_string_equal(type->service, service);
        assert_ptr_equal(kfx_type_find(type->name), type);
        if (type->workload)
            assert_non_null(strchr(type->workload, '/'));
    }
    assert_int_equal(n, 6);
    assert_null(kfx_type_at(1000));
}

static void test_service_wants(void **state)
{
    (void)state;
    assert_true(kfx_service_wants("reconcile.k8s", "Ingress", "x"));
    assert_true(kfx_service_wants("storage", "Namespace", "cp1-system"));
    assert_true(kfx_service_wants("storage", "Secret", "kine-dsn"));
    assert_true(kfx_service_wants("storage", "Secret", "etcd-certs"));
    assert_true(kfx_service_wants("storage", "StatefulSet", "etcd"));
    assert_true(kfx_service_wants("storage", "Service", "etcd"));
    assert_false(kfx_service_wants("storage", "StatefulSet", "vcluster"));
    assert_false(kfx_service_wants("storage", "Secret", "k8s-certs"));
    assert_false(kfx_service_wants("storage", "Deployment", "kine-dsn"));
}

static void test_derived_names(void **state)
{
    (void)state;
    char out[KFX_NAME_SIZE];
    kfx_plane_namespace("cp1", out);
    assert_string_equal(out, "cp1-system");
    assert_true(kfx_namespace_plane("cp1-system", out));
    assert_string_equal(out, "cp1");
    assert_true(kfx_namespace_plane("a-system-system", out));
    assert_string_equal(out, "a-system");
    assert_false(kfx_namespace_plane("-system", out));
    assert_false(kfx_namespace_plane("cp1", out));
    assert_false(kfx_namespace_plane("cp1-systemx", out));
    assert_false(kfx_namespace_plane("", out));
    char longest[400];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + sizeof(longest) - 8, "-system", sizeof("-system"));
    assert_false(kfx_namespace_plane(longest, out));
    kfx_field_manager("u-1", out);
    assert_string_equal(out, "kubeflex-u-1");
}

static void test_names_of_planes(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a", "cp1", "a-b", "kube-x", "kubeflex2", "a2345678901234567890123456789012345678901234567890123456"};
    static const char *const bad[] = {
        "",     "1a",       "-a",   "a-",       "A",
        "a.b",  "a_b",      "kube", "kubeflex", "a b",
        "cp\n", "\xc3\xa4", "a/..", "aA",       "a23456789012345678901234567890123456789012345678901234567"};
    for (size_t i = 0; i < KFX_COUNT(good); i++)
        assert_int_equal(kfx_plane_name_check(good[i], NULL), 0);
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_int_equal(kfx_plane_name_check(bad[i], &err), -1);
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_true(err.msg[0] != '\0');
    }
    assert_int_equal(kfx_plane_name_check(NULL, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),           cmocka_unit_test(test_every_type_is_whole),
        cmocka_unit_test(test_service_wants),   cmocka_unit_test(test_derived_names),
        cmocka_unit_test(test_names_of_planes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
