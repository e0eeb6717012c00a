/* storage-agent/orphans.c: see orphans.h. */
#include "storage-agent/orphans.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/database.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define UID_DIGITS 32

/* What has our form of name and can be dropped by us; a database and its owner have the same one. */
#define SEEK                                                                                                           \
    "SELECT n, d.oid IS NOT NULL, coalesce(pg_database_size(d.oid), -1) FROM ("                                        \
    "SELECT datname n FROM pg_database WHERE datname ~ '_[0-9a-f]{32}$' AND pg_has_role(datdba, 'MEMBER')"             \
    " UNION SELECT regexp_replace(rolname, '_[ab]$', '') FROM pg_roles"                                                \
    " WHERE rolname ~ '_[0-9a-f]{32}(_[ab])?$' AND pg_has_role(oid, 'MEMBER')) names"                                  \
    " LEFT JOIN pg_database d ON d.datname = n ORDER BY n"

/* The uid in a name of ours, as an object of the API server has it; false where there is none. */
static bool uid_of(const char *name, char uid[37])
{
    const char *digits = strrchr(name, '_');
    size_t n = 0;

    if (!digits || digits == name || strlen(digits + 1) != UID_DIGITS)
        return false;
    for (const char *c = digits + 1; *c; c++) {
        if (!isxdigit((unsigned char)*c) || isupper((unsigned char)*c))
            return false;
        if (n == 8 || n == 13 || n == 18 || n == 23)
            uid[n++] = '-';
        uid[n++] = *c;
    }
    uid[n] = '\0';
    return true;
}

/* {uid: true}; NULL where the API server does not answer. */
static json_t *planes(const kfx_pool_t *pool, kfx_error_t *err)
{
    const kfx_secrets_t *api = &pool->bootstrap->secrets;
    json_t *uids = api->plane_uids(api->ctx, err);
    if (!uids)
        kfx_error_wrap(err, "list the ControlPlanes");
    return uids;
}

/* Adds to all: [server, name, database, bytes] of one server. */
static int look(kfx_pool_t *pool, const char *server, json_t *all, kfx_error_t *err)
{
    KFX_PG kfx_pg_t *pg = kfx_pool_connect(pool, server, err);
    KFX_RESULT PGresult *result = pg ? kfx_pg_query(pg, SEEK, err) : NULL;

    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++)
        json_array_append_new(all, json_pack("[s, s, b, I]", server, PQgetvalue(result, i, 0),
                                             strcmp(PQgetvalue(result, i, 1), "t") == 0,
                                             (json_int_t)strtoll(PQgetvalue(result, i, 2), NULL, 10)));
    return 0;
}

long kfx_orphans_find(kfx_pool_t *pool, void (*found)(void *ctx, const kfx_orphan_t *orphan), void *ctx,
                      unsigned *unanswered, kfx_error_t *err)
{
    char names[KFX_POOL_MAX][KFX_PG_NAME_SIZE], uid[37];
    KFX_JSON json_t *all = json_array();
    size_t i;
    const json_t *entry;
    long count = 0;

    *unanswered = 0;
    if (kfx_pool_refresh(pool, err) < 0)
        return -1;
    size_t servers = kfx_pool_names(pool, names);
    for (size_t s = 0; s < servers; s++) {
        kfx_error_t local = KFX_ERROR_INIT;
        if (look(pool, names[s], all, &local) == 0)
            continue;
        kfx_log_warn("a Postgres server could not be searched for orphans", "server", names[s], "error", local.msg,
                     NULL);
        ++*unanswered;
    }
    KFX_JSON json_t *uids = planes(pool, err); /* after the servers */
    if (!uids)
        return -1;
    json_array_foreach (all, i, entry) {
        kfx_orphan_t orphan = {.database = json_is_true(json_array_get(entry, 2)),
                               .bytes = json_integer_value(json_array_get(entry, 3))};
        kfx_copy(orphan.server, sizeof orphan.server, json_string_value(json_array_get(entry, 0)));
        kfx_copy(orphan.name, sizeof orphan.name, json_string_value(json_array_get(entry, 1)));
        if (!uid_of(orphan.name, uid) || json_object_get(uids, uid))
            continue;
        count++;
        found(ctx, &orphan);
    }
    return count;
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

int kfx_orphan_remove(kfx_pool_t *pool, const char *server, const char *name, kfx_error_t *err)
{
    char uid[37], plane[KFX_PG_NAME_SIZE];
    kfx_storage_names_t names;

    if (!uid_of(name, uid))
        return kfx_error_set(err, KFX_E_INVALID, "'%s' is no name of a plane's database", name);
    snprintf(plane, sizeof plane, "%.*s", (int)(strrchr(name, '_') - name), name);
    if (kfx_storage_names(plane, uid, &names, err) < 0)
        return -1;
    if (strcmp(names.database, name) != 0)
        return kfx_error_set(err, KFX_E_INVALID, "'%s' is no name of a plane's database", name);
    KFX_SERVER kfx_server_t *where = kfx_pool_find(pool, server, err);
    KFX_PG kfx_pg_t *pg = where ? kfx_pool_connect(pool, server, err) : NULL;
    if (!pg)
        return -1;
    kfx_db_t db = {.pg = pg, .names = &names, .plane = plane, .uid = uid, .self = where->role, .may = always};
    if (kfx_db_lock(&db, err) < 0)
        return -1;
    KFX_JSON json_t *uids = planes(pool, err);
    if (!uids)
        return -1;
    if (json_object_get(uids, uid))
        return kfx_error_set(err, KFX_E_CONFLICT,
                             "'%s' is the database of a control plane that exists: delete that one", name);
    if (kfx_db_converge(&db, true, NULL, err) < 0)
        return -1;
    kfx_log_info("orphan dropped", "server", server, "database", name, "uid", uid, NULL);
    return 0;
}
