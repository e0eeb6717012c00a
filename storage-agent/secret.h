/* storage-agent/secret.h: Secrets the agent reads and writes, behind three calls, so that tests need no API server.
 *
 * The calls may be used from any thread. Objects handed in are consumed, objects handed out are fresh. A Secret's JSON
 * holds passwords: kfx_secret_free wipes what jansson lets us reach.
 */
#ifndef KFX_STORAGE_SECRET_H
#define KFX_STORAGE_SECRET_H

#include "storage-agent/names.h"

#include <jansson.h>

typedef struct {
    /* NULL with NOT_FOUND where there is none. */
    json_t *(*get)(void *ctx, const char *ns, const char *name, kfx_error_t *err);
    /* {items: […]}: those that the label selector fits. */
    json_t *(*list)(void *ctx, const char *ns, const char *selector, kfx_error_t *err);
    /* EXISTS where there is one already; never overwrites. */
    int (*create)(void *ctx, const char *ns, json_t *secret, kfx_error_t *err);
    /* Server-side apply; the object as the API server left it. */
    json_t *(*apply)(void *ctx, const char *ns, const char *manager, json_t *secret, kfx_error_t *err);
    /* The same for an object of any kind. */
    json_t *(*write)(void *ctx, const char *collection, const char *manager, json_t *object, kfx_error_t *err);
    /* An object's metadata. NULL with NOT_FOUND where there is none. */
    json_t *(*look)(void *ctx, const char *collection, const char *name, kfx_error_t *err);
    /* The ControlPlane of that name; NULL with NOT_FOUND where there is none. */
    json_t *(*plane)(void *ctx, const char *name, kfx_error_t *err);
    /* {uid: true} of all ControlPlanes. */
    json_t *(*plane_uids)(void *ctx, kfx_error_t *err);
    void *ctx;
} kfx_secrets_t;

/* One value, decoded; caller wipes and frees. NULL where it is missing, empty or no base64: the error names the key. */
char *kfx_secret_value(const json_t *secret, const char *key, kfx_error_t *err);
/* {apiVersion, kind, metadata: {name, namespace}, type, data: {}}. */
json_t *kfx_secret_new(const char *ns, const char *name, const char *type);
void kfx_secret_set(json_t *secret, const char *key, const char *value); /* encodes */
void kfx_secret_free(json_t **secret_p);                                 /* NULL-safe; wipes the data first */
#define KFX_SECRET KFX_CLEANUP(kfx_secret_free)

/* n random characters of [A-Za-z0-9] from OpenSSL, 5.95 bits each. out has n + 1 bytes. */
int kfx_random_text(char *out, size_t n, kfx_error_t *err);
/* n random hex digits. */
int kfx_random_hex(char *out, size_t n, kfx_error_t *err);

/* What a kine-dsn Secret that is there tells. */
typedef struct {
    bool ours;                        /* its controller is this uid */
    bool usable;                      /* its endpoint names a login of ours and our database */
    bool swapped;                     /* … namely names->other */
    char password[KFX_PASSWORD_SIZE]; /* of the endpoint where usable: wipe it */
    char hash[32];                    /* applied-hash, "" if none */
} kfx_dsn_seen_t;
void kfx_dsn_inspect(const json_t *secret, const char *uid, const kfx_storage_names_t *names, kfx_dsn_seen_t *seen);

/* The manifest of kine-dsn, to be applied. */
json_t *kfx_dsn_secret(const char *plane, const char *uid, const kfx_storage_names_t *names,
                       const kfx_storage_server_t *server, const char *password, const char *hash);

#endif
