/* base/pki.c: X.509 with OpenSSL 3. */
#include "base/pki.h"

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#define HOUR 3600L
#define DAYS_VALID 3650
#define SERIAL_BITS 128

static void free_pkey(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}
static void free_cert(X509 **p)
{
    X509_free(*p);
}
static void free_bio(BIO **p)
{
    BIO_free(*p);
}
#define PKEY KFX_CLEANUP(free_pkey) EVP_PKEY
#define CERT KFX_CLEANUP(free_cert) X509
#define MEMBIO KFX_CLEANUP(free_bio) BIO

static int failed(kfx_error_t *err, const char *what)
{
    char text[160] = "no reason given";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return kfx_error_set(err, KFX_E_INTERNAL, "%s: %s", what, text);
}

/* The text in a memory BIO, wiped there. Caller frees. */
static char *bio_text(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    if (len <= 0)
        return NULL;
    char *out = kfx_xcalloc(1, (size_t)len + 1);
    memcpy(out, data, (size_t)len);
    kfx_wipe(data, (size_t)len);
    return out;
}

static char *key_pem(EVP_PKEY *key)
{
    MEMBIO *bio = BIO_new(BIO_s_mem());
    if (!bio || !PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL))
        return NULL;
    return bio_text(bio);
}

static char *cert_pem(X509 *cert)
{
    MEMBIO *bio = BIO_new(BIO_s_mem());
    return bio && PEM_write_bio_X509(bio, cert) ? bio_text(bio) : NULL;
}

static EVP_PKEY *read_key(const char *pem)
{
    MEMBIO *bio = pem ? BIO_new_mem_buf(pem, -1) : NULL;
    return bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
}

static X509 *read_cert(const char *pem)
{
    MEMBIO *bio = pem ? BIO_new_mem_buf(pem, -1) : NULL;
    return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

static int set_serial(X509 *cert)
{
    BIGNUM *serial = BN_new();
    /* The top bit stays clear (the number is positive) and the next one is set (it is never short). */
    int ok = serial && BN_rand(serial, SERIAL_BITS - 1, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
             BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
    BN_free(serial);
    return ok ? 0 : -1;
}

static int add_name(X509_NAME *name, const char *field, const char *value)
{
    if (!value)
        return 0;
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) ? 0 : -1;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok ? 0 : -1;
}

static int push_san(GENERAL_NAMES *names, const char *san)
{
    unsigned char raw[sizeof(struct in6_addr)];
    size_t len = inet_pton(AF_INET, san, raw) == 1 ? 4 : inet_pton(AF_INET6, san, raw) == 1 ? 16 : 0;
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = len ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (!name || !value || !ASN1_STRING_set(value, len ? (const void *)raw : san, len ? (int)len : -1)) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(value);
        return -1;
    }
    GENERAL_NAME_set0_value(name, len ? GEN_IPADD : GEN_DNS, value);
    if (sk_GENERAL_NAME_push(names, name))
        return 0;
    GENERAL_NAME_free(name);
    return -1;
}

/* Built as values, not through OpenSSL's configuration syntax, in which a comma in a name would add another name. */
static int add_sans(X509 *cert, const kfx_cert_request_t *subject)
{
    if (!subject->san_count)
        return 0;
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    int rc = names ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < subject->san_count; i++)
        rc = push_san(names, subject->sans[i]);
    if (rc == 0 && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1)
        rc = -1;
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    return rc;
}

