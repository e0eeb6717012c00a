/* kube/websocket.h: the client's side of WebSocket (RFC 6455), as far as port-forwarding needs it: the handshake's key,
 * the answer's head, and frames. Pure functions over buffers (but for the randomness of masks): thread-safe. Debian's
 * libcurl is built without its WebSocket API. */
#ifndef KFX_KUBE_WEBSOCKET_H
#define KFX_KUBE_WEBSOCKET_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

#define KFX_WS_FRAME_MAX (1u << 20) /* bytes of one frame that is taken */
#define KFX_WS_KEY_SIZE 32          /* base64 of 16 or 20 bytes, and NUL */

typedef enum {
    KFX_WS_CONTINUATION = 0,
    KFX_WS_TEXT = 1,
    KFX_WS_BINARY = 2,
    KFX_WS_CLOSE = 8,
    KFX_WS_PING = 9,
    KFX_WS_PONG = 10
} kfx_ws_opcode_t;

typedef struct {
    kfx_ws_opcode_t opcode;
    bool fin;
    const char *data; /* in the buffer it was taken from, until that changes */
    size_t len;
    size_t size; /* of the whole frame: what to drop from the buffer afterwards */
} kfx_ws_frame_t;

/* A fresh Sec-WebSocket-Key, and the Sec-WebSocket-Accept that answers it. */
int kfx_ws_key(char key[KFX_WS_KEY_SIZE], kfx_error_t *err);
void kfx_ws_accept(const char *key, char accept[KFX_WS_KEY_SIZE]);

/* The value of a header of an answer's head (lines ended by CRLF, NUL at the end), or "": none, or longer than out. */
void kfx_head_value(const char *head, const char *name, char *out, size_t size);

/* Appends a masked frame. -1 where the buffer's maximum or the system's randomness stands in the way. */
int kfx_ws_put(kfx_buf_t *out, kfx_ws_opcode_t opcode, const void *head, size_t head_len, const void *data, size_t len,
               kfx_error_t *err);
/* Looks at the frame in front: 1 it is whole, 0 more bytes are needed, -1 it is no frame of a server (PROTOCOL). */
int kfx_ws_peek(const kfx_buf_t *in, kfx_ws_frame_t *frame, kfx_error_t *err);

#endif
