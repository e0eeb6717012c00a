/* Watches as their owners use them, over HTTP/1: paging, a server that comes back, stop, end, many, wait_object. What a
 * server can do to a watch is in cases/. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/watch.h"
#include "tests/kube/harness.h"

#include <stdatomic.h>
#include <string.h>

#define PODS "/api/v1/pods"
#define LIST(rv, ...) "{'metadata':{'resourceVersion':'" rv "'},'items':[" __VA_ARGS__ "]}"
#define POD(name, rv) "{'metadata':{'name':'" name "','resourceVersion':'" rv "'}}"
#define EVENT(type, name, rv) "{'line':{'type':'" type "','object':" POD(name, rv) "}}"
#define HANG "{'hang':true}"

/* Writes what it is told as text: "[ +a +b ] *c -d !Gone ". */
typedef struct {
    kfx_buf_t told;
    atomic_int alive; /* reduced structs that nobody freed yet */
    bool stop_at_c;
    kfx_watch_t *watch;
} recorder_t;

static recorder_t *recorder; /* free_item has no context */

static void *reduce(void *ctx, const json_t *object)
{
    recorder_t *self = ctx;
    const char *name = kfx_json_str(object, "metadata", "name");
    if (name[0] == '_')
        return NULL; /* of no interest */
    atomic_fetch_add(&self->alive, 1);
    return kfx_xstrdup(name);
}

static void free_item(void *item)
{
    atomic_fetch_sub(&recorder->alive, 1);
    free(item);
}

static void on_event(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    static const char *const marks[] = {"[", "+", "*", "-", "]", "!"};
    recorder_t *self = ctx;
    assert_int_equal(event == KFX_WATCH_ERROR, err != NULL);
    kfx_buf_addf(&self->told, "%s%s ", marks[event], item ? (char *)item : err ? kfx_code_name(err->code) : "");
    bool stop = self->stop_at_c && item && strcmp(item, "c") == 0;
    if (item)
        free_item(item);
    if (stop)
        kfx_watch_stop(&self->watch);
}

typedef struct {
    fake_t *fake;
    kfx_kube_t *kube;
    kfx_mailbox_t *box;
    recorder_t rec;
} fixture_t;

static void begin_on(fixture_t *self, kfx_kube_t *kube, const kfx_watch_spec_t *more)
{
    self->kube = kube;
    self->box = kfx_mailbox_new(kube);
    self->rec.told = (kfx_buf_t)KFX_BUF_INIT(0);
    recorder = &self->rec;
    kfx_watch_spec_t spec = more ? *more : (kfx_watch_spec_t){.path = PODS};
    spec.reduce = reduce;
    spec.on_event = on_event;
    spec.free_item = free_item;
    spec.ctx = &self->rec;
    self->rec.watch = kfx_watch_start(self->box, &spec);
}

static void begin(fixture_t *self, const char *script, const kfx_watch_spec_t *more)
{
    memset(self, 0, sizeof *self);
    self->fake = fake_start(script, 0);
    begin_on(self, fake_client(self->fake), more);
}

static void end(fixture_t *self)
{
    kfx_watch_stop(&self->rec.watch);
    kfx_mailbox_destroy(&self->box);
    kfx_kube_destroy(&self->kube);
    assert_int_equal(self->rec.alive, 0);
    kfx_buf_free(&self->rec.told);
    if (self->fake)
        fake_stop(&self->fake);
}

static void turn(fixture_t *self)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(kfx_mailbox_sock(self->box)), .events = ZMQ_POLLIN};
    zmq_poll(&item, 1, 100);
    kfx_mailbox_dispatch(self->box);
}

static void expect_told(fixture_t *self, const char *text)
{
    int64_t deadline = kfx_now_ms() + 30000;
    size_t len = strlen(text);
    while (self->rec.told.len < len && kfx_now_ms() < deadline)
        turn(self);
    if (!self->rec.told.data || strncmp(self->rec.told.data, text, len) != 0)
        fail_msg("expected \"%s\", was told \"%s\"", text, self->rec.told.data ? self->rec.told.data : "");
}

