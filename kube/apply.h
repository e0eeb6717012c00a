/* kube/apply.h: the API paths of the kinds that the processes read and write. Constant data: thread-safe. */
#ifndef KFX_KUBE_APPLY_H
#define KFX_KUBE_APPLY_H

#include "base/error.h"

typedef struct {
    const char *kind;        /* "Deployment" */
    const char *api_version; /* "apps/v1" */
    const char *prefix;      /* "/apis/apps/v1" */
    const char *plural;      /* "deployments" */
    bool namespaced;
} kfx_kind_info_t;

/* NULL for a kind that is not in the table. */
const kfx_kind_info_t *kfx_kind_find(const char *kind);

/* "/apis/apps/v1/namespaces/<ns>/deployments/<name>", names escaped. ns is ignored for cluster-scoped kinds; for
 * namespaced ones NULL means all namespaces, which only a collection has. name NULL: the collection. Caller frees; NULL
 * when the kind is unknown, or name is "" or stands without a needed ns. */
char *kfx_object_path(const char *kind, const char *ns, const char *name);

#endif
