/* reconcilers/host/host.c: the type host: the hosting cluster itself as a control plane. There is nothing to run: a
 * service account, what it may do, its token, and a kubeconfig with it. */
#include "base/codec.h"
#include "base/json.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "reconcilers/credentials.h"
#include "reconcilers/type.h"

#include <stdio.h>
#include <string.h>

#define REVISION 1 /* of the manifests: raise it with every change of them */
#define SERVER "https://kubernetes.default.svc"
/* Who may bind the role. Installations know the Go operator's account and bind their own roles to it. */
#define BINDER "system:serviceaccount:" KFX_SYSTEM_NAMESPACE ":kubeflex-controller-manager"
#define NO_ROLE "none"

extern const kfx_type_t kfx_type_host;
extern const kfx_embedded_t kfx_host_manifests[]; /* made by embed.py */

static json_t *manifest(const char *name, const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    KFX_JSON json_t *vars = json_pack("{s:s, s:s, s:s}", "plane", plane, "namespace", ns, "role", config->host_role);
    return kfx_manifest_render(kfx_host_manifests, name, vars, err);
}

static json_t *render_plane(const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    static const char *const names[] = {"serviceaccount", "binding"};
    KFX_JSON json_t *out = json_array();
    char ns[KFX_NAME_SIZE];
    kfx_plane_namespace(plane, ns);
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        json_t *object = manifest(names[i], plane, config, err);
        if (!object)
            return NULL;
        if (i == 0)
            kfx_json_put(object, json_string(ns), "metadata", "namespace");
        json_array_append_new(out, object);
    }
    return KFX_STEAL(out);
}

/* hash: see kfx_desired_init. */
static int desired(kfx_run_t *run, const char *name, const char *hash, kfx_desired_t *out)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *object = manifest(name, run->owner.plane, &run->config, &err);
    if (!object || kfx_desired_init(out, object, &run->owner, hash, &err))
        return kfx_run_error(run, &err, "manifest %s", name);
    return 0;
}

/* An object in the plane's Namespace; its uid. */
static int ensure(kfx_run_t *run, const char *name, const char *hash, char uid[KFX_UID_SIZE])
{
    KFX_CLEANUP(kfx_desired_clear) kfx_desired_t object = {.object = NULL};
    kfx_applied_t answer = {.object = NULL};
    if (desired(run, name, hash, &object) || kfx_apply(run, &object, 1, &answer))
        return -1;
    const kfx_child_t *child = kfx_digest_child(run->digest, object.kind, object.name);
    const char *written = kfx_json_str(answer.object, "metadata", "uid");
    kfx_copy(uid, KFX_UID_SIZE, written ? written : child ? child->uid : "");
    json_decref(answer.object);
    return 0;
}

static void binding_name(const kfx_run_t *run, char out[KFX_NAME_SIZE])
{
    snprintf(out, KFX_NAME_SIZE, "%.240s-binding", run->owner.plane);
}

static int rights(kfx_run_t *run)
{
    char name[KFX_NAME_SIZE];
    KFX_CLEANUP(kfx_desired_clear) kfx_desired_t binding = {.object = NULL};
    binding_name(run, name);
    if (strcmp(run->config.host_role, NO_ROLE) == 0)
        return kfx_digest_child(run->digest, "ClusterRoleBinding", name)
                   ? kfx_disclaim(run, "ClusterRoleBinding", name, BINDER)
                   : 0;
    return desired(run, "binding", NULL, &binding) ? -1 : kfx_claim(run, &binding, BINDER);
}

