/* bus/publisher.c: see publisher.h. */
#include "bus/publisher.h"

#include "base/log.h"
#include "base/mem.h"
#include "bus/alive.h"
#include "bus/session.h"

#include <string.h>

/* What waits to be sent, in order: events (at most one per service and key) and the brackets of a snapshot. A snapshot
 * of 10,000 planes waits here whole, so no envelope is kept, which is mostly room for long names. */
typedef struct {
    kfx_kind_t kind;   /* EVENT or SYNC */
    kfx_state_t state; /* of SYNC */
    char *id;          /* "service key"; NULL for SYNC */
    char uid[KFX_UID_SIZE];
    int64_t generation;
    uint64_t seq;
    bool deleting;
    zframe_t *payload;
} item_t;

struct kfx_publisher {
    zloop_t *loop;
    kfx_publisher_opts_t opts;
    kfx_session_t *session;
    zlistx_t *line;    /* item_t, in order */
    zhashx_t *waiting; /* id -> item_t of the line */
    uint32_t window, unacked;
    int stale_timer;
    uint64_t stale_epoch;
};

static void item_free(void **item_p)
{
    item_t *item = *item_p;
    zframe_destroy(&item->payload);
    free(item->id);
    free(item);
    *item_p = NULL;
}

static void forget_line(kfx_publisher_t *self)
{
    zhashx_purge(self->waiting);
    zlistx_purge(self->line);
}

static kfx_envelope_t envelope_of(const kfx_publisher_t *self, const item_t *item)
{
    kfx_envelope_t env = {.epoch = self->opts.epoch,
                          .state = item->state,
                          .generation = item->generation,
                          .seq = item->seq,
                          .deleting = item->deleting};
    if (item->id) {
        size_t service = strcspn(item->id, " ");
        snprintf(env.service, sizeof(env.service), "%.*s", (int)service, item->id);
        kfx_copy(env.key, sizeof(env.key), item->id + service + 1);
        kfx_copy(env.uid, sizeof(env.uid), item->uid);
    }
    return env;
}

static void flush(kfx_publisher_t *self)
{
    item_t *item;
    while (kfx_session_up(self->session) && (item = zlistx_first(self->line))) {
        if (item->kind == KFX_EVENT && self->unacked >= self->window)
            return;
        kfx_envelope_t env = envelope_of(self, item);
        if (kfx_session_send(self->session, item->kind, &env, item->payload) != 0)
            return; /* the pipe is full: the next ACK or PONG comes back here */
        if (item->kind == KFX_EVENT)
            self->unacked++;
        if (item->id)
            zhashx_delete(self->waiting, item->id);
        zlistx_delete(self->line, zlistx_cursor(self->line));
    }
}

static void on_up(void *ctx, const kfx_envelope_t *welcome)
{
    kfx_publisher_t *self = ctx;
    self->window = welcome->window ? welcome->window : 1;
    self->unacked = 0;
    forget_line(self); /* the snapshot says all of it again */
    if (self->opts.on_connected)
        self->opts.on_connected(self->opts.ctx);
}

static void on_down(void *ctx)
{
    kfx_publisher_t *self = ctx;
    forget_line(self);
    if (self->opts.on_disconnected)
        self->opts.on_disconnected(self->opts.ctx);
}

static int on_stale_timer(zloop_t *loop, int timer_id, void *arg)
{
    (void)loop;
    (void)timer_id;
    kfx_publisher_t *self = arg;
    if (!kfx_alive(self))
        return 0;
    self->stale_timer = -1;
    if (self->opts.on_stale)
        self->opts.on_stale(self->opts.ctx, self->stale_epoch);
    return 0;
}

static void on_error(kfx_publisher_t *self, const kfx_envelope_t *env)
{
    if (env->code == KFX_E_CONFLICT && env->epoch > self->opts.epoch) {
        kfx_session_halt(self->session);
        forget_line(self);
        self->stale_epoch = env->epoch;
        if (self->stale_timer == -1)
            self->stale_timer = zloop_timer(self->loop, 1, 1, on_stale_timer, self);
    } else if (env->key[0] && env->seq && self->unacked > 0) {
        self->unacked--; /* an EVENT was refused */
    }
}

static void on_result(kfx_publisher_t *self, const kfx_msg_t *msg)
{
    kfx_error_t err = KFX_ERROR_INIT;
    kfx_result_t *result = kfx_xcalloc(1, sizeof(*result));
    if (kfx_result_decode(msg->payload, result, &err) == 0) {
        result->outcome = msg->env.outcome;
        result->retry_after_ms = msg->env.retry_after_ms;
        if (self->opts.on_done)
            self->opts.on_done(self->opts.ctx, &msg->env, result);
    } else {
        /* It would come again for ever, and be as unreadable. */
        kfx_log_error("unreadable result dropped", "service", msg->env.service, "plane", msg->env.key, "uid",
                      msg->env.uid, "error", err.msg, NULL);
        kfx_publisher_ack(self, &msg->env);
    }
    free(result);
}

