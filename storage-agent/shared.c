/* storage-agent/shared.c: see shared.h. */
#include "storage-agent/shared.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/database.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define PASSWORD_LENGTH 32
#define DAY_S 86400U

/* A pool that has no room, or not the server that is asked for, is looked at again: no event tells of its change. */
#define POOL_RETRY_MS 15000

/* For as many days after a password was made it is looked whether the one before it has been taken away, by a process
 * that has not seen that itself. */
#define RETIRE_DAYS 2

/* One task. */
typedef struct {
    kfx_storage_t *self;
    const kfx_storage_job_t *job;
    kfx_result_t *result;
    kfx_storage_names_t names;
    char server_name[KFX_PG_NAME_SIZE];
    kfx_server_t *server; /* fresh; NULL before it is known */
    kfx_storage_server_t dsn;
    char wanted[KFX_DSN_HASH_PART];
    kfx_storage_ask_t ask;
    bool as_told;  /* the Secret is as desired, as far as digest and memory tell */
    bool postgres; /* whose an error is: Postgres's, or the API server's */
} run_t;

kfx_storage_ask_t kfx_storage_ask(const kfx_storage_job_t *job, const char wanted_hash[KFX_DSN_HASH_PART])
{
    char ns[KFX_NAME_SIZE];

    if (job->deleting)
        return KFX_ASK_DROP;
    kfx_plane_namespace(job->plane, ns);
    const kfx_child_t *space = kfx_digest_child(job->digest, "Namespace", ns);
    const kfx_child_t *secret = kfx_digest_child(job->digest, "Secret", KFX_SECRET_DSN);
    if (!space || !space->owned || space->terminating)
        return KFX_ASK_DATABASE;
    if (secret && secret->owned && !secret->drifted && !secret->terminating &&
        kfx_dsn_hash_matches(secret->hash, wanted_hash))
        return KFX_ASK_NOTHING;
    return KFX_ASK_SECRET;
}

static void failed(const run_t *run, const kfx_error_t *err)
{
    bool down = run->postgres && err->code == KFX_E_UNAVAILABLE;
    kfx_result_t *result = run->result;

    /* While there are other servers the service as a whole is not down. */
    kfx_storage_failed(run->job, err, down && kfx_pool_single(&run->self->pool), result);
    if (down && result->outcome == KFX_OUTCOME_RETRY)
        kfx_result_condition(result, "StorageReady", false, "PostgresUnavailable", "%s", err->msg);
}

/* ---- the password and its Secret --------------------------------------------------------------------------------- */

static long today(void)
{
    return (long)(time(NULL) / DAY_S);
}

/* Planes that were made on one day get their new passwords on different ones. */
static long days_max(const run_t *run)
{
    long days = run->self->password_days;
    return days > 0 ? days - (long)((uint64_t)run->names.lock % (uint64_t)(days / 10 + 1)) : 0;
}

static bool due(const run_t *run, const char *hash)
{
    const char *stamp = kfx_dsn_stamp(hash);
    const kfx_digest_t *digest = run->job->digest;
    return stamp && kfx_dsn_stamp_due(stamp, digest ? digest->rotate : "", today(), days_max(run));
}

static int new_hash(const run_t *run, char hash[KFX_DSN_HASH_SIZE], kfx_error_t *err)
{
    char random[KFX_DSN_STAMP_REQUEST + 1], stamp[KFX_DSN_STAMP_SIZE];
    if (kfx_random_hex(random, sizeof random - 1, err) < 0)
        return -1;
    kfx_dsn_stamp_make(today(), run->job->digest ? run->job->digest->rotate : "", random, stamp);
    snprintf(hash, KFX_DSN_HASH_SIZE, "%s-%s", run->wanted, stamp);
    return 0;
}

/* A session as the plane's own role: true where the password fits. Anything but a refusal of the password is an error,
 * since replacing a password that fits would cut a running plane off. */
static int password_fits(const run_t *run, const char *password, bool *fits, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    KFX_PG kfx_pg_t *pg = kfx_server_open(run->server, run->names.login, password, run->names.database, &local);

    *fits = pg != NULL;
    if (pg || local.code == KFX_E_UNAUTHORIZED)
        return 0;
    local.code = KFX_E_TIMEOUT; /* our own session works, so it is this plane's trouble: its connection limit, say */
    if (err)
        *err = local;
    return kfx_error_wrap(err, "try the password of role %s", run->names.login);
}

