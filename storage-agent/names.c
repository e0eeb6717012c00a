/* storage-agent/names.c: see names.h. */
#include "storage-agent/names.h"

#include "base/buf.h"
#include "base/codec.h"
#include "base/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Raised when the form of the Secret changes, so that all are written anew. */
#define DSN_FORM "2"

#define UID_DIGITS 32

static const char *unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

/* The uid's hex digits in lower case without dashes. */
static int uid_digits(const char *uid, char out[UID_DIGITS + 1], kfx_error_t *err)
{
    size_t n = 0;
    for (const char *c = uid ? uid : ""; *c; c++) {
        if (*c == '-')
            continue;
        if (!isxdigit((unsigned char)*c) || n == UID_DIGITS)
            return kfx_error_set(err, KFX_E_INVALID,
                                 "the plane's uid '%.64s' is no UUID: no database is named after it", uid);
        out[n++] = (char)tolower((unsigned char)*c);
    }
    out[n] = '\0';
    if (n != UID_DIGITS)
        return kfx_error_set(err, KFX_E_INVALID, "the plane's uid '%.64s' is no UUID: no database is named after it",
                             uid ? uid : "");
    return 0;
}

static int64_t lock_key(const char *digits)
{
    KFX_FREE char *text = kfx_xasprintf("kubeflex/%s", digits);
    char hex[KFX_SHA256_HEX_SIZE];
    kfx_sha256_hex(text, strlen(text), hex);
    hex[16] = '\0';
    return (int64_t)strtoull(hex, NULL, 16);
}

int kfx_storage_names(const char *plane, const char *uid, kfx_storage_names_t *out, kfx_error_t *err)
{
    char digits[UID_DIGITS + 1];

    if (!plane || !*plane)
        return kfx_error_set(err, KFX_E_INVALID, "a plane without a name has no database");
    if (uid_digits(uid, digits, err) < 0)
        return -1;
    snprintf(out->database, sizeof out->database, "%.*s_%s", KFX_PG_NAME_CUT, plane, digits);
    snprintf(out->owner, sizeof out->owner, "%s", out->database);
    snprintf(out->login, sizeof out->login, "%.*s_%s_a", KFX_PG_NAME_CUT, plane, digits);
    snprintf(out->other, sizeof out->other, "%.*s_%s_b", KFX_PG_NAME_CUT, plane, digits);
    out->lock = lock_key(digits);
    return 0;
}

void kfx_storage_names_swap(kfx_storage_names_t *names)
{
    char kept[KFX_PG_NAME_SIZE];
    memcpy(kept, names->login, sizeof kept);
    memcpy(names->login, names->other, sizeof kept);
    memcpy(names->other, kept, sizeof kept);
}

char *kfx_url_escape(const char *text)
{
    char *out = kfx_xcalloc(strlen(text) * 3 + 1, 1);
    char *o = out;

    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (strchr(unreserved, *c))
            *o++ = (char)*c;
        else
            o += snprintf(o, sizeof "%00", "%%%02X", *c);
    }
    return out;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* Decodes [from, to) into out; false on a broken escape, a NUL or no room. */
static bool url_unescape(const char *from, const char *to, char *out, size_t size)
{
    size_t n = 0;
    for (const char *c = from; c < to; c++) {
        char byte = *c;
        if (byte == '%') {
            if (to - c < 3 || hex_value(c[1]) < 0 || hex_value(c[2]) < 0)
                return false;
            byte = (char)(hex_value(c[1]) * 16 + hex_value(c[2]));
            c += 2;
        }
        if (byte == '\0' || n + 1 >= size)
            return false;
        out[n++] = byte;
    }
    out[n] = '\0';
    return true;
}

char *kfx_dsn_write(const kfx_storage_names_t *names, const kfx_storage_server_t *server, const char *password)
{
    KFX_FREE char *login = kfx_url_escape(names->login);
    KFX_FREE char *database = kfx_url_escape(names->database);
    char *secret = kfx_url_escape(password);
    char *dsn = kfx_xasprintf("postgres://%s:%s@%s:%s/%s?sslmode=verify-full&sslrootcert=" KFX_DSN_CA_FILE, login,
                              secret, server->host, server->port, database);
    kfx_wipe(secret, strlen(secret));
    free(secret);
    return dsn;
}

bool kfx_dsn_password(const char *dsn, const kfx_storage_names_t *names, char password[KFX_PASSWORD_SIZE])
{
    static const char scheme[] = "postgres://";
    char part[KFX_PG_NAME_SIZE];

    if (!dsn || strncmp(dsn, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *login = dsn + sizeof scheme - 1;
    const char *at = strchr(login, '@');
    const char *colon = strchr(login, ':');
    if (!at || !colon || colon > at)
        return false;
    const char *slash = strchr(at, '/');
    if (!slash)
        return false;
    const char *end = slash + 1 + strcspn(slash + 1, "?");
    if (!url_unescape(login, colon, part, sizeof part) || strcmp(part, names->login) != 0)
        return false;
    if (!url_unescape(slash + 1, end, part, sizeof part) || strcmp(part, names->database) != 0)
        return false;
    return url_unescape(colon + 1, at, password, KFX_PASSWORD_SIZE) && *password;
}

void kfx_dsn_hash(const kfx_storage_names_t *names, const kfx_storage_server_t *server, char out[KFX_DSN_HASH_PART])
{
    KFX_FREE char *text = kfx_xasprintf(DSN_FORM "\n%s\n%s\n%s\n%s\n%s\n", names->database, server->host, server->port,
                                        KFX_DSN_CA_FILE, server->ca_pem);
    char hex[KFX_SHA256_HEX_SIZE];
    kfx_sha256_hex(text, strlen(text), hex);
    kfx_copy(out, KFX_DSN_HASH_PART, hex);
}

const char *kfx_dsn_stamp(const char *applied)
{
    size_t part = KFX_DSN_HASH_PART - 1;
    if (!applied || strlen(applied) != KFX_DSN_HASH_SIZE - 1 || applied[part] != '-')
        return NULL;
    const char *stamp = applied + part + 1;
    return strspn(stamp, "0123456789abcdef") == KFX_DSN_STAMP_SIZE - 1 ? stamp : NULL;
}

bool kfx_dsn_hash_matches(const char *applied, const char wanted[KFX_DSN_HASH_PART])
{
    return kfx_dsn_stamp(applied) && strncmp(applied, wanted, KFX_DSN_HASH_PART - 1) == 0;
}

void kfx_dsn_stamp_make(long day, const char *rotate, const char *random5, char out[KFX_DSN_STAMP_SIZE])
{
    const char *request = rotate && strlen(rotate) >= KFX_DSN_STAMP_REQUEST ? rotate : "00000";
    snprintf(out, KFX_DSN_STAMP_SIZE, "%04lx%.5s%.5s", day & 0xffff, request, random5);
}

long kfx_dsn_stamp_day(const char *stamp)
{
    char day[5] = "";
    memcpy(day, stamp, 4);
    return strtol(day, NULL, 16);
}

bool kfx_dsn_stamp_due(const char *stamp, const char *rotate, long today, long days_max)
{
    if (rotate && strlen(rotate) >= KFX_DSN_STAMP_REQUEST && strncmp(stamp + 4, rotate, KFX_DSN_STAMP_REQUEST) != 0)
        return true;
    return days_max > 0 && today - kfx_dsn_stamp_day(stamp) >= days_max;
}