static void on_message(void *ctx, kfx_msg_t *msg)
{
    kfx_publisher_t *self = ctx;
    switch (msg->kind) {
    case KFX_ACK:
        if (self->unacked > 0)
            self->unacked--;
        flush(self);
        break;
    case KFX_ERROR:
        on_error(self, &msg->env);
        flush(self);
        break;
    case KFX_DONE: on_result(self, msg); break;
    case KFX_STATUS:
        if (msg->env.state != KFX_STATE_NONE) {
            if (self->opts.on_service)
                self->opts.on_service(self->opts.ctx, msg->env.service, msg->env.state, msg->env.text);
        } else if (self->opts.on_progress) {
            self->opts.on_progress(self->opts.ctx, &msg->env);
        }
        break;
    default: break; /* nothing for a watcher, or of a later version */
    }
}

static int refresh_keys(void *ctx, kfx_bus_keys_t *keys)
{
    kfx_publisher_t *self = ctx;
    return self->opts.refresh_keys(self->opts.ctx, keys);
}

/* Each PONG is an occasion to send what a full pipe held back. */
static void on_lease(void *ctx, int64_t until)
{
    (void)until;
    flush(ctx);
}

kfx_publisher_t *kfx_publisher_new(zloop_t *loop, const kfx_publisher_opts_t *opts, kfx_error_t *err)
{
    kfx_publisher_t *self = kfx_xcalloc(1, sizeof(*self));
    kfx_alive_add(self);
    self->loop = loop;
    self->opts = *opts;
    self->opts.endpoint = self->opts.instance = NULL; /* the session has its own copies */
    kfx_wipe(&self->opts.keys, sizeof(self->opts.keys));
    self->stale_timer = -1;
    self->line = zlistx_new();
    zlistx_set_destructor(self->line, item_free);
    self->waiting = zhashx_new();
    kfx_session_opts_t session = {.endpoint = opts->endpoint,
                                  .keys = &opts->keys,
                                  .role = "watcher",
                                  .instance = opts->instance,
                                  .epoch = opts->epoch,
                                  .on_up = on_up,
                                  .on_down = on_down,
                                  .on_message = on_message,
                                  .on_lease = on_lease,
                                  .refresh_keys = opts->refresh_keys ? refresh_keys : NULL,
                                  .ctx = self};
    self->session = kfx_session_new(loop, &session, err);
    if (!self->session)
        kfx_publisher_destroy(&self);
    return self;
}

void kfx_publisher_destroy(kfx_publisher_t **self_p)
{
    kfx_publisher_t *self = *self_p;
    if (!self)
        return;
    kfx_alive_remove(self);
    if (self->stale_timer != -1)
        zloop_timer_end(self->loop, self->stale_timer);
    kfx_session_destroy(&self->session, true);
    zhashx_destroy(&self->waiting);
    zlistx_destroy(&self->line);
    free(self);
    *self_p = NULL;
}

void kfx_publisher_event(kfx_publisher_t *self, const char *service, const kfx_envelope_t *env,
                         const kfx_digest_t *digest)
{
    if (!kfx_session_up(self->session))
        return; /* the snapshot after the next WELCOME tells it */
    KFX_FREE char *id = kfx_xasprintf("%s %s", service, env->key);
    item_t *item = zhashx_lookup(self->waiting, id);
    if (!item) {
        item = kfx_xcalloc(1, sizeof(*item));
        item->kind = KFX_EVENT;
        item->id = KFX_STEAL(id);
        zlistx_add_end(self->line, item);
        zhashx_insert(self->waiting, item->id, item);
    }
    kfx_copy(item->uid, sizeof(item->uid), env->uid);
    item->generation = env->generation;
    item->seq = env->seq;
    item->deleting = env->deleting;
    zframe_destroy(&item->payload);
    item->payload = digest ? kfx_digest_encode(digest) : NULL;
    flush(self);
}

void kfx_publisher_ack(kfx_publisher_t *self, const kfx_envelope_t *done)
{
    kfx_envelope_t env = {.generation = done->generation, .epoch = done->epoch, .seq = done->seq, .task = done->task};
    kfx_copy(env.service, sizeof(env.service), done->service);
    kfx_copy(env.key, sizeof(env.key), done->key);
    kfx_copy(env.uid, sizeof(env.uid), done->uid);
    kfx_session_send(self->session, KFX_ACK, &env, NULL); /* lost: the result comes again */
}

static void bracket(kfx_publisher_t *self, kfx_state_t state)
{
    if (!kfx_session_up(self->session))
        return;
    item_t *item = kfx_xcalloc(1, sizeof(*item));
    item->kind = KFX_SYNC;
    item->state = state;
    zlistx_add_end(self->line, item);
    flush(self);
}

void kfx_publisher_sync_begin(kfx_publisher_t *self)
{
    /* An older event that still waits would be taken as the place of the snapshot's one, in front of the bracket. */
    forget_line(self);
    bracket(self, KFX_SYNC_BEGIN);
}

void kfx_publisher_sync_end(kfx_publisher_t *self)
{
    bracket(self, KFX_SYNC_END);
}
