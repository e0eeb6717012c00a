/* storage-agent/options.c: see options.h. */
#include "storage-agent/options.h"

#include "base/process.h"
#include "proto/model.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#ifndef KFX_VERSION
#define KFX_VERSION "unknown"
#endif

#define THREADS 4
#define THREADS_MAX 32
#define DAYS_MAX 3650
#define ETCD_IMAGE "quay.io/coreos/etcd:v3.7.3"
#define USER_MAX 2147483647L

static const char usage[] =
    "Usage: kubeflex-storage-agent [OPTION]...\n"
    "Makes and drops the databases of control planes. Inside the cluster nothing needs to be set.\n"
    "\n"
    "  --bus ENDPOINT          work socket of the bus [KFX_BUS, tcp://kubeflex-bus.kubeflex-system.svc:5570]\n"
    "  --health ADDR:PORT      /healthz, /readyz, /metrics [KFX_HEALTH, :8081]\n"
    "  --kubeconfig FILE       API server of the hosting cluster [in-cluster]\n"
    "  --instance NAME         who we are on the bus [POD_NAME, host name]\n"
    "  --threads N             tasks at once, each with a connection to Postgres [KFX_THREADS, 4]\n"
    "  --password-days N       replace passwords of planes at this age [KFX_PASSWORD_DAYS, 0: never]\n"
    "  --postgres-host HOST    where the agent reaches Postgres [KFX_POSTGRES_HOST, "
    "postgres-postgresql.kubeflex-system.svc]\n"
    "  --postgres-port PORT    [KFX_POSTGRES_PORT, 5432]\n"
    "  --dsn-host HOST         where control planes reach it [KFX_DSN_HOST, postgres-postgresql.kubeflex-system.svc]\n"
    "  --dsn-port PORT         [KFX_DSN_PORT, 5432]\n"
    "  --orphans               print what is left of planes that are gone (SERVER/NAME, bytes), and end\n"
    "  --remove-orphan SERVER/NAME  drop that, and end\n"
    "  --certificate-name NAME one more name of the server's certificate; may be repeated\n"
    "  --etcd-image IMAGE      of planes with backend dedicated [KFX_ETCD_IMAGE, " ETCD_IMAGE "]\n"
    "  --etcd-user UID         user of its processes; none: the cluster assigns one [KFX_ETCD_USER, 65532]\n"
    "  --log-level LEVEL       error, warn, info, debug [KFX_LOG_LEVEL, info]\n"
    "  --log-format FORMAT     text (key=value), json [KFX_LOG_FORMAT, text]\n"
    "  --help, --version\n";

