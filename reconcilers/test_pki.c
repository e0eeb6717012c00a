/* reconcilers/test_pki.c: certificates as a verifier sees them, and the Secrets made of them. */
#include "base/codec.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "kube/config.h"
#include "reconcilers/k8s/certs.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static X509 *cert_of(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static EVP_PKEY *key_of(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(key);
    return key;
}

/* X509_V_OK, or what a strict verifier has against it. host NULL: as a client's certificate. */
static int verify(const char *ca_pem, const char *pem, const char *host)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509 *ca = cert_of(ca_pem), *cert = cert_of(pem);
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, cert, NULL);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_purpose(ctx, host ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
    if (host && X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
        X509_VERIFY_PARAM_set1_host(param, host, 0);
    X509_verify_cert(ctx);
    int error = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(ca);
    X509_free(cert);
    return error;
}

static kfx_endpoints_t endpoints_of(const char *address)
{
    kfx_config_t config = {.domain = "localtest.me", .external_port = 9443, .host_container = "kind-control-plane"};
    kfx_memo_t facts = {.cluster_ip = "10.96.7.7"};
    kfx_endpoints_t out;
    kfx_copy(config.external_address, sizeof(config.external_address), address);
    kfx_endpoints("cp1", "cp1", &config, &facts, &out);
    return out;
}

static char *text_of(const json_t *data, const char *key)
{
    size_t len;
    const char *encoded = kfx_json_str(data, key);
    assert_non_null(encoded);
    char *text = kfx_base64_decode(encoded, &len, NULL);
    assert_non_null(text);
    return text;
}

static void test_chain(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL}, other = {NULL, NULL}, leaf = {NULL, NULL};
    const char *sans[] = {"a.example", "192.0.2.1", "::1"};
    kfx_cert_request_t authority = {.common_name = "kubernetes", .organization = "Kubernetes"};
    kfx_cert_request_t server = {.common_name = "s", .server = true, .sans = sans, .san_count = 3};
    kfx_cert_request_t client = {.common_name = "c", .organization = "g", .client = true};
    assert_int_equal(kfx_pki_authority(&authority, &ca, &err), 0);
    assert_int_equal(kfx_pki_authority(&authority, &other, &err), 0); /* the same name, another key */
    assert_int_equal(kfx_pki_issue(&ca, &server, &leaf, &err), 0);
    assert_int_equal(verify(ca.cert, leaf.cert, "a.example"), X509_V_OK);
    assert_int_equal(verify(ca.cert, leaf.cert, "192.0.2.1"), X509_V_OK);
    assert_int_equal(verify(ca.cert, leaf.cert, "::1"), X509_V_OK);
    assert_int_equal(verify(ca.cert, leaf.cert, "b.example"), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_not_equal(verify(other.cert, leaf.cert, "a.example"), X509_V_OK);
    assert_int_not_equal(verify(ca.cert, leaf.cert, NULL), X509_V_OK); /* no client certificate */
    kfx_keypair_clear(&leaf);
    assert_int_equal(kfx_pki_issue(&ca, &client, &leaf, &err), 0);
    assert_int_equal(verify(ca.cert, leaf.cert, NULL), X509_V_OK);
    assert_int_not_equal(verify(ca.cert, leaf.cert, "a.example"), X509_V_OK);
    kfx_keypair_t mixed = {ca.key, other.cert};
    kfx_keypair_t bad = {NULL, NULL};
    assert_int_equal(kfx_pki_issue(&mixed, &client, &bad, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
}

static void test_fields(void **state)
{
    (void)state;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_KEYPAIR kfx_keypair_t ca = {NULL, NULL}, leaf = {NULL, NULL};
    const char *sans[] = {"evil,DNS:other", "x"}; /* one name, however it looks */
    kfx_cert_request_t server = {.common_name = "s", .server = true, .sans = sans, .san_count = 2};
    assert_int_equal(kfx_pki_authority(&server, &ca, &err), 0);
    assert_int_equal(kfx_pki_issue(&ca, &server, &leaf, &err), 0);
    X509 *a = cert_of(ca.cert), *l = cert_of(leaf.cert);
    assert_int_equal(X509_get_key_usage(a), KU_DIGITAL_SIGNATURE | KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_get_key_usage(l), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(l), XKU_SSL_SERVER);
    assert_int_equal(X509_check_ca(a), 1);
    assert_int_equal(X509_check_ca(l), 0);
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(l), X509_get0_subject_key_id(a)), 0);
    assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(l)), 0);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(l)), 16);
    GENERAL_NAMES *names = X509_get_ext_d2i(l, NID_subject_alt_name, NULL, NULL);
    assert_int_equal(sk_GENERAL_NAME_num(names), 2);
    GENERAL_NAMES_free(names);
    time_t now = time(NULL), hour_ago = now - 3600, later = now + 3649L * 86400;
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(l), &now), -1);
    assert_int_equal(X509_cmp_time(X509_get0_notAfter(l), &later), 1);
    time_t early = hour_ago - 60;
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(l), &early), 1);
    assert_true(kfx_pki_cert_usable(leaf.cert));
    assert_false(kfx_pki_cert_usable("nonsense"));
    assert_false(kfx_pki_cert_usable(NULL));
    EVP_PKEY *key = key_of(leaf.key);
    assert_int_equal(X509_check_private_key(l, key), 1);
    assert_int_equal(EVP_PKEY_get_bits(key), 256);
    assert_non_null(strstr(leaf.key, "-----BEGIN EC PRIVATE KEY-----"));
    EVP_PKEY_free(key);
    X509_free(a);
    X509_free(l);
}

