/* reconcilers/ready.c: condition Ready. The workload's own readiness says when to look; only a live answer counts. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "kube/apply.h"
#include "reconcilers/pods.h"
#include "reconcilers/run.h"

#include <stdio.h>
#include <string.h>

#define PROBE_FIRST_MS 20
/* Service rules lag the pod's readiness: kube-proxy writes them at most once a second (its minSyncPeriod). So the pause
 * stays short for the first tries, which cover that second, and grows to the cap after them. */
#define PROBE_SHORT_MS 160
#define PROBE_SHORT_TRIES 12
#define PROBE_CAP_MS 1000
/* A Service without rules refuses, but the kernel sends only a few such answers a second to one address
 * (icmp_ratelimit), and to what then hangs the next packet would go after a second. So the first probes of a plane give
 * up early; each fourth one has twice the time, for a machine too busy to answer that fast. */
#define PROBE_SHORT_LIMIT_MS 80
#define PROBE_SAME_LIMIT 4
#define PROBE_LIMIT_MS 1000
/* A workload without ready pods is left alone for the time that a start takes; then its pods are asked for the cause,
 * and again later, because no event of the workload tells that the cause is another one now. */
#define LOOK_FIRST_MS 5000
#define LOOK_CAP_MS 120000
/* The helper starts when the API server answers, and new pods of that take their time; both are looked at with the next
 * live probe. */
#define HELPER_MS 20000
/* A dead API server behind a pod that is ready is noticed within a minute: after the longest pause and PROBE_LIMIT_MS
 * twice, since one probe without an answer in time does not count. */
#define REPROBE_MS 43000
#define REPROBE_SPREAD 3 /* a third more or less, so that a fleet does not knock at once */

static void not_ready_because(kfx_run_t *run, uint32_t retry_after_ms, const char *reason, const char *what)
{
    kfx_result_t *result = run->result;
    kfx_result_condition(result, "Ready", false, reason, "%s", what);
    kfx_result_condition(result, "APIServerReady", false, reason, "%s", what);
    if (result->outcome == KFX_OUTCOME_OK)
        result->outcome = KFX_OUTCOME_WAITING;
    if (result->outcome == KFX_OUTCOME_WAITING)
        result->retry_after_ms = kfx_retry_min(result->retry_after_ms, retry_after_ms);
}

static void not_ready(kfx_run_t *run, uint32_t retry_after_ms, const char *what)
{
    not_ready_because(run, retry_after_ms, run->memo.was_ready ? "Unavailable" : "Creating", what);
}

/* Nothing where it cannot be read: then the condition says what the workload's own status does. */
static void find_trouble(kfx_run_t *run, const char *workload, kfx_trouble_t *out)
{
    *out = (kfx_trouble_t){.reason = NULL};
    /* resourceVersion=0: from the API server's memory, whatever state that is. */
    KFX_REQUEST kfx_request_t *pods = kfx_request_new(
        KFX_GET, NULL, "/api/v1/namespaces/%s/pods?resourceVersion=0&labelSelector=" KFX_LABEL_PLANE "%%3D%s", run->ns,
        run->owner.plane);
    if (kfx_run_request(run, pods) != KFX_OK)
        return;
    kfx_pods_trouble(pods->answer, run->ns, kfx_type_workload_kind(run->rec->type), workload, out);
    if (out->reason || json_array_size(kfx_json_get(pods->answer, "items")) > 0)
        return;
    KFX_FREE char *path = kfx_object_path(kfx_type_workload_kind(run->rec->type), run->ns, workload);
    KFX_REQUEST kfx_request_t *get = kfx_request_new(KFX_GET, NULL, "%s", path);
    if (kfx_run_request(run, get) == KFX_OK)
        kfx_deployment_trouble(get->answer, out);
}

/* From when on a trouble counts that this task meets first: one that the condition names already is looked at now, so
 * that the condition goes on to name it. */
static int64_t since(const kfx_memo_t *memo, int64_t now, int64_t patience)
{
    return memo->trouble ? now - patience : now;
}

