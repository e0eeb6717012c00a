/* kflex create: makes the ControlPlane, follows it, takes its kubeconfig in. */
#include "base/clock.h"
#include "base/mem.h"
#include "cli/contexts.h"
#include "cli/creation.h"
#include "cli/kubefile.h"

#include <string.h>

#define ANSWER_WAIT_MS 15000 /* for the way to the plane, once it is Ready */

static int check_options(kfx_opts_t *opts, kfx_error_t *err)
{
    opts->type = opts->type ? opts->type : "k8s";
    opts->backend = opts->backend ? opts->backend : "shared";
    if (!kfx_type_find(opts->type)) {
        char types[200] = "";
        const kfx_type_info_t *type;
        for (size_t i = 0; (type = kfx_type_at(i)); i++) {
            size_t used = strlen(types);
            snprintf(types + used, sizeof types - used, "%s%s", used ? ", " : "", type->name);
        }
        return kfx_error_set(err, KFX_E_INVALID, "unknown control plane type: %s. Choose one of: %s", opts->type,
                             types);
    }
    if (strcmp(opts->backend, "shared") != 0 && strcmp(opts->backend, "dedicated") != 0)
        return kfx_error_set(err, KFX_E_INVALID, "unknown backend type: %s. Choose one of: shared, dedicated",
                             opts->backend);
    if (strcmp(opts->type, "external") == 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "a control plane of type external is a cluster that is there already: `kflex adopt NAME "
                             "--adopted-context CONTEXT` takes it in");
    return kfx_creation_check_hook(opts, err);
}

static void warn_silent(kfx_creation_t *self, const kfx_error_t *why)
{
    const char *name = self->name;
    if (strcmp(self->cli->opts.type, "host") == 0)
        kfx_out_warn(&self->cli->out,
                     "control plane %s is ready, but its address does not answer from here: %s. Look at key "
                     "hostServerURL of ConfigMap " KFX_CONFIGMAP,
                     name, why->msg);
    else
        kfx_out_warn(
            &self->cli->out,
            "control plane %s is ready, but its address does not answer from here yet: %s. Look at the ingress "
            "controller and at `kubectl --context %s get ingress -n %s-system`",
            name, why->msg, self->hosting.context, name);
}

static int take_context(kfx_creation_t *self, kfx_error_t *err)
{
    KFX_JSON json_t *config = kfx_plane_kubeconfig(self->hosting.kube, &self->plane, self->hosting.cluster, err);
    if (!config || kfx_contexts_add(self->cli, config, self->name, false, err) < 0)
        return kfx_error_wrap(err,
                              "control plane %s is ready, but its context could not be added (`kflex ctx %s` tries "
                              "again)",
                              self->name, self->name);
    kfx_error_t why = KFX_ERROR_INIT;
    int64_t deadline = self->start + self->cli->opts.timeout_ms, soon = kfx_now_ms() + ANSWER_WAIT_MS;
    if (kfx_plane_await_answer(config, soon < deadline ? soon : deadline, &why) < 0)
        warn_silent(self, &why);
    KFX_FREE char *path = kfx_kubefile_path(self->cli->opts.kubeconfig, NULL);
    kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "Switched to context %s (%s)", self->name,
                 path ? path : "kubeconfig");
    return 0;
}

static int create(kfx_creation_t *self, kfx_error_t *err)
{
    kfx_cli_t *cli = self->cli;
    const kfx_opts_t *opts = &cli->opts;
    json_t *spec = json_pack("{s:s, s:s}", "type", opts->type, "backend", opts->backend);
    if (kfx_creation_post(self, kfx_creation_manifest(opts, self->name, spec), err) < 0)
        return -1;
    kfx_out_step(&cli->out, -1, "Creating new control plane %s of type %s ...", self->name, cli->opts.type);
    if (kfx_creation_wait(self, err) < 0)
        return -1;
    return take_context(self, err);
}

int kfx_cmd_create(kfx_cli_t *cli, kfx_error_t *err)
{
    const char *name = cli->opts.arg[0];
    if (kfx_plane_name_check(name, err) < 0 || check_options(&cli->opts, err) < 0 ||
        kfx_contexts_check(cli, name, err) < 0)
        return -1;
    if (strcmp(cli->opts.type, "ocm") == 0)
        kfx_out_warn(&cli->out,
                     "OCM-type control plane is deprecated; consider an OCM hub in a vcluster control plane");

    kfx_creation_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->name = name;
    self->start = kfx_now_ms();
    int rc = kfx_hosting_open(cli, &self->hosting, err);
    if (rc == 0)
        rc = strcmp(self->hosting.context, name) == 0
                 ? kfx_error_set(err, KFX_E_CONFLICT, "'%s' is the hosting cluster's own context: choose another name",
                                 name)
                 : create(self, err);
    kfx_hosting_close(&self->hosting);
    free(self);
    return rc;
}
