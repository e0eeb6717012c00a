/* bus/tap.c: see tap.h. */
#include "bus/tap.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct kfx_tap {
    zloop_t *loop;
    zsock_t *xpub;
    size_t topics; /* subscribed to by anybody */
};

/* XPUB tells the first subscription of each topic and the end of the last one. */
static int on_subscription(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    kfx_tap_t *self = arg;
    zframe_t *frame = zframe_recv(reader);
    if (!frame)
        return 0;
    if (zframe_size(frame) > 0) {
        if (zframe_data(frame)[0] == 1)
            self->topics++;
        else if (zframe_data(frame)[0] == 0 && self->topics > 0)
            self->topics--;
    }
    zframe_destroy(&frame);
    return 0;
}

kfx_tap_t *kfx_tap_new(zloop_t *loop, zsock_t **xpub_p)
{
    kfx_tap_t *self = kfx_xcalloc(1, sizeof(*self));
    self->loop = loop;
    self->xpub = KFX_STEAL(*xpub_p);
    zloop_reader(loop, self->xpub, on_subscription, self);
    zloop_reader_set_tolerant(loop, self->xpub);
    return self;
}

void kfx_tap_destroy(kfx_tap_t **self_p)
{
    kfx_tap_t *self = *self_p;
    if (!self)
        return;
    zloop_reader_end(self->loop, self->xpub);
    zsock_destroy(&self->xpub);
    free(self);
    *self_p = NULL;
}

bool kfx_tap_wanted(const kfx_tap_t *self)
{
    return self && self->topics > 0;
}

static void put_text(json_t *object, const char *name, const char *text)
{
    if (text && text[0])
        json_object_set_new(object, name, json_string(text));
}

static void put_number(json_t *object, const char *name, int64_t value)
{
    if (value != 0)
        json_object_set_new(object, name, json_integer(value));
}

static void put_time(json_t *object)
{
    struct timespec now;
    struct tm parts;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + n, sizeof(text) - n, ".%03ldZ", now.tv_nsec / 1000000);
    json_object_set_new(object, "time", json_string(text));
}

static char *describe(const kfx_tap_meta_t *meta, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t *payload)
{
    KFX_JSON json_t *object = json_object();
    put_time(object);
    put_text(object, "direction", meta->out ? "out" : "in");
    put_text(object, "kind", kfx_kind_name(kind));
    put_text(object, "service", env->service);
    put_text(object, "key", env->key);
    put_text(object, "uid", env->uid);
    put_text(object, "peer", meta->peer);
    put_text(object, "role", meta->role);
    put_text(object, "identity", meta->identity);
    put_text(object, "sender", env->sender);
    put_text(object, "outcome", kfx_outcome_name(env->outcome));
    put_text(object, "state", kfx_state_name(env->state));
    put_text(object, "text", env->text);
    put_number(object, "generation", env->generation);
    put_number(object, "epoch", (int64_t)env->epoch);
    put_number(object, "seq", (int64_t)env->seq);
    put_number(object, "task", (int64_t)(env->task & INT64_MAX));
    put_number(object, "attempt", env->attempt);
    put_number(object, "retryAfterMs", env->retry_after_ms);
    put_number(object, "credit", env->credit);
    put_number(object, "code", env->code);
    if (env->deleting)
        json_object_set_new(object, "deleting", json_true());
    if (meta->latency_ms >= 0)
        json_object_set_new(object, "latencyMs", json_integer(meta->latency_ms));
    json_object_set_new(object, "size", json_integer(payload ? (json_int_t)zframe_size(payload) : 0));
    return kfx_json_text(object);
}

void kfx_tap_publish(kfx_tap_t *self, const kfx_tap_meta_t *meta, kfx_kind_t kind, const kfx_envelope_t *env,
                     zframe_t *payload)
{
    if (!kfx_tap_wanted(self))
        return;
    KFX_FREE char *json = describe(meta, kind, env, payload);
    zmsg_t *msg = kfx_msg_encode(kind, env, payload);
    if (!json || !msg) {
        zmsg_destroy(&msg);
        return;
    }
    zmsg_pushstr(msg, json);
    zmsg_pushstrf(msg, "%s %s %s", kfx_kind_name(kind), env->service, env->key);
    if (zmsg_send(&msg, self->xpub) != 0)
        zmsg_destroy(&msg);
}
