/* kflex: the table of commands, and running one of them. */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"

#include <czmq.h>
#include <locale.h>
#include <string.h>

#define KFX_EXIT_FAILED 1
#define KFX_EXIT_USAGE 2

#define FIELD(name) offsetof(kfx_opts_t, name)

static const kfx_flag_t create_flags[] = {
    {KFX_FLAG_STRING, 't', "type", FIELD(type), "TYPE",
     "type of control plane: k8s, vcluster, k3s, host, ocm (default k8s); for external see adopt"},
    {KFX_FLAG_STRING, 'b', "backend-type", FIELD(backend), "TYPE", "backend: shared or dedicated (default shared)"},
    {KFX_FLAG_STRING, 'p', "postcreate-hook", FIELD(hook), "NAME", "PostCreateHook to run"},
    {KFX_FLAG_PAIRS, 'e', "set", FIELD(pairs), "KEY=VALUE", "variable of the hook; may be repeated"},
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION", "how long to wait for Ready (default 10m)"},
    {0},
};
static const kfx_flag_t adopt_flags[] = {
    {KFX_FLAG_STRING, 'a', "adopted-kubeconfig", FIELD(adopted_kubeconfig), "FILE",
     "kubeconfig of the cluster to adopt (default: the one that kflex works on)"},
    {KFX_FLAG_STRING, 'c', "adopted-context", FIELD(adopted_context), "CONTEXT", "its administrator's context there"},
    {KFX_FLAG_STRING, 'u', "url-override", FIELD(url_override), "URL",
     "its address for the hosting cluster, where that differs from yours"},
    {KFX_FLAG_INT, 'x', "expiration-seconds", FIELD(expiration_seconds), "N",
     "how long KubeFlex's tokens for it live (default 31536000)"},
    {KFX_FLAG_STRING, 'p', "postcreate-hook", FIELD(hook), "NAME", "PostCreateHook to run"},
    {KFX_FLAG_PAIRS, 'e', "set", FIELD(pairs), "KEY=VALUE", "variable of the hook; may be repeated"},
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION", "how long to wait for Ready (default 10m)"},
    {0},
};
static const kfx_flag_t delete_flags[] = {
    {KFX_FLAG_DURATION, 0, "timeout", FIELD(timeout_ms), "DURATION",
     "how long to wait until all is gone (default 10m)"},
    {0},
};
static const kfx_flag_t ctx_flags[] = {
    {KFX_FLAG_BOOL, 'o', "overwrite-existing-context", FIELD(overwrite), NULL, "load the context from the server anew"},
    {KFX_FLAG_BOOL, 'c', "set-current-for-hosting", FIELD(set_hosting), NULL,
     "remember the current context as the hosting cluster's"},
    {0},
};
static const kfx_flag_t rename_flags[] = {
    {KFX_FLAG_BOOL, 'S', "switch", FIELD(switch_to), NULL, "make the renamed context the current one"},
    {0},
};
static const kfx_flag_t ctx_delete_flags[] = {
    {KFX_FLAG_BOOL, 'f', "force", FIELD(force), NULL, "do not ask, also for contexts that kflex did not make"},
    {0},
};
static const kfx_flag_t diagnose_flags[] = {
    {KFX_FLAG_STRING, 'o', "output", FIELD(output), "FORMAT", "output format (json)"},
    {0},
};

static const kfx_flag_t tap_flags[] = {
    {KFX_FLAG_STRING, 0, "key", FIELD(tap.key), "PATTERN", "only about control planes of that name ('cp*' works)"},
    {KFX_FLAG_STRING, 0, "type", FIELD(tap.type), "TYPE", "only about planes of that type, or `storage`"},
    {KFX_FLAG_STRING, 0, "kind", FIELD(tap.kind), "KIND,KIND", "only these kinds (default: all but PING and PONG)"},
    {KFX_FLAG_STRING, 0, "from", FIELD(tap.from), "PATTERN", "only from that sender: `bus`, a role or a pod's name"},
    {KFX_FLAG_BOOL, 0, "json", FIELD(tap.json), NULL, "one JSON object a line"},
    {KFX_FLAG_BOOL, 0, "stats", FIELD(tap.stats), NULL, "figures of each service every second instead of messages"},
    {KFX_FLAG_STRING, 0, "record", FIELD(tap.record), "FILE", "write the messages to FILE, too"},
    {KFX_FLAG_STRING, 0, "replay", FIELD(tap.replay), "FILE",
     "show a recording; with --bus play it into that bus, which must be one for tests"},
    {KFX_FLAG_STRING, 0, "speed", FIELD(tap.speed), "N", "of a replay: 2 is twice as fast, max is without pauses"},
    {KFX_FLAG_STRING, 0, "bus", FIELD(tap.bus), "ENDPOINT",
     "a bus that can be reached directly: its tap, or with --replay its work socket (default: the hosting cluster's)"},
    {KFX_FLAG_STRING, 0, "keys-dir", FIELD(tap.keys_dir), "DIR", "keys for --bus (as `kubeflex-bus --keys-dir` has)"},
    {0},
};

