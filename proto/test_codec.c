/* Round trips, and hostile input for every decoder: cut at every byte, flipped bits, lying counts, wrong types. */
#include "base/log.h"
#include "base/mem.h"
#include "proto/proto.h"

#include <msgpack.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static kfx_envelope_t full_envelope(void)
{
    return (kfx_envelope_t){.service = "reconcile.k8s",
                            .key = "cp1",
                            .uid = "5f0c3d0e-1111-2222-3333-444455556666",
                            .sender = "pod-1",
                            .role = "reconciler:k8s",
                            .text = "Grüße: läuft",
                            .generation = -1,
                            .epoch = UINT64_MAX,
                            .seq = 1,
                            .lease = 1ull << 63,
                            .lease_ms = 2500,
                            .attempt = UINT32_MAX,
                            .retry_after_ms = 7,
                            .credit = 8,
                            .window = 256,
                            .revision = 3,
                            .version_min = 1,
                            .version_max = 1,
                            .code = 5,
                            .outcome = KFX_OUTCOME_DOWN,
                            .state = KFX_SYNC_END,
                            .deleting = true,
                            .running = true,
                            .task = 42};
}

static void test_message_round_trip(void **state)
{
    (void)state;
    kfx_envelope_t env = full_envelope();
    zframe_t *payload = zframe_from("opaque");
    zmsg_t *msg = kfx_msg_encode(KFX_DONE, &env, payload);
    kfx_msg_t out;
    assert_int_equal(zmsg_size(msg), 4);
    assert_int_equal(kfx_msg_decode(msg, &out, NULL), 0);
    assert_int_equal(zmsg_size(msg), 4);
    assert_int_equal(out.kind, KFX_DONE);
    assert_memory_equal(&out.env, &env, sizeof(env));
    assert_true(zframe_streq(out.payload, "opaque"));
    kfx_msg_release(&out);
    zmsg_destroy(&msg);
    zframe_destroy(&payload);
}

static void test_empty_envelope_is_one_byte_and_no_payload_is_null(void **state)
{
    (void)state;
    kfx_envelope_t env = {.seq = 0};
    zmsg_t *msg = kfx_msg_encode(KFX_PING, &env, NULL);
    kfx_msg_t out;
    zmsg_first(msg);
    zmsg_next(msg);
    assert_int_equal(zframe_size(zmsg_next(msg)), 1);
    assert_int_equal(kfx_msg_decode(msg, &out, NULL), 0);
    assert_null(out.payload);
    zmsg_destroy(&msg);
}

static kfx_digest_t *full_digest(size_t count)
{
    kfx_digest_t *digest = kfx_xcalloc(1, sizeof(*digest));
    kfx_copy(digest->type, sizeof(digest->type), "k8s");
    digest->deleting = true;
    digest->place = true;
    kfx_copy(digest->awaited, sizeof(digest->awaited), "u-1/77");
    kfx_copy(digest->kubernetes_version, sizeof(digest->kubernetes_version), "v1.36.3");
    kfx_copy(digest->postgres_server, sizeof(digest->postgres_server), "east");
    kfx_copy(digest->rotate, sizeof(digest->rotate), "0123456789abcdef");
    digest->count = count;
    digest->children = kfx_xcalloc(count, sizeof(*digest->children));
    for (size_t i = 0; i < count; i++) {
        kfx_child_t *c = &digest->children[i];
        kfx_copy(c->kind, sizeof(c->kind), i % 2 ? "Secret" : "Deployment");
        snprintf(c->name, sizeof(c->name), "child-%zu", i);
        kfx_copy(c->uid, sizeof(c->uid), "uid");
        kfx_copy(c->rv, sizeof(c->rv), "123456");
        kfx_copy(c->hash, sizeof(c->hash), "0123456789abcdef");
        c->ready = i % 2;
        c->terminating = i % 3 == 0;
        c->drifted = i % 5 == 0;
        c->owned = true;
        c->rolling = i % 7 == 0;
        c->stuck = i % 11 == 0;
    }
    return digest;
}

