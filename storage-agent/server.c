/* storage-agent/server.c: see server.h. */
#include "storage-agent/server.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/secret.h"

#include <stdio.h>
#include <string.h>

#define PORT "5432"
#define DATABASES_MAX 1000000

/* Lock of preparation, so that two agents do not make the role at once. Any number that no uid hashes to will do. */
#define PREPARE_LOCK "7021871640258713"

static void wipe(char *text)
{
    if (text)
        kfx_wipe(text, strlen(text));
    free(text);
}

static void wiped(char **text)
{
    wipe(*text);
}
#define WIPED KFX_CLEANUP(wiped)

void kfx_server_destroy(kfx_server_t **self_p)
{
    kfx_server_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    free(self->host);
    free(self->port);
    free(self->dsn_host);
    free(self->dsn_port);
    free(self->ca_pem);
    free(self->role);
    wipe(self->password);
    free(self->admin);
    wipe(self->admin_password);
    free(self);
}

kfx_server_t *kfx_server_dup(const kfx_server_t *self)
{
    kfx_server_t *copy = kfx_xcalloc(1, sizeof *copy);
    *copy = *self;
    copy->host = kfx_xstrdup(self->host);
    copy->port = kfx_xstrdup(self->port);
    copy->dsn_host = kfx_xstrdup(self->dsn_host);
    copy->dsn_port = kfx_xstrdup(self->dsn_port);
    copy->ca_pem = kfx_xstrdup(self->ca_pem);
    copy->role = kfx_xstrdup(self->role);
    copy->password = kfx_xstrdup(self->password);
    copy->admin = kfx_xstrdup(self->admin);
    copy->admin_password = kfx_xstrdup(self->admin_password);
    return copy;
}

/* ---- the Secret ------------------------------------------------------------------------------------------------ */

static bool has_key(const json_t *secret, const char *key)
{
    return kfx_json_str(secret, "data", key) != NULL;
}

static int optional(const json_t *secret, const char *key, const char *fallback, char **out, kfx_error_t *err)
{
    *out = has_key(secret, key) ? kfx_secret_value(secret, key, err) : kfx_xstrdup(fallback);
    return *out || !fallback ? 0 : -1;
}

static int check_port(const char *name, const char *key, const char *text, kfx_error_t *err)
{
    char *end;
    long port = strtol(text, &end, 10);
    if (*end || port < 1 || port > 65535)
        return kfx_error_set(err, KFX_E_INVALID, "Secret " KFX_POOL_NAMESPACE "/%s: %s is no port", name, key);
    return 0;
}

/* What becomes part of a DSN must not need quoting in a host's place, where percent-encoding is not understood by all.
 */
static int check_host(const char *name, const char *key, const char *text, kfx_error_t *err)
{
    if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(text))
        return 0;
    return kfx_error_set(err, KFX_E_INVALID, "Secret " KFX_POOL_NAMESPACE "/%s: %s is no host name or IPv4 address",
                         name, key);
}

static int read_limit(const json_t *secret, kfx_server_t *self, kfx_error_t *err)
{
    WIPED char *text = has_key(secret, "max-databases") ? kfx_secret_value(secret, "max-databases", err) : NULL;
    char *end;
    if (!text)
        return has_key(secret, "max-databases") ? -1 : 0;
    self->databases_max = strtol(text, &end, 10);
    if (*end || self->databases_max < 1 || self->databases_max > DATABASES_MAX)
        return kfx_error_set(err, KFX_E_INVALID,
                             "Secret " KFX_POOL_NAMESPACE "/%s: max-databases is no number from 1 to %d", self->name,
                             DATABASES_MAX);
    return 0;
}

static int read_admin(const json_t *secret, kfx_server_t *self, kfx_error_t *err)
{
    if (!has_key(secret, "admin-password"))
        return 0;
    self->admin_password = kfx_secret_value(secret, "admin-password", err);
    if (!self->admin_password || optional(secret, "admin-username", "postgres", &self->admin, err) < 0)
        return -1;
    if (strcmp(self->admin, self->role) != 0)
        return 0;
    return kfx_error_set(err, KFX_E_INVALID,
                         "Secret " KFX_POOL_NAMESPACE
                         "/%s: username must be another role than admin-username: it is made to "
                         "be no superuser",
                         self->name);
}