/* The workload has no ready pod: why, once that has lasted. */
static void explain(kfx_run_t *run)
{
    kfx_memo_t *memo = &run->memo;
    char what[128];
    int64_t now = kfx_now_ms();
    snprintf(what, sizeof(what), "%s %s has no ready pod", kfx_type_workload_kind(run->rec->type),
             run->rec->type->workload);
    if (!memo->unready_ms)
        memo->unready_ms = since(memo, now, LOOK_FIRST_MS);
    int64_t left = memo->unready_ms + LOOK_FIRST_MS - now;
    if (left > 0) {
        not_ready(run, (uint32_t)left, what);
        return;
    }
    kfx_trouble_t trouble;
    find_trouble(run, run->rec->type->workload, &trouble);
    uint32_t again = LOOK_FIRST_MS;
    for (unsigned i = memo->looks++; i > 0 && again < LOOK_CAP_MS; i--)
        again *= 2;
    again = again < LOOK_CAP_MS ? again : LOOK_CAP_MS;
    if (trouble.reason)
        not_ready_because(run, again, trouble.reason, trouble.message);
    else
        not_ready(run, again, what);
}

/* A plane that answers is Ready, but does half of its work where its controllers do not run, and stays as it was where
 * its new pods do not start. */
static void other_trouble(kfx_run_t *run, kfx_trouble_t *out, const char **whose)
{
    const kfx_type_t *type = run->rec->type;
    const char *names[] = {type->helper, type->workload}, *lame = NULL;
    const char *kinds[] = {"Deployment", kfx_type_workload_kind(type)};
    int64_t now = kfx_now_ms();
    for (size_t i = 0; i < KFX_COUNT(names) && !lame; i++) {
        const kfx_child_t *child = names[i] ? kfx_digest_child(run->digest, kinds[i], names[i]) : NULL;
        if (child && child->owned && (!child->ready || child->rolling))
            lame = names[i];
    }
    *out = (kfx_trouble_t){.reason = NULL};
    if (!lame)
        run->memo.helper_ms = 0;
    else if (!run->memo.helper_ms)
        run->memo.helper_ms = since(&run->memo, now, HELPER_MS);
    if (lame && now - run->memo.helper_ms >= HELPER_MS)
        find_trouble(run, lame, out);
    *whose = lame;
}

/* Whether the plane's controllers run, as the Deployment has it; trouble: why not, where that is known. */
static void say_helper(kfx_run_t *run, const kfx_trouble_t *trouble)
{
    const char *helper = run->rec->type->helper;
    const kfx_child_t *child = helper ? kfx_digest_child(run->digest, "Deployment", helper) : NULL;
    if (!helper)
        return;
    if (child && child->owned && child->ready) {
        run->memo.helper_was_ready = true;
        kfx_result_condition(run->result, "ControllerManagerReady", true, "Available", "the controllers run");
        return;
    }
    const char *reason = run->memo.helper_was_ready ? "Unavailable" : "Creating";
    if (trouble->reason)
        kfx_result_condition(run->result, "ControllerManagerReady", false, trouble->reason, "%s", trouble->message);
    else
        kfx_result_condition(run->result, "ControllerManagerReady", false, reason,
                             "Deployment %s has no ready pod: `kubectl get pods -n %s` shows how far it is", helper,
                             run->ns);
}

static uint32_t next_probe_ms(unsigned failures, uint32_t longest)
{
    uint32_t wait = PROBE_FIRST_MS, cap = failures < PROBE_SHORT_TRIES ? PROBE_SHORT_MS : longest;
    while (failures-- > 0 && wait < cap)
        wait *= 2;
    return wait < cap ? wait : cap;
}

/* GET /readyz through the plane's Service, with its own authority. */
static int service_alive(kfx_run_t *run, int limit_ms, kfx_error_t *err)
{
    const kfx_ops_t *ops = &run->rec->ops;
    const char *address = ops->outside && run->memo.cluster_ip[0] ? run->memo.cluster_ip : NULL;
    char host[2 * KFX_NAME_SIZE + 32];
    if (run->rec->type->authority(run))
        return 1;
    snprintf(host, sizeof(host), "%s.%s.svc.cluster.local", run->owner.plane, run->ns);
    if (ops->probe(ops->ctx, host, address, run->memo.ca_pem, limit_ms, err))
        return kfx_error_wrap(err, "https://%s/readyz does not answer with 200", host);
    return 0;
}

/* It could not be asked. */
static void not_asked(kfx_run_t *run, const kfx_verdict_t *failed)
{
    if (failed->reason[0]) {
        not_ready(run, 0, failed->message);
        if (run->result->outcome == KFX_OUTCOME_WAITING)
            run->result->outcome = failed->outcome; /* waits for the Secret, or failed to read it */
    } else {                                        /* the hosting API server is away, not the plane */
        run->result->outcome = failed->outcome;
    }
}

