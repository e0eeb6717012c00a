/* storage-agent/certs.h: the certificate of the Postgres server of kubeflex-system.
 *
 * P-256, ten years (rotation is an issue of its own), random serials, subject and authority key identifiers. The key of
 * the CA is never stored: it signs this one certificate and is forgotten, so that nobody can make another; a new
 * certificate comes with a new CA. Thread-safe.
 */
#ifndef KFX_STORAGE_CERTS_H
#define KFX_STORAGE_CERTS_H

#include "base/error.h"

typedef struct {
    char *ca_pem;
    char *cert_pem;
    char *key_pem; /* PKCS#8 */
} kfx_server_cert_t;

/* For the given names (SANs; a name that is an IPv4 or IPv6 address becomes an IP SAN). */
int kfx_server_cert_make(const char *const *names, size_t count, kfx_server_cert_t *out, kfx_error_t *err);
void kfx_server_cert_free(kfx_server_cert_t *cert); /* wipes the key; for KFX_CLEANUP too */

#endif
