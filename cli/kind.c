#include "cli/kind.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/hosting.h"
#include "cli/kubefile.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX (1U << 20)
#define KIND_DEFAULT "kubeflex"
#define INGRESS_PORT 9443
#define INGRESS_MANIFEST                                                                                               \
    "https://raw.githubusercontent.com/kubernetes/ingress-nginx/controller-v1.12.1/deploy/static/provider/kind/"       \
    "deploy.yaml"
#define INGRESS_DEPLOYMENT "/apis/apps/v1/namespaces/ingress-nginx/deployments/ingress-nginx-controller"

extern char **environ;

/* As the Go kflex has it, but for the port, which is --external-port's. */
static const char cluster_config[] = "kind: Cluster\n"
                                     "apiVersion: kind.x-k8s.io/v1alpha4\n"
                                     "networking:\n"
                                     "  ipFamily: dual\n"
                                     "nodes:\n"
                                     "- role: control-plane\n"
                                     "  labels:\n"
                                     "    ingress-ready: \"true\"\n"
                                     "  extraPortMappings:\n"
                                     "  - {containerPort: 80, hostPort: 9080, protocol: TCP}\n"
                                     "  - {containerPort: 443, hostPort: %lld, protocol: TCP}\n";

static int feed(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Runs a program of $PATH without a shell; input (small, or NULL) is its stdin. out: its stdout; NULL: ours. */
static int run(char *const *argv, const char *input, kfx_buf_t *out, kfx_error_t *err)
{
    int in[2] = {-1, -1}, back[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) < 0 || (out && pipe2(back, O_CLOEXEC) < 0))
        return kfx_error_set(err, KFX_E_INTERNAL, "pipe: %s", strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    if (out)
        posix_spawn_file_actions_adddup2(&actions, back[1], STDOUT_FILENO);
    pid_t pid;
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    if (out)
        close(back[1]);
    if (!failed && input)
        feed(in[1], input); /* what it does not read shows in how it ends */
    close(in[1]);
    char part[4096];
    for (ssize_t n; !failed && out && (n = read(back[0], part, sizeof part)) > 0;)
        kfx_buf_add(out, part, (size_t)n);
    if (out)
        close(back[0]);
    if (failed == ENOENT)
        return kfx_error_set(err, KFX_E_NOT_FOUND, "%s is not in $PATH: install it, or leave --create-kind away",
                             argv[0]);
    if (failed)
        return kfx_error_set(err, KFX_E_INTERNAL, "%s: %s", argv[0], strerror(failed));
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return kfx_error_set(err, KFX_E_INTERNAL, "%s: %s", argv[0], strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return kfx_error_set(err, KFX_E_UNAVAILABLE, "`%s %s` failed", argv[0], argv[1]);
}

/* A line of its own, not a part of one: "kubeflex" is not "kubeflex2". */
static bool has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
        if (strncmp(at, line, len) == 0 && (at[len] == '\n' || at[len] == '\0'))
            return true;
    return false;
}

static int make_cluster(kfx_cli_t *cli, char *name, char *file, kfx_error_t *err)
{
    KFX_BUF kfx_buf_t clusters = KFX_BUF_INIT(OUTPUT_MAX);
    char *const list[] = {(char[]){"kind"}, (char[]){"get"}, (char[]){"clusters"}, NULL};
    if (run(list, NULL, &clusters, err) < 0)
        return -1;
    if (has_line(clusters.data, name)) {
        char *const export[] = {(char[]){"kind"},
                                (char[]){"export"},
                                (char[]){"kubeconfig"},
                                (char[]){"--name"},
                                name,
                                (char[]){"--kubeconfig"},
                                file,
                                NULL};
        kfx_out_step(&cli->out, -1, "Kind cluster %s is there already", name);
        return run(export, NULL, NULL, err);
    }
    int64_t port = cli->opts.external_port ? cli->opts.external_port : INGRESS_PORT;
    KFX_FREE char *config = kfx_xasprintf(cluster_config, (long long)port);
    char *const create[] = {(char[]){"kind"},
                            (char[]){"create"},
                            (char[]){"cluster"},
                            (char[]){"--name"},
                            name,
                            (char[]){"--kubeconfig"},
                            file,
                            (char[]){"--config"},
                            (char[]){"-"},
                            NULL};
    if (run(create, config, NULL, err) < 0)
        return -1;
    kfx_out_step(&cli->out, -1, "Created kind cluster %s", name);
    return 0;
}

/* Planes get their TLS untouched. */
static int pass_tls_through(kfx_cli_t *cli, const char *context, kfx_error_t *err)
{
    static const char *const args[] = {"--enable-ssl-passthrough", "--watch-ingress-without-class=true",
                                       "--publish-status-address=localhost"};
    kfx_kc_t kc;
    if (kfx_kubefile_load(cli->opts.kubeconfig, false, &kc, err) < 0)
        return -1;
    kfx_kube_t *kube = kfx_hosting_client(&kc, context, err);
    kfx_kc_release(&kc);
    KFX_JSON json_t *there = kube ? kfx_hosting_get(kube, INGRESS_DEPLOYMENT, err) : NULL;
    const json_t *has = kfx_json_get(there, "spec", "template", "spec", "containers", "0", "args");
    json_t *patch = json_array();
    for (size_t i = 0; i < KFX_COUNT(args); i++) {
        size_t k;
        json_t *arg;
        bool found = false;
        json_array_foreach (has, k, arg)
            found |= json_is_string(arg) && strcmp(json_string_value(arg), args[i]) == 0;
        if (!found)
            json_array_append_new(patch, json_pack("{s:s, s:s, s:s}", "op", "add", "path",
                                                   "/spec/template/spec/containers/0/args/-", "value", args[i]));
    }
    int rc = there ? 0 : -1;
    if (rc == 0 && json_array_size(patch)) {
        KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_JSON_PATCH, json_incref(patch), INGRESS_DEPLOYMENT);
        rc = kfx_kube_call(kube, req, err);
    }
    json_decref(patch);
    kfx_kube_destroy(&kube);
    return rc;
}

int kfx_kind_create(kfx_cli_t *cli, const char *name, kfx_error_t *err)
{
    const char *asked = name ? name : KIND_DEFAULT;
    KFX_FREE char *cluster = kfx_xstrdup(strncmp(asked, "kind-", 5) == 0 ? asked + 5 : asked);
    KFX_FREE char *context = kfx_xasprintf("kind-%s", cluster);
    KFX_FREE char *file = kfx_kubefile_path(cli->opts.kubeconfig, err);
    if (!file)
        return -1;
    if (cli->opts.dry_run)
        return kfx_error_set(err, KFX_E_INVALID, "--dry-run makes no cluster: leave --create-kind away");
    if (make_cluster(cli, cluster, file, err) < 0)
        return -1;
    char *const ingress[] = {
        (char[]){"kubectl"}, (char[]){"--kubeconfig"},   file, (char[]){"--context"}, context, (char[]){"apply"},
        (char[]){"-f"},      (char[]){INGRESS_MANIFEST}, NULL};
    if (run(ingress, NULL, NULL, err) < 0)
        return kfx_error_wrap(err, "ingress controller of kind cluster %s", cluster);
    if (pass_tls_through(cli, context, err) < 0)
        return kfx_error_wrap(err, "ingress controller of kind cluster %s", cluster);
    if (!cli->opts.host_container) {
        static char container[300]; /* lives as long as the options that borrow it */
        snprintf(container, sizeof container, "%s-control-plane", cluster);
        cli->opts.host_container = container;
    }
    kfx_out_step(&cli->out, -1, "The cluster has an ingress controller");
    return 0;
}
