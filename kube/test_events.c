/* Events: what goes to the API server. events.c is compiled in with its clock and requests replaced. */
#include "base/clock.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define kfx_now_ms fake_now_ms
#define kfx_kube_submit fake_submit
int64_t fake_now_ms(void);

#include "kube/events.c"

static int64_t now;
static struct {
    kfx_request_t *req;
    void (*on_done)(void *ctx, kfx_request_t *req);
    void *ctx;
} queue[128];
static size_t queued;
static const kfx_object_ref_t about = {"tenancy.kflex.kubestellar.org/v1alpha1", "ControlPlane", "cp1", "u-1", NULL};

int64_t fake_now_ms(void)
{
    return now;
}

void fake_submit(kfx_mailbox_t *self, kfx_request_t *req, void (*on_done)(void *ctx, kfx_request_t *req), void *ctx)
{
    (void)self;
    queue[queued].req = req;
    queue[queued].on_done = on_done;
    queue[queued++].ctx = ctx;
}

/* Answers the oldest request. */
static void answer(kfx_code_t code)
{
    assert_true(queued > 0);
    kfx_request_t *req = queue[0].req;
    void (*on_done)(void *, kfx_request_t *) = queue[0].on_done;
    void *ctx = queue[0].ctx;
    memmove(&queue[0], &queue[1], --queued * sizeof queue[0]);
    if (code != KFX_OK)
        kfx_error_set(&req->error, code, "no");
    on_done(ctx, req);
}

static kfx_events_t *start(void)
{
    now = 5000000;
    queued = 0;
    return kfx_events_new(NULL, "kubeflex-controlplane-controller", "pod-1");
}

static void emit(kfx_events_t *events, const char *note)
{
    kfx_events_emit(events, &about, "Warning", "SyncFail", "Reconcile", "%s", note);
}

static void test_new(void **state)
{
    (void)state;
    kfx_events_t *events = start();
    emit(events, "boom");
    assert_int_equal(queued, 1);
    const kfx_request_t *req = queue[0].req;
    assert_int_equal(req->verb, KFX_POST);
    assert_string_equal(req->path, "/apis/events.k8s.io/v1/namespaces/default/events");
    assert_string_equal(kfx_json_str(req->body, "reason"), "SyncFail");
    assert_string_equal(kfx_json_str(req->body, "action"), "Reconcile");
    assert_string_equal(kfx_json_str(req->body, "type"), "Warning");
    assert_string_equal(kfx_json_str(req->body, "note"), "boom");
    assert_string_equal(kfx_json_str(req->body, "reportingController"), "kubeflex-controlplane-controller");
    assert_string_equal(kfx_json_str(req->body, "reportingInstance"), "pod-1");
    assert_string_equal(kfx_json_str(req->body, "regarding", "uid"), "u-1");
    assert_null(kfx_json_get(req->body, "regarding", "namespace"));
    assert_null(kfx_json_get(req->body, "series"));
    assert_int_equal(strlen(kfx_json_str(req->body, "eventTime")), 27);
    answer(KFX_OK);
    kfx_events_destroy(&events);
}

static void test_series(void **state)
{
    (void)state;
    kfx_events_t *events = start();
    emit(events, "boom");
    KFX_FREE char *name = kfx_xstrdup(kfx_json_str(queue[0].req->body, "metadata", "name"));
    emit(events, "boom"); /* before the first has landed */
    emit(events, "boom");
    assert_int_equal(queued, 1);
    answer(KFX_OK);
    assert_int_equal(queued, 1); /* both in one */
    assert_int_equal(queue[0].req->verb, KFX_MERGE_PATCH);
    assert_int_equal(kfx_json_int(queue[0].req->body, 0, "series", "count"), 3);
    assert_non_null(strstr(queue[0].req->path, name));
    answer(KFX_OK);
    assert_int_equal(queued, 0);
    now += 9 * 60 * 1000;
    emit(events, "boom");
    assert_int_equal(kfx_json_int(queue[0].req->body, 0, "series", "count"), 4);
    answer(KFX_OK);
    emit(events, "another"); /* other words: another Event */
    assert_int_equal(queue[0].req->verb, KFX_POST);
    answer(KFX_OK);
    now += 2 * 60 * 1000;
    emit(events, "boom"); /* ten minutes are over */
    assert_int_equal(queue[0].req->verb, KFX_POST);
    answer(KFX_OK);
    kfx_events_destroy(&events);
}

static void test_failures(void **state)
{
    (void)state;
    kfx_events_t *events = start();
    emit(events, "boom");
    answer(KFX_E_FORBIDDEN);
    emit(events, "boom"); /* it is not there: a new one */
    assert_int_equal(queue[0].req->verb, KFX_POST);
    answer(KFX_OK);
    emit(events, "boom");
    answer(KFX_E_NOT_FOUND); /* its time to live was over */
    emit(events, "boom");
    assert_int_equal(queue[0].req->verb, KFX_POST);
    answer(KFX_OK);
    kfx_events_destroy(&events);
}

static void test_pressure(void **state)
{
    (void)state;
    kfx_events_t *events = start();
    char note[32];
    for (int i = 0; i < 100; i++) {
        snprintf(note, sizeof note, "n%d", i);
        emit(events, note);
    }
    assert_int_equal(queued, 64); /* the rest is dropped, nothing waits */
    while (queued > 0)
        answer(KFX_OK);
    emit(events, "n99");
    assert_int_equal(queue[0].req->verb, KFX_POST);
    kfx_events_destroy(&events); /* with one on its way: its answer frees the rest */
    answer(KFX_OK);
}

static void test_texts(void **state)
{
    (void)state;
    kfx_events_t *events = start();
    char note[1100];
    memset(note, 'x', sizeof note);
    note[1022] = (char)0xC3; /* a character of two bytes across the limit */
    note[1023] = (char)0xA4;
    note[1099] = '\0';
    emit(events, note);
    assert_int_equal(queued, 1);
    assert_int_equal(strlen(kfx_json_str(queue[0].req->body, "note")), 1022);
    answer(KFX_OK);
    emit(events, "bad \xff text"); /* no UTF-8: dropped, not crashed */
    assert_int_equal(queued, 0);
    kfx_object_ref_t inside = {"v1", "Pod", "p", "u", "ns1"};
    kfx_events_emit(events, &inside, "Normal", "R", "A", "%s", "");
    assert_string_equal(queue[0].req->path, "/apis/events.k8s.io/v1/namespaces/ns1/events");
    assert_string_equal(kfx_json_str(queue[0].req->body, "regarding", "namespace"), "ns1");
    answer(KFX_OK);
    kfx_events_destroy(&events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),      cmocka_unit_test(test_series), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_pressure), cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
