/* base/buf.h: a growing byte buffer with a hard maximum, so that no input grows memory without bound.
 * Not thread-safe. The content is always NUL-terminated (the NUL is not counted). */
#ifndef KFX_BUF_H
#define KFX_BUF_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *data; /* NULL while empty */
    size_t len;
    size_t cap;
    size_t max;  /* bytes; 0 means 64 MiB */
    bool failed; /* sticky: an append would have gone over max or memory ran out */
} kfx_buf_t;

#define KFX_BUF_INIT(maximum)                                                                                          \
    {                                                                                                                  \
        NULL, 0, 0, (maximum), false                                                                                   \
    }

/* 0, or -1 with failed set and the content unchanged. */
int kfx_buf_add(kfx_buf_t *buf, const void *data, size_t len);
int kfx_buf_adds(kfx_buf_t *buf, const char *text);
int kfx_buf_addf(kfx_buf_t *buf, const char *fmt, ...) KFX_PRINTF(2, 3);

/* Removes the first n bytes. */
void kfx_buf_drop(kfx_buf_t *buf, size_t n);
void kfx_buf_clear(kfx_buf_t *buf);               /* keeps the memory */
char *kfx_buf_steal(kfx_buf_t *buf, size_t *len); /* caller frees; "" never NULL unless out of memory */
void kfx_buf_free(kfx_buf_t *buf);                /* also the cleanup function: KFX_BUF kfx_buf_t b = … */
void kfx_buf_wipe(kfx_buf_t *buf);                /* overwrites, then frees: for secrets */

#define KFX_BUF __attribute__((cleanup(kfx_buf_free)))

#endif
