/* compare.c: what changed between two sets of runs, and whether that is more than chance. `weir bench compare` and `overhead` ask.

   A ratio comes from the runs' own numbers; how far it could be off by chance comes from a bootstrap over windows of time. Blocks of neighbouring windows are drawn
   with replacement (the circular form of Kuensch 1989), twice the third root of their number long, because what happens in one second lasts into the next; with several
   runs a side runs are drawn first (Davison and Hinkley, Bootstrap Methods, 1997, 3.8). Deviations are widened by sqrt(n / (n - 1)), n being how many blocks or runs
   there are, because n drawn of n vary too little, and as Student's distribution is wider than the normal one, because their spread is known from so few.

   Rates, shares and means are re-estimated as sums over the drawn windows. A window stores p50, p95 and p99, not its histogram, so a quantile of the drawn windows is
   that of a mixture: each window's distribution is taken as straight lines through its quantiles, weighted by how many ended in it, and their sum is inverted. That
   statistic is a little off the true quantile, so only its spread is used: deviations from its own value on all windows, laid around the ratio of the true ones.

   Of first tokens, between tokens, service time and p99.9 there are no windows. There the run's order-statistic interval is the spread, widened by what windows say
   about latency: by how much its bootstrap is wider than its own order-statistic interval (the design effect of Kish 1965), and, between tokens, as if a stream were one
   sample.

   Limits: with one run a side, what differs from start to start (memory layout, neighbours on the machine) is not in the interval: give several, interleaved. Under
   WINDOWS_MIN windows nothing is said. Where seconds last into each other for long (an autocorrelation of a half), 5 % become 5 to 10. A p99 that comes from one burst
   has as wide an interval as it deserves, and stays "cannot tell". */
#include "base/random.h"
#include "bench/metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define REPLICATES  1000 /* the ends of the interval are its 25th of each side */
#define WINDOWS_MIN 10   /* a side: fewer blocks than about five have no spread to speak of */
#define ANCHORS     5
#define HALVINGS    14   /* of [estimate / 2, estimate * 2]: to 0.01 % */
#define SIGMAS_95   1.959964

/* A window as the bootstrap sees it. */
struct piece {
    double rate, tokens_rate, ended, failed, ok, mean;
    double ms[ANCHORS]; /* where `shares` of its latencies lie below */
};
static const double shares[ANCHORS] = { 0, 0.5, 0.95, 0.99, 1 };

typedef double estimate(const struct piece *const *pieces, size_t count, double q, double near);

struct side {
    const struct result *const *runs;
    unsigned run_count;
    struct piece *pieces;           /* of all runs, run after run */
    size_t *first;                  /* run_count + 1: where a run's pieces begin */
    const struct piece **drawn;     /* room for as many as the longest draw takes */
};

/* What is compared and how its spread is found. */
struct question {
    int metric;
    double q;             /* of quantiles; 0: the mean. Of error_rate: half an error, as a share */
    estimate *of_windows; /* NULL: from intervals */
    uint64_t random;
};

static double draw(uint64_t *random)
{
    return (double)(random_step(random) >> 11) * 0x1p-53;
}

static double draw_normal(uint64_t *random)
{
    double radius = sqrt(-2 * log(1 - draw(random)));
    return radius * cos(2 * M_PI * draw(random));
}

/* ---- estimates over windows ---- */

static double mean_rate(const struct piece *const *p, size_t count, double q, double near)
{
    double sum = 0;
    (void)q, (void)near;
    for (size_t i = 0; i < count; i++)
        sum += p[i]->rate;
    return sum / (double)count;
}

static double mean_ok_rate(const struct piece *const *p, size_t count, double q, double near)
{
    double sum = 0;
    (void)q, (void)near;
    for (size_t i = 0; i < count; i++)
        sum += p[i]->ended > 0 ? p[i]->rate * p[i]->ok / p[i]->ended : 0;
    return sum / (double)count;
}

static double mean_tokens_rate(const struct piece *const *p, size_t count, double q, double near)
{
    double sum = 0;
    (void)q, (void)near;
    for (size_t i = 0; i < count; i++)
        sum += p[i]->tokens_rate;
    return sum / (double)count;
}

/* Half an error more: none and none are equal, and one is not infinitely many more than none (Haldane 1956). Half of one among the requests of the smaller side, which
   is q, on both: else twice as many requests without an error would be twice as good. */
static double failed_share(const struct piece *const *p, size_t count, double q, double near)
{
    double failed = 0, ended = 0;
    (void)near;
    for (size_t i = 0; i < count; i++) {
        failed += p[i]->failed;
        ended += p[i]->ended;
    }
    return q + (ended > 0 ? failed / ended : 0);
}

