/* storage-agent/pg.c: see pg.h. libpq's own waits have no deadline, so every one is a poll(2) of ours. */
#include "storage-agent/pg.h"

#include "base/clock.h"
#include "base/mem.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define CONNECT_TIMEOUT_MS 3000
#define STATEMENT_TIMEOUT_MS 8000
#define CLIENT_GRACE_MS 2000

struct kfx_pg {
    PGconn *conn;
    int ca_fd; /* libpq wants the CA as a file and we have no writable one: a memory file */
    int wait_ms;
};

/* Text of libpq ends in a newline and may have several lines; conditions are one line. */
static void one_line(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++) {
        bool space = *text == '\n' || *text == '\t' || *text == ' ';
        if (!space)
            out[n++] = *text;
        else if (n > 0 && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

static kfx_code_t code_of_state(const char *state)
{
    static const struct {
        const char *prefix;
        kfx_code_t code;
    } table[] = {
        {"08", KFX_E_UNAVAILABLE}, {"28", KFX_E_UNAUTHORIZED}, {"53", KFX_E_UNAVAILABLE},  {"57014", KFX_E_TIMEOUT},
        {"57", KFX_E_UNAVAILABLE}, {"58", KFX_E_UNAVAILABLE},  {"42501", KFX_E_FORBIDDEN}, {"42710", KFX_E_EXISTS},
        {"42P04", KFX_E_EXISTS},   {"23505", KFX_E_EXISTS},    {"3D000", KFX_E_NOT_FOUND}, {"42704", KFX_E_NOT_FOUND},
        {"40", KFX_E_CONFLICT},    {"55", KFX_E_CONFLICT},     {"XX000", KFX_E_CONFLICT},
    };
    for (size_t i = 0; i < KFX_COUNT(table); i++)
        if (strncmp(state, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].code;
    return KFX_E_INTERNAL;
}

/* With PQERRORS_VERBOSE a refusal reads "…: FATAL:  28P01: text\nLOCATION: …" (the severity may be translated, the rest
 * not). Splits it; false where no server spoke. */
static bool split_verbose(const char *text, char state[6], char *message, size_t size)
{
    for (const char *c = strstr(text, ":  "); c; c = strstr(c + 1, ":  ")) {
        const char *s = c + 3;
        if (strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || s[5] != ':' || s[6] != ' ')
            continue;
        memcpy(state, s, 5);
        state[5] = '\0';
        size_t len = strcspn(s + 7, "\n");
        snprintf(message, size, "%.*s", (int)len, s + 7);
        return true;
    }
    return false;
}

static int connect_failed(kfx_pg_t *self, const kfx_pg_opts_t *opts, kfx_error_t *err)
{
    char state[6], message[512];
    const char *text = PQerrorMessage(self->conn);

    if (split_verbose(text, state, message, sizeof message)) {
        kfx_code_t code = code_of_state(state);
        if (code == KFX_E_INTERNAL || code == KFX_E_CONFLICT)
            code = KFX_E_UNAVAILABLE;
        return kfx_error_set(err, code, "Postgres at %s:%s refused user %s: %s (%s)", opts->host, opts->port,
                             opts->user, message, state);
    }
    one_line(text, message, sizeof message);
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "Postgres at %s:%s cannot be reached: %s", opts->host, opts->port,
                         message);
}

/* Waits for the socket; 0, or -1 when the deadline passed. */
static int wait_socket(kfx_pg_t *self, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - kfx_now_ms();
        if (left <= 0)
            return -1;
        struct pollfd pfd = {.fd = PQsocket(self->conn), .events = events};
        if (pfd.fd < 0)
            return 0; /* libpq reports the broken connection itself */
        if (poll(&pfd, 1, (int)left) > 0)
            return 0;
    }
}

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result; /* what a statement did is read back, not guessed from notices */
}

static int memory_file(const char *text)
{
    int fd = memfd_create("kfx-postgres-ca", MFD_CLOEXEC);
    size_t len = strlen(text);
    if (fd >= 0 && write(fd, text, len) != (ssize_t)len) {
        close(fd);
        return -1;
    }
    return fd;
}

