/* base/codec.h: base64 and SHA-256 (OpenSSL). Thread-safe. */
#ifndef KFX_CODEC_H
#define KFX_CODEC_H

#include "base/error.h"

#include <stddef.h>

#define KFX_SHA256_HEX_SIZE 65

/* Lower-case hex of SHA-256. */
void kfx_sha256_hex(const void *data, size_t len, char out[KFX_SHA256_HEX_SIZE]);

/* Standard alphabet with padding, no line breaks. Caller frees. */
char *kfx_base64_encode(const void *data, size_t len);
/* Caller frees (wipe it first if it is a secret); NUL-terminated beyond *len. NULL with err when it is no base64. */
char *kfx_base64_decode(const char *text, size_t *len, kfx_error_t *err);

#endif
