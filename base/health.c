#include "base/health.h"

#include "base/clock.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BEAT_MAX_MS 15000
#define CONNECTIONS_MAX 32
#define CONNECTION_IDLE_S 10

static struct MHD_Daemon *server;
static int listen_port;
static atomic_int_least64_t last_beat;
static _Atomic(const char *) not_ready = "starting"; /* NULL: ready */
static _Atomic(const char *) ready_how = "";

void kfx_health_beat(void)
{
    atomic_store_explicit(&last_beat, kfx_now_ms(), memory_order_relaxed);
}

void kfx_health_set_ready(bool ready, const char *reason)
{
    if (ready)
        atomic_store(&ready_how, reason ? reason : "");
    atomic_store(&not_ready, ready ? NULL : reason ? reason : "not ready");
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, char *text)
{
    struct MHD_Response *response =
        text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result plain(struct MHD_Connection *connection, unsigned status, const char *text)
{
    char line[300];
    snprintf(line, sizeof line, "%s\n", text);
    return answer(connection, status, "text/plain; charset=utf-8", strdup(line));
}

static enum MHD_Result readyz(struct MHD_Connection *connection)
{
    const char *reason = atomic_load(&not_ready), *how = atomic_load(&ready_how);
    char text[200];
    if (reason)
        return plain(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
    snprintf(text, sizeof text, "ok%s%s", *how ? ": " : "", how);
    return plain(connection, MHD_HTTP_OK, text);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request)
{
    (void)ctx, (void)version, (void)upload, (void)request;
    if (*upload_size > 0) {
        *upload_size = 0; /* a body is read and forgotten */
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return plain(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    if (strcmp(url, "/healthz") == 0) {
        int64_t age = kfx_now_ms() - atomic_load_explicit(&last_beat, memory_order_relaxed);
        return age <= BEAT_MAX_MS ? plain(connection, MHD_HTTP_OK, "ok")
                                  : plain(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the main loop does not turn");
    }
    if (strcmp(url, "/readyz") == 0)
        return readyz(connection);
    if (strcmp(url, "/metrics") == 0)
        return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", kfx_metrics_text());
    return plain(connection, MHD_HTTP_NOT_FOUND, "not found: /healthz, /readyz, /metrics");
}

/* "address:port", "[v6]:port", ":port" or "port" into host ("" = every address) and port. */
static int split(const char *text, char *host, size_t host_size, char *port, size_t port_size, kfx_error_t *err)
{
    const char *colon = strrchr(text, ':');
    const char *digits = colon ? colon + 1 : text;
    size_t host_len = colon ? (size_t)(colon - text) : 0, port_len = strlen(digits);
    if (host_len >= 2 && text[0] == '[' && text[host_len - 1] == ']') {
        text++;
        host_len -= 2;
    } else if (memchr(text, ':', host_len)) {
        host_len = host_size; /* an IPv6 address without brackets */
    }
    if (port_len == 0 || port_len >= port_size || strspn(digits, "0123456789") != port_len || atol(digits) > 65535 ||
        host_len >= host_size)
        return kfx_error_set(err, KFX_E_INVALID, "health endpoint: '%s' is no address:port, :port or port", text);
    snprintf(host, host_size, "%.*s", (int)host_len, text);
    snprintf(port, port_size, "%s", digits);
    return 0;
}

static int bind_one(const struct addrinfo *info)
{
    int one = 1, zero = 0;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero); /* "::" takes IPv4 too */
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, CONNECTIONS_MAX) == 0)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static int open_listener(const char *host, const char *port, kfx_error_t *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (rc != 0)
        return kfx_error_set(err, KFX_E_INVALID, "health endpoint on %s:%s: %s", host, port, gai_strerror(rc));
    int fd = -1;
    /* IPv6 first where no address is given, because its socket takes both. */
    for (int pass = 0; pass < 2 && fd < 0; pass++) {
        for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
            if (pass == 1 || *host || at->ai_family == AF_INET6)
                fd = bind_one(at);
        }
    }
    int number = errno;
    freeaddrinfo(list);
    if (fd < 0)
        kfx_error_set(err, KFX_E_UNAVAILABLE, "health endpoint on %s:%s: %s%s", host, port, strerror(number),
                      number == EADDRINUSE ? ": end what listens there, or choose another port with --health" : "");
    return fd;
}

static int bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t size = sizeof address;
    if (getsockname(fd, &address.any, &size) < 0)
        return -1;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

int kfx_health_start(const char *listen_on, kfx_error_t *err)
{
    char host[128], port[8];
    if (server)
        return kfx_error_set(err, KFX_E_EXISTS, "health endpoint: it runs already");
    if (split(listen_on, host, sizeof host, port, sizeof port, err) < 0)
        return -1;
    KFX_CLOSE int fd = open_listener(host, port, err);
    if (fd < 0)
        return -1;
    int port_in_use = bound_port(fd);
    if (port_in_use < 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "health endpoint: %s", strerror(errno));
    kfx_health_beat();
    /* The server's thread inherits the mask: signals are the main loop's business. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    server =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL, on_request, NULL,
                         MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_IDLE_S, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    fd = -1; /* the server closes it, also when it fails */
    if (!server)
        return kfx_error_set(err, KFX_E_INTERNAL, "health endpoint on %s: the HTTP server did not start", listen_on);
    listen_port = port_in_use;
    return 0;
}

int kfx_health_port(void)
{
    return listen_port;
}

void kfx_health_stop(void)
{
    if (server)
        MHD_stop_daemon(server);
    server = NULL;
    listen_port = 0;
}
