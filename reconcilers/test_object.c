/* reconcilers/test_object.c: marks, hashes, whose an object is, and what errors mean. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/memo.h"
#include "reconcilers/namespace.h"
#include "reconcilers/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const kfx_owner_t owner = {"cp1", "uid-1", "cp1-system"};

static json_t *service(const char *type)
{
    return json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "apiVersion", "v1", "kind", "Service", "metadata", "name", "cp1",
                     "spec", "type", type);
}

static kfx_desired_t desired_of(json_t *object)
{
    kfx_desired_t desired;
    assert_int_equal(kfx_desired_init(&desired, object, &owner, NULL, NULL), 0);
    return desired;
}

static void test_marks(void **state)
{
    (void)state;
    kfx_desired_t d = desired_of(service("NodePort"));
    assert_string_equal(d.collection, "/api/v1/namespaces/cp1-system/services");
    assert_string_equal(kfx_json_str(d.object, "metadata", "namespace"), "cp1-system");
    assert_string_equal(kfx_json_str(d.object, "metadata", "labels", KFX_LABEL_PLANE), "cp1");
    const json_t *ref = kfx_json_get(d.object, "metadata", "ownerReferences", "0");
    assert_string_equal(kfx_json_str(ref, "apiVersion"), KFX_API_VERSION);
    assert_string_equal(kfx_json_str(ref, "kind"), "ControlPlane");
    assert_string_equal(kfx_json_str(ref, "name"), "cp1");
    assert_string_equal(kfx_json_str(ref, "uid"), "uid-1");
    assert_true(kfx_json_bool(ref, false, "controller"));
    assert_true(kfx_json_bool(ref, false, "blockOwnerDeletion"));
    assert_string_equal(kfx_object_hash(d.object), d.hash);
    assert_int_equal(strlen(d.hash), 16);
    assert_true(kfx_object_owned(d.object, "uid-1"));
    assert_false(kfx_object_owned(d.object, "uid-2"));
    kfx_desired_clear(&d);
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(
        kfx_desired_init(&d, json_pack("{s:s, s:{s:s}}", "kind", "Toy", "metadata", "name", "x"), &owner, NULL, &err),
        -1);
    assert_int_equal(kfx_desired_init(&d, json_object(), &owner, NULL, &err), -1);
}

static void test_hash(void **state)
{
    (void)state;
    kfx_desired_t a = desired_of(service("NodePort")), b = desired_of(service("NodePort"));
    kfx_desired_t c = desired_of(service("ClusterIP"));
    json_t *shuffled = json_pack("{s:{s:s}, s:{s:s}, s:s, s:s}", "spec", "type", "NodePort", "metadata", "name", "cp1",
                                 "kind", "Service", "apiVersion", "v1");
    kfx_desired_t d = desired_of(shuffled);
    assert_string_equal(a.hash, b.hash);
    assert_string_equal(a.hash, d.hash); /* the order of keys does not matter */
    assert_string_not_equal(a.hash, c.hash);
    kfx_desired_clear(&a);
    kfx_desired_clear(&b);
    kfx_desired_clear(&c);
    kfx_desired_clear(&d);
}

static void test_current(void **state)
{
    (void)state;
    kfx_desired_t d = desired_of(service("NodePort"));
    kfx_child_t child = {.kind = "Service", .name = "cp1", .owned = true, .ready = true};
    kfx_digest_t digest = {.count = 1, .children = &child}, empty = {.count = 0};
    kfx_copy(child.hash, sizeof(child.hash), d.hash);
    assert_true(kfx_desired_current(&d, &digest));
    assert_false(kfx_desired_current(&d, &empty));
    child.owned = false;
    assert_false(kfx_desired_current(&d, &digest));
    child.owned = true;
    child.drifted = true;
    assert_false(kfx_desired_current(&d, &digest));
    child.drifted = false;
    child.terminating = true;
    assert_false(kfx_desired_current(&d, &digest));
    child.terminating = false;
    child.hash[0] ^= 1;
    assert_false(kfx_desired_current(&d, &digest));
    kfx_desired_clear(&d);
}

