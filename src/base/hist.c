/* hist.c: which bucket a span falls into, and the questions asked of a histogram. stat/ adds and reads; bench/ does both. */
#include "base/hist.h"

#define SUB_COUNT (1 << HIST_SUB_BITS)

/* One writer, so a plain load and a relaxed store are enough; readers elsewhere see whole words. */
#define LOAD(field)       __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, now) __atomic_store_n(&(field), (now), __ATOMIC_RELAXED)

/* The power of two picks the group, the SUB_BITS bits below the leading one the part of it. */
static unsigned bucket_of(nanos value)
{
    uint64_t v = (uint64_t)MIN(MAX(value, 1LL << HIST_MIN_BITS), 1LL << HIST_MAX_BITS);
    unsigned bits = 63 - (unsigned)__builtin_clzll(v);
    unsigned part = (unsigned)(v >> (bits - HIST_SUB_BITS)) & (SUB_COUNT - 1);
    return (bits - HIST_MIN_BITS) * SUB_COUNT + part;
}

static nanos bucket_middle(unsigned bucket)
{
    unsigned shift = bucket / SUB_COUNT + HIST_MIN_BITS - HIST_SUB_BITS;
    nanos low = (nanos)(SUB_COUNT + bucket % SUB_COUNT) << shift;
    return low + ((nanos)1 << shift) / 2;
}

static void add_to_bucket(uint32_t *bucket, uint32_t more)
{
    uint32_t had = LOAD(*bucket);
    STORE(*bucket, had > UINT32_MAX - more ? UINT32_MAX : had + more); /* full is nearer to the truth than wrapped to nothing */
}

void hist_add(struct hist *h, nanos value)
{
    value = MAX(value, 0);
    STORE(h->count, h->count + 1);
    STORE(h->sum, h->sum + value);
    if (value > h->max)
        STORE(h->max, value);
    add_to_bucket(&h->buckets[bucket_of(value)], 1);
}

void hist_merge(struct hist *into, const struct hist *from)
{
    STORE(into->count, into->count + LOAD(from->count));
    STORE(into->sum, into->sum + LOAD(from->sum));
    nanos max = LOAD(from->max);
    if (max > into->max)
        STORE(into->max, max);
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint32_t more = LOAD(from->buckets[i]);
        if (more > 0)
            add_to_bucket(&into->buckets[i], more);
    }
}

static uint64_t count_through(const struct hist *h, struct hist_reader *r, unsigned last)
{
    if (LOAD(h->count) == 0)
        return 0; /* most of a page's histograms; the count is the first that a writer changes */
    for (; r->next <= last; r->next++)
        r->samples += LOAD(h->buckets[r->next]);
    return r->samples;
}

nanos hist_quantile(const struct hist *h, double q)
{
    /* Not h->count: a reader beside the writer may see it ahead of the buckets. */
    uint64_t samples = hist_count_below(h, NEVER);
    if (samples == 0)
        return 0;
    double wanted = MIN(MAX(q, 0.0), 1.0) * (double)samples;
    uint64_t rank = (uint64_t)wanted;
    rank += (double)rank < wanted; /* upwards: the sample with at least that share at or below it */

    nanos max = LOAD(h->max);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += LOAD(h->buckets[i]);
        if (seen > 0 && seen >= rank)
            return MIN(bucket_middle(i), max); /* no quantile above the maximum: a page showing both would look broken */
    }
    return max;
}

uint64_t hist_count_on(const struct hist *h, struct hist_reader *r, nanos limit)
{
    if (limit < NANOS_PER_US)
        return 0; /* the smallest count as 1 us */
    if (limit >= (nanos)1 << HIST_MAX_BITS)
        return count_through(h, r, HIST_BUCKETS - 1);
    return count_through(h, r, bucket_of(limit)); /* the limit's own bucket included: a sample equal to it is never missed */
}

uint64_t hist_count_below(const struct hist *h, nanos limit)
{
    struct hist_reader r = { 0 };
    return hist_count_on(h, &r, limit);
}
