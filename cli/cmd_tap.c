/* kflex tap: the messages between the bus, the watcher and the workers, live or from a recording. */
#include "cli/tap.h"

#include <string.h>

static int check_options(const kfx_opts_t *opts, kfx_error_t *err)
{
    if (opts->tap.replay && (opts->tap.record || opts->tap.stats))
        return kfx_error_set(err, KFX_E_INVALID, "--replay goes with neither --record nor --stats");
    if (opts->tap.stats && opts->tap.record)
        return kfx_error_set(err, KFX_E_INVALID, "--stats shows figures, no messages that --record could write");
    if (opts->tap.speed && !opts->tap.replay)
        return kfx_error_set(err, KFX_E_INVALID, "--speed is for --replay");
    if (opts->tap.keys_dir && !opts->tap.bus)
        return kfx_error_set(err, KFX_E_INVALID, "--keys-dir is for --bus");
    if (opts->tap.bus && !opts->tap.keys_dir && strncmp(opts->tap.bus, "ipc://", 6) != 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "a bus at %s wants keys: say with --keys-dir where they are (without, ipc:// only)",
                             opts->tap.bus);
    return 0;
}

int kfx_cmd_tap(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_tap_filter_t filter;
    if (check_options(&cli->opts, err) < 0 || kfx_tap_filter_init(&filter, &cli->opts, err) < 0)
        return -1;
    return cli->opts.tap.replay ? kfx_tap_replay(cli, &filter, err) : kfx_tap_live(cli, &filter, err);
}
