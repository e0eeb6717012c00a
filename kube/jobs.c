/* kube/jobs.c: requests in the I/O thread: queue, attempts, retries, deadlines.
 *
 * A job hangs in one list: urgent or normal (waits for its turn), running, or sleeping (waits for its next attempt).
 * The deadline timer runs all the time; the limit timer ends an attempt, or the pause between two.
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <string.h>

#define HTTP1_LIMIT KFX_HOST_CONNECTIONS

static void on_deadline(void *arg);

void kfx_jobs_init(kfx_io_t *io)
{
    TAILQ_INIT(&io->urgent);
    TAILQ_INIT(&io->normal);
    TAILQ_INIT(&io->sleeping);
    TAILQ_INIT(&io->running);
}

static kfx_io_t *io_of(const kfx_job_t *job)
{
    return job->cmd.arg;
}

static void unlist(kfx_io_t *io, kfx_job_t *job)
{
    if (!job->list)
        return;
    if (job->list == &io->running)
        io->inflight--;
    TAILQ_REMOVE(job->list, job, link);
    job->list = NULL;
}

static void enlist(kfx_io_t *io, kfx_job_t *job, struct kfx_job_list *list, bool first)
{
    unlist(io, job);
    job->list = list;
    if (first)
        TAILQ_INSERT_HEAD(list, job, link);
    else
        TAILQ_INSERT_TAIL(list, job, link);
    if (list == &io->running)
        io->inflight++;
}

static void enqueue(kfx_io_t *io, kfx_job_t *job, bool first)
{
    enlist(io, job, job->req->urgent ? &io->urgent : &io->normal, first);
}

/* Out of everything; the job is only memory afterwards. */
static void detach(kfx_io_t *io, kfx_job_t *job)
{
    unlist(io, job);
    kfx_timer_cancel(&io->timers, &job->deadline);
    kfx_timer_cancel(&io->timers, &job->limit);
    kfx_xfer_end(io, &job->xfer);
}

static void finish(kfx_io_t *io, kfx_job_t *job)
{
    detach(io, job);
    job->done(io, job);
}

#define fail(job, code, ...) (kfx_error_set(&(job)->req->error, (code), __VA_ARGS__))

static const char *server_of(const kfx_io_t *io)
{
    return io->transport->config->server;
}

static int path_len(const kfx_request_t *req)
{
    return (int)strcspn(req->path, "?");
}

/* ---- submit
 * ------------------------------------------------------------------------------------------------------------ */

void kfx_jobs_submit(kfx_io_t *io, kfx_job_t *job)
{
    kfx_request_t *req = job->req;
    job->cmd.arg = io;
    if (req->error.code != KFX_OK) { /* found when it was made */
        finish(io, job);
        return;
    }
    job->submitted_at = kfx_now_ms();
    job->deadline_at = job->submitted_at + (req->timeout_ms > 0 ? req->timeout_ms : KFX_DEFAULT_LIMIT_MS);
    kfx_timer_arm(&io->timers, &job->deadline, job->deadline_at, on_deadline, job);
    enqueue(io, job, false);
}

void kfx_jobs_cancel(kfx_io_t *io, kfx_job_t *job)
{
    detach(io, job);
}

void kfx_jobs_stop(kfx_io_t *io)
{
    struct kfx_job_list *lists[] = {&io->running, &io->sleeping, &io->urgent, &io->normal};
    for (size_t i = 0; i < KFX_COUNT(lists); i++) {
        kfx_job_t *job;
        while ((job = TAILQ_FIRST(lists[i]))) {
            fail(job, KFX_E_CANCELED, "%s %.*s: the client was closed", kfx_verb_name(job->req->verb),
                 path_len(job->req), job->req->path);
            finish(io, job);
        }
    }
}

/* ---- the end of an attempt
 * --------------------------------------------------------------------------------------------- */

static void on_wake(void *arg)
{
    kfx_job_t *job = arg;
    enqueue(io_of(job), job, true);
}

/* Sleeps and tries again where that ends before the deadline, else reports the error that is there. */
static void again_or_finish(kfx_io_t *io, kfx_job_t *job, bool allowed, int64_t pause)
{
    int64_t now = kfx_now_ms();
    if (!allowed || job->req->no_retry || now + pause >= job->deadline_at) {
        finish(io, job);
        return;
    }
    kfx_log_debug("request is tried again", "why", job->req->error.msg, "ms", kfx_log_num(pause), NULL);
    kfx_xfer_end(io, &job->xfer);
    enlist(io, job, &io->sleeping, false);
    kfx_timer_arm(&io->timers, &job->limit, now + pause, on_wake, job);
}

