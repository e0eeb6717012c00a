/* Tables: widths, order, texts that would confuse a terminal. */
#include "cli/print.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_table(void **state)
{
    (void)state;
    static const kfx_column_t columns[] = {{"NAME", 6}, {"WORD", 5}, {"LAST", 5}, {0}};
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    kfx_out_t out = {.out = to, .err = to};
    kfx_table_t table;
    kfx_table_init(&table, columns);
    const char *rows[][3] = {{"b", "\033[31mred", "x"}, {"a", "ünter", NULL}, {"longer-one", "", "two\nlines"}};
    for (size_t i = 0; i < KFX_COUNT(rows); i++)
        kfx_table_add(&table, rows[i]);
    kfx_table_sort(&table);
    kfx_table_print_head(&table, &out);
    kfx_table_print_rows(&table, &out);
    const char *late[] = {"c", "", "x"};
    kfx_table_add(&table, late);
    kfx_table_print_rows(&table, &out);
    fclose(to);
    assert_string_equal(text, "NAME        WORD      LAST\n"
                              "a           ünter     \n"
                              "b            [31mred  x\n"
                              "longer-one            two; lines\n"
                              "c                     x\n");
    free(text);
    kfx_table_release(&table);
}

static void test_formats(void **state)
{
    (void)state;
    assert_int_equal(kfx_format_of("yaml", KFX_FORMAT_TABLE), KFX_FORMAT_YAML);
    assert_int_equal(kfx_format_of(NULL, KFX_FORMAT_JSON), KFX_FORMAT_JSON);
    assert_true(kfx_format_is_tree(KFX_FORMAT_JSON));
    assert_false(kfx_format_is_tree(KFX_FORMAT_NAME));
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    kfx_out_t out = {.out = to, .err = to};
    json_t *tree = json_pack("{s:i}", "a", 1);
    assert_int_equal(kfx_print_tree(&out, KFX_FORMAT_JSON, tree, NULL), 0);
    assert_int_equal(kfx_print_tree(&out, KFX_FORMAT_YAML, tree, NULL), 0);
    json_decref(tree);
    fclose(to);
    assert_string_equal(text, "{\n  \"a\": 1\n}\na: 1\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests_name("cli-print", tests, NULL, NULL);
}
