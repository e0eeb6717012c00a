/* proto/tap.h: what the tap carries, and files of it. docs/protocol.md, "The tap", specifies the same.
 *
 * A mirrored message has two frames: [topic][record]. topic is "KIND service key", made for prefix subscriptions. A
 * record has five parts, each with its length in front (32 bit, big-endian): meta, one msgpack map of what the bus
 * knows about the message, and the message's own four frames. It is one frame because each frame costs the broker, with
 * CURVE most of all. Figures of a service: ["STATS service"][msgpack map].
 *
 * Pure functions (but for the FILE ones), thread-safe. Decoders take hostile input, as those of proto.h do.
 */
#ifndef KFX_PROTO_TAP_H
#define KFX_PROTO_TAP_H

#include "proto/proto.h"

#include <stdio.h>

#define KFX_TAP_STATS "STATS"       /* first word of the topic of figures */
#define KFX_TAP_STATS_EVERY_MS 1000 /* while anybody listens to them */

typedef struct {
    int64_t time_us;             /* wall clock of the bus, microseconds since 1970 */
    bool out;                    /* sent by the bus; false: received */
    char peer[64];               /* instance at the other end; "" if not known */
    char role[KFX_SERVICE_SIZE]; /* its role, as the key says */
    char identity[64];           /* its routing id, hex */
    bool timed;                  /* latency_ms counts */
    uint32_t latency_ms;         /* TASK: waited in line; DONE from a worker: ran */
    uint32_t left_out;           /* messages before this one that were not shown: more came than a tap may cost */
} kfx_tap_meta_t;

#define KFX_TAP_RECORD_MAX (2 * KFX_FRAME_MAX + 4096) /* more than a record of two full frames has */

/* A message as the tap showed it. */
typedef struct {
    kfx_tap_meta_t meta;
    kfx_msg_t msg; /* kfx_msg_release */
} kfx_tap_seen_t;

/* Figures of one service. Totals count from the start of the bus; percentiles are of the last 512 samples. */
typedef struct {
    char service[KFX_SERVICE_SIZE];
    int64_t time_us;
    uint32_t workers, credit;                        /* sessions, and tasks they will hold in all */
    uint32_t keys, ready, running, delayed, unacked; /* now */
    uint32_t oldest_ms;                              /* how long the first key in line has waited; 0: none waits */
    uint64_t events, tasks, results, redelivered, refused; /* totals */
    uint32_t wait_p50_ms, wait_p99_ms;                     /* ready to TASK */
    uint32_t run_p50_ms, run_p99_ms;                       /* TASK to DONE */
} kfx_tap_stats_t;

/* Microseconds since 1970, and the same as RFC 3339 in UTC with milliseconds. */
int64_t kfx_tap_now_us(void);
#define KFX_TAP_TIME_SIZE 64
const char *kfx_tap_time(char buf[KFX_TAP_TIME_SIZE], int64_t us);

/* The record of a message, whose four frames stay as they are. Fresh. */
zframe_t *kfx_tap_encode(const kfx_tap_meta_t *meta, zmsg_t *frames);
/* PROTOCOL on anything malformed. */
int kfx_tap_decode(zframe_t *record, kfx_tap_seen_t *out, kfx_error_t *err);
/* One object for people and scripts; absent parts are left out, "size" (bytes of the payload) is always there. Fresh.
 */
json_t *kfx_tap_json(const kfx_tap_seen_t *seen);
/* Who sent it: its instance, or its role where that is unknown. Borrowed from seen. */
const char *kfx_tap_sender(const kfx_tap_seen_t *seen);

zmsg_t *kfx_tap_stats_encode(const kfx_tap_stats_t *stats); /* the two frames */
int kfx_tap_stats_decode(zmsg_t *msg, kfx_tap_stats_t *out, kfx_error_t *err);
bool kfx_tap_is_stats(zmsg_t *msg);

/* ---- recordings: the bytes "KFXTAP1\n", then records, each with its length in front (32 bit, big-endian). ---- */

int kfx_record_begin(FILE *file, kfx_error_t *err);
int kfx_record_write(FILE *file, zframe_t *record, kfx_error_t *err); /* record stays as it was */
/* PROTOCOL where the file is no recording. */
int kfx_record_open(FILE *file, kfx_error_t *err);
/* The next record; NULL without err filled at the end of the file, NULL with PROTOCOL where it is cut. Fresh. */
zframe_t *kfx_record_read(FILE *file, kfx_error_t *err);

#endif
