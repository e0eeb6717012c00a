/* cli/events.h: Kubernetes Events about a control plane: those of the ControlPlane itself and of its namespace. */
#ifndef KFX_CLI_EVENTS_H
#define KFX_CLI_EVENTS_H

#include "cli/output.h"
#include "kube/client.h"

/* The oldest first. uid: of the ControlPlane, so that an earlier plane of that name is left out; NULL: any. Fresh array
 * of events; NULL where they cannot be read. */
json_t *kfx_events_fetch(kfx_kube_t *kube, const char *plane, const char *uid, kfx_error_t *err);

/* A table of the newest `most`. */
void kfx_events_print(kfx_out_t *out, const json_t *events, size_t most);
/* On stderr, a line each, warnings only. */
void kfx_events_note_warnings(kfx_out_t *out, const json_t *events, size_t most);

/* When it was last seen, in seconds since the epoch; -1: unknown. */
int64_t kfx_event_time(const json_t *event);

#endif