static int start(kfx_pg_t *self, const kfx_pg_opts_t *opts, kfx_error_t *err)
{
    char ca_file[48] = "", options[128];
    int statement = opts->statement_timeout_ms > 0 ? opts->statement_timeout_ms : STATEMENT_TIMEOUT_MS;

    if (opts->ca_pem) {
        self->ca_fd = memory_file(opts->ca_pem);
        if (self->ca_fd < 0)
            return kfx_error_set(err, KFX_E_INTERNAL, "no memory file for the CA of Postgres");
        snprintf(ca_file, sizeof ca_file, "/proc/self/fd/%d", self->ca_fd);
    }
    self->wait_ms = statement + CLIENT_GRACE_MS;
    snprintf(options, sizeof options, "-c statement_timeout=%d -c lock_timeout=%d", statement, statement);
    const char *keys[] = {"host",
                          "port",
                          "dbname",
                          "user",
                          "password",
                          "sslmode",
                          "sslrootcert",
                          "options",
                          "application_name",
                          "tcp_user_timeout",
                          "keepalives_idle",
                          "keepalives_interval",
                          "keepalives_count",
                          "client_encoding",
                          "gssencmode",
                          NULL};
    const char *values[] = {opts->host, opts->port,     opts->database,
                            opts->user, opts->password, opts->ca_pem ? "verify-full" : "disable",
                            ca_file,    options,        "kubeflex-storage-agent",
                            "5000",     "10",           "2",
                            "3",        "UTF8",         "disable",
                            NULL};
    self->conn = PQconnectStartParams(keys, values, 0);
    if (!self->conn)
        return kfx_error_set(err, KFX_E_INTERNAL, "out of memory");
    PQsetErrorVerbosity(self->conn, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(self->conn, ignore_notice, NULL);
    if (PQstatus(self->conn) == CONNECTION_BAD)
        return connect_failed(self, opts, err);
    return 0;
}

kfx_pg_t *kfx_pg_connect(const kfx_pg_opts_t *opts, kfx_error_t *err)
{
    KFX_PG kfx_pg_t *self = kfx_xcalloc(1, sizeof *self);
    int timeout = opts->connect_timeout_ms > 0 ? opts->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    int64_t deadline = kfx_now_ms() + timeout;

    self->ca_fd = -1;
    if (start(self, opts, err) < 0)
        return NULL;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        if (state == PGRES_POLLING_FAILED) {
            connect_failed(self, opts, err);
            return NULL;
        }
        if (wait_socket(self, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline) < 0) {
            kfx_error_set(err, KFX_E_UNAVAILABLE, "Postgres at %s:%s did not answer within %d ms", opts->host,
                          opts->port, timeout);
            return NULL;
        }
        state = PQconnectPoll(self->conn);
    }
    PQsetErrorVerbosity(self->conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(self->conn, 1) != 0) {
        connect_failed(self, opts, err);
        return NULL;
    }
    return KFX_STEAL(self);
}

void kfx_pg_close(kfx_pg_t **self_p)
{
    kfx_pg_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    PQfinish(self->conn);
    if (self->ca_fd >= 0)
        close(self->ca_fd);
    free(self);
}

bool kfx_pg_alive(kfx_pg_t *self)
{
    struct pollfd pfd = {.fd = PQsocket(self->conn), .events = POLLIN};

    if (PQstatus(self->conn) != CONNECTION_OK || pfd.fd < 0)
        return false;
    /* An idle server says nothing; what it does say may be its farewell, and then the read ends the connection. */
    if (poll(&pfd, 1, 0) > 0 && !PQconsumeInput(self->conn))
        return false;
    return PQstatus(self->conn) == CONNECTION_OK;
}

static int result_failed(kfx_pg_t *self, const PGresult *result, kfx_error_t *err)
{
    char message[512];
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

    if (state) {
        const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        one_line(primary ? primary : "unknown error", message, sizeof message);
        return kfx_error_set(err, code_of_state(state), "Postgres: %s (%s)", message, state);
    }
    one_line(PQerrorMessage(self->conn), message, sizeof message);
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "the connection to Postgres broke: %s",
                         *message ? message : "no reason given");
}

