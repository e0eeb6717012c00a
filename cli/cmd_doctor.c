/* kflex doctor: whether everything that a control plane needs is there; each line says ok, or what to do. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/hosting.h"
#include "cli/install.h"
#include "cli/print.h"
#include "proto/proto.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECT_LIMIT_MS 2000
#define LEASE_LIMIT_S 60
#define MINOR_MIN 30
#define SYSTEM "/namespaces/" KFX_SYSTEM_NAMESPACE
#define LEASE "/apis/coordination.k8s.io/v1" SYSTEM "/leases/c6f71c85.kflex.kubestellar.org"

typedef enum { GOOD, WARN, BAD } verdict_t;

typedef struct {
    kfx_cli_t *cli;
    kfx_hosting_t hosting;
    json_t *results;
    size_t bad;
    bool tree; /* -o json, yaml */
} doctor_t;

static void say(doctor_t *self, verdict_t verdict, const char *check, const char *fmt, ...) KFX_PRINTF(4, 5);
static void say(doctor_t *self, verdict_t verdict, const char *check, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "warning", "critical"};
    va_list args;
    va_start(args, fmt);
    char *raw = NULL;
    if (vasprintf(&raw, fmt, args) < 0)
        abort();
    va_end(args);
    json_array_append_new(self->results,
                          json_pack("{s:s, s:s, s:s}", "check", check, "status", words[verdict], "message", raw));
    if (!self->tree)
        kfx_out_check(&self->cli->out, verdict == GOOD ? 1 : verdict == WARN ? 0 : -1, "%s: %s", check, raw);
    self->bad += verdict == BAD;
    free(raw);
}

/* NULL with a line said where it cannot be read; where it is not there and missing is not NULL, that is the line. */
static json_t *look(doctor_t *self, const char *check, const char *path, const char *missing)
{
    kfx_error_t why = KFX_ERROR_INIT;
    json_t *answer = kfx_hosting_get(self->hosting.kube, path, &why);
    if (!answer && why.code == KFX_E_NOT_FOUND && missing)
        say(self, BAD, check, "%s", missing);
    else if (!answer)
        say(self, why.code == KFX_E_FORBIDDEN ? WARN : BAD, check, "%s", why.msg);
    return answer;
}

static bool check_cluster(doctor_t *self)
{
    kfx_error_t why = KFX_ERROR_INIT;
    if (kfx_hosting_open(self->cli, &self->hosting, &why) < 0) {
        say(self, BAD, "hosting cluster", "%s", why.msg);
        return false;
    }
    KFX_JSON json_t *version = kfx_hosting_get(self->hosting.kube, "/version", &why);
    if (!version) {
        kfx_hosting_explain(&self->hosting, &why);
        say(self, BAD, "hosting cluster", "%s", why.msg);
        return false;
    }
    const char *git = kfx_json_str(version, "gitVersion");
    int minor = git && strncmp(git, "v1.", 3) == 0 ? atoi(git + 3) : 0;
    say(self, minor && minor < MINOR_MIN ? WARN : GOOD, "hosting cluster", "Kubernetes %s at %s, context %s%s",
        git ? git : "of unknown version", kfx_kube_server(self->hosting.kube), self->hosting.context,
        minor && minor < MINOR_MIN ? "; before v1.30 nobody checks names and types of control planes" : "");
    return true;
}

/* All that is wanted is there, and the same; more is fine. */
static bool contains(const json_t *has, json_t *wants)
{
    if (!json_is_object(wants))
        return json_is_array(wants) ? json_is_array(has) : json_equal(has, wants);
    const char *key;
    json_t *value;
    json_object_foreach (wants, key, value)
        if (!contains(json_object_get(has, key), value))
            return false;
    return true;
}

static void check_definitions(doctor_t *self)
{
    KFX_JSON json_t *crds = kfx_install_crds(NULL);
    size_t i;
    json_t *crd;
    json_array_foreach (crds, i, crd) {
        KFX_FREE char *path = kfx_install_path(crd);
        const char *kind = kfx_json_str(crd, "spec", "names", "kind");
        KFX_FREE char *check = kfx_xasprintf("kind %s", kind ? kind : "");
        KFX_JSON json_t *served = look(self, check, path, "it is not installed: `kflex init`");
        if (!served)
            continue;
        const json_t *has = kfx_json_get(served, "spec", "versions", "0", "schema");
        json_t *wants = kfx_json_get(crd, "spec", "versions", "0", "schema");
        if (contains(has, wants))
            say(self, GOOD, check, "served as this kflex knows it");
        else
            say(self, WARN, check, "its definition is not that of this kflex: `kflex upgrade`");
    }
}

