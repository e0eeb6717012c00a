/* tests/watcher/worker.c: a worker that does what a file says, for tests of the watcher.
 *
 *   scripted-worker ENDPOINT ROLE SERVICE FOLDER
 *
 * Each task is one line on stdout: "TASK key=… uid=… gen=… seq=… deleting=0 type=k8s version= mono=12.000345
 * children=Secret/kine-dsn:or--,…" (mono: seconds of CLOCK_MONOTONIC when it came; flags: owned, ready, terminating,
 * drifted). The result is read from FOLDER/<key>, a
 * line each, the last word of a line may have spaces: outcome OK|WAITING|RETRY|GONE|DOWN [retry_after_ms] cond TYPE
 * True|False REASON [message] version V · awaits · secret NAME KEY IN_CLUSTER_KEY · wrote KIND NAME UID RV HASH Without
 * the file: GONE for a plane that is being deleted, else OK with the condition of the service. */
#include "bus/worker.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *folder;
    bool storage;
} script_t;

static kfx_outcome_t outcome_of(const char *word)
{
    static const struct {
        const char *word;
        kfx_outcome_t outcome;
    } table[] = {{"OK", KFX_OUTCOME_OK},
                 {"WAITING", KFX_OUTCOME_WAITING},
                 {"RETRY", KFX_OUTCOME_RETRY},
                 {"GONE", KFX_OUTCOME_GONE},
                 {"DOWN", KFX_OUTCOME_DOWN}};
    for (size_t i = 0; i < KFX_COUNT(table); i++)
        if (strcmp(table[i].word, word) == 0)
            return table[i].outcome;
    return KFX_OUTCOME_OK;
}

static void apply_line(const char *line, kfx_result_t *result)
{
    char a[128] = "", b[128] = "", c[128] = "", d[128] = "", e[128] = "";
    char rest[512] = "";
    unsigned retry = 0;
    if (sscanf(line, "outcome %127s %u", a, &retry) >= 1) {
        result->outcome = outcome_of(a);
        result->retry_after_ms = retry;
    } else if (sscanf(line, "cond %127s %127s %127s %511[^\n]", a, b, c, rest) >= 3) {
        kfx_result_condition(result, a, strcmp(b, "True") == 0, c, "%s", rest);
    } else if (sscanf(line, "version %127s", a) == 1) {
        kfx_copy(result->kubernetes_version, sizeof result->kubernetes_version, a);
    } else if (strcmp(line, "awaits") == 0) {
        result->awaits_record = true;
    } else if (sscanf(line, "secret %127s %127s %127s", a, b, c) == 3) {
        kfx_copy(result->secret_name, sizeof result->secret_name, a);
        kfx_copy(result->secret_key, sizeof result->secret_key, b);
        kfx_copy(result->secret_in_cluster_key, sizeof result->secret_in_cluster_key, c);
    } else if (sscanf(line, "wrote %127s %127s %127s %127s %127s", a, b, c, d, e) == 5) {
        kfx_result_wrote(result, a, b, c, d, e);
    }
}

static void print_task(const kfx_task_t *task)
{
    char line[8192];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int at = snprintf(line, sizeof line,
                      "TASK key=%s uid=%s gen=%lld seq=%llu deleting=%d type=%s version=%s mono=%lld.%06ld children=",
                      task->env.key, task->env.uid, (long long)task->env.generation, (unsigned long long)task->env.seq,
                      task->env.deleting, task->digest ? task->digest->type : "",
                      task->digest ? task->digest->kubernetes_version : "", (long long)now.tv_sec, now.tv_nsec / 1000);
    for (size_t i = 0; task->digest && i < task->digest->count && at < 7600; i++) {
        const kfx_child_t *c = &task->digest->children[i];
        at += snprintf(line + at, sizeof line - (size_t)at, "%s%s/%s:%c%c%c%c", i ? "," : "", c->kind, c->name,
                       c->owned ? 'o' : '-', c->ready ? 'r' : '-', c->terminating ? 't' : '-', c->drifted ? 'd' : '-');
    }
    line[at++] = '\n';
    ssize_t n = write(STDOUT_FILENO, line, (size_t)at); /* one write: threads do not mix */
    (void)n;
}

static void run(void *ctx, const kfx_task_t *task, kfx_result_t *result)
{
    const script_t *script = ctx;
    print_task(task);
    KFX_FREE char *path = kfx_xasprintf("%s/%s", script->folder, task->env.key);
    KFX_FREE char *text = kfx_file_read(path, 65536, NULL, NULL);
    if (!text) {
        result->outcome = task->env.deleting ? KFX_OUTCOME_GONE : KFX_OUTCOME_OK;
        if (!task->env.deleting)
            kfx_result_condition(result, script->storage ? "StorageReady" : "Synced", true,
                                 script->storage ? "DatabaseReady" : "ReconcileSuccess", "%s", "");
        return;
    }
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        apply_line(line, result);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: scripted-worker ENDPOINT ROLE SERVICE FOLDER\n", stderr);
        return 2;
    }
    kfx_log_init("scripted-worker");
    kfx_error_t err = KFX_ERROR_INIT;
    script_t script = {argv[4], strcmp(argv[3], KFX_SERVICE_STORAGE) == 0};
    kfx_worker_opts_t opts = {.endpoint = argv[1],
                              .role = argv[2],
                              .service = argv[3],
                              .instance = argv[3],
                              .revision = 1,
                              .threads = 2,
                              .drain_ms = 500,
                              .run = run,
                              .ctx = &script};
    kfx_worker_t *worker = kfx_worker_new(&opts, &err);
    int rc = worker ? kfx_worker_serve(worker, &err) : -1;
    if (rc != 0)
        fprintf(stderr, "scripted-worker: %s\n", err.msg);
    kfx_worker_destroy(&worker);
    return rc == 0 ? 0 : 1;
}