static void test_pages(void **state)
{
    (void)state;
    fixture_t f;
    const kfx_watch_spec_t spec = {
        .path = PODS, .label_selector = "a=b,c in (d, e)", .field_selector = "metadata.name!=x", .metadata_only = true};
    begin(&f,
          "[{'match':'GET continue=to%2Bken','body':" LIST(
              "7",
              POD("c", "3")) "},"
                             "{'match':'GET "
                             "limit=500','body':{'metadata':{'resourceVersion':'7','continue':'to+ken'},'items':[" POD(
                                 "a", "1") "," POD("_b", "2") "]}},"
                                                              "{'match':'GET watch=1','lines':[" EVENT(
                                                                  "ADDED", "d", "8") "," EVENT("DELETED", "a",
                                                                                               "9") "," HANG "]}]",
          &spec);
    expect_told(&f, "[ +a +c ] +d -a ");
    const json_t *seen = fake_wait(f.fake, "GET watch=1", 1);
    const char *path = kfx_json_str(seen, "path");
    assert_non_null(
        strstr(path, PODS "?labelSelector=a%3Db%2Cc%20in%20%28d%2C%20e%29&fieldSelector=metadata.name%21%3Dx&"));
    assert_non_null(strstr(path, "allowWatchBookmarks=true"));
    assert_non_null(strstr(path, "resourceVersion=7&"));
    assert_non_null(strstr(path, "timeoutSeconds=2"));
    assert_string_equal(kfx_json_str(seen, "headers", "Accept"),
                        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    assert_non_null(strstr(kfx_json_str(fake_wait(f.fake, "GET limit=500", 1), "headers", "Accept"),
                           "as=PartialObjectMetadataList"));
    end(&f);
}

static void test_server_comes_back(void **state)
{
    (void)state;
    int port = free_port();
    fixture_t f;
    memset(&f, 0, sizeof f);
    kfx_error_t err = KFX_ERROR_INIT;
    begin_on(&f, kfx_kube_new(fake_config(port), "kfx-test/1", &err), NULL);
    expect_told(&f, "!Unavailable ");
    kfx_buf_clear(&f.rec.told);
    f.fake = fake_start(
        "[{'match':'GET limit=','body':" LIST("5", POD("a", "1")) "},"
                                                                  "{'match':'GET resourceVersion=5&','lines':[" EVENT(
                                                                      "ADDED", "b", "6") "," HANG "]}]",
        port);
    int64_t deadline = kfx_now_ms() + 30000;
    while ((!f.rec.told.data || !strstr(f.rec.told.data, "[ +a ] +b ")) && kfx_now_ms() < deadline)
        turn(&f);
    assert_non_null(strstr(f.rec.told.data, "[ +a ] +b "));

    fake_stop(&f.fake); /* away in the middle of the stream, and back: resumed, not listed */
    kfx_buf_clear(&f.rec.told);
    f.fake = fake_start("[{'match':'GET resourceVersion=6&','lines':[" EVENT("ADDED", "c", "7") "," HANG "]}]", port);
    while ((!f.rec.told.data || !strstr(f.rec.told.data, "+c ")) && kfx_now_ms() < deadline)
        turn(&f);
    assert_non_null(strstr(f.rec.told.data, "+c "));
    assert_int_equal(fake_count(f.fake, "GET limit="), 0);
    end(&f);
}

/* Stopped from its own callback with more in the mailbox: nothing runs any more, nothing leaks. */
static void test_stop_in_callback(void **state)
{
    (void)state;
    fixture_t f;
    begin(&f,
          "[{'match':'GET limit=','body':" LIST(
              "5", POD("a", "1") "," POD("c", "2") "," POD("d", "3")) "},"
                                                                      "{'match':'GET watch=1','lines':[" EVENT(
                                                                          "ADDED", "e", "6") "," HANG "]}]",
          NULL);
    f.rec.stop_at_c = true;
    fake_wait(f.fake, "GET watch=1", 1);
    expect_told(&f, "[ +a +c ");
    for (int i = 0; i < 3; i++)
        turn(&f);
    assert_string_equal(f.rec.told.data, "[ +a +c ");
    assert_null(f.rec.watch);
    assert_int_equal(f.rec.alive, 0);
    end(&f);
}

static void test_client_closed_first(void **state)
{
    (void)state;
    fixture_t f;
    begin(&f,
          "[{'match':'GET limit=','body':" LIST("5", POD("a", "1")) "}, {'match':'GET watch=1','lines':[" HANG "]}]",
          NULL);
    fake_wait(f.fake, "GET watch=1", 1);
    kfx_kube_destroy(&f.kube);
    expect_told(&f, "[ +a ] "); /* what was in the mailbox is still there */
    end(&f);
}

static void test_many(void **state)
{
    (void)state;
    fixture_t f;
    begin(&f,
          "[{'match':'GET limit=','times':0,'body':" LIST(
              "5", POD("a", "1")) "},"
                                  "{'match':'GET watch=1','times':0,'lines':[" EVENT("ADDED", "b", "6") "," HANG "]}]",
          NULL);
    kfx_watch_t *more[12]; /* over HTTP/1 each needs a connection of its own: more than 4 */
    recorder_t recs[12];
    memset(recs, 0, sizeof recs);
    for (int i = 0; i < 12; i++) {
        recs[i].told = (kfx_buf_t)KFX_BUF_INIT(0);
        kfx_watch_spec_t spec = {.path = PODS, .reduce = reduce, .on_event = on_event, .ctx = &recs[i]};
        more[i] = kfx_watch_start(f.box, &spec);
    }
    expect_told(&f, "[ +a ] +b ");
    for (int i = 0; i < 12; i++) {
        int64_t deadline = kfx_now_ms() + 30000;
        while (recs[i].told.len < strlen("[ +a ] +b ") && kfx_now_ms() < deadline)
            turn(&f);
        assert_string_equal(recs[i].told.data, "[ +a ] +b ");
        kfx_watch_stop(&more[i]);
        kfx_buf_free(&recs[i].told);
    }
    f.rec.alive = 0; /* all were counted down on one recorder */
    end(&f);
}

static void test_wait_object(void **state)
{
    (void)state;
    fake_t *fake = fake_start(
        "[{'match':'GET "
        "limit=','body':{'metadata':{'resourceVersion':'5'},'items':[{'metadata':{'name':'s'},'data':{}}]}},"
        "{'match':'GET "
        "watch=1','lines':[{'line':{'type':'MODIFIED','object':{'metadata':{'name':'s','resourceVersion':'6'},"
        "'data':{'kubeconfig':'eA=='}}}}," HANG "]},"
        "{'match':'GET limit=','times':0,'status':403,'body':{'reason':'Forbidden','message':'no rights'}}]",
        0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *got =
        kfx_kube_wait_object(kube, "/api/v1/namespaces/x/secrets", "s", "kubeconfig", kfx_now_ms() + 8000, &err);
    if (!got)
        fail_msg("%s", err.msg);
    assert_string_equal(kfx_json_str(got, "data", "kubeconfig"), "eA==");
    assert_non_null(strstr(kfx_json_str(fake_wait(fake, "GET limit=", 1), "path"), "fieldSelector=metadata.name%3Ds"));
    assert_null(kfx_kube_wait_object(kube, "/api/v1/namespaces/x/secrets", "s", NULL, kfx_now_ms() + 300, &err));
    assert_int_equal(err.code, KFX_E_FORBIDDEN);
    assert_non_null(strstr(err.msg, "no rights"));
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_server_comes_back),
        cmocka_unit_test(test_stop_in_callback),
        cmocka_unit_test(test_client_closed_first),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_wait_object),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
