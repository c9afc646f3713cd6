/* pace.h: when requests are meant to start: arrivals of an open loop, and how many users a closed one has. Numbers only: no clock, no I/O.

   Arrivals of a changing rate are arrivals of rate 1 on another clock (Cinlar, Introduction to Stochastic Processes, 1975, 4.7): with L(t) the sum of the rate
   until t, the k-th arrival is where L(t) has the value of the k-th arrival at rate 1. So each kind is one way to draw gaps with mean 1. */
#ifndef WEIR_PACE_H
#define WEIR_PACE_H

#include "base/base.h"

#define PACE_PHASES_MAX 256

enum pace_kind {
    PACE_CONSTANT, /* gaps of 1 */
    PACE_POISSON,  /* exponential gaps */
    PACE_GAMMA,    /* gamma gaps with a stated coefficient of variation: 1 is Poisson, above is burstier */
    PACE_MOMENTS,  /* a trace's own moments, scaled; phases say only when it ends */
};

/* A stretch of a test: from one level to another in a straight line. Open loops: requests a second. Closed: users. */
struct pace_phase {
    nanos span;
    double from, to;
};

struct pace_plan {
    enum pace_kind kind;
    double cv;             /* GAMMA: > 0 */
    uint64_t seed;         /* the same seed, the same arrivals */
    unsigned phase_count;  /* 1 .. PACE_PHASES_MAX */
    struct pace_phase phases[PACE_PHASES_MAX];
    const nanos *moments;  /* MOMENTS: since the start, not falling; the caller's, outlives the pace */
    uint64_t moment_count;
    double speed;          /* MOMENTS: 2 plays a trace twice as fast; 0 counts as 1 */
};

/* Where one reader of a plan stands. Every worker of a test has one and draws all arrivals; it starts those that are its own. */
struct pace {
    const struct pace_plan *plan;
    uint64_t random;
    uint64_t count;        /* arrivals drawn */
    double at_unit;        /* the last arrival at rate 1 */
    unsigned phase;        /* where it fell */
    nanos phase_began;
    double phase_unit;     /* L(phase_began) */
};

void pace_begin(struct pace *p, const struct pace_plan *plan);
/* The next arrival, in nanoseconds since the start; NEVER when the plan is over. */
nanos pace_next(struct pace *p);
nanos pace_span(const struct pace_plan *plan);                 /* of all phases */
double pace_level(const struct pace_plan *plan, nanos at);     /* the rate or users meant at a moment; 0 outside */
double pace_peak(const struct pace_plan *plan);                /* the highest level */

#endif
