/* proto/proto.h: the messages of the bus and their encoding. The one place that knows them; docs/protocol.md specifies
 * the same for other implementations.
 *
 * A message is four ZeroMQ frames: [protocol][kind][envelope][payload]. protocol is the five bytes "KFX/1"; kind is one
 * byte; envelope is a msgpack map with short string keys; payload is a msgpack map (or empty) that the bus never reads.
 * (Between a ROUTER and its application ZeroMQ's routing id stands in front.)
 *
 * Encoding and decoding are pure functions: thread-safe. Decoders take hostile input: every length and count is
 * bounded, nothing of the input is referenced after they return.
 */
#ifndef KFX_PROTO_H
#define KFX_PROTO_H

#include "base/error.h"
#include "proto/model.h"

#include <czmq.h>
#include <stdint.h>

#define KFX_PROTO_MAGIC "KFX/1"
#define KFX_PROTO_MIN 1 /* lowest and highest protocol version this build speaks */
#define KFX_PROTO_MAX 1
#define KFX_FRAME_MAX 65536   /* bytes; a larger frame is refused */
#define KFX_CHILDREN_MAX 64   /* children in one digest */
#define KFX_CONDITIONS_MAX 16 /* conditions in one result */
#define KFX_HOOKS_MAX 32      /* PostCreateHooks of one plane */
#define KFX_KINDS_MAX 16      /* kinds in one result */

typedef enum {
    KFX_HELLO = 1, /* client -> bus: who I am, what I serve */
    KFX_WELCOME,   /* bus -> client: session, lease, window */
    KFX_PING,      /* client -> bus, every 500 ms; echoes back as PONG with the same seq */
    KFX_PONG,
    KFX_SYNC,   /* watcher -> bus: begin / end of a snapshot (state = KFX_SYNC_*) */
    KFX_EVENT,  /* watcher -> bus: this key may need work */
    KFX_TASK,   /* bus -> worker: do it */
    KFX_CANCEL, /* bus -> worker: the key's uid is gone or your lease is over: stop early */
    KFX_DONE,   /* worker -> bus -> watcher: the durable result of a task */
    KFX_STATUS, /* worker -> bus -> watcher: lossy progress; bus -> watcher: state of a service */
    KFX_ACK,    /* watcher -> bus: that DONE has landed in the API server; bus -> watcher: EVENT taken (window) */
    KFX_BYE,    /* client -> bus: I leave; my tasks go back at once */
    KFX_ERROR,  /* bus -> client: refused, with code and text */
    KFX_KIND_LAST = KFX_ERROR
} kfx_kind_t;

const char *kfx_kind_name(kfx_kind_t kind); /* "TASK"; "?" for an unknown one */

/* What became of a task (DONE). */
typedef enum {
    KFX_OUTCOME_NONE = 0,
    KFX_OUTCOME_OK,      /* as desired; with retry_after_ms > 0: look again then, without an event (re-probe) */
    KFX_OUTCOME_WAITING, /* for something another event will tell; with retry_after_ms > 0 at the latest then */
    KFX_OUTCOME_RETRY,   /* failed; again after the queue's exponential backoff, or after retry_after_ms if > 0 */
    KFX_OUTCOME_GONE,    /* deletion: nothing of this uid is left on this service's side */
    KFX_OUTCOME_DOWN     /* the service's target (API server, Postgres) is down: no fault of this key, no backoff */
} kfx_outcome_t;

/* States in the envelope's `state`: of a service (PING, STATUS), of a SYNC. */
typedef enum {
    KFX_STATE_NONE = 0,
    KFX_STATE_UP,        /* service: its target answers */
    KFX_STATE_DOWN,      /* service: its target is down, credit is 0 */
    KFX_STATE_NO_WORKER, /* bus -> watcher: nobody serves this service */
    KFX_SYNC_BEGIN,
    KFX_SYNC_END
} kfx_state_t;

const char *kfx_outcome_name(kfx_outcome_t outcome); /* "ok", "waiting" …; "" for NONE */
const char *kfx_state_name(kfx_state_t state);       /* "up", "down", "no-worker" …; "" for NONE */

