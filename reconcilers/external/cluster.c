/* reconcilers/external/cluster.c: requests to an adopted cluster. */
#include "reconcilers/external/cluster.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_MS 4000 /* of one request */
#define PROOF_TRIES 20
#define PROOF_PAUSE_MS 50
#define BINDINGS "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
#define ACCOUNTS "/api/v1/namespaces/kube-system/serviceaccounts"

/* The hosting cluster is not concerned: whatever goes wrong is this plane's own failure. */
static int fail(kfx_run_t *run, const kfx_error_t *err, int status, const char *what)
{
    if (err->code == KFX_E_CANCELED || err->code == KFX_E_FENCED)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "", "%s", err->msg);
    bool screened = err->code == KFX_E_INVALID && status == 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, screened ? "BootstrapRefused" : "ReconcileError",
                           "error %s on the adopted cluster: %.400s", what, err->msg);
}

static kfx_remote_t *dial(kfx_run_t *run, kfx_kube_config_t *config)
{
    kfx_error_t err = KFX_ERROR_INIT;
    config->screened = true;
    kfx_remote_t *remote = run->rec->ops.dial(run->rec->ops.ctx, config, &err);
    if (!remote)
        (void)kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "BootstrapRefused", "%.400s", err.msg);
    return remote;
}

static void hang_up(kfx_run_t *run, kfx_remote_t *remote)
{
    run->rec->ops.hang_up(run->rec->ops.ctx, remote);
}

void kfx_external_right(const kfx_run_t *run, char *out, size_t size)
{
    snprintf(out, size, BINDINGS "/%s", run->manager); /* called as the field manager is: kubeflex-<uid> */
}

/* What is the same in both objects. */
static json_t *metadata(const kfx_run_t *run)
{
    return json_pack("{s:s, s:{s:s}, s:{s:s}}", "name", run->manager, "labels", KFX_LABEL_PLANE, run->owner.plane,
                     "annotations", "kflex.kubestellar.org/made-by",
                     "KubeFlex, for the control plane of this name in another cluster");
}

static json_t *binding(const kfx_run_t *run)
{
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:s, s:s}, s:[{s:s, s:s, s:s}]}", "apiVersion",
                     "rbac.authorization.k8s.io/v1", "kind", "ClusterRoleBinding", "metadata", metadata(run), "roleRef",
                     "apiGroup", "rbac.authorization.k8s.io", "kind", "ClusterRole", "name", "cluster-admin",
                     "subjects", "kind", "ServiceAccount", "name", run->manager, "namespace", "kube-system");
}

static bool binding_fits(const kfx_run_t *run, const json_t *object)
{
    KFX_JSON json_t *wanted = binding(run);
    return json_equal(json_object_get(wanted, "roleRef"), json_object_get(object, "roleRef")) &&
           json_equal(json_object_get(wanted, "subjects"), json_object_get(object, "subjects"));
}

static json_t *delete_options(const char *uid)
{
    json_t *options =
        json_pack("{s:s, s:s, s:s}", "apiVersion", "v1", "kind", "DeleteOptions", "propagationPolicy", "Background");
    if (uid)
        kfx_json_put(options, json_string(uid), "preconditions", "uid");
    return options;
}

/* uid: the binding's. One of our name that says something else is replaced: its role cannot be changed in place. */
static int ensure_binding(kfx_run_t *run, kfx_remote_t *remote, char uid[KFX_UID_SIZE])
{
    for (int tries = 0; tries < 3; tries++) {
        KFX_REQUEST kfx_request_t *post = kfx_request_new(KFX_POST, binding(run), BINDINGS);
        KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, BINDINGS "/%s", run->manager);
        kfx_code_t code = kfx_remote_request(run, remote, post, LIMIT_MS);
        if (code != KFX_OK && code != KFX_E_EXISTS)
            return fail(run, &post->error, post->status, "creating ClusterRoleBinding");
        if (code == KFX_E_EXISTS && kfx_remote_request(run, remote, get, LIMIT_MS) == KFX_E_NOT_FOUND)
            continue;
        if (code == KFX_E_EXISTS && get->error.code != KFX_OK)
            return fail(run, &get->error, get->status, "reading ClusterRoleBinding");
        const json_t *object = code == KFX_OK ? post->answer : get->answer;
        const char *found = kfx_json_str(object, "metadata", "uid");
        kfx_copy(uid, KFX_UID_SIZE, found);
        if (binding_fits(run, object))
            return 0;
        KFX_REQUEST kfx_request_t *gone =
            kfx_request_new(KFX_DELETE, delete_options(found), BINDINGS "/%s", run->manager);
        if (kfx_remote_request(run, remote, gone, LIMIT_MS) != KFX_OK && gone->error.code != KFX_E_NOT_FOUND &&
            gone->error.code != KFX_E_CONFLICT)
            return fail(run, &gone->error, gone->status, "replacing ClusterRoleBinding");
    }
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "ReconcileError",
                           "error creating ClusterRoleBinding on the adopted cluster: it keeps changing");
}