static double mean_latency(const struct piece *const *p, size_t count, double q, double near)
{
    double sum = 0, ok = 0;
    (void)q, (void)near;
    for (size_t i = 0; i < count; i++)
        if (p[i]->ok > 0) {
            sum += p[i]->mean * p[i]->ok;
            ok += p[i]->ok;
        }
    return sum / ok;
}

static double share_below(const struct piece *p, double ms)
{
    if (ms < p->ms[0])
        return 0;
    for (int i = 1; i < ANCHORS; i++)
        if (ms < p->ms[i])
            return shares[i - 1] + (shares[i] - shares[i - 1]) * (ms - p->ms[i - 1]) / (p->ms[i] - p->ms[i - 1]);
    return 1;
}

static double quantile(const struct piece *const *p, size_t count, double q, double near)
{
    double low = near / 2, high = near * 2, ok = 0;
    for (size_t i = 0; i < count; i++)
        ok += p[i]->ok;
    for (int step = 0; step < HALVINGS; step++) {
        double middle = (low + high) / 2, below = 0;
        for (size_t i = 0; i < count; i++)
            if (p[i]->ok > 0)
                below += p[i]->ok * share_below(p[i], middle);
        if (below < q * ok)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* ---- sides ---- */

static bool make_piece(struct piece *p, const struct result *r, const struct result_window *w, double span_s)
{
    if (w->at_s < r->warmup_s || w->at_s + span_s > r->warmup_s + r->span_s + span_s / 100)
        return false; /* the warm-up, and what is not whole */
    *p = (struct piece){ .rate = w->rate, .tokens_rate = w->tokens_rate, .ended = w->ended, .mean = w->mean_ms };
    p->failed = w->ended > 0 ? w->ended * w->error_share : 0;
    p->ok = isfinite(w->p50_ms) ? p->ended - p->failed : 0;
    /* Below the median as much as p95 is above it, behind p99 as much as p95 is before it: only the spread of the windows counts. */
    double ms[ANCHORS] = { MAX(0, 2 * w->p50_ms - w->p95_ms), w->p50_ms, w->p95_ms, w->p99_ms, 2 * w->p99_ms - w->p95_ms };
    memcpy(p->ms, ms, sizeof ms);
    return true;
}

static void side_fini(struct side *s)
{
    mem_free(s->pieces);
    mem_free(s->first);
    mem_free(s->drawn);
}

static bool side_init(struct side *s, const struct result *const *runs, unsigned run_count)
{
    size_t room = 1, longest = 0, count = 0;
    for (unsigned i = 0; i < run_count; i++) {
        room += runs[i]->window_count;
        longest = MAX(longest, runs[i]->window_count);
    }
    *s = (struct side){ .runs = runs, .run_count = run_count, .pieces = mem_zero(room * sizeof *s->pieces), .first = mem_zero((run_count + 1) * sizeof *s->first),
                        .drawn = mem_zero((room + longest * run_count) * sizeof *s->drawn) };
    if (s->pieces == NULL || s->first == NULL || s->drawn == NULL)
        return false;
    for (unsigned i = 0; i < run_count; i++) {
        const struct result *r = runs[i];
        for (unsigned w = 0; r->window_count > 1 && w < r->window_count; w++)
            count += make_piece(&s->pieces[count], r, &r->windows[w], r->windows[1].at_s - r->windows[0].at_s);
        s->first[i + 1] = count;
    }
    return true;
}

static size_t block_of(size_t count)
{
    return (size_t)lround(2 * cbrt((double)count));
}

/* Blocks of one run's windows until there are as many as it has; the last one may be cut. */
static size_t draw_windows(struct side *s, unsigned run, size_t to, uint64_t *random)
{
    size_t first = s->first[run], count = s->first[run + 1] - first, block = block_of(count), drawn = 0;
    while (drawn < count) {
        size_t at = (size_t)(draw(random) * (double)count);
        for (size_t i = 0; i < block && drawn < count; i++, drawn++)
            s->drawn[to++] = &s->pieces[first + (at + i) % count];
    }
    return to;
}

static unsigned draw_run(const struct side *s, uint64_t *random)
{
    return (unsigned)(draw(random) * s->run_count);
}

static double of_all(struct side *s, const struct question *k, unsigned from_run, unsigned to_run, double near)
{
    size_t count = 0;
    for (size_t i = s->first[from_run]; i < s->first[to_run]; i++)
        s->drawn[count++] = &s->pieces[i];
    return k->of_windows(s->drawn, count, k->q, near);
}

/* The mean of what the runs say; several runs have no one quantile. */
static double side_value(const struct side *s, int metric)
{
    double sum = 0;
    for (unsigned i = 0; i < s->run_count; i++)
        sum += metric_value(metric, s->runs[i]);
    return sum / s->run_count;
}

/* ---- the spread from windows ---- */

static double deviation_of_windows(struct side *s, struct question *k, double value, double whole)
{
    size_t count = 0;
    for (unsigned i = 0; i < s->run_count; i++)
        count = draw_windows(s, draw_run(s, &k->random), count, &k->random);
    return log(k->of_windows(s->drawn, count, k->q, value) / whole);
}

/* ---- the spread from intervals ---- */

/* How far the logarithm of a quantile may be off, if requests were independent; 0 is the mean. */
static double error_of_spans(const struct result_spans *s, int quantile_number)
{
    if (quantile_number < 0)
        return s->stdev / s->mean / sqrt((double)s->count);
    return log(s->high[quantile_number] / s->low[quantile_number]) / (2 * SIGMAS_95);
}

static int quantile_number(double q)
{
    static const double quantiles[RESULT_QUANTILE_COUNT] = {
#define Q(name, q) [RESULT_##name] = (q),
        RESULT_QUANTILES(Q)
#undef Q
    };
    for (int i = 0; i < RESULT_QUANTILE_COUNT; i++)
        if (q == quantiles[i])
            return i;
    return -1;
}

/* How many times wider windows say that latency's error is than independent requests would have. */
static double design_effect(struct side *s, unsigned run, const struct question *k)
{
    enum { DRAWS = 100 }; /* its own error is then 7 %, of a correction */
    const struct result_spans *latency = &s->runs[run]->latency;
    int number = MIN(quantile_number(k->q), RESULT_p99); /* windows have no p99.9 */
    struct question own = *k;
    own.q = number < 0 ? 0 : k->q > 0.99 ? 0.99 : k->q;
    own.of_windows = number < 0 ? mean_latency : quantile;
    double near = number < 0 ? latency->mean : latency->at[number], whole = of_all(s, &own, run, run + 1, near), squares = 0;
    for (int i = 0; i < DRAWS; i++) {
        size_t count = draw_windows(s, run, 0, &own.random);
        double d = log(own.of_windows(s->drawn, count, own.q, near) / whole);
        squares += d * d;
    }
    return MAX(1, sqrt(squares / DRAWS) / error_of_spans(latency, number));
}

/* Into errors, one a run. */
static void find_errors(struct side *s, const struct question *k, double *errors)
{
    for (unsigned i = 0; i < s->run_count; i++) {
        double q;
        const struct result_spans *spans = metric_spans(k->metric, s->runs[i], &q);
        double streams = (double)MAX(s->runs[i]->latency.count, 1u);
        errors[i] = error_of_spans(spans, quantile_number(q)) * design_effect(s, i, k) * sqrt(MAX(1, (double)spans->count / streams));
    }
}

static double deviation_of_spans(struct side *s, struct question *k, double value, const double *errors)
{
    double sum = 0;
    for (unsigned i = 0; i < s->run_count; i++) {
        unsigned run = draw_run(s, &k->random);
        sum += metric_value(k->metric, s->runs[run]) * exp(errors[run] * draw_normal(&k->random));
    }
    return log(sum / s->run_count / value);
}

/* ---- both ---- */

/* Of so many independent things was drawn: runs, or else blocks of windows. */
static double drawn_from(const struct side *s)
{
    return s->run_count > 1 ? s->run_count : (double)s->first[1] / (double)block_of(s->first[1]);
}

/* Student's 97.5 % point as a multiple of the normal one: the first terms of its series (Abramowitz and Stegun 26.7.5); 2 % low at 4 degrees, exact where it matters. */
static double student(double degrees)
{
    const double z2 = SIGMAS_95 * SIGMAS_95;
    return 1 + (z2 + 1) / (4 * degrees) + (5 * z2 * z2 + 16 * z2 + 3) / (96 * degrees * degrees);
}

/* Adds sign * how far each replicate of this side is from its value, as logarithms, to sums. */
static bool add_deviations(struct side *s, struct question *k, double value, double sign, double *sums)
{
    double n = drawn_from(s), widen = sqrt(n / (n - 1)), whole = 0;
    double *errors = mem_zero(s->run_count * sizeof *errors);
    if (errors == NULL)
        return false;
    if (k->of_windows != NULL)
        whole = of_all(s, k, 0, s->run_count, value);
    else
        find_errors(s, k, errors);
    for (int i = 0; i < REPLICATES; i++)
        sums[i] += sign * widen * (k->of_windows != NULL ? deviation_of_windows(s, k, value, whole) : deviation_of_spans(s, k, value, errors));
    mem_free(errors);
    return true;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum change judge(const struct comparison *c, bool wants_less)
{
    const double far = log(1 + COMPARE_SMALLEST);
    if (!isfinite(c->low) || !isfinite(c->high))
        return CHANGE_UNKNOWN;
    if (log(c->low) >= -far && log(c->high) <= far)
        return CHANGE_NONE;
    if ((c->low <= 1 && c->high >= 1) || fabs(log(c->ratio)) < far)
        return CHANGE_UNKNOWN;
    return (c->ratio < 1) == wants_less ? CHANGE_BETTER : CHANGE_WORSE;
}

/* The interval, where enough was measured. False: no memory. */
static bool find_interval(struct side *before, struct side *after, struct question *k, struct comparison *c)
{
    double *sums = mem_zero(REPLICATES * sizeof *sums);
    bool ok = sums != NULL && add_deviations(before, k, c->before, -1, sums) && add_deviations(after, k, c->after, 1, sums);
    if (ok) {
        double widen = student(drawn_from(before) + drawn_from(after) - 2);
        bool is_finite = true;
        for (int i = 0; i < REPLICATES; i++)
            is_finite = is_finite && isfinite(sums[i]);
        qsort(sums, REPLICATES, sizeof *sums, by_size);
        c->low = is_finite ? c->ratio * exp(widen * sums[REPLICATES / 40]) : NAN;
        c->high = is_finite ? c->ratio * exp(widen * sums[REPLICATES - 1 - REPLICATES / 40]) : NAN;
    }
    mem_free(sums);
    return ok;
}

static bool has_windows(const struct side *s)
{
    for (unsigned i = 0; i < s->run_count; i++)
        if (s->first[i] == s->first[i + 1])
            return false; /* a run of none would be drawn, too */
    return s->first[s->run_count] >= WINDOWS_MIN;
}

/* How the metric is compared; false with a sentence when it is not. */
static bool make_question(struct question *k, struct text metric, const struct result *any, struct complaint *why)
{
    static const struct { const char *name; estimate *of; } numbers[] = {
        { "rate", mean_rate }, { "ok_rate", mean_ok_rate }, { "tokens_rate", mean_tokens_rate }, { "error_rate", failed_share },
    };
    char name[24];
    k->metric = metric_find(metric, why);
    if (k->metric < 0)
        return false;
    const struct result_spans *spans = metric_spans(k->metric, any, &k->q);
    if (spans != NULL) {
        k->of_windows = spans != &any->latency || k->q > 0.99 ? NULL : k->q == 0 ? mean_latency : quantile;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (strcmp(metric_name(k->metric, name), numbers[i].name) == 0) {
            k->of_windows = numbers[i].of;
            return true;
        }
    return complain(why, NULL, 0, 0, "\"%s\" cannot be compared: it has no spread to judge by. Rates, error_rate, means and quantiles can.",
                    metric_name(k->metric, name));
}

static double requests_of(const struct side *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->first[s->run_count]; i++)
        sum += s->pieces[i].ended;
    return sum;
}

static bool compare_sides(struct side *before, struct side *after, struct question *k, struct comparison *out, struct complaint *why)
{
    char name[24];
    struct comparison c = { .before = side_value(before, k->metric), .after = side_value(after, k->metric), .low = NAN, .high = NAN };
    bool is_share = metric_unit(k->metric) == METRIC_SHARE;
    if (!isfinite(c.before) || !isfinite(c.after) || (!is_share && (c.before <= 0 || c.after <= 0)))
        return complain(why, NULL, 0, 0, "\"%s\" was not measured on both sides.", metric_name(k->metric, name));
    c.ratio = c.after / c.before;
    if (is_share && c.before == 0 && c.after == 0) {
        c.ratio = c.low = c.high = 1; /* no errors and no errors, from however many requests */
    } else if (has_windows(before) && has_windows(after)) {
        if (is_share) {
            k->q = 0.5 / (MIN(requests_of(before), requests_of(after)) + 1);
            c.ratio = of_all(after, k, 0, after->run_count, 0) / of_all(before, k, 0, before->run_count, 0);
        }
        if (!find_interval(before, after, k, &c))
            return complain(why, NULL, 0, 0, "There is not enough memory to compare.");
    }
    c.change = judge(&c, metric_wants_less(k->metric));
    *out = c;
    return true;
}

bool result_compare(const struct result *const *before, unsigned before_count, const struct result *const *after, unsigned after_count, struct text metric, uint64_t seed,
                    struct comparison *out, struct complaint *why)
{
    struct question k = { .random = seed };
    struct side b = { .pieces = NULL }, a = { .pieces = NULL };
    ASSERT(before_count > 0 && after_count > 0);
    if (!make_question(&k, metric, before[0], why))
        return false;
    bool has_room = side_init(&b, before, before_count) && side_init(&a, after, after_count);
    bool ok = has_room ? compare_sides(&b, &a, &k, out, why) : complain(why, NULL, 0, 0, "There is not enough memory to compare.");
    side_fini(&b);
    side_fini(&a);
    return ok;
}
