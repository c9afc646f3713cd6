/* tail.c: when a first token of a pool is late, and how many second calls its requests have earned: what hedging needs to know. Called by upstream/hedge.c for
   pools whose model says `hedge: on`; atomics, no gate.

   Late is later than 95 % were (J. Dean, L. Barroso, "The Tail at Scale", CACM 2013: "hedged requests"). The histogram is log-linear, eight parts to a power of
   two, so the bound is at most an eighth too late and never too early. Old samples fade: at TAIL_FADE all counts are halved. Each sample adds TAIL_UNIT,
   so that a bucket with a single one survives its first halvings. */
#include "fleet/inner.h"

#define TAIL_LEAST 20   /* samples: of fewer none is the slowest twentieth */
#define TAIL_FADE  2000 /* samples: a hundred of them lie behind the bound */
#define TAIL_UNIT  16
#define SUB_BITS   3
#define LOW_BITS   17   /* 131 us; sooner counts as that */

#define CALL_EARNS  1   /* in twentieths of a call: 5 % */
#define HEDGE_COSTS 20
#define CREDIT_MAX  (10 * HEDGE_COSTS) /* of a quiet hour no more than ten are left for a bad second */

static unsigned bucket_of(nanos span)
{
    uint64_t v = MAX((uint64_t)MAX(span, 0), 1ull << LOW_BITS);
    unsigned high = 63 - (unsigned)__builtin_clzll(v);
    unsigned index = (high - LOW_BITS) << SUB_BITS | (unsigned)(v >> (high - SUB_BITS) & ((1u << SUB_BITS) - 1));
    return MIN(index, TAIL_BUCKETS - 1);
}

/* Where the bucket ends. */
static nanos bucket_end(unsigned index)
{
    unsigned high = (index >> SUB_BITS) + LOW_BITS, part = index & ((1u << SUB_BITS) - 1);
    return (nanos)((uint64_t)((1u << SUB_BITS) + part + 1) << (high - SUB_BITS));
}

void pool_first_token(struct pool *p, bool is_stream, nanos took)
{
    struct tail *tail = &p->tails[is_stream];
    atomic_fetch_add_explicit(&tail->buckets[bucket_of(took)], TAIL_UNIT, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&tail->samples, 1, memory_order_relaxed) + 1 != TAIL_FADE)
        return;
    for (unsigned i = 0; i < TAIL_BUCKETS; i++) /* a sample that comes in between is lost, which nobody will notice */
        count_set(&tail->buckets[i], count_now(&tail->buckets[i]) / 2);
    atomic_fetch_sub_explicit(&tail->samples, TAIL_FADE / 2, memory_order_relaxed);
}

nanos pool_late(const struct pool *p, bool is_stream)
{
    const struct tail *tail = &p->tails[is_stream];
    uint64_t all = 0, later = 0;
    if (count_now(&tail->samples) < TAIL_LEAST)
        return NEVER;
    for (unsigned i = 0; i < TAIL_BUCKETS; i++)
        all += count_now(&tail->buckets[i]);
    for (unsigned i = TAIL_BUCKETS; i-- > 0;) {
        later += count_now(&tail->buckets[i]);
        if (later * 20 > all)
            return bucket_end(i);
    }
    return NEVER;
}

/* ---- the budget ---- */

void pool_hedge_earn(struct pool *p)
{
    int32_t was = atomic_load_explicit(&p->hedge_credit, memory_order_relaxed);
    while (was < CREDIT_MAX && !atomic_compare_exchange_weak_explicit(&p->hedge_credit, &was, was + CALL_EARNS, memory_order_relaxed, memory_order_relaxed))
        ;
}

bool pool_hedge_pay(struct pool *p)
{
    int32_t was = atomic_load_explicit(&p->hedge_credit, memory_order_relaxed);
    while (was >= HEDGE_COSTS)
        if (atomic_compare_exchange_weak_explicit(&p->hedge_credit, &was, was - HEDGE_COSTS, memory_order_relaxed, memory_order_relaxed))
            return true;
    return false;
}

void pool_hedge_return(struct pool *p)
{
    atomic_fetch_add_explicit(&p->hedge_credit, HEDGE_COSTS, memory_order_relaxed);
}
