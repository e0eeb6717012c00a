/* reconcilers/k8s/identity.c: Secrets with generated content are created once, with POST; what exists is read, never
 * applied over, and changed only by re-issuing with uid and resourceVersion as preconditions. */
#include "reconcilers/k8s/identity.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define SAY_IDENTITY_MS 3600000 /* for an hour people can read in the condition why their kubeconfig ended */
#define ROUNDS 5                /* plan, read, create, lose a race, create again */

typedef struct {
    kfx_secret_state_t states[KFX_SECRETS];
    kfx_authority_t authority;
    bool reissue_serving;
} work_t;

static void clear_work(work_t *work)
{
    kfx_authority_clear(&work->authority);
}

static void from_digest(const kfx_run_t *run, kfx_secret_t which, kfx_secret_state_t *state)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", kfx_secret_names[which]);
    *state = (kfx_secret_state_t){.exists = child != NULL};
    if (!child)
        return;
    state->owned = child->owned;
    state->terminating = child->terminating;
    state->harmed = child->drifted;
    kfx_copy(state->uid, sizeof(state->uid), child->uid);
    kfx_copy(state->rv, sizeof(state->rv), child->rv);
    kfx_copy(state->hash, sizeof(state->hash), child->hash);
}

static void from_object(const kfx_run_t *run, const json_t *object, kfx_secret_state_t *state)
{
    const char *uid = kfx_json_str(object, "metadata", "uid"),
               *rv = kfx_json_str(object, "metadata", "resourceVersion");
    *state = (kfx_secret_state_t){.exists = true,
                                  .owned = kfx_object_owned(object, run->owner.uid),
                                  .terminating = kfx_object_terminating(object)};
    const char *label = kfx_json_str(object, "metadata", "labels", KFX_LABEL_PLANE);
    state->harmed = !label || strcmp(label, run->owner.plane) != 0;
    kfx_copy(state->uid, sizeof(state->uid), uid ? uid : "");
    kfx_copy(state->rv, sizeof(state->rv), rv ? rv : "");
    kfx_copy(state->hash, sizeof(state->hash), kfx_object_hash(object));
}

static void remember(kfx_run_t *run, const kfx_authority_t *authority)
{
    kfx_copy(run->memo.ca_id, sizeof(run->memo.ca_id), authority->id);
    if (kfx_copy(run->memo.ca_pem, sizeof(run->memo.ca_pem), authority->ca.cert))
        run->memo.ca_pem[0] = '\0';
}

static kfx_request_t *get_secret(const kfx_run_t *run, kfx_secret_t which)
{
    return kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, kfx_secret_names[which]);
}

/* Reads k8s-certs: the authority comes in hand, or the state says that it is gone. */
static int read_authority(kfx_run_t *run, work_t *work)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_REQUEST kfx_request_t *get = get_secret(run, KFX_CERTS);
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_E_NOT_FOUND) {
        work->states[KFX_CERTS] = (kfx_secret_state_t){.exists = false};
        return 0;
    }
    if (code != KFX_OK)
        return kfx_run_fail(run, get, "read Secret " KFX_SECRET_CERTS);
    bool harmed = work->states[KFX_CERTS].harmed;
    from_object(run, get->answer, &work->states[KFX_CERTS]);
    work->states[KFX_CERTS].harmed = work->states[KFX_CERTS].harmed || harmed;
    if (!work->states[KFX_CERTS].owned)
        return 0; /* told by the check of the next round */
    if (kfx_authority_read(get->answer, &work->authority, &err))
        return kfx_run_error(run, &err, "Namespace %s", run->ns);
    remember(run, &work->authority);
    return 0;
}

static json_t *content(const kfx_run_t *run, work_t *work, kfx_secret_t which, kfx_action_t action,
                       const kfx_endpoints_t *endpoints, json_t *certs, kfx_error_t *err)
{
    if (which != KFX_CERTS)
        return kfx_kubeconfig_data(which, run->owner.plane, endpoints, &work->authority, err);
    return action == KFX_CREATE ? json_incref(certs) : kfx_certs_reissue(endpoints, &work->authority, err);
}

