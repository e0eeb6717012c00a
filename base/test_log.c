#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* stderr goes into a pipe-like file while a test runs; captured () gives what was written since. */
static int saved_stderr, capture;
static char text[1 << 20];

static int setup(void **state)
{
    (void)state;
    FILE *tmp = tmpfile();
    if (!tmp)
        return -1;
    capture = dup(fileno(tmp));
    fclose(tmp);
    fcntl(capture, F_SETFL, O_APPEND);
    saved_stderr = dup(STDERR_FILENO);
    dup2(capture, STDERR_FILENO);
    unsetenv("KFX_LOG_LEVEL");
    unsetenv("KFX_LOG_FORMAT");
    kfx_log_init("unit");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(capture);
    return 0;
}

static const char *captured(void)
{
    ssize_t n = pread(capture, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    if (ftruncate(capture, 0) < 0)
        fail();
    return text;
}

/* What follows the time stamp of a text line. */
static const char *after_time(void)
{
    const char *line = captured();
    if (strncmp(line, "time=", 5) != 0 || !strchr(line, ' '))
        fail_msg("no time in front: %s", line);
    assert_int_equal(strchr(line, ' ') - line, strlen("time=2026-11-23T10:00:00.123Z"));
    return strchr(line, ' ') + 1;
}

static void test_text_line(void **state)
{
    (void)state;
    kfx_log_info("database created", "plane", "cp1", "ms", kfx_log_num(35), NULL);
    assert_string_equal(after_time(), "level=info process=unit msg=\"database created\" plane=cp1 ms=35\n");
    kfx_log_warn("x", NULL);
    assert_string_equal(after_time(), "level=warn process=unit msg=x\n");
}

static void test_text_quoting(void **state)
{
    (void)state;
    kfx_log_error("m", "a", "x y", "b", "x=y", "c", "q\"q", "d", "back\\slash", "e", "", "f", NULL, "g", "l1\nl2\tt\r",
                  "h", "\x1b[31m\x7f", "i", "gr\xC3\xBCn", "j",
                  "\xC2\x9B"
                  "31m",
                  "k", "\xFF\xC3", "l", "a/b:c,d;{e}", NULL);
    assert_string_equal(after_time(),
                        "level=error process=unit msg=m a=\"x y\" b=\"x=y\" c=\"q\\\"q\" "
                        "d=\"back\\\\slash\" e= f= g=\"l1\\nl2\\tt\\r\" h=\"\\u001b[31m\\u007f\" "
                        "i=\"gr\xC3\xBCn\" j=\"\\u009b31m\" k=\"\xEF\xBF\xBD\xEF\xBF\xBD\" l=a/b:c,d;{e}\n");
}

static void test_json_line(void **state)
{
    (void)state;
    setenv("KFX_LOG_FORMAT", "json", 1);
    kfx_log_init("unit");
    kfx_log_info("he said \"hi\"", "plane", "cp1\n", "nothing", NULL, "bad", "\xFF\xED\xA0\x80", "uml", "\xC3\xA4",
                 NULL);
    const char *line = captured();
    size_t len = strlen(line);
    assert_int_equal(line[len - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
    KFX_JSON json_t *object = kfx_json_parse(line, len, NULL);
    assert_non_null(object);
    assert_string_equal(kfx_json_str(object, "level"), "info");
    assert_string_equal(kfx_json_str(object, "process"), "unit");
    assert_string_equal(kfx_json_str(object, "msg"), "he said \"hi\"");
    assert_string_equal(kfx_json_str(object, "plane"), "cp1\n");
    assert_string_equal(kfx_json_str(object, "nothing"), "");
    assert_string_equal(kfx_json_str(object, "uml"), "\xC3\xA4");
    assert_int_equal(strncmp(kfx_json_str(object, "bad"), "\xEF\xBF\xBD", 3), 0);
    assert_int_equal(json_object_size(object), 8);
}

static int called;
static const char *expensive(void)
{
    called++;
    return "x";
}

static void test_levels(void **state)
{
    (void)state;
    kfx_log_debug("hidden", "v", expensive(), NULL);
    assert_int_equal(called, 0);
    assert_string_equal(captured(), "");
    setenv("KFX_LOG_LEVEL", "debug", 1);
    kfx_log_init("unit");
    kfx_log_debug("shown", "v", expensive(), NULL);
    assert_int_equal(called, 1);
    assert_non_null(strstr(captured(), "level=debug"));
    kfx_log_set_level(KFX_LOG_ERROR);
    kfx_log_warn("hidden", NULL);
    assert_string_equal(captured(), "");
    assert_true(kfx_log_enabled(KFX_LOG_ERROR));
    assert_false(kfx_log_enabled(KFX_LOG_WARN));
}

static void test_unknown_settings_are_reported(void **state)
{
    (void)state;
    setenv("KFX_LOG_LEVEL", "loud", 1);
    setenv("KFX_LOG_FORMAT", "xml", 1);
    kfx_log_init("unit");
    const char *out = captured();
    assert_non_null(strstr(out, "value=loud"));
    assert_non_null(strstr(out, "value=xml"));
    assert_true(kfx_log_enabled(KFX_LOG_INFO));
    assert_false(kfx_log_enabled(KFX_LOG_DEBUG));
}

static void test_huge_values_are_cut(void **state)
{
    (void)state;
    static char huge[300000];
    memset(huge, 'h', sizeof huge - 1);
    kfx_log_info("m", "huge", huge, "after", "still here", NULL);
    const char *line = captured();
    assert_in_range(strlen(line), 8192, 9000);
    assert_non_null(strstr(line, "hhh... after=\"still here\"\n"));

    memset(huge, 1, sizeof huge - 1); /* six characters each when escaped */
    setenv("KFX_LOG_FORMAT", "json", 1);
    kfx_log_init("unit");
    kfx_log_info("m", "a", huge, "b", huge, NULL);
    line = captured();
    assert_in_range(strlen(line), 8192, 65550);
    KFX_JSON json_t *object = kfx_json_parse(line, strlen(line), NULL);
    assert_non_null(object); /* whole pairs or none */
    assert_null(kfx_json_str(object, "b"));
}

static void test_numbers(void **state)
{
    (void)state;
    assert_string_equal(kfx_log_num(0), "0");
    assert_string_equal(kfx_log_num(INT64_MIN), "-9223372036854775808");
    assert_string_equal(kfx_log_num(UINT32_MAX), "4294967295");
}

static void test_errno_is_kept(void **state)
{
    (void)state;
    errno = ENOTTY;
    kfx_log_info("m", NULL);
    assert_int_equal(errno, ENOTTY);
    close(STDERR_FILENO); /* the write fails; teardown opens it again */
    kfx_log_info("m", NULL);
    assert_int_equal(errno, ENOTTY);
}

enum { WRITERS = 4, LINES = 500 };

static void *write_many(void *name)
{
    for (int i = 0; i < LINES; i++)
        kfx_log_info("from a thread", "thread", name, "i", kfx_log_num(i), NULL);
    return NULL;
}

static void test_threads_do_not_mix_lines(void **state)
{
    (void)state;
    static char names[WRITERS][100];
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        memset(names[i], 'a' + i, sizeof names[i] - 1);
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, names[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    int count = 0;
    char *rest = NULL;
    captured();
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), count++) {
        const char *name = strstr(line, " thread=");
        assert_int_equal(strncmp(line, "time=", 5), 0);
        assert_non_null(name);
        assert_int_equal(strspn(name + 8, (char[]){name[8], 0}), sizeof names[0] - 1);
    }
    assert_int_equal(count, WRITERS * LINES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_text_line),
        TEST(test_text_quoting),
        TEST(test_json_line),
        TEST(test_levels),
        TEST(test_unknown_settings_are_reported),
        TEST(test_huge_values_are_cut),
        TEST(test_numbers),
        TEST(test_errno_is_kept),
        TEST(test_threads_do_not_mix_lines),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
