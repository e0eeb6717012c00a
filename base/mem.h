/* base/mem.h: small allocations that abort when memory is out, and wiping. Thread-safe. */
#ifndef KFX_MEM_H
#define KFX_MEM_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

void *kfx_xcalloc(size_t count, size_t size); /* zeroed; never NULL */
void *kfx_xrealloc(void *old, size_t size);
char *kfx_xstrdup(const char *text); /* NULL gives NULL */
char *kfx_xasprintf(const char *fmt, ...) KFX_PRINTF(1, 2);

/* Copies text into a fixed buffer, cutting what does not fit (never inside a UTF-8 character); always terminated.
 * Returns true when it was cut. NULL copies as "". */
bool kfx_copy(char *out, size_t size, const char *text);

/* The greatest length <= len at which text is not cut inside a UTF-8 character. */
size_t kfx_utf8_cut(const char *text, size_t len);

/* Overwrites memory in a way the compiler keeps; NULL-safe. */
void kfx_wipe(void *data, size_t len);

#endif
