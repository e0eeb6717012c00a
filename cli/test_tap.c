/* kflex tap without a bus: filters, a message as a line, the table of figures. */
#include "cli/tap.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static kfx_tap_seen_t seen(kfx_kind_t kind, bool out, const char *role, const char *peer, const char *service,
                           const char *key)
{
    kfx_tap_seen_t s = {.meta = {.time_us = 1700000000123456, .out = out}, .msg = {.kind = kind}};
    kfx_copy(s.meta.role, sizeof s.meta.role, role);
    kfx_copy(s.meta.peer, sizeof s.meta.peer, peer);
    kfx_copy(s.msg.env.sender, sizeof s.msg.env.sender, out ? "kubeflex-bus-6d-abcde" : peer);
    kfx_copy(s.msg.env.service, sizeof s.msg.env.service, service);
    kfx_copy(s.msg.env.key, sizeof s.msg.env.key, key);
    return s;
}

static bool match(const char *key, const char *type, const char *kind, const char *from, const kfx_tap_seen_t *s)
{
    kfx_opts_t opts;
    kfx_opts_init(&opts);
    opts.tap.key = key;
    opts.tap.type = type;
    opts.tap.kind = kind;
    opts.tap.from = from;
    kfx_tap_filter_t filter;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_tap_filter_init(&filter, &opts, &err), 0);
    return kfx_tap_filter_match(&filter, s);
}

static void test_filters(void **state)
{
    (void)state;
    kfx_tap_seen_t task =
        seen(KFX_TASK, true, "reconciler:k8s", "kubeflex-reconciler-k8s-7d-x2x4z", "reconcile.k8s", "cp1");
    kfx_tap_seen_t done = seen(KFX_DONE, false, "storage", "kubeflex-storage-agent-5-q9", "storage", "cp2");
    kfx_tap_seen_t ping = seen(KFX_PING, false, "reconciler:k8s", "w1", "", "");
    assert_true(match(NULL, NULL, NULL, NULL, &task));
    assert_false(match(NULL, NULL, NULL, NULL, &ping));
    assert_true(match(NULL, NULL, "ping", NULL, &ping));
    assert_true(match(NULL, "k8s", "PING,PONG", NULL, &ping));
    assert_false(match(NULL, "k3s", "PING", NULL, &ping));
    assert_true(match("cp1", NULL, NULL, NULL, &task));
    assert_true(match("cp*", NULL, NULL, NULL, &task));
    assert_false(match("cp", NULL, NULL, NULL, &task));
    assert_false(match("cp2", NULL, NULL, NULL, &task));
    assert_true(match(NULL, NULL, "DONE,TASK", NULL, &task));
    assert_false(match(NULL, NULL, "DONE", NULL, &task));
    assert_true(match(NULL, "k8s", NULL, NULL, &task));
    assert_false(match(NULL, "storage", NULL, NULL, &task));
    assert_true(match(NULL, "storage", NULL, NULL, &done));
    assert_false(match(NULL, "k8s", NULL, NULL, &done));
    assert_true(match(NULL, NULL, NULL, "bus", &task));
    assert_true(match(NULL, NULL, NULL, "kubeflex-bus*", &task));
    assert_false(match(NULL, NULL, NULL, "reconciler:k8s", &task));
    assert_true(match(NULL, NULL, NULL, "storage", &done));
    assert_true(match(NULL, NULL, NULL, "storage/q9", &done));
    assert_true(match(NULL, NULL, NULL, "kubeflex-storage-agent-5-q9", &done));
    assert_false(match(NULL, NULL, NULL, "bus", &done));
}

/* A message about a plane of a type may go to the storage service: the digest says which type it is. */
static void test_type_of_the_digest(void **state)
{
    (void)state;
    kfx_digest_t digest = {.type = "k8s"};
    kfx_tap_seen_t event = seen(KFX_EVENT, false, "watcher", "watcher-1", "storage", "cp1");
    event.msg.payload = kfx_digest_encode(&digest);
    assert_true(match(NULL, "k8s", NULL, NULL, &event));
    assert_false(match(NULL, "ocm", NULL, NULL, &event));
    kfx_msg_release(&event.msg);
}

