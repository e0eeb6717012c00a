/* storage-agent/bootstrap.c: see bootstrap.h. */
#include "storage-agent/bootstrap.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/certs.h"

#include <string.h>

#define PASSWORD_LENGTH 32
#define SANS_MAX 16

static void wiped(char **text)
{
    if (*text)
        kfx_wipe(*text, strlen(*text));
    free(*text);
}
#define WIPED KFX_CLEANUP(wiped)

static bool there(const kfx_bootstrap_t *self, const char *name, int *rc, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    KFX_SECRET json_t *secret = self->secrets.get(self->secrets.ctx, self->ns, name, &local);

    *rc = 0;
    if (!secret && local.code != KFX_E_NOT_FOUND) {
        if (err)
            *err = local;
        *rc = kfx_error_wrap(err, "read Secret %s/%s", self->ns, name);
    }
    return secret != NULL;
}

static int create(const kfx_bootstrap_t *self, json_t *secret, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    KFX_FREE char *name = kfx_xstrdup(kfx_json_str(secret, "metadata", "name"));

    if (self->secrets.create(self->secrets.ctx, self->ns, secret, &local) == 0) {
        kfx_log_info("Secret made", "namespace", self->ns, "name", name, NULL);
        return 0;
    }
    if (local.code == KFX_E_EXISTS)
        return 0; /* somebody else was first: theirs counts */
    if (err)
        *err = local;
    return kfx_error_wrap(err, "create Secret %s/%s", self->ns, name);
}

static int make_admin(const kfx_bootstrap_t *self, kfx_error_t *err)
{
    char password[PASSWORD_LENGTH + 1];
    int rc;

    if (there(self, KFX_SECRET_ADMIN_PASSWORD, &rc, err) || rc < 0)
        return rc;
    if (kfx_random_text(password, PASSWORD_LENGTH, err) < 0)
        return -1;
    json_t *secret = kfx_secret_new(self->ns, KFX_SECRET_ADMIN_PASSWORD, "Opaque");
    kfx_secret_set(secret, "postgres-password", password);
    kfx_wipe(password, sizeof password);
    return create(self, secret, err);
}

static int make_login(const kfx_bootstrap_t *self, kfx_error_t *err)
{
    char password[PASSWORD_LENGTH + 1];
    int rc;

    if (there(self, KFX_SECRET_LOGIN, &rc, err) || rc < 0)
        return rc;
    if (kfx_random_text(password, PASSWORD_LENGTH, err) < 0)
        return -1;
    json_t *secret = kfx_secret_new(self->ns, KFX_SECRET_LOGIN, "kubernetes.io/basic-auth");
    kfx_secret_set(secret, "username", KFX_STORAGE_ROLE);
    kfx_secret_set(secret, "password", password);
    kfx_wipe(password, sizeof password);
    return create(self, secret, err);
}

static int make_tls(const kfx_bootstrap_t *self, const char *service, const char *const *extra, kfx_error_t *err)
{
    KFX_CLEANUP(kfx_server_cert_free) kfx_server_cert_t cert = {0};
    const char *names[SANS_MAX];
    char text[4][256];
    size_t count = 0;
    int rc;

    if (there(self, KFX_SECRET_SERVER_TLS, &rc, err) || rc < 0)
        return rc;
    snprintf(text[0], sizeof text[0], "%s", service);
    snprintf(text[1], sizeof text[1], "%s.%s", service, self->ns);
    snprintf(text[2], sizeof text[2], "%s.%s.svc", service, self->ns);
    snprintf(text[3], sizeof text[3], "%s.%s.svc.cluster.local", service, self->ns);
    for (; count < KFX_COUNT(text); count++)
        names[count] = text[count];
    for (; extra && *extra && count < SANS_MAX; extra++)
        names[count++] = *extra;
    if (kfx_server_cert_make(names, count, &cert, err) < 0)
        return -1;
    json_t *secret = kfx_secret_new(self->ns, KFX_SECRET_SERVER_TLS, "kubernetes.io/tls");
    kfx_secret_set(secret, "ca.crt", cert.ca_pem);
    kfx_secret_set(secret, "tls.crt", cert.cert_pem);
    kfx_secret_set(secret, "tls.key", cert.key_pem);
    return create(self, secret, err);
}

/* A value of a Secret that must be there. Fresh: wipe it. */
static char *read_value(const kfx_bootstrap_t *self, const char *name, const char *key, kfx_error_t *err)
{
    KFX_SECRET json_t *secret = self->secrets.get(self->secrets.ctx, self->ns, name, err);
    if (!secret) {
        kfx_error_wrap(err, "read Secret %s/%s", self->ns, name);
        return NULL;
    }
    return kfx_secret_value(secret, key, err);
}

int kfx_bootstrap_secrets(const kfx_bootstrap_t *self, const char *service, const char *const *extra, char **ca_pem,
                          kfx_error_t *err)
{
    /* What the Postgres pod waits for comes first. */
    if (make_admin(self, err) < 0 || make_tls(self, service, extra, err) < 0 || make_login(self, err) < 0)
        return -1;
    *ca_pem = read_value(self, KFX_SECRET_SERVER_TLS, "ca.crt", err);
    return *ca_pem ? 0 : -1;
}

kfx_server_t *kfx_bootstrap_server(const kfx_bootstrap_t *self, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    WIPED char *password = read_value(self, KFX_SECRET_LOGIN, "password", &local);
    if (!password && local.code == KFX_E_NOT_FOUND && make_login(self, err) == 0)
        password = read_value(self, KFX_SECRET_LOGIN, "password", &local);
    if (!password) {
        if (err)
            *err = local;
        return NULL;
    }
    kfx_server_t *server = kfx_xcalloc(1, sizeof *server);
    kfx_copy(server->name, sizeof server->name, KFX_SERVER_OWN);
    server->host = kfx_xstrdup(self->postgres_host);
    server->port = kfx_xstrdup(self->postgres_port);
    server->dsn_host = kfx_xstrdup(self->dsn_host);
    server->dsn_port = kfx_xstrdup(self->dsn_port);
    server->ca_pem = kfx_xstrdup(self->ca_pem);
    server->role = kfx_xstrdup(KFX_STORAGE_ROLE);
    server->password = KFX_STEAL(password);
    return server;
}

int kfx_bootstrap_admin(const kfx_bootstrap_t *self, kfx_server_t *server, kfx_error_t *err)
{
    server->admin_password = read_value(self, KFX_SECRET_ADMIN_PASSWORD, "postgres-password", err);
    if (!server->admin_password)
        return -1;
    server->admin = kfx_xstrdup("postgres");
    return 0;
}
