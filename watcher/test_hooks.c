#include "watcher/hooks.h"

#include "base/json.h"
#include "base/mem.h"
#include "watcher/merge.h"
#include "watcher/test_world.h"

#include <string.h>

static json_t *hook_object(int generation, const char *text, const char *label)
{
    return json_pack("{s:{s:s, s:s, s:s, s:i, s:{s:s}}, s:{s:[{s:s}]}}", "metadata", "name", "h", "uid", "uh",
                     "resourceVersion", "7", "generation", generation, "labels", "team", label, "spec", "templates",
                     "kind", text);
}

static void see(int generation, const char *text, const char *label)
{
    KFX_JSON json_t *one = hook_object(generation, text, label);
    kfx_hook_put(w.hooks, kfx_reduce_hook(NULL, one));
}

static kfx_plane_t *plane_with(const char *hook)
{
    kfx_plane_t *plane = create("cp1", "host");
    land(); /* the finalizer */
    kfx_json_put(object, json_pack("[{s:s}]", "hookName", hook), "spec", "postCreateHooks");
    change("generation", json_integer(1));
    return plane;
}

static kfx_result_t result_of(bool done, const char *reason, const char *message)
{
    kfx_result_t result = {.outcome = KFX_OUTCOME_OK, .hooks_known = true, .hooks_completed = done, .hook_count = 1};
    kfx_copy(result.hooks[0].name, sizeof result.hooks[0].name, "h");
    kfx_copy(result.hooks[0].reason, sizeof result.hooks[0].reason, reason);
    kfx_copy(result.hooks[0].message, sizeof result.hooks[0].message, message);
    result.hooks[0].done = done;
    return result;
}

static void test_a_hook_is_news(void **state)
{
    (void)state;
    kfx_plane_t *plane = plane_with("h");
    kfx_bus_snapshot(&w);
    unsigned events = sent.events;
    uint64_t view = plane->hooks_view;
    assert_true(view != 0);
    see(1, "a", "x");
    kfx_watcher_mark(&w, plane);
    kfx_watcher_flush(&w);
    assert_int_equal(sent.events, events + 1);
    assert_true(plane->hooks_view != view);
    see(1, "a", "y"); /* labels are no news */
    kfx_watcher_mark(&w, plane);
    kfx_watcher_flush(&w);
    assert_int_equal(sent.events, events + 1);
    see(2, "b", "y");
    kfx_watcher_mark(&w, plane);
    kfx_watcher_flush(&w);
    assert_int_equal(sent.events, events + 2);
}

static void test_labels_come_first(void **state)
{
    (void)state;
    see(1, "a", "x");
    kfx_plane_t *plane = plane_with("h");
    kfx_bus_snapshot(&w);
    kfx_result_t result = result_of(true, "Applied", "");
    done_with("reconcile.host", KFX_OUTCOME_OK, &result);
    assert_int_equal(written.op, KFX_OP_LABELS);
    assert_string_equal(kfx_json_str(written.patch, "metadata", "labels", "team"), "x");
    land();
    assert_int_equal(written.op, KFX_OP_STATUS);
    assert_true(kfx_json_bool(written.patch, false, "status", "postCreateHooks", "h"));
    land();
    /* Taken away by somebody: it stays away. */
    json_object_del(json_object_get(json_object_get(object, "metadata"), "labels"), "team");
    bump();
    show();
    assert_null(written.patch);
    assert_true(kfx_status_hook_done(plane->status, "h"));
}

static void test_status_of_hooks(void **state)
{
    (void)state;
    kfx_plane_t *plane = plane_with("h");
    kfx_bus_snapshot(&w);
    kfx_result_t result = result_of(false, "InvalidTemplate", "templates[0]");
    done_with("reconcile.host", KFX_OUTCOME_OK, &result);
    land();
    assert_false(plane->status->hooks_completed);
    assert_string_equal(plane->status->hooks[0].message, "templates[0]");
    result = result_of(true, "Applied", "");
    done_with("reconcile.host", KFX_OUTCOME_OK, &result);
    land();
    assert_true(plane->status->hooks_completed);

    /* A result that says nothing about hooks changes nothing. */
    done("reconcile.host", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    land();
    assert_true(kfx_status_hook_done(plane->status, "h"));

    /* A merge patch has to say that a name is gone. */
    kfx_result_t none = {.outcome = KFX_OUTCOME_OK, .hooks_known = true, .hooks_completed = true};
    done_with("reconcile.host", KFX_OUTCOME_OK, &none);
    assert_true(json_is_null(kfx_json_get(written.patch, "status", "postCreateHooks", "h")));
}

/* What the Go implementation writes: the map alone. */
static void test_the_go_operators_status(void **state)
{
    (void)state;
    KFX_JSON json_t *status = json_pack("{s:[], s:i, s:{s:b, s:b}, s:b}", "conditions", "observedGeneration", 1,
                                        "postCreateHooks", "a", 1, "b", 0, "postCreateHookCompleted", 1);
    KFX_FREE kfx_status_t *read = kfx_status_from_json(status);
    assert_int_equal(read->hook_count, 1);
    assert_true(kfx_status_hook_done(read, "a"));
    assert_false(kfx_status_hook_done(read, "b"));
    assert_true(read->hooks_completed);
    KFX_JSON json_t *again = kfx_status_to_json(read);
    KFX_FREE kfx_status_t *same = kfx_status_from_json(again);
    assert_true(kfx_status_equal(read, same));
}

static void test_status_of_a_hook(void **state)
{
    (void)state;
    KFX_JSON json_t *one = hook_object(3, "{{.A", "x");
    kfx_seen_hook_t *hook = kfx_reduce_hook(NULL, one);
    KFX_JSON json_t *patch = kfx_hook_status_patch(hook, 0);
    assert_string_equal(kfx_json_str(patch, "status", "conditions", "0", "status"), "False");
    assert_non_null(strstr(kfx_json_str(patch, "status", "conditions", "0", "message"), "templates[0].kind"));
    json_object_set(one, "status", json_object_get(patch, "status"));
    kfx_seen_hook_free(hook);
    hook = kfx_reduce_hook(NULL, one);
    assert_null(kfx_hook_status_patch(hook, 100)); /* it stands there */
    kfx_seen_hook_free(hook);
}

static void see_plane(const char *name, const char *uses, const char *reason, bool done)
{
    KFX_JSON json_t *one =
        json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:[{s:s}]}}", "metadata", "name", name, "uid", name, "resourceVersion",
                  "5", "spec", "type", "host", "postCreateHooks", "hookName", uses);
    if (reason)
        kfx_json_put(one, json_pack("[{s:s, s:s, s:s}]", "hookName", uses, "reason", reason, "message", "why"),
                     "status", "postCreateHookStatus");
    if (done)
        kfx_json_put(one, json_true(), "status", "postCreateHooks", uses);
    kfx_seen_plane_t *seen = kfx_reduce_plane(one);
    kfx_plane_update(kfx_planes_get(w.planes, name), seen);
    kfx_seen_plane_free(seen);
}

