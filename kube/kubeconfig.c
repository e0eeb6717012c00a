/* kube/kubeconfig.c: kubeconfig files: where they are, and several of them as one ($KUBECONFIG may name a list). The
 * merge is kubectl's: for each name the first file wins, the first current-context wins, and file names are relative to
 * the file they stand in. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "kube/internal.h"

#include <pwd.h>
#include <string.h>

#define FILE_MAX (8u << 20)

static char *dir_of(const char *path)
{
    KFX_FREE char *real = realpath(path, NULL);
    char *dir = kfx_xstrdup(real ? real : path);
    char *slash = strrchr(dir, '/');
    if (!slash) {
        free(dir);
        return kfx_xstrdup(".");
    }
    slash[slash == dir ? 1 : 0] = '\0';
    return dir;
}

static void make_absolute(json_t *entry, const char *key, const char *dir, bool only_paths)
{
    const char *file = kfx_json_str(entry, key);
    if (!file || !*file || file[0] == '/' || (only_paths && !strchr(file, '/')))
        return;
    KFX_FREE char *path = kfx_xasprintf("%s/%s", dir, file);
    json_object_set_new(entry, key, json_string(path));
}

static void resolve_files(json_t *tree, const char *dir)
{
    size_t i;
    json_t *entry;
    json_t *clusters = kfx_json_get(tree, "clusters"), *users = kfx_json_get(tree, "users");
    json_array_foreach (clusters, i, entry)
        make_absolute(kfx_json_get(entry, "cluster"), "certificate-authority", dir, false);
    json_array_foreach (users, i, entry) {
        json_t *user = kfx_json_get(entry, "user");
        make_absolute(user, "client-certificate", dir, false);
        make_absolute(user, "client-key", dir, false);
        make_absolute(user, "tokenFile", dir, false);
        make_absolute(kfx_json_get(user, "exec"), "command", dir, true);
    }
}

static bool has_name(const json_t *list, const char *name)
{
    size_t i;
    const json_t *entry;
    json_array_foreach (list, i, entry) {
        const char *n = kfx_json_str(entry, "name");
        if (n && strcmp(n, name) == 0)
            return true;
    }
    return false;
}

static void merge(json_t *into, const json_t *from)
{
    static const char *const lists[] = {"clusters", "users", "contexts"};
    for (size_t k = 0; k < KFX_COUNT(lists); k++) {
        json_t *list = kfx_json_get(into, lists[k]);
        if (!json_is_array(list)) {
            list = json_array();
            json_object_set_new(into, lists[k], list);
        }
        size_t i;
        json_t *entry;
        json_t *more = kfx_json_get(from, lists[k]);
        json_array_foreach (more, i, entry) {
            const char *name = kfx_json_str(entry, "name");
            if (name && !has_name(list, name))
                json_array_append(list, entry);
        }
    }
    const char *mine = kfx_json_str(into, "current-context");
    const char *theirs = kfx_json_str(from, "current-context");
    if ((!mine || !*mine) && theirs)
        json_object_set_new(into, "current-context", json_string(theirs));
}

static json_t *read_file(const char *path, kfx_error_t *err)
{
    size_t len = 0;
    char *text = kfx_file_read(path, FILE_MAX, &len, err);
    if (!text) {
        kfx_error_wrap(err, "kubeconfig");
        return NULL;
    }
    json_t *tree = kfx_yaml_parse(text, len, err);
    kfx_wipe(text, len);
    free(text);
    if (!tree) {
        kfx_error_wrap(err, "kubeconfig %s", path);
        return NULL;
    }
    if (!json_is_object(tree)) {
        json_decref(tree);
        kfx_error_set(err, KFX_E_INVALID, "kubeconfig %s: it is no mapping", path);
        return NULL;
    }
    KFX_FREE char *dir = dir_of(path);
    resolve_files(tree, dir);
    return tree;
}

/* A list as in $KUBECONFIG: files that do not exist are passed over as long as one does. */
static kfx_kube_config_t *load_list(const char *paths, const char *context, bool allow_exec, kfx_error_t *err)
{
    KFX_FREE char *copy = kfx_xstrdup(paths);
    KFX_JSON json_t *all = json_object();
    kfx_error_t missing = KFX_ERROR_INIT;
    bool any = false, single = !strchr(paths, ':');
    char *save = NULL;
    for (char *path = strtok_r(copy, ":", &save); path; path = strtok_r(NULL, ":", &save)) {
        kfx_error_t why = KFX_ERROR_INIT;
        KFX_JSON json_t *tree = read_file(path, &why);
        if (!tree && (why.code != KFX_E_NOT_FOUND || single)) {
            kfx_error_set(err, why.code, "%s", why.msg);
            return NULL;
        }
        if (!tree) {
            missing = why;
            continue;
        }
        any = true;
        merge(all, tree);
    }
    if (!any) {
        kfx_error_set(err, missing.code ? missing.code : KFX_E_NOT_FOUND, "%s",
                      missing.code ? missing.msg : "KUBECONFIG names no file");
        return NULL;
    }
    kfx_kube_config_t *config = kfx_kube_config_from_tree(all, context, "/", allow_exec, err);
    if (!config)
        kfx_error_wrap(err, "kubeconfig %s", paths);
    return config;
}

static char *home_kubeconfig(void)
{
    const char *home = getenv("HOME");
    if (!home || !*home) {
        const struct passwd *user = getpwuid(getuid());
        home = user ? user->pw_dir : "/";
    }
    return kfx_xasprintf("%s/.kube/config", home);
}

static kfx_kube_config_t *load(const char *path, const char *context, bool allow_exec, kfx_error_t *err)
{
    const char *env = getenv("KUBECONFIG");
    if (path && *path) {
        if (strchr(path, ':') && access(path, F_OK) != 0)
            return load_list(path, context, allow_exec, err);
        KFX_JSON json_t *tree = read_file(path, err);
        kfx_kube_config_t *config = tree ? kfx_kube_config_from_tree(tree, context, "/", allow_exec, err) : NULL;
        if (tree && !config)
            kfx_error_wrap(err, "kubeconfig %s", path);
        return config;
    }
    if (env && *env)
        return load_list(env, context, allow_exec, err);
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    if (host && *host)
        return kfx_kube_config_in_cluster(err);
    KFX_FREE char *home = home_kubeconfig();
    return load_list(home, context, allow_exec, err);
}

kfx_kube_config_t *kfx_kube_config_load(const char *path, const char *context, kfx_error_t *err)
{
    return load(path, context, false, err);
}

kfx_kube_config_t *kfx_kube_config_load_for_user(const char *path, const char *context, kfx_error_t *err)
{
    return load(path, context, true, err);
}
