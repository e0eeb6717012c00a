/* kflex ctx list, rename, delete: they need only the kubeconfig. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/contexts.h"
#include "cli/kubefile.h"
#include "cli/print.h"

#include <string.h>

static const char *server_of(const kfx_kc_t *kc, const char *context)
{
    const char *cluster = kfx_json_str(kfx_kc_body(kc, KFX_KC_CONTEXTS, context), "cluster");
    const char *server = kfx_json_str(kfx_kc_body(kc, KFX_KC_CLUSTERS, cluster ? cluster : ""), "server");
    return server ? server : "";
}

static json_t *context_tree(const kfx_kc_t *kc, const char *name)
{
    const char *plane = kfx_kc_plane_of(kc, name), *hosting = kfx_kc_hosting_stored(kc);
    json_t *tree = json_pack("{s:s, s:b, s:b, s:b, s:s}", "name", name, "current",
                             strcmp(name, kfx_kc_current(kc)) == 0, "managed", plane != NULL, "hosting",
                             hosting && strcmp(hosting, name) == 0, "server", server_of(kc, name));
    if (plane)
        json_object_set_new(tree, "controlPlane", json_string(plane));
    return tree;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int print_contexts(kfx_cli_t *cli, const kfx_kc_t *kc, const char *const *names, size_t count, kfx_error_t *err)
{
    static const kfx_column_t columns[] = {{"CONTEXT", 30}, {"MANAGED BY KFLEX", 18}, {"CONTROLPLANE", 15}, {0}};
    static const kfx_column_t wide[] = {{"CONTEXT", 30}, {"MANAGED BY KFLEX", 18}, {"CONTROLPLANE", 15},
                                        {"HOSTING", 8},  {"SERVER", 20},           {0}};
    kfx_format_t format = kfx_format_of(cli->opts.output, KFX_FORMAT_TABLE);
    const char *hosting = kfx_kc_hosting_stored(kc);
    KFX_JSON json_t *trees = json_array();
    kfx_table_t table;
    kfx_table_init(&table, format == KFX_FORMAT_WIDE ? wide : columns);
    for (size_t i = 0; i < count; i++) {
        const char *plane = kfx_kc_plane_of(kc, names[i]);
        bool current = strcmp(names[i], kfx_kc_current(kc)) == 0;
        KFX_FREE char *label = kfx_xasprintf("%s%s", current && format != KFX_FORMAT_NAME ? "* " : "", names[i]);
        const char *cells[] = {label, plane ? "yes" : "no", plane,
                               hosting && strcmp(hosting, names[i]) == 0 ? "yes" : "no", server_of(kc, names[i])};
        kfx_table_add(&table, cells);
        if (kfx_format_is_tree(format))
            json_array_append_new(trees, context_tree(kc, names[i]));
    }
    int rc = 0;
    if (kfx_format_is_tree(format))
        rc = kfx_print_tree(&cli->out, format, trees, err);
    else if (format == KFX_FORMAT_NAME)
        for (size_t i = 0; i < count; i++)
            fprintf(cli->out.out, "%s\n", table.cell[i * 3]);
    else if (count == 0)
        kfx_out_line(&cli->out, "No contexts found.");
    else {
        kfx_table_print_head(&table, &cli->out);
        kfx_table_print_rows(&table, &cli->out);
    }
    kfx_table_release(&table);
    return rc;
}

int kfx_cmd_ctx_list(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    KFX_FREE const char **names = NULL;
    size_t count = 0;
    const char *name;
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(&kc, KFX_KC_CONTEXTS, &at));) {
        names = kfx_xrealloc(names, (count + 1) * sizeof *names);
        names[count++] = name;
    }
    if (count)
        qsort(names, count, sizeof *names, by_name);
    int rc = print_contexts(cli, &kc, names, count, err);
    kfx_kc_release(&kc);
    return rc;
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
    return kfx_out_ask(&cli->out, "Context %s is not managed by kflex. Are you sure you want to delete this context?",
                       name);
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
