/* throttle.c: whether a pool's failures may still be tried again (fleet.h says how). Called by upstream/ for each attempt; atomics, no gate. */
#include "fleet/inner.h"

#define FULL (2 * RETRY_TOKENS) /* counted in halves */

static void take(struct pool *p, int32_t halves)
{
    int32_t was = atomic_load_explicit(&p->halves, memory_order_relaxed), is;
    do {
        is = MIN(MAX(was + halves, 0), FULL);
        if (is == was)
            return; /* an answer of a full one: the usual case writes nothing */
    } while (!atomic_compare_exchange_weak_explicit(&p->halves, &was, is, memory_order_relaxed, memory_order_relaxed));
}

void pool_answered(struct pool *p) { take(p, -1); }
void pool_failed(struct pool *p) { take(p, 2); }

bool pool_may_retry(const struct pool *p)
{
    return atomic_load_explicit(&p->halves, memory_order_relaxed) < FULL / 2;
}
