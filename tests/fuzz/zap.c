/* tests/fuzz/zap.c: whatever a ZAP request holds, it is answered in six frames, and let in only with a known key. */
#include "base/log.h"
#include "bus/auth.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

#define KNOWN "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID" /* from the examples of zmq_curve(7) */

static kfx_auth_t *auth;
static uint8_t known[32];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    kfx_log_set_level(KFX_LOG_ERROR);
    auth = kfx_auth_new(60000);
    kfx_auth_set(auth, "storage", KNOWN, 0);
    zmq_z85_decode(known, KNOWN);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    zmsg_t *request = kfx_take_frames(&in, kfx_take(&in) % 12);
    zframe_t *domain = NULL, *key = NULL;
    size_t at = 0;
    for (zframe_t *frame = zmsg_first(request); frame; frame = zmsg_next(request), at++) {
        domain = at == 2 ? zframe_dup(frame) : domain;
        key = at == 6 ? zframe_dup(frame) : key;
    }
    zmsg_t *answer = kfx_auth_zap(auth, request);
    assert(answer && zmsg_size(answer) == 6);
    zmsg_first(answer);
    zmsg_next(answer);
    if (zframe_streq(zmsg_next(answer), "200"))
        assert(domain && zframe_streq(domain, KFX_ZAP_WORK) && key && zframe_size(key) == sizeof(known) &&
               memcmp(zframe_data(key), known, sizeof(known)) == 0);
    zframe_destroy(&domain);
    zframe_destroy(&key);
    zmsg_destroy(&answer);
    zmsg_destroy(&request);
    return 0;
}
