/* kube/exec.c: client-go credential plugins (client.authentication.k8s.io/v1 and v1beta1), for the CLI only. No shell,
 * a deadline, bounded output; the answer goes nowhere but into the configuration. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#define API_V1 "client.authentication.k8s.io/v1"
#define API_V1BETA1 "client.authentication.k8s.io/v1beta1"
#define OUTPUT_MAX (1u << 20)
#define ARGS_MAX 256

extern char **environ;

typedef struct {
    char **items; /* NULL-terminated, owned */
    size_t len;
} strings_t;

static void strings_add(strings_t *self, char *text)
{
    self->items = kfx_xrealloc(self->items, (self->len + 2) * sizeof *self->items);
    self->items[self->len++] = text;
    self->items[self->len] = NULL;
}

static void strings_free(strings_t *self)
{
    for (size_t i = 0; i < self->len; i++)
        free(self->items[i]);
    free(self->items);
}

static bool same_variable(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return n == strcspn(b, "=") && strncmp(a, b, n) == 0;
}

/* Sets NAME=value; a later one of the same name wins. text is taken. */
static void env_set(strings_t *env, char *text)
{
    for (size_t i = 0; i < env->len; i++) {
        if (same_variable(env->items[i], text)) {
            free(env->items[i]);
            env->items[i] = text;
            return;
        }
    }
    strings_add(env, text);
}

/* What the plugin learns about us: KUBERNETES_EXEC_INFO. */
static char *exec_info(const char *api, const json_t *spec, const json_t *cluster, bool interactive)
{
    KFX_JSON json_t *info = json_pack("{s:s, s:s, s:{s:b}}", "apiVersion", api, "kind", "ExecCredential", "spec",
                                      "interactive", interactive);
    if (kfx_json_bool(spec, false, "provideClusterInfo")) {
        static const char *const keys[] = {"server", "tls-server-name", "insecure-skip-tls-verify",
                                           "certificate-authority-data", "proxy-url"};
        json_t *out = json_object();
        for (size_t i = 0; i < KFX_COUNT(keys); i++) {
            json_t *value = json_object_get(cluster, keys[i]);
            if (value)
                json_object_set(out, keys[i], value);
        }
        kfx_json_put(info, out, "spec", "cluster");
    }
    char *text = kfx_json_text(info);
    char *line = kfx_xasprintf("KUBERNETES_EXEC_INFO=%s", text ? text : "{}");
    free(text);
    return line;
}

static void build(const json_t *spec, const char *api, const json_t *cluster, bool interactive, const char *command,
                  strings_t *argv, strings_t *env)
{
    size_t i;
    const json_t *item;
    const json_t *args = kfx_json_get(spec, "args"), *vars = kfx_json_get(spec, "env");
    strings_add(argv, kfx_xstrdup(command));
    json_array_foreach (args, i, item) {
        if (json_is_string(item) && argv->len < ARGS_MAX)
            strings_add(argv, kfx_xstrdup(json_string_value(item)));
    }
    for (char **e = environ; *e; e++)
        strings_add(env, kfx_xstrdup(*e));
    json_array_foreach (vars, i, item) {
        const char *name = kfx_json_str(item, "name"), *value = kfx_json_str(item, "value");
        if (name && *name && !strchr(name, '='))
            env_set(env, kfx_xasprintf("%s=%s", name, value ? value : ""));
    }
    env_set(env, exec_info(api, spec, cluster, interactive));
}

static pid_t spawn(const char *command, const strings_t *argv, const strings_t *env, bool interactive, int *out,
                   kfx_error_t *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        kfx_error_set(err, KFX_E_INTERNAL, "exec plugin %s: %s", command, strerror(errno));
        return -1;
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGTERM);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    if (!interactive)
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid = -1;
    int rc = posix_spawnp(&pid, command, &actions, &attr, argv->items, env->items);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc != 0) {
        close(fds[0]);
        kfx_error_set(err, rc == ENOENT ? KFX_E_NOT_FOUND : KFX_E_INTERNAL, "exec plugin %s cannot be started: %s",
                      command, strerror(rc));
        return -1;
    }
    *out = fds[0];
    return pid;
}

/* Reads until the plugin closes its output. */
static int drain(int fd, int64_t deadline, kfx_buf_t *out, const char *command, kfx_error_t *err)
{
    for (;;) {
        int64_t left = deadline - kfx_now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return kfx_error_set(err, KFX_E_TIMEOUT, "exec plugin %s: no answer in time", command);
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kfx_error_set(err, KFX_E_INTERNAL, "exec plugin %s: %s", command, strerror(errno));
        if (n == 0)
            return 0;
        if (kfx_buf_add(out, chunk, (size_t)n) != 0)
            return kfx_error_set(err, KFX_E_PROTOCOL, "exec plugin %s: more than %u bytes of output", command,
                                 OUTPUT_MAX);
        kfx_wipe(chunk, (size_t)n);
    }
}

/* It closed its output; it gets until the deadline to end, then it is ended. */
static int reap(pid_t pid, int64_t deadline, bool at_once, int *status)
{
    for (int64_t pause = 1;; pause = pause < 50 ? pause * 2 : 50) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid)
            return 0;
        if (got < 0 && errno != EINTR)
            return -1;
        if (at_once || kfx_now_ms() >= deadline) {
            kill(pid, SIGKILL);
            while (waitpid(pid, status, 0) < 0 && errno == EINTR)
                ;
            return 0;
        }
        poll(NULL, 0, (int)pause);
    }
}