static int new_password(const run_t *run, kfx_db_t *db, char password[KFX_PASSWORD_SIZE], char hash[KFX_DSN_HASH_SIZE],
                        kfx_error_t *err)
{
    if (kfx_random_text(password, PASSWORD_LENGTH, err) < 0 || kfx_db_set_password(db, password, err) < 0)
        return -1;
    return new_hash(run, hash, err);
}

/* The password that is to stand in the Secret: the present one if it works, else a new one, set in Postgres. hash gets
 * the applied-hash that belongs to it. */
static int choose_password(const run_t *run, kfx_db_t *db, const kfx_dsn_seen_t *seen, char password[KFX_PASSWORD_SIZE],
                           char hash[KFX_DSN_HASH_SIZE], kfx_error_t *err)
{
    bool fits = false;

    if (seen->usable && password_fits(run, seen->password, &fits, err) < 0)
        return -1;
    if (!fits)
        return new_password(run, db, password, hash, err);
    kfx_copy(password, KFX_PASSWORD_SIZE, seen->password);
    const char *stamp = kfx_dsn_stamp(seen->hash);
    if (!stamp)
        return new_hash(run, hash, err);
    snprintf(hash, KFX_DSN_HASH_SIZE, "%s-%s", run->wanted, stamp);
    return 0;
}

static int apply_secret(const run_t *run, const char *password, const char *hash, kfx_error_t *err)
{
    const kfx_storage_job_t *job = run->job;
    const kfx_secrets_t *secrets = &run->self->bootstrap.secrets;
    char ns[KFX_NAME_SIZE], manager[KFX_NAME_SIZE];

    if (!job->may(job->arg))
        return kfx_error_set(err, KFX_E_FENCED, "stopped before the Secret was written");
    kfx_plane_namespace(job->plane, ns);
    kfx_field_manager(job->uid, manager);
    kfx_wrote_note(&run->self->wrote, job->uid, "");
    KFX_SECRET json_t *answer = secrets->apply(
        secrets->ctx, ns, manager, kfx_dsn_secret(job->plane, job->uid, &run->names, &run->dsn, password, hash), err);
    if (!answer)
        return kfx_error_wrap(err, "write Secret %s/" KFX_SECRET_DSN, ns);
    const char *uid = kfx_json_str(answer, "metadata", "uid");
    const char *rv = kfx_json_str(answer, "metadata", "resourceVersion");
    kfx_result_wrote(run->result, "Secret", KFX_SECRET_DSN, uid ? uid : "", rv ? rv : "", hash);
    kfx_wrote_note(&run->self->wrote, job->uid, hash);
    return 0;
}

/* The Secret as it is now, which the digest may lag. Read under the lock: another agent writes it under the same. */
static int look_at_secret(const kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_names_t *names,
                          kfx_dsn_seen_t *seen, kfx_error_t *err)
{
    const kfx_secrets_t *secrets = &self->bootstrap.secrets;
    kfx_error_t local = KFX_ERROR_INIT;
    char ns[KFX_NAME_SIZE];

    memset(seen, 0, sizeof *seen);
    kfx_plane_namespace(job->plane, ns);
    KFX_SECRET json_t *secret = secrets->get(secrets->ctx, ns, KFX_SECRET_DSN, &local);
    if (!secret && local.code == KFX_E_NOT_FOUND)
        return 0;
    if (!secret) {
        if (err)
            *err = local;
        return kfx_error_wrap(err, "read Secret %s/" KFX_SECRET_DSN, ns);
    }
    kfx_dsn_inspect(secret, job->uid, names, seen);
    if (seen->ours)
        return 0;
    kfx_wipe(seen->password, sizeof seen->password);
    return kfx_error_set(
        err, KFX_E_INVALID,
        "Secret %s/" KFX_SECRET_DSN " exists and does not belong to this control plane: delete or rename it", ns);
}

bool kfx_shared_serves(kfx_storage_t *self, const kfx_storage_job_t *job)
{
    kfx_storage_names_t names;
    kfx_dsn_seen_t seen;

    if (kfx_storage_names(job->plane, job->uid, &names, NULL) < 0 || look_at_secret(self, job, &names, &seen, NULL) < 0)
        return false;
    kfx_wipe(seen.password, sizeof seen.password);
    return seen.usable;
}

/* ---- with the lock held ------------------------------------------------------------------------------------------ */

/* Which of the two login roles the Secret is to name: the one it names; without one, that which no pod is using with a
 * password that nobody knows any more. */
