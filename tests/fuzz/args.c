/* tests/fuzz/args.c: a command line, words with line breaks between: parsed, and completed at its last word. */
#include "base/mem.h"
#include "cli/complete.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 40

static int nothing(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)cli;
    (void)err;
    return 0;
}

#define FIELD(name) offsetof(kfx_opts_t, name)
static const kfx_flag_t flags[] = {
    {KFX_FLAG_CHOICE, 'o', "output", FIELD(output), "FORMAT", "", "json yaml wide name"},
    {KFX_FLAG_STRING, 't', "type", FIELD(type), "TYPE", "", NULL},
    {KFX_FLAG_PAIRS, 'e', "set", FIELD(vars), "KEY=VALUE", "", NULL},
    {KFX_FLAG_LIST, 0, "hook", FIELD(hooks), "NAME", "", "@plane"},
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "D", "", NULL},
    {KFX_FLAG_BOOL, 'w', "watch", FIELD(watch), NULL, "", NULL},
    {KFX_FLAG_INT, 'x', "expiration-seconds", FIELD(expiration_seconds), "N", "", "1 2"},
    {0},
};
static const kfx_command_t ctx_below[] = {
    {.name = "rename",
     .operands = "OLD NEW",
     .summary = "",
     .min_args = 2,
     .max_args = 2,
     .run = nothing,
     .values = "@context"},
    {0},
};
static const kfx_command_t below[] = {
    {.name = "create", .operands = "NAME", .summary = "", .min_args = 1, .max_args = 1, .flags = flags, .run = nothing},
    {.name = "ctx",
     .operands = "[NAME]",
     .summary = "",
     .max_args = 1,
     .below = ctx_below,
     .run = nothing,
     .values = "@plane"},
    {.name = "__complete", .operands = "", .summary = "", .max_args = 9, .run = nothing, .hidden = true, .raw = true},
    {0},
};
static const kfx_command_t root = {.name = "kflex", .operands = "", .summary = "", .below = below};

static void names(void *ctx, const char *what, kfx_candidates_t *out)
{
    (void)ctx;
    kfx_candidates_add(out, what, "a name");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = kfx_xcalloc(1, size + 1), *rest = text;
    memcpy(text, data, size);
    char program[] = "kflex", *words[WORDS_MAX + 2] = {program};
    int count = 1;
    for (char *word; count <= WORDS_MAX && (word = strsep(&rest, "\n"));)
        words[count++] = word;

    kfx_opts_t opts;
    kfx_opts_init(&opts);
    const kfx_command_t *command;
    char path[128];
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_flags_parse(&root, count, words, &opts, &command, path, &err) < 0 && !err.msg[0])
        abort(); /* a fault without a reason */
    kfx_opts_release(&opts);
    kfx_candidates_t out = {.text = KFX_BUF_INIT(1 << 20), .descriptions = true};
    kfx_complete(&root, words + 1, (size_t)count - 1, &out, names, NULL);
    kfx_buf_free(&out.text);
    free(text);
    return 0;
}
