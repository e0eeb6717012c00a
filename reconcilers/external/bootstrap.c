/* reconcilers/external/bootstrap.c: see bootstrap.h. */
#include "reconcilers/external/bootstrap.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "kube/screen.h"

#include <stdio.h>
#include <string.h>

#define REFUSED "BootstrapRefused"

void kfx_bootstrap_clear(kfx_bootstrap_t *self)
{
    if (!self)
        return;
    kfx_kube_config_free(self->config);
    free(self->outside_server);
    *self = (kfx_bootstrap_t){.config = NULL};
}

static json_t *parse_tree(const char *coded)
{
    size_t len = 0;
    char *text = kfx_base64_decode(coded, &len, NULL);
    json_t *tree = text ? kfx_yaml_parse(text, len, NULL) : NULL;
    kfx_wipe(text, len);
    free(text);
    if (json_is_object(tree) && json_is_array(kfx_json_get(tree, "clusters")))
        return tree;
    json_decref(tree);
    return NULL;
}

/* What a connection by it would do that a server must not do on somebody else's word. */
static int check(const kfx_kube_config_t *config, kfx_error_t *err)
{
    if (config->insecure)
        return kfx_error_set(err, KFX_E_INVALID,
                             "insecure-skip-tls-verify is not accepted: give certificate-authority-data instead");
    if (config->proxy_url)
        return kfx_error_set(err, KFX_E_INVALID, "proxy-url is not accepted: the address must be reachable by itself");
    if (config->username)
        return kfx_error_set(err, KFX_E_INVALID,
                             "a user name with a password is not accepted: use a token or a "
                             "certificate");
    if (!config->token && !config->client_cert_pem)
        return kfx_error_set(err, KFX_E_INVALID, "its user has neither a token nor a certificate");
    if (kfx_screen_url(config->server, err))
        return kfx_error_wrap(err, "its server is not accepted");
    return 0;
}

kfx_kube_config_t *kfx_bootstrap_parse(const json_t *secret, const char *key, kfx_error_t *err)
{
    const char *coded = kfx_json_str(secret, "data", key);
    if (!coded || !*coded) {
        kfx_error_set(err, KFX_E_INVALID, "kubeconfig not found in bootstrap secret for key %s", key);
        return NULL;
    }
    KFX_JSON json_t *tree = parse_tree(coded);
    if (!tree) {
        kfx_error_set(err, KFX_E_INVALID, "key %s holds no kubeconfig", key);
        return NULL;
    }
    kfx_kube_config_t *config = kfx_kube_config_from_tree(tree, NULL, NULL, false, err);
    if (config && check(config, err) == 0)
        return config;
    kfx_kube_config_free(config);
    kfx_error_wrap(err, "the kubeconfig in key %s", key);
    return NULL;
}

static int refuse(kfx_run_t *run, const kfx_bootstrap_t *self, const char *why)
{
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, REFUSED, "bootstrap Secret %.63s/%.120s: %.300s",
                           self->ns, self->name, why);
}

/* Ours hold passwords and keys, which are nobody's bootstrap. */
static bool is_our_own(const kfx_bootstrap_t *self)
{
    return strcmp(self->ns, KFX_SYSTEM_NAMESPACE) == 0 &&
           (strncmp(self->name, "kubeflex-", 9) == 0 || strncmp(self->name, "postgres-postgresql", 19) == 0);
}

