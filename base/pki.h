/* base/pki.h: certificate authorities, certificates and keys (OpenSSL 3).
 *
 * All keys are EC P-256: an RSA-2048 key costs 170 ms here, a P-256 key 0.03 ms. Serial numbers are random (128 bits),
 * every certificate carries a SubjectKeyIdentifier and an AuthorityKeyIdentifier that matches its issuer, so OpenSSL
 * and Go both verify the chain. Valid from one hour ago for ten years (there is no rotation yet). Private keys are PEM
 * "EC PRIVATE KEY" (SEC 1), public ones "PUBLIC KEY" (PKIX). Functions share nothing: thread-safe.
 */
#ifndef KFX_PKI_H
#define KFX_PKI_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* PEM texts, owned; kfx_keypair_clear wipes the key. */
typedef struct {
    char *key;
    char *cert;
} kfx_keypair_t;

typedef struct {
    const char *common_name;
    const char *organization; /* or NULL */
    const char *unit;         /* or NULL */
    bool server;              /* extended key usage serverAuth */
    bool client;              /* extended key usage clientAuth */
    const char *const *sans;  /* DNS names and IP addresses, mixed; may be NULL */
    size_t san_count;
} kfx_cert_request_t;

int kfx_pki_authority(const kfx_cert_request_t *subject, kfx_keypair_t *out, kfx_error_t *err);
/* A certificate with a key of its own, signed by ca (whose key must fit its certificate). */
int kfx_pki_issue(const kfx_keypair_t *ca, const kfx_cert_request_t *subject, kfx_keypair_t *out, kfx_error_t *err);
/* A bare key pair for signing service account tokens (ES256). Caller frees both. */
int kfx_pki_signing_keys(char **private_pem, char **public_pem, kfx_error_t *err);

/* True where pem holds a certificate that is valid now. */
bool kfx_pki_cert_usable(const char *pem);

void kfx_keypair_clear(kfx_keypair_t *pair); /* NULL-safe; also a cleanup function */
#define KFX_KEYPAIR KFX_CLEANUP(kfx_keypair_clear)

#endif
