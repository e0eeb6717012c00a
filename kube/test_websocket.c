/* WebSocket frames and the handshake's key, against RFC 6455's own examples. */
#include "kube/websocket.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_key(void **state)
{
    (void)state;
    char accept[KFX_WS_KEY_SIZE], key[KFX_WS_KEY_SIZE], other[KFX_WS_KEY_SIZE];
    kfx_ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept); /* RFC 6455, 1.3 */
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_int_equal(kfx_ws_key(key, NULL), 0);
    assert_int_equal(kfx_ws_key(other, NULL), 0);
    assert_int_equal(strlen(key), 24);
    assert_string_not_equal(key, other);
}

static void feed(kfx_buf_t *in, const char *bytes, size_t len)
{
    kfx_buf_clear(in);
    assert_int_equal(kfx_buf_add(in, bytes, len), 0);
}

static void test_frames_of_a_server(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t in = KFX_BUF_INIT(0);
    kfx_ws_frame_t frame;
    static const char hello[] = "\x81\x05Hello"; /* RFC 6455, 5.7 */
    for (size_t cut = 0; cut < sizeof hello - 1; cut++) {
        feed(&in, hello, cut);
        assert_int_equal(kfx_ws_peek(&in, &frame, NULL), 0);
    }
    feed(&in, "\x81\x05Hello\x89", 8);
    assert_int_equal(kfx_ws_peek(&in, &frame, NULL), 1);
    assert_true(frame.fin && frame.opcode == KFX_WS_TEXT && frame.len == 5 && frame.size == 7);
    assert_memory_equal(frame.data, "Hello", 5);

    char large[4 + 256] = "\x82\x7e\x01\x00";
    feed(&in, large, sizeof large - 1);
    assert_int_equal(kfx_ws_peek(&in, &frame, NULL), 0);
    feed(&in, large, sizeof large);
    assert_int_equal(kfx_ws_peek(&in, &frame, NULL), 1);
    assert_int_equal(frame.len, 256);
}

static void test_bad_frames(void **state)
{
    (void)state;
    KFX_BUF kfx_buf_t in = KFX_BUF_INIT(0);
    kfx_ws_frame_t frame;
    kfx_error_t err = KFX_ERROR_INIT;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\xc1\x00", 2}, {"\x81\x85", 2}, {"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10}};
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        feed(&in, bad[i].bytes, bad[i].len);
        err.code = KFX_OK;
        assert_int_equal(kfx_ws_peek(&in, &frame, &err), -1);
        assert_int_equal(err.code, KFX_E_PROTOCOL);
    }
}

/* What we send is masked, and unmasked it is what was put in, for each width of the length. */
static void test_frames_of_ours(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 124, 125, 126, 65534, 65535, 70000};
    static char data[70000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 31);
    for (size_t i = 0; i < KFX_COUNT(sizes); i++) {
        KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
        assert_int_equal(kfx_ws_put(&out, KFX_WS_BINARY, "\x01", 1, data, sizes[i], NULL), 0);
        const unsigned char *p = (const unsigned char *)out.data;
        size_t all = sizes[i] + 1, head = all < 126 ? 2 : all < 65536 ? 4 : 10, got = p[1] & 0x7f;
        assert_int_equal(p[0], 0x82);
        assert_true(p[1] & 0x80);
        if (got == 126)
            got = (size_t)p[2] << 8 | p[3];
        else if (got == 127)
            got = (size_t)p[7] << 16 | (size_t)p[8] << 8 | p[9];
        assert_int_equal(got, all);
        assert_int_equal(out.len, head + 4 + all);
        for (size_t k = 0; k < all; k++)
            assert_int_equal((unsigned char)(p[head + 4 + k] ^ p[head + k % 4]),
                             k == 0 ? 1 : (unsigned char)data[k - 1]);
    }
    KFX_BUF kfx_buf_t small = KFX_BUF_INIT(64);
    assert_int_equal(kfx_ws_put(&small, KFX_WS_BINARY, NULL, 0, data, 100, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_frames_of_a_server),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_frames_of_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