static void test_bad_filters(void **state)
{
    (void)state;
    kfx_opts_t opts;
    kfx_opts_init(&opts);
    kfx_tap_filter_t filter;
    kfx_error_t err = KFX_ERROR_INIT;
    opts.tap.kind = "TASK,DUNE";
    assert_int_equal(kfx_tap_filter_init(&filter, &opts, &err), -1);
    assert_non_null(strstr(err.msg, "\"DUNE\""));
    opts.tap.kind = NULL;
    opts.tap.type = "k9s";
    assert_int_equal(kfx_tap_filter_init(&filter, &opts, &err), -1);
    assert_non_null(strstr(err.msg, "\"k9s\""));
}

static void test_line(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    kfx_tap_seen_t task =
        seen(KFX_TASK, true, "reconciler:k8s", "kubeflex-reconciler-k8s-7d-x2x4z", "reconcile.k8s", "cp1");
    task.msg.env.attempt = 2;
    task.msg.env.seq = 9;
    task.meta.timed = true;
    task.meta.latency_ms = 3;
    kfx_digest_t digest = {.type = "k8s"};
    task.msg.payload = kfx_digest_encode(&digest);
    KFX_FREE char *line = kfx_tap_line(&task);
    assert_string_equal(line,
                        "22:13:20.123  bus                      reconciler:k8s/x2x4z     TASK     reconcile.k8s    "
                        "cp1                    2      3ms      10B  seq=9 type=k8s children=0 ready=0");
    kfx_msg_release(&task.msg);

    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    kfx_result_condition(result, "Synced", false, "Test\x1b", "message");
    kfx_tap_seen_t done = seen(KFX_DONE, false, "storage", "w1", "storage", "cp2");
    done.msg.env.outcome = KFX_OUTCOME_RETRY;
    done.msg.env.retry_after_ms = 250;
    done.msg.payload = kfx_result_encode(result);
    KFX_FREE char *text = kfx_tap_line(&done);
    assert_non_null(strstr(text, "storage/w1               bus                      DONE     storage          cp2"));
    assert_non_null(strstr(text, "retry again=250ms Synced=False/Test")); /* and no escape character */
    assert_null(strchr(text, '\x1b'));
    kfx_msg_release(&done.msg);
    free(result);

    kfx_tap_seen_t bad = seen(KFX_DONE, false, "storage", "w1", "storage", "cp2");
    bad.msg.payload = zframe_new("\xc1", 1);
    KFX_FREE char *unreadable = kfx_tap_line(&bad);
    assert_non_null(strstr(unreadable, "(unreadable result)"));
    kfx_msg_release(&bad.msg);
}

static void test_board(void **state)
{
    (void)state;
    kfx_tap_board_t board = {0};
    kfx_tap_stats_t s = {.service = "storage", .time_us = 1000000, .tasks = 10, .events = 20, .workers = 1};
    kfx_tap_board_take(&board, &(kfx_tap_stats_t){.service = "reconcile.k3s", .time_us = 1000000});
    kfx_tap_board_take(&board, &s);
    s.time_us += 2000000;
    s.tasks = 30;
    s.oldest_ms = 12000;
    s.run_p99_ms = 77;
    kfx_tap_board_take(&board, &s);
    KFX_FREE char *table = kfx_tap_board_text(&board);
    assert_non_null(strstr(table, "storage "));
    assert_null(strstr(table, "reconcile.k3s")); /* nobody uses it */
    assert_non_null(strstr(table, "12s"));
    assert_non_null(strstr(table, "0/77ms"));
    KFX_JSON json_t *json = kfx_tap_board_json(&board, 1);
    assert_non_null(json);
    assert_true(json_real_value(json_object_get(json, "tasksPerSecond")) > 9.99 &&
                json_real_value(json_object_get(json, "tasksPerSecond")) < 10.01);
    /* A bus that was started again counts from nothing: no negative rates. */
    s.tasks = 5;
    s.time_us += 1000000;
    kfx_tap_board_take(&board, &s);
    KFX_JSON json_t *after = kfx_tap_board_json(&board, 1);
    assert_true(json_real_value(json_object_get(after, "tasksPerSecond")) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),     cmocka_unit_test(test_type_of_the_digest),
        cmocka_unit_test(test_bad_filters), cmocka_unit_test(test_line),
        cmocka_unit_test(test_board),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
