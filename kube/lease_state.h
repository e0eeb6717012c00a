/* kube/lease_state.h: the decisions of the leader election, without I/O and without a clock of its own: every function
 * takes `now` (milliseconds of kfx_now_ms, or a virtual clock in tests). kube/lease.c does the talking.
 *
 * Rules (client-go's leaderelection, with the record's own clock never used): a foreign record counts as alive until
 * its leaseDurationSeconds have passed since *we* last saw it change; our own leadership counts from the moment we
 * *sent* the last renewal that succeeded, and ends renew_deadline later, whatever the API server would say.
 */
#ifndef KFX_KUBE_LEASE_STATE_H
#define KFX_KUBE_LEASE_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    bool exists;
    char holder[256];    /* spec.holderIdentity, "" when free */
    char renew[40];      /* spec.renewTime as text: only compared */
    char rv[40];         /* metadata.resourceVersion */
    int64_t duration_ms; /* of the record; 0 when it has none */
    int64_t transitions;
} kfx_lease_record_t;

/* Of a Lease as the API server sent it; NULL: there is none. What is missing or absurd in it is empty or 0. */
void kfx_lease_read(const json_t *object, kfx_lease_record_t *out);

typedef enum {
    KFX_LEASE_WAIT,   /* somebody else holds it */
    KFX_LEASE_CREATE, /* there is none */
    KFX_LEASE_TAKE,   /* free or expired, or ours already: write it */
} kfx_lease_move_t;

typedef struct {
    char identity[256];
    int64_t duration_ms, renew_deadline_ms;
    kfx_lease_record_t seen;
    int64_t seen_at; /* when `seen` last changed */
    bool observed;   /* seen is filled */
    bool held;
    int64_t renewed_at; /* when the last successful write was sent */
} kfx_lease_state_t;

/* What a read or a write's answer showed. Returns true when it ended our leadership (somebody else's name is on it). */
static inline bool kfx_lease_observe(kfx_lease_state_t *self, const kfx_lease_record_t *record, int64_t now)
{
    bool same = self->observed && record->exists == self->seen.exists &&
                strcmp(record->holder, self->seen.holder) == 0 && strcmp(record->renew, self->seen.renew) == 0 &&
                record->transitions == self->seen.transitions && record->duration_ms == self->seen.duration_ms;
    if (!same)
        self->seen_at = now;
    self->seen = *record;
    self->observed = true;
    if (!self->held || !record->exists || strcmp(record->holder, self->identity) == 0)
        return false;
    self->held = false;
    return true;
}

/* Until when a foreign holder counts as alive. */
static inline int64_t kfx_lease_foreign_until(const kfx_lease_state_t *self)
{
    return self->seen_at + (self->seen.duration_ms > 0 ? self->seen.duration_ms : self->duration_ms);
}

static inline kfx_lease_move_t kfx_lease_decide(const kfx_lease_state_t *self, int64_t now)
{
    if (!self->seen.exists)
        return KFX_LEASE_CREATE;
    if (self->seen.holder[0] == '\0' || strcmp(self->seen.holder, self->identity) == 0)
        return KFX_LEASE_TAKE;
    return now >= kfx_lease_foreign_until(self) ? KFX_LEASE_TAKE : KFX_LEASE_WAIT;
}

/* leaseTransitions of the record to be written. */
static inline int64_t kfx_lease_next_transitions(const kfx_lease_state_t *self)
{
    if (!self->seen.exists)
        return 0;
    bool ours = strcmp(self->seen.holder, self->identity) == 0;
    return ours ? self->seen.transitions : self->seen.transitions + 1;
}

/* A write of ours that was sent at `sent` succeeded. Returns true when this began our leadership. */
static inline bool kfx_lease_written(kfx_lease_state_t *self, int64_t sent)
{
    bool began = !self->held;
    self->held = true;
    self->renewed_at = sent;
    return began;
}

/* The instant until which we may act as leader; 0 while we do not lead. */
static inline int64_t kfx_lease_valid_until(const kfx_lease_state_t *self)
{
    return self->held ? self->renewed_at + self->renew_deadline_ms : 0;
}

/* True when the deadline just ended our leadership. */
static inline bool kfx_lease_expire(kfx_lease_state_t *self, int64_t now)
{
    if (!self->held || now < kfx_lease_valid_until(self))
        return false;
    self->held = false;
    return true;
}

/* The epoch of a leadership that begins. */
static inline uint64_t kfx_lease_epoch(int64_t transitions, uint64_t recorded)
{
    uint64_t t = transitions > 0 ? (uint64_t)transitions : 0;
    return (t > recorded ? t : recorded) + 1;
}

#endif
