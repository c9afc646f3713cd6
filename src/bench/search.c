/* search.c: doubling, bisection, and when a level counts as held; see search.h. */
#include "bench/search.h"
#include "bench/figure.h"
#include <math.h>
#include <stdio.h>

#define TRIES_MAX    2    /* of a level whose interval holds the wanted share; then it is held: one bad answer of a hundred must not end a search at its first level */
#define HALVINGS_MAX 6    /* below the first level, to a 64th */
#define Z_95         1.959964
#define RATE_KEPT    0.95 /* an open loop's server that ends less of what comes has a queue that grows */
#define GROWS_LEAST  0.1  /* of what was added to the load: less is no growth */
#define SLOWS_MOST   0.5  /* likewise of latency: with no growth, this is queueing */
#define PEAK_REACHED 0.97 /* nearer than a run of ten seconds can tell */
#define PEAK_SHARE   0.95 /* the knee is where so much of the highest rate is reached */
#define STILL_GROWS  0.8  /* of the knee's rate a level, at the highest level: it has not bent yet */

void search_wilson(uint64_t good, uint64_t requests, double *out_low, double *out_high)
{
    double n = (double)requests, z2 = Z_95 * Z_95;
    *out_low = 0;
    *out_high = 1;
    if (requests == 0)
        return;
    double p = (double)good / n, middle = (p + z2 / (2 * n)) / (1 + z2 / n);
    double half = Z_95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
    *out_low = MAX(0, middle - half);
    *out_high = MIN(1, middle + half);
}

/* ---- one level ---- */

/* Open loops: less ends than comes, by more than chance (three standard deviations of a Poisson count). */
static bool falls_behind(const struct search *s, const struct search_outcome *o)
{
    double came = (double)o->requests, missing = came * (1 - o->ok_rate / s->level);
    return o->ok_rate < RATE_KEPT * s->level && missing > 3 * sqrt(came);
}

/* Users: they wait longer, for no more answers than fewer of them had. From then on what is looked for is the fewest who reach that rate. */
static bool stops_growing(struct search *s, const struct search_outcome *o)
{
    const struct result_level *before = s->level_count > 0 ? &s->levels[s->level_count - 1] : NULL;
    if (s->peak > 0)
        return o->ok_rate >= PEAK_REACHED * s->peak;
    if (s->state != SEARCH_DOUBLING || before == NULL || before->level >= s->level)
        return false;
    double more = s->level / before->level - 1;
    if (o->ok_rate / before->rate - 1 >= GROWS_LEAST * more || o->p50_ms / before->p50_ms - 1 <= SLOWS_MOST * more)
        return false;
    s->peak = o->ok_rate;
    return true;
}

/* Levels that were held before anybody knew that they had reached the peak. */
static void take_back(struct search *s)
{
    s->held = 0;
    for (unsigned i = 0; i < s->level_count; i++) {
        struct result_level *l = &s->levels[i];
        if (l->is_kept && l->rate >= PEAK_REACHED * s->peak)
            s->not_held = MIN(s->not_held, l->level);
        else if (l->is_kept)
            s->held = MAX(s->held, l->level);
    }
}

enum holding { HELD, NOT_HELD, IN_DOUBT };

static enum holding judge(struct search *s, const struct search_outcome *o, bool is_saturated)
{
    double low, high, wanted = s->plan.good_share;
    s->requests += o->requests;
    s->good += o->good;
    search_wilson(s->good, s->requests, &low, &high);
    if (s->requests == 0 || high < wanted || is_saturated)
        return NOT_HELD;
    return low < wanted && ++s->tries < TRIES_MAX ? IN_DOUBT : HELD;
}

static void note_level(struct search *s, const struct search_outcome *o, bool is_held)
{
    s->levels[s->level_count++] = (struct result_level){ s->level, o->ok_rate, o->p50_ms, o->p99_ms, o->error_share, is_held };
}

/* ---- from level to level ---- */

static double rounded(const struct search *s, double level)
{
    return s->plan.is_open ? level : MAX(1, floor(level));
}

static void bisect(struct search *s)
{
    double middle = rounded(s, (s->held + s->not_held) / 2);
    s->state = SEARCH_BISECTING;
    if (s->not_held <= s->held * (1 + s->plan.resolution) || middle <= s->held || middle >= s->not_held)
        s->state = SEARCH_FOUND;
    s->level = middle;
    if (s->state == SEARCH_FOUND && s->is_saturated && !s->plan.is_open)
        s->held = s->not_held; /* the fewest that reach the peak */
}

static void go_up(struct search *s)
{
    s->held = s->level;
    if (s->not_held > 0)
        bisect(s);
    else if (s->level >= s->plan.most)
        s->state = SEARCH_NEVER_FAILED;
    else
        s->level = MIN(rounded(s, s->level * 2), s->plan.most);
}

static void go_down(struct search *s, const struct search_outcome *o, bool is_saturated)
{
    double half = rounded(s, s->level / 2);
    s->not_held = s->level;
    s->is_saturated = is_saturated;
    s->share = s->requests > 0 ? (double)s->good / (double)s->requests : 0;
    search_wilson(s->good, s->requests, &s->share_low, &s->share_high);
    s->rate = o->ok_rate;
    if (s->peak > 0)
        take_back(s);
    if (s->held > 0 || s->peak > 0) {
        bisect(s);
        return;
    }
    /* Where nothing at all was good, less load is not the cure. */
    bool is_hopeless = s->good == 0 || half >= s->level || s->level <= s->plan.first / (1 << HALVINGS_MAX);
    s->state = is_hopeless ? SEARCH_FAILED_AT_ONCE : SEARCH_HALVING;
    s->level = half;
}

