#include "cli/plane.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/yaml.h"
#include "cli/hosting.h"

#include <string.h>

#define ANSWER_LIMIT_MS 2000
#define ANSWER_PAUSE_MS 100

static void copy_text(char *out, size_t size, const char *text)
{
    kfx_copy(out, size, text ? text : "");
}

void kfx_plane_read(const json_t *object, kfx_plane_t *plane)
{
    memset(plane, 0, sizeof *plane);
    copy_text(plane->name, sizeof plane->name, kfx_json_str(object, "metadata", "name"));
    copy_text(plane->uid, sizeof plane->uid, kfx_json_str(object, "metadata", "uid"));
    copy_text(plane->type, sizeof plane->type, kfx_json_str(object, "spec", "type"));
    plane->deleting = kfx_json_str(object, "metadata", "deletionTimestamp") != NULL;
    const char *created = kfx_json_str(object, "metadata", "creationTimestamp");
    plane->created = created ? (int64_t)kfx_rfc3339_parse(created) : -1;

    const json_t *ref = kfx_json_get(object, "status", "secretRef");
    copy_text(plane->secret_ns, sizeof plane->secret_ns, kfx_json_str(ref, "namespace"));
    copy_text(plane->secret_name, sizeof plane->secret_name, kfx_json_str(ref, "name"));
    copy_text(plane->secret_key, sizeof plane->secret_key, kfx_json_str(ref, "key"));
    copy_text(plane->secret_in_cluster_key, sizeof plane->secret_in_cluster_key, kfx_json_str(ref, "inClusterKey"));

    size_t i;
    json_t *item;
    json_array_foreach (kfx_json_get(object, "status", "conditions"), i, item) {
        const char *type = kfx_json_str(item, "type");
        if (!type || plane->condition_count == KFX_CONDITIONS_MAX)
            continue;
        kfx_condition_t *c = &plane->conditions[plane->condition_count++];
        copy_text(c->type, sizeof c->type, type);
        copy_text(c->status, sizeof c->status, kfx_json_str(item, "status"));
        copy_text(c->reason, sizeof c->reason, kfx_json_str(item, "reason"));
        copy_text(c->message, sizeof c->message, kfx_json_str(item, "message"));
    }
}

const kfx_condition_t *kfx_plane_condition(const kfx_plane_t *plane, const char *type)
{
    for (size_t i = 0; i < plane->condition_count; i++)
        if (strcmp(plane->conditions[i].type, type) == 0)
            return &plane->conditions[i];
    return NULL;
}

bool kfx_plane_is(const kfx_plane_t *plane, const char *type)
{
    const kfx_condition_t *c = kfx_plane_condition(plane, type);
    return c && strcmp(c->status, "True") == 0;
}

void *kfx_plane_reduce(void *ctx, const json_t *object)
{
    (void)ctx;
    kfx_plane_t *plane = kfx_xcalloc(1, sizeof *plane);
    kfx_plane_read(object, plane);
    return plane;
}

int kfx_plane_get(kfx_kube_t *kube, const char *name, kfx_plane_t *plane, kfx_error_t *err)
{
    KFX_FREE char *escaped = kfx_kube_escape(name);
    KFX_FREE char *path = kfx_xasprintf("%s/%s", KFX_CONTROLPLANES_PATH, escaped);
    KFX_JSON json_t *object = kfx_hosting_get(kube, path, err);
    if (!object)
        return -1;
    kfx_plane_read(object, plane);
    return 0;
}

/* Secret's value -> YAML -> tree. */
static json_t *decode_kubeconfig(const char *base64, const char *where, kfx_error_t *err)
{
    size_t len = 0;
    char *text = kfx_base64_decode(base64, &len, err);
    json_t *tree = text ? kfx_yaml_parse(text, len, err) : NULL;
    if (text) {
        kfx_wipe(text, len);
        free(text);
    }
    if (!tree)
        kfx_error_wrap(err, "%s is no kubeconfig", where);
    return tree;
}

/* The kubeconfig's user goes to another address. */
static void move_to(json_t *kubeconfig, const json_t *cluster)
{
    size_t i;
    json_t *entry;
    json_array_foreach (kfx_json_get(kubeconfig, "clusters"), i, entry)
        if (json_is_object(entry))
            json_object_set_new(entry, "cluster", json_deep_copy(cluster));
}

