/* base/process.h: what the start of each server program needs: options with defaults from the environment, and being
 * asked to stop before there is a main loop. Main thread only, but for kfx_stop_asked and kfx_pause_ms. */
#ifndef KFX_PROCESS_H
#define KFX_PROCESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* The variable's value, borrowed, or fallback (may be NULL) where it is unset or empty. */
const char *kfx_env_or(const char *name, const char *fallback);

/* `text` as a number from low to high. INVALID names the option and the range. */
int kfx_option_number(const char *option, const char *text, long low, long high, long *out, kfx_error_t *err);

/* Sets the level of base/log.h by its name: error, warn, info, debug. INVALID says so. */
int kfx_option_log_level(const char *text, kfx_error_t *err);

/* The same for its format: text, json. Before threads start. */
int kfx_option_log_format(const char *text, kfx_error_t *err);

/* SIGTERM and SIGINT set kfx_stop_asked, until something else takes the signals (bus/signals.h): process 1 of a
 * container has no default handlers. */
void kfx_stop_catch(void);
bool kfx_stop_asked(void);

/* Sleeps; a signal ends it early. */
void kfx_pause_ms(int64_t ms);

#endif
