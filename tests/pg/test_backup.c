/* Backup and restore of a plane's keyspace on a real PostgreSQL, with the login and rights that a plane has. Ends with
 * 77 (skipped) where the server's programs are not installed. */
#include "tests/pg/fixture.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/pki.h"
#include "cli/backup_pg.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* As kine makes it. */
#define TABLE                                                                                                          \
    "CREATE TABLE kine (id BIGSERIAL PRIMARY KEY, name TEXT COLLATE \"C\", created INTEGER, deleted INTEGER,"          \
    " create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value bytea, old_value bytea);"                     \
    "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);"                                \
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)"                          \
    " VALUES ('compact_rev_key', 1, 0, 0, 0, 0, '')"
/* 300 keys, of which some change and some go; keys and values of all kinds; a gap; the last change is a deletion. */
#define CONTENT                                                                                                        \
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)"                          \
    " SELECT '/registry/things/' || i, 1, 0, 0, 0, CASE WHEN i %% 50 = 0 THEN 3600 ELSE 0 END,"                        \
    " decode(repeat(md5(i::text), i), 'hex') FROM generate_series(1, 300) i;"                                          \
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)"                          \
    " SELECT name, 0, (id %% 7 = 0)::int, id, id, 0, '\\x00ff5c0a'::bytea FROM kine WHERE name LIKE '/reg%%' AND id "  \
    "%% 3 = 0;"                                                                                                        \
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES"                   \
    " (E'/registry/odd/a\\tb\\nc\\\\d\\re', 1, 0, 0, 0, 0, ''), ('/registry/odd/ü€𝄞', 1, 0, 0, 0, 0, 'x'),"      \
    " ('/registry/large', 1, 0, 0, 0, 0, decode(repeat('0123456789abcdef', 250000), 'hex')),"                          \
    " ('/registry/masterleases/10.0.0.1', 1, 0, 0, 0, 15, 'y'),"                                                       \
    " ('/registry/secrets/team/old-token', 1, 0, 0, 0, 0, 'k8s..kubernetes.io/service-account-token..'),"              \
    " ('gap-900', 0, 1, 0, 0, 0, '');"                                                                                 \
    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)"                          \
    " SELECT name, 0, 1, id, id, 0, '' FROM kine WHERE name = '/registry/things/1'"
/* What there is for a client: each key with its revisions and value. */
#define STATE                                                                                                          \
    "SELECT count(*) || ' ' || md5(string_agg(concat_ws(' ', md5(name), id,"                                           \
    " CASE WHEN created = 1 THEN id ELSE create_revision END, lease, md5(value)), ',' ORDER BY name))"                 \
    " FROM (SELECT DISTINCT ON (name) * FROM kine ORDER BY name, id DESC) k WHERE deleted = 0"                         \
    " AND name LIKE '/%%' AND name NOT LIKE '/registry/masterleases/%%'"

static char dir[] = "/tmp/kfx-backup-XXXXXX";
static char path[64];

/* A plane with its database and the session that kine would have, or kflex. */
typedef struct {
    plane_t plane;
    char *dsn;
    kfx_pg_t *kine;
    PGconn *pg;
} side_t;

static void side_open(side_t *side, fixture_t *fx, const char *name)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_storage_names_t names;
    side->plane = plane_new(fx, name);
    side->plane.space = true;
    assert_int_equal(plane_run(&side->plane, false), KFX_OUTCOME_OK);
    side->plane.secret = true;
    KFX_FREE char *ns = kfx_xasprintf("%s-system", name);
    KFX_SECRET json_t *secret = store_get(fx->store, ns, KFX_SECRET_DSN);
    side->dsn = kfx_secret_value(secret, "endpoint", &err);
    assert_non_null(side->dsn);
    side->pg = kfx_backup_connect(side->dsn, fx->ca_pem, "127.0.0.1", fx->server.port, &err);
    if (!side->pg)
        fail_msg("%s", err.msg);
    plane_names(&side->plane, &names);
    side->kine = plane_connect(&side->plane, names.database, &err);
    assert_non_null(side->kine);
    do_sql(side->kine, TABLE);
}

static void side_close(side_t *side)
{
    PQfinish(side->pg);
    kfx_pg_close(&side->kine);
    free(side->dsn);
    plane_run(&side->plane, true);
}

