/* An etcd of a plane's own, step by step as the watcher would see it, against objects in memory; certificates as a
 * verifier sees them; sizes and addresses. The etcd itself is in tests/etcd. */
#include "base/json.h"
#include "base/mem.h"
#include "storage-agent/dedicated.h"
#include "storage-agent/etcd.h"
#include "storage-agent/etcd_secret.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UID "4f0c9a3e-1b2c-4d5e-8f90-a1b2c3d4e5f6"
#define SECRETS "/api/v1/namespaces/cp1-system/secrets"
#define CHILDREN_MAX 8

/* Objects by "collection/name", and a digest of them as the watcher would make it. */
typedef struct {
    json_t *objects;
    json_t *spec;
    unsigned writes, looks;
    int fail; /* this write and later ones fail; 0: none */
    bool space, ready, may;
    kfx_storage_t storage;
    kfx_result_t result;
} world_t;

static json_t *get_at(world_t *w, const char *collection, const char *name, kfx_error_t *err)
{
    KFX_FREE char *key = kfx_xasprintf("%s/%s", collection, name);
    json_t *object = json_object_get(w->objects, key);
    if (!object)
        kfx_error_set(err, KFX_E_NOT_FOUND, "not found");
    return json_deep_copy(object);
}

static json_t *api_get(void *ctx, const char *ns, const char *name, kfx_error_t *err)
{
    KFX_FREE char *collection = kfx_xasprintf("/api/v1/namespaces/%s/secrets", ns);
    return get_at(ctx, collection, name, err);
}

static json_t *api_look(void *ctx, const char *collection, const char *name, kfx_error_t *err)
{
    ((world_t *)ctx)->looks++;
    return get_at(ctx, collection, name, err);
}

static json_t *api_write(void *ctx, const char *collection, const char *manager, json_t *object, kfx_error_t *err)
{
    world_t *w = ctx;
    KFX_FREE char *key = kfx_xasprintf("%s/%s", collection, kfx_json_str(object, "metadata", "name"));
    assert_string_equal(manager, "kubeflex-" UID);
    if (w->fail && w->writes + 1 >= (unsigned)w->fail) {
        json_decref(object);
        kfx_error_set(err, KFX_E_UNAVAILABLE, "connection refused");
        return NULL;
    }
    w->writes++;
    json_object_set_new(w->objects, key, object);
    return json_deep_copy(object);
}

static json_t *api_plane(void *ctx, const char *name, kfx_error_t *err)
{
    world_t *w = ctx;
    (void)err;
    return json_pack("{s:{s:s, s:s, s:i}, s:O}", "metadata", "name", name, "uid", UID, "generation", 1, "spec",
                     w->spec);
}

static bool may(void *arg)
{
    return ((world_t *)arg)->may;
}

static void add_child(kfx_digest_t *digest, const char *kind, const char *name, const json_t *object, bool ready)
{
    kfx_child_t *child = &digest->children[digest->count++];
    kfx_copy(child->kind, sizeof child->kind, kind);
    kfx_copy(child->name, sizeof child->name, name);
    kfx_copy(child->hash, sizeof child->hash, object ? kfx_object_hash(object) : "");
    child->owned = !object || kfx_object_owned(object, UID);
    child->ready = ready;
}

/* One task, with the digest that shows what stands there. */
static const kfx_condition_t *run(world_t *w, bool deleting)
{
    kfx_child_t children[CHILDREN_MAX];
    kfx_digest_t digest = {.type = "k8s", .children = children};
    kfx_storage_job_t job = {
        .plane = "cp1", .uid = UID, .generation = 1, .deleting = deleting, .digest = &digest, .may = may, .arg = w};
    const char *key;
    json_t *object;

    memset(children, 0, sizeof children);
    if (w->space)
        add_child(&digest, "Namespace", "cp1-system", NULL, true);
    json_object_foreach (w->objects, key, object)
        if (kfx_object_of_plane(object, "cp1"))
            add_child(&digest, kfx_json_str(object, "kind"), kfx_json_str(object, "metadata", "name"), object,
                      w->ready);
    memset(&w->result, 0, sizeof w->result);
    kfx_storage_run(&w->storage, &job, &w->result);
    return &w->result.conditions[0];
}

