/* reconcilers/guest.c: see guest.h. */
#include "reconcilers/guest.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/log.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "reconcilers/cluster_info.h"
#include "reconcilers/credentials.h"
#include "reconcilers/front.h"

#include <stdio.h>
#include <string.h>

#define KEY_MARK "controlplane"
#define AGAIN_MS 1000 /* what failed inside a plane that answers */
/* A program's first credentials come some seconds after its pod is ready, and a try that failed is repeated after ten.
 */
#define MUTE_MS 60000

extern const kfx_embedded_t kfx_shared_manifests[]; /* made by embed.py */

static void wipe_free(char *text)
{
    kfx_wipe(text, text ? strlen(text) : 0);
    free(text);
}

void kfx_guest_identity_clear(kfx_guest_identity_t *self)
{
    if (!self)
        return;
    free(self->ca_pem);
    free(self->client_cert_pem);
    wipe_free(self->client_key_pem);
    wipe_free(self->token);
    *self = (kfx_guest_identity_t){.ca_pem = NULL};
}

/* text may be NULL: nothing. */
static void put_text(json_t *data, const char *key, const char *text)
{
    const char *held = text ? text : "";
    char *coded = kfx_base64_encode(held, strlen(held));
    json_object_set_new(data, key, json_string(coded));
    wipe_free(coded);
}

static void inside_url(const kfx_run_t *run, const kfx_guest_t *guest, char *out, size_t size)
{
    snprintf(out, size, "https://%s.%s%s", guest->service, run->ns, guest->domain);
}

/* ---- desired objects -------------------------------------------------------------------------------------------- */

void kfx_guest_batch_clear(kfx_guest_batch_t *batch)
{
    for (size_t i = 0; batch && i < batch->count; i++)
        kfx_desired_clear(&batch->list[i]);
}

static int add(kfx_run_t *run, kfx_guest_batch_t *batch, json_t *object, const char *name, kfx_error_t *err)
{
    if (!object || batch->count == KFX_GUEST_OBJECTS ||
        kfx_desired_init(&batch->list[batch->count], object, &run->owner, NULL, err))
        return kfx_run_error(run, err, "manifest %s", name);
    batch->count++;
    return 0;
}

int kfx_guest_add(kfx_run_t *run, kfx_guest_batch_t *batch, const kfx_embedded_t *files, const char *name,
                  const json_t *vars)
{
    kfx_error_t err = KFX_ERROR_INIT;
    return add(run, batch, kfx_manifest_render(files, name, vars, &err), name, &err);
}

int kfx_guest_add_config(kfx_run_t *run, kfx_guest_batch_t *batch, const kfx_embedded_t *files, const char *secret,
                         const char *key, const json_t *vars)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *tree = kfx_manifest_render(files, "config", vars, &err);
    KFX_FREE char *text = tree ? kfx_yaml_dump(tree, &err) : NULL;
    KFX_JSON json_t *data = json_object();
    if (!text)
        return kfx_run_error(run, &err, "Secret %s", secret);
    put_text(data, key, text);
    return add(run, batch,
               json_pack("{s:s, s:s, s:{s:s}, s:s, s:O}", "apiVersion", "v1", "kind", "Secret", "metadata", "name",
                         secret, "type", "Opaque", "data", data),
               secret, &err);
}

json_t *kfx_guest_render(const kfx_embedded_t *files, const char *const *names, size_t count, const json_t *vars,
                         const char *plane, const char *backend, const kfx_config_t *config, kfx_error_t *err)
{
    KFX_JSON json_t *out = json_array();
    char ns[KFX_NAME_SIZE];
    size_t at;
    json_t *made;
    for (size_t i = 0; i < count; i++) {
        json_t *object = kfx_manifest_render(files, names[i], vars, err);
        if (!object || json_array_append_new(out, object))
            return NULL;
    }
    if (kfx_front_render(out, plane, backend, config, err))
        return NULL;
    kfx_plane_namespace(plane, ns);
    json_array_foreach (out, at, made)
        kfx_json_put(made, json_string(ns), "metadata", "namespace");
    return KFX_STEAL(out);
}

