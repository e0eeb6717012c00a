/* reconcilers/k8s/certs.h: the content of the Secrets k8s-certs, admin-kubeconfig and cm-kubeconfig, and the plan that
 * says which of them to make or to issue again. Pure (no requests): thread-safe.
 *
 * The applied-hash of these Secrets cannot be a hash of their random content; it records what they were made from:
 *   k8s-certs      8 hex digits over the names in the serving certificate, then the authority's id
 *   kubeconfigs    16 hex digits over server, server name and the authority's id
 * An authority's id is the first 8 hex digits of SHA-256 over ca.crt. So the digest alone tells what is out of date.
 */
#ifndef KFX_K8S_CERTS_H
#define KFX_K8S_CERTS_H

#include "base/pki.h"
#include "objects/object.h"
#include "reconcilers/endpoints.h"

#include <jansson.h>

typedef enum { KFX_CERTS, KFX_ADMIN, KFX_CM, KFX_SECRETS } kfx_secret_t;
extern const char *const kfx_secret_names[KFX_SECRETS];

/* What is known about one of the Secrets. */
typedef struct {
    bool exists, owned, terminating;
    bool harmed; /* somebody else has changed what we wrote, or taken our label away */
    char uid[KFX_UID_SIZE];
    char rv[32];
    char hash[32];
} kfx_secret_state_t;

/* The plane's authority, once made or read. */
typedef struct {
    kfx_keypair_t ca;
    char id[KFX_CA_ID_SIZE]; /* "" = not in hand */
} kfx_authority_t;

typedef enum { KFX_KEEP, KFX_CREATE, KFX_REISSUE } kfx_action_t;

typedef struct {
    kfx_action_t action[KFX_SECRETS];
    char hash[KFX_SECRETS][KFX_HASH_SIZE]; /* what each should carry; certs: only valid once the authority is known */
    bool read_authority;                   /* k8s-certs must be read before this can be carried out */
    bool make_authority;                   /* a new identity must be made */
} kfx_secret_plan_t;

/* inhand: id of the authority in hand or "". reissue_serving: issue the serving certificate again whatever the hash. */
void kfx_secret_plan(const kfx_secret_state_t states[KFX_SECRETS], const char *inhand, bool reissue_serving,
                     const char *plane, const kfx_endpoints_t *endpoints, kfx_secret_plan_t *plan);

void kfx_authority_id(const char *ca_pem, char out[KFX_CA_ID_SIZE]);
void kfx_authority_clear(kfx_authority_t *authority);
/* From the Secret k8s-certs. INVALID names the key that cannot be used and the remedy. */
int kfx_authority_read(const json_t *secret, kfx_authority_t *authority, kfx_error_t *err);
/* The id in the applied-hash of k8s-certs; "" where it has none. */
void kfx_authority_of_hash(const char *hash, char out[KFX_CA_ID_SIZE]);

/* A new identity: fills authority and gives the `data` of k8s-certs (12 keys). Fresh reference, NULL with err. */
json_t *kfx_certs_make(const kfx_endpoints_t *endpoints, kfx_authority_t *authority, kfx_error_t *err);
/* Only the serving certificate: data with apiserver.crt and apiserver.key. */
json_t *kfx_certs_reissue(const kfx_endpoints_t *endpoints, const kfx_authority_t *authority, kfx_error_t *err);
/* data of admin-kubeconfig or cm-kubeconfig. */
json_t *kfx_kubeconfig_data(kfx_secret_t which, const char *plane, const kfx_endpoints_t *endpoints,
                            const kfx_authority_t *authority, kfx_error_t *err);

#endif
