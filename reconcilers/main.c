/* reconcilers/main.c: kubeflex-reconciler: options, credentials, bus keys, then tasks until told to stop. */
#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "bus/keyfetch.h"
#include "bus/worker.h"
#include "kube/client.h"
#include "kube/probe.h"
#include "reconcilers/options.h"
#include "reconcilers/render.h"
#include "reconcilers/run.h"

#include <stdio.h>
#include <string.h>

#define DRAIN_MS 5000
#define KEYS_WAIT_MS 4000 /* shorter than what /healthz takes for a standstill */
#define RETRY_BASE_MS 100
#define RETRY_CAP_MS 2000

typedef struct {
    kfx_reconciler_t reconciler;
    kfx_kube_t *kube;
    kfx_worker_t *worker;
    const char *role, *ns, *keys_dir; /* whose keys, and where they are */
    char agent[96];                   /* User-Agent */
} program_t;

static int op_call(void *ctx, kfx_request_t *req, kfx_error_t *err)
{
    return kfx_kube_call(((program_t *)ctx)->kube, req, err);
}

static size_t op_batch(void *ctx, kfx_request_t **reqs, size_t count)
{
    return kfx_kube_batch(((program_t *)ctx)->kube, reqs, count);
}

static int op_probe(void *ctx, const char *host, const char *address, const char *ca_pem, int limit_ms,
                    kfx_error_t *err)
{
    KFX_FREE char *connect = address ? kfx_xasprintf("%s:443", address) : NULL;
    kfx_probe_t probe = {.host = host, .ca_pem = ca_pem, .timeout_ms = limit_ms, .connect = connect};
    (void)ctx;
    return kfx_probe_readyz(&probe, err);
}

/* A remote is a client of its own, so that its credentials, connections and limits stay apart. */
static kfx_remote_t *op_dial(void *ctx, kfx_kube_config_t *config, kfx_error_t *err)
{
    program_t *program = ctx;
    kfx_kube_t *kube = kfx_kube_new(config, program->agent, err);
    if (kube)
        kfx_kube_set_gate(kube, kfx_worker_lease_valid, program->worker);
    return (kfx_remote_t *)kube;
}

static int op_ask(void *ctx, kfx_remote_t *remote, kfx_request_t *req, kfx_error_t *err)
{
    (void)ctx;
    return kfx_kube_call((kfx_kube_t *)remote, req, err);
}

static void op_hang_up(void *ctx, kfx_remote_t *remote)
{
    kfx_kube_t *kube = (kfx_kube_t *)remote;
    (void)ctx;
    kfx_kube_destroy(&kube);
}

static bool target_up(void *ctx, kfx_error_t *err)
{
    program_t *program = (program_t *)((char *)ctx - offsetof(program_t, reconciler));
    KFX_JSON json_t *version = kfx_kube_get(program->kube, err, "/version");
    return version != NULL;
}

static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    program_t *program = (program_t *)((char *)ctx - offsetof(program_t, reconciler));
    return program->keys_dir ? kfx_bus_keys_from_dir(program->keys_dir, program->role, keys, NULL)
                             : kfx_bus_keys_fetch(program->kube, program->ns, program->role, keys, NULL);
}

static int connect_api_server(program_t *program, const kfx_reconciler_options_t *options, kfx_error_t *err)
{
    snprintf(program->agent, sizeof(program->agent), "kubeflex-reconciler-%s/" KFX_VERSION, options->type->name);
    kfx_kube_config_t *config = kfx_kube_config_load(options->kubeconfig, NULL, err);
    program->kube = config ? kfx_kube_new(config, program->agent, err) : NULL;
    return program->kube ? 0 : -1;
}