/* Without our label nobody would see what becomes of it. */
static int label_once(kfx_run_t *run, const char *name, const json_t *there)
{
    const char *label = kfx_json_str(there, "metadata", "labels", KFX_LABEL_PLANE);
    if (label && strcmp(label, run->owner.plane) == 0)
        return 0;
    json_t *body = json_pack("{s:{s:{s:s}}}", "metadata", "labels", KFX_LABEL_PLANE, run->owner.plane);
    KFX_REQUEST kfx_request_t *patch =
        kfx_request_new(KFX_MERGE_PATCH, body, "/api/v1/namespaces/%s/secrets/%s", run->ns, name);
    patch->field_manager = kfx_xstrdup(run->manager);
    return kfx_run_request(run, patch) == KFX_OK ? 0 : kfx_run_fail(run, patch, "label Secret %s", name);
}

/* What stands there under that name: 0 with its id, 1 when there is none, -1 with a verdict. */
static int once_there(kfx_run_t *run, const char *name, char id[KFX_HASH_SIZE])
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, name);
    get->metadata_only = true;
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return 1;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Secret %s", name);
    if (!kfx_object_owned(get->answer, run->owner.uid))
        return kfx_run_conflict(run, "Secret", name);
    kfx_copy(id, KFX_HASH_SIZE, kfx_object_hash(get->answer));
    return label_once(run, name, get->answer);
}

int kfx_guest_once(kfx_run_t *run, const char *name, json_t *(*make)(kfx_error_t *err), char id[KFX_HASH_SIZE])
{
    kfx_error_t err = KFX_ERROR_INIT;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", name);
    KFX_CLEANUP(kfx_desired_clear) kfx_desired_t desired = {.object = NULL};
    if (child && !child->owned)
        return kfx_run_conflict(run, "Secret", name);
    if (child && !child->terminating) {
        kfx_copy(id, KFX_HASH_SIZE, child->hash);
        return 0;
    }
    int rc = once_there(run, name, id);
    if (rc <= 0)
        return rc;
    KFX_JSON json_t *data = make(&err);
    if (!data)
        return kfx_run_error(run, &err, "Secret %s", name);
    kfx_hash16(data, id);
    /* Nobody could restore what is in it, so nobody can change it: it may only be deleted. */
    json_t *object = json_pack("{s:s, s:s, s:{s:s}, s:s, s:b, s:O}", "apiVersion", "v1", "kind", "Secret", "metadata",
                               "name", name, "type", "Opaque", "immutable", 1, "data", data);
    if (kfx_desired_init(&desired, object, &run->owner, id, &err))
        return kfx_run_error(run, &err, "Secret %s", name);
    KFX_REQUEST kfx_request_t *post = kfx_request_new(KFX_POST, json_incref(desired.object), "%s", desired.collection);
    post->field_manager = kfx_xstrdup(run->manager);
    kfx_code_t code = kfx_run_request(run, post);
    if (code == KFX_E_EXISTS)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "", "Secret %s was made meanwhile", name);
    if (code != KFX_OK)
        return kfx_run_fail(run, post, "create Secret %s", name);
    kfx_run_wrote(run, &desired, post->answer);
    return 0;
}

/* ---- the Secret for users --------------------------------------------------------------------------------------- */

void kfx_guest_hash(const kfx_guest_t *guest, const char *plane, const kfx_endpoints_t *endpoints, const char *of,
                    char out[KFX_HASH_SIZE])
{
    KFX_JSON json_t *inputs = json_pack("[s, s, s, s, s, s]", plane, of, guest->service, guest->domain,
                                        endpoints->external_url, endpoints->tls_server_name);
    kfx_hash16(inputs, out);
}

/* What to ask for in the handshake at that address; NULL: what it is called. */
static const char *server_name(const kfx_run_t *run, const kfx_guest_t *guest, const kfx_endpoints_t *endpoints,
                               const char *url)
{
    const char *name = run->memo.route_host[0] ? run->memo.route_host : endpoints->host;
    size_t len = strlen(name);
    if (strcmp(url, endpoints->external_url) == 0 && endpoints->tls_server_name[0])
        return endpoints->tls_server_name;
    bool called_so = strncmp(url + strlen("https://"), name, len) == 0 && strchr(":/", url[strlen("https://") + len]);
    return guest->one_name && !called_so ? name : NULL;
}

