/* Running pods are exchanged in a few planes at a time, and a place that becomes free wakes the next plane. */
#include "watcher/test_world.h"

#define FLEET 40

static void see_workload(const char *name, const char *rv, bool ready, bool rolling, bool stuck)
{
    kfx_seen_child_t d = {
        .kind = "Deployment", .name = "kube-apiserver", .owner = "u-1", .hash = "aa", .fields = 11, .ready = ready};
    kfx_plane_t *p = kfx_planes_find(w.planes, name);
    d.rolling = rolling;
    d.stuck = stuck;
    kfx_copy(d.plane, sizeof d.plane, name);
    snprintf(d.uid, sizeof d.uid, "d-%.30s", name);
    kfx_copy(d.rv, sizeof d.rv, rv);
    kfx_plane_child_update(p, &d);
    kfx_watcher_mark(&w, p);
    kfx_watcher_flush(&w);
}

/* A plane that runs. */
static void add(const char *name)
{
    create(name, "k8s");
    while (written.patch)
        land();
    see_workload(name, "1", true, false, false);
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    done("reconcile.k8s", KFX_OUTCOME_OK, "Synced", true, "ReconcileSuccess");
    while (written.patch)
        land();
}

/* Makes the named plane the one that done_with and show are about. */
static kfx_plane_t *turn_to(const char *name)
{
    kfx_json_put(object, json_string(name), "metadata", "name");
    return kfx_planes_find(w.planes, name);
}

static void says(const char *name, kfx_outcome_t outcome, bool wants, bool keeps)
{
    kfx_result_t result = {.wants_place = wants, .keeps_place = keeps};
    turn_to(name);
    if (!wants)
        kfx_result_condition(&result, "Synced", outcome == KFX_OUTCOME_OK, outcome == KFX_OUTCOME_OK ? "A" : "B", "%s",
                             "");
    done_with("reconcile.k8s", outcome, &result);
}

static const char *name_of(int i)
{
    static char name[16];
    snprintf(name, sizeof name, "cp%d", i);
    return name;
}

static bool placed(int i)
{
    return kfx_planes_find(w.planes, name_of(i))->has_place;
}

/* All places taken by cp0 …, and one plane more, which waits. */
static void fill(void)
{
    for (int i = 0; i <= KFX_PLACES_MAX; i++)
        add(name_of(i));
    for (int i = 0; i < KFX_PLACES_MAX; i++) {
        unsigned writes = written.count, events = sent.events;
        says(name_of(i), KFX_OUTCOME_WAITING, true, false);
        assert_true(placed(i));
        assert_int_equal(sent.events, events + 1); /* told at once */
        assert_true(sent.place);
        assert_int_equal(written.count, writes); /* and nobody hears that it waited */
    }
}

static void test_next_is_woken(void **state)
{
    (void)state;
    fill();
    unsigned events = sent.events;
    kfx_plane_t *last = turn_to(name_of(KFX_PLACES_MAX));
    says(name_of(KFX_PLACES_MAX), KFX_OUTCOME_WAITING, true, false);
    assert_false(placed(KFX_PLACES_MAX));
    assert_int_equal(sent.events, events);
    kfx_json_put(object, json_string(last->rv), "metadata", "resourceVersion");
    land();
    assert_string_equal(reason_of("Synced"), "RolloutQueued");

    says("cp3", KFX_OUTCOME_OK, false, true); /* written: its pods are being exchanged */
    assert_false(placed(KFX_PLACES_MAX));
    see_workload("cp3", "2", true, true, false);
    says("cp3", KFX_OUTCOME_OK, false, true);
    assert_false(placed(KFX_PLACES_MAX));
    see_workload("cp3", "3", true, false, false);
    says("cp3", KFX_OUTCOME_OK, false, false);
    assert_false(placed(3));
    assert_true(placed(KFX_PLACES_MAX)); /* nothing but that event was needed */
    assert_int_equal(w.places.taken, KFX_PLACES_MAX);
    assert_int_equal(w.places.wanted, 0);
    assert_string_equal(sent.event.key, name_of(KFX_PLACES_MAX));
    assert_true(sent.place);
}

/* A place is free again when the plane goes, when Kubernetes gives the exchange up, and while the plane's task fails.
 */