static int add_extensions(X509 *cert, X509 *issuer, const kfx_cert_request_t *subject, bool ca)
{
    const char *usage = subject->server && subject->client ? "serverAuth,clientAuth"
                        : subject->server                  ? "serverAuth"
                                                           : "clientAuth";
    if (add_extension(cert, issuer, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE") ||
        add_extension(cert, issuer, NID_key_usage,
                      ca ? "critical,digitalSignature,keyCertSign,cRLSign" : "critical,digitalSignature") ||
        add_extension(cert, issuer, NID_subject_key_identifier, "hash") ||
        add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always"))
        return -1;
    if (!ca && (subject->server || subject->client) && add_extension(cert, issuer, NID_ext_key_usage, usage))
        return -1;
    return add_sans(cert, subject);
}

/* issuer NULL: self-signed authority. */
static X509 *make_cert(EVP_PKEY *key, const kfx_cert_request_t *subject, X509 *issuer, EVP_PKEY *issuer_key)
{
    CERT *cert = X509_new();
    X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
    X509 *parent = issuer ? issuer : cert;
    if (!cert || !X509_set_version(cert, X509_VERSION_3) || set_serial(cert) ||
        !X509_gmtime_adj(X509_getm_notBefore(cert), -HOUR) ||
        !X509_time_adj_ex(X509_getm_notAfter(cert), DAYS_VALID, 0, NULL) || !X509_set_pubkey(cert, key) ||
        add_name(name, "O", subject->organization) || add_name(name, "OU", subject->unit) ||
        add_name(name, "CN", subject->common_name) || !X509_set_issuer_name(cert, X509_get_subject_name(parent)) ||
        add_extensions(cert, parent, subject, !issuer) || !X509_sign(cert, issuer ? issuer_key : key, EVP_sha256()))
        return NULL;
    return KFX_STEAL(cert);
}

static int make_pair(const kfx_cert_request_t *subject, X509 *issuer, EVP_PKEY *issuer_key, kfx_keypair_t *out,
                     kfx_error_t *err)
{
    PKEY *key = EVP_EC_gen("P-256");
    CERT *cert = key ? make_cert(key, subject, issuer, issuer_key) : NULL;
    kfx_keypair_t pair = {cert ? key_pem(key) : NULL, cert ? cert_pem(cert) : NULL};
    if (!pair.key || !pair.cert) {
        kfx_keypair_clear(&pair);
        failed(err, "cannot make a certificate");
        return kfx_error_wrap(err, "%s", subject->common_name);
    }
    *out = pair;
    return 0;
}

int kfx_pki_authority(const kfx_cert_request_t *subject, kfx_keypair_t *out, kfx_error_t *err)
{
    return make_pair(subject, NULL, NULL, out, err);
}

int kfx_pki_issue(const kfx_keypair_t *ca, const kfx_cert_request_t *subject, kfx_keypair_t *out, kfx_error_t *err)
{
    CERT *issuer = read_cert(ca->cert);
    PKEY *issuer_key = read_key(ca->key);
    if (!issuer || !issuer_key || X509_check_private_key(issuer, issuer_key) != 1) {
        ERR_clear_error();
        return kfx_error_set(err, KFX_E_INVALID, "the authority's certificate and key cannot be read or do not fit");
    }
    return make_pair(subject, issuer, issuer_key, out, err);
}

int kfx_pki_signing_keys(char **private_pem, char **public_pem, kfx_error_t *err)
{
    PKEY *key = EVP_EC_gen("P-256");
    MEMBIO *bio = BIO_new(BIO_s_mem());
    char *secret = key ? key_pem(key) : NULL;
    if (!secret || !bio || !PEM_write_bio_PUBKEY(bio, key)) {
        kfx_wipe(secret, secret ? strlen(secret) : 0);
        free(secret);
        return failed(err, "cannot make a signing key");
    }
    *private_pem = secret;
    *public_pem = bio_text(bio);
    return 0;
}

bool kfx_pki_cert_usable(const char *pem)
{
    CERT *cert = read_cert(pem);
    ERR_clear_error();
    return cert && X509_cmp_current_time(X509_get0_notBefore(cert)) < 0 &&
           X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

void kfx_keypair_clear(kfx_keypair_t *pair)
{
    if (!pair)
        return;
    kfx_wipe(pair->key, pair->key ? strlen(pair->key) : 0);
    free(pair->key);
    free(pair->cert);
    pair->key = pair->cert = NULL;
}
