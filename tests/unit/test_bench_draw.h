/* test_bench_draw.h: numbers by chance for made-up measurements; a test sets seed first. Used by test_bench_compare.c, test_bench_search.c and test_bench_trend.c. */
#ifndef TEST_BENCH_DRAW_H
#define TEST_BENCH_DRAW_H

#include "base/random.h"
#include <math.h>

static uint64_t seed;

/* Above 0 and below 1. */
static inline double draw(void)
{
    return ((double)(random_step(&seed) >> 11) + 0.5) * 0x1p-53;
}

static inline double draw_normal(void)
{
    return sqrt(-2 * log(draw())) * cos(6.283185307179586 * draw());
}

#endif