static int setup(void **state)
{
    world_t *w = kfx_xcalloc(1, sizeof *w);
    w->objects = json_object();
    w->spec = json_pack("{s:s, s:s}", "type", "k8s", "backend", "dedicated");
    w->space = w->may = true;
    w->storage.etcd_image = "etcd:test";
    w->storage.etcd_connect_to = "::127.0.0.1:1"; /* whatever is asked: nothing listens there */
    w->storage.etcd_user = 65532;
    w->storage.bootstrap.secrets =
        (kfx_secrets_t){.get = api_get, .write = api_write, .look = api_look, .plane = api_plane, .ctx = w};
    assert_int_equal(kfx_storage_init(&w->storage, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;
    kfx_storage_close(&w->storage);
    json_decref(w->objects);
    json_decref(w->spec);
    free(w);
    return 0;
}

static void test_life(void **state)
{
    world_t *w = *state;

    w->space = false;
    assert_string_equal(run(w, false)->reason, "WaitingForNamespace");
    assert_int_equal(w->writes, 0);
    w->space = true;
    assert_string_equal(run(w, false)->reason, "EtcdNotReady");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_WAITING);
    assert_int_equal(w->writes, 3); /* certificates, Service, StatefulSet */
    assert_int_equal(w->result.written_count, 3);
    assert_null(json_object_get(w->objects, SECRETS "/etcd-client"));
    run(w, false);
    assert_int_equal(w->writes, 3); /* nothing new, nothing to do */
    w->ready = true;
    assert_string_equal(run(w, false)->reason, "EtcdReady");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_OK);
    assert_true(w->result.retry_after_ms > 0);
    assert_int_equal(w->writes, 4);
    const json_t *client = json_object_get(w->objects, SECRETS "/etcd-client");
    KFX_FREE char *endpoints = kfx_secret_value(client, "endpoints", NULL);
    assert_string_equal(endpoints, "https://etcd-0.etcd.cp1-system.svc:2379");
    assert_null(kfx_json_get(client, "data", "server.key"));
    run(w, false);
    assert_int_equal(w->writes, 4);
    w->ready = false; /* a member is away: the Secret stays */
    assert_string_equal(run(w, false)->reason, "EtcdNotReady");
    assert_int_equal(w->writes, 4);
    assert_string_equal(run(w, true)->reason, "Deleting");
    assert_int_equal(w->result.outcome, KFX_OUTCOME_GONE);
    assert_int_equal(w->writes, 4);
}

static void test_members(void **state)
{
    world_t *w = *state;
    kfx_json_put(w->spec, json_pack("{s:i, s:s, s:s}", "members", 3, "size", "10Gi", "storageClassName", "fast"),
                 "storage");
    run(w, false);
    const json_t *set = json_object_get(w->objects, "/apis/apps/v1/namespaces/cp1-system/statefulsets/etcd");
    const json_t *claim = kfx_json_get(set, "spec", "volumeClaimTemplates", "0", "spec");
    KFX_FREE char *text = kfx_json_text(set);
    assert_int_equal(kfx_json_int(set, 0, "spec", "replicas"), 3);
    assert_string_equal(kfx_json_str(claim, "storageClassName"), "fast");
    assert_string_equal(kfx_json_str(claim, "resources", "requests", "storage"), "10Gi");
    assert_non_null(strstr(text, "etcd-2=https://etcd-2.etcd.cp1-system.svc:2380"));
    assert_non_null(strstr(text, "--quota-backend-bytes=5234491392")); /* (10 GiB - 256 MiB) / 2 */
    assert_int_equal(kfx_json_int(set, 0, "spec", "template", "spec", "securityContext", "runAsUser"), 65532);
}

/* What is somebody else's is left alone; whatever write fails, the next run goes on; no write without the lease. */
static void test_faults(void **state)
{
    world_t *w = *state;

    w->may = false;
    run(w, false);
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(w->result.condition_count, 0);
    assert_int_equal(w->writes, 0);
    w->may = true;
    for (int i = 1; i <= 3; i++) {
        w->fail = i;
        assert_string_equal(run(w, false)->reason, "StorageError");
        assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
        assert_int_equal(w->writes, i - 1);
    }
    w->fail = 0;
    KFX_FREE char *before = kfx_json_canonical(json_object_get(w->objects, SECRETS "/etcd-certs"));
    assert_string_equal(run(w, false)->reason, "EtcdNotReady");
    KFX_FREE char *after = kfx_json_canonical(json_object_get(w->objects, SECRETS "/etcd-certs"));
    assert_string_equal(before, after);

    json_object_clear(w->objects);
    w->writes = 0;
    json_object_set_new(w->objects, "/api/v1/namespaces/cp1-system/services/etcd",
                        json_pack("{s:s, s:{s:s}}", "kind", "Service", "metadata", "name", "etcd"));
    run(w, false);
    assert_non_null(strstr(w->result.conditions[0].message, "does not belong to this control plane"));
    assert_int_equal(w->result.outcome, KFX_OUTCOME_RETRY);
    assert_int_equal(w->writes, 1); /* the certificates */
}

