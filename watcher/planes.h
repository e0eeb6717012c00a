/* watcher/planes.h: everything the watcher knows, one entry a plane, small enough for 10,000 planes with ten children
 * each. Single-threaded: the main loop. */
#ifndef KFX_WATCHER_PLANES_H
#define KFX_WATCHER_PLANES_H

#include "kube/watch.h"
#include "proto/proto.h"
#include "watcher/reduce.h"

#define KFX_SERVICES_MAX 2 /* kfx_type_services */

/* An object of a plane. */
typedef struct kfx_tracked {
    struct kfx_tracked *next;
    const char *kind;  /* literal */
    const char *name;  /* interned */
    const char *owner; /* interned uid of the controller ownerReference, "" if none */
    char uid[KFX_SEEN_UID_SIZE];
    char rv[KFX_SEEN_RV_SIZE];
    char hash[KFX_HASH_SIZE];
    bool ready : 1;
    bool rolling : 1;
    bool stuck : 1;
    bool terminating : 1;
    bool fresh : 1; /* seen by the list that is going on */
    bool drifted : 1;
    bool failed : 1;
    bool hook : 1;                   /* a PostCreateHook made it: services hear of it through hooks_view alone */
    uint64_t fields;                 /* what our field manager owns now, as a hash; 0: nothing */
    uint64_t baseline;               /* the same after our last write */
    uint32_t told[KFX_SERVICES_MAX]; /* kfx_child_view as the service knows it; 0: it does not know the object */
} kfx_tracked_t;

/* An object that a DONE reported as written before the watch showed it. */
typedef struct kfx_promise {
    struct kfx_promise *next;
    uint8_t service;
    uint64_t id; /* kind, name, uid and applied-hash, hashed */
    char rv[KFX_SEEN_RV_SIZE];
} kfx_promise_t;

/* What a service said last about the plane. */
typedef struct {
    kfx_outcome_t outcome;
    int64_t generation;
    uint64_t epoch, seq, lease, task; /* of the DONE, for its ACK */
    bool acked;
    bool early;         /* what it saw is not done yet: it asks for a place first */
    kfx_status_t *says; /* conditions (without times), version, secretRef; owned */
} kfx_verdict_t;

/* The plane as one service is served with it. */
typedef struct {
    kfx_verdict_t *verdict; /* merged into the status; NULL: none yet */
    kfx_verdict_t *held;    /* outcome DOWN: merged only when the outage lasts */
    int64_t down_since;     /* kfx_now_ms of the first DOWN in a row, 0 if none */
    uint64_t sent_seq;      /* of the last EVENT of this leadership, 0: none */
    uint64_t done_seq;      /* of the last DONE for it */
    int64_t told_generation;
    uint32_t told_config;  /* kubeflex-config as the service knows it */
    uint32_t told_record;  /* status.kubernetesVersion and .postgresServer likewise */
    uint32_t told_rotate;  /* the annotation that asks for a new password */
    uint64_t told_hooks;   /* hooks_view likewise */
    uint32_t told_awaited; /* the Secret that it awaits */
    bool told : 1;         /* an EVENT was sent in this session of the bus */
    bool told_deleting : 1;
    bool told_place : 1; /* as the digest of the last EVENT had it */
    bool lost_child : 1; /* a child it knew is gone */
    bool lag : 1;        /* the bus's copy of the digest misses what the service itself wrote */
    bool again : 1;      /* the bus will run it again by its clock, with the digest it has */
    bool noted : 1;      /* the outage of the service is in the status */
    bool gone : 1;       /* said GONE for this uid */
    bool awaits : 1;     /* the verdict's status fields have to be recorded before it goes on */
} kfx_view_t;

typedef enum { KFX_OP_NONE, KFX_OP_FINALIZER, KFX_OP_STATUS, KFX_OP_LABELS, KFX_OP_READ } kfx_op_t;