static void test_certs_secret(void **state)
{
    (void)state;
    static const char *const keys[] = {"ca.key",
                                       "ca.crt",
                                       "apiserver.key",
                                       "apiserver.crt",
                                       "apiserver-kubelet-client.key",
                                       "apiserver-kubelet-client.crt",
                                       "front-proxy-ca.key",
                                       "front-proxy-ca.crt",
                                       "front-proxy-client.key",
                                       "front-proxy-client.crt",
                                       "sa.key",
                                       "sa.pub"};
    static const char *const names[] = {"kubernetes",
                                        "kubernetes.default",
                                        "kubernetes.default.svc",
                                        "kubernetes.default.svc.cluster",
                                        "kubernetes.default.svc.cluster.local",
                                        "localhost",
                                        "kubeflex-control-plane",
                                        "kind-control-plane",
                                        "cp1.cp1-system",
                                        "cp1.cp1-system.svc",
                                        "cp1.cp1-system.svc.cluster",
                                        "cp1.cp1-system.svc.cluster.local",
                                        "cp1.localtest.me",
                                        "192.0.2.9",
                                        "10.96.7.7",
                                        "10.96.0.1",
                                        "127.0.0.1",
                                        "::1"};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_authority_t authority = {.id = ""};
    kfx_endpoints_t endpoints = endpoints_of("192.0.2.9");
    KFX_JSON json_t *data = kfx_certs_make(&endpoints, &authority, &err);
    assert_non_null(data);
    assert_int_equal(json_object_size(data), KFX_COUNT(keys));
    for (size_t i = 0; i < KFX_COUNT(keys); i++)
        assert_non_null(kfx_json_str(data, keys[i]));
    KFX_FREE char *ca = text_of(data, "ca.crt"), *serving = text_of(data, "apiserver.crt");
    KFX_FREE char *front_ca = text_of(data, "front-proxy-ca.crt"), *front = text_of(data, "front-proxy-client.crt");
    for (size_t i = 0; i < KFX_COUNT(names); i++)
        assert_int_equal(verify(ca, serving, names[i]), X509_V_OK);
    assert_int_equal(endpoints.san_count, KFX_COUNT(names));
    assert_int_equal(verify(front_ca, front, NULL), X509_V_OK);
    assert_int_not_equal(verify(ca, front, NULL), X509_V_OK); /* S-04: an authority of its own */
    KFX_FREE char *sa = text_of(data, "sa.key"), *pub = text_of(data, "sa.pub");
    EVP_PKEY *key = key_of(sa);
    BIO *bio = BIO_new_mem_buf(pub, -1);
    EVP_PKEY *public = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    assert_int_equal(EVP_PKEY_eq(key, public), 1);
    BIO_free(bio);
    EVP_PKEY_free(key);
    EVP_PKEY_free(public);
    /* And back: what was written is the authority that is read. */
    kfx_authority_t again = {.id = ""};
    KFX_JSON json_t *secret = json_pack("{s:O}", "data", data);
    assert_int_equal(kfx_authority_read(secret, &again, &err), 0);
    assert_string_equal(again.id, authority.id);
    json_object_set_new(data, "ca.key", json_string("!"));
    assert_int_equal(kfx_authority_read(secret, &again, &err), -1);
    assert_non_null(strstr(err.msg, "ca.key"));
    kfx_authority_clear(&authority);
    kfx_authority_clear(&again);
}

