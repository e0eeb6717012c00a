/* Completion: what is offered at each place of a command line. */
#include "cli/complete.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int nothing(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)cli;
    (void)err;
    return 0;
}

#define FIELD(name) offsetof(kfx_opts_t, name)
static const kfx_flag_t flags[] = {
    {KFX_FLAG_CHOICE, 'o', "output", FIELD(output), "FORMAT", "the format", "json yaml"},
    {KFX_FLAG_BOOL, 'w', "watch", FIELD(watch), NULL, "go on", NULL},
    {KFX_FLAG_STRING, 0, "record", FIELD(tap.record), "FILE", "a file", "@file"},
    {KFX_FLAG_STRING, 0, "keys-dir", FIELD(tap.keys_dir), "DIR", "a folder", "@dir"},
    {0},
};
static const kfx_command_t ctx_below[] = {
    {.name = "rename",
     .operands = "OLD NEW",
     .summary = "rename it",
     .max_args = 2,
     .run = nothing,
     .values = "@context"},
    {0},
};
static const kfx_command_t below[] = {
    {.name = "list", .operands = "", .summary = "list them", .flags = flags, .run = nothing},
    {.name = "ctx",
     .operands = "[NAME]",
     .summary = "switch",
     .max_args = 1,
     .below = ctx_below,
     .run = nothing,
     .values = "@plane"},
    {.name = "__man", .operands = "", .summary = "hidden", .run = nothing, .hidden = true},
    {0},
};
static const kfx_command_t root = {.name = "kflex", .operands = "", .summary = "root", .below = below};

static void names(void *ctx, const char *what, kfx_candidates_t *out)
{
    (void)ctx;
    kfx_candidates_add(out, strcmp(what, "@plane") == 0 ? "cp1" : "host", "a name");
    kfx_candidates_add(out, "two\nlines", NULL); /* no shell can take that */
}

/* The words of the line, the last of which may be empty, and what is to be offered: "word word|directive". */
static void offers(const char *line, const char *want)
{
    char text[256];
    char *words[16];
    size_t count = 0;
    kfx_copy(text, sizeof text, line);
    char *rest = text;
    for (char *word; (word = strsep(&rest, " "));)
        words[count++] = word;
    kfx_candidates_t out = {.text = KFX_BUF_INIT(0)};
    int directive = kfx_complete(&root, words, count, &out, names, NULL);
    for (char *p = out.text.data; p && *p; p++)
        if (*p == '\n')
            *p = ' ';
    KFX_FREE char *got = kfx_xasprintf("%s|%d", out.text.len ? out.text.data : "", directive);
    assert_string_equal(got, want);
    kfx_buf_free(&out.text);
}

static void test_places(void **state)
{
    (void)state;
    offers("", "list ctx |4");
    offers("l", "list |4");
    offers("ctx ", "rename cp1 |4");
    offers("ctx c", "cp1 |4");
    offers("ctx cp1 ", "|4");
    offers("ctx rename ", "host |4");
    offers("ctx rename host h", "host |4");
    offers("ctx rename a b ", "|4");
    offers("nonsense ", "|4");
}

static void test_flags(void **state)
{
    (void)state;
    offers("list --w", "--watch |4");
    offers("list --", "--output --watch --record --keys-dir --kubeconfig --chatty-status --verbosity --help |4");
    offers("list -o ", "json yaml |4");
    offers("list -wo j", "json |4");
    offers("list -ojson ", "|4");
    offers("list --output=y", "--output=yaml |4");
    offers("list --watch=", "--watch=true --watch=false |4");
    offers("list --record ", "|0");
    offers("list --keys-dir ", "|16");
    offers("-k ", "|0");
    offers("-k f l", "list |4");
    offers("ctx -- -", "|4");
    offers("list --nonsense=", "|4");
}

static void test_descriptions(void **state)
{
    (void)state;
    char word[] = "";
    char *words[] = {word};
    kfx_candidates_t out = {.text = KFX_BUF_INIT(0), .descriptions = true};
    kfx_complete(&root, words, 1, &out, names, NULL);
    assert_string_equal(out.text.data, "list\tlist them\nctx\tswitch\n");
    kfx_buf_free(&out.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_descriptions),
    };
    return cmocka_run_group_tests_name("cli-complete", tests, NULL, NULL);
}
