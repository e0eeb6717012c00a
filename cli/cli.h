/* cli/cli.h: one run of kflex: its options, its output and its commands. */
#ifndef KFX_CLI_CLI_H
#define KFX_CLI_CLI_H

#include "cli/flags.h"
#include "cli/output.h"

struct kfx_cli {
    kfx_opts_t opts;
    kfx_out_t out;
    const kfx_command_t *root; /* the table, for commands that tell of it */
};

extern const kfx_command_t kfx_commands; /* commands.c */

/* Each returns 0, or -1 with err: "Error: …", exit code 1. */
int kfx_cmd_create(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_adopt(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_delete(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_list(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_get(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_describe(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_logs(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_events(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_backup(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_restore(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_rotate(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_ctx(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_ctx_get(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_ctx_list(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_ctx_rename(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_ctx_delete(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_config_set_hosting(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_config_diagnose(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_init(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_upgrade(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_doctor(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_tap(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_version(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_help(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_completion_bash(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_completion_zsh(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_completion_fish(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_complete(kfx_cli_t *cli, kfx_error_t *err);
int kfx_cmd_man(kfx_cli_t *cli, kfx_error_t *err);

#endif
