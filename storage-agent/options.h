/* storage-agent/options.h: the command line of kubeflex-storage-agent. */
#ifndef KFX_STORAGE_OPTIONS_H
#define KFX_STORAGE_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>

#define KFX_STORAGE_EXTRA_NAMES 8

typedef struct {
    const char *bus, *health, *kubeconfig, *instance;
    const char *postgres_host, *postgres_port;            /* as the agent reaches it */
    const char *dsn_host, *dsn_port;                      /* as kine reaches it */
    const char *service;                                  /* name of the Postgres Service, for its certificate */
    const char *ns;                                       /* of the agent's own Secrets */
    const char *extra_names[KFX_STORAGE_EXTRA_NAMES + 1]; /* further SANs; ends with NULL */
    unsigned threads;
    bool orphans;       /* print them and end */
    const char *remove; /* drop this one, SERVER/NAME, and end */
    long password_days; /* 0: passwords may get any age */
    const char *etcd_image;
    int etcd_user; /* -1: none */
} kfx_storage_options_t;

/* Strings are borrowed from argv and the environment. 1: to go on; 0: --help or --version has been answered; -1: err.
 */
int kfx_storage_options(int argc, char **argv, kfx_storage_options_t *out, kfx_error_t *err);

#endif
