#include "base/json.h"
#include "base/mem.h"
#include "watcher/announce.h"
#include "watcher/finalizer.h"
#include "watcher/intern.h"
#include "watcher/judge.h"
#include "watcher/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define T0 ((time_t)1800000000)

static kfx_plane_t *new_plane(const char *name)
{
    kfx_plane_t *plane = kfx_xcalloc(1, sizeof *plane);
    plane->name = kfx_xstrdup(name);
    plane->present = true;
    plane->uid = kfx_intern("u-1");
    plane->type = kfx_intern("k8s");
    plane->finalizers = kfx_intern("");
    kfx_copy(plane->rv, sizeof plane->rv, "10");
    plane->generation = 2;
    return plane;
}

static void free_plane(kfx_plane_t *plane)
{
    kfx_plane_forget(plane);
    free(plane->name);
    free(plane);
}

static void say(kfx_plane_t *plane, size_t service, int64_t generation, const char *type, bool status,
                const char *reason, const char *message)
{
    kfx_result_t result = {0};
    kfx_envelope_t env = {.generation = generation, .outcome = KFX_OUTCOME_OK};
    if (type)
        kfx_result_condition(&result, type, status, reason, "%s", message);
    kfx_verdict_free(&plane->views[service].verdict);
    plane->views[service].verdict = kfx_verdict_new(&env, &result);
}

static kfx_status_t *merge_at(kfx_plane_t *plane, time_t now)
{
    kfx_merge_t in = {.plane = plane, .services = 2, .now = now};
    return kfx_merge(&in);
}

/* Takes the status over as if it had been written. */
static void write_at(kfx_plane_t *plane, time_t now)
{
    kfx_status_t *status = merge_at(plane, now);
    assert_non_null(status);
    free(plane->status);
    plane->status = status;
}

static void test_times(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane("cp1");
    say(p, 0, 2, "Synced", false, "WaitingForStorage", "wait");
    write_at(p, T0);
    const kfx_cond_t *c = kfx_status_cond(p->status, "Synced");
    assert_true(c->transition == T0 && c->update == T0);

    assert_null(merge_at(p, T0 + 5)); /* the same words: no write */
    say(p, 0, 2, "Synced", false, "WaitingForStorage", "still waiting");
    write_at(p, T0 + 10);
    c = kfx_status_cond(p->status, "Synced");
    assert_true(c->transition == T0 && c->update == T0 + 10);
    say(p, 0, 2, "Synced", true, "ReconcileSuccess", "");
    write_at(p, T0 + 20);
    c = kfx_status_cond(p->status, "Synced");
    assert_true(c->transition == T0 + 20 && c->update == T0 + 20);
    assert_null(merge_at(p, T0 + 30));
    free_plane(p);
}

static void test_order_and_sources(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane("cp1");
    say(p, 1, 2, "StorageReady", true, "DatabaseReady", "");
    write_at(p, T0);
    kfx_cond_t foreign[] = {{"Other", "True", "X", "kept", T0, T0}, p->status->conds[0]};
    kfx_status_t with = *p->status;
    with.conds = foreign;
    with.count = 2;
    kfx_status_t *packed = kfx_status_dup(&with);
    free(p->status);
    p->status = packed;

    kfx_result_t result = {0};
    kfx_envelope_t env = {.generation = 2, .outcome = KFX_OUTCOME_OK};
    kfx_result_condition(&result, "Exposed", true, "Ingress", "%s", "");
    kfx_result_condition(&result, "APIServerReady", true, "Available", "%s", "");
    kfx_result_condition(&result, "Ready", true, "Available", "%s", "");
    kfx_result_condition(&result, "Synced", true, "ReconcileSuccess", "%s", "");
    kfx_copy(result.secret_name, sizeof result.secret_name, "admin-kubeconfig");
    kfx_copy(result.secret_key, sizeof result.secret_key, "kubeconfig");
    kfx_copy(result.secret_in_cluster_key, sizeof result.secret_in_cluster_key, "kubeconfig-incluster");
    kfx_copy(result.kubernetes_version, sizeof result.kubernetes_version, "v1.36.3");
    kfx_copy(result.postgres_server, sizeof result.postgres_server, "east");
    kfx_verdict_free(&p->views[0].verdict);
    p->views[0].verdict = kfx_verdict_new(&env, &result);
    write_at(p, T0 + 1);
    static const char *const order[] = {"Synced", "Ready", "StorageReady", "APIServerReady", "Exposed", "Other"};
    assert_int_equal(p->status->count, KFX_COUNT(order));
    for (size_t i = 0; i < KFX_COUNT(order); i++)
        assert_string_equal(p->status->conds[i].type, order[i]);
    assert_string_equal(kfx_status_cond(p->status, "Other")->message, "kept");
    assert_string_equal(p->status->secret_ns, "cp1-system");
    assert_string_equal(p->status->version, "v1.36.3");
    assert_string_equal(p->status->server, "east");

    /* a later result that says nothing about them takes nothing away */
    say(p, 0, 2, "Ready", false, "Unavailable", "refused");
    write_at(p, T0 + 2);
    assert_string_equal(p->status->secret_name, "admin-kubeconfig");
    assert_true(kfx_status_is(p->status, "Synced", "True"));
    KFX_JSON json_t *patch = kfx_status_patch(p, p->status);
    assert_string_equal(kfx_json_str(patch, "metadata", "uid"), "u-1");
    assert_string_equal(kfx_json_str(patch, "metadata", "resourceVersion"), "10");
    assert_string_equal(kfx_json_str(patch, "status", "secretRef", "inClusterKey"), "kubeconfig-incluster");
    assert_string_equal(kfx_json_str(patch, "status", "conditions", "0", "lastTransitionTime"), "2027-01-15T08:00:01Z");

    /* a key that is there no more has to be taken out of the status by name */
    result.secret_key[0] = '\0';
    kfx_copy(result.postgres_server, sizeof result.postgres_server, "west"); /* once recorded it stays */
    env.generation = 3;
    kfx_verdict_free(&p->views[0].verdict);
    p->views[0].verdict = kfx_verdict_new(&env, &result);
    write_at(p, T0 + 3);
    assert_string_equal(p->status->server, "east");
    KFX_JSON json_t *without = kfx_status_patch(p, p->status);
    assert_true(json_is_null(kfx_json_get(without, "status", "secretRef", "key")));
    free_plane(p);
}

