/* Planes that are not served as they stand, and what the watcher does about them. */
#include "watcher/test_world.h"

static void test_not_for_us(void **state)
{
    (void)state;
    create("cp2", "martian");
    assert_int_equal(written.op, KFX_OP_STATUS);
    land();
    assert_string_equal(reason_of("Synced"), "NotSupported");
    assert_int_equal(written.count, 1);
    assert_int_equal(sent.events, 0);
    json_object_set_new(json_object_get(object, "metadata"), "finalizers", json_pack("[s]", KFX_FINALIZER));
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    assert_int_equal(written.op, KFX_OP_FINALIZER); /* of an operator that was here before: deletion passes */
}

/* As land (), but the API server drops the version; writer.c remembers what it dropped it from. */
static void land_pruned(kfx_plane_t *plane, int64_t until)
{
    kfx_status_t *meant = kfx_status_from_json(kfx_json_get(written.patch, "status"));
    json_object_del(json_object_get(written.patch, "status"), "kubernetesVersion");
    plane->unkept = kfx_status_words(meant);
    plane->unkept_until = until;
    free(meant);
    land();
}

/* A definition without our rules lets the type change. */
static void test_retyped(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    land();
    kfx_json_put(object, json_string("k3s"), "spec", "type");
    change("labels", json_object());
    assert_string_equal(sent.service, "storage"); /* still told, the same services */
    assert_int_equal(sent.events, 4);
    land();
    assert_string_equal(reason_of("Synced"), "InvalidSpec");
    assert_non_null(strstr(kfx_status_cond(p->status, "Synced")->message, "was k8s"));
    kfx_json_put(object, json_object(), "spec"); /* or it loses its type */
    bump();
    show();
    assert_null(written.patch);
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    assert_int_equal(sent.events, 6);
    done("storage", KFX_OUTCOME_GONE, NULL, false, "");
    while (written.patch && written.op == KFX_OP_STATUS)
        land();
    assert_true(p->finalizer); /* not before both have ended it */
    done("reconcile.k8s", KFX_OUTCOME_GONE, NULL, false, "");
    assert_int_equal(written.op, KFX_OP_FINALIZER);
}

/* A new process, which has seen the plane only after the change, knows it by its workload. */
static void test_retyped_before_we_came(void **state)
{
    (void)state;
    kfx_plane_t *p = kfx_planes_get(w.planes, "cp1");
    kfx_seen_child_t c = {.kind = "Deployment",
                          .plane = "cp1",
                          .name = "kube-apiserver",
                          .uid = "d-1",
                          .rv = "7",
                          .hash = "feed",
                          .owner = "u-1",
                          .fields = 3};
    kfx_plane_child_update(p, &c);
    json_decref(object);
    object = json_pack("{s:{s:s, s:s, s:i, s:[s]}, s:{}}", "metadata", "name", "cp1", "uid", "u-1", "generation", 2,
                       "finalizers", KFX_FINALIZER, "spec");
    bump();
    show();
    assert_int_equal(sent.events, 2);
    land();
    assert_string_equal(reason_of("Synced"), "InvalidSpec");
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    assert_int_equal(sent.events, 4);
    assert_true(p->finalizer);
}

static void test_retyped_back(void **state)
{
    (void)state;
    create("cp1", "k8s");
    land();
    kfx_json_put(object, json_string("host"), "spec", "type");
    change("labels", json_object());
    land();
    assert_string_equal(reason_of("Synced"), "InvalidSpec");
    kfx_json_put(object, json_string("k8s"), "spec", "type");
    change("labels", json_object());
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    while (written.patch)
        land();
    assert_string_equal(reason_of("Synced"), "ReconcileSuccess");
}

/* The API server drops a field of the status: it is not written over and over, what can be known is known, and the
 * plane says what to do. */
static void test_outdated_schema(void **state)
{
    (void)state;
    w.schema_known = true;
    w.schema = (kfx_schema_t){.missing = "status.kubernetesVersion"};
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    land();
    assert_string_equal(reason_of("Synced"), "SchemaOutdated");
    done_version("v1.36.3", true);
    unsigned writes = written.count, acks = sent.acks;
    land_pruned(p, 0);
    assert_int_equal(written.count, writes);
    assert_int_equal(sent.acks, acks + 1);
    assert_int_equal(sent.events, 2);
    assert_non_null(strstr(kfx_status_cond(p->status, "Synced")->message, "lacks: status.kubernetesVersion"));
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    assert_int_equal(written.count, writes + 1); /* other news are written */
    land_pruned(p, 0);
    assert_int_equal(written.count, writes + 1);

    w.schema = (kfx_schema_t){.same = true, .records = true};
    kfx_plane_kept(p); /* ours is served again, but not in use yet */
    kfx_result_t result = {.kubernetes_version = "v1.36.3", .awaits_record = true};
    kfx_result_condition(&result, "Synced", false, "WaitingForStorage", "%s", "");
    done_with("reconcile.k8s", KFX_OUTCOME_WAITING, &result);
    land_pruned(p, now + 200);
    assert_null(written.patch);
    assert_int_equal(later, now + 200);
    now += 200;
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
    land();
    assert_null(written.patch);
    assert_string_equal(p->status->version, "v1.36.3");
    assert_string_equal(reason_of("Synced"), "WaitingForStorage");
    assert_int_equal(sent.events, 3); /* the one that awaited it */
}

static void show_namespace(kfx_plane_t *plane, const char *owner, const char *hash, uint64_t fields)
{
    static unsigned version = 5000;
    kfx_seen_child_t c = {.kind = "Namespace", .ready = true, .fields = fields};
    kfx_copy(c.plane, sizeof c.plane, plane->name);
    snprintf(c.name, sizeof c.name, "%s-system", plane->name);
    snprintf(c.uid, sizeof c.uid, "ns-1");
    snprintf(c.rv, sizeof c.rv, "%u", ++version);
    kfx_copy(c.owner, sizeof c.owner, owner);
    kfx_copy(c.hash, sizeof c.hash, hash);
    kfx_plane_child_update(plane, &c);
    kfx_watcher_mark(&w, plane);
    kfx_watcher_flush(&w);
}

/* A Namespace with the plane's ownerReference that no worker of ours has written to is the Go operator's: it is only
 * observed, nobody is told of it, and the plane can go. */
static void test_takeover_pending(void **state)
{
    (void)state;
    kfx_plane_t *p = kfx_planes_get(w.planes, "cp1");
    show_namespace(p, "u-1", "", 0);
    create("cp1", "k8s");
    assert_int_equal(written.op, KFX_OP_STATUS);
    land();
    assert_string_equal(reason_of("Synced"), "TakeoverPending");
    assert_null(kfx_status_cond(p->status, "Ready"));
    assert_int_equal(sent.events, 0);
    json_object_set_new(json_object_get(object, "metadata"), "finalizers", json_pack("[s]", KFX_FINALIZER));
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    assert_int_equal(written.op, KFX_OP_FINALIZER);
    assert_int_equal(sent.events, 0);
}

static void test_namespace_of_ours(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    show_namespace(p, "u-1", "feed", 0); /* somebody took our managedFields away */
    show_namespace(p, "u-1", "", 7);     /* or our annotation */
    assert_null(written.patch);
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    land();
    assert_string_equal(reason_of("Synced"), "ReconcileSuccess");
    show_namespace(p, "", "", 0); /* somebody else's: the reconciler says NameConflict */
    assert_null(written.patch);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_not_for_us),      T(test_retyped),          T(test_retyped_before_we_came), T(test_retyped_back),
        T(test_outdated_schema), T(test_takeover_pending), T(test_namespace_of_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
