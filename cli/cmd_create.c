/* kflex create: makes the ControlPlane, follows it, takes its kubeconfig in. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/contexts.h"
#include "cli/creation.h"
#include "cli/kubefile.h"
#include "cli/reach.h"
#include "cli/spec.h"

#include <string.h>

#define ANSWER_WAIT_MS 15000 /* for the way to the plane, once it is Ready */

static void warn_silent(kfx_creation_t *self, const char *type, const json_t *config, const kfx_error_t *why)
{
    const char *name = self->name;
    if (strcmp(type, "host") == 0 || strcmp(type, "external") == 0) {
        kfx_out_warn(&self->cli->out, "control plane %s is ready, but its address does not answer from here: %s%s",
                     name, why->msg,
                     strcmp(type, "host") == 0 ? ". Look at key hostServerURL of ConfigMap " KFX_CONFIGMAP : "");
        return;
    }
    KFX_FREE char *cause = kfx_reach_explain(&self->hosting, name, config, why);
    kfx_out_warn(&self->cli->out, "control plane %s is ready, but its address does not answer from here yet: %s", name,
                 cause);
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
        warn_silent(self, self->plane.type, config, &why);
    KFX_FREE char *path = kfx_kubefile_path(self->cli->opts.kubeconfig, NULL);
    kfx_out_step(&self->cli->out, kfx_now_ms() - self->start, "Switched to context %s (%s)", self->name,
                 path ? path : "kubeconfig");
    return 0;
}

static int create(kfx_creation_t *self, json_t *manifest, kfx_error_t *err)
{
    kfx_out_t *out = &self->cli->out;
    KFX_FREE char *type = kfx_xstrdup(kfx_json_str(manifest, "spec", "type"));
    if (kfx_creation_post(self, json_incref(manifest), err) < 0)
        return -1;
    kfx_out_step(out, -1, "Creating new control plane %s of type %s ...", self->name, type);
    if (!kfx_creation_waits(&self->cli->opts)) {
        kfx_out_line(out, "Not waiting: `kflex list --watch` shows it, `kflex ctx %s` uses it once it is ready",
                     self->name);
        return 0;
    }
    if (kfx_creation_wait(self, err) < 0)
        return -1;
    return take_context(self, err);
}

int kfx_cmd_create(kfx_cli_t *cli, kfx_error_t *err)
{
    const char *name;
    KFX_JSON json_t *manifest = kfx_spec_build(&cli->opts, &name, err);
    if (!manifest || (kfx_creation_waits(&cli->opts) && kfx_contexts_check(cli, name, err) < 0))
        return -1;
    if (strcmp(kfx_json_str(manifest, "spec", "type"), "ocm") == 0)
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
                 : create(self, manifest, err);
    kfx_hosting_close(&self->hosting);
    free(self);
    return rc;
}
