/* tests/pg/fixture.c: see fixture.h. */
#include "tests/pg/fixture.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NS "kubeflex-system"

int fixture_setup(void **state)
{
    static const char *const extra[] = {"127.0.0.1", NULL};
    fixture_t *fx = kfx_xcalloc(1, sizeof *fx);
    kfx_error_t err = KFX_ERROR_INIT;

    fx->store = store_new();
    fx->storage.bootstrap = (kfx_bootstrap_t){
        .ns = NS, .postgres_host = "127.0.0.1", .dsn_host = "127.0.0.1", .secrets = store_secrets(fx->store)};
    if (kfx_bootstrap_secrets(&fx->storage.bootstrap, "postgres-postgresql", extra, &fx->ca_pem, &err) < 0)
        fail_msg("%s", err.msg);
    KFX_SECRET json_t *password = store_get(fx->store, NS, KFX_SECRET_ADMIN_PASSWORD);
    KFX_SECRET json_t *tls = store_get(fx->store, NS, KFX_SECRET_SERVER_TLS);
    KFX_FREE char *admin_password = kfx_secret_value(password, "postgres-password", &err);
    KFX_FREE char *cert = kfx_secret_value(tls, "tls.crt", &err);
    KFX_FREE char *key = kfx_secret_value(tls, "tls.key", &err);
    pg_server_make(&fx->server, admin_password, cert, key);
    pg_server_start(&fx->server);
    fx->storage.bootstrap.postgres_port = fx->server.port;
    fx->storage.bootstrap.ca_pem = fx->ca_pem;
    fx->storage.bootstrap.dsn_port = fx->server.port;
    fx->storage.waiters_max = 4;
    fx->storage.etcd_image = "etcd:test";
    if (kfx_storage_init(&fx->storage, &err) < 0)
        fail_msg("%s", err.msg);
    *state = fx;
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_t *fx = *state;
    kfx_storage_close(&fx->storage);
    pg_server_remove(&fx->server);
    if (fx->second.port[0])
        pg_server_remove(&fx->second);
    store_destroy(&fx->store);
    free(fx->ca_pem);
    free(fx);
    return 0;
}

void fixture_second(fixture_t *fx)
{
    KFX_SECRET json_t *tls = store_get(fx->store, NS, KFX_SECRET_SERVER_TLS);
    KFX_FREE char *cert = kfx_secret_value(tls, "tls.crt", NULL);
    KFX_FREE char *key = kfx_secret_value(tls, "tls.key", NULL);
    pg_server_make(&fx->second, "Eastern-Admin-1", cert, key);
    pg_server_start(&fx->second);
    json_t *secret = kfx_secret_new(KFX_POOL_NAMESPACE, "east", "Opaque");
    kfx_json_put(secret, json_string(KFX_POOL_LABEL_VALUE), "metadata", "labels", KFX_POOL_LABEL);
    kfx_secret_set(secret, "host", "127.0.0.1");
    kfx_secret_set(secret, "port", fx->second.port);
    kfx_secret_set(secret, "ca.crt", fx->ca_pem);
    kfx_secret_set(secret, "username", "agents");
    kfx_secret_set(secret, "password", "Eastern-Agents-1");
    kfx_secret_set(secret, "admin-password", "Eastern-Admin-1");
    kfx_secrets_t secrets = store_secrets(fx->store);
    assert_int_equal(secrets.create(secrets.ctx, KFX_POOL_NAMESPACE, secret, NULL), 0);
}

kfx_pg_t *agent_connect(fixture_t *fx, kfx_error_t *err)
{
    return kfx_pool_connect(&fx->storage.pool, KFX_SERVER_OWN, err);
}

plane_t plane_new(fixture_t *fx, const char *name)
{
    static atomic_int last;
    plane_t plane = {.fx = fx, .name = name, .left = -1};
    snprintf(plane.uid, sizeof plane.uid, "00000000-0000-4000-8000-%012x", (unsigned)atomic_fetch_add(&last, 1) + 1);
    return plane;
}

static bool may(void *arg)
{
    plane_t *plane = arg;
    atomic_fetch_add(&plane->asked, 1);
    int left = atomic_load(&plane->left);
    if (left == 0 && plane->at_zero) {
        atomic_store(&plane->left, -1);
        plane->at_zero(plane);
        return true;
    }
    if (left == 0)
        return false;
    if (left > 0)
        atomic_fetch_sub(&plane->left, 1);
    return true;
}

void plane_result(plane_t *plane, bool deleting, kfx_result_t *result)
{
    kfx_child_t children[2];
    kfx_digest_t digest = {.type = "k8s", .deleting = deleting, .children = children};
    kfx_copy(digest.postgres_server, sizeof digest.postgres_server, plane->recorded);
    kfx_copy(digest.rotate, sizeof digest.rotate, plane->rotate);
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);

    memset(children, 0, sizeof children);
    if (plane->space) {
        kfx_child_t *child = &children[digest.count++];
        kfx_copy(child->kind, sizeof child->kind, "Namespace");
        kfx_copy(child->name, sizeof child->name, ns);
        child->owned = true;
    }
    KFX_SECRET json_t *secret = plane->secret ? store_get(plane->fx->store, ns, "kine-dsn") : NULL;
    if (secret) {
        kfx_child_t *child = &children[digest.count++];
        const char *hash = kfx_json_str(secret, "metadata", "annotations", KFX_ANNOTATION_HASH);
        kfx_copy(child->kind, sizeof child->kind, "Secret");
        kfx_copy(child->name, sizeof child->name, "kine-dsn");
        kfx_copy(child->hash, sizeof child->hash, hash ? hash : "");
        child->owned = true;
    }
    kfx_storage_job_t job = {.plane = plane->name,
                             .uid = plane->uid,
                             .generation = plane->generation,
                             .deleting = deleting,
                             .digest = &digest,
                             .may = may,
                             .arg = plane};
    memset(result, 0, sizeof *result);
    store_plane(plane->fx->store, plane->name, plane->uid, plane->generation, json_incref(plane->spec));
    kfx_storage_run(&plane->fx->storage, &job, result);
}

