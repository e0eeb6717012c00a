#include "base/codec.h"

#include "base/mem.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

void kfx_sha256_hex(const void *data, size_t len, char out[KFX_SHA256_HEX_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sum[SHA256_DIGEST_LENGTH];
    SHA256(data, len, sum);
    for (size_t i = 0; i < sizeof sum; i++) {
        out[2 * i] = hex[sum[i] >> 4];
        out[2 * i + 1] = hex[sum[i] & 15];
    }
    out[2 * sizeof sum] = 0;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* By hand, because OpenSSL's EVP_EncodeBlock counts in int. */
char *kfx_base64_encode(const void *data, size_t len)
{
    const unsigned char *in = data;
    char *out = kfx_xcalloc((len + 2) / 3 * 4 + 1, 1), *p = out;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16;
        if (n > 1)
            bits |= (uint32_t)in[i + 1] << 8;
        if (n > 2)
            bits |= in[i + 2];
        *p++ = alphabet[bits >> 18];
        *p++ = alphabet[bits >> 12 & 63];
        *p++ = n > 1 ? alphabet[bits >> 6 & 63] : '=';
        *p++ = n > 2 ? alphabet[bits & 63] : '=';
    }
    return out;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* By hand too: EVP_DecodeBlock takes blanks around the text and hides how much was padding. */
char *kfx_base64_decode(const char *text, size_t *len, kfx_error_t *err)
{
    size_t size = strlen(text), symbols = 0, padding = 0, n = 0;
    char *out = kfx_xcalloc(size / 4 * 3 + 4, 1);
    uint32_t bits = 0;
    bool bad = false;

    for (size_t i = 0; i < size && !bad; i++) {
        char c = text[i];
        if (c == '\n' || c == '\r')
            continue;
        int value = c == '=' ? 0 : value_of(c);
        bad = value < 0 || (c != '=' && padding > 0);
        padding += c == '=';
        bits = bits << 6 | (uint32_t)(value & 63);
        if (++symbols % 4 == 0) {
            out[n++] = (char)(bits >> 16 & 255);
            out[n++] = (char)(bits >> 8 & 255);
            out[n++] = (char)(bits & 255);
        }
    }
    if (bad || symbols % 4 != 0 || padding > 2) {
        kfx_wipe(out, n);
        free(out);
        kfx_error_set(err, KFX_E_INVALID, "this is not base64");
        return NULL;
    }
    n -= padding;
    out[n] = 0;
    if (len)
        *len = n;
    return out;
}
