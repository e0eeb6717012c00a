/* cli/wait.h: waiting for objects by name, driven by watch events, until each says "done".
 *
 * Ends early on Ctrl-C and SIGTERM (KFX_E_CANCELED) and at the deadline (KFX_E_TIMEOUT); what is then said is the
 * caller's.
 */
#ifndef KFX_CLI_WAIT_H
#define KFX_CLI_WAIT_H

#include "cli/output.h"
#include "kube/watch.h"

typedef struct {
    const char *collection; /* "/api/v1/namespaces" */
    const char *name;
    bool metadata_only;
    void *(*reduce)(void *ctx, const json_t *object); /* I/O thread; free()able struct */
    /* item (borrowed) is NULL where the object is not there. 1: done, 0: go on, -1: stop all with err. */
    int (*changed)(void *ctx, const void *item, kfx_error_t *err);
    /* Where we may not watch it: told once, then the target counts as done. NULL: that ends the wait with the error. */
    void (*refused)(void *ctx, const kfx_error_t *err);
    void *ctx;
} kfx_wait_t;

/* text (may be NULL) gives what the moving line says; since: kfx_now_ms when the command began. */
int kfx_wait(kfx_kube_t *kube, const kfx_wait_t *targets, size_t count, int64_t deadline, kfx_out_t *out, int64_t since,
             const char *(*text)(void *ctx), void *text_ctx, kfx_error_t *err);

#endif