/* Zero and "" mean "not there": such fields are not encoded. */
typedef struct {
    char service[KFX_SERVICE_SIZE]; /* queue: "reconcile.k8s", "storage"; may be "" in HELLO of a watcher */
    char key[KFX_NAME_SIZE];        /* the plane's name */
    char uid[KFX_UID_SIZE];         /* the plane's uid */
    char sender[64];                /* instance name of the sender (pod name), for people and the tap */
    char role[KFX_SERVICE_SIZE];    /* HELLO: "watcher", "reconciler:k8s", "storage", "tap" */
    char text[256];                 /* ERROR: for people; STATUS: progress */
    int64_t generation;             /* the plane's metadata.generation the message is about */
    uint64_t epoch;                 /* of the watcher's leadership */
    uint64_t seq;                   /* EVENT, TASK, DONE, ACK: the watcher's sequence; PING, PONG: the ping's number */
    uint64_t lease;                 /* worker session; given in WELCOME, quoted in PING and DONE */
    uint32_t lease_ms;              /* WELCOME: how long one echoed PING holds */
    uint32_t attempt;               /* TASK: failures of this key so far */
    uint32_t retry_after_ms;
    uint32_t credit;                   /* HELLO, PING: how many tasks the worker will take in all; 0 = none */
    uint32_t window;                   /* WELCOME: how many EVENTs a watcher may have unacknowledged */
    uint32_t revision;                 /* HELLO: manifest revision of the worker */
    uint32_t version_min, version_max; /* HELLO: protocol versions spoken; WELCOME: chosen (both equal) */
    uint32_t code;                     /* ERROR: kfx_code_t by number, fixed in docs/protocol.md */
    kfx_outcome_t outcome;
    kfx_state_t state;
    bool deleting; /* EVENT, TASK: the plane has a deletionTimestamp */
    bool running;  /* EVENT of a worker: it runs this key */
    bool renew;    /* PONG: this connection's key was replaced and ends soon: read it again and connect anew */
    uint64_t task; /* TASK, CANCEL, DONE and ACK of a DONE: number of this dispatch, given by the bus */
} kfx_envelope_t;

/* One object of a plane as the watcher saw it. */
typedef struct {
    char kind[32];  /* "Secret" */
    char name[128]; /* metadata.name; the namespace is the plane's, or none */
    char uid[KFX_UID_SIZE];
    char rv[32];   /* resourceVersion */
    char hash[32]; /* applied-hash annotation, "" if none */
    bool ready;    /* workloads: a pod is available, be it an old one; a Secret: always true */
    bool rolling;  /* workloads: their pods are being made or exchanged */
    bool stuck;    /* and Kubernetes has given that up (ProgressDeadlineExceeded), for now */
    bool terminating;
    bool drifted; /* fields of ours changed hands since our last apply */
    bool owned;   /* has this uid's controller ownerReference */
} kfx_child_t;

/* Payload of EVENT and TASK: what was observed. No spec, no secret. */
typedef struct {
    char type[32]; /* spec.type */
    bool deleting;
    char kubernetes_version[32]; /* status.kubernetesVersion as it is recorded; "" = not yet */
    char postgres_server[64];    /* status.postgresServer likewise */
    char rotate[17];             /* first hex digits of SHA-256 of annotation rotate-storage-password; "" = none */
    /* A number for what was seen of the plane's PostCreateHooks and of the objects they made: another text means that
     * something about them changed. "" = it has none. */
    char hooks[20];
    bool place;       /* its running pods may be exchanged now */
    char awaited[96]; /* "uid/resourceVersion" of the Secret that the last result awaits; "" = it is not there */
    size_t count;
    kfx_child_t *children; /* fresh; kfx_digest_free */
} kfx_digest_t;

/* NULL where the digest has no such child. */
const kfx_child_t *kfx_digest_child(const kfx_digest_t *digest, const char *kind, const char *name);
kfx_digest_t *kfx_digest_dup(const kfx_digest_t *digest);
void kfx_digest_free(kfx_digest_t *digest); /* accepts NULL; frees the struct too */