typedef struct kfx_plane {
    char *name;
    /* The ControlPlane; valid while present. */
    bool present : 1;
    bool deleting : 1;
    bool forced : 1; /* it may go although something of it cannot be removed */
    bool finalizer : 1;
    bool fresh : 1; /* seen by the list that is going on */
    bool dirty : 1; /* queued for a step */
    bool timed : 1; /* first seen live: creation to Ready is measurable */
    bool
        retyped : 1; /* spec.type is another now than `type`, or gone: a definition without our rules let that happen */
    const char *uid; /* interned */
    const char *type;       /* the first one that was seen of this uid */
    const char *finalizers; /* interned, each followed by '\n' */
    const char *hooks;      /* interned: names of its PostCreateHooks, each followed by '\n'; NULL: none */
    const char *labels;     /* interned, of one with hooks (reduce.h); NULL */
    uint64_t hooks_view;    /* kfx_hooks_look */
    uint32_t hooks_stand;   /* kfx_hooks_stand, as PostCreateHooks' status has it */
    uint8_t label_tries;    /* writes of hooks' labels */
    char rv[KFX_SEEN_RV_SIZE];
    char rotate[KFX_ROTATE_SIZE]; /* as in kfx_digest_t */
    int64_t generation;
    int64_t first_seen;
    kfx_status_t *status;

    kfx_tracked_t *children;
    kfx_promise_t *promises;
    kfx_view_t views[KFX_SERVICES_MAX]; /* in the order of kfx_type_services */

    /* places.h */
    bool has_place : 1;   /* its running pods may be exchanged */
    bool place_idle : 1;  /* but its task fails */
    bool takes_place : 1; /* as it is counted */
    bool wants_place : 1;
    const char *awaits;         /* interned "namespace/name" of a Secret elsewhere (awaited.h), or NULL */
    const char *awaits_counted; /* the same as that module knows it */
    const char *awaited;        /* interned "uid/resourceVersion" of it; NULL: it is not there */
    uint64_t place_turn;        /* when it began to wait; 0: its reconciler asks for no place */

    kfx_op_t op;      /* the one write (or read) that is on its way */
    unsigned fails;   /* of writes in a row */
    int64_t retry_at; /* no write before; 0: none failed */
    int64_t patient;  /* kfx_now_ms until which a status waits for the next result; 0: none does */
    uint32_t unkept;  /* kfx_status_words of a status that the API server took and did not keep; 0: none */
    uint8_t unkept_tries;
    int64_t unkept_until; /* it is not written again before; 0: not before something changes */
    int8_t counted;       /* slot in the gauges + 1, see stats.c */
    struct kfx_plane *next_dirty;
} kfx_plane_t;

typedef struct kfx_planes kfx_planes_t;

kfx_planes_t *kfx_planes_new(void);
void kfx_planes_destroy(kfx_planes_t **self_p);
kfx_plane_t *kfx_planes_find(kfx_planes_t *self, const char *name);
kfx_plane_t *kfx_planes_get(kfx_planes_t *self, const char *name); /* made where it is not there */
size_t kfx_planes_count(kfx_planes_t *self);   /* entries: also Namespaces that might be a plane's */
size_t kfx_planes_present(kfx_planes_t *self); /* ControlPlanes */
/* Frees the entry when there is neither a ControlPlane nor a child nor a write on its way. True when it did. */
bool kfx_planes_purge(kfx_planes_t *self, kfx_plane_t *plane);
/* Calls fn for each; fn must not add or remove entries. */
void kfx_planes_each(kfx_planes_t *self, void (*fn)(void *ctx, kfx_plane_t *plane), void *ctx);

/* Takes what the watch showed. Older than what is known: ignored. False when nothing
 * changed. `fresh` is left to the caller: the answer to a write does not prove that the object is in the list that is
 * going on. */
bool kfx_plane_update(kfx_plane_t *plane, kfx_seen_plane_t *seen);
/* The same for the answer to a write of ours. At the same resourceVersion it goes before what the watch showed: while a
 * new definition takes effect the watch may still drop fields that the stored object has, and the removal of the last
 * finalizer, which deletes the object, is answered with the resourceVersion it had. */
void kfx_plane_answered(kfx_plane_t *plane, kfx_seen_plane_t *seen);
/* The API server keeps what is written to it, as far as we know. */
void kfx_plane_kept(kfx_plane_t *plane);
/* The ControlPlane is gone. */
void kfx_plane_forget(kfx_plane_t *plane);

/* NULL where there is none. */
kfx_tracked_t *kfx_plane_child(const kfx_plane_t *plane, const char *kind, const char *name);
/* Takes what a watch showed; promises that it keeps are told to the services. */
void kfx_plane_child_update(kfx_plane_t *plane, const kfx_seen_child_t *seen);
void kfx_plane_child_remove(kfx_plane_t *plane, const char *kind, const char *name, const char *uid);
/* Removes children of that kind that the list did not show. Returns how many. */
size_t kfx_plane_sweep(kfx_plane_t *plane, const char *kind);

/* Each of its services hears of it once more. */
void kfx_plane_unsettle(kfx_plane_t *plane);

/* What a service reported as written: an echo of it is no news for that service. */
void kfx_plane_wrote(kfx_plane_t *plane, size_t service, const kfx_written_t *written);

/* The object is ours, unharmed and, if a workload, without all of its pods yet: as a write of ours leaves it. */
bool kfx_child_plain(const kfx_plane_t *plane, const kfx_tracked_t *child);
/* It is ready and was not when the service was told of it last. */
bool kfx_child_risen(const kfx_tracked_t *child, size_t service);
/* Has this plane's controller ownerReference. */
bool kfx_child_owned(const kfx_plane_t *plane, const kfx_tracked_t *child);
/* A number for what a service can see of the object; never 0, and odd where the object is ready. */
uint32_t kfx_child_view(const kfx_plane_t *plane, const kfx_tracked_t *child);

void kfx_verdict_free(kfx_verdict_t **verdict_p);
/* A new leadership or a new session with the bus: nobody knows anything. */
void kfx_view_reset(kfx_view_t *view);

#endif
