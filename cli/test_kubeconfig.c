/* Kubeconfig edits: what changes, and above all what stays. */
#include "cli/kubeconfig.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOW "2026-11-23T10:00:00Z"

static const char minikube[] = "apiVersion: v1\n"
                               "kind: Config\n"
                               "x-unknown: {a: [1, 2.5, null, true]}\n"
                               "preferences: {colors: true}\n"
                               "extensions:\n"
                               "- name: other-tool\n"
                               "  extension: {keep: me}\n"
                               "clusters:\n"
                               "- name: host\n"
                               "  cluster: {server: 'https://10.0.0.1:6443', certificate-authority: pki/ca.crt}\n"
                               "- name: minikube\n"
                               "  cluster:\n"
                               "    server: https://192.168.49.2:8443\n"
                               "    extensions:\n"
                               "    - {name: cluster_info, extension: {provider: minikube.sigs.k8s.io}}\n"
                               "contexts:\n"
                               "- name: host\n"
                               "  context: {cluster: host, user: host-user, namespace: default}\n"
                               "- name: minikube\n"
                               "  context:\n"
                               "    cluster: minikube\n"
                               "    user: minikube\n"
                               "    extensions:\n"
                               "    - {name: context_info, extension: {version: v1.30.0}}\n"
                               "users:\n"
                               "- name: host-user\n"
                               "  user: {token: abc, unknown-field: 7}\n"
                               "- name: minikube\n"
                               "  user: {client-certificate: /m/client.crt, client-key: m.key}\n"
                               "current-context: host\n";

static const char plane_yaml[] = "apiVersion: v1\n"
                                 "kind: Config\n"
                                 "clusters:\n"
                                 "- name: cp1-cluster\n"
                                 "  cluster: {server: 'https://10.89.0.1:9443', tls-server-name: cp1.localtest.me,"
                                 " certificate-authority-data: Q0E=}\n"
                                 "contexts:\n"
                                 "- name: cp1\n"
                                 "  context: {cluster: cp1-cluster, user: cp1-admin, namespace: default}\n"
                                 "users:\n"
                                 "- name: cp1-admin\n"
                                 "  user: {client-certificate-data: Qw==, client-key-data: Sw==}\n"
                                 "current-context: cp1\n";

static json_t *tree(const char *yaml)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *out = kfx_yaml_parse(yaml, strlen(yaml), &err);
    if (!out)
        fail_msg("%s", err.msg);
    return out;
}

static kfx_kc_t open_kc(const char *yaml)
{
    kfx_kc_t kc = {.count = 1, .main = 0};
    kc.tree[0] = tree(yaml);
    kc.path[0] = kfx_xstrdup("/home/u/.kube/config");
    assert_int_equal(kfx_kc_check(kc.tree[0], kc.path[0], NULL), 0);
    return kc;
}

static void merge_cp1(kfx_kc_t *kc)
{
    KFX_JSON json_t *plane = tree(plane_yaml);
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_kc_merge_plane(kc, plane, "cp1", NOW, &err) < 0)
        fail_msg("%s", err.msg);
}

static void test_merge(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    merge_cp1(&kc);
    assert_string_equal(kfx_kc_current(&kc), "cp1");
    const json_t *context = kfx_kc_body(&kc, KFX_KC_CONTEXTS, "cp1");
    assert_string_equal(kfx_json_str(context, "cluster"), "cp1-cluster");
    assert_string_equal(kfx_json_str(context, "user"), "cp1-admin");
    assert_string_equal(kfx_json_str(context, "namespace"), "default");
    const json_t *cluster = kfx_kc_body(&kc, KFX_KC_CLUSTERS, "cp1-cluster");
    assert_string_equal(kfx_json_str(cluster, "tls-server-name"), "cp1.localtest.me");
    assert_string_equal(kfx_kc_plane_of(&kc, "cp1"), "cp1");
    /* Extension as Go's kflex writes it. */
    const json_t *ext = kfx_json_get(context, "extensions", "0");
    assert_string_equal(kfx_json_str(ext, "name"), "kubeflex");
    assert_string_equal(kfx_json_str(ext, "extension", "metadata", "name"), "kubeflex");
    assert_string_equal(kfx_json_str(ext, "extension", "metadata", "creationTimestamp"), NOW);
    assert_string_equal(kfx_json_str(ext, "extension", "data", "controlplane-name"), "cp1");
    kfx_kc_release(&kc);
}

