/* heap.h: an intrusive binary min-heap of moments, for timers. Nodes know their place, so removal is O(log n). */
#ifndef WEIR_HEAP_H
#define WEIR_HEAP_H

#include "base/fail.h"

struct heap_node {
    nanos at;
    uint32_t place; /* 1-based; 0 = not in a heap */
};

struct heap {
    struct heap_node **nodes; /* nodes[1..count] */
    uint32_t count, room;
};

void heap_init(struct heap *h);
void heap_fini(struct heap *h);
/* Room for n nodes at least, so that the next n pushes cannot fail. FAIL_NO_MEMORY. */
MUSTUSE enum fail heap_reserve(struct heap *h, uint32_t n);
/* Adds node, or moves it if it is in the heap already. Equal moments come out in no stated order. Asserts on room: reserve first. */
void heap_set(struct heap *h, struct heap_node *n, nanos at);
void heap_remove(struct heap *h, struct heap_node *n); /* nothing happens if it is not in */
static inline struct heap_node *heap_first(const struct heap *h) { return h->count ? h->nodes[1] : NULL; }
static inline bool heap_has(const struct heap_node *n) { return n->place != 0; }

#endif
