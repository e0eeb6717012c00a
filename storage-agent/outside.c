/* storage-agent/outside.c: see outside.h. */
#include "storage-agent/outside.h"

#include "base/json.h"
#include "base/mem.h"
#include "storage-agent/names.h"
#include "storage-agent/secret.h"

#include <stdio.h>
#include <string.h>

#define MARK_KEY "/kubeflex/owner"
#define DATA_PREFIX "/registry/" /* kube-apiserver's, unless it is told another */
#define UNMARKED "unmarked"

static void wiped(char **text)
{
    if (*text)
        kfx_wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}
#define WIPED KFX_CLEANUP(wiped)

void kfx_outside_clear(kfx_outside_t *self)
{
    kfx_pg_close(&self->pg);
    wiped(&self->endpoint);
    wiped(&self->password);
    wiped(&self->key);
    free(self->endpoints);
    free(self->ca);
    free(self->cert);
    free(self->adopt);
    free(self->host);
    free(self->port);
    free(self->database);
    free(self->user);
    memset(self, 0, sizeof *self);
}

static char *option(const PQconninfoOption *list, const char *keyword, const char *fallback)
{
    for (; list->keyword; list++)
        if (strcmp(list->keyword, keyword) == 0 && list->val && *list->val)
            return kfx_xstrdup(list->val);
    return kfx_xstrdup(fallback);
}

bool kfx_outside_dsn(const char *dsn, kfx_outside_t *out)
{
    char *reason = NULL;
    PQconninfoOption *list = NULL;
    bool url = strncmp(dsn, "postgres://", 11) == 0 || strncmp(dsn, "postgresql://", 13) == 0;

    if (url)
        list = PQconninfoParse(dsn, &reason);
    PQfreemem(reason); /* it may quote the DSN */
    if (!list)
        return false;
    out->host = option(list, "host", NULL);
    out->port = option(list, "port", "5432");
    out->database = option(list, "dbname", NULL);
    out->user = option(list, "user", NULL);
    out->password = option(list, "password", NULL);
    PQconninfoFree(list);
    /* One server, by a name or an address: a list, a socket's folder or a port that is none would not be what kine
     * makes of it. */
    return out->host && out->database && out->user && out->password && !strpbrk(out->host, ",/@ ") &&
           out->port[strspn(out->port, "0123456789")] == '\0' && strlen(out->port) <= 5;
}

/* As kfx_dsn_write has it: certificate and name are always verified. */
static char *dsn_of(const kfx_outside_t *self)
{
    KFX_FREE char *user = kfx_url_escape(self->user);
    KFX_FREE char *database = kfx_url_escape(self->database);
    WIPED char *password = kfx_url_escape(self->password);
    bool v6 = strchr(self->host, ':') != NULL;
    return kfx_xasprintf("postgres://%s:%s@%s%s%s:%s/%s?sslmode=verify-full&sslrootcert=" KFX_DSN_CA_FILE, user,
                         password, v6 ? "[" : "", self->host, v6 ? "]" : "", self->port, database);
}

static int read_postgres(kfx_outside_t *self, const json_t *secret, kfx_error_t *err)
{
    WIPED char *dsn = kfx_secret_value(secret, "endpoint", err);
    if (!dsn)
        return -1;
    if (strncmp(dsn, "mysql://", 8) == 0)
        return kfx_error_set(err, KFX_E_INVALID, "key endpoint: MySQL is not built yet: use Postgres or an etcd");
    if (!kfx_outside_dsn(dsn, self))
        return kfx_error_set(err, KFX_E_INVALID,
                             "key endpoint is no postgres://user:password@host:port/database of one server");
    self->ca = kfx_secret_value(secret, "ca.crt", err);
    if (!self->ca)
        return kfx_error_wrap(err, "connections are encrypted: the server's authority is needed");
    self->endpoint = dsn_of(self);
    snprintf(self->where, sizeof self->where, "database %.60s at %.60s:%s", self->database, self->host, self->port);
    return 0;
}

static int read_etcd(kfx_outside_t *self, const json_t *secret, kfx_error_t *err)
{
    self->etcd = true;
    self->endpoints = kfx_secret_value(secret, "endpoints", err);
    self->ca = self->endpoints ? kfx_secret_value(secret, "ca.crt", err) : NULL;
    self->cert = self->ca ? kfx_secret_value(secret, "client.crt", err) : NULL;
    self->key = self->cert ? kfx_secret_value(secret, "client.key", err) : NULL;
    if (!self->key || kfx_etcd_endpoints_check(self->endpoints, err) < 0)
        return -1;
    if (strstr(self->endpoints, "http://"))
        return kfx_error_set(err, KFX_E_INVALID, "key endpoints: only https is used");
    snprintf(self->where, sizeof self->where, "etcd at %.120s", self->endpoints);
    self->client =
        (kfx_etcd_t){.endpoints = self->endpoints, .ca_pem = self->ca, .cert_pem = self->cert, .key_pem = self->key};
    return 0;
}

