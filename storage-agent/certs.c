/* storage-agent/certs.c: see certs.h. */
#include "storage-agent/certs.h"

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#define VALID_DAYS 3650
#define SKEW_SECONDS (-3600) /* clocks of nodes differ a little */
#define SERIAL_BYTES 16

static void key_free(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void cert_free(X509 **cert)
{
    X509_free(*cert);
}

static int openssl_failed(const char *what, kfx_error_t *err)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    ERR_clear_error();
    return kfx_error_set(err, KFX_E_INTERNAL, "certificate of Postgres: %s: %s", what, text);
}

static int random_serial(X509 *cert)
{
    unsigned char bytes[SERIAL_BYTES];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return -1;
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive and of full length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    int ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return ok ? 0 : -1;
}

static int extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok ? 0 : -1;
}

static X509 *unsigned_cert(const char *common_name, EVP_PKEY *key, X509 *issuer)
{
    X509 *cert = X509_new();
    X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;

    if (name && X509_set_version(cert, X509_VERSION_3) && random_serial(cert) == 0 &&
        X509_gmtime_adj(X509_getm_notBefore(cert), SKEW_SECONDS) &&
        X509_time_adj_ex(X509_getm_notAfter(cert), VALID_DAYS, 0, NULL) && X509_set_pubkey(cert, key) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0) &&
        X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert)))
        return cert;
    X509_free(cert);
    return NULL;
}

static X509 *make_ca(EVP_PKEY *key)
{
    X509 *ca = unsigned_cert("kubeflex-postgres-ca", key, NULL);

    if (ca && extend(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") == 0 &&
        extend(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") == 0 &&
        extend(ca, ca, NID_subject_key_identifier, "hash") == 0 && X509_sign(ca, key, EVP_sha256()))
        return ca;
    X509_free(ca);
    return NULL;
}

/* "DNS:a,IP:10.0.0.1" */
static char *san_text(const char *const *names, size_t count)
{
    kfx_buf_t text = KFX_BUF_INIT(16384);

    for (size_t i = 0; i < count; i++) {
        unsigned char address[16];
        bool ip = inet_pton(AF_INET, names[i], address) == 1 || inet_pton(AF_INET6, names[i], address) == 1;
        kfx_buf_addf(&text, "%s%s:%s", i ? "," : "", ip ? "IP" : "DNS", names[i]);
    }
    return kfx_buf_steal(&text, NULL);
}

static X509 *make_server(const char *const *names, size_t count, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
    KFX_FREE char *san = san_text(names, count);
    X509 *cert = unsigned_cert(names[0], key, ca);

    if (cert && extend(cert, ca, NID_basic_constraints, "critical,CA:FALSE") == 0 &&
        extend(cert, ca, NID_key_usage, "critical,digitalSignature") == 0 &&
        extend(cert, ca, NID_ext_key_usage, "serverAuth") == 0 &&
        extend(cert, ca, NID_subject_key_identifier, "hash") == 0 &&
        extend(cert, ca, NID_authority_key_identifier, "keyid:always") == 0 &&
        extend(cert, ca, NID_subject_alt_name, san) == 0 && X509_sign(cert, ca_key, EVP_sha256()))
        return cert;
    X509_free(cert);
    return NULL;
}

/* The content of a memory BIO as text; the BIO is wiped and freed. */
static char *bio_text(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *text = kfx_xcalloc((size_t)len + 1, 1);
    memcpy(text, data, (size_t)len);
    kfx_wipe(data, (size_t)len);
    BIO_free(bio);
    return text;
}

static char *cert_text(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    return bio && PEM_write_bio_X509(bio, cert) ? bio_text(bio) : NULL;
}

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    return bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? bio_text(bio) : NULL;
}

int kfx_server_cert_make(const char *const *names, size_t count, kfx_server_cert_t *out, kfx_error_t *err)
{
    KFX_CLEANUP(key_free) EVP_PKEY *ca_key = EVP_EC_gen("P-256");
    KFX_CLEANUP(key_free) EVP_PKEY *key = EVP_EC_gen("P-256");

    if (!ca_key || !key)
        return openssl_failed("make keys", err);
    KFX_CLEANUP(cert_free) X509 *ca = make_ca(ca_key);
    if (!ca)
        return openssl_failed("make the CA", err);
    KFX_CLEANUP(cert_free) X509 *cert = make_server(names, count, key, ca, ca_key);
    if (!cert)
        return openssl_failed("sign", err);
    out->ca_pem = cert_text(ca);
    out->cert_pem = cert_text(cert);
    out->key_pem = key_text(key);
    if (out->ca_pem && out->cert_pem && out->key_pem)
        return 0;
    kfx_server_cert_free(out);
    return openssl_failed("write PEM", err);
}

void kfx_server_cert_free(kfx_server_cert_t *cert)
{
    free(cert->ca_pem);
    free(cert->cert_pem);
    if (cert->key_pem)
        kfx_wipe(cert->key_pem, strlen(cert->key_pem));
    free(cert->key_pem);
    memset(cert, 0, sizeof *cert);
}
