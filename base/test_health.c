#include "base/buf.h"
#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The linker puts this in front of the clock: some seconds may be added to it. */
int64_t __real_kfx_now_ms(void);
int64_t __wrap_kfx_now_ms(void);
static atomic_int_least64_t clock_ahead_ms;

int64_t __wrap_kfx_now_ms(void)
{
    return __real_kfx_now_ms() + atomic_load(&clock_ahead_ms);
}

static void expect_line(const char *line)
{
    KFX_FREE char *metrics = kfx_metrics_text(), *text = kfx_xasprintf("\n%s", metrics);
    char wanted[400];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (!strstr(text, wanted))
        fail_msg("no line %s in\n%s", line, text);
}

static size_t occurrences(const char *part)
{
    KFX_FREE char *text = kfx_metrics_text();
    size_t count = 0;
    for (const char *p = text; (p = strstr(p, part)); p++)
        count++;
    return count;
}

static void test_counter_and_gauge(void **state)
{
    (void)state;
    kfx_metric_t *get = kfx_counter("t_requests_total", "Requests\nby \\ verb.", "verb=\"get\"");
    kfx_metric_t *put = kfx_counter("t_requests_total", "Requests\nby \\ verb.", "verb=\"put\"");
    kfx_metric_t *depth = kfx_gauge("t_depth", "Depth.", NULL);
    assert_ptr_not_equal(get, put);
    assert_ptr_equal(get, kfx_counter("t_requests_total", NULL, "verb=\"get\""));
    kfx_metric_add(get, 2);
    kfx_metric_add(get, 3);
    kfx_metric_add(get, -4); /* a counter never goes down */
    kfx_metric_set(get, 1);
    kfx_metric_set(depth, 7);
    kfx_metric_add(depth, -9);
    expect_line("# HELP t_requests_total Requests\\nby \\\\ verb.\n# TYPE t_requests_total counter\n"
                "t_requests_total{verb=\"get\"} 5\nt_requests_total{verb=\"put\"} 0");
    expect_line("# TYPE t_depth gauge\nt_depth -2");
    assert_int_equal(occurrences("# TYPE t_requests_total "), 1);
}

static void test_series_of_a_name_stand_together(void **state)
{
    (void)state;
    kfx_counter("t_a_total", "A.", "x=\"1\"");
    kfx_counter("t_b_total", "B.", NULL);
    kfx_counter("t_a_total", "A.", "x=\"2\"");
    expect_line("# TYPE t_a_total counter\nt_a_total{x=\"1\"} 0\nt_a_total{x=\"2\"} 0\n# HELP t_b_total B.");
}

static void test_histogram(void **state)
{
    (void)state;
    kfx_metric_t *plain = kfx_histogram("t_seconds", "Time.", NULL);
    static const int64_t observed[] = {0, 1, 2, 5, 6, 99, 100, 101, 60000, 60001, -5};
    for (size_t i = 0; i < KFX_COUNT(observed); i++)
        kfx_metric_observe_ms(plain, observed[i]);
    kfx_metric_add(plain, 100);
    kfx_metric_set(plain, 100);
    expect_line("# TYPE t_seconds histogram\nt_seconds_bucket{le=\"0.0005\"} 2\nt_seconds_bucket{le=\"0.001\"} 3\n"
                "t_seconds_bucket{le=\"0.0025\"} 4\nt_seconds_bucket{le=\"0.005\"} 5\nt_seconds_bucket{le=\"0.01\"} 6\n"
                "t_seconds_bucket{le=\"0.025\"} 6\nt_seconds_bucket{le=\"0.05\"} 6\nt_seconds_bucket{le=\"0.1\"} 8\n"
                "t_seconds_bucket{le=\"0.25\"} 9");
    expect_line("t_seconds_bucket{le=\"30\"} 9\nt_seconds_bucket{le=\"60\"} 10\nt_seconds_bucket{le=\"+Inf\"} 11\n"
                "t_seconds_sum 120.315\nt_seconds_count 11");
    kfx_metric_observe_ms(kfx_histogram("t_seconds", "Time.", "step=\"x\""), INT64_MAX);
    expect_line("t_seconds_bucket{step=\"x\",le=\"60\"} 0\nt_seconds_bucket{step=\"x\",le=\"+Inf\"} 1\n"
                "t_seconds_sum{step=\"x\"} 9223372036854.775\nt_seconds_count{step=\"x\"} 1");
}

