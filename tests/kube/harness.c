#include "tests/kube/harness.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define LIMIT_MS 30000 /* a busy machine is no failure */

static char dir[64];

static void make_certificates(void)
{
    static const char *const script =
        "set -e; cd \"$1\"\n"
        "new() { openssl ecparam -genkey -name prime256v1 -noout -out $1.key; }\n"
        "new ca; openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 2 -out ca.pem "
        "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign\n"
        "printf 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:plane.example\\n' > server.ext\n"
        "printf 'extendedKeyUsage=clientAuth\\n' > client.ext\n"
        "for n in server client; do new $n\n"
        "openssl req -new -key $n.key -subj /CN=test-$n -out $n.csr\n"
        "openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $n.ext -out $n.pem; "
        "done\n";
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execl("/bin/sh", "sh", "-c", script, "sh", dir, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int harness_setup(void **state)
{
    (void)state;
    static const char *const proxies[] = {"http_proxy",  "https_proxy", "HTTP_PROXY",
                                          "HTTPS_PROXY", "all_proxy",   "ALL_PROXY"};
    for (size_t i = 0; i < KFX_COUNT(proxies); i++)
        unsetenv(proxies[i]);
    signal(SIGPIPE, SIG_IGN); /* writing to a server that ended */
    kfx_copy(dir, sizeof dir, "/tmp/kfx-kube-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    make_certificates();
    return 0;
}

int harness_teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"ca.key",     "ca.pem",     "ca.srl",     "server.key",
                                        "server.csr", "server.ext", "server.pem", "client.key",
                                        "client.csr", "client.ext", "client.pem", "token"};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        KFX_FREE char *path = kfx_xasprintf("%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return 0;
}

const char *harness_dir(void)
{
    return dir;
}

char *harness_file(const char *name)
{
    KFX_FREE char *path = kfx_xasprintf("%s/%s", dir, name);
    kfx_error_t err = KFX_ERROR_INIT;
    char *text = kfx_file_read(path, 1 << 20, NULL, &err);
    if (!text)
        fail_msg("%s", err.msg);
    return text;
}

/* ---- the server
 * ------------------------------------------------------------------------------------------------------------ */

static void run_server(int in, int out, int port)
{
    KFX_FREE char *cert = kfx_xasprintf("%s/server.pem", dir);
    KFX_FREE char *key = kfx_xasprintf("%s/server.key", dir);
    KFX_FREE char *ca = kfx_xasprintf("%s/ca.pem", dir);
    KFX_FREE char *number = kfx_xasprintf("%d", port);
    dup2(in, 0);
    dup2(out, 1);
    execlp("python3", "python3", getenv("KFX_FAKE_APISERVER"), "--cert", cert, "--key", key, "--client-ca", ca,
           "--port", number, (char *)NULL);
    _exit(127);
}

/* Reads more output; false when nothing came in time. */
static bool read_more(fake_t *self, int64_t deadline)
{
    int64_t left = deadline - kfx_now_ms();
    struct pollfd p = {.fd = self->out, .events = POLLIN};
    if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
        return false;
    char chunk[4096];
    ssize_t n = read(self->out, chunk, sizeof chunk);
    if (n <= 0)
        return false;
    self->seen = kfx_xrealloc(self->seen, self->seen_len + (size_t)n + 1);
    memcpy(self->seen + self->seen_len, chunk, (size_t)n);
    self->seen_len += (size_t)n;
    self->seen[self->seen_len] = '\0';
    char *end;
    while ((end = memchr(self->seen, '\n', self->seen_len))) {
        *end = '\0';
        if (sscanf(self->seen, "PORT %d", &self->port) != 1) {
            json_t *entry = json_loads(self->seen, 0, NULL);
            assert_non_null(entry);
            json_array_append_new(self->log, entry);
        }
        self->seen_len -= (size_t)(end + 1 - self->seen);
        memmove(self->seen, end + 1, self->seen_len + 1);
    }
    return true;
}

fake_t *fake_start(const char *script, int port)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    fake_t *self = kfx_xcalloc(1, sizeof *self);
    self->log = json_array();
    self->pid = fork();
    assert_true(self->pid >= 0);
    if (self->pid == 0)
        run_server(in[0], out[1], port);
    close(in[0]);
    close(out[1]);
    self->in = in[1];
    self->out = out[0];
    size_t len = strlen(script);
    char *line = kfx_xstrdup(script);
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\'')
            line[i] = '"';
        else if (line[i] == '\n')
            line[i] = ' ';
    }
    line[len] = '\n'; /* over the NUL: written by length */
    assert_int_equal(write(self->in, line, len + 1), len + 1);
    free(line);
    int64_t deadline = kfx_now_ms() + LIMIT_MS;
    while (self->port == 0 && read_more(self, deadline))
        ;
    if (self->port == 0)
        fail_msg("the fake API server did not start");
    return self;
}

