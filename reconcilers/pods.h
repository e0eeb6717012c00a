/* reconcilers/pods.h: why a workload has no ready pod, from what the kubelet and the scheduler say in its pods. The
 * workload's own status tells that it is unavailable, never why.
 *
 * What is said stays the same while the cause does, though the kubelet changes its words at each try (ErrImagePull,
 * ImagePullBackOff; running, terminated): so a plane in trouble is written once, not at each look.
 */
#ifndef KFX_RECONCILERS_PODS_H
#define KFX_RECONCILERS_PODS_H

#include <jansson.h>
#include <stdbool.h>

/* Reasons of condition Ready. */
#define KFX_REASON_IMAGE "ImagePullFailed"
#define KFX_REASON_FAILING "ContainerFailing"
#define KFX_REASON_UNSCHEDULABLE "Unschedulable"
#define KFX_REASON_REFUSED "PodsRefused"

typedef struct {
    const char *reason; /* literal; NULL: nothing that time alone will not settle */
    char message[512];  /* what it is, and what to do */
} kfx_trouble_t;

#define KFX_READY_BUT "; but " /* between what works and the message of a trouble, where the plane is Ready */

bool kfx_trouble_known(const char *reason); /* it is one of these */

/* list: PodList of namespace ns; only pods of that workload (kind: Deployment or StatefulSet) count, and of those the
 * newest that is in trouble. Pure. */
void kfx_pods_trouble(const json_t *list, const char *ns, const char *kind, const char *workload, kfx_trouble_t *out);
/* The same from the workload (a Deployment) where it has no pods at all: they are refused, by a quota or by policy. */
void kfx_deployment_trouble(const json_t *deployment, kfx_trouble_t *out);

#endif
