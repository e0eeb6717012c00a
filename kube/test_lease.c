/* The leader election against an API server in this file, with a clock in this file. lease.c is compiled in with its
 * clock, timers and requests replaced. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <czmq.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define kfx_now_ms fake_now_ms
#define kfx_kube_submit fake_submit
#define kfx_mailbox_sock fake_sock
#define kfx_mailbox_dispatch fake_dispatch
#define zloop_timer fake_timer
#define zloop_timer_end fake_timer_end
#define zsock_resolve(sock) (sock)
#define zmq_poll(items, count, timeout) ((void)(items), fake_poll(timeout))

int64_t fake_now_ms(void);
int fake_timer(zloop_t *loop, size_t delay, size_t times, zloop_timer_fn *fn, void *arg);
int fake_timer_end(zloop_t *loop, int timer);
static int fake_poll(long timeout);

#include "kube/lease.c"

/* ---- the world -------------------------------------------------------------------------------------------------- */

typedef struct {
    kfx_request_t *req;
    void (*on_done)(void *ctx, kfx_request_t *req);
    void *ctx;
    kfx_mailbox_t *mailbox;
} pending_t;

static struct {
    int64_t now;
    json_t *lease, *configmap;
    int64_t version;
    pending_t queue[64];
    size_t queued;
    bool down;                   /* the API server answers nothing but errors */
    const kfx_mailbox_t *frozen; /* requests of this one stay where they are */
    unsigned writes;
    struct {
        zloop_timer_fn *fn;
        void *arg;
    } timers[8];
} world;

static kfx_mailbox_t *const A = (kfx_mailbox_t *)0x100, *const B = (kfx_mailbox_t *)0x200; /* never looked into */

int64_t fake_now_ms(void)
{
    return world.now;
}

int fake_timer(zloop_t *loop, size_t delay, size_t times, zloop_timer_fn *fn, void *arg)
{
    (void)loop;
    if (times == 1)
        return -1; /* a look just in time: the next tick does as well */
    assert_int_equal(delay, 1000);
    for (int i = 0; i < 8; i++) {
        if (!world.timers[i].fn) {
            world.timers[i].fn = fn;
            world.timers[i].arg = arg;
            return i;
        }
    }
    return -1;
}

int fake_timer_end(zloop_t *loop, int timer)
{
    (void)loop;
    world.timers[timer].fn = NULL;
    return 0;
}

void fake_submit(kfx_mailbox_t *self, kfx_request_t *req, void (*on_done)(void *ctx, kfx_request_t *req), void *ctx)
{
    assert_true(world.queued < 64);
    world.queue[world.queued++] = (pending_t){req, on_done, ctx, self};
}

zsock_t *fake_sock(kfx_mailbox_t *self)
{
    (void)self;
    return NULL;
}

static void refuse(kfx_request_t *req, kfx_code_t code)
{
    kfx_error_set(&req->error, code, "%s", kfx_code_name(code));
}

static void bump(json_t *object)
{
    char rv[24];
    snprintf(rv, sizeof rv, "%lld", (long long)++world.version);
    kfx_json_put(object, json_string(rv), "metadata", "resourceVersion");
    world.writes++;
}

/* One object with the API server's rules for creation and resourceVersion. */
static void serve(kfx_request_t *req, json_t **slot)
{
    const char *rv = kfx_json_str(req->body, "metadata", "resourceVersion");
    if (world.down) {
        refuse(req, KFX_E_UNAVAILABLE);
    } else if (req->verb == KFX_POST) {
        if (*slot) {
            refuse(req, KFX_E_EXISTS);
            return;
        }
        *slot = json_deep_copy(req->body);
        bump(*slot);
        req->answer = json_deep_copy(*slot);
    } else if (!*slot) {
        refuse(req, KFX_E_NOT_FOUND);
    } else if (req->verb == KFX_GET) {
        req->answer = json_deep_copy(*slot);
    } else if (!rv || strcmp(rv, kfx_json_str(*slot, "metadata", "resourceVersion")) != 0) {
        refuse(req, KFX_E_CONFLICT);
    } else {
        if (req->verb == KFX_PUT) {
            json_decref(*slot);
            *slot = json_deep_copy(req->body);
        } else {
            json_object_update_recursive(*slot, req->body);
        }
        bump(*slot);
        req->answer = json_deep_copy(*slot);
    }
}

