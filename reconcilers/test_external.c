/* reconcilers/test_external.c: whole tasks of the type external against two API servers in memory. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/external/bootstrap.h"
#include "reconcilers/fake_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UID "5e2b1c3a-0000-4000-8000-0000000000aa"
#define NS "/api/v1/namespaces/x1-system"
#define ADMIN NS "/secrets/admin-kubeconfig"
#define COPY NS "/secrets/external-credentials"
#define SYSTEM_SECRETS "/api/v1/namespaces/kubeflex-system/secrets"
#define BOOTSTRAP SYSTEM_SECRETS "/x1-bootstrap"
#define PLANE KFX_CONTROLPLANES_PATH "/x1"
#define BINDING "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeflex-" UID
#define ACCOUNT "/api/v1/namespaces/kube-system/serviceaccounts/kubeflex-" UID
#define GOOD                                                                                                           \
    "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: [{name: k, cluster: "       \
    "{server: 'https://10.9.8.7:6443', certificate-authority-data: "                                                   \
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==}}], users: [{name: u, user: {token: administrator}}]}"

typedef struct {
    kfx_fake_t api, cluster;
    kfx_reconciler_t rec;
    kfx_result_t result;
} world_t;

static json_t *encoded(const char *text)
{
    KFX_FREE char *coded = kfx_base64_encode(text, strlen(text));
    return json_string(coded);
}

static void set_config(world_t *w, const char *key, const char *value)
{
    json_t *data = json_pack("{s:s, s:s}", "domain", "localtest.me", "externalPort", "9443");
    if (key)
        json_object_set_new(data, key, json_string(value));
    kfx_fake_put(
        &w->api, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps",
        json_pack("{s:s, s:{s:s}, s:o}", "kind", "ConfigMap", "metadata", "name", KFX_CONFIGMAP, "data", data));
}

static json_t *put_bootstrap(world_t *w, const char *kubeconfig)
{
    return kfx_fake_put(&w->api, SYSTEM_SECRETS,
                        json_pack("{s:s, s:{s:s}, s:{s:o}}", "kind", "Secret", "metadata", "name", "x1-bootstrap",
                                  "data", "kubeconfig-incluster", encoded(kubeconfig)));
}

static int setup(void **state)
{
    world_t *w = kfx_xcalloc(1, sizeof(*w));
    kfx_fake_init(&w->cluster);
    kfx_fake_init(&w->api);
    w->api.remote = &w->cluster;
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("external"), &ops);
    kfx_fake_put(&w->api, KFX_CONTROLPLANES_PATH,
                 json_pack("{s:s, s:{s:s, s:s, s:i}, s:{s:s, s:i, s:{s:s, s:s, s:s}}}", "kind", "ControlPlane",
                           "metadata", "name", "x1", "uid", UID, "generation", 1, "spec", "type", "external",
                           "tokenExpirationSeconds", 3600, "bootstrapSecretRef", "namespace", "kubeflex-system", "name",
                           "x1-bootstrap", "inClusterKey", "kubeconfig-incluster"));
    set_config(w, NULL, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;
    kfx_reconciler_clear(&w->rec);
    kfx_fake_clear(&w->api);
    kfx_fake_clear(&w->cluster);
    free(w);
    return 0;
}

/* What the watcher would tell of the Secret that the last result awaits. */
static void tell_awaited(world_t *w, kfx_digest_t *digest)
{
    char path[KFX_NAME_SIZE + 128];
    const char *slash = strchr(w->result.awaits_secret, '/');
    if (!slash)
        return;
    snprintf(path, sizeof(path), "/api/v1/namespaces/%.*s/secrets%s", (int)(slash - w->result.awaits_secret),
             w->result.awaits_secret, slash);
    const json_t *secret = kfx_fake_get(&w->api, path);
    if (secret)
        snprintf(digest->awaited, sizeof(digest->awaited), "%s/%s", kfx_json_str(secret, "metadata", "uid"),
                 kfx_json_str(secret, "metadata", "resourceVersion"));
}