static int fill(const kfx_run_t *run, const kfx_guest_t *guest, const kfx_endpoints_t *endpoints,
                const kfx_guest_identity_t *identity, json_t *data, kfx_error_t *err)
{
    const kfx_type_t *type = run->rec->type;
    char server[sizeof(endpoints->internal_url)];
    KFX_FREE char *cluster = kfx_xasprintf("%s-cluster", run->owner.plane);
    KFX_FREE char *user = kfx_xasprintf("%s-admin", run->owner.plane);
    inside_url(run, guest, server, sizeof(server));
    kfx_kubeconfig_t parts = {.context = run->owner.plane,
                              .cluster = cluster,
                              .user = user,
                              .ns = "default",
                              .server = server,
                              .ca_pem = identity->ca_pem,
                              .token = identity->token,
                              .client_cert_pem = identity->client_cert_pem,
                              .client_key_pem = identity->client_key_pem};
    if (kfx_credentials_put(data, type->secret_in_cluster_key, &parts, err))
        return -1;
    parts.server = endpoints->external_url;
    parts.tls_server_name = server_name(run, guest, endpoints, endpoints->external_url);
    if (kfx_credentials_put(data, type->secret_key, &parts, err))
        return -1;
    put_text(data, KEY_MARK, run->owner.plane);
    if (guest->parts) {
        put_text(data, "certificate-authority", identity->ca_pem);
        put_text(data, "client-certificate", identity->client_cert_pem);
        put_text(data, "client-key", identity->client_key_pem);
    }
    return 0;
}

static int apply_secret(kfx_run_t *run, const char *name, json_t *data, const char *hash)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_CLEANUP(kfx_desired_clear) kfx_desired_t desired = {.object = NULL};
    json_t *object = json_pack("{s:s, s:s, s:{s:s}, s:s, s:O}", "apiVersion", "v1", "kind", "Secret", "metadata",
                               "name", name, "type", "Opaque", "data", data);
    if (kfx_desired_init(&desired, object, &run->owner, hash, &err))
        return kfx_run_error(run, &err, "Secret %s", name);
    return kfx_apply(run, &desired, 1, NULL);
}

int kfx_guest_write(kfx_run_t *run, const kfx_guest_t *guest, const kfx_endpoints_t *endpoints,
                    const kfx_guest_identity_t *identity, const char *hash, const json_t *more)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *data = more ? json_deep_copy(more) : json_object();
    if (fill(run, guest, endpoints, identity, data, &err))
        return kfx_run_error(run, &err, "Secret %s", run->rec->type->secret_name);
    if (apply_secret(run, run->rec->type->secret_name, data, hash))
        return -1;
    run->credentials = run->keys_known = true;
    return 0;
}

/* ---- what the program wrote ------------------------------------------------------------------------------------- */

/* 1: nothing usable is in it. */
static int take_identity(const json_t *secret, const char *key, kfx_guest_identity_t *out)
{
    kfx_kube_config_t *config = kfx_credentials_key(secret, key, NULL);
    bool whole = config && config->ca_pem && (config->token || (config->client_cert_pem && config->client_key_pem));
    kfx_guest_identity_clear(out);
    if (whole) {
        out->ca_pem = KFX_STEAL(config->ca_pem);
        out->client_cert_pem = KFX_STEAL(config->client_cert_pem);
        out->client_key_pem = KFX_STEAL(config->client_key_pem);
        out->token = KFX_STEAL(config->token);
    }
    kfx_kube_config_free(config);
    return whole ? 0 : 1;
}

static void hash_identity(const kfx_guest_identity_t *identity, char out[KFX_HASH_SIZE])
{
    KFX_JSON json_t *parts = json_pack("[s, s?, s?, s?]", identity->ca_pem, identity->client_cert_pem,
                                       identity->client_key_pem, identity->token);
    kfx_hash16(parts, out);
}

/* Which version of a Secret was read. */
typedef struct {
    char uid[KFX_UID_SIZE], rv[32]; /* "": none is there */
} seen_t;

/* Reads a Secret and what its key holds. 0: it is in hand; 1: there is nothing usable; -1 with a verdict. */
static int read_identity(kfx_run_t *run, const char *name, const char *key, kfx_guest_identity_t *out, seen_t *seen)
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, name);
    kfx_code_t code = kfx_run_request(run, get);
    const char *version = kfx_json_str(get->answer, "metadata", "resourceVersion"),
               *uid = kfx_json_str(get->answer, "metadata", "uid");
    *seen = (seen_t){.rv = ""};
    if (code == KFX_E_NOT_FOUND)
        return 1;
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Secret %s", name);
    kfx_copy(seen->rv, sizeof(seen->rv), version ? version : "");
    kfx_copy(seen->uid, sizeof(seen->uid), uid ? uid : "");
    return take_identity(get->answer, key, out);
}

