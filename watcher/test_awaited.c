/* Secrets elsewhere that reconcilers wait for: one watch a namespace while anybody waits, and an EVENT with each
 * change. */
#include "watcher/test_world.h"

/* The watches that run, linked with --wrap. */
typedef struct {
    char path[128];
    kfx_watch_spec_t spec;
    bool runs;
} fake_watch_t;

static fake_watch_t watches[8];
static size_t started;

kfx_watch_t *__wrap_kfx_watch_start(kfx_mailbox_t *mailbox, const kfx_watch_spec_t *spec);
void __wrap_kfx_watch_stop(kfx_watch_t **self_p);

kfx_watch_t *__wrap_kfx_watch_start(kfx_mailbox_t *mailbox, const kfx_watch_spec_t *spec)
{
    (void)mailbox;
    assert_in_range(started, 0, KFX_COUNT(watches) - 1);
    fake_watch_t *fake = &watches[started++];
    *fake = (fake_watch_t){.spec = *spec, .runs = true};
    kfx_copy(fake->path, sizeof fake->path, spec->path);
    assert_true(spec->metadata_only);
    return (kfx_watch_t *)fake;
}

void __wrap_kfx_watch_stop(kfx_watch_t **self_p)
{
    if (*self_p)
        ((fake_watch_t *)*self_p)->runs = false;
    *self_p = NULL;
}

static void tell(size_t at, kfx_watch_event_t event, const char *name, const char *rv)
{
    const fake_watch_t *fake = &watches[at];
    KFX_JSON json_t *secret =
        name ? json_pack("{s:{s:s, s:s, s:s}}", "metadata", "name", name, "uid", "s-1", "resourceVersion", rv) : NULL;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_true(fake->runs);
    fake->spec.on_event(fake->spec.ctx, event, secret ? fake->spec.reduce(fake->spec.ctx, secret) : NULL,
                        event == KFX_WATCH_ERROR ? &err : NULL);
    kfx_watcher_flush(&w);
}

static void list(size_t at, const char *name, const char *rv)
{
    tell(at, KFX_WATCH_SYNC_BEGIN, NULL, NULL);
    if (name)
        tell(at, KFX_WATCH_ADDED, name, rv);
    tell(at, KFX_WATCH_SYNC_END, NULL, NULL);
}

/* The named plane's reconciler waits for that Secret; NULL: for none. */
static void await_secret(const char *plane, const char *secret)
{
    kfx_result_t result = {.outcome = KFX_OUTCOME_WAITING};
    kfx_json_put(object, json_string(plane), "metadata", "name");
    kfx_copy(result.awaits_secret, sizeof result.awaits_secret, secret ? secret : "");
    done_with("reconcile.external", KFX_OUTCOME_WAITING, &result);
}

static void add(const char *name)
{
    create(name, "external");
    while (written.patch)
        land();
}

static int begin(void **state)
{
    started = 0;
    return setup(state);
}

static void test_events(void **state)
{
    (void)state;
    add("x1");
    assert_int_equal(started, 0); /* nobody waits */
    await_secret("x1", "kubeflex-system/boot");
    assert_int_equal(started, 1);
    assert_string_equal(watches[0].path, "/api/v1/namespaces/kubeflex-system/secrets");
    unsigned events = sent.events;
    list(0, "other", "1");
    assert_int_equal(sent.events, events);
    tell(0, KFX_WATCH_ADDED, "boot", "5");
    assert_int_equal(sent.events, ++events);
    assert_string_equal(sent.awaited, "s-1/5");
    await_secret("x1", "kubeflex-system/boot"); /* refused: it waits on, and hears of the correction */
    assert_int_equal(sent.events, events);
    tell(0, KFX_WATCH_MODIFIED, "boot", "6");
    assert_int_equal(sent.events, ++events);
    assert_string_equal(sent.awaited, "s-1/6");
    tell(0, KFX_WATCH_DELETED, "boot", "7");
    assert_int_equal(sent.events, ++events);
    assert_string_equal(sent.awaited, "");
    tell(0, KFX_WATCH_ADDED, "boot", "8");
    assert_int_equal(sent.events, ++events);
    list(0, NULL, NULL); /* it went while the watch was away */
    assert_int_equal(sent.events, ++events);
    assert_string_equal(sent.awaited, "");
    tell(0, KFX_WATCH_ERROR, NULL, NULL);
    assert_int_equal(sent.events, events);
}

/* What was there before anybody waited is told too; and a watch serves all who wait in its namespace. */
static void test_shared(void **state)
{
    (void)state;
    add("x1");
    await_secret("x1", "kubeflex-system/a");
    list(0, "b", "3");
    add("x2");
    await_secret("x2", "kubeflex-system/b");
    assert_int_equal(started, 1);
    assert_string_equal(sent.event.key, "x2");
    assert_string_equal(sent.awaited, "s-1/3");
    await_secret("x1", "team/a");
    assert_int_equal(started, 2);
    assert_true(watches[0].runs);
    await_secret("x2", NULL);
    assert_false(watches[0].runs); /* nobody waits there any more */
    kfx_plane_t *gone = kfx_planes_find(w.planes, "x1");
    kfx_plane_forget(gone);
    kfx_watcher_mark(&w, gone);
    kfx_watcher_flush(&w);
    assert_false(watches[1].runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events, begin, teardown),
        cmocka_unit_test_setup_teardown(test_shared, begin, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