static void run_as(world_t *w, bool deleting)
{
    kfx_task_t task = {.env = {.deleting = deleting}};
    kfx_digest_t *digest = kfx_fake_digest(&w->api, "x1", UID);
    tell_awaited(w, digest);
    task.env.generation = kfx_json_int(kfx_fake_get(&w->api, PLANE), 1, "metadata", "generation");
    task.digest = digest;
    kfx_copy(task.env.key, sizeof(task.env.key), "x1");
    kfx_copy(task.env.uid, sizeof(task.env.uid), UID);
    w->result = (kfx_result_t){.outcome = KFX_OUTCOME_NONE};
    kfx_reconciler_run(&w->rec, &task, &w->result);
    kfx_digest_free(digest);
}

static void run_task(world_t *w)
{
    run_as(w, false);
}

static void restart(world_t *w)
{
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    kfx_reconciler_clear(&w->rec);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("external"), &ops);
    kfx_fake_forget_log(&w->api);
    kfx_fake_forget_log(&w->cluster);
}

static const char *message(const world_t *w, const char *type)
{
    for (size_t i = 0; i < w->result.condition_count; i++)
        if (strcmp(w->result.conditions[i].type, type) == 0)
            return w->result.conditions[i].message;
    return "";
}

static void assert_condition(const world_t *w, const char *type, const char *status, const char *reason)
{
    for (size_t i = 0; i < w->result.condition_count; i++) {
        const kfx_condition_t *c = &w->result.conditions[i];
        if (strcmp(c->type, type) != 0)
            continue;
        if (strcmp(c->reason, reason) != 0 || strcmp(c->status, status) != 0)
            fail_msg("%s is %s/%s (%s), not %s/%s", type, c->status, c->reason, c->message, status, reason);
        return;
    }
    fail_msg("there is no condition %s", type);
}

static char *kubeconfig(world_t *w, const char *path, const char *key)
{
    const char *coded = kfx_json_str(kfx_fake_get(&w->api, path), "data", key);
    size_t len;
    return coded ? kfx_base64_decode(coded, &len, NULL) : NULL;
}

static void bring_up(world_t *w)
{
    put_bootstrap(w, GOOD);
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
}

