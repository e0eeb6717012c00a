/* kube/request.c: requests as callers make them, and what of them does not need the I/O thread. */
#include "base/json.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

kfx_request_t *kfx_request_new(kfx_verb_t verb, json_t *body, const char *path_fmt, ...)
{
    kfx_request_t *req = kfx_xcalloc(1, sizeof *req);
    req->verb = verb;
    req->body = body;
    va_list args;
    va_start(args, path_fmt);
    int n = vasprintf(&req->path, path_fmt, args);
    va_end(args);
    if (n < 0)
        abort();
    return req;
}

void kfx_request_free(kfx_request_t *req)
{
    if (!req)
        return;
    free(req->path);
    json_decref(req->body);
    free(req->field_manager);
    free(req->impersonate);
    json_decref(req->answer);
    free(req->text);
    free(req);
}

bool kfx_verb_writes(kfx_verb_t verb)
{
    return verb != KFX_GET;
}

bool kfx_request_repeatable(const kfx_request_t *req)
{
    switch (req->verb) {
    case KFX_GET:
    case KFX_APPLY: return true;
    case KFX_POST: return !req->once;
    case KFX_PUT: return kfx_json_str(req->body, "metadata", "resourceVersion") != NULL;
    case KFX_MERGE_PATCH:
        return kfx_json_str(req->body, "metadata", "resourceVersion") || kfx_json_str(req->body, "metadata", "uid");
    case KFX_DELETE:
        return kfx_json_str(req->body, "preconditions", "uid") ||
               kfx_json_str(req->body, "preconditions", "resourceVersion");
    case KFX_JSON_PATCH: return false;
    }
    return false;
}

bool kfx_path_is_collection(const char *path)
{
    size_t end = strcspn(path, "?");
    const char *segment[8];
    size_t len[8], n = 0;
    for (size_t i = 0; i < end && n < KFX_COUNT(segment);) {
        size_t l = strcspn(path + i + 1, "/?");
        if (l > 0) {
            segment[n] = path + i + 1;
            len[n++] = l;
        }
        i += l + 1;
    }
    size_t prefix = n > 0 && len[0] == 3 && strncmp(segment[0], "api", 3) == 0 ? 2 : 3; /* api/v1, apis/group/version */
    if (n == prefix + 1)
        return true;
    bool namespaced = n == prefix + 3 && len[prefix] == 10 && strncmp(segment[prefix], "namespaces", 10) == 0;
    if (!namespaced)
        return false;
    /* namespaces/x/status and …/finalize are subresources of the Namespace. */
    const char *last = segment[prefix + 2];
    size_t l = len[prefix + 2];
    return !(l == 6 && strncmp(last, "status", 6) == 0) && !(l == 8 && strncmp(last, "finalize", 8) == 0);
}

char *kfx_request_target(const kfx_request_t *req, bool gated)
{
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
    const char *sep = strchr(req->path, '?') ? "&" : "?";
    kfx_buf_adds(&out, req->path);
    if (req->field_manager && req->verb != KFX_GET && req->verb != KFX_DELETE) {
        KFX_FREE char *manager = kfx_kube_escape(req->field_manager);
        kfx_buf_addf(&out, "%sfieldManager=%s", sep, manager);
        sep = "&";
    }
    if (req->verb == KFX_APPLY) {
        kfx_buf_addf(&out, "%sforce=true", sep);
        sep = "&";
    }
    if (gated)
        kfx_buf_addf(&out, "%stimeout=%ds", sep, KFX_WRITE_LIMIT_MS / 1000);
    char *text = kfx_buf_steal(&out, NULL);
    if (!text)
        abort();
    return text;
}

/* ---- jobs
 * ---------------------------------------------------------------------------------------------------------------- */

static void job_run(kfx_io_t *io, kfx_cmd_t *cmd)
{
    kfx_jobs_submit(io, (kfx_job_t *)(void *)cmd);
}