json_t *kfx_plane_kubeconfig(kfx_kube_t *kube, const kfx_plane_t *plane, const json_t *hosting_cluster,
                             kfx_error_t *err)
{
    if (!*plane->secret_name || !*plane->secret_ns) {
        KFX_FREE char *missing = kfx_plane_missing(plane);
        kfx_error_set(err, KFX_E_NOT_FOUND, "control plane %s has no kubeconfig yet: %s", plane->name, missing);
        return NULL;
    }
    bool inside = strcmp(plane->type, "host") == 0 && !*plane->secret_key && *plane->secret_in_cluster_key;
    const char *key = inside ? plane->secret_in_cluster_key : *plane->secret_key ? plane->secret_key : "kubeconfig";
    KFX_FREE char *ns = kfx_kube_escape(plane->secret_ns);
    KFX_FREE char *name = kfx_kube_escape(plane->secret_name);
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/secrets/%s", ns, name);
    KFX_JSON json_t *secret = kfx_hosting_get(kube, path, err);
    if (!secret) {
        kfx_error_wrap(err, "kubeconfig of control plane %s", plane->name);
        return NULL;
    }
    const char *value = kfx_json_str(secret, "data", key);
    KFX_FREE char *where = kfx_xasprintf("key \"%s\" of Secret %s/%s", key, plane->secret_ns, plane->secret_name);
    if (!value || !*value) {
        kfx_error_set(err, KFX_E_NOT_FOUND, "%s is empty: control plane %s has no kubeconfig", where, plane->name);
        return NULL;
    }
    json_t *tree = decode_kubeconfig(value, where, err);
    if (tree && inside)
        move_to(tree, hosting_cluster);
    return tree;
}

char *kfx_plane_missing(const kfx_plane_t *plane)
{
    static const char *const order[] = {"StorageReady", "Synced", "Ready"};
    for (size_t i = 0; i < KFX_COUNT(order); i++) {
        const kfx_condition_t *c = kfx_plane_condition(plane, order[i]);
        if (c && strcmp(c->status, "True") != 0)
            return kfx_xasprintf("%s is %s (%s%s%s)", c->type, c->status, c->reason, *c->message ? ": " : "",
                                 c->message);
    }
    if (plane->condition_count == 0)
        return kfx_xstrdup("it has no condition yet: is the KubeFlex controller running (`kubectl get pods -n "
                           "kubeflex-system`)?");
    if (!kfx_plane_is(plane, "Ready"))
        return kfx_xstrdup("condition Ready is not there yet");
    return kfx_xstrdup("Ready is True, but status.secretRef names no Secret");
}

const kfx_condition_t *kfx_plane_held_by(const kfx_plane_t *plane)
{
    static const char *const sources[] = {"Synced", "StorageReady"};
    const kfx_condition_t *found = NULL;
    for (size_t i = 0; i < KFX_COUNT(sources); i++) {
        const kfx_condition_t *c = kfx_plane_condition(plane, sources[i]);
        if (!c || strcmp(c->status, "False") != 0 || !*c->message)
            continue;
        if (!found || !strstr(found->message, KFX_ANNOTATION_FORCE))
            found = c;
    }
    return found;
}

int kfx_plane_await_answer(const json_t *kubeconfig, int64_t deadline, kfx_error_t *err)
{
    kfx_kube_config_t *config = kfx_kube_config_from_tree(kubeconfig, NULL, NULL, false, err);
    kfx_kube_t *kube = config ? kfx_kube_new(config, "kflex/" KFX_VERSION, err) : NULL;
    int rc = kube ? 1 : -1;
    while (rc > 0) {
        kfx_error_t why = KFX_ERROR_INIT;
        KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/readyz");
        get->timeout_ms = ANSWER_LIMIT_MS;
        get->no_retry = true;
        /* Whatever the answer: it came through TLS with the plane's own authority, so the way to the plane stands. */
        if (kfx_kube_call(kube, get, &why) == 0 || get->status > 0) {
            rc = 0;
        } else if (kfx_now_ms() + ANSWER_PAUSE_MS >= deadline) {
            if (err)
                *err = why;
            rc = -1;
        } else {
            kfx_pause_ms(ANSWER_PAUSE_MS);
        }
    }
    kfx_kube_destroy(&kube);
    return rc;
}
