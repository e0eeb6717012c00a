/* kube/config.c: one context of a kubeconfig tree, or the service account, as a kfx_kube_config_t. */
#include "kube/config.h"

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <string.h>
#include <time.h>

#define CREDENTIAL_MAX (1u << 20)
#define EXEC_LIMIT_MS 60000

static void wipe_free(char *text)
{
    if (text)
        kfx_wipe(text, strlen(text));
    free(text);
}

void kfx_kube_config_free(kfx_kube_config_t *config)
{
    if (!config)
        return;
    free(config->server);
    free(config->tls_server_name);
    free(config->ca_pem);
    free(config->client_cert_pem);
    wipe_free(config->client_key_pem);
    wipe_free(config->token);
    free(config->token_file);
    free(config->username);
    wipe_free(config->password);
    wipe_free(config->proxy_url);
    free(config->impersonate);
    free(config->ns);
    free(config);
}

static void cleanup_config(kfx_kube_config_t **config)
{
    kfx_kube_config_free(*config);
}

int kfx_kube_config_check(const kfx_kube_config_t *config, kfx_error_t *err)
{
    const char *server = config->server;
    if (!server || (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0))
        return kfx_error_set(err, KFX_E_INVALID, "\"%s\" is no API server address: expected https://host:port",
                             server ? server : "");
    if (config->insecure && config->ca_pem)
        return kfx_error_set(err, KFX_E_INVALID,
                             "%s: insecure-skip-tls-verify together with a certificate authority makes no sense: "
                             "remove one of them",
                             server);
    if (config->ca_pem && !strstr(config->ca_pem, "-----BEGIN CERTIFICATE-----"))
        return kfx_error_set(err, KFX_E_INVALID, "%s: the certificate authority is no PEM certificate", server);
    if (config->client_cert_pem && !strstr(config->client_cert_pem, "-----BEGIN CERTIFICATE-----"))
        return kfx_error_set(err, KFX_E_INVALID, "%s: the client certificate is no PEM certificate", server);
    if (config->client_key_pem && !strstr(config->client_key_pem, "PRIVATE KEY-----"))
        return kfx_error_set(err, KFX_E_INVALID, "%s: the client key is no PEM private key", server);
    if (!config->client_cert_pem != !config->client_key_pem)
        return kfx_error_set(err, KFX_E_INVALID, "%s: the client %s is there, the %s is missing", server,
                             config->client_cert_pem ? "certificate" : "key",
                             config->client_cert_pem ? "key" : "certificate");
    if (!config->username != !config->password)
        return kfx_error_set(err, KFX_E_INVALID, "%s: username and password go together", server);
    return 0;
}

/* ---- kubeconfig
 * ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *context; /* for messages */
    const char *dir;     /* NULL: file references are refused */
    bool allow_exec;
} reading_t;

/* The entry of a named list ([{name, <what>: {…}}]), or NULL. */
static const json_t *named(const json_t *tree, const char *list, const char *what, const char *name)
{
    size_t i;
    const json_t *entry;
    const json_t *array = kfx_json_get(tree, list);
    json_array_foreach (array, i, entry) {
        const char *n = kfx_json_str(entry, "name");
        if (n && name && strcmp(n, name) == 0)
            return kfx_json_get(entry, what);
    }
    return NULL;
}

static void names(kfx_buf_t *out, const json_t *tree, const char *list)
{
    size_t i;
    const json_t *entry;
    const json_t *array = kfx_json_get(tree, list);
    json_array_foreach (array, i, entry) {
        const char *name = kfx_json_str(entry, "name");
        if (name)
            kfx_buf_addf(out, "%s%s", out->len ? ", " : "", name);
    }
}

static char *resolve(const char *dir, const char *file)
{
    return file[0] == '/' ? kfx_xstrdup(file) : kfx_xasprintf("%s/%s", dir, file);
}

/* <key>-data (base64) or <key> (a file): *out stays NULL where neither is there. */
static int credential(const reading_t *reading, const json_t *entry, const char *key, char **out, kfx_error_t *err)
{
    KFX_FREE char *data_key = kfx_xasprintf("%s-data", key);
    const char *data = kfx_json_str(entry, data_key);
    const char *file = kfx_json_str(entry, key);
    if (data && *data) {
        size_t len = 0;
        kfx_error_t why = KFX_ERROR_INIT;
        *out = kfx_base64_decode(data, &len, &why);
        if (!*out)
            return kfx_error_set(err, KFX_E_INVALID, "context \"%s\": %s is no base64", reading->context, data_key);
        if (strlen(*out) != len)
            return kfx_error_set(err, KFX_E_INVALID, "context \"%s\": %s is binary, PEM was expected", reading->context,
                                 data_key);
        return 0;
    }
    if (!file || !*file)
        return 0;
    if (!reading->dir)
        return kfx_error_set(err, KFX_E_INVALID,
                             "context \"%s\": %s names a file, which is not read from a kubeconfig of this origin: use "
                             "%s",
                             reading->context, key, data_key);
    KFX_FREE char *path = resolve(reading->dir, file);
    *out = kfx_file_read(path, CREDENTIAL_MAX, NULL, err);
    return *out ? 0 : kfx_error_wrap(err, "context \"%s\", %s", reading->context, key);
}