static kfx_request_t *create_request(kfx_run_t *run, kfx_secret_t which, const char *hash, json_t *data)
{
    kfx_desired_t desired;
    json_t *object = json_pack("{s:s, s:s, s:{s:s}, s:s, s:o}", "apiVersion", "v1", "kind", "Secret", "metadata",
                               "name", kfx_secret_names[which], "type", "Opaque", "data", data);
    if (kfx_desired_init(&desired, object, &run->owner, hash, NULL))
        return NULL;
    kfx_request_t *req = kfx_request_new(KFX_POST, json_incref(desired.object), "%s", desired.collection);
    kfx_desired_clear(&desired);
    return req;
}

static kfx_request_t *reissue_request(kfx_run_t *run, kfx_secret_t which, const kfx_secret_state_t *state,
                                      const char *hash, json_t *data)
{
    json_t *patch =
        json_pack("{s:{s:s, s:s, s:{s:s}, s:{s:s}}, s:o}", "metadata", "uid", state->uid, "resourceVersion", state->rv,
                  "labels", KFX_LABEL_PLANE, run->owner.plane, "annotations", KFX_ANNOTATION_HASH, hash, "data", data);
    return kfx_request_new(KFX_MERGE_PATCH, patch, "/api/v1/namespaces/%s/secrets/%s", run->ns,
                           kfx_secret_names[which]);
}

/* What another writer left there, after our write was refused. */
static int look_again(kfx_run_t *run, work_t *work, kfx_secret_t which)
{
    KFX_REQUEST kfx_request_t *get = get_secret(run, which);
    get->metadata_only = true;
    kfx_code_t code = kfx_run_request(run, get);
    if (code == KFX_OK)
        from_object(run, get->answer, &work->states[which]);
    else if (code == KFX_E_NOT_FOUND)
        work->states[which] = (kfx_secret_state_t){.exists = false};
    else
        return kfx_run_fail(run, get, "read Secret %s", kfx_secret_names[which]);
    return 0;
}

static int settle(kfx_run_t *run, work_t *work, kfx_secret_t which, const kfx_request_t *req, const char *hash)
{
    kfx_code_t code = req->error.code;
    if (code == KFX_OK) {
        kfx_secret_state_t *state = &work->states[which];
        from_object(run, req->answer, state);
        kfx_result_wrote(run->result, "Secret", kfx_secret_names[which], state->uid, state->rv, hash);
        return 0;
    }
    if (code != KFX_E_EXISTS && code != KFX_E_CONFLICT && code != KFX_E_NOT_FOUND)
        return kfx_run_fail(run, req, "write Secret %s", kfx_secret_names[which]);
    if (which == KFX_CERTS) /* the authority in hand is not the plane's */
        kfx_authority_clear(&work->authority);
    return look_again(run, work, which);
}

/* Carries a plan out: all writes at once. */
static int carry_out(kfx_run_t *run, work_t *work, const kfx_secret_plan_t *plan, const kfx_endpoints_t *endpoints,
                     json_t *certs)
{
    kfx_request_t *reqs[KFX_SECRETS];
    kfx_secret_t which[KFX_SECRETS];
    size_t count = 0;
    kfx_error_t err = KFX_ERROR_INIT;
    int rc = 0;
    for (int i = 0; rc == 0 && i < KFX_SECRETS; i++) {
        kfx_action_t action = plan->action[i];
        if (action == KFX_KEEP)
            continue;
        json_t *data = content(run, work, (kfx_secret_t)i, action, endpoints, certs, &err);
        kfx_request_t *req = !data ? NULL
                             : action == KFX_CREATE
                                 ? create_request(run, (kfx_secret_t)i, plan->hash[i], data)
                                 : reissue_request(run, (kfx_secret_t)i, &work->states[i], plan->hash[i], data);
        if (!req) {
            rc = kfx_run_error(run, &err, "Secret %s", kfx_secret_names[i]);
            break;
        }
        req->field_manager = kfx_xstrdup(run->manager);
        which[count] = (kfx_secret_t)i;
        reqs[count++] = req;
    }
    if (rc == 0)
        kfx_run_batch(run, reqs, count);
    for (size_t i = 0; i < count; i++) {
        if (rc == 0)
            rc = settle(run, work, which[i], reqs[i], plan->hash[which[i]]);
        kfx_request_free(reqs[i]);
    }
    return rc;
}

