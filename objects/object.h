/* objects/object.h: desired objects, their marks and their hash; whose an existing object is. Pure: thread-safe. */
#ifndef KFX_OBJECT_H
#define KFX_OBJECT_H

#include "proto/proto.h"

#include <jansson.h>

#define KFX_HASH_SIZE 17 /* 16 hex digits and NUL */

/* Whom objects belong to. */
typedef struct {
    const char *plane;
    const char *uid;
    const char *ns; /* "<plane>-system" */
} kfx_owner_t;

typedef struct {
    json_t *object; /* complete: label, ownerReference and hash annotation are in; owned */
    char kind[32];
    char name[128];
    char hash[KFX_HASH_SIZE];
    char collection[KFX_NAME_SIZE + 96]; /* "/apis/apps/v1/namespaces/cp1-system/deployments" */
} kfx_desired_t;

/* Consumes object (also on failure) and marks it: metadata.namespace, label, controller ownerReference and the hash
 * annotation, whose value is `hash` where given (generated content) and else the first 16 hex digits of SHA-256 over
 * the canonical JSON without that annotation. INVALID for a kind it has no path for. */
int kfx_desired_init(kfx_desired_t *desired, json_t *object, const kfx_owner_t *owner, const char *hash,
                     kfx_error_t *err);
void kfx_desired_clear(kfx_desired_t *desired); /* NULL-safe */

/* True where the digest shows that nothing has to be written: owned, there to stay, not drifted, same hash. */
bool kfx_desired_current(const kfx_desired_t *desired, const kfx_digest_t *digest);

/* The collection's path of a kind we write, e.g. "Service" in a namespace. -1 for others. */
int kfx_collection_path(const char *kind, const char *ns, char *out, size_t size);

/* First 16 hex digits of SHA-256 over the canonical JSON. */
void kfx_hash16(const json_t *value, char out[KFX_HASH_SIZE]);

/* Marks of an existing object (full or metadata only). */
bool kfx_object_owned(const json_t *object, const char *uid);      /* controller ownerReference with this uid */
bool kfx_object_of_plane(const json_t *object, const char *plane); /* controller is a ControlPlane of that name */
bool kfx_object_terminating(const json_t *object);
bool kfx_object_managed_by(const json_t *object, const char *manager); /* has a managedFields entry of that manager */
const char *kfx_object_hash(const json_t *object);                     /* "" if none */

#endif
