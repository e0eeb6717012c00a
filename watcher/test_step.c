/* The life of a plane as the watcher drives it. */
#include "watcher/test_world.h"

static void test_life(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    assert_int_equal(written.op, KFX_OP_FINALIZER);
    assert_int_equal(sent.events, 0); /* not before the finalizer stands */
    land();
    assert_int_equal(sent.events, 2);
    assert_int_equal(written.count, 1);

    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    assert_int_equal(written.count, 2);
    assert_int_equal(sent.acks, 0); /* not before it landed */
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    assert_int_equal(written.count, 2); /* one write at a time, the newest state afterwards */
    land();
    assert_int_equal(written.count, 3);
    assert_int_equal(sent.acks, 0); /* what stands there lacks the second one's words */
    land();
    assert_int_equal(sent.acks, 2);
    assert_int_equal(sent.ack.task, 5);
    assert_int_equal(p->status->observed_generation, 1);

    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    assert_int_equal(written.count, 3); /* identical: no write, ACK at once */
    assert_int_equal(sent.acks, 3);
    assert_int_equal(sent.events, 2);
}

/* A status that says already what a result says does not settle it while an older write is on its way. */
static void test_no_ack_while_a_write_is_on_its_way(void **state)
{
    (void)state;
    create("cp1", "k8s");
    land();
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    land();
    assert_int_equal(sent.acks, 1);
    done("reconcile.k8s", KFX_OUTCOME_RETRY, "Synced", false, "ReconcileError");
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess"); /* what still stands there */
    assert_int_equal(sent.acks, 1);
    land();
    assert_int_equal(sent.acks, 1); /* the older words stand there now */
    land();
    assert_int_equal(sent.acks, 2);
}

/* A worker that waits for its version to be recorded hears of it once, whichever came first; others do not. */
static void test_awaited_record(void **state)
{
    (void)state;
    create("cp1", "k8s");
    land();
    assert_int_equal(sent.events, 2);
    done_version("v1.36.3", true);
    assert_int_equal(sent.events, 2);
    land(); /* the status write after the result */
    assert_int_equal(sent.events, 3);
    assert_string_equal(sent.service, "reconcile.k8s");
    assert_string_equal(sent.version, "v1.36.3");
    done_version("v1.36.3", true); /* a worker that is slow to see it is not driven round in a circle */
    assert_int_equal(sent.events, 3);

    done_version("v1.36.4", false);
    land();
    assert_int_equal(sent.events, 3); /* nobody waits */
    done_version("v1.36.4", true);    /* the result after the status write */
    assert_int_equal(sent.events, 4);
    assert_string_equal(sent.version, "v1.36.4");

    done_version("v1.36.5", true);
    kfx_json_put(object, json_string("v1.30.0"), "status", "kubernetesVersion");
    bump();
    written.plane->op = KFX_OP_NONE;
    json_decref(KFX_STEAL(written.patch));
    show(); /* somebody else's word is not what was awaited: it is written over first */
    assert_int_equal(sent.events, 4);
    land();
    assert_int_equal(sent.events, 5);
    assert_string_equal(sent.version, "v1.36.5");
}

/* The DSN Secret comes while the version is being written: one EVENT tells of both. Where the write fails, or the plane
 * goes, nothing waits. */
static void test_event_waits_for_record(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done("storage", KFX_OUTCOME_WAITING, "StorageReady", false, "WaitingForNamespace");
    done_version("v1.36.3", false);
    kfx_seen_child_t dsn = {
        .kind = "Secret", .plane = "cp1", .name = KFX_SECRET_DSN, .uid = "s-1", .rv = "9", .ready = true};
    kfx_plane_child_update(p, &dsn);
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
    assert_int_equal(sent.events, 3);
    assert_string_equal(sent.service, "storage"); /* which has no business with the version */
    land();
    assert_int_equal(sent.events, 4);
    assert_string_equal(sent.service, "reconcile.k8s");
    assert_string_equal(sent.version, "v1.36.3");

    done_version("v1.36.4", false);
    kfx_copy(dsn.rv, sizeof dsn.rv, "10");
    kfx_plane_child_update(p, &dsn);
    json_decref(KFX_STEAL(written.patch)); /* the write failed */
    p->op = KFX_OP_NONE;
    p->retry_at = now + 1000;
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
    assert_int_equal(sent.events, 6);
    assert_string_equal(sent.version, "v1.36.3");
}

