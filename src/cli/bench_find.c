/* bench_find.c: `weir bench --find-max`: runs the levels that bench/search.h asks for, and keeps the highest that was held as the report. stress begins with it. */
#include "bench/figure.h"
#include "bench/search.h"
#include "bench/stretch.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define START      10   /* users, or requests a second, unless said */
#define RATE_MOST  1e6  /* requests a second: more than one machine can send */
#define RESOLUTION 0.02 /* how near what is held and what is not come */
#define GOOD_SHARE 0.99

/* Of a run that is no good: was it the generator? More in flight than there may be, or nothing back at all, is the server's doing. */
static bool is_generators(struct bench_scene *s, const struct result *r)
{
    char why[sizeof r->invalid];
    uint64_t missed = s->tally.missed;
    if (r->invalid[0] == '\0' || r->requests == 0)
        return false;
    s->tally.missed = 0;
    bool is = load_invalid(&s->run->plan, &s->tally, s->run->workers, why) != NULL;
    s->tally.missed = missed;
    return is;
}

static bool try_level(struct bench_scene *s, bool is_open, double level, struct result **out)
{
    char name[16];
    bench_scene_begin(s);
    s->run->plan.is_open = is_open;
    snprintf(name, sizeof name, is_open ? "%.5g/s" : "%.0f users", level);
    return bench_scene_phase(s, bench_scene_span(s, 0) + s->run->plan.warmup, level, level) && bench_scene_leg(s, name, out);
}

/* What comes back while as much comes in: in the second half of a level, when even slow answers have begun to come back. A whole run's rate would count the wait for its
   last answers too, and call a server slow that only takes long. */
static bool steady_rate(const struct bench_scene *s, const struct result *r, double *out)
{
    struct stretch half;
    nanos span = pace_span(&s->run->plan.pace);
    if (stretch_measure(&s->tally, (span + s->run->plan.warmup) / 2, span, &half) != OK)
        return false;
    *out = half.ended > 0 ? half.ok_rate : r->ok_rate;
    return true;
}

static void tell(struct search *search, const struct result *r, double ok_rate)
{
    struct search_outcome o = { .requests = r->requests + r->missed, .ok_rate = ok_rate, .p50_ms = r->latency.at[RESULT_p50], .p99_ms = r->latency.at[RESULT_p99] };
    o.good = (uint64_t)llround(r->good_rate * r->span_s);
    o.error_share = o.requests > 0 ? 1 - (double)r->ok / (double)o.requests : 1;
    search_told(search, &o);
}

/* False: the generator was the limit, and the last run is the one that says so; or a sentence in why. */
static bool search_levels(struct bench_scene *s, struct search *search)
{
    double level;
    while (search_next(search, &level) && !bench_scene_is_stopped()) {
        struct result *r;
        double ok_rate;
        if (!try_level(s, search->plan.is_open, level, &r) || is_generators(s, r))
            return false;
        if (!steady_rate(s, r, &ok_rate))
            return bench_scene_fail(s, EXIT_FAILED, "no memory is left");
        if (!bench_scene_is_stopped())
            tell(search, r, ok_rate); /* half a level says nothing */
    }
    return true;
}

static void begin(struct bench_scene *s, bool is_open, struct search *search)
{
    bool is_said = s->words->rate != NULL || s->words->users != NULL;
    double first = is_said ? pace_peak(&s->said) : START, most = is_open ? RATE_MOST : s->run->plan.users_max;
    _Static_assert(SEARCH_STEPS_MAX <= BENCH_LEGS_MAX, "all of them are kept until the best is known");
    s->is_several = true;
    search_begin(search, &(struct search_plan){ .first = MIN(first, most), .most = most, .resolution = RESOLUTION, .good_share = GOOD_SHARE, .is_open = is_open });
}

bool bench_find_capacity(struct bench_scene *s, double *out_rate)
{
    struct search *search = mem_zero(sizeof *search);
    if (search == NULL)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left");
    begin(s, true, search);
    bool is_ok = search_levels(s, search);
    if (!is_ok && s->why.text[0] == '\0')
        (void)bench_scene_fail(s, BENCH_EXIT_INVALID, "the generator was the limit and not the server: %s", s->legs[s->leg_count - 1]->invalid);
    else if (is_ok && bench_scene_is_stopped())
        is_ok = bench_scene_fail(s, EXIT_FAILED, "interrupted before the capacity was known");
    else if (is_ok && search->held <= 0)
        is_ok = bench_scene_fail(s, EXIT_FAILED, "there is no capacity to build on: not even %.4g requests a second were held", search->not_held);
    *out_rate = search->held;
    mem_free(search);
    bench_scene_keep(s, NULL);
    s->is_several = false;
    return is_ok;
}

/* ---- the report ---- */

/* The run at the level that is the answer; without one, the last, which then says why. */
static struct result *run_of_answer(const struct bench_scene *s, const struct search *search)
{
    struct result *best = s->legs[s->leg_count - 1];
    for (unsigned i = 0; i < search->level_count; i++)
        if (search->held > 0 && search->levels[i].level == search->held)
            best = s->legs[i];
    return best;
}

static void finish(struct bench_scene *s, const struct search *search, bool is_generators_fault)
{
    struct result *r = is_generators_fault ? s->legs[s->leg_count - 1] : run_of_answer(s, search);
    char held[FIGURE_MAX];
    bench_scene_keep(s, r);
    for (unsigned i = 0; i < search->level_count; i++)
        r->levels[r->level_count++] = search->levels[i];
    figure_print(held, search->held, FIGURE_COUNT);
    if (is_generators_fault)
        snprintf(r->knee, sizeof r->knee, "The search ends where the generator is the limit: %s %s were held, and what the server can do above is not known.",
                 held, search->plan.is_open ? "requests a second" : "users");
    else if (search->state > SEARCH_BISECTING)
        search_print(search, r->knee);
    else
        snprintf(r->knee, sizeof r->knee, "Interrupted: %s %s were held so far.", held, search->plan.is_open ? "requests a second" : "users");
    struct result_verdict *v = &r->verdicts[r->verdict_count++];
    *v = (struct result_verdict){ .text = "a level is held", .value = search->held, .is_met = search->held > 0 };
    snprintf(v->measured, sizeof v->measured, "%.23s", held);
}

bool bench_find(struct bench_scene *s)
{
    struct search *search = mem_zero(sizeof *search);
    if (search == NULL)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left");
    begin(s, s->words->rate != NULL, search);
    bool is_whole = search_levels(s, search), is_ok = is_whole || s->why.text[0] == '\0';
    if (is_ok)
        finish(s, search, !is_whole);
    mem_free(search);
    return is_ok;
}
