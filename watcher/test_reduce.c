/* Objects as a real API server shows them. */
#include "base/json.h"
#include "watcher/reduce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define UID "e61a9b4b-c5ed-4455-b848-5fe67e15c8fa"

static json_t *parse(const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *tree = kfx_json_parse(text, strlen(text), &err);
    if (!tree)
        fail_msg("%s", err.msg);
    return tree;
}

static const char plane_text[] =
    "{\"apiVersion\":\"tenancy.kflex.kubestellar.org/"
    "v1alpha1\",\"kind\":\"ControlPlane\",\"metadata\":{\"name\":\"cp1\","
    "\"uid\":\"" UID "\",\"resourceVersion\":\"1015\",\"generation\":3,\"deletionTimestamp\":\"2026-11-23T22:50:00Z\","
    "\"finalizers\":[\"example.org/other\",\"kflex.kubestellar.org/finalizer\"]},"
    "\"spec\":{\"type\":\"k8s\",\"globalVars\":{\"token\":\"s3cret\"}},"
    "\"status\":{\"observedGeneration\":2,\"kubernetesVersion\":\"v1.36.3\",\"postgresServer\":\"east\",\"secretRef\":{"
    "\"namespace\":\"cp1-"
    "system\","
    "\"name\":\"admin-kubeconfig\",\"key\":\"kubeconfig\",\"inClusterKey\":\"kubeconfig-incluster\"},\"conditions\":["
    "{\"type\":\"Synced\",\"status\":\"True\",\"reason\":\"ReconcileSuccess\",\"message\":\"\","
    "\"lastTransitionTime\":\"2026-11-23T22:43:36Z\",\"lastUpdateTime\":\"2026-11-23T22:43:40Z\"},"
    "{\"type\":\"HooksApplied\",\"status\":\"False\",\"reason\":\"X\",\"message\":\"long\","
    "\"lastTransitionTime\":\"2026-11-23T22:43:36Z\",\"lastUpdateTime\":\"2026-11-23T22:43:36Z\"}]}}";

static void test_plane(void **state)
{
    (void)state;
    KFX_JSON json_t *object = parse(plane_text);
    kfx_seen_plane_t *p = kfx_reduce_plane(object);
    assert_non_null(p);
    assert_string_equal(p->name, "cp1");
    assert_string_equal(p->uid, UID);
    assert_string_equal(p->rv, "1015");
    assert_string_equal(p->type, "k8s");
    assert_string_equal(p->rotate, "");
    assert_int_equal(p->generation, 3);
    assert_true(p->deleting);
    assert_true(p->finalizer);
    assert_string_equal(p->finalizers, "example.org/other\nkflex.kubestellar.org/finalizer\n");
    assert_int_equal(p->status->observed_generation, 2);
    assert_string_equal(p->status->version, "v1.36.3");
    assert_string_equal(p->status->secret_in_cluster_key, "kubeconfig-incluster");
    assert_int_equal(p->status->count, 2);
    const kfx_cond_t *c = kfx_status_cond(p->status, "Synced");
    assert_int_equal(c->update - c->transition, 4);
    assert_true(kfx_status_is(p->status, "HooksApplied", "False"));

    json_t *annotated = json_deep_copy(object);
    kfx_json_put(annotated, json_string("once more, today"), "metadata", "annotations", KFX_ANNOTATION_ROTATE);
    kfx_seen_plane_t *asked = kfx_reduce_plane(annotated);
    assert_int_equal(strlen(asked->rotate), 16);
    kfx_seen_plane_free(asked);
    json_decref(annotated);

    /* written back it is what it was */
    KFX_JSON json_t *back = kfx_status_to_json(p->status);
    assert_true(json_equal(back, kfx_json_get(object, "status")));
    kfx_seen_plane_free(p);
}

