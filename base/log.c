#include "base/log.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 65536
#define VALUE_MAX_BYTES 8192 /* of one value; the rest is replaced by "..." */

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static atomic_int current_level = KFX_LOG_INFO;
static bool as_json;
static const char *process_name = "kubeflex";

void kfx_log_init(const char *process)
{
    process_name = process;
    const char *format = getenv("KFX_LOG_FORMAT"), *level = getenv("KFX_LOG_LEVEL");
    as_json = format && strcmp(format, "json") == 0;
    atomic_store(&current_level, KFX_LOG_INFO);
    bool known = !level || !*level;
    for (size_t i = 0; !known && i < KFX_COUNT(level_names); i++) {
        if (strcmp(level, level_names[i]) == 0) {
            atomic_store(&current_level, (int)i);
            known = true;
        }
    }
    if (!known)
        kfx_log_warn("KFX_LOG_LEVEL is none of error, warn, info, debug: info is used", "value", level, NULL);
    if (format && *format && !as_json && strcmp(format, "text") != 0)
        kfx_log_warn("KFX_LOG_FORMAT is none of text, json: text is used", "value", format, NULL);
}

void kfx_log_set_json(bool json)
{
    as_json = json;
}

void kfx_log_set_level(kfx_log_level_t level)
{
    atomic_store(&current_level, (int)level);
}

bool kfx_log_enabled(kfx_log_level_t level)
{
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

/* Reads one character of UTF-8 into *code; returns its length, or 0 where the bytes are none (RFC 3629). */
static size_t utf8_char(const char *text, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)text[0];
    if (c < 0x80) {
        *code = c;
        return 1;
    }
    size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    *code = c & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (text[i] & 0x3F);
    }
    bool valid = *code >= least[len] && *code <= 0x10FFFF && (*code < 0xD800 || *code > 0xDFFF);
    return valid ? len : 0;
}

/* The escapes are JSON's in both formats; bytes that are no UTF-8 become U+FFFD. Control characters include C1, which
 * terminals obey. */
static void add_escaped(kfx_buf_t *line, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t n = utf8_char(text + i, &code);
        if (n == 0 || i + n > len) {
            kfx_buf_adds(line, "\xEF\xBF\xBD");
            n = 1;
        } else if (code == '"' || code == '\\') {
            kfx_buf_addf(line, "\\%c", (char)code);
        } else if (code == '\n' || code == '\t' || code == '\r') {
            kfx_buf_addf(line, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
        } else if (code < 0x20 || (code >= 0x7F && code < 0xA0)) {
            kfx_buf_addf(line, "\\u%04" PRIx32, code);
        } else {
            kfx_buf_add(line, text + i, n);
        }
        i += n;
    }
}

static bool needs_quotes(const char *value)
{
    for (const char *p = value; *p; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7F || strchr("\"\\=", *p))
            return true;
    }
    return false;
}

static void add_pair(kfx_buf_t *line, const char *key, const char *value)
{
    if (!value)
        value = "";
    size_t len = strnlen(value, VALUE_MAX_BYTES + 1);
    bool cut = len > VALUE_MAX_BYTES;
    if (cut)
        len = kfx_utf8_cut(value, VALUE_MAX_BYTES);
    bool quoted = as_json || needs_quotes(value);

    if (line->len > 0)
        kfx_buf_adds(line, as_json ? "," : " ");
    if (as_json)
        kfx_buf_adds(line, "\"");
    add_escaped(line, key, strlen(key));
    kfx_buf_adds(line, as_json ? "\":" : "=");
    if (quoted)
        kfx_buf_adds(line, "\"");
    add_escaped(line, value, len);
    if (cut)
        kfx_buf_adds(line, "...");
    if (quoted)
        kfx_buf_adds(line, "\"");
}

static void write_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody reads: a log must not stop the process */
        data += n;
        len -= (size_t)n;
    }
}

void kfx_log_at(kfx_log_level_t level, const char *msg, ...)
{
    if (!kfx_log_enabled(level))
        return;
    int saved = errno;
    KFX_BUF kfx_buf_t line = KFX_BUF_INIT(LINE_MAX_BYTES);

    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    struct tm tm;
    gmtime_r(&ts.tv_sec, &tm);
    char seconds[32], stamp[48];
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp, sizeof stamp, "%s.%03ldZ", seconds, ts.tv_nsec / 1000000);

    add_pair(&line, "time", stamp);
    add_pair(&line, "level", level_names[level]);
    add_pair(&line, "process", process_name);
    add_pair(&line, "msg", msg);
    va_list pairs;
    va_start(pairs, msg);
    for (const char *key; (key = va_arg(pairs, const char *));) {
        size_t before = line.len;
        add_pair(&line, key, va_arg(pairs, const char *));
        if (line.failed || line.len > LINE_MAX_BYTES - 4) {
            line.len = before; /* the rest has no room: whole pairs or none */
            break;
        }
    }
    va_end(pairs);

    line.failed = false;
    if (line.data) {
        if (as_json) {
            KFX_BUF kfx_buf_t object = KFX_BUF_INIT(LINE_MAX_BYTES + 8);
            if (kfx_buf_adds(&object, "{") == 0 && kfx_buf_add(&object, line.data, line.len) == 0 &&
                kfx_buf_adds(&object, "}\n") == 0)
                write_all(object.data, object.len);
        } else if (kfx_buf_adds(&line, "\n") == 0) {
            write_all(line.data, line.len);
        }
    }
    errno = saved;
}

const char *kfx_log_num_(kfx_log_num_t *buf, int64_t value)
{
    snprintf(buf->text, sizeof buf->text, "%" PRId64, value);
    return buf->text;
}
