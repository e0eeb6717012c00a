/* tests/fuzz/broker.c: a broker that is told one message after another by three peers, good and bad ones, in any order.
 * Nobody is at the other end, so each answer fails to be sent, which has to be harmless too. */
#include "base/log.h"
#include "base/mem.h"
#include "bus/broker_private.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static zloop_t *loop;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    kfx_log_set_level(KFX_LOG_ERROR);
    loop = zloop_new();
    return 0;
}

static void say(kfx_input_t *in, kfx_kind_t *kind, kfx_envelope_t *env)
{
    static const char *const roles[] = {"watcher", "storage", "reconciler:k8s", "tap"};
    static const char *const services[] = {"storage", "reconcile.k8s", "nonsense", ""};
    static const char *const keys[] = {"a", "b", "c", ""};
    static const char *const uids[] = {"u1", "u2", "u3", ""};
    uint8_t names = kfx_take(in), flags = kfx_take(in);
    *kind = (kfx_kind_t)(kfx_take(in) % (KFX_KIND_LAST + 2));
    kfx_copy(env->role, sizeof(env->role), roles[names & 3]);
    kfx_copy(env->service, sizeof(env->service), services[names >> 2 & 3]);
    kfx_copy(env->key, sizeof(env->key), keys[names >> 4 & 3]);
    kfx_copy(env->uid, sizeof(env->uid), uids[names >> 6 & 3]);
    env->deleting = flags & 1;
    env->running = flags & 2;
    env->state = (kfx_state_t)((flags >> 2) % (KFX_SYNC_END + 1));
    env->outcome = (kfx_outcome_t)((flags >> 5) % (KFX_OUTCOME_DOWN + 1));
    env->epoch = kfx_take(in) % 4;
    env->seq = kfx_take(in);
    env->generation = kfx_take(in) % 8;
    env->task = kfx_take(in) % 8;
    env->lease = kfx_take(in) % 8;
    env->credit = kfx_take(in);
    env->retry_after_ms = kfx_take(in) * 100;
}

/* The leases and tasks that are in use are random numbers: input says "the n-th peer's". */
static void make_real(kfx_broker_t *broker, kfx_envelope_t *env)
{
    uint64_t n = 0;
    for (kfx_peer_t *peer = kfx_peers_first(broker->peers); peer; peer = kfx_peers_next(broker->peers))
        if (++n == env->lease) {
            env->lease = peer->lease;
            break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kfx_input_t in = {data, size};
    kfx_error_t err = KFX_ERROR_INIT;
    static unsigned number; /* a closed socket's endpoint is free a while later only */
    KFX_FREE char *endpoint = kfx_xasprintf("inproc://fuzz-%u", number++);
    kfx_broker_opts_t opts = {.work = endpoint, .instance = "fuzz", .hold_ms = 0};
    kfx_broker_t *broker = kfx_broker_new(loop, &opts, &err);
    assert(broker);
    int64_t now = 1000;
    while (in.left > 0) {
        kfx_envelope_t env;
        kfx_kind_t kind;
        memset(&env, 0, sizeof(env));
        uint8_t how = kfx_take(&in);
        say(&in, &kind, &env);
        make_real(broker, &env);
        zmsg_t *msg = how & 0x80 ? kfx_take_frames(&in, how >> 2 & 7) : kfx_msg_encode(kind, &env, NULL);
        zmsg_pushmem(msg, &how, 1); /* the routing id: its lowest bits are the peer */
        zframe_data(zmsg_first(msg))[0] = how & 3;
        now += how & 0x40 ? 5000 : 10;
        kfx_broker_take(broker, &msg, now);
        for (size_t i = 0; i < broker->line_count; i++) {
            kfx_queue_t *queue = broker->lines[i].queue;
            kfx_envelope_t task;
            zframe_t *payload;
            int64_t waited;
            kfx_queue_tick(queue, now);
            kfx_peer_t *peer = kfx_peers_pick(broker->peers, kfx_queue_service(queue));
            if (peer && kfx_queue_next(queue, peer->lease, now, &task, &payload, &waited))
                peer->running++;
        }
    }
    kfx_broker_destroy(&broker);
    return 0;
}
