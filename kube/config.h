/* kube/config.h: where an API server is and who we are there.
 *
 * In-cluster (service account files, token re-read when it changes) or from a kubeconfig. Server processes refuse exec
 * plugins and auth providers; the CLI may run exec plugins. Owned strings; not thread-safe while being built, read-only
 * afterwards.
 */
#ifndef KFX_KUBE_CONFIG_H
#define KFX_KUBE_CONFIG_H

#include "base/error.h"

#include <jansson.h>

typedef struct {
    char *server;          /* "https://10.96.0.1:443", no trailing slash */
    char *tls_server_name; /* SNI and certificate name where it differs from the host; or NULL */
    char *ca_pem;          /* NULL: the system's store */
    char *client_cert_pem; /* or NULL */
    char *client_key_pem;
    char *token;      /* fixed bearer token, or NULL */
    char *token_file; /* re-read at most every 10 s; or NULL */
    char *username, *password;
    char *proxy_url;
    char *impersonate; /* kubeconfig's `as`: sent as Impersonate-User unless a request names another; or NULL */
    char *ns;          /* the context's namespace, or NULL */
    bool insecure;
    bool
        screened; /* what it connects to is checked by kfx_screen_address first, and no proxy is used; set by callers */
} kfx_kube_config_t;

/* $KUBECONFIG or path if given, else in-cluster when KUBERNETES_SERVICE_HOST is set, else ~/.kube/config.
 * context NULL: the current one. */
kfx_kube_config_t *kfx_kube_config_load(const char *path, const char *context, kfx_error_t *err);
/* The same for a person's command line: exec plugins may run (no shell, 60 s). Never in a server process. */
kfx_kube_config_t *kfx_kube_config_load_for_user(const char *path, const char *context, kfx_error_t *err);
kfx_kube_config_t *kfx_kube_config_in_cluster(kfx_error_t *err);
/* From a parsed kubeconfig tree. dir: where relative file names start, NULL = file references are refused (a kubeconfig
 * from a Secret must not make us read local files). allow_exec: only the CLI. */
kfx_kube_config_t *kfx_kube_config_from_tree(const json_t *kubeconfig, const char *context, const char *dir,
                                             bool allow_exec, kfx_error_t *err);
/* NULL-safe; wipes credentials. */
void kfx_kube_config_free(kfx_kube_config_t *config);

#endif
