/* The life of a plane as the watcher drives it: step.c and bus.c are compiled in, their clock and timers replaced; the
 * API server's writes and the publisher are in this file. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "watcher/watcher.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define kfx_now_ms fake_now_ms
#define zloop_timer fake_timer
int64_t fake_now_ms(void);
int fake_timer(zloop_t *loop, size_t delay, size_t times, zloop_timer_fn *fn, void *arg);

#include "watcher/bus.c"
#include "watcher/step.c"

static int64_t now;
static kfx_watcher_t w;
static kfx_publisher_opts_t bus;
static struct {
    zloop_timer_fn *fn;
    int64_t due;
} timer;

static struct {
    unsigned events, acks, syncs;
    char service[48], version[32];
    kfx_envelope_t event, ack;
    size_t children;
} sent;

static int64_t later; /* of the last kfx_writer_later */

static struct {
    kfx_plane_t *plane;
    kfx_op_t op;
    json_t *patch;
    unsigned count;
} written;

int64_t fake_now_ms(void)
{
    return now;
}

int fake_timer(zloop_t *loop, size_t delay, size_t times, zloop_timer_fn *fn, void *arg)
{
    (void)loop;
    (void)times;
    (void)arg;
    timer.fn = fn;
    timer.due = now + (int64_t)delay;
    return 1;
}

/* ---- what the watcher talks to ------------------------------------------------------------------------------------
 */

kfx_publisher_t *kfx_publisher_new(zloop_t *loop, const kfx_publisher_opts_t *opts, kfx_error_t *err)
{
    (void)loop;
    (void)err;
    bus = *opts;
    return (kfx_publisher_t *)&bus;
}

void kfx_publisher_destroy(kfx_publisher_t **self_p)
{
    *self_p = NULL;
}

void kfx_publisher_event(kfx_publisher_t *self, const char *service, const kfx_envelope_t *env,
                         const kfx_digest_t *digest)
{
    (void)self;
    sent.events++;
    sent.event = *env;
    sent.children = digest->count;
    kfx_copy(sent.service, sizeof sent.service, service);
    kfx_copy(sent.version, sizeof sent.version, digest->kubernetes_version);
}

void kfx_publisher_ack(kfx_publisher_t *self, const kfx_envelope_t *done)
{
    (void)self;
    sent.acks++;
    sent.ack = *done;
}

void kfx_publisher_sync_begin(kfx_publisher_t *self)
{
    (void)self;
    sent.syncs++;
}

void kfx_publisher_sync_end(kfx_publisher_t *self)
{
    (void)self;
}

void kfx_writer_submit(kfx_watcher_t *self, kfx_plane_t *plane, kfx_op_t op, json_t *patch)
{
    (void)self;
    assert_int_equal(plane->op, KFX_OP_NONE); /* one at a time */
    plane->op = op;
    json_decref(written.patch);
    written.patch = patch;
    written.plane = plane;
    written.op = op;
    written.count++;
}

void kfx_writer_later(kfx_watcher_t *self, int64_t at)
{
    (void)self;
    later = at;
}

void kfx_leader_stale(kfx_watcher_t *self, uint64_t epoch)
{
    (void)self;
    (void)epoch;
}

void kfx_watcher_tidy_later(kfx_watcher_t *self)
{
    (void)self;
}

/* ---- the API server ------------------------------------------------------------------------------------------------
 */

static json_t *object;

static void show(void)
{
    kfx_seen_plane_t *seen = kfx_reduce_plane(object);
    kfx_plane_t *plane = kfx_planes_get(w.planes, seen->name);
    kfx_plane_update(plane, seen);
    kfx_seen_plane_free(seen);
    kfx_watcher_mark(&w, plane);
    kfx_watcher_flush(&w);
}

static void bump(void)
{
    static int version = 100;
    char rv[16];
    snprintf(rv, sizeof rv, "%d", ++version);
    kfx_json_put(object, json_string(rv), "metadata", "resourceVersion");
}

