/* proto/record.c: recordings of the tap, see tap.h. */
#include "proto/tap.h"

#include <errno.h>
#include <string.h>

#define MAGIC "KFXTAP1\n"

static int failed(const char *what, kfx_error_t *err)
{
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot %s the recording: %s", what, strerror(errno));
}

int kfx_record_begin(FILE *file, kfx_error_t *err)
{
    return fwrite(MAGIC, strlen(MAGIC), 1, file) == 1 ? 0 : failed("write", err);
}

int kfx_record_write(FILE *file, zframe_t *record, kfx_error_t *err)
{
    size_t size = zframe_size(record);
    unsigned char length[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                               (unsigned char)size};
    if (size > KFX_TAP_RECORD_MAX)
        return kfx_error_set(err, KFX_E_PROTOCOL, "a record has %zu bytes, more than %d", size, KFX_TAP_RECORD_MAX);
    if (fwrite(length, sizeof length, 1, file) != 1 || (size && fwrite(zframe_data(record), size, 1, file) != 1))
        return failed("write", err);
    return 0;
}

int kfx_record_open(FILE *file, kfx_error_t *err)
{
    char magic[sizeof MAGIC - 1];
    if (fread(magic, sizeof magic, 1, file) != 1 || memcmp(magic, MAGIC, sizeof magic) != 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "it is no recording of the tap");
    return 0;
}

zframe_t *kfx_record_read(FILE *file, kfx_error_t *err)
{
    unsigned char length[4] = {0};
    size_t got = fread(length, 1, sizeof length, file);
    if (got == 0 && feof(file))
        return NULL;
    size_t size = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
    zframe_t *record = got == sizeof length && size <= KFX_TAP_RECORD_MAX ? zframe_new(NULL, size) : NULL;
    if (got != sizeof length)
        kfx_error_set(err, KFX_E_PROTOCOL, "the recording ends inside a message");
    else if (!record)
        kfx_error_set(err, KFX_E_PROTOCOL, "the recording has a message of %zu bytes, at most %d are possible", size,
                      KFX_TAP_RECORD_MAX);
    if (record && size && fread(zframe_data(record), size, 1, file) != 1) {
        kfx_error_set(err, KFX_E_PROTOCOL, "the recording ends inside a message");
        zframe_destroy(&record);
    }
    return record;
}
