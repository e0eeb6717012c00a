/* reconcilers/fake_api.c: see fake_api.h. */
#include "reconcilers/fake_api.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static kfx_fake_t *current; /* kfx_task_stopped has no context of ours */

static const char *const verbs[] = {[KFX_GET] = "GET",      [KFX_POST] = "POST",         [KFX_PUT] = "PUT",
                                    [KFX_APPLY] = "APPLY",  [KFX_MERGE_PATCH] = "PATCH", [KFX_JSON_PATCH] = "JSONPATCH",
                                    [KFX_DELETE] = "DELETE"};

void kfx_fake_init(kfx_fake_t *fake)
{
    *fake = (kfx_fake_t){.objects = json_object(), .log = json_array(), .serial = 100};
    current = fake;
}

void kfx_fake_clear(kfx_fake_t *fake)
{
    json_decref(fake->objects);
    json_decref(fake->log);
}

static void touch(kfx_fake_t *fake, json_t *object)
{
    kfx_json_put(object, json_sprintf("%d", ++fake->serial), "metadata", "resourceVersion");
}

/* What the API server fills in. */
static void complete(kfx_fake_t *fake, json_t *object, const char *ns)
{
    const char *kind = kfx_json_str(object, "kind");
    touch(fake, object);
    if (!kfx_json_str(object, "metadata", "uid"))
        kfx_json_put(object, json_sprintf("uid-%d", fake->serial), "metadata", "uid");
    if (ns)
        kfx_json_put(object, json_string(ns), "metadata", "namespace");
    if (kind && strcmp(kind, "Service") == 0 && !kfx_json_str(object, "spec", "clusterIP")) {
        kfx_json_put(object, json_string("10.96.7.7"), "spec", "clusterIP");
        kfx_json_put(object, json_integer(30007), "spec", "ports", "0", "nodePort");
        json_t *port = kfx_json_get(object, "spec", "ports", "0");
        if (port)
            json_object_set_new(port, "nodePort", json_integer(30007));
    }
}

json_t *kfx_fake_put(kfx_fake_t *fake, const char *collection, json_t *object)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", collection, kfx_json_str(object, "metadata", "name"));
    complete(fake, object, NULL);
    json_object_set_new(fake->objects, path, object);
    return object;
}

json_t *kfx_fake_get(kfx_fake_t *fake, const char *path)
{
    return json_object_get(fake->objects, path);
}

void kfx_fake_delete(kfx_fake_t *fake, const char *path)
{
    json_object_del(fake->objects, path);
}

void kfx_fake_touch(kfx_fake_t *fake, const char *path)
{
    touch(fake, json_object_get(fake->objects, path));
}

size_t kfx_fake_count(const kfx_fake_t *fake, const char *text)
{
    size_t i, count = 0;
    json_t *line;
    json_array_foreach (fake->log, i, line)
        count += strstr(json_string_value(line), text) != NULL;
    return count;
}

void kfx_fake_forget_log(kfx_fake_t *fake)
{
    json_array_clear(fake->log);
}

static int refuse(kfx_request_t *req, kfx_code_t code, int status, const char *message)
{
    req->status = status;
    return kfx_error_set(&req->error, code, "%s", message);
}

static int answer(kfx_request_t *req, int status, const json_t *object)
{
    req->status = status;
    req->answer = json_deep_copy(object);
    return 0;
}

static int do_token(kfx_fake_t *fake, kfx_request_t *req)
{
    char until[KFX_RFC3339_SIZE], account[512];
    snprintf(account, sizeof(account), "%.*s", (int)(strlen(req->path) - strlen("/token")), req->path);
    if (!json_object_get(fake->objects, account))
        return refuse(req, KFX_E_NOT_FOUND, 404, "no such account");
    int64_t life = fake->token_seconds ? fake->token_seconds : kfx_json_int(req->body, 0, "spec", "expirationSeconds");
    if (!fake->token_seconds && life < 600)
        return refuse(req, KFX_E_INVALID, 422, "may not specify a duration less than 10 minutes");
    kfx_rfc3339(until, time(NULL) + life);
    KFX_JSON json_t *given = json_pack("{s:{s:o, s:s}}", "status", "token", json_sprintf("token-%d", ++fake->tokens),
                                       "expirationTimestamp", until);
    return answer(req, 201, given);
}

