/* cli/flags.h: the command line: a table of commands and flags, and one parser over it. The same table makes --help,
 * the man page (usage.c) and shell completion (complete.h).
 *
 * Flags may stand before or after the command and its arguments, as with KubeFlex's Go kflex; `--` ends them. Booleans
 * take --flag, --flag=true, --flag=false. Constant tables, pure functions.
 */
#ifndef KFX_CLI_FLAGS_H
#define KFX_CLI_FLAGS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KFX_ARGS_MAX 1024 /* `kflex list -o name | xargs kflex delete` */

typedef enum {
    KFX_FLAG_BOOL,
    KFX_FLAG_INT,
    KFX_FLAG_STRING,
    KFX_FLAG_CHOICE, /* a string that is one of .values */
    KFX_FLAG_DURATION,
    KFX_FLAG_LIST, /* may be repeated */
    KFX_FLAG_PAIRS /* key=value, may be repeated */
} kfx_flag_kind_t;

typedef struct {
    kfx_flag_kind_t kind;
    char letter;         /* 0: none */
    const char *name;    /* without the dashes */
    size_t offset;       /* of the field in kfx_opts_t */
    const char *operand; /* "FILE", for the usage text; NULL for booleans */
    const char *help;
    const char
        *values; /* what may stand there, for completion: words with blanks between, or "@file", "@dir", "@plane",
                    "@context"; NULL: anything */
} kfx_flag_t;

typedef struct {
    char *key, *value;
} kfx_pair_t;

typedef struct {
    kfx_pair_t *item;
    size_t count;
} kfx_pairs_t; /* owned */

typedef struct {
    const char **item;
    size_t count;
} kfx_words_t; /* the array is owned, the words are argv's */

/* Everything any command takes. Strings are borrowed from argv or literals. */
typedef struct {
    const char *kubeconfig;
    bool chatty;
    int64_t verbosity;
    bool help;
    const char *type, *backend, *hook;    /* type, backend NULL: the default, or what a file says */
    kfx_pairs_t vars, globals, hook_vars; /* hook_vars: the keys are "HOOK:KEY" */
    kfx_words_t hooks;
    bool wait_for_hooks;
    const char *file, *kubernetes_version, *bootstrap_secret;
    struct {
        const char *server, *size, *storage_class, *secret, *deletion_policy;
        int64_t members; /* 0: not said */
    } storage;
    bool wait, no_wait;
    const char *domain, *host_container, *image;
    int64_t external_port; /* 0: not said */
    bool create_kind, dry_run;
    const char *component;
    bool follow, previous, all;
    int64_t tail;
    int64_t timeout_ms;
    bool check;
    bool overwrite, set_hosting, switch_to, force;
    const char *output; /* NULL: the command's own format */
    bool watch;
    struct {
        const char *key, *type, *kind, *from; /* filters; NULL: all */
        bool json, stats;
        const char *record, *replay, *speed;
        const char *bus, *keys_dir;
    } tap;
    const char *adopted_kubeconfig, *adopted_context, *url_override;
    int64_t expiration_seconds; /* 0: not said */
    size_t arg_count;
    const char *arg[KFX_ARGS_MAX];
} kfx_opts_t;

typedef struct kfx_cli kfx_cli_t; /* cli/cli.h */

typedef struct kfx_command {
    const char *name;
    const char *operands; /* "NAME", for the usage text */
    const char *summary;  /* one line */
    const char *details;  /* further text, or NULL */
    size_t min_args, max_args;
    const kfx_flag_t *flags;                      /* ended by .name NULL; or NULL */
    const struct kfx_command *below;              /* subcommands, ended by .name NULL; or NULL */
    int (*run)(kfx_cli_t *cli, kfx_error_t *err); /* NULL: only a group */
    const char *values;                           /* of its operands, as kfx_flag_t.values */
    bool hidden;                                  /* for programs: in no list of commands */
    bool raw;                                     /* takes all words as they are; flags are none of its own */
} kfx_command_t;

extern const kfx_flag_t kfx_global_flags[];

/* Defaults of all flags. */
void kfx_opts_init(kfx_opts_t *opts);
void kfx_opts_release(kfx_opts_t *opts);

/* Finds the command and fills opts. path gets its full name ("kflex ctx get"). INVALID: the reason, without a usage
 * text; *command is then the deepest one found (the root itself, if none). */
int kfx_flags_parse(const kfx_command_t *root, int argc, char **argv, kfx_opts_t *opts, const kfx_command_t **command,
                    char path[128], kfx_error_t *err);

/* The command that the words name (those that are flags or their operands are skipped). The words of its name are taken
 * out of argv, *argc is what is left. Where a word is no command: what there is so far, and -1 with err. */
int kfx_flags_find(const kfx_command_t *root, int *argc, char **argv, const kfx_command_t **command, char path[128],
                   kfx_error_t *err);

/* "90", "90s", "10m", "1h30m", "500ms" to milliseconds; -1 for anything else. */
int64_t kfx_duration_parse(const char *text);

/* The usage line, flags and subcommands of a command. Fresh. */
char *kfx_usage(const kfx_command_t *command, const char *path);
/* The manual page of all commands (man(7) macros). Fresh. */
char *kfx_manual(const kfx_command_t *root, const char *version, const char *date);
/* The name among those below that is at most two edits from word, or NULL. */
const char *kfx_suggest(const kfx_command_t *below, const char *word);

#endif
