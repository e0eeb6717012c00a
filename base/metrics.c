/* The metrics of a process (contract in base/health.h), apart from the endpoint that shows them. */
#include "base/buf.h"
#include "base/health.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc_metrics.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define SERIES_MAX 512

typedef enum { COUNTER, GAUGE, HISTOGRAM } type_t;

static const char *const type_names[] = {"counter", "gauge", "histogram"};

/* Upper bounds, in microseconds and as printed (seconds). */
static const struct {
    int64_t us;
    const char *text;
} buckets[] = {
    {500, "0.0005"}, {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"}, {25000, "0.025"},
    {50000, "0.05"}, {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},  {2500000, "2.5"},
    {5000000, "5"},  {10000000, "10"}, {30000000, "30"}, {60000000, "60"},
};

struct kfx_metric {
    type_t type;
    char *name, *help, *labels;  /* "" where not given */
    atomic_int_least64_t value;  /* of a histogram: the sum in milliseconds */
    atomic_int_least64_t hits[]; /* histogram only: observations a bucket, the last one above all bounds */
};

static kfx_metric_t *series[SERIES_MAX];
static size_t series_count; /* guarded, like the table, by lock; the metrics themselves are not */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static size_t hits_of(type_t type)
{
    return type == HISTOGRAM ? KFX_COUNT(buckets) + 1 : 0;
}

static kfx_metric_t *make(type_t type, const char *name, const char *help, const char *labels)
{
    kfx_metric_t *metric = kfx_xcalloc(1, sizeof *metric + hits_of(type) * sizeof metric->hits[0]);
    metric->type = type;
    metric->name = kfx_xstrdup(name);
    metric->help = kfx_xstrdup(help ? help : "");
    metric->labels = kfx_xstrdup(labels ? labels : "");
    return metric;
}

/* Takes what does not fit; never shown. */
static kfx_metric_t *dummy(type_t type)
{
    static kfx_metric_t *dummies[3];
    if (!dummies[type])
        dummies[type] = make(type, "", "", NULL);
    return dummies[type];
}

static bool name_valid(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p) && *p != '_')
            return false;
    }
    return true;
}

static kfx_metric_t *find_or_make(type_t type, const char *name, const char *help, const char *labels,
                                  const char **problem)
{
    if (!name_valid(name)) {
        *problem = "a metric's name is malformed: it is not counted";
        return dummy(type);
    }
    for (size_t i = 0; i < series_count; i++) {
        if (strcmp(series[i]->name, name) != 0)
            continue;
        if (series[i]->type != type) {
            *problem = "a metric was registered with two types: the second is not counted";
            return dummy(type);
        }
        if (strcmp(series[i]->labels, labels ? labels : "") == 0)
            return series[i];
    }
    if (series_count == SERIES_MAX) {
        *problem = "too many metric series: this one is not counted";
        return dummy(type);
    }
    return series[series_count++] = make(type, name, help, labels);
}

static kfx_metric_t *get(type_t type, const char *name, const char *help, const char *labels)
{
    const char *problem = NULL;
    pthread_mutex_lock(&lock);
    kfx_metric_t *metric = find_or_make(type, name, help, labels, &problem);
    pthread_mutex_unlock(&lock);
    if (problem)
        kfx_log_warn(problem, "metric", name, "labels", labels, NULL);
    return metric;
}

kfx_metric_t *kfx_counter(const char *name, const char *help, const char *labels)
{
    return get(COUNTER, name, help, labels);
}

kfx_metric_t *kfx_gauge(const char *name, const char *help, const char *labels)
{
    return get(GAUGE, name, help, labels);
}

kfx_metric_t *kfx_histogram(const char *name, const char *help, const char *labels)
{
    return get(HISTOGRAM, name, help, labels);
}

void kfx_metric_add(kfx_metric_t *metric, int64_t n)
{
    if (metric->type == GAUGE || (metric->type == COUNTER && n > 0))
        atomic_fetch_add_explicit(&metric->value, n, memory_order_relaxed);
}

void kfx_metric_set(kfx_metric_t *metric, int64_t value)
{
    if (metric->type == GAUGE)
        atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void kfx_metric_observe_ms(kfx_metric_t *metric, int64_t ms)
{
    if (metric->type != HISTOGRAM)
        return;
    if (ms < 0)
        ms = 0;
    if (ms > INT64_MAX / 1000)
        ms = INT64_MAX / 1000;
    size_t i = 0;
    while (i < KFX_COUNT(buckets) && ms * 1000 > buckets[i].us)
        i++;
    atomic_fetch_add_explicit(&metric->hits[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->value, ms, memory_order_relaxed);
}

static void print_histogram(kfx_buf_t *out, kfx_metric_t *metric)
{
    const char *labels = metric->labels, *comma = *labels ? "," : "";
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    int64_t count = 0;
    for (size_t i = 0; i < hits_of(HISTOGRAM); i++) {
        count += atomic_load_explicit(&metric->hits[i], memory_order_relaxed);
        kfx_buf_addf(out, "%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", metric->name, labels, comma,
                     i < KFX_COUNT(buckets) ? buckets[i].text : "+Inf", count);
    }
    int64_t sum = atomic_load_explicit(&metric->value, memory_order_relaxed);
    kfx_buf_addf(out, "%s_sum%s%s%s %" PRId64 ".%03d\n", metric->name, open, labels, close, sum / 1000,
                 (int)(sum % 1000));
    kfx_buf_addf(out, "%s_count%s%s%s %" PRId64 "\n", metric->name, open, labels, close, count);
}

static void print_series(kfx_buf_t *out, kfx_metric_t *metric)
{
    if (metric->type == HISTOGRAM) {
        print_histogram(out, metric);
        return;
    }
    bool labelled = *metric->labels;
    kfx_buf_addf(out, "%s%s%s%s %" PRId64 "\n", metric->name, labelled ? "{" : "", metric->labels, labelled ? "}" : "",
                 (int64_t)atomic_load_explicit(&metric->value, memory_order_relaxed));
}

static void print_help(kfx_buf_t *out, const kfx_metric_t *metric)
{
    kfx_buf_addf(out, "# HELP %s ", metric->name);
    for (const char *p = metric->help; *p; p++) {
        if (*p == '\n' || *p == '\\')
            kfx_buf_adds(out, *p == '\n' ? "\\n" : "\\\\");
        else
            kfx_buf_add(out, p, 1);
    }
    kfx_buf_addf(out, "\n# TYPE %s %s\n", metric->name, type_names[metric->type]);
}

/* The format wants all series of a name together, under one header. */
char *kfx_metrics_text(void)
{
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(0);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < series_count; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = strcmp(series[j]->name, series[i]->name) == 0;
        if (seen)
            continue;
        print_help(&out, series[i]);
        for (size_t j = i; j < series_count; j++) {
            if (strcmp(series[j]->name, series[i]->name) == 0)
                print_series(&out, series[j]);
        }
    }
    pthread_mutex_unlock(&lock);
    kfx_proc_metrics(&out);
    return kfx_buf_steal(&out, NULL);
}