static void test_life(void **state)
{
    world_t *w = *state;
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForBootstrap");
    assert_condition(w, "Ready", "False", "Creating");
    assert_int_equal(w->result.retry_after_ms, 0); /* its creation is an event */
    assert_string_equal(w->result.awaits_secret, "kubeflex-system/x1-bootstrap");

    bring_up(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_string_equal(w->result.secret_name, "admin-kubeconfig");
    assert_string_equal(w->result.secret_key, "kubeconfig");
    assert_true(w->api.dialed_screened);
    assert_in_range(w->result.retry_after_ms, 13000, 27000);
    KFX_FREE char *inside = kubeconfig(w, ADMIN, "kubeconfig-incluster");
    assert_non_null(strstr(inside, "server: https://10.9.8.7:6443\n"));
    assert_non_null(strstr(inside, "token: token-1\n"));
    KFX_FREE char *outside = kubeconfig(w, ADMIN, "kubeconfig");
    assert_non_null(strstr(outside, "server: https://10.9.8.7:6443\n"));

    const json_t *binding = kfx_fake_get(&w->cluster, BINDING), *account = kfx_fake_get(&w->cluster, ACCOUNT);
    assert_string_equal(kfx_json_str(binding, "roleRef", "name"), "cluster-admin");
    assert_string_equal(kfx_json_str(binding, "subjects", "0", "name"), "kubeflex-" UID);
    assert_string_equal(kfx_json_str(account, "metadata", "ownerReferences", "0", "uid"),
                        kfx_json_str(binding, "metadata", "uid"));
    assert_null(kfx_fake_get(&w->api, BOOTSTRAP));

    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(json_array_size(w->api.log), 1); /* the Secret, to ask the cluster with what users have */
    restart(w);
    run_task(w);
    assert_int_equal(w->result.written_count, 0);
    assert_int_equal(w->cluster.tokens, 1);
}

/* The administrator's kubeconfig stays until what replaces it was seen to work. */
static void test_bootstrap_stays_until_proof(void **state)
{
    static const char *const steps[] = {"POST /apis/rbac", "POST /api/v1/namespaces/kube-system/serviceaccounts",
                                        "/token", "GET " BINDING};
    world_t *w = *state;
    put_bootstrap(w, GOOD);
    for (size_t i = 0; i < KFX_COUNT(steps); i++) {
        if (i == KFX_COUNT(steps) - 1) { /* made anew, they are not read before the proof */
            kfx_fake_delete(&w->cluster, BINDING);
            kfx_fake_delete(&w->cluster, ACCOUNT);
        }
        w->cluster.fail_at = steps[i];
        w->cluster.fail_code = KFX_E_UNAVAILABLE;
        w->cluster.fail_status = 500;
        w->cluster.fail_message = "no";
        run_task(w);
        if (w->cluster.fail_at)
            fail_msg("%s was not tried", steps[i]);
        assert_condition(w, "Synced", "False", "ReconcileError");
        assert_non_null(strstr(message(w, "Synced"), "on the adopted cluster: no"));
        assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY); /* not DOWN: the hosting cluster is well */
        assert_non_null(kfx_fake_get(&w->api, BOOTSTRAP));
    }
    w->api.fail_at = "APPLY " ADMIN;
    w->api.fail_code = KFX_E_INTERNAL;
    w->api.fail_status = 500;
    w->api.fail_message = "no";
    run_task(w);
    assert_non_null(kfx_fake_get(&w->api, BOOTSTRAP));
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_null(kfx_fake_get(&w->api, BOOTSTRAP));
}

/* B-25, S-06: what is refused, with a message; nothing is dialled and nothing deleted. */
static void test_refused_bootstraps(void **state)
{
#define WITH(server, user)                                                                                             \
    "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: [{name: k, cluster: {"      \
    "server: '" server "'}}], users: [{name: u, user: {" user "}}]}"
    static const struct {
        const char *kubeconfig, *word;
    } cases[] = {
        {"", "kubeconfig not found in bootstrap secret for key kubeconfig-incluster"},
        {"hunter2", "holds no kubeconfig"},
        {"- hunter2", "holds no kubeconfig"},
        {"{password: hunter2, clusters: 3}", "holds no kubeconfig"},
        {"{contexts: [], clusters: [], users: []}", "no current context"},
        {"{current-context: gone, contexts: [], clusters: [], users: []}", "no context \"gone\""},
        {"{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: []}", "cluster \"k\""},
        {WITH("https://10.0.0.1", "exec: {command: /bin/sh, apiVersion: v1}"), "exec plugin"},
        {WITH("https://10.0.0.1", "auth-provider: {name: x}"), "auth-provider"},
        {WITH("https://10.0.0.1", "tokenFile: /etc/shadow"), "tokenFile names a file"},
        {WITH("https://10.0.0.1", "client-certificate: /a, client-key: /b"), "client-certificate names a file"},
        {WITH("https://10.0.0.1', certificate-authority: '/etc/hosts", "token: t"),
         "certificate-authority names a file"},
        {WITH("https://10.0.0.1', insecure-skip-tls-verify: true, x: '", "token: t"), "insecure-skip-tls-verify"},
        {WITH("https://10.0.0.1', proxy-url: 'http://127.0.0.1:1", "token: t"), "proxy-url"},
        {WITH("https://10.0.0.1", "username: a, password: b"), "password is not accepted"},
        {WITH("https://10.0.0.1", ""), "neither a token nor a certificate"},
        {WITH("http://10.0.0.1", "token: t"), "https"},
        {WITH("https://127.0.0.1:6443", "token: t"), "loopback"},
        {WITH("https://localhost:6443", "token: t"), "localhost"},
        {WITH("https://169.254.169.254", "token: t"), "link-local"},
        {WITH("https://[::1]:6443", "token: t"), "loopback"},
        {WITH("https://[::ffff:a9fe:a9fe]:80", "token: t"), "link-local"},
    };
    world_t *w = *state;
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        put_bootstrap(w, cases[i].kubeconfig);
        run_task(w);
        assert_condition(w, "Synced", "False", "BootstrapRefused");
        if (!strstr(message(w, "Synced"), cases[i].word))
            fail_msg("\"%s\" instead of \"%s\"", message(w, "Synced"), cases[i].word);
        assert_null(strstr(message(w, "Synced"), "hunter2"));
        assert_int_equal(w->api.dials, 0);
        assert_non_null(kfx_fake_get(&w->api, BOOTSTRAP));
        restart(w);
    }
}