static void check_rights(doctor_t *self)
{
    static const struct {
        const char *verb, *group, *resource, *sub, *ns;
        verdict_t without;
    } rights[] = {
        {"create", "tenancy.kflex.kubestellar.org", "controlplanes", "", "", BAD},
        {"delete", "tenancy.kflex.kubestellar.org", "controlplanes", "", "", BAD},
        {"list", "tenancy.kflex.kubestellar.org", "controlplanes", "", "", BAD},
        {"watch", "tenancy.kflex.kubestellar.org", "controlplanes", "", "", BAD},
        {"get", "", "secrets", "", "", BAD},
        {"list", "", "events", "", "", WARN},
        {"list", "", "pods", "", "", WARN},
        {"get", "", "pods", "log", "", WARN},
        {"create", "", "pods", "portforward", KFX_SYSTEM_NAMESPACE, WARN},
    };
    enum { COUNT = KFX_COUNT(rights) };
    kfx_request_t *reqs[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        json_t *about =
            json_pack("{s:s, s:s, s:s, s:s, s:s}", "verb", rights[i].verb, "group", rights[i].group, "resource",
                      rights[i].resource, "subresource", rights[i].sub, "namespace", rights[i].ns);
        reqs[i] = kfx_request_new(KFX_POST,
                                  json_pack("{s:s, s:s, s:{s:o}}", "apiVersion", "authorization.k8s.io/v1", "kind",
                                            "SelfSubjectAccessReview", "spec", "resourceAttributes", about),
                                  "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
    }
    kfx_kube_batch(self->hosting.kube, reqs, COUNT);
    size_t denied = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (reqs[i]->error.code == KFX_OK && !kfx_json_bool(reqs[i]->answer, 0, "status", "allowed")) {
            say(self, rights[i].without, "rights", "you may not %s %s%s%s: ask the cluster's administrator",
                rights[i].verb, rights[i].resource, *rights[i].sub ? "/" : "", rights[i].sub);
            denied++;
        } else if (reqs[i]->error.code != KFX_OK && !denied++)
            say(self, WARN, "rights", "%s", reqs[i]->error.msg);
        kfx_request_free(reqs[i]);
    }
    if (!denied)
        say(self, GOOD, "rights", "you may make, look at and delete control planes");
}

static void check_workload(doctor_t *self, const json_t *object)
{
    const char *name = kfx_json_str(object, "metadata", "name");
    int64_t wanted = kfx_json_int(object, 1, "spec", "replicas"),
            ready = kfx_json_int(object, 0, "status", "readyReplicas");
    const char *image = kfx_json_str(object, "spec", "template", "spec", "containers", "0", "image");
    if (json_array_size(kfx_json_get(object, "spec", "template", "spec", "containers")) > 1 && name &&
        strcmp(name, "kubeflex-controller-manager") == 0)
        say(self, WARN, name, "this is the Go KubeFlex: `kflex init` replaces it");
    else if (ready >= wanted && wanted > 0)
        say(self, GOOD, name ? name : "?", "%lld of %lld ready, image %s", (long long)ready, (long long)wanted,
            image ? image : "?");
    else
        say(self, BAD, name ? name : "?",
            "%lld of %lld ready: `kubectl --context %s get pods,events -n " KFX_SYSTEM_NAMESPACE "` says why",
            (long long)ready, (long long)wanted, self->hosting.context);
}

static void check_programs(doctor_t *self)
{
    static const char *const needed[] = {"kubeflex-controller-manager", "kubeflex-bus", "kubeflex-storage-agent"};
    KFX_JSON json_t *list = look(self, "programs", "/apis/apps/v1" SYSTEM "/deployments", NULL);
    if (!list)
        return;
    bool found[KFX_COUNT(needed)] = {false};
    size_t i;
    json_t *object;
    json_array_foreach (json_object_get(list, "items"), i, object) {
        const char *name = kfx_json_str(object, "metadata", "name");
        if (!name || strncmp(name, "kubeflex-", 9) != 0)
            continue;
        for (size_t k = 0; k < KFX_COUNT(needed); k++)
            found[k] |= strcmp(name, needed[k]) == 0;
        check_workload(self, object);
    }
    for (size_t k = 0; k < KFX_COUNT(needed); k++)
        if (!found[k])
            say(self, BAD, needed[k], "its Deployment is not there: `kflex init`");
    KFX_JSON json_t *postgres =
        look(self, "postgres-postgresql", "/apis/apps/v1" SYSTEM "/statefulsets/postgres-postgresql",
             "it is not there: `kflex init`");
    if (postgres)
        check_workload(self, postgres);
}

static void check_leader(doctor_t *self)
{
    KFX_JSON json_t *lease =
        look(self, "leader", LEASE, "no watcher has ever led: see kubeflex-controller-manager above");
    if (!lease)
        return;
    const char *holder = kfx_json_str(lease, "spec", "holderIdentity"),
               *renewed = kfx_json_str(lease, "spec", "renewTime");
    int64_t age = renewed ? (int64_t)time(NULL) - (int64_t)kfx_rfc3339_parse(renewed) : INT32_MAX;
    if (!holder || !*holder)
        say(self, BAD, "leader", "nobody leads: see kubeflex-controller-manager above");
    else if (age > LEASE_LIMIT_S)
        say(self, WARN, "leader", "%s has not renewed its lease for %lld s: it is gone, or the clocks differ", holder,
            (long long)age);
    else
        say(self, GOOD, "leader", "%s", holder);
}

