/* tests/fuzz/answers.c: what an API server answers but objects: a Lease, a Status, the head and the frames of a
 * port-forward. The first byte says which. */
#include "base/json.h"
#include "base/mem.h"
#include "kube/internal.h"
#include "kube/lease_state.h"
#include "kube/websocket.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

/* Whatever the record says: no two leaders at once by it, and the epoch only grows. */
static void lease(const json_t *object)
{
    kfx_lease_record_t record;
    kfx_lease_state_t state = {.identity = "me", .duration_ms = 8000, .renew_deadline_ms = 5000};
    kfx_lease_read(object, &record);
    kfx_lease_observe(&state, &record, 1000);
    kfx_lease_move_t move = kfx_lease_decide(&state, 1000);
    bool foreign = record.exists && record.holder[0] && strcmp(record.holder, "me") != 0;
    assert(foreign ? move == KFX_LEASE_WAIT : move != KFX_LEASE_WAIT);
    assert(kfx_lease_foreign_until(&state) > 1000);
    assert(kfx_lease_next_transitions(&state) >= 0);
    kfx_lease_written(&state, 2000);
    /* One that somebody emptied ends our leadership, too. */
    bool lost = kfx_lease_observe(&state, &record, 2500);
    assert(lost == (record.exists && strcmp(record.holder, "me") != 0));
    assert(kfx_lease_epoch(record.transitions, 41) > 41);
}

static void status(const json_t *object, uint8_t code)
{
    kfx_error_t err = KFX_ERROR_INIT;
    assert(kfx_status_error(&err, "create", "/api/v1/pods", "https://server", 100 + code * 2, object) == -1);
    assert(err.code != KFX_OK && err.msg[0]);
    int ms = kfx_retry_after_ms(code, object);
    assert(ms >= 0 && ms <= 60000);
}

static void head(const kfx_input_t *in)
{
    char value[24];
    KFX_FREE char *text = kfx_xasprintf("%.*s", (int)in->left, (const char *)in->at);
    kfx_head_value(text, "Content-Length", value, sizeof value);
    assert(strlen(value) < sizeof value && !strpbrk(value, "\r\n"));
}

static void frames(const kfx_input_t *in)
{
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(1 << 16);
    kfx_buf_add(&buf, in->at, in->left);
    kfx_ws_frame_t frame;
    while (kfx_ws_peek(&buf, &frame, NULL) == 1) {
        assert(frame.size >= frame.len && frame.size <= buf.len);
        kfx_buf_drop(&buf, frame.size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    uint8_t which = kfx_take(&in), code = kfx_take(&in);
    if (which % 4 == 0)
        frames(&in);
    else if (which % 4 == 1)
        head(&in);
    else {
        KFX_JSON json_t *object = kfx_json_parse((const char *)in.at, in.left, NULL);
        if (which % 4 == 2)
            lease(object);
        else
            status(object, code);
    }
    return 0;
}
