/* reconcilers/test_ready.c: what the conditions about a plane's pods say while those are exchanged, and after a restart
 * of the reconciler. */
#include "base/json.h"
#include "base/mem.h"
#include "reconcilers/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HELPER "/apis/apps/v1/namespaces/cp1-system/deployments/kube-controller-manager"
#define PLANE KFX_CONTROLPLANES_PATH "/cp1"

static int64_t clock_ahead_ms; /* base/clock.h, linked with --wrap */

int64_t __real_kfx_now_ms(void);
int64_t __wrap_kfx_now_ms(void);

int64_t __wrap_kfx_now_ms(void)
{
    return __real_kfx_now_ms() + clock_ahead_ms;
}

/* One pod of that Deployment, whose image cannot be had. */
static void put_pod(world_t *w, const char *deployment)
{
    char name[64];
    snprintf(name, sizeof(name), "%s-1", deployment);
    json_object_set_new(w->api.objects, NS "/pods?resourceVersion=0&labelSelector=" KFX_LABEL_PLANE "%3Dcp1",
                        json_pack("{s:[{s:{s:s, s:s}, s:{s:[{s:s, s:s, s:{s:{s:s}}}]}}]}", "items", "metadata", "name",
                                  name, "creationTimestamp", "2026-11-25T10:00:00Z", "status", "containerStatuses",
                                  "name", deployment, "image", "registry/x:1", "state", "waiting", "reason",
                                  "ErrImagePull"));
}

/* The watcher writes what was said, and another process goes on. */
static void restart(world_t *w)
{
    kfx_ops_t ops = kfx_fake_ops(&w->api);
    json_t *conditions = json_array();
    for (size_t i = 0; i < w->result.condition_count; i++) {
        const kfx_condition_t *c = &w->result.conditions[i];
        json_array_append_new(conditions, json_pack("{s:s, s:s, s:s, s:s}", "type", c->type, "status", c->status,
                                                    "reason", c->reason, "message", c->message));
    }
    kfx_json_put(kfx_fake_get(&w->api, PLANE), conditions, "status", "conditions");
    kfx_reconciler_clear(&w->rec);
    kfx_reconciler_init(&w->rec, kfx_type_lookup("k8s"), &ops);
}

static void same_after_restart(world_t *w)
{
    kfx_condition_t before = *condition(w, "Ready");
    restart(w);
    run_task(w);
    const kfx_condition_t *after = condition(w, "Ready");
    assert_string_equal(after->reason, before.reason);
    assert_string_equal(after->status, before.status);
    assert_string_equal(after->message, before.message);
}

/* A trouble that has a name keeps it: a new process looks at once instead of saying that the plane is being created. */
static void test_trouble_outlives_the_process(void **state)
{
    world_t *w = *state;
    run_task(w);
    write_dsn(w);
    run_task(w);
    put_pod(w, "kube-apiserver");
    clock_ahead_ms += 5000;
    run_task(w);
    assert_condition(w, "Ready", "False", "ImagePullFailed");
    same_after_restart(w);

    json_object_del(w->api.objects, NS "/pods?resourceVersion=0&labelSelector=" KFX_LABEL_PLANE "%3Dcp1");
    restart(w);
    run_task(w);
    assert_condition(w, "Ready", "False", "Creating"); /* it is over */

    set_ready(w, true);
    put_pod(w, "kube-controller-manager");
    run_task(w);
    clock_ahead_ms += 20000;
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_non_null(strstr(condition(w, "Ready")->message, "; but image registry/x:1"));
    same_after_restart(w);
}

/* The old pod answers while the new one does not start: the plane is Ready, and says why the change does not come. */
static void test_ready_while_pods_are_exchanged(void **state)
{
    world_t *w = *state;
    bring_up(w);
    kfx_json_put(kfx_fake_get(&w->api, HELPER), json_true(), "status", "ready");
    put_pod(w, "kube-apiserver");
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_true(), "status", "rolling");
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_string_equal(condition(w, "Ready")->message, "the API server answers"); /* a new pod takes its time */
    clock_ahead_ms += 20000;
    run_task(w);
    assert_condition(w, "Ready", "True", "Available");
    assert_non_null(strstr(condition(w, "Ready")->message, "; but image registry/x:1"));
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_true(), "status", "stuck");
    run_task(w);
    assert_non_null(strstr(condition(w, "Ready")->message, "; but image registry/x:1"));
    kfx_json_put(kfx_fake_get(&w->api, DEPLOYMENT), json_pack("{s:b}", "ready", 1), "status");
    run_task(w);
    assert_string_equal(condition(w, "Ready")->message, "the API server answers");
}

/* Each part says for itself whether it works; a part that worked before is Unavailable, also to another process. */
static void test_parts(void **state)
{
    world_t *w = *state;
    run_task(w);
    assert_condition(w, "APIServerReady", "False", "Creating");
    assert_condition(w, "ControllerManagerReady", "False", "Creating");
    assert_condition(w, "Exposed", "True", "Ingress");
    write_dsn(w);
    run_task(w);
    set_ready(w, true);
    run_task(w);
    assert_condition(w, "APIServerReady", "True", "Available");
    assert_condition(w, "ControllerManagerReady", "False", "Creating");
    kfx_json_put(kfx_fake_get(&w->api, HELPER), json_true(), "status", "ready");
    run_task(w);
    assert_condition(w, "ControllerManagerReady", "True", "Available");

    restart(w);
    kfx_json_put(kfx_fake_get(&w->api, HELPER), json_false(), "status", "ready");
    put_pod(w, "kube-controller-manager");
    run_task(w);
    assert_condition(w, "ControllerManagerReady", "False", "Unavailable");
    assert_condition(w, "Ready", "True", "Available"); /* the API server answers */
    clock_ahead_ms += 20000;
    run_task(w);
    assert_condition(w, "ControllerManagerReady", "False", "ImagePullFailed");
    set_ready(w, false);
    run_task(w);
    assert_condition(w, "APIServerReady", "False", "Unavailable");
    assert_condition(w, "ControllerManagerReady", "False", "Unavailable");
    run_as(w, UID, true);
    assert_condition(w, "APIServerReady", "False", "Deleting");
    assert_condition(w, "ControllerManagerReady", "False", "Deleting");
    assert_condition(w, "Exposed", "False", "Deleting");
}

/* No event tells of an API server that stopped answering behind a pod that is ready: the next look comes within a
 * minute, its own limit included, and its first refusal counts. */
static void test_dead_behind_ready_pod(void **state)
{
    world_t *w = *state;
    bring_up(w);
    for (int i = 0; i < 200; i++) {
        run_task(w);
        assert_condition(w, "Ready", "True", "Available");
        assert_in_range(w->result.retry_after_ms, 25000, 60000 - 2 * w->api.probe_limit_ms);
    }
    w->api.probe_rc = -1;
    run_task(w);
    assert_condition(w, "Ready", "False", "Unavailable");
    w->api.probe_rc = 0;
    run_task(w); /* by itself */
    assert_condition(w, "Ready", "True", "Available");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        T(test_trouble_outlives_the_process),
        T(test_ready_while_pods_are_exchanged),
        T(test_parts),
        T(test_dead_behind_ready_pod),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
