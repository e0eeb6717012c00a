/* tests/fuzz/record.c: a file that kflex tap --replay is given; and, where it is none, figures that a tap receives. */
#include "proto/tap.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

static void figures(const uint8_t *data, size_t size)
{
    kfx_tap_stats_t stats;
    kfx_error_t err = KFX_ERROR_INIT;
    zmsg_t *msg = zmsg_new();
    zmsg_addstr(msg, KFX_TAP_STATS " storage");
    zmsg_addmem(msg, data, size);
    assert(kfx_tap_is_stats(msg));
    kfx_tap_stats_decode(msg, &stats, &err);
    zmsg_destroy(&msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_error_t err = KFX_ERROR_INIT;
    FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;
    if (!file)
        return 0;
    if (kfx_record_open(file, &err) == 0) {
        zframe_t *record;
        while ((record = kfx_record_read(file, &err))) {
            kfx_tap_seen_t seen;
            if (kfx_tap_decode(record, &seen, &err) == 0) {
                json_decref(kfx_tap_json(&seen));
                assert(kfx_tap_sender(&seen));
                kfx_msg_release(&seen.msg);
            }
            zframe_destroy(&record);
        }
    } else {
        figures(data, size);
    }
    fclose(file);
    return 0;
}
