/* Roles, what they may send, the table of keys, and who gets the next task. */
#include "bus/auth.h"
#include "bus/grumble.h"
#include "bus/peer.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static kfx_role_t role(const char *name)
{
    kfx_role_t out;
    assert_int_equal(kfx_role_parse(name, &out, NULL), 0);
    return out;
}

static void test_every_role_parses(void **state)
{
    (void)state;
    char name[KFX_SERVICE_SIZE];
    size_t n = 0;
    for (; kfx_role_at(n, name); n++)
        assert_string_equal(role(name).name, name);
    assert_int_equal(n, 9);
    assert_string_equal(role("reconciler:k8s").service, "reconcile.k8s");
    assert_string_equal(role("storage").service, "storage");
    assert_string_equal(role("watcher").service, "");
    static const char *const none[] = {"",         "reconciler:", "reconciler:nope", "reconciler", "Watcher",
                                       "storage ", "bus"};
    for (size_t i = 0; i < KFX_COUNT(none); i++)
        assert_int_equal(kfx_role_parse(none[i], &(kfx_role_t){.party = KFX_PARTY_NONE}, NULL), -1);
}

static bool may(const char *who, kfx_kind_t kind, kfx_envelope_t env)
{
    kfx_role_t r = role(who);
    kfx_msg_t msg = {.kind = kind, .env = env};
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = kfx_role_check(&r, &msg, &err);
    assert_true(rc == 0 || err.code == KFX_E_FORBIDDEN);
    return rc == 0;
}

static void test_kinds_by_role(void **state)
{
    (void)state;
    static const kfx_kind_t watcher[] = {KFX_HELLO, KFX_PING, KFX_SYNC, KFX_EVENT, KFX_ACK, KFX_BYE};
    static const kfx_kind_t worker[] = {KFX_HELLO, KFX_PING, KFX_SYNC, KFX_EVENT, KFX_DONE, KFX_STATUS, KFX_BYE};
    for (kfx_kind_t kind = KFX_HELLO; kind <= KFX_KIND_LAST; kind++) {
        bool by_watcher = false, by_worker = false;
        for (size_t i = 0; i < KFX_COUNT(watcher); i++)
            by_watcher |= watcher[i] == kind;
        for (size_t i = 0; i < KFX_COUNT(worker); i++)
            by_worker |= worker[i] == kind;
        kfx_envelope_t env = {.running = true, .state = KFX_SYNC_END};
        assert_int_equal(may("watcher", kind, env), by_watcher);
        assert_int_equal(may("storage", kind, env), by_worker);
        assert_int_equal(may("reconciler:k8s", kind, env), by_worker);
        assert_false(may("tap", kind, env));
    }
}

static void test_worker_speaks_for_its_own_service_only(void **state)
{
    (void)state;
    assert_true(may("reconciler:k8s", KFX_DONE, (kfx_envelope_t){.service = "reconcile.k8s"}));
    assert_false(may("reconciler:k8s", KFX_DONE, (kfx_envelope_t){.service = "storage"}));
    assert_false(may("reconciler:k8s", KFX_HELLO, (kfx_envelope_t){.service = "reconcile.ocm"}));
    assert_false(may("reconciler:k8s", KFX_HELLO, (kfx_envelope_t){.role = "watcher"}));
    assert_false(may("storage", KFX_EVENT, (kfx_envelope_t){.service = "storage"})); /* an event, not an announcement */
    assert_false(may("storage", KFX_SYNC, (kfx_envelope_t){.state = KFX_SYNC_BEGIN}));
    assert_true(may("watcher", KFX_EVENT, (kfx_envelope_t){.service = "storage"}));
    assert_true(may("watcher", (kfx_kind_t)99, (kfx_envelope_t){.seq = 1}));
}

typedef struct {
    char text[KFX_Z85_SIZE];
    uint8_t binary[32];
} pair_t;

static pair_t new_key(void)
{
    pair_t key;
    char secret[KFX_Z85_SIZE];
    zmq_curve_keypair(key.text, secret);
    zmq_z85_decode(key.binary, key.text);
    return key;
}

