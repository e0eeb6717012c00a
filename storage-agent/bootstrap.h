/* storage-agent/bootstrap.h: the Postgres server that KubeFlex brings: its three Secrets, and how the agents log in.
 *
 * Secrets in kubeflex-system, made with create-only requests, so that each is made once whoever comes first:
 *   postgres-postgresql      postgres-password: the superuser's; the server's first start reads it
 *   postgres-postgresql-tls  ca.crt, tls.crt, tls.key of the server
 *   kubeflex-storage-login   username, password of the role the agents work with
 * The superuser's password is read only where the agents' role has to be made or put right.
 */
#ifndef KFX_STORAGE_BOOTSTRAP_H
#define KFX_STORAGE_BOOTSTRAP_H

#include "storage-agent/secret.h"
#include "storage-agent/server.h"

#define KFX_SECRET_ADMIN_PASSWORD "postgres-postgresql"
#define KFX_SECRET_SERVER_TLS "postgres-postgresql-tls"
#define KFX_SECRET_LOGIN "kubeflex-storage-login"
#define KFX_STORAGE_ROLE "kubeflex_storage"

typedef struct {
    const char *ns;            /* "kubeflex-system" */
    const char *postgres_host; /* as the agent reaches it */
    const char *postgres_port;
    const char *dsn_host; /* as kine reaches it */
    const char *dsn_port;
    const char *ca_pem; /* set by kfx_bootstrap_secrets; NULL before */
    kfx_secrets_t secrets;
} kfx_bootstrap_t;

/* Makes what is missing and reads the CA: *ca_pem is fresh. service: the Postgres Service's name, the certificate's
 * SANs are it, its names within the cluster, and extra (NULL-terminated; may be NULL). */
int kfx_bootstrap_secrets(const kfx_bootstrap_t *self, const char *service, const char *const *extra, char **ca_pem,
                          kfx_error_t *err);

/* How the agents reach it and log in; makes Secret kubeflex-storage-login where it is missing. Without the
 * administrator's password. Fresh. */
kfx_server_t *kfx_bootstrap_server(const kfx_bootstrap_t *self, kfx_error_t *err);
/* Adds the administrator's password. */
int kfx_bootstrap_admin(const kfx_bootstrap_t *self, kfx_server_t *server, kfx_error_t *err);

#endif
