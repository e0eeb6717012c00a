/* What the tap carries, and recordings: there and back, and with hostile input. */
#include "proto/tap.h"

#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static zmsg_t *mirrored(void)
{
    kfx_envelope_t env = {.task = 7, .attempt = 2, .seq = 9};
    kfx_copy(env.service, sizeof env.service, "reconcile.k8s");
    kfx_copy(env.key, sizeof env.key, "cp1");
    kfx_copy(env.sender, sizeof env.sender, "bus-1");
    zframe_t *payload = zframe_new("\x80", 1);
    zmsg_t *msg = kfx_msg_encode(KFX_TASK, &env, payload);
    zframe_destroy(&payload);
    kfx_tap_meta_t meta = {.time_us = 1700000000123456, .out = true, .timed = true, .latency_ms = 3};
    kfx_copy(meta.peer, sizeof meta.peer, "w1");
    kfx_copy(meta.role, sizeof meta.role, "reconciler:k8s");
    kfx_copy(meta.identity, sizeof meta.identity, "00ff");
    kfx_tap_wrap(msg, &meta, KFX_TASK, &env);
    return msg;
}

static void test_message_there_and_back(void **state)
{
    (void)state;
    zmsg_t *msg = mirrored();
    assert_true(zframe_streq(zmsg_first(msg), "TASK reconcile.k8s cp1"));
    kfx_tap_seen_t seen;
    assert_int_equal(kfx_tap_decode(msg, &seen, NULL), 0);
    assert_int_equal(zmsg_size(msg), 6);
    assert_true(seen.meta.out && seen.meta.timed);
    assert_int_equal(seen.meta.latency_ms, 3);
    assert_int_equal(seen.msg.kind, KFX_TASK);
    KFX_JSON json_t *json = kfx_tap_json(&seen);
    json_t *want = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "time",
                             "2023-11-14T22:13:20.123Z", "direction", "out", "kind", "TASK", "service", "reconcile.k8s",
                             "key", "cp1", "peer", "w1", "role", "reconciler:k8s", "identity", "00ff", "sender",
                             "bus-1", "seq", 9, "task", 7, "attempt", 2, "latencyMs", 3, "size", 1);
    assert_true(json_equal(json, want));
    json_decref(want);
    kfx_msg_release(&seen.msg);
    zmsg_destroy(&msg);
}

static void test_wrong_messages_are_refused(void **state)
{
    (void)state;
    kfx_tap_seen_t seen;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_tap_decode(NULL, &seen, &err), -1);
    for (size_t drop = 0; drop < 6; drop++) {
        zmsg_t *msg = mirrored();
        zframe_t *frame = zmsg_first(msg);
        for (size_t i = 0; i < drop; i++)
            frame = zmsg_next(msg);
        zmsg_remove(msg, frame);
        zframe_destroy(&frame);
        err.code = KFX_OK;
        assert_int_equal(kfx_tap_decode(msg, &seen, &err), -1);
        assert_int_equal(err.code, KFX_E_PROTOCOL);
        zmsg_destroy(&msg);
    }
    zmsg_t *msg = mirrored();
    zmsg_first(msg);
    zframe_reset(zmsg_next(msg), "\xc1", 1);
    assert_int_equal(kfx_tap_decode(msg, &seen, &err), -1);
    zmsg_destroy(&msg);
}

static void test_figures_there_and_back(void **state)
{
    (void)state;
    kfx_tap_stats_t in = {.service = "storage", .ready = 5, .oldest_ms = 1234, .tasks = 1ULL << 40, .run_p99_ms = 77};
    zmsg_t *msg = kfx_tap_stats_encode(&in);
    assert_true(kfx_tap_is_stats(msg));
    kfx_tap_stats_t out;
    assert_int_equal(kfx_tap_stats_decode(msg, &out, NULL), 0);
    assert_memory_equal(&in, &out, sizeof in);
    zmsg_destroy(&msg);
    msg = mirrored();
    assert_false(kfx_tap_is_stats(msg));
    assert_int_equal(kfx_tap_stats_decode(msg, &out, NULL), -1);
    zmsg_destroy(&msg);
}

static FILE *recording(char **data, size_t *size)
{
    FILE *file = open_memstream(data, size);
    assert_non_null(file);
    assert_int_equal(kfx_record_begin(file, NULL), 0);
    for (int i = 0; i < 2; i++) {
        zmsg_t *msg = mirrored();
        assert_int_equal(kfx_record_write(file, msg, NULL), 0);
        zmsg_destroy(&msg);
    }
    fflush(file);
    return file;
}

static void test_recording_there_and_back(void **state)
{
    (void)state;
    char *data;
    size_t size;
    FILE *out = recording(&data, &size), *in = fmemopen(data, size, "r");
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_record_open(in, &err), 0);
    for (int i = 0; i < 2; i++) {
        zmsg_t *msg = kfx_record_read(in, &err), *same = mirrored();
        assert_non_null(msg);
        assert_true(zmsg_eq(msg, same));
        zmsg_destroy(&msg);
        zmsg_destroy(&same);
    }
    assert_null(kfx_record_read(in, &err));
    assert_int_equal(err.code, KFX_OK);
    fclose(in);
    fclose(out);
    free(data);
}

/* Cut anywhere it is an error, but for the places between two messages. */
static void test_cut_recording(void **state)
{
    (void)state;
    char *data;
    size_t size;
    FILE *out = recording(&data, &size);
    size_t message = (size - 8) / 2;
    for (size_t cut = 1; cut < size; cut++) {
        FILE *in = fmemopen(data, cut, "r");
        kfx_error_t err = KFX_ERROR_INIT;
        zmsg_t *msg = NULL;
        if (kfx_record_open(in, &err) == 0)
            while ((msg = kfx_record_read(in, &err)))
                zmsg_destroy(&msg);
        bool whole = cut >= 8 && (cut - 8) % message == 0;
        assert_int_equal(err.code, whole ? KFX_OK : KFX_E_PROTOCOL);
        fclose(in);
    }
    memcpy(data + 8, "\xff\xff\xff\xff", 4);
    FILE *in = fmemopen(data, size, "r");
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_record_open(in, &err), 0);
    assert_null(kfx_record_read(in, &err));
    assert_int_equal(err.code, KFX_E_PROTOCOL);
    fclose(in);
    fclose(out);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_there_and_back), cmocka_unit_test(test_wrong_messages_are_refused),
        cmocka_unit_test(test_figures_there_and_back), cmocka_unit_test(test_recording_there_and_back),
        cmocka_unit_test(test_cut_recording),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
