/* kflex version: ours, and that of the hosting cluster's Kubernetes (of the current context where no hosting one is
 * known). */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"
#include "cli/print.h"

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

/* -o: {"kflex": {"version", "date"}, "kubernetes": {what /version says}}. */
static int print_tree(kfx_cli_t *cli, kfx_format_t format, const json_t *answer, kfx_error_t *err)
{
    KFX_JSON json_t *tree = json_pack("{s:{s:s, s:s}}", "kflex", "version", "v" KFX_VERSION, "date", KFX_DATE);
    if (answer)
        json_object_set_new(tree, "kubernetes", json_deep_copy(answer));
    return kfx_print_tree(&cli->out, format, tree, err);
}

static void print_more(kfx_cli_t *cli, const json_t *answer)
{
    const char *platform = kfx_json_str(answer, "platform"), *go = kfx_json_str(answer, "goVersion");
    if (platform)
        kfx_out_line(&cli->out, "Platform: %s", platform);
    if (go)
        kfx_out_line(&cli->out, "Go version: %s", go);
}

int kfx_cmd_version(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_format_t format = kfx_format_of(cli->opts.output, KFX_FORMAT_TABLE);
    if (format == KFX_FORMAT_NAME) {
        kfx_out_line(&cli->out, "v%s", KFX_VERSION);
        return 0;
    }
    bool tree = kfx_format_is_tree(format);
    if (!tree)
        kfx_out_line(&cli->out, "Kubeflex version: v%s %s", KFX_VERSION, KFX_DATE);
    kfx_error_t why = KFX_ERROR_INIT;
    kfx_kube_t *kube = any_cluster(cli, &why);
    KFX_JSON json_t *answer = kube ? kfx_hosting_get(kube, "/version", &why) : NULL;
    kfx_kube_destroy(&kube);
    if (tree && print_tree(cli, format, answer, err) < 0)
        return -1;
    const char *version = kfx_json_str(answer, "gitVersion");
    if (!version)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "Could not connect to a Kubernetes cluster: %s",
                             why.code ? why.msg : "it does not tell its version");
    if (!tree)
        kfx_out_line(&cli->out, "Kubernetes version: %s", version);
    if (format == KFX_FORMAT_WIDE)
        print_more(cli, answer);
    return 0;
}
