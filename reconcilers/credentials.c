/* reconcilers/credentials.c: see credentials.h. */
#include "reconcilers/credentials.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <stdio.h>
#include <string.h>

/* A new account's token is refused for a moment, until all caches of the API server know the account. */
#define REFUSED_MS 3000
#define RENEW_NUMERATOR 4 /* after four fifths of its life */
#define RENEW_DENOMINATOR 5

void kfx_credentials_clear(kfx_credentials_t *self)
{
    if (!self)
        return;
    kfx_wipe(self->token, self->token ? strlen(self->token) : 0);
    free(self->server);
    free(self->tls_server_name);
    free(self->ca_pem);
    free(self->outside_server);
    free(self->outside_tls_server_name);
    free(self->outside_ca_pem);
    free(self->token);
    *self = (kfx_credentials_t){.server = NULL};
}

/* ---- the Secret ------------------------------------------------------------------------------------------------- */

int kfx_credentials_put(json_t *data, const char *key, const kfx_kubeconfig_t *parts, kfx_error_t *err)
{
    char *text = kfx_kubeconfig_build(parts, err);
    if (!text)
        return -1;
    char *coded = kfx_base64_encode(text, strlen(text));
    json_object_set_new(data, key, json_string(coded));
    kfx_wipe(text, strlen(text));
    kfx_wipe(coded, strlen(coded));
    free(text);
    free(coded);
    return 0;
}

static void put_time(json_t *secret, const char *annotation, time_t when)
{
    char text[KFX_RFC3339_SIZE];
    if (when > 0)
        kfx_json_put(secret, json_string(kfx_rfc3339(text, when)), "metadata", "annotations", annotation);
}

json_t *kfx_credentials_manifest(const char *secret, const char *plane, const char *made_from,
                                 const kfx_credentials_t *self, kfx_error_t *err)
{
    kfx_kubeconfig_t inside = {.context = plane,
                               .cluster = plane,
                               .user = plane,
                               .server = self->server,
                               .tls_server_name = self->tls_server_name,
                               .ca_pem = self->ca_pem,
                               .token = self->token};
    kfx_kubeconfig_t outside = inside;
    outside.server = self->outside_server;
    outside.tls_server_name = self->outside_tls_server_name;
    outside.ca_pem = self->outside_ca_pem;
    KFX_JSON json_t *data = json_object();
    if (kfx_credentials_put(data, KFX_KEY_INSIDE, &inside, err) ||
        (self->outside_server && kfx_credentials_put(data, KFX_KEY_OUTSIDE, &outside, err)))
        return NULL;
    json_t *object =
        json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:s, s:O}", "apiVersion", "v1", "kind", "Secret", "metadata", "name",
                  secret, "annotations", KFX_ANNOTATION_MADE_FROM, made_from, "type", "Opaque", "data", data);
    put_time(object, KFX_ANNOTATION_EXPIRES, self->expires);
    put_time(object, KFX_ANNOTATION_RENEW, self->renew);
    return object;
}

kfx_kube_config_t *kfx_credentials_key(const json_t *secret, const char *key, kfx_error_t *err)
{
    const char *coded = kfx_json_str(secret, "data", key);
    size_t len = 0;
    if (!coded || !*coded) {
        kfx_error_set(err, KFX_E_NOT_FOUND, "it has no key %s", key);
        return NULL;
    }
    char *text = kfx_base64_decode(coded, &len, err);
    KFX_JSON json_t *tree = text ? kfx_yaml_parse(text, len, err) : NULL;
    kfx_wipe(text, len);
    free(text);
    kfx_kube_config_t *config = tree ? kfx_kube_config_from_tree(tree, NULL, NULL, false, err) : NULL;
    if (config && config->insecure) {
        kfx_error_set(err, KFX_E_INVALID, "insecure-skip-tls-verify is not accepted");
        kfx_kube_config_free(config);
        config = NULL;
    }
    if (!config)
        kfx_error_wrap(err, "key %s", key);
    return config;
}

static time_t time_of(const json_t *secret, const char *annotation)
{
    const char *text = kfx_json_str(secret, "metadata", "annotations", annotation);
    time_t when = text ? kfx_rfc3339_parse(text) : 0;
    return when > 0 ? when : 0;
}

