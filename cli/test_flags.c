/* The command line: every error text, flags before and after the command, defaults. */
#include "cli/flags.h"

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
static const kfx_flag_t create_flags[] = {
    {KFX_FLAG_STRING, 't', "type", FIELD(type), "TYPE", "the type", NULL},
    {KFX_FLAG_PAIRS, 'e', "set", FIELD(vars), "K=V", "a variable", NULL},
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "D", "how long", NULL},
    {0},
};
static const kfx_flag_t ctx_flags[] = {
    {KFX_FLAG_BOOL, 'o', "overwrite-existing-context", FIELD(overwrite), NULL, "overwrite", NULL},
    {0},
};
static const kfx_flag_t get_flags[] = {
    {KFX_FLAG_CHOICE, 'o', "output", FIELD(output), "FORMAT", "format", "json yaml"},
    {0},
};
static const kfx_command_t ctx_below[] = {
    {.name = "get", .operands = "", .summary = "get it", .flags = get_flags, .run = nothing},
    {.name = "rename",
     .operands = "OLD NEW",
     .summary = "rename it",
     .min_args = 2,
     .max_args = 2,
     .run = nothing,
     .values = "@context"},
    {0},
};
static const kfx_command_t below[] = {
    {.name = "create",
     .operands = "NAME",
     .summary = "make one",
     .details = "More about it.",
     .min_args = 1,
     .max_args = 1,
     .flags = create_flags,
     .run = nothing},
    {.name = "ctx",
     .operands = "[NAME]",
     .summary = "switch",
     .max_args = 1,
     .flags = ctx_flags,
     .below = ctx_below,
     .run = nothing,
     .values = "@plane"},
    {.name = "config", .operands = "", .summary = "a group", .below = ctx_below},
    {0},
};
static const kfx_command_t root = {.name = "kflex", .operands = "", .summary = "root", .below = below};

typedef struct {
    kfx_opts_t opts;
    const kfx_command_t *command;
    char path[128];
    kfx_error_t err;
    int rc;
} parsed_t;

/* Words separated by single spaces; they live until the next call. */
static parsed_t parse(const char *line)
{
    static char text[512];
    static char *argv[32];
    int argc = 0;
    snprintf(text, sizeof text, "%s", line);
    char *rest = text;
    for (char *word; (word = strsep(&rest, " ")) && argc < 31;)
        argv[argc++] = word;
    argv[argc] = NULL;
    parsed_t p = {.err = KFX_ERROR_INIT};
    kfx_opts_init(&p.opts);
    p.rc = kfx_flags_parse(&root, argc, argv, &p.opts, &p.command, p.path, &p.err);
    return p;
}

static void refuse(const char *line, const char *message)
{
    parsed_t p = parse(line);
    assert_int_equal(p.rc, -1);
    assert_string_equal(p.err.msg, message);
    kfx_opts_release(&p.opts);
}

static void test_defaults(void **state)
{
    (void)state;
    parsed_t p = parse("kflex create cp1");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.path, "kflex create");
    assert_string_equal(p.opts.arg[0], "cp1");
    assert_null(p.opts.type);
    assert_true(p.opts.chatty);
    assert_int_equal(p.opts.timeout_ms, 600000);
    assert_null(p.opts.kubeconfig);
    kfx_opts_release(&p.opts);
}

static void test_flags_anywhere(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "kflex -k f create -t host cp1",
        "kflex create cp1 --type host --kubeconfig f",
        "kflex --kubeconfig=f create --type=host cp1",
        "kflex create -thost -k=f cp1",
        "kflex create -k f -t host -- cp1",
    };
    for (size_t i = 0; i < KFX_COUNT(lines); i++) {
        parsed_t p = parse(lines[i]);
        assert_int_equal(p.rc, 0);
        assert_string_equal(p.path, "kflex create");
        assert_string_equal(p.opts.kubeconfig, "f");
        assert_string_equal(p.opts.type, "host");
        assert_int_equal(p.opts.arg_count, 1);
        assert_string_equal(p.opts.arg[0], "cp1");
        kfx_opts_release(&p.opts);
    }
}

static void test_booleans(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool chatty;
    } cases[] = {{"kflex ctx -s", true},
                 {"kflex ctx --chatty-status=false", false},
                 {"kflex ctx -s=false", false},
                 {"kflex -s=0 ctx", false},
                 {"kflex ctx --chatty-status=T", true}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        parsed_t p = parse(cases[i].line);
        assert_int_equal(p.rc, 0);
        assert_int_equal(p.opts.chatty, cases[i].chatty);
    }
    refuse("kflex ctx -s=maybe", "invalid argument \"maybe\" for \"-s, --chatty-status\": must be true or false");
}

static void test_subcommands(void **state)
{
    (void)state;
    parsed_t p = parse("kflex ctx -o cp1");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.path, "kflex ctx");
    assert_true(p.opts.overwrite);
    assert_string_equal(p.opts.arg[0], "cp1");

    /* The same letter means another flag below. */
    p = parse("kflex ctx get -o yaml");
    assert_int_equal(p.rc, 0);
    assert_string_equal(p.path, "kflex ctx get");
    assert_string_equal(p.opts.output, "yaml");
    assert_false(p.opts.overwrite);

    p = parse("kflex ctx rename a b -v 2");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.opts.verbosity, 2);
    assert_string_equal(p.opts.arg[1], "b");
}