static char *text_or_null(const json_t *entry, const char *key)
{
    const char *text = kfx_json_str(entry, key);
    return text && *text ? kfx_xstrdup(text) : NULL;
}

static int read_cluster(const reading_t *reading, const json_t *cluster, kfx_kube_config_t *config, kfx_error_t *err)
{
    config->server = text_or_null(cluster, "server");
    if (!config->server)
        return kfx_error_set(err, KFX_E_INVALID, "context \"%s\": its cluster has no server", reading->context);
    size_t len = strlen(config->server);
    while (len > 0 && config->server[len - 1] == '/')
        config->server[--len] = '\0';
    config->tls_server_name = text_or_null(cluster, "tls-server-name");
    config->proxy_url = text_or_null(cluster, "proxy-url");
    config->insecure = kfx_json_bool(cluster, false, "insecure-skip-tls-verify");
    return credential(reading, cluster, "certificate-authority", &config->ca_pem, err);
}

static int read_token(const reading_t *reading, const json_t *user, kfx_kube_config_t *config, kfx_error_t *err)
{
    const char *file = kfx_json_str(user, "tokenFile");
    config->token = text_or_null(user, "token");
    if (!file || !*file)
        return 0;
    if (!reading->dir)
        return kfx_error_set(err, KFX_E_INVALID,
                             "context \"%s\": tokenFile names a file, which is not read from a kubeconfig of this "
                             "origin: use token",
                             reading->context);
    config->token_file = resolve(reading->dir, file);
    return 0;
}

/* When a JSON Web Token ends (seconds since the epoch; RFC 7519 "exp"), or 0 where it does not say so. */
static int64_t token_end(const char *token)
{
    const char *claims = strchr(token, '.');
    size_t len = claims ? strcspn(claims + 1, ".") : 0;
    if (!claims || !len)
        return 0;
    static const char *const padding[] = {"", "===", "==", "="}; /* by the length, modulo 4 */
    KFX_FREE char *text = kfx_xasprintf("%.*s%s", (int)len, claims + 1, padding[len % 4]);
    for (char *p = text; *p; p++)
        *p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
    KFX_FREE char *json = kfx_base64_decode(text, &len, NULL);
    KFX_JSON json_t *tree = json ? kfx_json_parse(json, len, NULL) : NULL;
    return kfx_json_int(tree, 0, "exp");
}

/* The token that an OIDC login left in the kubeconfig. It is used, not renewed: that is kubectl's, which then writes
 * the new one there. */
static int read_oidc(const reading_t *reading, const json_t *user, kfx_kube_config_t *config, kfx_error_t *err)
{
    const char *token = kfx_json_str(user, "auth-provider", "config", "id-token");
    if (!token || !*token)
        return kfx_error_set(err, KFX_E_INVALID, "context \"%s\": its user has no id-token of OIDC: log in again",
                             reading->context);
    int64_t end = token_end(token);
    if (end && end <= (int64_t)time(NULL))
        return kfx_error_set(err, KFX_E_UNAUTHORIZED,
                             "context \"%s\": the OIDC token of its user has expired: any kubectl command renews it "
                             "(`kubectl --context %s version`), or log in again",
                             reading->context, reading->context);
    free(config->token);
    config->token = kfx_xstrdup(token);
    return 0;
}

static int read_user(const reading_t *reading, const json_t *user, const json_t *cluster, kfx_kube_config_t *config,
                     kfx_error_t *err)
{
    if (credential(reading, user, "client-certificate", &config->client_cert_pem, err) != 0 ||
        credential(reading, user, "client-key", &config->client_key_pem, err) != 0 ||
        read_token(reading, user, config, err) != 0)
        return -1;
    config->username = text_or_null(user, "username");
    config->password = text_or_null(user, "password");
    config->impersonate = text_or_null(user, "as");
    static const char *const unsupported[] = {"as-uid", "as-groups", "as-user-extra"};
    for (size_t i = 0; i < KFX_COUNT(unsupported); i++) {
        const json_t *value = kfx_json_get(user, unsupported[i]);
        if (value && !json_is_null(value)) /* leaving it out would act with other rights than written */
            return kfx_error_set(err, KFX_E_INVALID, "context \"%s\": its user has %s, which is not supported",
                                 reading->context, unsupported[i]);
    }
    const char *provider = kfx_json_str(user, "auth-provider", "name");
    if (provider && strcmp(provider, "oidc") == 0)
        return read_oidc(reading, user, config, err);
    if (json_is_object(kfx_json_get(user, "auth-provider")))
        return kfx_error_set(err, KFX_E_INVALID,
                             "context \"%s\": its user has an auth-provider, which Kubernetes removed in 1.26: use a "
                             "certificate, a token or an exec plugin",
                             reading->context);
    const json_t *exec = kfx_json_get(user, "exec");
    if (!json_is_object(exec))
        return 0;
    if (!reading->allow_exec)
        return kfx_error_set(err, KFX_E_INVALID,
                             "context \"%s\": its user has an exec plugin, which a server process does not run: use a "
                             "certificate, a token or a tokenFile",
                             reading->context);
    return kfx_exec_credential(config, exec, cluster, reading->dir, EXEC_LIMIT_MS, err);
}

