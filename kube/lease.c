/* kube/lease.c: see lease.h. One request is in flight at a time; each step is decided from what the last answer showed.
 */
#include "kube/lease.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/lease_state.h"

#include <inttypes.h>
#include <stdatomic.h>

#define EPOCH_ANNOTATION "kflex.kubestellar.org/epoch"
#define REQUEST_MS 2000
#define RELEASE_MS 2000

struct kfx_lease {
    zloop_t *loop;
    kfx_mailbox_t *mailbox;
    kfx_lease_opts_t opts;
    char *ns, *name, *configmap;
    kfx_lease_state_t state;
    char acquired[KFX_RFC3339_SIZE];
    atomic_llong valid_until; /* read by the I/O thread: the gate */
    int timer, expiry_timer;  /* -1: not set */
    int retry_ms;
    int64_t sent_at;
    uint64_t epoch; /* of this leadership, 0 until recorded */
    bool busy;      /* a request on the Lease is on its way */
    bool epoch_busy;
    bool announced; /* on_lead was called */
    bool closing;
    bool released;
};

static void lease_read(kfx_lease_t *self);
static void epoch_read(kfx_lease_t *self);

static void publish(kfx_lease_t *self)
{
    atomic_store(&self->valid_until, (long long)kfx_lease_valid_until(&self->state));
}

static void lost(kfx_lease_t *self, const char *why)
{
    publish(self);
    self->epoch = 0;
    if (!self->announced)
        return;
    self->announced = false;
    kfx_log_warn("leadership lost", "lease", self->name, "why", why, "holder", self->state.seen.holder, NULL);
    if (self->opts.on_lost)
        self->opts.on_lost(self->opts.ctx);
}

void kfx_lease_read(const json_t *object, kfx_lease_record_t *out)
{
    memset(out, 0, sizeof *out);
    if (!object)
        return;
    out->exists = true;
    const char *text = kfx_json_str(object, "spec", "holderIdentity");
    kfx_copy(out->holder, sizeof out->holder, text ? text : "");
    text = kfx_json_str(object, "spec", "renewTime");
    kfx_copy(out->renew, sizeof out->renew, text ? text : "");
    text = kfx_json_str(object, "metadata", "resourceVersion");
    kfx_copy(out->rv, sizeof out->rv, text ? text : "");
    int64_t seconds = kfx_json_int(object, 0, "spec", "leaseDurationSeconds");
    out->duration_ms = seconds > 0 && seconds < 86400 ? seconds * 1000 : 0;
    int64_t transitions = kfx_json_int(object, 0, "spec", "leaseTransitions");
    out->transitions = transitions > 0 && transitions < INT32_MAX ? transitions : 0; /* an int32 of the API */
}

/* The record as we would write it now. holder "" releases it. */
static json_t *build_record(kfx_lease_t *self, const char *holder)
{
    char now[KFX_RFC3339_SIZE];
    kfx_rfc3339_now_micro(now);
    if (!self->state.held || self->acquired[0] == '\0')
        kfx_copy(self->acquired, sizeof self->acquired, now);
    json_t *meta = json_pack("{s:s, s:s}", "name", self->name, "namespace", self->ns);
    if (self->state.seen.exists)
        json_object_set_new(meta, "resourceVersion", json_string(self->state.seen.rv));
    int64_t seconds = holder[0] ? self->state.duration_ms / 1000 : 1;
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:I, s:s, s:s, s:I}}", "apiVersion", "coordination.k8s.io/v1", "kind",
                     "Lease", "metadata", meta, "spec", "holderIdentity", holder, "leaseDurationSeconds",
                     (json_int_t)(seconds > 0 ? seconds : 1), "acquireTime", self->acquired, "renewTime", now,
                     "leaseTransitions", (json_int_t)kfx_lease_next_transitions(&self->state));
}

static void submit(kfx_lease_t *self, kfx_request_t *req, void (*on_done)(void *, kfx_request_t *))
{
    req->timeout_ms = REQUEST_MS;
    req->urgent = true;
    req->no_retry = true;
    kfx_kube_submit(self->mailbox, req, on_done, self);
}

/* ---- the epoch's record --------------------------------------------------------------------------------------- */

static void on_epoch_written(void *ctx, kfx_request_t *req)
{
    kfx_lease_t *self = ctx;
    self->epoch_busy = false;
    uint64_t epoch = (uint64_t)(uintptr_t)req->user;
    if (req->error.code != KFX_OK) {
        kfx_log_warn("epoch not recorded, trying again", "configmap", self->configmap, "error", req->error.msg, NULL);
    } else if (self->state.held && !self->announced && !self->closing) {
        self->epoch = epoch;
        self->announced = true;
        kfx_log_info("leading", "lease", self->name, "epoch", kfx_log_num(epoch), NULL);
        if (self->opts.on_lead)
            self->opts.on_lead(self->opts.ctx, epoch);
    }
    kfx_request_free(req);
}

