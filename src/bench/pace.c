/* pace.c: draws arrivals at rate 1 and finds where they fall on the clock of a changing rate. Called by load.c's workers. */
#include "bench/pace.h"
#include "base/random.h"
#include <math.h>

/* ---- chance ---- */

/* Above 0, at most 1: it has a logarithm. */
static double draw_uniform(struct pace *p)
{
    return (double)((random_step(&p->random) >> 11) + 1) * 0x1p-53;
}

/* Box and Muller, 1958; the second number of each pair is not worth a place to keep it. */
static double draw_normal(struct pace *p)
{
    double r = sqrt(-2 * log(draw_uniform(p)));
    return r * cos(2 * M_PI * draw_uniform(p));
}

/* Mean `shape`, which is 1 at least (Marsaglia and Tsang: "A Simple Method for Generating Gamma Variables", 2000). One round in twenty is thrown away at most. */
static double draw_gamma(struct pace *p, double shape)
{
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = draw_normal(p), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(draw_uniform(p)) < x * x / 2 + d - d * v + d * log(v))
            return d * v;
    }
}

/* Gamma gaps with mean 1 and standard deviation cv. Below shape 1 it is that of shape + 1, made smaller (the same paper, section 6). */
static double draw_gap_gamma(struct pace *p, double cv)
{
    double shape = 1 / (cv * cv);
    if (shape >= 1)
        return draw_gamma(p, shape) / shape;
    double more = draw_gamma(p, shape + 1);
    return more * pow(draw_uniform(p), 1 / shape) / shape;
}

static double draw_gap(struct pace *p)
{
    switch (p->plan->kind) {
    case PACE_POISSON:
        return -log(draw_uniform(p));
    case PACE_GAMMA:
        return draw_gap_gamma(p, p->plan->cv);
    default:
        return p->count == 0 ? 0.5 : 1; /* half a gap before the first and after the last: a rate of 10 for 1 s is 10 arrivals, and none is at an edge */
    }
}

/* ---- where it falls ---- */

static double seconds(nanos span) { return (double)span / (double)NANOS_PER_S; }

/* L over a whole phase. */
static double area(const struct pace_phase *f)
{
    return (f->from + f->to) / 2 * seconds(f->span);
}

/* Where the sum of the rate since the phase's beginning is `sum`: from x + (to - from) x^2 / 2 span = sum, solved in the form that loses no digits when the
   rate hardly changes, and works from a rate of 0. */
static nanos find_moment(const struct pace_phase *f, double sum)
{
    double slope = (f->to - f->from) / seconds(f->span);
    double root = sqrt(fmax(0, f->from * f->from + 2 * slope * sum));
    double x = sum <= 0 ? 0 : 2 * sum / (f->from + root);
    return MIN(nanos_of(x, NANOS_PER_S), f->span - 1);
}

static nanos next_moment(struct pace *p)
{
    const struct pace_plan *plan = p->plan;
    if (p->count == plan->moment_count)
        return NEVER;
    double speed = plan->speed > 0 ? plan->speed : 1;
    nanos at = nanos_of((double)plan->moments[p->count] / speed, 1);
    if (at >= pace_span(plan))
        return NEVER;
    p->count++;
    return at;
}

nanos pace_next(struct pace *p)
{
    const struct pace_plan *plan = p->plan;
    if (plan->kind == PACE_MOMENTS)
        return next_moment(p);
    p->at_unit += draw_gap(p);
    while (p->phase < plan->phase_count) {
        const struct pace_phase *f = &plan->phases[p->phase];
        if (p->at_unit < p->phase_unit + area(f)) {
            p->count++;
            return p->phase_began + find_moment(f, p->at_unit - p->phase_unit);
        }
        p->phase_unit += area(f);
        p->phase_began += f->span;
        p->phase++;
    }
    return NEVER;
}

void pace_begin(struct pace *p, const struct pace_plan *plan)
{
    ASSERT(plan->phase_count > 0 && plan->phase_count <= PACE_PHASES_MAX && (plan->kind != PACE_GAMMA || plan->cv > 0));
    *p = (struct pace){ .plan = plan, .random = plan->seed };
}

/* ---- questions ---- */

nanos pace_span(const struct pace_plan *plan)
{
    nanos sum = 0;
    for (unsigned i = 0; i < plan->phase_count; i++)
        sum += plan->phases[i].span;
    return sum;
}

double pace_level(const struct pace_plan *plan, nanos at)
{
    if (at < 0)
        return 0;
    for (unsigned i = 0; i < plan->phase_count; i++) {
        const struct pace_phase *f = &plan->phases[i];
        if (at < f->span)
            return f->from + (f->to - f->from) * ((double)at / (double)f->span);
        at -= f->span;
    }
    return 0;
}

double pace_peak(const struct pace_plan *plan)
{
    double most = 0;
    for (unsigned i = 0; i < plan->phase_count; i++)
        most = fmax(most, fmax(plan->phases[i].from, plan->phases[i].to));
    return most;
}
