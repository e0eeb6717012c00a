/* storage-agent/task.h: one task of the storage service, from the digest to the result.
 *
 * Knows neither the bus nor the Kubernetes client: the Secrets come through calls, "may I still write" through another.
 * kfx_storage_t is read-only while threads use it, except for the connections, of which every thread has its own (made
 * at its first task, closed when the thread ends), the count of threads that wait for a lock, what was written, and
 * what the planes say.
 */
#ifndef KFX_STORAGE_TASK_H
#define KFX_STORAGE_TASK_H

#include "proto/proto.h"
#include "storage-agent/pool.h"
#include "storage-agent/spec.h"
#include "storage-agent/wrote.h"

#include <stdatomic.h>

typedef struct {
    kfx_bootstrap_t bootstrap;   /* the Postgres that KubeFlex brings, and the Secrets */
    kfx_pool_t pool;             /* all servers, and each thread's sessions */
    const char *etcd_image;      /* of planes with an etcd of their own */
    int etcd_user;               /* user id of its processes; -1: none is set, OpenShift assigns one */
    const char *etcd_connect_to; /* tests: kfx_etcd_t.connect_to */
    unsigned waiters_max;        /* threads that may wait for a lock at the same time: fewer than there are */
    atomic_uint waiters;
    long password_days; /* a password this old is replaced; 0: only where that is asked for */
    kfx_wrote_t wrote;  /* DSN Secrets of this process */
    kfx_specs_t specs;  /* what planes say about their storage */
} kfx_storage_t;

/* What is in self has been set before, except pool, wrote and specs. */
int kfx_storage_init(kfx_storage_t *self, kfx_error_t *err);
/* After the threads have ended; closes this thread's connection. */
void kfx_storage_close(kfx_storage_t *self);

typedef struct {
    const char *plane, *uid;
    int64_t generation; /* of the ControlPlane that the task is about */
    bool deleting;
    const kfx_digest_t *digest;
    bool (*may)(void *arg); /* asked before each statement and before the Secret is written */
    void *arg;
} kfx_storage_job_t;

/* result is zeroed by the caller. */
void kfx_storage_run(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_result_t *result);

/* Outcome and condition of an error. down: the service's target is down, which is no fault of this plane. */
void kfx_storage_failed(const kfx_storage_job_t *job, const kfx_error_t *err, bool down, kfx_result_t *result);

/* Some Postgres server answers on this thread's session; else err says why. */
bool kfx_storage_up(kfx_storage_t *self, kfx_error_t *err);

#endif
