/* reconcilers/run.h: one task from the bus, from start to result, and the parts that all types share.
 *
 * A kfx_reconciler_t lives as long as the process and may be used by many threads at once (the memo and the cached
 * configuration have locks inside); a kfx_run_t lives for one task in one thread. All traffic with API servers goes
 * through kfx_ops_t, so the steps can be tested without any.
 */
#ifndef KFX_RECONCILERS_RUN_H
#define KFX_RECONCILERS_RUN_H

#include "bus/worker.h"
#include "kube/client.h"
#include "objects/object.h"
#include "reconcilers/config.h"
#include "reconcilers/memo.h"
#include "reconcilers/pods.h"
#include "reconcilers/type.h"
#include "reconcilers/verdict.h"

typedef struct kfx_remote kfx_remote_t;

typedef struct {
    void *ctx;
    int (*call)(void *ctx, kfx_request_t *req, kfx_error_t *err);
    size_t (*batch)(void *ctx, kfx_request_t **reqs, size_t count);
    /* GET https://host:443/readyz with the plane's own authority. 0 = it answered 200. address: where to connect
     * instead of resolving host, or NULL. */
    int (*probe)(void *ctx, const char *host, const char *address, const char *ca_pem, int limit_ms, kfx_error_t *err);
    /* Another API server, or ours with other credentials: config is consumed. Connects at the first request. NULL with
     * err. */
    kfx_remote_t *(*dial)(void *ctx, kfx_kube_config_t *config, kfx_error_t *err);
    int (*ask)(void *ctx, kfx_remote_t *remote, kfx_request_t *req, kfx_error_t *err);
    void (*hang_up)(void *ctx, kfx_remote_t *remote);
    bool (*stopped)(const kfx_task_t *task);
    bool outside; /* the process runs outside the cluster, whose DNS it cannot ask: planes are probed by Service address
                   */
    const char *server; /* the hosting API server as this process reaches it, "https://10.96.0.1:443" */
} kfx_ops_t;

typedef struct {
    kfx_ops_t ops;
    const kfx_type_t *type;
    kfx_memos_t *memos;
    struct kfx_config_cache *configs;
    struct kfx_hooks *hooks;
} kfx_reconciler_t;

struct kfx_run {
    kfx_reconciler_t *rec;
    const kfx_task_t *task;
    const kfx_digest_t *digest;
    kfx_result_t *result;
    kfx_owner_t owner;
    char ns[KFX_NAME_SIZE];
    char manager[KFX_NAME_SIZE]; /* field manager */
    kfx_config_t config;
    kfx_memo_t memo;              /* this uid's; written back at the end */
    kfx_verdict_t sync;           /* of condition Synced */
    kfx_trouble_t helper_trouble; /* of the type's helper, where this task looked for it */
    char note[256];               /* said beside success ("new identity …"); "" = nothing */
    bool credentials;             /* the kubeconfig Secret is known to be complete */
    bool keys_known;              /* types with an alive of their own: the next line is */
    bool inside_only;             /* it has no key for users outside the hosting cluster */
    json_t *plane;                /* the ControlPlane, where this task had to read it; else NULL */
};

/* rec copies ops. kfx_reconciler_clear takes one that was never set up, if it is zeroed. */
void kfx_reconciler_init(kfx_reconciler_t *rec, const kfx_type_t *type, const kfx_ops_t *ops);
void kfx_reconciler_clear(kfx_reconciler_t *rec);

/* kfx_worker_opts_t.run: ctx is the kfx_reconciler_t. */
void kfx_reconciler_run(void *ctx, const kfx_task_t *task, kfx_result_t *result);

/* Sends one request. KFX_OK or the error's code (the error is in req->error); CANCELED when the task should stop. */
kfx_code_t kfx_run_request(kfx_run_t *run, kfx_request_t *req);
/* Sends all at once; returns how many failed, or count with CANCELED in each when the task should stop. */
size_t kfx_run_batch(kfx_run_t *run, kfx_request_t **reqs, size_t count);
/* Sets the verdict from a failed request and returns -1. */
int kfx_run_fail(kfx_run_t *run, const kfx_request_t *req, const char *fmt, ...) KFX_PRINTF(3, 4);
/* The same from an error of our own making. */
int kfx_run_error(kfx_run_t *run, const kfx_error_t *err, const char *fmt, ...) KFX_PRINTF(3, 4);

/* Sets the verdict NameConflict about an object in the plane's Namespace that is somebody else's, and returns -1. */
int kfx_run_conflict(kfx_run_t *run, const char *kind, const char *name);

/* Reads the ControlPlane (into run->plane and the memo). -1 with a verdict when it cannot be read or is not this uid's.
 */
int kfx_run_read_plane(kfx_run_t *run);

/* Fills run->config. -1 with a verdict when it cannot be read or is not valid. */
int kfx_run_load_config(kfx_run_t *run);

/* The task was asked to stop before all was looked at: it has to run again, whatever it found so far. */
void kfx_run_cut_short(kfx_run_t *run);

/* Records what a write left behind. answer: the object as the API server gave it. */
void kfx_run_wrote(kfx_run_t *run, const kfx_desired_t *desired, const json_t *answer);

/* namespace.c: the plane's Namespace exists and is this uid's; else -1 with a verdict. */
int kfx_namespace_ensure(kfx_run_t *run);
/* Deletes it where it is this uid's: outcome GONE once accepted, or nothing there to delete. */
void kfx_namespace_teardown(kfx_run_t *run);

/* -1 with verdict TakeoverPending where the type's workload stands without our hash and our field manager: another
 * KubeFlex made it. */
int kfx_takeover_check(kfx_run_t *run);

/* What an apply left behind; object is NULL where nothing had to be written. The caller drops the reference. */
typedef struct {
    json_t *object;
    bool created; /* it did not exist before */
} kfx_applied_t;

/* apply.c: writes those of the list that the digest does not show as current, all at once. answers (one per object,
 * zeroed) may be NULL. */
int kfx_apply(kfx_run_t *run, kfx_desired_t *list, size_t count, kfx_applied_t *answers);
/* Deletes an object of ours that is not desired any more; nothing to do where the digest does not show it as owned. */
int kfx_prune(kfx_run_t *run, const char *kind, const char *name);

/* rollout.c: running pods are exchanged only where the digest shows a place for it: the watcher gives few of them at a
 * time, and sends an EVENT with one. list: the plane's workloads, before they are written. 0 when they may be; -1 with
 * a verdict when the plane has to wait for its turn. */
int kfx_await_place(kfx_run_t *run, const kfx_desired_t *list, size_t count);
/* Exchanges the pods of the type's workload, once for each value of `reason` (a uid). -1 with a verdict. */
int kfx_restart(kfx_run_t *run, const char *reason);

/* claim.c: a cluster-scoped object. It is made with POST; one of that name that is not this uid's is never touched.
 * `as` is the user to impersonate for it, or NULL. */
int kfx_claim(kfx_run_t *run, const kfx_desired_t *desired, const char *as);
/* Deletes it where it is this uid's. 0 when there is none of ours (any more). */
int kfx_disclaim(kfx_run_t *run, const char *kind, const char *name, const char *as);

/* ready.c: condition Ready, by a live probe once the workload, if there is one, is available. */
void kfx_ready_evaluate(kfx_run_t *run);

#endif
