/* storage-agent/etcd.c: see etcd.h. */
#include "storage-agent/etcd.h"

#include "base/buf.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <string.h>

#define CONNECT_MS 2000L
#define CALL_MS 5000L
#define DEFRAGMENT_MS 60000L
#define ANSWER_MAX (1U << 20)
#define ENDPOINTS_MAX 9
#define ENDPOINT_MAX 300

bool kfx_etcd_endpoint(const char *endpoints, size_t i, char *out, size_t size)
{
    const char *from = endpoints;
    for (; i > 0 && *from; i--) {
        from += strcspn(from, ",");
        from += *from == ',';
    }
    size_t len = strcspn(from, ",");
    if (len == 0 || len >= size)
        return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

int kfx_etcd_endpoints_check(const char *endpoints, kfx_error_t *err)
{
    char one[ENDPOINT_MAX];
    size_t count = 0;

    for (; count < ENDPOINTS_MAX && kfx_etcd_endpoint(endpoints, count, one, sizeof one); count++) {
        const char *host = strncmp(one, "https://", 8) == 0 ? one + 8 : strncmp(one, "http://", 7) == 0 ? one + 7 : "";
        size_t len = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-[:]");
        if (!*host || host[len])
            return kfx_error_set(err, KFX_E_INVALID, "endpoint %zu is no https://host:port", count + 1);
    }
    size_t commas = 0;
    for (const char *c = endpoints; *c; c++)
        commas += *c == ',';
    if (count == 0 || count != commas + 1)
        return kfx_error_set(err, KFX_E_INVALID, "endpoints are a list like https://a:2379,https://b:2379, at most %d",
                             ENDPOINTS_MAX);
    return 0;
}

static size_t take(char *data, size_t size, size_t count, void *arg)
{
    return kfx_buf_add(arg, data, size * count) ? 0 : size * count;
}

static void set_blob(CURL *curl, CURLoption option, const char *pem)
{
    /* curl takes its own copy: the memory is not written to. */
    struct curl_blob blob = {(void *)(uintptr_t)pem, pem ? strlen(pem) : 0, CURL_BLOB_COPY};
    if (pem)
        curl_easy_setopt(curl, option, &blob);
}

static void set_up(CURL *curl, const kfx_etcd_t *etcd, const char *url, const char *text, long limit_ms, kfx_buf_t *out)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, limit_ms);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    set_blob(curl, CURLOPT_CAINFO_BLOB, etcd->ca_pem);
    set_blob(curl, CURLOPT_SSLCERT_BLOB, etcd->cert_pem);
    set_blob(curl, CURLOPT_SSLKEY_BLOB, etcd->key_pem);
}

static kfx_code_t code_of(CURLcode rc)
{
    switch (rc) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE: return KFX_E_UNAUTHORIZED;
    case CURLE_WRITE_ERROR: return KFX_E_PROTOCOL; /* the answer is over its bound */
    default: return KFX_E_UNAVAILABLE;
    }
}

/* What etcd says where a call fails: {"code": gRPC's number, "message": …}. */
static json_t *answer_of(long status, const kfx_buf_t *text, kfx_error_t *err)
{
    json_t *answer = kfx_json_parse(text->data ? text->data : "", text->len, NULL);
    if (status == 200 && answer)
        return answer;
    const char *message = kfx_json_str(answer, "message");
    kfx_code_t code = status == 401                    ? KFX_E_UNAUTHORIZED
                      : status == 403                  ? KFX_E_FORBIDDEN
                      : status == 503 || status == 504 ? KFX_E_UNAVAILABLE
                                                       : KFX_E_PROTOCOL;
    kfx_error_set(err, code, "etcd answers HTTP %ld%s%.160s", status, message ? ": " : "", message ? message : "");
    json_decref(answer);
    return NULL;
}

static json_t *post(const kfx_etcd_t *etcd, const char *endpoint, const char *path, const char *text, long limit_ms,
                    kfx_error_t *err)
{
    char reason[CURL_ERROR_SIZE] = "";
    kfx_buf_t out = KFX_BUF_INIT(ANSWER_MAX);
    KFX_FREE char *url = kfx_xasprintf("%s%s", endpoint, path);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *places = etcd->connect_to ? curl_slist_append(NULL, etcd->connect_to) : NULL;
    json_t *answer = NULL;
    long status = 0;

    CURL *curl = curl_easy_init();
    if (curl) {
        set_up(curl, etcd, url, text, limit_ms, &out);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_CONNECT_TO, places);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
        CURLcode rc = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (rc == CURLE_OK)
            answer = answer_of(status, &out, err);
        else
            kfx_error_set(err, code_of(rc), "%s: %s", endpoint, reason[0] ? reason : curl_easy_strerror(rc));
    } else {
        kfx_error_set(err, KFX_E_INTERNAL, "libcurl cannot start");
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    curl_slist_free_all(places);
    kfx_buf_wipe(&out);
    return answer;
}

