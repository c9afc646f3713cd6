/* trend.c: the line of Theil and Sen through the windows of a run; see trend.h. */
#include "bench/trend.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

#define Z_95 1.959964

/* ---- the line ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool is_point(double at, double value)
{
    return isfinite(at) && isfinite(value);
}

/* Into slopes, those of all pairs, sorted; how many. */
static size_t find_slopes(const double *at, const double *value, unsigned count, double *slopes)
{
    size_t n = 0;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < i && is_point(at[i], value[i]); j++)
            if (is_point(at[j], value[j]) && at[i] > at[j])
                slopes[n++] = (value[i] - value[j]) / (at[i] - at[j]);
    qsort(slopes, n, sizeof *slopes, by_size);
    return n;
}

static double median(const double *sorted, size_t n)
{
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* Of n sorted slopes: the ranks as far from the middle as Kendall's S may be by chance. */
static void take_slope(struct trend *t, const double *slopes, size_t n)
{
    double points = t->count, spread = Z_95 * sqrt(points * (points - 1) * (2 * points + 5) / 18);
    size_t low = (size_t)MAX(lround(((double)n - spread) / 2), 1), high = MIN((size_t)lround(((double)n + spread) / 2) + 1, n);
    t->slope = median(slopes, n);
    t->low = slopes[MIN(low, n) - 1];
    t->high = slopes[high - 1];
}

/* Half of the points lie above the line. */
static double value_at_begin(const struct trend *t, const double *at, const double *value, unsigned count, double *scratch)
{
    size_t n = 0;
    double begin = NAN;
    for (unsigned i = 0; i < count; i++) {
        if (!is_point(at[i], value[i]))
            continue;
        begin = n == 0 ? at[i] : begin;
        scratch[n++] = value[i] - t->slope * (at[i] - begin);
    }
    qsort(scratch, n, sizeof *scratch, by_size);
    return median(scratch, n);
}

enum fail trend_of(const double *at, const double *value, unsigned count, struct trend *out)
{
    struct trend t = { .slope = NAN, .low = NAN, .high = NAN, .begin = NAN };
    ASSERT(count <= TALLY_WINDOWS_MAX);
    double *slopes = mem_alloc(((size_t)count * count / 2 + count + 1) * sizeof *slopes); /* and the points themselves */
    if (slopes == NULL)
        return FAIL_NO_MEMORY;
    for (unsigned i = 0; i < count; i++)
        t.count += is_point(at[i], value[i]);
    size_t n = t.count >= TREND_LEAST ? find_slopes(at, value, count, slopes) : 0;
    if (n > 0) {
        take_slope(&t, slopes, n);
        t.begin = value_at_begin(&t, at, value, count, slopes);
    }
    mem_free(slopes);
    *out = t;
    return OK;
}

/* ---- of a run ---- */

struct series {
    double at[TALLY_WINDOWS_MAX], p50[TALLY_WINDOWS_MAX], memory[TALLY_WINDOWS_MAX];
    unsigned count;
};

static bool is_whole(const struct result *r, unsigned i)
{
    double span_s = r->window_count > 1 ? r->windows[1].at_s - r->windows[0].at_s : r->span_s;
    return r->windows[i].at_s >= r->warmup_s && r->windows[i].at_s + span_s <= r->warmup_s + r->span_s + span_s / 100;
}

static enum fail add(struct result *r, enum finding id, const struct series *s, const double *value)
{
    struct trend t;
    enum fail f = trend_of(s->at, value, s->count, &t);
    if (f != OK)
        return f;
    double unit = s->count > 0 ? (s->at[s->count - 1] - s->at[0]) / t.begin : NAN;
    result_add_finding(r, id, t.slope * unit, t.low * unit, t.high * unit);
    return OK;
}

enum fail trend_find(struct result *r)
{
    struct series *s = mem_zero(sizeof *s);
    if (s == NULL)
        return FAIL_NO_MEMORY;
    for (unsigned i = 0; i < r->window_count; i++) {
        if (!is_whole(r, i))
            continue;
        s->at[s->count] = r->windows[i].at_s;
        s->p50[s->count] = r->windows[i].p50_ms;
        s->memory[s->count++] = r->windows[i].server_rss_mb;
    }
    enum fail f = add(r, FINDING_drift, s, s->p50);
    if (f == OK && isfinite(r->rss_mb))
        f = add(r, FINDING_memory_growth, s, s->memory);
    mem_free(s);
    return f;
}
