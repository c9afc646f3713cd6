/* stretch.c: a part of a test by itself; see stretch.h. */
#include "bench/stretch.h"
#include "base/mem.h"
#include <math.h>

#define NOISE_MS 1.0 /* what a scheduler may add to any answer */

/* The whole windows in a stretch: from first up to, and without, *out_end. */
static uint32_t windows_of(const struct tally *t, nanos from, nanos to, uint32_t *out_end)
{
    uint64_t first = (uint64_t)((from + t->window_span - 1) / t->window_span), end = (uint64_t)(to / t->window_span);
    *out_end = (uint32_t)MIN(end, t->window_count);
    return (uint32_t)MIN(first, *out_end);
}

static double ms_at(const struct hist *h, double q)
{
    return h->count > 0 ? (double)hist_quantile(h, q) / NANOS_PER_MS : NAN;
}

enum fail stretch_measure(const struct tally *t, nanos from, nanos to, struct stretch *out)
{
    struct stretch s = { 0 };
    struct hist *latency = mem_zero(sizeof *latency);
    uint32_t end, first = windows_of(t, from, to, &end);
    if (latency == NULL)
        return FAIL_NO_MEMORY;
    for (uint32_t i = first; i < end; i++) {
        const struct window *w = t->windows[i];
        s.ended += w->ended;
        s.failed += w->failed;
        s.good += w->good;
        hist_merge(latency, &w->latency);
    }
    double seconds = first < end ? (double)(end - first) * (double)t->window_span / (double)NANOS_PER_S : NAN;
    s.rate = (double)s.ended / seconds;
    s.ok_rate = (double)(s.ended - s.failed) / seconds;
    s.good_rate = (double)s.good / seconds;
    s.error_share = s.ended > 0 ? (double)s.failed / (double)s.ended : NAN;
    s.p50_ms = ms_at(latency, 0.5);
    s.p95_ms = ms_at(latency, 0.95);
    s.p99_ms = ms_at(latency, 0.99);
    mem_free(latency);
    *out = s;
    return OK;
}

static bool is_back(const struct window *w, double bound_ms)
{
    return w->latency.count > 0 && ms_at(&w->latency, 0.95) <= bound_ms;
}

nanos stretch_recovery(const struct tally *t, nanos from, nanos to, double before_p95_ms)
{
    double bound_ms = MAX(STRETCH_BACK * before_p95_ms, before_p95_ms + NOISE_MS);
    uint32_t end, first = windows_of(t, from, to, &end);
    for (uint32_t i = first; i < end; i++)
        if (is_back(t->windows[i], bound_ms) && (i + 1 == end || is_back(t->windows[i + 1], bound_ms)))
            return i == first ? 0 : (nanos)i * t->window_span - from;
    return NEVER;
}