/* Create, mark, delete: afterwards the file is as it was, but for the marks. */
static void test_everything_else_stays(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    assert_int_equal(kfx_kc_set_hosting(&kc, "host", NOW, NULL), 0);
    KFX_JSON json_t *marked = json_deep_copy(kc.tree[0]);
    merge_cp1(&kc);
    bool current = false;
    assert_int_equal(kfx_kc_remove_plane(&kc, "cp1", &current), 3);
    assert_true(current);
    assert_string_equal(kfx_kc_current(&kc), "");
    kfx_kc_set_current(&kc, "host");
    assert_true(json_equal(kc.tree[0], marked));

    kfx_kc_ext_remove(kc.tree[0]);
    kfx_kc_ext_remove(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "host"));
    KFX_JSON json_t *original = tree(minikube);
    assert_true(json_equal(kc.tree[0], original));
    kfx_kc_release(&kc);
}

/* Through text and back: a file that kflex edited means the same. */
static void test_yaml_round_trip(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    merge_cp1(&kc);
    KFX_FREE char *text = kfx_yaml_dump(kc.tree[0], NULL);
    KFX_JSON json_t *again = tree(text);
    assert_true(json_equal(kc.tree[0], again));
    kfx_kc_release(&kc);
}

static void test_merge_keeps_other_extensions(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    merge_cp1(&kc);
    json_t *body = kfx_kc_body(&kc, KFX_KC_CONTEXTS, "cp1");
    json_array_insert_new(json_object_get(body, "extensions"), 0,
                          json_pack("{s:s, s:{s:s}}", "name", "lens", "extension", "colour", "red"));
    kfx_kc_ext_set(body, KFX_KC_FIRST, "host", NOW);
    merge_cp1(&kc);
    body = kfx_kc_body(&kc, KFX_KC_CONTEXTS, "cp1");
    assert_string_equal(kfx_json_str(body, "extensions", "0", "extension", "colour"), "red");
    assert_string_equal(kfx_kc_ext(body, KFX_KC_FIRST), "host");
    assert_string_equal(kfx_kc_ext(body, KFX_KC_PLANE), "cp1");
    assert_int_equal(json_array_size(json_object_get(kc.tree[0], "contexts")), 3);
    kfx_kc_release(&kc);
}

/* Names of other types are brought to KubeFlex's: k3s calls everything "default". */
static void test_merge_renames(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc("{}");
    KFX_JSON json_t *plane = tree("clusters: [{name: default, cluster: {server: 'https://k3s'}}]\n"
                                  "contexts: [{name: default, context: {cluster: default, user: default}}]\n"
                                  "users: [{name: default, user: {token: t}}]\n");
    assert_int_equal(kfx_kc_merge_plane(&kc, plane, "edge", NOW, NULL), 0);
    assert_string_equal(kfx_json_str(kfx_kc_body(&kc, KFX_KC_CLUSTERS, "edge-cluster"), "server"), "https://k3s");
    assert_string_equal(kfx_json_str(kfx_kc_body(&kc, KFX_KC_USERS, "edge-admin"), "token"), "t");
    assert_null(kfx_json_str(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "edge"), "namespace"));
    kfx_kc_release(&kc);
}

static void refuse_plane(const char *yaml, const char *word)
{
    kfx_kc_t kc = open_kc(minikube);
    KFX_JSON json_t *before = json_deep_copy(kc.tree[0]);
    KFX_JSON json_t *plane = tree(yaml);
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_kc_merge_plane(&kc, plane, "cp1", NOW, &err), -1);
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
    assert_true(json_equal(kc.tree[0], before));
    kfx_kc_release(&kc);
}

