/* What reaches a pipe: plain lines, no colour, no moving line, no control characters of somebody else. */
#include "cli/output.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_age(void **state)
{
    (void)state;
    char buf[KFX_AGE_SIZE];
    assert_string_equal(kfx_age(buf, -3), "0s");
    assert_string_equal(kfx_age(buf, 45), "45s");
    assert_string_equal(kfx_age(buf, 180), "3m0s");
    assert_string_equal(kfx_age(buf, 93965), "26h6m5s");
}

static void test_clean(void **state)
{
    (void)state;
    KFX_FREE char *a = kfx_clean("a\033[31mb\tc");
    assert_string_equal(a, "a [31mb c");
    KFX_FREE char *b = kfx_clean("one\ntwo\n");
    assert_string_equal(b, "one; two ");
    KFX_FREE char *c = kfx_clean("Straße ✔");
    assert_string_equal(c, "Straße ✔");
}

static void test_plain_in_a_pipe(void **state)
{
    (void)state;
    char *text = NULL, *errors = NULL;
    size_t len = 0, elen = 0;
    kfx_out_t out = {.out = open_memstream(&text, &len), .err = open_memstream(&errors, &elen)};
    kfx_out_spin(&out, 100, "waiting");
    kfx_out_step(&out, 1290, "made %s", "cp1");
    kfx_out_step(&out, -1, "done");
    kfx_out_line(&out, "line");
    kfx_out_warn(&out, "careful");
    kfx_out_error(&out, "bad\033]0;title\007");
    fclose(out.out);
    fclose(out.err);
    assert_string_equal(text, "✔ made cp1 (1.2s)\n✔ done\nline\n");
    assert_string_equal(errors, "Warning: careful\nError: bad ]0;title \n");
    free(text);
    free(errors);
}

static void test_colour_and_moving_line(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    kfx_out_t out = {.out = open_memstream(&text, &len), .err = stderr, .color = true, .spin = true};
    kfx_out_spin(&out, 2000, "waiting");
    assert_true(out.spinning);
    kfx_out_step(&out, -1, "done");
    assert_false(out.spinning);
    fclose(out.out);
    assert_non_null(strstr(text, "waiting (2s)"));
    assert_non_null(strstr(text, "\r\033[K\033[32m✔\033[0m done\n"));
    free(text);
}

static void test_ask(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        bool yes;
    } cases[] = {{"y\n", true},     {"YES\r\n", true}, {"yes", true},  {"n\n", false},
                 {"yeah\n", false}, {"\n", false},     {" y\n", false}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        char *text = NULL;
        size_t size = 0;
        kfx_out_t out = {.err = open_memstream(&text, &size)};
        FILE *was = stdin;
        stdin = fmemopen((void *)(uintptr_t)cases[i].answer, strlen(cases[i].answer), "r");
        assert_int_equal(kfx_out_ask(&out, "All %d?", 3), cases[i].yes);
        fclose(stdin);
        stdin = was;
        fclose(out.err);
        assert_string_equal(text, "All 3? (y/N) ");
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_plain_in_a_pipe),
        cmocka_unit_test(test_colour_and_moving_line),
        cmocka_unit_test(test_ask),
    };
    return cmocka_run_group_tests_name("cli-output", tests, NULL, NULL);
}
