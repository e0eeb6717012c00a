/* bus/heap.h: timers as an intrusive binary heap, O(log n). A node lives inside its owner's struct, so that a timer can
 * be moved and removed without a search. Not thread-safe. */
#ifndef KFX_BUS_HEAP_H
#define KFX_BUS_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define KFX_NEVER INT64_MAX

typedef struct {
    int64_t due; /* ms; valid while slot > 0 */
    size_t slot; /* 1-based place in the heap; 0 = not in it */
    void *owner;
} kfx_heap_node_t;

typedef struct {
    kfx_heap_node_t **nodes;
    size_t count, cap;
} kfx_heap_t;

void kfx_heap_set(kfx_heap_t *heap, kfx_heap_node_t *node, int64_t due); /* inserts or moves */
void kfx_heap_remove(kfx_heap_t *heap, kfx_heap_node_t *node);           /* no harm where it is not in */
kfx_heap_node_t *kfx_heap_first(const kfx_heap_t *heap);                 /* the earliest, or NULL */
void kfx_heap_free(kfx_heap_t *heap);

#endif