/* Sends what libpq still holds, reading meanwhile so that no side waits for the other. */
static int flush(kfx_pg_t *self, int64_t deadline, kfx_error_t *err)
{
    int left;
    while ((left = PQflush(self->conn)) > 0) {
        if (wait_socket(self, POLLIN | POLLOUT, deadline) < 0)
            return kfx_error_set(err, KFX_E_UNAVAILABLE, "Postgres takes no data any more");
        if (!PQconsumeInput(self->conn))
            return result_failed(self, NULL, err);
    }
    return left < 0 ? result_failed(self, NULL, err) : 0;
}

PGresult *kfx_pg_query(kfx_pg_t *self, const char *sql, kfx_error_t *err)
{
    KFX_RESULT PGresult *last = NULL;
    int64_t deadline = kfx_now_ms() + self->wait_ms;

    if (!PQsendQuery(self->conn, sql)) {
        result_failed(self, NULL, err);
        return NULL;
    }
    if (flush(self, deadline, err) < 0)
        return NULL;
    for (;;) {
        while (PQisBusy(self->conn)) {
            if (wait_socket(self, POLLIN, deadline) < 0) {
                kfx_error_set(err, KFX_E_UNAVAILABLE, "Postgres did not answer within %d ms", self->wait_ms);
                return NULL;
            }
            if (!PQconsumeInput(self->conn)) {
                result_failed(self, NULL, err);
                return NULL;
            }
        }
        PGresult *next = PQgetResult(self->conn);
        if (!next)
            break;
        /* The first error ends a sequence of statements; keep it, not what may follow. */
        if (last && PQresultStatus(last) == PGRES_FATAL_ERROR) {
            PQclear(next);
            continue;
        }
        PQclear(last);
        last = next;
    }
    if (!last || (PQresultStatus(last) != PGRES_COMMAND_OK && PQresultStatus(last) != PGRES_TUPLES_OK)) {
        result_failed(self, last, err);
        return NULL;
    }
    return KFX_STEAL(last);
}

int kfx_pg_exec(kfx_pg_t *self, const char *sql, kfx_error_t *err)
{
    KFX_RESULT PGresult *result = kfx_pg_query(self, sql, err);
    return result ? 0 : -1;
}

int kfx_pg_exec_long(kfx_pg_t *self, const char *sql, int timeout_ms, kfx_error_t *err)
{
    char set[64];
    int usual = self->wait_ms;

    snprintf(set, sizeof set, "SET statement_timeout = %d", timeout_ms);
    if (kfx_pg_exec(self, set, err) < 0)
        return -1;
    self->wait_ms = timeout_ms + CLIENT_GRACE_MS;
    int rc = kfx_pg_exec(self, sql, err);
    self->wait_ms = usual;
    if (rc == 0)
        rc = kfx_pg_exec(self, "RESET statement_timeout", err); /* to what the connection began with */
    return rc;
}

/* libpq's memory is handed out as ours, so that one free serves all. */
static char *own(kfx_pg_t *self, char *text, kfx_error_t *err)
{
    if (!text) {
        char message[256];
        one_line(PQerrorMessage(self->conn), message, sizeof message);
        kfx_error_set(err, KFX_E_INVALID, "not fit for SQL: %s", message);
        return NULL;
    }
    char *copy = kfx_xstrdup(text);
    PQfreemem(text);
    return copy;
}

char *kfx_pg_identifier(kfx_pg_t *self, const char *name, kfx_error_t *err)
{
    return own(self, PQescapeIdentifier(self->conn, name, strlen(name)), err);
}

char *kfx_pg_literal(kfx_pg_t *self, const char *text, kfx_error_t *err)
{
    return own(self, PQescapeLiteral(self->conn, text, strlen(text)), err);
}

char *kfx_pg_verifier(kfx_pg_t *self, const char *user, const char *password, kfx_error_t *err)
{
    return own(self, PQencryptPasswordConn(self->conn, password, user, "scram-sha-256"), err);
}