static void test_errors(void **state)
{
    (void)state;
    refuse("kflex create", "\"kflex create\" needs an argument: NAME");
    refuse("kflex ctx rename a", "\"kflex ctx rename\" needs OLD NEW");
    refuse("kflex create a b", "unexpected argument \"b\" for \"kflex create\"");
    refuse("kflex ctx a b", "unexpected argument \"b\" for \"kflex ctx\"");
    refuse("kflex adopt x", "unknown command \"adopt\" for \"kflex\"");
    refuse("kflex crate x", "unknown command \"crate\" for \"kflex\". Did you mean \"create\"?");
    refuse("kflex config x", "unknown command \"x\" for \"kflex config\"");
    refuse("kflex create cp1 --bogus", "unknown flag: --bogus");
    refuse("kflex create cp1 --bogus=3", "unknown flag: --bogus");
    refuse("kflex create cp1 --tiemout=3s", "unknown flag: --tiemout. Did you mean --timeout?");
    for (const char *const *word = (const char *const[]){"xml", "jso", "son", "", NULL}; *word; word++) {
        KFX_FREE char *line = kfx_xasprintf("kflex ctx get -o=%s", *word);
        KFX_FREE char *text =
            kfx_xasprintf("invalid argument \"%s\" for \"-o, --output\": must be one of json yaml", *word);
        refuse(line, text);
    }
    refuse("kflex create cp1 -z", "unknown shorthand flag: 'z'");
    refuse("kflex create cp1 --type", "flag needs an argument: --type");
    refuse("kflex create cp1 -k", "flag needs an argument: -k");
    refuse("kflex create cp1 -v abc", "invalid argument \"abc\" for \"-v, --verbosity\": must be a whole number");
    refuse("kflex create cp1 --timeout soon",
           "invalid argument \"soon\" for \"--timeout\": must be a duration such as 90s, 10m or 1h30m");
    refuse("kflex create cp1 --timeout 0",
           "invalid argument \"0\" for \"--timeout\": must be a duration such as 90s, 10m or 1h30m");
}

static void test_pairs(void **state)
{
    (void)state;
    parsed_t p = parse("kflex create cp1 -e a=1 --set b=x=y -e c= --set=");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.opts.vars.count, 3);
    assert_string_equal(p.opts.vars.item[0].key, "a");
    assert_string_equal(p.opts.vars.item[1].value, "x=y");
    assert_string_equal(p.opts.vars.item[2].value, "");
    kfx_opts_release(&p.opts);
    refuse("kflex create cp1 -e x", "unexpected expression \"x\". Must be in the form 'key=value'");
    refuse("kflex create cp1 -e =x", "invalid key in expression \"=x\"");
}

static void test_help_needs_no_arguments(void **state)
{
    (void)state;
    parsed_t p = parse("kflex create --help");
    assert_int_equal(p.rc, 0);
    assert_true(p.opts.help);
    assert_string_equal(p.command->name, "create");
}

static void test_too_many_arguments(void **state)
{
    (void)state;
    char *argv[KFX_ARGS_MAX + 4] = {(char[]){"kflex"}, (char[]){"create"}};
    int argc = 2;
    while (argc < KFX_ARGS_MAX + 3)
        argv[argc++] = argv[1];
    parsed_t p = {.err = KFX_ERROR_INIT};
    kfx_opts_init(&p.opts);
    assert_int_equal(kfx_flags_parse(&root, argc, argv, &p.opts, &p.command, p.path, &p.err), -1);
    assert_string_equal(p.err.msg, "too many arguments");
}

static void test_duration(void **state)
{
    (void)state;
    assert_int_equal(kfx_duration_parse("90"), 90000);
    assert_int_equal(kfx_duration_parse("90s"), 90000);
    assert_int_equal(kfx_duration_parse("500ms"), 500);
    assert_int_equal(kfx_duration_parse("1h30m"), 5400000);
    static const char *const bad[] = {
        "", "s", "-1s", "1x", "1mm", "1 s", "99999999999", "100000h", "9999999999999999999h"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++)
        assert_int_equal(kfx_duration_parse(bad[i]), -1);
}

static void test_usage(void **state)
{
    (void)state;
    KFX_FREE char *text = kfx_usage(&below[0], "kflex create");
    assert_non_null(strstr(text, "  kflex create NAME [flags]\n"));
    assert_non_null(strstr(text, "-t, --type TYPE"));
    assert_non_null(strstr(text, "    --timeout D"));
    assert_non_null(strstr(text, "-k, --kubeconfig FILE"));
    assert_non_null(strstr(text, "More about it."));
    KFX_FREE char *group = kfx_usage(&below[1], "kflex ctx");
    assert_non_null(strstr(group, "  kflex ctx COMMAND [flags]\n"));
    assert_non_null(strstr(group, "rename it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_flags_anywhere),
        cmocka_unit_test(test_booleans), cmocka_unit_test(test_subcommands),
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_duration), cmocka_unit_test(test_help_needs_no_arguments),
        cmocka_unit_test(test_usage),    cmocka_unit_test(test_too_many_arguments),
    };
    return cmocka_run_group_tests_name("cli-flags", tests, NULL, NULL);
}