static void test_digest_round_trip(void **state)
{
    (void)state;
    kfx_digest_t *digest = full_digest(KFX_CHILDREN_MAX);
    zframe_t *frame = kfx_digest_encode(digest);
    kfx_digest_t *back = kfx_digest_decode(frame, NULL);
    assert_non_null(back);
    assert_string_equal(back->type, "k8s");
    assert_true(back->deleting && back->place);
    assert_string_equal(back->awaited, "u-1/77");
    assert_string_equal(back->kubernetes_version, "v1.36.3");
    assert_string_equal(back->postgres_server, "east");
    assert_string_equal(back->rotate, "0123456789abcdef");
    assert_int_equal(back->count, KFX_CHILDREN_MAX);
    assert_memory_equal(back->children, digest->children, KFX_CHILDREN_MAX * sizeof(kfx_child_t));
    kfx_digest_t *copy = kfx_digest_dup(back);
    kfx_digest_free(back);
    assert_string_equal(kfx_digest_child(copy, "Secret", "child-5")->hash, "0123456789abcdef");
    assert_null(kfx_digest_child(copy, "Deployment", "child-5"));
    assert_null(kfx_digest_child(NULL, "Secret", "x"));
    kfx_digest_free(copy);
    kfx_digest_free(digest);
    zframe_destroy(&frame);
}

static void test_too_many_children_are_cut_and_refused(void **state)
{
    (void)state;
    kfx_digest_t *digest = full_digest(KFX_CHILDREN_MAX + 1);
    zframe_t *frame = kfx_digest_encode(digest);
    kfx_digest_t *back = kfx_digest_decode(frame, NULL);
    assert_int_equal(back->count, KFX_CHILDREN_MAX);
    kfx_digest_free(back);
    kfx_digest_free(digest);
    zframe_destroy(&frame);
    /* 65 empty maps in an array: sent by somebody else */
    uint8_t raw[16 + 65] = {0x81, 0xa8, 'c', 'h', 'i', 'l', 'd', 'r', 'e', 'n', 0xdc, 0, 65};
    memset(raw + 13, 0x80, 65);
    frame = zframe_new(raw, 13 + 65);
    kfx_error_t err = KFX_ERROR_INIT;
    assert_null(kfx_digest_decode(frame, &err));
    assert_int_equal(err.code, KFX_E_PROTOCOL);
    zframe_destroy(&frame);
}

static kfx_result_t *full_result(void)
{
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
    kfx_result_condition(result, "Synced", true, "ReconcileSuccess", "all %d", 13);
    kfx_result_condition(result, "Ready", false, "Creating", "%s", "");
    kfx_result_wrote(result, "Secret", "kine-dsn", "u", "77", "abcd");
    kfx_copy(result->kubernetes_version, sizeof(result->kubernetes_version), "v1.36.3");
    kfx_copy(result->postgres_server, sizeof(result->postgres_server), "east");
    kfx_copy(result->secret_name, sizeof(result->secret_name), "admin-kubeconfig");
    kfx_copy(result->secret_key, sizeof(result->secret_key), "kubeconfig");
    kfx_copy(result->secret_in_cluster_key, sizeof(result->secret_in_cluster_key), "kubeconfig-incluster");
    result->awaits_record = true;
    result->wants_place = true;
    result->keeps_place = true;
    kfx_copy(result->awaits_secret, sizeof(result->awaits_secret), "kubeflex-system/x1-bootstrap");
    return result;
}

static void test_result_round_trip(void **state)
{
    (void)state;
    kfx_result_t *result = full_result(), *back = kfx_xcalloc(1, sizeof(*back));
    zframe_t *frame = kfx_result_encode(result);
    assert_int_equal(kfx_result_decode(frame, back, NULL), 0);
    assert_memory_equal(back, result, sizeof(*result));
    zframe_destroy(&frame);
    free(result);
    free(back);
}

