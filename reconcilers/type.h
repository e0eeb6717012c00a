/* reconcilers/type.h: what makes a control plane type: one table per type in a folder of its own, listed in types.c. */
#ifndef KFX_RECONCILERS_TYPE_H
#define KFX_RECONCILERS_TYPE_H

#include "base/error.h"
#include "reconcilers/config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct kfx_run kfx_run_t; /* reconcilers/run.h */

typedef struct {
    const char *name;     /* spec.type */
    uint32_t revision;    /* of the manifests: raised by one whenever they change, so that during a rollout of KubeFlex
                             only    the newest workers get work */
    const char *workload; /* the Deployment whose readiness starts the live probe; NULL: the probe alone tells */
    const char *workload_kind; /* "StatefulSet"; NULL: "Deployment" */
    const char *helper;        /* another one, which a plane that is Ready may lack for a while; NULL: none */
    const char *secret_name, *secret_key, *secret_in_cluster_key; /* status.secretRef */
    const char *pod_security; /* Pod Security level that a new Namespace enforces; NULL = none */
    bool hosting;             /* it is the hosting cluster: reached as this process reaches that */
    bool screened;            /* its address is somebody else's word: kfx_kube_config_t.screened */
    uint32_t reprobe_ms;      /* how often a plane that is Ready is asked again, on average; 0: 43 s */
    uint32_t retry_ms;        /* the longest pause before one that does not answer is asked again; 0: 1 s */

    /* Brings every child object to what is desired. The Namespace is this uid's already. 0 when all is as desired; -1
     * with run->sync set when something is missing or failed. */
    int (*sync)(kfx_run_t *run);
    /* Puts the plane's authority into run->memo.ca_pem, reading it if need be. -1 with run->sync set. Only where alive
     * is NULL. */
    int (*authority)(kfx_run_t *run);
    /* Asks the plane itself, within limit_ms: 0 when it answers, -1 with err when it does not, 1 with run->sync set
     * when it could not be asked. NULL: GET /readyz through the plane's Service. */
    int (*alive)(kfx_run_t *run, int limit_ms, kfx_error_t *err);
    /* Undoes what does not go with the plane's Namespace, before that is deleted. 0 when nothing is left; -1 with
     * run->sync set. NULL: everything goes with it. */
    int (*teardown)(kfx_run_t *run);
    /* For people: the manifests of a plane as a JSON array, without Secrets and without marks of ownership. */
    json_t *(*render)(const char *plane, const kfx_config_t *config, kfx_error_t *err);
} kfx_type_t;

/* "Deployment" or "StatefulSet". */
static inline const char *kfx_type_workload_kind(const kfx_type_t *type)
{
    return type->workload_kind ? type->workload_kind : "Deployment";
}

const kfx_type_t *kfx_type_lookup(const char *name); /* NULL: not built */
void kfx_type_names(char *out, size_t size);         /* "host, k8s", for messages */

#endif
