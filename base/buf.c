#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_MAX ((size_t)64 << 20)
#define FIRST_CAP ((size_t)256)

static size_t limit(const kfx_buf_t *buf)
{
    return buf->max ? buf->max : DEFAULT_MAX;
}

/* Room for extra more bytes and the NUL. Not realloc: it could leave a copy of a secret behind that kfx_buf_wipe
 * misses. */
static int reserve(kfx_buf_t *buf, size_t extra)
{
    size_t max = limit(buf);
    if (buf->len > max || extra > max - buf->len) {
        buf->failed = true;
        return -1;
    }
    size_t need = buf->len + extra + 1;
    if (need <= buf->cap)
        return 0;
    size_t cap = buf->cap ? buf->cap : FIRST_CAP;
    while (cap < need)
        cap = cap > max / 2 ? max + 1 : cap * 2;
    char *data = malloc(cap);
    if (!data) {
        buf->failed = true;
        return -1;
    }
    if (buf->len > 0)
        memcpy(data, buf->data, buf->len);
    data[buf->len] = 0;
    kfx_wipe(buf->data, buf->len);
    free(buf->data);
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int kfx_buf_add(kfx_buf_t *buf, const void *data, size_t len)
{
    if (len == 0)
        return 0;
    if (reserve(buf, len) < 0)
        return -1;
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = 0;
    return 0;
}

int kfx_buf_adds(kfx_buf_t *buf, const char *text)
{
    return kfx_buf_add(buf, text, strlen(text));
}

int kfx_buf_addf(kfx_buf_t *buf, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    size_t room = buf->cap - buf->len;
    int n = vsnprintf(room ? buf->data + buf->len : NULL, room, fmt, args);
    va_end(args);

    int rc = 0;
    if (n < 0) {
        buf->failed = true;
        rc = -1;
    } else if (n > 0 && reserve(buf, (size_t)n) < 0) {
        rc = -1;
    } else if (n > 0) {
        if ((size_t)n >= room)
            vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    }
    va_end(again);
    if (rc < 0 && buf->data)
        buf->data[buf->len] = 0;
    return rc;
}

void kfx_buf_drop(kfx_buf_t *buf, size_t n)
{
    if (n > buf->len)
        n = buf->len;
    if (n == 0)
        return;
    memmove(buf->data, buf->data + n, buf->len - n + 1);
    buf->len -= n;
}

void kfx_buf_clear(kfx_buf_t *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = 0;
}

char *kfx_buf_steal(kfx_buf_t *buf, size_t *len)
{
    if (len)
        *len = buf->len;
    char *data = buf->data ? buf->data : strdup("");
    buf->data = NULL;
    buf->len = buf->cap = 0;
    return data;
}

void kfx_buf_free(kfx_buf_t *buf)
{
    free(buf->data);
    *buf = (kfx_buf_t)KFX_BUF_INIT(buf->max);
}

void kfx_buf_wipe(kfx_buf_t *buf)
{
    kfx_wipe(buf->data, buf->cap);
    kfx_buf_free(buf);
}
