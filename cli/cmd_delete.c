/* kflex delete: DELETE the ControlPlanes, wait until they and their Namespaces are gone, tidy the kubeconfig. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/contexts.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"
#include "cli/plane.h"
#include "cli/wait.h"

#include <string.h>

typedef struct {
    kfx_cli_t *cli;
    const kfx_hosting_t *hosting;
    char *name;
    char ns[KFX_NAME_SIZE];
    kfx_plane_t plane;
    int64_t start;
    bool sent; /* the DELETE was accepted */
    bool plane_gone, ns_gone;
    char why[512]; /* what its conditions say that it waits for */
} delete_t;

/* A Namespace, reduced to the question whose it is. */
typedef struct {
    char owner[KFX_UID_SIZE];
} namespace_t;

static void *reduce_namespace(void *ctx, const json_t *object)
{
    (void)ctx;
    namespace_t *ns = kfx_xcalloc(1, sizeof *ns);
    size_t i;
    json_t *ref;
    json_array_foreach (kfx_json_get(object, "metadata", "ownerReferences"), i, ref) {
        const char *kind = kfx_json_str(ref, "kind"), *uid = kfx_json_str(ref, "uid");
        if (kind && uid && strcmp(kind, "ControlPlane") == 0)
            kfx_copy(ns->owner, sizeof ns->owner, uid);
    }
    return ns;
}

static int on_plane(void *ctx, const void *item, kfx_error_t *err)
{
    (void)err;
    delete_t *self = ctx;
    const kfx_plane_t *plane = item;
    if (plane && strcmp(plane->uid, self->plane.uid) == 0) {
        const kfx_condition_t *c = kfx_plane_held_by(plane);
        if (c)
            kfx_copy(self->why, sizeof self->why, c->message);
        return 0;
    }
    if (!self->plane_gone)
        kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "Control plane %s is gone", self->name);
    self->plane_gone = true;
    return 1;
}

/* A Namespace of somebody else (the plane had a NameConflict) is not waited for. */
static int on_namespace(void *ctx, const void *item, kfx_error_t *err)
{
    (void)err;
    delete_t *self = ctx;
    const namespace_t *ns = item;
    if (ns && strcmp(ns->owner, self->plane.uid) == 0)
        return 0;
    if (!self->ns_gone && !ns)
        kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "Namespace %s is gone", self->ns);
    self->ns_gone = true;
    return 1;
}

static void no_namespace_right(void *ctx, const kfx_error_t *err)
{
    const delete_t *self = ctx;
    kfx_out_warn(&self->cli->out, "not waiting for namespace %s: %s", self->ns, err->msg);
}

static const char *spin_text(void *ctx)
{
    const delete_t *self = ctx;
    return self->plane_gone ? "Waiting for the namespace to be deleted..."
                            : "Waiting for control plane to be deleted...";
}

static int send_delete(delete_t *self, kfx_error_t *err)
{
    KFX_FREE char *escaped = kfx_kube_escape(self->name);
    json_t *body = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "preconditions", "uid",
                             self->plane.uid);
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_DELETE, body, "%s/%s", KFX_CONTROLPLANES_PATH, escaped);
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_kube_call(self->hosting->kube, req, &why) == 0 || why.code == KFX_E_NOT_FOUND)
        return 0;
    if (why.code == KFX_E_CONFLICT)
        return kfx_error_set(
            err, why.code,
            "control plane %s was deleted and made anew by somebody meanwhile: look with `kflex list`, "
            "and delete again if you mean the new one",
            self->name);
    if (err)
        *err = why;
    return kfx_hosting_explain(self->hosting, err);
}

