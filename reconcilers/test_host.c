/* reconcilers/test_host.c: whole tasks of the type host against an API server in memory. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/credentials.h"
#include "reconcilers/fake_api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UID "5e2b1c3a-0000-4000-8000-0000000000aa"
#define NS "/api/v1/namespaces/h1-system"
#define ADMIN NS "/secrets/admin-kubeconfig"
#define TOKEN NS "/secrets/h1"
#define ACCOUNT NS "/serviceaccounts/h1"
#define BINDINGS "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
#define BINDING BINDINGS "/h1-binding"
#define MANAGER "system:serviceaccount:kubeflex-system:kubeflex-controller-manager"
#define CA "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

typedef struct {
    kfx_fake_t api;
    kfx_reconciler_t rec;
    kfx_result_t result;
} world_t;

static void set_config(world_t *w, const char *key, const char *value)
{
    json_t *data = json_pack("{s:s, s:s}", "domain", "localtest.me", "externalPort", "9443");
    if (key)
        json_object_set_new(data, key, json_string(value));
    kfx_fake_put(
        &w->api, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps",
        json_pack("{s:s, s:{s:s}, s:o}", "kind", "ConfigMap", "metadata", "name", KFX_CONFIGMAP, "data", data));
}

static int setup(void **state)
{
    world_t *w = kfx_xcalloc(1, sizeof(*w));
    kfx_fake_init(&w->api);
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("host"), &ops);
    kfx_fake_put(&w->api, KFX_CONTROLPLANES_PATH,
                 json_pack("{s:s, s:{s:s, s:s, s:i}, s:{s:s, s:i}}", "kind", "ControlPlane", "metadata", "name", "h1",
                           "uid", UID, "generation", 1, "spec", "type", "host", "tokenExpirationSeconds", 31536000));
    set_config(w, NULL, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;
    kfx_reconciler_clear(&w->rec);
    kfx_fake_clear(&w->api);
    free(w);
    return 0;
}

static void run_as(world_t *w, bool deleting)
{
    kfx_task_t task = {.env = {.generation = 1, .deleting = deleting}};
    task.digest = kfx_fake_digest(&w->api, "h1", UID);
    kfx_copy(task.env.key, sizeof(task.env.key), "h1");
    kfx_copy(task.env.uid, sizeof(task.env.uid), UID);
    w->result = (kfx_result_t){.outcome = KFX_OUTCOME_NONE};
    kfx_reconciler_run(&w->rec, &task, &w->result);
    kfx_digest_free((kfx_digest_t *)(uintptr_t)task.digest);
}

static void run_task(world_t *w)
{
    run_as(w, false);
}

static void restart(world_t *w)
{
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    kfx_reconciler_clear(&w->rec);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("host"), &ops);
    kfx_fake_forget_log(&w->api);
}

static json_t *encoded(const char *text)
{
    KFX_FREE char *coded = kfx_base64_encode(text, strlen(text));
    return json_string(coded);
}

/* What Kubernetes' token controller does. */
static void fill_token(world_t *w, const char *token)
{
    json_t *secret = kfx_fake_get(&w->api, TOKEN);
    assert_non_null(secret);
    json_object_set_new(secret, "data", json_pack("{s:o, s:o}", "token", encoded(token), "ca.crt", encoded(CA)));
    kfx_json_put(secret, json_sprintf("%d", ++w->api.serial), "metadata", "resourceVersion");
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

static char *kubeconfig(world_t *w, const char *key)
{
    const char *coded = kfx_json_str(kfx_fake_get(&w->api, ADMIN), "data", key);
    size_t len;
    return coded ? kfx_base64_decode(coded, &len, NULL) : NULL;
}

static void bring_up(world_t *w)
{
    run_task(w);
    fill_token(w, "secret-1");
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
}

static void test_life(void **state)
{
    world_t *w = *state;
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_condition(w, "Synced", "False", "WaitingForToken"); /* B-08: no failure */
    assert_condition(w, "Ready", "False", "Creating");
    assert_string_equal(w->result.secret_name, "");
    assert_int_equal(kfx_fake_count(&w->api, "POST " BINDINGS " as " MANAGER), 1);
    assert_int_equal(kfx_fake_count(&w->api, BINDINGS) - kfx_fake_count(&w->api, " as " MANAGER), 0);

    fill_token(w, "secret-1");
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(w->result.secret_name, "admin-kubeconfig");
    assert_string_equal(w->result.secret_in_cluster_key, "kubeconfig-incluster");
    assert_string_equal(w->result.secret_key, ""); /* B-25: no key that is not there */
    assert_null(kfx_json_get(kfx_fake_get(&w->api, ADMIN), "data", "kubeconfig"));
    KFX_FREE char *text = kubeconfig(w, "kubeconfig-incluster");
    assert_non_null(strstr(text, "server: https://kubernetes.default.svc\n"));
    assert_non_null(strstr(text, "token: secret-1\n"));
    assert_non_null(strstr(text, "current-context: h1\n"));
    assert_string_equal(w->api.dialed_server, "https://10.96.0.1:443"); /* no name service in between */
    assert_string_equal(w->api.dialed_token, "secret-1");

    const json_t *binding = kfx_fake_get(&w->api, BINDING);
    assert_string_equal(kfx_json_str(binding, "roleRef", "name"), "cluster-admin");
    assert_string_equal(kfx_json_str(binding, "subjects", "0", "namespace"), "h1-system");
    assert_int_equal(kfx_fake_count(&w->api, "services"), 0);
    assert_int_equal(kfx_fake_count(&w->api, "ingresses") + kfx_fake_count(&w->api, "routes"), 0);
}

/* B-23: nothing is made that would stay when the plane goes. */
static void test_all_is_owned(void **state)
{
    static const char *const paths[] = {"/api/v1/namespaces/h1-system", ACCOUNT, TOKEN, ADMIN, BINDING};
    world_t *w = *state;
    bring_up(w);
    for (size_t i = 0; i < KFX_COUNT(paths); i++) {
        const json_t *object = kfx_fake_get(&w->api, paths[i]);
        if (!object || !kfx_object_owned(object, UID))
            fail_msg("%s is not owned", paths[i]);
    }
}

static void test_rest_is_one_look(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(json_array_size(w->api.log), 1); /* the Secret, to ask with what users have */
    assert_int_equal(w->result.written_count, 0);
    restart(w);
    run_task(w);
    assert_int_equal(kfx_fake_count(&w->api, "GET"), json_array_size(w->api.log));
    assert_int_equal(w->result.written_count, 0);
    assert_condition(w, "Ready", "True", "Available");
}

static void drift(world_t *w, const char *path)
{
    json_object_set_new(kfx_fake_get(&w->api, path), "drifted", json_true());
}

static void test_drift_is_repaired(void **state)
{
    world_t *w = *state;
    bring_up(w);
    json_t *before = json_deep_copy(kfx_json_get(kfx_fake_get(&w->api, ADMIN), "data"));
    kfx_json_put(kfx_fake_get(&w->api, ADMIN), encoded("rubbish"), "data", "kubeconfig-incluster");
    drift(w, ADMIN);
    kfx_json_put(kfx_fake_get(&w->api, BINDING), json_array(), "subjects");
    drift(w, BINDING);
    drift(w, ACCOUNT);
    run_task(w);
    assert_true(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, ADMIN), "data")));
    assert_string_equal(kfx_json_str(kfx_fake_get(&w->api, BINDING), "subjects", "0", "name"), "h1");
    assert_null(json_object_get(kfx_fake_get(&w->api, ACCOUNT), "drifted"));
    kfx_fake_delete(&w->api, ADMIN);
    kfx_fake_delete(&w->api, BINDING);
    run_task(w);
    assert_true(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, ADMIN), "data")));
    assert_non_null(kfx_fake_get(&w->api, BINDING));
    assert_condition(w, "Ready", "True", "Available");
    json_decref(before);
}

