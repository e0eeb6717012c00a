#include "base/codec.h"
#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_sha256_vectors(void **state)
{
    (void)state;
    char hex[KFX_SHA256_HEX_SIZE];
    /* FIPS 180-2, appendix B */
    kfx_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    kfx_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_base64_vectors(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        /* RFC 4648, section 10 */
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xFB\xFF\xFE", "+//+"},
    };
    for (size_t i = 0; i < KFX_COUNT(pairs); i++) {
        KFX_FREE char *coded = kfx_base64_encode(pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(coded, pairs[i][1]);
        size_t len = 99;
        KFX_FREE char *back = kfx_base64_decode(coded, &len, NULL);
        assert_non_null(back);
        assert_int_equal(len, strlen(pairs[i][0]));
        assert_string_equal(back, pairs[i][0]);
    }
}

static void test_base64_all_bytes_round_trip(void **state)
{
    (void)state;
    unsigned char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        KFX_FREE char *coded = kfx_base64_encode(bytes, n);
        assert_int_equal(strlen(coded), (n + 2) / 3 * 4);
        size_t len;
        KFX_FREE char *back = kfx_base64_decode(coded, &len, NULL);
        assert_int_equal(len, n);
        assert_memory_equal(back, bytes, n);
        assert_int_equal(back[len], 0);
    }
}

static void test_base64_line_breaks_are_skipped(void **state)
{
    (void)state;
    size_t len;
    KFX_FREE char *back = kfx_base64_decode("Zm9v\r\nYmFy\n", &len, NULL);
    assert_string_equal(back, "foobar");
}

static void test_base64_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "====", "=Zg=", "Z=g=", "Zm9v!", "Zm 9v", "Zg==Zg==", "-_-_", "Zm9\xC3", "Zm9vZ"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        size_t len = 7;
        if (kfx_base64_decode(bad[i], &len, &err))
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_int_equal(len, 7);
        assert_null(strstr(err.msg, bad[i])); /* it may be a secret */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_vectors),
        cmocka_unit_test(test_base64_vectors),
        cmocka_unit_test(test_base64_all_bytes_round_trip),
        cmocka_unit_test(test_base64_line_breaks_are_skipped),
        cmocka_unit_test(test_base64_refuses),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
