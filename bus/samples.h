/* bus/samples.h: the last 512 durations of something, for percentiles. Adding costs one store. Not thread-safe. */
#ifndef KFX_BUS_SAMPLES_H
#define KFX_BUS_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#define KFX_SAMPLES 512

typedef struct {
    uint32_t ms[KFX_SAMPLES];
    uint64_t added; /* ever */
} kfx_samples_t;

void kfx_samples_add(kfx_samples_t *self, int64_t ms);
/* The p-th percentile (nearest rank) of what is kept for each of the `count` values of p; 0 where nothing is. */
void kfx_samples_percentiles(const kfx_samples_t *self, const unsigned *p, uint32_t *out, size_t count);

#endif
