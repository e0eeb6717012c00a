/* storage-agent/bootstrap.c: see bootstrap.h. */
#include "storage-agent/bootstrap.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/certs.h"

#include <string.h>

#define PASSWORD_LENGTH 32
#define SANS_MAX 16

/* Lock of bootstrap, so that two agents do not make the role at once. Any number that no uid hashes to will do. */
#define BOOTSTRAP_LOCK "7021871640258713"

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

static kfx_pg_t *connect_as(const kfx_bootstrap_t *self, const char *user, const char *password, kfx_error_t *err)
{
    kfx_pg_opts_t opts = {.host = self->postgres_host,
                          .port = self->postgres_port,
                          .database = KFX_STORAGE_DATABASE,
                          .user = user,
                          .password = password,
                          .ca_pem = self->ca_pem};
    return kfx_pg_connect(&opts, err);
}

/* Everything the agents need to work safely: true, or what is missing is said in err. */
static int check(kfx_pg_t *pg, kfx_error_t *err)
{
    KFX_RESULT PGresult *result = kfx_pg_query(
        pg,
        "SELECT r.rolcreatedb AND r.rolcreaterole AND NOT r.rolsuper AND NOT EXISTS (SELECT FROM pg_database d"
        " WHERE d.datname IN ('postgres', 'template1')"
        " AND (d.datacl IS NULL OR EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = 0)))"
        " FROM pg_roles r WHERE r.rolname = '" KFX_STORAGE_ROLE "'",
        err);
    if (!result)
        return -1;
    if (PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0)
        return 0;
    return kfx_error_set(err, KFX_E_FORBIDDEN,
                         "role " KFX_STORAGE_ROLE " lacks rights, or PUBLIC may connect to postgres or template1");
}

/* The one place where the superuser's password is used. */
static int make_role(const kfx_bootstrap_t *self, const char *password, kfx_error_t *err)
{
    WIPED char *admin = read_value(self, KFX_SECRET_ADMIN_PASSWORD, "postgres-password", err);
    if (!admin)
        return -1;
    KFX_PG kfx_pg_t *pg = connect_as(self, "postgres", admin, err);
    if (!pg) {
        if (err && err->code == KFX_E_UNAUTHORIZED)
            kfx_error_wrap(err,
                           "the password in Secret %s/" KFX_SECRET_ADMIN_PASSWORD
                           " does not fit the server: put the right one "
                           "into the Secret, or set it with ALTER ROLE postgres PASSWORD",
                           self->ns);
        return -1;
    }
    WIPED char *verifier = kfx_pg_verifier(pg, KFX_STORAGE_ROLE, password, err);
    WIPED char *literal = verifier ? kfx_pg_literal(pg, verifier, err) : NULL;
    if (!literal || kfx_pg_exec(pg, "SELECT pg_advisory_lock(" BOOTSTRAP_LOCK ")", err) < 0)
        return -1;
    KFX_RESULT PGresult *result = kfx_pg_query(pg, "SELECT FROM pg_roles WHERE rolname = '" KFX_STORAGE_ROLE "'", err);
    if (!result)
        return -1;
    KFX_FREE char *sql =
        kfx_xasprintf("%s ROLE " KFX_STORAGE_ROLE
                      " LOGIN NOSUPERUSER CREATEDB CREATEROLE INHERIT NOREPLICATION NOBYPASSRLS PASSWORD %s; "
                      "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC; "
                      "GRANT CONNECT ON DATABASE postgres TO " KFX_STORAGE_ROLE,
                      PQntuples(result) ? "ALTER" : "CREATE", literal);
    int rc = kfx_pg_exec(pg, sql, err);
    kfx_wipe(sql, strlen(sql));
    if (rc < 0)
        return kfx_error_wrap(err, "make role " KFX_STORAGE_ROLE);
    kfx_log_info("role made or put right with the administrator's password", "role", KFX_STORAGE_ROLE, NULL);
    return 0;
}

kfx_pg_t *kfx_bootstrap_connect(const kfx_bootstrap_t *self, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;

    if (make_login(self, err) < 0)
        return NULL;
    WIPED char *password = read_value(self, KFX_SECRET_LOGIN, "password", err);
    if (!password)
        return NULL;
    KFX_PG kfx_pg_t *pg = connect_as(self, KFX_STORAGE_ROLE, password, &local);
    if (pg && check(pg, &local) == 0)
        return KFX_STEAL(pg);
    if (local.code != KFX_E_UNAUTHORIZED && local.code != KFX_E_FORBIDDEN && local.code != KFX_E_NOT_FOUND) {
        if (err)
            *err = local;
        return NULL;
    }
    kfx_log_info("bootstrap with the administrator's password", "because", local.msg, NULL);
    if (make_role(self, password, err) < 0)
        return NULL;
    kfx_pg_close(&pg);
    pg = connect_as(self, KFX_STORAGE_ROLE, password, err);
    if (!pg || check(pg, err) < 0)
        return NULL;
    return KFX_STEAL(pg);
}
