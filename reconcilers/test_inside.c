/* reconcilers/test_inside.c: what a hook made inside a plane is looked at by the clock, as nothing tells of changes
 * there. */
#include "base/json.h"
#include "reconcilers/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MADE "/api/v1/namespaces/default/configmaps/a"
#define HOOK KFX_POSTCREATEHOOKS_PATH "/h"
#define LONGEST_MS 58667 /* 44 s and a third more */

/* The linker puts this in front of the clock. */
int64_t __real_kfx_now_ms(void);
int64_t __wrap_kfx_now_ms(void);
static int64_t clock_ahead_ms;
static kfx_fake_t plane; /* the plane's own API */

int64_t __wrap_kfx_now_ms(void)
{
    return __real_kfx_now_ms() + clock_ahead_ms;
}

static int setup(void **state)
{
    kfx_fake_init(&plane);
    world_setup(state);
    world_t *w = *state;
    clock_ahead_ms = 0;
    w->api.remote = &plane;
    json_object_set_new(
        plane.objects, "/api/v1",
        json_pack("{s:[{s:s, s:s, s:b}]}", "resources", "name", "configmaps", "kind", "ConfigMap", "namespaced", 1));
    kfx_fake_put(&w->api, KFX_POSTCREATEHOOKS_PATH,
                 json_pack("{s:{s:s}, s:{s:s, s:[{s:s, s:s, s:{s:s}, s:{s:s}}]}}", "metadata", "name", "h", "spec",
                           "target", "ControlPlane", "templates", "apiVersion", "v1", "kind", "ConfigMap", "metadata",
                           "name", "a", "data", "v", "right"));
    kfx_json_put(kfx_fake_get(&w->api, KFX_CONTROLPLANES_PATH "/cp1"), json_pack("[{s:s}]", "hookName", "h"), "spec",
                 "postCreateHooks");
    bring_up(w);
    assert_condition(w, "HooksApplied", "True", "HooksApplied");
    assert_non_null(kfx_fake_get(&plane, MADE));
    return 0;
}

static int teardown(void **state)
{
    kfx_fake_clear(&plane);
    return world_teardown(state);
}

/* One task, so much later; how often the hook was read, which each pass does once. */
static size_t passes_after(world_t *w, int64_t ms)
{
    clock_ahead_ms += ms;
    kfx_fake_forget_log(&w->api);
    kfx_fake_forget_log(&plane);
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    return kfx_fake_count(&w->api, HOOK);
}

static void test_at_rest(void **state)
{
    world_t *w = *state;
    assert_int_equal(passes_after(w, 0), 0);
    assert_int_equal(json_array_size(plane.log), 0);
    assert_in_range(w->result.retry_after_ms, 1, LONGEST_MS);
    /* What the first pass wrote is news once. */
    assert_int_equal(passes_after(w, LONGEST_MS), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(passes_after(w, LONGEST_MS), 0);
        assert_int_equal(json_array_size(plane.log), 1);
        assert_int_equal(kfx_fake_count(&plane, "GET /api/v1/configmaps?resourceVersion=0&labelSelector="), 1);
    }
    assert_int_equal(passes_after(w, 1000), 0); /* a task that comes for another reason */
    assert_int_equal(json_array_size(plane.log), 0);
}

static void test_what_changed_is_put_right(void **state)
{
    world_t *w = *state;
    passes_after(w, LONGEST_MS);
    kfx_json_put(kfx_fake_get(&plane, MADE), json_string("wrong"), "data", "v");
    kfx_fake_touch(&plane, MADE);
    assert_int_equal(passes_after(w, LONGEST_MS), 1);
    assert_string_equal(kfx_json_str(kfx_fake_get(&plane, MADE), "data", "v"), "right");
    passes_after(w, LONGEST_MS);
    kfx_fake_delete(&plane, MADE);
    assert_int_equal(passes_after(w, LONGEST_MS), 1);
    assert_non_null(kfx_fake_get(&plane, MADE));
}

/* A plane that does not answer this is not asked again and again, and nothing is concluded from it. */
static void test_no_answer(void **state)
{
    world_t *w = *state;
    passes_after(w, LONGEST_MS);
    kfx_fake_delete(&plane, MADE);
    w->api.refuse = KFX_E_UNAVAILABLE;
    assert_int_equal(passes_after(w, LONGEST_MS), 0);
    w->api.refuse = KFX_OK;
    assert_int_equal(passes_after(w, 1000), 0);
    assert_int_equal(passes_after(w, LONGEST_MS), 1);
    assert_non_null(kfx_fake_get(&plane, MADE));
}

/* A pass that is cut short is made up for by the next task. */
static void test_cut_short(void **state)
{
    world_t *w = *state;
    passes_after(w, LONGEST_MS);
    kfx_fake_delete(&plane, MADE);
    fail_next(w, "configmaps/kubeflex-hooks", KFX_E_UNAVAILABLE, 503, "away");
    passes_after(w, LONGEST_MS);
    assert_null(kfx_fake_get(&plane, MADE));
    passes_after(w, 0);
    assert_non_null(kfx_fake_get(&plane, MADE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_changed_is_put_right, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
