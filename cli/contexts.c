#include "cli/contexts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/kubefile.h"

typedef struct {
    const json_t *config;
    const char *name;
    bool overwrite;
    size_t removed;
    char *switched;
} change_t;

static int add(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    change_t *change = ctx;
    char now[KFX_RFC3339_SIZE];
    bool was_current = false;
    if (change->overwrite)
        kfx_kc_remove_plane(kc, change->name, &was_current);
    return kfx_kc_merge_plane(kc, change->config, change->name, kfx_rfc3339_now(now), err);
}

int kfx_contexts_add(kfx_cli_t *cli, const json_t *plane_config, const char *plane, bool overwrite, kfx_error_t *err)
{
    change_t change = {.config = plane_config, .name = plane, .overwrite = overwrite};
    return kfx_kubefile_edit(cli->opts.kubeconfig, add, &change, err);
}

const char *kfx_contexts_fall_back(kfx_kc_t *kc)
{
    const char *hosting = kfx_kc_hosting(kc, NULL);
    if (hosting)
        kfx_kc_set_current(kc, hosting);
    return hosting;
}

static int drop(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    (void)err;
    change_t *change = ctx;
    bool was_current = false;
    change->removed = kfx_kc_remove_plane(kc, change->name, &was_current);
    if (was_current)
        change->switched = kfx_xstrdup(kfx_contexts_fall_back(kc));
    return 0;
}

int kfx_contexts_drop(kfx_cli_t *cli, const char *plane, size_t *removed, char **switched, kfx_error_t *err)
{
    change_t change = {.name = plane};
    int rc = kfx_kubefile_edit(cli->opts.kubeconfig, drop, &change, err);
    if (removed)
        *removed = rc == 0 ? change.removed : 0;
    if (switched && rc == 0)
        *switched = KFX_STEAL(change.switched);
    free(change.switched);
    return rc;
}

static int use(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    const change_t *change = ctx;
    if (!kfx_kc_body(kc, KFX_KC_CONTEXTS, change->name))
        return kfx_error_set(err, KFX_E_NOT_FOUND, "no context '%s' in the kubeconfig", change->name);
    kfx_kc_set_current(kc, change->name);
    return 0;
}

int kfx_contexts_use(kfx_cli_t *cli, const char *context, kfx_error_t *err)
{
    change_t change = {.name = context};
    return kfx_kubefile_edit(cli->opts.kubeconfig, use, &change, err);
}

int kfx_contexts_check(kfx_cli_t *cli, const char *plane, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_check_writable(cli->opts.kubeconfig, err) < 0 ||
        kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    int rc = kfx_kc_conflict(&kc, plane, err);
    kfx_kc_release(&kc);
    return rc;
}