static void test_odd_planes(void **state)
{
    (void)state;
    KFX_JSON json_t *bare = parse("{\"metadata\":{\"name\":\"x\",\"uid\":\"u\",\"resourceVersion\":\"1\"}}");
    kfx_seen_plane_t *p = kfx_reduce_plane(bare);
    assert_string_equal(p->type, "");
    assert_string_equal(p->finalizers, "");
    assert_false(p->finalizer);
    assert_null(p->status);
    kfx_seen_plane_free(p);
    static const char *const bad[] = {"[]", "{}", "{\"metadata\":{\"name\":\"x\",\"uid\":\"u\"}}",
                                      "{\"metadata\":{\"name\":7,\"uid\":\"u\",\"resourceVersion\":\"1\"}}",
                                      "{\"metadata\":{\"name\":\"x\",\"uid\":"
                                      "\"0123456789012345678901234567890123456789\",\"resourceVersion\":\"1\"}}"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        KFX_JSON json_t *object = parse(bad[i]);
        assert_null(kfx_reduce_plane(object));
    }
    KFX_JSON json_t *twisted =
        parse("{\"metadata\":{\"name\":\"x\",\"uid\":\"u\",\"resourceVersion\":\"1\",\"finalizers\":\"no list\"},"
              "\"spec\":[],\"status\":{\"conditions\":[1,{\"type\":3},null]}}");
    p = kfx_reduce_plane(twisted);
    assert_int_equal(p->status->count, 1);
    assert_string_equal(p->status->conds[0].type, "");
    kfx_seen_plane_free(p);
}

/* ---- children ------------------------------------------------------------------------------------------------- */

#define ENTRY(manager, op, when, sub, fields)                                                                          \
    "{\"manager\":\"" manager "\",\"operation\":\"" op "\",\"apiVersion\":\"v1\",\"time\":\"" when "\"" sub            \
    ",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":" fields "}"
#define OURS(fields) ENTRY("kubeflex-" UID, "Apply", "2026-11-23T22:43:36Z", "", fields)

static json_t *child(const char *meta_extra, const char *entries, const char *rest)
{
    char text[4096];
    snprintf(text, sizeof text,
             "{\"metadata\":{\"name\":\"kube-apiserver\",\"namespace\":\"cp1-system\",\"uid\":\"c-1\","
             "\"resourceVersion\":\"70\",\"generation\":2,\"labels\":{\"kflex.kubestellar.org/controlplane\":\"cp1\"},"
             "\"annotations\":{\"kflex.kubestellar.org/applied-hash\":\"0123456789abcdef\"},"
             "\"ownerReferences\":[{\"uid\":\"other\"},{\"uid\":\"" UID "\",\"controller\":true}]%s,"
             "\"managedFields\":[%s]}%s}",
             meta_extra, entries, rest);
    return parse(text);
}

static void test_child(void **state)
{
    (void)state;
    KFX_JSON json_t *object = child("", OURS("{\"f:data\":{\"f:a\":{}}}"), "");
    kfx_seen_child_t *c = kfx_reduce_child("Secret", object);
    assert_non_null(c);
    assert_string_equal(c->plane, "cp1");
    assert_string_equal(c->owner, UID);
    assert_string_equal(c->hash, "0123456789abcdef");
    assert_true(c->ready);
    assert_false(c->terminating);
    assert_false(c->touched);
    uint64_t first = c->fields;
    assert_true(first != 0);
    free(c);

    KFX_JSON json_t *less = child("", OURS("{\"f:data\":{}}"), "");
    c = kfx_reduce_child("Secret", less);
    assert_true(c->fields != first && c->fields != 0);
    free(c);

    KFX_JSON json_t *none = child("", ENTRY("kubectl", "Update", "2026-11-23T22:43:30Z", "", "{}"), "");
    c = kfx_reduce_child("Secret", none);
    assert_true(c->fields == 0);
    free(c);
}

static void test_touched(void **state)
{
    (void)state;
    KFX_JSON json_t *later = child(
        "", OURS("{\"f:x\":{}}") "," ENTRY("kubectl-edit", "Update", "2026-11-23T22:43:37Z", "", "{\"f:y\":{}}"), "");
    kfx_seen_child_t *c = kfx_reduce_child("Deployment", later);
    assert_true(c->touched);
    free(c);
    KFX_JSON json_t *status =
        child("",
              OURS("{\"f:x\":{}}") "," ENTRY("kube-controller-manager", "Update", "2026-11-23T22:50:00Z",
                                             ",\"subresource\":\"status\"", "{\"f:y\":{}}"),
              "");
    c = kfx_reduce_child("Deployment", status);
    assert_false(c->touched);
    free(c);
}