static int take_status(kfx_kube_config_t *config, const char *text, size_t len, const char *api, const char *command,
                       kfx_error_t *err)
{
    KFX_JSON json_t *answer = kfx_json_parse(text, len, NULL); /* the parser's message may quote a token */
    const char *kind = kfx_json_str(answer, "kind"), *version = kfx_json_str(answer, "apiVersion");
    if (!kind || !version || strcmp(kind, "ExecCredential") != 0 || strcmp(version, api) != 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "exec plugin %s: its output is no ExecCredential of %s", command,
                             api);
    const char *token = kfx_json_str(answer, "status", "token");
    const char *cert = kfx_json_str(answer, "status", "clientCertificateData");
    const char *key = kfx_json_str(answer, "status", "clientKeyData");
    const char *expires = kfx_json_str(answer, "status", "expirationTimestamp");
    if ((!token || !*token) && (!cert || !key))
        return kfx_error_set(err, KFX_E_PROTOCOL, "exec plugin %s: its answer has neither a token nor a certificate",
                             command);
    time_t end = expires ? kfx_rfc3339_parse(expires) : -1;
    if (end != -1 && end <= time(NULL))
        return kfx_error_set(err, KFX_E_UNAUTHORIZED, "exec plugin %s: the credential it gave has expired", command);
    if (token && *token) {
        free(config->token);
        config->token = kfx_xstrdup(token);
    }
    if (cert && key) {
        free(config->client_cert_pem);
        if (config->client_key_pem)
            kfx_wipe(config->client_key_pem, strlen(config->client_key_pem));
        free(config->client_key_pem);
        config->client_cert_pem = kfx_xstrdup(cert);
        config->client_key_pem = kfx_xstrdup(key);
    }
    return 0;
}

static int run(const char *command, const strings_t *argv, const strings_t *env, bool interactive, int64_t deadline,
               kfx_buf_t *out, kfx_error_t *err)
{
    KFX_CLOSE int fd = -1;
    pid_t pid = spawn(command, argv, env, interactive, &fd, err);
    if (pid < 0)
        return -1;
    int rc = drain(fd, deadline, out, command, err);
    int status = 0;
    if (reap(pid, deadline, rc != 0, &status) != 0 && rc == 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "exec plugin %s: cannot wait for it: %s", command, strerror(errno));
    if (rc != 0)
        return -1;
    if (WIFSIGNALED(status))
        return kfx_error_set(err, KFX_E_UNAUTHORIZED, "exec plugin %s: ended by signal %d", command, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return kfx_error_set(err, KFX_E_UNAUTHORIZED, "exec plugin %s: exit status %d", command, WEXITSTATUS(status));
    return 0;
}

int kfx_exec_credential(kfx_kube_config_t *config, const json_t *spec, const json_t *cluster, const char *dir,
                        int timeout_ms, kfx_error_t *err)
{
    const char *api = kfx_json_str(spec, "apiVersion");
    const char *command = kfx_json_str(spec, "command");
    const char *mode = kfx_json_str(spec, "interactiveMode");
    if (!command || !*command)
        return kfx_error_set(err, KFX_E_INVALID, "the exec plugin has no command");
    if (!api || (strcmp(api, API_V1) != 0 && strcmp(api, API_V1BETA1) != 0))
        return kfx_error_set(err, KFX_E_INVALID, "exec plugin %s: apiVersion \"%s\" is not supported (%s, %s are)",
                             command, api ? api : "", API_V1, API_V1BETA1);
    if (!dir && command[0] != '/' && strchr(command, '/'))
        return kfx_error_set(err, KFX_E_INVALID, "exec plugin %s: its path is relative to nothing", command);
    bool tty = isatty(STDIN_FILENO) == 1;
    bool interactive = tty && !(mode && strcmp(mode, "Never") == 0);
    if (mode && strcmp(mode, "Always") == 0 && !tty)
        return kfx_error_set(err, KFX_E_INVALID, "exec plugin %s needs a terminal (interactiveMode: Always)", command);

    KFX_FREE char *path =
        command[0] != '/' && strchr(command, '/') ? kfx_xasprintf("%s/%s", dir, command) : kfx_xstrdup(command);
    strings_t argv = {0}, env = {0};
    build(spec, api, cluster, interactive, path, &argv, &env);
    kfx_buf_t out = KFX_BUF_INIT(OUTPUT_MAX);
    kfx_error_t why = KFX_ERROR_INIT;
    int rc = run(path, &argv, &env, interactive, kfx_now_ms() + timeout_ms, &out, &why);
    const char *hint = kfx_json_str(spec, "installHint");
    if (rc < 0 && why.code == KFX_E_NOT_FOUND && hint) /* the kubeconfig's author says where to get it */
        kfx_error_set(err, why.code, "%s. %.600s", why.msg, hint);
    else if (rc < 0 && err)
        *err = why;
    if (rc == 0)
        rc = take_status(config, out.data ? out.data : "", out.len, api, path, err);
    kfx_buf_wipe(&out);
    strings_free(&argv);
    strings_free(&env);
    return rc;
}
