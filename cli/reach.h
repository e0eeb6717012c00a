/* cli/reach.h: why the address of a plane that is Ready does not answer from here, and a way around. */
#ifndef KFX_CLI_REACH_H
#define KFX_CLI_REACH_H

#include "cli/hosting.h"

/* kubeconfig: the plane's, why: what the last try said. In words: the cause as far as it can be found out (the name
 * does not resolve, nothing listens there, another certificate, no Ingress, no such ingress class, no address), and a
 * port-forward that works meanwhile. Fresh. */
char *kfx_reach_explain(const kfx_hosting_t *hosting, const char *plane, const json_t *kubeconfig,
                        const kfx_error_t *why);

#endif