static void test_places_come_back(void **state)
{
    (void)state;
    fill();
    for (int i = KFX_PLACES_MAX + 1; i < KFX_PLACES_MAX + 4; i++)
        add(name_of(i));
    for (int i = KFX_PLACES_MAX; i < KFX_PLACES_MAX + 4; i++)
        says(name_of(i), KFX_OUTCOME_WAITING, true, false);
    assert_int_equal(w.places.wanted, 4);
    kfx_plane_t *gone = turn_to("cp0");
    kfx_plane_forget(gone);
    kfx_watcher_mark(&w, gone);
    kfx_watcher_flush(&w);
    assert_true(placed(KFX_PLACES_MAX)); /* who came first */

    see_workload("cp1", "2", true, true, false);
    says("cp1", KFX_OUTCOME_OK, false, true);
    assert_false(placed(KFX_PLACES_MAX + 1));
    see_workload("cp1", "3", true, true, true);
    says("cp1", KFX_OUTCOME_OK, false, false);
    assert_true(placed(KFX_PLACES_MAX + 1));

    says("cp2", KFX_OUTCOME_RETRY, false, false);
    assert_true(placed(2)); /* it may go on when it can */
    assert_true(placed(KFX_PLACES_MAX + 2));
    says("cp4", KFX_OUTCOME_DOWN, false, false);
    assert_true(placed(4)); /* nobody's fault, and not its end */
    assert_false(placed(KFX_PLACES_MAX + 3));
    says("cp2", KFX_OUTCOME_OK, false, true);
    assert_int_equal(w.places.taken, KFX_PLACES_MAX + 1);
    says("cp4", KFX_OUTCOME_OK, false, false);
    assert_false(placed(KFX_PLACES_MAX + 3)); /* there is one too many */
    says("cp5", KFX_OUTCOME_OK, false, false);
    assert_true(placed(KFX_PLACES_MAX + 3));
}

/* What a new leader sees of exchanges that go on counts, though it gave no place for them. */
static void test_new_leader(void **state)
{
    (void)state;
    for (int i = 0; i <= KFX_PLACES_MAX; i++)
        add(name_of(i));
    for (int i = 0; i < KFX_PLACES_MAX; i++)
        see_workload(name_of(i), "2", true, true, false);
    assert_int_equal(w.places.taken, KFX_PLACES_MAX);
    says(name_of(KFX_PLACES_MAX), KFX_OUTCOME_WAITING, true, false);
    assert_false(placed(KFX_PLACES_MAX));
    see_workload("cp5", "3", false, true, false); /* no running pod is left to be exchanged */
    assert_true(placed(KFX_PLACES_MAX));
}

/* The generation whose change still waits for its place is not told as observed while Synced stands as it was. */
static void test_observed_when_done(void **state)
{
    (void)state;
    add("cp1");
    kfx_plane_t *p = turn_to("cp1");
    change("labels", json_object());
    while (written.patch)
        land();
    says("cp1", KFX_OUTCOME_WAITING, true, false);
    done("storage", KFX_OUTCOME_OK, "StorageReady", true, "DatabaseReady");
    while (written.patch)
        land();
    assert_true(p->has_place);
    assert_int_equal(p->generation, 2);
    assert_int_equal(p->status->observed_generation, 1);
    says("cp1", KFX_OUTCOME_OK, false, true);
    while (written.patch)
        land();
    assert_int_equal(p->status->observed_generation, 2);
}

/* A whole fleet: never more than there are places, and each plane's turn comes without a timer. */
static void test_fleet(void **state)
{
    (void)state;
    for (int i = 0; i < FLEET; i++)
        add(name_of(i));
    for (int i = 0; i < FLEET; i++)
        says(name_of(i), KFX_OUTCOME_WAITING, true, false);
    timer = (timer_seen_t){.fn = NULL};
    for (int i = 0; i < FLEET; i++) {
        assert_true(placed(i));
        assert_in_range(w.places.taken, 1, KFX_PLACES_MAX);
        says(name_of(i), KFX_OUTCOME_OK, false, true);
        see_workload(name_of(i), "2", true, true, false);
        see_workload(name_of(i), "3", true, false, false);
        says(name_of(i), KFX_OUTCOME_OK, false, false);
    }
    assert_int_equal(w.places.taken, 0);
    assert_null(timer.fn);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_next_is_woken), T(test_places_come_back), T(test_new_leader), T(test_observed_when_done), T(test_fleet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