static int ensure_account(kfx_run_t *run, kfx_remote_t *remote, const char *binding_uid)
{
    json_t *owners = json_pack("[{s:s, s:s, s:s, s:s}]", "apiVersion", "rbac.authorization.k8s.io/v1", "kind",
                               "ClusterRoleBinding", "name", run->manager, "uid", binding_uid);
    json_t *object = json_pack("{s:s, s:s, s:o, s:b}", "apiVersion", "v1", "kind", "ServiceAccount", "metadata",
                               metadata(run), "automountServiceAccountToken", 0);
    kfx_json_put(object, json_incref(owners), "metadata", "ownerReferences");
    KFX_REQUEST kfx_request_t *post = kfx_request_new(KFX_POST, object, ACCOUNTS);
    kfx_code_t code = kfx_remote_request(run, remote, post, LIMIT_MS);
    json_t *patch = json_pack("{s:{s:o}}", "metadata", "ownerReferences", owners);
    KFX_REQUEST kfx_request_t *own = kfx_request_new(KFX_MERGE_PATCH, patch, ACCOUNTS "/%s", run->manager);
    if (code == KFX_OK)
        return 0;
    if (code != KFX_E_EXISTS)
        return fail(run, &post->error, post->status, "creating ServiceAccount");
    /* Of an earlier try. An owner that is gone would take it along. */
    if (kfx_remote_request(run, remote, own, LIMIT_MS) != KFX_OK)
        return fail(run, &own->error, own->status, "creating ServiceAccount");
    return 0;
}

static int request_token(kfx_run_t *run, kfx_remote_t *remote, kfx_credentials_t *out)
{
    kfx_error_t err = KFX_ERROR_INIT;
    int64_t seconds = run->memo.token_seconds;
    KFX_REQUEST kfx_request_t *post =
        kfx_request_new(KFX_POST, kfx_token_request(seconds), ACCOUNTS "/%s/token", run->manager);
    kfx_code_t code = kfx_remote_request(run, remote, post, LIMIT_MS);
    if (code == KFX_E_INVALID && post->status > 0)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "InvalidSpec",
                               "error requesting token from the adopted cluster: tokenExpirationSeconds %lld: %.380s",
                               (long long)seconds, post->error.msg);
    if (code != KFX_OK)
        return fail(run, &post->error, post->status, "requesting token");
    if (kfx_token_take(post->answer, time(NULL), out, &err))
        return fail(run, &err, 200, "requesting token");
    return 0;
}

int kfx_external_enroll(kfx_run_t *run, kfx_kube_config_t *config, kfx_credentials_t *out)
{
    char uid[KFX_UID_SIZE] = "";
    kfx_remote_t *remote = dial(run, config);
    if (!remote)
        return -1;
    int rc = ensure_binding(run, remote, uid) || ensure_account(run, remote, uid) || request_token(run, remote, out)
                 ? -1
                 : 0;
    hang_up(run, remote);
    return rc;
}

int kfx_external_renew(kfx_run_t *run, kfx_credentials_t *credentials)
{
    kfx_remote_t *remote = dial(run, kfx_credentials_config(credentials));
    if (!remote)
        return -1;
    int rc = request_token(run, remote, credentials);
    hang_up(run, remote);
    return rc;
}

int kfx_external_prove(kfx_run_t *run, const kfx_credentials_t *credentials)
{
    kfx_remote_t *remote = dial(run, kfx_credentials_config(credentials));
    kfx_code_t code = KFX_E_UNAUTHORIZED;
    int rc = 0;
    if (!remote)
        return -1;
    for (int tries = 0; code != KFX_OK && rc == 0; tries++) {
        KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, BINDINGS "/%s", run->manager);
        code = kfx_remote_request(run, remote, get, LIMIT_MS);
        /* Caches of the API server that do not know the account or its rights yet. */
        bool early = code == KFX_E_UNAUTHORIZED || code == KFX_E_FORBIDDEN;
        if (early && tries < PROOF_TRIES)
            kfx_pause_ms(PROOF_PAUSE_MS);
        else if (code != KFX_OK)
            rc = fail(run, &get->error, get->status, "trying the new token");
    }
    hang_up(run, remote);
    return rc;
}

/* Nothing left, or nothing that these credentials could still remove. */
static bool over(kfx_code_t code)
{
    return code == KFX_OK || code == KFX_E_NOT_FOUND || code == KFX_E_UNAUTHORIZED || code == KFX_E_FORBIDDEN;
}

kfx_code_t kfx_external_remove(kfx_run_t *run, kfx_kube_config_t *config, kfx_error_t *err)
{
    config->screened = true;
    kfx_remote_t *remote = run->rec->ops.dial(run->rec->ops.ctx, config, err);
    if (!remote)
        return err->code;
    KFX_REQUEST kfx_request_t *binding_gone =
        kfx_request_new(KFX_DELETE, delete_options(NULL), BINDINGS "/%s", run->manager);
    KFX_REQUEST kfx_request_t *account_gone =
        kfx_request_new(KFX_DELETE, delete_options(NULL), ACCOUNTS "/%s", run->manager);
    kfx_code_t code = kfx_remote_request(run, remote, binding_gone, LIMIT_MS);
    /* The binding's garbage collection takes the account along; this is quicker where the rights still hold. */
    if (over(code))
        (void)kfx_remote_request(run, remote, account_gone, LIMIT_MS);
    if (code == KFX_E_FORBIDDEN) /* an account that is gone already is not worth a word */
        kfx_log_warn("the adopted cluster lets us remove nothing", "plane", run->owner.plane, "objects", run->manager,
                     "error", binding_gone->error.msg, NULL);
    if (!over(code))
        *err = binding_gone->error;
    hang_up(run, remote);
    return over(code) ? KFX_OK : code;
}
