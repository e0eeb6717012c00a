/* kube/lease.h: leader election on a coordination.k8s.io/v1 Lease, as client-go does it, with an epoch.
 *
 * Duration 8 s, renew deadline 5 s, retry 1 s (design). Time is measured from our own sending and observing, never from
 * the record's clock. Lives in a zloop by way of a mailbox. epoch = max (leaseTransitions, highest recorded) + 1,
 * recorded as an annotation on ConfigMap kubeflex-leader before leadership is announced, so it survives deletion of the
 * Lease.
 */
#ifndef KFX_KUBE_LEASE_H
#define KFX_KUBE_LEASE_H

#include "kube/client.h"

typedef struct kfx_lease kfx_lease_t;

typedef struct {
    const char *ns;                               /* "kubeflex-system" */
    const char *name;                             /* the Lease */
    const char *configmap;                        /* records the epoch */
    const char *identity;                         /* pod name + random, ours */
    int duration_ms, renew_deadline_ms, retry_ms; /* 0: 8000, 5000, 1000 */
    void (*on_lead)(void *ctx, uint64_t epoch);
    void (*on_lost)(void *ctx); /* by deadline, by somebody else, by release */
    void *ctx;
} kfx_lease_opts_t;

kfx_lease_t *kfx_lease_start(zloop_t *loop, kfx_mailbox_t *mailbox, const kfx_lease_opts_t *opts);
bool kfx_lease_held(const kfx_lease_t *self);
/* Gives the Lease up so that the standby takes over at once; waits at most 2 s. Then frees. */
void kfx_lease_release(kfx_lease_t **self_p);

#endif
