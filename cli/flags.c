#include "cli/flags.h"

#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <string.h>

#define KFX_FLAGS_MAX 48
#define KFX_PAIRS_MAX 256
#define KFX_CODE_LONG 256 /* getopt codes of flags: this plus the index, also for those with a letter */

const kfx_flag_t kfx_global_flags[] = {
    {KFX_FLAG_STRING, 'k', "kubeconfig", offsetof(kfx_opts_t, kubeconfig), "FILE",
     "kubeconfig to use (default: the files of $KUBECONFIG, else ~/.kube/config)", "@file"},
    {KFX_FLAG_BOOL, 's', "chatty-status", offsetof(kfx_opts_t, chatty), NULL,
     "show a moving status line on a terminal (default true)", "true false"},
    {KFX_FLAG_INT, 'v', "verbosity", offsetof(kfx_opts_t, verbosity), "N", "log level: 0 quiet, 1 info, 2 debug",
     "0 1 2"},
    {KFX_FLAG_BOOL, 'h', "help", offsetof(kfx_opts_t, help), NULL, "show this text", NULL},
    {0},
};

void kfx_opts_init(kfx_opts_t *opts)
{
    memset(opts, 0, sizeof *opts);
    opts->chatty = true;
    opts->timeout_ms = 600 * 1000;
    opts->wait = true;
}

static void release_pairs(kfx_pairs_t *pairs)
{
    for (size_t i = 0; i < pairs->count; i++) {
        free(pairs->item[i].key);
        free(pairs->item[i].value);
    }
    free(pairs->item);
    memset(pairs, 0, sizeof *pairs);
}

void kfx_opts_release(kfx_opts_t *opts)
{
    release_pairs(&opts->vars);
    release_pairs(&opts->globals);
    release_pairs(&opts->hook_vars);
    free(opts->hooks.item);
    memset(&opts->hooks, 0, sizeof opts->hooks);
}

int64_t kfx_duration_parse(const char *text)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}};
    int64_t total = 0;
    if (!*text)
        return -1;
    while (*text) {
        if (!isdigit((unsigned char)*text))
            return -1;
        char *end;
        errno = 0;
        long long n = strtoll(text, &end, 10);
        size_t letters = strspn(end, "hms");
        int64_t unit = *end == '\0' ? 1000 : 0;
        for (size_t i = 0; i < KFX_COUNT(units); i++)
            if (letters && strlen(units[i].unit) == letters && strncmp(end, units[i].unit, letters) == 0)
                unit = units[i].ms;
        if (errno || !unit || n > INT32_MAX)
            return -1;
        total += n * unit;
        text = end + letters;
    }
    return total <= (int64_t)INT32_MAX ? total : -1;
}

/* Go's boolean literals. */
static int parse_bool(const char *text)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < KFX_COUNT(yes); i++) {
        if (strcmp(text, yes[i]) == 0)
            return 1;
        if (strcmp(text, no[i]) == 0)
            return 0;
    }
    return -1;
}

