/* storage-agent/etcd_secret.c: see etcd_secret.h. */
#include "storage-agent/etcd_secret.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pki.h"
#include "storage-agent/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CERTS_FORM "1"
#define NAMES_MAX ((size_t)(KFX_ETCD_MEMBERS_MAX + 1) * 2 + 2)
#define MIB ((int64_t)1 << 20)
#define LOG_BYTES (256 * MIB) /* etcd's log: files of 64 MiB, five of which are kept */
#define QUOTA_MIN (128 * MIB)
#define QUOTA_MAX ((int64_t)8 << 30) /* what etcd's documentation calls the most that makes sense */

static const char *const values[] = {"ca.crt", "server.crt", "server.key", "client.crt", "client.key"};

/* Each member by both of its names, since etcd looks the names of a peer's certificate up and wants its address among
 * what it finds; one with a wildcard would need a reverse look-up. */
static size_t server_names(const char *ns, char *names[NAMES_MAX])
{
    static const char *const zones[] = {"svc", "svc.cluster.local"};
    size_t n = 0;
    for (size_t zone = 0; zone < KFX_COUNT(zones); zone++) {
        names[n++] = kfx_xasprintf("etcd.%s.%s", ns, zones[zone]);
        for (int i = 0; i < KFX_ETCD_MEMBERS_MAX; i++)
            names[n++] = kfx_xasprintf("etcd-%d.etcd.%s.%s", i, ns, zones[zone]);
    }
    names[n++] = kfx_xstrdup("localhost");
    names[n++] = kfx_xstrdup("127.0.0.1");
    return n;
}

static int issue(const char *ns, kfx_keypair_t *ca, kfx_keypair_t *server, kfx_keypair_t *client, kfx_error_t *err)
{
    char *names[NAMES_MAX];
    size_t count = server_names(ns, names);
    kfx_cert_request_t authority = {.common_name = "kubeflex-etcd-ca"};
    kfx_cert_request_t for_server = {
        .common_name = "etcd", .server = true, .client = true, .sans = (const char *const *)names, .san_count = count};
    kfx_cert_request_t for_client = {.common_name = "kube-apiserver-etcd-client", .client = true};
    int rc = kfx_pki_authority(&authority, ca, err) || kfx_pki_issue(ca, &for_server, server, err) ||
                     kfx_pki_issue(ca, &for_client, client, err)
                 ? -1
                 : 0;
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    return rc;
}

json_t *kfx_etcd_certs_new(const char *ns, kfx_error_t *err)
{
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL}, server = {NULL, NULL}, client = {NULL, NULL};
    if (issue(ns, &ca, &server, &client, err) < 0) {
        kfx_error_wrap(err, "certificates of etcd");
        return NULL;
    }
    json_t *secret = kfx_secret_new(ns, KFX_SECRET_ETCD_CERTS, "Opaque");
    kfx_secret_set(secret, "ca.crt", ca.cert);
    kfx_secret_set(secret, "server.crt", server.cert);
    kfx_secret_set(secret, "server.key", server.key);
    kfx_secret_set(secret, "client.crt", client.cert);
    kfx_secret_set(secret, "client.key", client.key);
    return secret;
}

bool kfx_etcd_certs_read(const json_t *certs, char hash[KFX_HASH_SIZE])
{
    KFX_JSON json_t *told = json_pack("[s]", CERTS_FORM);
    for (size_t i = 0; i < KFX_COUNT(values); i++) {
        const char *value = kfx_json_str(certs, "data", values[i]);
        if (!value || !*value)
            return false;
        if (strstr(values[i], ".crt")) /* they stand for their keys */
            json_array_append_new(told, json_string(value));
    }
    kfx_hash16(told, hash);
    return true;
}

json_t *kfx_etcd_client_new(const char *ns, const json_t *certs, const char *endpoints)
{
    static const char *const keys[] = {"ca.crt", "client.crt", "client.key"};
    json_t *secret = kfx_secret_new(ns, KFX_SECRET_ETCD, "Opaque");
    kfx_secret_set(secret, "endpoints", endpoints);
    for (size_t i = 0; i < KFX_COUNT(keys); i++)
        kfx_json_put(secret, json_deep_copy(kfx_json_get(certs, "data", keys[i])), "data", keys[i]);
    return secret;
}

void kfx_etcd_client_hash(const char *certs_hash, const char *endpoints, char hash[KFX_HASH_SIZE])
{
    KFX_JSON json_t *told = json_pack("[s, s, s]", CERTS_FORM, certs_hash, endpoints);
    kfx_hash16(told, hash);
}

char *kfx_etcd_endpoints(const char *ns, int members)
{
    kfx_buf_t out = KFX_BUF_INIT(4096);
    for (int i = 0; i < members; i++)
        kfx_buf_addf(&out, "%shttps://etcd-%d.etcd.%s.svc:2379", i ? "," : "", i, ns);
    return kfx_buf_steal(&out, NULL);
}

char *kfx_etcd_peers(const char *ns, int members)
{
    kfx_buf_t out = KFX_BUF_INIT(4096);
    for (int i = 0; i < members; i++)
        kfx_buf_addf(&out, "%setcd-%d=https://etcd-%d.etcd.%s.svc:2380", i ? "," : "", i, i, ns);
    return kfx_buf_steal(&out, NULL);
}

int64_t kfx_etcd_quota(const char *size, kfx_error_t *err)
{
    static const struct {
        const char *unit;
        int shift;
    } units[] = {{"Mi", 20}, {"Gi", 30}, {"Ti", 40}};
    char *end = NULL;
    long number = strtol(size, &end, 10);
    int64_t bytes = 0;

    for (size_t i = 0; i < KFX_COUNT(units); i++)
        if (strcmp(end, units[i].unit) == 0 && number > 0 && number < 100000)
            bytes = (int64_t)number << units[i].shift;
    if (!bytes) {
        kfx_error_set(err, KFX_E_INVALID, "spec.storage.size \"%s\" is no size: use a number and Mi, Gi or Ti", size);
        return 0;
    }
    int64_t quota = (bytes - LOG_BYTES) / 2;
    if (quota < QUOTA_MIN) {
        kfx_error_set(err, KFX_E_INVALID, "spec.storage.size \"%s\" is too small for an etcd: use 512Mi or more", size);
        return 0;
    }
    return quota < QUOTA_MAX ? quota : QUOTA_MAX;
}