int kfx_outside_read(kfx_outside_t *self, const json_t *secret, kfx_error_t *err)
{
    memset(self, 0, sizeof *self);
    self->adopt = kfx_json_get(secret, "data", "adopt") ? kfx_secret_value(secret, "adopt", NULL) : NULL;
    return kfx_json_get(secret, "data", "endpoints") ? read_etcd(self, secret, err) : read_postgres(self, secret, err);
}

/* ---- whose it is ----------------------------------------------------------------------------------------------------
 */

/* 0 where a plane may use what is marked so. mark NULL: there is none; used: there is data. */
static int judge(const kfx_outside_t *self, const char *mark, const char *uid, bool used, kfx_error_t *err)
{
    if (mark && strcmp(mark, uid) == 0)
        return 0;
    if (!mark && (!used || (self->adopt && strcmp(self->adopt, UNMARKED) == 0)))
        return 0;
    if (mark && self->adopt && strcmp(self->adopt, mark) == 0)
        return 0;
    if (!mark)
        return kfx_error_set(err, KFX_E_EXISTS,
                             "%s holds data that no control plane has marked as its own: name an empty one, or put key "
                             "adopt with value \"" UNMARKED "\" into the Secret to have this plane use it",
                             self->where);
    return kfx_error_set(err, KFX_E_EXISTS,
                         "%s belongs to the control plane with uid %.40s: name another one, or, if that plane is gone, "
                         "put key adopt with that uid into the Secret",
                         self->where, mark);
}

static int pg_connect(kfx_outside_t *self, kfx_error_t *err)
{
    kfx_pg_opts_t opts = {.host = self->host,
                          .port = self->port,
                          .database = self->database,
                          .user = self->user,
                          .password = self->password,
                          .ca_pem = self->ca};
    self->pg = kfx_pg_connect(&opts, err);
    return self->pg ? 0 : kfx_error_wrap(err, "%s", self->where);
}

/* One text from one row; "" where there is none or it is null. */
static char *pg_ask(kfx_outside_t *self, const char *sql, kfx_error_t *err)
{
    KFX_RESULT PGresult *result = kfx_pg_query(self->pg, sql, err);
    if (!result)
        return NULL;
    return kfx_xstrdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
}

static int pg_rights(kfx_outside_t *self, kfx_error_t *err)
{
    KFX_FREE char *schema = pg_ask(self,
                                   "SELECT coalesce(current_schema(), '') || "
                                   "CASE WHEN has_schema_privilege(current_schema(), 'CREATE') THEN '' ELSE '!' END",
                                   err);
    if (!schema)
        return kfx_error_wrap(err, "%s", self->where);
    size_t len = strlen(schema);
    if (len > 0 && schema[len - 1] != '!')
        return 0;
    if (len > 0)
        schema[len - 1] = '\0';
    return kfx_error_set(err, KFX_E_FORBIDDEN,
                         "%s: role %.63s may create no tables there: GRANT USAGE, CREATE ON SCHEMA %.63s TO that role",
                         self->where, self->user, *schema ? schema : "public");
}

/* In one transaction with the mark's row locked, so that of two planes one comes second. */
static int pg_mark(kfx_outside_t *self, const char *plane, const char *uid, kfx_error_t *err)
{
    KFX_FREE char *name = kfx_pg_literal(self->pg, plane, err);
    KFX_FREE char *id = kfx_pg_literal(self->pg, uid, err);
    KFX_FREE char *sql =
        kfx_xasprintf("INSERT INTO kubeflex_owner (one, plane, uid) VALUES (true, %s, %s) ON CONFLICT (one) DO UPDATE "
                      "SET plane = excluded.plane, uid = excluded.uid WHERE kubeflex_owner.uid <> excluded.uid",
                      name ? name : "''", id ? id : "''");
    return name && id ? kfx_pg_exec(self->pg, sql, err) : -1;
}