static char *trimmed(const char *text, size_t len)
{
    while (len && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    while (len && isspace((unsigned char)text[len - 1]))
        len--;
    char *out = kfx_xcalloc(1, len + 1);
    memcpy(out, text, len);
    return out;
}

static int add_pair(kfx_pairs_t *pairs, const char *text, kfx_error_t *err)
{
    KFX_FREE char *all = trimmed(text, strlen(text));
    if (!*all)
        return 0;
    const char *eq = strchr(all, '=');
    if (!eq)
        return kfx_error_set(err, KFX_E_INVALID, "unexpected expression \"%s\". Must be in the form 'key=value'", all);
    char *key = trimmed(all, (size_t)(eq - all));
    if (!*key || pairs->count == KFX_PAIRS_MAX) {
        free(key);
        return kfx_error_set(err, KFX_E_INVALID, "invalid key in expression \"%s\"", all);
    }
    pairs->item = kfx_xrealloc(pairs->item, (pairs->count + 1) * sizeof *pairs->item);
    pairs->item[pairs->count++] = (kfx_pair_t){key, trimmed(eq + 1, strlen(eq + 1))};
    return 0;
}

static int bad_value(const kfx_flag_t *flag, const char *value, const char *want, kfx_error_t *err)
{
    char letter[8] = "";
    if (flag->letter)
        snprintf(letter, sizeof letter, "-%c, ", flag->letter);
    return kfx_error_set(err, KFX_E_INVALID, "invalid argument \"%s\" for \"%s--%s\": must be %s", value, letter,
                         flag->name, want);
}

/* One of the words of flag->values. */
static bool is_choice(const char *words, const char *value)
{
    size_t len = strlen(value);
    for (const char *at = words; len && (at = strstr(at, value)); at++)
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0') && !strchr(value, ' '))
            return true;
    return false;
}

static int set_choice(const kfx_flag_t *flag, const char *value, const char **field, kfx_error_t *err)
{
    KFX_FREE char *want = kfx_xasprintf("one of %s", flag->values);
    if (!is_choice(flag->values, value))
        return bad_value(flag, value, want, err);
    *field = value;
    return 0;
}

static int add_word(kfx_words_t *words, const char *word)
{
    words->item = kfx_xrealloc(words->item, (words->count + 1) * sizeof *words->item);
    words->item[words->count++] = word;
    return 0;
}

static int set_flag(const kfx_flag_t *flag, const char *value, kfx_opts_t *opts, kfx_error_t *err)
{
    void *field = (char *)opts + flag->offset;
    switch (flag->kind) {
    case KFX_FLAG_BOOL: {
        int on = value ? parse_bool(value) : 1;
        if (on < 0)
            return bad_value(flag, value, "true or false", err);
        *(bool *)field = on == 1;
        return 0;
    }
    case KFX_FLAG_INT: {
        char *end;
        errno = 0;
        long n = strtol(value, &end, 10);
        if (errno || end == value || *end || n < INT32_MIN || n > INT32_MAX)
            return bad_value(flag, value, "a whole number", err);
        *(int64_t *)field = n;
        return 0;
    }
    case KFX_FLAG_STRING: *(const char **)field = value; return 0;
    case KFX_FLAG_CHOICE: return set_choice(flag, value, field, err);
    case KFX_FLAG_LIST: return add_word(field, value);
    case KFX_FLAG_DURATION: {
        int64_t ms = kfx_duration_parse(value);
        if (ms <= 0)
            return bad_value(flag, value, "a duration such as 90s, 10m or 1h30m", err);
        *(int64_t *)field = ms;
        return 0;
    }
    case KFX_FLAG_PAIRS: return add_pair(field, value, err);
    }
    return 0;
}

/* What getopt_long wants, for the global flags plus a command's. */
typedef struct {
    size_t count;
    const kfx_flag_t *flag[KFX_FLAGS_MAX];
    struct option longs[KFX_FLAGS_MAX + 1];
    char shorts[3 * KFX_FLAGS_MAX + 4];
} table_t;

static void table_add(table_t *table, const kfx_flag_t *flags)
{
    for (; flags && flags->name && table->count < KFX_FLAGS_MAX; flags++) {
        size_t i = table->count++;
        int arg = flags->kind == KFX_FLAG_BOOL ? optional_argument : required_argument;
        table->flag[i] = flags;
        table->longs[i] = (struct option){flags->name, arg, NULL, KFX_CODE_LONG + (int)i};
        if (flags->letter) {
            size_t used = strlen(table->shorts);
            snprintf(table->shorts + used, sizeof table->shorts - used, "%c%s", flags->letter,
                     arg == optional_argument ? "::" : ":");
        }
    }
}

static void table_make(table_t *table, const kfx_flag_t *flags)
{
    memset(table, 0, sizeof *table);
    kfx_copy(table->shorts, sizeof table->shorts, "-:"); /* arguments in order, missing operands told apart */
    table_add(table, flags);
    table_add(table, kfx_global_flags);
}

/* The flag a getopt answer is about, and its value (an attached one, as in "-s=false", comes as "=false"). */
static const kfx_flag_t *table_flag(const table_t *table, int code, bool attached, const char **value)
{
    if (code >= KFX_CODE_LONG)
        return table->flag[code - KFX_CODE_LONG];
    if (attached && *value && **value == '=')
        (*value)++;
    for (size_t i = 0; i < table->count; i++)
        if (table->flag[i]->letter == code)
            return table->flag[i];
    return NULL;
}

/* The index in argv of the first argument that is no flag and no flag's operand, or argc. */
static int first_word(const kfx_flag_t *flags, int argc, char **argv)
{
    table_t table;
    table_make(&table, flags);
    optind = 0;
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, table.shorts, table.longs, NULL)) != -1;)
        if (code == 1)
            return optind - 1;
    return argc;
}

