#include "base/log.h"
#include "base/process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_env(void **state)
{
    (void)state;
    unsetenv("KFX_TEST");
    assert_null(kfx_env_or("KFX_TEST", NULL));
    assert_string_equal(kfx_env_or("KFX_TEST", "x"), "x");
    setenv("KFX_TEST", "", 1);
    assert_string_equal(kfx_env_or("KFX_TEST", "x"), "x");
    setenv("KFX_TEST", "y", 1);
    assert_string_equal(kfx_env_or("KFX_TEST", "x"), "y");
}

static void test_number(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "0", "65", "7x", "99999999999999999999"};
    long n = 0;
    assert_int_equal(kfx_option_number("--threads", "1", 1, 64, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(kfx_option_number("--threads", "64", 1, 64, &n, NULL), 0);
    assert_int_equal(n, 64);
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_int_equal(kfx_option_number("--threads", bad[i], 1, 64, &n, &err), -1);
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_non_null(strstr(err.msg, "--threads"));
        assert_non_null(strstr(err.msg, "1 to 64"));
        assert_int_equal(n, 64);
    }
}

static void test_log_level(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_option_log_level("debug", &err), 0);
    assert_true(kfx_log_enabled(KFX_LOG_DEBUG));
    assert_int_equal(kfx_option_log_level("error", &err), 0);
    assert_false(kfx_log_enabled(KFX_LOG_WARN));
    assert_int_equal(kfx_option_log_level("loud", &err), -1);
    assert_non_null(strstr(err.msg, "error, warn, info or debug"));
    assert_false(kfx_log_enabled(KFX_LOG_WARN));
}

static void test_log_format(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_option_log_format("json", &err), 0);
    assert_int_equal(kfx_option_log_format("text", &err), 0);
    assert_int_equal(kfx_option_log_format("JSON", &err), -1);
    assert_non_null(strstr(err.msg, "choose text or json"));
}

static void test_stop(void **state)
{
    (void)state;
    kfx_stop_catch();
    assert_false(kfx_stop_asked());
    raise(SIGTERM);
    assert_true(kfx_stop_asked());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_env), cmocka_unit_test(test_number),
                                       cmocka_unit_test(test_log_level), cmocka_unit_test(test_log_format),
                                       cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
