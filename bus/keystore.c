/* bus/keystore.c: keys in Secrets, see keystore.h. The only file of the bus that talks to the API server.
 *
 * RBAC it needs in its namespace: secrets create; get, patch, list, watch on the names kubeflex-bus and
 * kubeflex-bus-<role>. Deleting a role's Secret is how a key is rotated: the bus makes a new one at once and refuses
 * the old key. The server's own pair is read at start only. */
#include "bus/keystore.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/health.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "proto/model.h"

#include <string.h>

#define SERVER_SECRET "kubeflex-bus"
#define RETRY_MS 500

/* One role's Secret and the watch on it. */
typedef struct {
    kfx_keystore_t *store;
    char role[KFX_SERVICE_SIZE];
    char secret[128];
    char rv[32];
    kfx_watch_t *watch;
} slot_t;

struct kfx_keystore {
    zloop_t *loop;
    kfx_kube_t *kube;
    kfx_mailbox_t *mailbox;
    char ns[KFX_NAME_SIZE];
    char server_key[KFX_Z85_SIZE];
    kfx_auth_t *auth;
    slot_t slots[KFX_ROLES_MAX];
    size_t count;
};

static int put_key(json_t *secret, const char *name, const char *key)
{
    char *text = kfx_base64_encode(key, strlen(key));
    int rc = kfx_json_put(secret, json_string(text), "data", name);
    kfx_wipe(text, strlen(text));
    free(text);
    return rc;
}

/* A Secret with a new pair. server_key: NULL for the server's own. Fresh. */
static json_t *new_secret(const char *name, const char *server_key)
{
    char public_key[KFX_Z85_SIZE], secret_key[KFX_Z85_SIZE];
    if (zmq_curve_keypair(public_key, secret_key) != 0)
        return NULL;
    json_t *secret = json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:s}}}", "apiVersion", "v1", "kind", "Secret", "type",
                               "Opaque", "metadata", "name", name, "labels", "app.kubernetes.io/part-of", "kubeflex");
    put_key(secret, "public.key", public_key);
    put_key(secret, "secret.key", secret_key);
    if (server_key)
        put_key(secret, "server.key", server_key);
    kfx_wipe(secret_key, sizeof(secret_key));
    return secret;
}

/* The Secret as the API server has it, made where it is missing. Fresh, or NULL. */
static json_t *get_or_create(kfx_keystore_t *self, const char *name, const char *server_key, kfx_error_t *err)
{
    for (int i = 0; i < 3; i++) {
        kfx_error_t why = KFX_ERROR_INIT;
        json_t *secret = kfx_kube_get(self->kube, &why, "/api/v1/namespaces/%s/secrets/%s", self->ns, name);
        if (secret)
            return secret;
        if (why.code != KFX_E_NOT_FOUND) {
            *err = why;
            return NULL;
        }
        KFX_REQUEST kfx_request_t *post =
            kfx_request_new(KFX_POST, new_secret(name, server_key), "/api/v1/namespaces/%s/secrets", self->ns);
        if (kfx_kube_call(self->kube, post, &why) == 0)
            kfx_log_info("key made", "secret", name, NULL);
        else if (why.code != KFX_E_EXISTS) {
            *err = why;
            return NULL;
        }
    }
    kfx_error_set(err, KFX_E_CONFLICT, "Secret %s comes and goes", name);
    return NULL;
}

static int own_keys(kfx_keystore_t *self, kfx_bus_keys_t *server, kfx_error_t *err)
{
    KFX_JSON json_t *secret = get_or_create(self, SERVER_SECRET, NULL, err);
    if (!secret)
        return -1;
    /* It has no server.key: its own public key stands for it. */
    const char *public_key = kfx_json_str(secret, "data", "public.key");
    if (public_key)
        kfx_json_put(secret, json_string(public_key), "data", "server.key");
    if (kfx_bus_keys_from_secret(secret, server, err) != 0)
        return -1;
    kfx_copy(self->server_key, sizeof(self->server_key), server->public_key);
    return 0;
}

