/* proto/envelope.c: the four frames of a message and the envelope's fields. */
#include "base/mem.h"
#include "proto/proto.h"
#include "proto/wire.h"

#include <string.h>

#define ENV(member, name, type) KFX_WIRE(kfx_envelope_t, member, name, type)

static const kfx_wire_field_t envelope_fields[] = {
    ENV(service, "service", KFX_WIRE_TEXT),
    ENV(key, "key", KFX_WIRE_TEXT),
    ENV(uid, "uid", KFX_WIRE_TEXT),
    ENV(sender, "sender", KFX_WIRE_TEXT),
    ENV(role, "role", KFX_WIRE_TEXT),
    ENV(text, "text", KFX_WIRE_TEXT),
    ENV(generation, "gen", KFX_WIRE_I64),
    ENV(epoch, "epoch", KFX_WIRE_U64),
    ENV(seq, "seq", KFX_WIRE_U64),
    ENV(lease, "lease", KFX_WIRE_U64),
    ENV(task, "task", KFX_WIRE_U64),
    ENV(lease_ms, "lease_ms", KFX_WIRE_U32),
    ENV(attempt, "attempt", KFX_WIRE_U32),
    ENV(retry_after_ms, "retry_ms", KFX_WIRE_U32),
    ENV(credit, "credit", KFX_WIRE_U32),
    ENV(window, "window", KFX_WIRE_U32),
    ENV(revision, "rev", KFX_WIRE_U32),
    ENV(version_min, "vmin", KFX_WIRE_U32),
    ENV(version_max, "vmax", KFX_WIRE_U32),
    ENV(code, "code", KFX_WIRE_U32),
    KFX_WIRE_ENUMERATED(kfx_envelope_t, outcome, "outcome", KFX_OUTCOME_DOWN),
    KFX_WIRE_ENUMERATED(kfx_envelope_t, state, "state", KFX_SYNC_END),
    ENV(deleting, "deleting", KFX_WIRE_BOOL),
    ENV(running, "running", KFX_WIRE_BOOL),
    ENV(renew, "renew", KFX_WIRE_BOOL),
};

#define MUST "must"  /* names of fields that the receiver has to understand */
#define MUST_MAX 32U /* of them in one message */

_Static_assert(sizeof(kfx_outcome_t) == sizeof(uint32_t), "enumerations travel as 32-bit numbers");
_Static_assert(sizeof(kfx_state_t) == sizeof(uint32_t), "enumerations travel as 32-bit numbers");

const char *kfx_kind_name(kfx_kind_t kind)
{
    static const char *const names[] = {"?",    "HELLO",  "WELCOME", "PING",   "PONG", "SYNC", "EVENT",
                                        "TASK", "CANCEL", "DONE",    "STATUS", "ACK",  "BYE",  "ERROR"};
    _Static_assert(KFX_COUNT(names) == KFX_KIND_LAST + 1, "one name per kind");
    return (size_t)kind < KFX_COUNT(names) ? names[kind] : "?";
}

const char *kfx_outcome_name(kfx_outcome_t outcome)
{
    static const char *const names[] = {"", "ok", "waiting", "retry", "gone", "down"};
    return (size_t)outcome < KFX_COUNT(names) ? names[outcome] : "?";
}

const char *kfx_state_name(kfx_state_t state)
{
    static const char *const names[] = {"", "up", "down", "no-worker", "sync-begin", "sync-end"};
    return (size_t)state < KFX_COUNT(names) ? names[state] : "?";
}

zmsg_t *kfx_msg_encode(kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload)
{
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    size_t count = kfx_wire_count(envelope_fields, KFX_COUNT(envelope_fields), env);
    msgpack_pack_map(&pk, count);
    kfx_wire_pack(&pk, envelope_fields, KFX_COUNT(envelope_fields), env);

    unsigned char byte = (unsigned char)kind;
    zframe_t *frames[4] = {zframe_new(KFX_PROTO_MAGIC, strlen(KFX_PROTO_MAGIC)), zframe_new(&byte, 1),
                           kfx_wire_frame(&buf), payload ? zframe_dup(payload) : zframe_new(NULL, 0)};
    zmsg_t *msg = zmsg_new();
    bool good = msg != NULL;
    for (size_t i = 0; i < KFX_COUNT(frames); i++) {
        if (!good || !frames[i] || zmsg_append(msg, &frames[i]) != 0)
            good = false;
        zframe_destroy(&frames[i]);
    }
    if (!good)
        zmsg_destroy(&msg);
    return msg;
}

