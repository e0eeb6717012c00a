#include "cli/spec.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "proto/proto.h"

#include <string.h>

#define FILE_MAX ((size_t)1 << 20) /* bytes; the API server takes no more than 1.5 MiB */

/* ---- the file ---- */

static char *read_input(const char *path, size_t *len, kfx_error_t *err)
{
    if (strcmp(path, "-") != 0)
        return kfx_file_read(path, FILE_MAX, len, err);
    char *text = kfx_xcalloc(1, FILE_MAX + 2);
    *len = fread(text, 1, FILE_MAX + 1, stdin);
    if (*len <= FILE_MAX && !ferror(stdin))
        return text;
    free(text);
    kfx_error_set(err, KFX_E_INVALID, "standard input %s", *len > FILE_MAX ? "is larger than 1 MiB" : "cannot be read");
    return NULL;
}

static int check_manifest(const json_t *tree, const char *path, kfx_error_t *err)
{
    const char *version = kfx_json_str(tree, "apiVersion"), *kind = kfx_json_str(tree, "kind");
    if (!version || !kind || strcmp(version, KFX_API_VERSION) != 0 || strcmp(kind, "ControlPlane") != 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "%s is no ControlPlane: apiVersion %s and kind ControlPlane are wanted", path,
                             KFX_API_VERSION);
    static const char *const maps[] = {"metadata", "spec"};
    for (size_t i = 0; i < KFX_COUNT(maps); i++) {
        const json_t *map = json_object_get(tree, maps[i]);
        if (map && !json_is_object(map))
            return kfx_error_set(err, KFX_E_INVALID, "%s of %s is no map", maps[i], path);
    }
    return 0;
}

/* What the API server gives and nobody can ask for goes, so that the output of `kflex get -o yaml` can be used. */
static void strip(json_t *tree)
{
    static const char *const given[] = {"creationTimestamp", "deletionTimestamp", "finalizers",
                                        "generation",        "managedFields",     "ownerReferences",
                                        "resourceVersion",   "selfLink",          "uid"};
    json_t *metadata = json_object_get(tree, "metadata");
    for (size_t i = 0; metadata && i < KFX_COUNT(given); i++)
        json_object_del(metadata, given[i]);
    json_object_del(tree, "status");
}

static json_t *read_manifest(const char *path, kfx_error_t *err)
{
    size_t len = 0;
    const char *shown = strcmp(path, "-") == 0 ? "standard input" : path;
    KFX_FREE char *text = read_input(path, &len, err);
    json_t *tree = text ? kfx_yaml_parse(text, len, err) : NULL;
    if (!tree) {
        kfx_error_wrap(err, "%s", shown);
        return NULL;
    }
    if (check_manifest(tree, shown, err) < 0) {
        json_decref(tree);
        return NULL;
    }
    strip(tree);
    return tree;
}

/* ---- hooks ---- */

static json_t *find_hook(const json_t *hooks, const char *name, size_t len)
{
    size_t i;
    json_t *hook;
    json_array_foreach (hooks, i, hook) {
        const char *its = kfx_json_str(hook, "hookName");
        if (its && strlen(its) == len && strncmp(its, name, len) == 0)
            return hook;
    }
    return NULL;
}

static int add_hook_vars(const kfx_opts_t *opts, const json_t *hooks, kfx_error_t *err)
{
    for (size_t i = 0; i < opts->hook_vars.count; i++) {
        const kfx_pair_t *pair = &opts->hook_vars.item[i];
        size_t len = strcspn(pair->key, ":");
        if (!len || !pair->key[len] || !pair->key[len + 1])
            return kfx_error_set(err, KFX_E_INVALID, "--hook-set %s: must be in the form 'HOOK:KEY=VALUE'", pair->key);
        json_t *hook = find_hook(hooks, pair->key, len);
        if (!hook)
            return kfx_error_set(err, KFX_E_INVALID, "--hook-set %s: name that hook with --hook, too", pair->key);
        kfx_json_put(hook, json_string(pair->value), "vars", pair->key + len + 1);
    }
    return 0;
}

