/* cli/kind.h: `kflex init --create-kind`: a hosting cluster by the programs kind and kubectl. */
#ifndef KFX_CLI_KIND_H
#define KFX_CLI_KIND_H

#include "cli/cli.h"

/* Makes the cluster where it is not there, with an ingress controller; its context is the current one then. name:
 * "kubeflex" where it is NULL; a leading "kind-", as kind gives contexts, is left out. */
int kfx_kind_create(kfx_cli_t *cli, const char *name, kfx_error_t *err);

#endif
