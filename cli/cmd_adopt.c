/* kflex adopt: hands a cluster that is there already to KubeFlex. The kubeconfig of its administrator goes into a
 * Secret of the hosting cluster, without files or programs in it, and is deleted there once the cluster is taken in. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/creation.h"
#include "cli/kubefile.h"
#include "cli/spec.h"
#include "kube/build.h"
#include "kube/screen.h"

#include <string.h>

#define TOKEN_SECONDS_MIN 600 /* the API server's own limit */
#define TOKEN_SECONDS 31536000
#define TOKEN_MAX (1U << 20)

typedef struct {
    char *server; /* as the hosting cluster reaches it */
    char *own;    /* as we do, where that is another one */
    char *text;   /* the kubeconfig for the Secret */
    char secret[KFX_NAME_SIZE];
} adoption_t;

static void clear(adoption_t *self)
{
    if (self->text)
        kfx_wipe(self->text, strlen(self->text));
    free(self->server);
    free(self->own);
    free(self->text);
}

static int check_options(kfx_opts_t *opts, kfx_error_t *err)
{
    if (!opts->expiration_seconds)
        opts->expiration_seconds = TOKEN_SECONDS;
    if (!opts->adopted_context || !*opts->adopted_context)
        return kfx_error_set(err, KFX_E_INVALID, "name the context of the cluster to adopt: --adopted-context CONTEXT");
    if (opts->expiration_seconds < TOKEN_SECONDS_MIN)
        return kfx_error_set(err, KFX_E_INVALID, "--expiration-seconds %lld: a token lives for %d seconds at least",
                             (long long)opts->expiration_seconds, TOKEN_SECONDS_MIN);
    return 0;
}

/* What KubeFlex would refuse later is said here, where it can be changed. */
static int check_cluster(const kfx_opts_t *opts, const kfx_kube_config_t *config, kfx_error_t *err)
{
    const char *context = opts->adopted_context;
    if (config->insecure)
        return kfx_error_set(
            err, KFX_E_INVALID,
            "context '%s' has insecure-skip-tls-verify: give its cluster a certificate-authority instead", context);
    if (config->impersonate || config->username)
        return kfx_error_set(err, KFX_E_INVALID,
                             "context '%s' %s, which cannot be handed on: use one with a token or a client certificate",
                             context, config->impersonate ? "acts as another user" : "has a password");
    if (!config->token && !config->token_file && !config->client_cert_pem)
        return kfx_error_set(err, KFX_E_INVALID, "context '%s' has no credentials to hand on", context);
    kfx_error_t why = KFX_ERROR_INIT;
    if (opts->url_override && kfx_screen_url(opts->url_override, &why))
        return kfx_error_set(err, KFX_E_INVALID, "--url-override: %s", why.msg); /* it may hold a password */
    if (!opts->url_override && kfx_screen_url(config->server, &why))
        return kfx_error_set(
            err, KFX_E_INVALID,
            "the server of context '%s', %s, is no address for the hosting cluster: %s. Give the one by "
            "which it reaches the cluster with --url-override",
            context, strchr(config->server, '@') ? "(not shown)" : config->server, why.msg);
    return 0;
}

/* Credentials that stand in a file, or that a program has just handed out, go into the text itself. */
static int build(const kfx_opts_t *opts, kfx_kube_config_t *config, adoption_t *out, kfx_error_t *err)
{
    if (!config->token && config->token_file) {
        config->token = kfx_file_read(config->token_file, TOKEN_MAX, NULL, err);
        if (!config->token)
            return -1;
        config->token[strcspn(config->token, "\r\n")] = '\0';
    }
    out->server = kfx_xstrdup(opts->url_override ? opts->url_override : config->server);
    out->own = opts->url_override ? kfx_xstrdup(config->server) : NULL;
    kfx_kubeconfig_t parts = {.context = opts->adopted_context,
                              .cluster = opts->adopted_context,
                              .user = opts->adopted_context,
                              .ns = config->ns,
                              .server = out->server,
                              .tls_server_name = config->tls_server_name,
                              .ca_pem = config->ca_pem,
                              .token = config->token,
                              .client_cert_pem = config->client_cert_pem,
                              .client_key_pem = config->client_key_pem};
    out->text = kfx_kubeconfig_build(&parts, err);
    return out->text ? 0 : -1;
}

static int read_adopted(kfx_cli_t *cli, adoption_t *out, kfx_error_t *err)
{
    const kfx_opts_t *opts = &cli->opts;
    kfx_kc_t kc;
    if (kfx_kubefile_load(opts->adopted_kubeconfig ? opts->adopted_kubeconfig : opts->kubeconfig, false, &kc, err) < 0)
        return -1;
    kfx_kube_config_t *config = NULL;
    int rc = -1;
    if (!kfx_kc_body(&kc, KFX_KC_CONTEXTS, opts->adopted_context))
        kfx_error_set(err, KFX_E_NOT_FOUND, "context %s not found in the kubeconfig", opts->adopted_context);
    else
        config = kfx_hosting_config(&kc, opts->adopted_context, err);
    if (config && check_cluster(opts, config, err) == 0)
        rc = build(opts, config, out, err);
    if (rc == 0 && config->proxy_url)
        kfx_out_warn(&cli->out, "the proxy of context '%s' is not handed on: the hosting cluster goes to %s directly",
                     opts->adopted_context, out->server);
    kfx_kube_config_free(config);
    kfx_kc_release(&kc);
    return rc;
}

