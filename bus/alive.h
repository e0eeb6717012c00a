/* bus/alive.h: which objects of this thread's loop still exist.
 *
 * zloop_timer_end takes a timer out at the end of a pass: where its time has come too, zloop calls its handler once
 * more after the owner was destroyed in the same pass (czmq 4.2, zloop_start), as happens to a process that was stopped
 * for a while. So an owner that may be destroyed inside the loop enters itself here, and its timers' handlers ask
 * first. That another object may have come to the same address does no harm: its handler just runs early.
 */
#ifndef KFX_BUS_ALIVE_H
#define KFX_BUS_ALIVE_H

#include <stdbool.h>

void kfx_alive_add(const void *object);
void kfx_alive_remove(const void *object); /* nothing where it was not added */
bool kfx_alive(const void *object);

#endif