static void test_new_token_is_passed_on(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_fake_delete(&w->api, TOKEN);
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForToken");
    fill_token(w, "secret-2");
    run_task(w);
    KFX_FREE char *text = kubeconfig(w, "kubeconfig-incluster");
    assert_non_null(strstr(text, "token: secret-2\n"));
    assert_condition(w, "Ready", "True", "Available");
}

/* A token that is refused for seconds is one that somebody put there: the Secret is made anew. */
static void test_refused_token(void **state)
{
    world_t *w = *state;
    kfx_memo_t memo;
    bring_up(w);
    w->api.refuse = KFX_E_UNAUTHORIZED;
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_non_null(kfx_fake_get(&w->api, TOKEN)); /* caches of the API server may lag */
    kfx_memos_get(w->rec.memos, UID, &memo);
    memo.refused_ms -= 5000;
    kfx_memos_put(w->rec.memos, &memo);
    run_task(w);
    assert_null(kfx_fake_get(&w->api, TOKEN));
    w->api.refuse = KFX_OK;
    run_task(w);
    fill_token(w, "secret-3");
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(w->api.dialed_token, "secret-3");
}

static void test_unreachable(void **state)
{
    world_t *w = *state;
    bring_up(w);
    w->api.refuse = KFX_E_UNAVAILABLE;
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_non_null(kfx_fake_get(&w->api, TOKEN));
}