static void test_least_generation(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane("cp1");
    say(p, 0, 2, "Synced", true, "ReconcileSuccess", "");
    write_at(p, T0);
    assert_int_equal(p->status->observed_generation, 0); /* storage has seen nothing yet */
    say(p, 1, 1, "StorageReady", true, "DatabaseReady", "");
    write_at(p, T0);
    assert_int_equal(p->status->observed_generation, 1);
    say(p, 1, 2, "StorageReady", true, "DatabaseReady", "");
    write_at(p, T0);
    assert_int_equal(p->status->observed_generation, 2);

    say(p, 0, 1, "Synced", true, "ReconcileSuccess", "");
    write_at(p, T0);
    assert_int_equal(p->status->observed_generation, 1);
    say(p, 0, 2, "Synced", true, "ReconcileSuccess", "");
    write_at(p, T0);

    /* after a restart of the watcher: the other one's word counts on */
    kfx_verdict_free(&p->views[1].verdict);
    assert_null(merge_at(p, T0 + 9));
    kfx_verdict_free(&p->views[0].verdict);
    assert_null(merge_at(p, T0 + 9));
    free_plane(p);
}

static void test_notes(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane("cp1");
    kfx_merge_t in = {.plane = p, .services = 0, .note_count = 1, .now = T0};
    in.notes[0] = (kfx_note_t){"Synced", "NotSupported", "not in this build"};
    kfx_status_t *status = kfx_merge(&in);
    assert_true(kfx_status_is(status, "Synced", "False"));
    assert_int_equal(status->observed_generation, 2);
    p->status = status;
    in.now = T0 + 60;
    assert_null(kfx_merge(&in));

    /* a note goes before a result, and goes away with the next result */
    say(p, 0, 2, "Synced", true, "ReconcileSuccess", "");
    in.services = 2;
    in.notes[0].reason = "NoReconciler";
    status = kfx_merge(&in);
    assert_string_equal(kfx_status_cond(status, "Synced")->reason, "NoReconciler");
    free(p->status);
    p->status = status;
    in.note_count = 0;
    status = kfx_merge(&in);
    assert_true(kfx_status_is(status, "Synced", "True"));
    free(status);
    free_plane(p);
}

static void test_foreign_order_is_no_change(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane("cp1");
    kfx_cond_t conds[] = {{"Ready", "True", "Available", "", T0, T0},
                          {"Synced", "True", "ReconcileSuccess", "", T0, T0}};
    kfx_status_t value = {.observed_generation = 2, .count = 2, .conds = conds};
    p->status = kfx_status_dup(&value);
    say(p, 0, 2, "Synced", true, "ReconcileSuccess", "");
    assert_null(merge_at(p, T0 + 1));
    free_plane(p);
}

