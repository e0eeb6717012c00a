/* kflex version: ours, and that of the hosting cluster's Kubernetes (of the current context where no hosting one is
 * known). */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"

/* A client for the stored hosting context, else the current one. */
static kfx_kube_t *any_cluster(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return NULL;
    const char *context;
    kfx_kube_t *kube = NULL;
    if (kfx_hosting_plan(&kc, &context, NULL, err) != KFX_HOSTING_UNKNOWN)
        kube = kfx_hosting_client(&kc, context, err);
    kfx_kc_release(&kc);
    return kube;
}

int kfx_cmd_version(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_out_line(&cli->out, "Kubeflex version: v%s %s", KFX_VERSION, KFX_DATE);
    kfx_error_t why = KFX_ERROR_INIT;
    kfx_kube_t *kube = any_cluster(cli, &why);
    KFX_JSON json_t *answer = kube ? kfx_hosting_get(kube, "/version", &why) : NULL;
    kfx_kube_destroy(&kube);
    const char *version = kfx_json_str(answer, "gitVersion");
    if (!version)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "Could not connect to a Kubernetes cluster: %s",
                             why.code ? why.msg : "it does not tell its version");
    kfx_out_line(&cli->out, "Kubernetes version: %s", version);
    return 0;
}