static int do_post(kfx_fake_t *fake, kfx_request_t *req)
{
    char path[512];
    const char *last = strrchr(req->path, '/');
    if (last && strcmp(last, "/token") == 0)
        return do_token(fake, req);
    snprintf(path, sizeof(path), "%s/%s", req->path, kfx_json_str(req->body, "metadata", "name"));
    if (json_object_get(fake->objects, path))
        return refuse(req, KFX_E_EXISTS, 409, "it exists");
    return answer(req, 201, kfx_fake_put(fake, req->path, json_deep_copy(req->body)));
}

static int do_apply(kfx_fake_t *fake, kfx_request_t *req)
{
    json_t *old = json_object_get(fake->objects, req->path), *object = json_deep_copy(req->body);
    if (old) {
        json_t *status = json_object_get(old, "status"), *data = json_object_get(old, "data");
        json_t *role = json_object_get(old, "roleRef");
        if (role && !json_equal(role, json_object_get(object, "roleRef"))) {
            json_decref(object);
            return refuse(req, KFX_E_INVALID, 422, "cannot change roleRef");
        }
        if (data && !json_object_get(object, "data"))
            json_object_set(object, "data", data);
        kfx_json_put(object, json_incref(kfx_json_get(old, "metadata", "uid")), "metadata", "uid");
        if (status)
            json_object_set(object, "status", status);
    }
    complete(fake, object, NULL);
    kfx_json_put(object, json_pack("[{s:s, s:s}]", "manager", req->field_manager, "operation", "Apply"), "metadata",
                 "managedFields");
    json_object_set_new(fake->objects, req->path, object);
    return answer(req, old ? 200 : 201, object);
}

static void merge(json_t *target, const json_t *patch)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        json_t *there = json_object_get(target, key);
        if (json_is_object(value) && json_is_object(there))
            merge(there, value);
        else
            json_object_set_new(target, key, json_deep_copy(value));
    }
}

static bool differs(const char *wanted, const char *found)
{
    return wanted && (!found || strcmp(wanted, found) != 0);
}

static int do_patch(kfx_fake_t *fake, kfx_request_t *req)
{
    json_t *object = json_object_get(fake->objects, req->path);
    if (!object)
        return refuse(req, KFX_E_NOT_FOUND, 404, "not found");
    if (differs(kfx_json_str(req->body, "metadata", "uid"), kfx_json_str(object, "metadata", "uid")) ||
        differs(kfx_json_str(req->body, "metadata", "resourceVersion"),
                kfx_json_str(object, "metadata", "resourceVersion")))
        return refuse(req, KFX_E_CONFLICT, 409, "it changed");
    merge(object, req->body);
    touch(fake, object);
    return answer(req, 200, object);
}

static int do_delete(kfx_fake_t *fake, kfx_request_t *req)
{
    json_t *object = json_object_get(fake->objects, req->path);
    if (!object)
        return refuse(req, KFX_E_NOT_FOUND, 404, "not found");
    if (differs(kfx_json_str(req->body, "preconditions", "uid"), kfx_json_str(object, "metadata", "uid")))
        return refuse(req, KFX_E_CONFLICT, 409, "another uid");
    /* Namespaces and what a finalizer holds stay for a while. */
    if (strstr(req->path, "/secrets/") || strstr(req->path, "/serviceaccounts/") ||
        strstr(req->path, "/clusterrolebindings/") || strstr(req->path, "/configmaps/")) {
        answer(req, 200, object);
        json_object_del(fake->objects, req->path);
        return 0;
    }
    kfx_json_put(object, json_string("2026-01-01T00:00:00Z"), "metadata", "deletionTimestamp");
    return answer(req, 200, object);
}

