/* cli/plane.h: a ControlPlane as the API server shows it, reduced to what kflex prints and waits for. */
#ifndef KFX_CLI_PLANE_H
#define KFX_CLI_PLANE_H

#include "kube/client.h"
#include "proto/proto.h"

typedef struct {
    char name[KFX_NAME_SIZE];
    char uid[KFX_UID_SIZE];
    char type[32];
    bool deleting;
    int64_t created; /* seconds since the epoch, -1 unknown */
    char secret_ns[KFX_NAME_SIZE], secret_name[KFX_NAME_SIZE], secret_key[KFX_NAME_SIZE],
        secret_in_cluster_key[KFX_NAME_SIZE];
    size_t condition_count;
    kfx_condition_t conditions[KFX_CONDITIONS_MAX];
} kfx_plane_t;

/* Fills plane from the object; never fails, what is missing is empty. Any thread. */
void kfx_plane_read(const json_t *object, kfx_plane_t *plane);
const kfx_condition_t *kfx_plane_condition(const kfx_plane_t *plane, const char *type); /* NULL: absent */
bool kfx_plane_is(const kfx_plane_t *plane, const char *type);                          /* status "True" */

/* For a watch (kube/watch.h): a fresh kfx_plane_t. */
void *kfx_plane_reduce(void *ctx, const json_t *object);

/* GETs it. NOT_FOUND where there is none. */
int kfx_plane_get(kfx_kube_t *kube, const char *name, kfx_plane_t *plane, kfx_error_t *err);

/* The plane's own kubeconfig from the Secret that its status names. One of type host that was told no address for users
 * is reached as the hosting cluster is: hosting_cluster, the body of a kubeconfig's cluster. Fresh; NOT_FOUND while
 * there is none. */
json_t *kfx_plane_kubeconfig(kfx_kube_t *kube, const kfx_plane_t *plane, const json_t *hosting_cluster,
                             kfx_error_t *err);

/* Waits until the server that this kubeconfig names answers at all: an ingress controller learns of a new plane a
 * moment after the plane is Ready. Tries again until the deadline (kfx_now_ms); -1 with what the last try said. Blocks.
 */
int kfx_plane_await_answer(const json_t *kubeconfig, int64_t deadline, kfx_error_t *err);

/* What keeps it from being Ready, in words: "Synced is False (NotSupported: …)". Fresh. */
char *kfx_plane_missing(const kfx_plane_t *plane);

/* The condition that says what keeps it from going, once it is being deleted: only Synced and StorageReady know, and
 * the one that has something to mend names the annotation. NULL: none does. */
const kfx_condition_t *kfx_plane_held_by(const kfx_plane_t *plane);

#endif