static int choose_login(run_t *run, kfx_db_t *db, const kfx_dsn_seen_t *seen, kfx_error_t *err)
{
    kfx_db_state_t state;

    if (seen->usable) {
        if (seen->swapped)
            kfx_storage_names_swap(&run->names);
        return 0;
    }
    if (kfx_db_observe(db, &state, err) < 0)
        return -1;
    if (state.sessions > 0 && state.other_sessions == 0)
        kfx_storage_names_swap(&run->names);
    return 0;
}

static int converge(const run_t *run, kfx_db_t *db, kfx_error_t *err)
{
    bool changed;
    if (kfx_db_converge(db, false, &changed, err) < 0)
        return -1;
    if (changed)
        kfx_log_info("database ready", "plane", run->job->plane, "uid", run->job->uid, "server", run->server_name,
                     "database", run->names.database, NULL);
    return 0;
}

/* The login role that was in use before, if there is one, is taken away once its pods are gone. */
static int retire(const run_t *run, kfx_db_t *db, bool *gone, kfx_error_t *err)
{
    if (kfx_db_retire(db, gone, err) < 0)
        return -1;
    if (!*gone)
        run->result->retry_after_ms = KFX_DB_RETIRE_MS;
    return 0;
}

/* A new password is due: the other login role gets it, so that the pods which have the present one go on until they are
 * replaced. It must not be in use from the last time. *done: the roles have changed places. */
static int turn(run_t *run, kfx_db_t *db, bool *done, kfx_error_t *err)
{
    if (retire(run, db, done, err) < 0)
        return -1;
    if (!*done)
        return 0;
    kfx_storage_names_swap(&run->names);
    kfx_log_info("a new password is made", "plane", run->job->plane, "uid", run->job->uid, "role", run->names.login,
                 NULL);
    return converge(run, db, err);
}

/* A password that Postgres and the Secret agree on. */
static int give_secret(run_t *run, kfx_db_t *db, const kfx_dsn_seen_t *seen, kfx_error_t *err)
{
    char password[KFX_PASSWORD_SIZE] = "", hash[KFX_DSN_HASH_SIZE] = "";
    bool turned = false, gone = false;

    int rc = seen->usable && due(run, seen->hash) ? turn(run, db, &turned, err) : 0;
    if (rc == 0)
        rc = turned ? new_password(run, db, password, hash, err) : choose_password(run, db, seen, password, hash, err);
    bool same = run->as_told && strcmp(hash, seen->hash) == 0;
    if (rc == 0 && !same) {
        run->postgres = false;
        rc = apply_secret(run, password, hash, err);
    }
    if (rc == 0) {
        run->postgres = true;
        rc = retire(run, db, &gone, err);
    }
    if (rc == 0 && gone)
        kfx_wrote_settle(&run->self->wrote, run->job->uid, hash);
    kfx_wipe(password, sizeof password);
    return rc;
}

static void ready(const run_t *run)
{
    run->result->outcome = KFX_OUTCOME_OK;
    if (run->self->password_days > 0 && run->result->retry_after_ms == 0)
        run->result->retry_after_ms = DAY_S * 1000; /* to look at its age, in the digest */
    kfx_result_condition(run->result, "StorageReady", true, "DatabaseReady", "database %s on Postgres server %s",
                         run->names.database, run->server_name);
}

static void waiting(const run_t *run)
{
    char ns[KFX_NAME_SIZE];

    kfx_plane_namespace(run->job->plane, ns);
    run->result->outcome = KFX_OUTCOME_WAITING;
    kfx_result_condition(run->result, "StorageReady", false, "WaitingForNamespace",
                         "the database is there; its Secret is written once Namespace %s is", ns);
}

static int live(run_t *run, kfx_db_t *db, kfx_error_t *err)
{
    kfx_dsn_seen_t seen = {.ours = false};

    if (run->ask == KFX_ASK_DATABASE) {
        if (converge(run, db, err) < 0)
            return -1;
        waiting(run);
        return 0;
    }
    run->postgres = false;
    if (look_at_secret(run->self, run->job, &run->names, &seen, err) < 0)
        return -1;
    run->postgres = true;
    int rc = choose_login(run, db, &seen, err);
    if (rc == 0)
        rc = converge(run, db, err);
    if (rc == 0)
        rc = give_secret(run, db, &seen, err);
    kfx_wipe(seen.password, sizeof seen.password);
    if (rc == 0)
        ready(run);
    return rc;
}