static void set_reference(world_t *w, const char *ns, const char *name)
{
    json_t *plane = kfx_fake_get(&w->api, PLANE);
    kfx_json_put(plane, json_string(ns), "spec", "bootstrapSecretRef", "namespace");
    kfx_json_put(plane, json_string(name), "spec", "bootstrapSecretRef", "name");
    kfx_json_put(plane, json_integer(kfx_json_int(plane, 0, "metadata", "generation") + 1), "metadata", "generation");
}

/* S-06: a ControlPlane's author cannot have just any Secret read, used or deleted. */
static void test_where_bootstraps_may_stand(void **state)
{
    static const char *const places[][2] = {{"default", "x1-bootstrap"},
                                            {"x1-system", "x1-bootstrap"},
                                            {"kubeflex", "x1-bootstrap"},
                                            {"kubeflex-system", "kubeflex-bus-watcher"},
                                            {"kubeflex-system", "kubeflex-storage-login"},
                                            {"kubeflex-system", "postgres-postgresql"}};
    world_t *w = *state;
    for (size_t i = 0; i < KFX_COUNT(places); i++) {
        char path[256];
        set_reference(w, places[i][0], places[i][1]);
        kfx_fake_forget_log(&w->api);
        run_task(w);
        assert_condition(w, "Synced", "False", "BootstrapRefused");
        snprintf(path, sizeof(path), "namespaces/%s/secrets/%s", places[i][0], places[i][1]);
        assert_int_equal(kfx_fake_count(&w->api, path), 0);
    }
    set_reference(w, "kubeflex-system/secrets/a?x=", "x");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidSpec");

    set_config(w, "bootstrapNamespaces", "ops, team-a");
    set_reference(w, "team-a", "x1-bootstrap");
    kfx_fake_put(&w->api, "/api/v1/namespaces/team-a/secrets",
                 json_pack("{s:s, s:{s:s}, s:{s:o}}", "kind", "Secret", "metadata", "name", "x1-bootstrap", "data",
                           "kubeconfig-incluster", encoded(GOOD)));
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
}

static void test_bootstrap_of_another_plane(void **state)
{
    world_t *w = *state;
    kfx_json_put(put_bootstrap(w, GOOD), json_string("other"), "metadata", "labels", KFX_LABEL_PLANE);
    run_task(w);
    assert_condition(w, "Synced", "False", "BootstrapRefused");
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_non_null(kfx_fake_get(&w->api, BOOTSTRAP));
}

static void test_no_reference(void **state)
{
    world_t *w = *state;
    json_object_del(kfx_json_get(kfx_fake_get(&w->api, PLANE), "spec"), "bootstrapSecretRef");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidSpec");
    assert_non_null(strstr(message(w, "Synced"), "bootstrapSecretRef must be present in the control plane"));
}

static void test_short_token_is_invalid(void **state)
{
    world_t *w = *state;
    put_bootstrap(w, GOOD);
    kfx_json_put(kfx_fake_get(&w->api, PLANE), json_integer(60), "spec", "tokenExpirationSeconds");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidSpec");
    assert_non_null(strstr(message(w, "Synced"), "tokenExpirationSeconds 60"));
    assert_non_null(kfx_fake_get(&w->api, BOOTSTRAP));
}

