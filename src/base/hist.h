/* hist.h: a fixed-size log-linear histogram of spans (HDR-like: 64 linear parts per power of two, error <= 1/64 of the value, < 0.8 % at the middle).
   Values in nanoseconds from 1 us (smaller count as 1 us) to 2^42 ns (73 min; larger count as that). Merge is addition.
   One writer; readers on other threads see relaxed values. */
#ifndef WEIR_HIST_H
#define WEIR_HIST_H

#include "base/base.h"

#define HIST_SUB_BITS 6
#define HIST_MIN_BITS 10
#define HIST_MAX_BITS 42
#define HIST_BUCKETS ((HIST_MAX_BITS - HIST_MIN_BITS) * (1 << HIST_SUB_BITS) + (1 << HIST_SUB_BITS))

struct hist {
    uint64_t count;
    int64_t sum; /* nanoseconds */
    nanos max;
    uint32_t buckets[HIST_BUCKETS];
};
void hist_add(struct hist *h, nanos value);
void hist_merge(struct hist *into, const struct hist *from);
/* The value below which share q (0..1) of the samples lie: the middle of its bucket; 0 when empty. */
nanos hist_quantile(const struct hist *h, double q);
/* Samples <= limit, by whole buckets; for Prometheus' cumulative buckets. */
uint64_t hist_count_below(const struct hist *h, nanos limit);
/* The same for limits that do not fall, in one pass; from zeroes. Beside a writer, too, no count is below the one before. */
struct hist_reader {
    unsigned next; /* bucket */
    uint64_t samples;
};
uint64_t hist_count_on(const struct hist *h, struct hist_reader *r, nanos limit);

#endif
