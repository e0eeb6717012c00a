/* watcher/watcher.h: the watcher's state and the parts that work on it, all in one zloop.
 *
 *   watches.c  what the API server shows -> planes.h, marks planes dirty
 *   step.c     a dirty plane -> the one next thing to do: finalizer, EVENTs, status
 *   writer.c   the write of a plane, one at a time, and what its answer means
 *   bus.c      results and services' states from the bus, the snapshot
 *   ready.c    /readyz
 *   awaited.c  watches of single Secrets elsewhere, while planes wait for them
 *   leader.c   Lease, epoch, gate; a standby keeps its watches and does nothing else
 */
#ifndef KFX_WATCHER_H
#define KFX_WATCHER_H

#include "bus/publisher.h"
#include "kube/client.h"
#include "kube/events.h"
#include "kube/lease.h"
#include "watcher/awaited.h"
#include "watcher/judge.h"
#include "watcher/places.h"
#include "watcher/schema.h"
#include "watcher/sender.h"
#include "watcher/stats.h"

#include <stdatomic.h>

#define KFX_OUTAGE_MS 30000 /* an outage of a common target is written only after this */
#define KFX_CONTROLLER "kubeflex-controlplane-controller"
#define KFX_WRITER "kubeflex-watcher" /* field manager of finalizer and status */

typedef struct {
    const char *bus;      /* endpoint */
    const char *ns;       /* of Lease, kubeflex-config and keys */
    const char *lease;    /* name */
    const char *instance; /* pod name */
    const char *selector; /* label selector of ControlPlanes, or NULL */
    kfx_bus_keys_t keys;
    const char *keys_dir; /* where they are; NULL: in the Secret */
    int64_t outage_ms;
} kfx_watcher_opts_t;

typedef struct {
    const char *name; /* literal */
    kfx_state_t state;
    int64_t since; /* kfx_now_ms when it went away */
    char why[256]; /* of DOWN, in a worker's words; "" */
} kfx_service_state_t;

typedef struct kfx_watches kfx_watches_t;

/* With what is missing; for logs, Events and conditions. */
#define KFX_SCHEMA_OUTDATED                                                                                            \
    "the API server's definition of ControlPlane is not the one this KubeFlex was made for; apply the "                \
    "CustomResourceDefinitions of this release (deploy/crds). It lacks: %s"

typedef struct kfx_watcher {
    kfx_watcher_opts_t opts;
    zloop_t *loop;
    kfx_kube_t *kube;
    kfx_mailbox_t *mailbox;
    kfx_events_t *events;
    kfx_watches_t *watches;
    bool synced; /* every watch had its first SYNC_END */

    kfx_planes_t *planes;
    struct kfx_hook_table *hooks;
    kfx_config_seen_t config;
    kfx_schema_t schema; /* valid while schema_known */
    bool schema_known;
    kfx_plane_t *dirty;
    kfx_places_t places;
    kfx_awaited_t *awaited;

    kfx_lease_t *lease;
    kfx_publisher_t *publisher; /* exists while we lead */
    bool connected;             /* to the bus */
    bool told;                  /* the snapshot of this session was sent */
    atomic_bool acting;         /* we lead, or writes of a leadership that is over are on their way: read by the gate */
    bool leading;
    unsigned writes; /* on their way */
    uint64_t epoch, seq;
    kfx_service_state_t services[8];
    size_t service_count;

    int retry_timer, sweep_timer, tidy_timer, hooks_timer; /* -1: not set */
    int64_t retry_due, hooks_due;                          /* kfx_now_ms at which these fire */
    int exit_code;
    bool stop;
    kfx_stats_t *stats;
} kfx_watcher_t;

/* step.c */
void kfx_watcher_mark(kfx_watcher_t *self, kfx_plane_t *plane);
void kfx_watcher_mark_all(kfx_watcher_t *self);
void kfx_watcher_flush(kfx_watcher_t *self); /* steps every dirty plane */

/* writer.c */
void kfx_writer_submit(kfx_watcher_t *self, kfx_plane_t *plane, kfx_op_t op, json_t *patch);
void kfx_writer_later(kfx_watcher_t *self, int64_t at); /* steps every plane again at this kfx_now_ms */

/* watches.c */
kfx_watches_t *kfx_watches_start(kfx_watcher_t *self);
/* An Event about the served definition where it is not ours; the leader's business. */
void kfx_watcher_announce_schema(kfx_watcher_t *self);
/* Objects with our label in this collection are watched from now on: hooks make them. NULL-safe. */
void kfx_watches_add(kfx_watches_t *self, const char *path);
void kfx_watches_stop(kfx_watches_t **watches_p);
/* Gives memory back to the system in a while: lists and snapshots are large, what is kept of them is small. */
void kfx_watcher_tidy_later(kfx_watcher_t *self);

/* bus.c */
int kfx_bus_start(kfx_watcher_t *self, uint64_t epoch, kfx_error_t *err);
void kfx_bus_stop(kfx_watcher_t *self);
void kfx_bus_snapshot(kfx_watcher_t *self); /* where it is due and possible */
void kfx_bus_send(kfx_watcher_t *self, kfx_plane_t *plane, const kfx_stance_t *stance, size_t index);
void kfx_bus_ack(kfx_watcher_t *self, const kfx_plane_t *plane, const char *service, kfx_verdict_t *verdict);
/* The service has been away for so long that it is written; its state, else KFX_STATE_UP. */
kfx_state_t kfx_bus_outage(const kfx_watcher_t *self, const char *service);
bool kfx_bus_away(const kfx_watcher_t *self, const char *service);       /* now, however short */
const char *kfx_bus_why(const kfx_watcher_t *self, const char *service); /* borrowed; "" */
void kfx_bus_sweep_later(kfx_watcher_t *self, int64_t ms);               /* mark everything after ms */

/* hook_status.c: writes the status of each PostCreateHook where it is not right; the leader's business. */
void kfx_hook_status_all(kfx_watcher_t *self);
void kfx_hook_status_later(kfx_watcher_t *self); /* in a moment, with what else changes meanwhile */

/* leader.c */
void kfx_leader_start(kfx_watcher_t *self);
void kfx_leader_stop(kfx_watcher_t *self);
void kfx_leader_stale(kfx_watcher_t *self, uint64_t epoch); /* the bus knows a higher one */
void kfx_leader_settle(kfx_watcher_t *self);                /* a write came back */

/* ready.c */
void kfx_watcher_ready(kfx_watcher_t *self); /* /readyz as it is now */

/* announce.c: Events for transitions of the status */
void kfx_announce_status(kfx_watcher_t *self, const kfx_plane_t *plane, const kfx_status_t *before,
                         const kfx_status_t *after);
void kfx_announce_deleting(kfx_watcher_t *self, const kfx_plane_t *plane);
/* It is let go by the administrator's word, without that service's. */
void kfx_announce_forced(kfx_watcher_t *self, const kfx_plane_t *plane, const char *service);

#endif
