/* storage-agent/children.h: objects that one task writes into the plane's Namespace. */
#ifndef KFX_STORAGE_CHILDREN_H
#define KFX_STORAGE_CHILDREN_H

#include "objects/object.h"
#include "storage-agent/task.h"

/* One task; lives on its thread's stack. */
typedef struct {
    kfx_storage_t *self;
    const kfx_storage_job_t *job;
    kfx_result_t *result;
    kfx_owner_t owner;
    char ns[KFX_NAME_SIZE], manager[KFX_NAME_SIZE];
} kfx_children_t;

void kfx_children_init(kfx_children_t *task, kfx_storage_t *self, const kfx_storage_job_t *job, kfx_result_t *result);

/* The digest shows the Namespace as this uid's; else the result says that it is waited for. */
bool kfx_children_space(kfx_children_t *task);

/* Consumes object. 1 when it was written, 0 when it stands as desired, -1 with err: CONFLICT where one of that name is
 * somebody else's. hash NULL: of the object. */
int kfx_children_apply(kfx_children_t *task, json_t *object, const char *hash, kfx_error_t *err);

/* The digest shows it as ours, to stay, as we left it. */
bool kfx_children_stands(const kfx_child_t *child);
/* The error for an object of somebody else's; -1. */
int kfx_children_foreign(const kfx_children_t *task, const char *kind, const char *name, kfx_error_t *err);

#endif
