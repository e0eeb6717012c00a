/* bus/main.c: kubeflex-bus: options, keys, broker, loop. */
#include "base/clock.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "bus/broker.h"
#include "bus/keystore.h"
#include "bus/signals.h"
#include "proto/model.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define KEYS_PATIENCE_MS 60000 /* for the API server, at the start; then the process ends and is started again */

typedef struct {
    const char *bind, *tap, *ns, *kubeconfig, *keys_dir, *health, *instance;
    bool no_curve;
    int64_t hold_ms, window_ms;
} options_t;

static const char usage[] = "usage: kubeflex-bus [options]\n"
                            "  --bind ENDPOINT      work: workers and the watcher (tcp://*:5570)\n"
                            "  --tap ENDPOINT       tap: a copy of every message; \"\" for none (tcp://*:5571)\n"
                            "  --namespace NS       of the Secrets with the CURVE keys (kubeflex-system)\n"
                            "  --kubeconfig FILE    outside a cluster\n"
                            "  --keys-dir DIR       CURVE keys in folders instead of Secrets; made where missing\n"
                            "  --no-curve           no keys at all; ipc:// endpoints only\n"
                            "  --hold MS            at the start, how long keys that no worker announces are held "
                            "back: leases of an earlier bus\n"
                            "                       must have ended (4500)\n"
                            "  --key-window MS      how long the key before a replaced one of a role is good (60000)\n"
                            "  --health ADDRESS     /healthz, /readyz, /metrics; \"\" for none (:8081, KFX_HEALTH)\n"
                            "  --instance NAME      for people (POD_NAME, else the host name)\n"
                            "  --log-level LEVEL    error, warn, info, debug (info, KFX_LOG_LEVEL)\n"
                            "  --log-format FORMAT  text (key=value), json (text, KFX_LOG_FORMAT)\n"
                            "  --help, --version\n";

static const struct option long_options[] = {
    {"bind", required_argument, NULL, 'b'},
    {"tap", required_argument, NULL, 't'},
    {"namespace", required_argument, NULL, 'n'},
    {"kubeconfig", required_argument, NULL, 'k'},
    {"keys-dir", required_argument, NULL, 'd'},
    {"no-curve", no_argument, NULL, 'c'},
    {"hold", required_argument, NULL, 'o'},
    {"health", required_argument, NULL, 'e'},
    {"instance", required_argument, NULL, 'i'},
    {"log-level", required_argument, NULL, 'l'},
    {"log-format", required_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {"key-window", required_argument, NULL, 'w'},
    {NULL, 0, NULL, 0},
};

/* 0 to go on, else the exit code plus one. */
static int parse(int argc, char **argv, options_t *o)
{
    int c, rc = 0;
    long number = 0;
    kfx_error_t err = KFX_ERROR_INIT;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 'b': o->bind = optarg; break;
        case 't': o->tap = optarg; break;
        case 'n': o->ns = optarg; break;
        case 'k': o->kubeconfig = optarg; break;
        case 'd': o->keys_dir = optarg; break;
        case 'c': o->no_curve = true; break;
        case 'e': o->health = optarg; break;
        case 'i': o->instance = optarg; break;
        case 'o':
            rc = kfx_option_number("--hold", optarg, 0, 60000, &number, &err);
            o->hold_ms = number;
            break;
        case 'w':
            rc = kfx_option_number("--key-window", optarg, 0, 86400000, &number, &err);
            o->window_ms = number;
            break;
        case 'l': rc = kfx_option_log_level(optarg, &err); break;
        case 'f': rc = kfx_option_log_format(optarg, &err); break;
        case 'h': fputs(usage, stdout); return 1;
        case 'v': puts("kubeflex-bus " KFX_VERSION); return 1;
        default: fputs(usage, stderr); return 3;
        }
        if (rc != 0) {
            fprintf(stderr, "kubeflex-bus: %s\n", err.msg);
            return 3;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "kubeflex-bus: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return 3;
    }
    return 0;
}

static int on_stop(void *ctx, int number)
{
    bool *stopped = ctx;
    *stopped = true;
    kfx_log_info("stopping", "signal", kfx_log_num(number), NULL);
    return -1;
}

static int serve(zloop_t *loop, const options_t *o, kfx_error_t *err)
{
    bool stopped = false;
    kfx_bus_keys_t keys = {"", "", ""};
    kfx_auth_t *auth = kfx_auth_new(o->window_ms);
    kfx_keystore_t *store = NULL;
    kfx_broker_t *broker = NULL;
    int rc = kfx_signals_catch(loop, on_stop, &stopped, err);
    kfx_health_set_ready(false, "waiting for the CURVE keys");
    if (rc == 0 && o->health[0])
        rc = kfx_health_start(o->health, err);
    if (rc == 0 && o->keys_dir)
        rc = kfx_keystore_dir(o->keys_dir, &keys, auth, err);
    else if (rc == 0 && !o->no_curve)
        rc = (store =
                  kfx_keystore_cluster(loop, o->kubeconfig, o->ns, kfx_now_ms() + KEYS_PATIENCE_MS, &keys, auth, err))
                 ? 0
                 : -1;
    if (rc == 0 && !o->no_curve)
        rc = kfx_auth_serve(auth, loop, err);
    if (rc == 0) {
        kfx_broker_opts_t opts = {.work = o->bind,
                                  .tap = o->tap,
                                  .keys = o->no_curve ? NULL : &keys,
                                  .auth = auth,
                                  .instance = o->instance,
                                  .hold_ms = o->hold_ms};
        broker = kfx_broker_new(loop, &opts, err);
        rc = broker ? 0 : -1;
    }
    kfx_wipe(&keys, sizeof(keys));
    if (rc == 0) {
        kfx_health_set_ready(true, "");
        kfx_log_info("serving", "work", kfx_broker_work_endpoint(broker), "tap", kfx_broker_tap_endpoint(broker),
                     "curve", o->no_curve ? "off" : "on", "health", kfx_log_num(kfx_health_port()), NULL);
        kfx_loop_run(loop, &stopped);
    }
    kfx_broker_destroy(&broker);
    kfx_keystore_destroy(&store);
    kfx_auth_destroy(&auth);
    kfx_health_stop();
    return rc;
}

int main(int argc, char **argv)
{
    char host[64] = "bus";
    gethostname(host, sizeof(host) - 1);
    const char *pod = getenv("POD_NAME"), *health = getenv("KFX_HEALTH");
    options_t o = {.bind = "tcp://*:5570",
                   .tap = "tcp://*:5571",
                   .ns = KFX_SYSTEM_NAMESPACE,
                   .health = health ? health : ":8081",
                   .instance = pod && pod[0] ? pod : host,
                   .window_ms = KFX_KEY_WINDOW_MS,
                   .hold_ms = KFX_LEASE_MS + KFX_LEASE_GRACE_MS};
    kfx_log_init("bus");
    int code = parse(argc, argv, &o);
    if (code)
        return code - 1;
    zloop_t *loop = zloop_new();
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = serve(loop, &o, &err);
    zloop_destroy(&loop);
    if (rc != 0)
        kfx_log_error("cannot serve", "error", err.msg, NULL);
    return rc == 0 ? 0 : 1;
}
