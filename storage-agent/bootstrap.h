/* storage-agent/bootstrap.h: what has to be there once: three Secrets, the agent's own role, a closed Postgres.
 *
 * Secrets in kubeflex-system, made with create-only requests, so that each is made once whoever comes first:
 *   postgres-postgresql      postgres-password: the superuser's; the server's first start reads it
 *   postgres-postgresql-tls  ca.crt, tls.crt, tls.key of the server
 *   kubeflex-storage-login   username, password of the role the agents work with
 * The superuser's password is used in kfx_bootstrap_role alone.
 */
#ifndef KFX_STORAGE_BOOTSTRAP_H
#define KFX_STORAGE_BOOTSTRAP_H

#include "storage-agent/pg.h"
#include "storage-agent/secret.h"

#define KFX_SECRET_ADMIN_PASSWORD "postgres-postgresql"
#define KFX_SECRET_SERVER_TLS "postgres-postgresql-tls"
#define KFX_SECRET_LOGIN "kubeflex-storage-login"
#define KFX_STORAGE_ROLE "kubeflex_storage"
#define KFX_STORAGE_DATABASE "postgres" /* where the agents' sessions and locks live; holds no tenant's data */

typedef struct {
    const char *ns;            /* "kubeflex-system" */
    const char *postgres_host; /* as the agent reaches it */
    const char *postgres_port;
    const char *ca_pem; /* set by kfx_bootstrap_secrets; NULL before */
    kfx_secrets_t secrets;
} kfx_bootstrap_t;

/* Makes what is missing and reads the CA: *ca_pem is fresh. service: the Postgres Service's name, the certificate's
 * SANs are it, its names within the cluster, and extra (NULL-terminated; may be NULL). */
int kfx_bootstrap_secrets(const kfx_bootstrap_t *self, const char *service, const char *const *extra, char **ca_pem,
                          kfx_error_t *err);

/* A connection as kubeflex_storage to database postgres. Where the role is missing, refused or short of rights, or
 * PUBLIC may still connect to postgres or template1, that is put right with the superuser's password first. The error
 * of a refused password names the Secret and the remedy. */
kfx_pg_t *kfx_bootstrap_connect(const kfx_bootstrap_t *self, kfx_error_t *err);

#endif
