/* tests/bench/storage_load.c: planes made and dropped by the storage agent's own code on a real PostgreSQL 15, and the
 * same statements by a bare loop beside it; for tests/bench/storage.
 *
 *   storage-load PLANES CONNECTIONS ROUNDS
 *
 * A server of its own in a temporary folder: fsync on, max_connections 1000, nothing logged. The Secrets are in memory,
 * so that Postgres and the agent are all there is. Per round: the bare loop makes PLANES, then drops them; then the
 * agent, with as many threads as connections. The order changes from round to round. */
#include "tests/pg/fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define CONNECTIONS_MAX 32

typedef struct {
    fixture_t *fx;
    plane_t *planes;
    size_t count, threads;
    atomic_size_t next;
    bool deleting;
    atomic_int failures;
} load_t;

static void fail(const char *what)
{
    fprintf(stderr, "storage-load: %s\n", what);
    exit(1);
}

/* What the agent runs for a plane, without a question between: four round trips to make it, three to drop it. */
static void bare(kfx_pg_t *pg, const kfx_storage_names_t *n, bool deleting)
{
    kfx_error_t err = KFX_ERROR_INIT;
    static const char *const make[] = {
        "CREATE ROLE \"%2$s\" NOLOGIN ROLE kubeflex_storage; CREATE ROLE \"%3$s\" LOGIN NOCREATEDB NOCREATEROLE "
        "NOREPLICATION CONNECTION LIMIT 128 IN ROLE \"%2$s\" ROLE kubeflex_storage",
        "CREATE DATABASE \"%1$s\" OWNER \"%2$s\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' "
        "ALLOW_CONNECTIONS false CONNECTION LIMIT 128",
        "REVOKE ALL ON DATABASE \"%1$s\" FROM PUBLIC; ALTER ROLE \"%3$s\" IN DATABASE \"%1$s\" SET role = \"%2$s\"; "
        "ALTER ROLE \"%3$s\" IN DATABASE \"%1$s\" SET statement_timeout = '120s'; "
        "ALTER ROLE \"%3$s\" IN DATABASE \"%1$s\" SET idle_in_transaction_session_timeout = '60s'; "
        "COMMENT ON DATABASE \"%1$s\" IS 'a plane'; ALTER DATABASE \"%1$s\" ALLOW_CONNECTIONS true",
        "ALTER ROLE \"%3$s\" PASSWORD 'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='"};
    static const char *const drop[] = {"ALTER ROLE \"%3$s\" NOLOGIN PASSWORD NULL",
                                       "DROP DATABASE \"%1$s\" WITH (FORCE)", "DROP ROLE \"%3$s\", \"%2$s\""};
    const char *const *steps = deleting ? drop : make;
    for (size_t i = 0; i < (deleting ? KFX_COUNT(drop) : KFX_COUNT(make)); i++) {
        KFX_FREE char *sql = fixture_fill(steps[i], n->database, n->owner, n->login, "");
        if (kfx_pg_exec_long(pg, sql, 60000, &err) < 0)
            fail(err.msg);
    }
}

static plane_t *take(load_t *load)
{
    size_t i = atomic_fetch_add(&load->next, 1);
    return i < load->count ? &load->planes[i] : NULL;
}

static void *bare_thread(void *arg)
{
    load_t *load = arg;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_PG kfx_pg_t *pg = agent_connect(load->fx, &err);
    if (!pg)
        fail(err.msg);
    for (plane_t *plane; (plane = take(load));) {
        kfx_storage_names_t names;
        if (kfx_storage_names(plane->name, plane->uid, &names, NULL) < 0)
            fail("names");
        bare(pg, &names, load->deleting);
    }
    return NULL;
}

static void *agent_thread(void *arg)
{
    load_t *load = arg;
    for (plane_t *plane; (plane = take(load));) {
        plane->space = true;
        kfx_outcome_t outcome = plane_run(plane, load->deleting);
        if (outcome != (load->deleting ? KFX_OUTCOME_GONE : KFX_OUTCOME_OK))
            atomic_fetch_add(&load->failures, 1);
    }
    return NULL;
}

static double cpu_s(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* kB of this process that are its own, and its share of what it shares. */
static long pss_kb(void)
{
    char line[256];
    long kb = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Pss: %ld", &kb) == 1)
            break;
    if (file)
        fclose(file);
    return kb;
}

static void phase(load_t *load, const char *who, void *(*work)(void *), bool deleting)
{
    pthread_t threads[CONNECTIONS_MAX];
    double cpu = cpu_s();
    int64_t start = kfx_now_ms();

    load->deleting = deleting;
    atomic_store(&load->next, 0);
    for (size_t i = 0; i < load->threads; i++)
        if (pthread_create(&threads[i], NULL, work, load) != 0)
            fail("no thread");
    for (size_t i = 0; i < load->threads; i++)
        pthread_join(threads[i], NULL);
    int64_t ms = kfx_now_ms() - start;
    printf("%s %s %zu %lld %.3f %ld\n", who, deleting ? "drop" : "make", load->count, (long long)ms, cpu_s() - cpu,
           pss_kb());
    fflush(stdout);
    if (atomic_load(&load->failures) > 0)
        fail("a plane was not made, or not dropped");
}

int main(int argc, char **argv)
{
    load_t load = {.count = argc == 4 ? strtoul(argv[1], NULL, 10) : 0};
    long rounds = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    void *state = NULL;

    load.threads = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    if (load.count < 1 || load.count > 100000 || load.threads < 1 || load.threads > CONNECTIONS_MAX || rounds < 1) {
        fprintf(stderr, "Usage: storage-load PLANES CONNECTIONS ROUNDS\n");
        return 2;
    }
    kfx_log_init("storage-load");
    kfx_log_set_level(KFX_LOG_WARN);
    pg_server_for_bench();
    if (fixture_setup(&state) != 0)
        fail("no server");
    load.fx = state;
    load.planes = kfx_xcalloc(load.count, sizeof *load.planes);
    char **names = kfx_xcalloc(load.count, sizeof *names);
    for (long r = 0; r < rounds; r++) {
        for (size_t i = 0; i < load.count; i++) {
            free(names[i]);
            names[i] = kfx_xasprintf("bench-%ld-%zu", r, i);
            load.planes[i] = plane_new(load.fx, names[i]);
        }
        for (int half = 0; half < 2; half++) {
            bool agent = (r + half) % 2 == 1;
            phase(&load, agent ? "agent" : "bare", agent ? agent_thread : bare_thread, false);
            phase(&load, agent ? "agent" : "bare", agent ? agent_thread : bare_thread, true);
        }
    }
    for (size_t i = 0; i < load.count; i++)
        free(names[i]);
    free(names);
    free(load.planes);
    return fixture_teardown(&state);
}
