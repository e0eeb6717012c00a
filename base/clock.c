#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int64_t kfx_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const char *kfx_rfc3339(char buf[KFX_RFC3339_SIZE], time_t t)
{
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(buf, KFX_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        buf[0] = 0;
    return buf;
}

const char *kfx_rfc3339_now(char buf[KFX_RFC3339_SIZE])
{
    return kfx_rfc3339(buf, time(NULL));
}

const char *kfx_rfc3339_now_micro(char buf[KFX_RFC3339_SIZE])
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    char seconds[KFX_RFC3339_SIZE];
    kfx_rfc3339(seconds, ts.tv_sec);
    snprintf(buf, KFX_RFC3339_SIZE, "%.19s.%06ldZ", seconds, ts.tv_nsec / 1000);
    return buf;
}

/* Exactly n digits with a value in [low, high]. */
static bool digits(const char **p, int n, int low, int high, int *value)
{
    *value = 0;
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)(*p)[i]))
            return false;
        *value = *value * 10 + ((*p)[i] - '0');
    }
    *p += n;
    return *value >= low && *value <= high;
}

static bool one_of(const char **p, const char *chars)
{
    if (!**p || !strchr(chars, **p))
        return false;
    (*p)++;
    return true;
}

/* "Z" or "+hh:mm": seconds east of UTC. */
static bool offset(const char **p, int *seconds)
{
    *seconds = 0;
    if (one_of(p, "Zz"))
        return true;
    int sign = **p == '-' ? -1 : 1, hours, minutes;
    if (!one_of(p, "+-") || !digits(p, 2, 0, 23, &hours) || !one_of(p, ":") || !digits(p, 2, 0, 59, &minutes))
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool real_day(int year, int month, int day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && leap);
}

time_t kfx_rfc3339_parse(const char *text)
{
    struct tm tm = {0};
    int year, month, east;
    const char *p = text;
    if (!p || !digits(&p, 4, 0, 9999, &year) || !one_of(&p, "-") || !digits(&p, 2, 1, 12, &month) || !one_of(&p, "-") ||
        !digits(&p, 2, 1, 31, &tm.tm_mday) || !real_day(year, month, tm.tm_mday) || !one_of(&p, "Tt ") ||
        !digits(&p, 2, 0, 23, &tm.tm_hour) || !one_of(&p, ":") || !digits(&p, 2, 0, 59, &tm.tm_min) ||
        !one_of(&p, ":") || !digits(&p, 2, 0, 60, &tm.tm_sec))
        return -1;
    if (one_of(&p, ".")) {
        if (!isdigit((unsigned char)*p))
            return -1;
        while (isdigit((unsigned char)*p))
            p++;
    }
    if (!offset(&p, &east) || *p)
        return -1;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    return timegm(&tm) - east;
}

/* splitmix64 (Steele, Lea, Flood 2014): one word of state, good enough for jitter. */
static uint64_t random_word(void)
{
    static _Thread_local uint64_t state;
    static _Thread_local bool seeded;
    if (!seeded) {
        ssize_t n;
        do
            n = getrandom(&state, sizeof state, 0);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t)sizeof state)
            abort(); /* Linux gives up to 256 bytes at once, always */
        seeded = true;
    }
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

int64_t kfx_random_between(int64_t low, int64_t high)
{
    if (high <= low)
        return low;
    uint64_t span = (uint64_t)high - (uint64_t)low + 1;
    if (span == 0)
        return (int64_t)random_word();
    /* Words past the last whole multiple of span would favour small results. */
    uint64_t reject = (UINT64_MAX - span + 1) % span, word;
    do
        word = random_word();
    while (word < reject);
    return (int64_t)((uint64_t)low + word % span);
}

int64_t kfx_backoff_ms(unsigned attempt, int64_t base, int64_t cap)
{
    if (base <= 0 || cap <= 0)
        return 0;
    int64_t delay = base < cap ? base : cap;
    for (unsigned i = 0; i < attempt && delay < cap; i++)
        delay = delay > cap / 2 ? cap : delay * 2;
    return kfx_random_between(delay - delay / 2, delay);
}
