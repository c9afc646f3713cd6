/* load.c: what finished attempts say about their backends: how long a first token takes there now, for choose.c, and how many requests it should have at once,
   for backends whose concurrency is adaptive. Called by slots.c, inside the gate.

   The first token's time is a peak-sensitive average that forgets with time, as in Finagle's and Linkerd's peak EWMA: worse is believed at once, better
   bit by bit. Theirs sinks to nothing while nothing is measured, and then the backend that was asked least is flooded until its first answer, which takes
   a model long; here two that are compared become equal as the older measure ages, and what is in flight decides. */
#include "fleet/inner.h"

#include <math.h>

#define FORGET_NS (10 * NANOS_PER_S) /* Finagle's: a measure of so long ago counts 1/e */

static double kept_after(nanos age)
{
    return exp(-(double)MAX(age, 0) / (double)FORGET_NS);
}

static void learn_first(struct load *l, struct backend *b, nanos first, nanos now)
{
    nanos before = atomic_load_explicit(&b->first_token, memory_order_relaxed);
    nanos mean = first + (nanos)((double)(before - first) * kept_after(now - l->measured_at));
    atomic_store_explicit(&b->first_token, first > before ? first : mean, memory_order_relaxed);
    l->measured_at = now;
}

void load_measured(struct fleet *f, const struct slot *slot, nanos now)
{
    struct backend *b = slot->backend;
    struct load *l = &f->loads[b->index];
    if (slot->first_token == 0 && !slot->is_refused)
        return; /* nothing was asked, or its client left too early to tell */
    if (!slot->is_refused)
        learn_first(l, b, slot->first_token, now);
    struct adapt_sample sample = { slot->taken_at, slot->first_token, now - slot->taken_at, count_now(&b->in_flight), slot->is_refused };
    if (l->adapt.limit != 0 && adapt_take(&l->adapt, &sample, now))
        breaker_slots(f, b, l->adapt.limit);
}

uint32_t load_limit(struct fleet *f, uint32_t index, uint32_t limit)
{
    struct adapt *a = &f->loads[index].adapt;
    if (limit != CONF_CONCURRENCY_ADAPTIVE) {
        *a = (struct adapt){ 0 };
        return limit;
    }
    if (a->limit == 0)
        adapt_begin(a, 0);
    return a->limit;
}

void load_compare(const struct fleet *f, unsigned one, unsigned two, double *out_one, double *out_two)
{
    const struct load *a = &f->loads[one], *b = &f->loads[two];
    double of_one = (double)atomic_load_explicit(&f->backends[one]->first_token, memory_order_relaxed);
    double of_two = (double)atomic_load_explicit(&f->backends[two]->first_token, memory_order_relaxed);
    double even = (of_one + of_two) / 2, kept = kept_after(f->now - MIN(a->measured_at, b->measured_at));
    bool is_known = of_one > 0 && of_two > 0;
    *out_one = is_known ? even + (of_one - even) * kept : 1;
    *out_two = is_known ? even + (of_two - even) * kept : 1;
}
