/* reconcilers/cluster_info.c: see cluster_info.h. */
#include "reconcilers/cluster_info.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "reconcilers/credentials.h"

#include <string.h>

#define COLLECTION "/api/v1/namespaces/kube-public/configmaps"
#define NAME "cluster-info"
#define GENERATED "kubestellar.io/generated"

/* The kubeconfig in it names one cluster "" and no users. Where there is none of that name the first one is meant. */
static json_t *cluster_of(const json_t *tree)
{
    size_t i;
    json_t *entry;
    json_t *list = kfx_json_get(tree, "clusters");
    json_array_foreach (list, i, entry) {
        const char *name = kfx_json_str(entry, "name");
        if (name && !*name)
            return kfx_json_get(entry, "cluster");
    }
    return kfx_json_get(list, "0", "cluster");
}

static json_t *new_tree(const kfx_cluster_info_t *info)
{
    KFX_FREE char *ca = kfx_base64_encode(info->ca_pem, strlen(info->ca_pem));
    return json_pack("{s:s, s:s, s:[{s:s, s:{s:s}}], s:[], s:[], s:s, s:{}}", "apiVersion", "v1", "kind", "Config",
                     "clusters", "name", "", "cluster", "certificate-authority-data", ca, "contexts", "users",
                     "current-context", "", "preferences");
}

static json_t *config_map(const json_t *existing, const char *text)
{
    json_t *out = json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap", "metadata",
                            "name", NAME, "namespace", "kube-public", "data", "kubeconfig", text);
    static const char *const kept[] = {"labels", "annotations"};
    bool immutable = existing ? kfx_json_bool(existing, false, "immutable") : true;
    for (size_t i = 0; existing && i < KFX_COUNT(kept); i++) {
        json_t *value = kfx_json_get(existing, "metadata", kept[i]);
        if (value)
            kfx_json_put(out, json_deep_copy(value), "metadata", kept[i]);
    }
    if (existing) { /* signatures for joining nodes and the like */
        json_t *data = json_deep_copy(kfx_json_get(existing, "data"));
        if (json_is_object(data)) {
            json_object_set(data, "kubeconfig", kfx_json_get(out, "data", "kubeconfig"));
            json_object_set_new(out, "data", data);
        } else {
            json_decref(data);
        }
    } else {
        kfx_json_put(out, json_string("true"), "metadata", "annotations", GENERATED);
    }
    if (immutable)
        json_object_set_new(out, "immutable", json_true());
    return out;
}

static bool is_text(const json_t *cluster, const char *key, const char *wanted)
{
    const char *found = kfx_json_str(cluster, key);
    return wanted ? found && strcmp(found, wanted) == 0 : !json_object_get(cluster, key);
}

/* False: all of it stands there already. */
static bool put_address(json_t *cluster, const kfx_cluster_info_t *info)
{
    if (is_text(cluster, "server", info->server) && is_text(cluster, "tls-server-name", info->tls_server_name))
        return false;
    json_object_set_new(cluster, "server", json_string(info->server));
    json_object_del(cluster, "tls-server-name");
    if (info->tls_server_name)
        json_object_set_new(cluster, "tls-server-name", json_string(info->tls_server_name));
    return true;
}

json_t *kfx_cluster_info_edit(const json_t *existing, const kfx_cluster_info_t *info, kfx_error_t *err)
{
    const char *text = existing ? kfx_json_str(existing, "data", "kubeconfig") : NULL;
    KFX_JSON json_t *tree = text ? kfx_yaml_parse(text, strlen(text), err) : new_tree(info);
    if (!tree) {
        kfx_error_wrap(err, "ConfigMap kube-public/" NAME " of the plane holds no kubeconfig: delete it");
        return NULL;
    }
    if (!json_is_object(cluster_of(tree))) {
        json_decref(tree);
        tree = new_tree(info);
    }
    if (!put_address(cluster_of(tree), info))
        return NULL;
    KFX_FREE char *out = kfx_yaml_dump(tree, err);
    return out ? config_map(existing, out) : NULL;
}

static int write_it(kfx_run_t *run, kfx_remote_t *remote, const json_t *existing, json_t *desired, int limit_ms,
                    kfx_error_t *err)
{
    const char *uid = kfx_json_str(existing, "metadata", "uid");
    const char *version = kfx_json_str(existing, "metadata", "resourceVersion");
    if (existing && kfx_json_bool(existing, false, "immutable")) {
        KFX_REQUEST kfx_request_t *gone = kfx_request_new(
            KFX_DELETE,
            json_pack("{s:s, s:s, s:{s:s*}}", "apiVersion", "v1", "kind", "DeleteOptions", "preconditions", "uid", uid),
            COLLECTION "/" NAME);
        kfx_code_t code = kfx_remote_request(run, remote, gone, limit_ms);
        if (code != KFX_OK && code != KFX_E_NOT_FOUND) {
            *err = gone->error;
            return -1;
        }
        existing = NULL;
    }
    if (existing)
        kfx_json_put(desired, json_string(version ? version : ""), "metadata", "resourceVersion");
    KFX_REQUEST kfx_request_t *write = kfx_request_new(existing ? KFX_MERGE_PATCH : KFX_POST, json_incref(desired),
                                                       "%s", existing ? COLLECTION "/" NAME : COLLECTION);
    if (kfx_remote_request(run, remote, write, limit_ms) == KFX_OK)
        return 0;
    *err = write->error;
    return -1;
}

int kfx_cluster_info_ensure(kfx_run_t *run, kfx_remote_t *remote, const kfx_cluster_info_t *info, int limit_ms,
                            kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, COLLECTION "/" NAME);
    kfx_code_t code = kfx_remote_request(run, remote, get, limit_ms);
    if (code != KFX_OK && code != KFX_E_NOT_FOUND) {
        *err = get->error;
        return -1;
    }
    const json_t *existing = code == KFX_OK ? get->answer : NULL;
    kfx_error_t why = KFX_ERROR_INIT;
    KFX_JSON json_t *desired = kfx_cluster_info_edit(existing, info, &why);
    if (!desired) {
        *err = why;
        return why.code == KFX_OK ? 0 : -1;
    }
    return write_it(run, remote, existing, desired, limit_ms, err);
}
