/* base/log.h: one line a fact, on stderr, as key=value (default) or JSON (KFX_LOG_FORMAT=json).
 *
 *   kfx_log_info ("database created", "plane", name, "uid", uid, "ms", kfx_log_num (ms), NULL);
 *
 * prints  time=2026-11-23T10:00:00.123Z level=info process=storage-agent msg="database created" plane=cp1 uid=… ms=35
 *
 * Keys and values are strings, ended by NULL; a NULL value prints as empty. Values are quoted where needed, control
 * characters escaped. Never pass a secret. Thread-safe: each line is one write(2).
 */
#ifndef KFX_LOG_H
#define KFX_LOG_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { KFX_LOG_ERROR, KFX_LOG_WARN, KFX_LOG_INFO, KFX_LOG_DEBUG } kfx_log_level_t;

/* Call once before threads start. process: a literal such as "watcher". Level from KFX_LOG_LEVEL
 * (error, warn, info, debug; default info), format from KFX_LOG_FORMAT (text, json; default text). */
void kfx_log_init(const char *process);
void kfx_log_set_level(kfx_log_level_t level);
void kfx_log_set_json(bool json); /* before threads start */
bool kfx_log_enabled(kfx_log_level_t level);

void kfx_log_at(kfx_log_level_t level, const char *msg, ...) __attribute__((sentinel));

#define kfx_log_error(...) kfx_log_at(KFX_LOG_ERROR, __VA_ARGS__)
#define kfx_log_warn(...) kfx_log_at(KFX_LOG_WARN, __VA_ARGS__)
#define kfx_log_info(...) kfx_log_at(KFX_LOG_INFO, __VA_ARGS__)
#define kfx_log_debug(...)                                                                                             \
    do {                                                                                                               \
        if (kfx_log_enabled(KFX_LOG_DEBUG))                                                                            \
            kfx_log_at(KFX_LOG_DEBUG, __VA_ARGS__);                                                                    \
    } while (0)

/* A number as text for one log call: a compound literal that lives until the end of the full expression. */
typedef struct {
    char text[24];
} kfx_log_num_t;
const char *kfx_log_num_(kfx_log_num_t *buf, int64_t value);
#define kfx_log_num(value) kfx_log_num_(&(kfx_log_num_t){{0}}, (int64_t)(value))

#endif