static void test_conditions_are_replaced_cut_and_bounded(void **state)
{
    (void)state;
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result)), *back = kfx_xcalloc(1, sizeof(*back));
    kfx_result_condition(result, "Ready", false, "A", "first");
    kfx_result_condition(result, "Ready", true, "B", "second");
    assert_int_equal(result->condition_count, 1);
    assert_string_equal(result->conditions[0].message, "second");
    char longest[2000];
    memset(longest, 'x', 510);
    memcpy(longest + 510, "ä and more", sizeof("ä and more")); /* the cut falls inside the ä */
    kfx_result_condition(result, "Ready", true, "B", "%s", longest);
    assert_int_equal(strlen(result->conditions[0].message), 510);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof(name), "T%d", i);
        kfx_result_condition(result, name, true, "R", "m");
        for (int k = 0; k < 3; k++)
            kfx_result_wrote(result, "Secret", name, NULL, NULL, NULL);
    }
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "w%d", i);
        kfx_result_wrote(result, "Secret", name, "u", "1", "h");
    }
    assert_int_equal(result->condition_count, KFX_CONDITIONS_MAX);
    assert_int_equal(result->written_count, KFX_CHILDREN_MAX);
    zframe_t *frame = kfx_result_encode(result);
    assert_true(zframe_size(frame) < KFX_FRAME_MAX);
    assert_int_equal(kfx_result_decode(frame, back, NULL), 0);
    zframe_destroy(&frame);
    free(result);
    free(back);
}

static void test_text_of_another_encoding_still_travels(void **state)
{
    (void)state;
    kfx_envelope_t env = {.text = "Zugriff verweigert f\xfcr"};
    zmsg_t *msg = kfx_msg_encode(KFX_STATUS, &env, NULL);
    kfx_msg_t out;
    assert_int_equal(kfx_msg_decode(msg, &out, NULL), 0);
    assert_string_equal(out.env.text, "Zugriff verweigert f?r");
    zmsg_destroy(&msg);
}

/* A message around a hand-made envelope. */
static int decode_raw(const void *envelope, size_t len, kfx_msg_t *out, kfx_error_t *err)
{
    zmsg_t *msg = zmsg_new();
    zmsg_addstr(msg, KFX_PROTO_MAGIC);
    zmsg_addmem(msg, "\x07", 1);
    zmsg_addmem(msg, envelope, len);
    zmsg_addmem(msg, NULL, 0);
    int rc = kfx_msg_decode(msg, out, err);
    if (rc != 0)
        kfx_msg_release(out);
    zmsg_destroy(&msg);
    return rc;
}

#define RAW(bytes, out, err) decode_raw((bytes), sizeof(bytes) - 1, (out), (err))

static void test_unknown_fields_are_skipped_and_must_fields_refused(void **state)
{
    (void)state;
    kfx_msg_t out;
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(RAW("\x83\xa6"
                         "future\x93\x01\x02\x03\xa3key\xa3"
                         "cp1\x05\xc0",
                         &out, &err),
                     0);
    assert_string_equal(out.env.key, "cp1");
    assert_int_equal(RAW("\x82\xa4must\x91\xa3key\xa3key\xa3"
                         "cp1",
                         &out, &err),
                     0);
    assert_int_equal(RAW("\x81\xa4must\x91\xa6"
                         "future",
                         &out, &err),
                     -1);
    assert_int_equal(err.code, KFX_E_PROTOCOL);
    assert_int_equal(RAW("\x81\xa4must\x91\x01", &out, &err), -1);
    assert_int_equal(RAW("\x81\xa4must\xa3key", &out, &err), -1);
}

