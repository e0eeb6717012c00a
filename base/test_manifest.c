/* base/test_manifest.c: substitution in parsed manifests. */
#include "base/json.h"
#include "base/manifest.h"
#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *render(const char *yaml, json_t *vars, kfx_error_t *err)
{
    const kfx_embedded_t files[] = {{"m", yaml}, {NULL, NULL}};
    json_t *out = kfx_manifest_render(files, "m", vars, err);
    json_decref(vars);
    return out;
}

static void test_types(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *out =
        render("a: ${n}\nb: ${t}\nc: ${o}\nd: x-${t}-${n}.\ne: 7\nf: '${s}'\n",
               json_pack("{s:i, s:s, s:{s:s}, s:b}", "n", 3, "t", "text", "o", "k", "v", "s", 1), &err);
    assert_non_null(out);
    assert_int_equal(kfx_json_int(out, 0, "a"), 3);
    assert_string_equal(kfx_json_str(out, "b"), "text");
    assert_string_equal(kfx_json_str(out, "c", "k"), "v");
    assert_string_equal(kfx_json_str(out, "d"), "x-text-3.");
    assert_int_equal(kfx_json_int(out, 0, "e"), 7);
    assert_true(kfx_json_bool(out, false, "f"));
}

/* Whatever a value holds stays one scalar: no YAML, no further substitution. */
static void test_injection(void **state)
{
    (void)state;
    static const char *const evil[] = {"x\nadmin: true", "{a: b}",     "\"",        "${other}", "a: b # c",
                                       "- item",         "!!binary x", "&a *a",     "null",     "true",
                                       "0x10",           "",           "${name...}"};
    for (size_t i = 0; i < KFX_COUNT(evil); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        KFX_JSON json_t *out = render("a: ${name}\nb: pre ${name} post\n",
                                      json_pack("{s:s, s:s}", "name", evil[i], "other", "secret"), &err);
        assert_non_null(out);
        assert_int_equal(json_object_size(out), 2);
        assert_string_equal(kfx_json_str(out, "a"), evil[i]);
        assert_memory_equal(kfx_json_str(out, "b") + 4, evil[i], strlen(evil[i]));
    }
}

static void test_missing(void **state)
{
    (void)state;
    static const char *const yaml[] = {"a: ${gone}", "a: x${gone}", "a: [\"${gone...}\"]", "a: {b: [1, '${gone}']}"};
    for (size_t i = 0; i < KFX_COUNT(yaml); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_null(render(yaml[i], json_object(), &err));
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_non_null(strstr(err.msg, "${gone}"));
        assert_non_null(strstr(err.msg, "m.yaml"));
    }
}

static void test_null_and_splice(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *out =
        render("a: ${none}\nb: [1, \"${none}\", 2, \"${list...}\", 3]\nc: null\nd: [\"${empty...}\"]\n",
               json_pack("{s:n, s:[s, s], s:[]}", "none", "list", "x", "${y}", "empty"), &err);
    KFX_JSON json_t *want = json_pack("{s:[i, i, s, s, i], s:n, s:[]}", "b", 1, 2, "x", "${y}", 3, "c", "d");
    assert_non_null(out);
    assert_true(json_equal(out, want));
}

static void test_misuse(void **state)
{
    (void)state;
    static const char *const yaml[] = {"a: x${list}", "a: [\"${text...}\"]", "a: 'x ${'", "a: 'x${}'",
                                       "a: 'b${list...}'"};
    for (size_t i = 0; i < KFX_COUNT(yaml); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_null(render(yaml[i], json_pack("{s:[], s:s}", "list", "text", "t"), &err));
        assert_int_equal(err.code, KFX_E_INVALID);
    }
    const kfx_embedded_t none[] = {{NULL, NULL}};
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(kfx_manifest_render(none, "x", NULL, &err));
    assert_int_equal(err.code, KFX_E_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),           cmocka_unit_test(test_injection), cmocka_unit_test(test_missing),
        cmocka_unit_test(test_null_and_splice), cmocka_unit_test(test_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
