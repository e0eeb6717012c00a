#include "cli/hosting.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/kubefile.h"
#include "proto/model.h"

#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#define KFX_TRIES 3
#define KFX_TRY_PAUSE_MS 200
#define KFX_TRY_PAUSE_MAX_MS 5000
#define KFX_ADVICE                                                                                                     \
    "Switch to it with `kubectl config use-context CONTEXT`, then run `kflex ctx --set-current-for-hosting`."

kfx_hosting_plan_t kfx_hosting_plan(const kfx_kc_t *kc, const char **context, kfx_error_t *stored_why, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    *context = kfx_kc_hosting(kc, &why);
    if (*context)
        return KFX_HOSTING_STORED;
    if (stored_why && why.code != KFX_E_NOT_FOUND)
        *stored_why = why;
    *context = kfx_kc_current(kc);
    if (**context && kfx_kc_body(kc, KFX_KC_CONTEXTS, *context))
        return KFX_HOSTING_TRY_CURRENT;
    const char *reason = why.code == KFX_E_NOT_FOUND ? "none is stored" : why.msg;
    if (**context)
        kfx_error_set(
            err, KFX_E_NOT_FOUND,
            "the hosting cluster context is not known! (%s, and the current context '%s' does not exist.) " KFX_ADVICE,
            reason, *context);
    else
        kfx_error_set(err, KFX_E_NOT_FOUND,
                      "the hosting cluster context is not known! (%s, and no context is current.) " KFX_ADVICE, reason);
    return KFX_HOSTING_UNKNOWN;
}

kfx_kube_config_t *kfx_hosting_config(const kfx_kc_t *kc, const char *context, kfx_error_t *err)
{
    KFX_JSON json_t *tree = kfx_kc_merged(kc);
    KFX_FREE char *copy = kfx_xstrdup(kc->path[kc->main]);
    kfx_kube_config_t *config = kfx_kube_config_from_tree(tree, context, dirname(copy), true, err);
    if (!config)
        kfx_error_wrap(err, "context '%s'", context);
    return config;
}

static json_t *cluster_of(const kfx_kube_config_t *config)
{
    json_t *cluster = json_pack("{s:s}", "server", config->server);
    KFX_FREE char *ca = config->ca_pem ? kfx_base64_encode(config->ca_pem, strlen(config->ca_pem)) : NULL;
    if (ca)
        json_object_set_new(cluster, "certificate-authority-data", json_string(ca));
    if (config->tls_server_name)
        json_object_set_new(cluster, "tls-server-name", json_string(config->tls_server_name));
    if (config->proxy_url)
        json_object_set_new(cluster, "proxy-url", json_string(config->proxy_url));
    if (config->insecure)
        json_object_set_new(cluster, "insecure-skip-tls-verify", json_true());
    return cluster;
}

static kfx_kube_t *connect_to(kfx_kube_config_t *config, kfx_error_t *err)
{
    /* The client's threads must not see our signals: a system call of theirs that ends early looks like a shutdown. */
    sigset_t stops, old;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGHUP);
    sigaddset(&stops, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &stops, &old);
    kfx_kube_t *kube = kfx_kube_new(config, "kflex/" KFX_VERSION, err);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return kube;
}

kfx_kube_t *kfx_hosting_client(const kfx_kc_t *kc, const char *context, kfx_error_t *err)
{
    kfx_kube_config_t *config = kfx_hosting_config(kc, context, err);
    return config ? connect_to(config, err) : NULL;
}

json_t *kfx_hosting_get(kfx_kube_t *kube, const char *path, kfx_error_t *err)
{
    for (unsigned attempt = 0;; attempt++) {
        KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "%s", path);
        req->no_retry = true;
        kfx_error_t why = KFX_ERROR_INIT;
        if (kfx_kube_call(kube, req, &why) == 0)
            return KFX_STEAL(req->answer);
        if (!kfx_code_transient(why.code) || why.code == KFX_E_TIMEOUT || attempt == KFX_TRIES - 1) {
            if (err)
                *err = why;
            return NULL;
        }
        int64_t pause = kfx_backoff_ms(attempt, KFX_TRY_PAUSE_MS, KFX_TRY_PAUSE_MAX_MS);
        if (req->retry_after_ms > pause)
            pause = req->retry_after_ms < KFX_TRY_PAUSE_MAX_MS ? req->retry_after_ms : KFX_TRY_PAUSE_MAX_MS;
        poll(NULL, 0, (int)pause);
    }
}

