#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_set_fills_and_returns_failure(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_error_set(&err, KFX_E_CONFLICT, "object %s has %d owners", "x", 2), -1);
    assert_int_equal(err.code, KFX_E_CONFLICT);
    assert_string_equal(err.msg, "object x has 2 owners");
    assert_int_equal(kfx_error_set(NULL, KFX_E_INTERNAL, "nobody cares"), -1);
}

static void test_wrap_keeps_code(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_error_set(&err, KFX_E_UNAVAILABLE, "connection refused");
    assert_int_equal(kfx_error_wrap(&err, "create %s", "Namespace cp1-system"), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_string_equal(err.msg, "create Namespace cp1-system: connection refused");
    assert_int_equal(kfx_error_wrap(NULL, "x"), -1);
}

static void test_own_message_as_argument(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_error_set(&err, KFX_E_INVALID, "inner");
    kfx_error_set(&err, KFX_E_INTERNAL, "outer: %s (%s)", err.msg, err.msg);
    assert_string_equal(err.msg, "outer: inner (inner)");
}

static void test_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    char text[3000];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', sizeof text);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 3);
        text[sizeof text - 1] = 0;
        kfx_error_set(&err, KFX_E_INVALID, "%s", text);
        size_t len = strlen(err.msg);
        assert_in_range(len, sizeof err.msg - 3, sizeof err.msg - 1);
        assert_int_equal((len - shift) % 3, 0);
    }
}

static void test_names_are_distinct(void **state)
{
    (void)state;
    for (int a = KFX_OK; a <= KFX_E_INTERNAL; a++) {
        for (int b = KFX_OK; b < a; b++)
            assert_string_not_equal(kfx_code_name((kfx_code_t)a), kfx_code_name((kfx_code_t)b));
    }
    assert_string_equal(kfx_code_name(KFX_E_NOT_FOUND), "NotFound");
    assert_string_equal(kfx_code_name((kfx_code_t)999), "Unknown");
}

static void test_transient(void **state)
{
    (void)state;
    static const kfx_code_t yes[] = {KFX_E_BUSY, KFX_E_UNAVAILABLE, KFX_E_TIMEOUT};
    size_t count = 0;
    for (int code = KFX_OK; code <= KFX_E_INTERNAL; code++)
        count += kfx_code_transient((kfx_code_t)code);
    assert_int_equal(count, KFX_COUNT(yes));
    for (size_t i = 0; i < KFX_COUNT(yes); i++)
        assert_true(kfx_code_transient(yes[i]));
}

static void test_copy(void **state)
{
    (void)state;
    char out[5];
    assert_false(kfx_copy(out, sizeof out, "four"));
    assert_string_equal(out, "four");
    assert_true(kfx_copy(out, sizeof out, "fives"));
    assert_string_equal(out, "five");
    assert_true(kfx_copy(out, sizeof out, "abc\xC3\xA4"));
    assert_string_equal(out, "abc");
    assert_false(kfx_copy(out, sizeof out, "ab\xC3\xA4"));
    assert_string_equal(out, "ab\xC3\xA4");
    assert_false(kfx_copy(out, sizeof out, NULL));
    assert_string_equal(out, "");
    assert_true(kfx_copy(out, 0, "x"));
}

static void test_utf8_cut(void **state)
{
    (void)state;
    static const char text[] = "a\xF0\x9F\x98\x80z"; /* a, four bytes, z */
    static const size_t want[] = {0, 1, 1, 1, 1, 5, 6};
    for (size_t i = 0; i < KFX_COUNT(want); i++)
        assert_int_equal(kfx_utf8_cut(text, i), want[i]);
    assert_int_equal(kfx_utf8_cut("\x80\x80\x80\x80\x80", 5), 5); /* no UTF-8: left as it is */
}

static void test_memory(void **state)
{
    (void)state;
    KFX_FREE char *zero = kfx_xcalloc(0, 0);
    assert_non_null(zero);
    KFX_FREE char *text = kfx_xasprintf("%s-%03d", "a", 7);
    assert_string_equal(text, "a-007");
    assert_null(kfx_xstrdup(NULL));
    KFX_FREE char *grown = kfx_xrealloc(kfx_xstrdup("abc"), 100);
    assert_string_equal(grown, "abc");
    kfx_wipe(grown, 4);
    assert_memory_equal(grown, "\0\0\0\0", 4);
    kfx_wipe(NULL, 10);
}

static void test_steal_and_cleanup(void **state)
{
    (void)state;
    KFX_FREE char *a = kfx_xstrdup("mine");
    KFX_FREE char *b = KFX_STEAL(a);
    assert_null(a);
    assert_string_equal(b, "mine");
    int fd = dup(1);
    {
        KFX_CLOSE int scoped = fd;
        assert_true(scoped >= 0);
    }
    assert_int_equal(close(fd), -1);
    assert_int_equal(errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_and_returns_failure),
        cmocka_unit_test(test_wrap_keeps_code),
        cmocka_unit_test(test_own_message_as_argument),
        cmocka_unit_test(test_long_message_is_cut_between_characters),
        cmocka_unit_test(test_names_are_distinct),
        cmocka_unit_test(test_transient),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_utf8_cut),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_steal_and_cleanup),
    };
    return cmocka_run_group_tests_name("error and mem", tests, NULL, NULL);
}
