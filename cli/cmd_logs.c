/* kflex logs, kflex events: what a control plane's containers wrote, and what happened to its objects. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/events.h"
#include "cli/hosting.h"
#include "cli/logs.h"
#include "cli/plane.h"
#include "cli/print.h"

#include <string.h>

#define EVENTS_ALL 1000

/* NOT_FOUND where there is no such plane, so that a mistyped name is told from one without pods. */
static int check_plane(const kfx_hosting_t *hosting, const char *name, kfx_plane_t *plane, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_plane_get(hosting->kube, name, plane, &why) == 0)
        return 0;
    if (why.code == KFX_E_NOT_FOUND)
        return kfx_error_set(
            err, why.code,
            "control plane not found on server: %s (hosting context '%s'). `kflex list` shows what there is", name,
            hosting->context);
    if (err)
        *err = why;
    return kfx_hosting_explain(hosting, err);
}

/* I/O thread; nothing else writes meanwhile. */
static void on_part(void *ctx, const char *data, size_t len)
{
    kfx_out_t *out = ctx;
    fwrite(data, 1, len, out->out);
    fflush(out->out);
}

static int show_log(kfx_cli_t *cli, const kfx_hosting_t *hosting, const kfx_log_t *log, kfx_error_t *err)
{
    if (cli->opts.follow)
        return kfx_logs_follow(hosting->kube, log, on_part, &cli->out, err);
    KFX_FREE char *text = kfx_logs_read(hosting->kube, log, err);
    if (!text)
        return -1;
    fputs(text, cli->out.out);
    return 0;
}

int kfx_cmd_logs(kfx_cli_t *cli, kfx_error_t *err)
{
    const kfx_opts_t *opts = &cli->opts;
    if (opts->tail < 0 || opts->tail > INT32_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "--tail %lld: must be 0 (all) or more", (long long)opts->tail);
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    kfx_plane_t plane;
    kfx_log_t log = {.lines = (int)opts->tail, .previous = opts->previous};
    int rc = check_plane(&hosting, opts->arg[0], &plane, err);
    if (rc == 0) {
        KFX_JSON json_t *pods = kfx_pods_fetch(hosting.kube, plane.name, err);
        if (!pods)
            rc = kfx_hosting_explain(&hosting, err);
        else
            rc = kfx_logs_find(pods, plane.name, opts->component, &log, err);
    }
    if (rc == 0)
        rc = show_log(cli, &hosting, &log, err);
    kfx_hosting_close(&hosting);
    return rc;
}

static int show_events(kfx_cli_t *cli, const kfx_hosting_t *hosting, const kfx_plane_t *plane, kfx_error_t *err)
{
    KFX_JSON json_t *events = kfx_events_fetch(hosting->kube, plane->name, plane->uid, err);
    if (!events)
        return kfx_hosting_explain(hosting, err);
    kfx_format_t format = kfx_format_of(cli->opts.output, KFX_FORMAT_TABLE);
    if (kfx_format_is_tree(format)) {
        KFX_JSON json_t *list =
            json_pack("{s:s, s:s, s:{}, s:O}", "apiVersion", "v1", "kind", "EventList", "metadata", "items", events);
        return kfx_print_tree(&cli->out, format, list, err);
    }
    if (json_array_size(events) == 0)
        kfx_out_line(&cli->out, "No events in the last hour.");
    else
        kfx_events_print(&cli->out, events, EVENTS_ALL);
    return 0;
}

int kfx_cmd_events(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    kfx_plane_t plane;
    int rc = check_plane(&hosting, cli->opts.arg[0], &plane, err);
    if (rc == 0)
        rc = show_events(cli, &hosting, &plane, err);
    kfx_hosting_close(&hosting);
    return rc;
}