static void test_misuse_gets_a_dummy(void **state)
{
    (void)state;
    kfx_log_set_level(KFX_LOG_ERROR);
    kfx_metric_t *first = kfx_counter("t_twice", "X.", NULL);
    kfx_metric_t *other_type = kfx_gauge("t_twice", "X.", NULL);
    assert_ptr_not_equal(first, other_type);
    kfx_metric_set(other_type, 5);
    expect_line("t_twice 0");
    kfx_metric_add(kfx_counter("9bad-name", "X.", NULL), 1);
    assert_int_equal(occurrences("bad-name"), 0);
    kfx_log_set_level(KFX_LOG_INFO);
}

enum { THREADS = 4, ADDS = 20000 };

static void *add_many(void *unused)
{
    kfx_metric_t *metric = kfx_counter("t_raced_total", "X.", NULL);
    for (int i = 0; i < ADDS; i++)
        kfx_metric_add(metric, 1);
    return unused;
}

static void test_threads_lose_nothing(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    expect_line("t_raced_total 80000");
    assert_int_equal(occurrences("\nt_raced_total "), 1);
}

/* One HTTP exchange over a socket of our own; the whole answer. Caller frees. */
static char *exchange(const char *request)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)kfx_health_port())};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    KFX_CLOSE int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    KFX_BUF kfx_buf_t answer = KFX_BUF_INIT(0);
    char chunk[4096];
    for (ssize_t n; (n = recv(fd, chunk, sizeof chunk, 0)) > 0;)
        kfx_buf_add(&answer, chunk, (size_t)n);
    return kfx_buf_steal(&answer, NULL);
}

static void expect_answer(const char *method, const char *path, const char *status, const char *body)
{
    char request[200];
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    KFX_FREE char *answer = exchange(request);
    const char *split = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, status, strlen(status)) != 0 || !split || strcmp(split + 4, body) != 0)
        fail_msg("%s %s gives\n%s", method, path, answer);
}

static int start(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = kfx_health_start("127.0.0.1:0", &err);
    if (rc < 0)
        print_error("%s\n", err.msg);
    return rc;
}

static int stop(void **state)
{
    (void)state;
    kfx_health_stop();
    assert_int_equal(kfx_health_port(), 0);
    return 0;
}

static void test_health_endpoint(void **state)
{
    (void)state;
    assert_in_range(kfx_health_port(), 1, 65535);
    expect_answer("GET", "/healthz", "HTTP/1.1 200", "ok\n");
    expect_answer("HEAD", "/healthz", "HTTP/1.1 200", "");
    expect_answer("GET", "/readyz", "HTTP/1.1 503", "starting\n");
    kfx_health_set_ready(true, NULL);
    expect_answer("GET", "/readyz", "HTTP/1.1 200", "ok\n");
    kfx_health_set_ready(true, "standby");
    expect_answer("GET", "/readyz", "HTTP/1.1 200", "ok: standby\n");
    kfx_health_set_ready(false, "no bus");
    expect_answer("GET", "/readyz", "HTTP/1.1 503", "no bus\n");
    expect_answer("GET", "/nowhere", "HTTP/1.1 404", "not found: /healthz, /readyz, /metrics\n");
    expect_answer("DELETE", "/healthz", "HTTP/1.1 405", "only GET and HEAD\n");
}