static void test_merge_refuses(void **state)
{
    (void)state;
#define PLANE(cluster, user)                                                                                           \
    "clusters: [{name: c, cluster: " cluster "}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"             \
    "users: [{name: u, user: " user "}]\ncurrent-context: x\n"
    refuse_plane(PLANE("{server: s}", "{exec: {command: sh}}"), "exec");
    refuse_plane(PLANE("{server: s}", "{auth-provider: {name: x}}"), "auth-provider");
    refuse_plane(PLANE("{server: s}", "{client-key: /etc/shadow}"), "client-key");
    refuse_plane(PLANE("{server: s}", "{tokenFile: /etc/shadow}"), "tokenFile");
    refuse_plane(PLANE("{server: s, certificate-authority: /x}", "{token: t}"), "certificate-authority");
    refuse_plane(PLANE("{}", "{token: t}"), "server");
    refuse_plane("{}", "context");
    refuse_plane("contexts: [{name: x, context: {cluster: c, user: u}}]", "no cluster 'c'");
    refuse_plane("clusters: 7", "not a list");
#undef PLANE
}

static void test_conflict(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kc_t kc = open_kc(minikube);
    assert_int_equal(kfx_kc_conflict(&kc, "cp1", NULL), 0);
    assert_int_equal(kfx_kc_conflict(&kc, "minikube", &err), -1);
    assert_int_equal(err.code, KFX_E_CONFLICT);
    assert_non_null(strstr(err.msg, "context 'minikube'"));

    /* Somebody else's context uses a cluster of the name ours would have. */
    kfx_kc_put(&kc, KFX_KC_CLUSTERS, "a-cluster", json_pack("{s:s}", "server", "https://a"));
    kfx_kc_put(&kc, KFX_KC_CONTEXTS, "mine", json_pack("{s:s, s:s}", "cluster", "a-cluster", "user", "u"));
    assert_int_equal(kfx_kc_conflict(&kc, "a", &err), -1);
    assert_non_null(strstr(err.msg, "used by context 'mine'"));

    /* The plane's own context is none, be it tagged or, by an older kflex, not. */
    merge_cp1(&kc);
    assert_int_equal(kfx_kc_conflict(&kc, "cp1", NULL), 0);
    kfx_kc_ext_remove(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "cp1"));
    assert_int_equal(kfx_kc_conflict(&kc, "cp1", NULL), 0);
    /* One tagged with another plane is. */
    kfx_kc_ext_set(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "cp1"), KFX_KC_PLANE, "cp2", NOW);
    assert_int_equal(kfx_kc_conflict(&kc, "cp1", NULL), -1);
    kfx_kc_release(&kc);
}

static void test_remove(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    bool current = false;
    /* Nothing there: fine. */
    assert_int_equal(kfx_kc_remove_plane(&kc, "cp1", &current), 0);
    assert_false(current);

    /* A context of that name that is somebody else's stays. */
    assert_int_equal(kfx_kc_remove_plane(&kc, "minikube", &current), 0);
    assert_non_null(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "minikube"));

    /* Context gone already, cluster and user left over. */
    merge_cp1(&kc);
    kfx_kc_remove(&kc, KFX_KC_CONTEXTS, "cp1");
    assert_int_equal(kfx_kc_remove_plane(&kc, "cp1", &current), 2);

    /* A cluster that another context uses too stays. */
    merge_cp1(&kc);
    kfx_kc_put(&kc, KFX_KC_CONTEXTS, "other", json_pack("{s:s, s:s}", "cluster", "cp1-cluster", "user", "host-user"));
    assert_int_equal(kfx_kc_remove_plane(&kc, "cp1", &current), 2);
    assert_non_null(kfx_kc_body(&kc, KFX_KC_CLUSTERS, "cp1-cluster"));
    kfx_kc_release(&kc);
}

/* B-31: delete finds a plane's context under its new name too. */
static void test_rename_then_remove(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    KFX_JSON json_t *before = json_deep_copy(kc.tree[0]);
    merge_cp1(&kc);
    assert_int_equal(kfx_kc_rename_context(&kc, "cp1", "dev", NULL), 0);
    assert_string_equal(kfx_kc_current(&kc), "dev");
    assert_null(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "cp1"));
    assert_null(kfx_kc_body(&kc, KFX_KC_CLUSTERS, "cp1-cluster"));
    const json_t *body = kfx_kc_body(&kc, KFX_KC_CONTEXTS, "dev");
    assert_string_equal(kfx_json_str(body, "cluster"), "dev-cluster");
    assert_string_equal(kfx_json_str(body, "user"), "dev-admin");
    assert_string_equal(kfx_json_str(body, "namespace"), "default");
    assert_string_equal(kfx_kc_context_of(&kc, "cp1"), "dev");
    bool current = false;
    assert_int_equal(kfx_kc_remove_plane(&kc, "cp1", &current), 3);
    assert_true(current);
    kfx_kc_set_current(&kc, "host");
    assert_true(json_equal(kc.tree[0], before));
    kfx_kc_release(&kc);
}

