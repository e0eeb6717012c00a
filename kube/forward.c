/* kube/forward.c: see forward.h. The API server hands a WebSocket on to the kubelet as it is; channels 0 (data) and 1
 * (error) belong to the one port, and the first message of each is that port's number. */
#include "kube/forward.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/internal.h"
#include "kube/websocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PROTOCOL "v4.channel.k8s.io"
#define ANSWER_LIMIT_MS 8000
#define HEAD_MAX 16384
#define PENDING_MAX (256u << 10) /* bytes that wait for one side, over which the other is not read */
#define CHUNK 16384
#define CHANNEL_DATA 0
#define CHANNEL_ERROR 1

struct kfx_forward {
    kfx_kube_t *kube;
    char *ns, *selector;
    int port;
    char *dir, *path, *endpoint;
    int listener;
    zactor_t *actor;
};

/* One connection: the actor's thread. */
typedef struct {
    kfx_forward_t *owner;
    zsock_t *pipe;
    int local;
    CURL *easy;
    struct curl_slist *connect_to;
    curl_socket_t remote;
    char errbuf[CURL_ERROR_SIZE];
    char *pod;
    kfx_buf_t in, to_remote, to_local;
    char sending[CHUNK]; /* of to_remote: what was offered once must be offered again as it is (SSL_write(3)) */
    size_t sending_len;
    bool greeted[2]; /* the first message of each channel has been seen */
    bool local_ended;
} link_t;

static char *find_pod(kfx_forward_t *self, kfx_error_t *err)
{
    KFX_FREE char *selector = kfx_kube_escape(self->selector);
    KFX_REQUEST kfx_request_t *req = kfx_request_new(
        KFX_GET, NULL, "/api/v1/namespaces/%s/pods?labelSelector=%s&fieldSelector=status.phase%%3DRunning", self->ns,
        selector);
    req->timeout_ms = ANSWER_LIMIT_MS;
    req->no_retry = true;
    if (kfx_kube_call(self->kube, req, err) != 0)
        return NULL;
    size_t i;
    json_t *pod;
    json_array_foreach (kfx_json_get(req->answer, "items"), i, pod)
        if (!kfx_json_get(pod, "metadata", "deletionTimestamp") && kfx_json_str(pod, "metadata", "name"))
            return kfx_xstrdup(kfx_json_str(pod, "metadata", "name"));
    kfx_error_set(err, KFX_E_NOT_FOUND, "no pod with %s is running in namespace %s", self->selector, self->ns);
    return NULL;
}