static void test_outside_address(void **state)
{
    world_t *w = *state;
    set_config(w, "hostServerURL", "https://k8s.example.com:6443");
    bring_up(w);
    assert_string_equal(w->result.secret_key, "kubeconfig");
    KFX_FREE char *text = kubeconfig(w, "kubeconfig");
    assert_non_null(strstr(text, "server: https://k8s.example.com:6443\n"));
    assert_non_null(strstr(text, "token: secret-1\n"));
    set_config(w, NULL, NULL);
    run_task(w);
    assert_string_equal(w->result.secret_key, "");
    assert_null(kfx_json_get(kfx_fake_get(&w->api, ADMIN), "data", "kubeconfig"));
}

static void test_cluster_info(void **state)
{
    world_t *w = *state;
    static const char info[] = "apiVersion: v1\nkind: Config\nclusters:\n- name: ''\n  cluster: {server: "
                               "'https://192.0.2.7:6443', certificate-authority-data: "
                               "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==}\n";
    kfx_fake_put(&w->api, "/api/v1/namespaces/kube-public/configmaps",
                 json_pack("{s:s, s:{s:s}, s:{s:s}}", "kind", "ConfigMap", "metadata", "name", "cluster-info", "data",
                           "kubeconfig", info));
    bring_up(w);
    assert_string_equal(w->result.secret_key, "kubeconfig");
    KFX_FREE char *text = kubeconfig(w, "kubeconfig");
    assert_non_null(strstr(text, "server: https://192.0.2.7:6443\n"));
    assert_non_null(strstr(text, "certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==\n"));
}

static void test_lesser_role(void **state)
{
    world_t *w = *state;
    bring_up(w);
    set_config(w, "hostClusterRole", "view");
    run_task(w);
    assert_string_equal(kfx_json_str(kfx_fake_get(&w->api, BINDING), "roleRef", "name"), "view");
    set_config(w, "hostClusterRole", "none");
    run_task(w);
    assert_null(kfx_fake_get(&w->api, BINDING));
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
}

/* A binding of that name that is somebody else's may give rights to others: it is not touched, also at deletion. */
static void test_foreign_binding(void **state)
{
    world_t *w = *state;
    kfx_fake_put(&w->api, BINDINGS,
                 json_pack("{s:s, s:{s:s}, s:{s:s}}", "kind", "ClusterRoleBinding", "metadata", "name", "h1-binding",
                           "roleRef", "name", "other"));
    run_task(w);
    assert_condition(w, "Synced", "False", "NameConflict");
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_string_equal(kfx_json_str(kfx_fake_get(&w->api, BINDING), "roleRef", "name"), "other");
}

