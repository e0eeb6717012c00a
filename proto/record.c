/* proto/record.c: recordings of the tap, see tap.h. */
#include "proto/tap.h"

#include <errno.h>
#include <string.h>

#define MAGIC "KFXTAP1\n"
#define FRAMES 6

static int failed(const char *what, kfx_error_t *err)
{
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot %s the recording: %s", what, strerror(errno));
}

int kfx_record_begin(FILE *file, kfx_error_t *err)
{
    return fwrite(MAGIC, strlen(MAGIC), 1, file) == 1 ? 0 : failed("write", err);
}

int kfx_record_write(FILE *file, zmsg_t *msg, kfx_error_t *err)
{
    if (zmsg_size(msg) != FRAMES)
        return kfx_error_set(err, KFX_E_PROTOCOL, "a mirrored message has %d frames, this one has %zu", FRAMES,
                             zmsg_size(msg));
    for (zframe_t *frame = zmsg_first(msg); frame; frame = zmsg_next(msg)) {
        size_t size = zframe_size(frame);
        unsigned char length[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                                   (unsigned char)size};
        if (size > KFX_FRAME_MAX)
            return kfx_error_set(err, KFX_E_PROTOCOL, "a frame has %zu bytes, more than %d", size, KFX_FRAME_MAX);
        if (fwrite(length, sizeof length, 1, file) != 1 || (size && fwrite(zframe_data(frame), size, 1, file) != 1))
            return failed("write", err);
    }
    return 0;
}

int kfx_record_open(FILE *file, kfx_error_t *err)
{
    char magic[sizeof MAGIC - 1];
    if (fread(magic, sizeof magic, 1, file) != 1 || memcmp(magic, MAGIC, sizeof magic) != 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "it is no recording of the tap");
    return 0;
}

static zframe_t *read_frame(FILE *file, bool first, kfx_error_t *err)
{
    unsigned char length[4] = {0};
    size_t got = fread(length, 1, sizeof length, file);
    if (got == 0 && first && feof(file))
        return NULL;
    size_t size = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
    if (got != sizeof length) {
        kfx_error_set(err, KFX_E_PROTOCOL, "the recording ends inside a message");
        return NULL;
    }
    if (size > KFX_FRAME_MAX) {
        kfx_error_set(err, KFX_E_PROTOCOL, "the recording has a frame of %zu bytes, at most %d are possible", size,
                      KFX_FRAME_MAX);
        return NULL;
    }
    zframe_t *frame = zframe_new(NULL, size);
    if (frame && size && fread(zframe_data(frame), size, 1, file) != 1) {
        zframe_destroy(&frame);
        kfx_error_set(err, KFX_E_PROTOCOL, "the recording ends inside a message");
    }
    return frame;
}

zmsg_t *kfx_record_read(FILE *file, kfx_error_t *err)
{
    zmsg_t *msg = zmsg_new();
    for (int i = 0; i < FRAMES; i++) {
        zframe_t *frame = read_frame(file, i == 0, err);
        if (!frame) {
            zmsg_destroy(&msg);
            return NULL;
        }
        zmsg_append(msg, &frame);
    }
    return msg;
}
