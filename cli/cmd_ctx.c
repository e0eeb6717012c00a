/* kflex ctx, ctx get: choosing the current context. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/contexts.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"
#include "cli/plane.h"

#include <string.h>

/* ctx -c: the current context is the hosting cluster's from now on. */
static int set_current_hosting(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    KFX_FREE char *current = kfx_xstrdup(kfx_kc_current(&kc));
    KFX_FREE char *plane = kfx_xstrdup(kfx_kc_plane_of(&kc, current));
    kfx_kc_release(&kc);
    if (!*current)
        return kfx_error_set(err, KFX_E_NOT_FOUND,
                             "no context is current: choose one with `kubectl config use-context CONTEXT`");
    if (plane)
        return kfx_error_set(
            err, KFX_E_INVALID,
            "the current context '%s' belongs to control plane %s, not to a hosting cluster: choose the "
            "right one with `kubectl config use-context CONTEXT` or `kflex config set-hosting CONTEXT`",
            current, plane);
    if (kfx_kubefile_edit(cli->opts.kubeconfig, kfx_hosting_store, current, err) < 0)
        return -1;
    kfx_out_step(&cli->out, -1, "Hosting cluster context is %s", current);
    return 0;
}

static int use_hosting(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    KFX_FREE char *context = kfx_xstrdup(kfx_kc_hosting(&kc, NULL));
    kfx_kc_release(&kc);
    if (context) {
        if (kfx_contexts_use(cli, context, err) < 0)
            return -1;
        kfx_out_step(&cli->out, -1, "Switching to hosting cluster context %s...", context);
        return 0;
    }
    /* None is stored: it can only be the current one, which opening finds out and stores. */
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    kfx_out_step(&cli->out, -1, "Current context %s accesses the hosting cluster, using it", hosting.context);
    kfx_hosting_close(&hosting);
    return 0;
}

static int load_plane(kfx_cli_t *cli, const kfx_hosting_t *hosting, const char *name, kfx_error_t *err)
{
    kfx_plane_t plane;
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_plane_get(hosting->kube, name, &plane, &why) < 0) {
        if (why.code == KFX_E_NOT_FOUND)
            return kfx_error_set(
                err, why.code,
                "control plane not found on server: %s (hosting context '%s'). `kflex list` shows what "
                "there is",
                name, hosting->context);
        if (err)
            *err = why;
        return kfx_hosting_explain(hosting, err);
    }
    KFX_JSON json_t *config = kfx_plane_kubeconfig(hosting->kube, &plane, hosting->cluster, err);
    if (!config || kfx_contexts_add(cli, config, name, cli->opts.overwrite, err) < 0)
        return -1;
    kfx_out_step(&cli->out, -1, "Switching to context %s...", name);
    return 0;
}

static int use_plane(kfx_cli_t *cli, const char *name, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    KFX_FREE char *context = kfx_xstrdup(kfx_kc_context_of(&kc, name));
    kfx_kc_release(&kc);
    if (context && !cli->opts.overwrite) {
        if (kfx_contexts_use(cli, context, err) < 0)
            return -1;
        kfx_out_step(&cli->out, -1, "Switching to context %s...", context);
        return 0;
    }
    if (cli->opts.overwrite)
        kfx_out_note(&cli->out, "Overwriting existing context for control plane");
    else
        kfx_out_note(&cli->out, "kubeconfig context %s not found, trying to load from server...", name);
    kfx_hosting_t hosting;
    if (kfx_contexts_check(cli, name, err) < 0 || kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    int rc = load_plane(cli, &hosting, name, err);
    kfx_hosting_close(&hosting);
    return rc;
}

int kfx_cmd_ctx(kfx_cli_t *cli, kfx_error_t *err)
{
    if (cli->opts.set_hosting && set_current_hosting(cli, err) < 0)
        return -1;
    if (cli->opts.arg_count)
        return use_plane(cli, cli->opts.arg[0], err);
    return use_hosting(cli, err);
}

int kfx_cmd_ctx_get(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    const char *current = kfx_kc_current(&kc);
    int rc = 0;
    if (*current)
        kfx_out_line(&cli->out, "%s", current);
    else
        rc =
            kfx_error_set(err, KFX_E_NOT_FOUND, "no context is current: `kflex ctx` switches to the hosting cluster's");
    kfx_kc_release(&kc);
    return rc;
}
