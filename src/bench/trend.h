/* trend.h: whether what was measured window by window grows, and by how much at least: a robust line with its interval. Scenarios that last ask it of latency and of the
   server's memory. */
#ifndef WEIR_TREND_H
#define WEIR_TREND_H

#include "bench/result.h"

/* Of value over at. All NAN: of fewer than TREND_LEAST points, or at one place. */
struct trend {
    double slope, low, high; /* low .. high: 95 % */
    double begin;            /* the line's value at the first point */
    unsigned count;          /* points that it is from */
};
#define TREND_LEAST 5 /* points: of fewer no interval is shorter than all that is possible */

/* The median of the slopes between all pairs of points, which three tenths of wild points cannot move (Theil 1950), and its interval from Kendall's statistic (Sen 1968,
   Estimates of the regression coefficient based on Kendall's tau, 3). Points that are not finite are left out; `at` rises; at most TALLY_WINDOWS_MAX points. Takes
   them for independent: where each lasts into the next, the interval is too narrow. FAIL_NO_MEMORY. */
MUSTUSE enum fail trend_of(const double *at, const double *value, unsigned count, struct trend *out);

/* Adds what the whole windows behind the warm-up say of the median of latency (drift), and of the server's memory where it was measured (memory_growth): the line's
   growth from the first to the last, as a share of where it begins. FAIL_NO_MEMORY. */
MUSTUSE enum fail trend_find(struct result *r);

#endif