static int explain_wait(const delete_t *self, kfx_error_t *err)
{
    kfx_error_t was = *err;
    const char *host = self->hosting->context;
    if (was.code == KFX_E_TIMEOUT && !self->plane_gone) {
        return kfx_error_set(err, was.code,
                             "control plane %s was not deleted in time%s%.400s. Deletion goes on; look at `kubectl "
                             "--context %s describe controlplane %s`",
                             self->name, *self->why ? ": " : "", self->why, host, self->name);
    }
    if (was.code == KFX_E_TIMEOUT)
        return kfx_error_set(
            err, was.code,
            "namespace %s was not deleted in time. Deletion goes on; look at `kubectl --context %s get "
            "namespace %s -o yaml` (its status says what holds it)",
            self->ns, host, self->ns);
    if (was.code == KFX_E_CANCELED)
        return kfx_error_set(err, was.code,
                             "interrupted%s%.400s. Deletion of control plane %s goes on: `kflex list` shows it",
                             *self->why ? ", while " : "", self->why, self->name);
    return -1;
}

static int wait_gone(delete_t *self, kfx_error_t *err)
{
    kfx_wait_t targets[] = {{.collection = KFX_CONTROLPLANES_PATH,
                             .name = self->name,
                             .reduce = kfx_plane_reduce,
                             .changed = on_plane,
                             .ctx = self},
                            {.collection = "/api/v1/namespaces",
                             .name = self->ns,
                             .metadata_only = true,
                             .reduce = reduce_namespace,
                             .changed = on_namespace,
                             .refused = no_namespace_right,
                             .ctx = self}};
    kfx_out_t *out = &self->cli->out;
    int64_t deadline = self->start + self->cli->opts.timeout_ms;
    kfx_error_t why = KFX_ERROR_INIT;
    int rc = kfx_wait(self->hosting->kube, targets, 2, deadline, out, self->start, spin_text, self, &why);
    if (rc == 0)
        return 0;
    explain_wait(self, &why);
    if (err)
        *err = why;
    return -1;
}

/* Takes the contexts out and says so. */
static int tidy(kfx_cli_t *cli, const char *name, size_t *removed, kfx_error_t *err)
{
    KFX_FREE char *switched = NULL;
    if (kfx_contexts_drop(cli, name, removed, &switched, err) < 0)
        return -1;
    if (*removed)
        kfx_out_step(&cli->out, -1, "Removed the kubeconfig context of %s", name);
    if (switched)
        kfx_out_step(&cli->out, -1, "Switched to hosting cluster context %s", switched);
    return 0;
}

static int not_found(delete_t *self, kfx_error_t *err)
{
    size_t removed = 0;
    kfx_error_t why = KFX_ERROR_INIT;
    if (tidy(self->cli, self->name, &removed, &why) < 0)
        kfx_out_warn(&self->cli->out, "%s", why.msg);
    return kfx_error_set(err, KFX_E_NOT_FOUND, "control plane not found on server: %s (hosting context '%s')%s",
                         self->name, self->hosting->context,
                         removed ? ". Its leftover kubeconfig context was removed"
                                 : ". `kflex list` shows what there is");
}

/* Asks for the deletion; several go on side by side then. */
static int begin(delete_t *self, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_plane_get(self->hosting->kube, self->name, &self->plane, &why) < 0) {
        if (why.code == KFX_E_NOT_FOUND)
            return not_found(self, err);
        if (err)
            *err = why;
        return kfx_hosting_explain(self->hosting, err);
    }
    kfx_out_step(&self->cli->out, -1, "Deleting control plane %s...", self->name);
    if (send_delete(self, err) < 0)
        return -1;
    self->sent = true;
    return 0;
}

static int finish(delete_t *self, kfx_error_t *err)
{
    if (wait_gone(self, err) < 0)
        return -1;
    size_t removed;
    if (tidy(self->cli, self->name, &removed, err) < 0)
        return kfx_error_wrap(err, "control plane %s is deleted, but its kubeconfig context is still there",
                              self->name);
    return 0;
}

/* ---- several ---- */

typedef struct {
    delete_t **item;
    size_t count;
    int rc;
    kfx_error_t err; /* the last one; those before it were told */
} deletions_t;

