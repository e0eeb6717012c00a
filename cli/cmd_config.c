/* kflex config set-hosting, config diagnose: they need only the kubeconfig. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"

#include <string.h>

int kfx_cmd_config_set_hosting(kfx_cli_t *cli, kfx_error_t *err)
{
    KFX_FREE char *context = kfx_xstrdup(cli->opts.arg[0]);
    KFX_FREE char *path = kfx_kubefile_path(cli->opts.kubeconfig, err);
    if (!path || kfx_kubefile_edit(cli->opts.kubeconfig, kfx_hosting_store, context, err) < 0)
        return -1;
    kfx_out_line(&cli->out, "setting hosting cluster context name to '%s' in %s", context, path);
    return 0;
}

/* critical: nothing stored, or it leads nowhere; warning: the extension is there but empty; ok. */
static const char *diagnose(const kfx_kc_t *kc, const char *stored, char *message, size_t size)
{
    if (!stored) {
        bool present = false;
        for (size_t f = 0; f < kc->count; f++) {
            size_t i;
            json_t *ext;
            json_array_foreach (json_object_get(kc->tree[f], "extensions"), i, ext) {
                const char *name = kfx_json_str(ext, "name");
                present |= name && strcmp(name, "kubeflex") == 0;
            }
        }
        snprintf(message, size, "hosting cluster context data not set");
        return present ? "warning" : "critical";
    }
    kfx_error_t why = KFX_ERROR_INIT;
    if (!kfx_kc_hosting(kc, &why)) {
        snprintf(message, size, "%s", why.msg);
        return "critical";
    }
    snprintf(message, size, "hosting cluster context is set");
    return "ok";
}

int kfx_cmd_config_diagnose(kfx_cli_t *cli, kfx_error_t *err)
{
    if (strcmp(cli->opts.output, "json") != 0)
        return kfx_error_set(err, KFX_E_INVALID, "unknown output format: %s. Choose: json", cli->opts.output);
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    char message[1024];
    const char *stored = kfx_kc_hosting_stored(&kc);
    const char *status = diagnose(&kc, stored, message, sizeof message);
    KFX_JSON json_t *report = json_pack("{s:s, s:s, s:{s:s}}", "status", status, "message", message, "data",
                                        KFX_KC_HOSTING, stored ? stored : "");
    KFX_FREE char *text = json_dumps(report, JSON_INDENT(2));
    fprintf(cli->out.out, "%s\n", text ? text : "{}");
    kfx_kc_release(&kc);
    return 0;
}