/* What the status of hook h is to say about its use; fresh. */
static json_t *said_of_use(void)
{
    kfx_hooks_tally(w.hooks, w.planes);
    KFX_JSON json_t *patch = kfx_hook_status_patch(kfx_hook_find(w.hooks, "h"), 0);
    json_t *said = json_array_get(kfx_json_get(patch, "status", "conditions"), 1);
    return json_incref(said);
}

static void says_of_use(const char *status, const char *reason, const char *message)
{
    KFX_JSON json_t *said = said_of_use();
    assert_string_equal(kfx_json_str(said, "status"), status);
    assert_string_equal(kfx_json_str(said, "reason"), reason);
    assert_string_equal(kfx_json_str(said, "message"), message);
}

static void test_use_of_a_hook(void **state)
{
    (void)state;
    see(1, "a", "x");
    see_plane("other", "other", "ObjectFailed", false);
    assert_null(said_of_use()); /* nobody names it */
    see_plane("c", "h", "Applied", true);
    says_of_use("True", "Applied", "in 1 control plane");
    see_plane("b", "h", NULL, true); /* as the Go implementation says it */
    says_of_use("True", "Applied", "in 2 control planes");
    see_plane("a", "h", NULL, false);
    says_of_use("False", "NotTried", "in 2 of 3 control planes; a: it was not tried yet");
    see_plane("z", "h", "ObjectFailed", true); /* what fails is told before what waits */
    see_plane("y", "h", "Forbidden", false);
    says_of_use("False", "Forbidden", "in 2 of 5 control planes; y: why");
}

static void test_use_is_written_once(void **state)
{
    (void)state;
    see_plane("c", "h", "Applied", true);
    KFX_JSON json_t *one = hook_object(3, "a", "x");
    kfx_hook_put(w.hooks, kfx_reduce_hook(NULL, one));
    kfx_hooks_tally(w.hooks, w.planes);
    KFX_JSON json_t *patch = kfx_hook_status_patch(kfx_hook_find(w.hooks, "h"), 0);
    json_object_set(one, "status", json_object_get(patch, "status"));
    kfx_hook_put(w.hooks, kfx_reduce_hook(NULL, one));
    assert_null(kfx_hook_status_patch(kfx_hook_find(w.hooks, "h"), 100));

    /* The time of a transition stays while the status does. */
    see_plane("d", "h", "Applied", true);
    kfx_hooks_tally(w.hooks, w.planes);
    KFX_JSON json_t *more = kfx_hook_status_patch(kfx_hook_find(w.hooks, "h"), 100);
    assert_string_equal(kfx_json_str(more, "status", "conditions", "1", "lastTransitionTime"), "1970-01-01T00:00:00Z");
    assert_string_equal(kfx_json_str(more, "status", "conditions", "1", "lastUpdateTime"), "1970-01-01T00:01:40Z");
}

static void test_what_moves_the_status_of_hooks(void **state)
{
    (void)state;
    plane_with("h");
    unsigned news = sent.hook_news;
    kfx_bus_snapshot(&w);
    kfx_result_t result = result_of(false, "InvalidTemplate", "templates[0]");
    done_with("reconcile.host", KFX_OUTCOME_OK, &result);
    land();
    assert_int_equal(sent.hook_news, news + 1);
    change("labels", json_pack("{s:s}", "a", "b")); /* says nothing about hooks */
    assert_int_equal(sent.hook_news, news + 1);
    kfx_json_put(object, json_string("2026-01-01T00:00:00Z"), "metadata", "deletionTimestamp");
    bump();
    show();
    assert_int_equal(sent.hook_news, news + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_hook_is_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_labels_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_of_hooks, setup, teardown),
        cmocka_unit_test(test_the_go_operators_status),
        cmocka_unit_test(test_status_of_a_hook),
        cmocka_unit_test_setup_teardown(test_use_of_a_hook, setup, teardown),
        cmocka_unit_test_setup_teardown(test_use_is_written_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_moves_the_status_of_hooks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
