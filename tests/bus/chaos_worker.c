/* tests/bus/chaos_worker.c: a worker whose tasks write to the store of tests/bus/chaos, by the rules that ours keep: a
 * write starts only while the lease holds, names the uid it is for, and is waited for at most 2 s.
 *
 *   chaos-worker BUS KEYS-DIR ROLE SERVICE INSTANCE THREADS STORE
 */
#include "base/log.h"
#include "base/mem.h"
#include "bus/worker.h"

#include <stdio.h>
#include <string.h>

#define WRITE_MS 2000

static const char *store, *instance;

/* One request to the store: its answer, or "" where none came in time. The caller frees. */
static char *ask(const char *fmt, ...) KFX_PRINTF(1, 2);

static char *ask(const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    zsock_t *sock = zsock_new(ZMQ_REQ);
    zsock_set_linger(sock, 0);
    zsock_set_rcvtimeo(sock, WRITE_MS);
    zsock_set_sndtimeo(sock, WRITE_MS);
    char *answer = NULL;
    if (zsock_connect(sock, "%s", store) == 0 && zstr_send(sock, text) == 0)
        answer = zstr_recv(sock);
    zsock_destroy(&sock);
    return answer ? answer : strdup("");
}

static void run(void *ctx, const kfx_task_t *task, kfx_result_t *result)
{
    (void)ctx;
    const kfx_envelope_t *env = &task->env;
    result->outcome = KFX_OUTCOME_RETRY;
    KFX_FREE char *plane = ask("get %s %s %s", instance, env->key, env->uid);
    long long generation = 0;
    if (strcmp(plane, "other") == 0) {
        result->outcome = env->deleting ? KFX_OUTCOME_GONE : KFX_OUTCOME_WAITING;
        return;
    }
    if (sscanf(plane, "plane %lld", &generation) != 1)
        return;
    zclock_sleep((int)(env->task % 20)); /* some work, so that faults hit runs half-way */
    if (kfx_task_stopped(task) || !kfx_worker_lease_valid(task->worker))
        return;
    KFX_FREE char *answer =
        ask("%s %s %s %s %lld", env->deleting ? "delete" : "apply", instance, env->key, env->uid, generation);
    if (strcmp(answer, "ok") == 0) {
        result->outcome = env->deleting ? KFX_OUTCOME_GONE : KFX_OUTCOME_OK;
        kfx_result_condition(result, "Synced", true, "Test", "%lld", generation);
    } else if (strcmp(answer, "refused") == 0) { /* somebody else's object of that name, which is on its way out */
        result->outcome = KFX_OUTCOME_WAITING;
        result->retry_after_ms = 500;
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    kfx_log_init("chaos-worker");
    if (argc != 8)
        return 2;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_worker_opts_t opts = {.endpoint = argv[1],
                              .role = argv[3],
                              .service = argv[4],
                              .instance = argv[5],
                              .revision = 1,
                              .threads = (unsigned)atoi(argv[6]),
                              .drain_ms = 2000,
                              .run = run};
    instance = argv[5];
    store = argv[7];
    if (kfx_bus_keys_from_dir(argv[2], opts.role, &opts.keys, &err) != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    kfx_worker_t *worker = kfx_worker_new(&opts, &err);
    int rc = worker ? kfx_worker_serve(worker, &err) : -1;
    kfx_worker_destroy(&worker);
    return rc == 0 ? 0 : 1;
}