static int check_states(kfx_run_t *run, const work_t *work)
{
    for (int i = 0; i < KFX_SECRETS; i++) {
        const kfx_secret_state_t *state = &work->states[i];
        if (state->exists && !state->owned)
            return kfx_run_conflict(run, "Secret", kfx_secret_names[i]);
        if (state->exists && state->terminating)
            return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "ReconcileError",
                                   "Secret %s in Namespace %s is being deleted, but a finalizer holds it",
                                   kfx_secret_names[i], run->ns);
    }
    return 0;
}

/* One round: 1 = nothing left to do, 0 = look again, -1 = failed. */
static int round_once(kfx_run_t *run, work_t *work, const kfx_endpoints_t *endpoints)
{
    kfx_secret_plan_t plan;
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *certs = NULL;
    /* Of a plane that has never been Ready it is the rest of a creation that was cut short. */
    bool missed = run->memo.was_ready && (work->states[KFX_ADMIN].exists || work->states[KFX_CM].exists);
    if (check_states(run, work))
        return -1;
    kfx_secret_plan(work->states, work->authority.id, work->reissue_serving, run->owner.plane, endpoints, &plan);
    if (plan.read_authority)
        return read_authority(run, work);
    if (plan.action[KFX_CERTS] == KFX_KEEP && plan.action[KFX_ADMIN] == KFX_KEEP && plan.action[KFX_CM] == KFX_KEEP)
        return 1;
    if (plan.action[KFX_CERTS] == KFX_CREATE) {
        /* An authority in hand whose Secret is gone was deleted or never written: it is not brought back. */
        certs = kfx_certs_make(endpoints, &work->authority, &err);
        if (!certs)
            return kfx_run_error(run, &err, "Secret " KFX_SECRET_CERTS);
        kfx_secret_plan(work->states, work->authority.id, false, run->owner.plane, endpoints, &plan);
    }
    bool reissued = plan.action[KFX_CERTS] == KFX_REISSUE;
    if (carry_out(run, work, &plan, endpoints, certs))
        return -1;
    if (reissued)
        work->reissue_serving = false;
    if (certs && missed && work->authority.id[0]) {
        run->memo.identity_ms = kfx_now_ms();
        kfx_log_warn("new identity", "plane", run->owner.plane, "uid", run->owner.uid, NULL);
    }
    return 0;
}

int kfx_identity_ensure(kfx_run_t *run, const kfx_endpoints_t *endpoints, bool reissue_serving,
                        char out[KFX_CA_ID_SIZE])
{
    KFX_CLEANUP(clear_work) work_t work = {.reissue_serving = reissue_serving};
    int rc = 0;
    for (int i = 0; i < KFX_SECRETS; i++)
        from_digest(run, (kfx_secret_t)i, &work.states[i]);
    work.reissue_serving = work.reissue_serving && work.states[KFX_CERTS].exists;
    for (int i = 0; rc == 0 && i < ROUNDS; i++)
        rc = round_once(run, &work, endpoints);
    if (rc == 0)
        return kfx_verdict_set(&run->sync, KFX_OUTCOME_RETRY, 0, "ReconcileError",
                               "the Secrets in Namespace %s keep changing", run->ns);
    if (rc < 0)
        return -1;
    kfx_authority_of_hash(work.states[KFX_CERTS].hash, out);
    if (work.authority.id[0])
        remember(run, &work.authority);
    else if (strcmp(run->memo.ca_id, out) != 0)
        run->memo.ca_pem[0] = '\0';
    run->credentials = true;
    if (run->memo.identity_ms && kfx_now_ms() - run->memo.identity_ms < SAY_IDENTITY_MS)
        kfx_copy(run->note, sizeof(run->note),
                 "Secret " KFX_SECRET_CERTS " had been deleted: the plane has a new identity, its kubeconfigs were "
                 "issued again");
    return 0;
}

int kfx_identity_authority(kfx_run_t *run)
{
    KFX_CLEANUP(clear_work) work_t work = {.reissue_serving = false};
    if (run->memo.ca_pem[0])
        return 0;
    if (read_authority(run, &work))
        return -1;
    if (work.authority.id[0])
        return 0;
    return kfx_verdict_set(&run->sync, KFX_OUTCOME_WAITING, 0, "ReconcileError",
                           "Secret " KFX_SECRET_CERTS " is missing in Namespace %s", run->ns);
}
