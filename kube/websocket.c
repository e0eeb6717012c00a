/* kube/websocket.c: see websocket.h. */
#include "kube/websocket.h"

#include "base/codec.h"
#include "base/mem.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */

static int random_bytes(void *out, size_t size, kfx_error_t *err)
{
    if (getrandom(out, size, 0) == (ssize_t)size)
        return 0;
    return kfx_error_set(err, KFX_E_INTERNAL, "no random bytes: %s", strerror(errno));
}

int kfx_ws_key(char key[KFX_WS_KEY_SIZE], kfx_error_t *err)
{
    unsigned char raw[16];
    if (random_bytes(raw, sizeof raw, err) != 0)
        return -1;
    KFX_FREE char *text = kfx_base64_encode(raw, sizeof raw);
    kfx_copy(key, KFX_WS_KEY_SIZE, text);
    return 0;
}

void kfx_ws_accept(const char *key, char accept[KFX_WS_KEY_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    unsigned len = 0;
    KFX_FREE char *both = kfx_xasprintf("%s" GUID, key);
    EVP_Digest(both, strlen(both), digest, &len, EVP_sha1(), NULL);
    KFX_FREE char *text = kfx_base64_encode(digest, len);
    kfx_copy(accept, KFX_WS_KEY_SIZE, text);
}

/* The mask goes on over both parts. */
static int put_masked(kfx_buf_t *out, const unsigned char mask[4], size_t at, const unsigned char *data, size_t len)
{
    unsigned char chunk[4096];
    while (len > 0) {
        size_t n = len < sizeof chunk ? len : sizeof chunk;
        for (size_t i = 0; i < n; i++)
            chunk[i] = data[i] ^ mask[(at + i) % 4];
        if (kfx_buf_add(out, chunk, n) != 0)
            return -1;
        at += n;
        data += n;
        len -= n;
    }
    return 0;
}

int kfx_ws_put(kfx_buf_t *out, kfx_ws_opcode_t opcode, const void *head, size_t head_len, const void *data, size_t len,
               kfx_error_t *err)
{
    uint64_t all = head_len + len;
    unsigned char header[14] = {(unsigned char)(0x80 | opcode)};
    size_t n = 2, width = all < 126 ? 0 : all < 65536 ? 2 : 8;
    header[1] = (unsigned char)(0x80 | (width == 0 ? all : width == 2 ? 126 : 127));
    for (size_t i = 0; i < width; i++)
        header[n++] = (unsigned char)(all >> (8 * (width - 1 - i)));
    unsigned char *mask = header + n;
    if (random_bytes(mask, 4, err) != 0)
        return -1;
    if (kfx_buf_add(out, header, n + 4) != 0 || put_masked(out, mask, 0, head, head_len) != 0 ||
        put_masked(out, mask, head_len, data, len) != 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "no room for a frame of %llu bytes", (unsigned long long)all);
    return 0;
}

int kfx_ws_peek(const kfx_buf_t *in, kfx_ws_frame_t *frame, kfx_error_t *err)
{
    const unsigned char *data = (const unsigned char *)in->data;
    if (in->len < 2)
        return 0;
    size_t n = 2, width = (data[1] & 0x7f) == 126 ? 2 : (data[1] & 0x7f) == 127 ? 8 : 0;
    uint64_t len = width ? 0 : data[1] & 0x7f;
    if (data[0] & 0x70 || data[1] & 0x80)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the server's WebSocket frame has bits that it must not have");
    if (in->len < n + width)
        return 0;
    for (size_t i = 0; i < width; i++)
        len = len << 8 | data[n++];
    if (len > KFX_WS_FRAME_MAX)
        return kfx_error_set(err, KFX_E_PROTOCOL, "a WebSocket frame of %llu bytes is too large",
                             (unsigned long long)len);
    if (in->len - n < len)
        return 0;
    *frame = (kfx_ws_frame_t){.opcode = (kfx_ws_opcode_t)(data[0] & 0x0f),
                              .fin = (data[0] & 0x80) != 0,
                              .data = in->data + n,
                              .len = (size_t)len,
                              .size = n + (size_t)len};
    return 1;
}

void kfx_head_value(const char *head, const char *name, char *out, size_t size)
{
    out[0] = '\0';
    size_t len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) != 0 || line[2 + len] != ':')
            continue;
        const char *value = line + 3 + len;
        value += strspn(value, " ");
        size_t n = strcspn(value, "\r\n");
        if (n < size) {
            memcpy(out, value, n);
            out[n] = '\0';
        }
        return;
    }
}
