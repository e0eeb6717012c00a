/* proto/result.c: the payload of DONE. */
#include "base/log.h"
#include "base/mem.h"
#include "proto/proto.h"
#include "proto/wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONDITION(member, name) KFX_WIRE(kfx_condition_t, member, name, KFX_WIRE_TEXT)
#define WRITTEN(member, name) KFX_WIRE(kfx_written_t, member, name, KFX_WIRE_TEXT)
#define RESULT(member, name) KFX_WIRE(kfx_result_t, member, name, KFX_WIRE_TEXT)

static const kfx_wire_field_t condition_fields[] = {
    CONDITION(type, "type"),
    CONDITION(status, "status"),
    CONDITION(reason, "reason"),
    CONDITION(message, "message"),
};

static const kfx_wire_field_t written_fields[] = {
    WRITTEN(kind, "k"), WRITTEN(name, "n"), WRITTEN(uid, "u"), WRITTEN(rv, "v"), WRITTEN(hash, "h"),
};

static const kfx_wire_field_t hook_fields[] = {
    KFX_WIRE(kfx_hook_result_t, name, "n", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_hook_result_t, done, "d", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_hook_result_t, reason, "r", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_hook_result_t, message, "m", KFX_WIRE_TEXT),
};

static const kfx_wire_field_t kind_fields[] = {
    KFX_WIRE(kfx_kind_path_t, path, "p", KFX_WIRE_TEXT),
};

static const kfx_wire_field_t result_fields[] = {
    RESULT(kubernetes_version, "kubernetesVersion"),
    RESULT(postgres_server, "postgresServer"),
    RESULT(secret_name, "secretName"),
    RESULT(secret_key, "secretKey"),
    RESULT(secret_in_cluster_key, "secretInClusterKey"),
    KFX_WIRE(kfx_result_t, awaits_record, "awaitsRecord", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_result_t, hooks_known, "hooksKnown", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_result_t, hooks_completed, "hooksCompleted", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_result_t, wants_place, "wantsPlace", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_result_t, keeps_place, "keepsPlace", KFX_WIRE_BOOL),
    RESULT(awaits_secret, "awaitsSecret"),
};

#define CONDITIONS "conditions"
#define WRITTENS "written"
#define HOOKS "hooks"
#define KINDS "kinds"

void kfx_result_condition(kfx_result_t *result, const char *type, bool status, const char *reason, const char *fmt, ...)
{
    kfx_condition_t *c = NULL;
    for (size_t i = 0; i < result->condition_count && !c; i++)
        if (strcmp(result->conditions[i].type, type) == 0)
            c = &result->conditions[i];
    if (!c) {
        if (result->condition_count == KFX_CONDITIONS_MAX) {
            kfx_log_warn("condition dropped: too many in one result", "type", type, NULL);
            return;
        }
        c = &result->conditions[result->condition_count++];
    }
    memset(c, 0, sizeof(*c));
    kfx_copy(c->type, sizeof(c->type), type);
    kfx_copy(c->status, sizeof(c->status), status ? "True" : "False");
    kfx_copy(c->reason, sizeof(c->reason), reason);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(c->message, sizeof(c->message), fmt, args);
    va_end(args);
    if (n >= (int)sizeof(c->message)) /* do not leave half a character at the cut */
        c->message[kfx_wire_utf8_prefix(c->message, sizeof(c->message) - 1)] = '\0';
}

void kfx_result_wrote(kfx_result_t *result, const char *kind, const char *name, const char *uid, const char *rv,
                      const char *hash)
{
    kfx_written_t *w = NULL;
    for (size_t i = 0; i < result->written_count && !w; i++)
        if (strcmp(result->written[i].kind, kind) == 0 && strcmp(result->written[i].name, name) == 0)
            w = &result->written[i];
    if (!w) {
        if (result->written_count == KFX_CHILDREN_MAX) {
            kfx_log_warn("written object dropped: too many in one result", "kind", kind, "name", name, NULL);
            return;
        }
        w = &result->written[result->written_count++];
    }
    memset(w, 0, sizeof(*w));
    kfx_copy(w->kind, sizeof(w->kind), kind);
    kfx_copy(w->name, sizeof(w->name), name);
    kfx_copy(w->uid, sizeof(w->uid), uid ? uid : "");
    kfx_copy(w->rv, sizeof(w->rv), rv ? rv : "");
    kfx_copy(w->hash, sizeof(w->hash), hash ? hash : "");
}

