/* tests/bus/worker.c: a worker whose tasks do what their key says, for the integration tests.
 *
 *   ok-…      ends at once            fail-…  RETRY            wait-…  WAITING          gone-…  GONE
 *   hold-…    runs until FLAGS/<key> exists or it should stop (then RETRY)
 *   deaf-…    the same, but does not notice that it should stop
 *   down-…    DOWN unless FLAGS/up exists
 * Facts on stdout, a line each: "RUN key uid seq attempt", "END key seq outcome open|shut" (the gate for writes),
 * "STOPPED". */
#include "bus/worker.h"
#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const char *flags_dir;

static bool flag(const char *name)
{
    KFX_FREE char *path = kfx_xasprintf("%s/%s", flags_dir, name);
    return access(path, F_OK) == 0;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void run(void *ctx, const kfx_task_t *task, kfx_result_t *result)
{
    (void)ctx;
    const char *key = task->env.key;
    printf("RUN %s %s %llu %u\n", key, task->env.uid, (unsigned long long)task->env.seq, task->env.attempt);
    bool deaf = starts(key, "deaf-");
    result->outcome = KFX_OUTCOME_OK;
    if (starts(key, "hold-") || deaf) {
        kfx_task_progress(task, "holding %s", key);
        while (!flag(key) && (deaf || !kfx_task_stopped(task)))
            zclock_sleep(10);
        if (!flag(key))
            result->outcome = KFX_OUTCOME_RETRY;
    } else if (starts(key, "fail-")) {
        result->outcome = KFX_OUTCOME_RETRY;
    } else if (starts(key, "wait-")) {
        result->outcome = KFX_OUTCOME_WAITING;
    } else if (starts(key, "gone-")) {
        result->outcome = KFX_OUTCOME_GONE;
    } else if (starts(key, "down-") && !flag("up")) {
        result->outcome = KFX_OUTCOME_DOWN;
    }
    kfx_result_condition(result, "Synced", result->outcome == KFX_OUTCOME_OK, "Test", "children %zu",
                         task->digest->count);
    printf("END %s %llu %s %s\n", key, (unsigned long long)task->env.seq, kfx_outcome_name(result->outcome),
           kfx_worker_lease_valid(task->worker) ? "open" : "shut");
}

static bool target_up(void *ctx, kfx_error_t *err)
{
    (void)ctx;
    if (!flag("up"))
        kfx_error_set(err, KFX_E_UNAVAILABLE, "%s", flag("refused") ? "refused" : "no route");
    return flag("up");
}

static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    const char *const *where = ctx;
    return kfx_bus_keys_from_dir(where[0], where[1], keys, NULL);
}

/* endpoint keys-dir ("" for none) role service instance revision threads drain-ms flags-dir */
int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    kfx_log_init("test-worker");
    if (argc != 10)
        return 2;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_worker_opts_t opts = {.endpoint = argv[1],
                              .role = argv[3],
                              .service = argv[4],
                              .instance = argv[5],
                              .revision = (uint32_t)atoi(argv[6]),
                              .threads = (unsigned)atoi(argv[7]),
                              .drain_ms = atoi(argv[8]),
                              .run = run,
                              .target_up = target_up,
                              .refresh_keys = argv[2][0] ? refresh_keys : NULL,
                              .ctx = (const char *[]){argv[2], argv[3]}};
    flags_dir = argv[9];
    if (argv[2][0] && kfx_bus_keys_from_dir(argv[2], opts.role, &opts.keys, &err) != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    kfx_worker_t *worker = kfx_worker_new(&opts, &err);
    int rc = worker ? kfx_worker_serve(worker, &err) : -1;
    kfx_worker_destroy(&worker);
    printf("STOPPED %d\n", rc);
    return rc == 0 ? 0 : 1;
}
