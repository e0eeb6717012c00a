/* kube/probe.c: one blocking GET of /readyz with a handle of its own. */
#include "kube/probe.h"

#include "base/mem.h"
#include "kube/internal.h"

#include <signal.h>
#include <string.h>

#define DEFAULT_LIMIT_MS 1000
#define BODY_MAX 65536 /* of an answer that is not looked at */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    (void)data;
    size_t *seen = arg;
    *seen += size * count;
    return *seen <= BODY_MAX ? size * count : CURL_WRITEFUNC_ERROR;
}

/* OpenSSL writes without MSG_NOSIGNAL. The signal is held back for this thread and taken if it was ours. */
typedef struct {
    sigset_t old;
    bool was_pending;
} sigpipe_t;

static void sigpipe_hold(sigpipe_t *self)
{
    sigset_t pipe_only, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    self->was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &self->old);
}

static void sigpipe_release(const sigpipe_t *self)
{
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    const struct timespec now = {0, 0};
    if (!self->was_pending)
        (void)sigtimedwait(&pipe_only, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &self->old, NULL);
}

static int verdict(CURL *easy, CURLcode rc, const char *url, const char *errbuf, kfx_error_t *err)
{
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (rc != CURLE_OK)
        return kfx_error_set(err, kfx_curl_code(rc), "%s: %s", url, *errbuf ? errbuf : curl_easy_strerror(rc));
    if (status == 200)
        return 0;
    kfx_code_t code = status >= 500 || status == 429 ? KFX_E_UNAVAILABLE
                      : status == 401                ? KFX_E_UNAUTHORIZED
                      : status == 403                ? KFX_E_FORBIDDEN
                                                     : KFX_E_PROTOCOL;
    return kfx_error_set(err, code, "%s: HTTP %ld", url, status);
}

int kfx_probe_readyz(const kfx_probe_t *probe, kfx_error_t *err)
{
    if (!probe->host || !*probe->host || !probe->ca_pem || probe->port < 0 || probe->port > 65535 ||
        strpbrk(probe->host, "/?#@ "))
        return kfx_error_set(err, KFX_E_INVALID, "probe: needs a host, a port and a certificate authority");
    kfx_curl_init();
    bool v6 = strchr(probe->host, ':') && probe->host[0] != '[';
    KFX_FREE char *url = kfx_xasprintf("https://%s%s%s:%d/readyz", v6 ? "[" : "", probe->host, v6 ? "]" : "",
                                       probe->port ? probe->port : 443);
    CURL *easy = curl_easy_init();
    if (!easy)
        return kfx_error_set(err, KFX_E_INTERNAL, "probe: out of memory");
    struct curl_slist *to = NULL;
    char errbuf[CURL_ERROR_SIZE] = "";
    size_t seen = 0;
    struct curl_blob ca = {(void *)(uintptr_t)probe->ca_pem, strlen(probe->ca_pem), CURL_BLOB_NOCOPY};
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(probe->timeout_ms > 0 ? probe->timeout_ms : DEFAULT_LIMIT_MS));
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "kubeflex-probe");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &seen);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, errbuf);
    if (probe->connect) {
        KFX_FREE char *rule = kfx_xasprintf("::%s", probe->connect);
        to = curl_slist_append(NULL, rule);
        curl_easy_setopt(easy, CURLOPT_CONNECT_TO, to);
    }
    sigpipe_t sigpipe;
    sigpipe_hold(&sigpipe);
    CURLcode rc = curl_easy_perform(easy);
    int result = verdict(easy, rc, url, errbuf, err);
    curl_easy_cleanup(easy);
    sigpipe_release(&sigpipe);
    curl_slist_free_all(to);
    return result;
}