/* TCP, proxy and TLS as every other connection of the client has them; the rest is done by hand. */
static int link_connect(link_t *self, kfx_error_t *err)
{
    const kfx_transport_t *transport = kfx_kube_transport(self->owner->kube);
    self->easy = curl_easy_init();
    if (!self->easy)
        return kfx_error_set(err, KFX_E_INTERNAL, "no HTTP handle: out of memory");
    curl_easy_setopt(self->easy, CURLOPT_URL, transport->base);
    curl_easy_setopt(self->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(self->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(self->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(self->easy, CURLOPT_PROTOCOLS_STR, transport->tls ? "https" : "http");
    curl_easy_setopt(self->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)KFX_CONNECT_LIMIT_MS);
    curl_easy_setopt(self->easy, CURLOPT_ERRORBUFFER, self->errbuf);
    curl_easy_setopt(self->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    if (transport->config->proxy_url)
        curl_easy_setopt(self->easy, CURLOPT_PROXY, transport->config->proxy_url);
    if (transport->connect_to) {
        self->connect_to = curl_slist_append(NULL, transport->connect_to);
        curl_easy_setopt(self->easy, CURLOPT_CONNECT_TO, self->connect_to);
    }
    if (transport->tls)
        kfx_transport_tls(transport, self->easy);
    CURLcode rc = curl_easy_perform(self->easy);
    if (rc == CURLE_OK)
        rc = curl_easy_getinfo(self->easy, CURLINFO_ACTIVESOCKET, &self->remote);
    if (rc != CURLE_OK || self->remote == CURL_SOCKET_BAD)
        return kfx_error_set(err, kfx_curl_code(rc), "%s: %s", transport->config->server,
                             *self->errbuf ? self->errbuf : curl_easy_strerror(rc));
    return 0;
}

/* True when the socket is ready before the deadline. */
static bool ready(int fd, short events, int64_t deadline)
{
    int64_t left = deadline - kfx_now_ms();
    zmq_pollitem_t item = {.fd = fd, .events = events};
    return left > 0 && zmq_poll(&item, 1, (long)left) > 0;
}

static int send_all(link_t *self, const char *data, size_t len, int64_t deadline, kfx_error_t *err)
{
    while (len > 0) {
        size_t sent = 0;
        CURLcode rc = curl_easy_send(self->easy, data, len, &sent);
        if (rc == CURLE_AGAIN && ready(self->remote, ZMQ_POLLOUT, deadline))
            continue;
        if (rc != CURLE_OK)
            return kfx_error_set(err, rc == CURLE_AGAIN ? KFX_E_TIMEOUT : KFX_E_UNAVAILABLE,
                                 "the API server does not take the request: %s", curl_easy_strerror(rc));
        data += sent;
        len -= sent;
    }
    return 0;
}

/* Appends what is there: 1 something came, 0 nothing now, -1 the connection has ended. */
static int receive(link_t *self, kfx_error_t *err)
{
    char chunk[CHUNK];
    size_t got = 0;
    CURLcode rc = curl_easy_recv(self->easy, chunk, sizeof chunk, &got);
    if (rc == CURLE_AGAIN)
        return 0;
    if (rc != CURLE_OK || got == 0)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "the connection to the pod ended%s%s", rc ? ": " : "",
                             rc ? curl_easy_strerror(rc) : "");
    if (kfx_buf_add(&self->in, chunk, got) != 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the API server sends more than can be taken");
    return 1;
}

static void add_header(kfx_buf_t *out, const char *name, const char *prefix, const char *value)
{
    if (value && kfx_header_safe(value))
        kfx_buf_addf(out, "%s: %s%s\r\n", name, prefix, value);
}

static void add_credentials(kfx_buf_t *out, const kfx_kube_config_t *config)
{
    if (config->token_file) {
        char *token = kfx_file_read(config->token_file, HEAD_MAX, NULL, NULL);
        if (token) {
            token[strcspn(token, "\r\n")] = '\0';
            add_header(out, "Authorization", "Bearer ", token);
            kfx_wipe(token, strlen(token));
        }
        free(token);
    } else if (config->token) {
        add_header(out, "Authorization", "Bearer ", config->token);
    } else if (config->username && config->password) {
        char *plain = kfx_xasprintf("%s:%s", config->username, config->password);
        char *coded = kfx_base64_encode(plain, strlen(plain));
        add_header(out, "Authorization", "Basic ", coded);
        kfx_wipe(plain, strlen(plain));
        kfx_wipe(coded, strlen(coded));
        free(plain);
        free(coded);
    }
    add_header(out, "Impersonate-User", "", config->impersonate);
}

/* The path of transport->base ("https://host:port/prefix") without scheme and authority; both are put out. */
static void split_base(const char *base, char **authority, const char **prefix)
{
    const char *host = strstr(base, "://");
    host = host ? host + 3 : base;
    *prefix = strchrnul(host, '/');
    *authority = strndup(host, (size_t)(*prefix - host));
}

static int send_upgrade(link_t *self, const char *key, int64_t deadline, kfx_error_t *err)
{
    const kfx_transport_t *transport = kfx_kube_transport(self->owner->kube);
    KFX_FREE char *authority = NULL;
    const char *prefix;
    split_base(transport->base, &authority, &prefix);
    kfx_buf_t head = KFX_BUF_INIT(2 * HEAD_MAX);
    kfx_buf_addf(&head, "GET %s/api/v1/namespaces/%s/pods/%s/portforward?ports=%d HTTP/1.1\r\n", prefix,
                 self->owner->ns, self->pod, self->owner->port);
    if (transport->host_header)
        kfx_buf_addf(&head, "%s\r\n", transport->host_header);
    else
        kfx_buf_addf(&head, "Host: %s\r\n", authority);
    kfx_buf_addf(&head,
                 "User-Agent: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: " PROTOCOL "\r\n",
                 transport->user_agent, key);
    add_credentials(&head, transport->config);
    kfx_buf_adds(&head, "\r\n");
    int rc = head.failed ? kfx_error_set(err, KFX_E_INVALID, "the credentials are too long for a request")
                         : send_all(self, head.data, head.len, deadline, err);
    kfx_buf_wipe(&head);
    return rc;
}

/* What the API server says instead of 101: a Status, as a rule. */
static int refused(link_t *self, int status, const char *head, const char *body, int64_t deadline, kfx_error_t *err)
{
    char length[24];
    kfx_head_value(head, "Content-Length", length, sizeof length);
    size_t want = strtoul(length, NULL, 10), offset = (size_t)(body - self->in.data);
    want = want < KFX_STATUS_MAX ? want : KFX_STATUS_MAX;
    while (self->in.len - offset < want) {
        int got = receive(self, NULL);
        if (got < 0 || (got == 0 && !ready(self->remote, ZMQ_POLLIN, deadline)))
            break;
    }
    KFX_JSON json_t *answer = kfx_json_parse(self->in.data + offset, self->in.len - offset, NULL);
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/pods/%s/portforward", self->owner->ns, self->pod);
    return kfx_status_error(err, "connect", path, kfx_kube_server(self->owner->kube), status, answer);
}

static int upgrade(link_t *self, kfx_error_t *err)
{
    int64_t deadline = kfx_now_ms() + ANSWER_LIMIT_MS;
    char key[KFX_WS_KEY_SIZE], want[KFX_WS_KEY_SIZE], got[64];
    if (kfx_ws_key(key, err) != 0 || send_upgrade(self, key, deadline, err) != 0)
        return -1;
    char *end = NULL;
    while (!(end = self->in.len ? strstr(self->in.data, "\r\n\r\n") : NULL)) {
        int rc = receive(self, err);
        if (rc < 0)
            return -1;
        if (rc == 0 && !ready(self->remote, ZMQ_POLLIN, deadline))
            return kfx_error_set(err, KFX_E_TIMEOUT, "the API server does not answer the port-forward");
        if (self->in.len > HEAD_MAX)
            return kfx_error_set(err, KFX_E_PROTOCOL, "the API server's answer is no HTTP");
    }
    size_t body = (size_t)(end - self->in.data) + 4;
    KFX_FREE char *head = strndup(self->in.data, body);
    int status = 0;
    if (sscanf(head, "HTTP/1.1 %3d", &status) != 1)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the API server's answer is no HTTP/1.1");
    if (status != 101)
        return refused(self, status, head, self->in.data + body, deadline, err);
    kfx_ws_accept(key, want);
    kfx_head_value(head, "Sec-WebSocket-Accept", got, sizeof got);
    if (strcmp(got, want) != 0)
        return kfx_error_set(err, KFX_E_PROTOCOL, "the API server's WebSocket handshake is wrong");
    kfx_buf_drop(&self->in, body);
    return 0;
}

/* One whole message of a channel. */
static int take_message(link_t *self, const char *data, size_t len, kfx_error_t *err)
{
    unsigned channel = len ? (unsigned char)data[0] : 2;
    if (channel > CHANNEL_ERROR)
        return 0;
    if (!self->greeted[channel]) {
        self->greeted[channel] = true; /* the port's number */
        return 0;
    }
    if (len == 1)
        return 0;
    if (channel == CHANNEL_ERROR)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "port %d of pod %s: %.*s", self->owner->port, self->pod,
                             (int)(len - 1 < 300 ? len - 1 : 300), data + 1);
    if (kfx_buf_add(&self->to_local, data + 1, len - 1) != 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "the reader is too slow");
    return 0;
}

static int take_frames(link_t *self, kfx_error_t *err)
{
    kfx_ws_frame_t frame;
    int rc;
    while ((rc = kfx_ws_peek(&self->in, &frame, err)) > 0) {
        switch (frame.opcode) {
        case KFX_WS_BINARY:
            if (!frame.fin) /* the kubelet sends each message as one frame */
                return kfx_error_set(err, KFX_E_PROTOCOL, "a fragmented WebSocket message");
            if (take_message(self, frame.data, frame.len, err) != 0)
                return -1;
            break;
        case KFX_WS_PING:
            if (kfx_ws_put(&self->to_remote, KFX_WS_PONG, NULL, 0, frame.data, frame.len, err) != 0)
                return -1;
            break;
        case KFX_WS_CLOSE: return kfx_error_set(err, KFX_E_UNAVAILABLE, "the connection to the pod was closed");
        default: break;
        }
        kfx_buf_drop(&self->in, frame.size);
    }
    return rc;
}

static int read_remote(link_t *self, kfx_error_t *err)
{
    int rc;
    /* All of it: what TLS has decrypted already makes no socket readable. */
    while ((rc = self->to_local.len < PENDING_MAX ? receive(self, err) : 0) > 0)
        if (take_frames(self, err) < 0)
            return -1;
    return rc;
}

static int read_local(link_t *self, kfx_error_t *err)
{
    char chunk[CHUNK], channel = CHANNEL_DATA;
    ssize_t got = recv(self->local, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) {
        self->local_ended = true;
        return -1;
    }
    return kfx_ws_put(&self->to_remote, KFX_WS_BINARY, &channel, 1, chunk, (size_t)got, err);
}

static int write_remote(link_t *self, kfx_error_t *err)
{
    size_t sent = 0;
    if (self->sending_len == 0) {
        self->sending_len = self->to_remote.len < CHUNK ? self->to_remote.len : CHUNK;
        memcpy(self->sending, self->to_remote.data, self->sending_len);
        kfx_buf_drop(&self->to_remote, self->sending_len);
    }
    CURLcode rc = curl_easy_send(self->easy, self->sending, self->sending_len, &sent);
    if (rc == CURLE_AGAIN)
        return 0;
    if (rc != CURLE_OK)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "the connection to the pod ended: %s", curl_easy_strerror(rc));
    self->sending_len -= sent;
    memmove(self->sending, self->sending + sent, self->sending_len);
    return 0;
}

static int write_local(link_t *self)
{
    ssize_t sent = send(self->local, self->to_local.data, self->to_local.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        self->local_ended = true;
        return -1;
    }
    kfx_buf_drop(&self->to_local, sent > 0 ? (size_t)sent : 0);
    return 0;
}

/* Both ways, until one side ends (err, or local_ended) or the owner says stop (1). */
static int pump(link_t *self, kfx_error_t *err)
{
    int rc = take_frames(self, err) < 0 ? -1 : read_remote(self, err);
    while (rc == 0) {
        zmq_pollitem_t items[] = {
            {.socket = zsock_resolve(self->pipe), .events = ZMQ_POLLIN}, {.fd = self->local}, {.fd = self->remote}};
        items[1].events =
            (short)((self->to_remote.len < PENDING_MAX ? ZMQ_POLLIN : 0) | (self->to_local.len ? ZMQ_POLLOUT : 0));
        bool more = self->sending_len > 0 || self->to_remote.len > 0;
        items[2].events = (short)((self->to_local.len < PENDING_MAX ? ZMQ_POLLIN : 0) | (more ? ZMQ_POLLOUT : 0));
        if (zmq_poll(items, KFX_COUNT(items), -1) < 0 && errno != EINTR)
            return kfx_error_set(err, KFX_E_INTERNAL, "poll: %s", strerror(errno));
        if (items[0].revents)
            return 1;
        if (items[1].revents & ZMQ_POLLIN)
            rc = read_local(self, err);
        if (rc == 0 && self->to_local.len)
            rc = write_local(self);
        if (rc == 0)
            rc = read_remote(self, err); /* whatever poll says: TLS may hold decrypted bytes back */
        if (rc == 0 && (self->sending_len > 0 || self->to_remote.len > 0))
            rc = write_remote(self, err);
    }
    return rc;
}

static void tell(zsock_t *pipe, const kfx_error_t *err)
{
    zsock_send(pipe, "4s", (uint32_t)err->code, err->msg);
}

static void link_release(link_t *self)
{
    if (self->easy)
        curl_easy_cleanup(self->easy);
    curl_slist_free_all(self->connect_to);
    close(self->local);
    kfx_buf_free(&self->in);
    kfx_buf_free(&self->to_remote);
    kfx_buf_free(&self->to_local);
    free(self->pod);
}

/* A connection from its beginning to its end; true when the owner says stop. */
static bool serve(kfx_forward_t *owner, zsock_t *pipe, int local)
{
    link_t self = {.owner = owner,
                   .pipe = pipe,
                   .local = local,
                   .remote = CURL_SOCKET_BAD,
                   .in = KFX_BUF_INIT(2 * KFX_WS_FRAME_MAX),
                   .to_remote = KFX_BUF_INIT(2 * PENDING_MAX),
                   .to_local = KFX_BUF_INIT(PENDING_MAX + 2 * KFX_WS_FRAME_MAX)};
    kfx_error_t err = KFX_ERROR_INIT;
    self.pod = find_pod(owner, &err);
    int rc = self.pod ? 0 : -1;
    if (rc == 0 && link_connect(&self, &err) == 0 && upgrade(&self, &err) == 0) {
        tell(pipe, &err);
        rc = pump(&self, &err);
    }
    if (rc != 1 && !self.local_ended && err.code != KFX_OK)
        tell(pipe, &err);
    link_release(&self);
    return rc == 1;
}

static void actor(zsock_t *pipe, void *arg)
{
    kfx_forward_t *self = arg;
    sigset_t all;
    sigfillset(&all); /* signals are the main thread's; and a write to a closed socket is no reason to die */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    zsock_set_sndtimeo(pipe, 0);
    zsock_signal(pipe, 0);
    bool stop = false;
    while (!stop) {
        zmq_pollitem_t items[] = {{.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN},
                                  {.fd = self->listener, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, KFX_COUNT(items), -1) < 0 && errno != EINTR)
            break;
        int local = items[0].revents ? -1 : accept4(self->listener, NULL, NULL, SOCK_CLOEXEC);
        stop = items[0].revents || (local >= 0 && serve(self, pipe, local));
    }
}

static int listen_at(kfx_forward_t *self, kfx_error_t *err)
{
    const char *tmp = getenv("TMPDIR");
    self->dir = kfx_xasprintf("%s/kflex-XXXXXX", tmp && tmp[0] == '/' && strlen(tmp) < 60 ? tmp : "/tmp");
    if (!mkdtemp(self->dir)) {
        int rc = kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot make a folder %s: %s", self->dir, strerror(errno));
        self->dir[0] = '\0';
        return rc;
    }
    self->path = kfx_xasprintf("%s/port", self->dir);
    self->endpoint = kfx_xasprintf("ipc://%s", self->path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    kfx_copy(address.sun_path, sizeof address.sun_path, self->path);
    self->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (self->listener < 0 || bind(self->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(self->listener, 4) != 0)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot listen on %s: %s", self->path, strerror(errno));
    return 0;
}

static int listen_tcp(kfx_forward_t *self, kfx_error_t *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (self->listener < 0 || bind(self->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(self->listener, 4) != 0 || getsockname(self->listener, (struct sockaddr *)&address, &len) != 0)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "cannot listen on 127.0.0.1: %s", strerror(errno));
    self->endpoint = kfx_xasprintf("tcp://127.0.0.1:%d", ntohs(address.sin_port));
    return 0;
}

static kfx_forward_t *forward_new(kfx_kube_t *kube, const char *ns, const char *selector, int port,
                                  int (*listen_way)(kfx_forward_t *, kfx_error_t *), kfx_error_t *err)
{
    kfx_forward_t *self = kfx_xcalloc(1, sizeof *self);
    self->kube = kube;
    self->ns = kfx_xstrdup(ns);
    self->selector = kfx_xstrdup(selector);
    self->port = port;
    self->listener = -1;
    if (listen_way(self, err) == 0) {
        self->actor = zactor_new(actor, self);
        if (!self->actor)
            kfx_error_set(err, KFX_E_INTERNAL, "cannot start a thread: %s", strerror(errno));
    }
    if (!self->actor)
        kfx_forward_destroy(&self);
    return self;
}

kfx_forward_t *kfx_forward_new(kfx_kube_t *kube, const char *ns, const char *selector, int port, kfx_error_t *err)
{
    return forward_new(kube, ns, selector, port, listen_at, err);
}

kfx_forward_t *kfx_forward_new_tcp(kfx_kube_t *kube, const char *ns, const char *selector, int port, kfx_error_t *err)
{
    return forward_new(kube, ns, selector, port, listen_tcp, err);
}

void kfx_forward_destroy(kfx_forward_t **self_p)
{
    kfx_forward_t *self = *self_p;
    if (!self)
        return;
    zactor_destroy(&self->actor);
    if (self->listener >= 0)
        close(self->listener);
    if (self->path)
        unlink(self->path);
    if (self->dir && self->dir[0])
        rmdir(self->dir);
    free(self->ns);
    free(self->selector);
    free(self->dir);
    free(self->path);
    free(self->endpoint);
    free(self);
    *self_p = NULL;
}

const char *kfx_forward_endpoint(const kfx_forward_t *self)
{
    return self->endpoint;
}

zsock_t *kfx_forward_sock(kfx_forward_t *self)
{
    return zactor_sock(self->actor);
}

bool kfx_forward_news(kfx_forward_t *self, kfx_error_t *err)
{
    char *text = NULL;
    uint32_t code = 0;
    if (!(zsock_events(self->actor) & ZMQ_POLLIN) || zsock_recv(self->actor, "4s", &code, &text) != 0)
        return false;
    *err = (kfx_error_t)KFX_ERROR_INIT;
    err->code = (kfx_code_t)code;
    kfx_copy(err->msg, sizeof err->msg, text);
    zstr_free(&text);
    return true;
}
