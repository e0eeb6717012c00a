/* What the tap carries, and recordings: there and back, and with hostile input. */
#include "proto/tap.h"

#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static zframe_t *mirrored(void)
{
    kfx_envelope_t env = {.task = 7, .attempt = 2, .seq = 9};
    kfx_copy(env.service, sizeof env.service, "reconcile.k8s");
    kfx_copy(env.key, sizeof env.key, "cp1");
    kfx_copy(env.sender, sizeof env.sender, "bus-1");
    zframe_t *payload = zframe_new("\x80", 1);
    zmsg_t *msg = kfx_msg_encode(KFX_TASK, &env, payload);
    zframe_destroy(&payload);
    kfx_tap_meta_t meta = {.time_us = 1700000000123456, .out = true, .timed = true, .latency_ms = 3};
    meta.left_out = 5;
    kfx_copy(meta.peer, sizeof meta.peer, "w1");
    kfx_copy(meta.role, sizeof meta.role, "reconciler:k8s");
    kfx_copy(meta.identity, sizeof meta.identity, "00ff");
    zframe_t *record = kfx_tap_encode(&meta, msg);
    assert_int_equal(zmsg_size(msg), 4);
    zmsg_destroy(&msg);
    return record;
}

static void test_message_there_and_back(void **state)
{
    (void)state;
    zframe_t *record = mirrored();
    kfx_tap_seen_t seen;
    assert_int_equal(kfx_tap_decode(record, &seen, NULL), 0);
    assert_true(seen.meta.out && seen.meta.timed);
    assert_int_equal(seen.meta.latency_ms, 3);
    assert_int_equal(seen.msg.kind, KFX_TASK);
    KFX_JSON json_t *json = kfx_tap_json(&seen);
    json_t *want = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "time",
                             "2023-11-14T22:13:20.123Z", "direction", "out", "kind", "TASK", "service", "reconcile.k8s",
                             "key", "cp1", "peer", "w1", "role", "reconciler:k8s", "identity", "00ff", "sender",
                             "bus-1", "seq", 9, "task", 7, "attempt", 2, "latencyMs", 3, "leftOut", 5, "size", 1);
    assert_true(json_equal(json, want));
    json_decref(want);
    kfx_msg_release(&seen.msg);
    zframe_destroy(&record);
}

static void test_wrong_records_are_refused(void **state)
{
    (void)state;
    kfx_tap_seen_t seen;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_tap_decode(NULL, &seen, &err), -1);
    zframe_t *record = mirrored();
    size_t size = zframe_size(record);
    for (size_t cut = 0; cut < size; cut++) {
        zframe_t *part = zframe_new(zframe_data(record), cut);
        err.code = KFX_OK;
        assert_int_equal(kfx_tap_decode(part, &seen, &err), -1);
        assert_int_equal(err.code, KFX_E_PROTOCOL);
        zframe_destroy(&part);
    }
    for (size_t at = 0; at < size; at++) /* whatever bit is wrong: an answer, no crash */
        for (int bit = 0; bit < 8; bit++) {
            zframe_data(record)[at] ^= (byte)(1 << bit);
            (void)kfx_tap_decode(record, &seen, NULL);
            kfx_msg_release(&seen.msg);
            zframe_data(record)[at] ^= (byte)(1 << bit);
        }
    zframe_t *more = zframe_new(NULL, size + 1);
    memcpy(zframe_data(more), zframe_data(record), size);
    zframe_data(more)[size] = 0;
    assert_int_equal(kfx_tap_decode(more, &seen, &err), -1);
    zframe_destroy(&more);
    zframe_destroy(&record);
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
    msg = zmsg_new();
    zmsg_addstr(msg, "STATISTICS x");
    zmsg_addmem(msg, "\x80", 1);
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
        zframe_t *record = mirrored();
        assert_int_equal(kfx_record_write(file, record, NULL), 0);
        zframe_destroy(&record);
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
        zframe_t *record = kfx_record_read(in, &err), *same = mirrored();
        assert_non_null(record);
        assert_true(zframe_eq(record, same));
        zframe_destroy(&record);
        zframe_destroy(&same);
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
        zframe_t *record = NULL;
        if (kfx_record_open(in, &err) == 0)
            while ((record = kfx_record_read(in, &err)))
                zframe_destroy(&record);
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
        cmocka_unit_test(test_message_there_and_back), cmocka_unit_test(test_wrong_records_are_refused),
        cmocka_unit_test(test_figures_there_and_back), cmocka_unit_test(test_recording_there_and_back),
        cmocka_unit_test(test_cut_recording),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
