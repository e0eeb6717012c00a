/* reconcilers/k3s/k3s.c: the type k3s: a k3s server without agent. Its authorities and its token are made here and
 * given to it as files, so its kubeconfigs are known without looking into the pod. */
#include "base/codec.h"
#include "base/json.h"
#include "base/manifest.h"
#include "base/mem.h"
#include "base/pki.h"
#include "reconcilers/front.h"
#include "reconcilers/guest.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define REVISION 1 /* of the manifests: raise it with every change of them */
#define SERVICE "k3s"
#define CERTS "k3s-certs"
#define RUN_AS_USER 65532
#define TOKEN_BYTES 24

extern const kfx_type_t kfx_type_k3s;
extern const kfx_embedded_t kfx_k3s_manifests[]; /* made by embed.py */

static kfx_guest_t guest_of(const kfx_config_t *config)
{
    return (kfx_guest_t){
        .service = SERVICE, .domain = ".svc", .job = "k3s-bootstrap-kubeconfig", .image = config->k3s_image};
}

/* ---- identity --------------------------------------------------------------------------------------------------- */

static void wipe_free(char *text)
{
    kfx_wipe(text, text ? strlen(text) : 0);
    free(text);
}

static void put(json_t *data, const char *key, const char *text)
{
    char *coded = kfx_base64_encode(text, strlen(text));
    json_object_set_new(data, key, json_string(coded));
    wipe_free(coded);
}

static int add_authority(json_t *data, const char *name, const char *common_name, kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL};
    kfx_cert_request_t subject = {.common_name = common_name};
    char key[64];
    if (kfx_pki_authority(&subject, &ca, err))
        return -1;
    snprintf(key, sizeof(key), "%s.crt", name);
    put(data, key, ca.cert);
    snprintf(key, sizeof(key), "%s.key", name);
    put(data, key, ca.key);
    return 0;
}

static json_t *make_certs(kfx_error_t *err)
{
    unsigned char raw[TOKEN_BYTES];
    char token[2 * TOKEN_BYTES + 1], *signing = NULL, *public_pem = NULL;
    KFX_JSON json_t *data = json_object();
    if (add_authority(data, "server-ca", "k3s-server-ca", err) ||
        add_authority(data, "client-ca", "k3s-client-ca", err) ||
        add_authority(data, "request-header-ca", "k3s-request-header-ca", err) ||
        kfx_pki_signing_keys(&signing, &public_pem, err))
        return NULL;
    put(data, "service.key", signing);
    wipe_free(signing);
    free(public_pem);
    if (RAND_bytes(raw, sizeof(raw)) != 1) {
        kfx_error_set(err, KFX_E_INTERNAL, "no random numbers");
        return NULL;
    }
    for (size_t i = 0; i < sizeof(raw); i++)
        snprintf(token + 2 * i, 3, "%02x", raw[i]);
    put(data, "token", token);
    kfx_wipe(token, sizeof(token));
    kfx_wipe(raw, sizeof(raw));
    return KFX_STEAL(data);
}

static char *decoded(const json_t *secret, const char *key, kfx_error_t *err)
{
    const char *coded = kfx_json_str(secret, "data", key);
    size_t len = 0;
    char *text = coded && *coded ? kfx_base64_decode(coded, &len, NULL) : NULL;
    if (!text)
        kfx_error_set(err, KFX_E_INVALID,
                      "Secret " CERTS " has no usable key %s: restore it, or delete the Secret for a new identity",
                      key);
    return text;
}

/* As k3s itself writes it into server/token: "K10", the SHA-256 of what /cacerts serves, user and password
 * (pkg/clientaccess). Agents find out by it whether they talk to the right server. */
static json_t *full_token(const char *ca_pem, const char *password)
{
    char hex[KFX_SHA256_HEX_SIZE];
    json_t *data = json_object();
    kfx_sha256_hex(ca_pem, strlen(ca_pem), hex);
    char *text = kfx_xasprintf("K10%s::server:%s", hex, password);
    put(data, "token", text);
    wipe_free(text);
    return data;
}

/* An administrator's certificate, as k3s issues one to itself. */
static int issue(const json_t *secret, kfx_guest_identity_t *out, json_t **token, kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL}, admin = {NULL, NULL};
    kfx_cert_request_t subject = {.common_name = "system:admin", .organization = "system:masters", .client = true};
    char *password = decoded(secret, "token", err);
    out->ca_pem = password ? decoded(secret, "server-ca.crt", err) : NULL;
    ca.cert = out->ca_pem ? decoded(secret, "client-ca.crt", err) : NULL;
    ca.key = ca.cert ? decoded(secret, "client-ca.key", err) : NULL;
    int rc = ca.key ? kfx_pki_issue(&ca, &subject, &admin, err) : -1;
    if (rc == 0) {
        out->client_cert_pem = KFX_STEAL(admin.cert);
        out->client_key_pem = KFX_STEAL(admin.key);
        *token = full_token(out->ca_pem, password);
    }
    wipe_free(password);
    return rc;
}

