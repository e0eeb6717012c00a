/* proto/wire.c: see wire.h. The walk in wire_skim is what makes msgpack-c safe with hostile input: the library trusts
 * element counts (it allocates for them before it has seen the elements), so everything is measured against the bytes
 * first. */
#include "proto/wire.h"

#include <string.h>

size_t kfx_wire_utf8_prefix(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < len) {
        unsigned char c = s[i];
        size_t more;
        unsigned low = 0x80, high = 0xbf; /* bounds of the first continuation byte (RFC 3629) */
        if (c == 0)
            return i;
        if (c < 0x80) {
            i++;
            continue;
        }
        if (c >= 0xc2 && c <= 0xdf)
            more = 1;
        else if (c >= 0xe0 && c <= 0xef)
            more = 2;
        else if (c >= 0xf0 && c <= 0xf4)
            more = 3;
        else
            return i;
        if (c == 0xe0)
            low = 0xa0;
        else if (c == 0xed)
            high = 0x9f;
        else if (c == 0xf0)
            low = 0x90;
        else if (c == 0xf4)
            high = 0x8f;
        if (len - i <= more || s[i + 1] < low || s[i + 1] > high)
            return i;
        for (size_t k = 2; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return i;
        i += more + 1;
    }
    return i;
}

static bool field_set(const kfx_wire_field_t *f, const char *at)
{
    switch (f->type) {
    case KFX_WIRE_TEXT: return at[0] != '\0';
    case KFX_WIRE_BOOL: return *(const bool *)(const void *)at;
    case KFX_WIRE_U32:
    case KFX_WIRE_ENUM: return *(const uint32_t *)(const void *)at != 0;
    default: return *(const uint64_t *)(const void *)at != 0;
    }
}

size_t kfx_wire_count(const kfx_wire_field_t *fields, size_t count, const void *from)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += field_set(&fields[i], (const char *)from + fields[i].offset);
    return n;
}

void kfx_wire_pack_name(msgpack_packer *pk, const char *name)
{
    size_t len = strlen(name);
    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, name, len);
}

/* A text of ours may come from a server's message in another encoding: what is no UTF-8 travels as '?', because the
 * receiver would have to refuse the whole message. */
static void pack_text(msgpack_packer *pk, const char *text, size_t size)
{
    size_t len = strnlen(text, size - 1);
    msgpack_pack_str(pk, len);
    size_t i = 0;
    while (i < len) {
        size_t good = kfx_wire_utf8_prefix(text + i, len - i);
        msgpack_pack_str_body(pk, text + i, good);
        i += good;
        if (i < len) {
            msgpack_pack_str_body(pk, "?", 1);
            i++;
        }
    }
}

void kfx_wire_pack(msgpack_packer *pk, const kfx_wire_field_t *fields, size_t count, const void *from)
{
    for (size_t i = 0; i < count; i++) {
        const kfx_wire_field_t *f = &fields[i];
        const char *at = (const char *)from + f->offset;
        if (!field_set(f, at))
            continue;
        kfx_wire_pack_name(pk, f->name);
        switch (f->type) {
        case KFX_WIRE_TEXT: pack_text(pk, at, f->size); break;
        case KFX_WIRE_BOOL: msgpack_pack_true(pk); break;
        case KFX_WIRE_U32:
        case KFX_WIRE_ENUM: msgpack_pack_uint32(pk, *(const uint32_t *)(const void *)at); break;
        case KFX_WIRE_U64: msgpack_pack_uint64(pk, *(const uint64_t *)(const void *)at); break;
        case KFX_WIRE_I64: msgpack_pack_int64(pk, *(const int64_t *)(const void *)at); break;
        }
    }
}

/* Big-endian number of n bytes; the caller made sure they are there. */
static uint64_t be(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

/* What one token is: how many bytes it has in all without its elements (0: malformed or cut), how many elements follow.
 */
static size_t token(const unsigned char *p, size_t left, uint64_t *elements)
{
    unsigned char c = p[0];
    size_t width = 0; /* of the length field */
    *elements = 0;
    if (c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3)
        return 1;
    if (c <= 0x8f) {
        *elements = (uint64_t)(c & 0x0f) * 2;
        return 1;
    }
    if (c <= 0x9f) {
        *elements = c & 0x0f;
        return 1;
    }
    if (c <= 0xbf)
        return left >= 1 + (size_t)(c & 0x1f) ? 1 + (size_t)(c & 0x1f) : 0;
    size_t fixed = 0;
    switch (c) {
    case 0xcc:
    case 0xd0: fixed = 2; break;
    case 0xcd:
    case 0xd1: fixed = 3; break;
    case 0xca:
    case 0xce:
    case 0xd2: fixed = 5; break;
    case 0xcb:
    case 0xcf:
    case 0xd3: fixed = 9; break;
    case 0xc4:
    case 0xd9: width = 1; break;
    case 0xc5:
    case 0xda:
    case 0xdc:
    case 0xde: width = 2; break;
    case 0xc6:
    case 0xdb:
    case 0xdd:
    case 0xdf: width = 4; break;
    default: return 0; /* 0xc1 is never used; extension types are none of ours */
    }
    if (fixed)
        return left >= fixed ? fixed : 0;
    if (left < 1 + width)
        return 0;
    uint64_t n = be(p + 1, width);
    if (c >= 0xdc) {
        *elements = c >= 0xde ? n * 2 : n;
        return 1 + width;
    }
    return n <= left - 1 - width ? 1 + width + (size_t)n : 0;
}

/* True where data is exactly one well-formed value: every count is covered by bytes, nesting is bounded. */
static bool skim(const unsigned char *data, size_t len)
{
    uint64_t open[KFX_WIRE_DEPTH_MAX + 1] = {1}; /* elements still to come, per level */
    size_t depth = 0, at = 0;
    while (true) {
        while (open[depth] == 0) {
            if (depth == 0)
                return at == len;
            depth--;
        }
        if (at >= len)
            return false;
        uint64_t elements;
        size_t n = token(data + at, len - at, &elements);
        if (n == 0)
            return false;
        at += n;
        open[depth]--;
        if (elements > len - at)
            return false;
        if (elements) {
            if (depth == KFX_WIRE_DEPTH_MAX)
                return false;
            open[++depth] = elements;
        }
    }
}

int kfx_wire_open(const void *data, size_t len, const char *what, msgpack_unpacked *out, kfx_error_t *err)
{
    if (!data || !skim(data, len))
        return kfx_error_set(err, KFX_E_PROTOCOL, "the %s is no well-formed msgpack value", what);
    msgpack_unpacked_init(out);
    size_t off = 0;
    msgpack_unpack_return rc = msgpack_unpack_next(out, data, len, &off);
    if (rc == MSGPACK_UNPACK_SUCCESS && out->data.type == MSGPACK_OBJECT_MAP)
        return 0;
    msgpack_unpacked_destroy(out);
    if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
        return kfx_error_set(err, KFX_E_INTERNAL, "no memory for the %s", what);
    return kfx_error_set(err, KFX_E_PROTOCOL, "the %s is no msgpack map", what);
}

static bool key_is(const msgpack_object *key, const char *name)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(name) &&
           memcmp(key->via.str.ptr, name, key->via.str.size) == 0;
}

