/* What a ControlPlane may say about its storage, and what the process remembers of it. */
#include "base/json.h"
#include "storage-agent/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *spec, kfx_storage_spec_t *out, kfx_error_t *err)
{
    KFX_JSON json_t *plane = json_object();
    kfx_json_put(plane, kfx_json_parse(spec, strlen(spec), NULL), "spec");
    return kfx_storage_spec(plane, out, err);
}

static void test_defaults(void **state)
{
    (void)state;
    kfx_storage_spec_t spec;

    assert_int_equal(parse("{\"type\": \"k8s\"}", &spec, NULL), 0);
    assert_int_equal(spec.backend, KFX_BACKEND_SHARED);
    assert_int_equal(spec.members, 1);
    assert_string_equal(spec.size, "2Gi");
    assert_string_equal(spec.storage_class, "");
    assert_false(spec.drop);
    assert_int_equal(parse("{\"backend\": \"\"}", &spec, NULL), 0);
    assert_int_equal(spec.backend, KFX_BACKEND_SHARED);
    assert_int_equal(parse("{\"backend\": \"shared\"}", &spec, NULL), 0);
    assert_int_equal(spec.backend, KFX_BACKEND_SHARED);
}

static void test_all_fields(void **state)
{
    (void)state;
    kfx_storage_spec_t spec;

    assert_int_equal(parse("{\"backend\": \"dedicated\", \"storage\": {\"members\": 3, \"size\": \"10Gi\","
                           " \"storageClassName\": \"fast\"}}",
                           &spec, NULL),
                     0);
    assert_int_equal(spec.backend, KFX_BACKEND_DEDICATED);
    assert_int_equal(spec.members, 3);
    assert_string_equal(spec.size, "10Gi");
    assert_string_equal(spec.storage_class, "fast");
    assert_int_equal(parse("{\"backend\": \"external\", \"storage\": {\"secretRef\": {\"namespace\": \"dbs\","
                           " \"name\": \"cp1\"}, \"deletionPolicy\": \"Delete\"}}",
                           &spec, NULL),
                     0);
    assert_int_equal(spec.backend, KFX_BACKEND_EXTERNAL);
    assert_string_equal(spec.secret_ns, "dbs");
    assert_string_equal(spec.secret_name, "cp1");
    assert_true(spec.drop);
}

/* What an API server with another definition lets through. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *word;
    } cases[] = {
        {"{\"backend\": \"tape\"}", "shared, dedicated or external"},
        {"{\"backend\": \"dedicated\", \"storage\": {\"members\": 2}}", "1 or 3"},
        {"{\"backend\": \"external\"}", "secretRef"},
        {"{\"backend\": \"external\", \"storage\": {\"secretRef\": {\"name\": \"x\"}}}", "secretRef"},
        {"{\"backend\": \"dedicated\", \"storage\": {\"size\": \"12345678901234567890Gi\"}}", "size"},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_storage_spec_t spec;
        kfx_error_t err = KFX_ERROR_INIT;
        assert_int_equal(parse(cases[i].spec, &spec, &err), -1);
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_non_null(strstr(err.msg, cases[i].word));
    }
}

static void test_memory(void **state)
{
    (void)state;
    kfx_specs_t specs;
    kfx_specs_init(&specs);
    KFX_JSON json_t *plane = json_pack("{s:{s:i}, s:{s:s, s:{}}}", "metadata", "generation", 2, "spec", "backend",
                                       "dedicated", "globalVars");

    assert_null(kfx_specs_get(&specs, "u", 0));
    kfx_specs_note(&specs, "u", plane);
    assert_null(kfx_specs_get(&specs, "u", 3));
    assert_null(kfx_specs_get(&specs, "v", 0));
    KFX_JSON json_t *known = kfx_specs_get(&specs, "u", 2);
    assert_string_equal(kfx_json_str(known, "spec", "backend"), "dedicated");
    assert_null(kfx_json_get(known, "spec", "globalVars"));
    kfx_specs_note(&specs, "u", NULL);
    assert_null(kfx_specs_get(&specs, "u", 0));
    kfx_specs_clear(&specs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_fields),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