/* A list over all namespaces by our label: "/api/v1/configmaps?…labelSelector=…%3Dcp1". */
static int do_list(kfx_fake_t *fake, kfx_request_t *req)
{
    size_t len = strcspn(req->path, "?"), base = len;
    while (base > 0 && req->path[base - 1] != '/')
        base--;
    KFX_FREE char *plural = kfx_xasprintf("/%.*s/", (int)(len - base), req->path + base);
    const char *plane = strstr(req->path, "%3D"), *path;
    KFX_JSON json_t *list = json_pack("{s:[]}", "items");
    json_t *object;
    json_object_foreach (fake->objects, path, object) {
        const char *label = kfx_json_str(object, "metadata", "labels", KFX_LABEL_PLANE);
        if (strncmp(path, req->path, base) == 0 && strstr(path, plural) && label && plane &&
            strcmp(label, plane + 3) == 0)
            json_array_append(json_object_get(list, "items"), object);
    }
    return answer(req, 200, list);
}

static int call(void *ctx, kfx_request_t *req, kfx_error_t *err)
{
    kfx_fake_t *fake = ctx;
    char line[512];
    int rc;
    snprintf(line, sizeof(line), "%s %s%s%s", verbs[req->verb], req->path, req->impersonate ? " as " : "",
             req->impersonate ? req->impersonate : "");
    json_array_append_new(fake->log, json_string(line));
    if (fake->fail_at && strstr(line, fake->fail_at)) {
        fake->fail_at = NULL;
        rc = refuse(req, fake->fail_code, fake->fail_status, fake->fail_message);
    } else if (req->verb == KFX_GET && strstr(req->path, "labelSelector=") && !strstr(req->path, "/namespaces/")) {
        rc = do_list(fake, req);
    } else if (req->verb == KFX_GET) {
        json_t *object = json_object_get(fake->objects, req->path);
        rc = object ? answer(req, 200, object) : refuse(req, KFX_E_NOT_FOUND, 404, "not found");
    } else {
        rc = req->verb == KFX_POST          ? do_post(fake, req)
             : req->verb == KFX_APPLY       ? do_apply(fake, req)
             : req->verb == KFX_MERGE_PATCH ? do_patch(fake, req)
                                            : do_delete(fake, req);
    }
    if (rc && err)
        *err = req->error;
    return rc;
}

static size_t batch(void *ctx, kfx_request_t **reqs, size_t count)
{
    size_t failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += call(ctx, reqs[i], NULL) != 0;
    return failed;
}

static int probe(void *ctx, const char *host, const char *address, const char *ca_pem, int limit_ms, kfx_error_t *err)
{
    kfx_fake_t *fake = ctx;
    (void)address;
    fake->probes++;
    fake->probe_limit_ms = limit_ms;
    kfx_copy(fake->probe_host, sizeof(fake->probe_host), host);
    if (!strstr(ca_pem, "BEGIN CERTIFICATE"))
        return kfx_error_set(err, KFX_E_INVALID, "no authority");
    kfx_code_t code = fake->probe_rc > 0 ? (kfx_code_t)fake->probe_rc : KFX_E_UNAVAILABLE;
    return fake->probe_rc ? kfx_error_set(err, code, "connection refused") : 0;
}

static kfx_remote_t *dial(void *ctx, kfx_kube_config_t *config, kfx_error_t *err)
{
    kfx_fake_t *fake = ctx;
    fake->dials++;
    fake->dialed_screened = config->screened;
    kfx_copy(fake->dialed_server, sizeof(fake->dialed_server), config->server);
    kfx_copy(fake->dialed_token, sizeof(fake->dialed_token), config->token ? config->token : "");
    (void)err;
    kfx_kube_config_free(config);
    return ctx;
}

