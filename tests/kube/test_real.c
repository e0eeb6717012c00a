/* The HTTP/2 path against a real kube-apiserver: $KFX_TEST_KUBECONFIG (admin rights; namespace kube-test is made and
 * removed), else skipped. What only a real server shows: multiplexing, server-side apply, watch cache, frozen
 * connections. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/health.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/apply.h"
#include "kube/internal.h"
#include "tests/kube/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define NS "kube-test"
#define CMS "/api/v1/namespaces/" NS "/configmaps"

static kfx_kube_t *kube;

static kfx_kube_config_t *real_config(void)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_config_t *config = kfx_kube_config_load(getenv("KFX_TEST_KUBECONFIG"), NULL, &err);
    if (!config)
        fail_msg("%s", err.msg);
    return config;
}

static json_t *configmap(const char *name, const char *value)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap", "metadata",
                     "name", name, "namespace", NS, "labels", "test", "kube", "data", "v", value);
}

static void apply(kfx_kube_t *client, const char *name, const char *value)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_APPLY, configmap(name, value), CMS "/%s", name);
    req->field_manager = kfx_xstrdup("kubeflex-test");
    if (kfx_kube_call(client, req, &err) != 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    kfx_error_t err = KFX_ERROR_INIT;
    kube = kfx_kube_new(real_config(), "kfx-kube-test/1", &err);
    if (!kube)
        fail_msg("%s", err.msg);
    /* An earlier run's Namespace may be there (it was killed) or still going away. */
    int64_t deadline = kfx_now_ms() + 60000;
    for (;;) {
        json_t *body =
            json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Namespace", "metadata", "name", NS);
        KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_POST, body, "/api/v1/namespaces");
        if (kfx_kube_call(kube, req, &err) == 0)
            return 0;
        KFX_JSON json_t *there = kfx_kube_get(kube, NULL, "/api/v1/namespaces/" NS);
        const char *phase = kfx_json_str(there, "status", "phase");
        if (phase && strcmp(phase, "Active") == 0)
            return 0;
        if (kfx_now_ms() > deadline)
            fail_msg("%s", err.msg);
        poll(NULL, 0, 200);
    }
}

static int teardown(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_DELETE, NULL, "/api/v1/namespaces/" NS);
    if (kfx_kube_call(kube, req, &err) != 0)
        fail_msg("%s", err.msg);
    kfx_kube_destroy(&kube);
    return 0;
}

static void expect_code(kfx_verb_t verb, json_t *body, const char *path, kfx_code_t code)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *req = kfx_request_new(verb, body, "%s", path);
    if (verb == KFX_APPLY)
        req->field_manager = kfx_xstrdup("kubeflex-test");
    int rc = kfx_kube_call(kube, req, &err);
    if (rc == 0 || err.code != code)
        fail_msg("%s: expected %s, got %s: %s", path, kfx_code_name(code), kfx_code_name(err.code), err.msg);
}