static int drop(run_t *run, kfx_db_t *db, kfx_error_t *err)
{
    bool changed;

    if (kfx_db_converge(db, true, &changed, err) < 0)
        return -1;
    if (changed)
        kfx_log_info("database dropped", "plane", run->job->plane, "uid", run->job->uid, "server", run->server_name,
                     "database", run->names.database, NULL);
    return 0;
}

/* ---- session and lock -------------------------------------------------------------------------------------------- */

/* Another agent works on the plane: one whose lease ended while it was at it. Its end is what this task waits for, but
 * not all threads may stand and wait: planes that nobody works on come first. Then, and where the other does not end,
 * the task counts as failed. */
static int take_lock(kfx_storage_t *self, kfx_db_t *db, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    int rc = kfx_db_lock(db, &local);
    if (rc < 0 && local.code == KFX_E_CONFLICT) {
        if (atomic_fetch_add(&self->waiters, 1) < self->waiters_max) {
            local = (kfx_error_t)KFX_ERROR_INIT;
            rc = kfx_db_lock_wait(db, &local);
        }
        atomic_fetch_sub(&self->waiters, 1);
    }
    *err = local;
    return rc;
}

static kfx_db_t database(const run_t *run, kfx_pg_t *pg)
{
    return (kfx_db_t){.pg = pg,
                      .names = &run->names,
                      .plane = run->job->plane,
                      .uid = run->job->uid,
                      .self = run->server->role,
                      .may = run->job->may,
                      .arg = run->job->arg};
}

/* work with the plane's lock on run->server_name. False after a failure, which stands in the result then. */
static bool locked(run_t *run, int (*work)(run_t *run, kfx_db_t *db, kfx_error_t *err))
{
    kfx_storage_t *self = run->self;
    const kfx_storage_job_t *job = run->job;
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_pg_t *pg = kfx_pool_session(&self->pool, run->server_name, &err);

    run->postgres = true;
    if (!pg) {
        if (err.code != KFX_E_FENCED)
            err.code = KFX_E_UNAVAILABLE; /* no session, whatever the reason: no key can do anything */
        failed(run, &err);
        return false;
    }
    kfx_db_t db = database(run, pg);
    if (take_lock(self, &db, &err) < 0) {
        if (err.code == KFX_E_CONFLICT) {
            run->result->outcome = KFX_OUTCOME_RETRY;
            kfx_log_info("storage task put off", "plane", job->plane, "uid", job->uid, "reason", err.msg, NULL);
            return false;
        }
        kfx_pool_drop(&self->pool, run->server_name);
        failed(run, &err);
        return false;
    }
    int rc = work(run, &db, &err);
    /* A session that could not be given back clean, or met any error, takes its lock with it. */
    if (rc < 0 || kfx_db_unlock(&db, NULL) < 0)
        kfx_pool_drop(&self->pool, run->server_name);
    if (rc < 0)
        failed(run, &err);
    return rc == 0;
}

/* ---- the whole task ---------------------------------------------------------------------------------------------- */

/* A new password is due, or the role of the one before may still be there: the Secret is right, but there is work. */
static bool unfinished(run_t *run, const char *hash)
{
    kfx_storage_t *self = run->self;
    const char *stamp = kfx_dsn_stamp(hash);
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_db_state_t state;

    if (due(run, hash))
        return true;
    if (!stamp || today() - kfx_dsn_stamp_day(stamp) > RETIRE_DAYS ||
        kfx_wrote_settled(&self->wrote, run->job->uid, hash))
        return false;
    kfx_pg_t *pg = kfx_pool_session(&self->pool, run->server_name, &err);
    kfx_db_t db = database(run, pg);
    if (!pg || kfx_db_observe(&db, &state, &err) < 0)
        return false; /* a later task will tell: nothing is wrong with what runs */
    if (state.login && state.other)
        return true;
    kfx_wrote_settle(&self->wrote, run->job->uid, hash);
    return false;
}

static int know_server(run_t *run, const char *name, kfx_error_t *err)
{
    kfx_server_destroy(&run->server);
    kfx_copy(run->server_name, sizeof run->server_name, name);
    run->server = kfx_pool_find(&run->self->pool, name, err);
    if (!run->server)
        return -1;
    run->dsn = kfx_server_for_dsn(run->server);
    return 0;
}

static void no_server(run_t *run, const kfx_error_t *err)
{
    run->postgres = false;
    failed(run, err);
    if (err->code != KFX_E_BUSY && err->code != KFX_E_NOT_FOUND)
        return;
    run->result->retry_after_ms = POOL_RETRY_MS;
    kfx_result_condition(run->result, "StorageReady", false, err->code == KFX_E_BUSY ? "NoRoom" : "UnknownServer", "%s",
                         err->msg);
}