/* The program's Secret lost what was in it, but users' still has it. */
static int give_back(kfx_run_t *run, const kfx_guest_t *guest, const kfx_guest_identity_t *identity)
{
    kfx_error_t err = KFX_ERROR_INIT;
    char server[3 * KFX_NAME_SIZE];
    KFX_JSON json_t *data = json_object();
    inside_url(run, guest, server, sizeof(server));
    kfx_kubeconfig_t parts = {.context = run->owner.plane,
                              .cluster = run->owner.plane,
                              .user = run->owner.plane,
                              .server = server,
                              .ca_pem = identity->ca_pem,
                              .token = identity->token,
                              .client_cert_pem = identity->client_cert_pem,
                              .client_key_pem = identity->client_key_pem};
    if (kfx_credentials_put(data, guest->program_key, &parts, &err))
        return kfx_run_error(run, &err, "Secret %s", guest->program_secret);
    KFX_REQUEST kfx_request_t *patch =
        kfx_request_new(KFX_MERGE_PATCH, json_pack("{s:O}", "data", data), "/api/v1/namespaces/%s/secrets/%s", run->ns,
                        guest->program_secret);
    patch->field_manager = kfx_xstrdup(run->manager);
    if (kfx_run_request(run, patch) != KFX_OK)
        return kfx_run_fail(run, patch, "write Secret %s", guest->program_secret);
    return 0; /* its new version is news: the next task reads it */
}

/* The workload is there already, and may have written. */
static bool made_before(const kfx_run_t *run)
{
    const kfx_type_t *type = run->rec->type;
    return kfx_digest_child(run->digest, kfx_type_workload_kind(type), type->workload) != NULL;
}

static int placeholder(kfx_run_t *run, const char *name)
{
    KFX_JSON json_t *data = json_object();
    put_text(data, KEY_MARK, run->owner.plane);
    return apply_secret(run, name, data, "");
}

static bool owned(const kfx_run_t *run, const char *name)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", name);
    return child && child->owned && !child->terminating;
}

bool kfx_guest_current(kfx_run_t *run, const char *hash)
{
    const char *name = run->rec->type->secret_name;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", name);
    bool same = owned(run, name) && !child->drifted && hash[0] && strcmp(child->hash, hash) == 0;
    if (same)
        run->credentials = run->keys_known = true;
    return same;
}

/* The identity, from where it is still to be had. 1: nowhere yet. seen: the program's Secret. */
static int find_identity(kfx_run_t *run, const kfx_guest_t *guest, kfx_guest_identity_t *out, seen_t *seen)
{
    const kfx_type_t *type = run->rec->type;
    const kfx_child_t *users = kfx_digest_child(run->digest, "Secret", type->secret_name);
    seen_t ignored;
    int rc = read_identity(run, guest->program_secret, guest->program_key, out, seen);
    if (rc < 0)
        return -1;
    if (rc == 0) {
        kfx_copy(run->memo.program_rv, sizeof(run->memo.program_rv), seen->rv);
        hash_identity(out, run->memo.program_hash);
        return 0;
    }
    if (!users || !users->owned || !users->hash[0])
        return 1;
    rc = read_identity(run, type->secret_name, type->secret_in_cluster_key, out, &ignored);
    if (rc)
        return rc;
    hash_identity(out, run->memo.program_hash);
    return give_back(run, guest, out);
}

/* Makes both Secrets where they are missing, before the program can. */
static int prepare(kfx_run_t *run, const kfx_guest_t *guest)
{
    const char *users = run->rec->type->secret_name;
    return placeholder(run, guest->program_secret) ||
                   (!owned(run, users) && !made_before(run) && placeholder(run, users))
               ? -1
               : 0;
}

/* The program runs, all its pods are there, and has had its time to write. It writes when it starts and never again, so
 * the pods are exchanged, once for each Secret that it should have written into. */
