/* kube/events.c: see events.h. A fixed table remembers what was said lately; the oldest entry makes room. */
#include "kube/events.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>

#define SERIES_MS (10 * 60 * 1000)
#define PENDING_MAX 64
#define REMEMBERED 256
#define NOTE_MAX 1024 /* events.k8s.io/v1: note is at most 1 kB */
#define TEXT_MAX 128  /* reason, action, reportingInstance */

typedef struct {
    char key[17];   /* of (object, type, reason, note); "" = free */
    char name[256]; /* the Event object */
    char ns[64];
    int64_t first_ms, last_ms;
    int64_t count; /* times it happened */
    int64_t told;  /* count the API server knows (or was last sent) */
    bool busy;     /* a request about it is on its way */
    bool created;  /* the object exists there */
} said_t;

struct kfx_events {
    kfx_mailbox_t *mailbox;
    char controller[TEXT_MAX], instance[TEXT_MAX];
    said_t *said;
    size_t pending;
    uint64_t number;
    bool closing;
};

typedef struct {
    kfx_events_t *events;
    said_t *said;
    char key[17];
} call_t;

static void send_series(kfx_events_t *self, said_t *said);

kfx_events_t *kfx_events_new(kfx_mailbox_t *mailbox, const char *controller, const char *instance)
{
    kfx_events_t *self = kfx_xcalloc(1, sizeof *self);
    self->mailbox = mailbox;
    kfx_copy(self->controller, sizeof self->controller, controller);
    kfx_copy(self->instance, sizeof self->instance, instance && instance[0] ? instance : controller);
    self->said = kfx_xcalloc(REMEMBERED, sizeof *self->said);
    return self;
}

static void events_free(kfx_events_t *self)
{
    free(self->said);
    free(self);
}

void kfx_events_destroy(kfx_events_t **self_p)
{
    kfx_events_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    self->closing = true;
    if (self->pending == 0) /* else the last answer frees it */
        events_free(self);
}

/* Cuts text to max bytes without splitting a UTF-8 character. */
static void cut_utf8(char *text, size_t max)
{
    if (strlen(text) <= max)
        return;
    size_t end = max;
    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    text[end] = '\0';
}

static void on_answer(void *ctx, kfx_request_t *req)
{
    call_t *call = ctx;
    kfx_events_t *self = call->events;
    self->pending--;
    if (req->error.code != KFX_OK)
        kfx_log_debug("Event not written", "error", req->error.msg, NULL);
    said_t *said = call->said;
    if (strcmp(said->key, call->key) == 0) { /* the entry was not given to another one meanwhile */
        said->busy = false;
        if (req->error.code != KFX_OK)
            said->key[0] = '\0'; /* not there, or gone: the next time makes a new one */
        else
            said->created = true;
    }
    if (self->closing) {
        if (self->pending == 0)
            events_free(self);
    } else if (said->key[0] && said->created && !said->busy && said->told < said->count) {
        send_series(self, said);
    }
    kfx_request_free(req);
    free(call);
}

static void submit(kfx_events_t *self, said_t *said, kfx_request_t *req)
{
    call_t *call = kfx_xcalloc(1, sizeof *call);
    call->events = self;
    call->said = said;
    kfx_copy(call->key, sizeof call->key, said->key);
    said->busy = true;
    said->told = said->count;
    self->pending++;
    req->timeout_ms = 5000;
    kfx_kube_submit(self->mailbox, req, on_answer, call);
}

static void send_series(kfx_events_t *self, said_t *said)
{
    if (self->pending >= PENDING_MAX)
        return;
    char now[KFX_RFC3339_SIZE];
    json_t *patch = json_pack("{s:{s:I, s:s}}", "series", "count", (json_int_t)said->count, "lastObservedTime",
                              kfx_rfc3339_now_micro(now));
    submit(self, said,
           kfx_request_new(KFX_MERGE_PATCH, patch, "/apis/events.k8s.io/v1/namespaces/%s/events/%s", said->ns,
                           said->name));
}

static void send_new(kfx_events_t *self, said_t *said, const kfx_object_ref_t *about, const char *type,
                     const char *reason, const char *action, const char *note)
{
    char now[KFX_RFC3339_SIZE];
    json_t *event = json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s*, s:s*}}", "apiVersion",
        "events.k8s.io/v1", "kind", "Event", "metadata", "name", said->name, "namespace", said->ns, "eventTime",
        kfx_rfc3339_now_micro(now), "reportingController", self->controller, "reportingInstance", self->instance,
        "action", action, "reason", reason, "type", type, "note", note, "regarding", "apiVersion", about->api_version,
        "kind", about->kind, "name", about->name, "uid", about->uid, "namespace", about->ns);
    if (!event) { /* text that is no UTF-8 */
        said->key[0] = '\0';
        return;
    }
    submit(self, said, kfx_request_new(KFX_POST, event, "/apis/events.k8s.io/v1/namespaces/%s/events", said->ns));
}

/* The entry that said this before, else a free one, else the one that was silent longest. */
static said_t *find(kfx_events_t *self, const char *key, int64_t now)
{
    said_t *best = NULL;
    for (size_t i = 0; i < REMEMBERED; i++) {
        said_t *said = &self->said[i];
        if (strcmp(said->key, key) == 0) {
            if (now - said->first_ms < SERIES_MS)
                return said;
            said->key[0] = '\0';
        }
        if (!best || (best->key[0] && (!said->key[0] || said->last_ms < best->last_ms)))
            best = said;
    }
    memset(best, 0, sizeof *best);
    return best;
}

void kfx_events_emit(kfx_events_t *self, const kfx_object_ref_t *about, const char *type, const char *reason,
                     const char *action, const char *fmt, ...)
{
    char note[NOTE_MAX + 8];
    va_list args;
    va_start(args, fmt);
    vsnprintf(note, sizeof note, fmt, args);
    va_end(args);
    cut_utf8(note, NOTE_MAX - 1);

    KFX_FREE char *identity = kfx_xasprintf("%s\n%s\n%s\n%s\n%s\n%s\n%s", about->kind, about->ns ? about->ns : "",
                                            about->name, about->uid ? about->uid : "", type, reason, note);
    char digest[KFX_SHA256_HEX_SIZE], key[17];
    kfx_sha256_hex(identity, strlen(identity), digest);
    kfx_copy(key, sizeof key, digest);

    int64_t now = kfx_now_ms();
    said_t *said = find(self, key, now);
    said->last_ms = now;
    said->count++;
    if (said->key[0]) {
        if (said->created && !said->busy)
            send_series(self, said);
        return; /* busy: the answer sends what has gathered by then */
    }
    if (self->pending >= PENDING_MAX) {
        memset(said, 0, sizeof *said);
        return;
    }
    kfx_copy(said->key, sizeof said->key, key);
    said->first_ms = now;
    kfx_copy(said->ns, sizeof said->ns, about->ns ? about->ns : "default");
    /* As client-go names them: object name, dot, a number that is unique for the object. */
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    snprintf(said->name, sizeof said->name, "%.230s.%llx", about->name,
             (unsigned long long)wall.tv_sec * 1000000000ULL + (unsigned long long)wall.tv_nsec + self->number++);
    send_new(self, said, about, type, reason, action, note);
}
