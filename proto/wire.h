/* proto/wire.h: msgpack maps to and from plain structs, driven by one table per struct. Private to proto/.
 *
 * A table lists the fields of a struct with their names on the wire. Zero values are not encoded; unknown names are
 * skipped when decoding; a known name with another type, a text that does not fit its buffer, a text that is no UTF-8
 * or holds a NUL are errors. Pure functions: thread-safe.
 */
#ifndef KFX_PROTO_WIRE_H
#define KFX_PROTO_WIRE_H

#include "base/error.h"

/* What an envelope needs, and small enough for malloc's quick path: msgpack-c's own 8 KiB for each message cost more
 * than all of the packing. */
#define MSGPACK_SBUFFER_INIT_SIZE 1000

#include <czmq.h>
#include <msgpack.h>
#include <stddef.h>

#define KFX_WIRE_DEPTH_MAX 6 /* nesting of maps and arrays; ours has 3 */

typedef enum { KFX_WIRE_TEXT, KFX_WIRE_U32, KFX_WIRE_U64, KFX_WIRE_I64, KFX_WIRE_BOOL, KFX_WIRE_ENUM } kfx_wire_type_t;

typedef struct {
    const char *name;
    kfx_wire_type_t type;
    size_t offset;
    size_t size;  /* of the member */
    unsigned max; /* ENUM: highest value */
} kfx_wire_field_t;

#define KFX_WIRE(owner, member, name, type)                                                                            \
    {                                                                                                                  \
        (name), (type), offsetof(owner, member), sizeof(((owner *)0)->member), 0                                       \
    }
#define KFX_WIRE_ENUMERATED(owner, member, name, highest)                                                              \
    {                                                                                                                  \
        (name), KFX_WIRE_ENUM, offsetof(owner, member), sizeof(((owner *)0)->member), (highest)                        \
    }

/* How many fields of the struct are set (the size of the map to open), and packing them. */
size_t kfx_wire_count(const kfx_wire_field_t *fields, size_t count, const void *from);
void kfx_wire_pack(msgpack_packer *pk, const kfx_wire_field_t *fields, size_t count, const void *from);
void kfx_wire_pack_name(msgpack_packer *pk, const char *name);

/* Checks that data is exactly one msgpack map within the bounds, then unpacks it. On success the caller destroys *out
 * (msgpack_unpacked_destroy). `what` names the frame in errors. */
int kfx_wire_open(const void *data, size_t len, const char *what, msgpack_unpacked *out, kfx_error_t *err);

/* Fills *to (zeroed by the caller) from a map. */
int kfx_wire_read(const msgpack_object *map, const kfx_wire_field_t *fields, size_t count, void *to, kfx_error_t *err);

/* The array of that name in the map with at most max elements, all of them maps; NULL without error where there is
 * none. */
int kfx_wire_array(const msgpack_object *map, const char *name, size_t max, const msgpack_object_array **out,
                   kfx_error_t *err);

/* Length of the longest prefix of text (at most len bytes) that is whole, valid UTF-8 without NUL. */
size_t kfx_wire_utf8_prefix(const char *text, size_t len);

/* A frame with the buffer's bytes, or NULL where memory is out; the buffer is destroyed. */
zframe_t *kfx_wire_frame(msgpack_sbuffer *buf);

#endif