static void dump(side_t *side)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_backup_sum_t sum;
    KFX_JSON json_t *header = json_pack("{s:s}", "plane", side->plane.name);
    if (kfx_backup_dump(side->pg, path, header, &sum, &err) != 0)
        fail_msg("%s", err.msg);
}

static int load(side_t *side, int (*ready)(void *ctx, kfx_error_t *err), kfx_restored_t *done, kfx_error_t *err)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    int rc = kfx_backup_load(side->pg, file, ready, side, done, err);
    fclose(file);
    return rc;
}

/* Others see nothing of it yet, and wait. */
static int while_shut(void *ctx, kfx_error_t *err)
{
    (void)err;
    side_t *side = ctx;
    kfx_error_t why = KFX_ERROR_INIT;
    assert_int_equal(kfx_pg_exec(side->kine, "SET lock_timeout = '50ms'; SELECT count(*) FROM kine", &why), -1);
    assert_int_equal(why.code, KFX_E_CONFLICT);
    return 0;
}

static int refuse(void *ctx, kfx_error_t *err)
{
    (void)ctx;
    return kfx_error_set(err, KFX_E_FORBIDDEN, "no");
}

static void test_round_trip(void **state)
{
    side_t from = {0}, to = {0};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_restored_t done;
    side_open(&from, *state, "from");
    side_open(&to, *state, "to");
    do_sql(from.kine, CONTENT);
    do_sql(to.kine, "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) "
                    "VALUES ('/registry/other', 1, 0, 0, 0, 0, 'z')");
    KFX_FREE char *before = ask_sql(from.kine, STATE);
    long revision = count_sql(from.kine, "SELECT max(id) FROM kine");
    dump(&from);
    if (load(&to, while_shut, &done, &err) != 0)
        fail_msg("%s", err.msg);
    KFX_FREE char *after = ask_sql(to.kine, STATE), *same = ask_sql(from.kine, STATE);
    assert_string_equal(after, before);
    assert_string_equal(same, before);
    assert_int_equal(done.skipped, 1);
    assert_int_equal(done.tokens, 1);
    assert_string_equal(done.first_token, "team/old-token");
    assert_int_equal(done.revision, revision + 1);
    /* kine goes on above all that anybody has seen, and has nothing older to tell. */
    assert_int_equal(count_sql(to.kine, "SELECT max(id) FROM kine"), revision + 1);
    assert_int_equal(count_sql(to.kine, "SELECT nextval('kine_id_seq')"), revision + 2);
    assert_int_equal(count_sql(to.kine, "SELECT max(prev_revision) FROM kine WHERE name = 'compact_rev_key'"),
                     revision + 1);
    assert_int_equal(count_sql(to.kine, "SELECT count(*) FROM kine WHERE name = 'compact_rev_key'"), 1);
    side_close(&from);
    side_close(&to);
}

/* The same plane, which has gone on since: it must not fall behind what its clients saw. */
static void test_back_in_time(void **state)
{
    side_t side = {0};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_restored_t done;
    side_open(&side, *state, "back");
    do_sql(side.kine, CONTENT);
    KFX_FREE char *before = ask_sql(side.kine, STATE);
    dump(&side);
    do_sql(side.kine, "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) "
                      "SELECT '/registry/later/' || i, 1, 0, 0, 0, 0, 'z' FROM generate_series(1, 50) i");
    long seen = count_sql(side.kine, "SELECT max(id) FROM kine");
    assert_int_equal(load(&side, NULL, &done, &err), 0);
    KFX_FREE char *after = ask_sql(side.kine, STATE);
    assert_string_equal(after, before);
    assert_int_equal(done.revision, seen + 1);
    side_close(&side);
}

static void test_rolled_back(void **state)
{
    side_t side = {0};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_restored_t done;
    size_t len;
    side_open(&side, *state, "stays");
    do_sql(side.kine, CONTENT);
    dump(&side);
    do_sql(side.kine, "DELETE FROM kine WHERE name LIKE '%%/things/%%'");
    KFX_FREE char *before = ask_sql(side.kine, STATE);
    assert_int_equal(load(&side, refuse, &done, &err), -1);
    assert_int_equal(err.code, KFX_E_FORBIDDEN);
    KFX_FREE char *refused = ask_sql(side.kine, STATE);
    assert_string_equal(refused, before);

    KFX_FREE char *data = kfx_file_read(path, 64u << 20, &len, NULL);
    data[len - 1] ^= 1; /* of the checksum: known only once all is written */
    assert_int_equal(kfx_file_write_atomic(path, data, len, 0600, NULL), 0);
    assert_int_equal(load(&side, NULL, &done, &err), -1);
    assert_int_equal(err.code, KFX_E_INVALID);
    KFX_FREE char *damaged = ask_sql(side.kine, STATE);
    assert_string_equal(damaged, before);
    data[len - 1] ^= 1;
    assert_int_equal(kfx_file_write_atomic(path, data, len, 0600, NULL), 0);
    assert_int_equal(load(&side, NULL, &done, &err), 0); /* the session is good for more */
    side_close(&side);
}

