#include "base/codec.h"
#include "base/json.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static json_t *parsed(const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *value = kfx_json_parse(text, strlen(text), &err);
    if (!value)
        fail_msg("%s", err.msg);
    return value;
}

#define POD                                                                                                            \
    "{\"metadata\":{\"name\":\"p\",\"generation\":7,\"labels\":{}},\"ok\":true,\"no\":false,\"n\":null,"               \
    "\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\",\"ports\":[80,443]}]},\"f\":1.5}"

static void test_paths(void **state)
{
    (void)state;
    KFX_JSON json_t *pod = parsed(POD);
    assert_string_equal(kfx_json_str(pod, "metadata", "name"), "p");
    assert_string_equal(kfx_json_str(pod, "spec", "containers", "1", "name"), "b");
    assert_int_equal(kfx_json_int(pod, -1, "spec", "containers", "1", "ports", "1"), 443);
    assert_int_equal(kfx_json_int(pod, -1, "metadata", "generation"), 7);
    assert_true(kfx_json_bool(pod, false, "ok"));
    assert_false(kfx_json_bool(pod, true, "no"));
    assert_true(json_is_null(kfx_json_get(pod, "n")));
    assert_ptr_equal(kfx_json_get(pod, "spec"), json_object_get(pod, "spec"));
}

static void test_missing_or_wrong_type(void **state)
{
    (void)state;
    KFX_JSON json_t *pod = parsed(POD);
    assert_null(kfx_json_str(pod, "metadata", "generation"));
    assert_null(kfx_json_str(pod, "metadata", "name", "deeper"));
    assert_null(kfx_json_get(pod, "nothing", "at", "all"));
    assert_null(kfx_json_get(pod, "spec", "containers", "2"));
    assert_null(kfx_json_get(pod, "spec", "containers", "-1"));
    assert_null(kfx_json_get(pod, "spec", "containers", "1x"));
    assert_null(kfx_json_get(pod, "spec", "containers", ""));
    assert_null(kfx_json_get(pod, "spec", "containers", "99999999999999999999999999"));
    assert_null(kfx_json_get(pod, "metadata", "0"));
    assert_int_equal(kfx_json_int(pod, 42, "metadata", "name"), 42);
    assert_int_equal(kfx_json_int(pod, 42, "f"), 42);
    assert_true(kfx_json_bool(pod, true, "metadata"));
    assert_false(kfx_json_bool(pod, false, "n"));
    assert_null(kfx_json_str(NULL, "x"));
    assert_int_equal(kfx_json_int(NULL, 3, "x"), 3);
    assert_true(kfx_json_bool(NULL, true, "x"));
}

static void test_put(void **state)
{
    (void)state;
    KFX_JSON json_t *root = json_object();
    assert_int_equal(kfx_json_put(root, json_integer(1), "a", "b", "c"), 0);
    assert_int_equal(kfx_json_put(root, json_string("x"), "a", "b", "d"), 0);
    assert_int_equal(kfx_json_put(root, json_true(), "top"), 0);
    assert_int_equal(kfx_json_put(root, json_integer(2), "a", "b", "c"), 0);
    KFX_FREE char *text = kfx_json_canonical(root);
    assert_string_equal(text, "{\"a\":{\"b\":{\"c\":2,\"d\":\"x\"}},\"top\":true}");
}

static void test_put_refuses_and_frees(void **state)
{
    (void)state;
    KFX_JSON json_t *root = parsed("{\"a\":[1],\"s\":\"x\"}");
    assert_int_equal(kfx_json_put(root, json_string("leaks if not freed"), "a", "0"), -1);
    assert_int_equal(kfx_json_put(root, json_string("leaks if not freed"), "s", "x", "y"), -1);
    assert_int_equal(kfx_json_put(root, NULL, "new"), -1);
    assert_int_equal(kfx_json_put(NULL, json_string("leaks if not freed"), "new"), -1);
    KFX_FREE char *text = kfx_json_text(root);
    assert_string_equal(text, "{\"a\":[1],\"s\":\"x\"}");
}

static void test_parse_errors_have_a_place_and_no_content(void **state)
{
    (void)state;
    static const char *const bad[] = {"{\n \"a\": hunter2}", "{\n \"a\" \"hunter2\"}", "{\n\"a\":\"hunter2",
                                      "[1,\n\"hunter2\" 3]"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_null(kfx_json_parse(bad[i], strlen(bad[i]), &err));
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_non_null(strstr(err.msg, "line 2, column "));
        if (strstr(err.msg, "hunter2"))
            fail_msg("quotes the input: %s", err.msg);
    }
    assert_null(kfx_json_parse("", 0, NULL));
    assert_null(kfx_json_parse("{} x", 4, NULL));
}

static void test_parse_bounds_depth(void **state)
{
    (void)state;
    char deep[5000];
    memset(deep, '[', sizeof deep);
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(kfx_json_parse(deep, sizeof deep, &err));
    assert_int_equal(err.code, KFX_E_INVALID);
}

static void test_parse_length_counts(void **state)
{
    (void)state;
    KFX_JSON json_t *one = kfx_json_parse("12345", 2, NULL);
    assert_int_equal(json_integer_value(one), 12);
}

static void test_canonical_is_independent_of_order(void **state)
{
    (void)state;
    KFX_JSON json_t *a = parsed("{\"b\":{\"y\":1,\"x\":[1,{\"q\":1,\"p\":2}]},\"a\":\"\\u00e4\"}");
    KFX_JSON json_t *b = parsed("{ \"a\" : \"\xC3\xA4\", \"b\":{\"x\":[1,{\"p\":2,\"q\":1}],\"y\":1} }");
    KFX_FREE char *text_a = kfx_json_canonical(a), *plain_a = kfx_json_text(a);
    KFX_FREE char *text_b = kfx_json_canonical(b);
    assert_string_equal(text_a, text_b);
    assert_string_equal(text_a, "{\"a\":\"\xC3\xA4\",\"b\":{\"x\":[1,{\"p\":2,\"q\":1}],\"y\":1}}");
    assert_string_not_equal(text_a, plain_a);
    char hash_a[KFX_SHA256_HEX_SIZE], hash_b[KFX_SHA256_HEX_SIZE];
    kfx_sha256_hex(text_a, strlen(text_a), hash_a);
    kfx_sha256_hex(text_b, strlen(text_b), hash_b);
    assert_string_equal(hash_a, hash_b);
    KFX_JSON json_t *c = parsed("{\"a\":\"\xC3\xA4\",\"b\":{\"x\":[{\"p\":2,\"q\":1},1],\"y\":1}}");
    KFX_FREE char *text_c = kfx_json_canonical(c);
    assert_string_not_equal(text_a, text_c); /* the order of an array does count */
}

static void test_text_of_a_scalar(void **state)
{
    (void)state;
    KFX_JSON json_t *s = json_string("a\"b");
    KFX_FREE char *text = kfx_json_text(s);
    assert_string_equal(text, "\"a\\\"b\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_missing_or_wrong_type),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_put_refuses_and_frees),
        cmocka_unit_test(test_parse_errors_have_a_place_and_no_content),
        cmocka_unit_test(test_parse_bounds_depth),
        cmocka_unit_test(test_parse_length_counts),
        cmocka_unit_test(test_canonical_is_independent_of_order),
        cmocka_unit_test(test_text_of_a_scalar),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