/* Address and authority for users outside, where kube-public/cluster-info tells (kubeadm and others write it). */
static void from_cluster_info(kfx_run_t *run, kfx_credentials_t *out)
{
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/kube-public/configmaps/cluster-info");
    if (kfx_run_request(run, get) != KFX_OK)
        return;
    const char *text = kfx_json_str(get->answer, "data", "kubeconfig");
    KFX_JSON json_t *tree = text ? kfx_yaml_parse(text, strlen(text), NULL) : NULL;
    const json_t *cluster = kfx_json_get(tree, "clusters", "0", "cluster");
    const char *server = kfx_json_str(cluster, "server"), *ca = kfx_json_str(cluster, "certificate-authority-data");
    if (!server || strncmp(server, "https://", 8) != 0)
        return;
    size_t len = 0;
    char *pem = ca ? kfx_base64_decode(ca, &len, NULL) : NULL;
    out->outside_server = kfx_xstrdup(server);
    out->outside_ca_pem = pem && strlen(pem) == len ? KFX_STEAL(pem) : kfx_xstrdup(out->ca_pem);
    free(pem);
}

static int write_credentials(kfx_run_t *run, const char *made_from, kfx_credentials_t *made)
{
    made->server = kfx_xstrdup(SERVER);
    if (run->config.host_server_url[0]) {
        made->outside_server = kfx_xstrdup(run->config.host_server_url);
        made->outside_ca_pem = kfx_xstrdup(made->ca_pem);
    } else {
        from_cluster_info(run, made);
    }
    return kfx_credentials_write(run, run->rec->type->secret_name, NULL, made_from, made);
}

/* What the kubeconfigs are made from. token: what changes with it. */
static void inputs(const kfx_run_t *run, const char *token, char out[KFX_HASH_SIZE])
{
    bool bound = run->config.host_bound_tokens;
    KFX_JSON json_t *all = json_pack("[s, s, I]", token, run->config.host_server_url,
                                     bound ? (json_int_t)run->memo.token_seconds : (json_int_t)0);
    kfx_hash16(all, out);
}

static char *decoded(const json_t *secret, const char *key)
{
    const char *coded = kfx_json_str(secret, "data", key);
    size_t len = 0;
    return coded && *coded ? kfx_base64_decode(coded, &len, NULL) : NULL;
}

static int waiting(kfx_run_t *run, const char *what)
{
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "WaitingForToken",
                           "%s not ready yet: Kubernetes' token controller has not filled in Secret %s", what,
                           run->owner.plane);
}

/* A token that the API server refuses for good was tampered with, or is of an account that is gone: its Secret is made
 * anew. */
static int drop_token(kfx_run_t *run, const char *uid)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(
        KFX_DELETE,
        json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "preconditions", "uid", uid),
        "/api/v1/namespaces/%s/secrets/%s", run->ns, run->owner.plane);
    kfx_code_t code = kfx_run_request(run, req);
    if (code != KFX_OK && code != KFX_E_NOT_FOUND && code != KFX_E_CONFLICT)
        return kfx_run_fail(run, req, "delete Secret %s", run->owner.plane);
    run->memo.refused_ms = 0;
    return waiting(run, "token");
}

/* The token of a Secret of type service-account-token. Its content is the token controller's, so our mark on it is
 * empty and every version of it is news. */
static int legacy_token(kfx_run_t *run)
{
    char uid[KFX_UID_SIZE], seen[2 * KFX_UID_SIZE], made_from[KFX_HASH_SIZE];
    KFX_CREDENTIALS kfx_credentials_t made = {.server = NULL};
    if (ensure(run, "token", "", uid))
        return -1;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", run->owner.plane);
    snprintf(seen, sizeof(seen), "%.40s/%.30s", uid, child ? child->rv : "");
    inputs(run, seen, made_from);
    if (kfx_credentials_current(run, run->rec->type->secret_name, made_from))
        return 0;
    if (kfx_credentials_refused(run))
        return drop_token(run, uid);
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, run->owner.plane);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return waiting(run, "token");
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Secret %s", run->owner.plane);
    made.token = decoded(get->answer, "token");
    made.ca_pem = decoded(get->answer, "ca.crt");
    if (!made.token || !made.ca_pem)
        return waiting(run, made.token ? "ca" : "token");
    const char *rv = kfx_json_str(get->answer, "metadata", "resourceVersion");
    snprintf(seen, sizeof(seen), "%.40s/%.30s", uid, rv ? rv : "");
    inputs(run, seen, made_from);
    return write_credentials(run, made_from, &made);
}

