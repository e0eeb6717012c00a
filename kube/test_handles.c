/* Easy handles that are used again, against a socket of this process: what one exchange leaves in a handle must not
 * harm the next. Memory errors are for the sanitizers to see. */
#include "base/mem.h"
#include "kube/internal.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ANSWER 16384 /* what libcurl reads at once by default; a stream reads half of it */

typedef struct {
    int listener;
    kfx_transport_t transport;
    kfx_io_t io;
    size_t got;
    bool done;
    CURLcode result;
} site_t;

static site_t *site;

static int setup(void **state)
{
    site_t *s = kfx_xcalloc(1, sizeof *s);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    getsockname(s->listener, (struct sockaddr *)&at, &len);
    kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
    config->server = kfx_xasprintf("http://127.0.0.1:%d", ntohs(at.sin_port));
    kfx_error_t err = KFX_ERROR_INIT;
    if (kfx_transport_init(&s->transport, config, "kfx-test/1", &err) != 0)
        fail_msg("%s", err.msg);
    s->io.transport = &s->transport;
    kfx_channel_t *channel = &s->io.watches;
    channel->io = &s->io;
    channel->multi = curl_multi_init();
    curl_multi_setopt(channel->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 1L); /* the second exchange has to wait */
    *state = site = s;
    return 0;
}

static int teardown(void **state)
{
    site_t *s = *state;
    curl_multi_cleanup(s->io.watches.multi);
    while (s->io.idle_len > 0)
        curl_easy_cleanup(s->io.idle[--s->io.idle_len]);
    free(s->io.watches.wires);
    kfx_transport_free(&s->transport);
    close(s->listener);
    free(s);
    return 0;
}

static bool on_data(kfx_xfer_t *xfer, const char *data, size_t len)
{
    (void)xfer;
    (void)data;
    site->got += len;
    return true;
}

static void begin(site_t *s, kfx_xfer_t *xfer, bool stream)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_call_t call = {.method = "GET", .target = "/", .accept = "*/*", .stream = stream};
    xfer->on_data = on_data;
    if (kfx_xfer_prepare(&s->io, xfer, &call, &err) != 0 || kfx_xfer_start(xfer, &s->io.watches, &err) != 0)
        fail_msg("%s", err.msg);
}

static void turn(site_t *s)
{
    int running, left;
    CURLMsg *msg;
    curl_multi_perform(s->io.watches.multi, &running);
    curl_multi_poll(s->io.watches.multi, NULL, 0, 20, NULL);
    while ((msg = curl_multi_info_read(s->io.watches.multi, &left))) {
        s->done = true;
        s->result = msg->data.result;
    }
}

static void answer(int fd)
{
    static char text[ANSWER + 128];
    char asked[4096];
    memset(text, 'x', sizeof text);
    int head = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", ANSWER);
    text[head] = 'x';
    assert_true(read(fd, asked, sizeof asked) > 0);
    assert_int_equal(write(fd, text, (size_t)head + ANSWER), head + ANSWER);
}

/* Watches wait for their connection while the API server is away, and are given up. Their handles had a small buffer,
 * and the next list wrote beyond it: the watcher died of that when the server was back. */
static void test_stream_that_waited(void **state)
{
    site_t *s = *state;
    kfx_xfer_t first = {.easy = NULL}, waiting = {.easy = NULL}, list = {.easy = NULL};
    begin(s, &first, true);
    begin(s, &waiting, true);
    for (int i = 0; i < 5; i++)
        turn(s);
    assert_false(s->done); /* the server took the connection and says nothing */
    kfx_xfer_end(&s->io, &first);
    kfx_xfer_end(&s->io, &waiting); /* last: a pool would give this one out next */
    close(accept(s->listener, NULL, NULL));

    begin(s, &list, false);
    for (int i = 0; i < 5; i++)
        turn(s);
    int fd = accept(s->listener, NULL, NULL);
    answer(fd);
    for (int i = 0; i < 200 && !s->done; i++)
        turn(s);
    assert_true(s->done);
    assert_int_equal(s->result, CURLE_OK);
    assert_int_equal(s->got, ANSWER);
    kfx_xfer_end(&s->io, &list);
    assert_int_equal(s->io.idle_len, 1); /* requests' handles are kept, those of streams are not */
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_stream_that_waited, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
