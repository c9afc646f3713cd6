/* bench_steady.c: scenarios of `weir bench` that are one run or several at steady levels. */
#include "cli/bench_scenario.h"
#include <stdio.h>

/* One run at the table's level. */
bool bench_steady(struct bench_scene *s)
{
    struct result *r;
    double level = bench_scene_level(s, s->row->levels.at[0]);
    bench_scene_begin(s);
    return bench_scene_phase(s, bench_scene_span(s, 0) + s->run->plan.warmup, level, level) && bench_scene_leg(s, "", &r);
}