static int read_all(const json_t *secret, kfx_server_t *self, kfx_error_t *err)
{
    self->host = kfx_secret_value(secret, "host", err);
    if (!self->host || optional(secret, "port", PORT, &self->port, err) < 0 ||
        optional(secret, "dsn-host", self->host, &self->dsn_host, err) < 0 ||
        optional(secret, "dsn-port", self->port, &self->dsn_port, err) < 0)
        return -1;
    if (!(self->ca_pem = kfx_secret_value(secret, "ca.crt", err)) ||
        !(self->role = kfx_secret_value(secret, "username", err)) ||
        !(self->password = kfx_secret_value(secret, "password", err)))
        return -1;
    if (check_host(self->name, "host", self->host, err) < 0 || check_port(self->name, "port", self->port, err) < 0 ||
        check_host(self->name, "dsn-host", self->dsn_host, err) < 0 ||
        check_port(self->name, "dsn-port", self->dsn_port, err) < 0)
        return -1;
    return read_admin(secret, self, err) < 0 || read_limit(secret, self, err) < 0 ? -1 : 0;
}

kfx_server_t *kfx_server_from_secret(const json_t *secret, kfx_error_t *err)
{
    const char *name = kfx_json_str(secret, "metadata", "name");
    KFX_SERVER kfx_server_t *self = kfx_xcalloc(1, sizeof *self);

    if (!name || kfx_copy(self->name, sizeof self->name, name)) {
        kfx_error_set(err, KFX_E_INVALID, "the name of a server, its Secret's, has at most 63 characters");
        return NULL;
    }
    if (strcmp(name, KFX_SERVER_OWN) == 0) {
        kfx_error_set(err, KFX_E_INVALID,
                      "Secret " KFX_POOL_NAMESPACE "/" KFX_SERVER_OWN ": that is the name of KubeFlex's own server");
        return NULL;
    }
    if (read_all(secret, self, err) < 0) {
        kfx_error_wrap(err, "Postgres server %s", name);
        return NULL;
    }
    return KFX_STEAL(self);
}

/* ---- sessions -------------------------------------------------------------------------------------------------- */

kfx_storage_server_t kfx_server_for_dsn(const kfx_server_t *self)
{
    return (kfx_storage_server_t){.host = self->dsn_host, .port = self->dsn_port, .ca_pem = self->ca_pem};
}

kfx_pg_t *kfx_server_open(const kfx_server_t *self, const char *user, const char *password, const char *database,
                          kfx_error_t *err)
{
    kfx_pg_opts_t opts = {.host = self->host,
                          .port = self->port,
                          .database = database,
                          .user = user,
                          .password = password,
                          .ca_pem = self->ca_pem};
    return kfx_pg_connect(&opts, err);
}

/* Everything the agents need to work safely: 0, or what is missing is said in err. */
static int check(const kfx_server_t *self, kfx_pg_t *pg, kfx_error_t *err)
{
    KFX_RESULT PGresult *result =
        kfx_pg_query(pg,
                     "SELECT r.rolsuper, r.rolcreatedb AND r.rolcreaterole, NOT EXISTS (SELECT FROM pg_database d"
                     " WHERE d.datname IN ('postgres', 'template1')"
                     " AND (d.datacl IS NULL OR EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = 0)))"
                     " FROM pg_roles r WHERE r.rolname = current_user",
                     err);
    if (!result)
        return -1;
    if (PQntuples(result) != 1)
        return kfx_error_set(err, KFX_E_FORBIDDEN, "Postgres server %s does not know role %s", self->name, self->role);
    if (strcmp(PQgetvalue(result, 0, 0), "f") != 0)
        return kfx_error_set(
            err, KFX_E_FORBIDDEN,
            "role %s of Postgres server %s is a superuser, which the agents must not be: make one with "
            "CREATE ROLE … LOGIN CREATEDB CREATEROLE and put it into the Secret",
            self->role, self->name);
    if (strcmp(PQgetvalue(result, 0, 1), "t") != 0)
        return kfx_error_set(err, KFX_E_FORBIDDEN,
                             "role %s of Postgres server %s lacks rights: ALTER ROLE \"%s\" CREATEDB CREATEROLE",
                             self->role, self->name, self->role);
    if (strcmp(PQgetvalue(result, 0, 2), "t") != 0)
        return kfx_error_set(
            err, KFX_E_FORBIDDEN,
            "on Postgres server %s PUBLIC may connect to postgres or template1: REVOKE ALL ON DATABASE "
            "postgres, template1 FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO \"%s\"",
            self->name, self->role);
    return 0;
}