static void epoch_write(kfx_lease_t *self, const json_t *configmap, uint64_t epoch)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, epoch);
    const char *rv = kfx_json_str(configmap, "metadata", "resourceVersion");
    kfx_request_t *req;
    if (rv)
        req = kfx_request_new(
            KFX_MERGE_PATCH,
            json_pack("{s:{s:s, s:{s:s}}}", "metadata", "resourceVersion", rv, "annotations", EPOCH_ANNOTATION, text),
            "/api/v1/namespaces/%s/configmaps/%s", self->ns, self->configmap);
    else
        req = kfx_request_new(KFX_POST,
                              json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}}", "apiVersion", "v1", "kind", "ConfigMap",
                                        "metadata", "name", self->configmap, "namespace", self->ns, "annotations",
                                        EPOCH_ANNOTATION, text),
                              "/api/v1/namespaces/%s/configmaps", self->ns);
    req->user = (void *)(uintptr_t)epoch;
    self->epoch_busy = true;
    submit(self, req, on_epoch_written);
}

static void on_epoch_read(void *ctx, kfx_request_t *req)
{
    kfx_lease_t *self = ctx;
    self->epoch_busy = false;
    bool missing = req->error.code == KFX_E_NOT_FOUND;
    if (req->error.code != KFX_OK && !missing) {
        kfx_log_warn("epoch not readable, trying again", "configmap", self->configmap, "error", req->error.msg, NULL);
    } else if (self->state.held && !self->closing) {
        const char *text = missing ? NULL : kfx_json_str(req->answer, "metadata", "annotations", EPOCH_ANNOTATION);
        uint64_t recorded = text ? strtoull(text, NULL, 10) : 0;
        /* A record nobody could have counted to is no record: it would end the counting for ever. */
        if (recorded > UINT64_MAX / 2)
            recorded = 0;
        epoch_write(self, missing ? NULL : req->answer, kfx_lease_epoch(self->state.seen.transitions, recorded));
    }
    kfx_request_free(req);
}

static void epoch_read(kfx_lease_t *self)
{
    if (self->epoch_busy || self->announced || !self->state.held)
        return;
    self->epoch_busy = true;
    submit(self, kfx_request_new(KFX_GET, NULL, "/api/v1/namespaces/%s/configmaps/%s", self->ns, self->configmap),
           on_epoch_read);
}

/* ---- the Lease ------------------------------------------------------------------------------------------------ */

static void on_lease_written(void *ctx, kfx_request_t *req)
{
    kfx_lease_t *self = ctx;
    self->busy = false;
    if (req->error.code == KFX_OK) {
        kfx_lease_record_t record;
        kfx_lease_read(req->answer, &record);
        kfx_lease_observe(&self->state, &record, kfx_now_ms());
        kfx_lease_written(&self->state, self->sent_at);
        publish(self);
        epoch_read(self);
    } else if (req->error.code == KFX_E_CONFLICT || req->error.code == KFX_E_EXISTS ||
               req->error.code == KFX_E_NOT_FOUND) {
        if (!self->closing)
            lease_read(self); /* somebody was faster, or it was deleted: look before writing again */
    } else {
        kfx_log_warn("Lease not written", "lease", self->name, "error", req->error.msg, NULL);
    }
    kfx_request_free(req);
}

static void lease_write(kfx_lease_t *self)
{
    kfx_request_t *req;
    if (self->state.seen.exists)
        req = kfx_request_new(KFX_PUT, build_record(self, self->state.identity),
                              "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", self->ns, self->name);
    else
        req = kfx_request_new(KFX_POST, build_record(self, self->state.identity),
                              "/apis/coordination.k8s.io/v1/namespaces/%s/leases", self->ns);
    self->busy = true;
    self->sent_at = kfx_now_ms();
    submit(self, req, on_lease_written);
}

static int on_expiry(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    kfx_lease_t *self = arg;
    self->expiry_timer = -1;
    if (!self->busy && !self->state.held)
        lease_read(self);
    return 0;
}

/* The holder's time ends before our next look: look just then. */
static void look_in_time(kfx_lease_t *self, int64_t now)
{
    int64_t left = kfx_lease_foreign_until(&self->state) - now;
    if (self->expiry_timer == -1 && left > 0 && left < self->retry_ms)
        self->expiry_timer = zloop_timer(self->loop, (size_t)left + 1, 1, on_expiry, self);
}

