/* base/file.h: whole files, read with a bound and replaced atomically. */
#ifndef KFX_FILE_H
#define KFX_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

/* The whole file, NUL-terminated beyond *len (len may be NULL); caller frees. Errors name the path and the reason;
 * NOT_FOUND where it does not exist, INVALID where it is larger than max bytes. */
char *kfx_file_read(const char *path, size_t max, size_t *len, kfx_error_t *err);

/* Temporary file beside it, fsync, rename: readers see the old or the new content, never half of it. An existing file
 * keeps its mode and owner; a new one gets mode. A symbolic link is followed, its target replaced. */
int kfx_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, kfx_error_t *err);

/* Gives a complete file, whose content is on the disk, its name in the same folder, and brings that to the disk, too.
 * -1 with errno. */
int kfx_file_put_in_place(const char *from, const char *path);

/* Exclusive lock held while the descriptor is open (path is created, 0600). Waits up to timeout_ms.
 * The descriptor (close it to unlock), or -1: TIMEOUT names who might hold it. */
int kfx_file_lock(const char *path, int timeout_ms, kfx_error_t *err);

#endif