static void run_requests(void)
{
    for (size_t i = 0; i < world.queued;) {
        pending_t p = world.queue[i];
        if (p.mailbox == world.frozen) {
            i++;
            continue;
        }
        memmove(&world.queue[i], &world.queue[i + 1], (--world.queued - i) * sizeof p);
        serve(p.req, strstr(p.req->path, "leases") ? &world.lease : &world.configmap);
        p.on_done(p.ctx, p.req);
        i = 0;
    }
}

void fake_dispatch(kfx_mailbox_t *self)
{
    (void)self;
    run_requests();
}

static int fake_poll(long timeout)
{
    if (world.queued == 0 || world.frozen)
        world.now += timeout;
    return 0;
}

static void pass(int64_t seconds)
{
    for (int64_t s = 0; s < seconds; s++) {
        world.now += 1000;
        for (size_t i = 0; i < 8; i++)
            if (world.timers[i].fn)
                world.timers[i].fn(NULL, (int)i, world.timers[i].arg);
        run_requests();
    }
}

/* ---- candidates ---------------------------------------------------------------------------------------------------
 */

typedef struct {
    unsigned leads, losses;
    uint64_t epoch;
} seen_t;

static void on_lead(void *ctx, uint64_t epoch)
{
    seen_t *seen = ctx;
    seen->leads++;
    seen->epoch = epoch;
}

static void on_lost(void *ctx)
{
    ((seen_t *)ctx)->losses++;
}

static kfx_lease_t *start(kfx_mailbox_t *box, const char *identity, seen_t *seen)
{
    kfx_lease_opts_t opts = {.ns = "kubeflex-system",
                             .name = "l",
                             .configmap = "kubeflex-leader",
                             .identity = identity,
                             .on_lead = on_lead,
                             .on_lost = on_lost,
                             .ctx = seen};
    kfx_lease_t *lease = kfx_lease_start(NULL, box, &opts);
    run_requests();
    return lease;
}

static int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.now = 1000000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(world.lease);
    json_decref(world.configmap);
    return 0;
}

static const char *holder(void)
{
    return kfx_json_str(world.lease, "spec", "holderIdentity");
}

static void test_first(void **state)
{
    (void)state;
    seen_t a = {0};
    kfx_lease_t *lease = start(A, "a", &a);
    assert_int_equal(a.leads, 1);
    assert_int_equal(a.epoch, 1);
    assert_true(kfx_lease_held(lease));
    assert_string_equal(holder(), "a");
    assert_int_equal(kfx_json_int(world.lease, 0, "spec", "leaseDurationSeconds"), 8);
    assert_string_equal(kfx_json_str(world.configmap, "metadata", "annotations", EPOCH_ANNOTATION), "1");
    unsigned before = world.writes;
    pass(60);
    assert_int_equal(world.writes - before, 60); /* one renewal a second, nothing else */
    assert_int_equal(a.leads, 1);
    assert_int_equal(a.losses, 0);
    kfx_lease_release(&lease);
    assert_int_equal(a.losses, 1);
    assert_string_equal(holder(), "");
    assert_int_equal(kfx_json_int(world.lease, 0, "spec", "leaseDurationSeconds"), 1);
}

static void test_clean_stop(void **state)
{
    (void)state;
    seen_t a = {0}, b = {0};
    kfx_lease_t *la = start(A, "a", &a), *lb = start(B, "b", &b);
    pass(20);
    assert_int_equal(b.leads, 0);
    assert_false(kfx_lease_held(lb));
    kfx_lease_release(&la);
    pass(1);
    assert_int_equal(b.leads, 1);
    assert_int_equal(b.epoch, 2);
    assert_int_equal(kfx_json_int(world.lease, 0, "spec", "leaseTransitions"), 1);
    kfx_lease_release(&lb);
}

/* The leader hangs: it stops by itself before the standby begins, and never acts again when it wakes. */
static void test_hanging_leader(void **state)
{
    (void)state;
    seen_t a = {0}, b = {0};
    kfx_lease_t *la = start(A, "a", &a), *lb = start(B, "b", &b);
    pass(5);
    world.frozen = A;
    int64_t frozen_at = world.now, until = 0, began = 0;
    for (int i = 0; i < 20 && !began; i++) {
        pass(1);
        if (!kfx_lease_held(la) && !until)
            until = world.now;
        if (b.leads)
            began = world.now;
    }
    assert_int_equal(a.losses, 1);
    assert_true(until > 0 && until - frozen_at <= 5000);
    assert_true(began - frozen_at <= 10000);
    assert_true(began > until);
    assert_int_equal(b.epoch, 2);
    world.frozen = NULL; /* its old renewal lands late, with a resourceVersion that is over */
    run_requests();
    pass(3);
    assert_string_equal(holder(), "b");
    assert_int_equal(a.leads, 1);
    assert_false(kfx_lease_held(la));
    assert_true(kfx_lease_held(lb));
    kfx_lease_release(&la);
    kfx_lease_release(&lb);
}