static int read_reference(kfx_run_t *run, kfx_bootstrap_t *out)
{
    char wanted[sizeof(out->ns) + 2], why[300];
    const json_t *ref = kfx_json_get(run->plane, "spec", "bootstrapSecretRef");
    const char *ns = kfx_json_str(ref, "namespace"), *name = kfx_json_str(ref, "name");
    const char *key = kfx_json_str(ref, "inClusterKey");
    if (!ns || !name || !*ns || !*name)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidSpec",
                               "bootstrapSecretRef must be present in the control plane: `kflex adopt` makes one");
    if (kfx_copy(out->ns, sizeof(out->ns), ns) || kfx_copy(out->name, sizeof(out->name), name) ||
        kfx_copy(out->key, sizeof(out->key), key && *key ? key : KFX_KEY_BOOTSTRAP) || strpbrk(out->ns, " /%?#") ||
        strpbrk(out->name, " /%?#"))
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidSpec",
                               "bootstrapSecretRef names no Secret that could exist");
    snprintf(wanted, sizeof(wanted), " %s ", out->ns);
    if (!strstr(run->config.bootstrap_namespaces, wanted)) {
        snprintf(why, sizeof(why),
                 "such Secrets are taken from namespace " KFX_SYSTEM_NAMESPACE
                 " only, and from those in key bootstrapNamespaces of ConfigMap " KFX_CONFIGMAP);
        return refuse(run, out, why);
    }
    if (is_our_own(out))
        return refuse(run, out, "it is one of KubeFlex's own");
    return 0;
}

/* Said to users only, never dialled: it may well be their own machine. */
static void take_outside(const json_t *secret, kfx_bootstrap_t *out)
{
    const char *server = kfx_json_str(secret, "metadata", "annotations", KFX_ANNOTATION_SERVER);
    bool fits = server && strncmp(server, "https://", 8) == 0 && strlen(server) < 512 &&
                strcspn(server, " \t\r\n\"'<>\\?#@") == strlen(server);
    out->outside_server = kfx_xstrdup(fits ? server : out->config->server);
}

void kfx_bootstrap_await(kfx_run_t *run)
{
    char wanted[KFX_NAME_SIZE + 2];
    kfx_memo_t *memo = &run->memo;
    if (run->plane) {
        const json_t *ref = kfx_json_get(run->plane, "spec", "bootstrapSecretRef");
        const char *ns = kfx_json_str(ref, "namespace"), *name = kfx_json_str(ref, "name");
        memo->bootstrap[0] = '\0';
        if (ns && name && *name &&
            snprintf(memo->bootstrap, sizeof(memo->bootstrap), "%s/%s", ns, name) >= (int)sizeof(memo->bootstrap))
            memo->bootstrap[0] = '\0';
    }
    /* Others are not read, so nothing is told about them. */
    snprintf(wanted, sizeof(wanted), " %.*s ", (int)strcspn(memo->bootstrap, "/"), memo->bootstrap);
    if (memo->bootstrap[0] && strstr(run->config.bootstrap_namespaces, wanted))
        kfx_copy(run->result->awaits_secret, sizeof(run->result->awaits_secret), memo->bootstrap);
}

int kfx_bootstrap_read(kfx_run_t *run, kfx_bootstrap_t *out)
{
    kfx_error_t err = KFX_ERROR_INIT;
    if (read_reference(run, out))
        return -1;
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", out->ns, out->name);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return 0;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read bootstrap Secret %s/%s", out->ns, out->name);
    const char *label = kfx_json_str(get->answer, "metadata", "labels", KFX_LABEL_PLANE);
    if (label && strcmp(label, run->owner.plane) != 0)
        return refuse(run, out, "its label says that it is another control plane's");
    out->marked = label != NULL;
    kfx_copy(out->uid, sizeof(out->uid), kfx_json_str(get->answer, "metadata", "uid"));
    kfx_copy(out->rv, sizeof(out->rv), kfx_json_str(get->answer, "metadata", "resourceVersion"));
    out->config = kfx_bootstrap_parse(get->answer, out->key, &err);
    if (!out->config)
        return refuse(run, out, err.msg);
    take_outside(get->answer, out);
    return 0;
}

int kfx_bootstrap_drop(kfx_run_t *run, const kfx_bootstrap_t *self)
{
    json_t *options = json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "DeleteOptions",
                                "preconditions", "uid", self->uid, "resourceVersion", self->rv);
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_DELETE, options, "/api/v1/namespaces/%s/secrets/%s", self->ns, self->name);
    kfx_code_t code = kfx_run_request(run, req);
    if (code == KFX_OK || code == KFX_E_NOT_FOUND || code == KFX_E_CONFLICT) /* 409: a newer one, for the next task */
        return 0;
    return kfx_run_fail(run, req, "delete bootstrap Secret %s/%s", self->ns, self->name);
}
