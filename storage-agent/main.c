/* storage-agent/main.c: kubeflex-storage-agent: start, then serve tasks until told to stop.
 *
 * Start: Secrets (the Postgres pod waits for them), then the bus keys, then the worker. Postgres itself may come later:
 * a thread warms the way to it up, so that the first plane finds the agent's role there; without Postgres tasks end as
 * DOWN and the bus tells the watcher.
 */
#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "bus/keyfetch.h"
#include "bus/worker.h"
#include "kube/client.h"
#include "storage-agent/kube_secrets.h"
#include "storage-agent/options.h"
#include "storage-agent/orphans.h"
#include "storage-agent/task.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#ifndef KFX_VERSION
#define KFX_VERSION "unknown"
#endif

#define MANIFEST_REVISION 1
#define DRAIN_MS 8000
#define RETRY_BASE_MS 100
#define RETRY_CAP_MS 2000
#define SWEEP_MS 3600000
#define SWEEP_FIRST_MS 300000 /* a start is busy enough */
#define SWEEP_LOOK_MS 500
#define KEYS_WAIT_MS 4000 /* shorter than what /healthz takes for a standstill */

typedef struct {
    kfx_storage_t storage;
    kfx_kube_t *kube;
    kfx_worker_t *worker;
    atomic_bool serving; /* from then on writes need the lease; set once, before the worker's threads start */
    atomic_bool stop;
} agent_t;

/* Before the worker is there the only writes are the create-only ones of bootstrap. */
static bool may_write(void *arg)
{
    agent_t *agent = arg;
    return !atomic_load(&agent->serving) || kfx_worker_lease_valid(agent->worker);
}

/* Says why once and then only when the reason changes. */
static void tell(const char *what, const kfx_error_t *err, char last[256])
{
    if (strncmp(last, err->msg, 255) == 0)
        return;
    kfx_copy(last, 256, err->msg);
    kfx_log_warn(what, "error", err->msg, NULL);
}

/* 0, or -1 when asked to stop. */
static int wait_for_secrets(agent_t *agent, const kfx_storage_options_t *options, char **ca_pem)
{
    char last[256] = "";

    for (unsigned attempt = 0; !kfx_stop_asked(); attempt++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_health_beat();
        if (kfx_bootstrap_secrets(&agent->storage.bootstrap, options->service, options->extra_names, ca_pem, &err) == 0)
            return 0;
        tell("the Secrets of Postgres cannot be made yet", &err, last);
        kfx_pause_ms(kfx_backoff_ms(attempt, RETRY_BASE_MS, RETRY_CAP_MS));
    }
    return -1;
}

static int wait_for_keys(agent_t *agent, const kfx_storage_options_t *options, kfx_bus_keys_t *keys)
{
    char last[256] = "", name[128], collection[128];

    memset(keys, 0, sizeof *keys);
    if (strncmp(options->bus, "ipc://", 6) == 0)
        return 0; /* tests: no CURVE */
    kfx_bus_role_secret(KFX_SERVICE_STORAGE, name);
    snprintf(collection, sizeof collection, "/api/v1/namespaces/%s/secrets", options->ns);
    for (unsigned attempt = 0; !kfx_stop_asked(); attempt++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_health_beat();
        KFX_SECRET json_t *secret =
            kfx_kube_wait_object(agent->kube, collection, name, "secret.key", kfx_now_ms() + KEYS_WAIT_MS, &err);
        if (secret && kfx_bus_keys_from_secret(secret, keys, &err) == 0)
            return 0;
        tell("no keys for the bus yet", &err, last);
        kfx_pause_ms(kfx_backoff_ms(attempt, RETRY_BASE_MS, RETRY_CAP_MS));
    }
    return -1;
}

/* Until Postgres is there and as it has to be. */
static void *warm_up(void *arg)
{
    agent_t *agent = arg;
    char last[256] = "";

    for (unsigned attempt = 0; !atomic_load(&agent->stop); attempt++) {
        kfx_error_t err = KFX_ERROR_INIT;
        if (kfx_storage_up(&agent->storage, &err)) {
            kfx_log_info("Postgres is ready for control planes", NULL);
            return NULL; /* and with the thread its session ends */
        }
        tell("Postgres is not ready", &err, last);
        kfx_pause_ms(kfx_backoff_ms(attempt, RETRY_BASE_MS, RETRY_CAP_MS));
    }
    return NULL;
}