kfx_job_t *kfx_job_new(kfx_request_t *req, void (*done)(kfx_io_t *io, kfx_job_t *job), void *owner)
{
    kfx_job_t *job = kfx_xcalloc(1, sizeof *job);
    job->cmd.run = job_run;
    job->req = req;
    job->done = done;
    job->owner = owner;
    job->answer = (kfx_buf_t)KFX_BUF_INIT(KFX_ANSWER_MAX);

    /* A request may be used again. */
    json_decref(req->answer);
    req->answer = NULL;
    free(req->text);
    req->text = NULL;
    req->status = 0;
    req->retry_after_ms = 0;
    req->error = (kfx_error_t)KFX_ERROR_INIT;
    if (!kfx_path_safe(req->path))
        kfx_error_set(&req->error, KFX_E_INVALID, "%s: \"%.200s\" is no path an API server has",
                      kfx_verb_name(req->verb), req->path);
    else if (req->verb == KFX_APPLY && (!req->field_manager || !req->body))
        kfx_error_set(&req->error, KFX_E_INVALID, "apply %s: needs a body and a field manager", req->path);
    if (req->body && req->error.code == KFX_OK) {
        job->body = kfx_json_text(req->body);
        if (!job->body)
            abort();
        job->body_len = strlen(job->body);
    }
    return job;
}

void kfx_job_finish(kfx_job_t *job)
{
    kfx_request_t *req = job->req;
    const char *text = job->answer.data;
    if (req->error.code != KFX_OK || job->answer.len == 0)
        return;
    if (req->as_text) {
        req->text = kfx_xstrdup(text);
        return;
    }
    size_t blank = strspn(text, " \t\r\n");
    if (text[blank] != '{' && text[blank] != '[')
        return; /* "ok" of a health check */
    kfx_error_t err = KFX_ERROR_INIT;
    req->answer = kfx_json_parse(text, job->answer.len, &err);
    if (!req->answer)
        kfx_error_set(&req->error, KFX_E_PROTOCOL, "%s %.*s: the answer is broken JSON: %s", kfx_verb_name(req->verb),
                      (int)strcspn(req->path, "?"), req->path, err.msg);
}

void kfx_job_free(kfx_job_t *job)
{
    if (!job)
        return;
    kfx_wipe(job->body, job->body_len);
    free(job->body);
    free(job->target);
    kfx_buf_wipe(&job->answer);
    free(job);
}

/* ---- waiting
 * ----------------------------------------------------------------------------------------------------------------- */

static void done_waiter(kfx_io_t *io, kfx_job_t *job)
{
    (void)io;
    sem_post(job->owner);
}

static void cancel_unsent(kfx_job_t *job)
{
    kfx_error_set(&job->req->error, KFX_E_CANCELED, "%s %.*s: the client was closed", kfx_verb_name(job->req->verb),
                  (int)strcspn(job->req->path, "?"), job->req->path);
}

size_t kfx_kube_batch(kfx_kube_t *self, kfx_request_t **reqs, size_t count)
{
    assert(!kfx_in_io_thread());
    if (count == 0)
        return 0;
    sem_t sem;
    sem_init(&sem, 0, 0);
    kfx_job_t **jobs = kfx_xcalloc(count, sizeof *jobs);
    size_t posted = 0, failed = 0;
    for (size_t i = 0; i < count; i++) {
        jobs[i] = kfx_job_new(reqs[i], done_waiter, &sem);
        if (kfx_kube_post(self, &jobs[i]->cmd) == 0)
            posted++;
        else
            cancel_unsent(jobs[i]);
    }
    for (size_t i = 0; i < posted; i++)
        kfx_sem_wait(&sem);
    for (size_t i = 0; i < count; i++) {
        kfx_job_finish(jobs[i]);
        kfx_job_free(jobs[i]);
        failed += reqs[i]->error.code != KFX_OK;
    }
    free(jobs);
    sem_destroy(&sem);
    return failed;
}

int kfx_kube_call(kfx_kube_t *self, kfx_request_t *req, kfx_error_t *err)
{
    if (kfx_kube_batch(self, &req, 1) == 0)
        return 0;
    if (err)
        *err = req->error;
    return -1;
}