kfx_kube_config_t *kfx_kube_config_from_tree(const json_t *kubeconfig, const char *context, const char *dir,
                                             bool allow_exec, kfx_error_t *err)
{
    const char *name = context && *context ? context : kfx_json_str(kubeconfig, "current-context");
    const json_t *entry = named(kubeconfig, "contexts", "context", name);
    if (!entry) {
        KFX_BUF kfx_buf_t list = KFX_BUF_INIT(600);
        names(&list, kubeconfig, "contexts");
        if (name && *name)
            kfx_error_set(err, KFX_E_NOT_FOUND, "the kubeconfig has no context \"%s\"; it has: %s", name,
                          list.len ? list.data : "none");
        else
            kfx_error_set(err, KFX_E_NOT_FOUND, "the kubeconfig has no current context; it has: %s",
                          list.len ? list.data : "none");
        return NULL;
    }
    const char *cluster_name = kfx_json_str(entry, "cluster");
    const char *user_name = kfx_json_str(entry, "user");
    const json_t *cluster = named(kubeconfig, "clusters", "cluster", cluster_name);
    const json_t *user = named(kubeconfig, "users", "user", user_name);
    if (!cluster) {
        kfx_error_set(err, KFX_E_NOT_FOUND, "context \"%s\" names cluster \"%s\", which is not in the kubeconfig", name,
                      cluster_name ? cluster_name : "");
        return NULL;
    }
    if (!user && user_name && *user_name) {
        kfx_error_set(err, KFX_E_NOT_FOUND, "context \"%s\" names user \"%s\", which is not in the kubeconfig", name,
                      user_name);
        return NULL;
    }
    const reading_t reading = {.context = name, .dir = dir, .allow_exec = allow_exec};
    __attribute__((cleanup(cleanup_config))) kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
    config->ns = text_or_null(entry, "namespace");
    if (read_cluster(&reading, cluster, config, err) != 0 ||
        (user && read_user(&reading, user, cluster, config, err) != 0) || kfx_kube_config_check(config, err) != 0)
        return NULL;
    return KFX_STEAL(config);
}

/* ---- in-cluster
 * ------------------------------------------------------------------------------------------------------------- */

kfx_kube_config_t *kfx_kube_config_in_cluster_at(const char *dir, kfx_error_t *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    if (!host || !*host || !port || !*port) {
        kfx_error_set(err, KFX_E_NOT_FOUND,
                      "not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
        return NULL;
    }
    __attribute__((cleanup(cleanup_config))) kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
    bool v6 = strchr(host, ':') && host[0] != '[';
    config->server = kfx_xasprintf("https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    config->token_file = kfx_xasprintf("%s/token", dir);
    KFX_FREE char *ca = kfx_xasprintf("%s/ca.crt", dir);
    KFX_FREE char *ns = kfx_xasprintf("%s/namespace", dir);
    config->ca_pem = kfx_file_read(ca, CREDENTIAL_MAX, NULL, err);
    if (!config->ca_pem) {
        kfx_error_wrap(err, "service account");
        return NULL;
    }
    config->token = kfx_file_read(config->token_file, CREDENTIAL_MAX, NULL, err);
    if (!config->token) {
        kfx_error_wrap(err, "service account");
        return NULL;
    }
    config->token[strcspn(config->token, "\r\n")] = '\0';
    config->ns = kfx_file_read(ns, 256, NULL, NULL); /* optional */
    if (config->ns)
        config->ns[strcspn(config->ns, "\r\n")] = '\0';
    if (kfx_kube_config_check(config, err) != 0)
        return NULL;
    return KFX_STEAL(config);
}

kfx_kube_config_t *kfx_kube_config_in_cluster(kfx_error_t *err)
{
    return kfx_kube_config_in_cluster_at("/var/run/secrets/kubernetes.io/serviceaccount", err);
}