static void on_lease_read(void *ctx, kfx_request_t *req)
{
    kfx_lease_t *self = ctx;
    self->busy = false;
    if (req->error.code == KFX_OK || req->error.code == KFX_E_NOT_FOUND) {
        kfx_lease_record_t record;
        int64_t now = kfx_now_ms();
        kfx_lease_read(req->error.code == KFX_OK ? req->answer : NULL, &record);
        if (kfx_lease_observe(&self->state, &record, now))
            lost(self, "somebody else holds the Lease");
        else if (!self->closing && kfx_lease_decide(&self->state, now) != KFX_LEASE_WAIT)
            lease_write(self);
        else if (!self->closing)
            look_in_time(self, now);
    } else {
        kfx_log_warn("Lease not readable", "lease", self->name, "error", req->error.msg, NULL);
    }
    kfx_request_free(req);
}

static void lease_read(kfx_lease_t *self)
{
    self->busy = true;
    submit(self,
           kfx_request_new(KFX_GET, NULL, "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", self->ns, self->name),
           on_lease_read);
}

static int on_tick(zloop_t *loop, int timer, void *arg)
{
    (void)loop;
    (void)timer;
    kfx_lease_t *self = arg;
    if (kfx_lease_expire(&self->state, kfx_now_ms()))
        lost(self, "not renewed within the deadline");
    if (!self->busy) {
        if (self->state.held)
            lease_write(self);
        else
            lease_read(self);
    }
    epoch_read(self);
    return 0;
}

kfx_lease_t *kfx_lease_start(zloop_t *loop, kfx_mailbox_t *mailbox, const kfx_lease_opts_t *opts)
{
    kfx_lease_t *self = kfx_xcalloc(1, sizeof *self);
    self->loop = loop;
    self->mailbox = mailbox;
    self->opts = *opts;
    self->ns = kfx_kube_escape(opts->ns);
    self->name = kfx_kube_escape(opts->name);
    self->configmap = kfx_kube_escape(opts->configmap);
    self->opts.identity = NULL;
    kfx_copy(self->state.identity, sizeof self->state.identity, opts->identity);
    self->state.duration_ms = opts->duration_ms ? opts->duration_ms : 8000;
    self->state.renew_deadline_ms = opts->renew_deadline_ms ? opts->renew_deadline_ms : 5000;
    self->expiry_timer = -1;
    self->retry_ms = opts->retry_ms ? opts->retry_ms : 1000;
    self->timer = zloop_timer(loop, (size_t)self->retry_ms, 0, on_tick, self);
    lease_read(self);
    return self;
}

bool kfx_lease_held(const kfx_lease_t *self)
{
    return self && (int64_t)atomic_load(&self->valid_until) > kfx_now_ms();
}

static void on_released(void *ctx, kfx_request_t *req)
{
    kfx_lease_t *self = ctx;
    if (req->error.code != KFX_OK)
        kfx_log_warn("Lease not released: the standby waits for its end", "error", req->error.msg, NULL);
    self->released = true;
    kfx_request_free(req);
}

/* Turns the mailbox until done () or the deadline. */
static void wait_for(kfx_lease_t *self, bool (*done)(const kfx_lease_t *), int64_t deadline)
{
    zmq_pollitem_t item = {zsock_resolve(kfx_mailbox_sock(self->mailbox)), 0, ZMQ_POLLIN, 0};
    while (!done(self)) {
        int64_t left = deadline - kfx_now_ms();
        if (left <= 0)
            return;
        if (zmq_poll(&item, 1, (long)left) < 0 && errno != EINTR)
            return;
        kfx_mailbox_dispatch(self->mailbox);
    }
}

static bool is_idle(const kfx_lease_t *self)
{
    return !self->busy && !self->epoch_busy;
}

static bool is_released(const kfx_lease_t *self)
{
    return self->released;
}

void kfx_lease_release(kfx_lease_t **self_p)
{
    kfx_lease_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    int64_t deadline = kfx_now_ms() + RELEASE_MS;
    self->closing = true;
    zloop_timer_end(self->loop, self->timer);
    if (self->expiry_timer != -1)
        zloop_timer_end(self->loop, self->expiry_timer);
    /* First nothing of ours may be acting as leader any more, then the Lease goes. */
    bool held = self->state.held && kfx_now_ms() < kfx_lease_valid_until(&self->state);
    if (self->announced) {
        self->announced = false;
        if (self->opts.on_lost)
            self->opts.on_lost(self->opts.ctx);
    }
    wait_for(self, is_idle, deadline);
    held = held || self->state.held;
    if (held && is_idle(self) && self->state.seen.exists) {
        kfx_request_t *req =
            kfx_request_new(KFX_PUT, build_record(self, ""), "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s",
                            self->ns, self->name);
        self->state.held = false;
        publish(self);
        submit(self, req, on_released);
        wait_for(self, is_released, deadline);
        if (!self->released)
            return; /* its answer may still come to this struct: leave it to the end of the process */
    } else if (!is_idle(self)) {
        atomic_store(&self->valid_until, 0);
        return;
    }
    free(self->ns);
    free(self->name);
    free(self->configmap);
    free(self);
}
