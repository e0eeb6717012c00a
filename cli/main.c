/* kflex: running one command of the table (commands.c). */
#include "cli/cli.h"

#include "base/log.h"
#include "base/mem.h"

#include <czmq.h>
#include <locale.h>
#include <string.h>

#define KFX_EXIT_FAILED 1 /* of wrong usage too, as with the Go kflex */

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

int kfx_cmd_man(kfx_cli_t *cli, kfx_error_t *err)
{
    (void)err;
    KFX_FREE char *text = kfx_manual(cli->root, "v" KFX_VERSION, KFX_DATE);
    fputs(text, cli->out.out);
    return 0;
}

/* The reason, and where more stands: a whole usage text would push the reason out of sight. */
static int usage_error(kfx_cli_t *cli, const kfx_command_t *command, const char *path, const kfx_error_t *err)
{
    kfx_out_error(&cli->out, err->msg);
    if (command->run)
        fprintf(stderr, "Usage: %s%s%s [flags]; `%s --help` lists them\n", path, *command->operands ? " " : "",
                command->operands, path);
    else
        fprintf(stderr, "Usage: %s COMMAND [flags]; `%s --help` lists them\n", path, path);
    return KFX_EXIT_FAILED;
}

static int run(kfx_cli_t *cli, const kfx_command_t *command, const char *path)
{
    if (cli->opts.help || !command->run) {
        if (command->summary && command != cli->root)
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

    kfx_cli_t cli = {.root = &kfx_commands};
    kfx_opts_init(&cli.opts);
    const kfx_command_t *command;
    char path[128];
    kfx_error_t err = KFX_ERROR_INIT;
    int parsed = kfx_flags_parse(&kfx_commands, argc, argv, &cli.opts, &command, path, &err);
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