static void test_renewal(void **state)
{
    world_t *w = *state;
    w->cluster.token_seconds = 4; /* four fifths of it are over at once, in whole seconds */
    bring_up(w);
    w->cluster.token_seconds = 3600;
    run_task(w);
    assert_int_equal(w->cluster.tokens, 2);
    assert_string_equal(w->api.dialed_token, "token-2");
    KFX_FREE char *text = kubeconfig(w, ADMIN, "kubeconfig-incluster");
    assert_non_null(strstr(text, "token: token-2\n"));
    run_task(w);
    assert_int_equal(w->cluster.tokens, 2);

    json_t *plane = kfx_fake_get(&w->api, PLANE); /* another life is asked for */
    kfx_json_put(plane, json_integer(7200), "spec", "tokenExpirationSeconds");
    kfx_json_put(plane, json_integer(2), "metadata", "generation");
    run_task(w);
    assert_int_equal(w->cluster.tokens, 3);
}

/* Either Secret is rebuilt from the other; what somebody wrote into one of them is not trusted. */
static void test_drift_is_repaired(void **state)
{
    world_t *w = *state;
    bring_up(w);
    json_t *before = json_deep_copy(kfx_json_get(kfx_fake_get(&w->api, ADMIN), "data"));
    const char *const paths[] = {ADMIN, COPY};
    for (size_t i = 0; i < KFX_COUNT(paths); i++) {
        kfx_fake_delete(&w->api, paths[i]);
        run_task(w);
        assert_true(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, paths[i]), "data")));
        kfx_json_put(kfx_fake_get(&w->api, paths[i]), encoded(GOOD), "data", "kubeconfig-incluster");
        json_object_set_new(kfx_fake_get(&w->api, paths[i]), "drifted", json_true());
        run_task(w);
        assert_true(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, paths[i]), "data")));
        assert_condition(w, "Ready", "True", "Available");
    }
    assert_int_equal(w->cluster.tokens, 1);
    kfx_fake_delete(&w->api, ADMIN);
    kfx_fake_delete(&w->api, COPY);
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForBootstrap");
    put_bootstrap(w, GOOD);
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    json_decref(before);
}

static void test_ready_follows_the_cluster(void **state)
{
    world_t *w = *state;
    bring_up(w);
    w->api.refuse = KFX_E_UNAVAILABLE;
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    for (int i = 0; i < 30; i++)
        run_task(w);
    assert_int_equal(w->result.retry_after_ms, 5000);
    w->api.refuse = KFX_OK;
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");

    kfx_fake_delete(&w->cluster, BINDING); /* it answers, but our rights are gone */
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_non_null(strstr(message(w, "Ready"), "rights"));
    put_bootstrap(w, GOOD); /* adopted once more */
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_non_null(kfx_fake_get(&w->cluster, BINDING));
    assert_null(kfx_fake_get(&w->api, BOOTSTRAP));
}

/* What a worker that died between the writing of the Secrets and the deletion left behind, and what is put there again
 * while all is well: used once, and one that is refused is not asked of the cluster again and again. */
static void test_leftover_bootstrap(void **state)
{
    world_t *w = *state;
    bring_up(w);
    put_bootstrap(w, GOOD);
    restart(w);
    w->result.awaits_secret[0] = '\0'; /* and of the watcher too: it is told only afterwards */
    run_task(w);
    assert_null(kfx_fake_get(&w->api, BOOTSTRAP));
    assert_condition(w, "Ready", "True", "Available");
    assert_int_equal(w->cluster.tokens, 2);

    put_bootstrap(w, GOOD);
    run_task(w);
    assert_null(kfx_fake_get(&w->api, BOOTSTRAP));
    assert_int_equal(w->cluster.tokens, 3);
    run_task(w);
    assert_int_equal(w->cluster.tokens, 3);

    put_bootstrap(w, "x");
    run_task(w);
    assert_condition(w, "Synced", "False", "BootstrapRefused");
    assert_string_equal(w->result.awaits_secret, "kubeflex-system/x1-bootstrap");
    kfx_fake_delete(&w->api, BOOTSTRAP);
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_int_equal(w->cluster.tokens, 3);
}

