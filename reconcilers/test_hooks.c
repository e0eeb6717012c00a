/* What is pure about PostCreateHooks; tests/types/test_hooks.py has them against a real API server. */
#include "reconcilers/hooks/internal.h"

#include "base/json.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const kfx_owner_t owner = {"cp1", "uid-1", "cp1-system"};

static json_t *parsed(const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *value = kfx_json_parse(text, strlen(text), &err);
    if (!value)
        fail_msg("%s", err.msg);
    return value;
}

static void test_marks(void **state)
{
    kfx_error_t err = KFX_ERROR_INIT;
    char one[KFX_HASH_SIZE], two[KFX_HASH_SIZE];
    (void)state;
    KFX_JSON json_t *object =
        parsed("{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"creationTimestamp\":null}}");
    assert_int_equal(kfx_hook_mark(object, &owner, "h", true, one, &err), 0);
    assert_string_equal(kfx_json_str(object, "metadata", "namespace"), "cp1-system");
    assert_string_equal(kfx_json_str(object, "metadata", "labels", KFX_LABEL_PLANE), "cp1");
    assert_string_equal(kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_HOOK), "h");
    assert_string_equal(kfx_json_str(object, "metadata", "annotations", KFX_ANNOTATION_HASH), one);
    assert_string_equal(kfx_json_str(object, "metadata", "ownerReferences", "0", "uid"), "uid-1");
    assert_null(kfx_json_get(object, "metadata", "ownerReferences", "0", "controller"));
    assert_null(kfx_json_get(object, "metadata", "creationTimestamp"));

    /* Cluster-scoped: Go's marks, whatever the template says, and no ownerReference among the fields that planes share.
     */
    KFX_JSON json_t *role = parsed("{\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"a\",\"namespace\":\"x\","
                                   "\"labels\":{\"app.kubernetes.io/managed-by\":\"me\"}}}");
    assert_int_equal(kfx_hook_mark(role, &owner, "h", false, one, &err), 0);
    assert_null(kfx_json_get(role, "metadata", "namespace"));
    assert_null(kfx_json_get(role, "metadata", "ownerReferences"));
    assert_string_equal(kfx_json_str(role, "metadata", "labels", KFX_LABEL_MANAGED_BY), "Helm");
    assert_string_equal(kfx_json_str(role, "metadata", "annotations", KFX_ANNOTATION_RELEASE_NS), "cp1-system");

    /* The hash is of what the template says, not of whose it is. */
    const kfx_owner_t other = {"cp2", "uid-2", "cp2-system"};
    KFX_JSON json_t *again = parsed("{\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"a\","
                                    "\"labels\":{\"app.kubernetes.io/managed-by\":\"me\"}}}");
    assert_int_equal(kfx_hook_mark(again, &other, "h", false, two, &err), 0);
    assert_string_equal(one, two);
    assert_true(kfx_hook_covers_shared(again, role));
    assert_false(kfx_hook_covers(again, role));

    KFX_JSON json_t *away =
        parsed("{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"kube-system\"}}");
    assert_int_equal(kfx_hook_mark(away, &owner, "h", true, one, &err), -1);
    assert_non_null(strstr(err.msg, "kube-system"));
    KFX_JSON json_t *odd = parsed("{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"labels\":\"no\"}}");
    assert_int_equal(kfx_hook_mark(odd, &owner, "h", true, one, &err), -1);
}

/* Inside the plane: its own namespaces, and no owner, as the ControlPlane does not exist there. */
static void test_marks_inside(void **state)
{
    kfx_error_t err = KFX_ERROR_INIT;
    char hash[KFX_HASH_SIZE];
    (void)state;
    KFX_JSON json_t *object =
        parsed("{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"kube-system\"}}");
    assert_int_equal(kfx_hook_mark_inside(object, &owner, "h", true, hash, &err), 0);
    assert_string_equal(kfx_json_str(object, "metadata", "namespace"), "kube-system");
    assert_null(kfx_json_get(object, "metadata", "ownerReferences"));
    KFX_JSON json_t *role = parsed("{\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"a\"}}");
    assert_int_equal(kfx_hook_mark_inside(role, &owner, "h", false, hash, &err), 0);
    assert_null(kfx_json_get(role, "metadata", "namespace"));
    assert_null(kfx_json_get(role, "metadata", "annotations", KFX_ANNOTATION_RELEASE_NS));
    assert_string_equal(kfx_json_str(role, "metadata", "annotations", KFX_ANNOTATION_HOOK), "h");
}

static void test_covers(void **state)
{
    static const struct {
        const char *desired, *live;
        bool covers;
    } cases[] = {
        {"{\"a\":1}", "{\"a\":1,\"b\":2}", true},
        {"{\"a\":1}", "{\"a\":2}", false},
        {"{\"a\":{\"b\":\"x\"}}", "{\"a\":{\"b\":\"x\",\"c\":1}}", true},
        {"{\"a\":{\"b\":\"x\"}}", "{}", false},
        {"{\"a\":[{\"b\":1}]}", "{\"a\":[{\"b\":1,\"c\":2}]}", true}, /* defaults inside a list */
        {"{\"a\":[1]}", "{\"a\":[1,2]}", false},
        {"{\"a\":[1]}", "{}", false},
        {"{\"a\":null}", "{}", true},
        {"{\"a\":null}", "{\"a\":1}", false},
        {"{\"a\":{}}", "{}", true}, /* the API server drops empty objects */
        {"{\"a\":\"1\"}", "{\"a\":1}", false},
    };
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        KFX_JSON json_t *desired = parsed(cases[i].desired);
        KFX_JSON json_t *live = parsed(cases[i].live);
        if (kfx_hook_covers(desired, live) != cases[i].covers)
            fail_msg("%s in %s", cases[i].desired, cases[i].live);
    }
}