static void pack_array(msgpack_packer *pk, const char *name, const kfx_wire_field_t *fields, size_t field_count,
                       const void *items, size_t count, size_t size)
{
    if (count == 0)
        return;
    kfx_wire_pack_name(pk, name);
    msgpack_pack_array(pk, count);
    for (size_t i = 0; i < count; i++) {
        const void *item = (const char *)items + i * size;
        msgpack_pack_map(pk, kfx_wire_count(fields, field_count, item));
        kfx_wire_pack(pk, fields, field_count, item);
    }
}

zframe_t *kfx_result_encode(const kfx_result_t *result)
{
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, kfx_wire_count(result_fields, KFX_COUNT(result_fields), result) +
                              (result->condition_count > 0) + (result->written_count > 0) + (result->hook_count > 0) +
                              (result->kind_count > 0));
    kfx_wire_pack(&pk, result_fields, KFX_COUNT(result_fields), result);
    pack_array(&pk, CONDITIONS, condition_fields, KFX_COUNT(condition_fields), result->conditions,
               result->condition_count, sizeof(result->conditions[0]));
    pack_array(&pk, WRITTENS, written_fields, KFX_COUNT(written_fields), result->written, result->written_count,
               sizeof(result->written[0]));
    pack_array(&pk, HOOKS, hook_fields, KFX_COUNT(hook_fields), result->hooks, result->hook_count,
               sizeof(result->hooks[0]));
    pack_array(&pk, KINDS, kind_fields, KFX_COUNT(kind_fields), result->kinds, result->kind_count,
               sizeof(result->kinds[0]));
    return kfx_wire_frame(&buf);
}

/* items: an array of structs of that size, zeroed. */
static int read_array(const msgpack_object *map, const char *name, size_t max, const kfx_wire_field_t *fields,
                      size_t field_count, void *items, size_t size, size_t *count, kfx_error_t *err)
{
    const msgpack_object_array *array;
    if (kfx_wire_array(map, name, max, &array, err) != 0)
        return -1;
    for (uint32_t i = 0; array && i < array->size; i++) {
        if (kfx_wire_read(&array->ptr[i], fields, field_count, (char *)items + i * size, err) != 0)
            return kfx_error_wrap(err, "%s %u", name, i);
        (*count)++;
    }
    return 0;
}

static int read_result(const msgpack_object *map, kfx_result_t *result, kfx_error_t *err)
{
    if (kfx_wire_read(map, result_fields, KFX_COUNT(result_fields), result, err) != 0)
        return -1;
#define READ(name, max, fields, items, count)                                                                          \
    read_array(map, name, max, fields, KFX_COUNT(fields), result->items, sizeof(result->items[0]), &result->count, err)
    if (READ(CONDITIONS, KFX_CONDITIONS_MAX, condition_fields, conditions, condition_count) ||
        READ(WRITTENS, KFX_CHILDREN_MAX, written_fields, written, written_count) ||
        READ(HOOKS, KFX_HOOKS_MAX, hook_fields, hooks, hook_count) ||
        READ(KINDS, KFX_KINDS_MAX, kind_fields, kinds, kind_count))
        return -1;
#undef READ
    return 0;
}

int kfx_result_decode(zframe_t *frame, kfx_result_t *result, kfx_error_t *err)
{
    memset(result, 0, sizeof(*result));
    if (!frame || zframe_size(frame) == 0)
        return 0;
    msgpack_unpacked unpacked;
    if (kfx_wire_open(zframe_data(frame), zframe_size(frame), "result", &unpacked, err) != 0)
        return -1;
    int rc = read_result(&unpacked.data, result, err);
    msgpack_unpacked_destroy(&unpacked);
    return rc;
}
