/* The parts of the client that need no server: escaping, lines, Status, targets, timers, kinds. */
#include "base/health.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/apply.h"
#include "kube/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_escape(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"abc-Z09_.~", "abc-Z09_.~"},
                                           {"a/b c", "a%2Fb%20c"},
                                           {"..", "%2E%2E"},
                                           {"a.b", "a.b"},
                                           {"ä", "%C3%A4"},
                                           {"?&=#%", "%3F%26%3D%23%25"},
                                           {"", ""}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        KFX_FREE char *got = kfx_kube_escape(cases[i][0]);
        assert_string_equal(got, cases[i][1]);
    }
    assert_true(kfx_path_safe("/api/v1/namespaces/x?a=b/../c"));
    static const char *const bad[] = {"api", "//h/x", "/a b",  "/a\r\nX: y", "/a#b", "/a/../b",
                                      "/..", "/./a",  "/a\\b", "/ä",         ""};
    for (size_t i = 0; i < KFX_COUNT(bad); i++)
        assert_false(kfx_path_safe(bad[i]));
    assert_false(kfx_path_safe(NULL));
    assert_true(kfx_header_safe("system:serviceaccount:a:b"));
    assert_false(kfx_header_safe("a\r\nb"));
}

/* ---- lines
 * ----------------------------------------------------------------------------------------------------------------- */

static bool collect(void *ctx, const char *line, size_t len)
{
    kfx_buf_t *out = ctx;
    kfx_buf_add(out, line, len);
    kfx_buf_adds(out, "|");
    return !(len == 4 && strncmp(line, "stop", 4) == 0);
}

static void test_lines(void **state)
{
    (void)state;
    static const char text[] = "one\n\n{\"two\": 2}\r\nthree\nfo";
    for (size_t step = 1; step <= sizeof text; step++) { /* 1-byte pieces up to the whole */
        KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
        kfx_lines_t lines;
        kfx_lines_init(&lines, 100);
        for (size_t i = 0; i < sizeof text - 1; i += step) {
            size_t n = sizeof text - 1 - i < step ? sizeof text - 1 - i : step;
            assert_int_equal(kfx_lines_feed(&lines, text + i, n, collect, &out, NULL), 0);
        }
        assert_string_equal(out.data, "one|{\"two\": 2}|three|"); /* the unfinished one is kept back */
        assert_int_equal(kfx_lines_feed(&lines, "ur\n", 3, collect, &out, NULL), 0);
        assert_string_equal(out.data, "one|{\"two\": 2}|three|four|");
        kfx_lines_free(&lines);
    }
}

static void test_lines_bounds(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
    kfx_lines_t lines;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_lines_init(&lines, 8);
    assert_int_equal(kfx_lines_feed(&lines, "12345678\n", 9, collect, &out, &err), 0);
    assert_int_equal(kfx_lines_feed(&lines, "123456789\n", 10, collect, &out, &err), -1); /* whole in one piece */
    assert_int_equal(err.code, KFX_E_PROTOCOL);
    kfx_lines_reset(&lines);
    err = (kfx_error_t)KFX_ERROR_INIT;
    for (int i = 0; i < 8; i++)
        assert_int_equal(kfx_lines_feed(&lines, "x", 1, collect, &out, &err), 0);
    assert_int_equal(kfx_lines_feed(&lines, "x", 1, collect, &out, &err), -1); /* grown */
    assert_int_equal(err.code, KFX_E_PROTOCOL);
    kfx_lines_reset(&lines);
    kfx_buf_clear(&out);
    err = (kfx_error_t)KFX_ERROR_INIT;
    assert_int_equal(kfx_lines_feed(&lines, "a\nstop\nb\n", 9, collect, &out, &err), -1);
    assert_string_equal(out.data, "a|stop|");
    assert_int_equal(err.code, KFX_OK); /* the callee's own wish */
    kfx_lines_free(&lines);
}

/* ---- status
 * ----------------------------------------------------------------------------------------------------------------- */