/* A role whose Secret names another server (ours was made anew) could never connect again. */
static int correct_server(kfx_keystore_t *self, const slot_t *slot, const kfx_bus_keys_t *keys, kfx_error_t *err)
{
    if (strcmp(keys->server_key, self->server_key) == 0)
        return 0;
    json_t *patch = json_object();
    put_key(patch, "server.key", self->server_key);
    KFX_REQUEST kfx_request_t *req =
        kfx_request_new(KFX_MERGE_PATCH, patch, "/api/v1/namespaces/%s/secrets/%s", self->ns, slot->secret);
    if (kfx_kube_call(self->kube, req, err) != 0)
        return kfx_error_wrap(err, "correct server.key of Secret %s", slot->secret);
    kfx_log_warn("server key corrected", "secret", slot->secret, NULL);
    return 0;
}

static int take_secret(slot_t *slot, const json_t *secret, kfx_bus_keys_t *keys, kfx_error_t *err)
{
    if (kfx_bus_keys_from_secret(secret, keys, err) != 0)
        return -1;
    const char *rv = kfx_json_str(secret, "metadata", "resourceVersion");
    kfx_copy(slot->rv, sizeof(slot->rv), rv ? rv : "");
    if (kfx_auth_set(slot->store->auth, slot->role, keys->public_key, kfx_now_ms()))
        kfx_log_info("key replaced, the one before is good for a while", "role", slot->role, NULL);
    return 0;
}

static int read_roles(kfx_keystore_t *self, kfx_error_t *err)
{
    for (size_t i = 0; i < self->count; i++) {
        slot_t *slot = &self->slots[i];
        kfx_bus_keys_t keys;
        KFX_JSON json_t *secret = get_or_create(self, slot->secret, self->server_key, err);
        if (!secret)
            return -1;
        int rc = take_secret(slot, secret, &keys, err);
        if (rc == 0)
            rc = correct_server(self, slot, &keys, err);
        kfx_wipe(&keys, sizeof(keys));
        if (rc != 0)
            return -1;
    }
    return 0;
}

/* I/O thread: the resourceVersion is all we want to know. */
static void *reduce(void *ctx, const json_t *object)
{
    (void)ctx;
    const char *rv = kfx_json_str(object, "metadata", "resourceVersion");
    return kfx_xstrdup(rv ? rv : "");
}

static void on_read(void *ctx, kfx_request_t *req)
{
    slot_t *slot = ctx;
    kfx_error_t err = req->error;
    kfx_bus_keys_t keys;
    if (err.code != KFX_OK || take_secret(slot, req->answer, &keys, &err) != 0)
        kfx_log_warn("key not read", "secret", slot->secret, "error", err.msg, NULL);
    kfx_wipe(&keys, sizeof(keys));
    kfx_request_free(req);
}

static void read_again(slot_t *slot)
{
    kfx_request_t *req =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", slot->store->ns, slot->secret);
    kfx_kube_submit(slot->store->mailbox, req, on_read, slot);
}

static void on_made(void *ctx, kfx_request_t *req)
{
    slot_t *slot = ctx;
    if (req->error.code == KFX_OK)
        kfx_log_info("key made", "secret", slot->secret, NULL);
    else if (req->error.code != KFX_E_EXISTS)
        kfx_log_warn("key not made", "secret", slot->secret, "error", req->error.msg, NULL);
    kfx_request_free(req); /* the watch tells of the new one */
}

