/* reconcilers/namespace.h: whose an existing Namespace is. Pure: thread-safe. */
#ifndef KFX_RECONCILERS_NAMESPACE_H
#define KFX_RECONCILERS_NAMESPACE_H

#include "objects/object.h"

typedef enum {
    KFX_NS_OURS,
    KFX_NS_UNMARKED,    /* this uid's, without our marks: the Go operator made it, or somebody took them off */
    KFX_NS_TERMINATING, /* it goes away by itself: it is being deleted, or its ControlPlane of the same name is gone */
    KFX_NS_CONFLICT     /* somebody else's: never touched */
} kfx_ns_state_t;

kfx_ns_state_t kfx_namespace_judge(const json_t *existing, const kfx_owner_t *owner);

/* True where the workload was made by another implementation and has not been taken over. */
bool kfx_workload_foreign(const json_t *workload, const kfx_owner_t *owner);

#endif
