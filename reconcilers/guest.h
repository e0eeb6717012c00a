/* reconcilers/guest.h: what the types share whose plane is one program with an API server, a storage and an identity of
 * its own (vcluster, k3s, ocm): the Secret with the plane's kubeconfigs, and asking the plane with them.
 *
 * A program writes its credentials into a Secret of its own choice once, when it starts. Both that one and the Secret
 * that users read are made by us beforehand, with a key "controlplane" and an empty applied-hash: so they are the
 * plane's from the start, the program finds them there and puts its keys in, and each version of them is news. What
 * users read is then written by us, with an applied-hash over what it was made from. Either of the two is rebuilt from
 * the other one; where both are lost the program is started again.
 */
#ifndef KFX_RECONCILERS_GUEST_H
#define KFX_RECONCILERS_GUEST_H

#include "base/embedded.h"
#include "reconcilers/endpoints.h"
#include "reconcilers/run.h"

typedef struct {
    const char *service;        /* by which the API server is called inside the cluster */
    const char *domain;         /* what stands after <service>.<namespace> in kubeconfigs, "" or ".svc" */
    const char *program_secret; /* where the program writes a kubeconfig for inside the cluster; NULL: it writes none */
    const char *program_key;
    bool parts;        /* users find certificates and key in keys of their own too, as vCluster writes them */
    bool one_name;     /* its certificate has one name for users outside, <plane>.<domain> or the Route's host: whoever
                          comes by another address must ask for that one */
    bool cluster_info; /* kube-public/cluster-info inside the plane is looked after */
    const char *job;   /* of that name one is complete once the plane is ready and that is done */
    const char *image; /* named in it */
} kfx_guest_t;

/* Who the plane's administrator is. Owned PEM texts. */
typedef struct {
    char *ca_pem, *client_cert_pem, *client_key_pem;
    char *token; /* or NULL */
} kfx_guest_identity_t;

void kfx_guest_identity_clear(kfx_guest_identity_t *self); /* NULL-safe; wipes */
#define KFX_GUEST_IDENTITY KFX_CLEANUP(kfx_guest_identity_clear)

/* ---- desired objects ---- */

#define KFX_GUEST_OBJECTS 10

typedef struct {
    kfx_desired_t list[KFX_GUEST_OBJECTS];
    size_t count;
} kfx_guest_batch_t;

void kfx_guest_batch_clear(kfx_guest_batch_t *batch); /* NULL-safe */
#define KFX_GUEST_BATCH KFX_CLEANUP(kfx_guest_batch_clear)

/* Adds the manifest of that name. -1 with a verdict. */
int kfx_guest_add(kfx_run_t *run, kfx_guest_batch_t *batch, const kfx_embedded_t *files, const char *name,
                  const json_t *vars);
/* The manifest "config" as the text of a program's configuration file, in key `key` of a Secret. */
int kfx_guest_add_config(kfx_run_t *run, kfx_guest_batch_t *batch, const kfx_embedded_t *files, const char *secret,
                         const char *key, const json_t *vars);
/* For people: those manifests in the plane's Namespace, then the Ingress or Route. Fresh; NULL with err. Pure. */
json_t *kfx_guest_render(const kfx_embedded_t *files, const char *const *names, size_t count, const json_t *vars,
                         const char *plane, const char *backend, const kfx_config_t *config, kfx_error_t *err);

/* A Secret with generated content: made with POST once, immutable. make gives its data (fresh). id: what stands for
 * this content. -1 with a verdict. */
int kfx_guest_once(kfx_run_t *run, const char *name, json_t *(*make)(kfx_error_t *err), char id[KFX_HASH_SIZE]);

/* ---- the Secret for users ---- */

/* applied-hash of the Secret for users, made from an identity that `of` stands for. Pure. */
void kfx_guest_hash(const kfx_guest_t *guest, const char *plane, const kfx_endpoints_t *endpoints, const char *of,
                    char out[KFX_HASH_SIZE]);

/* Writes the Secret for users (the type's secret_name) with both kubeconfigs. more: further keys (base64), or NULL. */
int kfx_guest_write(kfx_run_t *run, const kfx_guest_t *guest, const kfx_endpoints_t *endpoints,
                    const kfx_guest_identity_t *identity, const char *hash, const json_t *more);

/* The Secret for users is the plane's, unharmed, and has that hash: then it is said to be complete. */
bool kfx_guest_current(kfx_run_t *run, const char *hash);

/* ---- planes whose program makes the identity ---- */

/* Applies what the workload stands on. account: the ServiceAccount that the program is; its uid becomes the variable
 * "account_uid", for an annotation of the pods: their tokens end with the account, so another one takes other pods. */
int kfx_guest_children(kfx_run_t *run, kfx_guest_batch_t *children, const char *account, json_t *vars);

/* Makes both Secrets where they are missing, before the program can; applies the workload, where its turn has come; and
 * makes one Secret from what is in the other. Where the credentials are nowhere any more the workload is restarted.
 * 0 when all is as it should be; -1 with a verdict. */
int kfx_guest_start(kfx_run_t *run, const kfx_guest_t *guest, kfx_guest_batch_t *workload,
                    const kfx_endpoints_t *endpoints);

/* For kfx_type_t.alive: GET /readyz as the plane's administrator; what has to be done inside the plane follows. */
int kfx_guest_alive(kfx_run_t *run, const kfx_guest_t *guest, int limit_ms, kfx_error_t *err);

#endif
