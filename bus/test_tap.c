/* bus/test_tap.c: what is shown of what passes, and what it says of the rest. */
#include "bus/tap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int stop(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    (void)arg;
    return -1;
}

typedef struct {
    zloop_t *loop;
    zsock_t *sub;
    kfx_tap_t *tap;
} world_t;

/* Somebody subscribes to TASK, and the tap has heard of it. */
static int setup(void **state)
{
    world_t *w = calloc(1, sizeof *w);
    zsys_handler_set(NULL);
    w->loop = zloop_new();
    zsock_t *xpub = zsock_new_xpub("@inproc://tap-test");
    w->sub = zsock_new_sub(">inproc://tap-test", "TASK ");
    w->tap = kfx_tap_new(w->loop, &xpub);
    for (int i = 0; i < 100 && !kfx_tap_admits(w->tap, KFX_TASK, 1000); i++) {
        zloop_timer(w->loop, 10, 1, stop, NULL);
        zloop_start(w->loop);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;
    kfx_tap_destroy(&w->tap);
    zsock_destroy(&w->sub);
    zloop_destroy(&w->loop);
    free(w);
    return 0;
}

static void publish(world_t *w)
{
    const kfx_envelope_t env = {.service = "reconcile.k8s", .key = "cp1"};
    zframe_t *record = zframe_new("record", 6);
    kfx_tap_publish(w->tap, KFX_TASK, &env, &record);
    assert_null(record);
}

static unsigned admitted(world_t *w, kfx_kind_t kind, unsigned offered, int64_t now)
{
    unsigned count = 0;
    while (offered-- > 0)
        count += kfx_tap_admits(w->tap, kind, now);
    return count;
}

static void test_more_than_a_tap_may_cost_is_counted(void **state)
{
    world_t *w = *state;
    assert_int_equal(admitted(w, KFX_TASK, KFX_TAP_A_SECOND + 7, 5000), KFX_TAP_A_SECOND);
    assert_int_equal(kfx_tap_left_out(w->tap), 7);
    assert_int_equal(kfx_tap_left_out(w->tap), 7); /* as long as no record has said it */
    publish(w);
    assert_int_equal(kfx_tap_left_out(w->tap), 0);
    assert_int_equal(admitted(w, KFX_TASK, 100, 5001), KFX_TAP_A_SECOND / 1000); /* what a millisecond brings */
    assert_int_equal(admitted(w, KFX_TASK, KFX_TAP_A_SECOND, 5501), KFX_TAP_A_SECOND / 2);
    assert_int_equal(admitted(w, KFX_TASK, 2 * KFX_TAP_A_SECOND, 9000), KFX_TAP_A_SECOND); /* rest is not saved up */
    assert_int_equal(kfx_tap_left_out(w->tap), 100 - 8 + KFX_TAP_A_SECOND / 2 + KFX_TAP_A_SECOND);
    publish(w);
}

static void test_a_thousand_tasks_a_second_are_shown_whole(void **state)
{
    world_t *w = *state;
    for (int64_t ms = 10000; ms < 20000; ms++)
        assert_int_equal(admitted(w, KFX_TASK, 7, ms), 7);
    assert_int_equal(kfx_tap_left_out(w->tap), 0);
}

static void test_what_nobody_wants_is_not_missed(void **state)
{
    world_t *w = *state;
    assert_int_equal(admitted(w, KFX_EVENT, 10, 30000), 0);
    assert_int_equal(kfx_tap_left_out(w->tap), 0);
    assert_false(kfx_tap_admits(NULL, KFX_TASK, 30000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_than_a_tap_may_cost_is_counted),
        cmocka_unit_test(test_a_thousand_tasks_a_second_are_shown_whole),
        cmocka_unit_test(test_what_nobody_wants_is_not_missed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
