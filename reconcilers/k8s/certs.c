/* reconcilers/k8s/certs.c: a plane's identity. */
#include "reconcilers/k8s/certs.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/build.h"

#include <stdio.h>
#include <string.h>

#define CA_KEY "ca.key"
#define CA_CERT "ca.crt"

const char *const kfx_secret_names[KFX_SECRETS] = {KFX_SECRET_CERTS, KFX_SECRET_ADMIN, KFX_SECRET_CM};

static void free_text(char *text)
{
    kfx_wipe(text, text ? strlen(text) : 0);
    free(text);
}

static void hash_serving(const kfx_endpoints_t *endpoints, char out[KFX_CA_ID_SIZE])
{
    KFX_JSON json_t *inputs = json_array();
    char hash[KFX_HASH_SIZE];
    for (size_t i = 0; i < endpoints->input_count; i++)
        json_array_append_new(inputs, json_string(endpoints->sans[i]));
    kfx_hash16(inputs, hash);
    kfx_copy(out, KFX_CA_ID_SIZE, hash);
}

static void hash_kubeconfig(kfx_secret_t which, const char *plane, const kfx_endpoints_t *endpoints, const char *id,
                            char out[KFX_HASH_SIZE])
{
    bool admin = which == KFX_ADMIN;
    KFX_JSON json_t *inputs = json_pack("[s, s, s, s, s]", plane, id, endpoints->internal_url,
                                        admin ? endpoints->external_url : "", admin ? endpoints->tls_server_name : "");
    kfx_hash16(inputs, out);
}

void kfx_authority_id(const char *ca_pem, char out[KFX_CA_ID_SIZE])
{
    char hex[KFX_SHA256_HEX_SIZE];
    kfx_sha256_hex(ca_pem, strlen(ca_pem), hex);
    kfx_copy(out, KFX_CA_ID_SIZE, hex);
}

void kfx_authority_of_hash(const char *hash, char out[KFX_CA_ID_SIZE])
{
    kfx_copy(out, KFX_CA_ID_SIZE, strlen(hash) == KFX_HASH_SIZE - 1 ? hash + KFX_CA_ID_SIZE - 1 : "");
}

void kfx_authority_clear(kfx_authority_t *authority)
{
    kfx_keypair_clear(&authority->ca);
    authority->id[0] = '\0';
}

void kfx_secret_plan(const kfx_secret_state_t states[KFX_SECRETS], const char *inhand, bool reissue_serving,
                     const char *plane, const kfx_endpoints_t *endpoints, kfx_secret_plan_t *plan)
{
    char serving[KFX_CA_ID_SIZE], id[KFX_CA_ID_SIZE];
    const kfx_secret_state_t *certs = &states[KFX_CERTS];
    bool work = false;
    *plan = (kfx_secret_plan_t){.read_authority = false};
    hash_serving(endpoints, serving);
    kfx_copy(id, sizeof(id), inhand);
    if (!certs->exists)
        plan->action[KFX_CERTS] = KFX_CREATE;
    else if (reissue_serving || certs->harmed || strlen(certs->hash) != KFX_HASH_SIZE - 1 ||
             strncmp(certs->hash, serving, 8) != 0)
        plan->action[KFX_CERTS] = KFX_REISSUE;
    if (!id[0])
        kfx_authority_of_hash(certs->exists ? certs->hash : "", id);
    snprintf(plan->hash[KFX_CERTS], KFX_HASH_SIZE, "%s%s", serving, id);
    for (int i = KFX_ADMIN; i < KFX_SECRETS; i++) {
        hash_kubeconfig((kfx_secret_t)i, plane, endpoints, id, plan->hash[i]);
        if (!states[i].exists)
            plan->action[i] = KFX_CREATE;
        else if (states[i].harmed || strcmp(states[i].hash, plan->hash[i]) != 0)
            plan->action[i] = KFX_REISSUE;
    }
    for (int i = 0; i < KFX_SECRETS; i++)
        work = work || plan->action[i] != KFX_KEEP;
    plan->make_authority = !certs->exists && !inhand[0];
    plan->read_authority = certs->exists && !inhand[0] && work;
}

static char *secret_text(const json_t *secret, const char *key, kfx_error_t *err)
{
    const char *encoded = kfx_json_str(secret, "data", key);
    size_t len;
    char *text = encoded ? kfx_base64_decode(encoded, &len, NULL) : NULL;
    if (!text)
        kfx_error_set(err, KFX_E_INVALID,
                      "Secret " KFX_SECRET_CERTS " has no usable key %s: restore it, or delete the Secret for a new "
                      "identity (all kubeconfigs of the plane are then issued again)",
                      key);
    return text;
}

int kfx_authority_read(const json_t *secret, kfx_authority_t *authority, kfx_error_t *err)
{
    kfx_authority_clear(authority);
    authority->ca.cert = secret_text(secret, CA_CERT, err);
    authority->ca.key = authority->ca.cert ? secret_text(secret, CA_KEY, err) : NULL;
    if (!authority->ca.key) {
        kfx_authority_clear(authority);
        return -1;
    }
    kfx_authority_id(authority->ca.cert, authority->id);
    return 0;
}

/* Puts a text into a Secret's data. */
static void put(json_t *data, const char *key, const char *text)
{
    char *encoded = kfx_base64_encode(text, strlen(text));
    json_object_set_new(data, key, json_string(encoded ? encoded : ""));
    free_text(encoded);
}

