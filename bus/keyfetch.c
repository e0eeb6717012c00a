/* bus/keyfetch.c: see keyfetch.h. */
#include "bus/keyfetch.h"

#include "base/json.h"
#include "base/log.h"

int kfx_bus_keys_fetch(kfx_kube_t *kube, const char *ns, const char *role, kfx_bus_keys_t *keys, kfx_error_t *err)
{
    char name[128];
    kfx_error_t why = KFX_ERROR_INIT;
    kfx_bus_role_secret(role, name);
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", ns, name);
    req->timeout_ms = KFX_KEYFETCH_MS;
    req->no_retry = true;
    if (kfx_kube_call(kube, req, &why) == 0 && kfx_bus_keys_from_secret(req->answer, keys, &why) == 0)
        return 0;
    kfx_log_warn("keys of the bus not read again", "secret", name, "error", why.msg, NULL);
    if (err)
        *err = why;
    return -1;
}
