/* bus/samples.c: see samples.h. */
#include "bus/samples.h"

#include <stdlib.h>
#include <string.h>

void kfx_samples_add(kfx_samples_t *self, int64_t ms)
{
    self->ms[self->added++ % KFX_SAMPLES] = ms <= 0 ? 0 : ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void kfx_samples_percentiles(const kfx_samples_t *self, const unsigned *p, uint32_t *out, size_t count)
{
    uint32_t sorted[KFX_SAMPLES];
    size_t n = self->added < KFX_SAMPLES ? (size_t)self->added : KFX_SAMPLES;
    memcpy(sorted, self->ms, n * sizeof sorted[0]);
    qsort(sorted, n, sizeof sorted[0], by_size);
    for (size_t i = 0; i < count; i++) {
        size_t rank = (n * p[i] + 99) / 100;
        out[i] = n == 0 ? 0 : sorted[rank > 0 ? rank - 1 : 0];
    }
}