static void assert_kubeconfig(const json_t *data, const char *key, const char *server, const char *tls_name,
                              const char *user, const char *common_name, const char *organization)
{
    kfx_error_t err = KFX_ERROR_INIT;
    char subject[128] = "";
    KFX_FREE char *text = text_of(data, key);
    KFX_JSON json_t *tree = kfx_yaml_parse(text, strlen(text), &err);
    assert_non_null(tree);
    assert_string_equal(kfx_json_str(tree, "current-context"), "cp1");
    assert_string_equal(kfx_json_str(tree, "contexts", "0", "name"), "cp1");
    assert_string_equal(kfx_json_str(tree, "contexts", "0", "context", "namespace"), "default");
    assert_string_equal(kfx_json_str(tree, "contexts", "0", "context", "cluster"), "cp1-cluster");
    assert_string_equal(kfx_json_str(tree, "contexts", "0", "context", "user"), user);
    assert_string_equal(kfx_json_str(tree, "clusters", "0", "name"), "cp1-cluster");
    assert_string_equal(kfx_json_str(tree, "users", "0", "name"), user);
    kfx_kube_config_t *config = kfx_kube_config_from_tree(tree, NULL, NULL, false, &err);
    assert_non_null(config);
    assert_string_equal(config->server, server);
    if (tls_name)
        assert_string_equal(config->tls_server_name, tls_name);
    else
        assert_null(config->tls_server_name);
    assert_int_equal(verify(config->ca_pem, config->client_cert_pem, NULL), X509_V_OK);
    X509 *cert = cert_of(config->client_cert_pem);
    EVP_PKEY *pkey = key_of(config->client_key_pem);
    assert_int_equal(X509_check_private_key(cert, pkey), 1);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, subject, sizeof(subject));
    assert_string_equal(subject, common_name);
    subject[0] = '\0';
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_organizationName, subject, sizeof(subject));
    assert_string_equal(subject, organization);
    EVP_PKEY_free(pkey);
    X509_free(cert);
    kfx_kube_config_free(config);
}

static void test_kubeconfigs(void **state)
{
    (void)state;
    static const char inside[] = "https://cp1.cp1-system.svc.cluster.local";
    static const char cm[] = "system:kube-controller-manager";
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_authority_t authority = {.id = ""};
    kfx_endpoints_t plain = endpoints_of(""), address = endpoints_of("192.0.2.9");
    json_decref(kfx_certs_make(&plain, &authority, &err));
    json_t *data = kfx_kubeconfig_data(KFX_ADMIN, "cp1", &plain, &authority, &err);
    assert_int_equal(json_object_size(data), 2);
    assert_kubeconfig(data, "kubeconfig", "https://cp1.localtest.me:9443", NULL, "cp1-admin", "kubernetes-admin",
                      "system:masters");
    assert_kubeconfig(data, "kubeconfig-incluster", inside, NULL, "cp1-admin", "kubernetes-admin", "system:masters");
    json_decref(data);
    data = kfx_kubeconfig_data(KFX_ADMIN, "cp1", &address, &authority, &err);
    assert_kubeconfig(data, "kubeconfig", "https://192.0.2.9:9443", "cp1.localtest.me", "cp1-admin", "kubernetes-admin",
                      "system:masters");
    json_decref(data);
    data = kfx_kubeconfig_data(KFX_CM, "cp1", &plain, &authority, &err);
    assert_int_equal(json_object_size(data), 1);
    assert_kubeconfig(data, "kubeconfig", inside, NULL, cm, cm, "");
    json_decref(data);
    kfx_authority_clear(&authority);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_certs_secret),
        cmocka_unit_test(test_kubeconfigs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
