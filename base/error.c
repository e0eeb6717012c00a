#include "base/error.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

#undef kfx_error_set
#undef kfx_error_wrap

/* The arguments may point into err->msg itself, so the text is made elsewhere first. */
static void store(kfx_error_t *err, const char *fmt, va_list args)
{
    char text[sizeof err->msg];
    int n = vsnprintf(text, sizeof text, fmt, args);
    if (n < 0)
        text[0] = 0;
    if (n >= (int)sizeof text)
        text[kfx_utf8_cut(text, sizeof text - 1)] = 0;
    kfx_copy(err->msg, sizeof err->msg, text);
}

int kfx_error_set(kfx_error_t *err, kfx_code_t code, const char *fmt, ...)
{
    if (!err)
        return -1;
    err->code = code;
    va_list args;
    va_start(args, fmt);
    store(err, fmt, args);
    va_end(args);
    return -1;
}

int kfx_error_wrap(kfx_error_t *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    kfx_error_t context = KFX_ERROR_INIT;
    va_list args;
    va_start(args, fmt);
    store(&context, fmt, args);
    va_end(args);
    return kfx_error_set(err, err->code, "%s: %s", context.msg, err->msg);
}

const char *kfx_code_name(kfx_code_t code)
{
    static const char *const names[] = {
        [KFX_OK] = "OK",
        [KFX_E_INVALID] = "Invalid",
        [KFX_E_NOT_FOUND] = "NotFound",
        [KFX_E_EXISTS] = "Exists",
        [KFX_E_CONFLICT] = "Conflict",
        [KFX_E_FORBIDDEN] = "Forbidden",
        [KFX_E_UNAUTHORIZED] = "Unauthorized",
        [KFX_E_GONE] = "Gone",
        [KFX_E_BUSY] = "Busy",
        [KFX_E_UNAVAILABLE] = "Unavailable",
        [KFX_E_TIMEOUT] = "Timeout",
        [KFX_E_FENCED] = "Fenced",
        [KFX_E_CANCELED] = "Canceled",
        [KFX_E_PROTOCOL] = "Protocol",
        [KFX_E_INTERNAL] = "Internal",
    };
    return (size_t)code < KFX_COUNT(names) ? names[code] : "Unknown";
}

bool kfx_code_transient(kfx_code_t code)
{
    return code == KFX_E_BUSY || code == KFX_E_UNAVAILABLE || code == KFX_E_TIMEOUT;
}
