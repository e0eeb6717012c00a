/* watcher/options.h: the command line of kubeflex-watcher. */
#ifndef KFX_WATCHER_OPTIONS_H
#define KFX_WATCHER_OPTIONS_H

#include <stdbool.h>

#ifndef KFX_VERSION
#define KFX_VERSION "unknown"
#endif

typedef struct {
    const char *bus, *health, *kubeconfig, *instance, *ns, *lease, *selector, *keys_dir;
    bool no_curve;
    char host[256];
} kfx_options_t;

/* -1: go on; else the exit code of the process. Texts are borrowed from argv and the environment. */
int kfx_options_parse(kfx_options_t *self, int argc, char **argv);

#endif