typedef struct {
    kfx_pg_t *kine;
    atomic_bool stop;
    atomic_int pairs;
} writer_t;

/* Two keys in one transaction each time. */
static void *keep_writing(void *arg)
{
    writer_t *self = arg;
    while (!atomic_load(&self->stop)) {
        KFX_FREE char *sql = kfx_xasprintf(
            "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES "
            "('/a/%06d', 1, 0, 0, 0, 0, ''), ('/b/%06d', 1, 0, 0, 0, 0, '')",
            atomic_load(&self->pairs), atomic_load(&self->pairs));
        if (kfx_pg_exec(self->kine, sql, NULL) != 0)
            break;
        atomic_fetch_add(&self->pairs, 1);
    }
    return NULL;
}

static void test_under_writes(void **state)
{
    side_t side = {0};
    pthread_t thread;
    kfx_error_t err = KFX_ERROR_INIT;
    side_open(&side, *state, "busy");
    writer_t writer = {.kine = side.kine};
    KFX_JSON json_t *header = json_object();
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &writer), 0);
    int last = -1;
    for (int i = 0; i < 12;) {
        if (atomic_load(&writer.pairs) == last)
            continue;
        i++;
        last = atomic_load(&writer.pairs);
        kfx_backup_sum_t sum;
        assert_int_equal(kfx_backup_dump(side.pg, path, header, &sum, &err), 0);
        assert_int_equal(sum.records % 2, 0); /* no half of a transaction */
        FILE *file = fopen(path, "r");
        kfx_backup_record_t record;
        KFX_BACKUP_READER kfx_backup_reader_t *reader = kfx_backup_open(file, &err);
        int64_t newest = 0;
        while (kfx_backup_next(reader, &record, &err) == 1)
            newest = record.changed > newest ? record.changed : newest;
        assert_int_equal(err.code, KFX_OK); /* a key newer than the revision is refused */
        assert_true(sum.records == 0 || newest == kfx_backup_revision(reader)); /* both are of one moment */
        fclose(file);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    side_close(&side);
}

static void test_messages(void **state)
{
    side_t side = {0};
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_backup_sum_t sum;
    KFX_JSON json_t *header = json_object();
    fixture_t *fx = *state;
    side_open(&side, fx, "says");
    do_sql(side.kine, "DROP TABLE kine");
    assert_int_equal(kfx_backup_dump(side.pg, path, header, &sum, &err), -1);
    assert_int_equal(err.code, KFX_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "wait until it is Ready"));
    assert_null(kfx_backup_connect("mysql://u:Geheim@tcp(db:3306)/x", NULL, NULL, NULL, &err));
    assert_null(strstr(err.msg, "Geheim"));
    assert_null(kfx_backup_connect("postgres://u:Geheim@127.0.0.1:1/x", NULL, NULL, NULL, &err));
    assert_int_equal(err.code, KFX_E_UNAVAILABLE);
    assert_null(strstr(err.msg, "Geheim"));
    /* Another authority: the server is not spoken to. */
    KFX_KEYPAIR kfx_keypair_t other = {0};
    kfx_cert_request_t subject = {.common_name = "other"};
    assert_int_equal(kfx_pki_authority(&subject, &other, &err), 0);
    assert_null(kfx_backup_connect(side.dsn, other.cert, "127.0.0.1", fx->server.port, &err));
    assert_non_null(strstr(err.msg, "certificate"));
    side_close(&side);
}

static int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/file", dir);
    return fixture_setup(state);
}

static int teardown(void **state)
{
    unlink(path);
    rmdir(dir);
    return fixture_teardown(state);
}

int main(void)
{
    if (!pg_server_available()) {
        puts("skipped: no PostgreSQL server is installed");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_back_in_time), cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_under_writes), cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
