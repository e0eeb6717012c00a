/* storage-agent/kube_secrets.c: see kube_secrets.h. */
#include "storage-agent/kube_secrets.h"

#include "base/json.h"
#include "base/mem.h"
#include "proto/model.h"

/* A session that holds a lock is ended after 5 s of silence (database.h): no call made meanwhile may take as long. */
#define CALL_MS 2000
#define PAGE 500

static json_t *answer(kfx_kube_t *kube, kfx_request_t *req, kfx_error_t *err)
{
    req->timeout_ms = CALL_MS;
    if (kfx_kube_call(kube, req, err) < 0)
        return NULL;
    if (!req->answer)
        kfx_error_set(err, KFX_E_PROTOCOL, "the API server answered without a body");
    return KFX_STEAL(req->answer);
}

static json_t *get_secret(void *ctx, const char *ns, const char *name, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", ns, name);
    return answer(ctx, req, err);
}

static json_t *list_secrets(void *ctx, const char *ns, const char *selector, kfx_error_t *err)
{
    KFX_FREE char *query = kfx_kube_escape(selector);
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets?labelSelector=%s", ns, query);
    return answer(ctx, req, err);
}

static int create_secret(void *ctx, const char *ns, json_t *secret, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_POST, secret, "/api/v1/namespaces/%s/secrets", ns);
    req->field_manager = kfx_xstrdup("kubeflex-storage-agent");
    KFX_SECRET json_t *made = answer(ctx, req, err);
    return made ? 0 : -1;
}

static json_t *write_object(void *ctx, const char *collection, const char *manager, json_t *object, kfx_error_t *err)
{
    const char *name = kfx_json_str(object, "metadata", "name");
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_APPLY, object, "%s/%s", collection, name ? name : "");
    req->field_manager = kfx_xstrdup(manager);
    return answer(ctx, req, err);
}

static json_t *apply_secret(void *ctx, const char *ns, const char *manager, json_t *secret, kfx_error_t *err)
{
    KFX_FREE char *collection = kfx_xasprintf("/api/v1/namespaces/%s/secrets", ns);
    return write_object(ctx, collection, manager, secret, err);
}

static json_t *look_at(void *ctx, const char *collection, const char *name, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "%s/%s", collection, name);
    req->metadata_only = true;
    return answer(ctx, req, err);
}

static json_t *get_plane(void *ctx, const char *name, kfx_error_t *err)
{
    KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, KFX_CONTROLPLANES_PATH "/%s", name);
    return answer(ctx, req, err);
}

static json_t *plane_uids(void *ctx, kfx_error_t *err)
{
    KFX_JSON json_t *uids = json_object();
    KFX_FREE char *next = kfx_xstrdup("");
    do {
        KFX_REQUEST kfx_request_t *req = kfx_request_new(KFX_GET, NULL, KFX_CONTROLPLANES_PATH "?limit=%d%s%s", PAGE,
                                                         *next ? "&continue=" : "", next);
        req->metadata_only = true;
        KFX_JSON json_t *list = answer(ctx, req, err);
        size_t i;
        const json_t *plane;
        if (!list)
            return NULL;
        json_array_foreach (kfx_json_get(list, "items"), i, plane) {
            const char *uid = kfx_json_str(plane, "metadata", "uid");
            if (uid)
                json_object_set_new(uids, uid, json_true());
        }
        const char *token = kfx_json_str(list, "metadata", "continue");
        free(next);
        next = kfx_kube_escape(token ? token : "");
    } while (*next);
    return KFX_STEAL(uids);
}

kfx_secrets_t kfx_kube_secrets(kfx_kube_t *kube)
{
    return (kfx_secrets_t){.get = get_secret,
                           .list = list_secrets,
                           .create = create_secret,
                           .apply = apply_secret,
                           .write = write_object,
                           .look = look_at,
                           .plane = get_plane,
                           .plane_uids = plane_uids,
                           .ctx = kube};
}
