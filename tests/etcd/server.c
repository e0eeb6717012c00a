/* tests/etcd/server.c: see server.h. */
#include "tests/etcd/server.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "storage-agent/secret.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 30000
#define ARGS_MAX 40

static void die(const char *what)
{
    perror(what);
    exit(1);
}

const char *etcd_program(void)
{
    static char path[512];
    const char *given = getenv("KFX_TEST_ETCD"), *cache = getenv("KUBEFLEX_CACHE");
    glob_t found;
    char pattern[300];

    if (given)
        return given;
    snprintf(pattern, sizeof pattern, "%s/programs/etcd-*/bin/etcd", cache ? cache : "/var/cache/kubeflex");
    if (glob(pattern, 0, NULL, &found) != 0)
        return NULL;
    kfx_copy(path, sizeof path, found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return path;
}

static void free_port(char out[8])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("free port");
    close(fd);
    snprintf(out, 8, "%u", ntohs(address.sin_port));
}

static void write_value(const etcd_server_t *self, const json_t *certs, const char *key)
{
    KFX_FREE char *path = kfx_xasprintf("%s/%s", self->dir, key);
    KFX_FREE char *value = kfx_secret_value(certs, key, NULL);
    FILE *file = fopen(path, "we");
    if (!file || !value || fputs(value, file) < 0 || fclose(file) != 0)
        die(path);
}

static bool listens(const etcd_server_t *self)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(self->port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return open;
}

static void run(const etcd_server_t *self, char *const *argv)
{
    KFX_FREE char *log = kfx_xasprintf("%s/log", self->dir);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(fd, 1);
    dup2(fd, 2);
    execv(etcd_program(), argv);
    _exit(127);
}

void etcd_server_start(etcd_server_t *self, const json_t *certs, const char *const *extra)
{
    char *argv[ARGS_MAX + 1] = {NULL}, peer[8];
    size_t n = 0;

    if (!self->dir[0]) {
        kfx_copy(self->dir, sizeof self->dir, "/tmp/kubeflex-etcd-XXXXXX");
        if (!mkdtemp(self->dir))
            die("temporary folder");
        free_port(self->port);
        snprintf(self->url, sizeof self->url, "http%s://127.0.0.1:%s", certs ? "s" : "", self->port);
    }
    free_port(peer);
    argv[n++] = kfx_xstrdup("etcd");
    argv[n++] = kfx_xasprintf("--data-dir=%s/data", self->dir);
    argv[n++] = kfx_xasprintf("--listen-client-urls=%s", self->url);
    argv[n++] = kfx_xasprintf("--advertise-client-urls=%s", self->url);
    argv[n++] = kfx_xasprintf("--listen-peer-urls=http://127.0.0.1:%s", peer);
    argv[n++] = kfx_xstrdup("--unsafe-no-fsync");
    argv[n++] = kfx_xstrdup("--log-level=warn");
    if (certs) {
        static const char *const keys[] = {"ca.crt", "server.crt", "server.key"};
        for (size_t i = 0; i < KFX_COUNT(keys); i++)
            write_value(self, certs, keys[i]);
        argv[n++] = kfx_xstrdup("--client-cert-auth=true");
        argv[n++] = kfx_xasprintf("--trusted-ca-file=%s/ca.crt", self->dir);
        argv[n++] = kfx_xasprintf("--cert-file=%s/server.crt", self->dir);
        argv[n++] = kfx_xasprintf("--key-file=%s/server.key", self->dir);
    }
    for (; extra && *extra && n < ARGS_MAX; extra++)
        argv[n++] = kfx_xstrdup(*extra);
    self->pid = fork();
    if (self->pid == 0)
        run(self, argv);
    for (size_t i = 0; i < n; i++)
        free(argv[i]);
    int64_t deadline = kfx_now_ms() + START_MS;
    while (!listens(self)) {
        if (kfx_now_ms() > deadline || waitpid(self->pid, NULL, WNOHANG) != 0) {
            fprintf(stderr, "etcd does not start: see %s/log\n", self->dir);
            exit(1);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

void etcd_server_kill(etcd_server_t *self)
{
    if (self->pid > 0) {
        kill(self->pid, SIGKILL);
        waitpid(self->pid, NULL, 0);
    }
    self->pid = 0;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

void etcd_server_remove(etcd_server_t *self)
{
    etcd_server_kill(self);
    if (self->dir[0])
        nftw(self->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    self->dir[0] = '\0';
}