static kfx_plane_t *create(const char *name, const char *type)
{
    json_decref(object);
    object = json_pack("{s:{s:s, s:s, s:i}, s:{s:s}}", "metadata", "name", name, "uid", "u-1", "generation", 1, "spec",
                       "type", type);
    bump();
    show();
    return kfx_planes_find(w.planes, name);
}

/* The write that is on its way succeeds. */
static void land(void)
{
    assert_non_null(written.patch);
    assert_string_equal(kfx_json_str(written.patch, "metadata", "uid"), "u-1");
    assert_string_equal(kfx_json_str(written.patch, "metadata", "resourceVersion"),
                        kfx_json_str(object, "metadata", "resourceVersion"));
    KFX_JSON json_t *patch = KFX_STEAL(written.patch);
    json_object_update_recursive(object, patch);
    bump();
    written.plane->op = KFX_OP_NONE;
    show();
}

static void change(const char *key, json_t *value)
{
    kfx_json_put(object, value, "metadata", key);
    kfx_json_put(object, json_integer(kfx_json_int(object, 0, "metadata", "generation") + 1), "metadata", "generation");
    bump();
    show();
}

static void done_with(const char *service, kfx_outcome_t outcome, kfx_result_t *result)
{
    result->outcome = outcome;
    kfx_envelope_t env = {.generation = kfx_json_int(object, 0, "metadata", "generation"),
                          .epoch = 7,
                          .seq = w.seq,
                          .task = 5,
                          .outcome = outcome};
    kfx_copy(env.service, sizeof env.service, service);
    kfx_copy(env.key, sizeof env.key, kfx_json_str(object, "metadata", "name"));
    kfx_copy(env.uid, sizeof env.uid, "u-1");
    bus.on_done(bus.ctx, &env, result);
}

static void done(const char *service, kfx_outcome_t outcome, const char *type, bool status, const char *reason)
{
    kfx_result_t result = {.outcome = outcome};
    if (type)
        kfx_result_condition(&result, type, status, reason, "%s", "");
    done_with(service, outcome, &result);
}

static int setup(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    memset(&w, 0, sizeof w);
    memset(&sent, 0, sizeof sent);
    memset(&written, 0, sizeof written);
    memset(&timer, 0, sizeof timer);
    now = 1000000;
    w.opts.outage_ms = 30000;
    w.planes = kfx_planes_new();
    w.stats = kfx_stats_new();
    w.sweep_timer = w.retry_timer = -1;
    w.leading = w.synced = true;
    w.epoch = 7;
    assert_int_equal(kfx_bus_start(&w, 7, &err), 0);
    bus.on_connected(bus.ctx);
    assert_int_equal(sent.syncs, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kfx_planes_destroy(&w.planes);
    free(w.stats);
    json_decref(written.patch);
    json_decref(object);
    object = NULL;
    return 0;
}

static const char *reason_of(const char *type)
{
    const kfx_cond_t *c = kfx_status_cond(written.plane->status, type);
    return c ? c->reason : "";
}

/* ---- tests ---------------------------------------------------------------------------------------------------------
 */

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

static void done_version(const char *version, bool awaits)
{
    kfx_result_t result = {.awaits_record = awaits};
    kfx_copy(result.kubernetes_version, sizeof result.kubernetes_version, version);
    done_with("reconcile.k8s", KFX_OUTCOME_WAITING, &result);
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
    assert_int_equal(sent.events, 3); /* that was the write before */
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

static void test_not_for_us(void **state)
{
    (void)state;
    create("cp2", "k3s");
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

static void fire(void)
{
    assert_non_null(timer.fn);
    now = timer.due;
    zloop_timer_fn *fn = timer.fn;
    timer.fn = NULL;
    fn(NULL, 1, &w);
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
        T(test_deletion),
        T(test_not_for_us),
        T(test_retyped),
        T(test_retyped_before_we_came),
        T(test_retyped_back),
        T(test_outdated_schema),
        T(test_takeover_pending),
        T(test_namespace_of_ours),
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
