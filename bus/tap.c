/* bus/tap.c: see tap.h. */
#include "bus/tap.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define KINDS (KFX_KIND_LAST + 1) /* place 0 is for kinds that have no name here */

struct kfx_tap {
    zloop_t *loop;
    zsock_t *xpub;
    size_t wanted[KINDS]; /* topics subscribed to that messages of the kind may have */
    size_t stats_wanted;
    int64_t room; /* records, in thousandths: KFX_TAP_A_SECOND of them come by a second, and as many may be saved up */
    int64_t room_at;
    uint32_t left_out;
};

/* May a topic that begins with word and a blank match the subscription? */
static bool touches(const char *word, const char *prefix, size_t len)
{
    size_t word_len = strlen(word);
    if (len <= word_len)
        return memcmp(word, prefix, len) == 0;
    return memcmp(word, prefix, word_len) == 0 && prefix[word_len] == ' ';
}

static void count(size_t *counter, bool more)
{
    if (more)
        ++*counter;
    else if (*counter > 0)
        --*counter;
}

/* XPUB tells the first subscription of each topic and the end of the last one. */
static int on_subscription(zloop_t *loop, zsock_t *reader, void *arg)
{
    (void)loop;
    kfx_tap_t *self = arg;
    zframe_t *frame = zframe_recv(reader);
    if (!frame)
        return 0;
    const byte *data = zframe_data(frame);
    if (zframe_size(frame) > 0 && data[0] <= 1) {
        const char *prefix = (const char *)data + 1;
        size_t len = zframe_size(frame) - 1;
        for (int kind = 0; kind < KINDS; kind++)
            if (touches(kfx_kind_name((kfx_kind_t)kind), prefix, len))
                count(&self->wanted[kind], data[0] == 1);
        if (touches(KFX_TAP_STATS, prefix, len))
            count(&self->stats_wanted, data[0] == 1);
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

bool kfx_tap_admits(kfx_tap_t *self, kfx_kind_t kind, int64_t now)
{
    const int64_t one = 1000, full = one * KFX_TAP_A_SECOND;
    if (!self || self->wanted[(unsigned)kind < KINDS ? kind : 0] == 0)
        return false;
    int64_t passed = now - self->room_at;
    self->room =
        passed >= 1000 || self->room + passed * KFX_TAP_A_SECOND > full ? full : self->room + passed * KFX_TAP_A_SECOND;
    self->room_at = now;
    if (self->room < one) {
        self->left_out += self->left_out < UINT32_MAX;
        return false;
    }
    self->room -= one;
    return true;
}

uint32_t kfx_tap_left_out(const kfx_tap_t *self)
{
    return self->left_out;
}

bool kfx_tap_stats_wanted(const kfx_tap_t *self)
{
    return self && self->stats_wanted > 0;
}

void kfx_tap_publish(kfx_tap_t *self, kfx_kind_t kind, const kfx_envelope_t *env, zframe_t **record_p)
{
    char topic[16 + KFX_SERVICE_SIZE + KFX_NAME_SIZE];
    int len = snprintf(topic, sizeof topic, "%s %s %s", kfx_kind_name(kind), env->service, env->key);
    zframe_t *frame = zframe_new(topic, (size_t)len);
    if (frame && zframe_send(&frame, self->xpub, ZFRAME_MORE) == 0 && zframe_send(record_p, self->xpub, 0) == 0)
        self->left_out = 0; /* the record says it */
    else
        zframe_destroy(record_p);
    zframe_destroy(&frame);
}

void kfx_tap_publish_stats(kfx_tap_t *self, kfx_tap_stats_t *stats)
{
    stats->time_us = kfx_tap_now_us();
    zmsg_t *msg = kfx_tap_stats_encode(stats);
    if (zmsg_send(&msg, self->xpub) != 0)
        zmsg_destroy(&msg);
}