static int no_identity(kfx_run_t *run, const kfx_guest_t *guest, const seen_t *seen)
{
    const kfx_type_t *type = run->rec->type;
    const char *kind = kfx_type_workload_kind(type);
    const kfx_child_t *workload = kfx_digest_child(run->digest, kind, type->workload);
    int64_t now = kfx_now_ms(), *since = &run->memo.mute_ms;
    bool runs = workload && workload->owned && workload->ready && !workload->rolling && seen->uid[0];
    if (!runs)
        *since = 0;
    else if (!*since)
        *since = run->memo.was_ready ? now - MUTE_MS : now;
    if (!runs || now - *since < MUTE_MS)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, runs ? (uint32_t)(*since + MUTE_MS - now) : 0,
                               "WaitingForCredentials", "%s %s has not written its credentials into Secret %s yet",
                               kind, type->workload, guest->program_secret);
    if (kfx_restart(run, seen->uid))
        return -1;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "WaitingForCredentials",
                           "Secrets %s and %s have lost the plane's credentials: %s %s is started again, which writes "
                           "them. Where that lasts, delete the first one",
                           guest->program_secret, type->secret_name, kind, type->workload);
}

/* Both Secrets are as they should be (0), or a verdict says what is missing (-1). */
static int credentials(kfx_run_t *run, const kfx_guest_t *guest, const kfx_endpoints_t *endpoints)
{
    const kfx_type_t *type = run->rec->type;
    KFX_GUEST_IDENTITY kfx_guest_identity_t identity = {.ca_pem = NULL};
    char hash[KFX_HASH_SIZE] = "";
    seen_t seen = {.uid = ""};
    const kfx_child_t *written = kfx_digest_child(run->digest, "Secret", guest->program_secret);
    run->credentials = false;
    if (written && run->memo.program_hash[0] && strcmp(run->memo.program_rv, written->rv) == 0)
        kfx_guest_hash(guest, run->owner.plane, endpoints, run->memo.program_hash, hash);
    if (kfx_guest_current(run, hash)) {
        run->memo.mute_ms = 0;
        return 0;
    }
    int rc = made_before(run) || written ? find_identity(run, guest, &identity, &seen) : 1;
    if (rc < 0)
        return -1;
    if (rc > 0) {
        if (made_before(run) && !owned(run, type->secret_name) && placeholder(run, type->secret_name))
            return -1;
        return no_identity(run, guest, &seen);
    }
    run->memo.mute_ms = 0;
    kfx_guest_hash(guest, run->owner.plane, endpoints, run->memo.program_hash, hash);
    return kfx_guest_current(run, hash) ? 0 : kfx_guest_write(run, guest, endpoints, &identity, hash, NULL);
}

int kfx_guest_children(kfx_run_t *run, kfx_guest_batch_t *children, const char *account, json_t *vars)
{
    kfx_applied_t made[KFX_GUEST_OBJECTS] = {{.object = NULL}};
    const kfx_child_t *child = kfx_digest_child(run->digest, "ServiceAccount", account);
    int rc = kfx_apply(run, children->list, children->count, made);
    json_object_set_new(vars, "account_uid", json_string(child ? child->uid : ""));
    for (size_t i = 0; i < children->count; i++) {
        const char *uid = kfx_json_str(made[i].object, "metadata", "uid");
        if (uid && strcmp(children->list[i].kind, "ServiceAccount") == 0 &&
            strcmp(children->list[i].name, account) == 0)
            json_object_set_new(vars, "account_uid", json_string(uid));
        json_decref(made[i].object);
    }
    return rc;
}

int kfx_guest_start(kfx_run_t *run, const kfx_guest_t *guest, kfx_guest_batch_t *workload,
                    const kfx_endpoints_t *endpoints)
{
    if (prepare(run, guest))
        return -1;
    bool queued = kfx_await_place(run, workload->list, workload->count) != 0;
    if (!queued && kfx_apply(run, workload->list, workload->count, NULL))
        return -1;
    return credentials(run, guest, endpoints) || queued ? -1 : 0;
}

/* ---- inside the plane ------------------------------------------------------------------------------------------- */

static int apply_job(kfx_run_t *run, const kfx_guest_t *guest)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_CLEANUP(kfx_desired_clear) kfx_desired_t job = {.object = NULL};
    KFX_JSON json_t *vars = json_pack("{s:s, s:s}", "job", guest->job, "image", guest->image);
    json_t *object = kfx_manifest_render(kfx_shared_manifests, "job", vars, &err);
    if (!object || kfx_desired_init(&job, object, &run->owner, NULL, &err))
        return kfx_run_error(run, &err, "manifest job");
    return kfx_apply(run, &job, 1, NULL);
}

