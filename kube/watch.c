/* kube/watch.c: list, watch, resume, list again.
 *
 *   next_step -> list (pages go through the request queue) -> snapshot -> open_stream -> stream_done -> next_step
 *
 * `rv` is the resourceVersion of the last event that was handled whole: a stream that ends anywhere, also in the middle
 * of a line, is resumed there without loss or repetition. rv == NULL means: list first.
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <string.h>

#define PAGE 500
#define OBJECTS_MAX 200000
#define LIST_LIMIT_MS 30000
#define BACKOFF_BASE_MS 100
#define BACKOFF_CAP_MS 10000
#define TOO_MANY_PAUSE_MS 10000
#define SLOW_PAUSE_MS 200
#define HEALTHY_MS 1000 /* a stream that lived this long was no failure */
#define TIMEOUT_LOW_S 240
#define TIMEOUT_HIGH_S 300
#define STALE_MAX 6            /* lists from the past in a row: then the past is what is true */
#define HEADERS_LIMIT_MS 30000 /* until the first byte */
#define SILENCE_LIMIT_MS 90000 /* bookmarks come once a minute */

static void next_step(void *arg);
static void open_stream(kfx_watch_t *self);

static void drop_item(kfx_watch_t *self, void *item)
{
    if (item)
        (self->spec.free_item ? self->spec.free_item : free)(item);
}

static void drop_items(kfx_watch_t *self)
{
    for (size_t i = 0; i < self->items_len; i++)
        drop_item(self, self->items[i]);
    free(self->items);
    self->items = NULL;
    self->items_len = self->items_cap = 0;
}

static void emit(kfx_watch_t *self, kfx_watch_event_t event, void *object, const kfx_error_t *err)
{
    kfx_item_t item = {.kind = KFX_ITEM_WATCH, .watch = self, .event = event, .item = object};
    if (err) {
        item.err = kfx_xcalloc(1, sizeof *item.err);
        *item.err = *err;
    }
    kfx_mailbox_push(self->mailbox, &item);
}

static void pause_ms(kfx_watch_t *self, int64_t ms)
{
    kfx_timer_arm(&self->io->timers, &self->timer, kfx_now_ms() + ms, next_step, self);
}

