/* base/clock.h: time, always in milliseconds unless a name says otherwise. Thread-safe. */
#ifndef KFX_CLOCK_H
#define KFX_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_BOOTTIME: steady, and it goes on while the machine sleeps (a lease must not outlive that). */
int64_t kfx_now_ms(void);

/* Wall clock as RFC 3339 in UTC: seconds ("2026-11-23T10:00:00Z") or microseconds (Lease renewTime). */
#define KFX_RFC3339_SIZE 32
const char *kfx_rfc3339(char buf[KFX_RFC3339_SIZE], time_t t);
const char *kfx_rfc3339_now(char buf[KFX_RFC3339_SIZE]);
const char *kfx_rfc3339_now_micro(char buf[KFX_RFC3339_SIZE]);

/* Seconds since the epoch, or -1 where text is no RFC 3339 time (fractions are cut, offsets are understood). */
time_t kfx_rfc3339_parse(const char *text);

/* Exponential backoff with jitter: base doubled `attempt` times (attempt 0 = base), cut at cap, then spread to
 * 50–100 % of it. All in milliseconds. */
int64_t kfx_backoff_ms(unsigned attempt, int64_t base, int64_t cap);

/* Uniform in [low, high], from a per-thread generator seeded by getrandom(2). Not for keys. */
int64_t kfx_random_between(int64_t low, int64_t high);

#endif
