/* proto/tap.c: what the tap carries, see tap.h. */
#include "proto/tap.h"

#include "base/json.h"
#include "base/mem.h"
#include "proto/wire.h"

#include <string.h>
#include <time.h>

#define META(member, name, type) KFX_WIRE(kfx_tap_meta_t, member, name, type)
#define STATS(member, name, type) KFX_WIRE(kfx_tap_stats_t, member, name, type)

static const kfx_wire_field_t meta_fields[] = {
    META(time_us, "time", KFX_WIRE_I64),  META(out, "out", KFX_WIRE_BOOL),          META(peer, "peer", KFX_WIRE_TEXT),
    META(role, "role", KFX_WIRE_TEXT),    META(identity, "id", KFX_WIRE_TEXT),      META(timed, "timed", KFX_WIRE_BOOL),
    META(latency_ms, "ms", KFX_WIRE_U32), META(left_out, "left_out", KFX_WIRE_U32),
};

static const kfx_wire_field_t stats_fields[] = {
    STATS(service, "service", KFX_WIRE_TEXT),
    STATS(time_us, "time", KFX_WIRE_I64),
    STATS(workers, "workers", KFX_WIRE_U32),
    STATS(credit, "credit", KFX_WIRE_U32),
    STATS(keys, "keys", KFX_WIRE_U32),
    STATS(ready, "ready", KFX_WIRE_U32),
    STATS(running, "running", KFX_WIRE_U32),
    STATS(delayed, "delayed", KFX_WIRE_U32),
    STATS(unacked, "unacked", KFX_WIRE_U32),
    STATS(oldest_ms, "oldest_ms", KFX_WIRE_U32),
    STATS(events, "events", KFX_WIRE_U64),
    STATS(tasks, "tasks", KFX_WIRE_U64),
    STATS(results, "results", KFX_WIRE_U64),
    STATS(redelivered, "redelivered", KFX_WIRE_U64),
    STATS(refused, "refused", KFX_WIRE_U64),
    STATS(wait_p50_ms, "wait_p50_ms", KFX_WIRE_U32),
    STATS(wait_p99_ms, "wait_p99_ms", KFX_WIRE_U32),
    STATS(run_p50_ms, "run_p50_ms", KFX_WIRE_U32),
    STATS(run_p99_ms, "run_p99_ms", KFX_WIRE_U32),
};

int64_t kfx_tap_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static zframe_t *pack_map(const kfx_wire_field_t *fields, size_t count, const void *from)
{
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, kfx_wire_count(fields, count, from));
    kfx_wire_pack(&pk, fields, count, from);
    return kfx_wire_frame(&buf);
}

static int read_map(zframe_t *frame, const char *what, const kfx_wire_field_t *fields, size_t count, void *to,
                    kfx_error_t *err)
{
    msgpack_unpacked unpacked;
    if (kfx_wire_open(zframe_data(frame), zframe_size(frame), what, &unpacked, err) != 0)
        return -1;
    int rc = kfx_wire_read(&unpacked.data, fields, count, to, err);
    msgpack_unpacked_destroy(&unpacked);
    return rc;
}

#define PARTS 5

