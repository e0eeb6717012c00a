/* reconcilers/credentials.h: kubeconfigs with a service account's token, for the types whose API server is not ours:
 * what they hold, the Secret they stand in, and asking the API server with them.
 *
 * The Secret has the keys kubeconfig-incluster and, where users outside the hosting cluster can be told an address,
 * kubeconfig. Annotations say what it was made from and until when it is good, so that a worker that was just started
 * learns from one read what it has. Cluster, user and context are called as the plane, as the Go implementation has it.
 */
#ifndef KFX_RECONCILERS_CREDENTIALS_H
#define KFX_RECONCILERS_CREDENTIALS_H

#include "kube/build.h"
#include "reconcilers/run.h"

#include <time.h>

#define KFX_ANNOTATION_MADE_FROM "kflex.kubestellar.org/made-from"     /* 16 hex digits */
#define KFX_ANNOTATION_EXPIRES "kflex.kubestellar.org/token-expires"   /* RFC 3339 */
#define KFX_ANNOTATION_RENEW "kflex.kubestellar.org/token-renew-after" /* RFC 3339 */
#define KFX_KEY_INSIDE "kubeconfig-incluster"
#define KFX_KEY_OUTSIDE "kubeconfig"

/* Owned texts. */
typedef struct {
    char *server; /* as the hosting cluster reaches it */
    char *tls_server_name;
    char *ca_pem;
    char *outside_server; /* as users reach it; NULL: not known, the key is left out */
    char *outside_tls_server_name;
    char *outside_ca_pem;
    char *token;
    time_t expires, renew; /* 0: never */
} kfx_credentials_t;

void kfx_credentials_clear(kfx_credentials_t *self); /* NULL-safe; wipes the token */
#define KFX_CREDENTIALS KFX_CLEANUP(kfx_credentials_clear)

/* Puts a kubeconfig into a Secret's data. Pure. */
int kfx_credentials_put(json_t *data, const char *key, const kfx_kubeconfig_t *parts, kfx_error_t *err);
/* One key of a Secret, which holds a kubeconfig, as a client needs it. It is somebody else's text: what would run a
 * program, read a file or skip the check of certificates is INVALID; NOT_FOUND: there is no such key, or nothing in it.
 * Fresh; NULL with err. Pure. */
kfx_kube_config_t *kfx_credentials_key(const json_t *secret, const char *key, kfx_error_t *err);

/* The manifest of the Secret. Fresh; NULL with err. Pure. */
json_t *kfx_credentials_manifest(const char *secret, const char *plane, const char *made_from,
                                 const kfx_credentials_t *self, kfx_error_t *err);
/* What such a Secret holds. Whatever a namespace's user may have put there: a kubeconfig that would run a program, read
 * a file or skip the check of certificates is INVALID. Pure. */
int kfx_credentials_parse(const json_t *secret, kfx_credentials_t *out, kfx_error_t *err);
/* True where its content is what our applied-hash was computed from. Pure. */
bool kfx_credentials_intact(const json_t *secret, const kfx_owner_t *owner);
/* As a client needs them. Fresh. */
kfx_kube_config_t *kfx_credentials_config(const kfx_credentials_t *self);

/* The body of a TokenRequest, and its answer: fills token, expires and renew (four fifths of the time from now). */
json_t *kfx_token_request(int64_t seconds);
int kfx_token_take(const json_t *answer, time_t now, kfx_credentials_t *out, kfx_error_t *err);

/* Reads the Secret where this process has not seen it, and notes in run->memo what it is good for. 0 also where there
 * is none; -1 with a verdict. */
int kfx_credentials_learn(kfx_run_t *run, const char *secret);
/* Nothing has to be done about the Secret: it is as we wrote it, from this, and its token is neither due for renewal
 * nor refused by the API server for seconds. */
bool kfx_credentials_current(const kfx_run_t *run, const char *secret, const char *made_from);
/* Writes it, and where `copy` is given a second one of that name. -1 with a verdict. */
int kfx_credentials_write(kfx_run_t *run, const char *secret, const char *copy, const char *made_from,
                          const kfx_credentials_t *self);
/* The API server does not take the token, and that is no passing state: other ones are needed. */
bool kfx_credentials_refused(const kfx_run_t *run);

/* One request to another API server, within limit_ms and without a second try. Not for our own (kfx_run_request). */
kfx_code_t kfx_remote_request(kfx_run_t *run, kfx_remote_t *remote, kfx_request_t *req, int limit_ms);

/* How kfx_credentials_alive asks. */
typedef struct {
    const char *server; /* another address for the same API server, or NULL */
    bool screened;      /* kfx_kube_config_t.screened */
    const char *right;  /* a path that the holder must be allowed to GET, or NULL */
} kfx_asking_t;

/* For kfx_type_t.alive: GET /readyz as the holder of the type's Secret. */
int kfx_credentials_alive(kfx_run_t *run, const kfx_asking_t *how, int limit_ms, kfx_error_t *err);

#endif