static void refused(kfx_io_t *io, kfx_job_t *job, int status)
{
    kfx_request_t *req = job->req;
    curl_off_t header = 0;
    curl_easy_getinfo(job->xfer.easy, CURLINFO_RETRY_AFTER, &header);
    KFX_JSON json_t *body = job->answer.len > 0 && job->answer.len <= KFX_STATUS_MAX
                                ? kfx_json_parse(job->answer.data, job->answer.len, NULL)
                                : NULL;
    kfx_status_error(&req->error, kfx_verb_name(req->verb), req->path, server_of(io), status, body);
    req->retry_after_ms = kfx_retry_after_ms(header, body);

    if (status == 401 && !job->reauthorized && io->transport->config->token_file) {
        /* The kubelet replaces the token well before its end, but our copy may be the old one. */
        job->reauthorized = true;
        kfx_io_token(io, true);
        kfx_xfer_end(io, &job->xfer);
        enqueue(io, job, true);
        return;
    }
    unsigned before = job->attempts - 1;
    int64_t pause = status == 429 ? kfx_backoff_ms(before, 100, 2000) : kfx_backoff_ms(before, 50, 1000);
    if (req->retry_after_ms > 0) /* and not all at the same time */
        pause = req->retry_after_ms + kfx_random_between(0, req->retry_after_ms / 4);
    /* 429 was never processed. 501 and 505 do not change. */
    bool allowed = status == 429 || (status >= 500 && status != 501 && status != 505 && kfx_request_repeatable(req));
    again_or_finish(io, job, allowed, pause);
}

static bool nothing_sent(const kfx_job_t *job)
{
    curl_off_t sent_at = 0;
    curl_easy_getinfo(job->xfer.easy, CURLINFO_PRETRANSFER_TIME_T, &sent_at);
    return sent_at == 0;
}

static void broken(kfx_io_t *io, kfx_job_t *job, CURLcode rc)
{
    kfx_request_t *req = job->req;
    const char *why = job->xfer.errbuf[0] ? job->xfer.errbuf : curl_easy_strerror(rc);
    bool unsent = kfx_curl_unsent(rc) || nothing_sent(job);
    bool hopeless = rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CERTPROBLEM;
    bool repeatable = kfx_request_repeatable(req);
    kfx_code_t code = kfx_curl_code(rc);

    if (job->answer.failed) {
        hopeless = true;
        code = KFX_E_PROTOCOL;
        why = "the answer is larger than 64 MiB";
    } else if (rc == CURLE_COULDNT_CONNECT && job->xfer.refused.code != KFX_OK) {
        hopeless = true;
        code = KFX_E_INVALID;
        why = job->xfer.refused.msg;
    } else if (unsent && code == KFX_E_TIMEOUT) {
        code = KFX_E_UNAVAILABLE;
    } else if (!unsent && !repeatable && code == KFX_E_UNAVAILABLE) {
        code = KFX_E_TIMEOUT; /* says: the effect is unknown */
    }
    fail(job, code, "%s %.*s at %s: %s%s", kfx_verb_name(req->verb), path_len(req), req->path, server_of(io), why,
         code == KFX_E_TIMEOUT && kfx_verb_writes(req->verb) ? "; its effect is unknown" : "");
    again_or_finish(io, job, !hopeless && code != KFX_E_INTERNAL && (unsent || repeatable),
                    kfx_backoff_ms(job->attempts - 1, 50, 1000));
}

static void on_done(kfx_xfer_t *xfer, CURLcode rc)
{
    kfx_job_t *job = xfer->owner;
    kfx_io_t *io = io_of(job);
    int status = kfx_xfer_status(xfer);

    unlist(io, job);
    kfx_timer_cancel(&io->timers, &job->limit);
    job->req->status = status;
    kfx_count_request(kfx_verb_name(job->req->verb), rc == CURLE_OK ? status : 0);
    if (rc != CURLE_OK) {
        broken(io, job, rc);
    } else if (status < 200 || status > 299) {
        refused(io, job, status);
    } else {
        job->req->error = (kfx_error_t)KFX_ERROR_INIT;
        job->req->retry_after_ms = 0;
        finish(io, job);
    }
}

/* The deadline, or the limit of one write under a gate. */
static void on_deadline(void *arg)
{
    kfx_job_t *job = arg;
    kfx_io_t *io = io_of(job);
    kfx_request_t *req = job->req;
    const char *verb = kfx_verb_name(req->verb);
    int len = path_len(req);
    int64_t ms = kfx_now_ms() - job->submitted_at;

    if (job->list == &io->running) {
        kfx_count_request(verb, 0);
        if (nothing_sent(job))
            fail(job, KFX_E_UNAVAILABLE, "%s %.*s at %s: no connection within %lld ms", verb, len, req->path,
                 server_of(io), (long long)ms);
        else
            fail(job, KFX_E_TIMEOUT, "%s %.*s at %s: no answer within %lld ms%s", verb, len, req->path, server_of(io),
                 (long long)ms, kfx_verb_writes(req->verb) ? "; its effect is unknown" : "");
        /* Where nothing else was answered either, it is hardly this request's fault. */
        kfx_channel_suspect(&io->requests, io->requests.last_answer_at <= job->started_at ? KFX_SUSPECT_LIMIT_MS
                                                                                          : KFX_HEARTBEAT_LIMIT_MS);
    } else if (req->error.code == KFX_OK) {
        fail(job, KFX_E_TIMEOUT, "%s %.*s at %s: not sent within %lld ms, others came first", verb, len, req->path,
             server_of(io), (long long)ms);
    } /* else: between two attempts; the last one's error says more */
    finish(io, job);
}

