/* bench_overhead.c: `weir bench overhead`: what a gateway adds, by rounds with it and without it in turn, so that a machine that gets slower is slower for both. */
#include "bench/figure.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define ROUNDS  8    /* without, with, with, without, and once more: neither comes first more often */
#define SIDE    (ROUNDS / 2)
#define PROMPTS 1000
#define THINK   "2ms" /* without a pause a server that answers at once would have no processor left, and neither the generator */
#define T_95    3.182 /* Student's, for SIDE - 1 degrees of freedom */

static bool is_with(unsigned round)
{
    return round % 4 == 1 || round % 4 == 2;
}

/* ---- what it adds ---- */

struct sides {
    const struct result *without[SIDE], *with[SIDE];
    struct result *last; /* with it: has the findings */
};
#define SAID_MAX 80

/* In milliseconds, from the ratio and its interval. */
static void add_difference(struct bench_scene *s, const struct sides *sides, const char *metric, enum finding id, char said[SAID_MAX])
{
    struct comparison c;
    struct result *r = sides->last;
    char value[FIGURE_MAX];
    if (!result_compare(sides->without, SIDE, sides->with, SIDE, text_of(metric), 0, &c, &s->why)) {
        result_add_finding(r, id, NAN, NAN, NAN);
        snprintf(said, SAID_MAX, "%s: not measured", metric);
        return;
    }
    double added = c.before * (c.ratio - 1), low = c.before * (c.low - 1), high = c.before * (c.high - 1);
    result_add_finding(r, id, added, low, high);
    if (!isfinite(low) || !isfinite(high))
        snprintf(said, SAID_MAX, "%s: cannot tell, the rounds are too short", metric);
    else if (low <= 0 && high >= 0)
        snprintf(said, SAID_MAX, "%s: cannot tell, it may be nothing", metric);
    else
        snprintf(said, SAID_MAX, "%s: it %s %s", metric, added > 0 ? "adds" : "saves", figure_print(value, fabs(added), FIGURE_MS));
}

/* Of the gateway's process: its rounds are as many measurements. */
static void add_cpu(const struct sides *sides)
{
    const struct result *const *with = sides->with;
    double each[SIDE], sum = 0, squares = 0;
    for (unsigned i = 0; i < SIDE; i++)
        sum += each[i] = 1e3 * with[i]->server_cpu / (double)(with[i]->requests + with[i]->warmup);
    for (unsigned i = 0; i < SIDE; i++)
        squares += (each[i] - sum / SIDE) * (each[i] - sum / SIDE);
    double error = T_95 * sqrt(squares / (SIDE - 1) / SIDE);
    result_add_finding(sides->last, FINDING_overhead_cpu, sum / SIDE, MAX(sum / SIDE - error, 0), sum / SIDE + error);
}

static void report(struct bench_scene *s)
{
    struct sides sides = { .last = NULL };
    unsigned a = 0, b = 0;
    char p50[SAID_MAX], p99[SAID_MAX];
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (is_with(i))
            sides.with[b++] = sides.last = s->legs[i];
        else
            sides.without[a++] = s->legs[i];
    }
    add_difference(s, &sides, "p50", FINDING_overhead_p50, p50);
    add_difference(s, &sides, "p99", FINDING_overhead_p99, p99);
    if (s->run->pid != 0)
        add_cpu(&sides);
    snprintf(sides.last->knee, sizeof sides.last->knee, "%s; %s.", p50, p99);
}

/* ---- rounds ---- */

/* One side's target and what it is asked: the models' names may differ. */
struct way {
    struct load_target target;
    struct script *script;
};

static bool go_through(struct bench_scene *s, const struct way ways[2])
{
    struct load_plan *plan = &s->run->plan;
    double users = bench_scene_level(s, s->row->levels.at[0]);
    pid_t pid = s->run->pid;
    bool is_ok = true;
    for (unsigned i = 0; i < ROUNDS && is_ok && !bench_scene_is_stopped(); i++) {
        char name[16];
        struct result *r;
        bool with = is_with(i);
        snprintf(name, sizeof name, "%s %u", with ? "with" : "without", i / 2 + 1);
        plan->target = ways[with].target;
        plan->script = ways[with].script;
        s->run->pid = with ? pid : 0;
        bench_scene_begin(s);
        is_ok = bench_scene_phase(s, bench_scene_span(s, 0), users, users) && bench_scene_leg(s, name, &r);
    }
    s->run->pid = pid;
    return is_ok;
}

/* Every round must have gone well; what it adds stands with the last one through the gateway, and is what --criteria are about. */
static void choose_judged(struct bench_scene *s)
{
    struct criterion well;
    bool is_one = criterion_parse(&well, TEXT("error_rate < 1%"), &s->why);
    unsigned last = ROUNDS - 2;
    ASSERT(is_one && is_with(last));
    for (unsigned i = 0; i < ROUNDS; i++)
        if (i != last) {
            criteria_judge(&well, 1, s->legs[i]);
            s->is_judged[i] = false;
        }
}

static bool find_direct(struct bench_scene *s, struct bench_run *direct)
{
    if (s->words->direct == NULL)
        return complain(&s->why, NULL, 0, 0, "overhead needs --direct URL: the same server without the gateway");
    if (!bench_target_read(&direct->target, s->words->direct, s->words->api, &direct->plan.target, &s->why))
        return false;
    s->code = EXIT_FAILED;
    if (!bench_target_ask(&direct->target, &direct->plan.target, &s->why))
        return false;
    s->code = EXIT_USAGE;
    return true;
}

bool bench_overhead(struct bench_scene *s)
{
    static struct bench_run direct; /* static: larger than a frame should be */
    static struct way ways[2];
    static struct bench_words words;
    struct script_made made = { .count = PROMPTS };
    struct bench_run *run = s->run;
    s->code = EXIT_USAGE;
    direct.plan.pace.seed = run->plan.pace.seed; /* the same prompts */
    words = *s->words;
    words.think = words.think != NULL ? words.think : THINK;
    bool is_ok = find_direct(s, &direct) && bench_plan_made(run, &words, &made, NULL, 0, &s->why) && bench_plan_made(&direct, &words, &made, NULL, 0, &s->why);
    if (is_ok) {
        ways[0] = (struct way){ direct.plan.target, direct.plan.script };
        ways[1] = (struct way){ run->plan.target, run->plan.script };
        s->is_several = true;
        is_ok = go_through(s, ways);
        run->plan.target = ways[1].target;
        run->plan.script = ways[1].script;
    }
    if (is_ok && s->leg_count == ROUNDS) {
        report(s);
        choose_judged(s);
    }
    script_free(direct.plan.script);
    bench_target_fini(&direct.target);
    return is_ok;
}