static void check_bus(doctor_t *self)
{
    KFX_JSON json_t *secret = look(self, "bus", "/api/v1" SYSTEM "/secrets/kubeflex-bus-tap",
                                   "it has made no keys yet: see kubeflex-bus above");
    if (secret)
        say(self, GOOD, "bus", "its keys are there; `kflex tap` shows what passes");
}

/* ---- the way to the planes ---- */

static int connect_within(const struct addrinfo *to)
{
    KFX_CLOSE int fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int number = ETIMEDOUT;
    socklen_t size = sizeof number;
    if (poll(&wait, 1, CONNECT_LIMIT_MS) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) < 0)
        return errno;
    return number;
}

/* As a plane's address would be reached. */
static void check_address(doctor_t *self, const char *host, const char *port, bool named)
{
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 0);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed) {
        say(self, BAD, "DNS", "%s: %s. Give *.DOMAIN a record, or set externalAddress in ConfigMap kubeflex-config",
            host, gai_strerror(failed));
        return;
    }
    say(self, GOOD, "DNS", named ? "%s resolves" : "not needed: planes are reached at %s", host);
    int number = ECONNREFUSED;
    for (const struct addrinfo *at = found; at && number; at = at->ai_next)
        number = connect_within(at);
    freeaddrinfo(found);
    if (number)
        say(self, BAD, "ingress", "port %s of %s: %s. Does the ingress controller run, and is externalPort its port?",
            port, host, strerror(number));
    else
        say(self, GOOD, "ingress", "something listens on port %s of %s", port, host);
}

static void check_way(doctor_t *self)
{
    KFX_JSON json_t *config =
        look(self, "configuration", "/api/v1" SYSTEM "/configmaps/kubeflex-config", "it is not there: `kflex init`");
    if (!config)
        return;
    const char *domain = kfx_json_str(config, "data", "domain"), *port = kfx_json_str(config, "data", "externalPort");
    const char *address = kfx_json_str(config, "data", "externalAddress");
    const char *exposure = kfx_json_str(config, "data", "exposure");
    char *end = NULL;
    long number = port ? strtol(port, &end, 10) : 0;
    if (!domain || !*domain || !port || *end || number < 1 || number > 65535) {
        say(self, BAD, "configuration", "domain or externalPort of ConfigMap kubeflex-config is missing or wrong");
        return;
    }
    say(self, GOOD, "configuration", "domain %s, port %s", domain, port);
    if (exposure && *exposure && strcmp(exposure, "ingress") != 0) {
        say(self, GOOD, "ingress", "not needed: exposure is %s", exposure);
        return;
    }
    KFX_FREE char *name = kfx_xasprintf("kflex-doctor.%s", domain);
    check_address(self, address && *address ? address : name, port, !(address && *address));
}

static void check_planes(doctor_t *self)
{
    KFX_JSON json_t *list = look(self, "control planes", KFX_CONTROLPLANES_PATH, "the kind is not served");
    if (!list)
        return;
    size_t i, ready = 0, all = json_array_size(json_object_get(list, "items"));
    json_t *item;
    json_array_foreach (json_object_get(list, "items"), i, item) {
        size_t k;
        json_t *c;
        json_array_foreach (kfx_json_get(item, "status", "conditions"), k, c) {
            const char *type = kfx_json_str(c, "type"), *status = kfx_json_str(c, "status");
            ready += type && status && strcmp(type, "Ready") == 0 && strcmp(status, "True") == 0;
        }
    }
    say(self, ready == all ? GOOD : WARN, "control planes", "%zu of %zu ready%s", ready, all,
        ready == all ? "" : ": `kflex list -o wide` says what the others wait for");
}

int kfx_cmd_doctor(kfx_cli_t *cli, kfx_error_t *err)
{
    kfx_format_t format = kfx_format_of(cli->opts.output, KFX_FORMAT_TABLE);
    doctor_t *self = kfx_xcalloc(1, sizeof *self);
    self->cli = cli;
    self->results = json_array();
    self->tree = kfx_format_is_tree(format);
    if (check_cluster(self)) {
        static void (*const checks[])(doctor_t *) = {check_definitions, check_rights, check_programs, check_leader,
                                                     check_bus,         check_way,    check_planes};
        for (size_t i = 0; i < KFX_COUNT(checks); i++)
            checks[i](self);
    }
    int rc = self->tree ? kfx_print_tree(&cli->out, format, self->results, err) : 0;
    if (rc == 0 && self->bad)
        rc = kfx_error_set(err, KFX_E_UNAVAILABLE, "%zu check%s failed", self->bad, self->bad == 1 ? "" : "s");
    json_decref(self->results);
    kfx_hosting_close(&self->hosting);
    free(self);
    return rc;
}
