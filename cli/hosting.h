/* cli/hosting.h: finding the hosting cluster, whatever the current context is.
 *
 * The stored hosting context (extension "kubeflex" of the kubeconfig) if it leads to a cluster; else the current
 * context if that cluster serves control planes, which is then stored; else an error with advice.
 */
#ifndef KFX_CLI_HOSTING_H
#define KFX_CLI_HOSTING_H

#include "cli/cli.h"
#include "cli/kubeconfig.h"
#include "kube/client.h"

typedef struct {
    kfx_kube_t *kube;
    char *context;   /* its name in the kubeconfig */
    json_t *cluster; /* how it is reached: server, certificate-authority-data … as in a kubeconfig, without files */
} kfx_hosting_t;

/* Where to look, without asking any cluster. */
typedef enum { KFX_HOSTING_STORED, KFX_HOSTING_TRY_CURRENT, KFX_HOSTING_UNKNOWN } kfx_hosting_plan_t;

/* context (borrowed): the stored or the current one. With UNKNOWN, err says why and what to do. stored_why (may be
 * NULL) is filled where a stored context exists but leads nowhere. */
kfx_hosting_plan_t kfx_hosting_plan(const kfx_kc_t *kc, const char **context, kfx_error_t *stored_why,
                                    kfx_error_t *err);

/* Address and credentials of any context of the kubeconfig. Exec credential plugins may run. kfx_kube_config_free. */
kfx_kube_config_t *kfx_hosting_config(const kfx_kc_t *kc, const char *context, kfx_error_t *err);

/* A client with them. */
kfx_kube_t *kfx_hosting_client(const kfx_kc_t *kc, const char *context, kfx_error_t *err);

/* GET for a person who waits: a passing fault is tried again twice within a second, a refused connection is told soon
 * (the client by itself would go on for 10 s). Fresh. */
json_t *kfx_hosting_get(kfx_kube_t *kube, const char *path, kfx_error_t *err);

/* Finds it and connects. Storing a newly found context may fail with a warning only. */
int kfx_hosting_open(kfx_cli_t *cli, kfx_hosting_t *hosting, kfx_error_t *err);
void kfx_hosting_close(kfx_hosting_t *hosting);

/* Adds to a failed call what the user can do about it: the context and address, and how to choose another. */
int kfx_hosting_explain(const kfx_hosting_t *hosting, kfx_error_t *err);

/* The same for a NOT_FOUND of all ControlPlanes: that kind is not served there. */
int kfx_hosting_no_api(const kfx_hosting_t *hosting, kfx_error_t *err);

/* Makes the context of the name under ctx (a const char *) the stored hosting one: for kfx_kubefile_edit. */
int kfx_hosting_store(void *ctx, kfx_kc_t *kc, kfx_error_t *err);

#endif
