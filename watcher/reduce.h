/* watcher/reduce.h: JSON objects of the API server -> the few facts the watcher keeps. Pure: run in the I/O thread. */
#ifndef KFX_WATCHER_REDUCE_H
#define KFX_WATCHER_REDUCE_H

#include "proto/model.h"
#include "watcher/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define KFX_SEEN_RV_SIZE 24    /* an unsigned 64-bit number has 20 digits */
#define KFX_SEEN_UID_SIZE 40   /* a UUID has 36 characters */
#define KFX_HASH_SIZE 32       /* an applied-hash, as long as a digest carries it (proto.h): kine-dsn's has two parts */
#define KFX_ROTATE_SIZE 17     /* as in kfx_digest_t */
#define KFX_CHILD_NAME_MAX 127 /* what a digest carries (proto.h) */

/* Objects whose name, uid or resourceVersion does not fit are left out whole: a cut uid would be another object. */

/* A ControlPlane. */
typedef struct {
    char name[KFX_NAME_SIZE];
    char uid[KFX_SEEN_UID_SIZE];
    char rv[KFX_SEEN_RV_SIZE];
    char type[32];                /* spec.type; "" where there is none */
    char rotate[KFX_ROTATE_SIZE]; /* annotation rotate-storage-password, hashed; "" where there is none */
    int64_t generation;
    bool deleting;
    bool forced;          /* annotation force-delete */
    bool finalizer;       /* has ours */
    char *finalizers;     /* all of them, each followed by '\n'; owned */
    char *hooks;          /* names of its PostCreateHooks, each followed by '\n'; owned; NULL: it has none */
    char *labels;         /* of one with hooks: '\n', then key, '\t', value, '\n' of each; owned; NULL */
    kfx_status_t *status; /* owned; NULL where there is none yet */
} kfx_seen_plane_t;

/* An object that belongs to a plane by its label (a Namespace: by its name). */
typedef struct {
    const char *kind; /* literal */
    char plane[KFX_NAME_SIZE];
    char name[KFX_CHILD_NAME_MAX + 1];
    char uid[KFX_SEEN_UID_SIZE];
    char rv[KFX_SEEN_RV_SIZE];
    char hash[KFX_HASH_SIZE];      /* annotation applied-hash */
    char owner[KFX_SEEN_UID_SIZE]; /* uid of the controller ownerReference */
    uint64_t fields; /* first 16 hex digits of SHA-256 over what our field manager owns; 0: it owns nothing */
    bool touched;    /* somebody else's fields are as new as ours, or newer */
    bool ready;      /* a workload: a pod of it is available, be it an old one; a Job: complete */
    bool rolling;    /* a workload: its pods are being made or exchanged */
    bool stuck;      /* and Kubernetes has given that up */
    bool failed;     /* a Job or Pod */
    bool terminating;
    bool hook; /* a PostCreateHook made it */
} kfx_seen_child_t;

/* NULL where it is no usable object. Fresh; kfx_seen_plane_free. */
kfx_seen_plane_t *kfx_reduce_plane(const json_t *object);
void kfx_seen_plane_free(void *seen); /* NULL-safe */

/* NULL where the object is none of a plane's (no label, another namespace than the plane's). Fresh; free. */
kfx_seen_child_t *kfx_reduce_child(const char *kind, const json_t *object);

#endif
