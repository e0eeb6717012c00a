/* cli/backup_pg.c: see backup_pg.h. kine's table has a row for each change of a key: `id` is the revision, `created`
 * and `deleted` say what the change was, `create_revision` is 0 where it was the creation. (k3s-io/kine,
 * pkg/drivers/generic and pkg/logstructured/sqllog.) */
#include "cli/backup_pg.h"

#include "base/clock.h"
#include "base/mem.h"

#include <endian.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#define CONNECT_S "10"
#define PATIENCE_MS 60000 /* without a byte from the server */
#define LOCK_PATIENCE "30s"
#define FIELDS 6
#define SIGNATURE "PGCOPY\n\377\r\n" /* and a NUL */
#define COPY_HEAD 19
#define TOKEN_TYPE "kubernetes.io/service-account-token"

/* The newest row of each key that exists. What kine notes for itself is no key: the revision that it compacted, and the
 * gaps it filled. */
#define KEYS_SQL                                                                                                       \
    "COPY (SELECT k.name::text, k.value::bytea,"                                                                       \
    " CASE WHEN k.created <> 0 OR k.create_revision = 0 THEN k.id ELSE k.create_revision END::int8, k.id::int8,"       \
    " coalesce(k.lease, 0)::int8, octet_length(k.name::text)::int8"                                                    \
    " FROM kine k JOIN (SELECT max(id) AS id FROM kine GROUP BY name) m ON m.id = k.id"                                \
    " WHERE k.deleted = 0 AND k.name <> 'compact_rev_key' AND k.name NOT LIKE 'gap-%'"                                 \
    " ORDER BY k.name::text COLLATE \"C\") TO STDOUT (FORMAT binary)"
#define LONG "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; "

/* ---- the session ------------------------------------------------------------------------------------------------ */

static int lost(PGconn *pg, const char *doing, kfx_error_t *err)
{
    const char *text = PQerrorMessage(pg);
    int len = (int)strcspn(text, "\n");
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "%s: %.*s", doing, len, text);
}

/* Until the socket is ready, or nothing has come for too long. */
static int await(PGconn *pg, short events, const char *doing, kfx_error_t *err)
{
    struct pollfd item = {.fd = PQsocket(pg), .events = events};
    int rc = poll(&item, 1, PATIENCE_MS);
    if (rc > 0)
        return 0;
    return kfx_error_set(err, KFX_E_TIMEOUT, "%s: Postgres has not answered for %d s", doing, PATIENCE_MS / 1000);
}

static PGresult *result(PGconn *pg, const char *doing, kfx_error_t *err)
{
    while (PQflush(pg) > 0)
        if (await(pg, POLLOUT | POLLIN, doing, err) != 0 || PQconsumeInput(pg) != 1)
            return NULL;
    while (PQisBusy(pg)) {
        if (await(pg, POLLIN, doing, err) != 0)
            return NULL;
        if (PQconsumeInput(pg) != 1) {
            lost(pg, doing, err);
            return NULL;
        }
    }
    return PQgetResult(pg);
}

/* libpq takes the next statement once there are no more results of this one. */
static void drain(PGconn *pg)
{
    PGresult *res;
    bool copying = false; /* it would be told again and again */
    while (!copying && (res = result(pg, "end", NULL))) {
        copying = PQresultStatus(res) == PGRES_COPY_IN || PQresultStatus(res) == PGRES_COPY_OUT;
        PQclear(res);
    }
}

static bool good(const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN ||
           status == PGRES_COPY_OUT;
}

/* What the server says of a row may show it: only its code and first line, which name tables and limits. */
static int failed(const PGresult *res, const char *doing, kfx_error_t *err)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE),
               *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    if (state && strcmp(state, "42P01") == 0)
        return kfx_error_set(err, KFX_E_NOT_FOUND,
                             "%s: the control plane has not written anything yet: wait until it is Ready", doing);
    if (state && strcmp(state, "55P03") == 0)
        return kfx_error_set(err, KFX_E_BUSY, "%s: the table is in use, by another restore perhaps", doing);
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "%s: %s (SQLSTATE %s)", doing, text ? text : "failed",
                         state ? state : "?");
}

