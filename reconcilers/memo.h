/* reconcilers/memo.h: what this process remembers about planes between tasks, so that it does not ask again.
 *
 * Everything in it can be had again from the API server: an entry may vanish at any time (bounded table, the one used
 * longest ago goes first). Entries are copied in and out under a lock inside; this is the one piece of state the pool's
 * threads share. A key runs in one thread at a time, so nobody overwrites somebody else's news.
 */
#ifndef KFX_RECONCILERS_MEMO_H
#define KFX_RECONCILERS_MEMO_H

#include "proto/proto.h"

#define KFX_CA_PEM_MAX 2048
#define KFX_CA_ID_SIZE 9 /* 8 hex digits and NUL */

typedef struct {
    char uid[KFX_UID_SIZE];
    int64_t generation; /* of the ControlPlane that was read; 0: not read yet */
    char spec_version[32];
    char status_version[32];
    bool was_ready;          /* it has been Ready before */
    bool hooks;              /* it has PostCreateHooks, or its status tells of some */
    bool waits;              /* spec.waitForPostCreateHooks */
    int64_t fresh_until;     /* kfx_now_ms; this process has just made the Namespace: nothing foreign is in it yet */
    int64_t identity_ms;     /* when (kfx_now_ms) this process replaced a deleted identity; 0: it did not */
    unsigned probe_failures; /* refused probes in a row */
    int64_t unready_ms;      /* since when (kfx_now_ms) the workload is seen without ready pods; 0: it is not */
    unsigned looks;          /* at its pods, since then */
    int64_t rolls_ms;        /* since when (kfx_now_ms) its pods are seen being exchanged; 0: they are not */
    int64_t mute_ms;         /* since when its program runs without credentials anywhere; 0: it does not */
    bool trouble;          /* when this process met the plane, its condition Ready named what was wrong with its pods */
    bool helper_was_ready; /* the type's helper has been before */
    int64_t helper_ms;     /* the same for the type's helper, or for pods that are exchanged */
    char service_rv[32];   /* the Service whose facts these are */
    char cluster_ip[64];
    int node_port;
    char balancer[254]; /* address of its load balancer */
    char route_host[254];
    char route_rv[32];          /* the Route that said so */
    int64_t token_seconds;      /* spec.tokenExpirationSeconds */
    char bootstrap[320];        /* "namespace/name" of its bootstrap Secret */
    char bootstrap_done[96];    /* the digest's word about the last one that was used */
    int64_t bootstrap_seen;     /* generation for which a bootstrap Secret was looked for */
    char copy_hash[17];         /* applied-hash of the reconciler's own copy of the next Secret */
    char secret_hash[17];       /* applied-hash of the kubeconfig Secret that the next three are about */
    char made_from[17];         /* what it was made from */
    int64_t renew_at;           /* when (time_t) its token is due for renewal; 0: never */
    bool outside_key;           /* it has a key for users outside */
    char program_rv[32];        /* the Secret into which the plane's own program wrote, as it was read */
    char program_hash[17];      /* of the credentials in it */
    int64_t refused_ms;         /* since when (kfx_now_ms) the API server refuses its token; 0: it does not */
    char ca_id[KFX_CA_ID_SIZE]; /* the authority that ca_pem is */
    char ca_pem[KFX_CA_PEM_MAX];
} kfx_memo_t;

typedef struct kfx_memos kfx_memos_t;

kfx_memos_t *kfx_memos_new(size_t max);
void kfx_memos_destroy(kfx_memos_t **self_p);

/* The entry of uid, or an empty one with only the uid set. */
void kfx_memos_get(kfx_memos_t *self, const char *uid, kfx_memo_t *out);
void kfx_memos_put(kfx_memos_t *self, const kfx_memo_t *memo);
void kfx_memos_forget(kfx_memos_t *self, const char *uid);

#endif
