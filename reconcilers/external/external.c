/* reconcilers/external/external.c: the type external: a cluster that is there already, adopted by a kubeconfig of its
 * administrator. An account of our own replaces that one, and the kubeconfig goes. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "reconcilers/external/bootstrap.h"
#include "reconcilers/external/cluster.h"

#include <stdio.h>
#include <string.h>

#define REVISION 1
#define REPROBE_MS 20000 /* no event tells of a cluster that goes away */
#define RETRY_MS 5000
#define ALIVE_LIMIT_MS 4000 /* it may be far */
#define GIVE_UP_S 300       /* a plane whose cluster does not answer is deleted without it after that */

extern const kfx_type_t kfx_type_external;

/* Our own copy of the credentials, else those that users have, as long as they are as we wrote them (intact). 1: there
 * are none. */
static int stored(kfx_run_t *run, bool intact, kfx_credentials_t *out)
{
    static const char *const names[] = {KFX_SECRET_EXTERNAL, KFX_SECRET_ADMIN};
    for (size_t i = 0; i < KFX_COUNT(names); i++) {
        KFX_REQUEST kfx_request_t *get =
            kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/secrets/%s", run->ns, names[i]);
        kfx_code_t code = kfx_run_request(run, get);
        if (code != KFX_OK && code != KFX_E_NOT_FOUND)
            return kfx_run_fail(run, get, "read Secret %s", names[i]);
        if (code == KFX_OK && kfx_object_owned(get->answer, run->owner.uid) &&
            (!intact || kfx_credentials_intact(get->answer, &run->owner)) &&
            kfx_credentials_parse(get->answer, out, NULL) == 0)
            return 0;
    }
    return 1;
}

static bool copy_current(const kfx_run_t *run)
{
    const kfx_child_t *child = kfx_digest_child(run->digest, "Secret", KFX_SECRET_EXTERNAL);
    return child && child->owned && !child->terminating && !child->drifted && run->memo.copy_hash[0] &&
           strcmp(child->hash, run->memo.copy_hash) == 0;
}

static int write_both(kfx_run_t *run, const char *made_from, const kfx_credentials_t *credentials)
{
    return kfx_credentials_write(run, KFX_SECRET_ADMIN, KFX_SECRET_EXTERNAL, made_from, credentials);
}

static int adopt(kfx_run_t *run, kfx_bootstrap_t *bootstrap, const char *made_from)
{
    KFX_CREDENTIALS kfx_credentials_t made = {.server = kfx_xstrdup(bootstrap->config->server),
                                              .tls_server_name = kfx_xstrdup(bootstrap->config->tls_server_name),
                                              .ca_pem = kfx_xstrdup(bootstrap->config->ca_pem),
                                              .outside_server = kfx_xstrdup(bootstrap->outside_server),
                                              .outside_tls_server_name =
                                                  kfx_xstrdup(bootstrap->config->tls_server_name),
                                              .outside_ca_pem = kfx_xstrdup(bootstrap->config->ca_pem)};
    if (kfx_external_enroll(run, KFX_STEAL(bootstrap->config), &made) || kfx_external_prove(run, &made) ||
        write_both(run, made_from, &made))
        return -1;
    kfx_log_info("cluster adopted", "plane", run->owner.plane, "server", made.server, NULL);
    return kfx_bootstrap_drop(run, bootstrap);
}

/* Looks for a bootstrap Secret, and uses it where there is one: also for a cluster that was adopted before, which is
 * how one whose account was removed is taken in again. 1: there is none. */
static int try_bootstrap(kfx_run_t *run, const char *made_from)
{
    KFX_BOOTSTRAP kfx_bootstrap_t bootstrap = {.config = NULL};
    if (!run->plane && kfx_run_read_plane(run))
        return -1;
    kfx_bootstrap_await(run);
    bool named = json_is_object(kfx_json_get(run->plane, "spec", "bootstrapSecretRef"));
    if ((named || !run->credentials) && kfx_bootstrap_read(run, &bootstrap))
        return -1;
    int rc = bootstrap.uid[0] ? adopt(run, &bootstrap, made_from) : 1;
    if (rc >= 0) {
        run->memo.bootstrap_seen = run->memo.generation;
        kfx_copy(run->memo.bootstrap_done, sizeof(run->memo.bootstrap_done), run->digest->awaited);
    }
    return rc;
}

static int no_credentials(kfx_run_t *run)
{
    const json_t *ref = kfx_json_get(run->plane, "spec", "bootstrapSecretRef");
    const char *ns = kfx_json_str(ref, "namespace"), *name = kfx_json_str(ref, "name");
    return kfx_verdict_set(
        &run->sync, KFX_OUTCOME_WAITING, 0, "WaitingForBootstrap",
        "there is no bootstrap Secret %.63s/%.120s and no credentials from an earlier one: create it "
        "with a kubeconfig of the cluster's administrator",
        ns ? ns : "", name ? name : "");
}

/* Writes the Secrets again from what is stored, with a new token where that is due. */
static int refresh(kfx_run_t *run, const char *made_from)
{
    KFX_CREDENTIALS kfx_credentials_t found = {.server = NULL};
    int rc = stored(run, true, &found);
    if (rc)
        return rc > 0 ? no_credentials(run) : -1;
    bool due = found.renew > 0 && time(NULL) >= found.renew;
    bool other = run->memo.made_from[0] && strcmp(run->memo.made_from, made_from) != 0;
    if ((due || other) && (kfx_external_renew(run, &found) || kfx_external_prove(run, &found)))
        return -1;
    return write_both(run, made_from, &found);
}