/* Where nothing is recorded: finds or chooses the server. False where the task ends here. */
static bool place(run_t *run, const char *pin, char name[KFX_PG_NAME_SIZE])
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_pool_choice_t choice;
    kfx_pool_wish_t wish = {.uid = run->job->uid,
                            .database = run->names.database,
                            .pin = pin,
                            .old = kfx_digest_child(run->job->digest, "Secret", KFX_SECRET_DSN) != NULL};

    if (kfx_pool_choose(&run->self->pool, &wish, &choice, &err) < 0) {
        if (err.code == KFX_E_UNAVAILABLE) {
            run->postgres = true;
            failed(run, &err);
        } else {
            no_server(run, &err);
        }
        return false;
    }
    kfx_copy(name, KFX_PG_NAME_SIZE, choice.server);
    kfx_copy(run->result->postgres_server, sizeof run->result->postgres_server, choice.server);
    if (!choice.open)
        return true;
    run->result->awaits_record = true;
    run->result->outcome = KFX_OUTCOME_WAITING;
    kfx_result_condition(run->result, "StorageReady", false, "ServerChosen",
                         "the database is made on Postgres server %s once that is recorded", choice.server);
    kfx_log_info("server chosen", "plane", run->job->plane, "uid", run->job->uid, "server", choice.server, NULL);
    return false;
}

/* What is recorded, or, where nothing is, whatever server has something of this uid. */
static void drop_all(run_t *run, const char *recorded)
{
    char names[KFX_POOL_MAX][KFX_PG_NAME_SIZE];
    kfx_error_t err = KFX_ERROR_INIT;
    size_t count = 1;

    if (recorded[0]) {
        kfx_copy(names[0], sizeof names[0], recorded);
    } else if (kfx_pool_refresh(&run->self->pool, &err) < 0) {
        no_server(run, &err);
        return;
    } else {
        count = kfx_pool_names(&run->self->pool, names);
    }
    for (size_t i = 0; i < count; i++) {
        if (know_server(run, names[i], &err) < 0) {
            no_server(run, &err);
            return;
        }
        if (!locked(run, drop))
            return;
    }
    kfx_wrote_note(&run->self->wrote, run->job->uid, NULL);
    kfx_pool_forget(&run->self->pool, run->job->uid);
    run->result->outcome = KFX_OUTCOME_GONE;
    kfx_result_condition(run->result, "StorageReady", false, "Deleting", "the database is dropped");
}

static void keep(run_t *run, const char *pin, const char *recorded)
{
    char name[KFX_PG_NAME_SIZE];
    kfx_error_t err = KFX_ERROR_INIT;

    kfx_copy(name, sizeof name, recorded);
    if (!name[0] && !place(run, pin, name))
        return;
    if (know_server(run, name, &err) < 0) {
        no_server(run, &err);
        return;
    }
    kfx_copy(run->result->postgres_server, sizeof run->result->postgres_server, name);
    kfx_dsn_hash(&run->names, &run->dsn, run->wanted);
    run->ask = kfx_storage_ask(run->job, run->wanted);
    if (run->ask == KFX_ASK_NOTHING) {
        const char *hash = kfx_digest_child(run->job->digest, "Secret", KFX_SECRET_DSN)->hash;
        run->as_told = !kfx_wrote_other(&run->self->wrote, run->job->uid, hash);
        if (!run->as_told || unfinished(run, hash))
            run->ask = KFX_ASK_SECRET;
    }
    if (run->ask == KFX_ASK_NOTHING)
        ready(run);
    else
        locked(run, live);
}

void kfx_shared_run(kfx_storage_t *self, const kfx_storage_job_t *job, const char *pin, kfx_result_t *result)
{
    run_t run = {.self = self, .job = job, .result = result};
    kfx_error_t err = KFX_ERROR_INIT;
    const char *recorded = job->digest ? job->digest->postgres_server : "";

    if (kfx_storage_names(job->plane, job->uid, &run.names, &err) < 0) {
        if (job->deleting)
            result->outcome = KFX_OUTCOME_GONE; /* nothing was ever made under such a uid */
        else
            failed(&run, &err);
        return;
    }
    if (job->deleting)
        drop_all(&run, recorded);
    else
        keep(&run, pin, recorded);
    kfx_server_destroy(&run.server);
}