/* Certificates that lost a key are made anew, and everything that holds them follows; without their marks they stay. */
static void test_certs_again(void **state)
{
    world_t *w = *state;
    run(w, false);
    w->ready = true;
    run(w, false);
    json_t *certs = json_object_get(w->objects, SECRETS "/etcd-certs");
    KFX_FREE char *hash = kfx_xstrdup(kfx_object_hash(certs));
    unsigned writes = w->writes;

    json_object_del(kfx_json_get(certs, "metadata"), "annotations");
    run(w, false);
    certs = json_object_get(w->objects, SECRETS "/etcd-certs");
    assert_string_equal(kfx_object_hash(certs), hash);
    assert_int_equal(w->writes, writes + 1);
    json_object_del(w->objects, SECRETS "/etcd-certs");
    assert_string_equal(run(w, false)->reason, "EtcdNotReady"); /* the members roll */
    assert_int_equal(w->writes, writes + 4);                    /* certificates, StatefulSet, the API server's */
    assert_string_not_equal(kfx_object_hash(json_object_get(w->objects, SECRETS "/etcd-certs")), hash);
}

static X509 *cert_of(const json_t *secret, const char *key)
{
    KFX_FREE char *pem = kfx_secret_value(secret, key, NULL);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static bool verifies(X509 *cert, X509 *ca, int purpose, const char *host)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, cert, NULL);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    if (host)
        X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), host, 0);
    bool ok = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return ok;
}

static void test_certs(void **state)
{
    (void)state;
    char hash[KFX_HASH_SIZE], again[KFX_HASH_SIZE];
    KFX_SECRET json_t *one = kfx_etcd_certs_new("cp1-system", NULL), *two = kfx_etcd_certs_new("cp1-system", NULL);
    X509 *ca = cert_of(one, "ca.crt"), *server = cert_of(one, "server.crt"), *client = cert_of(one, "client.crt");
    X509 *other = cert_of(two, "ca.crt");

    assert_true(verifies(server, ca, X509_PURPOSE_SSL_SERVER, "etcd-2.etcd.cp1-system.svc"));
    assert_true(verifies(server, ca, X509_PURPOSE_SSL_SERVER, "etcd.cp1-system.svc.cluster.local"));
    assert_false(verifies(server, ca, X509_PURPOSE_SSL_SERVER, "etcd-0.etcd.cp2-system.svc"));
    assert_true(verifies(server, ca, X509_PURPOSE_SSL_CLIENT, NULL)); /* to the other members */
    assert_true(verifies(client, ca, X509_PURPOSE_SSL_CLIENT, NULL));
    assert_false(verifies(client, ca, X509_PURPOSE_SSL_SERVER, NULL));
    assert_false(verifies(client, other, X509_PURPOSE_SSL_CLIENT, NULL)); /* another plane's authority */
    assert_null(kfx_json_get(one, "data", "ca.key"));
    assert_true(kfx_etcd_certs_read(one, hash) && kfx_etcd_certs_read(two, again));
    assert_string_not_equal(hash, again);
    json_object_del(kfx_json_get(one, "data"), "client.key");
    assert_false(kfx_etcd_certs_read(one, hash));
    X509_free(ca);
    X509_free(server);
    X509_free(client);
    X509_free(other);
}

static void test_quota(void **state)
{
    (void)state;
    static const struct {
        const char *size;
        int64_t quota;
    } cases[] = {{"512Mi", 128LL << 20},
                 {"2Gi", 896LL << 20},
                 {"1Ti", 8LL << 30},
                 {"511Mi", 0},
                 {"2G", 0},
                 {"", 0},
                 {"0Gi", 0},
                 {"-1Gi", 0},
                 {"99999999Ti", 0}};
    for (size_t i = 0; i < KFX_COUNT(cases); i++) {
        kfx_error_t err = KFX_ERROR_INIT;
        assert_int_equal(kfx_etcd_quota(cases[i].size, &err), cases[i].quota);
        assert_int_equal(err.code, cases[i].quota ? KFX_OK : KFX_E_INVALID);
    }
}

static void test_endpoints(void **state)
{
    (void)state;
    static const char *const good[] = {"https://a:2379", "http://127.0.0.1:2379,https://b.c:1", "https://[::1]:2379"};
    static const char *const bad[] = {"",
                                      "a:2379",
                                      "https://",
                                      "https://a:2379,",
                                      ",https://a:2379",
                                      "https://u:p@a:2379",
                                      "https://a:2379/x",
                                      "ftp://a:1",
                                      "https://a b:1",
                                      "https://a:1,https://a:1,https://a:1,https://a:1,https://a:1,https://a:1,"
                                      "https://a:1,https://a:1,https://a:1,https://a:1"};
    for (size_t i = 0; i < KFX_COUNT(good); i++)
        assert_int_equal(kfx_etcd_endpoints_check(good[i], NULL), 0);
    for (size_t i = 0; i < KFX_COUNT(bad); i++)
        assert_int_equal(kfx_etcd_endpoints_check(bad[i], NULL), -1);
    char one[64];
    assert_true(kfx_etcd_endpoint(good[1], 1, one, sizeof one));
    assert_string_equal(one, "https://b.c:1");
    assert_false(kfx_etcd_endpoint(good[1], 2, one, sizeof one));
    assert_false(kfx_etcd_endpoint(good[1], 1, one, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certs_again, setup, teardown),
        cmocka_unit_test(test_certs),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
