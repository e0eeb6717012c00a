/* cli/tap.h: what the files of `kflex tap` share: filters, how a message and the figures are shown, the live tap and
 * the replay. Not thread-safe. */
#ifndef KFX_CLI_TAP_H
#define KFX_CLI_TAP_H

#include "cli/cli.h"
#include "proto/tap.h"

typedef struct {
    const char *key, *type, *from; /* NULL: all; key and from are patterns of fnmatch(3) */
    unsigned kinds;                /* bit by number of the kind; bit 0: kinds this kflex does not know */
} kfx_tap_filter_t;

/* From the flags. INVALID names the kind or type there is not. */
int kfx_tap_filter_init(kfx_tap_filter_t *self, const kfx_opts_t *opts, kfx_error_t *err);
bool kfx_tap_filter_match(const kfx_tap_filter_t *self, const kfx_tap_seen_t *seen);

/* "watcher/x2x4z": role and the end of the instance's name (a pod's is long). Fresh. */
char *kfx_tap_short(const char *role, const char *instance);
/* The heading of the columns, and one message as a line without its end. Fresh. */
char *kfx_tap_heading(void);
char *kfx_tap_line(const kfx_tap_seen_t *seen);
/* As the options want it: a line, or JSON. */
void kfx_tap_print(kfx_cli_t *cli, const kfx_tap_seen_t *seen);

#define KFX_TAP_SERVICES_MAX 16

/* The figures of all services: the newest, and those before, from which rates are computed. */
typedef struct {
    size_t count;
    kfx_tap_stats_t now[KFX_TAP_SERVICES_MAX], before[KFX_TAP_SERVICES_MAX];
} kfx_tap_board_t;

void kfx_tap_board_take(kfx_tap_board_t *self, const kfx_tap_stats_t *stats);
/* The table, one service a line; services nobody uses are left out unless all are so. Fresh. */
char *kfx_tap_board_text(const kfx_tap_board_t *self);
/* One object a service; with rates a second. Fresh. */
json_t *kfx_tap_board_json(const kfx_tap_board_t *self, size_t i);

/* Until Ctrl-C. */
int kfx_tap_live(kfx_cli_t *cli, const kfx_tap_filter_t *filter, kfx_error_t *err);
/* A recording: shown, or played into a test bus. */
int kfx_tap_replay(kfx_cli_t *cli, const kfx_tap_filter_t *filter, kfx_error_t *err);

#endif
