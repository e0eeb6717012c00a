/* reconcilers/config.h: ConfigMap kubeflex-config, checked and typed.
 *
 * Keys domain and externalPort are required, as ever; the others have defaults. A value that cannot be understood is an
 * error that names the key, the value and what is allowed: it ends up in the plane's condition (reason InvalidConfig).
 * Plain data: copy it by kfx_config_copy.
 */
#ifndef KFX_RECONCILERS_CONFIG_H
#define KFX_RECONCILERS_CONFIG_H

#include "base/error.h"

#include <jansson.h>

typedef enum { KFX_EXPOSE_INGRESS, KFX_EXPOSE_NODEPORT, KFX_EXPOSE_LOADBALANCER, KFX_EXPOSE_NONE } kfx_exposure_t;
typedef enum { KFX_PROFILE_DEFAULT, KFX_PROFILE_SMALL } kfx_profile_t;

typedef struct {
    char domain[254];            /* off-cluster host names are <plane>.<domain> */
    int external_port;           /* 1..65535: the port of the ingress controller as users see it */
    bool openshift;              /* Route instead of Ingress, no fixed user ids */
    char host_container[254];    /* one more name in the serving certificate; "kubeflex-control-plane" */
    char kubernetes_version[32]; /* default for new planes; "" where the key is missing */
    char ingress_class[254];     /* "nginx" */
    json_t *ingress_annotations; /* object of texts; owned */
    kfx_exposure_t exposure;
    kfx_profile_t profile;
    char external_address[254]; /* host name or IP address; "" = none */
    char host_server_url[512];  /* https address of the hosting cluster for users outside it; "" = not told */
    char host_role[254];        /* ClusterRole of planes of type host; "none": no rights are given; "cluster-admin" */
    bool host_bound_tokens;     /* theirs are requested, expire and are renewed; else they never expire */
    char vcluster_image[254], k3s_image[254], ocm_image[254]; /* of planes of those types */
    char vcluster_kubernetes_image[254]; /* where vCluster's API server comes from; "none": it is in vcluster_image */
    char bootstrap_namespaces[1024]; /* where bootstrap Secrets may stand, each between blanks: " kubeflex-system " */
} kfx_config_t;

/* From the ConfigMap's `data` object. 0, or -1 with INVALID; config then holds nothing to free. */
int kfx_config_parse(const json_t *data, kfx_config_t *config, kfx_error_t *err);
void kfx_config_copy(kfx_config_t *to, const kfx_config_t *from);
void kfx_config_clear(kfx_config_t *config); /* NULL-safe */

const char *kfx_exposure_name(kfx_exposure_t exposure);

/* "v1.36.3" (also without the v): writes it with the v and returns its minor (36); -1 with INVALID otherwise. */
int kfx_version_parse(const char *text, char out[32], kfx_error_t *err);

#endif
