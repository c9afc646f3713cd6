/* bench_spike.c: scenarios of `weir bench` about too much at once: a spike of users, and several times what a server can do. */
#include "bench/figure.h"
#include "bench/stretch.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

/* "back after 3 s", or not. */
static const char *recovery_print(nanos recovery, char out[64])
{
    char after[24];
    if (recovery == NEVER)
        snprintf(out, 64, "was not itself again while it was watched");
    else
        snprintf(out, 64, "was itself again %s%s", recovery == 0 ? "at once" : "after ", recovery == 0 ? "" : nanos_print(recovery, after));
    return out;
}

static double ms_of(nanos span)
{
    return span == NEVER ? NAN : (double)span / NANOS_PER_MS;
}

/* ---- spike ---- */

static bool judge_spike(struct bench_scene *s, struct result *r, nanos up, nanos down, nanos end)
{
    struct stretch before, during;
    char p95[FIGURE_MAX], was[FIGURE_MAX], times[FIGURE_MAX], back[64];
    if (stretch_measure(&s->tally, s->run->plan.warmup, up, &before) != OK || stretch_measure(&s->tally, up, down, &during) != OK)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left to look at the spike");
    nanos recovery = stretch_recovery(&s->tally, down, end, before.p95_ms);
    double degradation = during.p95_ms / before.p95_ms;
    result_add_finding(r, FINDING_degradation, degradation, NAN, NAN);
    result_add_finding(r, FINDING_degradation_p50, during.p50_ms / before.p50_ms, NAN, NAN);
    result_add_finding(r, FINDING_recovery, ms_of(recovery), NAN, NAN);
    snprintf(r->knee, sizeof r->knee, "Under the spike p95 was %.20s, %.20s times the %.20s before it; p95 %s.", figure_print(p95, during.p95_ms, FIGURE_MS),
             figure_print(times, degradation, FIGURE_COUNT), figure_print(was, before.p95_ms, FIGURE_MS), recovery_print(recovery, back));
    return true;
}

/* One run, so that what waits when the spike ends is still there afterwards. */
bool bench_spike(struct bench_scene *s)
{
    struct result *r;
    nanos at[4] = { 0 };
    bench_scene_begin(s);
    for (unsigned i = 0; i < 3; i++) {
        double level = bench_scene_level(s, s->row->levels.at[i]);
        nanos span = bench_scene_span(s, i) + (i == 0 ? s->run->plan.warmup : 0);
        at[i + 1] = at[i] + span;
        if (!bench_scene_phase(s, span, level, level))
            return false;
    }
    return bench_scene_leg(s, "", &r) && judge_spike(s, r, at[1], at[2], at[3]);
}

/* ---- stress ---- */

#define PATIENCE (5 * NANOS_PER_S) /* of those who ask, unless --timeout says: with the usual minute five times too many would soon hold every descriptor */

/* What ended at a percentage of the capacity, as a point of the curve. */
static bool measure_share(struct bench_scene *s, struct result *r, double level, nanos from, nanos to, struct stretch *out)
{
    if (stretch_measure(&s->tally, from, to, out) != OK)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left for the curve");
    r->levels[r->level_count++] = (struct result_level){ level, out->ok_rate, out->p50_ms, out->p99_ms, out->error_share, out->good_rate >= 0.99 * level };
    return true;
}

/* Which stretch has the highest level, and which is the full load before it. */
static bool judge_stress(struct bench_scene *s, struct result *r, double capacity, const nanos *at)
{
    const struct bench_list *shares = &s->row->levels;
    struct stretch part, full = { 0 }, over = { 0 };
    char good[FIGURE_MAX], back[64];
    unsigned last = shares->count - 1;
    double top = 0;
    for (unsigned i = 0; i < last; i++) {
        if (!measure_share(s, r, capacity * shares->at[i] / 100, at[i], at[i + 1], &part))
            return false;
        if (shares->at[i] == 100)
            full = part;
        if (shares->at[i] > top)
            over = part, top = shares->at[i];
    }
    nanos recovery = stretch_recovery(&s->tally, at[last], at[last + 1], full.p95_ms);
    double retained = over.good_rate / full.good_rate;
    result_add_finding(r, FINDING_goodput_retained, retained, NAN, NAN);
    result_add_finding(r, FINDING_recovery, ms_of(recovery), NAN, NAN);
    snprintf(r->knee, sizeof r->knee, "At %.0f %% of its capacity of %.4g a second %.20s of the good answers were left; p95 %s.", top, capacity,
             figure_print(good, retained, FIGURE_SHARE), recovery_print(recovery, back));
    return true;
}

/* All of it in one run, as for the spike. */
static bool overload(struct bench_scene *s, double capacity)
{
    nanos at[BENCH_LEVELS_MAX + 1] = { 0 };
    struct result *r;
    bench_scene_begin(s);
    s->run->plan.is_open = true;
    for (unsigned i = 0; i < s->row->levels.count; i++) {
        double level = capacity * s->row->levels.at[i] / 100;
        nanos span = bench_scene_span(s, i) + (i == 0 ? s->run->plan.warmup : 0);
        at[i + 1] = at[i] + span;
        if (!bench_scene_phase(s, span, level, level))
            return false;
    }
    return bench_scene_leg(s, "", &r) && judge_stress(s, r, capacity, at);
}

bool bench_stress(struct bench_scene *s)
{
    double capacity;
    if (s->words->users != NULL)
        return bench_scene_fail(s, EXIT_USAGE, "--users has no meaning for stress, which is about requests a second; --rate says where its search begins");
    if (s->words->timeout == NULL)
        s->run->plan.timeout = s->run->plan.drain = PATIENCE;
    return bench_find_capacity(s, &capacity) && overload(s, capacity);
}
