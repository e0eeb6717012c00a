/* kube/transport.c: sets up easy handles. The rules are in docs/architecture.md and were measured with libcurl 7.88. */
#include "base/codec.h"
#include "base/mem.h"
#include "kube/internal.h"
#include "kube/screen.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define STREAM_BUFFER 8192L
#define USER_TIMEOUT_MS 15000

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *got = NULL;
    if (curl_url_get(url, part, &got, flags) != CURLUE_OK)
        return NULL;
    char *copy = kfx_xstrdup(got);
    curl_free(got);
    return copy;
}

static int split_server(kfx_transport_t *self, CURLU *url, kfx_error_t *err)
{
    const kfx_kube_config_t *config = self->config;
    KFX_FREE char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    KFX_FREE char *host = url_part(url, CURLUPART_HOST, 0); /* IPv6 keeps its brackets */
    KFX_FREE char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    KFX_FREE char *path = url_part(url, CURLUPART_PATH, 0);
    KFX_FREE char *user = url_part(url, CURLUPART_USER, 0);
    KFX_FREE char *query = url_part(url, CURLUPART_QUERY, 0);

    if (!scheme || !host || !port || user || query)
        return kfx_error_set(err, KFX_E_INVALID, "\"%s\" is no API server address: expected https://host:port",
                             user ? "(address with a user name)" : config->server);
    self->tls = strcmp(scheme, "https") == 0;
    if (!self->tls && (config->token || config->token_file || config->password))
        return kfx_error_set(err, KFX_E_INVALID, "%s is not https: credentials are not sent over plain http",
                             config->server);
    size_t path_len = path ? strlen(path) : 0;
    while (path_len > 0 && path[path_len - 1] == '/')
        path_len--;
    const char *name = config->tls_server_name && self->tls ? config->tls_server_name : host;
    self->base = kfx_xasprintf("%s://%s:%s%.*s", scheme, name, port, (int)path_len, path ? path : "");
    if (name != host && strcasecmp(name, host) != 0) {
        /* SNI and verification follow the URL; the connection and the Host header follow the server. */
        self->connect_to = kfx_xasprintf("::%s:%s", host, port);
        self->host_header = kfx_xasprintf("Host: %s:%s", host, port);
    }
    return 0;
}

int kfx_transport_init(kfx_transport_t *self, kfx_kube_config_t *config, const char *user_agent, kfx_error_t *err)
{
    memset(self, 0, sizeof *self);
    self->config = config;
    if (kfx_kube_config_check(config, err) != 0)
        return -1;
    if (!user_agent || !kfx_header_safe(user_agent) || !kfx_header_safe(config->token))
        return kfx_error_set(err, KFX_E_INVALID, "user agent or token has characters that no header may have");
    self->user_agent = kfx_xstrdup(user_agent);
    CURLU *url = curl_url();
    if (!url)
        return kfx_error_set(err, KFX_E_INTERNAL, "out of memory");
    int rc = 0;
    if (curl_url_set(url, CURLUPART_URL, config->server, 0) != CURLUE_OK)
        rc = kfx_error_set(err, KFX_E_INVALID, "the API server's address is no URL: expected https://host:port");
    else
        rc = split_server(self, url, err);
    curl_url_cleanup(url);
    return rc;
}

void kfx_transport_free(kfx_transport_t *self)
{
    kfx_kube_config_free(self->config);
    free(self->user_agent);
    free(self->base);
    free(self->host_header);
    free(self->connect_to);
    memset(self, 0, sizeof *self);
}

static void set_int(int fd, int level, int name, int value)
{
    /* An option the kernel does not know is no reason to fail: the heartbeat remains. */
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    (void)purpose;
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    /* Keepalive alone sees nothing while sent data is unacknowledged. */
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    kfx_channel_fd_add(arg, fd);
    return CURL_SOCKOPT_OK;
}

