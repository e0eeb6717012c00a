/* reconcilers/endpoints.h: under which names a plane is reached, from outside and inside the cluster. Pure. */
#ifndef KFX_RECONCILERS_ENDPOINTS_H
#define KFX_RECONCILERS_ENDPOINTS_H

#include "proto/model.h"
#include "reconcilers/config.h"
#include "reconcilers/memo.h"

#define KFX_SANS_MAX 32

typedef struct {
    char external_url[600];
    char tls_server_name[KFX_NAME_SIZE + 256]; /* "" = none needed */
    char internal_url[2 * KFX_NAME_SIZE + 64]; /* https://<service>.<ns>.svc.cluster.local */
    char host[KFX_NAME_SIZE + 256];            /* <plane>.<domain> */
    char sans[KFX_SANS_MAX][KFX_NAME_SIZE + 256];
    size_t san_count;
    size_t input_count; /* the first of them are known before the Service is; the rest is its ClusterIP */
} kfx_endpoints_t;

/* service: the Service that the API server is called by inside the cluster. facts: what Service and Route say, as far
 * as it is known. */
void kfx_endpoints(const char *plane, const char *service, const kfx_config_t *config, const kfx_memo_t *facts,
                   kfx_endpoints_t *out);

#endif