/* The address at which neighbours on the hosting cluster's network reach the plane. */
static void neighbour_url(const kfx_run_t *run, const kfx_endpoints_t *endpoints, char *out, size_t size)
{
    bool by_port = run->config.exposure == KFX_EXPOSE_INGRESS || run->config.exposure == KFX_EXPOSE_NODEPORT;
    if (by_port && !run->memo.route_host[0] && run->memo.node_port)
        snprintf(out, size, "https://%s:%d", run->config.host_container, run->memo.node_port);
    else
        snprintf(out, size, "%s", endpoints->external_url);
}

/* The plane answers: what is not done then is tried again soon, and keeps nobody from using it. */
static void settle_inside(kfx_run_t *run, const kfx_guest_t *guest, kfx_remote_t *remote, const char *ca_pem,
                          int limit_ms)
{
    kfx_error_t err = KFX_ERROR_INIT;
    char server[600];
    kfx_endpoints_t endpoints;
    kfx_endpoints(run->owner.plane, guest->service, &run->config, &run->memo, &endpoints);
    neighbour_url(run, &endpoints, server, sizeof(server));
    const kfx_cluster_info_t info = {server, server_name(run, guest, &endpoints, server), ca_pem};
    if (guest->cluster_info && kfx_cluster_info_ensure(run, remote, &info, limit_ms, &err)) {
        kfx_log_warn("kube-public/cluster-info inside the plane", "plane", run->owner.plane, "error", err.msg, NULL);
        run->result->retry_after_ms = kfx_retry_min(run->result->retry_after_ms, AGAIN_MS);
        return;
    }
    if (!guest->job || run->rec->ops.stopped(run->task))
        return;
    kfx_verdict_t kept = run->sync;
    if (apply_job(run, guest)) {
        kfx_log_warn("job", "plane", run->owner.plane, "error", run->sync.message, NULL);
        run->result->retry_after_ms = kfx_retry_min(run->result->retry_after_ms, AGAIN_MS);
    }
    run->sync = kept;
}

static kfx_kube_config_t *administrator(kfx_run_t *run, const kfx_guest_t *guest, const json_t *secret,
                                        kfx_error_t *err)
{
    const kfx_type_t *type = run->rec->type;
    kfx_kube_config_t *config = kfx_credentials_key(secret, type->secret_in_cluster_key, err);
    if (config && !config->ca_pem) {
        kfx_error_set(err, KFX_E_INVALID, "key %s holds no authority", type->secret_in_cluster_key);
        kfx_kube_config_free(config);
        return NULL;
    }
    if (!config)
        return NULL;
    /* Whatever stands in the Secret: this is where the plane is. By address, as our name service asks for short names
     * elsewhere first. */
    const char *ip = run->memo.cluster_ip;
    bool v6 = strchr(ip, ':') != NULL;
    free(config->server);
    free(config->tls_server_name);
    config->tls_server_name = kfx_xasprintf("%s.%s.svc", guest->service, run->ns);
    config->server = ip[0] ? kfx_xasprintf("https://%s%s%s:443", v6 ? "[" : "", ip, v6 ? "]" : "")
                           : kfx_xasprintf("https://%s.cluster.local:443", config->tls_server_name);
    return config;
}

int kfx_guest_alive(kfx_run_t *run, const kfx_guest_t *guest, int limit_ms, kfx_error_t *err)
{
    const kfx_ops_t *ops = &run->rec->ops;
    const char *secret = run->rec->type->secret_name;
    KFX_REQUEST kfx_request_t *get =
        kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, secret);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND)
        return kfx_error_set(err, code, "Secret %s does not exist", secret);
    if (code != KFX_OK) {
        (void)kfx_run_fail(run, get, "read Secret %s", secret);
        return 1;
    }
    kfx_kube_config_t *config = administrator(run, guest, get->answer, err);
    if (!config)
        return kfx_error_wrap(err, "Secret %s", secret);
    KFX_FREE char *host = kfx_xstrdup(config->tls_server_name);
    KFX_FREE char *ca_pem = kfx_xstrdup(config->ca_pem);
    kfx_remote_t *remote = ops->dial(ops->ctx, config, err);
    if (!remote)
        return -1;
    KFX_REQUEST kfx_request_t *ready = kfx_request_new(KFX_GET, NULL, "/readyz");
    int rc = kfx_remote_request(run, remote, ready, limit_ms) == KFX_OK ? 0 : -1;
    if (rc == 0)
        settle_inside(run, guest, remote, ca_pem, limit_ms);
    else
        *err = ready->error;
    ops->hang_up(ops->ctx, remote);
    return rc ? kfx_error_wrap(err, "https://%s/readyz does not answer with 200", host) : 0;
}
