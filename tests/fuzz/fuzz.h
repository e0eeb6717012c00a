/* tests/fuzz/fuzz.h: what the targets share: input taken apart, and messages put together from it. */
#ifndef KFX_FUZZ_H
#define KFX_FUZZ_H

#include <czmq.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entries. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

typedef struct {
    const uint8_t *at;
    size_t left;
} kfx_input_t;

static inline uint8_t kfx_take(kfx_input_t *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* As many bytes as the input says (two bytes in front) and has. */
static inline const uint8_t *kfx_take_part(kfx_input_t *in, size_t *len)
{
    size_t want = kfx_take(in);
    want |= (size_t)kfx_take(in) << 8;
    *len = want < in->left ? want : in->left;
    const uint8_t *part = in->at;
    in->at += *len;
    in->left -= *len;
    return part;
}

/* count frames; those beyond the input's end are empty. Fresh. */
static inline zmsg_t *kfx_take_frames(kfx_input_t *in, size_t count)
{
    zmsg_t *msg = zmsg_new();
    for (size_t i = 0; i < count; i++) {
        size_t len;
        const uint8_t *part = kfx_take_part(in, &len);
        zmsg_addmem(msg, part, len);
    }
    return msg;
}

#endif