static void test_finalizers(void **state)
{
    (void)state;
    kfx_plane_t *p = new_plane("cp1");
    kfx_intern_set(&p->finalizers, "example.org/a\nfoo.org/b\n");
    KFX_JSON json_t *add = kfx_finalizer_add(p);
    KFX_FREE char *text = kfx_json_canonical(add);
    assert_string_equal(text, "{\"metadata\":{\"finalizers\":[\"example.org/a\",\"foo.org/b\",\"" KFX_FINALIZER
                              "\"],\"resourceVersion\":\"10\",\"uid\":\"u-1\"}}");
    kfx_intern_set(&p->finalizers, "kflex\n" KFX_FINALIZER "\n" KFX_FINALIZER "-2\n");
    KFX_JSON json_t *gone = kfx_finalizer_remove(p);
    KFX_FREE char *text2 = kfx_json_canonical(gone);
    assert_string_equal(text2, "{\"metadata\":{\"finalizers\":[\"kflex\",\"" KFX_FINALIZER
                               "-2\"],\"resourceVersion\":\"10\",\"uid\":\"u-1\"}}");
    free_plane(p);
}

static void test_judge(void **state)
{
    (void)state;
    kfx_stance_t s;
    kfx_plane_t *p = new_plane("cp1");
    kfx_judge(p, &s);
    assert_int_equal(s.count, 2);
    assert_null(s.reason);
    assert_int_equal(kfx_stance_index(&s, "storage"), 1);
    assert_int_equal(kfx_stance_index(&s, "reconcile.vcluster"), -1);

    kfx_intern_set(&p->type, "");
    kfx_judge(p, &s);
    assert_string_equal(s.reason, "InvalidSpec");
    kfx_intern_set(&p->type, "martian");
    kfx_judge(p, &s);
    assert_string_equal(s.reason, "NotSupported");
    assert_non_null(strstr(s.message, "martian"));
    assert_non_null(strstr(s.message, "k8s"));
    assert_int_equal(s.count, 0);
    free_plane(p);

    p = new_plane("kube");
    kfx_judge(p, &s);
    assert_string_equal(s.reason, "InvalidName");
    kfx_cond_t cond = {"Synced", "False", "InvalidName", "", T0, T0};
    kfx_status_t value = {.count = 1, .conds = &cond};
    p->status = kfx_status_dup(&value);
    kfx_judge(p, &s);
    assert_string_equal(s.reason, "InvalidName");
    cond.reason = "ReconcileSuccess";
    free(p->status);
    p->status = kfx_status_dup(&value);
    kfx_judge(p, &s); /* was served before there were rules */
    assert_null(s.reason);
    free_plane(p);
    p = new_plane("kube");
    p->finalizer = true;
    kfx_judge(p, &s);
    assert_null(s.reason);
    free_plane(p);
}

static kfx_status_t one(const kfx_cond_t *cond)
{
    return (kfx_status_t){.count = 1, .conds = cond};
}

static void test_news(void **state)
{
    (void)state;
    kfx_news_t news;
    kfx_cond_t waiting = {"Synced", "False", "WaitingForStorage", "w", T0, T0};
    kfx_cond_t error = {"Synced", "False", "ReconcileError", "boom", T0, T0};
    kfx_cond_t worse = {"Synced", "False", "ReconcileError", "bang", T0, T0};
    kfx_cond_t good = {"Synced", "True", "ReconcileSuccess", "", T0, T0};
    kfx_cond_t ready = {"Ready", "True", "Available", "", T0, T0};
    kfx_cond_t unready = {"Ready", "False", "Unavailable", "refused", T0, T0};
    kfx_cond_t still = {"Ready", "False", "Unavailable", "no answer", T0, T0};
    kfx_cond_t creating = {"Ready", "False", "Creating", "no pod", T0, T0};
    kfx_cond_t image = {"Ready", "False", "ImagePullFailed", "image x", T0, T0};
    const struct {
        const kfx_cond_t *was, *is;
        const char *reason; /* NULL: no news */
    } cases[] = {{NULL, &waiting, NULL},           {NULL, &good, "SyncSuccess"}, {&good, &good, NULL},
                 {&waiting, &good, "SyncSuccess"}, {&good, &error, "SyncFail"},  {&error, &error, NULL},
                 {&error, &worse, "SyncFail"},     {NULL, &creating, NULL},      {&unready, &ready, "Ready"},
                 {&ready, &unready, "NotReady"},   {&unready, &still, NULL},     {&creating, &image, "NotReady"},
                 {&image, &image, NULL},           {&image, &creating, NULL}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_status_t was = cases[i].was ? one(cases[i].was) : (kfx_status_t){0}, is = one(cases[i].is);
        kfx_announce_news(cases[i].was ? &was : NULL, &is, &news);
        assert_int_equal(news.count, cases[i].reason ? 1 : 0);
        if (cases[i].reason)
            assert_string_equal(news.list[0].reason, cases[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_order_and_sources),
        cmocka_unit_test(test_least_generation),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_foreign_order_is_no_change),
        cmocka_unit_test(test_finalizers),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