/* Levenshtein distance of short words; 99 where one is long. */
static size_t distance(const char *a, const char *b)
{
    enum { MAX = 24 };
    size_t la = strlen(a), lb = strlen(b), row[MAX + 1];
    if (la > MAX || lb > MAX)
        return 99;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

/* The best of the names seen so far; at most two edits away, and not all letters of the word. */
typedef struct {
    const char *word, *best;
    size_t least;
} nearest_t;

static void consider(nearest_t *nearest, const char *name)
{
    size_t d = distance(nearest->word, name);
    if (d < nearest->least && d < strlen(nearest->word)) {
        nearest->least = d;
        nearest->best = name;
    }
}

const char *kfx_suggest(const kfx_command_t *below, const char *word)
{
    nearest_t nearest = {word, NULL, 3};
    for (; below && below->name; below++)
        if (!below->hidden)
            consider(&nearest, below->name);
    return nearest.best;
}

/* The same among the long names of flags. */
static const char *suggest_flag(const kfx_flag_t *flags, const char *word)
{
    nearest_t nearest = {word, NULL, 3};
    const kfx_flag_t *const lists[] = {flags, kfx_global_flags};
    for (size_t i = 0; i < KFX_COUNT(lists); i++)
        for (const kfx_flag_t *flag = lists[i]; flag && flag->name; flag++)
            consider(&nearest, flag->name);
    return nearest.best;
}

static int parse_error(const kfx_flag_t *flags, int code, char **argv, kfx_error_t *err)
{
    const char *seen = argv[optind - 1];
    if (code == ':')
        return kfx_error_set(err, KFX_E_INVALID, "flag needs an argument: %s", seen);
    if (strncmp(seen, "--", 2) == 0) {
        int len = (int)strcspn(seen, "=");
        KFX_FREE char *word = kfx_xasprintf("%.*s", len - 2, seen + 2);
        const char *near = suggest_flag(flags, word);
        return kfx_error_set(err, KFX_E_INVALID, "unknown flag: %.*s%s%s%s", len, seen, near ? ". Did you mean --" : "",
                             near ? near : "", near ? "?" : "");
    }
    return kfx_error_set(err, KFX_E_INVALID, "unknown shorthand flag: '%c'", optopt);
}

static int add_arg(kfx_opts_t *opts, const char *arg, kfx_error_t *err)
{
    if (opts->arg_count == KFX_ARGS_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "too many arguments");
    opts->arg[opts->arg_count++] = arg;
    return 0;
}

static int parse_all(const kfx_flag_t *flags, int argc, char **argv, kfx_opts_t *opts, kfx_error_t *err)
{
    table_t table;
    table_make(&table, flags);
    optind = 0;
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, table.shorts, table.longs, NULL)) != -1;) {
        if (code == '?' || code == ':')
            return parse_error(flags, code, argv, err);
        if (code == 1) {
            if (add_arg(opts, optarg, err) < 0)
                return -1;
            continue;
        }
        const char *value = optarg;
        const kfx_flag_t *flag = table_flag(&table, code, optarg != argv[optind - 1], &value);
        if (flag && set_flag(flag, value, opts, err) < 0)
            return -1;
    }
    for (; optind < argc; optind++)
        if (add_arg(opts, argv[optind], err) < 0)
            return -1;
    return 0;
}

static const kfx_command_t *find_below(const kfx_command_t *command, const char *word)
{
    for (const kfx_command_t *c = command->below; c && c->name; c++)
        if (strcmp(c->name, word) == 0)
            return c;
    return NULL;
}

static int unknown_command(const kfx_command_t *command, const char *path, const char *word, kfx_error_t *err)
{
    const char *near = kfx_suggest(command->below, word);
    if (near)
        return kfx_error_set(err, KFX_E_INVALID, "unknown command \"%s\" for \"%s\". Did you mean \"%s\"?", word, path,
                             near);
    return kfx_error_set(err, KFX_E_INVALID, "unknown command \"%s\" for \"%s\"", word, path);
}

static int check_args(const kfx_command_t *command, const kfx_opts_t *opts, const char *path, kfx_error_t *err)
{
    if (opts->help)
        return 0;
    if (!command->run && opts->arg_count)
        return unknown_command(command, path, opts->arg[0], err);
    if (opts->arg_count < command->min_args)
        return kfx_error_set(err, KFX_E_INVALID, "\"%s\" needs %s%s", path,
                             command->min_args == 1 ? "an argument: " : "", command->operands);
    if (opts->arg_count > command->max_args)
        return kfx_error_set(err, KFX_E_INVALID, "unexpected argument \"%s\" for \"%s\"", opts->arg[command->max_args],
                             path);
    return 0;
}

int kfx_flags_find(const kfx_command_t *root, int *argc, char **argv, const kfx_command_t **command, char path[128],
                   kfx_error_t *err)
{
    const kfx_command_t *at = root;
    *command = root;
    kfx_copy(path, 128, root->name);
    while (at->below) {
        int i = first_word(at->flags, *argc, argv);
        const kfx_command_t *next = i < *argc ? find_below(at, argv[i]) : NULL;
        if (!next && i < *argc && !at->run)
            return unknown_command(at, path, argv[i], err);
        if (!next)
            break;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof *argv);
        --*argc;
        at = next;
        *command = at;
        size_t used = strlen(path);
        snprintf(path + used, 128 - used, " %s", at->name);
    }
    return 0;
}

int kfx_flags_parse(const kfx_command_t *root, int argc, char **argv, kfx_opts_t *opts, const kfx_command_t **command,
                    char path[128], kfx_error_t *err)
{
    /* A copy that the command words are taken out of. */
    KFX_FREE char **left = kfx_xcalloc((size_t)argc + 1, sizeof *left);
    memcpy(left, argv, (size_t)argc * sizeof *left);
    if (kfx_flags_find(root, &argc, left, command, path, err) < 0)
        return -1;
    const kfx_command_t *at = *command;
    for (int i = 1; at->raw && i < argc; i++)
        if (add_arg(opts, left[i], err) < 0)
            return -1;
    if (!at->raw && parse_all(at->flags, argc, left, opts, err) < 0)
        return -1;
    return check_args(at, opts, path, err);
}
