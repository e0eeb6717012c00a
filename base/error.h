/* base/error.h: how a function says what went wrong.
 *
 * Convention: a function that can fail takes `kfx_error_t *err` as its last argument and returns 0 (or a pointer) on
 * success, leaving err untouched, and -1 (or NULL) on failure with err filled. err may be NULL where the caller does
 * not care. Outer layers add context with kfx_error_wrap, as in "create Namespace cp1-system: connection refused". The
 * message is for people: it names the thing and, where there is one, the remedy. It never holds a secret. No ownership:
 * the struct lives on the caller's stack.
 */
#ifndef KFX_ERROR_H
#define KFX_ERROR_H

#include "base/cleanup.h"

#include <stdbool.h>

typedef enum {
    KFX_OK = 0,
    KFX_E_INVALID,      /* the input is wrong: repeating the call cannot help */
    KFX_E_NOT_FOUND,    /* the named thing does not exist */
    KFX_E_EXISTS,       /* it exists already */
    KFX_E_CONFLICT,     /* it changed meanwhile, or belongs to somebody else */
    KFX_E_FORBIDDEN,    /* known who we are, not allowed */
    KFX_E_UNAUTHORIZED, /* not known who we are */
    KFX_E_GONE,         /* 410: the resourceVersion is too old */
    KFX_E_BUSY,         /* 429: asked to come back later */
    KFX_E_UNAVAILABLE,  /* the target cannot be reached or cannot serve now */
    KFX_E_TIMEOUT,      /* the deadline passed; the effect is unknown */
    KFX_E_FENCED,       /* our lease is over: no write was started */
    KFX_E_CANCELED,     /* asked to stop */
    KFX_E_PROTOCOL,     /* the peer sent what it must not send */
    KFX_E_INTERNAL      /* a fault of our own or of the machine */
} kfx_code_t;

typedef struct {
    kfx_code_t code;
    char msg[1024]; /* truncated, always terminated */
} kfx_error_t;

#define KFX_ERROR_INIT                                                                                                 \
    {                                                                                                                  \
        KFX_OK, ""                                                                                                     \
    }

/* Fills err and returns -1, so that `return kfx_error_set (...)` reads well. */
int kfx_error_set(kfx_error_t *err, kfx_code_t code, const char *fmt, ...) KFX_PRINTF(3, 4);

/* Puts "context: " before the message, keeps the code, returns -1. */
int kfx_error_wrap(kfx_error_t *err, const char *fmt, ...) KFX_PRINTF(2, 3);

/* The static analyzer reads one file at a time and must be told that these always fail. */
#ifdef __clang_analyzer__
#define kfx_error_set(...) (kfx_error_set(__VA_ARGS__), -1)
#define kfx_error_wrap(...) (kfx_error_wrap(__VA_ARGS__), -1)
#endif

/* "NotFound", "Conflict" …: stable words for logs and metrics. Never NULL. */
const char *kfx_code_name(kfx_code_t code);

/* True where the same call may succeed later without anybody changing anything: busy, unavailable, timeout. */
bool kfx_code_transient(kfx_code_t code);

#endif