/* B-22: renaming a context that kflex did not make leaves it working. */
static void test_rename_foreign(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kc_t kc = open_kc(minikube);
    assert_int_equal(kfx_kc_set_hosting(&kc, "host", NOW, NULL), 0);
    assert_int_equal(kfx_kc_rename_context(&kc, "host", "prod", NULL), 0);
    assert_string_equal(kfx_kc_hosting(&kc, &err), "prod");
    assert_string_equal(kfx_json_str(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "prod"), "cluster"), "host");
    assert_int_equal(kfx_kc_rename_context(&kc, "prod", "minikube", &err), -1);
    assert_int_equal(err.code, KFX_E_EXISTS);
    assert_int_equal(kfx_kc_rename_context(&kc, "nope", "x", &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    kfx_kc_release(&kc);
}

static void test_delete_context(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    bool current = false;
    kfx_kc_t kc = open_kc(minikube);
    merge_cp1(&kc);
    assert_int_equal(kfx_kc_delete_context(&kc, "cp1", &current, NULL), 0);
    assert_true(current);
    assert_null(kfx_kc_body(&kc, KFX_KC_USERS, "cp1-admin"));
    /* A foreign one: only the context, its cluster may be wanted. */
    assert_int_equal(kfx_kc_delete_context(&kc, "minikube", &current, NULL), 0);
    assert_non_null(kfx_kc_body(&kc, KFX_KC_CLUSTERS, "minikube"));
    assert_int_equal(kfx_kc_delete_context(&kc, "minikube", &current, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    kfx_kc_release(&kc);
}

static void expect_hosting(kfx_kc_t *kc, kfx_code_t code, const char *word)
{
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(kfx_kc_hosting(kc, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

static void test_hosting(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    expect_hosting(&kc, KFX_E_NOT_FOUND, "not set");
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_kc_set_hosting(&kc, "nope", NOW, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);

    assert_int_equal(kfx_kc_set_hosting(&kc, "host", NOW, NULL), 0);
    assert_string_equal(kfx_kc_hosting(&kc, NULL), "host");
    assert_string_equal(kfx_json_str(kc.tree[0], "extensions", "0", "name"), "other-tool"); /* B-14 */
    /* B-29: one mark only. */
    assert_int_equal(kfx_kc_set_hosting(&kc, "minikube", NOW, NULL), 0);
    assert_null(kfx_kc_ext(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "host"), KFX_KC_IS_HOSTING));
    const json_t *body = kfx_kc_body(&kc, KFX_KC_CONTEXTS, "minikube");
    assert_string_equal(kfx_kc_ext(body, KFX_KC_IS_HOSTING), "true");
    assert_string_equal(kfx_json_str(body, "extensions", "0", "name"), "context_info"); /* B-14 */

    json_object_del(kfx_kc_body(&kc, KFX_KC_CLUSTERS, "minikube"), "server");
    expect_hosting(&kc, KFX_E_INVALID, "no server defined");
    kfx_kc_remove(&kc, KFX_KC_CLUSTERS, "minikube");
    expect_hosting(&kc, KFX_E_INVALID, "does not exist");
    json_object_del(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "minikube"), "cluster");
    expect_hosting(&kc, KFX_E_INVALID, "does not reference a cluster");
    kfx_kc_remove(&kc, KFX_KC_CONTEXTS, "minikube");
    expect_hosting(&kc, KFX_E_INVALID, "non-existing context");
    kfx_kc_release(&kc);
}

static void test_hosting_legacy_key(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc(minikube);
    kfx_kc_ext_set(kc.tree[0], KFX_KC_HOSTING_LEGACY, "host", NOW);
    assert_string_equal(kfx_kc_hosting(&kc, NULL), "host");
    assert_int_equal(kfx_kc_set_hosting(&kc, "minikube", NOW, NULL), 0);
    assert_string_equal(kfx_kc_hosting(&kc, NULL), "minikube");
    assert_null(kfx_kc_ext(kc.tree[0], KFX_KC_HOSTING_LEGACY));
    kfx_kc_release(&kc);
}

/* The hosting context is never taken for a plane's, whatever it is called. */
static void test_hosting_is_no_plane(void **state)
{
    (void)state;
    kfx_kc_t kc = open_kc("clusters: [{name: h-cluster, cluster: {server: s}}]\n"
                          "contexts: [{name: h, context: {cluster: h-cluster, user: h-admin}}]\n"
                          "users: [{name: h-admin, user: {}}]\ncurrent-context: h\n");
    assert_int_equal(kfx_kc_set_hosting(&kc, "h", NOW, NULL), 0);
    bool current = false;
    assert_int_equal(kfx_kc_remove_plane(&kc, "h", &current), 0);
    assert_int_equal(kfx_kc_conflict(&kc, "h", NULL), -1);
    kfx_kc_release(&kc);
}

static void test_several_files(void **state)
{
    (void)state;
    kfx_kc_t kc = {.count = 2, .main = 0};
    kc.tree[0] = tree("contexts: [{name: host, context: {cluster: first, user: u}}]\nclusters: null\n");
    kc.path[0] = kfx_xstrdup("/a/one");
    kc.tree[1] = tree(minikube);
    kc.path[1] = kfx_xstrdup("/b/two");
    assert_string_equal(kfx_json_str(kfx_kc_body(&kc, KFX_KC_CONTEXTS, "host"), "cluster"), "first");
    assert_string_equal(kfx_kc_current(&kc), "host");
    size_t count = 0;
    for (kfx_kc_cursor_t at = {0, 0}; kfx_kc_next(&kc, KFX_KC_CONTEXTS, &at);)
        count++;
    assert_int_equal(count, 2);

    merge_cp1(&kc); /* new entries to the main file; current-context where it is set */
    assert_int_equal(json_array_size(json_object_get(kc.tree[0], "clusters")), 1);
    assert_int_equal(json_array_size(json_object_get(kc.tree[1], "clusters")), 2);
    assert_string_equal(kfx_json_str(kc.tree[1], "current-context"), "cp1");

    KFX_JSON json_t *merged = kfx_kc_merged(&kc);
    assert_string_equal(kfx_json_str(merged, "current-context"), "cp1");
    assert_int_equal(json_array_size(json_object_get(merged, "contexts")), 3);
    const char *key = kfx_json_str(merged, "users", "2", "user", "client-key");
    assert_string_equal(key, "/b/m.key");
    assert_string_equal(kfx_json_str(merged, "clusters", "1", "cluster", "certificate-authority"), "/b/pki/ca.crt");
    kfx_kc_release(&kc);
}

static void test_check(void **state)
{
    (void)state;
    static const char *const bad[] = {"[]",
                                      "clusters: {a: b}",
                                      "contexts: [{context: {}}]",
                                      "contexts: [x]",
                                      "contexts: [{name: a, context: 7}]",
                                      "users: [{name: a, user: [1]}]",
                                      "extensions: {}",
                                      "contexts: [{name: a, context: {extensions: 3}}]"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        KFX_JSON json_t *t = tree(bad[i]);
        assert_int_equal(kfx_kc_check(t, "/x/config", &err), -1);
        assert_non_null(strstr(err.msg, "/x/config"));
    }
    KFX_JSON json_t *nulls = tree("clusters: null\ncontexts: [{name: a, context: null}]\nusers:\n");
    assert_int_equal(kfx_kc_check(nulls, "x", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_everything_else_stays),
        cmocka_unit_test(test_yaml_round_trip),
        cmocka_unit_test(test_merge_keeps_other_extensions),
        cmocka_unit_test(test_merge_renames),
        cmocka_unit_test(test_merge_refuses),
        cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_rename_then_remove),
        cmocka_unit_test(test_rename_foreign),
        cmocka_unit_test(test_delete_context),
        cmocka_unit_test(test_hosting),
        cmocka_unit_test(test_hosting_legacy_key),
        cmocka_unit_test(test_hosting_is_no_plane),
        cmocka_unit_test(test_several_files),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests_name("cli-kubeconfig", tests, NULL, NULL);
}
