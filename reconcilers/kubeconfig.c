/* reconcilers/kubeconfig.c: names and layout as the Go implementation writes them. */
#include "reconcilers/kubeconfig.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <string.h>

static json_t *encoded(const char *pem)
{
    char *text = kfx_base64_encode(pem, strlen(pem));
    json_t *value = text ? json_string(text) : NULL;
    kfx_wipe(text, text ? strlen(text) : 0);
    free(text);
    return value;
}

static json_t *named(const char *name, const char *key, json_t *value)
{
    return json_pack("{s:s, s:o}", "name", name, key, value);
}

char *kfx_kubeconfig_build(const kfx_kubeconfig_t *parts, kfx_error_t *err)
{
    KFX_FREE char *cluster = kfx_xasprintf("%s-cluster", parts->plane);
    json_t *endpoint =
        json_pack("{s:o, s:s}", "certificate-authority-data", encoded(parts->ca_pem), "server", parts->server);
    if (endpoint && parts->tls_server_name)
        json_object_set_new(endpoint, "tls-server-name", json_string(parts->tls_server_name));
    json_t *context = json_pack("{s:s, s:s, s:s}", "cluster", cluster, "namespace", "default", "user", parts->user);
    json_t *user = json_pack("{s:o, s:o}", "client-certificate-data", encoded(parts->client->cert), "client-key-data",
                             encoded(parts->client->key));
    KFX_JSON json_t *tree =
        json_pack("{s:s, s:s, s:[o], s:[o], s:s, s:{}, s:[o]}", "apiVersion", "v1", "kind", "Config", "clusters",
                  named(cluster, "cluster", endpoint), "contexts", named(parts->plane, "context", context),
                  "current-context", parts->plane, "preferences", "users", named(parts->user, "user", user));
    if (!tree) {
        kfx_error_set(err, KFX_E_INTERNAL, "cannot build the kubeconfig of %s", parts->user);
        return NULL;
    }
    return kfx_yaml_dump(tree, err);
}
