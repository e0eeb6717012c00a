/* storage-agent/names.h: what a plane's database and roles are called, what its DSN says, and how its Secret is hashed.
 *
 * A name is the plane's, cut to 26 bytes, for people, and the uid's 32 hex digits, for safety: nothing of another
 * plane, not even of one with the same name, can be meant by it. 26 + 1 + 32 + 2 = 61 bytes stay below PostgreSQL's 63.
 * Pure functions: thread-safe.
 */
#ifndef KFX_STORAGE_NAMES_H
#define KFX_STORAGE_NAMES_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define KFX_PG_NAME_SIZE 64                    /* NAMEDATALEN: 63 bytes and NUL */
#define KFX_PG_NAME_CUT 26                     /* bytes of the plane's name that are kept */
#define KFX_PASSWORD_SIZE 65                   /* longest password a DSN of ours holds, and NUL */
#define KFX_DSN_CA_FILE "/etc/kine/tls/ca.crt" /* where the reconciler mounts ca.crt of Secret kine-dsn */

typedef struct {
    char database[KFX_PG_NAME_SIZE]; /* "cp1_4f0c…" */
    char owner[KFX_PG_NAME_SIZE];    /* NOLOGIN role that owns it: the same name (roles are another name space) */
    char login[KFX_PG_NAME_SIZE];    /* "cp1_4f0c…_a": the login role in use … */
    char other[KFX_PG_NAME_SIZE];    /* "cp1_4f0c…_b": … and the one that takes turns with it, for a new password */
    int64_t lock;                    /* key of the advisory lock, from the uid */
} kfx_storage_names_t;

/* login ends in _a. INVALID where uid is no UUID (then it would be no safe name) or plane is empty. */
int kfx_storage_names(const char *plane, const char *uid, kfx_storage_names_t *out, kfx_error_t *err);

/* login and other change places. */
void kfx_storage_names_swap(kfx_storage_names_t *names);

/* Where kine reaches Postgres. */
typedef struct {
    const char *host;
    const char *port;
    const char *ca_pem; /* verifies the server; public */
} kfx_storage_server_t;

/* Percent-encodes everything but unreserved characters (RFC 3986). Caller frees. */
char *kfx_url_escape(const char *text);

/* postgres://login:password@host:port/database?sslmode=verify-full&sslrootcert=/etc/kine/tls/ca.crt. Caller wipes and
 * frees. */
char *kfx_dsn_write(const kfx_storage_names_t *names, const kfx_storage_server_t *server, const char *password);

/* The password in a DSN that kfx_dsn_write made for these names (the server may be another). False where it is no such
 * DSN: another login, another database, damaged. */
bool kfx_dsn_password(const char *dsn, const kfx_storage_names_t *names, char password[KFX_PASSWORD_SIZE]);

/* The applied-hash of Secret kine-dsn is "<16 hex digits>-<14 hex digits>". The first part is of what is desired
 * without the password (which nobody can compute again): names, server, CA, form. The second is new with each password,
 * so that the pod template, which carries the hash, rolls when the password changes: 4 digits are the day it was made
 * (since 1970), 5 the request it was made for (kfx_digest_t.rotate; 0 without one), 5 are random. So a digest tells
 * whether a new password is due. */
#define KFX_DSN_HASH_SIZE 32
#define KFX_DSN_HASH_PART 17
#define KFX_DSN_STAMP_SIZE 15
#define KFX_DSN_STAMP_REQUEST 5
void kfx_dsn_hash(const kfx_storage_names_t *names, const kfx_storage_server_t *server, char out[KFX_DSN_HASH_PART]);
/* True where applied (from a digest) begins with the wanted part and has a well-formed second one. */
bool kfx_dsn_hash_matches(const char *applied, const char wanted[KFX_DSN_HASH_PART]);
/* The second part of a whole applied-hash, or NULL where it is not well-formed. Borrowed. */
const char *kfx_dsn_stamp(const char *applied);
/* A new one. random5: five hex digits. */
void kfx_dsn_stamp_make(long day, const char *rotate, const char *random5, char out[KFX_DSN_STAMP_SIZE]);
long kfx_dsn_stamp_day(const char *stamp);
/* A new password is due: asked for by a request that it was not made for, or older than days_max (0: any age will do).
 * rotate: as in kfx_digest_t. */
bool kfx_dsn_stamp_due(const char *stamp, const char *rotate, long today, long days_max);

#endif
