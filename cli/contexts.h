/* cli/contexts.h: the edits of the user's kubeconfig that several commands make. */
#ifndef KFX_CLI_CONTEXTS_H
#define KFX_CLI_CONTEXTS_H

#include "cli/cli.h"
#include "cli/kubeconfig.h"

/* Merges the plane's own kubeconfig in and makes its context the current one. overwrite: contexts of this plane go
 * first. */
int kfx_contexts_add(kfx_cli_t *cli, const json_t *plane_config, const char *plane, bool overwrite, kfx_error_t *err);

/* Removes what belongs to the plane; where its context was current, the hosting context becomes current. removed (may
 * be NULL): how many entries went. switched (may be NULL): fresh name of the new current context, or NULL. */
int kfx_contexts_drop(kfx_cli_t *cli, const char *plane, size_t *removed, char **switched, kfx_error_t *err);

/* Makes the context current. */
int kfx_contexts_use(kfx_cli_t *cli, const char *context, kfx_error_t *err);

/* After an edit that took the current context away: the hosting one, if it is known. Returns its name (borrowed) or
 * NULL. */
const char *kfx_contexts_fall_back(kfx_kc_t *kc);

/* Fails before anything is created where the plane's names are taken in the kubeconfig, or it cannot be written. */
int kfx_contexts_check(kfx_cli_t *cli, const char *plane, kfx_error_t *err);

#endif
