/* reconcilers/k8s/identity.h: makes, reads and re-issues a plane's Secrets. */
#ifndef KFX_K8S_IDENTITY_H
#define KFX_K8S_IDENTITY_H

#include "reconcilers/k8s/certs.h"
#include "reconcilers/run.h"

/* Brings the three Secrets to what is desired and writes the authority's id to out. Remembers ca.crt in run->memo where
 * it was in hand. -1 with a verdict. */
int kfx_identity_ensure(kfx_run_t *run, const kfx_endpoints_t *endpoints, bool reissue_serving,
                        char out[KFX_CA_ID_SIZE]);

/* kfx_type_t.authority */
int kfx_identity_authority(kfx_run_t *run);

#endif