int kfx_spec_add_hooks(const kfx_opts_t *opts, json_t *spec, kfx_error_t *err)
{
    if (opts->hook)
        json_object_set_new(spec, "postCreateHook", json_string(opts->hook));
    if (opts->vars.count && !kfx_json_str(spec, "postCreateHook"))
        return kfx_error_set(err, KFX_E_INVALID, "--set gives variables to a hook: name it with --postcreate-hook");
    for (size_t i = 0; i < opts->vars.count; i++)
        kfx_json_put(spec, json_string(opts->vars.item[i].value), "postCreateHookVars", opts->vars.item[i].key);
    json_t *hooks = json_object_get(spec, "postCreateHooks");
    if (!json_is_array(hooks) && opts->hooks.count) {
        hooks = json_array();
        json_object_set_new(spec, "postCreateHooks", hooks);
    }
    for (size_t i = 0; i < opts->hooks.count; i++)
        if (!find_hook(hooks, opts->hooks.item[i], strlen(opts->hooks.item[i])))
            json_array_append_new(hooks, json_pack("{s:s}", "hookName", opts->hooks.item[i]));
    if (add_hook_vars(opts, hooks, err) < 0)
        return -1;
    for (size_t i = 0; i < opts->globals.count; i++)
        kfx_json_put(spec, json_string(opts->globals.item[i].value), "globalVars", opts->globals.item[i].key);
    if (opts->wait_for_hooks)
        json_object_set_new(spec, "waitForPostCreateHooks", json_true());
    return 0;
}

/* ---- the rest of the spec ---- */

static int check_type(const char *name, kfx_error_t *err)
{
    if (kfx_type_find(name))
        return 0;
    char types[200] = "";
    const kfx_type_info_t *type;
    for (size_t i = 0; (type = kfx_type_at(i)); i++) {
        size_t used = strlen(types);
        snprintf(types + used, sizeof types - used, "%s%s", used ? ", " : "", type->name);
    }
    return kfx_error_set(err, KFX_E_INVALID, "unknown control plane type: %s. Choose one of: %s", name, types);
}

/* "NAMESPACE/NAME/KEY"; the key may be left out. */
static int add_bootstrap(const char *text, json_t *spec, kfx_error_t *err)
{
    KFX_FREE char *copy = kfx_xstrdup(text);
    char *rest = copy;
    const char *ns = strsep(&rest, "/"), *name = strsep(&rest, "/"), *key = strsep(&rest, "/");
    if (!*ns || !name || !*name || rest || (key && !*key))
        return kfx_error_set(err, KFX_E_INVALID, "--bootstrap-secret %s: must be in the form 'NAMESPACE/NAME/KEY'",
                             text);
    json_object_set_new(
        spec, "bootstrapSecretRef",
        json_pack("{s:s, s:s, s:s}", "namespace", ns, "name", name, "inClusterKey", key ? key : KFX_KEY_BOOTSTRAP));
    return 0;
}

static int add_storage(const kfx_opts_t *opts, json_t *spec, kfx_error_t *err)
{
    const struct {
        const char *value, *field;
    } texts[] = {{opts->storage.server, "server"},
                 {opts->storage.size, "size"},
                 {opts->storage.storage_class, "storageClassName"},
                 {opts->storage.deletion_policy, "deletionPolicy"}};
    for (size_t i = 0; i < KFX_COUNT(texts); i++)
        if (texts[i].value)
            kfx_json_put(spec, json_string(texts[i].value), "storage", texts[i].field);
    if (opts->storage.members)
        kfx_json_put(spec, json_integer(opts->storage.members), "storage", "members");
    if (!opts->storage.secret)
        return 0;
    const char *slash = strchr(opts->storage.secret, '/');
    if (!slash || slash == opts->storage.secret || !slash[1] || strchr(slash + 1, '/'))
        return kfx_error_set(err, KFX_E_INVALID, "--storage-secret %s: must be in the form 'NAMESPACE/NAME'",
                             opts->storage.secret);
    kfx_json_put(spec, json_stringn(opts->storage.secret, (size_t)(slash - opts->storage.secret)), "storage",
                 "secretRef", "namespace");
    kfx_json_put(spec, json_string(slash + 1), "storage", "secretRef", "name");
    return 0;
}

