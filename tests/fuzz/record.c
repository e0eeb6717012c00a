/* tests/fuzz/record.c: a file that kflex tap --replay is given. */
#include "proto/tap.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_error_t err = KFX_ERROR_INIT;
    FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;
    if (!file)
        return 0;
    if (kfx_record_open(file, &err) == 0) {
        zmsg_t *msg;
        while ((msg = kfx_record_read(file, &err))) {
            kfx_tap_seen_t seen;
            kfx_tap_stats_t stats;
            if (kfx_tap_is_stats(msg)) {
                kfx_tap_stats_decode(msg, &stats, &err);
            } else if (kfx_tap_decode(msg, &seen, &err) == 0) {
                json_decref(kfx_tap_json(&seen));
                assert(kfx_tap_sender(&seen));
                kfx_msg_release(&seen.msg);
            }
            zmsg_destroy(&msg);
        }
    }
    fclose(file);
    return 0;
}