static bool admits(kfx_auth_t *auth, const char *domain, const pair_t *key, int64_t now, char user[KFX_ZAP_USER_SIZE])
{
    char other[KFX_ZAP_USER_SIZE];
    return kfx_auth_admit(auth, domain, key->binary, 32, now, user ? user : other);
}

static void test_keys_map_to_roles(void **state)
{
    (void)state;
    kfx_auth_t *auth = kfx_auth_new(1000);
    pair_t key = new_key(), stranger = new_key();
    char user[KFX_ZAP_USER_SIZE];
    kfx_role_t found;
    bool renew;
    assert_false(admits(auth, KFX_ZAP_WORK, &key, 0, NULL));
    assert_false(kfx_auth_set(auth, "storage", key.text, 0));
    assert_false(kfx_auth_set(auth, "storage", key.text, 0)); /* the same again */
    assert_false(kfx_auth_set(auth, "watcher", "no key", 0));
    assert_true(admits(auth, KFX_ZAP_WORK, &key, 0, user));
    assert_false(admits(auth, KFX_ZAP_TAP, &key, 0, NULL));
    assert_false(admits(auth, KFX_ZAP_WORK, &stranger, 0, NULL));
    assert_false(kfx_auth_admit(auth, KFX_ZAP_WORK, key.binary, 31, 0, user));
    assert_int_equal(kfx_auth_role(auth, user, 0, &found, &renew, NULL), 0);
    assert_string_equal(found.name, "storage");
    assert_false(renew);
    static const char *const nobody[] = {NULL, "storage", "storage#0", "storage#2", "stor#1", "tap#1", ""};
    for (size_t i = 0; i < KFX_COUNT(nobody); i++)
        assert_int_equal(kfx_auth_role(auth, nobody[i], 0, &found, &renew, NULL), -1);
    assert_false(kfx_auth_set(auth, "tap", stranger.text, 0));
    assert_true(admits(auth, KFX_ZAP_TAP, &stranger, 0, NULL));
    assert_false(admits(auth, KFX_ZAP_WORK, &stranger, 0, NULL));
    kfx_auth_destroy(&auth);
}

static void test_old_key_is_good_for_the_window(void **state)
{
    (void)state;
    kfx_auth_t *auth = kfx_auth_new(1000);
    pair_t key[3] = {new_key(), new_key(), new_key()};
    char user[3][KFX_ZAP_USER_SIZE];
    kfx_role_t found;
    bool renew;
    kfx_auth_set(auth, "storage", key[0].text, 0);
    assert_true(admits(auth, KFX_ZAP_WORK, &key[0], 0, user[0]));
    assert_true(kfx_auth_set(auth, "storage", key[1].text, 5000));
    assert_true(admits(auth, KFX_ZAP_WORK, &key[1], 5000, user[1]));
    /* Both, and the connections of the old one are told. */
    assert_true(admits(auth, KFX_ZAP_WORK, &key[0], 5999, NULL));
    assert_int_equal(kfx_auth_role(auth, user[0], 5999, &found, &renew, NULL), 0);
    assert_true(renew);
    assert_int_equal(kfx_auth_role(auth, user[1], 5999, &found, &renew, NULL), 0);
    assert_false(renew);
    /* The window is over. */
    assert_false(admits(auth, KFX_ZAP_WORK, &key[0], 6000, NULL));
    kfx_error_t err = KFX_ERROR_INIT;
    assert_int_equal(kfx_auth_role(auth, user[0], 6000, &found, &renew, &err), -1);
    assert_int_equal(err.code, KFX_E_UNAUTHORIZED);
    assert_int_equal(kfx_auth_role(auth, user[1], 6000, &found, &renew, NULL), 0);
    /* Only the last but one is ever good: two replacements in a row revoke at once. */
    kfx_auth_set(auth, "storage", key[2].text, 7000);
    kfx_auth_set(auth, "storage", key[0].text, 7001);
    assert_false(admits(auth, KFX_ZAP_WORK, &key[1], 7001, NULL));
    assert_int_equal(kfx_auth_role(auth, user[1], 7001, &found, &renew, NULL), -1);
    assert_true(admits(auth, KFX_ZAP_WORK, &key[2], 7001, user[2]));
    kfx_auth_destroy(&auth);
}

