/* kflex get, kflex describe: some control planes as list shows them, and one with all that is known of it. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/events.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"
#include "cli/listing.h"
#include "cli/plane.h"

#include <string.h>
#include <time.h>

#define EVENTS_SHOWN 20

static json_t *fetch(const kfx_hosting_t *hosting, const char *name, kfx_error_t *err)
{
    KFX_FREE char *escaped = kfx_kube_escape(name);
    KFX_FREE char *path = kfx_xasprintf("%s/%s", KFX_CONTROLPLANES_PATH, escaped);
    kfx_error_t why = KFX_ERROR_INIT;
    json_t *object = kfx_hosting_get(hosting->kube, path, &why);
    if (object)
        return object;
    if (why.code == KFX_E_NOT_FOUND) {
        kfx_error_set(err, why.code,
                      "control plane not found on server: %s (hosting context '%s'). `kflex list` shows what there is",
                      name, hosting->context);
        return NULL;
    }
    if (err)
        *err = why;
    kfx_hosting_explain(hosting, err);
    return NULL;
}

/* What is there is shown, also where some are not. */
int kfx_cmd_get(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    kfx_listing_t listing;
    kfx_listing_init(&listing, cli);
    int rc = 0;
    for (size_t i = 0; i < cli->opts.arg_count; i++) {
        kfx_error_t why = KFX_ERROR_INIT;
        KFX_JSON json_t *object = fetch(&hosting, cli->opts.arg[i], &why);
        if (object) {
            kfx_listing_add(&listing, object);
            continue;
        }
        if (rc < 0)
            kfx_out_error(&cli->out, err->msg); /* the last one is main's to tell */
        rc = -1;
        if (err)
            *err = why;
    }
    bool some = listing.count > 0;
    if (some && kfx_listing_print(&listing, false, cli->opts.arg_count == 1, rc < 0 ? NULL : err) < 0)
        rc = -1;
    kfx_listing_release(&listing);
    kfx_hosting_close(&hosting);
    return rc;
}

/* ---- describe ---- */

static void field(kfx_out_t *out, const char *name, const char *value)
{
    if (value && *value)
        kfx_out_line(out, "%-20s %s", name, value);
}

static void age_of(const char *time_text, char out[KFX_AGE_SIZE])
{
    kfx_copy(out, KFX_AGE_SIZE, "Unknown");
    if (time_text)
        kfx_age(out, (int64_t)time(NULL) - (int64_t)kfx_rfc3339_parse(time_text));
}

static void describe_spec(kfx_cli_t *cli, const json_t *object, const kfx_plane_t *plane)
{
    kfx_out_t *out = &cli->out;
    char ns[KFX_NAME_SIZE], age[KFX_AGE_SIZE];
    kfx_plane_namespace(plane->name, ns);
    field(out, "Name:", plane->name);
    field(out, "Type:", plane->type);
    field(out, "Backend:", kfx_json_str(object, "spec", "backend"));
    field(out, "Kubernetes version:", kfx_json_str(object, "status", "kubernetesVersion"));
    age_of(kfx_json_str(object, "metadata", "creationTimestamp"), age);
    field(out, "Age:", age);
    field(out, "Namespace:", ns);
    if (plane->deleting)
        field(out, "Deleted since:", kfx_json_str(object, "metadata", "deletionTimestamp"));
    if (*plane->secret_name) {
        KFX_FREE char *where = kfx_xasprintf("Secret %s/%s, key %s", plane->secret_ns, plane->secret_name,
                                             *plane->secret_key ? plane->secret_key : plane->secret_in_cluster_key);
        field(out, "Kubeconfig:", where);
    }
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, NULL) == 0) {
        const char *context = kfx_kc_context_of(&kc, plane->name);
        const char *cluster = kfx_json_str(kfx_kc_body(&kc, KFX_KC_CONTEXTS, context ? context : ""), "cluster");
        field(out, "Context:", context);
        if (cluster)
            field(out, "Server:", kfx_json_str(kfx_kc_body(&kc, KFX_KC_CLUSTERS, cluster), "server"));
        kfx_kc_release(&kc);
    }
}

