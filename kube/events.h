/* kube/events.h: Kubernetes Events (core/v1 shape through events.k8s.io/v1), deduplicated: a repeat of the same
 * (object, type, reason, message) within 10 minutes raises series.count of the first instead of making a new object.
 * Asynchronous, lossy under pressure (64 pending), never blocks.  Single-threaded: the mailbox owner. */
#ifndef KFX_KUBE_EVENTS_H
#define KFX_KUBE_EVENTS_H

#include "kube/client.h"

typedef struct kfx_events kfx_events_t;

typedef struct {
    const char *api_version, *kind, *name, *uid; /* of the object the event is about */
    const char *ns;                              /* its namespace; NULL for cluster scope (Event goes to default) */
} kfx_object_ref_t;

kfx_events_t *kfx_events_new(kfx_mailbox_t *mailbox, const char *controller, const char *instance);
void kfx_events_destroy(kfx_events_t **self_p);
/* type: "Normal" or "Warning". action: what was done, CamelCase ("Reconcile"). */
void kfx_events_emit(kfx_events_t *self, const kfx_object_ref_t *about, const char *type, const char *reason,
                     const char *action, const char *fmt, ...) KFX_PRINTF(6, 7);

#endif