/* 1: it serves control planes, 0: it does not, -1: it cannot be told (err). */
static int serves_planes(kfx_kube_t *kube, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    KFX_JSON json_t *answer = kfx_hosting_get(kube, "/apis/" KFX_API_VERSION, &why);
    if (!answer) {
        if (why.code == KFX_E_NOT_FOUND)
            return 0;
        if (err)
            *err = why;
        return -1;
    }
    size_t i;
    json_t *resource;
    json_array_foreach (json_object_get(answer, "resources"), i, resource) {
        const char *name = kfx_json_str(resource, "name");
        if (name && strcmp(name, "controlplanes") == 0)
            return 1;
    }
    return 0;
}

int kfx_hosting_store(void *ctx, kfx_kc_t *kc, kfx_error_t *err)
{
    char now[KFX_RFC3339_SIZE];
    return kfx_kc_set_hosting(kc, ctx, kfx_rfc3339_now(now), err);
}

/* The current context, if its cluster serves control planes. */
static int try_current(kfx_cli_t *cli, kfx_hosting_t *hosting, const kfx_error_t *stored_why, kfx_error_t *err)
{
    kfx_error_t why = KFX_ERROR_INIT;
    int serves = serves_planes(hosting->kube, &why);
    if (serves < 1) {
        char stored[1200] = "none is stored";
        if (stored_why->code)
            snprintf(stored, sizeof stored, "%s", stored_why->msg);
        if (serves < 0)
            return kfx_error_set(
                err, why.code,
                "the hosting cluster context is not known! (%.300s, and the current context '%s' cannot "
                "be asked: %.400s) " KFX_ADVICE,
                stored, hosting->context, why.msg);
        return kfx_error_set(
            err, KFX_E_NOT_FOUND,
            "the hosting cluster context is not known! (%.300s, and the current context '%s' serves no "
            "control planes.) " KFX_ADVICE,
            stored, hosting->context);
    }
    if (kfx_kubefile_edit(cli->opts.kubeconfig, kfx_hosting_store, hosting->context, &why) < 0)
        kfx_out_warn(&cli->out, "could not remember '%s' as the hosting cluster's context: %s", hosting->context,
                     why.msg);
    return 0;
}

int kfx_hosting_open(kfx_cli_t *cli, kfx_hosting_t *hosting, kfx_error_t *err)
{
    memset(hosting, 0, sizeof *hosting);
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    const char *context;
    kfx_error_t stored_why = KFX_ERROR_INIT;
    kfx_hosting_plan_t plan = kfx_hosting_plan(&kc, &context, &stored_why, err);
    int rc = -1;
    if (plan != KFX_HOSTING_UNKNOWN) {
        hosting->context = kfx_xstrdup(context);
        kfx_kube_config_t *config = kfx_hosting_config(&kc, context, err);
        hosting->cluster = config ? cluster_of(config) : NULL;
        hosting->kube = config ? connect_to(config, err) : NULL;
        rc = hosting->kube ? 0 : -1;
    }
    kfx_kc_release(&kc);
    if (rc == 0 && plan == KFX_HOSTING_TRY_CURRENT)
        rc = try_current(cli, hosting, &stored_why, err);
    if (rc < 0)
        kfx_hosting_close(hosting);
    return rc;
}

void kfx_hosting_close(kfx_hosting_t *hosting)
{
    kfx_kube_destroy(&hosting->kube);
    free(hosting->context);
    hosting->context = NULL;
    json_decref(hosting->cluster);
    hosting->cluster = NULL;
}

int kfx_hosting_explain(const kfx_hosting_t *hosting, kfx_error_t *err)
{
    if (!err)
        return -1;
    kfx_error_t was = *err;
    const char *server = kfx_kube_server(hosting->kube);
    switch (was.code) {
    case KFX_E_UNAVAILABLE:
    case KFX_E_TIMEOUT:
        return kfx_error_set(
            err, was.code,
            "hosting cluster (context '%s', %s) cannot be reached: %.500s. If it is another cluster now: "
            "`kubectl config use-context CONTEXT`, then `kflex ctx --set-current-for-hosting`",
            hosting->context, server, was.msg);
    case KFX_E_UNAUTHORIZED:
        return kfx_error_set(
            err, was.code,
            "hosting cluster (context '%s', %s) does not accept these credentials: %.500s. Log in again or "
            "renew the user of that context",
            hosting->context, server, was.msg);
    case KFX_E_FORBIDDEN:
        return kfx_error_set(err, was.code, "not allowed on the hosting cluster (context '%s'): %.700s",
                             hosting->context, was.msg);
    default: return -1;
    }
}

int kfx_hosting_no_api(const kfx_hosting_t *hosting, kfx_error_t *err)
{
    return kfx_error_set(
        err, KFX_E_NOT_FOUND,
        "the cluster of context '%s' has no ControlPlane API: is KubeFlex installed there? Choose the hosting cluster "
        "with `kflex ctx --set-current-for-hosting`",
        hosting->context);
}