static json_t *ns_object(const char *ref_kind, const char *ref_name, const char *ref_uid, int controller,
                         const char *label, bool ends)
{
    json_t *ns = json_pack("{s:s, s:{s:s, s:{}, s:{s:s}}}", "kind", "Namespace", "metadata", "name", "cp1-system",
                           "labels", "annotations", KFX_ANNOTATION_HASH, "feed");
    if (ref_kind)
        kfx_json_put(ns,
                     json_pack("[{s:s, s:s, s:s, s:s, s:b}]", "apiVersion", KFX_API_VERSION, "kind", ref_kind, "name",
                               ref_name, "uid", ref_uid, "controller", controller),
                     "metadata", "ownerReferences");
    if (label)
        kfx_json_put(ns, json_string(label), "metadata", "labels", KFX_LABEL_PLANE);
    if (ends)
        kfx_json_put(ns, json_string("2026-01-01T00:00:00Z"), "metadata", "deletionTimestamp");
    return ns;
}

static void test_judge(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *name, *uid;
        int controller;
        const char *label;
        bool ends;
        kfx_ns_state_t want;
    } cases[] = {
        {"ControlPlane", "cp1", "uid-1", 1, "cp1", false, KFX_NS_OURS},
        {"ControlPlane", "cp1", "uid-1", 1, NULL, false, KFX_NS_UNMARKED},
        {"ControlPlane", "cp1", "uid-1", 1, "cp2", false, KFX_NS_UNMARKED},
        {"ControlPlane", "cp1", "uid-1", 1, "cp1", true, KFX_NS_TERMINATING},
        {"ControlPlane", "cp1", "uid-0", 1, "cp1", false, KFX_NS_TERMINATING},
        {NULL, NULL, NULL, 0, NULL, true, KFX_NS_TERMINATING},
        {NULL, NULL, NULL, 0, NULL, false, KFX_NS_CONFLICT},
        {NULL, NULL, NULL, 0, "cp1", false, KFX_NS_CONFLICT}, /* a label is no proof */
        {"ControlPlane", "cp2", "uid-2", 1, NULL, false, KFX_NS_CONFLICT},
        {"Project", "cp1", "uid-3", 1, NULL, false, KFX_NS_CONFLICT},
        {"ControlPlane", "cp1", "uid-1", 0, "cp1", false, KFX_NS_CONFLICT}, /* no controller */
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        KFX_JSON json_t *ns =
            ns_object(cases[i].kind, cases[i].name, cases[i].uid, cases[i].controller, cases[i].label, cases[i].ends);
        if (kfx_namespace_judge(ns, &owner) != cases[i].want)
            fail_msg("case %zu: %d", i, (int)kfx_namespace_judge(ns, &owner));
    }
    KFX_JSON json_t *bare = ns_object("ControlPlane", "cp1", "uid-1", 1, "cp1", false);
    json_object_del(kfx_json_get(bare, "metadata"), "annotations");
    assert_int_equal(kfx_namespace_judge(bare, &owner), KFX_NS_UNMARKED);
}