static void test_health_watches_the_loop(void **state)
{
    (void)state;
    atomic_fetch_add(&clock_ahead_ms, 14000);
    expect_answer("GET", "/healthz", "HTTP/1.1 200", "ok\n");
    atomic_fetch_add(&clock_ahead_ms, 1500);
    expect_answer("GET", "/healthz", "HTTP/1.1 503", "the main loop does not turn\n");
    kfx_health_beat();
    expect_answer("GET", "/healthz", "HTTP/1.1 200", "ok\n");
}

static void test_health_serves_metrics(void **state)
{
    (void)state;
    kfx_metric_add(kfx_counter("t_served_total", "X.", NULL), 3);
    KFX_FREE char *answer = exchange("GET /metrics HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(answer, "text/plain; version=0.0.4"));
    assert_non_null(strstr(answer, "\nt_served_total 3\n"));
}

static void test_health_survives_rubbish(void **state)
{
    (void)state;
    KFX_FREE char *rubbish = exchange("\x16\x03\x01 rubbish\r\n\r\n");
    KFX_FREE char *body =
        exchange("POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
    assert_int_equal(strncmp(body, "HTTP/1.1 405", 12), 0);
    expect_answer("GET", "/healthz", "HTTP/1.1 200", "ok\n");
}

static void test_health_starts_once(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_health_start("127.0.0.1:0", &err), -1);
    assert_int_equal(err.code, KFX_E_EXISTS);
}

static void test_health_port_in_use(void **state)
{
    (void)state;
    KFX_CLOSE int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    char listen_on[40];
    snprintf(listen_on, sizeof listen_on, "127.0.0.1:%d", ntohs(address.sin_port));
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_health_start(listen_on, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_non_null(strstr(err.msg, listen_on));
    assert_int_equal(kfx_health_port(), 0);
}

static void test_health_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ":",
                                      "x",
                                      "127.0.0.1:",
                                      "127.0.0.1:http",
                                      "127.0.0.1:70000",
                                      "::1:80",
                                      "127.0.0.1:80x",
                                      "127.0.0.1:-1",
                                      "no such name:80"};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        if (kfx_health_start(bad[i], &err) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(err.code, KFX_E_INVALID);
    }
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_health_start("[::1]:0", &err) == 0)
        kfx_health_stop();
    else
        assert_int_equal(err.code, KFX_E_UNAVAILABLE); /* a machine without IPv6 */
}

/* Last, because it fills the table for the rest of the process. */
static void test_series_are_bounded(void **state)
{
    (void)state;
    kfx_log_set_level(KFX_LOG_ERROR);
    kfx_metric_t *last = NULL, *metric = NULL;
    for (int i = 0; i < 600; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "i=\"%d\"", i);
        last = metric;
        metric = kfx_counter("t_many_total", "X.", labels);
        kfx_metric_add(metric, 1);
    }
    assert_ptr_equal(last, metric); /* the dummy */
    assert_in_range(occurrences("\nt_many_total{"), 400, 512);
    kfx_log_set_level(KFX_LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter_and_gauge),
        cmocka_unit_test(test_series_of_a_name_stand_together),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_misuse_gets_a_dummy),
        cmocka_unit_test(test_threads_lose_nothing),
        cmocka_unit_test_setup_teardown(test_health_endpoint, start, stop),
        cmocka_unit_test_setup_teardown(test_health_watches_the_loop, start, stop),
        cmocka_unit_test_setup_teardown(test_health_serves_metrics, start, stop),
        cmocka_unit_test_setup_teardown(test_health_survives_rubbish, start, stop),
        cmocka_unit_test_setup_teardown(test_health_starts_once, start, stop),
        cmocka_unit_test(test_health_port_in_use),
        cmocka_unit_test(test_health_addresses),
        cmocka_unit_test(test_series_are_bounded),
    };
    return cmocka_run_group_tests_name("health and metrics", tests, NULL, NULL);
}
