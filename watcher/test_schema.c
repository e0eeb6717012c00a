/* Our definition against others that an API server may serve. */
#include "base/json.h"
#include "base/mem.h"
#include "watcher/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SCHEMA "spec", "versions", "0", "schema", "openAPIV3Schema"

static void check(const json_t *crd, bool same, bool records, const char *missing)
{
    kfx_schema_t *s = kfx_schema_compare(crd);
    if (s->same != same || s->records != records || strcmp(s->missing, missing) != 0)
        fail_msg("same %d, records %d, missing \"%s\"", s->same, s->records, s->missing);
    free(s);
}

/* What the API server adds, newer fields and other words are no difference. */
static void test_same(void **state)
{
    (void)state;
    KFX_JSON json_t *crd = kfx_schema_own();
    assert_non_null(crd);
    check(crd, true, true, "");
    kfx_json_put(crd, json_string("u"), "metadata", "uid");
    json_object_set_new(kfx_json_get(crd, SCHEMA, "properties", "spec", "properties"), "newer",
                        json_pack("{s:s}", "type", "string"));
    json_array_append_new(kfx_json_get(crd, SCHEMA, "properties", "spec", "properties", "type", "enum"),
                          json_string("kcp"));
    json_object_del(kfx_json_get(crd, SCHEMA, "properties", "spec"), "description");
    json_object_set_new(kfx_json_get(crd, SCHEMA, "x-kubernetes-validations", "0"), "message",
                        json_string("other words"));
    check(crd, true, true, "");
}

/* The Go operator's: neither rules nor versions. */
static void test_older(void **state)
{
    (void)state;
    KFX_JSON json_t *crd = kfx_schema_own();
    json_object_del(kfx_json_get(crd, SCHEMA), "x-kubernetes-validations");
    json_object_del(kfx_json_get(crd, SCHEMA, "properties", "spec", "properties", "type"), "x-kubernetes-validations");
    json_object_del(kfx_json_get(crd, SCHEMA, "properties", "spec", "properties"), "kubernetesVersion");
    json_object_del(kfx_json_get(crd, SCHEMA, "properties", "status", "properties"), "kubernetesVersion");
    check(crd, false, false,
          "ControlPlane (x-kubernetes-validations), spec.type (x-kubernetes-validations), spec.kubernetesVersion, "
          "status.kubernetesVersion");
    json_object_set_new(kfx_json_get(crd, SCHEMA, "properties", "status"), "x-kubernetes-preserve-unknown-fields",
                        json_true());
    kfx_schema_t *open = kfx_schema_compare(crd);
    assert_true(open->records);
    assert_false(open->same);
    free(open);
}

static void test_changed(void **state)
{
    (void)state;
    KFX_JSON json_t *crd = kfx_schema_own();
    json_t *spec = kfx_json_get(crd, SCHEMA, "properties", "spec", "properties");
    json_array_remove(kfx_json_get(spec, "type", "enum"), 0);
    json_object_set_new(kfx_json_get(spec, "backend"), "type", json_string("integer"));
    json_object_set_new(kfx_json_get(spec, "postCreateHooks", "items", "properties", "hookName"), "type", json_null());
    json_object_del(kfx_json_get(crd, SCHEMA, "x-kubernetes-validations", "2"), "optionalOldSelf");
    check(crd, false, true,
          "ControlPlane (x-kubernetes-validations), spec.type (enum), spec.backend (type), "
          "spec.postCreateHooks.hookName (type)");
    json_object_set_new(kfx_json_get(crd, "spec", "versions", "0"), "served", json_false());
    check(crd, false, false, "version v1alpha1");
    KFX_JSON json_t *none = json_object();
    check(none, false, false, "version v1alpha1");
}

/* A definition that lacks nearly everything: the list is cut, not the memory. */
static void test_much_is_missing(void **state)
{
    (void)state;
    KFX_JSON json_t *crd = kfx_schema_own();
    json_object_set_new(kfx_json_get(crd, "spec", "versions", "0", "schema"), "openAPIV3Schema",
                        json_pack("{s:s}", "type", "object"));
    kfx_schema_t *s = kfx_schema_compare(crd);
    assert_false(s->same);
    KFX_JSON json_t *flat = kfx_schema_own();
    json_object_clear(kfx_json_get(flat, SCHEMA, "properties", "spec", "properties"));
    json_object_clear(kfx_json_get(flat, SCHEMA, "properties", "status", "properties"));
    kfx_schema_t *cut = kfx_schema_compare(flat);
    assert_non_null(strstr(cut->missing, ", …"));
    assert_true(strlen(cut->missing) < sizeof(cut->missing));
    free(s);
    free(cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_older),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_much_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