/* The last moment before a connection: whatever a name or a redirect led to, it is an address by now. */
static curl_socket_t on_socket_wanted(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    kfx_xfer_t *xfer = arg;
    (void)purpose;
    if (kfx_screen_address(&address->addr, &xfer->refused) != 0)
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_socket_closed(void *arg, curl_socket_t fd)
{
    kfx_channel_fd_remove(arg, fd);
    return close(fd);
}

static size_t on_write(char *data, size_t size, size_t count, void *arg)
{
    kfx_xfer_t *xfer = arg;
    size_t len = size * count;
    return xfer->on_data(xfer, data, len) ? len : CURL_WRITEFUNC_ERROR;
}

static void add_header(kfx_xfer_t *xfer, const char *text)
{
    struct curl_slist *more = curl_slist_append(xfer->headers, text);
    if (!more)
        abort(); /* as the other small allocations */
    xfer->headers = more;
}

static void add_pair(kfx_xfer_t *xfer, const char *name, const char *value)
{
    char *text = kfx_xasprintf("%s: %s", name, value);
    add_header(xfer, text);
    kfx_wipe(text, strlen(text));
    free(text);
}

static void add_credentials(kfx_io_t *io, kfx_xfer_t *xfer)
{
    const kfx_kube_config_t *config = io->transport->config;
    const char *token = kfx_io_token(io, false);
    if (token) {
        char *text = kfx_xasprintf("Bearer %s", token);
        add_pair(xfer, "Authorization", text);
        kfx_wipe(text, strlen(text));
        free(text);
    } else if (config->username && config->password) {
        char *plain = kfx_xasprintf("%s:%s", config->username, config->password);
        char *coded = kfx_base64_encode(plain, strlen(plain));
        char *text = kfx_xasprintf("Basic %s", coded);
        add_pair(xfer, "Authorization", text);
        kfx_wipe(plain, strlen(plain));
        kfx_wipe(coded, strlen(coded));
        kfx_wipe(text, strlen(text));
        free(plain);
        free(coded);
        free(text);
    }
}

static int build_headers(kfx_io_t *io, kfx_xfer_t *xfer, const kfx_call_t *call, kfx_error_t *err)
{
    const char *impersonate = call->impersonate ? call->impersonate : io->transport->config->impersonate;
    if (!kfx_header_safe(impersonate) || (impersonate && !*impersonate))
        return kfx_error_set(err, KFX_E_INVALID, "the user name to impersonate has characters that no header may have");
    add_credentials(io, xfer);
    add_pair(xfer, "Accept", call->accept);
    if (call->content_type)
        add_pair(xfer, "Content-Type", call->content_type);
    if (impersonate)
        add_pair(xfer, "Impersonate-User", impersonate);
    if (io->transport->host_header)
        add_header(xfer, io->transport->host_header);
    add_header(xfer, "Expect:"); /* no 100-continue round trip */
    return 0;
}

static void set_blob(CURL *easy, CURLoption option, char *pem)
{
    if (!pem)
        return;
    struct curl_blob blob = {.data = pem, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY};
    curl_easy_setopt(easy, option, &blob);
}

void kfx_transport_tls(const kfx_transport_t *self, CURL *easy)
{
    const kfx_kube_config_t *config = self->config;
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* else the whole folder is read for each connection */
    set_blob(easy, CURLOPT_CAINFO_BLOB, config->ca_pem);
    if (config->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (config->client_cert_pem) {
        curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM");
        curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM");
        set_blob(easy, CURLOPT_SSLCERT_BLOB, config->client_cert_pem);
        set_blob(easy, CURLOPT_SSLKEY_BLOB, config->client_key_pem);
    }
}

static void set_method(CURL *easy, const kfx_call_t *call)
{
    if (call->body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    if (strcmp(call->method, call->body ? "POST" : "GET") != 0)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
}

int kfx_xfer_prepare(kfx_io_t *io, kfx_xfer_t *xfer, const kfx_call_t *call, kfx_error_t *err)
{
    const kfx_transport_t *transport = io->transport;
    if (!xfer->easy)
        xfer->easy = kfx_io_easy(io);
    if (!xfer->easy)
        return kfx_error_set(err, KFX_E_INTERNAL, "no HTTP handle: out of memory");
    if (build_headers(io, xfer, call, err) != 0)
        return -1;
    CURL *easy = xfer->easy;
    KFX_FREE char *url = kfx_xasprintf("%s%s", transport->base, call->target);
    if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK)
        return kfx_error_set(err, KFX_E_INVALID, "the address is too long (%zu bytes)", strlen(url));
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, transport->tls ? "https" : "http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     (long)(transport->tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, call->fresh ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, call->fresh ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)KFX_CONNECT_LIMIT_MS);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, transport->user_agent);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, xfer->headers);
    xfer->refused = (kfx_error_t)KFX_ERROR_INIT;
    if (transport->config->screened) {
        curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* also none from the environment */
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket_wanted);
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, xfer);
    } else if (transport->config->proxy_url) {
        curl_easy_setopt(easy, CURLOPT_PROXY, transport->config->proxy_url);
    }
    if (transport->connect_to) {
        xfer->connect_to = curl_slist_append(NULL, transport->connect_to);
        curl_easy_setopt(easy, CURLOPT_CONNECT_TO, xfer->connect_to);
    }
    if (transport->tls)
        kfx_transport_tls(transport, easy);
    set_method(easy, call);
    xfer->stream = call->stream;
    if (call->stream)
        curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, STREAM_BUFFER);
    /* A stream is not to be compressed; where a proxy does it all the same, it is understood. */
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, call->stream ? "identity" : "gzip");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, xfer);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, xfer);
    xfer->errbuf[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, xfer->errbuf);
    return 0;
}