int kfx_credentials_parse(const json_t *secret, kfx_credentials_t *out, kfx_error_t *err)
{
    *out = (kfx_credentials_t){.expires = time_of(secret, KFX_ANNOTATION_EXPIRES),
                               .renew = time_of(secret, KFX_ANNOTATION_RENEW)};
    kfx_kube_config_t *inside = kfx_credentials_key(secret, KFX_KEY_INSIDE, err);
    if (!inside)
        return -1;
    out->server = KFX_STEAL(inside->server);
    out->tls_server_name = KFX_STEAL(inside->tls_server_name);
    out->ca_pem = KFX_STEAL(inside->ca_pem);
    out->token = KFX_STEAL(inside->token);
    kfx_kube_config_free(inside);
    kfx_kube_config_t *outside = kfx_credentials_key(secret, KFX_KEY_OUTSIDE, NULL);
    if (outside) {
        out->outside_server = KFX_STEAL(outside->server);
        out->outside_tls_server_name = KFX_STEAL(outside->tls_server_name);
        out->outside_ca_pem = KFX_STEAL(outside->ca_pem);
    }
    kfx_kube_config_free(outside);
    if (out->token)
        return 0;
    kfx_credentials_clear(out);
    return kfx_error_set(err, KFX_E_INVALID, "key %s holds no token", KFX_KEY_INSIDE);
}

bool kfx_credentials_intact(const json_t *secret, const kfx_owner_t *owner)
{
    static const char *const ours[] = {KFX_ANNOTATION_MADE_FROM, KFX_ANNOTATION_EXPIRES, KFX_ANNOTATION_RENEW};
    kfx_desired_t desired;
    json_t *object =
        json_pack("{s:s, s:s, s:{s:O*}, s:s, s:O*}", "apiVersion", "v1", "kind", "Secret", "metadata", "name",
                  kfx_json_get(secret, "metadata", "name"), "type", "Opaque", "data", kfx_json_get(secret, "data"));
    for (size_t i = 0; i < KFX_COUNT(ours); i++) {
        json_t *value = kfx_json_get(secret, "metadata", "annotations", ours[i]);
        if (value)
            kfx_json_put(object, json_incref(value), "metadata", "annotations", ours[i]);
    }
    if (kfx_desired_init(&desired, object, owner, NULL, NULL))
        return false;
    bool same = strcmp(desired.hash, kfx_object_hash(secret)) == 0;
    kfx_desired_clear(&desired);
    return same;
}

kfx_kube_config_t *kfx_credentials_config(const kfx_credentials_t *self)
{
    kfx_kube_config_t *config = kfx_xcalloc(1, sizeof(*config));
    config->server = kfx_xstrdup(self->server);
    config->tls_server_name = kfx_xstrdup(self->tls_server_name);
    config->ca_pem = kfx_xstrdup(self->ca_pem);
    config->token = kfx_xstrdup(self->token);
    return config;
}

/* ---- tokens ----------------------------------------------------------------------------------------------------- */

json_t *kfx_token_request(int64_t seconds)
{
    return json_pack("{s:s, s:s, s:{s:I}}", "apiVersion", "authentication.k8s.io/v1", "kind", "TokenRequest", "spec",
                     "expirationSeconds", (json_int_t)seconds);
}

int kfx_token_take(const json_t *answer, time_t now, kfx_credentials_t *out, kfx_error_t *err)
{
    const char *token = kfx_json_str(answer, "status", "token");
    const char *until = kfx_json_str(answer, "status", "expirationTimestamp");
    time_t expires = until ? kfx_rfc3339_parse(until) : (time_t)-1;
    if (!token || !*token || expires <= 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the API server's answer to a token request holds no token");
    kfx_wipe(out->token, out->token ? strlen(out->token) : 0);
    free(out->token);
    out->token = kfx_xstrdup(token);
    out->expires = expires;
    out->renew = expires > now ? now + (expires - now) / RENEW_DENOMINATOR * RENEW_NUMERATOR : now;
    return 0;
}

/* ---- in a task -------------------------------------------------------------------------------------------------- */

static void remember(kfx_run_t *run, const char *hash, const char *made_from, const kfx_credentials_t *self)
{
    kfx_memo_t *memo = &run->memo;
    kfx_copy(memo->secret_hash, sizeof(memo->secret_hash), hash);
    kfx_copy(memo->made_from, sizeof(memo->made_from), made_from ? made_from : "");
    memo->renew_at = self->renew;
    memo->outside_key = self->outside_server != NULL;
}

int kfx_credentials_learn(kfx_run_t *run, const char *secret)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", secret);
    KFX_CREDENTIALS kfx_credentials_t found = {.server = NULL};
    if (!child || !child->owned || child->terminating)
        return 0;
    if (strcmp(child->hash, run->memo.secret_hash) != 0 || !run->memo.secret_hash[0]) {
        KFX_REQUEST kfx_request_t *get =
            kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, secret);
        kfx_code_t code = kfx_run_request(run, get);
        if (code == KFX_E_NOT_FOUND)
            return 0;
        if (code != KFX_OK)
            return kfx_run_fail(run, get, "read Secret %s", secret);
        if (!kfx_credentials_intact(get->answer, &run->owner) || kfx_credentials_parse(get->answer, &found, NULL))
            return 0; /* somebody changed it: it is written anew */
        remember(run, kfx_object_hash(get->answer),
                 kfx_json_str(get->answer, "metadata", "annotations", KFX_ANNOTATION_MADE_FROM), &found);
    }
    run->credentials = run->keys_known = true;
    run->inside_only = !run->memo.outside_key;
    return 0;
}

