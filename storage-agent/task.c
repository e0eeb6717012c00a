/* storage-agent/task.c: see task.h. */
#include "storage-agent/task.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage-agent/database.h"

#include <stdio.h>
#include <string.h>

#define PASSWORD_LENGTH 32

static void close_session(void *pg)
{
    kfx_pg_t *self = pg;
    kfx_pg_close(&self);
}

int kfx_storage_init(kfx_storage_t *self, kfx_error_t *err)
{
    if (pthread_key_create(&self->session, close_session) != 0)
        return kfx_error_set(err, KFX_E_INTERNAL, "no thread-specific key left");
    kfx_wrote_init(&self->wrote);
    kfx_specs_init(&self->specs);
    return 0;
}

static void drop_session(kfx_storage_t *self)
{
    kfx_pg_t *pg = pthread_getspecific(self->session);
    pthread_setspecific(self->session, NULL);
    kfx_pg_close(&pg);
}

void kfx_storage_close(kfx_storage_t *self)
{
    drop_session(self);
    pthread_key_delete(self->session);
    kfx_wrote_clear(&self->wrote);
    kfx_specs_clear(&self->specs);
}

/* This thread's connection, made or made again where it broke while idle. */
static kfx_pg_t *session(kfx_storage_t *self, kfx_error_t *err)
{
    kfx_pg_t *pg = pthread_getspecific(self->session);

    if (pg && kfx_pg_alive(pg))
        return pg;
    drop_session(self);
    pg = kfx_bootstrap_connect(&self->bootstrap, err);
    pthread_setspecific(self->session, pg);
    return pg;
}

bool kfx_storage_up(kfx_storage_t *self, kfx_error_t *err)
{
    kfx_pg_t *pg = session(self, err);

    if (pg && kfx_pg_exec(pg, "SELECT 1", err) == 0)
        return true;
    drop_session(self);
    kfx_log_debug("Postgres is down", "error", err->msg, NULL);
    return false;
}

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

/* Outcome and condition of an error. postgres: it came from Postgres (or the way to it), not from the API server. */
static void failed(const kfx_storage_job_t *job, const kfx_error_t *err, bool postgres, kfx_result_t *result)
{
    bool down = postgres && err->code == KFX_E_UNAVAILABLE;

    result->outcome = down ? KFX_OUTCOME_DOWN : KFX_OUTCOME_RETRY;
    if (err->code == KFX_E_FENCED)
        return; /* nothing to tell: whoever goes on will */
    if (err->code == KFX_E_INVALID)
        result->outcome = KFX_OUTCOME_WAITING; /* repeating cannot help; a change of the object will */
    kfx_result_condition(result, "StorageReady", false, down ? "PostgresUnavailable" : "StorageError", "%s", err->msg);
    kfx_log_warn("storage task failed", "plane", job->plane, "uid", job->uid, "error", err->msg, "code",
                 kfx_code_name(err->code), NULL);
}

/* A session as the plane's own role: true where the password fits. Anything but a refusal of the password is an error,
 * since replacing a password that fits would cut a running plane off. */
static int password_fits(kfx_storage_t *self, const kfx_storage_names_t *names, const char *password, bool *fits,
                         kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    kfx_pg_opts_t opts = {.host = self->bootstrap.postgres_host,
                          .port = self->bootstrap.postgres_port,
                          .database = names->database,
                          .user = names->login,
                          .password = password,
                          .ca_pem = self->bootstrap.ca_pem};
    KFX_PG kfx_pg_t *pg = kfx_pg_connect(&opts, &local);

    *fits = pg != NULL;
    if (pg || local.code == KFX_E_UNAUTHORIZED)
        return 0;
    local.code = KFX_E_TIMEOUT; /* our own session works, so it is this plane's trouble: its connection limit, say */
    if (err)
        *err = local;
    return kfx_error_wrap(err, "try the password of role %s", names->login);
}

/* The password that is to stand in the Secret: the present one if it works, else a new one, set in Postgres. hash gets
 * the applied-hash that belongs to it. */
static int choose_password(kfx_storage_t *self, kfx_db_t *db, const kfx_dsn_seen_t *seen,
                           char password[KFX_PASSWORD_SIZE], char hash[KFX_DSN_HASH_SIZE], kfx_error_t *err)
{
    char wanted[KFX_DSN_HASH_PART], id[9];
    bool fits = false;

    kfx_dsn_hash(db->names, &self->server, wanted);
    if (seen->usable && password_fits(self, db->names, seen->password, &fits, err) < 0)
        return -1;
    if (fits) {
        kfx_copy(password, KFX_PASSWORD_SIZE, seen->password);
        if (strlen(seen->hash) == KFX_DSN_HASH_SIZE - 1 && kfx_dsn_hash_matches(seen->hash, wanted)) {
            kfx_copy(hash, KFX_DSN_HASH_SIZE, seen->hash);
            return 0;
        }
    } else if (kfx_random_text(password, PASSWORD_LENGTH, err) < 0 || kfx_db_set_password(db, password, err) < 0) {
        return -1;
    }
    if (kfx_random_hex(id, sizeof id - 1, err) < 0)
        return -1;
    snprintf(hash, KFX_DSN_HASH_SIZE, "%s-%s", wanted, id);
    return 0;
}