/* No answer in time, once: the plane may only be slow, or the name service, or this machine. Nothing is said about it.
 */
static void ask_again(kfx_run_t *run, uint32_t wait)
{
    kfx_result_t *result = run->result;
    if (result->outcome == KFX_OUTCOME_OK || result->outcome == KFX_OUTCOME_WAITING)
        result->retry_after_ms = kfx_retry_min(result->retry_after_ms, wait);
}

static void probe(kfx_run_t *run)
{
    const kfx_type_t *type = run->rec->type;
    kfx_error_t err = KFX_ERROR_INIT;
    bool first = !run->memo.was_ready && run->memo.probe_failures < PROBE_SHORT_TRIES;
    int limit = first ? PROBE_SHORT_LIMIT_MS << (run->memo.probe_failures / PROBE_SAME_LIMIT) : PROBE_LIMIT_MS;
    kfx_verdict_t kept = run->sync;
    int rc = type->alive ? type->alive(run, limit, &err) : service_alive(run, limit, &err);
    kfx_verdict_t failed = run->sync;
    run->sync = kept;
    if (rc > 0) {
        not_asked(run, &failed);
        return;
    }
    if (rc < 0) {
        uint32_t wait = next_probe_ms(run->memo.probe_failures++, type->retry_ms ? type->retry_ms : PROBE_CAP_MS);
        /* A plane that was Ready says Unavailable from the first refusal on: a stale True is worse than a short False.
         */
        if (run->rec->ops.stopped(run->task) || err.code == KFX_E_CANCELED)
            kfx_run_cut_short(run);
        else if (err.code == KFX_E_TIMEOUT && run->memo.was_ready && run->memo.probe_failures == 1)
            ask_again(run, wait);
        else
            not_ready(run, wait, err.msg);
        return;
    }
    run->memo.probe_failures = 0;
    run->memo.was_ready = true;
    kfx_trouble_t trouble;
    const char *whose = NULL;
    other_trouble(run, &trouble, &whose);
    if (whose == type->helper)
        run->helper_trouble = trouble;
    kfx_result_condition(run->result, "APIServerReady", true, "Available", "the API server answers");
    kfx_result_condition(run->result, "Ready", true, "Available", "the API server answers%s%s",
                         trouble.reason ? KFX_READY_BUT : "", trouble.message);
    int64_t mean = type->reprobe_ms ? type->reprobe_ms : REPROBE_MS;
    uint32_t again = (uint32_t)kfx_random_between(mean - mean / REPROBE_SPREAD, mean + mean / REPROBE_SPREAD);
    if (run->result->outcome == KFX_OUTCOME_OK || run->result->outcome == KFX_OUTCOME_WAITING)
        run->result->retry_after_ms = kfx_retry_min(run->result->retry_after_ms, again);
}

static bool was_written(const kfx_result_t *result, const char *kind, const char *name)
{
    for (size_t i = 0; i < result->written_count; i++)
        if (strcmp(result->written[i].kind, kind) == 0 && strcmp(result->written[i].name, name) == 0)
            return true;
    return false;
}

/* The workload says that it is worth while to ask the plane. */
static bool workload_ready(kfx_run_t *run)
{
    const char *workload = run->rec->type->workload, *kind = kfx_type_workload_kind(run->rec->type);
    char what[512];
    if (!workload)
        return true;
    const kfx_child_t *child = kfx_digest_child(run->digest, kind, workload);
    /* What this task made is not in its digest, and its echo is no event: nothing but this task would look after it. */
    bool made = run->sync.outcome == KFX_OUTCOME_OK || was_written(run->result, kind, workload);
    if (child && child->owned ? !child->ready : made) {
        run->memo.probe_failures = 0;
        explain(run);
        return false;
    }
    run->memo.unready_ms = 0;
    run->memo.looks = 0;
    if (child && child->owned)
        return true;
    snprintf(what, sizeof(what), "%s %s does not exist yet", kind, workload);
    not_ready(run, 0, what);
    return false;
}

static void evaluate(kfx_run_t *run)
{
    char what[512];
    if (!workload_ready(run))
        return;
    if (!run->credentials) {
        snprintf(what, sizeof(what), "Secret %s is not complete", run->rec->type->secret_name);
        not_ready(run, 0, what);
        return;
    }
    probe(run);
}

void kfx_ready_evaluate(kfx_run_t *run)
{
    evaluate(run);
    say_helper(run, &run->helper_trouble);
    run->memo.trouble = false;
}