typedef struct {
    char type[32];   /* "Synced" */
    char status[8];  /* "True", "False", "Unknown" */
    char reason[64]; /* CamelCase */
    char message[512];
} kfx_condition_t;

/* An object as our last write left it, so that the watcher does not take the echo for drift. */
typedef struct {
    char kind[32];
    char name[128];
    char uid[KFX_UID_SIZE];
    char rv[32];
    char hash[32];
} kfx_written_t;

/* What became of one PostCreateHook in one plane. */
typedef struct {
    char name[KFX_NAME_SIZE];
    bool done;       /* applied, and ready where the plane waits for that; stays so */
    char reason[64]; /* CamelCase: how it stands now */
    char message[384];
} kfx_hook_result_t;

/* A kind whose objects hooks made: the watcher watches those with our label. */
typedef struct {
    char path[128]; /* the collection in all namespaces, "/apis/rbac.authorization.k8s.io/v1/roles" */
} kfx_kind_path_t;

/* Payload of DONE: what a task found out. The watcher merges it into the status. */
typedef struct {
    kfx_outcome_t outcome;   /* travels in the envelope */
    uint32_t retry_after_ms; /* travels in the envelope */
    size_t condition_count;
    kfx_condition_t conditions[KFX_CONDITIONS_MAX];
    size_t written_count;
    kfx_written_t written[KFX_CHILDREN_MAX];
    /* status fields this service is the source of; "" = says nothing about it */
    char kubernetes_version[32];
    char postgres_server[64];
    char secret_name[128]; /* status.secretRef: namespace is the plane's */
    char secret_key[64];
    char secret_in_cluster_key[64];
    /* The worker goes on only once the status fields above are recorded: the watcher sends an EVENT when they are. */
    bool awaits_record;
    /* Of PostCreateHooks, in the plane's order. hooks_known: the next two are all there is to say; else nothing is said
     * about hooks. */
    bool hooks_known, hooks_completed;
    size_t hook_count;
    kfx_hook_result_t hooks[KFX_HOOKS_MAX];
    size_t kind_count;
    kfx_kind_path_t kinds[KFX_KINDS_MAX];
    bool wants_place; /* it goes on once its running pods may be exchanged: the watcher sends an EVENT then */
    bool keeps_place; /* their exchange goes on */
    /* "namespace/name" of a Secret elsewhere: an EVENT is sent with each change of it. Said again in each result. */
    char awaits_secret[320];
} kfx_result_t;

/* Sets or replaces the condition of that type. Too long texts are cut; over KFX_CONDITIONS_MAX is dropped with a log.
 */
void kfx_result_condition(kfx_result_t *result, const char *type, bool status, const char *reason, const char *fmt, ...)
    KFX_PRINTF(5, 6);
void kfx_result_wrote(kfx_result_t *result, const char *kind, const char *name, const char *uid, const char *rv,
                      const char *hash);

/* A decoded message. payload is the raw frame (fresh copy, may be NULL when empty). */
typedef struct {
    kfx_kind_t kind;
    kfx_envelope_t env;
    zframe_t *payload;
} kfx_msg_t;

/* Builds the four frames; payload may be NULL and stays the caller's. Fresh message, NULL only when memory is out. */
zmsg_t *kfx_msg_encode(kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload);
/* Reads the four frames (no routing id in front) and leaves msg as it was. INVALID/PROTOCOL on anything malformed; an
 * unknown kind or an unknown field is no error (kind is then returned as is), an unknown must-understand field is. */
int kfx_msg_decode(zmsg_t *msg, kfx_msg_t *out, kfx_error_t *err);
void kfx_msg_release(kfx_msg_t *msg); /* frees what decode made inside; not the struct */

zframe_t *kfx_digest_encode(const kfx_digest_t *digest);
kfx_digest_t *kfx_digest_decode(zframe_t *frame, kfx_error_t *err); /* fresh */
zframe_t *kfx_result_encode(const kfx_result_t *result);
/* Fills result from the payload; the caller sets outcome and retry_after_ms from the envelope. */
int kfx_result_decode(zframe_t *frame, kfx_result_t *result, kfx_error_t *err);

#endif
