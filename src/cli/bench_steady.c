/* bench_steady.c: scenarios of `weir bench` at steady levels: one, one that lasts, several; and the ramp through all of them. */
#include "bench/search.h"
#include "bench/stretch.h"
#include "bench/trend.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <stdio.h>

#define SLICES      10   /* of a ramp: as many points of its curve */
#define ERRORS_KEPT 0.01 /* a level with fewer is drawn as one that was held */

static const char *unit_of(const struct bench_scene *s)
{
    return s->run->plan.is_open ? "requests a second" : "users";
}

static bool run_level(struct bench_scene *s, unsigned i, const char *name, struct result **out)
{
    double level = bench_scene_level(s, s->row->levels.at[i]);
    bench_scene_begin(s);
    return bench_scene_phase(s, bench_scene_span(s, i) + s->run->plan.warmup, level, level) && bench_scene_leg(s, name, out);
}

bool bench_steady(struct bench_scene *s)
{
    struct result *r;
    return run_level(s, 0, "", &r);
}

bool bench_lasting(struct bench_scene *s)
{
    struct result *r;
    if (!run_level(s, 0, "", &r))
        return false;
    return trend_find(r) == OK || bench_scene_fail(s, EXIT_FAILED, "no memory is left to look for drift");
}

/* ---- the curve ---- */

static void add_level(struct result *r, const struct result_level *level)
{
    if (r->level_count < RESULT_LEVELS_MAX)
        r->levels[r->level_count++] = *level;
}

/* Each a run, and the curve of all of them with the last one. */
bool bench_full(struct bench_scene *s)
{
    struct result_level levels[BENCH_LEVELS_MAX];
    struct result *r = NULL;
    unsigned done = 0;
    s->is_several = true;
    for (unsigned i = 0; i < s->row->levels.count && !bench_scene_is_stopped(); i++) {
        double level = bench_scene_level(s, s->row->levels.at[i]);
        char name[16];
        if (done > 0 && level == levels[done - 1].level)
            continue; /* a share of few --users */
        snprintf(name, sizeof name, s->words->rate != NULL ? "%.4g/s" : level == 1 ? "%.0f user" : "%.0f users", level);
        if (!run_level(s, i, name, &r))
            return false;
        double error_share = r->requests > 0 ? 1 - (double)r->ok / (double)r->requests : 1;
        levels[done++] = (struct result_level){ level, r->ok_rate, r->latency.at[RESULT_p50], r->latency.at[RESULT_p99], error_share, error_share < ERRORS_KEPT };
    }
    if (r == NULL)
        return bench_scene_fail(s, EXIT_FAILED, "interrupted before anything was measured");
    for (unsigned i = 0; i < done; i++)
        add_level(r, &levels[i]);
    search_knee(r->levels, r->level_count, unit_of(s), r->knee);
    return true;
}

bool bench_ramp(struct bench_scene *s)
{
    struct result *r;
    nanos span = bench_scene_span(s, 0);
    bench_scene_begin(s);
    if (!bench_scene_phase(s, span, bench_scene_level(s, s->row->levels.at[0]), bench_scene_level(s, s->row->levels.at[1])) || !bench_scene_leg(s, "", &r))
        return false;
    nanos window = s->tally.window_span, windows = span / window, slices = MIN(windows, SLICES);
    for (nanos i = 0; i < slices; i++) {
        struct stretch part;
        nanos from = windows * i / slices * window, to = windows * (i + 1) / slices * window;
        if (stretch_measure(&s->tally, from, to, &part) != OK)
            return bench_scene_fail(s, EXIT_FAILED, "no memory is left for the curve");
        if (part.ended > 0)
            add_level(r, &(struct result_level){ pace_level(&s->run->plan.pace, (from + to) / 2), part.ok_rate, part.p50_ms, part.p99_ms, part.error_share,
                                                 part.error_share < ERRORS_KEPT });
    }
    search_knee(r->levels, r->level_count, unit_of(s), r->knee);
    return true;
}
