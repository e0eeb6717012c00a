/* cli/backup_file.h: the file that `kflex backup` makes of a plane's storage.
 *
 * It holds the keyspace, not a database: each key that exists at one revision, with its value and the revisions at
 * which it was created and last changed. So it is the same whether kine or an etcd kept them.
 *
 *   "KubeFlex backup 1\n"
 *   one line of JSON: whose it is, when it was made, "revision": that of the whole
 *   records, in bytewise order of their keys: length of key (4 bytes), of value (4), revision of creation (8), of the
 *     last change (8), seconds to live (8, 0: for ever), key, value
 *   the end: 4 bytes 0, number of records (8), bytes of keys and values (8), SHA-256 over all before (32)
 *
 * Numbers are big-endian. Values are as secret as the plane's Secrets: a new file has mode 0600. Neither side keeps
 * more than one piece of a value in memory, whatever a file says. Not thread-safe.
 */
#ifndef KFX_CLI_BACKUP_FILE_H
#define KFX_CLI_BACKUP_FILE_H

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define KFX_BACKUP_KEY_MAX 4096
#define KFX_BACKUP_VALUE_MAX (64u << 20) /* kine and etcd take far less */
#define KFX_BACKUP_PIECE 65536

typedef struct {
    char key[KFX_BACKUP_KEY_MAX + 1]; /* NUL-terminated; has no NUL inside */
    uint32_t key_len, value_len;
    int64_t created, changed; /* revisions: 1 <= created <= changed */
    int64_t ttl;              /* seconds; 0: none */
} kfx_backup_record_t;

/* What a file holds in all. */
typedef struct {
    uint64_t records, bytes;
} kfx_backup_sum_t;

typedef struct kfx_backup_writer kfx_backup_writer_t;

/* Makes PATH.part, 0600; nothing may be there. header: borrowed; "revision" must be in it. */
kfx_backup_writer_t *kfx_backup_create(const char *path, const json_t *header, kfx_error_t *err);
/* One record, value_len bytes of value. Keys must ascend. */
int kfx_backup_write(kfx_backup_writer_t *self, const kfx_backup_record_t *record, const void *value, kfx_error_t *err);
/* Writes the end, syncs, and gives the file its name. Takes the writer, also on failure. */
int kfx_backup_finish(kfx_backup_writer_t **self_p, kfx_backup_sum_t *sum, kfx_error_t *err);
/* Removes what was written. NULL-safe. */
void kfx_backup_abort(kfx_backup_writer_t **self_p);

typedef struct kfx_backup_reader kfx_backup_reader_t;

/* Reads the header of an open file (borrowed). INVALID: it is no backup, or a newer kflex's. */
kfx_backup_reader_t *kfx_backup_open(FILE *file, kfx_error_t *err);
void kfx_backup_close(kfx_backup_reader_t **self_p);
const json_t *kfx_backup_header(const kfx_backup_reader_t *self); /* borrowed */
int64_t kfx_backup_revision(const kfx_backup_reader_t *self);
/* The next record without its value, of which what is left unread is passed over. 1; 0 at an end whose checksum is
 * right; -1 with INVALID where the file is cut short or damaged. */
int kfx_backup_next(kfx_backup_reader_t *self, kfx_backup_record_t *record, kfx_error_t *err);
/* The next piece of the record's value into buf: how many bytes, 0 when all was read, -1 with err. */
int kfx_backup_piece(kfx_backup_reader_t *self, char buf[KFX_BACKUP_PIECE], kfx_error_t *err);
const kfx_backup_sum_t *kfx_backup_sum(const kfx_backup_reader_t *self); /* of what was read so far */

static inline void kfx_cleanup_backup_reader(kfx_backup_reader_t **self)
{
    kfx_backup_close(self);
}
#define KFX_BACKUP_READER KFX_CLEANUP(kfx_cleanup_backup_reader)

#endif