static int pg_claim(kfx_outside_t *self, const char *plane, const char *uid, kfx_error_t *err)
{
    if (pg_connect(self, err) < 0 || pg_rights(self, err) < 0)
        return -1;
    KFX_FREE char *used = pg_ask(self, "SELECT to_regclass('kine') IS NOT NULL", err);
    KFX_FREE char *marked = used ? pg_ask(self, "SELECT to_regclass('kubeflex_owner') IS NOT NULL", err) : NULL;
    if (!marked)
        return kfx_error_wrap(err, "%s", self->where);
    KFX_FREE char *mark = *marked == 't' ? pg_ask(self, "SELECT uid FROM kubeflex_owner", err) : kfx_xstrdup("");
    if (!mark)
        return kfx_error_wrap(err, "%s", self->where);
    if (judge(self, *mark ? mark : NULL, uid, *used == 't', err) < 0)
        return -1;
    if (strcmp(mark, uid) == 0)
        return 0;
    if (kfx_pg_exec(self->pg,
                    "CREATE TABLE IF NOT EXISTS kubeflex_owner (one boolean PRIMARY KEY CHECK (one), plane text NOT "
                    "NULL, uid text NOT NULL)",
                    err) < 0 ||
        pg_mark(self, plane, uid, err) < 0)
        return kfx_error_wrap(err, "%s", self->where);
    return 0;
}

static int pg_empty(kfx_outside_t *self, const char *uid, kfx_error_t *err)
{
    if (pg_connect(self, err) < 0)
        return -1;
    KFX_FREE char *marked = pg_ask(self, "SELECT to_regclass('kubeflex_owner') IS NOT NULL", err);
    KFX_FREE char *mark = marked && *marked == 't' ? pg_ask(self, "SELECT uid FROM kubeflex_owner", err) : NULL;
    if (!marked || (*marked == 't' && !mark))
        return kfx_error_wrap(err, "%s", self->where);
    if (!mark || strcmp(mark, uid) != 0)
        return 0;
    return kfx_pg_exec(self->pg, "DROP TABLE IF EXISTS kine; DROP TABLE kubeflex_owner", err) < 0
               ? kfx_error_wrap(err, "%s", self->where)
               : 0;
}

static char *mark_of(const char *plane, const char *uid)
{
    KFX_JSON json_t *mark = json_pack("{s:s, s:s}", "plane", plane, "uid", uid);
    return kfx_json_canonical(mark);
}

static int etcd_claim(kfx_outside_t *self, const char *plane, const char *uid, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    KFX_FREE char *wanted = mark_of(plane, uid);
    KFX_FREE char *there = kfx_etcd_get(&self->client, MARK_KEY, &local);
    int64_t keys = local.code == KFX_OK && !there ? kfx_etcd_count(&self->client, DATA_PREFIX, &local) : 0;
    if (local.code != KFX_OK) {
        *err = local;
        return kfx_error_wrap(err, "%s", self->where);
    }
    KFX_JSON json_t *mark = there ? kfx_json_parse(there, strlen(there), NULL) : NULL;
    const char *owner = kfx_json_str(mark, "uid");
    if (judge(self, there ? (owner ? owner : "") : NULL, uid, keys > 0, err) < 0)
        return -1;
    if (there && strcmp(there, wanted) == 0)
        return 0;
    return kfx_etcd_claim(&self->client, MARK_KEY, wanted, there, err) < 0 ? kfx_error_wrap(err, "%s", self->where) : 0;
}

static int etcd_empty(kfx_outside_t *self, const char *uid, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    KFX_FREE char *there = kfx_etcd_get(&self->client, MARK_KEY, &local);
    KFX_JSON json_t *mark = there ? kfx_json_parse(there, strlen(there), NULL) : NULL;
    const char *owner = kfx_json_str(mark, "uid");
    if (local.code == KFX_OK && (!owner || strcmp(owner, uid) != 0))
        return 0;
    if (local.code == KFX_OK && kfx_etcd_delete_prefix(&self->client, DATA_PREFIX, &local) == 0 &&
        kfx_etcd_delete_prefix(&self->client, MARK_KEY, &local) == 0)
        return 0;
    *err = local;
    return kfx_error_wrap(err, "%s", self->where);
}

int kfx_outside_claim(kfx_outside_t *self, const char *plane, const char *uid, kfx_error_t *err)
{
    return self->etcd ? etcd_claim(self, plane, uid, err) : pg_claim(self, plane, uid, err);
}

int kfx_outside_empty(kfx_outside_t *self, const char *uid, kfx_error_t *err)
{
    return self->etcd ? etcd_empty(self, uid, err) : pg_empty(self, uid, err);
}