static void test_readiness(void **state)
{
    static const struct {
        const char *live;
        kfx_object_state_t state;
        bool finished;
        const char *why;
    } cases[] = {
        {"{\"kind\":\"ConfigMap\"}", KFX_OBJECT_READY, false, ""},
        {"{\"kind\":\"Deployment\",\"metadata\":{\"generation\":2},\"spec\":{\"replicas\":2},\"status\":{"
         "\"observedGeneration\":2,"
         "\"readyReplicas\":2}}",
         KFX_OBJECT_READY, false, ""},
        {"{\"kind\":\"Deployment\",\"metadata\":{\"generation\":2},\"status\":{\"observedGeneration\":1,"
         "\"readyReplicas\":1}}",
         KFX_OBJECT_WAITS, false, "1 of 1"}, /* of the old one */
        {"{\"kind\":\"StatefulSet\",\"spec\":{\"replicas\":0}}", KFX_OBJECT_READY, false, ""},
        {"{\"kind\":\"DaemonSet\",\"status\":{\"desiredNumberScheduled\":2,\"numberReady\":1}}", KFX_OBJECT_WAITS,
         false, "1 of 2 pods"},
        {"{\"kind\":\"Job\",\"status\":{\"active\":1}}", KFX_OBJECT_WAITS, false, "not succeeded"},
        {"{\"kind\":\"Job\",\"status\":{\"succeeded\":1}}", KFX_OBJECT_READY, false, ""},
        {"{\"kind\":\"Job\",\"status\":{\"conditions\":[{\"type\":\"Complete\",\"status\":\"True\"}]}}",
         KFX_OBJECT_READY, true, ""},
        {"{\"kind\":\"Job\",\"status\":{\"conditions\":[{\"type\":\"Failed\",\"status\":\"True\",\"reason\":"
         "\"Deadline\"}]}}",
         KFX_OBJECT_FAILED, true, "Deadline"},
        {"{\"kind\":\"Pod\",\"status\":{\"phase\":\"Running\"}}", KFX_OBJECT_READY, false, ""},
        {"{\"kind\":\"Pod\",\"status\":{\"phase\":\"Failed\"}}", KFX_OBJECT_FAILED, true, "Failed"},
        {"{\"kind\":\"Pod\"}", KFX_OBJECT_WAITS, false, "Pending"},
        {"{\"kind\":\"CustomResourceDefinition\"}", KFX_OBJECT_WAITS, false, "not established"},
        {"{\"kind\":\"CustomResourceDefinition\",\"status\":{\"conditions\":[{\"type\":\"Established\",\"status\":"
         "\"True\"}]}}",
         KFX_OBJECT_READY, false, ""},
        {"{\"kind\":\"Thing\",\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"message\":\"no "
         "disk\"}]}}",
         KFX_OBJECT_WAITS, false, "no disk"},
        {"{\"kind\":\"Thing\",\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}",
         KFX_OBJECT_READY, false, ""},
    };
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        char why[160] = "before";
        KFX_JSON json_t *live = parsed(cases[i].live);
        if (kfx_hook_object_state(live, why) != cases[i].state || kfx_hook_finished(live) != cases[i].finished)
            fail_msg("%s", cases[i].live);
        if (cases[i].why[0] ? !strstr(why, cases[i].why) : why[0])
            fail_msg("%s: %s", cases[i].live, why);
    }
}

static void test_kinds(void **state)
{
    kfx_kinds_t *kinds = kfx_kinds_new();
    kfx_hook_kind_t kind;
    (void)state;
    KFX_JSON json_t *list =
        parsed("{\"resources\":[{\"name\":\"deployments\",\"kind\":\"Deployment\",\"namespaced\":true},"
               "{\"name\":\"deployments/status\",\"kind\":\"Deployment\",\"namespaced\":true},"
               "{\"name\":\"deployments/scale\",\"kind\":\"Scale\",\"namespaced\":true}]}");
    assert_false(kfx_kinds_get(kinds, "apps/v1", "Deployment", &kind));
    kfx_kinds_put(kinds, "apps/v1", list);
    assert_true(kfx_kinds_get(kinds, "apps/v1", "Deployment", &kind));
    assert_string_equal(kind.collection, "/apis/apps/v1");
    assert_string_equal(kind.plural, "deployments");
    assert_true(kind.namespaced);
    assert_false(kfx_kinds_get(kinds, "apps/v1", "Scale", &kind));
    assert_false(kfx_kinds_get(kinds, "apps/v1beta1", "Deployment", &kind));
    kfx_kinds_forget(kinds, "apps/v1");
    assert_false(kfx_kinds_get(kinds, "apps/v1", "Deployment", &kind));
    kfx_kinds_destroy(&kinds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),     cmocka_unit_test(test_marks_inside), cmocka_unit_test(test_covers),
        cmocka_unit_test(test_readiness), cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
