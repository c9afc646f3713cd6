/* heap.c: sifting in a binary min-heap of moments (Williams 1964). run/ keeps one per loop for its timers. */
#include "base/heap.h"

#include "base/mem.h"

#define HEAP_ROOM_MIN 64 /* timers of a quiet worker; one page of pointers is 512 */

void heap_init(struct heap *h)
{
    *h = (struct heap){ 0 };
}

void heap_fini(struct heap *h)
{
    mem_free(h->nodes);
    heap_init(h);
}

enum fail heap_reserve(struct heap *h, uint32_t n)
{
    if (n <= h->room)
        return OK;

    uint64_t room = MAX(MAX((uint64_t)n, 2 * (uint64_t)h->room), HEAP_ROOM_MIN);
    room = MIN(room, UINT32_MAX);
    struct heap_node **nodes = mem_resize(h->nodes, (size_t)(room + 1) * sizeof(struct heap_node *)); /* + 1: places start at 1 */
    if (nodes == NULL)
        return FAIL_NO_MEMORY;
    h->nodes = nodes;
    h->room = (uint32_t)room;
    return OK;
}

static void put(struct heap *h, uint32_t place, struct heap_node *n)
{
    h->nodes[place] = n;
    n->place = place;
}

/* Both sifts move a hole instead of swapping: half the writes. */
static void sift_up(struct heap *h, uint32_t hole, struct heap_node *n)
{
    while (hole > 1 && n->at < h->nodes[hole / 2]->at) {
        put(h, hole, h->nodes[hole / 2]);
        hole /= 2;
    }
    put(h, hole, n);
}

static void sift_down(struct heap *h, uint32_t hole, struct heap_node *n)
{
    uint64_t child; /* 64 bits: twice a place may not fit 32 */
    while ((child = 2 * (uint64_t)hole) <= h->count) {
        if (child < h->count && h->nodes[child + 1]->at < h->nodes[child]->at)
            child++;
        if (n->at <= h->nodes[child]->at)
            break;
        put(h, hole, h->nodes[child]);
        hole = (uint32_t)child;
    }
    put(h, hole, n);
}

/* n belongs at or around the hole, which way is not known. */
static void settle(struct heap *h, uint32_t hole, struct heap_node *n)
{
    if (hole > 1 && n->at < h->nodes[hole / 2]->at)
        sift_up(h, hole, n);
    else
        sift_down(h, hole, n);
}

void heap_set(struct heap *h, struct heap_node *n, nanos at)
{
    n->at = at;
    if (heap_has(n)) {
        ASSERT(n->place <= h->count && h->nodes[n->place] == n); /* else it is in another heap */
        settle(h, n->place, n);
        return;
    }
    ASSERT(h->count < h->room);
    sift_up(h, ++h->count, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (!heap_has(n))
        return;
    ASSERT(n->place <= h->count && h->nodes[n->place] == n);

    uint32_t hole = n->place;
    struct heap_node *last = h->nodes[h->count--];
    n->place = 0;
    if (last != n)
        settle(h, hole, last);
}