static int read_text(const kfx_wire_field_t *f, const msgpack_object *value, char *at, kfx_error_t *err)
{
    size_t len = value->via.str.size;
    if (len >= f->size)
        return kfx_error_set(err, KFX_E_PROTOCOL, "field %s is longer than %zu bytes", f->name, f->size - 1);
    if (kfx_wire_utf8_prefix(value->via.str.ptr, len) != len)
        return kfx_error_set(err, KFX_E_PROTOCOL, "field %s is no UTF-8 text", f->name);
    memcpy(at, value->via.str.ptr, len);
    at[len] = '\0';
    return 0;
}

static int read_field(const kfx_wire_field_t *f, const msgpack_object *value, char *at, kfx_error_t *err)
{
    static const char *const names[] = {"a text",   "an unsigned number", "an unsigned number",
                                        "a number", "a boolean",          "an unsigned number"};
    bool natural = value->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
    switch (f->type) {
    case KFX_WIRE_TEXT:
        if (value->type == MSGPACK_OBJECT_STR)
            return read_text(f, value, at, err);
        break;
    case KFX_WIRE_BOOL:
        if (value->type == MSGPACK_OBJECT_BOOLEAN) {
            *(bool *)(void *)at = value->via.boolean;
            return 0;
        }
        break;
    case KFX_WIRE_U64:
        if (natural) {
            *(uint64_t *)(void *)at = value->via.u64;
            return 0;
        }
        break;
    case KFX_WIRE_I64:
        if ((natural && value->via.u64 <= INT64_MAX) || value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
            *(int64_t *)(void *)at = value->via.i64;
            return 0;
        }
        break;
    case KFX_WIRE_U32:
    case KFX_WIRE_ENUM: {
        uint64_t most = f->type == KFX_WIRE_ENUM ? f->max : UINT32_MAX;
        if (natural && value->via.u64 <= most) {
            *(uint32_t *)(void *)at = (uint32_t)value->via.u64;
            return 0;
        }
        break;
    }
    }
    return kfx_error_set(err, KFX_E_PROTOCOL, "field %s is not %s in range", f->name, names[f->type]);
}

int kfx_wire_read(const msgpack_object *map, const kfx_wire_field_t *fields, size_t count, void *to, kfx_error_t *err)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        for (size_t k = 0; k < count; k++) {
            if (!key_is(&kv->key, fields[k].name))
                continue;
            if (read_field(&fields[k], &kv->val, (char *)to + fields[k].offset, err) != 0)
                return -1;
            break;
        }
    }
    return 0;
}

int kfx_wire_array(const msgpack_object *map, const char *name, size_t max, const msgpack_object_array **out,
                   kfx_error_t *err)
{
    *out = NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (!key_is(&kv->key, name))
            continue;
        if (kv->val.type != MSGPACK_OBJECT_ARRAY)
            return kfx_error_set(err, KFX_E_PROTOCOL, "field %s is no array", name);
        if (kv->val.via.array.size > max)
            return kfx_error_set(err, KFX_E_PROTOCOL, "field %s has %u elements, at most %zu are allowed", name,
                                 kv->val.via.array.size, max);
        for (uint32_t k = 0; k < kv->val.via.array.size; k++)
            if (kv->val.via.array.ptr[k].type != MSGPACK_OBJECT_MAP)
                return kfx_error_set(err, KFX_E_PROTOCOL, "element %u of field %s is no map", k, name);
        *out = &kv->val.via.array;
    }
    return 0;
}

zframe_t *kfx_wire_frame(msgpack_sbuffer *buf)
{
    zframe_t *frame = buf->data ? zframe_new(buf->data, buf->size) : NULL;
    msgpack_sbuffer_destroy(buf);
    return frame;
}