static void test_taps_are_cut_once_when_their_key_ends(void **state)
{
    (void)state;
    kfx_auth_t *auth = kfx_auth_new(1000);
    pair_t key[2] = {new_key(), new_key()};
    assert_false(kfx_auth_taps_ended(auth, 0));
    kfx_auth_set(auth, "tap", key[0].text, 0);
    assert_false(kfx_auth_taps_ended(auth, 99999));
    kfx_auth_set(auth, "tap", key[1].text, 5000);
    assert_false(kfx_auth_taps_ended(auth, 5999));
    assert_true(kfx_auth_taps_ended(auth, 6000));
    assert_false(kfx_auth_taps_ended(auth, 6001));
    assert_false(admits(auth, KFX_ZAP_TAP, &key[0], 6001, NULL));
    kfx_auth_destroy(&auth);
}

static void test_complaints_are_rare_and_bounded(void **state)
{
    (void)state;
    kfx_grumble_t *grumble = kfx_grumble_new();
    uint64_t unsaid;
    assert_true(kfx_grumble_may(grumble, "a", 0, &unsaid));
    assert_int_equal(unsaid, 0);
    for (int i = 1; i < 100; i++)
        assert_false(kfx_grumble_may(grumble, "a", i, &unsaid));
    assert_true(kfx_grumble_may(grumble, "b", 99, &unsaid));
    assert_true(kfx_grumble_may(grumble, "a", KFX_GRUMBLE_MS, &unsaid));
    assert_int_equal(unsaid, 99);
    /* Ten thousand strangers within a minute: not ten thousand lines. */
    int said = 0;
    for (int i = 0; i < 10000; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        said += kfx_grumble_may(grumble, name, KFX_GRUMBLE_MS + 1, &unsaid);
    }
    assert_in_range(said, KFX_GRUMBLE_PEERS_MAX - 2, KFX_GRUMBLE_PEERS_MAX + 1);
    assert_true(kfx_grumble_may(grumble, "late", 3 * KFX_GRUMBLE_MS, &unsaid));
    kfx_grumble_destroy(&grumble);
}

static kfx_peer_t *add(kfx_peers_t *peers, const char *id, const char *who, uint32_t credit, uint32_t running)
{
    kfx_role_t r = role(who);
    zframe_t *frame = zframe_from(id);
    kfx_peer_t *peer = kfx_peers_add(peers, frame, &r);
    zframe_destroy(&frame);
    peer->credit = credit;
    peer->running = running;
    peer->announced = true;
    peer->revision = 1;
    return peer;
}

static void test_most_free_credit_of_the_highest_revision_gets_the_task(void **state)
{
    (void)state;
    kfx_peers_t *peers = kfx_peers_new();
    assert_null(kfx_peers_pick(peers, "storage"));
    assert_int_equal(kfx_peers_state(peers, "storage"), KFX_STATE_NO_WORKER);
    kfx_peer_t *a = add(peers, "a", "storage", 4, 3);
    kfx_peer_t *b = add(peers, "b", "storage", 8, 5);
    add(peers, "c", "reconciler:k8s", 64, 0);
    add(peers, "d", "watcher", 64, 0);
    assert_ptr_equal(kfx_peers_pick(peers, "storage"), b);
    b->running = 8;
    assert_ptr_equal(kfx_peers_pick(peers, "storage"), a);
    a->running = 9; /* more than it wanted: credit went down meanwhile */
    assert_null(kfx_peers_pick(peers, "storage"));
    kfx_peer_t *newer = add(peers, "e", "storage", 0, 0);
    newer->revision = 2;
    a->running = b->running = 0;
    assert_null(kfx_peers_pick(peers, "storage")); /* the old ones wait for the new one's credit */
    newer->credit = 1;
    newer->announced = false;
    assert_null(kfx_peers_pick(peers, "storage"));
    newer->announced = true;
    assert_ptr_equal(kfx_peers_pick(peers, "storage"), newer);
    assert_int_equal(kfx_peers_state(peers, "storage"), KFX_STATE_UP);
    newer->down = true;
    assert_int_equal(kfx_peers_state(peers, "storage"), KFX_STATE_DOWN);
    kfx_peers_remove(peers, newer);
    assert_int_equal(kfx_peers_state(peers, "storage"), KFX_STATE_UP);
    kfx_peers_destroy(&peers);
}