static int put_secret(kfx_creation_t *self, const adoption_t *adoption, kfx_error_t *err)
{
    char *coded = kfx_base64_encode(adoption->text, strlen(adoption->text));
    json_t *object = json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Secret",
                               "metadata", "name", adoption->secret, "namespace", KFX_SYSTEM_NAMESPACE, "labels",
                               KFX_LABEL_PLANE, self->name, "type", "Opaque", "data", KFX_KEY_BOOTSTRAP, coded);
    kfx_wipe(coded, strlen(coded));
    free(coded);
    if (adoption->own)
        kfx_json_put(object, json_string(adoption->own), "metadata", "annotations", KFX_ANNOTATION_SERVER);
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_APPLY, object, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/secrets/%s", adoption->secret);
    req->field_manager = kfx_xstrdup("kflex");
    if (kfx_kube_call(self->hosting.kube, req, err) == 0)
        return 0;
    kfx_hosting_explain(&self->hosting, err);
    return kfx_error_wrap(err, "Secret %s in namespace " KFX_SYSTEM_NAMESPACE, adoption->secret);
}

/* An administrator's kubeconfig must not stay where nobody is going to use it. */
static void drop_secret(kfx_creation_t *self, const adoption_t *adoption)
{
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_DELETE, NULL, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/secrets/%s", adoption->secret);
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_kube_call(self->hosting.kube, req, &why) < 0)
        kfx_out_warn(&self->cli->out,
                     "Secret %s in namespace " KFX_SYSTEM_NAMESPACE " holds the kubeconfig, and could not be deleted "
                     "again: %s",
                     adoption->secret, why.msg);
}

/* The ControlPlane; what is wrong with its flags is found before anything is written. Fresh. */
static json_t *build_manifest(const kfx_opts_t *opts, const char *name, const char *secret, kfx_error_t *err)
{
    json_t *spec = json_pack("{s:s, s:I, s:{s:s, s:s, s:s}}", "type", "external", "tokenExpirationSeconds",
                             (json_int_t)opts->expiration_seconds, "bootstrapSecretRef", "name", secret, "namespace",
                             KFX_SYSTEM_NAMESPACE, "inClusterKey", KFX_KEY_BOOTSTRAP);
    json_t *manifest = json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane",
                                 "metadata", "name", name, "spec", spec);
    if (kfx_spec_add_hooks(opts, spec, err) == 0)
        return manifest;
    json_decref(manifest);
    return NULL;
}

static int adopt(kfx_creation_t *self, const adoption_t *adoption, json_t *manifest, kfx_error_t *err)
{
    kfx_cli_t *cli = self->cli;
    kfx_plane_t there;
    if (kfx_plane_get(self->hosting.kube, self->name, &there, NULL) == 0)
        return kfx_error_set(
            err, KFX_E_EXISTS,
            "control plane %s exists already: choose another name, or remove it with `kflex delete %s`", self->name,
            self->name);
    if (put_secret(self, adoption, err) < 0)
        return -1;
    if (kfx_creation_post(self, json_incref(manifest), err) < 0) {
        drop_secret(self, adoption);
        return -1;
    }
    kfx_out_step(&cli->out, -1, "Adopting control plane %s of type external ...", self->name);
    if (!kfx_creation_waits(&cli->opts)) {
        kfx_out_line(&cli->out, "Not waiting: `kflex list --watch` shows it");
        return 0;
    }
    if (kfx_creation_wait(self, err) < 0)
        return -1;
    kfx_out_step(&cli->out, kfx_now_ms() - self->start, "Adopted %s. `kflex ctx %s` switches to it", adoption->server,
                 self->name);
    return 0;
}

int kfx_cmd_adopt(kfx_cli_t *cli, kfx_error_t *err)
{
    KFX_CLEANUP(clear) adoption_t adoption = {.text = NULL};
    const char *name = cli->opts.arg[0];
    if (kfx_plane_name_check(name, err) < 0 || check_options(&cli->opts, err) < 0 ||
        read_adopted(cli, &adoption, err) < 0)
        return -1;
    snprintf(adoption.secret, sizeof adoption.secret, "%s-bootstrap", name);
    KFX_JSON json_t *manifest = build_manifest(&cli->opts, name, adoption.secret, err);
    if (!manifest)
        return -1;
    kfx_creation_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->name = name;
    self->start = kfx_now_ms();
    int rc = kfx_hosting_open(cli, &self->hosting, err);
    if (rc == 0)
        rc = adopt(self, &adoption, manifest, err);
    kfx_hosting_close(&self->hosting);
    free(self);
    return rc;
}
