#include "base/process.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *kfx_env_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value && *value ? value : fallback;
}

int kfx_option_number(const char *option, const char *text, long low, long high, long *out, kfx_error_t *err)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (*end || end == text || errno || n < low || n > high)
        return kfx_error_set(err, KFX_E_INVALID, "%s %.40s: give a number from %ld to %ld", option, text, low, high);
    *out = n;
    return 0;
}

int kfx_option_log_level(const char *text, kfx_error_t *err)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            kfx_log_set_level((kfx_log_level_t)i);
            return 0;
        }
    }
    return kfx_error_set(err, KFX_E_INVALID, "--log-level %.40s: choose error, warn, info or debug", text);
}

int kfx_option_log_format(const char *text, kfx_error_t *err)
{
    bool json = strcmp(text, "json") == 0;
    if (!json && strcmp(text, "text") != 0)
        return kfx_error_set(err, KFX_E_INVALID, "--log-format %.40s: choose text or json", text);
    kfx_log_set_json(json);
    return 0;
}

static volatile sig_atomic_t asked;

static void on_signal(int number)
{
    (void)number;
    asked = 1;
}

void kfx_stop_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

bool kfx_stop_asked(void)
{
    return asked != 0;
}

void kfx_pause_ms(int64_t ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    nanosleep(&span, NULL);
}