int kfx_xfer_start(kfx_xfer_t *xfer, kfx_channel_t *channel, kfx_error_t *err)
{
    curl_easy_setopt(xfer->easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
    curl_easy_setopt(xfer->easy, CURLOPT_SOCKOPTDATA, channel);
    curl_easy_setopt(xfer->easy, CURLOPT_CLOSESOCKETFUNCTION, on_socket_closed);
    curl_easy_setopt(xfer->easy, CURLOPT_CLOSESOCKETDATA, channel);
    CURLMcode rc = curl_multi_add_handle(channel->multi, xfer->easy);
    if (rc != CURLM_OK)
        return kfx_error_set(err, KFX_E_INTERNAL, "cannot start an HTTP exchange: %s", curl_multi_strerror(rc));
    xfer->channel = channel;
    return 0;
}

void kfx_xfer_end(kfx_io_t *io, kfx_xfer_t *xfer)
{
    if (xfer->channel)
        curl_multi_remove_handle(xfer->channel->multi, xfer->easy);
    xfer->channel = NULL;
    /* libcurl 7.88 may keep the buffer of a handle that had to wait for its connection. curl_easy_reset then sets the
     * usual size without making it that large, and the next exchange writes beyond its end. */
    if (xfer->easy && xfer->stream)
        curl_easy_cleanup(xfer->easy);
    else if (xfer->easy)
        kfx_io_easy_done(io, xfer->easy);
    xfer->easy = NULL;
    for (struct curl_slist *h = xfer->headers; h; h = h->next)
        kfx_wipe(h->data, strlen(h->data));
    curl_slist_free_all(xfer->headers);
    curl_slist_free_all(xfer->connect_to);
    xfer->headers = xfer->connect_to = NULL;
}

int kfx_xfer_status(const kfx_xfer_t *xfer)
{
    long status = 0;
    if (xfer->easy)
        curl_easy_getinfo(xfer->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

bool kfx_curl_unsent(CURLcode rc)
{
    switch ((int)rc) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_NO_CONNECTION_AVAILABLE: return true;
    default: return false;
    }
}

kfx_code_t kfx_curl_code(CURLcode rc)
{
    switch ((int)rc) {
    case CURLE_OK: return KFX_OK;
    case CURLE_OPERATION_TIMEDOUT: return KFX_E_TIMEOUT;
    case CURLE_WRITE_ERROR:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY: return KFX_E_PROTOCOL;
    case CURLE_URL_MALFORMAT: return KFX_E_INVALID;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_SSL_CERTPROBLEM: return KFX_E_INTERNAL;
    default: return KFX_E_UNAVAILABLE;
    }
}