static void describe_conditions(kfx_out_t *out, const json_t *object)
{
    static const kfx_column_t columns[] = {{"  TYPE", 16}, {"STATUS", 8},   {"SINCE", 8},
                                           {"REASON", 10}, {"MESSAGE", 10}, {0}};
    kfx_table_t table;
    kfx_table_init(&table, columns);
    size_t i;
    json_t *c;
    json_array_foreach (kfx_json_get(object, "status", "conditions"), i, c) {
        char age[KFX_AGE_SIZE];
        age_of(kfx_json_str(c, "lastTransitionTime"), age);
        const char *type = kfx_json_str(c, "type");
        KFX_FREE char *indented = kfx_xasprintf("  %s", type ? type : "");
        const char *cells[] = {indented, kfx_json_str(c, "status"), age, kfx_json_str(c, "reason"),
                               kfx_json_str(c, "message")};
        kfx_table_add(&table, cells);
    }
    if (table.rows) {
        kfx_out_line(out, "Conditions:");
        kfx_table_print_head(&table, out);
        kfx_table_print_rows(&table, out);
    } else
        kfx_out_line(out, "Conditions:          none yet: is the KubeFlex controller running (`kubectl get pods -n "
                          "kubeflex-system`)?");
    kfx_table_release(&table);
}

/* How it stands in status.postCreateHookStatus; NULL where nobody says. */
static const json_t *hook_status(const json_t *object, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach (kfx_json_get(object, "status", "postCreateHookStatus"), i, entry) {
        const char *its = kfx_json_str(entry, "hookName");
        if (its && strcmp(its, name) == 0)
            return entry;
    }
    return NULL;
}

static void describe_hook(kfx_out_t *out, const json_t *object, const char *name)
{
    bool done = kfx_json_bool(object, 0, "status", "postCreateHooks", name);
    const json_t *status = hook_status(object, name);
    const char *reason = kfx_json_str(status, "reason"), *message = kfx_json_str(status, "message");
    kfx_out_line(out, "  %-30s %s%s%s", name,
                 reason ? reason
                 : done ? "applied"
                        : "not applied yet",
                 message && *message ? ": " : "", message ? message : "");
}

/* Variables are not shown: they may hold tokens. */
static void describe_hooks(kfx_out_t *out, const json_t *object)
{
    const char *one = kfx_json_str(object, "spec", "postCreateHook");
    const json_t *hooks = kfx_json_get(object, "spec", "postCreateHooks");
    if (!one && json_array_size(hooks) == 0)
        return;
    kfx_out_line(out, "Hooks:%s",
                 kfx_json_bool(object, 0, "spec", "waitForPostCreateHooks") ? "               Ready waits for them"
                                                                            : "");
    if (one)
        describe_hook(out, object, one);
    size_t i;
    json_t *hook;
    json_array_foreach (hooks, i, hook) {
        const char *name = kfx_json_str(hook, "hookName");
        if (name)
            describe_hook(out, object, name);
    }
}

int kfx_cmd_describe(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_hosting_t hosting;
    if (kfx_hosting_open(cli, &hosting, err) < 0)
        return -1;
    KFX_JSON json_t *object = fetch(&hosting, cli->opts.arg[0], err);
    if (object) {
        kfx_plane_t plane;
        kfx_plane_read(object, &plane);
        describe_spec(cli, object, &plane);
        describe_conditions(&cli->out, object);
        describe_hooks(&cli->out, object);
        kfx_error_t why = KFX_ERROR_INIT;
        KFX_JSON json_t *events = kfx_events_fetch(hosting.kube, plane.name, plane.uid, &why);
        if (!events)
            kfx_out_warn(&cli->out, "no events: %s", why.msg);
        else if (json_array_size(events) == 0)
            kfx_out_line(&cli->out, "Events:              none in the last hour");
        else {
            kfx_out_line(&cli->out, "Events:");
            kfx_events_print(&cli->out, events, EVENTS_SHOWN);
        }
    }
    kfx_hosting_close(&hosting);
    return object ? 0 : -1;
}