static void test_outside_address(void **state)
{
    world_t *w = *state;
    json_t *secret = put_bootstrap(w, GOOD);
    kfx_json_put(secret, json_string("https://127.0.0.1:40001"), "metadata", "annotations", KFX_ANNOTATION_SERVER);
    run_task(w);
    KFX_FREE char *outside = kubeconfig(w, ADMIN, "kubeconfig");
    assert_non_null(strstr(outside, "server: https://127.0.0.1:40001\n"));
    assert_string_equal(w->api.dialed_server, "https://10.9.8.7:6443");
}

static void test_deletion(void **state)
{
    world_t *w = *state;
    bring_up(w);
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_null(kfx_fake_get(&w->cluster, BINDING));
    assert_null(kfx_fake_get(&w->cluster, ACCOUNT));
    assert_true(kfx_object_terminating(kfx_fake_get(&w->api, "/api/v1/namespaces/x1-system")));
}

/* The Namespace, and with it the credentials, stays until the account is removed, or that was tried long enough. */
static void test_deletion_of_a_silent_cluster(void **state)
{
    world_t *w = *state;
    char when[KFX_RFC3339_SIZE];
    bring_up(w);
    w->api.refuse = KFX_E_UNAVAILABLE;
    kfx_json_put(kfx_fake_get(&w->api, PLANE), json_string(kfx_rfc3339_now(when)), "metadata", "deletionTimestamp");
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_non_null(strstr(message(w, "Synced"), "adopted cluster"));
    assert_false(kfx_object_terminating(kfx_fake_get(&w->api, "/api/v1/namespaces/x1-system")));
    kfx_json_put(kfx_fake_get(&w->api, PLANE), json_string(kfx_rfc3339(when, time(NULL) - 400)), "metadata",
                 "deletionTimestamp");
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
}

static void test_deletion_before_adoption(void **state)
{
    world_t *w = *state;
    w->cluster.fail_at = "/token";
    w->cluster.fail_code = KFX_E_UNAVAILABLE;
    w->cluster.fail_status = 500;
    w->cluster.fail_message = "no";
    kfx_json_put(put_bootstrap(w, GOOD), json_string("x1"), "metadata", "labels", KFX_LABEL_PLANE);
    run_task(w);
    assert_non_null(kfx_fake_get(&w->cluster, BINDING));
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_null(kfx_fake_get(&w->cluster, BINDING));
    assert_null(kfx_fake_get(&w->cluster, ACCOUNT));
    assert_null(kfx_fake_get(&w->api, BOOTSTRAP)); /* it was made for this plane */
}

/* Two planes may adopt one cluster. */
static void test_names_hold_the_uid(void **state)
{
    world_t *w = *state;
    kfx_fake_put(&w->cluster, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                 json_pack("{s:s, s:{s:s}}", "kind", "ClusterRoleBinding", "metadata", "name", "kubeflex-other"));
    bring_up(w);
    run_as(w, true);
    assert_non_null(kfx_fake_get(&w->cluster, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeflex-other"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_bootstrap_stays_until_proof),
        TEST(test_refused_bootstraps),
        TEST(test_where_bootstraps_may_stand),
        TEST(test_bootstrap_of_another_plane),
        TEST(test_no_reference),
        TEST(test_short_token_is_invalid),
        TEST(test_renewal),
        TEST(test_drift_is_repaired),
        TEST(test_ready_follows_the_cluster),
        TEST(test_leftover_bootstrap),
        TEST(test_outside_address),
        TEST(test_deletion),
        TEST(test_deletion_of_a_silent_cluster),
        TEST(test_deletion_before_adoption),
        TEST(test_names_hold_the_uid),
    };
    return cmocka_run_group_tests_name("external", tests, NULL, NULL);
}
