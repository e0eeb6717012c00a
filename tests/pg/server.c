/* tests/pg/server.c: see server.h. */
#include "tests/pg/server.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BIN "/usr/lib/postgresql/15/bin/"
#define START_MS 30000

static bool bench;

static void die(const char *what)
{
    fprintf(stderr, "tests/pg: %s: %s\n", what, strerror(errno));
    exit(1);
}

bool pg_server_available(void)
{
    return access(BIN "postgres", X_OK) == 0 && access(BIN "initdb", X_OK) == 0;
}

void pg_server_for_bench(void)
{
    bench = true;
}

/* Somebody who is not root, if we are. */
static void choose_user(pg_server_t *self)
{
    struct passwd *user = NULL;

    self->uid = getuid();
    self->gid = getgid();
    if (self->uid == 0 && !(user = getpwnam("postgres")) && !(user = getpwnam("nobody")))
        die("neither user postgres nor nobody");
    if (user) {
        self->uid = user->pw_uid;
        self->gid = user->pw_gid;
    }
}

static void free_port(char port[8])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    KFX_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("no free port");
    snprintf(port, 8, "%u", ntohs(address.sin_port));
}

static void put(const pg_server_t *self, const char *name, const char *text)
{
    kfx_error_t err;
    KFX_FREE char *path = kfx_xasprintf("%s/%s", self->dir, name);
    if (kfx_file_write_atomic(path, text, strlen(text), 0600, &err) < 0) {
        fprintf(stderr, "tests/pg: %s\n", err.msg);
        exit(1);
    }
    if (chown(path, self->uid, self->gid) < 0)
        die(path);
}

/* Runs a program as the server's user, its output in dir/log, and dies with us. */
static pid_t spawn(const pg_server_t *self, const char *const argv[])
{
    KFX_FREE char *log = kfx_xasprintf("%s/log", self->dir);
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(126);
    if (getuid() == 0 && (setgroups(0, NULL) < 0 || setgid(self->gid) < 0 || setuid(self->uid) < 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGINT); /* after setuid, which clears it */
    if (getppid() != parent || chdir(self->dir) < 0)
        _exit(126);
    execv(argv[0], (char *const *)(uintptr_t)argv); /* execv only reads them */
    _exit(127);
}

void pg_server_make(pg_server_t *self, const char *password, const char *cert_pem, const char *key_pem)
{
    int status;

    memset(self, 0, sizeof *self);
    choose_user(self);
    snprintf(self->dir, sizeof self->dir, "/tmp/kubeflex-pg-XXXXXX");
    if (!mkdtemp(self->dir) || chown(self->dir, self->uid, self->gid) < 0)
        die("temporary folder");
    put(self, "log", "");
    put(self, "password", password);
    put(self, "tls.crt", cert_pem);
    put(self, "tls.key", key_pem);
    put(self, "hba", "hostssl all all 127.0.0.1/32 scram-sha-256\n"); /* as in the cluster: no plain text */
    KFX_FREE char *data = kfx_xasprintf("%s/data", self->dir);
    KFX_FREE char *pwfile = kfx_xasprintf("--pwfile=%s/password", self->dir);
    const char *argv[] = {BIN "initdb", "-D",        data, "-U",   "postgres",         "--auth=scram-sha-256",
                          pwfile,       "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", NULL};
    pid_t pid = spawn(self, argv);
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        KFX_FREE char *log = pg_server_log(self);
        fprintf(stderr, "%s", log ? log : "");
        die("initdb failed");
    }
}

/* Not only does the port answer: recovery is over. */
static bool answers(const pg_server_t *self)
{
    const char *keys[] = {"host", "port", "dbname", "connect_timeout", NULL};
    const char *values[] = {"127.0.0.1", self->port, "postgres", "2", NULL};
    return PQpingParams(keys, values, 0) == PQPING_OK;
}

void pg_server_start(pg_server_t *self)
{
    KFX_FREE char *data = kfx_xasprintf("%s/data", self->dir);
    KFX_FREE char *hba = kfx_xasprintf("hba_file=%s/hba", self->dir);
    KFX_FREE char *cert = kfx_xasprintf("ssl_cert_file=%s/tls.crt", self->dir);
    KFX_FREE char *key = kfx_xasprintf("ssl_key_file=%s/tls.key", self->dir);
    KFX_FREE char *sockets = kfx_xasprintf("unix_socket_directories=%s", self->dir);

    if (!*self->port)
        free_port(self->port);
    const char *argv[] = {BIN "postgres",
                          "-D",
                          data,
                          "-p",
                          self->port,
                          "-c",
                          "listen_addresses=127.0.0.1",
                          "-c",
                          hba,
                          "-c",
                          "ssl=on",
                          "-c",
                          cert,
                          "-c",
                          key,
                          "-c",
                          sockets,
                          "-c",
                          bench ? "fsync=on" : "fsync=off",
                          "-c",
                          bench ? "log_statement=none" : "log_statement=all",
                          "-c",
                          "log_min_error_statement=error",
                          "-c",
                          bench ? "log_connections=off" : "log_connections=on",
                          "-c",
                          bench ? "max_connections=1000" : "max_connections=200",
                          NULL};
    int life[2];
    if (pipe(life) < 0)
        die("pipe");
    fcntl(life[0], F_SETFD, FD_CLOEXEC);
    self->pid = spawn(self, argv); /* every process of the server inherits life[1] */
    close(life[1]);
    self->life = life[0];
    int64_t deadline = kfx_now_ms() + START_MS;
    while (!answers(self)) {
        int status;
        if (waitpid(self->pid, &status, WNOHANG) == self->pid || kfx_now_ms() > deadline) {
            KFX_FREE char *log = pg_server_log(self);
            fprintf(stderr, "%s", log ? log : "");
            die("the server does not start");
        }
        poll(NULL, 0, 10);
    }
}

static void end(pg_server_t *self, int number)
{
    if (self->pid > 0) {
        kill(self->pid, number);
        waitpid(self->pid, NULL, 0);
        /* A killed postmaster's children go on for a moment, and serve whoever is connected. */
        struct pollfd pfd = {.fd = self->life, .events = POLLIN};
        if (poll(&pfd, 1, START_MS) != 1)
            die("the server's processes do not end");
        close(self->life);
    }
    self->pid = 0;
}

void pg_server_stop(pg_server_t *self)
{
    end(self, SIGINT);
}

void pg_server_kill(pg_server_t *self)
{
    end(self, SIGKILL);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

void pg_server_remove(pg_server_t *self)
{
    pg_server_stop(self);
    nftw(self->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *pg_server_log(const pg_server_t *self)
{
    KFX_FREE char *path = kfx_xasprintf("%s/log", self->dir);
    return kfx_file_read(path, 64 << 20, NULL, NULL);
}
