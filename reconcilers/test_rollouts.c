/* reconcilers/test_rollouts.c: a fleet whose configuration changes, on a clock of its own. */
#include "base/mem.h"
#include "reconcilers/rollouts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FLEET 1000
#define ROLL_MS 8000 /* until a new API server is ready */
#define STEP_MS 100

typedef struct {
    char uid[16];
    int64_t next;  /* when it asks */
    int64_t ready; /* when its new workload is; 0: not begun */
    bool broken, done;
} plane_t;

typedef struct {
    kfx_rollouts_t *rollouts;
    plane_t planes[FLEET];
    int64_t now;
    size_t rolling, done, most; /* most: rolling at once */
    size_t asked;
} fleet_t;

static fleet_t *fleet_new(size_t broken)
{
    fleet_t *f = kfx_xcalloc(1, sizeof(*f));
    f->rollouts = kfx_rollouts_new();
    f->now = 1;
    for (size_t i = 0; i < FLEET; i++) {
        snprintf(f->planes[i].uid, sizeof(f->planes[i].uid), "uid-%zu", i);
        f->planes[i].broken = i < broken;
    }
    return f;
}

static void fleet_destroy(fleet_t *f)
{
    kfx_rollouts_destroy(&f->rollouts);
    free(f);
}

static void step_plane(fleet_t *f, plane_t *p)
{
    uint32_t retry = 0;
    if (p->done)
        return;
    if (p->ready && !p->broken && f->now >= p->ready) {
        kfx_rollouts_leave(f->rollouts, p->uid);
        p->done = true;
        f->rolling--;
        f->done++;
    } else if (!p->ready && f->now >= p->next) {
        f->asked++;
        if (kfx_rollouts_enter(f->rollouts, p->uid, f->now, &retry)) {
            p->ready = f->now + ROLL_MS;
            f->rolling += !p->broken;
        } else {
            assert_in_range(retry, KFX_ROLLOUT_RETRY_MIN_MS / 2, KFX_ROLLOUT_RETRY_MAX_MS);
            p->next = f->now + retry;
        }
    }
    f->most = f->rolling > f->most ? f->rolling : f->most;
}

static void fleet_run(fleet_t *f, int64_t until_ms, size_t until_done)
{
    while (f->now < until_ms && f->done < until_done) {
        for (size_t i = 0; i < FLEET; i++)
            step_plane(f, &f->planes[i]);
        f->now += STEP_MS;
    }
}

static void test_fleet(void **state)
{
    (void)state;
    fleet_t *f = fleet_new(0);
    fleet_run(f, INT64_MAX, FLEET);
    assert_int_equal(f->most, KFX_ROLLOUTS_MAX);
    /* No place stays empty for long while planes wait … */
    assert_in_range(f->now, FLEET / KFX_ROLLOUTS_MAX * ROLL_MS, FLEET / KFX_ROLLOUTS_MAX * ROLL_MS * 5 / 4);
    /* … and that costs few tasks: 1000 at the change, then not more than 40 a second. */
    assert_in_range(f->asked, FLEET, FLEET + (size_t)f->now / 1000 * 40);
    fleet_destroy(f);
}

/* A change that no plane survives reaches few of them before people look. */
static void test_broken_change(void **state)
{
    (void)state;
    fleet_t *f = fleet_new(FLEET);
    size_t begun = 0;
    fleet_run(f, 10 * 60 * 1000, FLEET);
    for (size_t i = 0; i < FLEET; i++)
        begun += f->planes[i].ready > 0;
    assert_in_range(begun, KFX_ROLLOUTS_MAX, KFX_ROLLOUTS_MAX * (10 * 60 * 1000 / KFX_ROLLOUT_HOLD_MS + 1));
    fleet_destroy(f);
}

/* A few broken planes hold the others up, but not for ever. */
static void test_some_broken(void **state)
{
    (void)state;
    fleet_t *f = fleet_new(KFX_ROLLOUTS_MAX);
    fleet_run(f, 3600 * 1000, FLEET - KFX_ROLLOUTS_MAX);
    assert_int_equal(f->done, FLEET - KFX_ROLLOUTS_MAX);
    fleet_destroy(f);
}

static void test_places(void **state)
{
    (void)state;
    kfx_rollouts_t *r = kfx_rollouts_new();
    uint32_t retry = 0;
    char uid[16];
    for (int i = 0; i < KFX_ROLLOUTS_MAX; i++) {
        snprintf(uid, sizeof(uid), "uid-%d", i);
        assert_true(kfx_rollouts_enter(r, uid, 1, &retry));
        assert_true(kfx_rollouts_enter(r, uid, 2, &retry)); /* it has one already */
    }
    assert_false(kfx_rollouts_enter(r, "another", 3, &retry));
    kfx_rollouts_leave(r, "another"); /* had none: frees none */
    assert_false(kfx_rollouts_enter(r, "another", 4, &retry));
    kfx_rollouts_leave(r, "uid-0");
    kfx_rollouts_leave(r, "uid-0");
    assert_true(kfx_rollouts_enter(r, "another", 5, &retry));
    assert_false(kfx_rollouts_enter(r, "uid-0", 6, &retry));
    /* A place that is over can be had again, by the same plane too, and is counted once. */
    assert_true(kfx_rollouts_enter(r, "uid-1", KFX_ROLLOUT_HOLD_MS + 1, &retry));
    kfx_rollouts_leave(r, "uid-1");
    assert_true(kfx_rollouts_enter(r, "uid-0", KFX_ROLLOUT_HOLD_MS + 2, &retry));
    kfx_rollouts_destroy(&r);
    kfx_rollouts_destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_fleet),
        cmocka_unit_test(test_broken_change),
        cmocka_unit_test(test_some_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
