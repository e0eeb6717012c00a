/* reconcilers/test_run.c: whole tasks of the type k8s against an API server in memory. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/k8s/certs.h"
#include "reconcilers/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The linker puts this in front of the clock: some seconds may be added to it. */
int64_t __real_kfx_now_ms(void);
int64_t __wrap_kfx_now_ms(void);
static int64_t clock_ahead_ms;

int64_t __wrap_kfx_now_ms(void)
{
    return __real_kfx_now_ms() + clock_ahead_ms;
}

static void test_life(void **state)
{
    world_t *w = *state;
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(w->result.retry_after_ms, 0);
    assert_condition(w, "Synced", "False", "WaitingForStorage");
    assert_condition(w, "Ready", "False", "Creating");
    assert_string_equal(w->result.kubernetes_version, KFX_DEFAULT_KUBERNETES_VERSION);
    assert_string_equal(w->result.secret_name, "admin-kubeconfig");
    assert_int_equal(w->result.written_count, 6);
    assert_null(kfx_fake_get(&w->api, DEPLOYMENT)); /* no pod may wait for a missing Secret */
    assert_string_equal(
        kfx_json_str(kfx_fake_get(&w->api, NS), "metadata", "labels", "pod-security.kubernetes.io/enforce"),
        "baseline");

    write_dsn(w);
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_condition(w, "Ready", "False", "Creating");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(w->result.written_count, 2);

    set_ready(w, true);
    w->api.probe_rc = -1;
    run_task(w);
    assert_condition(w, "Ready", "False", "Creating");
    assert_int_equal(w->result.retry_after_ms, 20);
    run_task(w);
    assert_int_equal(w->result.retry_after_ms, 40);
    for (int i = 2; i < 12; i++) {
        run_task(w);
        assert_in_range(w->result.retry_after_ms, 80, 160);     /* a Service's rules may need a second */
        assert_int_equal(w->api.probe_limit_ms, 80 << (i / 4)); /* what hangs is given up early */
    }
    run_task(w);
    assert_int_equal(w->api.probe_limit_ms, 1000);
    assert_int_equal(w->result.retry_after_ms, 1000);
    w->api.probe_rc = 0;
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_OK);
    assert_in_range(w->result.retry_after_ms, 28000, 58000);
    assert_string_equal(w->api.probe_host, "cp1.cp1-system.svc.cluster.local");

    w->api.probe_rc = -1;
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");

    w->api.probe_rc = 0;
    run_task(w);
    w->api.probe_rc = KFX_E_TIMEOUT;
    run_task(w); /* no answer in time: asked once more before anything is said */
    assert_true(!condition(w, "Ready") && !condition(w, "APIServerReady"));
    assert_int_equal(w->result.outcome, KFX_OUTCOME_OK);
    assert_int_equal(w->result.retry_after_ms, 20);
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
}

#define HELPER "/apis/apps/v1/namespaces/cp1-system/deployments/kube-controller-manager"

/* One pod of that Deployment, whose container waits for this reason; NULL: it runs. */
static void put_pod(world_t *w, const char *deployment, const char *waiting)
{
    char name[64], image[128];
    snprintf(name, sizeof(name), "%s-1", deployment);
    snprintf(image, sizeof(image), "registry.k8s.io/%s:v1.36.3", deployment);
    json_t *state = waiting ? json_pack("{s:{s:s}}", "waiting", "reason", waiting) : json_pack("{s:{}}", "running");
    json_object_set_new(w->api.objects, NS "/pods?resourceVersion=0&labelSelector=" KFX_LABEL_PLANE "%3Dcp1",
                        json_pack("{s:[{s:{s:s, s:s}, s:{s:[{s:s, s:s, s:o}]}}]}", "items", "metadata", "name", name,
                                  "creationTimestamp", "2026-11-25T10:00:00Z", "status", "containerStatuses", "name",
                                  deployment, "image", image, "state", state));
}