void search_begin(struct search *s, const struct search_plan *plan)
{
    ASSERT(plan->first > 0 && plan->first <= plan->most && plan->resolution > 0);
    *s = (struct search){ .plan = *plan, .state = SEARCH_DOUBLING };
    s->level = rounded(s, plan->first);
}

bool search_next(const struct search *s, double *out_level)
{
    if (s->state > SEARCH_BISECTING)
        return false;
    *out_level = s->level;
    return true;
}

void search_told(struct search *s, const struct search_outcome *o)
{
    ASSERT(s->state <= SEARCH_BISECTING);
    bool is_saturated = s->plan.is_open ? falls_behind(s, o) : stops_growing(s, o);
    enum holding h = judge(s, o, is_saturated);
    note_level(s, o, h == HELD);
    s->steps++;
    if (h == HELD)
        go_up(s);
    else if (h == NOT_HELD)
        go_down(s, o, is_saturated);
    if (h != IN_DOUBT)
        s->tries = 0, s->requests = s->good = 0;
    if (s->state <= SEARCH_BISECTING && s->steps == SEARCH_STEPS_MAX)
        s->state = SEARCH_OUT_OF_STEPS;
}

/* ---- sentences ---- */

/* "1,008 requests a second" */
static const char *level_print(char out[FIGURE_MAX + 24], double level, const char *unit)
{
    char figure[FIGURE_MAX];
    snprintf(out, FIGURE_MAX + 24, "%s %s", figure_print_short(figure, level, FIGURE_COUNT), unit);
    return out;
}

/* Why the lowest level that was not held was not. */
static void print_reason(const struct search *s, char out[120])
{
    char share[FIGURE_MAX], low[FIGURE_MAX], high[FIGURE_MAX], rate[FIGURE_MAX];
    if (s->share_high < s->plan.good_share || s->share < s->plan.good_share)
        snprintf(out, 120, "%s (%s to %s) were good there", figure_print(share, s->share, FIGURE_SHARE), figure_print(low, s->share_low, FIGURE_SHARE),
                 figure_print(high, s->share_high, FIGURE_SHARE));
    else
        snprintf(out, 120, "%s came back there, and no more", figure_print(rate, s->rate, FIGURE_RATE));
}

void search_print(const struct search *s, char out[200])
{
    char held[FIGURE_MAX + 24], not_held[FIGURE_MAX + 24], rate[FIGURE_MAX], reason[120];
    const char *unit = s->plan.is_open ? "requests a second" : "users";
    print_reason(s, reason);
    level_print(held, s->held, unit);
    level_print(not_held, s->not_held, unit);
    if (s->state == SEARCH_FOUND && s->is_saturated && !s->plan.is_open)
        snprintf(out, 200, "Throughput grows up to %.40s: %.40s.", held, figure_print(rate, s->peak, FIGURE_RATE));
    else if (s->state == SEARCH_NEVER_FAILED)
        snprintf(out, 200, "Holds %s, the most that was tried.", held);
    else if (s->held > 0)
        snprintf(out, 200, "Holds %.40s%s, not %.40s: %.80s.", held, s->state == SEARCH_FOUND ? "" : " at least", not_held, reason);
    else
        snprintf(out, 200, "Does not even hold %.40s: %.80s.", not_held, reason);
}

static const struct result_level *highest(const struct result_level *levels, unsigned count)
{
    const struct result_level *top = levels;
    for (unsigned i = 1; i < count; i++)
        if (levels[i].level > top->level)
            top = &levels[i];
    return top;
}

const struct result_level *search_bend(const struct result_level *levels, unsigned count)
{
    const struct result_level *knee = NULL;
    double peak = 0;
    if (count < 3)
        return NULL; /* two points bend nowhere */
    for (unsigned i = 0; i < count; i++)
        peak = MAX(peak, levels[i].rate);
    for (unsigned i = 0; i < count && peak > 0; i++)
        if (levels[i].rate >= PEAK_SHARE * peak && (knee == NULL || levels[i].level < knee->level))
            knee = &levels[i];
    const struct result_level *top = highest(levels, count);
    return knee != NULL && top->rate / top->level < STILL_GROWS * knee->rate / knee->level ? knee : NULL;
}

void search_knee(const struct result_level *levels, unsigned count, const char *unit, char out[200])
{
    char at[FIGURE_MAX + 24], end[FIGURE_MAX + 24], rate[FIGURE_MAX], p99[FIGURE_MAX], end_p99[FIGURE_MAX];
    const struct result_level *knee = search_bend(levels, count), *top = highest(levels, count);
    out[0] = '\0';
    if (count < 3 || (knee == NULL && top->rate <= 0))
        return;
    level_print(end, top->level, unit);
    if (knee == NULL) {
        snprintf(out, 200, "Throughput still grows at %s.", end);
        return;
    }
    level_print(at, knee->level, unit);
    snprintf(out, 200, "Throughput stops growing at about %s: %s there, p99 %s; at %s p99 is %s.", at, figure_print(rate, knee->rate, FIGURE_RATE),
             figure_print(p99, knee->p99_ms, FIGURE_MS), end, figure_print(end_p99, top->p99_ms, FIGURE_MS));
}