static const struct option options[] = {
    {"bus", required_argument, NULL, 'b'},
    {"health", required_argument, NULL, 'H'},
    {"kubeconfig", required_argument, NULL, 'k'},
    {"instance", required_argument, NULL, 'i'},
    {"threads", required_argument, NULL, 't'},
    {"password-days", required_argument, NULL, 'a'},
    {"postgres-host", required_argument, NULL, 'p'},
    {"postgres-port", required_argument, NULL, 'P'},
    {"dsn-host", required_argument, NULL, 'd'},
    {"dsn-port", required_argument, NULL, 'D'},
    {"orphans", no_argument, NULL, 'o'},
    {"remove-orphan", required_argument, NULL, 'r'},
    {"certificate-name", required_argument, NULL, 'c'},
    {"etcd-image", required_argument, NULL, 'e'},
    {"etcd-user", required_argument, NULL, 'u'},
    {"log-level", required_argument, NULL, 'l'},
    {"log-format", required_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static int add_name(kfx_storage_options_t *out, const char *name, kfx_error_t *err)
{
    for (size_t i = 0; i < KFX_STORAGE_EXTRA_NAMES; i++)
        if (!out->extra_names[i]) {
            out->extra_names[i] = name;
            return 0;
        }
    return kfx_error_set(err, KFX_E_INVALID, "--certificate-name: at most %d", KFX_STORAGE_EXTRA_NAMES);
}

static int set_threads(kfx_storage_options_t *out, const char *text, kfx_error_t *err)
{
    long n;
    if (kfx_option_number("--threads", text, 1, THREADS_MAX, &n, err) < 0)
        return -1;
    out->threads = (unsigned)n;
    return 0;
}

static int set_days(kfx_storage_options_t *out, const char *text, kfx_error_t *err)
{
    return kfx_option_number("--password-days", text, 0, DAYS_MAX, &out->password_days, err);
}

static int set_user(kfx_storage_options_t *out, const char *text, kfx_error_t *err)
{
    long n = -1;
    if (strcmp(text, "none") != 0 && kfx_option_number("--etcd-user", text, 1, USER_MAX, &n, err) < 0)
        return -1;
    out->etcd_user = (int)n;
    return 0;
}

static int take(int option, kfx_storage_options_t *out, kfx_error_t *err)
{
    switch (option) {
    case 'b': out->bus = optarg; return 1;
    case 'H': out->health = optarg; return 1;
    case 'k': out->kubeconfig = optarg; return 1;
    case 'i': out->instance = optarg; return 1;
    case 't': return set_threads(out, optarg, err) < 0 ? -1 : 1;
    case 'a': return set_days(out, optarg, err) < 0 ? -1 : 1;
    case 'p': out->postgres_host = optarg; return 1;
    case 'P': out->postgres_port = optarg; return 1;
    case 'd': out->dsn_host = optarg; return 1;
    case 'D': out->dsn_port = optarg; return 1;
    case 'o': out->orphans = true; return 1;
    case 'r': out->remove = optarg; return 1;
    case 'c': return add_name(out, optarg, err) < 0 ? -1 : 1;
    case 'e': out->etcd_image = optarg; return 1;
    case 'u': return set_user(out, optarg, err) < 0 ? -1 : 1;
    case 'l': return kfx_option_log_level(optarg, err) < 0 ? -1 : 1;
    case 'f': return kfx_option_log_format(optarg, err) < 0 ? -1 : 1;
    case 'h': fputs(usage, stdout); return 0;
    case 'v': puts("kubeflex-storage-agent " KFX_VERSION); return 0;
    default: return kfx_error_set(err, KFX_E_INVALID, "see kubeflex-storage-agent --help");
    }
}

int kfx_storage_options(int argc, char **argv, kfx_storage_options_t *out, kfx_error_t *err)
{
    static const char host[] = "postgres-postgresql." KFX_SYSTEM_NAMESPACE ".svc";
    int option;

    *out = (kfx_storage_options_t){
        .bus = kfx_env_or("KFX_BUS", "tcp://kubeflex-bus." KFX_SYSTEM_NAMESPACE ".svc:5570"),
        .health = kfx_env_or("KFX_HEALTH", ":8081"),
        .instance = kfx_env_or("POD_NAME", NULL),
        .postgres_host = kfx_env_or("KFX_POSTGRES_HOST", host),
        .postgres_port = kfx_env_or("KFX_POSTGRES_PORT", "5432"),
        .dsn_host = kfx_env_or("KFX_DSN_HOST", host),
        .dsn_port = kfx_env_or("KFX_DSN_PORT", "5432"),
        .service = "postgres-postgresql",
        .ns = KFX_SYSTEM_NAMESPACE,
        .threads = THREADS,
        .etcd_image = kfx_env_or("KFX_ETCD_IMAGE", ETCD_IMAGE),
    };
    const char *threads = kfx_env_or("KFX_THREADS", NULL);
    if (threads && set_threads(out, threads, err) < 0)
        return -1;
    const char *days = kfx_env_or("KFX_PASSWORD_DAYS", NULL);
    if (days && set_days(out, days, err) < 0)
        return -1;
    if (set_user(out, kfx_env_or("KFX_ETCD_USER", "65532"), err) < 0)
        return -1;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        int rc = take(option, out, err);
        if (rc <= 0)
            return rc;
    }
    if (optind < argc)
        return kfx_error_set(err, KFX_E_INVALID, "'%s' is no option: see kubeflex-storage-agent --help", argv[optind]);
    return 1;
}
