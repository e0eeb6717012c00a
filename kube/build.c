/* kube/build.c: layout as the Go implementation writes it. */
#include "kube/build.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <string.h>

/* Sets key to the text, in base64, where there is one. */
static void put_encoded(json_t *object, const char *key, const char *pem)
{
    char *text = pem ? kfx_base64_encode(pem, strlen(pem)) : NULL;
    if (!text)
        return;
    json_object_set_new(object, key, json_string(text));
    kfx_wipe(text, strlen(text));
    free(text);
}

static void put_text(json_t *object, const char *key, const char *text)
{
    if (text)
        json_object_set_new(object, key, json_string(text));
}

static json_t *named(const char *name, const char *key, json_t *value)
{
    return json_pack("{s:s, s:o}", "name", name, key, value);
}

char *kfx_kubeconfig_build(const kfx_kubeconfig_t *parts, kfx_error_t *err)
{
    json_t *cluster = json_object(), *context = json_object(), *user = json_object();
    put_encoded(cluster, "certificate-authority-data", parts->ca_pem);
    put_text(cluster, "server", parts->server);
    put_text(cluster, "tls-server-name", parts->tls_server_name);
    put_text(context, "cluster", parts->cluster);
    put_text(context, "namespace", parts->ns);
    put_text(context, "user", parts->user);
    put_encoded(user, "client-certificate-data", parts->client_cert_pem);
    put_encoded(user, "client-key-data", parts->client_key_pem);
    put_text(user, "token", parts->token);
    KFX_JSON json_t *tree =
        json_pack("{s:s, s:s, s:[o], s:[o], s:s, s:{}, s:[o]}", "apiVersion", "v1", "kind", "Config", "clusters",
                  named(parts->cluster, "cluster", cluster), "contexts", named(parts->context, "context", context),
                  "current-context", parts->context, "preferences", "users", named(parts->user, "user", user));
    if (!tree) {
        kfx_error_set(err, KFX_E_INTERNAL, "cannot build the kubeconfig of %s", parts->user);
        return NULL;
    }
    return kfx_yaml_dump(tree, err);
}