static void test_wrong_types_and_ranges_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
#define BAD(text) {(text), sizeof(text) - 1}
        BAD("\x81\xa3key\x01"),  /* a number for a text */
        BAD("\x81\xa3seq\xa1x"), /* a text for a number */
        BAD("\x81\xa3seq\xff"),  /* -1 for an unsigned */
        BAD("\x81\xa6"
            "credit\xcf\x00\x00\x00\x01\x00\x00\x00\x00"), /* over 32 bits */
        BAD("\x81\xa7outcome\x06"),                        /* no such outcome */
        BAD("\x81\xa5state\x63"),                          /* no such state */
        BAD("\x81\xa7running\x01"),                        /* a number for a boolean */
        BAD("\x81\xa3"
            "gen\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),           /* over INT64_MAX */
        BAD("\x81\xa3key\xa2\xc0\xaf"),                           /* no UTF-8 */
        BAD("\x81\xa3key\xa2x\x00"),                              /* NUL inside */
        BAD("\x90"),                                              /* an array */
        BAD(""),                                                  /* nothing */
        BAD("\x80\x80"),                                          /* something behind */
        BAD("\x81\xa3key"),                                       /* cut */
        BAD("\xdf\xff\xff\xff\xff"),                              /* four thousand million entries */
        BAD("\x81\xa1x\xdd\xff\xff\xff\xff"),                     /* … elements */
        BAD("\x81\xa1x\xc6\xff\xff\xff\xff"),                     /* … bytes */
        BAD("\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0"), /* too deep */
        BAD("\x81\xa1x\xc1"),                                     /* never used */
        BAD("\x81\xa1x\xd4\x01\x01"),                             /* extension */
    };
    for (size_t i = 0; i < KFX_COUNT(bad); i++) {
        kfx_msg_t out;
        kfx_error_t err = KFX_ERROR_INIT;
        if (decode_raw(bad[i].bytes, bad[i].len, &out, &err) != -1 || err.code != KFX_E_PROTOCOL)
            fail_msg("case %zu was taken", i);
    }
    /* a text that does not fit is refused, never cut: a cut name would be another plane */
    uint8_t longer[8 + KFX_NAME_SIZE] = {0x81, 0xa3, 'k', 'e', 'y', 0xda, KFX_NAME_SIZE >> 8, KFX_NAME_SIZE & 255};
    memset(longer + 8, 'a', KFX_NAME_SIZE);
    kfx_msg_t out;
    assert_int_equal(decode_raw(longer, sizeof(longer), &out, NULL), -1);
}

static void test_wrong_frames_are_refused(void **state)
{
    (void)state;
    kfx_envelope_t env = full_envelope();
    for (int what = 0; what < 4; what++) {
        zmsg_t *msg = kfx_msg_encode(KFX_EVENT, &env, NULL);
        kfx_msg_t out;
        kfx_error_t err = KFX_ERROR_INIT;
        zframe_t *frame;
        if (what == 0) {
            zmsg_addstr(msg, "fifth");
        } else if (what == 1) {
            frame = zmsg_pop(msg);
            zframe_destroy(&frame);
        } else if (what == 2) {
            frame = zmsg_pop(msg);
            zframe_destroy(&frame);
            zmsg_pushstr(msg, "KFX/2");
        } else {
            zmsg_first(msg);
            zframe_reset(zmsg_next(msg), "\x01\x02", 2);
        }
        assert_int_equal(kfx_msg_decode(msg, &out, &err), -1);
        assert_int_equal(err.code, KFX_E_PROTOCOL);
        zmsg_destroy(&msg);
    }
    assert_int_equal(kfx_msg_decode(NULL, &(kfx_msg_t){.payload = NULL}, NULL), -1);
}

