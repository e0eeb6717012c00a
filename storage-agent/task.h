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
#include "storage-agent/bootstrap.h"
#include "storage-agent/spec.h"
#include "storage-agent/wrote.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    kfx_bootstrap_t bootstrap;   /* where Postgres is for the agent, and the Secrets */
    kfx_storage_server_t server; /* where it is for kine */
    pthread_key_t session;       /* this thread's connection */
    unsigned waiters_max;        /* threads that may wait for a lock at the same time: fewer than there are */
    atomic_uint waiters;
    kfx_wrote_t wrote; /* DSN Secrets of this process */
    kfx_specs_t specs; /* what planes say about their storage */
} kfx_storage_t;

/* What is in self has been set before, except session, wrote and specs. */
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

/* Postgres answers SELECT 1 on this thread's connection; else err says why. */
bool kfx_storage_up(kfx_storage_t *self, kfx_error_t *err);

/* What a digest asks of us; pure. */
typedef enum {
    KFX_ASK_NOTHING,  /* the Secret is there as desired: no statement at all */
    KFX_ASK_DATABASE, /* roles and database, but nowhere to put the Secret yet */
    KFX_ASK_SECRET,   /* all of it */
    KFX_ASK_DROP
} kfx_storage_ask_t;
kfx_storage_ask_t kfx_storage_ask(const kfx_storage_job_t *job, const char wanted_hash[KFX_DSN_HASH_PART]);

#endif
