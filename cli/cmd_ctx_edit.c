/* kflex ctx list, rename, delete: they need only the kubeconfig. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/contexts.h"
#include "cli/kubefile.h"

#include <string.h>
#include <strings.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int kfx_cmd_ctx_list(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    KFX_FREE const char **names = NULL;
    size_t count = 0;
    int width = 30;
    const char *name;
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(&kc, KFX_KC_CONTEXTS, &at));) {
        names = kfx_xrealloc(names, (count + 1) * sizeof *names);
        names[count++] = name;
        if ((int)strlen(name) + 2 > width)
            width = (int)strlen(name) + 2;
    }
    if (count == 0)
        kfx_out_line(&cli->out, "No contexts found.");
    else {
        qsort(names, count, sizeof *names, by_text);
        fprintf(cli->out.out, "%-*s %-18s %-15s\n", width, "CONTEXT", "MANAGED BY KFLEX", "CONTROLPLANE");
    }
    for (size_t i = 0; i < count; i++) {
        const char *plane = kfx_kc_plane_of(&kc, names[i]);
        KFX_FREE char *label = kfx_xasprintf("%s%s", strcmp(names[i], kfx_kc_current(&kc)) == 0 ? "* " : "", names[i]);
        KFX_FREE char *clean = kfx_clean(label);
        fprintf(cli->out.out, "%-*s %-18s %-15s\n", width, clean, plane ? "yes" : "no", plane ? plane : "");
    }
    kfx_kc_release(&kc);
    return 0;
}

typedef struct {
    const char *context, *to;
    bool switch_to;
    char *switched; /* the current context after it, where it changed */
} edit_t;

static int rename_edit(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    edit_t *edit = ctx;
    bool current = strcmp(kfx_kc_current(kc), edit->context) == 0;
    if (kfx_kc_rename_context(kc, edit->context, edit->to, err) < 0)
        return -1;
    if (edit->switch_to)
        kfx_kc_set_current(kc, edit->to);
    if (current || edit->switch_to)
        edit->switched = kfx_xstrdup(kfx_kc_current(kc));
    return 0;
}

int kfx_cmd_ctx_rename(kfx_cli_t *cli, kfx_error_t *err)
{
    edit_t edit = {.context = cli->opts.arg[0], .to = cli->opts.arg[1], .switch_to = cli->opts.switch_to};
    if (!*edit.to)
        return kfx_error_set(err, KFX_E_INVALID, "the new name is empty");
    int rc = kfx_kubefile_edit(cli->opts.kubeconfig, rename_edit, &edit, err);
    if (rc == 0)
        kfx_out_step(&cli->out, -1, "Renamed context %s to %s", edit.context, edit.to);
    if (rc == 0 && edit.switched)
        kfx_out_step(&cli->out, -1, "Current context is %s", edit.switched);
    free(edit.switched);
    return rc;
}

static int delete_edit(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    edit_t *edit = ctx;
    bool was_current = false;
    if (kfx_kc_delete_context(kc, edit->context, &was_current, err) < 0)
        return -1;
    if (was_current)
        edit->switched = kfx_xstrdup(kfx_contexts_fall_back(kc));
    return 0;
}

/* 1: it may be deleted, 0: the user said no. */
static int confirm(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    const char *name = cli->opts.arg[0];
    bool known = kfx_kc_body(&kc, KFX_KC_CONTEXTS, name) != NULL;
    bool ours = kfx_kc_plane_of(&kc, name) != NULL;
    kfx_kc_release(&kc);
    if (!known || ours || cli->opts.force)
        return 1; /* an unknown one is the edit's to refuse */
    fprintf(cli->out.err, "Context %s is not managed by kflex. Are you sure you want to delete this context? (y/N) ",
            name);
    fflush(cli->out.err);
    char answer[16] = "";
    if (!fgets(answer, sizeof answer, stdin))
        return 0;
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

int kfx_cmd_ctx_delete(kfx_cli_t *cli, kfx_error_t *err)
{
    edit_t edit = {.context = cli->opts.arg[0]};
    int sure = confirm(cli, err);
    if (sure < 0)
        return -1;
    if (!sure) {
        kfx_out_line(&cli->out, "Deletion cancelled.");
        return 0;
    }
    int rc = kfx_kubefile_edit(cli->opts.kubeconfig, delete_edit, &edit, err);
    if (rc == 0)
        kfx_out_step(&cli->out, -1, "Deleted context %s", edit.context);
    if (rc == 0 && edit.switched)
        kfx_out_step(&cli->out, -1, "Switched to hosting cluster context %s", edit.switched);
    free(edit.switched);
    return rc;
}