void fake_stop(fake_t **fake_p)
{
    fake_t *self = KFX_STEAL(*fake_p);
    close(self->in);
    close(self->out);
    kill(self->pid, SIGKILL);
    waitpid(self->pid, NULL, 0);
    json_decref(self->log);
    free(self->seen);
    free(self);
}

static bool matches(const json_t *entry, const char *match)
{
    const char *blank = strchr(match, ' ');
    const char *method = kfx_json_str(entry, "method"), *path = kfx_json_str(entry, "path");
    size_t n = (size_t)(blank - match);
    if (strlen(method) != n || strncmp(method, match, n) != 0)
        return false;
    return blank[1] == '=' ? strcmp(path, blank + 2) == 0 : strstr(path, blank + 1) != NULL;
}

static const json_t *nth(const fake_t *self, const char *match, size_t n, size_t *count)
{
    size_t i;
    const json_t *entry;
    *count = 0;
    json_array_foreach (self->log, i, entry) {
        if (matches(entry, match) && ++*count == n)
            return entry;
    }
    return NULL;
}

const json_t *fake_wait(fake_t *self, const char *match, size_t n)
{
    int64_t deadline = kfx_now_ms() + LIMIT_MS;
    const json_t *found;
    size_t count;
    while (!(found = nth(self, match, n, &count)) && read_more(self, deadline))
        ;
    if (!found)
        fail_msg("the server saw %zu of %zu requests \"%s\"", count, n, match);
    return found;
}

size_t fake_count(fake_t *self, const char *match)
{
    size_t count;
    while (read_more(self, 0))
        ;
    (void)nth(self, match, SIZE_MAX, &count);
    return count;
}

void proxy_start(proxy_t *self, const char *host, const char *port)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    self->pid = fork();
    assert_true(self->pid >= 0);
    if (self->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execlp("python3", "python3", getenv("KFX_FREEZE_PROXY"), host, port, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    self->in = fdopen(in[1], "w");
    self->out = fdopen(out[0], "r");
    char line[32];
    assert_non_null(fgets(line, sizeof line, self->out));
    assert_int_equal(sscanf(line, "PORT %d", &self->port), 1);
}

int proxy_do(proxy_t *self, const char *command, char target[128])
{
    char answer[160], last[128];
    int made = 0;
    fprintf(self->in, "%s\n", command);
    fflush(self->in);
    assert_non_null(fgets(answer, sizeof answer, self->out));
    assert_int_equal(sscanf(answer, "DONE %d %127s", &made, last), 2);
    if (target)
        kfx_copy(target, 128, last);
    return made;
}

void proxy_stop(proxy_t *self)
{
    fclose(self->in);
    fclose(self->out);
    kill(self->pid, SIGKILL);
    waitpid(self->pid, NULL, 0);
}

int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

kfx_kube_config_t *fake_config(int port)
{
    kfx_kube_config_t *config = kfx_xcalloc(1, sizeof *config);
    config->server = kfx_xasprintf("https://127.0.0.1:%d", port);
    config->ca_pem = harness_file("ca.pem");
    config->token = kfx_xstrdup("s3cr3t-token");
    return config;
}

kfx_kube_t *fake_client(const fake_t *fake)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_kube_t *kube = kfx_kube_new(fake_config(fake->port), "kfx-test/1", &err);
    if (!kube)
        fail_msg("%s", err.msg);
    return kube;
}
