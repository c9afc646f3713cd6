/* trend.c: the line of Theil and Sen; see trend.h. */
#include "bench/trend.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

#define Z_95 1.959964

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Into slopes, those of all pairs; how many. *out_points: how many points have both. */
static size_t find_slopes(const double *at, const double *value, unsigned count, double *slopes, unsigned *out_points)
{
    size_t n = 0;
    unsigned points = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!isfinite(at[i]) || !isfinite(value[i]))
            continue;
        points++;
        for (unsigned j = 0; j < i; j++)
            if (isfinite(at[j]) && isfinite(value[j]) && at[i] != at[j])
                slopes[n++] = (value[i] - value[j]) / (at[i] - at[j]);
    }
    *out_points = points;
    return n;
}

/* Sen's ranks, for sorted slopes: as far from the middle as Kendall's S may be by chance. */
static void take_middle(struct trend *t, const double *slopes, size_t n)
{
    double points = t->count, spread = Z_95 * sqrt(points * (points - 1) * (2 * points + 5) / 18);
    double low = ((double)n - spread) / 2, high = ((double)n + spread) / 2;
    t->slope = (slopes[(n - 1) / 2] + slopes[n / 2]) / 2;
    t->low = low < 1 ? -INFINITY : slopes[(size_t)low - 1];
    t->high = high >= (double)n ? INFINITY : slopes[(size_t)ceil(high)];
}

enum fail trend_of(const double *at, const double *value, unsigned count, struct trend *out)
{
    struct trend t = { .slope = NAN, .low = NAN, .high = NAN };
    ASSERT(count <= TREND_MOST);
    double *slopes = mem_alloc(((size_t)count * count / 2 + 1) * sizeof *slopes);
    if (slopes == NULL)
        return FAIL_NO_MEMORY;
    size_t n = find_slopes(at, value, count, slopes, &t.count);
    if (t.count >= TREND_LEAST && n > 0) {
        qsort(slopes, n, sizeof *slopes, by_size);
        take_middle(&t, slopes, n);
    }
    mem_free(slopes);
    *out = t;
    return OK;
}
