/* storage-agent/shared.h: the backend that most planes have: a database on a Postgres server of the pool. */
#ifndef KFX_STORAGE_SHARED_H
#define KFX_STORAGE_SHARED_H

#include "storage-agent/task.h"

/* pin: the server that the plane asks for, or NULL. */
void kfx_shared_run(kfx_storage_t *self, const kfx_storage_job_t *job, const char *pin, kfx_result_t *result);

/* Its DSN Secret is there and names a database of ours. */
bool kfx_shared_serves(kfx_storage_t *self, const kfx_storage_job_t *job);

/* What a digest asks of us; pure. */
typedef enum {
    KFX_ASK_NOTHING,  /* the Secret is there as desired: no statement at all */
    KFX_ASK_DATABASE, /* roles and database, but nowhere to put the Secret yet */
    KFX_ASK_SECRET,   /* all of it */
    KFX_ASK_DROP
} kfx_storage_ask_t;
kfx_storage_ask_t kfx_storage_ask(const kfx_storage_job_t *job, const char wanted_hash[KFX_DSN_HASH_PART]);

#endif