static void test_api_server_away(void **state)
{
    (void)state;
    seen_t a = {0};
    kfx_lease_t *lease = start(A, "a", &a);
    world.down = true;
    pass(3);
    assert_true(kfx_lease_held(lease)); /* a short outage costs nothing */
    world.down = false;
    pass(1);
    world.down = true;
    pass(6);
    assert_false(kfx_lease_held(lease));
    assert_int_equal(a.losses, 1);
    world.down = false;
    pass(2);
    assert_int_equal(a.leads, 2);
    assert_int_equal(a.epoch, 2); /* a new leadership, even if nobody else was there */
    kfx_lease_release(&lease);
}

/* The epoch never falls, whatever happens to the Lease. */
static void test_epoch_survives(void **state)
{
    (void)state;
    seen_t a = {0}, b = {0};
    world.configmap = json_pack("{s:{s:s, s:{s:s, s:s}}, s:{s:s}}", "metadata", "resourceVersion", "1", "annotations",
                                EPOCH_ANNOTATION, "41", "other", "kept", "data", "k", "v");
    kfx_lease_t *la = start(A, "a", &a);
    assert_int_equal(a.epoch, 42);
    assert_string_equal(kfx_json_str(world.configmap, "metadata", "annotations", "other"), "kept");
    kfx_lease_release(&la);
    json_decref(world.lease);
    world.lease = NULL;
    kfx_lease_t *lb = start(B, "b", &b);
    assert_int_equal(b.epoch, 43);
    json_decref(world.lease); /* deleted while we lead: made again, and we go on */
    world.lease = NULL;
    pass(1);
    assert_string_equal(holder(), "b");
    assert_int_equal(b.leads, 1);
    assert_int_equal(b.losses, 0);
    kfx_lease_release(&lb);
}

/* The Go manager holds the same Lease with its own duration. */
static void test_foreign_holder(void **state)
{
    (void)state;
    seen_t a = {0};
    world.lease = json_pack("{s:{s:s}, s:{s:s, s:i, s:s, s:i}}", "metadata", "resourceVersion", "1", "spec",
                            "holderIdentity", "go-manager", "leaseDurationSeconds", 15, "renewTime",
                            "2020-01-01T00:00:00.000000Z", "leaseTransitions", 6);
    kfx_lease_t *lease = start(A, "a", &a);
    pass(14);
    assert_int_equal(a.leads, 0); /* its clock says 2020; only what we saw counts */
    pass(2);
    assert_int_equal(a.leads, 1);
    assert_int_equal(a.epoch, 8);
    assert_int_equal(kfx_json_int(world.lease, 0, "spec", "leaseTransitions"), 7);
    kfx_json_put(world.lease, json_string("thief"), "spec", "holderIdentity");
    bump(world.lease);
    pass(1);
    assert_int_equal(a.losses, 1);
    assert_false(kfx_lease_held(lease));
    kfx_lease_release(&lease);
    assert_string_equal(holder(), "thief");
}

/* Leadership is announced only once the epoch is on record. */
static void test_epoch_before_lead(void **state)
{
    (void)state;
    seen_t a = {0};
    world.configmap = json_pack("{s:{s:s}}", "metadata", "resourceVersion", "stale");
    kfx_lease_opts_t opts = {
        .ns = "n", .name = "l", .configmap = "c", .identity = "a", .on_lead = on_lead, .on_lost = on_lost, .ctx = &a};
    kfx_lease_t *lease = kfx_lease_start(NULL, A, &opts);
    while (!(world.queued && strstr(world.queue[0].req->path, "configmaps") && world.queue[0].req->verb != KFX_GET)) {
        assert_true(world.queued > 0);
        pending_t p = world.queue[0];
        memmove(&world.queue[0], &world.queue[1], --world.queued * sizeof p);
        serve(p.req, strstr(p.req->path, "leases") ? &world.lease : &world.configmap);
        p.on_done(p.ctx, p.req);
    }
    bump(world.configmap); /* somebody else records at the same moment */
    run_requests();
    assert_int_equal(a.leads, 0);
    pass(1);
    assert_int_equal(a.leads, 1);
    kfx_lease_release(&lease);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_first),          T(test_clean_stop),     T(test_hanging_leader),    T(test_api_server_away),
        T(test_epoch_survives), T(test_foreign_holder), T(test_epoch_before_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