static void show_dsn(kfx_plane_t *p, const char *rv)
{
    kfx_seen_child_t dsn = {.kind = "Secret",
                            .plane = "cp1",
                            .name = KFX_SECRET_DSN,
                            .uid = "s-1",
                            .owner = "u-1",
                            .fields = 11,
                            .ready = true};
    kfx_copy(dsn.rv, sizeof dsn.rv, rv);
    kfx_plane_child_update(p, &dsn);
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
}

/* Two services, one write: what is only a step on the way waits for the result that is about to come. */
static void test_one_write_for_two_results(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done_version("v1.36.3", false);
    assert_int_equal(written.count, 2); /* what has to be recorded is */
    land();
    kfx_result_t result = {.outcome = KFX_OUTCOME_OK};
    kfx_result_condition(&result, "StorageReady", true, "DatabaseReady", "%s", "");
    kfx_result_wrote(&result, "Secret", KFX_SECRET_DSN, "s-1", "9", "");
    done_with("storage", KFX_OUTCOME_OK, &result); /* sooner than the watch shows its Secret … */
    assert_int_equal(written.count, 2);
    show_dsn(p, "9"); /* … which makes the reconciler run */
    assert_string_equal(sent.service, "reconcile.k8s");
    assert_int_equal(written.count, 2);
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    assert_int_equal(written.count, 3);
    land();
    assert_string_equal(reason_of("StorageReady"), "DatabaseReady");
    assert_string_equal(reason_of("Synced"), "ReconcileSuccess");
    assert_int_equal(sent.acks, 3);
    assert_null(written.patch);
}

static void test_patience_ends(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done_version("v1.36.3", false);
    land();
    show_dsn(p, "9");
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    assert_int_equal(written.count, 2);
    now = later; /* the reconciler is slow */
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
    assert_int_equal(written.count, 3);
    land();
    assert_string_equal(reason_of("StorageReady"), "DatabaseReady");

    done("storage", KFX_OUTCOME_RETRY, "StorageReady", false, "StorageError");
    assert_int_equal(written.count, 4); /* a failure is told at once */
    land();
    show_dsn(p, "10");
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    assert_int_equal(written.count, 5); /* and so is its end */
    land();
    done("storage", KFX_OUTCOME_WAITING, "StorageReady", false, "WaitingForNamespace");
    assert_int_equal(written.count, 5);
    bus.on_disconnected(bus.ctx); /* nothing more will come */
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
    assert_int_equal(written.count, 6);
}

static void test_deletion(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done("reconcile.k8s", KFX_OUTCOME_GONE, NULL, false, ""); /* out of place: it lives */
    assert_false(p->views[0].gone);
    while (written.patch)
        land();
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    assert_int_equal(sent.events, 4);
    assert_true(sent.event.deleting);
    unsigned before = written.count;
    done("storage", KFX_OUTCOME_GONE, NULL, false, "");
    while (written.patch && written.op == KFX_OP_STATUS)
        land();
    assert_true(p->finalizer);
    done("reconcile.k8s", KFX_OUTCOME_GONE, NULL, false, "");
    assert_true(written.count > before);
    assert_int_equal(written.op, KFX_OP_FINALIZER);
    assert_int_equal(json_array_size(kfx_json_get(written.patch, "metadata", "finalizers")), 0);
    json_t *meta = json_object_get(object, "metadata");
    json_object_set_new(meta, "finalizers", json_array());
    json_decref(KFX_STEAL(written.patch));
    p->op = KFX_OP_NONE;
    bump();
    before = sent.events;
    show();
    assert_int_equal(sent.events, before); /* others' finalizers hold it: not our business */
    assert_null(written.patch);
}

static kfx_plane_t *begin_deletion(void)
{
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    while (written.patch)
        land();
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    return p;
}

static void force(void)
{
    kfx_json_put(object, json_string("true"), "metadata", "annotations", KFX_ANNOTATION_FORCE);
    bump();
    show();
}

/* The annotation lets a plane go without the service that cannot end it, and only without that. */
static void test_forced_deletion(void **state)
{
    (void)state;
    kfx_plane_t *p = begin_deletion();
    force();
    assert_int_equal(sent.forced, 0); /* both are asked first */
    done("reconcile.k8s", KFX_OUTCOME_GONE, NULL, false, "");
    while (written.patch)
        land();
    assert_true(p->finalizer);
    assert_int_equal(sent.forced, 0); /* the agent has not answered, and it is there */
    done("storage", KFX_OUTCOME_RETRY, "StorageReady", false, "StorageError");
    assert_int_equal(written.op, KFX_OP_FINALIZER);
    assert_int_equal(sent.forced, 1);
    assert_string_equal(sent.forced_without, "storage");
}