static void test_verdict(void **state)
{
    (void)state;
    static const struct {
        kfx_code_t code;
        int status;
        kfx_outcome_t outcome;
        const char *reason;
    } cases[] = {
        {KFX_E_UNAVAILABLE, 0, KFX_OUTCOME_DOWN, ""},
        {KFX_E_TIMEOUT, 0, KFX_OUTCOME_DOWN, ""},
        {KFX_E_UNAVAILABLE, 503, KFX_OUTCOME_DOWN, ""},
        {KFX_E_UNAVAILABLE, 500, KFX_OUTCOME_RETRY, "ReconcileError"}, /* an admission webhook, say */
        {KFX_E_TIMEOUT, 504, KFX_OUTCOME_RETRY, "ReconcileError"},
        {KFX_E_FENCED, 0, KFX_OUTCOME_RETRY, ""},
        {KFX_E_CANCELED, 0, KFX_OUTCOME_RETRY, ""},
        {KFX_E_BUSY, 429, KFX_OUTCOME_RETRY, ""},
        {KFX_E_FORBIDDEN, 403, KFX_OUTCOME_RETRY, "ReconcileError"},
        {KFX_E_UNAUTHORIZED, 401, KFX_OUTCOME_RETRY, "ReconcileError"},
        {KFX_E_INVALID, 422, KFX_OUTCOME_RETRY, "ReconcileError"},
        {KFX_E_INTERNAL, 0, KFX_OUTCOME_RETRY, "ReconcileError"},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_verdict_t v = {.outcome = KFX_OUTCOME_NONE};
        kfx_error_t err = {cases[i].code, "why"};
        assert_int_equal(kfx_verdict_error(&v, &err, cases[i].status, "do it"), -1);
        assert_int_equal(v.outcome, cases[i].outcome);
        assert_string_equal(v.reason, cases[i].reason);
        assert_non_null(strstr(v.message, "do it"));
        assert_non_null(strstr(v.message, "why"));
    }
    static const struct {
        const char *msg, *reason, *remedy;
    } full[] = {
        {"create Service: InternalError (HTTP 500): Internal error occurred: failed to allocate a nodePort: range "
         "is full",
         "NodePortsExhausted", "--service-node-port-range"},
        {"create Service: InternalError (HTTP 500): Internal error occurred: failed to allocate a serviceIP: range "
         "is full",
         "ServiceAddressesExhausted", "ServiceCIDR"}};
    for (size_t i = 0; i < KFX_COUNT(full); i++) {
        kfx_verdict_t v = {.outcome = KFX_OUTCOME_NONE};
        kfx_error_t err = {KFX_E_UNAVAILABLE, ""};
        kfx_copy(err.msg, sizeof(err.msg), full[i].msg);
        kfx_verdict_error(&v, &err, 500, "create Service kube-apiserver");
        assert_int_equal(v.outcome, KFX_OUTCOME_RETRY);
        assert_int_equal(v.retry_after_ms, 30000);
        assert_string_equal(v.reason, full[i].reason);
        assert_non_null(strstr(v.message, full[i].remedy));
    }
    assert_int_equal(kfx_retry_min(0, 5), 5);
    assert_int_equal(kfx_retry_min(7, 0), 7);
    assert_int_equal(kfx_retry_min(7, 5), 5);
}

static void test_memo(void **state)
{
    (void)state;
    kfx_memos_t *memos = kfx_memos_new(2);
    kfx_memo_t a, b;
    kfx_memos_get(memos, "a", &a);
    assert_string_equal(a.uid, "a");
    assert_int_equal(a.generation, 0);
    a.generation = 4;
    kfx_memos_put(memos, &a);
    kfx_memos_get(memos, "b", &b);
    kfx_memos_put(memos, &b);
    kfx_memos_get(memos, "a", &a); /* used: b is now the oldest */
    kfx_memos_get(memos, "c", &b);
    b.generation = 9;
    kfx_memos_put(memos, &b);
    kfx_memos_get(memos, "a", &a);
    assert_int_equal(a.generation, 4);
    kfx_memos_get(memos, "c", &b);
    assert_int_equal(b.generation, 9);
    kfx_memos_forget(memos, "a");
    kfx_memos_get(memos, "a", &a);
    assert_int_equal(a.generation, 0);
    kfx_memos_destroy(&memos);
    assert_null(memos);
    kfx_memos_destroy(&memos);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks), cmocka_unit_test(test_hash),    cmocka_unit_test(test_current),
        cmocka_unit_test(test_judge), cmocka_unit_test(test_verdict), cmocka_unit_test(test_memo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