static int apply_secret(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_db_t *db, const char *password,
                        const char *hash, kfx_result_t *result, kfx_error_t *err)
{
    const kfx_secrets_t *secrets = &self->bootstrap.secrets;
    char ns[KFX_NAME_SIZE], manager[KFX_NAME_SIZE];

    if (!job->may(job->arg))
        return kfx_error_set(err, KFX_E_FENCED, "stopped before the Secret was written");
    kfx_plane_namespace(job->plane, ns);
    kfx_field_manager(job->uid, manager);
    kfx_wrote_note(&self->wrote, job->uid, "");
    KFX_SECRET json_t *answer = secrets->apply(
        secrets->ctx, ns, manager, kfx_dsn_secret(job->plane, job->uid, db->names, &self->server, password, hash), err);
    if (!answer)
        return kfx_error_wrap(err, "write Secret %s/" KFX_SECRET_DSN, ns);
    const char *uid = kfx_json_str(answer, "metadata", "uid");
    const char *rv = kfx_json_str(answer, "metadata", "resourceVersion");
    kfx_result_wrote(result, "Secret", KFX_SECRET_DSN, uid ? uid : "", rv ? rv : "", hash);
    kfx_wrote_note(&self->wrote, job->uid, hash);
    return 0;
}

/* The Secret as it is now, which the digest may lag. Read under the lock: another agent writes it under the same. */
static int look_at_secret(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_names_t *names,
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

/* With the lock held: a password that Postgres and the Secret agree on. *postgres: whose the error is. */
static int give_secret(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_db_t *db, kfx_result_t *result,
                       bool *postgres, kfx_error_t *err)
{
    char password[KFX_PASSWORD_SIZE] = "", hash[KFX_DSN_HASH_SIZE] = "";
    kfx_dsn_seen_t seen;

    *postgres = false;
    if (look_at_secret(self, job, db->names, &seen, err) < 0)
        return -1;
    *postgres = true;
    int rc = choose_password(self, db, &seen, password, hash, err);
    if (rc == 0) {
        *postgres = false;
        rc = apply_secret(self, job, db, password, hash, result, err);
    }
    kfx_wipe(password, sizeof password);
    kfx_wipe(seen.password, sizeof seen.password);
    return rc;
}

static void ready(const kfx_storage_names_t *names, kfx_result_t *result)
{
    result->outcome = KFX_OUTCOME_OK;
    kfx_result_condition(result, "StorageReady", true, "DatabaseReady", "database %s", names->database);
}

static void waiting(const kfx_storage_job_t *job, kfx_result_t *result)
{
    char ns[KFX_NAME_SIZE];

    kfx_plane_namespace(job->plane, ns);
    result->outcome = KFX_OUTCOME_WAITING;
    kfx_result_condition(result, "StorageReady", false, "WaitingForNamespace",
                         "the database is there; its Secret is written once Namespace %s is", ns);
}

static int live(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_db_t *db, kfx_storage_ask_t ask,
                kfx_result_t *result, bool *postgres, kfx_error_t *err)
{
    bool changed;

    if (kfx_db_converge(db, false, &changed, err) < 0)
        return -1;
    if (changed)
        kfx_log_info("database ready", "plane", job->plane, "uid", job->uid, "database", db->names->database, NULL);
    if (ask == KFX_ASK_DATABASE) {
        waiting(job, result);
        return 0;
    }
    if (give_secret(self, job, db, result, postgres, err) < 0)
        return -1;
    ready(db->names, result);
    return 0;
}

static int drop(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_db_t *db, kfx_result_t *result, kfx_error_t *err)
{
    bool changed;

    if (kfx_db_converge(db, true, &changed, err) < 0)
        return -1;
    if (changed)
        kfx_log_info("database dropped", "plane", job->plane, "uid", job->uid, "database", db->names->database, NULL);
    kfx_wrote_note(&self->wrote, job->uid, NULL);
    result->outcome = KFX_OUTCOME_GONE;
    kfx_result_condition(result, "StorageReady", false, "Deleting", "the database is dropped");
    return 0;
}

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

static void with_session(kfx_storage_t *self, const kfx_storage_job_t *job, const kfx_storage_names_t *names,
                         kfx_storage_ask_t ask, kfx_result_t *result)
{
    kfx_error_t err = KFX_ERROR_INIT;
    bool postgres = true;
    kfx_pg_t *pg = session(self, &err);

    if (!pg) {
        if (err.code != KFX_E_FENCED)
            err.code = KFX_E_UNAVAILABLE; /* no session, whatever the reason: no key can do anything */
        failed(job, &err, true, result);
        return;
    }
    kfx_db_t db = {.pg = pg,
                   .names = names,
                   .plane = job->plane,
                   .uid = job->uid,
                   .self = KFX_STORAGE_ROLE,
                   .may = job->may,
                   .arg = job->arg};
    if (take_lock(self, &db, &err) < 0) {
        if (err.code == KFX_E_CONFLICT) {
            result->outcome = KFX_OUTCOME_RETRY;
            kfx_log_info("storage task put off", "plane", job->plane, "uid", job->uid, "reason", err.msg, NULL);
            return;
        }
        drop_session(self);
        failed(job, &err, true, result);
        return;
    }
    int rc =
        ask == KFX_ASK_DROP ? drop(self, job, &db, result, &err) : live(self, job, &db, ask, result, &postgres, &err);
    /* A session that could not be given back clean, or met any error, takes its lock with it. */
    if (rc < 0 || kfx_db_unlock(&db, NULL) < 0)
        drop_session(self);
    if (rc < 0)
        failed(job, &err, postgres, result);
}

static bool late_write(kfx_storage_t *self, const kfx_storage_job_t *job)
{
    const kfx_child_t *secret = kfx_digest_child(job->digest, "Secret", KFX_SECRET_DSN);
    return secret && kfx_wrote_other(&self->wrote, job->uid, secret->hash);
}

static void shared(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_result_t *result)
{
    kfx_storage_names_t names;
    kfx_error_t err = KFX_ERROR_INIT;
    char wanted[KFX_DSN_HASH_PART];

    if (kfx_storage_names(job->plane, job->uid, &names, &err) < 0) {
        if (job->deleting)
            result->outcome = KFX_OUTCOME_GONE; /* nothing was ever made under such a uid */
        else
            failed(job, &err, false, result);
        return;
    }
    kfx_dsn_hash(&names, &self->server, wanted);
    kfx_storage_ask_t ask = kfx_storage_ask(job, wanted);
    if (ask == KFX_ASK_NOTHING && late_write(self, job))
        ask = KFX_ASK_SECRET;
    if (ask == KFX_ASK_NOTHING)
        ready(&names, result);
    else
        with_session(self, job, &names, ask, result);
}

/* The plane as this process knows it, or as the API server has it now. NULL without an error: there is none of this uid
 * (any more). */
static json_t *plane_of(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_error_t *err)
{
    const kfx_secrets_t *api = &self->bootstrap.secrets;
    kfx_error_t local = KFX_ERROR_INIT;

    json_t *plane = kfx_specs_get(&self->specs, job->uid, job->deleting ? 0 : job->generation);
    if (plane)
        return plane;
    plane = api->plane(api->ctx, job->plane, &local);
    if (!plane && local.code != KFX_E_NOT_FOUND) {
        *err = local;
        kfx_error_wrap(err, "read ControlPlane %s", job->plane);
    }
    const char *uid = plane ? kfx_json_str(plane, "metadata", "uid") : NULL;
    if (uid && strcmp(uid, job->uid) == 0) {
        kfx_specs_note(&self->specs, job->uid, plane);
        return plane;
    }
    json_decref(plane);
    return NULL;
}

/* Before there were other backends than the shared one, whatever the spec said was served by it: such a plane has its
 * data there. */
static bool lives_in_shared(kfx_storage_t *self, const kfx_storage_job_t *job)
{
    kfx_storage_names_t names;
    kfx_dsn_seen_t seen;

    if (!kfx_digest_child(job->digest, "Secret", KFX_SECRET_DSN) ||
        kfx_storage_names(job->plane, job->uid, &names, NULL) < 0 || look_at_secret(self, job, &names, &seen, NULL) < 0)
        return false;
    kfx_wipe(seen.password, sizeof seen.password);
    return seen.usable;
}

void kfx_storage_run(kfx_storage_t *self, const kfx_storage_job_t *job, kfx_result_t *result)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_storage_spec_t spec = {.backend = KFX_BACKEND_SHARED};

    KFX_JSON json_t *plane = plane_of(self, job, &err);
    if (err.code == KFX_OK && !plane && !job->deleting) {
        result->outcome = KFX_OUTCOME_WAITING; /* the watcher tells what became of it */
        return;
    }
    if (err.code != KFX_OK || (plane && kfx_storage_spec(plane, &spec, &err) < 0 && !job->deleting)) {
        failed(job, &err, false, result);
        return;
    }
    if (spec.backend == KFX_BACKEND_SHARED || job->deleting || lives_in_shared(self, job)) {
        shared(self, job, result);
        if (result->outcome == KFX_OUTCOME_GONE)
            kfx_specs_note(&self->specs, job->uid, NULL);
        return;
    }
    result->outcome = KFX_OUTCOME_WAITING;
    kfx_result_condition(result, "StorageReady", false, "NotSupported",
                         "backend %s is not built yet: delete the control plane and create it with backend shared",
                         kfx_backend_name(spec.backend));
}
