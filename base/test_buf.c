#include "base/buf.h"
#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_appends_and_stays_terminated(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(0);
    assert_null(buf.data);
    assert_int_equal(kfx_buf_add(&buf, "", 0), 0);
    assert_null(buf.data);
    assert_int_equal(kfx_buf_adds(&buf, "ab"), 0);
    assert_int_equal(kfx_buf_add(&buf, "\0c", 2), 0);
    assert_int_equal(kfx_buf_addf(&buf, "%d", 12345), 0);
    assert_int_equal(buf.len, 9);
    assert_memory_equal(buf.data, "ab\0c12345\0", 10);
}

static void test_grows_over_many_appends(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(0);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(kfx_buf_addf(&buf, "%05d", i), 0);
    assert_int_equal(buf.len, 100000);
    for (int i = 0; i < 20000; i++) {
        char want[6];
        snprintf(want, sizeof want, "%05d", i);
        assert_memory_equal(buf.data + (size_t)i * 5, want, 5);
    }
}

static void test_limit_keeps_content_and_sticks(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(10);
    assert_int_equal(kfx_buf_adds(&buf, "0123456789"), 0);
    assert_false(buf.failed);
    assert_int_equal(kfx_buf_adds(&buf, "x"), -1);
    assert_true(buf.failed);
    assert_string_equal(buf.data, "0123456789");
    kfx_buf_drop(&buf, 4);
    assert_int_equal(kfx_buf_addf(&buf, "%s", "toolong"), -1);
    assert_string_equal(buf.data, "456789");
    assert_int_equal(buf.len, 6);
    assert_int_equal(kfx_buf_addf(&buf, "%s", "fits"), 0);
    assert_string_equal(buf.data, "456789fits");
    assert_true(buf.failed);
    kfx_buf_clear(&buf);
    assert_false(buf.failed);
    assert_string_equal(buf.data, "");
}

static void test_huge_length_does_not_overflow(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(100);
    kfx_buf_adds(&buf, "x");
    assert_int_equal(kfx_buf_add(&buf, "y", SIZE_MAX), -1);
    assert_int_equal(kfx_buf_add(&buf, "y", SIZE_MAX - 1), -1);
    assert_string_equal(buf.data, "x");
}

static void test_default_limit_is_64_mib(void **state)
{
    (void)state;
    static char mib[1 << 20];
    memset(mib, 'm', sizeof mib);
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(0);
    for (int i = 0; i < 64; i++)
        assert_int_equal(kfx_buf_add(&buf, mib, sizeof mib), 0);
    assert_int_equal(kfx_buf_add(&buf, "x", 1), -1);
    assert_int_equal(buf.len, 64u << 20);
}

static void test_formatted_text_of_any_length(void **state)
{
    (void)state;
    char text[600];
    for (size_t n = 0; n < sizeof text - 1; n++) {
        memset(text, 'a', n);
        text[n] = 0;
        KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(0);
        kfx_buf_adds(&buf, "<");
        assert_int_equal(kfx_buf_addf(&buf, "%s>", text), 0);
        assert_int_equal(buf.len, n + 2);
        assert_int_equal(buf.data[n + 1], '>');
        assert_int_equal(buf.data[n + 2], 0);
    }
}

static void test_drop(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(0);
    kfx_buf_drop(&buf, 5);
    kfx_buf_adds(&buf, "abcdef");
    kfx_buf_drop(&buf, 0);
    kfx_buf_drop(&buf, 2);
    assert_string_equal(buf.data, "cdef");
    kfx_buf_drop(&buf, 100);
    assert_int_equal(buf.len, 0);
    assert_string_equal(buf.data, "");
}

static void test_steal(void **state)
{
    (void)state;
    kfx_buf_t buf = KFX_BUF_INIT(50);
    size_t len = 99;
    KFX_FREE char *empty = kfx_buf_steal(&buf, &len);
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
    kfx_buf_adds(&buf, "text");
    KFX_FREE char *text = kfx_buf_steal(&buf, &len);
    assert_string_equal(text, "text");
    assert_int_equal(len, 4);
    assert_null(buf.data);
    kfx_buf_adds(&buf, "again");
    assert_string_equal(buf.data, "again");
    kfx_buf_wipe(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.max, 50);
    kfx_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_and_stays_terminated),
        cmocka_unit_test(test_grows_over_many_appends),
        cmocka_unit_test(test_limit_keeps_content_and_sticks),
        cmocka_unit_test(test_huge_length_does_not_overflow),
        cmocka_unit_test(test_default_limit_is_64_mib),
        cmocka_unit_test(test_formatted_text_of_any_length),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_steal),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
