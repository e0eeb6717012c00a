/* bus/signals.h: SIGTERM and SIGINT as something a zloop can wait for. czmq's own handlers are switched off: they stop
 * every loop of the process at once, which leaves no time to drain. One user a process. */
#ifndef KFX_BUS_SIGNALS_H
#define KFX_BUS_SIGNALS_H

#include "base/error.h"

#include <czmq.h>

/* on_stop runs in the loop for each signal; -1 ends zloop_start. */
int kfx_signals_catch(zloop_t *loop, int (*on_stop)(void *ctx, int signal_number), void *ctx, kfx_error_t *err);
void kfx_signals_release(zloop_t *loop);

/* zloop_start returns when a signal interrupts its poll: this runs it until *stopped is true. */
void kfx_loop_run(zloop_t *loop, const bool *stopped);

#endif
