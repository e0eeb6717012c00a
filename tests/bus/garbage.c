/* tests/bus/garbage.c: a peer with a valid key that sends nonsense: wrong frames, mangled envelopes, every kind with
 * random fields; then a frame over the limit. Says SENT when the bus has answered a PING behind all the nonsense, and
 * CUT when it ended the connection for the last. */
#include "base/mem.h"
#include "bus/keys.h"
#include "proto/proto.h"

#include <stdio.h>
#include <string.h>

#define MESSAGES 5000

static uint32_t seed = 2463534242u;

static uint32_t roll(uint32_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % sides;
}

static void noise(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)roll(256);
}

static void random_env(kfx_envelope_t *env)
{
    static const char *const keys[] = {"hold-1", "ok-1", "", "x"};
    kfx_copy(env->key, sizeof(env->key), keys[roll(4)]);
    kfx_copy(env->uid, sizeof(env->uid), roll(2) ? "u1" : "");
    env->seq = roll(100);
    env->epoch = roll(3);
    env->lease = roll(5);
    env->task = roll(5);
    env->credit = roll(2) ? UINT32_MAX : 0; /* no service of its own gets tasks here */
    env->version_max = env->version_min = roll(3);
    env->outcome = (kfx_outcome_t)roll(KFX_OUTCOME_DOWN + 1);
    env->state = (kfx_state_t)roll(KFX_SYNC_END + 1);
    env->retry_after_ms = roll(2) ? UINT32_MAX : 0;
    env->running = roll(2);
    env->deleting = roll(2);
}

static zmsg_t *nonsense(const char *role)
{
    uint8_t bytes[512];
    kfx_envelope_t env = {.seq = 0};
    random_env(&env);
    if (roll(3) == 0)
        kfx_copy(env.role, sizeof(env.role), role);
    zframe_t *payload = zframe_new(bytes, 0);
    zmsg_t *msg = kfx_msg_encode((kfx_kind_t)roll(20), &env, payload);
    zframe_destroy(&payload);
    uint32_t what = roll(6);
    if (what == 0) { /* random envelope */
        noise(bytes, sizeof(bytes));
        zmsg_first(msg);
        zmsg_next(msg);
        zframe_reset(zmsg_next(msg), bytes, roll(sizeof(bytes)));
    } else if (what == 1) { /* one byte of it changed */
        zmsg_first(msg);
        zmsg_next(msg);
        zframe_t *frame = zmsg_next(msg);
        if (zframe_size(frame))
            zframe_data(frame)[roll((uint32_t)zframe_size(frame))] = (uint8_t)roll(256);
    } else if (what == 2) { /* other frames */
        zmsg_destroy(&msg);
        msg = zmsg_new();
        for (uint32_t n = roll(8) + 1; n > 0; n--) {
            noise(bytes, sizeof(bytes));
            zmsg_addmem(msg, bytes, roll(sizeof(bytes)));
        }
    }
    return msg;
}

/* endpoint keys-dir ("" for none) role */
int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 4)
        return 2;
    kfx_bus_keys_t keys = {"", "", ""};
    kfx_error_t err = KFX_ERROR_INIT;
    zsock_t *sock = zsock_new(ZMQ_DEALER);
    if (argv[2][0]) {
        if (kfx_bus_keys_from_dir(argv[2], argv[3], &keys, &err) != 0) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        zsock_set_curve_serverkey(sock, keys.server_key);
        zsock_set_curve_publickey(sock, keys.public_key);
        zsock_set_curve_secretkey(sock, keys.secret_key);
    }
    zsock_set_linger(sock, 0);
    zsock_set_rcvtimeo(sock, 15000);
    if (zsock_connect(sock, "%s", argv[1]) != 0)
        return 1;
    for (int i = 0; i < MESSAGES; i++) {
        zmsg_t *msg = nonsense(argv[3]);
        zmsg_send(&msg, sock);
        while (zsock_events(sock) & ZMQ_POLLIN) { /* the answers, so that the bus need not keep them */
            msg = zmsg_recv(sock);
            zmsg_destroy(&msg);
        }
    }
    kfx_envelope_t env = {.seq = 987654321};
    zmsg_t *msg = kfx_msg_encode(KFX_BYE, &env, NULL);
    zmsg_send(&msg, sock);
    msg = kfx_msg_encode(KFX_PING, &env, NULL);
    zmsg_send(&msg, sock);
    bool echoed = false;
    while (!echoed && (msg = zmsg_recv(sock))) {
        kfx_msg_t answer;
        if (kfx_msg_decode(msg, &answer, NULL) == 0) {
            echoed = answer.env.seq == env.seq;
            kfx_msg_release(&answer);
        }
        zmsg_destroy(&msg);
    }
    puts(echoed ? "SENT" : "DEAF");
    zactor_t *monitor = zactor_new(zmonitor, sock);
    zstr_sendx(monitor, "LISTEN", "DISCONNECTED", NULL);
    zstr_send(monitor, "START");
    zsock_wait(monitor);
    uint8_t *huge = kfx_xcalloc(1, KFX_FRAME_MAX + 1);
    msg = zmsg_new();
    zmsg_addmem(msg, huge, KFX_FRAME_MAX + 1);
    free(huge);
    zmsg_send(&msg, sock);
    zmsg_destroy(&msg);
    zsock_set_rcvtimeo(monitor, 10000);
    char *fact = zstr_recv(monitor);
    puts(fact && strcmp(fact, "DISCONNECTED") == 0 ? "CUT" : "TAKEN");
    zstr_free(&fact);
    zactor_destroy(&monitor);
    zsock_destroy(&sock);
    return 0;
}
