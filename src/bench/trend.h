/* trend.h: whether a series of measurements grows, and by how much at least: the slope of a robust line with its interval. Scenarios ask it of latency and of memory. */
#ifndef WEIR_TREND_H
#define WEIR_TREND_H

#include "base/base.h"
#include "base/fail.h"

/* Of value over at; NAN: fewer than TREND_LEAST points. */
struct trend {
    double slope, low, high; /* low .. high: 95 % */
    unsigned count;          /* points it is from */
};
#define TREND_LEAST 5 /* points: of fewer no interval can be told */
#define TREND_MOST  600

/* The median of the slopes between all pairs of points, which a third of wild points cannot move (Theil 1950), and its interval from Kendall's statistic (Sen 1968).
   Points that are not finite are left out; count <= TREND_MOST. Takes the points for independent: where each lasts into the next, the interval is too narrow.
   FAIL_NO_MEMORY. */
MUSTUSE enum fail trend_of(const double *at, const double *value, unsigned count, struct trend *out);

#endif