static int sync_plane(kfx_run_t *run)
{
    char made_from[KFX_HASH_SIZE];
    KFX_JSON json_t *inputs = json_pack("[I]", (json_int_t)run->memo.token_seconds);
    kfx_hash16(inputs, made_from);
    if (kfx_credentials_learn(run, KFX_SECRET_ADMIN))
        return -1;
    /* The watcher tells when one is put there. A new process and a new spec have yet to say which one they wait for. */
    kfx_bootstrap_await(run);
    bool put = run->digest->awaited[0] && strcmp(run->digest->awaited, run->memo.bootstrap_done) != 0;
    bool look = put || run->memo.bootstrap_seen != run->memo.generation || !run->credentials;
    int rc = look ? try_bootstrap(run, made_from) : 1;
    if (rc <= 0)
        return rc;
    kfx_memo_t *memo = &run->memo;
    int64_t refused_ms = memo->refused_ms;
    memo->refused_ms = 0; /* writing the same again does not help a token that is refused */
    bool current = kfx_credentials_current(run, KFX_SECRET_ADMIN, made_from) && copy_current(run);
    memo->refused_ms = refused_ms;
    return current ? 0 : refresh(run, made_from);
}

static int alive(kfx_run_t *run, int limit_ms, kfx_error_t *err)
{
    char right[KFX_NAME_SIZE + 96];
    kfx_external_right(run, right, sizeof(right));
    const kfx_asking_t how = {.screened = true, .right = right};
    return kfx_credentials_alive(run, &how, limit_ms > ALIVE_LIMIT_MS ? limit_ms : ALIVE_LIMIT_MS, err);
}

/* ---- deletion --------------------------------------------------------------------------------------------------- */

/* run->plane, also of one that is being deleted. False when it cannot be read or is another one. */
static bool read_ending(kfx_run_t *run)
{
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, KFX_CONTROLPLANES_PATH "/%s", run->owner.plane);
    if (kfx_run_request(run, get) != KFX_OK)
        return false;
    const char *uid = kfx_json_str(get->answer, "metadata", "uid");
    if (!uid || strcmp(uid, run->owner.uid) != 0)
        return false;
    run->plane = json_incref(get->answer);
    return true;
}

static bool tried_long_enough(const kfx_run_t *run)
{
    const char *since = kfx_json_str(run->plane, "metadata", "deletionTimestamp");
    time_t at = since ? kfx_rfc3339_parse(since) : (time_t)-1;
    return at > 0 && time(NULL) - at >= GIVE_UP_S;
}

static int remove_from(kfx_run_t *run, kfx_kube_config_t *config)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_FREE char *server = kfx_xstrdup(config->server);
    if (kfx_external_remove(run, config, &err) == KFX_OK)
        return 0;
    if (err.code == KFX_E_INVALID || tried_long_enough(run)) {
        kfx_log_warn("left on the adopted cluster", "plane", run->owner.plane, "server", server, "objects",
                     run->manager, "error", err.msg, NULL);
        return 0;
    }
    return kfx_verdict_set(
        &run->sync, KFX_OUTCOME_RETRY, 0, "Deleting",
        "account and rights cannot be removed from the adopted cluster: %.300s. It is tried for %d s "
        "after the deletion began",
        err.msg, GIVE_UP_S);
}

/* An adoption that did not come to its end: its bootstrap Secret says where something may be left, and goes too, if it
 * was made for this plane. */
static int undo_bootstrap(kfx_run_t *run, bool adopted)
{
    KFX_BOOTSTRAP kfx_bootstrap_t bootstrap = {.config = NULL};
    if (!run->plane || kfx_run_load_config(run))
        return 0;
    if (kfx_bootstrap_read(run, &bootstrap) == 0 && bootstrap.config && !adopted &&
        remove_from(run, KFX_STEAL(bootstrap.config)))
        return -1;
    return bootstrap.uid[0] && bootstrap.marked ? kfx_bootstrap_drop(run, &bootstrap) : 0;
}

static int teardown(kfx_run_t *run)
{
    KFX_CREDENTIALS kfx_credentials_t found = {.server = NULL};
    (void)read_ending(run);
    int rc = stored(run, false, &found);
    if (rc < 0 || (rc == 0 && remove_from(run, kfx_credentials_config(&found))) || undo_bootstrap(run, rc == 0))
        return -1;
    run->sync = (kfx_verdict_t){.outcome = KFX_OUTCOME_NONE};
    return 0;
}

static json_t *render_plane(const char *plane, const kfx_config_t *config, kfx_error_t *err)
{
    (void)plane;
    (void)config;
    (void)err;
    return json_array(); /* all it has is Secrets */
}

const kfx_type_t kfx_type_external = {
    .name = "external",
    .revision = REVISION,
    .screened = true,
    .secret_name = KFX_SECRET_ADMIN,
    .secret_key = KFX_KEY_OUTSIDE,
    .secret_in_cluster_key = KFX_KEY_INSIDE,
    .reprobe_ms = REPROBE_MS,
    .retry_ms = RETRY_MS,
    .sync = sync_plane,
    .alive = alive,
    .teardown = teardown,
    .render = render_plane,
};