typedef struct {
    const kfx_task_t *task;
} task_arg_t;

static bool task_may(void *arg)
{
    const kfx_task_t *task = ((task_arg_t *)arg)->task;
    return !kfx_task_stopped(task) && kfx_worker_lease_valid(task->worker);
}

static void run_task(void *ctx, const kfx_task_t *task, kfx_result_t *result)
{
    agent_t *agent = ctx;
    task_arg_t arg = {task};
    kfx_storage_job_t job = {.plane = task->env.key,
                             .uid = task->env.uid,
                             .generation = task->env.generation,
                             .deleting = task->env.deleting || (task->digest && task->digest->deleting),
                             .digest = task->digest,
                             .may = task_may,
                             .arg = &arg};
    kfx_storage_run(&agent->storage, &job, result);
}

static bool target_up(void *ctx, kfx_error_t *err)
{
    agent_t *agent = ctx;
    return kfx_storage_up(&agent->storage, err);
}

static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    const agent_t *agent = ctx;
    return kfx_bus_keys_fetch(agent->kube, agent->storage.bootstrap.ns, KFX_SERVICE_STORAGE, keys, NULL);
}

static void warn_of_orphan(void *ctx, const kfx_orphan_t *orphan)
{
    (void)ctx;
    kfx_log_warn("orphan: no control plane has this uid any more; see --remove-orphan", "server", orphan->server,
                 "database", orphan->name, NULL);
}

/* From time to time: nothing waits for it. */
static void *sweep(void *arg)
{
    agent_t *agent = arg;
    kfx_metric_t *count =
        kfx_gauge("kubeflex_storage_orphans", "Databases and roles left of planes that are gone.", NULL);

    for (int64_t due = kfx_now_ms() + SWEEP_FIRST_MS; !atomic_load(&agent->stop); kfx_pause_ms(SWEEP_LOOK_MS)) {
        kfx_error_t err = KFX_ERROR_INIT;
        unsigned unanswered;
        if (kfx_now_ms() < due)
            continue;
        long found = kfx_orphans_find(&agent->storage.pool, warn_of_orphan, NULL, &unanswered, &err);
        if (found >= 0)
            kfx_metric_set(count, found);
        else
            kfx_log_warn("orphans could not be searched for", "error", err.msg, NULL);
        due = kfx_now_ms() + kfx_random_between(SWEEP_MS * 9 / 10, SWEEP_MS);
    }
    return NULL;
}

static int serve(agent_t *agent, const kfx_storage_options_t *options, const char *instance, const kfx_bus_keys_t *keys,
                 kfx_error_t *err)
{
    kfx_worker_opts_t opts = {.endpoint = options->bus,
                              .keys = *keys,
                              .role = KFX_SERVICE_STORAGE,
                              .service = KFX_SERVICE_STORAGE,
                              .instance = instance,
                              .revision = MANIFEST_REVISION,
                              .threads = options->threads,
                              .drain_ms = DRAIN_MS,
                              .run = run_task,
                              .target_up = target_up,
                              .refresh_keys = keys->public_key[0] ? refresh_keys : NULL,
                              .ctx = agent};
    pthread_t thread, sweeper;

    agent->worker = kfx_worker_new(&opts, err);
    if (!agent->worker)
        return -1;
    bool warming = pthread_create(&thread, NULL, warm_up, agent) == 0;
    bool sweeping = pthread_create(&sweeper, NULL, sweep, agent) == 0;
    atomic_store(&agent->serving, true);
    int rc = kfx_worker_serve(agent->worker, err);
    atomic_store(&agent->stop, true);
    if (warming)
        pthread_join(thread, NULL);
    if (sweeping)
        pthread_join(sweeper, NULL);
    return rc;
}

static void print_orphan(void *ctx, const kfx_orphan_t *orphan)
{
    (void)ctx;
    printf("%s/%s %lld\n", orphan->server, orphan->name, orphan->bytes);
}

/* --orphans, --remove-orphan: beside the agents that serve; no task, so no lease: the plane's lock is what keeps it
 * safe. */
