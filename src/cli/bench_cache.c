/* bench_cache.c: `weir bench cache`: a mix of prompts after Zipf's law, and what the server's cache made of it beside what any cache could have. */
#include "bench/ideal.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define REQUESTS_DEFAULT 5000
#define REQUESTS_MAX     100000000
#define DISTINCT_DEFAULT 500
#define ZIPF_MAX         10 /* the first prompt is then 99.9 % of all */

enum { HITS, MISSES, PARTS };

struct mix {
    uint32_t *counts; /* of each prompt, by all workers at once */
    bool is_told;     /* an answer said something about a cache */
};

static unsigned note(void *arg, const struct script_session *x, const struct sample *s)
{
    struct mix *m = arg;
    __atomic_fetch_add(&m->counts[script_prompt(x)], 1, __ATOMIC_RELAXED);
    if (s->tells_cache)
        __atomic_store_n(&m->is_told, true, __ATOMIC_RELAXED);
    return s->is_cached ? HITS : MISSES;
}

static bool read_mix(struct bench_scene *s, struct script_made *made, uint64_t *out_requests)
{
    const struct bench_words *w = s->words;
    uint64_t distinct = DISTINCT_DEFAULT;
    *out_requests = REQUESTS_DEFAULT;
    made->zipf = 1;
    if (!bench_plan_count("distinct", w->distinct, 1, SCRIPT_MADE_MAX, &distinct, &s->why) ||
        !bench_plan_count("requests", w->requests, 1, REQUESTS_MAX, out_requests, &s->why))
        return false;
    if (w->zipf != NULL && (!text_to_double(text_of(w->zipf), &made->zipf) || made->zipf <= 0 || made->zipf > ZIPF_MAX))
        return complain(&s->why, NULL, 0, 0, "--zipf must be a number above 0 and at most %d, not \"%s\"", ZIPF_MAX, w->zipf);
    if (w->rate != NULL)
        return complain(&s->why, NULL, 0, 0, "cache counts requests of users: --users instead of --rate");
    made->count = (uint32_t)distinct;
    return true;
}

static bool report(struct bench_scene *s, const struct mix *m, const struct script_made *made, const struct tally *parts, struct result *r)
{
    double ideal = ideal_share(m->counts, made->count);
    result_add_finding(r, FINDING_ideal_share, ideal, NAN, NAN);
    result_add_finding(r, FINDING_of_ideal, m->is_told && ideal > 0 ? r->cached_share / ideal : NAN, NAN, NAN);
    if (!m->is_told)
        snprintf(r->knee, sizeof r->knee, "The server said nothing about its cache: no answer had x-weir-cache.");
    else
        snprintf(r->knee, sizeof r->knee, "%.1f %% came from the cache, and %.1f %% could have: %u prompts, the r-th in proportion to r^-%g.", 100 * r->cached_share,
                 100 * ideal, made->count, made->zipf);
    return bench_scene_part(s, "hits", &parts[HITS], r) && bench_scene_part(s, "misses", &parts[MISSES], r);
}

static bool measure(struct bench_scene *s, struct mix *m, const struct script_made *made)
{
    static struct tally tallies[PARTS];
    struct load_parts parts = { PARTS, note, m, tallies };
    struct load_plan *plan = &s->run->plan;
    struct result *r;
    double users = bench_scene_level(s, s->row->levels.at[0]);
    bench_scene_begin(s);
    plan->parts = &parts;
    s->is_several = true;
    bool is_ok = bench_scene_phase(s, bench_scene_span(s, 0), users, users) && bench_scene_leg(s, "all", &r);
    if (is_ok) {
        is_ok = report(s, m, made, tallies, r);
        for (unsigned i = 0; i < PARTS; i++)
            tally_fini(&tallies[i]);
    }
    plan->parts = NULL;
    return is_ok;
}

bool bench_cache(struct bench_scene *s)
{
    struct script_made made = { 0 };
    struct mix m = { 0 };
    if (!read_mix(s, &made, &s->run->plan.sessions_max) || !bench_plan_made(s->run, s->words, &made, NULL, 0, &s->why)) {
        s->code = EXIT_USAGE;
        return false;
    }
    m.counts = mem_zero(made.count * sizeof *m.counts);
    bool is_ok = m.counts != NULL ? measure(s, &m, &made) : bench_scene_fail(s, EXIT_FAILED, "no memory is left");
    mem_free(m.counts);
    return is_ok;
}
