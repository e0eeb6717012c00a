/* cli/tap_stats.c: the figures of the services as a table. */
#include "cli/tap.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define TABLE_MAX 65536

void kfx_tap_board_take(kfx_tap_board_t *self, const kfx_tap_stats_t *stats)
{
    size_t i = 0;
    while (i < self->count && strcmp(self->now[i].service, stats->service) != 0)
        i++;
    if (i == KFX_TAP_SERVICES_MAX)
        return;
    bool fresh = i == self->count;
    self->count += fresh;
    /* Totals that went back are those of a bus that was started again. */
    self->before[i] =
        fresh || stats->events < self->now[i].events || stats->tasks < self->now[i].tasks ? *stats : self->now[i];
    self->now[i] = *stats;
}

typedef struct {
    double events, tasks, results;
} rates_t;

static rates_t rates_of(const kfx_tap_board_t *self, size_t i)
{
    const kfx_tap_stats_t *now = &self->now[i], *before = &self->before[i];
    double seconds = (double)(now->time_us - before->time_us) / 1e6;
    if (seconds <= 0)
        return (rates_t){0, 0, 0};
    return (rates_t){(double)(now->events - before->events) / seconds, (double)(now->tasks - before->tasks) / seconds,
                     (double)(now->results - before->results) / seconds};
}

static bool used(const kfx_tap_stats_t *s)
{
    return s->workers || s->keys || s->tasks || s->events;
}

static void say_age(char *out, size_t size, uint32_t ms)
{
    if (ms == 0)
        kfx_copy(out, size, "-");
    else if (ms < 10000)
        snprintf(out, size, "%ums", ms);
    else
        snprintf(out, size, "%us", ms / 1000);
}

char *kfx_tap_board_text(const kfx_tap_board_t *self)
{
    kfx_buf_t out = KFX_BUF_INIT(TABLE_MAX);
    kfx_buf_addf(&out, "%-19s %7s %6s %7s %7s %7s %7s %8s %8s %8s %8s %15s %15s %6s %7s\n", "SERVICE", "WORKERS",
                 "CREDIT", "WAITING", "RUNNING", "DELAYED", "UNACKED", "OLDEST", "EVENT/S", "TASK/S", "DONE/S",
                 "DISPATCH 50/99", "TASK 50/99", "REDELV", "REFUSED");
    bool any = false;
    for (size_t i = 0; i < self->count; i++)
        any |= used(&self->now[i]);
    for (size_t i = 0; i < self->count; i++) {
        const kfx_tap_stats_t *s = &self->now[i];
        if (any && !used(s))
            continue;
        rates_t rates = rates_of(self, i);
        char oldest[24], wait[40], run[40];
        say_age(oldest, sizeof oldest, s->oldest_ms);
        snprintf(wait, sizeof wait, "%u/%ums", s->wait_p50_ms, s->wait_p99_ms);
        snprintf(run, sizeof run, "%u/%ums", s->run_p50_ms, s->run_p99_ms);
        KFX_FREE char *name = kfx_clean(s->service);
        kfx_buf_addf(&out, "%-19s %7u %6u %7u %7u %7u %7u %8s %8.1f %8.1f %8.1f %15s %15s %6llu %7llu\n", name,
                     s->workers, s->credit, s->ready, s->running, s->delayed, s->unacked, oldest, rates.events,
                     rates.tasks, rates.results, wait, run, (unsigned long long)s->redelivered,
                     (unsigned long long)s->refused);
    }
    return kfx_buf_steal(&out, NULL);
}

json_t *kfx_tap_board_json(const kfx_tap_board_t *self, size_t i)
{
    const kfx_tap_stats_t *s = &self->now[i];
    rates_t rates = rates_of(self, i);
    char time[KFX_TAP_TIME_SIZE];
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "time", kfx_tap_time(time, s->time_us), "service", s->service, "workers", (json_int_t)s->workers, "credit",
        (json_int_t)s->credit, "waiting", (json_int_t)s->ready, "running", (json_int_t)s->running, "delayed",
        (json_int_t)s->delayed, "unacked", (json_int_t)s->unacked, "oldestMs", (json_int_t)s->oldest_ms,
        "eventsPerSecond", rates.events, "tasksPerSecond", rates.tasks, "resultsPerSecond", rates.results,
        "dispatchP50Ms", (json_int_t)s->wait_p50_ms, "dispatchP99Ms", (json_int_t)s->wait_p99_ms, "taskP50Ms",
        (json_int_t)s->run_p50_ms, "taskP99Ms", (json_int_t)s->run_p99_ms, "events", (json_int_t)s->events, "tasks",
        (json_int_t)s->tasks, "results", (json_int_t)s->results, "redelivered", (json_int_t)s->redelivered, "refused",
        (json_int_t)s->refused);
}