static void test_where_it_belongs(void **state)
{
    (void)state;
    KFX_JSON json_t *object = child("", OURS("{}"), "");
    json_object_set_new(json_object_get(object, "metadata"), "namespace", json_string("kube-system"));
    assert_null(kfx_reduce_child("Secret", object)); /* the label does not make it ours */
    KFX_JSON json_t *ns = parse("{\"metadata\":{\"name\":\"cp1-system\",\"uid\":\"n\",\"resourceVersion\":\"5\","
                                "\"labels\":{\"kflex.kubestellar.org/controlplane\":\"another\"}}}");
    kfx_seen_child_t *c = kfx_reduce_child("Namespace", ns);
    assert_string_equal(c->plane, "cp1");
    assert_string_equal(c->owner, "");
    free(c);
    json_object_set_new(json_object_get(ns, "metadata"), "name", json_string("default"));
    assert_null(kfx_reduce_child("Namespace", ns));
}

typedef struct {
    bool ready, rolling, stuck;
} readiness_t;

static readiness_t readiness(const char *kind, const char *rest)
{
    KFX_JSON json_t *object = child("", OURS("{}"), rest);
    kfx_seen_child_t *c = kfx_reduce_child(kind, object);
    readiness_t found = {c->ready, c->rolling, c->stuck};
    free(c);
    return found;
}

#define DEPLOY(replicas, observed, updated, available)                                                                 \
    ",\"spec\":{\"replicas\":" #replicas "},\"status\":{\"observedGeneration\":" #observed                             \
    ",\"updatedReplicas\":" #updated ",\"availableReplicas\":" #available "}"
#define PROGRESSING(replicas, observed, updated, available, reason)                                                    \
    ",\"spec\":{\"replicas\":" #replicas "},\"status\":{\"observedGeneration\":" #observed                             \
    ",\"updatedReplicas\":" #updated ",\"availableReplicas\":" #available                                              \
    ",\"conditions\":[{\"type\":\"Available\",\"reason\":\"x\"},{\"type\":\"Progressing\",\"reason\":\"" reason        \
    "\"}]}"

static void test_readiness(void **state)
{
    static const struct {
        const char *kind, *rest;
        readiness_t want;
    } cases[] = {
        {"Deployment", DEPLOY(1, 2, 1, 1), {true, false, false}},
        {"StatefulSet", DEPLOY(2, 3, 2, 2), {true, false, false}},
        {"StatefulSet", DEPLOY(2, 3, 2, 1), {true, true, false}},
        {"Deployment", DEPLOY(1, 1, 1, 1), {true, true, false}}, /* status is of an older generation */
        {"Deployment", DEPLOY(1, 2, 0, 1), {true, true, false}}, /* an old pod answers */
        {"Deployment", DEPLOY(1, 2, 1, 0), {false, true, false}},
        {"Deployment", DEPLOY(0, 2, 0, 0), {false, false, false}},
        {"Deployment", "", {false, true, false}},
        {"Deployment",
         PROGRESSING(1, 2, 1, 1, "ReplicaSetUpdated"),
         {true, true, false}}, /* the old one is still there */
        {"Deployment", PROGRESSING(1, 2, 1, 1, "NewReplicaSetAvailable"), {true, false, false}},
        {"Deployment", PROGRESSING(1, 2, 1, 0, "NewReplicaSetAvailable"), {false, false, false}}, /* it failed later */
        {"Deployment", PROGRESSING(1, 2, 0, 1, "NewReplicaSetAvailable"), {true, true, false}}, /* of the one before */
        {"Deployment", PROGRESSING(1, 1, 1, 1, "NewReplicaSetAvailable"), {true, true, false}},
        {"Deployment", PROGRESSING(1, 2, 1, 1, "ProgressDeadlineExceeded"), {true, true, true}},
        {"Deployment", PROGRESSING(1, 1, 1, 1, "ProgressDeadlineExceeded"), {true, true, false}},
        {"Job", ",\"status\":{\"conditions\":[{\"type\":\"Complete\",\"status\":\"False\"}]}", {false, false, false}},
        {"Job", ",\"status\":{\"conditions\":[{\"type\":\"Complete\",\"status\":\"True\"}]}", {true, false, false}},
        {"Service", "", {true, false, false}},
    };
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        readiness_t found = readiness(cases[i].kind, cases[i].rest);
        if (memcmp(&found, &cases[i].want, sizeof found) != 0)
            fail_msg("%s%s: ready %d, rolling %d, stuck %d", cases[i].kind, cases[i].rest, found.ready, found.rolling,
                     found.stuck);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plane),   cmocka_unit_test(test_odd_planes),       cmocka_unit_test(test_child),
        cmocka_unit_test(test_touched), cmocka_unit_test(test_where_it_belongs), cmocka_unit_test(test_readiness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
