/* storage-agent/server.h: one Postgres server of the pool: where it is, how we log in, and what it must be like.
 *
 * The pool is the server that KubeFlex brings (bootstrap.h) and whatever Secrets of namespace kubeflex-storage carry
 * the label kflex.kubestellar.org/storage-pool=postgres. The Secret's name is the server's; its keys are
 *
 *   host, port: as the agents reach it; 5432 where the port is left out
 *
 *   dsn-host, dsn-port: as control planes reach it, if that is through another address
 *
 *   ca.crt: verifies its certificate (verify-full)
 *
 *   username, password: a role with CREATEDB and CREATEROLE that is no superuser
 *
 *   admin-username, admin-password (optional): with them we make that role, and close what is open to PUBLIC
 *
 *   max-databases (optional): no plane is put there that would be one more
 *
 * A kfx_server_t is a value: whoever holds it owns it. Any thread.
 */
#ifndef KFX_STORAGE_SERVER_H
#define KFX_STORAGE_SERVER_H

#include "storage-agent/names.h"
#include "storage-agent/pg.h"

#include <jansson.h>

#define KFX_POOL_NAMESPACE "kubeflex-storage"
#define KFX_POOL_LABEL "kflex.kubestellar.org/storage-pool"
#define KFX_POOL_LABEL_VALUE "postgres"
#define KFX_SERVER_OWN "default"        /* name of the server that KubeFlex brings */
#define KFX_STORAGE_DATABASE "postgres" /* where the agents' sessions and locks live; holds no tenant's data */

typedef struct {
    char name[KFX_PG_NAME_SIZE];
    char *host, *port;
    char *dsn_host, *dsn_port;
    char *ca_pem;
    char *role, *password;
    char *admin, *admin_password; /* NULL: none is known */
    long databases_max;           /* 0: as many as its connections allow */
} kfx_server_t;

/* INVALID where a key is missing or no good: the error names the Secret and the key. Fresh. */
kfx_server_t *kfx_server_from_secret(const json_t *secret, kfx_error_t *err);
void kfx_server_destroy(kfx_server_t **self_p); /* NULL-safe; wipes the passwords */
kfx_server_t *kfx_server_dup(const kfx_server_t *self);
#define KFX_SERVER KFX_CLEANUP(kfx_server_destroy)

/* How kine reaches it; borrows from self. */
kfx_storage_server_t kfx_server_for_dsn(const kfx_server_t *self);

/* A session of that login to a database. */
kfx_pg_t *kfx_server_open(const kfx_server_t *self, const char *user, const char *password, const char *database,
                          kfx_error_t *err);
/* A session as the agents' role to database postgres, where everything is as it has to be. FORBIDDEN: the error says
 * what is not, and the statements that put it right. */
kfx_pg_t *kfx_server_connect(const kfx_server_t *self, kfx_error_t *err);
/* With the administrator's password: makes the role or puts it right, closes postgres and template1 to PUBLIC. where:
 * the Secret of that password, for the error. The one place where it is used. */
int kfx_server_prepare(const kfx_server_t *self, const char *where, kfx_error_t *err);
/* True where such an error of kfx_server_connect is one that kfx_server_prepare may heal. */
bool kfx_server_unprepared(const kfx_error_t *err);

/* How much room it has. */
typedef struct {
    long connections_max; /* open to those who are no superusers */
    long connections;     /* open now */
    long databases;       /* of planes */
    bool has;             /* the database that was asked for is there */
} kfx_server_room_t;
int kfx_server_room(kfx_pg_t *pg, const char *database, kfx_server_room_t *out, kfx_error_t *err);

#endif
