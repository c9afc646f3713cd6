/* bench_runs.h: results of load tests as they would be, made up without a test: what reports are tried with. */
#ifndef WEIR_TEST_BENCH_RUNS_H
#define WEIR_TEST_BENCH_RUNS_H

#include "bench/result.h"

enum bench_run {
    BENCH_RUN_STEADY,  /* a minute, all criteria met, tokens and a cache */
    BENCH_RUN_SPIKE,   /* 600 windows, latency a hundredfold and errors of several kinds in the middle, a server that is watched; criteria missed */
    BENCH_RUN_INVALID, /* it looks good, but the generator was the limit */
    BENCH_RUN_SEARCH,  /* find-max: levels up and down, a knee */
    BENCH_RUN_EMPTY,   /* nothing ended */
    BENCH_RUN_HOSTILE, /* every text from outside is an attack on the page */
    BENCH_RUN_COUNT
};
/* Into *r, which is too large for a stack. The same every time. */
void bench_run_make(struct result *r, enum bench_run which);

#endif