static void test_not_forced(void **state)
{
    (void)state;
    kfx_plane_t *p = begin_deletion();
    done("reconcile.k8s", KFX_OUTCOME_GONE, NULL, false, "");
    done("storage", KFX_OUTCOME_RETRY, "StorageReady", false, "StorageError");
    while (written.patch)
        land();
    assert_true(p->finalizer);
    assert_string_equal(reason_of("StorageReady"), "StorageError");
    bus.on_service(bus.ctx, "storage", KFX_STATE_NO_WORKER, "");
    assert_null(written.patch);
    kfx_json_put(object, json_string("yes"), "metadata", "annotations", KFX_ANNOTATION_FORCE);
    bump();
    show();
    assert_null(written.patch); /* only "true" */
    force();
    assert_int_equal(written.op, KFX_OP_FINALIZER);
    assert_int_equal(sent.forced, 1);
}

/* Where nobody is there to do it, the condition says so and how to go on; a plane that lives is not touched by it. */
static void test_forced_without_worker(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    bus.on_service(bus.ctx, "storage", KFX_STATE_NO_WORKER, "");
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    while (written.patch)
        land();
    force();
    assert_true(p->finalizer && !written.patch);
    kfx_json_put(object, json_object(), "metadata", "annotations");
    change("deletionTimestamp", json_string("2026-11-23T22:50:00Z"));
    done("reconcile.k8s", KFX_OUTCOME_GONE, NULL, false, "");
    now += 31000;
    kfx_watcher_mark_all(&w);
    kfx_watcher_flush(&w);
    while (written.patch)
        land();
    assert_string_equal(reason_of("StorageReady"), "NoStorageAgent");
    assert_non_null(strstr(kfx_status_cond(written.plane->status, "StorageReady")->message, KFX_ANNOTATION_FORCE));
    force();
    assert_int_equal(written.op, KFX_OP_FINALIZER);
    assert_string_equal(sent.forced_without, "storage");
}

static void test_results_of_the_past(void **state)
{
    (void)state;
    create("cp1", "k8s");
    land();
    unsigned writes = written.count;
    kfx_result_t result = {.outcome = KFX_OUTCOME_OK};
    kfx_result_condition(&result, "Synced", false, "ReconcileError", "%s", "old");
    kfx_envelope_t env = {
        .service = "reconcile.k8s", .key = "cp1", .uid = "u-0", .generation = 1, .epoch = 7, .seq = 1};
    bus.on_done(bus.ctx, &env, &result); /* of another uid */
    assert_int_equal(sent.acks, 1);
    kfx_copy(env.key, sizeof env.key, "unknown");
    bus.on_done(bus.ctx, &env, &result);
    assert_int_equal(sent.acks, 2);
    kfx_copy(env.key, sizeof env.key, "cp1");
    kfx_copy(env.uid, sizeof env.uid, "u-1");
    kfx_copy(env.service, sizeof env.service, "reconcile.k3s");
    bus.on_done(bus.ctx, &env, &result); /* a service this type does not have */
    assert_int_equal(sent.acks, 3);
    change("labels", json_object()); /* generation 2 */
    kfx_copy(env.service, sizeof env.service, "reconcile.k8s");
    bus.on_done(bus.ctx, &env, &result); /* about generation 1 */
    assert_int_equal(sent.acks, 4);
    assert_int_equal(written.count, writes);
    assert_int_equal(sent.event.generation, 2);
}

static void test_no_worker(void **state)
{
    (void)state;
    bus.on_service(bus.ctx, "reconcile.k8s", KFX_STATE_NO_WORKER, "");
    create("cp1", "k8s");
    land();
    now += 29000;
    kfx_watcher_mark_all(&w);
    kfx_watcher_flush(&w);
    assert_int_equal(written.count, 1); /* a short one is nobody's business */
    fire();
    assert_int_equal(written.op, KFX_OP_STATUS);
    land();
    assert_string_equal(reason_of("Synced"), "NoReconciler");
    assert_non_null(strstr(kfx_status_cond(written.plane->status, "Synced")->message, "kubeflex-reconciler-k8s"));
    bus.on_service(bus.ctx, "reconcile.k8s", KFX_STATE_UP, "");
    kfx_watcher_mark_all(&w);
    kfx_watcher_flush(&w);
    assert_null(written.patch); /* stands until the result */
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    land();
    assert_string_equal(reason_of("Synced"), "ReconcileSuccess");
}

