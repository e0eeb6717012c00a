#include "watcher/options.h"

#include "base/mem.h"
#include "base/process.h"
#include "proto/model.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: kubeflex-watcher [options]\n"
    "  --bus ENDPOINT       of kubeflex-bus (KFX_BUS, else tcp://kubeflex-bus.kubeflex-system.svc:5570)\n"
    "  --health ADDRESS     /healthz, /readyz, /metrics; \"\" for none (KFX_HEALTH, else :8081)\n"
    "  --kubeconfig FILE    outside a cluster\n"
    "  --instance NAME      for people and the Lease (POD_NAME, else the host name)\n"
    "  --namespace NS       of the Lease, kubeflex-config and the bus keys (kubeflex-system)\n"
    "  --lease NAME         watchers with the same Lease stand by for each other (" KFX_LEADER_LEASE ")\n"
    "  --selector LABELS    only ControlPlanes with these labels; needs a Lease and a bus of its own\n"
    "  --keys-dir DIR       CURVE keys from DIR/kubeflex-bus-watcher instead of the Secret of that name\n"
    "  --no-curve           no keys at all; ipc:// endpoints only\n"
    "  --log-level LEVEL    error, warn, info, debug (KFX_LOG_LEVEL, else info)\n"
    "  --log-format FORMAT  text (key=value), json (KFX_LOG_FORMAT, else text)\n"
    "  --help, --version\n";

static const struct option long_options[] = {
    {"bus", required_argument, NULL, 'b'},        {"health", required_argument, NULL, 'e'},
    {"kubeconfig", required_argument, NULL, 'k'}, {"instance", required_argument, NULL, 'i'},
    {"namespace", required_argument, NULL, 'n'},  {"lease", required_argument, NULL, 'L'},
    {"selector", required_argument, NULL, 's'},   {"keys-dir", required_argument, NULL, 'd'},
    {"no-curve", no_argument, NULL, 'c'},         {"log-level", required_argument, NULL, 'l'},
    {"log-format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},          {NULL, 0, NULL, 0},
};

static void defaults(kfx_options_t *self)
{
    memset(self, 0, sizeof *self);
    if (gethostname(self->host, sizeof self->host - 1) != 0 || !self->host[0])
        kfx_copy(self->host, sizeof self->host, "kubeflex-watcher");
    self->bus = kfx_env_or("KFX_BUS", "tcp://kubeflex-bus.kubeflex-system.svc:5570");
    self->health = kfx_env_or("KFX_HEALTH", ":8081");
    self->instance = kfx_env_or("POD_NAME", self->host);
    self->ns = KFX_SYSTEM_NAMESPACE;
    self->lease = KFX_LEADER_LEASE;
}

int kfx_options_parse(kfx_options_t *self, int argc, char **argv)
{
    kfx_error_t err = KFX_ERROR_INIT;
    int c;
    defaults(self);
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 'b': self->bus = optarg; break;
        case 'e': self->health = optarg; break;
        case 'k': self->kubeconfig = optarg; break;
        case 'i': self->instance = optarg; break;
        case 'n': self->ns = optarg; break;
        case 'L': self->lease = optarg; break;
        case 's': self->selector = optarg; break;
        case 'd': self->keys_dir = optarg; break;
        case 'c': self->no_curve = true; break;
        case 'l':
        case 'f':
            if ((c == 'l' ? kfx_option_log_level(optarg, &err) : kfx_option_log_format(optarg, &err)) != 0) {
                fprintf(stderr, "kubeflex-watcher: %s\n", err.msg);
                return 2;
            }
            break;
        case 'h': fputs(usage, stdout); return 0;
        case 'v': puts("kubeflex-watcher " KFX_VERSION); return 0;
        default: fputs(usage, stderr); return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "kubeflex-watcher: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return 2;
    }
    if (self->no_curve && strncmp(self->bus, "ipc://", 6) != 0) {
        fprintf(stderr, "kubeflex-watcher: --no-curve goes with an ipc:// endpoint only, not with %s\n", self->bus);
        return 2;
    }
    return -1;
}