static void back_off(kfx_watch_t *self, int64_t at_least)
{
    int64_t ms = kfx_backoff_ms(self->failures, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
    self->failures++;
    /* What the server asked for is not shortened, and several watches do not come back at the same time. */
    pause_ms(self, ms > at_least ? ms : at_least + kfx_random_between(0, at_least / 4));
}

static void fail(kfx_watch_t *self, const kfx_error_t *err, int64_t at_least)
{
    emit(self, KFX_WATCH_ERROR, NULL, err);
    back_off(self, at_least);
}

static void forget_rv(kfx_watch_t *self)
{
    free(self->rv);
    self->rv = NULL;
}

static void take_rv(kfx_watch_t *self, const char *rv)
{
    if (!self->newest || kfx_rv_compare(rv, self->newest) > 0) {
        free(self->newest);
        self->newest = kfx_xstrdup(rv);
    }
    forget_rv(self);
    self->rv = kfx_xstrdup(rv);
}

static const char *server_of(const kfx_watch_t *self)
{
    return self->io->transport->config->server;
}

/* ---- list
 * ----------------------------------------------------------------------------------------------------------------- */

static void list_reset(kfx_watch_t *self)
{
    drop_items(self);
    free(self->next);
    self->next = NULL;
}

static int take_page(kfx_watch_t *self, const json_t *answer, kfx_error_t *err)
{
    const json_t *items = kfx_json_get(answer, "items");
    if (!json_is_array(items) && !json_is_null(items))
        return kfx_error_set(err, KFX_E_PROTOCOL, "list %s at %s: the answer is no list", self->spec.path,
                             server_of(self));
    if (self->items_len + json_array_size(items) > OBJECTS_MAX)
        return kfx_error_set(err, KFX_E_PROTOCOL, "list %s at %s: more than %d objects", self->spec.path,
                             server_of(self), OBJECTS_MAX);
    size_t i;
    const json_t *object;
    json_array_foreach (items, i, object) {
        void *item = self->spec.reduce(self->spec.ctx, object);
        if (!item)
            continue;
        if (self->items_len == self->items_cap) {
            self->items_cap = self->items_cap ? self->items_cap * 2 : 64;
            self->items = kfx_xrealloc(self->items, self->items_cap * sizeof *self->items);
        }
        self->items[self->items_len++] = item;
    }
    return 0;
}

/* The list is told only when it is whole: a consumer never sees half a snapshot. */
static void tell_snapshot(kfx_watch_t *self)
{
    emit(self, KFX_WATCH_SYNC_BEGIN, NULL, NULL);
    for (size_t i = 0; i < self->items_len; i++)
        emit(self, KFX_WATCH_ADDED, self->items[i], NULL);
    self->items_len = 0; /* theirs now */
    emit(self, KFX_WATCH_SYNC_END, NULL, NULL);
    drop_items(self);
}

/* Objects that were deleted would come back, and new ones vanish. */
static int refuse_the_past(kfx_watch_t *self, const char *rv, kfx_error_t *err)
{
    if (!self->newest || kfx_rv_compare(rv, self->newest) >= 0) {
        self->stale = 0;
        return 0;
    }
    if (self->stale++ < STALE_MAX)
        return kfx_error_set(err, KFX_E_UNAVAILABLE, "list %s at %s: its answer (%s) is older than what was seen (%s)",
                             self->spec.path, server_of(self), rv, self->newest);
    kfx_error_t rewound = KFX_ERROR_INIT;
    kfx_error_set(&rewound, KFX_E_GONE, "list %s at %s: its history went back from %s to %s: restored from a backup",
                  self->spec.path, server_of(self), self->newest, rv);
    emit(self, KFX_WATCH_ERROR, NULL, &rewound);
    self->stale = 0;
    free(self->newest);
    self->newest = NULL;
    return 0;
}

/* The last page is there. */
static int take_list(kfx_watch_t *self, const char *rv, kfx_error_t *err)
{
    if (!rv || !*rv)
        return kfx_error_set(err, KFX_E_PROTOCOL, "list %s at %s: the answer has no resourceVersion", self->spec.path,
                             server_of(self));
    if (refuse_the_past(self, rv, err) != 0)
        return -1;
    take_rv(self, rv);
    tell_snapshot(self);
    open_stream(self);
    return 0;
}

static void list(kfx_watch_t *self);

static void list_answered(kfx_watch_t *self, const kfx_request_t *req)
{
    kfx_error_t err = req->error;
    if (err.code == KFX_E_GONE && self->next) { /* the list grew old between two pages */
        list_reset(self);
        back_off(self, 0);
        return;
    }
    if (err.code == KFX_OK && take_page(self, req->answer, &err) == 0) {
        const char *next = kfx_json_str(req->answer, "metadata", "continue");
        free(self->next);
        self->next = NULL;
        if (next && *next) {
            self->next = kfx_xstrdup(next);
            list(self);
            return;
        }
        if (take_list(self, kfx_json_str(req->answer, "metadata", "resourceVersion"), &err) == 0)
            return;
    }
    list_reset(self);
    fail(self, &err, req->retry_after_ms);
}

static void list_done(kfx_io_t *io, kfx_job_t *job)
{
    (void)io;
    kfx_watch_t *self = job->owner;
    KFX_REQUEST kfx_request_t *req = job->req;
    self->list_job = NULL;
    kfx_job_finish(job);
    kfx_job_free(job);
    list_answered(self, req);
}

static void list(kfx_watch_t *self)
{
    KFX_FREE char *token = self->next ? kfx_kube_escape(self->next) : NULL;
    kfx_request_t *req = kfx_request_new(KFX_GET, NULL, "%slimit=%d%s%s", self->base, PAGE, token ? "&continue=" : "",
                                         token ? token : "");
    req->metadata_only = self->spec.metadata_only;
    req->no_retry = true; /* the backoff is here */
    req->timeout_ms = LIST_LIMIT_MS;
    self->list_job = kfx_job_new(req, list_done, self);
    kfx_jobs_submit(self->io, self->list_job);
}

/* ---- stream
 * -------------------------------------------------------------------------------------------------------------- */

static bool give_up(kfx_watch_t *self, kfx_code_t code, bool relist, const char *why)
{
    kfx_error_set(&self->problem, code, "watch %s at %s: %s", self->spec.path, server_of(self), why);
    self->relist = relist;
    return false;
}

static bool error_event(kfx_watch_t *self, const json_t *status)
{
    int code = (int)kfx_json_int(status, 500, "code");
    kfx_status_error(&self->problem, "watch", self->spec.path, server_of(self), code, status);
    self->relist = self->problem.code == KFX_E_GONE;
    return false;
}

static bool on_line(void *ctx, const char *line, size_t len)
{
    kfx_watch_t *self = ctx;
    KFX_JSON json_t *event = kfx_json_parse(line, len, NULL);
    const char *type = kfx_json_str(event, "type");
    const json_t *object = kfx_json_get(event, "object");
    const char *rv = kfx_json_str(object, "metadata", "resourceVersion");

    if (type && strcmp(type, "ERROR") == 0)
        return error_event(self, object);
    if (!type || !rv || !*rv)
        return give_up(self, KFX_E_PROTOCOL, true, "an event is not what it should be");
    /* It cannot be told whether this one is late or another one is missing. */
    if (kfx_rv_compare(rv, self->rv) < 0)
        return give_up(self, KFX_E_PROTOCOL, true, "an event is older than the one before it");
    if (strcmp(type, "BOOKMARK") != 0) {
        kfx_watch_event_t what = KFX_WATCH_MODIFIED;
        if (strcmp(type, "ADDED") == 0)
            what = KFX_WATCH_ADDED;
        else if (strcmp(type, "DELETED") == 0)
            what = KFX_WATCH_DELETED;
        else if (strcmp(type, "MODIFIED") != 0)
            return give_up(self, KFX_E_PROTOCOL, true, "an event of an unknown type");
        void *item = self->spec.reduce(self->spec.ctx, object);
        if (item)
            emit(self, what, item, NULL);
    }
    take_rv(self, rv);
    self->events++;
    /* The stream cannot be paused (libcurl would buffer without flow control), but it can be resumed later from here.
     */
    self->slow = kfx_mailbox_full(self->mailbox);
    return !self->slow;
}

static bool stream_data(kfx_xfer_t *xfer, const char *data, size_t len)
{
    kfx_watch_t *self = xfer->owner;
    self->heard_at = kfx_now_ms();
    if (kfx_xfer_status(xfer) != 200) {
        (void)kfx_buf_add(&self->error_body, data, len); /* what is beyond the bound does not matter */
        return true;
    }
    if (kfx_lines_feed(&self->lines, data, len, on_line, self, &self->problem) == 0)
        return true;
    if (self->problem.code == KFX_E_PROTOCOL)
        self->relist = true;
    return false;
}

static void close_stream(kfx_watch_t *self)
{
    if (!self->open)
        return;
    self->open = false;
    self->io->streams--;
    kfx_timer_cancel(&self->io->timers, &self->timer);
    kfx_xfer_end(self->io, &self->xfer);
    kfx_lines_reset(&self->lines);
}

/* The server refused to open the stream. */
static void stream_refused(kfx_watch_t *self, int status, int64_t retry_after_s)
{
    kfx_error_t err = KFX_ERROR_INIT;
    KFX_JSON json_t *body =
        self->error_body.len ? kfx_json_parse(self->error_body.data, self->error_body.len, NULL) : NULL;
    kfx_status_error(&err, "watch", self->spec.path, server_of(self), status, body);
    if (err.code == KFX_E_UNAUTHORIZED)
        kfx_io_token(self->io, true);
    else if (!kfx_code_transient(err.code))
        forget_rv(self); /* 410, and what a list may say better */
    bool quiet = err.code == KFX_E_GONE || (err.code == KFX_E_UNAUTHORIZED && self->failures == 0);
    if (quiet)
        back_off(self, 0);
    else
        fail(self, &err, kfx_retry_after_ms(retry_after_s, body));
}

static void stream_ended(kfx_watch_t *self)
{
    bool healthy = kfx_now_ms() - self->opened_at >= HEALTHY_MS;
    if (healthy || (self->events > 0 && !self->relist)) /* it gets on */
        self->failures = 0;
    if (self->slow) {
        kfx_log_warn("watch waits for its slow consumer", "path", self->spec.path, NULL);
        pause_ms(self, SLOW_PAUSE_MS);
    } else if (self->problem.code != KFX_OK) {
        if (self->relist)
            forget_rv(self);
        if (self->problem.code == KFX_E_GONE)
            back_off(self, 0);
        else
            fail(self, &self->problem, 0);
    } else if (self->events == 0 && !healthy) {
        back_off(self, 0); /* ends at once, again and again: not in a tight loop */
    } else {
        pause_ms(self, kfx_random_between(0, 50)); /* all watches of a connection end together */
    }
}

static void stream_done(kfx_xfer_t *xfer, CURLcode rc)
{
    kfx_watch_t *self = xfer->owner;
    int status = kfx_xfer_status(xfer);
    curl_off_t retry_after = 0;
    curl_easy_getinfo(xfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
    kfx_error_t err = KFX_ERROR_INIT;
    if (status == 0)
        kfx_error_set(&err, rc == CURLE_OK ? KFX_E_PROTOCOL : kfx_curl_code(rc), "watch %s at %s: %s", self->spec.path,
                      server_of(self), xfer->errbuf[0] ? xfer->errbuf : curl_easy_strerror(rc));
    kfx_count_request("watch", status);
    close_stream(self);
    kfx_log_debug("watch stream ended", "path", self->spec.path, "status", kfx_log_num(status), "curl", kfx_log_num(rc),
                  "events", kfx_log_num(self->events), NULL);
    if (status == 200)
        stream_ended(self);
    else if (status == 0)
        fail(self, &err, 0);
    else
        stream_refused(self, status, retry_after);
}

/* Looks whether anything was heard; data itself does not touch the timer. */
static void on_silence(void *arg)
{
    kfx_watch_t *self = arg;
    int64_t limit = kfx_xfer_status(&self->xfer) ? SILENCE_LIMIT_MS : HEADERS_LIMIT_MS;
    int64_t due = self->heard_at + limit;
    if (kfx_now_ms() < due) {
        kfx_timer_arm(&self->io->timers, &self->timer, due, on_silence, self);
        return;
    }
    kfx_log_debug("nothing heard on a watch: opening it again", "path", self->spec.path, NULL);
    close_stream(self);
    pause_ms(self, kfx_random_between(0, 50));
}

static void open_stream(kfx_watch_t *self)
{
    kfx_io_t *io = self->io;
    kfx_error_t err = KFX_ERROR_INIT;
    if (io->streams >= KFX_WATCHES_MAX) {
        kfx_error_set(&err, KFX_E_BUSY, "watch %s: %d watches are open already", self->spec.path, KFX_WATCHES_MAX);
        fail(self, &err, TOO_MANY_PAUSE_MS);
        return;
    }
    KFX_FREE char *rv = kfx_kube_escape(self->rv);
    KFX_FREE char *target = kfx_xasprintf("%swatch=1&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=%lld",
                                          self->base, rv, (long long)kfx_random_between(TIMEOUT_LOW_S, TIMEOUT_HIGH_S));
    kfx_call_t call = {.method = "GET",
                       .target = target,
                       .accept = self->spec.metadata_only
                                     ? "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
                                     : "application/json",
                       .stream = true};
    self->xfer.on_data = stream_data;
    self->xfer.on_done = stream_done;
    self->xfer.owner = self;
    self->problem = (kfx_error_t)KFX_ERROR_INIT;
    self->relist = self->slow = false;
    self->events = 0;
    kfx_buf_clear(&self->error_body);
    if (kfx_xfer_prepare(io, &self->xfer, &call, &err) != 0 || kfx_xfer_start(&self->xfer, &io->watches, &err) != 0) {
        kfx_xfer_end(io, &self->xfer);
        fail(self, &err, 0);
        return;
    }
    self->open = true;
    io->streams++;
    self->opened_at = self->heard_at = kfx_now_ms();
    kfx_timer_arm(&io->timers, &self->timer, self->heard_at + HEADERS_LIMIT_MS, on_silence, self);
}

void kfx_watch_io_move(kfx_io_t *io, int64_t opened_before)
{
    kfx_watch_t *self;
    TAILQ_FOREACH(self, &io->watch_list, io_link)
    {
        if (!self->open || self->opened_at >= opened_before)
            continue;
        kfx_log_debug("watch moves to another connection", "path", self->spec.path, NULL);
        close_stream(self);
        pause_ms(self, kfx_random_between(0, 50));
    }
}

static void next_step(void *arg)
{
    kfx_watch_t *self = arg;
    if (kfx_mailbox_full(self->mailbox))
        pause_ms(self, SLOW_PAUSE_MS);
    else if (self->rv)
        open_stream(self);
    else
        list(self);
}

/* ---- life
 * ------------------------------------------------------------------------------------------------------------------ */

void kfx_watch_io_start(kfx_io_t *io, kfx_watch_t *self)
{
    self->io = io;
    self->linked = true;
    TAILQ_INSERT_TAIL(&io->watch_list, self, io_link);
    next_step(self);
}

void kfx_watch_io_stop(kfx_io_t *io, kfx_watch_t *self)
{
    if (!self->linked)
        return;
    self->linked = false;
    TAILQ_REMOVE(&io->watch_list, self, io_link);
    close_stream(self);
    kfx_timer_cancel(&io->timers, &self->timer);
    if (self->list_job) {
        kfx_request_t *req = self->list_job->req;
        kfx_jobs_cancel(io, self->list_job);
        kfx_job_free(self->list_job);
        kfx_request_free(req);
        self->list_job = NULL;
    }
    list_reset(self);
    kfx_lines_free(&self->lines);
    kfx_buf_free(&self->error_body);
}

static void start_in_io(kfx_io_t *io, kfx_cmd_t *cmd)
{
    kfx_watch_io_start(io, cmd->arg);
}

static void stop_in_io(kfx_io_t *io, kfx_cmd_t *cmd)
{
    kfx_watch_t *self = cmd->arg;
    kfx_watch_io_stop(io, self);
    kfx_item_t end = {.kind = KFX_ITEM_WATCH_END, .watch = self};
    kfx_mailbox_push(self->mailbox, &end);
}

static char *base_of(const kfx_watch_spec_t *spec)
{
    KFX_FREE char *labels = spec->label_selector ? kfx_kube_escape(spec->label_selector) : NULL;
    KFX_FREE char *fields = spec->field_selector ? kfx_kube_escape(spec->field_selector) : NULL;
    return kfx_xasprintf("%s%s%s%s%s%s%s%s", spec->path, strchr(spec->path, '?') ? "&" : "?",
                         labels ? "labelSelector=" : "", labels ? labels : "", labels ? "&" : "",
                         fields ? "fieldSelector=" : "", fields ? fields : "", fields ? "&" : "");
}

kfx_watch_t *kfx_watch_start(kfx_mailbox_t *mailbox, const kfx_watch_spec_t *spec)
{
    kfx_watch_t *self = kfx_xcalloc(1, sizeof *self);
    self->mailbox = mailbox;
    self->spec = *spec;
    self->spec.path = kfx_xstrdup(spec->path);
    self->spec.label_selector = self->spec.field_selector = NULL; /* in base */
    self->base = base_of(spec);
    kfx_lines_init(&self->lines, KFX_LINE_MAX);
    self->error_body = (kfx_buf_t)KFX_BUF_INIT(KFX_STATUS_MAX);
    TAILQ_INSERT_TAIL(&mailbox->watches, self, owner_link);
    self->cmd = (kfx_cmd_t){.run = start_in_io, .arg = self};
    if (kfx_kube_post(mailbox->kube, &self->cmd) != 0) {
        kfx_error_t err = KFX_ERROR_INIT;
        kfx_error_set(&err, KFX_E_CANCELED, "watch %s: the client was closed", spec->path);
        emit(self, KFX_WATCH_ERROR, NULL, &err);
    }
    return self;
}

void kfx_watch_stop(kfx_watch_t **self_p)
{
    if (!self_p || !*self_p)
        return;
    kfx_watch_t *self = KFX_STEAL(*self_p);
    self->stopped = true;
    TAILQ_REMOVE(&self->mailbox->watches, self, owner_link);
    /* What it still has in the mailbox is freed there; the end mark behind it frees the watch. */
    if (kfx_kube_sync(self->mailbox->kube, stop_in_io, self) != 0) {
        kfx_item_t end = {.kind = KFX_ITEM_WATCH_END, .watch = self};
        kfx_mailbox_push(self->mailbox, &end);
    }
}

void kfx_watch_free(kfx_watch_t *self)
{
    free(self->rv);
    free(self->newest);
    free(self->base);
    free((char *)(uintptr_t)self->spec.path);
    free(self);
}
