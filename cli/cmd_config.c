/* kflex config set-hosting, config diagnose: they need only the kubeconfig. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"
#include "cli/print.h"

#include <stdarg.h>
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

/* ---- what Go's kflex has as library functions only: more than one mark, contexts whose extension is damaged ---- */

typedef struct {
    json_t *list; /* of {check, status, message} */
    size_t hosting_marks;
} checks_t;

static void add_check(checks_t *checks, const char *check, const char *status, const char *fmt, ...) KFX_PRINTF(4, 5);
static void add_check(checks_t *checks, const char *check, const char *status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = NULL;
    if (vasprintf(&text, fmt, args) < 0)
        abort();
    va_end(args);
    json_array_append_new(checks->list,
                          json_pack("{s:s, s:s, s:s}", "check", check, "status", status, "message", text));
    free(text);
}

static const json_t *extension_of(const json_t *holder)
{
    size_t i;
    json_t *ext;
    json_array_foreach (json_object_get(holder, "extensions"), i, ext) {
        const char *name = kfx_json_str(ext, "name");
        if (name && strcmp(name, "kubeflex") == 0)
            return json_object_get(ext, "extension");
    }
    return NULL;
}

static void check_context(checks_t *checks, const kfx_kc_t *kc, const char *name)
{
    const json_t *body = kfx_kc_body(kc, KFX_KC_CONTEXTS, name);
    const json_t *ext = extension_of(body);
    KFX_FREE char *check = kfx_xasprintf("context %s", name);
    const char *plane = kfx_kc_ext(body, KFX_KC_PLANE);
    bool hosting = kfx_kc_ext(body, KFX_KC_IS_HOSTING) != NULL;
    checks->hosting_marks += hosting;
    if (!ext)
        return; /* not ours: nothing to say */
    const char *cluster = kfx_json_str(body, "cluster");
    if (json_object_size(kfx_json_get(ext, "data")) == 0)
        add_check(checks, check, "critical", "its kubeflex extension has no data: `kflex ctx -o NAME` loads it anew");
    else if (!cluster || !kfx_kc_body(kc, KFX_KC_CLUSTERS, cluster))
        add_check(checks, check, "critical", "cluster '%s' does not exist%s", cluster ? cluster : "",
                  plane ? ": `kflex ctx -o NAME` loads it anew" : "");
    else if (!plane && !hosting)
        add_check(checks, check, "warning", "its kubeflex extension says neither control plane nor hosting cluster");
    else if (!kfx_json_str(ext, "metadata", "name") || !kfx_json_str(ext, "metadata", "creationTimestamp"))
        add_check(checks, check, "warning", "its kubeflex extension has no name or time");
    else
        add_check(checks, check, "ok", "%s%s", plane ? "control plane " : "hosting cluster", plane ? plane : "");
}

static json_t *check_all(const kfx_kc_t *kc)
{
    checks_t checks = {json_array(), 0};
    const char *name;
    for (kfx_kc_cursor_t at = {0, 0}; (name = kfx_kc_next(kc, KFX_KC_CONTEXTS, &at));)
        check_context(&checks, kc, name);
    const char *status = checks.hosting_marks == 0 ? "critical" : checks.hosting_marks == 1 ? "ok" : "warning";
    add_check(&checks, "hosting marks", status, "%zu context%s marked as the hosting cluster's%s", checks.hosting_marks,
              checks.hosting_marks == 1 ? " is" : "s are",
              checks.hosting_marks == 1 ? "" : ": `kflex config set-hosting CONTEXT` leaves one");
    return checks.list;
}

static void print_report(kfx_cli_t *cli, kfx_format_t format, const json_t *report)
{
    if (format == KFX_FORMAT_NAME) {
        const char *name = kfx_json_str(report, "data", KFX_KC_HOSTING);
        kfx_out_line(&cli->out, "%s", name ? name : "");
        return;
    }
    static const kfx_column_t columns[] = {{"CHECK", 20}, {"STATUS", 10}, {"MESSAGE", 10}, {0}};
    kfx_table_t table;
    kfx_table_init(&table, columns);
    const char *first[] = {"hosting context", kfx_json_str(report, "status"), kfx_json_str(report, "message")};
    kfx_table_add(&table, first);
    size_t i;
    json_t *check;
    json_array_foreach (json_object_get(report, "checks"), i, check) {
        const char *cells[] = {kfx_json_str(check, "check"), kfx_json_str(check, "status"),
                               kfx_json_str(check, "message")};
        kfx_table_add(&table, cells);
    }
    kfx_table_print_head(&table, &cli->out);
    kfx_table_print_rows(&table, &cli->out);
    kfx_table_release(&table);
}

int kfx_cmd_config_diagnose(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    kfx_format_t format = kfx_format_of(cli->opts.output, KFX_FORMAT_JSON);
    char message[1024];
    const char *stored = kfx_kc_hosting_stored(&kc);
    const char *status = diagnose(&kc, stored, message, sizeof message);
    KFX_JSON json_t *report = json_pack("{s:s, s:s, s:{s:s}, s:o}", "status", status, "message", message, "data",
                                        KFX_KC_HOSTING, stored ? stored : "", "checks", check_all(&kc));
    kfx_kc_release(&kc);
    if (kfx_format_is_tree(format))
        return kfx_print_tree(&cli->out, format, report, err);
    print_report(cli, format, report);
    return 0;
}