static int check_must(const msgpack_object *map, kfx_error_t *err)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_STR || kv->key.via.str.size != strlen(MUST) ||
            memcmp(kv->key.via.str.ptr, MUST, strlen(MUST)) != 0)
            continue;
        if (kv->val.type != MSGPACK_OBJECT_ARRAY || kv->val.via.array.size > MUST_MAX)
            return kfx_error_set(err, KFX_E_PROTOCOL, "field %s is no array of at most %u names", MUST, MUST_MAX);
        for (uint32_t k = 0; k < kv->val.via.array.size; k++) {
            const msgpack_object *name = &kv->val.via.array.ptr[k];
            bool known = false;
            for (size_t f = 0; f < KFX_COUNT(envelope_fields) && !known; f++)
                known = name->type == MSGPACK_OBJECT_STR && name->via.str.size == strlen(envelope_fields[f].name) &&
                        memcmp(name->via.str.ptr, envelope_fields[f].name, name->via.str.size) == 0;
            if (!known)
                return kfx_error_set(err, KFX_E_PROTOCOL,
                                     "a field that must be understood is unknown here: upgrade this program");
        }
    }
    return 0;
}

static int decode_envelope(zframe_t *frame, kfx_envelope_t *env, kfx_error_t *err)
{
    msgpack_unpacked unpacked;
    if (kfx_wire_open(zframe_data(frame), zframe_size(frame), "envelope", &unpacked, err) != 0)
        return -1;
    memset(env, 0, sizeof(*env));
    int rc = check_must(&unpacked.data, err);
    if (rc == 0)
        rc = kfx_wire_read(&unpacked.data, envelope_fields, KFX_COUNT(envelope_fields), env, err);
    msgpack_unpacked_destroy(&unpacked);
    return rc;
}

int kfx_msg_decode(zmsg_t *msg, kfx_msg_t *out, kfx_error_t *err)
{
    memset(out, 0, sizeof(*out));
    if (!msg || zmsg_size(msg) != 4)
        return kfx_error_set(err, KFX_E_PROTOCOL, "a message has four frames, this one has %zu",
                             msg ? zmsg_size(msg) : 0);
    zframe_t *magic = zmsg_first(msg);
    zframe_t *kind = zmsg_next(msg);
    zframe_t *env = zmsg_next(msg);
    zframe_t *payload = zmsg_next(msg);
    if (zframe_size(magic) != strlen(KFX_PROTO_MAGIC) ||
        memcmp(zframe_data(magic), KFX_PROTO_MAGIC, strlen(KFX_PROTO_MAGIC)) != 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the peer does not speak %s", KFX_PROTO_MAGIC);
    if (zframe_size(kind) != 1)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the kind is one byte, this one has %zu", zframe_size(kind));
    if (zframe_size(env) > KFX_FRAME_MAX || zframe_size(payload) > KFX_FRAME_MAX)
        return kfx_error_set(err, KFX_E_PROTOCOL, "a frame is larger than %d bytes", KFX_FRAME_MAX);
    if (decode_envelope(env, &out->env, err) != 0)
        return -1;
    out->kind = (kfx_kind_t)zframe_data(kind)[0];
    if (zframe_size(payload) > 0) {
        out->payload = zframe_dup(payload);
        if (!out->payload)
            return kfx_error_set(err, KFX_E_INTERNAL, "no memory for a payload");
    }
    return 0;
}

void kfx_msg_release(kfx_msg_t *msg)
{
    if (msg)
        zframe_destroy(&msg->payload);
}
