/* reconcilers/options.c: flags, each with a default from the environment. */
#include "reconcilers/options.h"

#include "base/process.h"
#include "proto/model.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define THREADS "16"
#define THREADS_MAX 64

static const char usage[] =
    "Usage: kubeflex-reconciler --type TYPE [OPTION]...\n"
    "Makes the objects of control planes of one type. Inside the cluster only --type needs to be set.\n"
    "\n"
    "  --type TYPE         type of control planes [KFX_TYPE]\n"
    "  --bus ENDPOINT      work socket of the bus [KFX_BUS, tcp://kubeflex-bus.kubeflex-system.svc:5570]\n"
    "  --health ADDR:PORT  /healthz, /readyz, /metrics; \"\" for none [KFX_HEALTH, :8081]\n"
    "  --kubeconfig FILE   API server of the hosting cluster [in-cluster]\n"
    "  --namespace NS      of the Secret with the bus keys [KFX_NAMESPACE, kubeflex-system]\n"
    "  --keys-dir DIR      bus keys from folders as `kubeflex-bus --keys-dir` makes them, not from the Secret\n"
    "  --no-curve          no keys at all; ipc:// endpoints only\n"
    "  --instance NAME     who we are on the bus [POD_NAME, host name]\n"
    "  --threads N         planes worked on at once [KFX_THREADS, " THREADS "]\n"
    "  --log-level LEVEL   error, warn, info, debug [KFX_LOG_LEVEL, info]\n"
    "  --log-format FORMAT text (key=value), json [KFX_LOG_FORMAT, text]\n"
    "  --help, --version\n"
    "\n"
    "  --render PLANE      print the manifests of a plane (no Secrets, no ownership) and end\n"
    "  --config FILE       with --render: the keys of ConfigMap kubeflex-config as a YAML map\n"
    "                      [domain: localtest.me, externalPort: \"9443\"]\n";

enum { NO_CURVE = 1000, KEYS_DIR, RENDER, CONFIG, HELP, VERSION };

static const struct option options[] = {
    {"type", required_argument, NULL, 't'},       {"bus", required_argument, NULL, 'b'},
    {"health", required_argument, NULL, 'H'},     {"kubeconfig", required_argument, NULL, 'k'},
    {"namespace", required_argument, NULL, 'n'},  {"keys-dir", required_argument, NULL, KEYS_DIR},
    {"no-curve", no_argument, NULL, NO_CURVE},    {"instance", required_argument, NULL, 'i'},
    {"threads", required_argument, NULL, 'T'},    {"log-level", required_argument, NULL, 'l'},
    {"log-format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},      {"render", required_argument, NULL, RENDER},
    {"config", required_argument, NULL, CONFIG},  {NULL, 0, NULL, 0},
};

static int check(kfx_reconciler_options_t *out, const char *type, kfx_error_t *err)
{
    char names[256];
    kfx_type_names(names, sizeof(names));
    if (!type)
        return kfx_error_set(err, KFX_E_INVALID, "--type is missing: this program is built with %s", names);
    out->type = kfx_type_lookup(type);
    if (!out->type)
        return kfx_error_set(err, KFX_E_INVALID, "--type %s: this program is built with %s", type, names);
    if (out->no_curve && strncmp(out->bus, "ipc://", 6) != 0)
        return kfx_error_set(err, KFX_E_INVALID, "--no-curve goes with an ipc:// endpoint only, not with %s", out->bus);
    return 1;
}

int kfx_reconciler_options(int argc, char **argv, kfx_reconciler_options_t *out, kfx_error_t *err)
{
    const char *type = kfx_env_or("KFX_TYPE", NULL), *threads = kfx_env_or("KFX_THREADS", THREADS);
    int c;
    *out = (kfx_reconciler_options_t){
        .bus = kfx_env_or("KFX_BUS", "tcp://kubeflex-bus." KFX_SYSTEM_NAMESPACE ".svc:5570"),
        .health = kfx_env_or("KFX_HEALTH", ":8081"),
        .instance = kfx_env_or("POD_NAME", NULL),
        .ns = kfx_env_or("KFX_NAMESPACE", KFX_SYSTEM_NAMESPACE),
    };
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 't': type = optarg; break;
        case 'b': out->bus = optarg; break;
        case 'H': out->health = optarg; break;
        case 'k': out->kubeconfig = optarg; break;
        case 'n': out->ns = optarg; break;
        case 'i': out->instance = optarg; break;
        case 'T': threads = optarg; break;
        case KEYS_DIR: out->keys_dir = optarg; break;
        case NO_CURVE: out->no_curve = true; break;
        case RENDER: out->render = optarg; break;
        case CONFIG: out->config = optarg; break;
        case HELP: fputs(usage, stdout); return 0;
        case VERSION: puts("kubeflex-reconciler " KFX_VERSION); return 0;
        case 'l':
        case 'f':
            if (c == 'l' ? kfx_option_log_level(optarg, err) : kfx_option_log_format(optarg, err))
                return -1;
            break;
        default: return kfx_error_set(err, KFX_E_INVALID, "see --help");
        }
    }
    if (optind < argc)
        return kfx_error_set(err, KFX_E_INVALID, "unexpected argument \"%.80s\"; see --help", argv[optind]);
    long n;
    if (kfx_option_number("--threads", threads, 1, THREADS_MAX, &n, err))
        return -1;
    out->threads = (unsigned)n;
    return check(out, type, err);
}
