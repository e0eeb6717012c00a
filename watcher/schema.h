/* watcher/schema.h: whether the API server serves the ControlPlane that this build was made for (deploy/crds). Pure:
 * thread-safe. */
#ifndef KFX_WATCHER_SCHEMA_H
#define KFX_WATCHER_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

#define KFX_CRD_NAME "controlplanes.tenancy.kflex.kubestellar.org"

typedef struct {
    char uid[40]; /* of the definition */
    bool same;    /* all that ours says holds there too; what it says beyond, a newer one's fields, is no difference */
    bool records; /* keeps status.kubernetesVersion, without which no plane gets on */
    char missing[256]; /* what it lacks, "spec.kubernetesVersion, spec.type (x-kubernetes-validations)"; cut by "…" */
} kfx_schema_t;

/* crd: the CustomResourceDefinition as the API server has it. Fresh; free. */
kfx_schema_t *kfx_schema_compare(const json_t *crd);

/* The definition this build was made for. Fresh reference, NULL only when it is broken (a unit test sees to that). */
json_t *kfx_schema_own(void);

#endif