/* Statements; the last one's result, after which a COPY may go on. Fresh. */
static PGresult *query(PGconn *pg, const char *sql, const char *doing, kfx_error_t *err)
{
    if (PQsendQuery(pg, sql) != 1) {
        lost(pg, doing, err);
        return NULL;
    }
    PGresult *last = NULL, *res;
    kfx_error_t why = KFX_ERROR_INIT;
    while (why.code == KFX_OK && (res = result(pg, doing, &why))) {
        PQclear(last);
        last = res;
        if (!good(res))
            failed(res, doing, &why);
        ExecStatusType status = PQresultStatus(res);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT)
            break;
    }
    if (!last && why.code == KFX_OK)
        lost(pg, doing, &why);
    if (why.code == KFX_OK)
        return last;
    PQclear(last);
    drain(pg);
    if (err)
        *err = why;
    return NULL;
}

static int run(PGconn *pg, const char *sql, const char *doing, kfx_error_t *err)
{
    PGresult *res = query(pg, sql, doing, err);
    PQclear(res);
    return res ? 0 : -1;
}

static int number(PGconn *pg, const char *sql, int64_t *out, const char *doing, kfx_error_t *err)
{
    PGresult *res = query(pg, sql, doing, err);
    *out = res && PQntuples(res) == 1 ? strtoll(PQgetvalue(res, 0, 0), NULL, 10) : 0;
    PQclear(res);
    return res ? 0 : -1;
}

/* libpq takes the authority as a file only: one without a name. */
static int authority(const char *pem, char path[32], kfx_error_t *err)
{
    int fd = memfd_create("ca.crt", MFD_CLOEXEC);
    size_t len = strlen(pem);
    if (fd < 0 || write(fd, pem, len) != (ssize_t)len) {
        if (fd >= 0)
            close(fd);
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot keep the database's authority in memory");
    }
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static PGconn *connect_with(PQconninfoOption *options, const char *ca_path, const char *hostaddr, const char *port)
{
    enum { EXTRA = 4, MAX = 64 };
    const char *keys[MAX + EXTRA] = {NULL}, *values[MAX + EXTRA] = {NULL};
    size_t n = 0;
    for (PQconninfoOption *o = options; o->keyword && n < MAX; o++) {
        const char *value = o->val;
        if (hostaddr && strcmp(o->keyword, "hostaddr") == 0)
            value = hostaddr;
        else if (port && strcmp(o->keyword, "port") == 0)
            value = port;
        else if (strcmp(o->keyword, "sslrootcert") == 0)
            value = *ca_path ? ca_path : NULL; /* the DSN's is a path in kine's container */
        else if (strcmp(o->keyword, "connect_timeout") == 0)
            value = CONNECT_S;
        else if (strcmp(o->keyword, "application_name") == 0)
            value = "kflex";
        if (!value)
            continue;
        keys[n] = o->keyword;
        values[n++] = value;
    }
    return PQconnectdbParams(keys, values, 0);
}

int kfx_backup_address(const char *dsn, char host[256], char port[8], kfx_error_t *err)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(dsn, &why);
    PQfreemem(why); /* it may show the password */
    if (!options)
        return kfx_error_set(err, KFX_E_INVALID, "its database is no Postgres, which kflex cannot back up");
    kfx_copy(host, 256, "");
    kfx_copy(port, 8, "5432");
    for (PQconninfoOption *o = options; o->keyword; o++) {
        if (o->val && strcmp(o->keyword, "host") == 0)
            kfx_copy(host, 256, o->val);
        if (o->val && strcmp(o->keyword, "port") == 0)
            kfx_copy(port, 8, o->val);
    }
    PQconninfoFree(options);
    return 0;
}

PGconn *kfx_backup_connect(const char *dsn, const char *ca_pem, const char *hostaddr, const char *port,
                           kfx_error_t *err)
{
    KFX_CLOSE int fd = -1;
    char ca_path[32] = "";
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    if (!options) {
        kfx_error_set(err, KFX_E_INVALID, "its database is no Postgres, which kflex cannot back up");
        return NULL;
    }
    PGconn *pg = NULL;
    if (!ca_pem || (fd = authority(ca_pem, ca_path, err)) >= 0) {
        pg = connect_with(options, ca_path, hostaddr, port);
        if (PQstatus(pg) != CONNECTION_OK) {
            lost(pg, "connect to its database", err);
            PQfinish(pg);
            pg = NULL;
        }
    }
    PQconninfoFree(options);
    return pg;
}