kfx_pg_t *kfx_server_connect(const kfx_server_t *self, kfx_error_t *err)
{
    KFX_PG kfx_pg_t *pg = kfx_server_open(self, self->role, self->password, KFX_STORAGE_DATABASE, err);
    if (!pg || check(self, pg, err) < 0)
        return NULL;
    return KFX_STEAL(pg);
}

bool kfx_server_unprepared(const kfx_error_t *err)
{
    return err->code == KFX_E_UNAUTHORIZED || err->code == KFX_E_FORBIDDEN || err->code == KFX_E_NOT_FOUND;
}

int kfx_server_prepare(const kfx_server_t *self, const char *where, kfx_error_t *err)
{
    KFX_PG kfx_pg_t *pg = kfx_server_open(self, self->admin, self->admin_password, KFX_STORAGE_DATABASE, err);
    if (!pg) {
        if (err && err->code == KFX_E_UNAUTHORIZED)
            kfx_error_wrap(err,
                           "the password in Secret %s does not fit the server: put the right one into the Secret, or "
                           "set it with ALTER ROLE %s PASSWORD",
                           where, self->admin);
        return -1;
    }
    KFX_FREE char *role = kfx_pg_identifier(pg, self->role, err);
    KFX_FREE char *role_l = kfx_pg_literal(pg, self->role, err);
    WIPED char *verifier = kfx_pg_verifier(pg, self->role, self->password, err);
    WIPED char *literal = verifier ? kfx_pg_literal(pg, verifier, err) : NULL;
    if (!role || !role_l || !literal || kfx_pg_exec(pg, "SELECT pg_advisory_lock(" PREPARE_LOCK ")", err) < 0)
        return -1;
    KFX_FREE char *seek = kfx_xasprintf("SELECT FROM pg_roles WHERE rolname = %s", role_l);
    KFX_RESULT PGresult *result = kfx_pg_query(pg, seek, err);
    if (!result)
        return -1;
    WIPED char *sql =
        kfx_xasprintf("%s ROLE %s LOGIN NOSUPERUSER CREATEDB CREATEROLE INHERIT NOREPLICATION NOBYPASSRLS "
                      "PASSWORD %s; REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC; "
                      "GRANT CONNECT ON DATABASE postgres TO %s",
                      PQntuples(result) ? "ALTER" : "CREATE", role, literal, role);
    if (kfx_pg_exec(pg, sql, err) < 0)
        return kfx_error_wrap(err, "make role %s on Postgres server %s", self->role, self->name);
    kfx_log_info("role made or put right with the administrator's password", "server", self->name, "role", self->role,
                 NULL);
    return 0;
}

/* ---- room ------------------------------------------------------------------------------------------------------ */

int kfx_server_room(kfx_pg_t *pg, const char *database, kfx_server_room_t *out, kfx_error_t *err)
{
    KFX_FREE char *literal = kfx_pg_literal(pg, database, err);
    KFX_FREE char *sql =
        literal ? kfx_xasprintf("SELECT current_setting('max_connections')::int"
                                " - current_setting('superuser_reserved_connections')::int,"
                                " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
                                " (SELECT count(*) FROM pg_database WHERE datname ~ '_[0-9a-f]{32}$'),"
                                " (SELECT count(*) FROM pg_database WHERE datname = %s)",
                                literal)
                : NULL;
    KFX_RESULT PGresult *result = sql ? kfx_pg_query(pg, sql, err) : NULL;

    memset(out, 0, sizeof *out);
    if (!result)
        return -1;
    out->connections_max = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    out->connections = strtol(PQgetvalue(result, 0, 1), NULL, 10);
    out->databases = strtol(PQgetvalue(result, 0, 2), NULL, 10);
    out->has = strcmp(PQgetvalue(result, 0, 3), "0") != 0;
    return 0;
}
