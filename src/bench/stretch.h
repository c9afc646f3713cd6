/* stretch.h: a part of a test by itself: how quick a server was before, under and after a spike, and when it was itself again. From a tally's windows, whose histograms
   a result no longer has; so a stretch is as many whole windows as lie in it. Scenarios whose load changes ask. */
#ifndef WEIR_STRETCH_H
#define WEIR_STRETCH_H

#include "bench/tally.h"

/* Of what ended in it; NAN: nothing that was ok, or no whole window. Rates are a second. */
struct stretch {
    uint64_t ended, failed, good;
    double rate, ok_rate, good_rate, error_share, p50_ms, p95_ms, p99_ms;
};

/* Moments count from the beginning of the test. FAIL_NO_MEMORY. */
MUSTUSE enum fail stretch_measure(const struct tally *t, nanos from, nanos to, struct stretch *out);

#define STRETCH_BACK 1.2 /* times of before: so near, p95 is back */
/* How long after `from` p95 is back within STRETCH_BACK times of before_p95_ms (or a millisecond more, which any scheduler takes) for this window and the next, so that
   one lucky window is no recovery: the beginning of the first of the two; 0 if that is the first one there is. NEVER: not before `to`. */
nanos stretch_recovery(const struct tally *t, nanos from, nanos to, double before_p95_ms);

#endif
