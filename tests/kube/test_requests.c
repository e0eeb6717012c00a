/* Requests against a scripted API server: verbs, errors, retries, credentials, fencing, order, end. */
#include "base/clock.h"
#include "base/file.h"
#include "base/health.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/probe.h"
#include "tests/kube/harness.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define CM "/api/v1/namespaces/x/configmaps"

static json_t *body(const char *name)
{
    return json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap", "metadata", "name", name);
}

static const char *header(const json_t *entry, const char *name)
{
    const char *value = kfx_json_str(entry, "headers", name);
    return value ? value : "";
}

static void test_verbs(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET ','times':0,'body':{'kind':'ConfigMap','data':{'a':'b'}}},"
                              "{'match':'POST ','status':201,'times':0}, {'match':'PUT ','times':0},"
                              "{'match':'PATCH ','times':0}, {'match':'DELETE ','times':0}]",
                              0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_error_t err = KFX_ERROR_INIT;

    KFX_JSON json_t *got = kfx_kube_get(kube, &err, CM "/%s", "one");
    assert_non_null(got);
    assert_string_equal(kfx_json_str(got, "data", "a"), "b");
    const json_t *seen = fake_wait(fake, "GET =" CM "/one", 1);
    assert_string_equal(header(seen, "Authorization"), "Bearer s3cr3t-token");
    assert_string_equal(header(seen, "Accept"), "application/json");
    assert_string_equal(header(seen, "User-Agent"), "kfx-test/1");

    KFX_REQUEST kfx_request_t *apply = kfx_request_new(KFX_APPLY, body("one"), CM "/one");
    apply->field_manager = kfx_xstrdup("kubeflex-a/b");
    assert_int_equal(kfx_kube_call(kube, apply, &err), 0);
    seen = fake_wait(fake, "PATCH =" CM "/one?fieldManager=kubeflex-a%2Fb&force=true", 1);
    assert_string_equal(header(seen, "Content-Type"), "application/apply-patch+yaml");
    assert_non_null(strstr(kfx_json_str(seen, "body"), "\"name\":\"one\""));

    KFX_REQUEST kfx_request_t *post = kfx_request_new(KFX_POST, body("two"), CM "?dryRun=All");
    post->field_manager = kfx_xstrdup("m");
    post->impersonate = kfx_xstrdup("system:serviceaccount:x:y");
    assert_int_equal(kfx_kube_call(kube, post, &err), 0);
    assert_int_equal(post->status, 201);
    seen = fake_wait(fake, "POST =" CM "?dryRun=All&fieldManager=m", 1);
    assert_string_equal(header(seen, "Impersonate-User"), "system:serviceaccount:x:y");

    KFX_REQUEST kfx_request_t *merge = kfx_request_new(KFX_MERGE_PATCH, body("one"), CM "/one");
    assert_int_equal(kfx_kube_call(kube, merge, &err), 0);
    assert_string_equal(header(fake_wait(fake, "PATCH =" CM "/one", 1), "Content-Type"),
                        "application/merge-patch+json");
    KFX_REQUEST kfx_request_t *patch = kfx_request_new(KFX_JSON_PATCH, json_array(), CM "/p");
    assert_int_equal(kfx_kube_call(kube, patch, &err), 0);
    assert_string_equal(header(fake_wait(fake, "PATCH =" CM "/p", 1), "Content-Type"), "application/json-patch+json");
    KFX_REQUEST kfx_request_t *put = kfx_request_new(KFX_PUT, body("one"), CM "/one");
    assert_int_equal(kfx_kube_call(kube, put, &err), 0);

    KFX_REQUEST kfx_request_t *del =
        kfx_request_new(KFX_DELETE, json_pack("{s:{s:s}}", "preconditions", "uid", "u-1"), CM "/one");
    assert_int_equal(kfx_kube_call(kube, del, &err), 0);
    seen = fake_wait(fake, "DELETE =" CM "/one", 1);
    assert_non_null(strstr(kfx_json_str(seen, "body"), "u-1"));

    KFX_REQUEST kfx_request_t *meta = kfx_request_new(KFX_GET, NULL, CM "?limit=1");
    meta->metadata_only = true;
    assert_int_equal(kfx_kube_call(kube, meta, &err), 0);
    seen = fake_wait(fake, "GET =" CM "?limit=1", 1);
    assert_non_null(strstr(header(seen, "Accept"), "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"));

    KFX_FREE char *metrics = kfx_metrics_text();
    assert_non_null(strstr(metrics, "kubeflex_api_requests_total{verb=\"create\",code=\"201\"} 1"));
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void expect(kfx_kube_t *kube, kfx_verb_t verb, const char *path, kfx_code_t code, const char *text)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(verb, verb == KFX_GET || verb == KFX_DELETE ? NULL : body("secret-body"), "%s", path);
    if (verb == KFX_APPLY)
        req->field_manager = kfx_xstrdup("m");
    assert_int_equal(kfx_kube_call(kube, req, &err), -1);
    if (err.code != code)
        fail_msg("%s: expected %s, got %s: %s", path, kfx_code_name(code), kfx_code_name(err.code), err.msg);
    if (text && !strstr(err.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, err.msg);
    assert_null(strstr(err.msg, "s3cr3t"));
    assert_null(strstr(err.msg, "secret-body"));
}

static void test_errors(void **state)
{
    (void)state;
    fake_t *fake = fake_start(
        "[{'match':'POST /exists','status':409,'body':{'reason':'AlreadyExists','message':'it is there'}},"
        "{'match':'PUT /conflict','status':409,'body':{'reason':'Conflict','message':'it changed'}},"
        "{'match':'GET /forbidden','status':403,'body':{'reason':'Forbidden','message':'no rights'}},"
        "{'match':'GET /gone','status':410,'body':{'reason':'Expired'}},"
        "{'match':'PATCH /invalid','status':422,'body':{'reason':'Invalid','message':'bad field'}},"
        "{'match':'PATCH /secrets/s','status':422,'body':{'reason':'Invalid','message':'value s3cr3t-value is bad',"
        "'details':{'causes':[{'field':'data.x','reason':'FieldValueInvalid','message':'s3cr3t-value'}]}}},"
        "{'match':'GET /unauthorized','status':401,'times':2,'body':{'reason':'Unauthorized'}},"
        "{'match':'GET /broken','body':'{\\\"a\\\":'},"
        "{'match':'GET /html','status':502,'times':0,'body':'<html>'}]",
        0);
    kfx_kube_t *kube = fake_client(fake);
    expect(kube, KFX_GET, "/api/v1/namespaces/none", KFX_E_NOT_FOUND,
           "get /api/v1/namespaces/none at https://127.0.0.1:");
    expect(kube, KFX_POST, "/exists", KFX_E_EXISTS, "AlreadyExists (HTTP 409): it is there");
    expect(kube, KFX_PUT, "/conflict", KFX_E_CONFLICT, "it changed");
    expect(kube, KFX_GET, "/forbidden", KFX_E_FORBIDDEN, "no rights");
    expect(kube, KFX_GET, "/gone", KFX_E_GONE, NULL);
    expect(kube, KFX_APPLY, "/invalid", KFX_E_INVALID, "bad field");
    expect(kube, KFX_APPLY, "/secrets/s", KFX_E_INVALID, "data.x: FieldValueInvalid");
    expect(kube, KFX_GET, "/unauthorized", KFX_E_UNAUTHORIZED, NULL);
    assert_int_equal(fake_count(fake, "GET /unauthorized"), 1); /* no token file: asking again cannot help */
    expect(kube, KFX_GET, "/broken", KFX_E_PROTOCOL, NULL);
    expect(kube, KFX_GET, "no-slash", KFX_E_INVALID, NULL);
    expect(kube, KFX_GET, "/a/../b", KFX_E_INVALID, NULL);

    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *once = kfx_request_new(KFX_GET, NULL, "/html");
    once->no_retry = true;
    assert_int_equal(kfx_kube_call(kube, once, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_int_equal(fake_count(fake, "GET /html"), 1);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void test_retries(void **state)
{
    (void)state;
    fake_t *fake = fake_start(
        "[{'match':'POST /busy','status':429,'headers':{'Retry-After':'1'},'body':{'reason':'TooManyRequests'}},"
        "{'match':'POST /busy','status':201},"
        "{'match':'PATCH /five','status':500,'times':2}, {'match':'PATCH /five'},"
        "{'match':'PUT /blind','status':500,'times':0},"
        "{'match':'DELETE /cut','close':true}, {'match':'DELETE /cut'},"
        "{'match':'POST /once','close':true,'times':0},"
        "{'match':'GET /late','status':429,'times':0,'headers':{'Retry-After':'30'}}]",
        0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_error_t err = KFX_ERROR_INIT;

    KFX_REQUEST kfx_request_t *busy = kfx_request_new(KFX_POST, body("a"), "/busy");
    int64_t before = kfx_now_ms();
    assert_int_equal(kfx_kube_call(kube, busy, &err), 0);
    assert_true(kfx_now_ms() - before >= 1000); /* what the server asked for */
    assert_int_equal(fake_count(fake, "POST /busy"), 2);

    KFX_REQUEST kfx_request_t *five = kfx_request_new(KFX_APPLY, body("a"), "/five");
    five->field_manager = kfx_xstrdup("m");
    assert_int_equal(kfx_kube_call(kube, five, &err), 0);
    assert_int_equal(fake_count(fake, "PATCH /five"), 3);

    expect(kube, KFX_PUT, "/blind", KFX_E_UNAVAILABLE, "HTTP 500"); /* no resourceVersion: not repeated */
    assert_int_equal(fake_count(fake, "PUT /blind"), 1);

    KFX_REQUEST kfx_request_t *cut =
        kfx_request_new(KFX_DELETE, json_pack("{s:{s:s}}", "preconditions", "uid", "u"), "/cut");
    assert_int_equal(kfx_kube_call(kube, cut, &err), 0);
    assert_int_equal(fake_count(fake, "DELETE /cut"), 2);

    KFX_REQUEST kfx_request_t *once = kfx_request_new(KFX_POST, body("a"), "/once");
    once->once = true;
    assert_int_equal(kfx_kube_call(kube, once, &err), -1);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
    assert_non_null(strstr(err.msg, "effect is unknown"));
    assert_int_equal(fake_count(fake, "POST /once"), 1);

    KFX_REQUEST kfx_request_t *late = kfx_request_new(KFX_GET, NULL, "/late");
    late->timeout_ms = 2000;
    before = kfx_now_ms();
    assert_int_equal(kfx_kube_call(kube, late, &err), -1); /* does not sit out a pause that ends too late */
    assert_int_equal(err.code, KFX_E_BUSY);
    assert_int_equal(late->retry_after_ms, 30000);
    assert_true(kfx_now_ms() - before < 1500);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void test_deadline(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET /slow','delay_ms':20000,'times':0}]", 0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "/slow");
    req->timeout_ms = 300;
    int64_t before = kfx_now_ms();
    assert_int_equal(kfx_kube_call(kube, req, &err), -1);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
    assert_true(kfx_now_ms() - before >= 300);
    assert_true(kfx_now_ms() - before < 5000);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void test_token_rotation(void **state)
{
    (void)state;
    fake_t *fake =
        fake_start("[{'match':'GET /one'}, {'match':'GET /two','status':401,'body':{'reason':'Unauthorized'}},"
                   "{'match':'GET /two'}]",
                   0);
    kfx_kube_config_t *config = fake_config(fake->port);
    config->token_file = kfx_xasprintf("%s/token", harness_dir());
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_file_write_atomic(config->token_file, "old\n", 4, 0600, &err), 0);
    KFX_FREE char *file = kfx_xstrdup(config->token_file);
    kfx_kube_t *kube = kfx_kube_new(config, "kfx-test/1", &err);
    json_t *got = kfx_kube_get(kube, &err, "/one");
    assert_non_null(got);
    json_decref(got);
    assert_int_equal(kfx_file_write_atomic(file, "new\n", 4, 0600, &err), 0);
    got = kfx_kube_get(kube, &err, "/two");
    assert_non_null(got);
    json_decref(got);
    assert_string_equal(header(fake_wait(fake, "GET /one", 1), "Authorization"), "Bearer old");
    assert_string_equal(header(fake_wait(fake, "GET /two", 1), "Authorization"), "Bearer old");
    assert_string_equal(header(fake_wait(fake, "GET /two", 2), "Authorization"), "Bearer new");
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

typedef struct {
    int port;
    fake_t *fake;
} later_t;

/* The server comes up while the client is trying: after the client's first refused attempt, which a metric shows. */
static void *start_later(void *arg)
{
    later_t *later = arg;
    for (int i = 0; i < 2000; i++) {
        char *text = kfx_metrics_text();
        bool refused = strstr(text, "kubeflex_api_requests_total{verb=\"delete\",code=\"error\"}") != NULL;
        free(text);
        if (refused)
            break;
        poll(NULL, 0, 2);
    }
    later->fake = fake_start("[{'match':'DELETE /up'}]", later->port);
    return NULL;
}

static void test_refused_then_up(void **state)
{
    (void)state;
    later_t later = {.port = free_port()};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_t *kube = kfx_kube_new(fake_config(later.port), "kfx-test/1", &err);
    assert_non_null(kube);
    KFX_REQUEST kfx_request_t *now = kfx_request_new(KFX_GET, NULL, "/up");
    now->no_retry = true;
    assert_int_equal(kfx_kube_call(kube, now, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    pthread_t thread;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_DELETE, NULL, "/up"); /* surely unsent: any verb is repeated */
    assert_int_equal(pthread_create(&thread, NULL, start_later, &later), 0);
    int rc = kfx_kube_call(kube, req, &err);
    pthread_join(thread, NULL);
    if (rc != 0)
        fail_msg("%s", err.msg);
    kfx_kube_destroy(&kube);
    fake_stop(&later.fake);
}

static bool gate(void *arg)
{
    return atomic_load((atomic_bool *)arg);
}

static void test_gate(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'PATCH ','times':0}, {'match':'GET ','times':0}]", 0);
    kfx_kube_t *kube = fake_client(fake);
    atomic_bool open = true;
    kfx_kube_set_gate(kube, gate, &open);
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_APPLY, body("a"), CM "/a");
    req->field_manager = kfx_xstrdup("m");
    assert_int_equal(kfx_kube_call(kube, req, &err), 0);
    fake_wait(fake, "PATCH =" CM "/a?fieldManager=m&force=true&timeout=2s", 1);

    open = false;
    assert_int_equal(kfx_kube_call(kube, req, &err), -1);
    assert_int_equal(err.code, KFX_E_FENCED);
    KFX_JSON json_t *read = kfx_kube_get(kube, &err, CM "/a"); /* reads are free; it also flushes the server's log */
    assert_non_null(read);
    fake_wait(fake, "GET " CM, 1);
    assert_int_equal(fake_count(fake, "PATCH "), 1);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void test_batch(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'PATCH /bad-','times':0,'status':422,'body':{'reason':'Invalid'}},"
                              "{'match':'PATCH ','times':0}]",
                              0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_request_t *reqs[100];
    for (int i = 0; i < 100; i++) {
        reqs[i] = kfx_request_new(KFX_APPLY, body("a"), "/%s-%d", i % 10 == 0 ? "bad" : "good", i);
        reqs[i]->field_manager = kfx_xstrdup("m");
    }
    assert_int_equal(kfx_kube_batch(kube, reqs, 100), 10);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(reqs[i]->error.code, i % 10 == 0 ? KFX_E_INVALID : KFX_OK);
        kfx_request_free(reqs[i]);
    }
    assert_int_equal(fake_count(fake, "PATCH "), 100);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void count_done(void *ctx, kfx_request_t *req)
{
    (*(int *)ctx)++;
    if (req->error.code == KFX_E_CANCELED)
        (*(int *)ctx) += 100;
    kfx_request_free(req);
}

static void dispatch_until(kfx_mailbox_t *box, const int *value, int wanted)
{
    int64_t deadline = kfx_now_ms() + 30000;
    while (*value < wanted) {
        zmq_pollitem_t item = {.socket = zsock_resolve(kfx_mailbox_sock(box)), .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, 100);
        kfx_mailbox_dispatch(box);
        if (kfx_now_ms() > deadline)
            fail_msg("%d of %d callbacks ran", *value, wanted);
    }
}

static void test_urgent_first(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET /','times':0,'delay_ms':20}]", 0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_mailbox_t *box = kfx_mailbox_new(kube);
    int done = 0;
    for (int i = 0; i < 40; i++)
        kfx_kube_submit(box, kfx_request_new(KFX_GET, NULL, "/normal-%d", i), count_done, &done);
    kfx_request_t *urgent = kfx_request_new(KFX_GET, NULL, "/urgent");
    urgent->urgent = true;
    kfx_kube_submit(box, urgent, count_done, &done);
    dispatch_until(box, &done, 41);
    assert_int_equal(done, 41);
    assert_int_equal(fake_count(fake, "GET "), 41);
    size_t at = SIZE_MAX, i;
    const json_t *entry;
    json_array_foreach (fake->log, i, entry) {
        if (strcmp(kfx_json_str(entry, "path"), "/urgent") == 0)
            at = i;
    }
    assert_true(at < 33); /* after those in flight, before those that waited */
    kfx_mailbox_destroy(&box);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void *call_hanging(void *arg)
{
    kfx_kube_t *kube = arg;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "/hang-call");
    (void)kfx_kube_call(kube, req, &err);
    kfx_request_free(req);
    return (void *)(intptr_t)err.code;
}

static void test_destroy_with_pending(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET /hang','times':0,'delay_ms':30000}]", 0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_mailbox_t *box = kfx_mailbox_new(kube);
    kfx_mailbox_t *gone = kfx_mailbox_new(kube);
    int done = 0, never = 0;
    for (int i = 0; i < 20; i++)
        kfx_kube_submit(box, kfx_request_new(KFX_GET, NULL, "/hang-%d", i), count_done, &done);
    kfx_kube_submit(gone, kfx_request_new(KFX_GET, NULL, "/hang-x"), count_done, &never);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call_hanging, kube), 0);
    fake_wait(fake, "GET /hang-", 3); /* some are on their way */
    kfx_mailbox_destroy(&gone);
    int64_t before = kfx_now_ms();
    kfx_kube_destroy(&kube);
    void *code = NULL;
    pthread_join(thread, &code);
    assert_true(kfx_now_ms() - before < 2000);
    assert_int_equal((intptr_t)code, KFX_E_CANCELED);
    dispatch_until(box, &done, 20 * 101);
    assert_int_equal(done, 20 * 101); /* each one, with CANCELED */
    assert_int_equal(never, 0);
    kfx_kube_submit(box, kfx_request_new(KFX_GET, NULL, "/after"), count_done, &done);
    dispatch_until(box, &done, 21 * 101); /* a closed client answers at once */
    kfx_mailbox_destroy(&box);
    fake_stop(&fake);
}

static void test_names_and_certificates(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET ','times':0}]", 0);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *config = fake_config(fake->port);
    config->tls_server_name = kfx_xstrdup("plane.example");
    config->client_cert_pem = harness_file("client.pem");
    config->client_key_pem = harness_file("client.key");
    KFX_FREE char *host = kfx_xasprintf("127.0.0.1:%d", fake->port);
    kfx_kube_t *kube = kfx_kube_new(config, "kfx-test/1", &err);
    json_t *got = kfx_kube_get(kube, &err, "/named");
    if (!got)
        fail_msg("%s", err.msg);
    json_decref(got);
    const json_t *seen = fake_wait(fake, "GET /named", 1);
    assert_string_equal(kfx_json_str(seen, "sni"), "plane.example");
    assert_string_equal(header(seen, "Host"), host);
    assert_string_equal(kfx_json_str(seen, "peer", "0", "0", "1"), "test-client");
    kfx_kube_destroy(&kube);

    config = fake_config(fake->port); /* a name the certificate does not have */
    config->tls_server_name = kfx_xstrdup("other.example");
    kube = kfx_kube_new(config, "kfx-test/1", &err);
    int64_t before = kfx_now_ms();
    assert_null(kfx_kube_get(kube, &err, "/wrong-name"));
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_true(kfx_now_ms() - before < 5000); /* no retry until the deadline */
    kfx_kube_destroy(&kube);
    assert_int_equal(fake_count(fake, "GET /wrong-name"), 0);
    fake_stop(&fake);
}

/* The tunnel goes to the server; the name in it is the plane's. */
static void test_proxy(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET ','times':0}]", 0);
    proxy_t proxy;
    proxy_start(&proxy, NULL, NULL);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *config = fake_config(fake->port);
    KFX_FREE char *server = kfx_xstrdup(config->server + strlen("https://"));
    config->proxy_url = kfx_xasprintf("http://127.0.0.1:%d", proxy.port);
    config->tls_server_name = kfx_xstrdup("plane.example");
    kfx_kube_t *kube = kfx_kube_new(config, "kfx-test/1", &err);
    KFX_JSON json_t *got = kfx_kube_get(kube, &err, "/proxied");
    if (!got)
        fail_msg("%s", err.msg);
    char target[128];
    assert_int_equal(proxy_do(&proxy, "count", target), 1);
    assert_string_equal(target, server);
    assert_string_equal(kfx_json_str(fake_wait(fake, "GET /proxied", 1), "sni"), "plane.example");
    kfx_kube_destroy(&kube);
    proxy_stop(&proxy);
    fake_stop(&fake);
}

/* Small on the wire, too large when it is unpacked. */
static void test_answer_bound(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET /huge','gzip_mb':65,'times':0}, {'match':'GET /large','gzip_mb':1}]", 0);
    kfx_kube_t *kube = fake_client(fake);
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *large = kfx_request_new(KFX_GET, NULL, "/large");
    assert_int_equal(kfx_kube_call(kube, large, &err), 0); /* so gzip is understood */
    expect(kube, KFX_GET, "/huge", KFX_E_PROTOCOL, "larger than 64 MiB");
    assert_int_equal(fake_count(fake, "GET /huge"), 1);
    kfx_kube_destroy(&kube);
    fake_stop(&fake);
}

static void test_probe(void **state)
{
    (void)state;
    fake_t *fake = fake_start("[{'match':'GET /readyz','status':500}, {'match':'GET /readyz','status':401},"
                              "{'match':'GET /readyz','delay_ms':5000}, {'match':'GET /readyz','times':0}]",
                              0);
    KFX_FREE char *ca = harness_file("ca.pem");
    KFX_FREE char *to = kfx_xasprintf("127.0.0.1:%d", fake->port);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_probe_t probe = {.host = "127.0.0.1", .port = fake->port, .ca_pem = ca, .timeout_ms = 1000};
    assert_int_equal(kfx_probe_readyz(&probe, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_int_equal(kfx_probe_readyz(&probe, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAUTHORIZED);
    probe.timeout_ms = 200;
    assert_int_equal(kfx_probe_readyz(&probe, &err), -1);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
    probe.timeout_ms = 2000;
    assert_int_equal(kfx_probe_readyz(&probe, &err), 0);
    probe = (kfx_probe_t){.host = "plane.example", .ca_pem = ca, .timeout_ms = 2000, .connect = to};
    assert_int_equal(kfx_probe_readyz(&probe, &err), 0);
    assert_string_equal(kfx_json_str(fake_wait(fake, "GET /readyz", 5), "sni"), "plane.example");
    probe.host = "other.example";
    assert_int_equal(kfx_probe_readyz(&probe, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    fake_stop(&fake);
    probe = (kfx_probe_t){.host = "127.0.0.1", .port = free_port(), .ca_pem = ca};
    assert_int_equal(kfx_probe_readyz(&probe, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),          cmocka_unit_test(test_errors),
        cmocka_unit_test(test_retries),        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_token_rotation), cmocka_unit_test(test_refused_then_up),
        cmocka_unit_test(test_gate),           cmocka_unit_test(test_batch),
        cmocka_unit_test(test_urgent_first),   cmocka_unit_test(test_destroy_with_pending),
        cmocka_unit_test(test_proxy),          cmocka_unit_test(test_answer_bound),
        cmocka_unit_test(test_probe),          cmocka_unit_test(test_names_and_certificates),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