static void test_verbs(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    apply(kube, "a", "1");
    KFX_JSON json_t *got = kfx_kube_get(kube, &err, CMS "/a");
    assert_string_equal(kfx_json_str(got, "data", "v"), "1");
    assert_string_equal(kfx_json_str(got, "metadata", "managedFields", "0", "manager"), "kubeflex-test");

    KFX_REQUEST kfx_request_t *meta = kfx_request_new(KFX_GET, NULL, CMS "/a");
    meta->metadata_only = true;
    assert_int_equal(kfx_kube_call(kube, meta, &err), 0);
    assert_string_equal(kfx_json_str(meta->answer, "kind"), "PartialObjectMetadata");
    assert_null(kfx_json_get(meta->answer, "data"));

    expect_code(KFX_POST, configmap("a", "2"), CMS, KFX_E_EXISTS);
    expect_code(KFX_GET, NULL, CMS "/none", KFX_E_NOT_FOUND);
    expect_code(KFX_APPLY, configmap("A_B", "2"), CMS "/A_B", KFX_E_INVALID);
    json_t *stale = configmap("a", "3");
    kfx_json_put(stale, json_string("1"), "metadata", "resourceVersion");
    expect_code(KFX_PUT, stale, CMS "/a", KFX_E_CONFLICT);
    expect_code(KFX_DELETE, json_pack("{s:{s:s}}", "preconditions", "uid", "00000000-0000-0000-0000-000000000000"),
                CMS "/a", KFX_E_CONFLICT);
    KFX_REQUEST kfx_request_t *nobody = kfx_request_new(KFX_GET, NULL, CMS "/a");
    nobody->impersonate = kfx_xstrdup("somebody");
    assert_int_equal(kfx_kube_call(kube, nobody, &err), -1);
    assert_int_equal(err.code, KFX_E_FORBIDDEN);

    KFX_REQUEST kfx_request_t *merge =
        kfx_request_new(KFX_MERGE_PATCH, json_pack("{s:{s:s}}", "data", "v", "4"), CMS "/a");
    assert_int_equal(kfx_kube_call(kube, merge, &err), 0);
    KFX_REQUEST kfx_request_t *patch = kfx_request_new(
        KFX_JSON_PATCH, json_pack("[{s:s, s:s, s:s}]", "op", "test", "path", "/data/v", "value", "5"), CMS "/a");
    assert_int_equal(kfx_kube_call(kube, patch, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

static void test_batch(void **state)
{
    (void)state;
    kfx_kube_set_gate(kube, always, NULL); /* timeout=2s must be something the server takes */
    kfx_request_t *reqs[100];
    for (int i = 0; i < 100; i++) {
        KFX_FREE char *name = kfx_xasprintf("batch-%d", i);
        reqs[i] = kfx_request_new(KFX_APPLY, configmap(name, "1"), CMS "/%s", name);
        reqs[i]->field_manager = kfx_xstrdup("kubeflex-test");
        reqs[i]->timeout_ms = 10000;
    }
    size_t failed = kfx_kube_batch(kube, reqs, 100);
    for (int i = 0; i < 100; i++) {
        if (reqs[i]->error.code != KFX_OK)
            print_message("%s\n", reqs[i]->error.msg);
        kfx_request_free(reqs[i]);
    }
    assert_int_equal(failed, 0);
    kfx_kube_set_gate(kube, NULL, NULL);
}

/* ---- watches
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned syncs, objects, modified, deleted, errors;
    char last[64];
} counts_t;

static void *reduce(void *ctx, const json_t *object)
{
    (void)ctx;
    return kfx_xstrdup(kfx_json_str(object, "metadata", "name"));
}

static void on_event(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    counts_t *self = ctx;
    self->syncs += event == KFX_WATCH_SYNC_END;
    self->objects += event == KFX_WATCH_ADDED;
    self->modified += event == KFX_WATCH_MODIFIED;
    self->deleted += event == KFX_WATCH_DELETED;
    self->errors += event == KFX_WATCH_ERROR;
    if (err)
        print_message("watch: %s\n", err->msg);
    if (item)
        kfx_copy(self->last, sizeof self->last, item);
    free(item);
}

static bool dispatch_until(kfx_mailbox_t *box, const unsigned *value, unsigned wanted, int limit_ms)
{
    int64_t deadline = kfx_now_ms() + limit_ms;
    while (*value < wanted && kfx_now_ms() < deadline) {
        zmq_pollitem_t item = {.socket = zsock_resolve(kfx_mailbox_sock(box)), .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, 100);
        kfx_mailbox_dispatch(box);
    }
    return *value >= wanted;
}

static kfx_watch_t *watch_configmaps(kfx_mailbox_t *box, counts_t *counts, bool metadata_only)
{
    const kfx_watch_spec_t spec = {.path = CMS,
                                   .label_selector = "test=kube",
                                   .metadata_only = metadata_only,
                                   .reduce = reduce,
                                   .on_event = on_event,
                                   .ctx = counts};
    return kfx_watch_start(box, &spec);
}

static void test_watch(void **state)
{
    (void)state;
    counts_t full = {0}, meta = {0};
    kfx_mailbox_t *box = kfx_mailbox_new(kube);
    kfx_watch_t *a = watch_configmaps(box, &full, false), *b = watch_configmaps(box, &meta, true);
    assert_true(dispatch_until(box, &full.syncs, 1, 10000) && dispatch_until(box, &meta.syncs, 1, 10000));
    unsigned before = full.objects;
    assert_int_equal(before, meta.objects);
    apply(kube, "watched", "1");
    apply(kube, "watched", "2");
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *del = kfx_request_new(KFX_DELETE, NULL, CMS "/watched");
    assert_int_equal(kfx_kube_call(kube, del, &err), 0);
    assert_true(dispatch_until(box, &full.deleted, 1, 10000) && dispatch_until(box, &meta.deleted, 1, 10000));
    assert_int_equal(full.objects, before + 1);
    assert_int_equal(full.modified, 1);
    assert_int_equal(meta.modified, 1);
    assert_string_equal(meta.last, "watched");
    assert_int_equal(full.errors + meta.errors, 0);
    kfx_watch_stop(&a);
    kfx_watch_stop(&b);
    kfx_mailbox_destroy(&box);
}

static void test_wait_object(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *got = kfx_kube_wait_object(kube, CMS, "kube-root-ca.crt", "ca.crt", kfx_now_ms() + 15000, &err);
    if (!got)
        fail_msg("%s", err.msg);
    assert_null(kfx_kube_wait_object(kube, CMS, "never", NULL, kfx_now_ms() + 300, &err));
    assert_int_equal(err.code, KFX_E_TIMEOUT);
}

/* ---- a connection that freezes, one that is cut
 * ------------------------------------------------------------------------------ */

static void test_frozen_connection(void **state)
{
    (void)state;
    kfx_kube_config_t *config = real_config();
    char host[128], port[16] = "443";
    assert_true(sscanf(config->server, "https://%127[^:/]:%15[0-9]", host, port) >= 1);
    proxy_t proxy;
    proxy_start(&proxy, host, port);
    free(config->server);
    config->server = kfx_xasprintf("https://127.0.0.1:%d", proxy.port);
    if (!config->tls_server_name)
        config->tls_server_name = kfx_xstrdup(host);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_t *through = kfx_kube_new(config, "kfx-kube-test/1", &err);
    if (!through)
        fail_msg("%s", err.msg);
    counts_t counts = {0};
    kfx_mailbox_t *box = kfx_mailbox_new(through);
    kfx_watch_t *watch = watch_configmaps(box, &counts, true);
    assert_true(dispatch_until(box, &counts.syncs, 1, 10000));
    unsigned objects = counts.objects;

    apply(kube, "frozen-0", "1"); /* proves that the stream itself is there before it freezes */
    assert_true(dispatch_until(box, &counts.objects, objects + 1, 10000));
    assert_int_equal(proxy_do(&proxy, "count", NULL), 2); /* one for requests, one for watches */
    proxy_do(&proxy, "freeze", NULL);
    int64_t frozen_at = kfx_now_ms();
    apply(kube, "frozen-1", "1"); /* by the other client: the watch cannot see it until it notices */
    assert_true(dispatch_until(box, &counts.objects, objects + 2, 25000));
    print_message("a frozen watch was back after %lld ms\n", (long long)(kfx_now_ms() - frozen_at));
    assert_int_equal(counts.syncs, 1); /* resumed, not listed */
    apply(through, "frozen-2", "1");   /* requests too */
    assert_true(dispatch_until(box, &counts.objects, objects + 3, 10000));

    /* A request that gets no answer makes it look at once, at both connections. */
    proxy_do(&proxy, "freeze", NULL);
    frozen_at = kfx_now_ms();
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, CMS "/frozen-0");
    req->timeout_ms = 500;
    assert_int_equal(kfx_kube_call(through, req, &err), -1);
    assert_int_equal(err.code, KFX_E_TIMEOUT);
    apply(through, "frozen-4", "1");
    print_message("a frozen request connection was back after %lld ms\n", (long long)(kfx_now_ms() - frozen_at));
    assert_true(dispatch_until(box, &counts.objects, objects + 4, 25000));
    print_message("and the watch after %lld ms\n", (long long)(kfx_now_ms() - frozen_at));

    proxy_do(&proxy, "cut", NULL);
    apply(through, "frozen-3", "1"); /* an apply is repeated by itself */
    assert_true(dispatch_until(box, &counts.objects, objects + 5, 10000));
    assert_int_equal(counts.syncs, 1);
    kfx_watch_stop(&watch);
    kfx_mailbox_destroy(&box);
    kfx_kube_destroy(&through);
    proxy_stop(&proxy);
}

int main(void)
{
    if (!getenv("KFX_TEST_KUBECONFIG")) {
        fprintf(stderr, "skipped: KFX_TEST_KUBECONFIG is not set\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_wait_object),
        cmocka_unit_test(test_frozen_connection),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