static int credentials(kfx_run_t *run, const kfx_guest_t *guest, const kfx_endpoints_t *endpoints, const char *id)
{
    KFX_GUEST_IDENTITY kfx_guest_identity_t identity = {.ca_pem = NULL};
    KFX_JSON json_t *token = NULL;
    kfx_error_t err = KFX_ERROR_INIT;
    char hash[KFX_HASH_SIZE];
    run->credentials = false;
    kfx_guest_hash(guest, run->owner.plane, endpoints, id, hash);
    if (kfx_guest_current(run, hash))
        return 0;
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/" CERTS, run->ns);
    if (kfx_run_request(run, get) != KFX_OK)
        return kfx_run_fail(run, get, "read Secret " CERTS);
    if (issue(get->answer, &identity, &token, &err))
        return kfx_run_error(run, &err, "Namespace %s", run->ns);
    return kfx_guest_write(run, guest, endpoints, &identity, hash, token);
}

/* ---- objects ---------------------------------------------------------------------------------------------------- */

static json_t *variables(const char *plane, const kfx_config_t *config, const kfx_endpoints_t *endpoints,
                         const char *ca_id)
{
    json_t *sans = json_array();
    for (size_t i = 0; i < endpoints->input_count; i++)
        json_array_append_new(sans, json_sprintf("--tls-san=%s", endpoints->sans[i]));
    bool stays_inside = config->exposure == KFX_EXPOSE_INGRESS;
    json_t *vars = json_pack("{s:s, s:s, s:s, s:s, s:o}", "plane", plane, "service_type",
                             stays_inside ? "ClusterIP" : kfx_service_type(config->exposure), "image",
                             config->k3s_image, "ca_id", ca_id, "tls_sans", sans);
    json_object_set_new(vars, "run_as_user", config->openshift ? json_null() : json_integer(RUN_AS_USER));
    return vars;
}

static int front(kfx_run_t *run, const json_t *vars)
{
    bool moved;
    KFX_FRONT kfx_front_t front = {.told_by = SERVICE, .backend = SERVICE, .address = true};
    KFX_GUEST_BATCH kfx_guest_batch_t services = {.count = 0};
    if (kfx_guest_add(run, &services, kfx_k3s_manifests, "service", vars))
        return -1;
    front.services[front.count++] = services.list[0];
    services.count = 0;
    return kfx_front_ensure(run, &front, &moved);
}

static int sync_plane(kfx_run_t *run)
{
    kfx_endpoints_t endpoints;
    char id[KFX_HASH_SIZE] = "";
    KFX_GUEST_BATCH kfx_guest_batch_t workload = {.count = 0};
    const kfx_guest_t guest = guest_of(&run->config);
    kfx_endpoints(run->owner.plane, SERVICE, &run->config, &run->memo, &endpoints);
    KFX_JSON json_t *early = variables(run->owner.plane, &run->config, &endpoints, "");
    if (kfx_takeover_check(run) || front(run, early) || kfx_guest_once(run, CERTS, make_certs, id))
        return -1;
    kfx_endpoints(run->owner.plane, SERVICE, &run->config, &run->memo, &endpoints);
    KFX_JSON json_t *vars = variables(run->owner.plane, &run->config, &endpoints, id);
    if (credentials(run, &guest, &endpoints, id) ||
        kfx_guest_add(run, &workload, kfx_k3s_manifests, "statefulset", vars) ||
        kfx_await_place(run, workload.list, workload.count))
        return -1;
    return kfx_apply(run, workload.list, workload.count, NULL);
}

static int alive(kfx_run_t *run, int limit_ms, kfx_error_t *err)
{
    const kfx_guest_t guest = guest_of(&run->config);
    return kfx_guest_alive(run, &guest, limit_ms, err);
}

static json_t *render_plane(const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    static const char *const names[] = {"service", "statefulset"};
    const kfx_memo_t facts = {.generation = 0};
    kfx_endpoints_t endpoints;
    kfx_endpoints(plane, SERVICE, config, &facts, &endpoints);
    KFX_JSON json_t *vars = variables(plane, config, &endpoints, "rendered");
    return kfx_guest_render(kfx_k3s_manifests, names, KFX_COUNT(names), vars, plane, SERVICE, config, err);
}

const kfx_type_t kfx_type_k3s = {
    .name = "k3s",
    .revision = REVISION,
    .workload = "k3s-server",
    .workload_kind = "StatefulSet",
    .secret_name = "k3s-config",
    .secret_key = "config",
    .secret_in_cluster_key = "config-incluster",
    .pod_security = "baseline",
    .sync = sync_plane,
    .alive = alive,
    .render = render_plane,
};
