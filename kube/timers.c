/* kube/timers.c: a sorted list. Deadlines are mostly given out in rising order, so inserting from the tail is short. */
#include "kube/internal.h"

void kfx_timers_init(kfx_timers_t *self)
{
    TAILQ_INIT(&self->list);
}

void kfx_timer_cancel(kfx_timers_t *self, kfx_timer_t *timer)
{
    if (timer->at == 0)
        return;
    TAILQ_REMOVE(&self->list, timer, link);
    timer->at = 0;
}

void kfx_timer_arm(kfx_timers_t *self, kfx_timer_t *timer, int64_t at, void (*fn)(void *arg), void *arg)
{
    kfx_timer_cancel(self, timer);
    timer->at = at > 0 ? at : 1;
    timer->fn = fn;
    timer->arg = arg;
    kfx_timer_t *before = TAILQ_LAST(&self->list, kfx_timer_head);
    while (before && before->at > timer->at)
        before = TAILQ_PREV(before, kfx_timer_head, link);
    if (before)
        TAILQ_INSERT_AFTER(&self->list, before, timer, link);
    else
        TAILQ_INSERT_HEAD(&self->list, timer, link);
}

int64_t kfx_timers_run(kfx_timers_t *self, int64_t now, unsigned max)
{
    kfx_timer_t *first;
    while ((first = TAILQ_FIRST(&self->list)) && first->at <= now && max-- > 0) {
        kfx_timer_cancel(self, first);
        first->fn(first->arg);
    }
    first = TAILQ_FIRST(&self->list);
    return first ? first->at : -1;
}