static void put_pair(json_t *data, const char *name, const kfx_keypair_t *pair)
{
    char key[64];
    snprintf(key, sizeof(key), "%s.key", name);
    put(data, key, pair->key);
    snprintf(key, sizeof(key), "%s.crt", name);
    put(data, key, pair->cert);
}

static int add_serving(json_t *data, const kfx_endpoints_t *endpoints, const kfx_keypair_t *ca, kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t pair = {NULL, NULL};
    const char *sans[KFX_SANS_MAX];
    for (size_t i = 0; i < endpoints->san_count; i++)
        sans[i] = endpoints->sans[i];
    kfx_cert_request_t subject = {
        .common_name = "kube-apiserver", .server = true, .sans = sans, .san_count = endpoints->san_count};
    if (kfx_pki_issue(ca, &subject, &pair, err))
        return -1;
    put_pair(data, "apiserver", &pair);
    return 0;
}

static int add_client(json_t *data, const char *name, const char *common_name, const kfx_keypair_t *ca,
                      kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t pair = {NULL, NULL};
    kfx_cert_request_t subject = {.common_name = common_name, .client = true};
    if (kfx_pki_issue(ca, &subject, &pair, err))
        return -1;
    put_pair(data, name, &pair);
    return 0;
}

/* An authority of its own: a client certificate that the plane's CSR API issues can then never pass for the front
 * proxy, whose headers are believed. */
static int add_front_proxy(json_t *data, kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL};
    kfx_cert_request_t subject = {.common_name = "front-proxy-ca"};
    if (kfx_pki_authority(&subject, &ca, err))
        return -1;
    put_pair(data, "front-proxy-ca", &ca);
    return add_client(data, "front-proxy-client", "front-proxy-client", &ca, err);
}

static int add_signing_keys(json_t *data, kfx_error_t *err)
{
    char *private_pem = NULL, *public_pem = NULL;
    if (kfx_pki_signing_keys(&private_pem, &public_pem, err))
        return -1;
    put(data, "sa.key", private_pem);
    put(data, "sa.pub", public_pem);
    free_text(private_pem);
    free(public_pem);
    return 0;
}

json_t *kfx_certs_make(const kfx_endpoints_t *endpoints, kfx_authority_t *authority, kfx_error_t *err)
{
    KFX_JSON json_t *data = json_object();
    kfx_cert_request_t subject = {.common_name = "kubernetes", .organization = "Kubernetes", .unit = "API Server"};
    kfx_authority_clear(authority);
    if (kfx_pki_authority(&subject, &authority->ca, err))
        return NULL;
    kfx_authority_id(authority->ca.cert, authority->id);
    put_pair(data, "ca", &authority->ca);
    if (add_serving(data, endpoints, &authority->ca, err) ||
        add_client(data, "apiserver-kubelet-client", "apiserver-kubelet-client", &authority->ca, err) ||
        add_front_proxy(data, err) || add_signing_keys(data, err))
        return NULL;
    return KFX_STEAL(data);
}

json_t *kfx_certs_reissue(const kfx_endpoints_t *endpoints, const kfx_authority_t *authority, kfx_error_t *err)
{
    KFX_JSON json_t *data = json_object();
    return add_serving(data, endpoints, &authority->ca, err) ? NULL : KFX_STEAL(data);
}

/* One kubeconfig with a client key of its own. */
static int add_kubeconfig(json_t *data, const char *key, const kfx_cert_request_t *subject, kfx_kubeconfig_t *parts,
                          const kfx_authority_t *authority, kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t pair = {NULL, NULL};
    if (kfx_pki_issue(&authority->ca, subject, &pair, err))
        return -1;
    parts->client_cert_pem = pair.cert;
    parts->client_key_pem = pair.key;
    char *text = kfx_kubeconfig_build(parts, err);
    parts->client_cert_pem = parts->client_key_pem = NULL;
    if (!text)
        return -1;
    put(data, key, text);
    free_text(text);
    return 0;
}

json_t *kfx_kubeconfig_data(kfx_secret_t which, const char *plane, const kfx_endpoints_t *endpoints,
                            const kfx_authority_t *authority, kfx_error_t *err)
{
    static const char cm_user[] = "system:kube-controller-manager";
    KFX_JSON json_t *data = json_object();
    KFX_FREE char *admin = kfx_xasprintf("%s-admin", plane);
    KFX_FREE char *cluster = kfx_xasprintf("%s-cluster", plane);
    kfx_kubeconfig_t inside = {.context = plane,
                               .cluster = cluster,
                               .user = admin,
                               .ns = "default",
                               .server = endpoints->internal_url,
                               .ca_pem = authority->ca.cert};
    kfx_kubeconfig_t outside = inside;
    kfx_cert_request_t subject = {.common_name = "kubernetes-admin", .organization = "system:masters", .client = true};
    outside.server = endpoints->external_url;
    outside.tls_server_name = endpoints->tls_server_name[0] ? endpoints->tls_server_name : NULL;
    if (which == KFX_CM) {
        subject = (kfx_cert_request_t){.common_name = cm_user, .client = true};
        inside.user = cm_user;
        return add_kubeconfig(data, "kubeconfig", &subject, &inside, authority, err) ? NULL : KFX_STEAL(data);
    }
    if (add_kubeconfig(data, "kubeconfig", &subject, &outside, authority, err) ||
        add_kubeconfig(data, "kubeconfig-incluster", &subject, &inside, authority, err))
        return NULL;
    return KFX_STEAL(data);
}