/* The bus makes the Secret at its first start: wait for it, and say why once per reason. */
static int wait_for_keys(program_t *program, const kfx_reconciler_options_t *options, const char *role,
                         kfx_bus_keys_t *keys)
{
    char name[128], last[sizeof(((kfx_error_t *)0)->msg)] = "";
    KFX_FREE char *collection = kfx_xasprintf("/api/v1/namespaces/%s/secrets", options->ns);
    kfx_bus_role_secret(role, name);
    for (unsigned attempt = 0; !kfx_stop_asked(); attempt++) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_health_beat();
        KFX_JSON json_t *secret =
            kfx_kube_wait_object(program->kube, collection, name, "secret.key", kfx_now_ms() + KEYS_WAIT_MS, &err);
        if (secret && kfx_bus_keys_from_secret(secret, keys, &err) == 0)
            return 0;
        if (strcmp(last, err.msg) != 0)
            kfx_log_warn("no keys for the bus yet", "secret", name, "error", err.msg, NULL);
        kfx_copy(last, sizeof(last), err.msg);
        kfx_pause_ms(kfx_backoff_ms(attempt, RETRY_BASE_MS, RETRY_CAP_MS));
    }
    return -1;
}

static int serve(program_t *program, const kfx_reconciler_options_t *options, const kfx_bus_keys_t *keys,
                 const char *role, kfx_error_t *err)
{
    char host[128] = "kubeflex-reconciler";
    KFX_FREE char *service = kfx_xasprintf("reconcile.%s", options->type->name);
    gethostname(host, sizeof(host) - 1);
    kfx_worker_opts_t opts = {.endpoint = options->bus,
                              .keys = *keys,
                              .role = role,
                              .service = service,
                              .instance = options->instance ? options->instance : host,
                              .revision = options->type->revision,
                              .threads = options->threads,
                              .drain_ms = DRAIN_MS,
                              .run = kfx_reconciler_run,
                              .target_up = target_up,
                              .refresh_keys = options->no_curve ? NULL : refresh_keys,
                              .ctx = &program->reconciler};
    program->role = role;
    program->ns = options->ns;
    program->keys_dir = options->keys_dir;
    program->worker = kfx_worker_new(&opts, err);
    kfx_wipe(&opts.keys, sizeof(opts.keys));
    if (!program->worker)
        return -1;
    kfx_kube_set_gate(program->kube, kfx_worker_lease_valid, program->worker);
    return kfx_worker_serve(program->worker, err);
}

static int run(program_t *program, const kfx_reconciler_options_t *options, kfx_error_t *err)
{
    KFX_FREE char *role = kfx_xasprintf("reconciler:%s", options->type->name);
    kfx_bus_keys_t keys = {.public_key = ""};
    kfx_ops_t ops = {.ctx = program,
                     .call = op_call,
                     .batch = op_batch,
                     .probe = op_probe,
                     .dial = op_dial,
                     .ask = op_ask,
                     .hang_up = op_hang_up,
                     .stopped = kfx_task_stopped,
                     .outside = getenv("KUBERNETES_SERVICE_HOST") == NULL};
    if ((options->health[0] && kfx_health_start(options->health, err)) || connect_api_server(program, options, err))
        return -1;
    kfx_health_set_ready(false, "waiting for the keys of the bus");
    if (options->keys_dir && kfx_bus_keys_from_dir(options->keys_dir, role, &keys, err))
        return -1;
    if (!options->keys_dir && !options->no_curve && wait_for_keys(program, options, role, &keys))
        return 0; /* told to stop */
    ops.server = kfx_kube_server(program->kube);
    kfx_reconciler_init(&program->reconciler, options->type, &ops);
    int rc = serve(program, options, &keys, role, err);
    kfx_wipe(&keys, sizeof(keys));
    return rc;
}

int main(int argc, char **argv)
{
    static program_t program;
    kfx_reconciler_options_t options;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_log_init("reconciler");
    int go = kfx_reconciler_options(argc, argv, &options, &err);
    if (go == 0)
        return 0;
    if (go < 0) {
        fprintf(stderr, "kubeflex-reconciler: %s\n", err.msg);
        return 2;
    }
    if (options.render) {
        if (kfx_render(options.type, options.render, options.config, &err) == 0)
            return 0;
        fprintf(stderr, "kubeflex-reconciler: %s\n", err.msg);
        return 1;
    }
    kfx_stop_catch();
    int rc = run(&program, &options, &err);
    kfx_worker_destroy(&program.worker); /* ends the pool's threads before what they use */
    kfx_reconciler_clear(&program.reconciler);
    kfx_kube_destroy(&program.kube);
    kfx_health_stop();
    if (rc < 0)
        kfx_log_error("the reconciler cannot go on", "error", err.msg, NULL);
    return rc < 0 ? 1 : 0;
}
