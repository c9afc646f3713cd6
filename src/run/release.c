/* release.c: large buffers on their way back to the kernel, one after another. net/ gives bodies here. */
#include "run/release.h"
#include <sys/mman.h>

#define PAGE_BYTES  4096
#define STEP_BYTES  262144 /* about 30 us */

/* What is on its way: in the first bytes of its own memory. */
struct release {
    struct node node;
    uintptr_t at, end; /* whole pages that the kernel has still to take */
};

static void release_step(struct worker *w, struct turn_end *self)
{
    struct release *r = CONTAINER_OF(list_first(&w->releases), struct release, node);
    uintptr_t n = MIN(r->end - r->at, (uintptr_t)STEP_BYTES);
    (void)madvise((void *)r->at, n, MADV_DONTNEED); /* where it is refused, the free does it all */
    r->at += n;
    if (r->at == r->end) {
        list_remove(&w->releases, &r->node);
        mem_free(r);
    }
    if (!list_is_empty(&w->releases))
        turn_end_ask(w, self);
}

void release_buf(struct worker *w, struct buf *b)
{
    if (b->room <= STEP_BYTES || b->is_secret) { /* what is secret is wiped byte by byte */
        buf_fini(b);
        return;
    }
    struct release *r = (struct release *)(void *)b->mem;
    uintptr_t end = (uintptr_t)b->mem + b->room;
    *r = (struct release){ .at = ((uintptr_t)(r + 1) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES, .end = end / PAGE_BYTES * PAGE_BYTES };
    b->mem = NULL;
    b->room = 0;
    buf_fini(b);
    list_push(&w->releases, &r->node);
    turn_end_ask(w, &w->release_turn);
}

void release_init(struct worker *w)
{
    list_init(&w->releases);
    w->release_turn.run = release_step;
}

void release_rest(struct worker *w)
{
    while (!list_is_empty(&w->releases))
        mem_free(CONTAINER_OF(list_pop(&w->releases), struct release, node));
}
