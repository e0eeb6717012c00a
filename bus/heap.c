/* bus/heap.c: see heap.h. */
#include "bus/heap.h"

#include "base/mem.h"

static void place(kfx_heap_t *heap, size_t slot, kfx_heap_node_t *node)
{
    heap->nodes[slot - 1] = node;
    node->slot = slot;
}

static void sift(kfx_heap_t *heap, kfx_heap_node_t *node)
{
    size_t at = node->slot;
    while (at > 1 && heap->nodes[at / 2 - 1]->due > node->due) {
        place(heap, at, heap->nodes[at / 2 - 1]);
        at /= 2;
    }
    while (at * 2 <= heap->count) {
        size_t child = at * 2;
        if (child < heap->count && heap->nodes[child]->due < heap->nodes[child - 1]->due)
            child++;
        if (heap->nodes[child - 1]->due >= node->due)
            break;
        place(heap, at, heap->nodes[child - 1]);
        at = child;
    }
    place(heap, at, node);
}

void kfx_heap_set(kfx_heap_t *heap, kfx_heap_node_t *node, int64_t due)
{
    node->due = due;
    if (node->slot == 0) {
        if (heap->count == heap->cap) {
            heap->cap = heap->cap ? heap->cap * 2 : 16;
            heap->nodes = kfx_xrealloc(heap->nodes, heap->cap * sizeof(kfx_heap_node_t *));
        }
        place(heap, ++heap->count, node);
    }
    sift(heap, node);
}

void kfx_heap_remove(kfx_heap_t *heap, kfx_heap_node_t *node)
{
    if (node->slot == 0)
        return;
    kfx_heap_node_t *last = heap->nodes[heap->count - 1];
    size_t slot = node->slot;
    node->slot = 0;
    heap->count--;
    if (last == node)
        return;
    place(heap, slot, last);
    sift(heap, last);
}

kfx_heap_node_t *kfx_heap_first(const kfx_heap_t *heap)
{
    return heap->count ? heap->nodes[0] : NULL;
}

void kfx_heap_free(kfx_heap_t *heap)
{
    free(heap->nodes);
    heap->nodes = NULL;
    heap->count = heap->cap = 0;
}