static void add(deletions_t *all, kfx_cli_t *cli, const kfx_hosting_t *hosting, const char *name, int64_t start)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->item[i]->name, name) == 0)
            return;
    delete_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->hosting = hosting;
    self->name = kfx_xstrdup(name);
    self->start = start;
    kfx_plane_namespace(name, self->ns);
    all->item = kfx_xrealloc(all->item, (all->count + 1) * sizeof(delete_t *));
    all->item[all->count++] = self;
}

static void note_result(deletions_t *all, kfx_cli_t *cli, int rc, const kfx_error_t *err)
{
    if (rc == 0)
        return;
    if (all->rc < 0)
        kfx_out_error(&cli->out, all->err.msg);
    all->rc = -1;
    all->err = *err;
}

/* --all: what there is now. */
static int add_all(deletions_t *all, kfx_cli_t *cli, const kfx_hosting_t *hosting, int64_t start, kfx_error_t *err)
{
    KFX_JSON json_t *list = kfx_hosting_get(hosting->kube, KFX_CONTROLPLANES_PATH, err);
    if (!list)
        return kfx_hosting_explain(hosting, err);
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(list, "items"), i, item) {
        const char *name = kfx_json_str(item, "metadata", "name");
        if (name)
            add(all, cli, hosting, name, start);
    }
    return 0;
}

/* A person is asked; a script has said what it wants. */
static bool confirm(kfx_cli_t *cli, const deletions_t *all)
{
    if (cli->opts.force || all->count == 0 || !isatty(STDIN_FILENO))
        return true;
    fprintf(cli->out.err, "This deletes %zu control plane%s and all that is in %s:", all->count,
            all->count == 1 ? "" : "s", all->count == 1 ? "it" : "them");
    for (size_t i = 0; i < all->count; i++)
        fprintf(cli->out.err, " %s", all->item[i]->name);
    return kfx_out_ask(&cli->out, ". Are you sure?");
}

static int run(deletions_t *all, kfx_cli_t *cli, const kfx_hosting_t *hosting, kfx_error_t *err)
{
    int64_t start = kfx_now_ms();
    if (cli->opts.all && add_all(all, cli, hosting, start, err) < 0)
        return -1;
    for (size_t i = 0; i < cli->opts.arg_count; i++)
        add(all, cli, hosting, cli->opts.arg[i], start);
    if (all->count == 0)
        kfx_out_line(&cli->out, "No control planes found.");
    if (cli->opts.all && !confirm(cli, all)) {
        kfx_out_line(&cli->out, "Deletion cancelled.");
        return 0;
    }
    for (size_t i = 0; i < all->count; i++) {
        kfx_error_t why = KFX_ERROR_INIT;
        note_result(all, cli, begin(all->item[i], &why), &why);
    }
    for (size_t i = 0; i < all->count; i++) {
        kfx_error_t why = KFX_ERROR_INIT;
        if (all->item[i]->sent)
            note_result(all, cli, finish(all->item[i], &why), &why);
        if (why.code == KFX_E_CANCELED)
            break; /* Ctrl-C is meant for all */
    }
    if (all->rc < 0 && err)
        *err = all->err;
    return all->rc;
}

int kfx_cmd_delete(kfx_cli_t *cli, kfx_error_t *err)
{
    const kfx_opts_t *opts = &cli->opts;
    if (!opts->all == !opts->arg_count)
        return kfx_error_set(err, KFX_E_INVALID,
                             opts->all ? "--all deletes every control plane: leave the names away"
                                       : "\"kflex delete\" needs an argument: NAME, or --all");
    if (kfx_kubefile_check_writable(opts->kubeconfig, err) < 0)
        return -1;
    for (size_t i = 0; i < opts->arg_count; i++)
        if (!*opts->arg[i])
            return kfx_error_set(err, KFX_E_INVALID, "the name of a control plane is empty");
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    deletions_t all = {.err = KFX_ERROR_INIT};
    int rc = run(&all, cli, &hosting, err);
    for (size_t i = 0; i < all.count; i++) {
        free(all.item[i]->name);
        free(all.item[i]);
    }
    free(all.item);
    kfx_hosting_close(&hosting);
    return rc;
}
