/* cli/backup_pg.h: a plane's keyspace in the table that kine keeps in a Postgres: read into a backup, written from one.
 * docs/backup.md says what becomes of each part. Blocks; every wait has a deadline. Not thread-safe.
 */
#ifndef KFX_CLI_BACKUP_PG_H
#define KFX_CLI_BACKUP_PG_H

#include "cli/backup_file.h"

#include <libpq-fe.h>

/* What a restore did. */
typedef struct {
    kfx_backup_sum_t sum;
    uint64_t skipped;      /* keys of programs that ran then: not restored */
    uint64_t tokens;       /* Secrets with a service account's token … */
    char first_token[256]; /* … of which this is one: "namespace/name" */
    int64_t revision;      /* where the plane goes on */
} kfx_restored_t;

/* Where the DSN leads to; host "" where it says none. INVALID: it is none of a Postgres. */
int kfx_backup_address(const char *dsn, char host[256], char port[8], kfx_error_t *err);

/* dsn: as kine takes it (secret); ca_pem: authority of the server, or NULL; hostaddr and port: where to connect
 * to instead of what the DSN says (its host's name is still what the certificate must be for), or NULL. */
PGconn *kfx_backup_connect(const char *dsn, const char *ca_pem, const char *hostaddr, const char *port,
                           kfx_error_t *err);

/* All keys at one revision, in one transaction that only reads: nobody waits for it. header gets "revision". */
int kfx_backup_dump(PGconn *pg, const char *path, json_t *header, kfx_backup_sum_t *sum, kfx_error_t *err);

/* Replaces what is there by the file's content, in one transaction that shuts everybody else out of the table. Before
 * it is committed ready (ctx) is called, to end the servers that know the old content; where that or anything else
 * fails, all is as it was. */
int kfx_backup_load(PGconn *pg, FILE *file, int (*ready)(void *ctx, kfx_error_t *err), void *ctx, kfx_restored_t *done,
                    kfx_error_t *err);

bool kfx_backup_passing(const char *key); /* whether it is one of the keys that are skipped */

static inline void kfx_cleanup_pgconn(PGconn **pg)
{
    PQfinish(*pg);
}
#define KFX_PGCONN KFX_CLEANUP(kfx_cleanup_pgconn)

#endif