/* ---- out -------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *at, *end;
} span_t;

static bool take(span_t *in, void *out, size_t len)
{
    if ((size_t)(in->end - in->at) < len)
        return false;
    memcpy(out, in->at, len);
    in->at += len;
    return true;
}

static bool take_field(span_t *in, const char **data, uint32_t *len)
{
    if (!take(in, len, sizeof *len))
        return false;
    *len = be32toh(*len);
    *data = in->at;
    if (*len == UINT32_MAX) /* NULL */
        *len = 0;
    if ((size_t)(in->end - in->at) < *len)
        return false;
    in->at += *len;
    return true;
}

static bool take_number(span_t *in, int64_t *out)
{
    const char *data;
    uint32_t len;
    uint64_t raw;
    if (!take_field(in, &data, &len) || len != sizeof raw)
        return false;
    memcpy(&raw, data, sizeof raw);
    *out = (int64_t)be64toh(raw);
    return true;
}

/* A row as COPY sends it: int16 number of fields, then length and bytes of each. */
static int write_row(kfx_backup_writer_t *writer, span_t row, kfx_error_t *err)
{
    uint16_t fields;
    const char *key = NULL, *value = NULL;
    kfx_backup_record_t record = {0};
    int64_t key_len;
    if (!take(&row, &fields, sizeof fields))
        return kfx_error_set(err, KFX_E_PROTOCOL, "Postgres sends half a row");
    if (be16toh(fields) == UINT16_MAX) /* the end */
        return 0;
    bool whole = be16toh(fields) == FIELDS && take_field(&row, &key, &record.key_len) &&
                 take_field(&row, &value, &record.value_len) && take_number(&row, &record.created) &&
                 take_number(&row, &record.changed) && take_number(&row, &record.ttl) && take_number(&row, &key_len);
    if (!whole || row.at != row.end)
        return kfx_error_set(err, KFX_E_PROTOCOL, "Postgres sends rows of another form than asked for");
    if (record.key_len != key_len || record.key_len > KFX_BACKUP_KEY_MAX)
        return kfx_error_set(err, KFX_E_INVALID, "a key of %" PRId64 " bytes, or not in UTF-8, cannot be kept",
                             key_len);
    memcpy(record.key, key, record.key_len);
    return kfx_backup_write(writer, &record, value, err);
}

static int copy_rows(PGconn *pg, kfx_backup_writer_t *writer, kfx_error_t *err)
{
    static const char doing[] = "read the keys";
    bool begun = false;
    for (;;) {
        char *data = NULL;
        int len = PQgetCopyData(pg, &data, 1);
        if (len == -1)
            return begun ? 0 : kfx_error_set(err, KFX_E_PROTOCOL, "%s: Postgres sends nothing", doing);
        if (len < -1)
            return lost(pg, doing, err);
        if (len == 0) {
            if (await(pg, POLLIN, doing, err) != 0)
                return -1;
            if (PQconsumeInput(pg) != 1)
                return lost(pg, doing, err);
            continue;
        }
        span_t row = {data, data + len};
        int rc = 0;
        if (!begun) { /* the first row comes with what is before all rows */
            begun = true;
            if (len < COPY_HEAD || memcmp(data, SIGNATURE, sizeof SIGNATURE) != 0)
                rc = kfx_error_set(err, KFX_E_PROTOCOL, "%s: what Postgres sends is no COPY", doing);
            row.at += COPY_HEAD;
        }
        if (rc == 0 && row.at != row.end)
            rc = write_row(writer, row, err);
        PQfreemem(data);
        if (rc != 0)
            return -1;
    }
}

