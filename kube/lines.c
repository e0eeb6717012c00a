/* kube/lines.c: cuts a byte stream into lines, with a bound on each. */
#include "kube/internal.h"

#include <string.h>

void kfx_lines_init(kfx_lines_t *self, size_t max)
{
    self->rest = (kfx_buf_t)KFX_BUF_INIT(max);
}

void kfx_lines_free(kfx_lines_t *self)
{
    kfx_buf_free(&self->rest);
}

void kfx_lines_reset(kfx_lines_t *self)
{
    kfx_buf_clear(&self->rest);
    self->rest.failed = false;
}

static bool deliver(const char *line, size_t len, bool (*on_line)(void *ctx, const char *line, size_t len), void *ctx)
{
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' '))
        len--;
    return len == 0 || on_line(ctx, line, len);
}

int kfx_lines_feed(kfx_lines_t *self, const char *data, size_t len,
                   bool (*on_line)(void *ctx, const char *line, size_t len), void *ctx, kfx_error_t *err)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t part = end ? (size_t)(end - data) : len;
        bool whole = end && self->rest.len == 0; /* the common case needs no copy */
        if (whole ? part > self->rest.max : kfx_buf_add(&self->rest, data, part) != 0)
            return kfx_error_set(err, KFX_E_PROTOCOL, "the server sent a watch event of more than %zu bytes",
                                 self->rest.max);
        if (end) {
            bool go_on =
                whole ? deliver(data, part, on_line, ctx) : deliver(self->rest.data, self->rest.len, on_line, ctx);
            if (!whole)
                kfx_buf_clear(&self->rest);
            if (!go_on)
                return -1;
        }
        size_t used = part + (end ? 1 : 0);
        data += used;
        len -= used;
    }
    return 0;
}
