/* reconcilers/options.h: the command line of kubeflex-reconciler. */
#ifndef KFX_RECONCILERS_OPTIONS_H
#define KFX_RECONCILERS_OPTIONS_H

#include "base/error.h"
#include "reconcilers/type.h"

typedef struct {
    const kfx_type_t *type;
    const char *bus, *health, *kubeconfig, *instance, *ns, *keys_dir;
    const char *render, *config; /* print the manifests of this plane, with this kubeflex-config */
    bool no_curve;
    unsigned threads;
} kfx_reconciler_options_t;

/* Strings are borrowed from argv and the environment. 1: to go on; 0: --help or --version has been answered; -1: err.
 */
int kfx_reconciler_options(int argc, char **argv, kfx_reconciler_options_t *out, kfx_error_t *err);

#endif
