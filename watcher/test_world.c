/* watcher/test_world.c: see test_world.h. */
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

#define kfx_announce_forced fake_announce_forced
void fake_announce_forced(kfx_watcher_t *self, const kfx_plane_t *plane, const char *service);

#include "watcher/bus.c"
#include "watcher/step.c"
#include "watcher/test_world.h"

int64_t now, later;
kfx_watcher_t w;
kfx_publisher_opts_t bus;
timer_seen_t timer;
sent_t sent;
written_t written;
json_t *object;

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

void fake_announce_forced(kfx_watcher_t *self, const kfx_plane_t *plane, const char *service)
{
    (void)self;
    (void)plane;
    sent.forced++;
    kfx_copy(sent.forced_without, sizeof sent.forced_without, service);
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
    sent.place = digest->place;
    kfx_copy(sent.awaited, sizeof sent.awaited, digest->awaited);
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

void kfx_watches_add(kfx_watches_t *self, const char *path)
{
    (void)self;
    (void)path;
}

void kfx_hook_status_later(kfx_watcher_t *self)
{
    (void)self;
    sent.hook_news++;
}

void kfx_watcher_tidy_later(kfx_watcher_t *self)
{
    (void)self;
}

/* ---- the API server ------------------------------------------------------------------------------------------------
 */

void show(void)
{
    kfx_seen_plane_t *seen = kfx_reduce_plane(object);
    kfx_plane_t *plane = kfx_planes_get(w.planes, seen->name);
    kfx_plane_update(plane, seen);
    kfx_seen_plane_free(seen);
    kfx_watcher_mark(&w, plane);
    kfx_watcher_flush(&w);
}

void bump(void)
{
    static int version = 100;
    char rv[16];
    snprintf(rv, sizeof rv, "%d", ++version);
    kfx_json_put(object, json_string(rv), "metadata", "resourceVersion");
}

kfx_plane_t *create(const char *name, const char *type)
{
    json_decref(object);
    object = json_pack("{s:{s:s, s:s, s:i}, s:{s:s}}", "metadata", "name", name, "uid", "u-1", "generation", 1, "spec",
                       "type", type);
    bump();
    show();
    return kfx_planes_find(w.planes, name);
}

/* The write that is on its way succeeds. */
void land(void)
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

void change(const char *key, json_t *value)
{
    kfx_json_put(object, value, "metadata", key);
    kfx_json_put(object, json_integer(kfx_json_int(object, 0, "metadata", "generation") + 1), "metadata", "generation");
    bump();
    show();
}

void done_with(const char *service, kfx_outcome_t outcome, kfx_result_t *result)
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

void done(const char *service, kfx_outcome_t outcome, const char *type, bool status, const char *reason)
{
    kfx_result_t result = {.outcome = outcome};
    if (type)
        kfx_result_condition(&result, type, status, reason, "%s", "");
    done_with(service, outcome, &result);
}

int setup(void **state)
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
    w.hooks = kfx_hook_table_new();
    w.stats = kfx_stats_new();
    w.awaited = kfx_awaited_new(&w);
    w.sweep_timer = w.retry_timer = -1;
    w.leading = w.synced = true;
    w.epoch = 7;
    assert_int_equal(kfx_bus_start(&w, 7, &err), 0);
    bus.on_connected(bus.ctx);
    assert_int_equal(sent.syncs, 1);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    kfx_awaited_destroy(&w.awaited);
    kfx_planes_destroy(&w.planes);
    kfx_hook_table_destroy(&w.hooks);
    free(w.stats);
    json_decref(written.patch);
    json_decref(object);
    object = NULL;
    return 0;
}

const char *reason_of(const char *type)
{
    const kfx_cond_t *c = kfx_status_cond(written.plane->status, type);
    return c ? c->reason : "";
}

void done_version(const char *version, bool awaits)
{
    kfx_result_t result = {.awaits_record = awaits};
    kfx_copy(result.kubernetes_version, sizeof result.kubernetes_version, version);
    done_with("reconcile.k8s", KFX_OUTCOME_WAITING, &result);
}

void fire(void)
{
    assert_non_null(timer.fn);
    now = timer.due;
    zloop_timer_fn *fn = timer.fn;
    timer.fn = NULL;
    fn(NULL, 1, &w);
}