static void test_status(void **state)
{
    (void)state;
    static const struct {
        int http;
        const char *reason;
        kfx_code_t code;
    } cases[] = {
        {400, "BadRequest", KFX_E_INVALID},   {401, "Unauthorized", KFX_E_UNAUTHORIZED},
        {403, "Forbidden", KFX_E_FORBIDDEN},  {404, "NotFound", KFX_E_NOT_FOUND},
        {409, "AlreadyExists", KFX_E_EXISTS}, {409, "Conflict", KFX_E_CONFLICT},
        {409, NULL, KFX_E_CONFLICT},          {410, "Expired", KFX_E_GONE},
        {415, NULL, KFX_E_INVALID},           {422, "Invalid", KFX_E_INVALID},
        {429, "TooManyRequests", KFX_E_BUSY}, {500, "InternalError", KFX_E_UNAVAILABLE},
        {503, NULL, KFX_E_UNAVAILABLE},       {504, "Timeout", KFX_E_TIMEOUT},
        {301, NULL, KFX_E_PROTOCOL},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        KFX_JSON json_t *status =
            cases[i].reason ? json_pack("{s:s, s:s}", "reason", cases[i].reason, "message", "words") : NULL;
        kfx_error_t err = KFX_ERROR_INIT;
        assert_int_equal(
            kfx_status_error(&err, "apply", "/api/v1/x?fieldManager=m", "https://h", cases[i].http, status), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(strncmp(err.msg, "apply /api/v1/x at https://h: ", 30), 0);
        if (cases[i].reason) {
            assert_non_null(strstr(err.msg, cases[i].reason));
            assert_non_null(strstr(err.msg, "words"));
        }
    }
    KFX_FREE char *much = kfx_xcalloc(1, 5000);
    memset(much, 'x', 4999);
    KFX_JSON json_t *status = json_pack("{s:s, s:s}", "reason", "Conflict", "message", much);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_status_error(&err, "get", "/x", "https://h", 409, status);
    assert_non_null(strstr(err.msg, "xxx"));
}

static void test_retry_after(void **state)
{
    (void)state;
    KFX_JSON json_t *five = json_pack("{s:{s:i}}", "details", "retryAfterSeconds", 5);
    KFX_JSON json_t *odd = json_pack("{s:{s:i}}", "details", "retryAfterSeconds", -5);
    assert_int_equal(kfx_retry_after_ms(0, NULL), 0);
    assert_int_equal(kfx_retry_after_ms(2, NULL), 2000);
    assert_int_equal(kfx_retry_after_ms(2, five), 5000);
    assert_int_equal(kfx_retry_after_ms(7, five), 7000);
    assert_int_equal(kfx_retry_after_ms(0, odd), 0);
    assert_int_equal(kfx_retry_after_ms(-1, NULL), 0);
    assert_int_equal(kfx_retry_after_ms(INT64_MAX, NULL), 60000);
}

/* ---- requests
 * ---------------------------------------------------------------------------------------------------------------- */

static void test_collections(void **state)
{
    (void)state;
    static const char *const yes[] = {"/api/v1/pods", "/api/v1/namespaces", "/api/v1/namespaces/x/pods?limit=1",
                                      "/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/x/deployments"};
    static const char *const no[] = {"/api/v1/namespaces/x",
                                     "/api/v1/namespaces/x/pods/y",
                                     "/api/v1/namespaces/x/status",
                                     "/apis/g/v1/controlplanes/cp1",
                                     "/apis/g/v1/controlplanes/cp1/status",
                                     "/livez",
                                     "/apis/apps/v1/namespaces/x/deployments/y/scale",
                                     "/version"};
    for (size_t i = 0; i < KFX_COUNT(yes); i++)
        assert_true(kfx_path_is_collection(yes[i]));
    for (size_t i = 0; i < KFX_COUNT(no); i++)
        assert_false(kfx_path_is_collection(no[i]));
}

static bool repeatable(kfx_verb_t verb, const char *body, bool once)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(verb, body ? json_loads(body, 0, NULL) : NULL, "/x");
    req->once = once;
    return kfx_request_repeatable(req);
}

static void test_repeatable(void **state)
{
    (void)state;
    assert_true(repeatable(KFX_GET, NULL, false));
    assert_true(repeatable(KFX_APPLY, "{}", false));
    assert_true(repeatable(KFX_POST, "{}", false));
    assert_false(repeatable(KFX_POST, "{}", true));
    assert_false(repeatable(KFX_PUT, "{}", false));
    assert_true(repeatable(KFX_PUT, "{\"metadata\":{\"resourceVersion\":\"1\"}}", false));
    assert_false(repeatable(KFX_MERGE_PATCH, "{}", false));
    assert_true(repeatable(KFX_MERGE_PATCH, "{\"metadata\":{\"uid\":\"1\"}}", false));
    assert_false(repeatable(KFX_DELETE, NULL, false));
    assert_true(repeatable(KFX_DELETE, "{\"preconditions\":{\"uid\":\"1\"}}", false));
    assert_false(repeatable(KFX_JSON_PATCH, "[]", false));
}

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *ns, *name, *path;
    } cases[] = {
        {"Namespace", NULL, "x", "/api/v1/namespaces/x"},
        {"Secret", "n", "s", "/api/v1/namespaces/n/secrets/s"},
        {"Secret", "n", NULL, "/api/v1/namespaces/n/secrets"},
        {"Secret", NULL, NULL, "/api/v1/secrets"},
        {"Deployment", "n", "a/../b", "/apis/apps/v1/namespaces/n/deployments/a%2F..%2Fb"},
        {"Route", "n", "r", "/apis/route.openshift.io/v1/namespaces/n/routes/r"},
        {"ClusterRole", "ignored", "r", "/apis/rbac.authorization.k8s.io/v1/clusterroles/r"},
        {"ControlPlane", NULL, "cp1", "/apis/tenancy.kflex.kubestellar.org/v1alpha1/controlplanes/cp1"},
        {"Secret", NULL, "s", NULL},
        {"Secret", "n", "", NULL},
        {"Nothing", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        KFX_FREE char *path = kfx_object_path(cases[i].kind, cases[i].ns, cases[i].name);
        if (cases[i].path)
            assert_string_equal(path, cases[i].path);
        else
            assert_null(path);
    }
    assert_string_equal(kfx_kind_find("Job")->api_version, "batch/v1");
    assert_null(kfx_kind_find(NULL));
}