static void test_not_ready_says_why(void **state)
{
    world_t *w = *state;
    run_task(w);
    write_dsn(w);
    run_task(w);
    /* The task that made the Deployment looks after it: its echo is no event. */
    assert_string_equal(condition(w, "Ready")->message, "Deployment kube-apiserver has no ready pod");
    assert_in_range(w->result.retry_after_ms, 4000, 5000);
    put_pod(w, "kube-apiserver", "ErrImagePull");
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_condition(w, "Ready", "False", "Creating"); /* a start takes its time */
    assert_in_range(w->result.retry_after_ms, 4000, 5000);
    assert_int_equal(kfx_fake_count(&w->api, "/pods"), 0);

    clock_ahead_ms += 5000;
    run_task(w);
    assert_condition(w, "Ready", "False", "ImagePullFailed");
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_non_null(strstr(condition(w, "Ready")->message, "registry.k8s.io/kube-apiserver:v1.36.3"));
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    for (uint32_t again = 5000; again < 120000; again *= 2) {
        assert_int_equal(w->result.retry_after_ms, again);
        run_task(w);
    }
    assert_int_equal(w->result.retry_after_ms, 120000);

    put_pod(w, "kube-apiserver", NULL); /* it was pulled */
    run_task(w);
    assert_condition(w, "Ready", "False", "Creating");
    set_ready(w, true);
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(condition(w, "Ready")->message, "the API server answers");
    clock_ahead_ms += 30000;
    put_pod(w, "kube-controller-manager", "ErrImagePull");
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_non_null(
        strstr(condition(w, "Ready")->message, "but image registry.k8s.io/kube-controller-manager:v1.36.3"));
    kfx_json_put(kfx_fake_get(&w->api, HELPER), json_true(), "status", "ready");
    run_task(w);
    assert_string_equal(condition(w, "Ready")->message, "the API server answers");
    kfx_fake_forget_log(&w->api);
    clock_ahead_ms += 30000;
    run_task(w);
    assert_int_equal(json_array_size(w->api.log), 0);

    put_pod(w, "kube-apiserver", "ErrImagePull");
    set_ready(w, false);
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_in_range(w->result.retry_after_ms, 4000, 5000); /* counted anew */
    clock_ahead_ms += 5000;
    fail_next(w, "/pods", KFX_E_FORBIDDEN, 403, "pods is forbidden"); /* an older role */
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
}

static void test_rest_is_silent(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(json_array_size(w->api.log), 0);
    assert_int_equal(w->result.written_count, 0);
    assert_condition(w, "Ready", "True", "Available");
}

/* A new process knows nothing, but reads no more than the ControlPlane, the config and the plane's authority. */
static void test_restart_reads_little(void **state)
{
    world_t *w = *state;
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    bring_up(w);
    kfx_reconciler_clear(&w->rec);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("k8s"), &ops);
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(json_array_size(w->api.log), 3);
    assert_int_equal(kfx_fake_count(&w->api, "GET"), 3);
    assert_condition(w, "Ready", "True", "Available");
}

static void test_drift_is_repaired(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_fake_delete(&w->api, NS "/services/cp1");
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_string("feed"), "metadata", "annotations",
                 KFX_ANNOTATION_HASH);
    run_task(w);
    assert_non_null(kfx_fake_get(&w->api, NS "/services/cp1"));
    assert_string_not_equal(kfx_object_hash(kfx_fake_get(&w->api, DEPLOYMENT)), "feed");
    assert_int_equal(w->result.written_count, 3); /* the new Service's address goes into the certificate */
}