static void expect_storage_says(const char *text)
{
    const kfx_cond_t *c = kfx_status_cond(written.plane->status, "StorageReady");
    assert_non_null(c);
    assert_string_equal(c->reason, "PostgresUnavailable");
    if (!strstr(c->message, text))
        fail_msg("\"%s\" does not say \"%s\"", c->message, text);
}

/* A plane that no worker takes says what the worker says of its target, and what it says later. */
static void test_outage_in_the_workers_words(void **state)
{
    (void)state;
    bus.on_service(bus.ctx, "storage", KFX_STATE_DOWN, "the password is wrong");
    create("cp1", "k8s");
    land();
    fire();
    land();
    expect_storage_says("cannot use Postgres: the password is wrong: look at StatefulSet postgres-postgresql");
    bus.on_service(bus.ctx, "storage", KFX_STATE_DOWN, "no route");
    fire();
    land();
    expect_storage_says("no route");
    bus.on_service(bus.ctx, "storage", KFX_STATE_DOWN, "no route");
    assert_null(written.patch);
}

/* A result clears what was written, even while the service is still said to be away; and who has his result waits for
 * nobody. */
static void test_result_during_outage(void **state)
{
    (void)state;
    bus.on_service(bus.ctx, "reconcile.k8s", KFX_STATE_NO_WORKER, "");
    create("cp1", "k8s");
    land();
    fire();
    land();
    assert_string_equal(reason_of("Synced"), "NoReconciler");
    done("reconcile.k8s", KFX_OUTCOME_WAITING, "Synced", false, "WaitingForStorage");
    land();
    assert_string_equal(reason_of("Synced"), "WaitingForStorage");
    kfx_watcher_mark_all(&w);
    kfx_watcher_flush(&w);
    assert_null(written.patch);
}

/* A healthy plane that only waits for its turn after a snapshot keeps what it has. */
static void test_outage_spares_the_healthy(void **state)
{
    (void)state;
    create("cp1", "k8s");
    land();
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    while (written.patch)
        land();
    unsigned writes = written.count;
    bus.on_disconnected(bus.ctx);
    bus.on_connected(bus.ctx);
    assert_int_equal(sent.events, 4);
    bus.on_service(bus.ctx, "reconcile.k8s", KFX_STATE_NO_WORKER, "");
    fire();
    assert_int_equal(written.count, writes);
}

static void test_target_down(void **state)
{
    (void)state;
    kfx_plane_t *p = create("cp1", "k8s");
    land();
    done("storage", KFX_OUTCOME_DOWN, "StorageReady", false, "PostgresUnavailable");
    assert_int_equal(sent.acks, 1);
    assert_int_equal(written.count, 1);
    now += 10000;
    done("storage", KFX_OUTCOME_DOWN, "StorageReady", false, "PostgresUnavailable"); /* the outage goes on */
    fire();
    assert_int_equal(now, 1030001);
    land();
    assert_string_equal(reason_of("StorageReady"), "PostgresUnavailable");
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    land();
    assert_string_equal(reason_of("StorageReady"), "DatabaseReady");
    assert_null(p->views[1].held);
}

static void test_standby_does_nothing(void **state)
{
    (void)state;
    w.leading = false;
    create("cp1", "k8s");
    assert_int_equal(written.count + sent.events, 0);
    w.leading = true;
    w.synced = false;
    bump();
    show();
    assert_int_equal(written.count + sent.events, 0);
}

/* The snapshot waits for the caches, and for nothing else. */
static void test_snapshot(void **state)
{
    (void)state;
    create("cp1", "k8s");
    land();
    bus.on_disconnected(bus.ctx);
    change("labels", json_object());
    assert_int_equal(sent.events, 2); /* away: the snapshot will tell */
    w.synced = false;
    bus.on_connected(bus.ctx);
    assert_int_equal(sent.syncs, 1);
    w.synced = true;
    kfx_watcher_flush(&w);
    assert_int_equal(sent.syncs, 2);
    assert_int_equal(sent.events, 4);
    kfx_watcher_mark_all(&w);
    kfx_watcher_flush(&w);
    assert_int_equal(sent.events, 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_life),
        T(test_no_ack_while_a_write_is_on_its_way),
        T(test_awaited_record),
        T(test_event_waits_for_record),
        T(test_one_write_for_two_results),
        T(test_patience_ends),
        T(test_deletion),
        T(test_forced_deletion),
        T(test_not_forced),
        T(test_forced_without_worker),
        T(test_results_of_the_past),
        T(test_no_worker),
        T(test_outage_in_the_workers_words),
        T(test_result_during_outage),
        T(test_outage_spares_the_healthy),
        T(test_target_down),
        T(test_standby_does_nothing),
        T(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
