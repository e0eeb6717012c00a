/* bus/broker_private.h: the broker's struct, shared by broker.c (sockets, timers, dispatch) and handle.c (what each
 * kind of message does). */
#ifndef KFX_BUS_BROKER_PRIVATE_H
#define KFX_BUS_BROKER_PRIVATE_H

#include "base/health.h"
#include "bus/broker.h"
#include "bus/grumble.h"
#include "bus/peer.h"
#include "bus/queue.h"
#include "bus/samples.h"
#include "bus/tap.h"

#define KFX_LINES_MAX 16
#define KFX_ACK_MESSAGES 512 /* more than the window, or a breach could not be seen */

/* One service: its queue and what has been told about it. */
typedef struct {
    kfx_broker_t *broker;
    kfx_queue_t *queue;
    kfx_state_t told; /* to the watcher */
    char told_why[256];
    uint64_t redelivered;
    uint64_t event_count, task_count, result_count, refusal_count; /* ever */
    kfx_samples_t waits, runs;
    kfx_metric_t *ready, *running, *delayed, *unacked, *oldest, *redeliveries, *refusals, *tasks, *wait, *run;
} kfx_line_t;

/* An EVENT that was taken and whose ACK has not been sent yet. */
typedef struct {
    const kfx_line_t *line;
    char *key;
    uint64_t epoch, seq;
} kfx_ack_t;

struct kfx_broker {
    zloop_t *loop;
    zsock_t *work;
    kfx_tap_t *tap;
    kfx_auth_t *auth;    /* NULL: no CURVE */
    kfx_bus_keys_t keys; /* the bus's own, for a tap that is bound again */
    char instance[64];
    char *work_endpoint, *tap_endpoint;

    kfx_line_t lines[KFX_LINES_MAX];
    size_t line_count;
    kfx_peers_t *peers;
    kfx_peer_t *watcher;
    kfx_ack_t acks[KFX_EVENT_WINDOW];
    size_t ack_count;
    unsigned handled; /* messages since ACKs were last sent */
    uint64_t epoch;   /* highest seen */
    int64_t hold_until;

    kfx_grumble_t *grumble;
    int house_timer, due_timer;
    int64_t stats_at; /* when figures were last shown to taps */
    kfx_metric_t *messages, *refusals, *sessions;
};

/* The broker's one way out; false where the peer is not reachable or its pipe is full. */
bool kfx_broker_send(kfx_broker_t *self, zframe_t *id, const kfx_peer_t *peer, kfx_kind_t kind,
                     const kfx_envelope_t *env, zframe_t *payload, int64_t latency_ms);
/* ERROR to the sender of msg, quoting what it was about; counted, and logged once per peer and minute. address: of the
 * sender, "" where that is not known. */
void kfx_broker_refuse(kfx_broker_t *self, zframe_t *id, const kfx_peer_t *peer, const char *address,
                       const kfx_msg_t *msg, const kfx_error_t *why);
kfx_line_t *kfx_broker_line(kfx_broker_t *self, const char *service);
/* A session ends; lost: by its time, else by its own word. */
void kfx_broker_end_session(kfx_broker_t *self, kfx_peer_t *peer, bool lost, int64_t now);
/* What the tap says of a message, whose four frames stay as they are. peer: at the other end, "" if not known. */
zframe_t *kfx_broker_record(kfx_broker_t *self, bool out, zframe_t *id, const char *peer, const char *role,
                            int64_t latency_ms, zmsg_t *frames);
/* ACKs are sent together, when the socket is empty or after KFX_ACK_MESSAGES, or later. Until then the watcher cannot
 * have seen them, so one that sends more EVENTs than its window meanwhile has broken it: -1 with BUSY. */
int kfx_broker_owe_ack(kfx_broker_t *self, const kfx_line_t *line, const kfx_envelope_t *event, kfx_error_t *err);
void kfx_broker_owe_none(kfx_broker_t *self); /* takes the last one back */
/* Tells the watcher the state of the service where it changed. */
void kfx_broker_tell_state(kfx_broker_t *self, kfx_line_t *line);

/* handle.c: one message with its routing id in front; msg is destroyed. */
void kfx_broker_take(kfx_broker_t *self, zmsg_t **msg_p, int64_t now);

#endif