/* B-09: a kubeconfig that is missing is made from the authority there is. */
static void test_deleted_kubeconfig(void **state)
{
    world_t *w = *state;
    bring_up(w);
    json_t *before = json_deep_copy(kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data"));
    kfx_fake_delete(&w->api, NS "/secrets/admin-kubeconfig");
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_non_null(kfx_fake_get(&w->api, NS "/secrets/admin-kubeconfig"));
    assert_int_equal(kfx_fake_count(&w->api, "POST"), 1);
    assert_int_equal(kfx_fake_count(&w->api, "PATCH"), 0);
    assert_true(json_equal(before, kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data")));
    json_decref(before);
}

/* One that somebody has changed, or that has lost our label, is made again, and only that one. */
static void test_harmed_kubeconfig(void **state)
{
    static const char path[] = NS "/secrets/admin-kubeconfig";
    world_t *w = *state;
    bring_up(w);
    for (int i = 0; i < 2; i++) {
        json_t *admin = kfx_fake_get(&w->api, path);
        kfx_json_put(admin, json_string("cnViYmlzaA=="), "data", "kubeconfig");
        if (i == 0)
            json_object_set_new(admin, "drifted", json_true());
        else
            json_object_clear(kfx_json_get(admin, "metadata", "labels"));
        kfx_fake_forget_log(&w->api);
        run_task(w);
        assert_string_not_equal(kfx_json_str(kfx_fake_get(&w->api, path), "data", "kubeconfig"), "cnViYmlzaA==");
        assert_string_equal(kfx_json_str(kfx_fake_get(&w->api, path), "metadata", "labels", KFX_LABEL_PLANE), "cp1");
        assert_int_equal(kfx_fake_count(&w->api, "PATCH"), 1);
        assert_condition(w, "Synced", "True", "ReconcileSuccess");
        json_object_del(kfx_fake_get(&w->api, path), "drifted");
    }
}

/* The certificate that users see is issued again; an authority that was harmed cannot be. */
static void test_harmed_certs(void **state)
{
    static const char path[] = NS "/secrets/k8s-certs";
    world_t *w = *state;
    bring_up(w);
    json_t *certs = kfx_fake_get(&w->api, path);
    kfx_json_put(certs, json_string("cnViYmlzaA=="), "data", "apiserver.crt");
    json_object_set_new(certs, "drifted", json_true());
    run_task(w);
    assert_string_not_equal(kfx_json_str(kfx_fake_get(&w->api, path), "data", "apiserver.crt"), "cnViYmlzaA==");
    certs = kfx_fake_get(&w->api, path);
    kfx_json_put(certs, json_string("%"), "data", "ca.key");
    run_task(w);
    assert_condition(w, "Synced", "False", "ReconcileError");
    assert_says(w, "restore it, or delete the Secret");
}

static void test_new_identity(void **state)
{
    world_t *w = *state;
    bring_up(w);
    json_t *admin = json_deep_copy(kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/admin-kubeconfig"), "data"));
    json_t *pod = json_deep_copy(kfx_json_get(kfx_fake_get(&w->api, DEPLOYMENT), "spec", "template"));
    kfx_fake_delete(&w->api, NS "/secrets/k8s-certs");
    run_task(w);
    assert_non_null(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"));
    assert_false(json_equal(admin, kfx_json_get(kfx_fake_get(&w->api, NS "/secrets/admin-kubeconfig"), "data")));
    assert_false(json_equal(pod, kfx_json_get(kfx_fake_get(&w->api, DEPLOYMENT), "spec", "template")));
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_says(w, "new identity");
    run_task(w);
    assert_says(w, "new identity"); /* still there when people look */
    json_decref(admin);
    json_decref(pod);
}

/* The three Secrets are written at once. Where the API server dies meanwhile, the kubeconfigs may stand there without
 * the authority that signed them: they are issued again, and nobody is told that k8s-certs was deleted. */
static void test_creation_cut_short(void **state)
{
    world_t *w = *state;
    fail_next(w, "POST " NS "/secrets", KFX_E_TIMEOUT, 0, "no answer");
    run_task(w);
    assert_null(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"));
    assert_non_null(kfx_fake_get(&w->api, NS "/secrets/admin-kubeconfig"));
    bring_up(w);
    assert_non_null(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"));
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_string_equal(condition(w, "Synced")->message, "");
    assert_condition(w, "Ready", "True", "Available");
}

/* Two workers at once: ours loses the race for k8s-certs, so the kubeconfigs it made of its own authority are made
 * again. */
static void test_lost_race_for_certs(void **state)
{
    world_t *w = *state;
    run_task(w);
    json_t *certs = json_incref(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"));
    char id[KFX_CA_ID_SIZE];
    kfx_authority_of_hash(kfx_object_hash(certs), id);
    /* Take back everything but the certs, and hide those from the digest. */
    kfx_fake_delete(&w->api, NS "/secrets/admin-kubeconfig");
    kfx_fake_delete(&w->api, NS "/secrets/cm-kubeconfig");
    json_object_del(kfx_json_get(certs, "metadata", "labels"), KFX_LABEL_PLANE);
    json_decref(certs);
    run_task(w);
    const json_t *admin = kfx_fake_get(&w->api, NS "/secrets/admin-kubeconfig");
    const char *ca = kfx_json_str(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data", "ca.crt");
    size_t len;
    KFX_FREE char *text = kfx_base64_decode(kfx_json_str(admin, "data", "kubeconfig"), &len, NULL);
    assert_non_null(text);
    assert_non_null(strstr(text, ca));
    assert_condition(w, "Synced", "False", "WaitingForStorage");
}

static void test_foreign_namespace(void **state)
{
    world_t *w = *state;
    kfx_fake_put(&w->api, "/api/v1/namespaces",
                 json_pack("{s:s, s:{s:s}}", "kind", "Namespace", "metadata", "name", "cp1-system"));
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(w->result.retry_after_ms, 0); /* its end is an event */
    assert_condition(w, "Synced", "False", "NameConflict");
    assert_null(condition(w, "Ready"));
    assert_int_equal(w->result.written_count, 0);
    assert_int_equal(kfx_fake_count(&w->api, "APPLY"), 0);
    assert_int_equal(kfx_fake_count(&w->api, "POST"), 0); /* the digest shows it */
    run_as(w, UID, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(kfx_fake_count(&w->api, "DELETE"), 0);
    kfx_fake_delete(&w->api, NS);
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForStorage");
}

/* The digest is late: it shows no Namespace where there is one, or one that has just gone. */
static void test_late_digest(void **state)
{
    world_t *w = *state;
    kfx_fake_put(&w->api, "/api/v1/namespaces",
                 json_pack("{s:s, s:{s:s}}", "kind", "Namespace", "metadata", "name", "cp1-system"));
    w->hide = NS;
    run_task(w);
    assert_condition(w, "Synced", "False", "NameConflict");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    w->hide = NULL;
    w->vanish = NS;
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForStorage");
    assert_int_equal(w->result.written_count, 6);
}

/* S-09 and the like: an object inside our Namespace that somebody else made is not taken over either. */
static void test_foreign_object(void **state)
{
    world_t *w = *state;
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    run_task(w);
    write_dsn(w);
    kfx_fake_put(&w->api, "/apis/apps/v1/namespaces/cp1-system/deployments",
                 json_pack("{s:s, s:{s:s}}", "kind", "Deployment", "metadata", "name", "kube-controller-manager"));
    kfx_reconciler_clear(&w->rec); /* another worker, which did not make the Namespace */
    kfx_reconciler_init(&w->rec, kfx_type_lookup("k8s"), &ops);
    run_task(w);
    assert_condition(w, "Synced", "False", "NameConflict");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY); /* without our label no event tells of its end */
    assert_null(kfx_fake_get(&w->api, DEPLOYMENT));
    kfx_json_put(kfx_fake_get(&w->api, "/apis/apps/v1/namespaces/cp1-system/deployments/kube-controller-manager"),
                 json_string("cp1"), "metadata", "labels", KFX_LABEL_PLANE);
    run_task(w);
    assert_condition(w, "Synced", "False", "NameConflict");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
}

/* An object of ours was deleted, and somebody put one of his own in its place. */
static void test_foreign_object_later(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_fake_put(&w->api, NS "/services", json_pack("{s:s, s:{s:s}}", "kind", "Service", "metadata", "name", "cp1"));
    run_task(w);
    assert_condition(w, "Synced", "False", "NameConflict");
    assert_null(kfx_json_get(kfx_fake_get(&w->api, NS "/services/cp1"), "metadata", "labels"));
}

static void test_recreated_plane(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_fake_put(&w->api, KFX_CONTROLPLANES_PATH, plane_object("another-uid"));
    kfx_fake_forget_log(&w->api);
    run_as(w, "another-uid", false); /* the old one's Namespace is still there */
    assert_condition(w, "Synced", "False", "NamespaceTerminating");
    assert_int_equal(kfx_fake_count(&w->api, "APPLY") + kfx_fake_count(&w->api, "DELETE"), 0);
    kfx_json_put(kfx_fake_get(&w->api, NS),
                 json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:s}]", "type", "NamespaceContentRemaining", "status", "True",
                           "message", "something", "type", "NamespaceFinalizersRemaining", "status", "True", "message",
                           "example.com/hold in 1 resource instances"),
                 "status", "conditions");
    run_as(w, "another-uid", false);
    assert_condition(w, "Synced", "False", "NamespaceTerminating");
    assert_says(w, "example.com/hold in 1 resource instances");
    run_as(w, "yet-another", false); /* a late task of a plane that is gone */
    assert_int_equal(w->result.condition_count, 0);
    assert_int_equal(kfx_fake_count(&w->api, "POST"), 0);
}

static void test_takeover_pending(void **state)
{
    world_t *w = *state;
    json_t *owner = json_pack("[{s:s, s:s, s:s, s:s, s:b}]", "apiVersion", KFX_API_VERSION, "kind", "ControlPlane",
                              "name", "cp1", "uid", UID, "controller", 1);
    kfx_fake_put(&w->api, "/api/v1/namespaces",
                 json_pack("{s:s, s:{s:s, s:O}}", "kind", "Namespace", "metadata", "name", "cp1-system",
                           "ownerReferences", owner));
    kfx_fake_put(&w->api, "/apis/apps/v1/namespaces/cp1-system/deployments",
                 json_pack("{s:s, s:{s:s, s:o, s:[{s:s, s:s}]}}", "kind", "Deployment", "metadata", "name",
                           "kube-apiserver", "ownerReferences", owner, "managedFields", "manager", "manager",
                           "operation", "Update"));
    run_task(w);
    assert_condition(w, "Synced", "False", "TakeoverPending");
    assert_null(condition(w, "Ready"));
    assert_int_equal(kfx_fake_count(&w->api, "APPLY") + kfx_fake_count(&w->api, "PATCH"), 0);
}

/* Somebody took our label off the Namespace: it is put back, and nothing is mistaken for the Go operator's. */
static void test_label_restored(void **state)
{
    world_t *w = *state;
    bring_up(w);
    json_object_del(kfx_json_get(kfx_fake_get(&w->api, NS), "metadata", "labels"), KFX_LABEL_PLANE);
    run_task(w);
    assert_condition(w, "Synced", "True", "ReconcileSuccess");
    assert_string_equal(kfx_json_str(kfx_fake_get(&w->api, NS), "metadata", "labels", KFX_LABEL_PLANE), "cp1");
    json_object_del(kfx_json_get(kfx_fake_get(&w->api, NS), "metadata", "annotations"), KFX_ANNOTATION_HASH);
    run_task(w);
    assert_string_not_equal(kfx_object_hash(kfx_fake_get(&w->api, NS)), "");
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_int_equal(json_array_size(w->api.log), 0);
}

static void test_teardown(void **state)
{
    world_t *w = *state;
    bring_up(w);
    run_as(w, UID, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_condition(w, "Ready", "False", "Deleting");
    assert_condition(w, "Synced", "False", "Deleting");
    assert_true(kfx_object_terminating(kfx_fake_get(&w->api, NS)));
    kfx_fake_forget_log(&w->api);
    run_as(w, UID, true); /* again: it goes already */
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(kfx_fake_count(&w->api, "DELETE"), 0);
    kfx_fake_delete(&w->api, NS);
    run_as(w, UID, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
}

/* S-09: a plane of the Go operator called kube. Nothing is made in kube-system, and it can go. */
static void test_bad_name(void **state)
{
    world_t *w = *state;
    kfx_fake_put(&w->api, "/api/v1/namespaces",
                 json_pack("{s:s, s:{s:s}}", "kind", "Namespace", "metadata", "name", "kube-system"));
    run_named(w, "kube", UID, false);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_condition(w, "Synced", "False", "InvalidName");
    assert_says(w, "choose another");
    run_named(w, "kube", UID, true);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(
        kfx_fake_count(&w->api, "POST") + kfx_fake_count(&w->api, "APPLY") + kfx_fake_count(&w->api, "DELETE"), 0);
}

static void test_version_is_recorded_first(void **state)
{
    world_t *w = *state;
    kfx_fake_put(&w->api, "/api/v1/namespaces",
                 json_pack("{s:s, s:{s:s}}", "kind", "Namespace", "metadata", "name", "x"));
    run_task(w);
    write_dsn(w);
    json_object_clear(json_object_get(kfx_fake_get(&w->api, KFX_CONTROLPLANES_PATH "/cp1"), "status"));
    run_task(w);
    assert_null(kfx_fake_get(&w->api, DEPLOYMENT));
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(w->result.retry_after_ms, 0); /* the watcher tells */
    assert_true(w->result.awaits_record);
    assert_null(condition(w, "Synced"));
    kfx_fake_forget_log(&w->api);
    run_task(w);
    assert_non_null(kfx_fake_get(&w->api, DEPLOYMENT));
    assert_false(w->result.awaits_record);
    assert_int_equal(kfx_fake_count(&w->api, "GET " KFX_CONTROLPLANES_PATH), 0); /* the digest says it */
}

/* Another default, while the process remembers the plane from before its version was recorded. */
static void test_version_stays(void **state)
{
    world_t *w = *state;
    bring_up(w);
    set_config(w, "kubernetesVersion", "v1.35.1");
    run_task(w);
    assert_string_equal(w->result.kubernetes_version, KFX_DEFAULT_KUBERNETES_VERSION);
    assert_int_equal(w->result.written_count, 0);
}

static void test_version_asked_for(void **state)
{
    world_t *w = *state;
    json_t *plane = kfx_fake_get(&w->api, KFX_CONTROLPLANES_PATH "/cp1");
    kfx_json_put(plane, json_string("v1.12.0"), "spec", "kubernetesVersion");
    run_task(w);
    assert_condition(w, "Synced", "False", "InvalidSpec");
    assert_says(w, "v1.27 to v1.36");
}

static void test_failures(void **state)
{
    world_t *w = *state;
    fail_next(w, "GET " KFX_CONTROLPLANES_PATH, KFX_E_TIMEOUT, 0, "timeout");
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_DOWN);
    fail_next(w, "POST /api/v1/namespaces", KFX_E_UNAVAILABLE, 0, "connection refused");
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_DOWN);
    assert_int_equal(w->result.condition_count, 0);
    fail_next(w, "POST /api/v1/namespaces", KFX_E_FENCED, 0, "lease over");
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(w->result.condition_count, 0);
    fail_next(w, "APPLY", KFX_E_FORBIDDEN, 403, "services is forbidden: User x cannot patch");
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_condition(w, "Synced", "False", "ReconcileError");
    assert_says(w, "not allowed");
    fail_next(w, "APPLY", KFX_E_FORBIDDEN, 403,
              "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for Kind ControlPlane");
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(w->result.retry_after_ms, 1000);
    assert_says(w, "nothing needs to be done");
    fail_next(w, "POST " NS "/secrets", KFX_E_FORBIDDEN, 403,
              "unable to create new content in namespace cp1-system because it is being terminated");
    run_task(w);
    assert_condition(w, "Synced", "False", "NamespaceTerminating");
    fail_next(w, "APPLY", KFX_E_INVALID, 422, "Only one reference can have Controller set to true");
    kfx_fake_delete(&w->api, NS "/services/cp1");
    run_task(w);
    assert_condition(w, "Synced", "False", "NameConflict");
    run_task(w);
    assert_condition(w, "Synced", "False", "WaitingForStorage"); /* healed */
}

static void test_stop(void **state)
{
    world_t *w = *state;
    w->api.stopped = true;
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(w->result.condition_count, 0);
    assert_int_equal(json_array_size(w->api.log), 0);
}

/* A task whose lease ended before it looked at the plane says so: "ok" would be the last word about its readiness, and
 * nothing would probe it again. */
static void test_stop_before_readiness(void **state)
{
    world_t *w = *state;
    bring_up(w);
    w->api.stopped = true; /* all is as desired: nothing has to be asked of the API server */
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_null(condition(w, "Ready"));
    w->api.stopped = false;
    run_task(w);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_OK);
    assert_condition(w, "Ready", "True", "Available");
}

/* Nothing secret may be in what goes over the bus. */
static void test_no_secret_in_result(void **state)
{
    world_t *w = *state;
    bring_up(w);
    const char *key = kfx_json_str(kfx_fake_get(&w->api, NS "/secrets/k8s-certs"), "data", "ca.key");
    if (!key) {
        fail();
        return;
    }
    zframe_t *frame = kfx_result_encode(&w->result);
    assert_null(memmem(zframe_data(frame), zframe_size(frame), key, 40));
    assert_null(memmem(zframe_data(frame), zframe_size(frame), "PRIVATE", 7));
    zframe_destroy(&frame);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_life),
        T(test_not_ready_says_why),
        T(test_rest_is_silent),
        T(test_restart_reads_little),
        T(test_drift_is_repaired),
        T(test_deleted_kubeconfig),
        T(test_harmed_kubeconfig),
        T(test_harmed_certs),
        T(test_new_identity),
        T(test_creation_cut_short),
        T(test_lost_race_for_certs),
        T(test_foreign_namespace),
        T(test_late_digest),
        T(test_foreign_object),
        T(test_foreign_object_later),
        T(test_recreated_plane),
        T(test_takeover_pending),
        T(test_label_restored),
        T(test_teardown),
        T(test_bad_name),
        T(test_version_is_recorded_first),
        T(test_version_stays),
        T(test_version_asked_for),
        T(test_failures),
        T(test_stop),
        T(test_stop_before_readiness),
        T(test_no_secret_in_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
