/* watcher/sender.h: whether a service has to hear of a plane. Pure decisions over planes.h. */
#ifndef KFX_WATCHER_SENDER_H
#define KFX_WATCHER_SENDER_H

#include "watcher/digest.h"

typedef enum {
    KFX_SEND_NOTHING, /* it knows everything it can see */
    KFX_SEND_LATER,   /* what changed looks like its own running task's work: its DONE will tell */
    KFX_SEND_NOW
} kfx_send_t;

kfx_send_t kfx_sender_decide(const kfx_plane_t *plane, size_t index, const char *service,
                             const kfx_config_seen_t *config);
/* The service is told that the plane's running pods may be exchanged. */
bool kfx_sender_place(const kfx_plane_t *plane, const char *service);
/* What the service said last is not recorded yet, and it may need that to go on: while a write is on its way that will
 * record it, an EVENT had better wait for the answer than make the service run twice. */
bool kfx_sender_unrecorded(const kfx_plane_t *plane, size_t index);
/* An EVENT with this sequence number left: the service knows everything now. */
void kfx_sender_sent(kfx_plane_t *plane, size_t index, const char *service, const kfx_config_seen_t *config,
                     uint64_t seq);
/* An EVENT of ours has no DONE yet. */
bool kfx_sender_waits(const kfx_view_t *view);
/* A DONE of the service came. One that asks to be run again by the bus's clock has to find a right digest there by
 * then: an EVENT is due once the watch has shown what the service wrote. */
void kfx_sender_done(kfx_view_t *view, const kfx_result_t *result);

#endif