/* The cluster's authority. Every Namespace is given it, a new one a moment after it was made; ours has it already. */
static int read_authority(kfx_run_t *run, kfx_credentials_t *made)
{
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps/kube-root-ca.crt");
    kfx_code_t code = kfx_run_request(run, get);
    const char *pem = kfx_json_str(get->answer, "data", "ca.crt");
    if (code == KFX_E_NOT_FOUND || (code == KFX_OK && !pem))
        return kfx_verdict_set(
            &run->sync, KFX_OUTCOME_RETRY, 0, "ReconcileError",
            "ConfigMap kube-root-ca.crt in namespace " KFX_SYSTEM_NAMESPACE
            " does not hold the cluster's authority: the hosting cluster's controller manager writes "
            "it (root-ca-certificate-publisher)");
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read ConfigMap kube-root-ca.crt");
    made->ca_pem = kfx_xstrdup(pem);
    return 0;
}

static int bound_token(kfx_run_t *run, const char *account_uid)
{
    char made_from[KFX_HASH_SIZE];
    KFX_CREDENTIALS kfx_credentials_t made = {.server = NULL};
    kfx_error_t err = KFX_ERROR_INIT;
    inputs(run, account_uid, made_from);
    if (kfx_prune(run, "Secret", run->owner.plane))
        return -1;
    if (kfx_credentials_current(run, run->rec->type->secret_name, made_from))
        return 0;
    if (read_authority(run, &made))
        return -1;
    int64_t seconds = run->memo.token_seconds;
    KFX_REQUEST kfx_request_t *post =
        kfx_request_new(KFX_POST, kfx_token_request(seconds), "/api/v1/namespaces/%s/serviceaccounts/%s/token", run->ns,
                        run->owner.plane);
    kfx_code_t code = kfx_run_request(run, post);
    if (code == KFX_E_INVALID)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidSpec", "tokenExpirationSeconds %lld: %.400s",
                               (long long)seconds, post->error.msg);
    if (code != KFX_OK)
        return kfx_run_fail(run, post, "request a token for ServiceAccount %s", run->owner.plane);
    if (kfx_token_take(post->answer, time(NULL), &made, &err))
        return kfx_run_error(run, &err, "ServiceAccount %s", run->owner.plane);
    return write_credentials(run, made_from, &made);
}

static int sync_plane(kfx_run_t *run)
{
    char account[KFX_UID_SIZE];
    if (strcmp(run->owner.plane, KFX_SECRET_ADMIN) == 0)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidName",
                               "a control plane of type host cannot be called " KFX_SECRET_ADMIN
                               ", because two of its Secrets would have one name: choose another");
    if (kfx_credentials_learn(run, run->rec->type->secret_name) || ensure(run, "serviceaccount", NULL, account) ||
        rights(run))
        return -1;
    return run->config.host_bound_tokens ? bound_token(run, account) : legacy_token(run);
}

/* The hosting API server, asked with the plane's own token at the address this process knows. */
static int alive(kfx_run_t *run, int limit_ms, kfx_error_t *err)
{
    const kfx_asking_t how = {.server = run->rec->ops.server};
    return kfx_credentials_alive(run, &how, limit_ms, err);
}

/* The binding goes with the ControlPlane by its ownerReference; but rights end first, where that is to be had. */
static int teardown(kfx_run_t *run)
{
    char name[KFX_NAME_SIZE];
    binding_name(run, name);
    if (kfx_digest_child(run->digest, "ClusterRoleBinding", name) &&
        kfx_disclaim(run, "ClusterRoleBinding", name, BINDER) && run->sync.outcome == KFX_OUTCOME_DOWN)
        return -1;
    return 0;
}

const kfx_type_t kfx_type_host = {
    .name = "host",
    .revision = REVISION,
    .hosting = true,
    .secret_name = KFX_SECRET_ADMIN,
    .secret_key = KFX_KEY_OUTSIDE,
    .secret_in_cluster_key = KFX_KEY_INSIDE,
    .sync = sync_plane,
    .alive = alive,
    .teardown = teardown,
    .render = render_plane,
};
