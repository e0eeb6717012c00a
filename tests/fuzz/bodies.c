/* tests/fuzz/bodies.c: the msgpack bodies: the first byte says which one (a digest, a result, else the envelope of that
 * kind), the rest is the body. */
#include "proto/proto.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static void digest(zframe_t *frame)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_digest_t *one = kfx_digest_decode(frame, &err);
    if (!one)
        return;
    assert(one->count <= KFX_CHILDREN_MAX);
    zframe_t *copy = kfx_digest_encode(one);
    kfx_digest_t *two = kfx_digest_decode(copy, &err);
    assert(two && two->count == one->count);
    for (size_t i = 0; i < one->count; i++)
        assert(strcmp(one->children[i].name, two->children[i].name) == 0);
    kfx_digest_free(two);
    kfx_digest_free(one);
    zframe_destroy(&copy);
}

static void result(zframe_t *frame)
{
    static kfx_result_t one, two; /* big */
    kfx_error_t err = KFX_ERROR_INIT;
    memset(&one, 0, sizeof(one));
    memset(&two, 0, sizeof(two));
    if (kfx_result_decode(frame, &one, &err) != 0)
        return;
    assert(one.condition_count <= KFX_CONDITIONS_MAX && one.written_count <= KFX_CHILDREN_MAX);
    zframe_t *copy = kfx_result_encode(&one);
    assert(kfx_result_decode(copy, &two, &err) == 0);
    assert(two.condition_count == one.condition_count && two.written_count == one.written_count);
    zframe_destroy(&copy);
}

static void envelope(uint8_t kind, const uint8_t *data, size_t size)
{
    kfx_msg_t msg;
    kfx_error_t err = KFX_ERROR_INIT;
    zmsg_t *frames = zmsg_new();
    zmsg_addstr(frames, KFX_PROTO_MAGIC);
    zmsg_addmem(frames, &kind, 1);
    zmsg_addmem(frames, data, size);
    zmsg_addmem(frames, "", 0);
    if (kfx_msg_decode(frames, &msg, &err) == 0)
        kfx_msg_release(&msg);
    zmsg_destroy(&frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    zframe_t *frame = zframe_new(data + 1, size - 1);
    if (data[0] == 'D')
        digest(frame);
    else if (data[0] == 'R')
        result(frame);
    else
        envelope(data[0] % 20, data + 1, size - 1);
    zframe_destroy(&frame);
    return 0;
}