static int once(agent_t *agent, const kfx_storage_options_t *options, kfx_error_t *err)
{
    kfx_pool_t *pool = &agent->storage.pool;
    unsigned unanswered = 0;

    if (!options->remove) {
        if (kfx_orphans_find(pool, print_orphan, NULL, &unanswered, err) < 0)
            return -1;
        return unanswered ? kfx_error_set(err, KFX_E_UNAVAILABLE, "%u servers do not answer", unanswered) : 0;
    }
    const char *slash = strchr(options->remove, '/');
    KFX_FREE char *server = slash ? kfx_xasprintf("%.*s", (int)(slash - options->remove), options->remove) : NULL;
    if (!server)
        return kfx_error_set(err, KFX_E_INVALID, "--remove-orphan: give it as --orphans prints it, SERVER/NAME");
    return kfx_orphan_remove(pool, server, slash + 1, err);
}

static kfx_kube_t *api_server(agent_t *agent, const kfx_storage_options_t *options, kfx_error_t *err)
{
    kfx_kube_config_t *config = kfx_kube_config_load(options->kubeconfig, NULL, err);
    kfx_kube_t *kube = config ? kfx_kube_new(config, "kubeflex-storage-agent/" KFX_VERSION, err) : NULL;
    if (kube)
        kfx_kube_set_gate(kube, may_write, agent);
    return kube;
}

static int run(agent_t *agent, const kfx_storage_options_t *options, kfx_error_t *err)
{
    KFX_FREE char *ca_pem = NULL;
    char host[128] = "storage-agent";
    kfx_bus_keys_t keys;

    gethostname(host, sizeof host - 1);
    bool alone = options->orphans || options->remove;
    if (!alone && kfx_health_start(options->health, err) < 0)
        return -1;
    agent->kube = api_server(agent, options, err);
    if (!agent->kube)
        return -1;
    kfx_health_set_ready(false, "waiting for the Secrets of Postgres");
    agent->storage.bootstrap = (kfx_bootstrap_t){.ns = options->ns,
                                                 .postgres_host = options->postgres_host,
                                                 .postgres_port = options->postgres_port,
                                                 .dsn_host = options->dsn_host,
                                                 .dsn_port = options->dsn_port,
                                                 .secrets = kfx_kube_secrets(agent->kube)};
    if (wait_for_secrets(agent, options, &ca_pem) < 0)
        return 0;
    agent->storage.bootstrap.ca_pem = ca_pem;
    agent->storage.password_days = options->password_days;
    agent->storage.etcd_image = options->etcd_image;
    agent->storage.etcd_user = options->etcd_user;
    agent->storage.waiters_max = options->threads > 1 ? options->threads / 2 : 1;
    if (kfx_storage_init(&agent->storage, err) < 0)
        return -1;
    if (alone) {
        int done = once(agent, options, err);
        kfx_storage_close(&agent->storage);
        return done;
    }
    kfx_health_set_ready(false, "waiting for the keys of the bus");
    if (wait_for_keys(agent, options, &keys) < 0)
        return 0;
    int rc = serve(agent, options, options->instance ? options->instance : host, &keys, err);
    kfx_wipe(&keys, sizeof keys);
    kfx_worker_destroy(&agent->worker); /* ends the threads, and with them their connections */
    kfx_storage_close(&agent->storage);
    return rc;
}

int main(int argc, char **argv)
{
    static agent_t agent;
    kfx_storage_options_t options;
    kfx_error_t err = KFX_ERROR_INIT;

    mallopt(M_ARENA_MAX,
            2); /* an arena for each of a few threads that mostly wait costs more memory than it saves time */
    kfx_log_init("storage-agent");
    int go = kfx_storage_options(argc, argv, &options, &err);
    if (go == 0)
        return 0;
    if (go < 0) {
        fprintf(stderr, "kubeflex-storage-agent: %s\n", err.msg);
        return 2;
    }
    kfx_stop_catch();
    int rc = run(&agent, &options, &err);
    kfx_kube_destroy(&agent.kube);
    kfx_health_stop();
    if (rc < 0)
        kfx_log_error("the storage agent cannot go on", "error", err.msg, NULL);
    return rc < 0 ? 1 : 0;
}
