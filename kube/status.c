/* kube/status.c: what an HTTP answer means. metav1.Status is the API server's way to say it. */
#include "base/json.h"
#include "kube/internal.h"

#include <string.h>

#define RETRY_AFTER_MAX_S 60

const char *kfx_verb_name(kfx_verb_t verb)
{
    static const char *const names[] = {"get", "create", "replace", "apply", "patch", "json-patch", "delete"};
    return (size_t)verb < KFX_COUNT(names) ? names[verb] : "?";
}

static kfx_code_t code_of(int http_status, const char *reason)
{
    switch (http_status) {
    case 400:
    case 405:
    case 406:
    case 413:
    case 415:
    case 422: return KFX_E_INVALID;
    case 401: return KFX_E_UNAUTHORIZED;
    case 403: return KFX_E_FORBIDDEN;
    case 404: return KFX_E_NOT_FOUND;
    case 409: return reason && strcmp(reason, "AlreadyExists") == 0 ? KFX_E_EXISTS : KFX_E_CONFLICT;
    case 410: return KFX_E_GONE;
    case 429: return KFX_E_BUSY;
    case 504: return KFX_E_TIMEOUT;
    default: break;
    }
    if (http_status >= 500)
        return KFX_E_UNAVAILABLE;
    return http_status >= 400 ? KFX_E_INVALID : KFX_E_PROTOCOL;
}

/* The fields that a validation error is about, without the values it quotes. */
static void add_fields(kfx_buf_t *out, const json_t *status)
{
    size_t i;
    const json_t *cause;
    const json_t *causes = kfx_json_get(status, "details", "causes");
    json_array_foreach (causes, i, cause) {
        const char *field = kfx_json_str(cause, "field");
        const char *reason = kfx_json_str(cause, "reason");
        if (field && reason)
            kfx_buf_addf(out, "%s%s: %s", out->len ? ", " : "", field, reason);
    }
}

int kfx_status_error(kfx_error_t *err, const char *verb, const char *path, const char *server, int http_status,
                     const json_t *status)
{
    const char *reason = kfx_json_str(status, "reason");
    const char *message = kfx_json_str(status, "message");
    kfx_code_t code = code_of(http_status, reason);
    int path_len = (int)strcspn(path, "?");
    KFX_BUF kfx_buf_t detail = KFX_BUF_INIT(900);

    /* A validation message quotes the value it refuses, which in a Secret is the secret. */
    if (code == KFX_E_INVALID && strstr(path, "/secrets"))
        add_fields(&detail, status);
    else if (message && kfx_buf_adds(&detail, message) != 0)
        kfx_buf_addf(&detail, "%.800s…", message);
    return kfx_error_set(err, code, "%s %.*s at %s: %s (HTTP %d)%s%s", verb, path_len, path, server,
                         reason && *reason ? reason : kfx_code_name(code), http_status, detail.len ? ": " : "",
                         detail.len ? detail.data : "");
}

int kfx_retry_after_ms(int64_t header_seconds, const json_t *status)
{
    int64_t seconds = kfx_json_int(status, 0, "details", "retryAfterSeconds");
    if (seconds < header_seconds)
        seconds = header_seconds;
    if (seconds < 0)
        seconds = 0;
    return (int)(seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : seconds) * 1000;
}