/* A connection that froze must not cost the Lease: it is found dead too late for that. What the attempt that is given
 * up did, if anything, shows in the answer to the next one (a conflict). */
static void on_impatience(void *arg)
{
    kfx_job_t *job = arg;
    kfx_io_t *io = io_of(job);
    kfx_count_request(kfx_verb_name(job->req->verb), 0);
    kfx_log_debug("no answer yet: sent again on another connection", "path", job->req->path, NULL);
    kfx_channel_suspect(&io->requests, KFX_SUSPECT_LIMIT_MS);
    kfx_xfer_end(io, &job->xfer);
    job->fresh = true;
    enqueue(io, job, true);
}

/* ---- an attempt
 * --------------------------------------------------------------------------------------------------------- */

static bool on_data(kfx_xfer_t *xfer, const char *data, size_t len)
{
    kfx_job_t *job = xfer->owner;
    const kfx_request_t *req = job->req;
    int status = req->on_part ? kfx_xfer_status(xfer) : 0;
    if (status < 200 || status > 299)
        return kfx_buf_add(&job->answer, data, len) == 0;
    req->on_part(req->on_part_ctx, data, len);
    return true;
}

static kfx_call_t call_of(const kfx_job_t *job)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE"};
    static const char *const types[] = {NULL,
                                        "application/json",
                                        "application/json",
                                        "application/apply-patch+yaml",
                                        "application/merge-patch+json",
                                        "application/json-patch+json",
                                        "application/json"};
    const kfx_request_t *req = job->req;
    kfx_call_t call = {.method = methods[req->verb],
                       .target = job->target,
                       .accept = "application/json",
                       .content_type = job->body ? types[req->verb] : NULL,
                       .body = job->body,
                       .body_len = job->body_len,
                       .impersonate = req->impersonate,
                       .fresh = job->fresh || (req->verb == KFX_POST && req->once)};
    if (req->as_text)
        call.accept = "application/json, */*"; /* errors are JSON all the same */
    if (req->metadata_only && req->verb == KFX_GET)
        call.accept = kfx_path_is_collection(req->path)
                          ? "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
                          : "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    return call;
}

static void start(kfx_io_t *io, kfx_job_t *job)
{
    kfx_request_t *req = job->req;
    bool gated = io->gate && kfx_verb_writes(req->verb);
    int64_t now = kfx_now_ms();

    /* Asked now, not when it was queued: between this and the first byte lies only our own work. */
    if (gated && !io->gate(io->gate_arg)) {
        fail(job, KFX_E_FENCED, "%s %.*s: not sent, our lease is over", kfx_verb_name(req->verb), path_len(req),
             req->path);
        finish(io, job);
        return;
    }
    if (gated && req->timeout_ms <= 0 && job->attempts == 0 && now + KFX_WRITE_LIMIT_MS < job->deadline_at) {
        job->deadline_at = now + KFX_WRITE_LIMIT_MS;
        kfx_timer_arm(&io->timers, &job->deadline, job->deadline_at, on_deadline, job);
    }
    free(job->target);
    job->target = kfx_request_target(req, gated);
    kfx_buf_wipe(&job->answer);
    job->answer = (kfx_buf_t)KFX_BUF_INIT(KFX_ANSWER_MAX);
    job->xfer.on_data = on_data;
    job->xfer.on_done = on_done;
    job->xfer.owner = job;
    kfx_call_t call = call_of(job);
    if (kfx_xfer_prepare(io, &job->xfer, &call, &req->error) != 0 ||
        kfx_xfer_start(&job->xfer, &io->requests, &req->error) != 0) {
        finish(io, job);
        return;
    }
    job->attempts++;
    job->started_at = now;
    enlist(io, job, &io->running, false);
    bool renewal = req->urgent && req->verb == KFX_PUT && kfx_request_repeatable(req);
    if (renewal && !job->fresh && !io->requests.http1 && now + KFX_URGENT_PATIENCE_MS < job->deadline_at)
        kfx_timer_arm(&io->timers, &job->limit, now + KFX_URGENT_PATIENCE_MS, on_impatience, job);
    else if (gated && now + KFX_WRITE_LIMIT_MS < job->deadline_at)
        kfx_timer_arm(&io->timers, &job->limit, now + KFX_WRITE_LIMIT_MS, on_deadline, job);
}

void kfx_jobs_pump(kfx_io_t *io)
{
    /* Without multiplexing a request beyond the connections would wait inside libcurl, behind our back. */
    unsigned limit = io->requests.http1 ? HTTP1_LIMIT : KFX_INFLIGHT_MAX;
    unsigned normal = io->requests.http1 ? HTTP1_LIMIT - 1 : KFX_INFLIGHT_NORMAL;
    kfx_job_t *job;
    while (io->inflight < limit && (job = TAILQ_FIRST(&io->urgent)))
        start(io, job);
    while (io->inflight < normal && (job = TAILQ_FIRST(&io->normal)))
        start(io, job);
}