int kfx_backup_dump(PGconn *pg, const char *path, json_t *header, kfx_backup_sum_t *sum, kfx_error_t *err)
{
    int64_t revision = 0;
    if (run(pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; " LONG, "begin", err) != 0 ||
        number(pg, "SELECT coalesce(max(id), 0) FROM kine", &revision, "read the revision", err) != 0)
        return -1;
    if (revision < 1)
        return kfx_error_set(err, KFX_E_NOT_FOUND,
                             "the control plane has not written anything yet: wait until it is Ready");
    json_object_set_new(header, "revision", json_integer(revision));
    if (run(pg, KEYS_SQL, "read the keys", err) != 0)
        return -1;
    kfx_backup_writer_t *writer = kfx_backup_create(path, header, err);
    int rc = writer ? copy_rows(pg, writer, err) : -1;
    PGresult *res = rc == 0 ? result(pg, "read the keys", err) : NULL;
    if (rc == 0 && (!res || !good(res))) /* a COPY may fail after its rows */
        rc = res ? failed(res, "read the keys", err) : -1;
    PQclear(res);
    if (rc == 0)
        drain(pg);
    if (rc == 0)
        rc = kfx_backup_finish(&writer, sum, err);
    kfx_backup_abort(&writer);
    if (rc == 0)
        run(pg, "COMMIT", "end", NULL);
    return rc;
}

/* ---- in --------------------------------------------------------------------------------------------------------- */

/* Who leads and who lives says nothing once these programs are gone: the address of an API server would be in Service
 * `kubernetes` until it runs out, and a controller manager would wait for a leader that is no more. */
bool kfx_backup_passing(const char *key)
{
    static const char *const prefixes[] = {"/registry/masterleases/", "/registry/leases/kube-system/apiserver-",
                                           "/registry/leases/kube-system/kube-controller-manager"};
    for (size_t i = 0; i < KFX_COUNT(prefixes); i++)
        if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

typedef struct {
    PGconn *pg;
    kfx_backup_reader_t *reader;
    kfx_restored_t *done;
    char piece[KFX_BACKUP_PIECE], hex[2 * KFX_BACKUP_PIECE];
} load_t;

static int send_bytes(load_t *self, const char *data, size_t len, kfx_error_t *err)
{
    for (;;) {
        int rc = PQputCopyData(self->pg, data, (int)len);
        if (rc == 1)
            break;
        if (rc < 0)
            return lost(self->pg, "write the keys", err);
        if (await(self->pg, POLLOUT | POLLIN, "write the keys", err) != 0)
            return -1;
    }
    /* What libpq has not sent yet lies in memory. */
    int rc;
    while ((rc = PQflush(self->pg)) > 0) {
        if (await(self->pg, POLLOUT | POLLIN, "write the keys", err) != 0)
            return -1;
        if (PQconsumeInput(self->pg) != 1)
            return lost(self->pg, "write the keys", err);
    }
    return rc < 0 ? lost(self->pg, "write the keys", err) : 0;
}

/* COPY's text form: some characters are written with a backslash. */
static size_t escape(const char *key, char *out)
{
    size_t n = 0;
    for (; *key; key++) {
        if (*key == '\\' || *key == '\n' || *key == '\t' || *key == '\r')
            out[n++] = '\\';
        out[n++] = (char)(*key == '\n' ? 'n' : *key == '\t' ? 't' : *key == '\r' ? 'r' : *key);
    }
    return n;
}

static void note_token(kfx_restored_t *done, const char *key)
{
    if (done->tokens++ == 0)
        kfx_copy(done->first_token, sizeof done->first_token, key + strlen("/registry/secrets/"));
}

static int send_value(load_t *self, const kfx_backup_record_t *record, kfx_error_t *err)
{
    static const char digits[] = "0123456789abcdef";
    bool secret = strncmp(record->key, "/registry/secrets/", strlen("/registry/secrets/")) == 0, token = false;
    int len;
    while ((len = kfx_backup_piece(self->reader, self->piece, err)) > 0) {
        token = token || (secret && memmem(self->piece, (size_t)len, TOKEN_TYPE, strlen(TOKEN_TYPE)));
        for (int i = 0; i < len; i++) {
            self->hex[2 * i] = digits[(unsigned char)self->piece[i] >> 4];
            self->hex[2 * i + 1] = digits[(unsigned char)self->piece[i] & 15];
        }
        if (send_bytes(self, self->hex, 2 * (size_t)len, err) != 0)
            return -1;
    }
    if (token)
        note_token(self->done, record->key);
    return len;
}

static int send_record(load_t *self, const kfx_backup_record_t *record, kfx_error_t *err)
{
    char head[2 * KFX_BACKUP_KEY_MAX + 128];
    bool fresh = record->created == record->changed;
    size_t len = (size_t)snprintf(head, sizeof head, "%" PRId64 "\t", record->changed);
    len += escape(record->key, head + len);
    len += (size_t)snprintf(head + len, sizeof head - len, "\t%d\t0\t%" PRId64 "\t0\t%" PRId64 "\t\\\\x", fresh,
                            fresh ? 0 : record->created, record->ttl);
    if (send_bytes(self, head, len, err) != 0 || send_value(self, record, err) != 0)
        return -1;
    self->done->sum.records++;
    self->done->sum.bytes += record->key_len + record->value_len;
    return send_bytes(self, "\n", 1, err);
}

static int send_records(load_t *self, kfx_error_t *err)
{
    kfx_backup_record_t record;
    int rc;
    while ((rc = kfx_backup_next(self->reader, &record, err)) > 0) {
        if (kfx_backup_passing(record.key))
            self->done->skipped++;
        else if (send_record(self, &record, err) != 0)
            return -1;
    }
    return rc < 0 ? kfx_error_wrap(err, "the backup") : 0;
}

static int copy_in(load_t *self, kfx_error_t *err)
{
    static const char doing[] = "write the keys";
    if (run(self->pg, "COPY kine (id, name, created, deleted, create_revision, prev_revision, lease, value) FROM STDIN",
            doing, err) != 0)
        return -1;
    PQsetnonblocking(self->pg, 1);
    int rc = send_records(self, err), sent;
    while ((sent = PQputCopyEnd(self->pg, rc == 0 ? NULL : "given up")) == 0)
        if (await(self->pg, POLLOUT | POLLIN, doing, rc == 0 ? err : NULL) != 0)
            return -1;
    PGresult *res = result(self->pg, doing, rc == 0 ? err : NULL);
    if (rc == 0 && (!res || !good(res)))
        rc = res ? failed(res, doing, err) : -1;
    PQclear(res);
    drain(self->pg);
    PQsetnonblocking(self->pg, 0);
    return sent < 0 && rc == 0 ? lost(self->pg, doing, err) : rc;
}

/* A revision that neither the backup nor this plane has seen, below which all is compacted: whoever watches from an
 * older one is told to list again, instead of being given a history that never was. kine looks for the highest id. */
static int settle(load_t *self, int64_t before, kfx_error_t *err)
{
    char sql[512];
    int64_t top = kfx_backup_revision(self->reader), count = 0;
    top = (top > before ? top : before) + 1;
    snprintf(sql, sizeof sql,
             "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
             "(%" PRId64 ", 'compact_rev_key', 1, 0, 0, %" PRId64 ", 0, ''); "
             "SELECT setval(pg_get_serial_sequence('kine', 'id'), %" PRId64 ")",
             top, top, top);
    if (run(self->pg, sql, "set the revision", err) != 0 ||
        number(self->pg, "SELECT count(*) FROM kine", &count, "count the keys", err) != 0)
        return -1;
    if ((uint64_t)count != self->done->sum.records + 1)
        return kfx_error_set(err, KFX_E_INTERNAL, "Postgres has %" PRId64 " keys instead of %" PRIu64, count - 1,
                             self->done->sum.records);
    self->done->revision = top;
    return 0;
}

static int load(load_t *self, int (*ready)(void *ctx, kfx_error_t *err), void *ctx, kfx_error_t *err)
{
    int64_t before = 0;
    if (run(self->pg,
            "BEGIN; " LONG "SET LOCAL lock_timeout = '" LOCK_PATIENCE "'; LOCK TABLE kine IN ACCESS EXCLUSIVE MODE",
            "take the table", err) != 0 ||
        number(self->pg, "SELECT coalesce(max(id), 0) FROM kine", &before, "read the revision", err) != 0 ||
        run(self->pg, "TRUNCATE kine", "empty the table", err) != 0 || copy_in(self, err) != 0 ||
        settle(self, before, err) != 0 || (ready && ready(ctx, err) != 0))
        return -1;
    if (run(self->pg, "COMMIT", "commit", err) == 0)
        return 0;
    return kfx_error_wrap(err, "whether it is restored is not known: look at it, or restore it again");
}

int kfx_backup_load(PGconn *pg, FILE *file, int (*ready)(void *ctx, kfx_error_t *err), void *ctx, kfx_restored_t *done,
                    kfx_error_t *err)
{
    memset(done, 0, sizeof *done);
    load_t *self = kfx_xcalloc(1, sizeof *self);
    self->pg = pg;
    self->done = done;
    self->reader = kfx_backup_open(file, err);
    int rc = self->reader ? load(self, ready, ctx, err) : kfx_error_wrap(err, "the backup");
    if (rc != 0 && PQtransactionStatus(pg) != PQTRANS_IDLE)
        run(pg, "ROLLBACK", "roll back", NULL); /* where the connection is gone the server does it */
    kfx_backup_close(&self->reader);
    kfx_wipe(self, sizeof *self);
    free(self);
    return rc;
}
