/* cli/creation.h: a control plane on its way, as create and adopt follow it: POST the object, show its steps as its
 * conditions tell them, until it is Ready or cannot become so. */
#ifndef KFX_CLI_CREATION_H
#define KFX_CLI_CREATION_H

#include "cli/cli.h"
#include "cli/hosting.h"
#include "cli/plane.h"

typedef struct {
    kfx_cli_t *cli;
    kfx_hosting_t hosting; /* opened by the caller */
    const char *name;
    char uid[KFX_UID_SIZE];
    int64_t start;     /* kfx_now_ms */
    bool seen;         /* the watch has told something */
    unsigned told;     /* bit i: step i was shown */
    char trouble[128]; /* "type reason" that was shown last; "": none, "silence": no condition for long */
    kfx_plane_t plane;
    char text[300]; /* what the moving line says */
} kfx_creation_t;

/* Whether to wait: --wait, --no-wait. */
bool kfx_creation_waits(const kfx_opts_t *opts);

/* POSTs it (consumed); EXISTS says what to do. */
int kfx_creation_post(kfx_creation_t *self, json_t *manifest, kfx_error_t *err);

/* Waits until it is Ready, --timeout at most; then self->plane is as it was seen then. -1 also at once where waiting
 * does not help. Where it is not to become Ready, warnings of the last hour and the last lines of a failing container
 * are told on stderr. */
int kfx_creation_wait(kfx_creation_t *self, kfx_error_t *err);

#endif
