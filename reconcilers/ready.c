/* reconcilers/ready.c: condition Ready. The workload's own readiness says when to look; only a live answer counts. */
#include "base/clock.h"
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
 * up early. */
#define PROBE_SHORT_LIMIT_MS 250
#define PROBE_LIMIT_MS 1000
#define REPROBE_MS 45000 /* ± 15 s, so that a fleet does not knock at once */
#define REPROBE_SPREAD_MS 15000

static void not_ready(kfx_run_t *run, uint32_t retry_after_ms, const char *what)
{
    kfx_result_t *result = run->result;
    kfx_result_condition(result, "Ready", false, run->memo.was_ready ? "Unavailable" : "Creating", "%s", what);
    if (result->outcome == KFX_OUTCOME_OK)
        result->outcome = KFX_OUTCOME_WAITING;
    if (result->outcome == KFX_OUTCOME_WAITING)
        result->retry_after_ms = kfx_retry_min(result->retry_after_ms, retry_after_ms);
}

static uint32_t next_probe_ms(unsigned failures)
{
    uint32_t wait = PROBE_FIRST_MS, cap = failures < PROBE_SHORT_TRIES ? PROBE_SHORT_MS : PROBE_CAP_MS;
    while (failures-- > 0 && wait < cap)
        wait *= 2;
    return wait < cap ? wait : cap;
}

static void probe(kfx_run_t *run)
{
    const kfx_ops_t *ops = &run->rec->ops;
    kfx_error_t err = KFX_ERROR_INIT;
    const char *address = ops->outside && run->memo.cluster_ip[0] ? run->memo.cluster_ip : NULL;
    char host[2 * KFX_NAME_SIZE + 32], what[512];
    snprintf(host, sizeof(host), "%s.%s.svc.cluster.local", run->owner.plane, run->ns);
    bool first = !run->memo.was_ready && run->memo.probe_failures < PROBE_SHORT_TRIES;
    int limit = first ? PROBE_SHORT_LIMIT_MS : PROBE_LIMIT_MS;
    if (ops->probe(ops->ctx, host, address, run->memo.ca_pem, limit, &err)) {
        uint32_t wait = next_probe_ms(run->memo.probe_failures++);
        /* A plane that was Ready says Unavailable from the first refusal on: a stale True is worse than a short False.
         */
        snprintf(what, sizeof(what), "https://%s/readyz does not answer with 200: %.300s", host, err.msg);
        if (ops->stopped(run->task) || err.code == KFX_E_CANCELED)
            return;
        not_ready(run, wait, what);
        return;
    }
    run->memo.probe_failures = 0;
    run->memo.was_ready = true;
    kfx_result_condition(run->result, "Ready", true, "Available", "the API server answers");
    uint32_t again = (uint32_t)kfx_random_between(REPROBE_MS - REPROBE_SPREAD_MS, REPROBE_MS + REPROBE_SPREAD_MS);
    if (run->result->outcome == KFX_OUTCOME_OK || run->result->outcome == KFX_OUTCOME_WAITING)
        run->result->retry_after_ms = kfx_retry_min(run->result->retry_after_ms, again);
}

void kfx_ready_evaluate(kfx_run_t *run)
{
    const char *workload = run->rec->type->workload;
    const kfx_child_t *child = kfx_digest_child(run->digest, "Deployment", workload);
    char what[512];
    if (!child || !child->owned) {
        snprintf(what, sizeof(what), "Deployment %s does not exist yet", workload);
        not_ready(run, 0, what);
    } else if (!child->ready) {
        run->memo.probe_failures = 0;
        snprintf(what, sizeof(what), "Deployment %s has no ready pod", workload);
        not_ready(run, 0, what);
    } else if (!run->credentials) {
        snprintf(what, sizeof(what), "Secret %s is not complete", run->rec->type->secret_name);
        not_ready(run, 0, what);
    } else {
        kfx_verdict_t kept = run->sync;
        int rc = run->rec->type->authority(run);
        kfx_verdict_t failed = run->sync;
        run->sync = kept;
        if (rc == 0)
            probe(run);
        else if (failed.reason[0]) {
            not_ready(run, 0, failed.message);
            if (run->result->outcome == KFX_OUTCOME_WAITING)
                run->result->outcome = failed.outcome; /* waits for the Secret, or failed to read it */
        } else                                         /* the hosting API server is away, not the plane */
            run->result->outcome = failed.outcome;
    }
}
