#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void *or_abort(void *p)
{
    if (!p) {
        static const char text[] = "out of memory\n";
        ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
        (void)ignored;
        abort();
    }
    return p;
}

void *kfx_xcalloc(size_t count, size_t size)
{
    return or_abort(calloc(count ? count : 1, size ? size : 1));
}

void *kfx_xrealloc(void *old, size_t size)
{
    return or_abort(realloc(old, size ? size : 1));
}

char *kfx_xstrdup(const char *text)
{
    return text ? or_abort(strdup(text)) : NULL;
}

char *kfx_xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    return or_abort(n < 0 ? NULL : text);
}

size_t kfx_utf8_cut(const char *text, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 4) {
        unsigned char c = (unsigned char)text[--start];
        if ((c & 0xC0) == 0x80)
            continue;
        size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
        return len - start < need ? start : len;
    }
    return len;
}

bool kfx_copy(char *out, size_t size, const char *text)
{
    if (size == 0)
        return text && *text;
    size_t len = text ? strlen(text) : 0;
    bool cut = len >= size;
    if (cut)
        len = kfx_utf8_cut(text, size - 1);
    if (len > 0)
        memmove(out, text, len);
    out[len] = 0;
    return cut;
}

void kfx_wipe(void *data, size_t len)
{
    if (data)
        explicit_bzero(data, len);
}