static const kfx_command_t ctx_below[] = {
    {"get", "", "print the current context", NULL, 0, 0, NULL, NULL, kfx_cmd_ctx_get},
    {"list", "", "list the contexts and the control planes they belong to", NULL, 0, 0, NULL, NULL, kfx_cmd_ctx_list},
    {"rename", "OLD NEW", "rename a context", NULL, 2, 2, rename_flags, NULL, kfx_cmd_ctx_rename},
    {"delete", "CONTEXT", "delete a context from the kubeconfig; the control plane stays", NULL, 1, 1, ctx_delete_flags,
     NULL, kfx_cmd_ctx_delete},
    {0},
};
static const kfx_command_t config_below[] = {
    {"set-hosting", "CONTEXT", "remember a context as the hosting cluster's", NULL, 1, 1, NULL, NULL,
     kfx_cmd_config_set_hosting},
    {"diagnose", "", "say whether the hosting cluster's context is known", NULL, 0, 0, diagnose_flags, NULL,
     kfx_cmd_config_diagnose},
    {0},
};
static const kfx_command_t commands[] = {
    {"create", "NAME", "create a control plane and switch to it", NULL, 1, 1, create_flags, NULL, kfx_cmd_create},
    {"adopt", "NAME", "make a cluster that is there already a control plane",
     "The kubeconfig of its administrator is used once, for an account of KubeFlex's own on that cluster, and then "
     "deleted.\n"
     "`kflex delete` removes the account again; the cluster stays.",
     1, 1, adopt_flags, NULL, kfx_cmd_adopt},
    {"delete", "NAME", "delete a control plane and its context", NULL, 1, 1, delete_flags, NULL, kfx_cmd_delete},
    {"list", "", "list the control planes", NULL, 0, 0, NULL, NULL, kfx_cmd_list},
    {"ctx", "[NAME]", "switch to a control plane, or back to the hosting cluster",
     "Without NAME it switches to the hosting cluster's context. With NAME it switches to that control plane's "
     "context,\n"
     "which is loaded from the server where the kubeconfig does not have it.",
     0, 1, ctx_flags, ctx_below, kfx_cmd_ctx},
    {"config", "", "the hosting cluster's context", NULL, 0, 0, NULL, config_below, NULL},
    {"tap", "", "show the messages between KubeFlex's programs as they pass",
     "It reaches the bus through the hosting cluster's API server, which takes the rights to read Secret "
     "kubeflex-bus-tap,\n"
     "to list pods and to create pods/portforward in namespace kubeflex-system. Ctrl-C ends it.",
     0, 0, tap_flags, NULL, kfx_cmd_tap},
    {"version", "", "print the versions of kflex and of the hosting cluster", NULL, 0, 0, NULL, NULL, kfx_cmd_version},
    {"help", "[COMMAND...]", "show the help of a command", NULL, 0, KFX_ARGS_MAX, NULL, NULL, kfx_cmd_help},
    {0},
};
static const kfx_command_t root = {
    "kflex", "", "tenant Kubernetes control planes", NULL, 0, 0, NULL, commands, NULL,
};

static void print_usage(FILE *to, const kfx_command_t *command, const char *path)
{
    KFX_FREE char *text = kfx_usage(command, path);
    fputs(text, to);
}

int kfx_cmd_help(kfx_cli_t *cli, kfx_error_t *err)
{
    /* "help ctx get" is "ctx get --help". */
    char *argv[KFX_ARGS_MAX + 3] = {kfx_xstrdup("kflex")};
    int argc = 1;
    for (size_t i = 0; i < cli->opts.arg_count; i++)
        argv[argc++] = kfx_xstrdup(cli->opts.arg[i]);
    argv[argc++] = kfx_xstrdup("--help");
    kfx_opts_t opts;
    kfx_opts_init(&opts);
    const kfx_command_t *command;
    char path[128];
    int rc = kfx_flags_parse(cli->root, argc, argv, &opts, &command, path, err);
    if (rc == 0)
        print_usage(cli->out.out, command, path);
    kfx_opts_release(&opts);
    while (argc > 0)
        free(argv[--argc]);
    return rc;
}

static int usage_error(kfx_cli_t *cli, const kfx_command_t *command, const char *path, const kfx_error_t *err)
{
    kfx_out_error(&cli->out, err->msg);
    fputc('\n', stderr);
    print_usage(stderr, command, path);
    return KFX_EXIT_USAGE;
}

static int run(kfx_cli_t *cli, const kfx_command_t *command, const char *path)
{
    if (cli->opts.help || !command->run) {
        if (command->summary && command != &root)
            printf("%s: %s\n\n", path, command->summary);
        else
            printf("kflex hands out tenant Kubernetes control planes from a hosting cluster.\n\n");
        print_usage(stdout, command, path);
        return 0;
    }
    if (cli->opts.verbosity < 1)
        kfx_log_set_level(KFX_LOG_ERROR);
    else
        kfx_log_set_level(cli->opts.verbosity > 1 ? KFX_LOG_DEBUG : KFX_LOG_INFO);
    kfx_error_t err = KFX_ERROR_INIT;
    if (command->run(cli, &err) == 0)
        return 0;
    kfx_out_error(&cli->out, err.msg);
    return KFX_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    zsys_handler_set(NULL); /* Ctrl-C ends kflex; a wait that wants to say goodbye catches it itself */
    kfx_log_init("kflex");

    kfx_cli_t cli = {.root = &root};
    kfx_opts_init(&cli.opts);
    const kfx_command_t *command;
    char path[128];
    kfx_error_t err = KFX_ERROR_INIT;
    int parsed = kfx_flags_parse(&root, argc, argv, &cli.opts, &command, path, &err);
    kfx_out_init(&cli.out, cli.opts.chatty);
    int code = parsed < 0 ? usage_error(&cli, command, path, &err) : run(&cli, command, path);
    kfx_opts_release(&cli.opts);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "Error: cannot write the output\n");
        code = code ? code : KFX_EXIT_FAILED;
    }
    fflush(stderr);
#ifndef __SANITIZE_ADDRESS__ /* whose leak check runs at exit */
    /* czmq's exit handler sleeps 200 ms whenever an actor thread is still closing its pipe, which is so every third
     * time. All is closed and flushed here. */
    _exit(code);
#endif
    return code;
}
