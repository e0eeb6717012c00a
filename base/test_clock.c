#include "base/clock.h"
#include "base/error.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_clock_is_steady(void **state)
{
    (void)state;
    int64_t last = kfx_now_ms();
    assert_true(last > 0);
    for (int i = 0; i < 1000; i++) {
        int64_t now = kfx_now_ms();
        assert_true(now >= last);
        last = now;
    }
}

static void test_rfc3339_writes_utc(void **state)
{
    (void)state;
    char buf[KFX_RFC3339_SIZE];
    assert_string_equal(kfx_rfc3339(buf, 0), "1970-01-01T00:00:00Z");
    assert_string_equal(kfx_rfc3339(buf, 1795428000), "2026-11-23T10:00:00Z");
    assert_string_equal(kfx_rfc3339(buf, 951782399), "2000-02-28T23:59:59Z");
    kfx_rfc3339_now_micro(buf);
    assert_int_equal(strlen(buf), strlen("2026-11-23T10:00:00.123456Z"));
    assert_int_equal(buf[19], '.');
    assert_int_equal(buf[26], 'Z');
    assert_true(kfx_rfc3339_parse(buf) > 0);
    time_t before = time(NULL), now = kfx_rfc3339_parse(kfx_rfc3339_now(buf));
    assert_in_range(now, before, time(NULL));
}

static void test_rfc3339_reads(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        time_t want;
    } cases[] = {
        {"2026-11-23T10:00:00Z", 1795428000},
        {"2026-11-23T10:00:00.999999999Z", 1795428000},
        {"2026-11-23t10:00:00z", 1795428000},
        {"2026-11-23 10:00:00Z", 1795428000},
        {"2026-11-23T11:30:00+01:30", 1795428000},
        {"2026-11-23T02:00:00-08:00", 1795428000},
        {"2024-02-29T00:00:00Z", 1709164800},
        {"2016-12-31T23:59:60Z", 1483228800},
        {"2023-02-29T00:00:00Z", -1},
        {"1900-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2026-04-31T00:00:00Z", -1},
        {"2026-11-23T24:00:00Z", -1},
        {"2026-11-23T10:60:00Z", -1},
        {"2026-11-23T10:00:61Z", -1},
        {"2026-11-23T10:00:00", -1},
        {"2026-11-23T10:00:00.Z", -1},
        {"2026-11-23T10:00:00Zx", -1},
        {"2026-11-23T10:00:00+0100", -1},
        {"2026-11-23T10:00:00+24:00", -1},
        {"2026-11-23", -1},
        {" 2026-11-23T10:00:00Z", -1},
        {"26-11-23T10:00:00Z", -1},
        {"", -1},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        if (kfx_rfc3339_parse(cases[i].text) != cases[i].want)
            fail_msg("%s gives %ld", cases[i].text, (long)kfx_rfc3339_parse(cases[i].text));
    }
    assert_int_equal(kfx_rfc3339_parse(NULL), -1);
}

static void test_backoff_doubles_within_bounds(void **state)
{
    (void)state;
    static const int64_t full[] = {100, 200, 400, 800, 1000, 1000};
    for (unsigned attempt = 0; attempt < KFX_COUNT(full); attempt++) {
        int64_t low = full[attempt], high = 0;
        for (int i = 0; i < 500; i++) {
            int64_t ms = kfx_backoff_ms(attempt, 100, 1000);
            assert_in_range(ms, full[attempt] / 2, full[attempt]);
            low = ms < low ? ms : low;
            high = ms > high ? ms : high;
        }
        assert_true(high - low > full[attempt] / 4); /* it does spread */
    }
}

static void test_backoff_extremes(void **state)
{
    (void)state;
    assert_in_range(kfx_backoff_ms(UINT32_MAX, 1, 30000), 15000, 30000);
    assert_true(kfx_backoff_ms(200, INT64_MAX / 2, INT64_MAX) >= INT64_MAX / 2);
    assert_in_range(kfx_backoff_ms(0, 5000, 1000), 500, 1000);
    assert_int_equal(kfx_backoff_ms(3, 0, 1000), 0);
    assert_int_equal(kfx_backoff_ms(3, 10, 0), 0);
    assert_int_equal(kfx_backoff_ms(0, 1, 1), 1);
}

static void test_random_covers_its_range(void **state)
{
    (void)state;
    int seen[7] = {0};
    for (int i = 0; i < 7000; i++) {
        int64_t n = kfx_random_between(-3, 3);
        assert_true(n >= -3 && n <= 3);
        seen[n + 3]++;
    }
    for (size_t i = 0; i < KFX_COUNT(seen); i++)
        assert_in_range(seen[i], 700, 1300);
    assert_int_equal(kfx_random_between(5, 5), 5);
    assert_int_equal(kfx_random_between(5, 4), 5);
    assert_true(kfx_random_between(INT64_MIN, INT64_MAX) != kfx_random_between(INT64_MIN, INT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_is_steady),  cmocka_unit_test(test_rfc3339_writes_utc),
        cmocka_unit_test(test_rfc3339_reads),    cmocka_unit_test(test_backoff_doubles_within_bounds),
        cmocka_unit_test(test_backoff_extremes), cmocka_unit_test(test_random_covers_its_range),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
