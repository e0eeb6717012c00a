/* cli/output.h: what the user sees: finished steps on stdout, a moving status line on a terminal, warnings on stderr.
 *
 * Colour only on a terminal and without NO_COLOR; the moving line only on a terminal with --chatty-status. A pipe gets
 * plain lines. Texts from a cluster have their control characters replaced. Not thread-safe.
 */
#ifndef KFX_CLI_OUTPUT_H
#define KFX_CLI_OUTPUT_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    FILE *out, *err;
    bool color;     /* stdout is a terminal and colour is welcome */
    bool err_color; /* the same for stderr */
    bool spin;      /* the moving line may be shown */
    bool spinning;  /* it is on the screen now */
    unsigned frame;
} kfx_out_t;

void kfx_out_init(kfx_out_t *out, bool chatty);

/* "✔ text (1.2s)"; since_ms < 0: without the time. */
void kfx_out_step(kfx_out_t *out, int64_t since_ms, const char *fmt, ...) KFX_PRINTF(3, 4);
/* "✔ text", "! text" or "✘ text" on stdout, for 1 (good), 0 (a warning), -1 (bad). */
void kfx_out_check(kfx_out_t *out, int verdict, const char *fmt, ...) KFX_PRINTF(3, 4);
/* A plain line on stdout. */
void kfx_out_line(kfx_out_t *out, const char *fmt, ...) KFX_PRINTF(2, 3);
/* "Warning: text", "Error: text" or just text on stderr. */
void kfx_out_warn(kfx_out_t *out, const char *fmt, ...) KFX_PRINTF(2, 3);
void kfx_out_error(kfx_out_t *out, const char *text);
void kfx_out_note(kfx_out_t *out, const char *fmt, ...) KFX_PRINTF(2, 3);

/* Asks "text (y/N) " on stderr: whether y or yes was answered on stdin. Waits for the answer. */
bool kfx_out_ask(kfx_out_t *out, const char *fmt, ...) KFX_PRINTF(2, 3);

/* Redraws the moving line with this text; nothing where it may not be shown. */
void kfx_out_spin(kfx_out_t *out, int64_t since_ms, const char *fmt, ...) KFX_PRINTF(3, 4);
void kfx_out_spin_clear(kfx_out_t *out);

/* Seconds as Go prints a duration: "45s", "3m0s", "26h1m5s". */
#define KFX_AGE_SIZE 32
const char *kfx_age(char buf[KFX_AGE_SIZE], int64_t seconds);

/* The text with control characters replaced by spaces and newlines by "; ". Fresh. */
char *kfx_clean(const char *text);

#endif