static void test_binding_not_allowed(void **state)
{
    world_t *w = *state;
    w->api.fail_at = "POST " BINDINGS;
    w->api.fail_code = KFX_E_FORBIDDEN;
    w->api.fail_status = 403;
    w->api.fail_message = "attempting to grant RBAC permissions not currently held";
    run_task(w);
    assert_condition(w, "Synced", "False", "ReconcileError");
    assert_non_null(strstr(w->result.conditions[0].message, MANAGER));
}

static void test_bound_tokens(void **state)
{
    world_t *w = *state;
    set_config(w, "hostTokens", "bound");
    run_task(w); /* a cluster that publishes its authority nowhere */
    assert_condition(w, "Synced", "False", "ReconcileError");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    kfx_fake_put(&w->api, "/api/v1/namespaces/" KFX_SYSTEM_NAMESPACE "/configmaps",
                 json_pack("{s:s, s:{s:s}, s:{s:s}}", "kind", "ConfigMap", "metadata", "name", "kube-root-ca.crt",
                           "data", "ca.crt", CA));
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(w->api.dialed_token, "token-1");
    assert_null(kfx_fake_get(&w->api, TOKEN)); /* no token that never expires */
    const json_t *notes = kfx_json_get(kfx_fake_get(&w->api, ADMIN), "metadata", "annotations");
    assert_non_null(kfx_json_str(notes, KFX_ANNOTATION_EXPIRES));
    restart(w);
    run_task(w);
    assert_int_equal(w->api.tokens, 1);

    w->api.token_seconds = 4; /* four fifths of it are over at once, in whole seconds */
    kfx_fake_delete(&w->api, ADMIN);
    run_task(w);
    assert_int_equal(w->api.tokens, 2);
    w->api.token_seconds = 3600;
    run_task(w);
    assert_int_equal(w->api.tokens, 3);
    assert_string_equal(w->api.dialed_token, "token-3");
    run_task(w);
    assert_int_equal(w->api.tokens, 3);

    kfx_fake_delete(&w->api, ACCOUNT); /* its tokens died with it */
    run_task(w);
    assert_int_equal(w->api.tokens, 4);
}

static void test_deletion(void **state)
{
    world_t *w = *state;
    bring_up(w);
    run_as(w, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_null(kfx_fake_get(&w->api, BINDING));
    assert_true(kfx_object_terminating(kfx_fake_get(&w->api, "/api/v1/namespaces/h1-system")));
}

static void test_edited_secret_is_not_trusted(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "clusters: []",
        "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: "
        "{server: 'https://x'}}], users: [{name: a, user: {exec: {command: /bin/false, apiVersion: v1}}}]}",
        "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: "
        "{server: 'https://x'}}], users: [{name: a, user: {tokenFile: /etc/shadow}}]}",
        "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: "
        "{server: 'https://x', insecure-skip-tls-verify: true}}], users: [{name: a, user: {token: t}}]}"};
    world_t *w = *state;
    bring_up(w);
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        int dials = w->api.dials;
        kfx_credentials_t out;
        json_t *secret = kfx_fake_get(&w->api, ADMIN);
        kfx_json_put(secret, encoded(bad[i]), "data", "kubeconfig-incluster");
        assert_int_equal(kfx_credentials_parse(secret, &out, NULL), -1);
        run_task(w); /* the watch has not shown the change yet: the Secret counts as current */
        assert_condition(w, "Ready", "False", "Unavailable");
        assert_int_equal(w->api.dials, dials);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_is_owned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest_is_one_look, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drift_is_repaired, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_token_is_passed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreachable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outside_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cluster_info, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lesser_role, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_binding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binding_not_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deletion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_edited_secret_is_not_trusted, setup, teardown),
    };
    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
