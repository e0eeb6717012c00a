/* kube/count.c: requests by verb and code. Both come from fixed lists, whatever a server answers. */
#include "base/health.h"
#include "base/mem.h"
#include "kube/internal.h"

#include <stdio.h>
#include <string.h>

static const char *const verbs[] = {"get", "create", "replace", "apply", "patch", "json-patch", "delete", "watch"};

/* What an API server answers and people ask about; any other code counts as "other". */
static const int codes[] = {200, 201, 202, 204, 400, 401, 403, 404, 405, 406, 408, 409,
                            410, 413, 415, 422, 429, 500, 501, 502, 503, 504, 505};

#define ERROR KFX_COUNT(codes) /* no answer */
#define OTHER (KFX_COUNT(codes) + 1)
#define UNKNOWN_VERB KFX_COUNT(verbs)

/* A series is made when it is first needed; whoever comes at the same time gets the same one. */
static _Atomic(kfx_metric_t *) series[KFX_COUNT(verbs) + 1][KFX_COUNT(codes) + 2];

static size_t place_of_code(int status)
{
    if (status <= 0)
        return ERROR;
    for (size_t i = 0; i < KFX_COUNT(codes); i++)
        if (codes[i] == status)
            return i;
    return OTHER;
}

static kfx_metric_t *make(size_t verb, size_t code)
{
    char number[16], labels[64];
    snprintf(number, sizeof number, "%d", code < KFX_COUNT(codes) ? codes[code] : 0);
    snprintf(labels, sizeof labels, "verb=\"%s\",code=\"%s\"", verb == UNKNOWN_VERB ? "other" : verbs[verb],
             code == ERROR   ? "error"
             : code == OTHER ? "other"
                             : number);
    return kfx_counter("kubeflex_api_requests_total", "Requests sent to the API server, by verb and HTTP code.",
                       labels);
}

void kfx_count_request(const char *verb, int status)
{
    size_t row = 0, column = place_of_code(status);
    while (row < KFX_COUNT(verbs) && strcmp(verbs[row], verb) != 0)
        row++;
    kfx_metric_t *metric = atomic_load_explicit(&series[row][column], memory_order_acquire);
    if (!metric) {
        metric = make(row, column);
        atomic_store_explicit(&series[row][column], metric, memory_order_release);
    }
    kfx_metric_add(metric, 1);
}