kfx_outcome_t plane_run(plane_t *plane, bool deleting)
{
    kfx_result_t *result = kfx_xcalloc(1, sizeof *result);
    plane_result(plane, deleting, result);
    kfx_outcome_t outcome = result->outcome;
    free(result);
    return outcome;
}

void crash(fixture_t *fx)
{
    kfx_storage_close(&fx->storage);
    assert_int_equal(kfx_storage_init(&fx->storage, NULL), 0);
}

void plane_names(plane_t *plane, kfx_storage_names_t *names)
{
    kfx_dsn_seen_t seen;
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);
    KFX_SECRET json_t *secret = store_get(plane->fx->store, ns, "kine-dsn");

    assert_int_equal(kfx_storage_names(plane->name, plane->uid, names, NULL), 0);
    if (!secret)
        return;
    kfx_dsn_inspect(secret, plane->uid, names, &seen);
    if (seen.ours && seen.swapped)
        kfx_storage_names_swap(names);
}

bool plane_password(plane_t *plane, char password[KFX_PASSWORD_SIZE])
{
    kfx_storage_names_t names;
    kfx_dsn_seen_t seen;
    KFX_FREE char *ns = kfx_xasprintf("%s-system", plane->name);
    KFX_SECRET json_t *secret = store_get(plane->fx->store, ns, "kine-dsn");

    plane_names(plane, &names);
    if (!secret)
        return false;
    kfx_dsn_inspect(secret, plane->uid, &names, &seen);
    kfx_copy(password, KFX_PASSWORD_SIZE, seen.password);
    return seen.ours && seen.usable;
}

kfx_pg_t *plane_connect(plane_t *plane, const char *database, kfx_error_t *err)
{
    return plane_connect_to(plane, &plane->fx->server, database, err);
}

kfx_pg_t *plane_connect_to(plane_t *plane, const pg_server_t *server, const char *database, kfx_error_t *err)
{
    kfx_storage_names_t names;
    char password[KFX_PASSWORD_SIZE];

    plane_names(plane, &names);
    if (!plane_password(plane, password)) {
        kfx_error_set(err, KFX_E_NOT_FOUND, "no usable Secret");
        return NULL;
    }
    kfx_pg_opts_t opts = {.host = "127.0.0.1",
                          .port = server->port,
                          .user = names.login,
                          .password = password,
                          .database = database ? database : names.database,
                          .ca_pem = plane->fx->ca_pem};
    return kfx_pg_connect(&opts, err);
}

kfx_pg_t *admin(fixture_t *fx, const char *database)
{
    return admin_of(fx, &fx->server, database);
}

kfx_pg_t *admin_of(fixture_t *fx, const pg_server_t *server, const char *database)
{
    bool own = server == &fx->server;
    KFX_SECRET json_t *secret =
        own ? store_get(fx->store, NS, KFX_SECRET_ADMIN_PASSWORD) : store_get(fx->store, KFX_POOL_NAMESPACE, "east");
    KFX_FREE char *password = kfx_secret_value(secret, own ? "postgres-password" : "admin-password", NULL);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_pg_opts_t opts = {.host = "127.0.0.1",
                          .port = server->port,
                          .user = "postgres",
                          .password = password,
                          .database = database,
                          .ca_pem = fx->ca_pem};
    kfx_pg_t *pg = kfx_pg_connect(&opts, &err);
    if (!pg)
        fail_msg("%s", err.msg);
    return pg;
}

static PGresult *query(kfx_pg_t *pg, const char *fmt, va_list args)
{
    char *sql = NULL;
    kfx_error_t err = KFX_ERROR_INIT;

    assert_true(vasprintf(&sql, fmt, args) >= 0);
    PGresult *result = kfx_pg_query(pg, sql, &err);
    if (!result)
        fail_msg("%s: %s", sql, err.msg);
    free(sql);
    return result;
}

char *ask_sql(kfx_pg_t *pg, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_RESULT PGresult *result = query(pg, fmt, args);
    va_end(args);
    return kfx_xstrdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
}

long count_sql(kfx_pg_t *pg, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_RESULT PGresult *result = query(pg, fmt, args);
    va_end(args);
    return PQntuples(result) > 0 ? atol(PQgetvalue(result, 0, 0)) : -1;
}

void do_sql(kfx_pg_t *pg, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    PQclear(query(pg, fmt, args));
    va_end(args);
}

char *fixture_fill(const char *form, const char *a, const char *b, const char *c, const char *d)
{
    const char *with[] = {a, b, c, d};
    kfx_buf_t out = KFX_BUF_INIT(4096);
    for (const char *at = form; *at;) {
        if (at[0] == '%' && at[1] >= '1' && at[1] <= '4' && at[2] == '$' && at[3] == 's') {
            kfx_buf_adds(&out, with[at[1] - '1']);
            at += 4;
        } else {
            kfx_buf_add(&out, at++, 1);
        }
    }
    return kfx_buf_steal(&out, NULL);
}
