/* reconcilers/external/bootstrap.h: the Secret with a cluster administrator's kubeconfig by which a cluster is adopted.
 * Whoever may create ControlPlanes names it, so it is read with suspicion: only from namespaces meant for that, none of
 * our own Secrets, none marked for another plane, nothing that would run a program, read a file, skip the check of
 * certificates or go to a screened address. */
#ifndef KFX_EXTERNAL_BOOTSTRAP_H
#define KFX_EXTERNAL_BOOTSTRAP_H

#include "reconcilers/credentials.h"

typedef struct {
    char ns[64], name[254], key[254];
    char uid[KFX_UID_SIZE], rv[32]; /* of the Secret that was read; uid "" = none */
    bool marked;                    /* it carries this plane's label */
    kfx_kube_config_t *config;      /* owned */
    char *outside_server;           /* the address for users; owned */
} kfx_bootstrap_t;

void kfx_bootstrap_clear(kfx_bootstrap_t *self); /* NULL-safe */
#define KFX_BOOTSTRAP KFX_CLEANUP(kfx_bootstrap_clear)

/* What is wrong with the kubeconfig of such a Secret, or its configuration. NULL with err, which quotes nothing of a
 * Secret that is none. Pure. */
kfx_kube_config_t *kfx_bootstrap_parse(const json_t *secret, const char *key, kfx_error_t *err);

/* Says in the result which Secret the ControlPlane names, where it is in a namespace that may hold one: the watcher
 * tells when it is put there. run->plane where this task read it, else the memo. */
void kfx_bootstrap_await(kfx_run_t *run);

/* Reads the Secret that the ControlPlane (run->plane) names. 0 with uid "" where there is none (any more); -1 with a
 * verdict, and with uid where there is one that cannot be used. */
int kfx_bootstrap_read(kfx_run_t *run, kfx_bootstrap_t *out);
/* Deletes the very version that was read. */
int kfx_bootstrap_drop(kfx_run_t *run, const kfx_bootstrap_t *self);

#endif
