/* tests/fuzz/frames.c: whatever frames arrive, they are a message or an error. What was decoded survives another round.
 */
#include "proto/proto.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    kfx_msg_t msg, again;
    kfx_error_t err = KFX_ERROR_INIT;
    zmsg_t *frames = kfx_take_frames(&in, kfx_take(&in) % 8);
    if (kfx_msg_decode(frames, &msg, &err) == 0) {
        zmsg_t *copy = kfx_msg_encode(msg.kind, &msg.env, msg.payload);
        assert(copy && kfx_msg_decode(copy, &again, &err) == 0);
        zmsg_t *third = kfx_msg_encode(again.kind, &again.env, again.payload);
        assert(third && zmsg_eq(copy, third));
        kfx_msg_release(&again);
        zmsg_destroy(&third);
        zmsg_destroy(&copy);
        kfx_msg_release(&msg);
    } else {
        assert(err.code != KFX_OK && err.msg[0]);
    }
    zmsg_destroy(&frames);
    return 0;
}
