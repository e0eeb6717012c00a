/* watcher/intern.h: one copy of each text that many objects share (names of Secrets, uids of owners), counted by
 * reference. Single-threaded: the main loop. */
#ifndef KFX_WATCHER_INTERN_H
#define KFX_WATCHER_INTERN_H

#include <stddef.h>

/* Borrowed text equal to `text` that lives until as many kfx_unintern have been called; NULL gives NULL. Equal texts
 * have equal addresses. */
const char *kfx_intern(const char *text);
void kfx_unintern(const char *interned); /* NULL-safe */
/* *slot = the interned text; the old one is given back. */
void kfx_intern_set(const char **slot, const char *text);
size_t kfx_intern_count(void); /* texts alive, for tests */

#endif
