/* kube/test_screen.c: addresses and URLs that are refused, and those that are not. */
#include "kube/screen.h"

#include "base/mem.h"
#include "kube/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>

static int screen(const char *text, kfx_error_t *err)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(443)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return kfx_screen_address((struct sockaddr *)&v4, err);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return kfx_screen_address((struct sockaddr *)&v6, err);
}

static void test_addresses(void **state)
{
    static const char *const refused[] = {"127.0.0.1",
                                          "127.255.255.255",
                                          "0.0.0.0",
                                          "0.1.2.3",
                                          "169.254.169.254",
                                          "169.254.0.1",
                                          "224.0.0.1",
                                          "239.1.1.1",
                                          "255.255.255.255",
                                          "240.0.0.1",
                                          "168.63.129.16",
                                          "100.100.100.200",
                                          "192.0.0.192",
                                          "::",
                                          "::1",
                                          "fe80::1",
                                          "febf::1",
                                          "ff02::1",
                                          "fd00:ec2::254",
                                          "::ffff:127.0.0.1",
                                          "::ffff:169.254.169.254",
                                          "::127.0.0.1",
                                          "64:ff9b::a9fe:a9fe",
                                          "2002:7f00:1::"};
    static const char *const taken[] = {"10.0.0.1",    "172.16.0.1",      "192.168.1.1",     "100.64.0.1",
                                        "8.8.8.8",     "126.255.255.255", "128.0.0.1",       "169.253.255.255",
                                        "169.255.0.0", "223.255.255.255", "168.63.129.17",   "fd00::1",
                                        "fec0::1",     "2001:db8::1",     "::ffff:10.0.0.1", "64:ff9b::a00:1"};
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(refused); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        if (screen(refused[i], &err) == 0)
            fail_msg("%s was taken", refused[i]);
        assert_int_equal(err.code, KFX_E_INVALID);
    }
    for (size_t i = 0; i < KFX_COUNT(taken); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        if (screen(taken[i], &err) != 0)
            fail_msg("%s: %s", taken[i], err.msg);
    }
}

/* S-14: a port does not get an address through; nor does another notation of it. */
static void test_urls(void **state)
{
    static const char *const refused[] = {
        "",
        "x",
        "10.0.0.1:6443",
        "http://10.0.0.1",
        "ftp://10.0.0.1",
        "https://",
        "https://127.0.0.1",
        "https://127.0.0.1:6443",
        "https://127.1:6443",
        "https://2130706433:6443",
        "https://0x7f000001:6443/",
        "https://0177.0.0.1:6443",
        "https://0:6443",
        "https://localhost",
        "https://localhost:6443",
        "https://LOCALHOST.:6443",
        "https://a.localhost:6443",
        "https://[::1]",
        "https://[::1]:6443",
        "https://[::ffff:127.0.0.1]:6443",
        "https://[fe80::1%25eth0]:6443",
        "https://169.254.169.254:80/latest",
        "https://metadata.google.internal",
        "https://user@10.0.0.1",
        "https://user:secret@10.0.0.1",
        "https://10.0.0.1/?a=b",
        "https://10.0.0.1/#a",
    };
    static const char *const taken[] = {"https://10.0.0.1",
                                        "https://10.0.0.1:6443",
                                        "https://[2001:db8::1]:6443",
                                        "https://api.example.com",
                                        "https://api.example.com:6443/k8s/clusters/c-1",
                                        "https://localhost.example.com",
                                        "https://kind-control-plane:6443"};
    (void)state;
    for (size_t i = 0; i < KFX_COUNT(refused); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        if (kfx_screen_url(refused[i], &err) == 0)
            fail_msg("%s was taken", refused[i]);
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_null(strstr(err.msg, "secret"));
    }
    assert_int_equal(kfx_screen_url(NULL, NULL), -1);
    for (size_t i = 0; i < KFX_COUNT(taken); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        if (kfx_screen_url(taken[i], &err) != 0)
            fail_msg("%s: %s", taken[i], err.msg);
    }
}

/* A name is an address only when it is dialled: then nothing of a connection is seen on the other side, by whatever way
 * the name or the environment leads there. */
static void test_dialled(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    (void)state;
    KFX_CLOSE int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    KFX_FREE char *proxy = kfx_xasprintf("http://127.0.0.1:%u", ntohs(at.sin_port));
    setenv("https_proxy", proxy, 1);
    setenv("ALL_PROXY", proxy, 1);
    static const char *const hosts[] = {"localhost", "127.0.0.1", "2130706433"};
    for (size_t i = 0; i < KFX_COUNT(hosts); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
        config->server = kfx_xasprintf("https://%s:%u", hosts[i], ntohs(at.sin_port));
        config->token = kfx_xstrdup("secret");
        config->screened = true;
        kfx_kube_t *kube = kfx_kube_new(config, "test", &err);
        assert_non_null(kube);
        KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/readyz");
        assert_int_equal(kfx_kube_call(kube, get, &err), -1);
        assert_int_equal(err.code, KFX_E_INVALID);
        assert_non_null(strstr(err.msg, "loopback"));
        kfx_kube_destroy(&kube);
        assert_int_equal(accept(listener, NULL, NULL), -1);
        assert_int_equal(errno, EAGAIN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses), cmocka_unit_test(test_urls),
                                       cmocka_unit_test(test_dialled)};
    return cmocka_run_group_tests_name("screen", tests, NULL, NULL);
}
