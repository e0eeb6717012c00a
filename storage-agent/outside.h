/* storage-agent/outside.h: a database that is not ours, behind the same three calls whatever kind it is.
 *
 * A kfx_outside_t lives for one task. Errors: UNAVAILABLE it cannot be reached; UNAUTHORIZED, FORBIDDEN, INVALID,
 * EXISTS: the message says what to do. None holds a password.
 */
#ifndef KFX_STORAGE_OUTSIDE_H
#define KFX_STORAGE_OUTSIDE_H

#include "base/error.h"
#include "storage-agent/etcd.h"
#include "storage-agent/pg.h"

#include <jansson.h>

typedef struct {
    bool etcd;       /* else Postgres */
    char where[160]; /* for people: host and database, or the endpoints; no user, no password */
    char *endpoint;  /* Postgres: the DSN as kine gets it */
    char *endpoints, *ca, *cert, *key;
    char *adopt; /* NULL: nothing is to be adopted */
    char *host, *port, *database, *user, *password;
    kfx_pg_t *pg;
    kfx_etcd_t client; /* borrows from the above */
} kfx_outside_t;

/* Reads the user's Secret; INVALID names the key. Connects to nothing. */
int kfx_outside_read(kfx_outside_t *self, const json_t *secret, kfx_error_t *err);
void kfx_outside_clear(kfx_outside_t *self); /* also a cleanup function; wipes */

/* Reachable, writable, empty or this plane's, and marked as such. */
int kfx_outside_claim(kfx_outside_t *self, const char *plane, const char *uid, kfx_error_t *err);
/* Deletes a plane's data and its mark; nothing where the mark is another's or none. */
int kfx_outside_empty(kfx_outside_t *self, const char *uid, kfx_error_t *err);

/* "postgres://login:password@host:port/database…" into its parts; false where it is none. Caller frees; wipe the
 * password. */
bool kfx_outside_dsn(const char *dsn, kfx_outside_t *out);

#endif
