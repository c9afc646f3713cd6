/* bench_context.c: `weir bench context`: conversations that grow, and what each turn costs. */
#include "bench/trend.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define TURNS_DEFAULT 1000
#define TURNS_MAX     4096 /* SCRIPT_TURNS_MAX */
#define POINTS        500  /* of the line: so many turns, or groups of them */

/* Until which turn a row of the report goes. */
static const uint32_t bounds[] = { 10, 20, 50, 100, 200, 500, 1000, 2000, TURNS_MAX };

/* Sums over all conversations, by all workers at once. */
struct growth {
    uint32_t turns, first_failure, longest; /* first_failure: UINT32_MAX if there is none */
    struct point { uint64_t count, latency, ttft; } points[POINTS];
};

static unsigned point_of(const struct growth *g, uint32_t turn)
{
    return g->turns <= POINTS ? turn - 1 : (turn - 1) * POINTS / g->turns;
}

static void lowest(uint32_t *of, uint32_t value)
{
    uint32_t now = __atomic_load_n(of, __ATOMIC_RELAXED);
    while (value < now && !__atomic_compare_exchange_n(of, &now, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { /* only who is faster keeps us, and then it moved */
    }
}

static void highest(uint32_t *of, uint32_t value)
{
    uint32_t now = __atomic_load_n(of, __ATOMIC_RELAXED);
    while (value > now && !__atomic_compare_exchange_n(of, &now, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { /* as above */
    }
}

static unsigned note(void *arg, const struct script_session *x, const struct sample *s)
{
    struct growth *g = arg;
    uint32_t turn = x->turn + 1;
    unsigned part = 0;
    while (turn > bounds[part])
        part++;
    if (s->outcome != OUTCOME_OK) {
        lowest(&g->first_failure, turn);
        return part;
    }
    struct point *p = &g->points[point_of(g, turn)];
    highest(&g->longest, turn);
    __atomic_fetch_add(&p->count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&p->latency, (uint64_t)(s->ended - s->intended), __ATOMIC_RELAXED);
    __atomic_fetch_add(&p->ttft, (uint64_t)(s->first_token - s->intended), __ATOMIC_RELAXED);
    return part;
}

/* Milliseconds a turn, of the means of each point. */
static bool add_trend(struct bench_scene *s, const struct growth *g, bool of_ttft, enum finding id, struct result *r)
{
    static double at[POINTS], ms[POINTS];
    struct trend t;
    for (unsigned i = 0; i < POINTS; i++) {
        const struct point *p = &g->points[i];
        at[i] = g->turns <= POINTS ? i + 1 : (i + 0.5) * g->turns / POINTS;
        ms[i] = p->count > 0 ? (double)(of_ttft ? p->ttft : p->latency) / (double)p->count / (double)NANOS_PER_MS : NAN;
    }
    if (trend_of(at, ms, POINTS, &t) != OK)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left");
    result_add_finding(r, id, t.slope, t.low, t.high);
    return true;
}

static bool report(struct bench_scene *s, const struct growth *g, const struct tally *parts, struct result *r)
{
    char name[16];
    uint32_t held = MIN(g->first_failure - 1, g->longest);
    if (!add_trend(s, g, false, FINDING_latency_per_turn, r) || !add_trend(s, g, true, FINDING_ttft_per_turn, r))
        return false;
    result_add_finding(r, FINDING_turns, held, NAN, NAN);
    if (g->first_failure != UINT32_MAX)
        snprintf(r->knee, sizeof r->knee, "The first failure was at turn %u.", g->first_failure);
    else
        snprintf(r->knee, sizeof r->knee, "No turn failed; the longest conversation reached turn %u of %u.", held, g->turns);
    for (unsigned i = 0; i < ARRAY_LEN(bounds) && (i == 0 || bounds[i - 1] < g->turns); i++) {
        snprintf(name, sizeof name, "to turn %u", MIN(bounds[i], g->turns));
        if (!bench_scene_part(s, name, &parts[i], r))
            return false;
    }
    return true;
}

bool bench_context(struct bench_scene *s)
{
    static struct tally tallies[ARRAY_LEN(bounds)];
    static struct growth g;
    struct load_parts parts = { ARRAY_LEN(bounds), note, &g, tallies };
    struct script_asker asker = { .name = TEXT("conversation"), .weight = 1, .stream = true };
    struct load_plan *plan = &s->run->plan;
    uint64_t turns = TURNS_DEFAULT;
    double users = bench_scene_level(s, s->row->levels.at[0]);
    struct script_made made = { .count = (uint32_t)MIN(MAX(users, 1), SCRIPT_MADE_MAX / TURNS_MAX) };
    struct result *r;
    s->code = EXIT_USAGE;
    if (s->words->rate != NULL)
        return bench_scene_fail(s, EXIT_USAGE, "context has conversations of users: --users instead of --rate");
    if (!bench_plan_count("turns", s->words->turns, 1, TURNS_MAX, &turns, &s->why))
        return false;
    made.turns = g.turns = (uint32_t)turns;
    g.first_failure = UINT32_MAX;
    if (!bench_plan_made(s->run, s->words, &made, &asker, 1, &s->why))
        return false;
    bench_scene_begin(s);
    plan->sessions_max = (uint64_t)users; /* a conversation each */
    plan->parts = &parts;
    s->is_several = true;
    bool is_ok = bench_scene_phase(s, bench_scene_span(s, 0), users, users) && bench_scene_leg(s, "all", &r);
    if (is_ok) {
        is_ok = report(s, &g, tallies, r);
        for (unsigned i = 0; i < parts.count; i++)
            tally_fini(&tallies[i]);
    }
    plan->parts = NULL;
    return is_ok;
}