static void test_unknown_kind_is_no_error(void **state)
{
    (void)state;
    kfx_envelope_t env = {.seq = 1};
    zmsg_t *msg = kfx_msg_encode((kfx_kind_t)99, &env, NULL);
    kfx_msg_t out;
    assert_int_equal(kfx_msg_decode(msg, &out, NULL), 0);
    assert_int_equal(out.kind, 99);
    assert_string_equal(kfx_kind_name(out.kind), "?");
    assert_string_equal(kfx_kind_name(KFX_TASK), "TASK");
    assert_string_equal(kfx_kind_name(KFX_KIND_LAST), "ERROR");
    zmsg_destroy(&msg);
}

/* Each decoder on copies of exactly the given size, so that a sanitizer sees every read past the end. */
static void feed(const uint8_t *data, size_t len)
{
    uint8_t *exact = kfx_xcalloc(len ? len : 1, 1);
    memcpy(exact, data, len);
    kfx_msg_t out;
    if (decode_raw(exact, len, &out, NULL) == 0)
        kfx_msg_release(&out);
    zframe_t *frame = zframe_new(exact, len);
    kfx_digest_free(kfx_digest_decode(frame, NULL));
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
    (void)kfx_result_decode(frame, result, NULL);
    free(result);
    zframe_destroy(&frame);
    free(exact);
}

static void mangle(zframe_t *frame)
{
    size_t len = zframe_size(frame);
    for (size_t cut = 0; cut < len; cut++) {
        zframe_t *shorter = zframe_new(zframe_data(frame), cut);
        kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
        if (cut > 0) { /* no bytes at all are an empty payload */
            assert_null(kfx_digest_decode(shorter, NULL));
            assert_int_equal(kfx_result_decode(shorter, result, NULL), -1);
        }
        free(result);
        zframe_destroy(&shorter);
        feed(zframe_data(frame), cut);
    }
    uint8_t *copy = kfx_xcalloc(len, 1);
    for (size_t at = 0; at < len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy, zframe_data(frame), len);
            copy[at] ^= (uint8_t)(1u << bit);
            feed(copy, len);
        }
        memcpy(copy, zframe_data(frame), len);
        copy[at] = 0xdf;
        feed(copy, len);
    }
    free(copy);
}

static void test_mangled_frames_never_hurt(void **state)
{
    (void)state;
    kfx_digest_t *digest = full_digest(3);
    kfx_result_t *result = full_result();
    kfx_envelope_t env = full_envelope();
    zmsg_t *msg = kfx_msg_encode(KFX_DONE, &env, NULL);
    zframe_t *frames[] = {kfx_digest_encode(digest), kfx_result_encode(result)};
    mangle(frames[0]);
    mangle(frames[1]);
    zmsg_first(msg);
    zmsg_next(msg);
    zframe_t *envelope = zmsg_next(msg);
    for (size_t cut = 0; cut < zframe_size(envelope); cut++) {
        kfx_msg_t out;
        assert_int_equal(decode_raw(zframe_data(envelope), cut, &out, NULL), -1);
    }
    mangle(envelope);
    zframe_destroy(&frames[0]);
    zframe_destroy(&frames[1]);
    zmsg_destroy(&msg);
    kfx_digest_free(digest);
    free(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_round_trip),
        cmocka_unit_test(test_empty_envelope_is_one_byte_and_no_payload_is_null),
        cmocka_unit_test(test_digest_round_trip),
        cmocka_unit_test(test_too_many_children_are_cut_and_refused),
        cmocka_unit_test(test_result_round_trip),
        cmocka_unit_test(test_conditions_are_replaced_cut_and_bounded),
        cmocka_unit_test(test_text_of_another_encoding_still_travels),
        cmocka_unit_test(test_unknown_fields_are_skipped_and_must_fields_refused),
        cmocka_unit_test(test_wrong_types_and_ranges_are_refused),
        cmocka_unit_test(test_wrong_frames_are_refused),
        cmocka_unit_test(test_unknown_kind_is_no_error),
        cmocka_unit_test(test_mangled_frames_never_hurt),
    };
    kfx_log_set_level(KFX_LOG_ERROR); /* dropping is tested, not its log */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
