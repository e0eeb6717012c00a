/* storage-agent/orphans.h: databases and roles of planes that are not there any more.
 *
 * A plane's deletion takes them away; what is left is of a plane whose finalizer somebody removed by hand, of a hosting
 * cluster that was restored from an older backup, or of another installation on the same server. So nothing is removed
 * unless somebody names it.
 */
#ifndef KFX_STORAGE_ORPHANS_H
#define KFX_STORAGE_ORPHANS_H

#include "storage-agent/pool.h"

typedef struct {
    char server[KFX_PG_NAME_SIZE];
    char name[KFX_PG_NAME_SIZE]; /* of the database and its owner role, "cp1_4f0c…" */
    bool database;               /* false: only roles are left */
    long long bytes;             /* of the database; -1: unknown */
} kfx_orphan_t;

/* Looks on all servers that answer, then which planes there are: so a plane that is being made is none. Returns how
 * many there are, found with each; -1 where the API server does not answer. unanswered: servers that do not. */
long kfx_orphans_find(kfx_pool_t *pool, void (*found)(void *ctx, const kfx_orphan_t *orphan), void *ctx,
                      unsigned *unanswered, kfx_error_t *err);

/* Drops what kfx_orphans_find called so, under the plane's lock. INVALID where the name is none of ours; CONFLICT where
 * a plane of that uid exists, or somebody works on it. */
int kfx_orphan_remove(kfx_pool_t *pool, const char *server, const char *name, kfx_error_t *err);

#endif