static void test_peers_are_found_by_identity_and_lease(void **state)
{
    (void)state;
    kfx_peers_t *peers = kfx_peers_new();
    char longer[2][256];
    for (int i = 0; i < 2; i++) {
        memset(longer[i], 'x', 255);
        longer[i][255] = '\0';
    }
    longer[1][254] = 'y';
    kfx_peer_t *a = add(peers, longer[0], "storage", 1, 0);
    kfx_peer_t *b = add(peers, longer[1], "storage", 1, 0);
    a->lease = 5;
    zframe_t *id = zframe_from(longer[1]);
    assert_ptr_equal(kfx_peers_by_id(peers, id), b);
    assert_ptr_equal(kfx_peers_by_lease(peers, 5), a);
    assert_null(kfx_peers_by_lease(peers, 6));
    assert_null(kfx_peers_by_lease(peers, 0));
    zframe_destroy(&id);
    kfx_peers_destroy(&peers);
}

static void test_names_of_secrets(void **state)
{
    (void)state;
    char name[128];
    kfx_bus_role_secret("reconciler:k8s", name);
    assert_string_equal(name, "kubeflex-bus-reconciler-k8s");
    kfx_bus_role_secret("watcher", name);
    assert_string_equal(name, "kubeflex-bus-watcher");
}

static void test_keys_from_a_secret(void **state)
{
    (void)state;
    /* base64 of "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", the example key of ZeroMQ RFC 26 */
    static const char good[] = "cnE6ck0+fVU/QExuczQ3RTEla1Iub0BuJUZjbW1zTC9Ae0g4XXlmNw==";
    kfx_bus_keys_t keys;
    kfx_error_t err = KFX_ERROR_INIT;
    json_t *secret = json_pack("{s:{s:s},s:{s:s,s:s,s:s}}", "metadata", "name", "kubeflex-bus-tap", "data",
                               "public.key", good, "secret.key", good, "server.key", good);
    assert_int_equal(kfx_bus_keys_from_secret(secret, &keys, &err), 0);
    assert_string_equal(keys.server_key, "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7");
    json_object_set_new(json_object_get(secret, "data"), "secret.key", json_string("c2hvcnQ="));
    assert_int_equal(kfx_bus_keys_from_secret(secret, &keys, &err), -1);
    assert_non_null(strstr(err.msg, "secret.key"));
    assert_null(strstr(err.msg, "short"));
    json_object_del(json_object_get(secret, "data"), "secret.key");
    assert_int_equal(kfx_bus_keys_from_secret(secret, &keys, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
    json_decref(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_role_parses),
        cmocka_unit_test(test_kinds_by_role),
        cmocka_unit_test(test_worker_speaks_for_its_own_service_only),
        cmocka_unit_test(test_keys_map_to_roles),
        cmocka_unit_test(test_old_key_is_good_for_the_window),
        cmocka_unit_test(test_taps_are_cut_once_when_their_key_ends),
        cmocka_unit_test(test_complaints_are_rare_and_bounded),
        cmocka_unit_test(test_most_free_credit_of_the_highest_revision_gets_the_task),
        cmocka_unit_test(test_peers_are_found_by_identity_and_lease),
        cmocka_unit_test(test_names_of_secrets),
        cmocka_unit_test(test_keys_from_a_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