static void on_watch(void *ctx, kfx_watch_event_t event, void *item, const kfx_error_t *err)
{
    slot_t *slot = ctx;
    char *rv = item;
    switch (event) {
    case KFX_WATCH_ADDED:
    case KFX_WATCH_MODIFIED:
        if (rv && strcmp(rv, slot->rv) != 0)
            read_again(slot);
        break;
    case KFX_WATCH_DELETED: {
        kfx_request_t *post = kfx_request_new(KFX_POST, new_secret(slot->secret, slot->store->server_key),
                                              "/api/v1/namespaces/%s/secrets", slot->store->ns);
        kfx_kube_submit(slot->store->mailbox, post, on_made, slot);
        break;
    }
    case KFX_WATCH_ERROR:
        kfx_log_debug("watch of a key", "secret", slot->secret, "error", err ? err->msg : "", NULL);
        break;
    default: break;
    }
    free(rv);
}

static int on_mail(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    (void)reader;
    kfx_mailbox_dispatch(arg);
    return 0;
}

static void watch_roles(kfx_keystore_t *self)
{
    KFX_FREE char *path = kfx_xasprintf("/api/v1/namespaces/%s/secrets", self->ns);
    self->mailbox = kfx_mailbox_new(self->kube);
    zloop_reader(self->loop, kfx_mailbox_sock(self->mailbox), on_mail, self->mailbox);
    zloop_reader_set_tolerant(self->loop, kfx_mailbox_sock(self->mailbox));
    for (size_t i = 0; i < self->count; i++) {
        KFX_FREE char *selector = kfx_xasprintf("metadata.name=%s", self->slots[i].secret);
        kfx_watch_spec_t spec = {.path = path,
                                 .field_selector = selector,
                                 .metadata_only = true,
                                 .reduce = reduce,
                                 .on_event = on_watch,
                                 .free_item = free,
                                 .ctx = &self->slots[i]};
        self->slots[i].watch = kfx_watch_start(self->mailbox, &spec);
    }
}

kfx_keystore_t *kfx_keystore_cluster(zloop_t *loop, const char *kubeconfig, const char *ns, int64_t deadline,
                                     kfx_bus_keys_t *server, kfx_auth_t *auth, kfx_error_t *err)
{
    kfx_kube_config_t *config = kfx_kube_config_load(kubeconfig, NULL, err);
    if (!config)
        return NULL;
    kfx_keystore_t *self = kfx_xcalloc(1, sizeof(*self));
    self->loop = loop;
    self->auth = auth;
    kfx_copy(self->ns, sizeof(self->ns), ns);
    self->kube = kfx_kube_new(config, "kubeflex-bus/" KFX_VERSION, err);
    char name[KFX_SERVICE_SIZE];
    const char *role;
    for (size_t i = 0; self->count < KFX_ROLES_MAX && (role = kfx_role_at(i, name)); i++) {
        slot_t *slot = &self->slots[self->count++];
        slot->store = self;
        kfx_copy(slot->role, sizeof(slot->role), role);
        kfx_bus_role_secret(role, slot->secret);
    }
    int rc = self->kube ? 0 : -1;
    while (rc == 0 && (own_keys(self, server, err) != 0 || read_roles(self, err) != 0)) {
        if (kfx_now_ms() + RETRY_MS > deadline || !kfx_code_transient(err->code)) {
            rc = kfx_error_wrap(err, "CURVE keys in namespace %s", self->ns);
            break;
        }
        kfx_log_warn("keys not read yet", "error", err->msg, NULL);
        kfx_health_beat();
        zclock_sleep(RETRY_MS);
    }
    if (rc == 0)
        watch_roles(self);
    else
        kfx_keystore_destroy(&self);
    return self;
}

void kfx_keystore_destroy(kfx_keystore_t **self_p)
{
    kfx_keystore_t *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->count; i++)
        kfx_watch_stop(&self->slots[i].watch);
    if (self->mailbox)
        zloop_reader_end(self->loop, kfx_mailbox_sock(self->mailbox));
    kfx_mailbox_destroy(&self->mailbox);
    kfx_kube_destroy(&self->kube);
    free(self);
    *self_p = NULL;
}