static int check_backend(const json_t *spec, const char *type, kfx_error_t *err)
{
    const char *backend = kfx_json_str(spec, "backend");
    if (strcmp(type, "external") == 0 && !json_object_get(spec, "backend"))
        return 0;
    static const char *const known[] = {"shared", "dedicated", "external"};
    for (size_t i = 0; backend && i < KFX_COUNT(known); i++)
        if (strcmp(backend, known[i]) == 0)
            return 0;
    return kfx_error_set(err, KFX_E_INVALID, "unknown backend type: %s. Choose one of: shared, dedicated, external",
                         backend ? backend : "(no text)");
}

static int check_external(const json_t *spec, const char *type, kfx_error_t *err)
{
    if (strcmp(type, "external") != 0 || json_object_get(spec, "bootstrapSecretRef"))
        return 0;
    return kfx_error_set(err, KFX_E_INVALID,
                         "a control plane of type external is a cluster that is there already: `kflex adopt NAME "
                         "--adopted-context CONTEXT` takes it in (or name the Secret with its kubeconfig: "
                         "--bootstrap-secret NAMESPACE/NAME/KEY)");
}

static int build_spec(const kfx_opts_t *opts, json_t *spec, kfx_error_t *err)
{
    if (opts->type || !json_object_get(spec, "type"))
        json_object_set_new(spec, "type", json_string(opts->type ? opts->type : "k8s"));
    const char *type = kfx_json_str(spec, "type");
    if (!type)
        return kfx_error_set(err, KFX_E_INVALID, "spec.type is no text");
    if (check_type(type, err) < 0)
        return -1;
    bool external = strcmp(type, "external") == 0;
    if (opts->backend || (!json_object_get(spec, "backend") && !external))
        json_object_set_new(spec, "backend", json_string(opts->backend ? opts->backend : "shared"));
    if (check_backend(spec, type, err) < 0 || add_storage(opts, spec, err) < 0)
        return -1;
    if (opts->kubernetes_version)
        json_object_set_new(spec, "kubernetesVersion", json_string(opts->kubernetes_version));
    if (opts->expiration_seconds)
        json_object_set_new(spec, "tokenExpirationSeconds", json_integer(opts->expiration_seconds));
    if (opts->bootstrap_secret && add_bootstrap(opts->bootstrap_secret, spec, err) < 0)
        return -1;
    if (check_external(spec, type, err) < 0)
        return -1;
    return kfx_spec_add_hooks(opts, spec, err);
}

static int choose_name(const kfx_opts_t *opts, json_t *manifest, const char **name, kfx_error_t *err)
{
    const char *asked = opts->arg_count ? opts->arg[0] : NULL;
    const char *has = kfx_json_str(manifest, "metadata", "name");
    if (asked && has && strcmp(asked, has) != 0)
        return kfx_error_set(err, KFX_E_INVALID,
                             "the file is about control plane %s, not %s: leave the name away, or "
                             "metadata.name",
                             has, asked);
    if (!asked && !has)
        return kfx_error_set(err, KFX_E_INVALID,
                             opts->file ? "the file has no metadata.name: give a name, too"
                                        : "\"kflex create\" needs an argument: NAME");
    if (!has)
        kfx_json_put(manifest, json_string(asked), "metadata", "name");
    *name = kfx_json_str(manifest, "metadata", "name");
    return kfx_plane_name_check(*name, err);
}

json_t *kfx_spec_build(const kfx_opts_t *opts, const char **name, kfx_error_t *err)
{
    json_t *manifest = opts->file ? read_manifest(opts->file, err)
                                  : json_pack("{s:s, s:s}", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane");
    if (!manifest)
        return NULL;
    if (!json_object_get(manifest, "metadata"))
        json_object_set_new(manifest, "metadata", json_object());
    if (!json_object_get(manifest, "spec"))
        json_object_set_new(manifest, "spec", json_object());
    if (choose_name(opts, manifest, name, err) == 0 && build_spec(opts, json_object_get(manifest, "spec"), err) == 0)
        return manifest;
    json_decref(manifest);
    return NULL;
}