static int ask(void *ctx, kfx_remote_t *remote, kfx_request_t *req, kfx_error_t *err)
{
    kfx_fake_t *fake = ctx;
    assert(remote == ctx);
    if (fake->refuse != KFX_OK) {
        kfx_error_set(err, fake->refuse, "refused");
        return refuse(req, fake->refuse, fake->refuse == KFX_E_UNAUTHORIZED ? 401 : 0, "refused");
    }
    if (strcmp(req->path, "/readyz") == 0) {
        req->status = 200;
        return 0;
    }
    return fake->remote ? call(fake->remote, req, err) : kfx_error_set(err, KFX_E_NOT_FOUND, "no remote");
}

static void hang_up(void *ctx, kfx_remote_t *remote)
{
    assert(remote == ctx);
}

static bool stopped(const kfx_task_t *task)
{
    (void)task;
    return current->stopped;
}

kfx_ops_t kfx_fake_ops(kfx_fake_t *fake)
{
    return (kfx_ops_t){.ctx = fake,
                       .call = call,
                       .batch = batch,
                       .probe = probe,
                       .dial = dial,
                       .ask = ask,
                       .hang_up = hang_up,
                       .stopped = stopped,
                       .server = "https://10.96.0.1:443"};
}

static void add_child(kfx_digest_t *digest, const json_t *object, const char *uid)
{
    kfx_child_t *child = &digest->children[digest->count++];
    kfx_copy(child->kind, sizeof(child->kind), kfx_json_str(object, "kind"));
    kfx_copy(child->name, sizeof(child->name), kfx_json_str(object, "metadata", "name"));
    kfx_copy(child->uid, sizeof(child->uid), kfx_json_str(object, "metadata", "uid"));
    kfx_copy(child->rv, sizeof(child->rv), kfx_json_str(object, "metadata", "resourceVersion"));
    kfx_copy(child->hash, sizeof(child->hash), kfx_object_hash(object));
    child->owned = kfx_object_owned(object, uid);
    child->terminating = kfx_object_terminating(object);
    child->drifted = kfx_json_bool(object, false, "drifted") ||
                     (child->owned && !kfx_json_str(object, "metadata", "labels", KFX_LABEL_PLANE));
    child->rolling = kfx_json_bool(object, false, "status", "rolling");
    child->stuck = kfx_json_bool(object, false, "status", "stuck");
    bool workload = strcmp(child->kind, "Deployment") == 0 || strcmp(child->kind, "StatefulSet") == 0;
    child->ready = !workload || kfx_json_bool(object, false, "status", "ready");
}

kfx_digest_t *kfx_fake_digest(kfx_fake_t *fake, const char *plane, const char *uid)
{
    kfx_digest_t *digest = kfx_xcalloc(1, sizeof(*digest));
    const char *path;
    json_t *object;
    char own[KFX_NAME_SIZE + 96], ns[KFX_NAME_SIZE + 96];
    snprintf(own, sizeof(own), KFX_CONTROLPLANES_PATH "/%s", plane);
    snprintf(ns, sizeof(ns), "/api/v1/namespaces/%s-system", plane);
    kfx_copy(digest->type, sizeof(digest->type), "k8s");
    const char *recorded = kfx_json_str(kfx_fake_get(fake, own), "status", "kubernetesVersion");
    kfx_copy(digest->kubernetes_version, sizeof(digest->kubernetes_version), recorded ? recorded : "");
    digest->children = kfx_xcalloc(KFX_CHILDREN_MAX, sizeof(*digest->children));
    json_object_foreach (fake->objects, path, object) {
        const char *label = kfx_json_str(object, "metadata", "labels", KFX_LABEL_PLANE);
        if ((label && strcmp(label, plane) == 0) || strcmp(path, ns) == 0 || strstr(path, "/configmaps/" KFX_CONFIGMAP))
            add_child(digest, object, uid);
    }
    return digest;
}