json_t *kfx_etcd_call(const kfx_etcd_t *etcd, const char *path, json_t *body, kfx_error_t *err)
{
    KFX_FREE char *text = kfx_json_text(body);
    kfx_error_t local = {KFX_E_INVALID, "no endpoint is named"};
    json_t *answer = NULL;
    char endpoint[ENDPOINT_MAX];

    json_decref(body);
    for (size_t i = 0; !answer && kfx_etcd_endpoint(etcd->endpoints, i, endpoint, sizeof endpoint); i++) {
        if (i > 0 && local.code != KFX_E_UNAVAILABLE)
            break;
        answer = post(etcd, endpoint, path, text, CALL_MS, &local);
    }
    if (!answer && err)
        *err = local;
    return answer;
}

/* Numbers of 64 bits travel as text. */
static int64_t number_of(const json_t *answer, const char *key)
{
    const char *text = kfx_json_str(answer, key);
    return text ? strtoll(text, NULL, 10) : 0;
}

int kfx_etcd_status(const kfx_etcd_t *etcd, const char *endpoint, kfx_etcd_status_t *out, kfx_error_t *err)
{
    size_t i;
    const json_t *fault;
    KFX_JSON json_t *answer = post(etcd, endpoint, "/v3/maintenance/status", "{}", CALL_MS, err);
    if (!answer)
        return -1;
    const char *version = kfx_json_str(answer, "version");
    *out = (kfx_etcd_status_t){.size = number_of(answer, "dbSize"), .in_use = number_of(answer, "dbSizeInUse")};
    kfx_copy(out->version, sizeof out->version, version ? version : "");
    json_array_foreach (kfx_json_get(answer, "errors"), i, fault)
        if (json_is_string(fault) && strstr(json_string_value(fault), "NOSPACE"))
            out->no_space = true;
    return 0;
}

int kfx_etcd_defragment(const kfx_etcd_t *etcd, const char *endpoint, kfx_error_t *err)
{
    KFX_JSON json_t *answer = post(etcd, endpoint, "/v3/maintenance/defragment", "{}", DEFRAGMENT_MS, err);
    return answer ? 0 : -1;
}

int kfx_etcd_disarm(const kfx_etcd_t *etcd, kfx_error_t *err)
{
    size_t i;
    const json_t *alarm;
    KFX_JSON json_t *raised = kfx_etcd_call(etcd, "/v3/maintenance/alarm", json_pack("{s:s}", "action", "GET"), err);
    if (!raised)
        return -1;
    /* Each by its member: to lower those of "all" does nothing. */
    json_array_foreach (kfx_json_get(raised, "alarms"), i, alarm) {
        const char *member = kfx_json_str(alarm, "memberID"), *what = kfx_json_str(alarm, "alarm");
        KFX_JSON json_t *answer = kfx_etcd_call(etcd, "/v3/maintenance/alarm",
                                                json_pack("{s:s, s:s, s:s}", "action", "DEACTIVATE", "memberID",
                                                          member ? member : "0", "alarm", what ? what : "NOSPACE"),
                                                err);
        if (!answer)
            return -1;
    }
    return 0;
}

/* Keys and values travel in base64. */
static json_t *encoded(const char *text)
{
    KFX_FREE char *code = kfx_base64_encode(text, strlen(text));
    return json_string(code);
}

/* The end of the range of all keys with this prefix, which ends in no byte 255. */
static json_t *range_of(const char *prefix)
{
    KFX_FREE char *end = kfx_xstrdup(prefix);
    end[strlen(end) - 1]++;
    return json_pack("{s:o, s:o}", "key", encoded(prefix), "range_end", encoded(end));
}

char *kfx_etcd_get(const kfx_etcd_t *etcd, const char *key, kfx_error_t *err)
{
    KFX_JSON json_t *answer = kfx_etcd_call(etcd, "/v3/kv/range", json_pack("{s:o}", "key", encoded(key)), err);
    const char *value = kfx_json_str(answer, "kvs", "0", "value");
    return value ? kfx_base64_decode(value, &(size_t){0}, err) : NULL;
}

int64_t kfx_etcd_count(const kfx_etcd_t *etcd, const char *prefix, kfx_error_t *err)
{
    json_t *body = range_of(prefix);
    json_object_set_new(body, "count_only", json_true());
    KFX_JSON json_t *answer = kfx_etcd_call(etcd, "/v3/kv/range", body, err);
    return answer ? number_of(answer, "count") : -1;
}

int kfx_etcd_claim(const kfx_etcd_t *etcd, const char *key, const char *value, const char *old, kfx_error_t *err)
{
    json_t *compare =
        old ? json_pack("{s:o, s:s, s:o}", "key", encoded(key), "target", "VALUE", "value", encoded(old))
            : json_pack("{s:o, s:s, s:s}", "key", encoded(key), "target", "CREATE", "create_revision", "0");
    json_t *body = json_pack("{s:[o], s:[{s:{s:o, s:o}}]}", "compare", compare, "success", "request_put", "key",
                             encoded(key), "value", encoded(value));
    KFX_JSON json_t *answer = kfx_etcd_call(etcd, "/v3/kv/txn", body, err);
    if (!answer)
        return -1;
    if (!kfx_json_bool(answer, false, "succeeded"))
        return kfx_error_set(err, KFX_E_EXISTS, "key %s holds something else", key);
    return 0;
}

int kfx_etcd_delete_prefix(const kfx_etcd_t *etcd, const char *prefix, kfx_error_t *err)
{
    KFX_JSON json_t *answer = kfx_etcd_call(etcd, "/v3/kv/deleterange", range_of(prefix), err);
    return answer ? 0 : -1;
}
