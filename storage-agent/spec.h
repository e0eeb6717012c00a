/* storage-agent/spec.h: what a ControlPlane says about its storage, and which of that this process knows already. */
#ifndef KFX_STORAGE_SPEC_H
#define KFX_STORAGE_SPEC_H

#include "base/error.h"

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    KFX_BACKEND_SHARED,    /* a database on a Postgres of the installation */
    KFX_BACKEND_DEDICATED, /* an etcd of its own */
    KFX_BACKEND_EXTERNAL   /* what a Secret of the user's names */
} kfx_backend_t;

typedef struct {
    kfx_backend_t backend;
    char server[64];         /* of the pool, where one is asked for; "" = any */
    int members;             /* of a dedicated etcd: 1 or 3 */
    char size[16];           /* of each member's volume, "2Gi" */
    char storage_class[254]; /* of the volumes; "" = the cluster's default */
    char secret_ns[64];      /* spec.storage.secretRef */
    char secret_name[254];
    bool drop; /* spec.storage.deletionPolicy is Delete: an external database is emptied with the plane */
} kfx_storage_spec_t;

/* Reads spec.backend and spec.storage. INVALID where they cannot be followed: the error says what to do. Pure. */
int kfx_storage_spec(const json_t *plane, kfx_storage_spec_t *out, kfx_error_t *err);

/* uid -> what it said at which generation. Any thread. A plane that is not known here is asked for again. */
typedef struct {
    pthread_mutex_t mutex;
    json_t *known;
} kfx_specs_t;

void kfx_specs_init(kfx_specs_t *self);
void kfx_specs_clear(kfx_specs_t *self);
/* plane: the ControlPlane as the API server has it; NULL forgets the uid. */
void kfx_specs_note(kfx_specs_t *self, const char *uid, const json_t *plane);
/* A fresh object with generation and spec, of that generation or a later one; NULL where none is known. */
json_t *kfx_specs_get(kfx_specs_t *self, const char *uid, int64_t generation);

#endif
