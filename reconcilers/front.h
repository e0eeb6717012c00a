/* reconcilers/front.h: how a plane is reached: its Services, the Ingress or Route called as the plane, and what others
 * write into them (addresses, ports, a host name). */
#ifndef KFX_RECONCILERS_FRONT_H
#define KFX_RECONCILERS_FRONT_H

#include "base/cleanup.h"
#include "reconcilers/run.h"

#define KFX_FRONT_SERVICES 2

typedef struct {
    kfx_desired_t services[KFX_FRONT_SERVICES];
    size_t count;
    const char *told_by; /* the Service whose address and node port run->memo keeps */
    const char *backend; /* the Service that Ingress or Route lead to, at port 443 */
    bool address, port;  /* its address, its node port are needed whatever the exposure */
} kfx_front_t;

void kfx_front_clear(kfx_front_t *front); /* NULL-safe */
#define KFX_FRONT KFX_CLEANUP(kfx_front_clear)

/* Applies the Services and, by the configured exposure, the Ingress or the Route, or takes those away. What they say is
 * in run->memo afterwards. *moved: the first Service was made just now, so its address may be new. -1 with a verdict.
 */
int kfx_front_ensure(kfx_run_t *run, kfx_front_t *front, bool *moved);

/* Appends the Ingress or Route to a list of manifests, where the exposure has one. -1 with err. Pure. */
int kfx_front_render(json_t *list, const char *plane, const char *backend, const kfx_config_t *config,
                     kfx_error_t *err);

/* spec.type of the Service that the exposure is about. */
const char *kfx_service_type(kfx_exposure_t exposure);

#endif
