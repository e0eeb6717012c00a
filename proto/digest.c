/* proto/digest.c: the payload of EVENT and TASK. */
#include "base/log.h"
#include "base/mem.h"
#include "proto/proto.h"
#include "proto/wire.h"

#include <string.h>

#define CHILD(member, name, type) KFX_WIRE(kfx_child_t, member, name, type)

/* One letter each: a digest has up to 64 of them. */
static const kfx_wire_field_t child_fields[] = {
    CHILD(kind, "k", KFX_WIRE_TEXT),        CHILD(name, "n", KFX_WIRE_TEXT),    CHILD(uid, "u", KFX_WIRE_TEXT),
    CHILD(rv, "v", KFX_WIRE_TEXT),          CHILD(hash, "h", KFX_WIRE_TEXT),    CHILD(ready, "r", KFX_WIRE_BOOL),
    CHILD(terminating, "t", KFX_WIRE_BOOL), CHILD(drifted, "d", KFX_WIRE_BOOL), CHILD(owned, "o", KFX_WIRE_BOOL),
    CHILD(rolling, "p", KFX_WIRE_BOOL),     CHILD(stuck, "s", KFX_WIRE_BOOL),
};

static const kfx_wire_field_t digest_fields[] = {
    KFX_WIRE(kfx_digest_t, type, "type", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_digest_t, deleting, "deleting", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_digest_t, kubernetes_version, "kubernetesVersion", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_digest_t, postgres_server, "postgresServer", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_digest_t, rotate, "rotate", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_digest_t, hooks, "hooks", KFX_WIRE_TEXT),
    KFX_WIRE(kfx_digest_t, place, "place", KFX_WIRE_BOOL),
    KFX_WIRE(kfx_digest_t, awaited, "awaited", KFX_WIRE_TEXT),
};

#define CHILDREN "children"

const kfx_child_t *kfx_digest_child(const kfx_digest_t *digest, const char *kind, const char *name)
{
    for (size_t i = 0; digest && i < digest->count; i++)
        if (strcmp(digest->children[i].kind, kind) == 0 && strcmp(digest->children[i].name, name) == 0)
            return &digest->children[i];
    return NULL;
}

kfx_digest_t *kfx_digest_dup(const kfx_digest_t *digest)
{
    if (!digest)
        return NULL;
    kfx_digest_t *copy = kfx_xcalloc(1, sizeof(*copy));
    *copy = *digest;
    copy->children = NULL;
    if (digest->count) {
        copy->children = kfx_xcalloc(digest->count, sizeof(*copy->children));
        memcpy(copy->children, digest->children, digest->count * sizeof(*copy->children));
    }
    return copy;
}

void kfx_digest_free(kfx_digest_t *digest)
{
    if (!digest)
        return;
    free(digest->children);
    free(digest);
}

zframe_t *kfx_digest_encode(const kfx_digest_t *digest)
{
    size_t count = digest->count;
    if (count > KFX_CHILDREN_MAX) {
        /* A worker takes a missing child for absent and applies it again: wasteful, not wrong. */
        kfx_log_warn("digest cut", "children", kfx_log_num(count), NULL);
        count = KFX_CHILDREN_MAX;
    }
    msgpack_sbuffer buf;
    msgpack_packer pk;
    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, kfx_wire_count(digest_fields, KFX_COUNT(digest_fields), digest) + (count > 0));
    kfx_wire_pack(&pk, digest_fields, KFX_COUNT(digest_fields), digest);
    if (count) {
        kfx_wire_pack_name(&pk, CHILDREN);
        msgpack_pack_array(&pk, count);
        for (size_t i = 0; i < count; i++) {
            msgpack_pack_map(&pk, kfx_wire_count(child_fields, KFX_COUNT(child_fields), &digest->children[i]));
            kfx_wire_pack(&pk, child_fields, KFX_COUNT(child_fields), &digest->children[i]);
        }
    }
    return kfx_wire_frame(&buf);
}

static int read_digest(const msgpack_object *map, kfx_digest_t *digest, kfx_error_t *err)
{
    const msgpack_object_array *children;
    if (kfx_wire_read(map, digest_fields, KFX_COUNT(digest_fields), digest, err) != 0 ||
        kfx_wire_array(map, CHILDREN, KFX_CHILDREN_MAX, &children, err) != 0)
        return -1;
    if (!children || children->size == 0)
        return 0;
    digest->children = kfx_xcalloc(children->size, sizeof(*digest->children));
    for (uint32_t i = 0; i < children->size; i++) {
        if (kfx_wire_read(&children->ptr[i], child_fields, KFX_COUNT(child_fields), &digest->children[i], err) != 0)
            return kfx_error_wrap(err, "child %u", i);
        digest->count++;
    }
    return 0;
}

kfx_digest_t *kfx_digest_decode(zframe_t *frame, kfx_error_t *err)
{
    kfx_digest_t *digest = kfx_xcalloc(1, sizeof(*digest));
    if (!frame || zframe_size(frame) == 0)
        return digest;
    msgpack_unpacked unpacked;
    if (kfx_wire_open(zframe_data(frame), zframe_size(frame), "digest", &unpacked, err) != 0) {
        kfx_digest_free(digest);
        return NULL;
    }
    int rc = read_digest(&unpacked.data, digest, err);
    msgpack_unpacked_destroy(&unpacked);
    if (rc == 0)
        return digest;
    kfx_digest_free(digest);
    return NULL;
}