static void put_part(msgpack_sbuffer *buf, const void *data, size_t size)
{
    char length[4] = {(char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
    msgpack_sbuffer_write(buf, length, sizeof length);
    if (size)
        msgpack_sbuffer_write(buf, data, size);
}

zframe_t *kfx_tap_encode(const kfx_tap_meta_t *meta, zmsg_t *frames)
{
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    msgpack_sbuffer_write(&buf, "\0\0\0", 4); /* meta's length, once it is known: far below 64 KiB */
    msgpack_pack_map(&pk, kfx_wire_count(meta_fields, KFX_COUNT(meta_fields), meta));
    kfx_wire_pack(&pk, meta_fields, KFX_COUNT(meta_fields), meta);
    if (buf.data) {
        buf.data[2] = (char)((buf.size - 4) >> 8);
        buf.data[3] = (char)(buf.size - 4);
    }
    for (zframe_t *frame = zmsg_first(frames); frame; frame = zmsg_next(frames))
        put_part(&buf, zframe_data(frame), zframe_size(frame));
    return kfx_wire_frame(&buf);
}

/* Takes the next part off the front: a fresh frame, or NULL where there is none. */
static zframe_t *take_part(const unsigned char **at, size_t *left)
{
    if (*left < 4)
        return NULL;
    const unsigned char *p = *at;
    size_t size = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (size > *left - 4)
        return NULL;
    *at += 4 + size;
    *left -= 4 + size;
    return zframe_new(p + 4, size);
}

int kfx_tap_decode(zframe_t *record, kfx_tap_seen_t *out, kfx_error_t *err)
{
    memset(out, 0, sizeof *out);
    const unsigned char *at = record ? zframe_data(record) : NULL;
    size_t left = record ? zframe_size(record) : 0;
    zmsg_t *parts = zmsg_new();
    zframe_t *part;
    while (zmsg_size(parts) < PARTS && (part = take_part(&at, &left)))
        zmsg_append(parts, &part);
    int rc =
        zmsg_size(parts) == PARTS && left == 0
            ? 0
            : kfx_error_set(err, KFX_E_PROTOCOL, "a record of the tap has %d parts, this one is cut or longer", PARTS);
    zframe_t *meta = zmsg_pop(parts);
    if (rc == 0)
        rc = read_map(meta, "meta part", meta_fields, KFX_COUNT(meta_fields), &out->meta, err);
    if (rc == 0)
        rc = kfx_msg_decode(parts, &out->msg, err);
    zframe_destroy(&meta);
    zmsg_destroy(&parts);
    return rc;
}

const char *kfx_tap_sender(const kfx_tap_seen_t *seen)
{
    if (seen->msg.env.sender[0])
        return seen->msg.env.sender;
    return seen->meta.out ? "bus" : seen->meta.role;
}

static void put_text(json_t *object, const char *name, const char *text)
{
    if (text && text[0])
        json_object_set_new(object, name, json_string(text));
}

static void put_number(json_t *object, const char *name, int64_t value)
{
    if (value != 0)
        json_object_set_new(object, name, json_integer(value));
}

json_t *kfx_tap_json(const kfx_tap_seen_t *seen)
{
    const kfx_tap_meta_t *meta = &seen->meta;
    const kfx_envelope_t *env = &seen->msg.env;
    char time[KFX_TAP_TIME_SIZE];
    json_t *object = json_object();
    put_text(object, "time", kfx_tap_time(time, meta->time_us));
    put_text(object, "direction", meta->out ? "out" : "in");
    put_text(object, "kind", kfx_kind_name(seen->msg.kind));
    put_text(object, "service", env->service);
    put_text(object, "key", env->key);
    put_text(object, "uid", env->uid);
    put_text(object, "peer", meta->peer);
    put_text(object, "role", meta->role);
    put_text(object, "identity", meta->identity);
    put_text(object, "sender", kfx_tap_sender(seen));
    put_text(object, "outcome", kfx_outcome_name(env->outcome));
    put_text(object, "state", kfx_state_name(env->state));
    put_text(object, "text", env->text);
    put_number(object, "generation", env->generation);
    put_number(object, "epoch", (int64_t)(env->epoch & INT64_MAX));
    put_number(object, "seq", (int64_t)(env->seq & INT64_MAX));
    put_number(object, "task", (int64_t)(env->task & INT64_MAX));
    put_number(object, "attempt", env->attempt);
    put_number(object, "retryAfterMs", env->retry_after_ms);
    put_number(object, "credit", env->credit);
    put_number(object, "code", env->code);
    if (env->deleting)
        json_object_set_new(object, "deleting", json_true());
    if (env->running)
        json_object_set_new(object, "running", json_true());
    if (meta->timed)
        json_object_set_new(object, "latencyMs", json_integer(meta->latency_ms));
    put_number(object, "leftOut", meta->left_out);
    json_object_set_new(object, "size",
                        json_integer(seen->msg.payload ? (json_int_t)zframe_size(seen->msg.payload) : 0));
    return object;
}

const char *kfx_tap_time(char buf[KFX_TAP_TIME_SIZE], int64_t us)
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm parts;
    char text[40] = "";
    if (!gmtime_r(&seconds, &parts) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts) == 0)
        kfx_copy(text, sizeof text, "?");
    snprintf(buf, KFX_TAP_TIME_SIZE, "%s.%03dZ", text, (int)((us % 1000000 + 1000000) % 1000000 / 1000));
    return buf;
}

zmsg_t *kfx_tap_stats_encode(const kfx_tap_stats_t *stats)
{
    zmsg_t *msg = zmsg_new();
    zframe_t *frame = pack_map(stats_fields, KFX_COUNT(stats_fields), stats);
    zmsg_addstrf(msg, KFX_TAP_STATS " %s", stats->service);
    zmsg_append(msg, &frame);
    return msg;
}

bool kfx_tap_is_stats(zmsg_t *msg)
{
    zframe_t *topic = msg ? zmsg_first(msg) : NULL;
    size_t len = strlen(KFX_TAP_STATS);
    return topic && zframe_size(topic) > len && memcmp(zframe_data(topic), KFX_TAP_STATS " ", len + 1) == 0;
}

int kfx_tap_stats_decode(zmsg_t *msg, kfx_tap_stats_t *out, kfx_error_t *err)
{
    memset(out, 0, sizeof *out);
    if (!kfx_tap_is_stats(msg) || zmsg_size(msg) != 2)
        return kfx_error_set(err, KFX_E_PROTOCOL, "figures have two frames, \"" KFX_TAP_STATS " service\" and a map");
    zmsg_first(msg);
    return read_map(zmsg_next(msg), "frame of figures", stats_fields, KFX_COUNT(stats_fields), out, err);
}
