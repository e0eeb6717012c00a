/* storage-agent/pg.h: one connection to PostgreSQL (libpq, asynchronous), with a deadline on everything.
 *
 * A connection belongs to one thread. It never reconnects by itself: session state (the advisory lock) would be lost
 * without anybody noticing. Errors carry the server's primary message and SQLSTATE, never a statement or a password.
 * Codes: UNAVAILABLE the server is away, starting, full or the connection broke (it is then unusable: close it);
 * UNAUTHORIZED the password or role was refused; FORBIDDEN a right is missing; EXISTS, NOT_FOUND, CONFLICT by SQLSTATE;
 * TIMEOUT a statement took too long; else INTERNAL.
 */
#ifndef KFX_STORAGE_PG_H
#define KFX_STORAGE_PG_H

#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>

typedef struct kfx_pg kfx_pg_t;

typedef struct {
    const char *host; /* name, address, or folder of the unix socket */
    const char *port;
    const char *database;
    const char *user;
    const char *password;
    const char *ca_pem;       /* verify-full against it; NULL only for a unix socket */
    int connect_timeout_ms;   /* 0: 3000 */
    int statement_timeout_ms; /* at the server, 0: 8000; the client gives up 2 s later and drops the connection */
} kfx_pg_opts_t;

kfx_pg_t *kfx_pg_connect(const kfx_pg_opts_t *opts, kfx_error_t *err);
void kfx_pg_close(kfx_pg_t **self_p); /* NULL-safe */

/* False once the connection broke, also where the server closed it while it lay idle. Never blocks. */
bool kfx_pg_alive(kfx_pg_t *self);

/* Runs a statement, or several separated by semicolons (one transaction, as the simple protocol has it). Gives the last
 * result; caller PQclears. sql is sent as it stands: escape with the functions below. */
PGresult *kfx_pg_query(kfx_pg_t *self, const char *sql, kfx_error_t *err);
int kfx_pg_exec(kfx_pg_t *self, const char *sql, kfx_error_t *err);

/* The same for one statement that may take longer than others, since it waits for a checkpoint: CREATE and DROP
 * DATABASE. */
int kfx_pg_exec_long(kfx_pg_t *self, const char *sql, int timeout_ms, kfx_error_t *err);

/* Quoted identifier and literal, caller frees. NULL with err for text that is not valid in the connection's encoding.
 */
char *kfx_pg_identifier(kfx_pg_t *self, const char *name, kfx_error_t *err);
char *kfx_pg_literal(kfx_pg_t *self, const char *text, kfx_error_t *err);

/* SCRAM-SHA-256 verifier of a password, as ALTER ROLE … PASSWORD takes it: so the password itself never reaches the
 * server's log. Caller frees. */
char *kfx_pg_verifier(kfx_pg_t *self, const char *user, const char *password, kfx_error_t *err);

static inline void kfx_cleanup_result(PGresult **result)
{
    PQclear(*result);
}
#define KFX_RESULT KFX_CLEANUP(kfx_cleanup_result)

static inline void kfx_cleanup_pg(kfx_pg_t **self)
{
    kfx_pg_close(self);
}
#define KFX_PG KFX_CLEANUP(kfx_cleanup_pg)

#endif