bool kfx_credentials_refused(const kfx_run_t *run)
{
    return run->memo.refused_ms && kfx_now_ms() - run->memo.refused_ms >= REFUSED_MS;
}

bool kfx_credentials_current(const kfx_run_t *run, const char *secret, const char *made_from)
{
    const kfx_memo_t *memo = &run->memo;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", secret);
    return child && child->owned && !child->terminating && !child->drifted && memo->secret_hash[0] &&
           strcmp(child->hash, memo->secret_hash) == 0 && strcmp(memo->made_from, made_from) == 0 &&
           (memo->renew_at == 0 || time(NULL) < memo->renew_at) && !kfx_credentials_refused(run);
}

int kfx_credentials_write(kfx_run_t *run, const char *secret, const char *copy, const char *made_from,
                          const kfx_credentials_t *self)
{
    const char *const names[] = {secret, copy};
    size_t count = copy ? 2 : 1;
    kfx_desired_t list[2] = {{.object = NULL}, {.object = NULL}};
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        json_t *object = kfx_credentials_manifest(names[i], run->owner.plane, made_from, self, &err);
        if (!object || kfx_desired_init(&list[i], object, &run->owner, NULL, &err))
            rc = kfx_run_error(run, &err, "Secret %s", names[i]);
    }
    if (rc == 0)
        rc = kfx_apply(run, list, count, NULL);
    if (rc == 0) {
        remember(run, list[0].hash, made_from, self);
        kfx_copy(run->memo.copy_hash, sizeof(run->memo.copy_hash), list[1].hash);
        run->memo.refused_ms = 0;
        run->credentials = run->keys_known = true;
        run->inside_only = !self->outside_server;
    }
    kfx_desired_clear(&list[0]);
    kfx_desired_clear(&list[1]);
    return rc;
}

kfx_code_t kfx_remote_request(kfx_run_t *run, kfx_remote_t *remote, kfx_request_t *req, int limit_ms)
{
    const kfx_ops_t *ops = &run->rec->ops;
    kfx_error_t err = KFX_ERROR_INIT;
    if (ops->stopped(run->task)) {
        kfx_error_set(&req->error, KFX_E_CANCELED, "the task was asked to stop");
        return KFX_E_CANCELED;
    }
    req->timeout_ms = limit_ms;
    req->no_retry = true;
    return ops->ask(ops->ctx, remote, req, &err) ? err.code : KFX_OK;
}

static int ask_get(kfx_run_t *run, kfx_remote_t *remote, const char *path, int limit_ms, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s", path);
    if (kfx_remote_request(run, remote, get, limit_ms) == KFX_OK)
        return 0;
    *err = get->error;
    return -1;
}

static int ask_all(kfx_run_t *run, kfx_kube_config_t *config, const kfx_asking_t *how, int limit_ms, kfx_error_t *err)
{
    const kfx_ops_t *ops = &run->rec->ops;
    kfx_remote_t *remote = ops->dial(ops->ctx, config, err);
    int rc = remote ? ask_get(run, remote, "/readyz", limit_ms, err) : -1;
    if (rc == 0 && how->right && ask_get(run, remote, how->right, limit_ms, err))
        rc = kfx_error_wrap(err, "it answers, but without the rights that were given");
    if (remote)
        ops->hang_up(ops->ctx, remote);
    return rc;
}

int kfx_credentials_alive(kfx_run_t *run, const kfx_asking_t *how, int limit_ms, kfx_error_t *err)
{
    const char *secret = run->rec->type->secret_name;
    KFX_CREDENTIALS kfx_credentials_t found = {.server = NULL};
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, secret);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return kfx_error_set(err, code, "Secret %s does not exist", secret);
    if (code != KFX_OK) {
        (void)kfx_run_fail(run, get, "read Secret %s", secret);
        return 1;
    }
    if (kfx_credentials_parse(get->answer, &found, err))
        return kfx_error_wrap(err, "Secret %s", secret);
    kfx_kube_config_t *config = kfx_credentials_config(&found);
    config->screened = how->screened;
    if (how->server) {
        free(config->server);
        config->server = kfx_xstrdup(how->server);
    }
    int rc = ask_all(run, config, how, limit_ms, err);
    if (rc == 0)
        run->memo.refused_ms = 0;
    else if (err->code == KFX_E_UNAUTHORIZED && !run->memo.refused_ms)
        run->memo.refused_ms = kfx_now_ms();
    return rc;
}