/* ---- timers
 * --------------------------------------------------------------------------------------------------------------------
 */

static kfx_timers_t timers;
static kfx_timer_t t[4];
static char ran[16];
static char names[] = {'a', '\0', 'b', '\0', 'c', '\0', 'd', '\0', 'A', '\0'};

static void note(void *arg)
{
    size_t used = strlen(ran);
    snprintf(ran + used, sizeof ran - used, "%s", (const char *)arg);
}

static void note_and_cancel(void *arg)
{
    note(arg);
    kfx_timer_cancel(&timers, &t[1]);
    kfx_timer_arm(&timers, &t[0], 100, note, names + 8);
}

static void test_timers(void **state)
{
    (void)state;
    kfx_timers_init(&timers);
    assert_int_equal(kfx_timers_run(&timers, 1000, 10), -1);
    kfx_timer_arm(&timers, &t[3], 40, note, names + 6);
    kfx_timer_arm(&timers, &t[0], 10, note_and_cancel, names + 0);
    kfx_timer_arm(&timers, &t[2], 30, note, names + 4);
    kfx_timer_arm(&timers, &t[1], 20, note, names + 2);
    assert_int_equal(kfx_timers_run(&timers, 9, 10), 10);
    assert_string_equal(ran, "");
    assert_int_equal(kfx_timers_run(&timers, 30, 10), 40); /* a cancels b */
    assert_string_equal(ran, "ac");
    kfx_timer_arm(&timers, &t[3], 200, note, names + 6); /* moved back */
    assert_int_equal(kfx_timers_run(&timers, 150, 10), 200);
    assert_string_equal(ran, "acA");
    assert_int_equal(kfx_timers_run(&timers, 500, 0), 200);
    kfx_timer_cancel(&timers, &t[3]);
    kfx_timer_cancel(&timers, &t[3]);
    assert_int_equal(kfx_timers_run(&timers, 500, 10), -1);
}

static size_t count_series(const char *prefix)
{
    KFX_FREE char *text = kfx_metrics_text();
    size_t count = 0;
    for (const char *p = text; (p = strstr(p, prefix)); p++)
        count++;
    return count;
}

/* Whatever a server answers, the series are those of two fixed lists. */
static void test_counts_are_bounded(void **state)
{
    (void)state;
    kfx_count_request("get", 200);
    kfx_count_request("get", 200);
    kfx_count_request("get", 0);
    kfx_count_request("get", 299);
    kfx_count_request("get", 599);
    KFX_FREE char *text = kfx_metrics_text();
    assert_non_null(strstr(text, "kubeflex_api_requests_total{verb=\"get\",code=\"200\"} 2\n"));
    assert_non_null(strstr(text, "kubeflex_api_requests_total{verb=\"get\",code=\"error\"} 1\n"));
    assert_non_null(strstr(text, "kubeflex_api_requests_total{verb=\"get\",code=\"other\"} 2\n"));
    for (int code = -1; code < 1000; code++)
        kfx_count_request("get", code);
    size_t one = count_series("kubeflex_api_requests_total{verb=\"get\"");
    assert_in_range(one, 10, 30);
    for (int code = -1; code < 1000; code++) {
        for (kfx_verb_t verb = KFX_GET; verb <= KFX_DELETE; verb++)
            kfx_count_request(kfx_verb_name(verb), code);
        kfx_count_request("watch", code);
        KFX_FREE char *odd = kfx_xasprintf("verb-%d", code);
        kfx_count_request(odd, code);
    }
    assert_int_equal(count_series("kubeflex_api_requests_total{"), 9 * one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escape),       cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_bounds), cmocka_unit_test(test_status),
        cmocka_unit_test(test_retry_after),  cmocka_unit_test(test_collections),
        cmocka_unit_test(test_repeatable),   cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_timers),       cmocka_unit_test(test_counts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
