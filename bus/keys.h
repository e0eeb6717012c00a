/* bus/keys.h: CURVE keys of a role, as they stand in its Secret.
 *
 * Secret kubeflex-bus (read by the bus alone): public.key, secret.key: the server's own pair.
 * Secret kubeflex-bus-<role>, ':' of the role as '-' (kubeflex-bus-reconciler-k8s): public.key, secret.key: the role's
 * pair; server.key: the server's public key. All are Z85 text of 40 characters. The bus makes them at its first start
 * with create-only requests; everybody else only reads its own.
 */
#ifndef KFX_BUS_KEYS_H
#define KFX_BUS_KEYS_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

#define KFX_Z85_SIZE 41 /* 40 characters and NUL */

typedef struct {
    char public_key[KFX_Z85_SIZE]; /* "" everywhere: no CURVE, which the bus takes on ipc:// and inproc:// only */
    char secret_key[KFX_Z85_SIZE];
    char server_key[KFX_Z85_SIZE];
} kfx_bus_keys_t;

/* From a Secret object as the API server gives it (data is base64). INVALID names the missing or malformed key, never
 * its value. */
int kfx_bus_keys_from_secret(const json_t *secret, kfx_bus_keys_t *keys, kfx_error_t *err);

/* From DIR/<Secret>/<key> as a mounted Secret has it (`kubeflex-bus --keys-dir DIR` makes the same): outside a cluster.
 */
int kfx_bus_keys_from_dir(const char *dir, const char *role, kfx_bus_keys_t *keys, kfx_error_t *err);

/* "kubeflex-bus-reconciler-k8s" for "reconciler:k8s". */
void kfx_bus_role_secret(const char *role, char out[128]);

/* True for 40 characters of Z85 (ZeroMQ RFC 32). */
bool kfx_bus_key_valid(const char *key);

#endif
