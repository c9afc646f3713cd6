/* result.c: from a tally to the numbers of a report. cli/bench.c and the scenarios call it when a run has ended, find-max at every level. */
#include "bench/result.h"
#include <math.h>
#include <stdio.h>

#define MS(span_ns)       ((double)(span_ns) / NANOS_PER_MS)
#define S(span_ns)        ((double)(span_ns) / NANOS_PER_S)
#define SPECTRUM_HALVINGS 15    /* of what lies above: to p99.997, which takes 30,000 samples to mean anything */
#define SPECTRUM_PARTS    4     /* points in each halving */

static const double quantiles[RESULT_QUANTILE_COUNT] = {
#define Q(name, q) [RESULT_##name] = (q),
    RESULT_QUANTILES(Q)
#undef Q
};

/* ---- one kind of span ---- */

static void nothing_measured(struct result_spans *s)
{
    *s = (struct result_spans){ .mean = NAN, .stdev = NAN, .least = NAN, .most = NAN };
    for (unsigned i = 0; i < RESULT_QUANTILE_COUNT; i++)
        s->at[i] = s->low[i] = s->high[i] = NAN;
}

/* The sample of a rank from 1, never outside what was really seen: a bucket's middle may be. */
static double ms_at(const struct spans *from, double share)
{
    return MS(MIN(MAX(hist_quantile(&from->hist, share), from->least), from->hist.max));
}

static double ms_at_rank(const struct spans *from, uint64_t rank)
{
    return ms_at(from, ((double)rank - 0.5) / (double)from->hist.count);
}

static void take_spectrum(struct result_spans *s, const struct spans *from)
{
    double left = 1;
    for (unsigned halving = 0; halving < SPECTRUM_HALVINGS && left * (double)s->count >= 1; halving++, left /= 2)
        for (unsigned part = 0; part < SPECTRUM_PARTS; part++) {
            double share = 1 - left * (1 - (double)part / (2 * SPECTRUM_PARTS));
            s->spectrum[s->spectrum_count].share = share;
            s->spectrum[s->spectrum_count++].ms = ms_at(from, share);
        }
    s->spectrum[s->spectrum_count].share = 1;
    s->spectrum[s->spectrum_count++].ms = s->most;
}

static void take_spans(struct result_spans *s, const struct spans *from)
{
    uint64_t n = from->hist.count, low, high;
    nothing_measured(s);
    if (n == 0)
        return;
    double mean = (double)from->hist.sum / (double)n;
    double variance = n < 2 ? 0 : MAX(0.0, from->squares - mean * mean * (double)n) / (double)(n - 1);
    s->count = n;
    s->mean = MS(mean);
    s->stdev = MS(sqrt(variance));
    s->least = MS(from->least);
    s->most = MS(from->hist.max);
    for (unsigned i = 0; i < RESULT_QUANTILE_COUNT; i++) {
        spans_ranks(n, quantiles[i], &low, &high);
        s->at[i] = ms_at(from, quantiles[i]);
        s->low[i] = low == 0 ? NAN : ms_at_rank(from, low);
        s->high[i] = high > n ? NAN : ms_at_rank(from, high);
    }
    take_spectrum(s, from);
}

/* ---- errors ---- */

#define NAMED_MAX (RESULT_ERRORS_MAX - 1) /* the last place collects what there is no room for */

static void add_other(struct result *r, uint64_t count)
{
    if (r->error_count == NAMED_MAX)
        r->errors[r->error_count++] = (struct result_error){ "other", 0 };
    r->errors[NAMED_MAX].count += count;
}

/* The list stays sorted: most first, then by name. */
static void add_error(struct result *r, const char *kind, uint64_t count)
{
    unsigned i = MIN(r->error_count, NAMED_MAX);
    if (count == 0)
        return;
    if (i == NAMED_MAX) { /* full: the rarest goes */
        add_other(r, MIN(count, r->errors[i - 1].count));
        if (count <= r->errors[--i].count)
            return;
    } else
        r->error_count++;
    for (; i > 0 && (r->errors[i - 1].count < count || (r->errors[i - 1].count == count && strcmp(r->errors[i - 1].kind, kind) > 0)); i--)
        r->errors[i] = r->errors[i - 1];
    r->errors[i].count = count;
    snprintf(r->errors[i].kind, sizeof r->errors[i].kind, "%s", kind);
}

static void take_errors(struct result *r, const struct tally *t)
{
    char kind[24];
    uint64_t unnamed = t->outcomes[OUTCOME_STATUS];
    r->error_count = 0;
    for (unsigned o = 0; o < TALLY_OUTCOMES; o++)
        if (o != OUTCOME_OK && o != OUTCOME_STATUS)
            add_error(r, tally_outcome_name((enum tally_outcome)o), t->outcomes[o]);
    for (unsigned i = 0; i < ARRAY_LEN(t->statuses); i++) {
        snprintf(kind, sizeof kind, "http_%u", TALLY_STATUS_MIN + i);
        add_error(r, kind, t->statuses[i]);
        unnamed -= MIN(unnamed, t->statuses[i]);
    }
    add_error(r, "http_other", unnamed); /* a status that is no status */
}

/* ---- windows ---- */

static void take_window(struct result_window *w, const struct window *from, double span_s)
{
    w->rate = from->ended / span_s;
    w->tokens_rate = (double)from->tokens_out / span_s;
    w->ended = from->ended;
    memcpy(w->outcomes, from->outcomes, sizeof w->outcomes);
    w->in_flight = from->in_flight;
    w->error_share = from->ended == 0 ? NAN : (double)from->failed / from->ended;
    if (from->latency.count == 0)
        return;
    w->mean_ms = MS((double)from->latency.sum / (double)from->latency.count);
    w->p50_ms = MS(hist_quantile(&from->latency, 0.5));
    w->p95_ms = MS(hist_quantile(&from->latency, 0.95));
    w->p99_ms = MS(hist_quantile(&from->latency, 0.99));
}

static void take_windows(struct result *r, const struct tally *t)
{
    r->window_count = MIN(t->window_count, TALLY_WINDOWS_MAX);
    for (unsigned i = 0; i < r->window_count; i++) {
        struct result_window *w = &r->windows[i];
        nanos at = (nanos)i * t->window_span;
        /* The last one is seldom whole. Less than half of one would be a rate of two or three requests: a spike that nobody saw. */
        nanos span = MIN(t->window_span, MAX(t->ended - t->began - at, t->window_span / 2));
        w->at_s = S(at);
        w->mean_ms = w->p50_ms = w->p95_ms = w->p99_ms = NAN;
        take_window(w, t->windows[i], S(span));
    }
}

/* ---- the whole ---- */

/* What the plan meant to send between two moments, by its phases; straight lines, so the middle of a piece is its mean. */
static double meant_rate(const struct pace_plan *p, nanos from, nanos to)
{
    double sum = 0;
    nanos at = 0;
    for (unsigned i = 0; i < p->phase_count; at += p->phases[i].span, i++) {
        const struct pace_phase *phase = &p->phases[i];
        nanos begin = MAX(at, from), end = MIN(at + phase->span, to);
        if (begin < end)
            sum += S(end - begin) * (phase->from + (phase->to - phase->from) * ((double)(begin - at) + (double)(end - begin) / 2) / (double)phase->span);
    }
    return to > from ? sum / S(to - from) : 0;
}

static double meant_moments(const struct pace_plan *p, nanos from, nanos to)
{
    double speed = p->speed > 0 ? p->speed : 1;
    uint64_t count = 0;
    for (uint64_t i = 0; i < p->moment_count; i++) {
        double at = (double)p->moments[i] / speed;
        count += at >= (double)from && at < (double)to;
    }
    return to > from ? (double)count / S(to - from) : 0;
}

/* When the measured span ends: with the plan, or with the last answer that was whole if that is later. Who waits for a time-out after that measures nothing,
   and would make the rate look lower than it ever was. */
static nanos span_end(const struct tally *t, nanos plan)
{
    nanos whole = 0, all = t->ended - t->began;
    if (all > (nanos)t->window_room * t->window_span)
        return all; /* what ended behind the windows may have been whole */
    for (uint32_t i = 0; i < t->window_count; i++)
        if (t->windows[i]->ended > t->windows[i]->failed)
            whole = (nanos)(i + 1) * t->window_span;
    return MIN(all, MAX(plan, whole));
}

/* What ended while load was meant, in whole windows behind the warm-up. Counts divided by span_s are too low where answers take long, because the span ends with the
   last of them and nothing comes in meanwhile; these are too low at the beginning, until the first answers come. Neither is too high, so the higher one is the rate:
   of a queue that grows, both are the server's. */
static void raise_rates(struct result *r, const struct tally *t, nanos from, nanos to)
{
    enum { FEWEST = 3 }; /* of fewer, one more or less at an edge is too much */
    double ended = 0, ok = 0, tokens = 0;
    nanos span = 0;
    for (uint32_t i = 0; i < t->window_count; i++) {
        const struct window *w = t->windows[i];
        nanos at = (nanos)i * t->window_span;
        if (at < from || at + t->window_span > MIN(to, t->ended - t->began))
            continue;
        ended += w->ended;
        ok += w->ended - w->failed;
        tokens += (double)w->tokens_out;
        span += t->window_span;
    }
    if (span < FEWEST * t->window_span)
        return;
    r->rate = MAX(r->rate, ended / S(span));
    r->ok_rate = MAX(r->ok_rate, ok / S(span));
    r->tokens_rate = MAX(r->tokens_rate, tokens / S(span));
}

static void take_rates(struct result *r, const struct tally *t, const struct load_plan *plan)
{
    nanos planned = pace_span(&plan->pace);
    nanos span = MAX(span_end(t, planned) - plan->warmup, 0);
    double s = span > 0 ? S(span) : 1; /* nothing was measured, so all counts are 0 */
    r->warmup_s = S(plan->warmup);
    r->span_s = S(span);
    r->intended_rate = !plan->is_open ? NAN : plan->pace.kind == PACE_MOMENTS ? meant_moments(&plan->pace, plan->warmup, planned)
                                                                              : meant_rate(&plan->pace, plan->warmup, planned);
    r->rate = (double)r->requests / s;
    r->ok_rate = (double)r->ok / s;
    r->tokens_rate = (double)t->tokens_out / s;
    raise_rates(r, t, plan->warmup, planned);
    r->good_rate = r->ok > 0 ? r->ok_rate * (double)t->good / (double)r->ok : 0;
}

void result_init(struct result *r)
{
    memset(r, 0, sizeof *r);
    struct result_spans *const spans[] = { &r->latency, &r->service, &r->ttft, &r->itl, &r->failed, &r->lag };
    for (size_t i = 0; i < ARRAY_LEN(spans); i++)
        nothing_measured(spans[i]);
    r->intended_rate = r->cached_share = r->rss_mb = r->server_cpu = NAN;
    for (size_t i = 0; i < TALLY_WINDOWS_MAX; i++)
        r->windows[i].server_cpu = r->windows[i].server_rss_mb = NAN;
}

void result_from_tally(struct result *r, const struct tally *t, const struct load_plan *plan, unsigned worker_count)
{
    r->requests = tally_requests(t);
    r->ok = t->outcomes[OUTCOME_OK];
    r->tokens_in = t->tokens_in;
    r->tokens_out = t->tokens_out;
    r->bytes_in = t->bytes_in;
    r->bytes_out = t->bytes_out;
    r->missed = t->missed;
    r->warmup = t->warmup;
    r->in_flight_max = t->in_flight_max;
    r->cached_share = r->ok == 0 ? NAN : (double)t->cached / (double)r->ok;
    take_rates(r, t, plan);
    r->generator_busy = load_busy(plan, t, worker_count);
    take_spans(&r->latency, &t->latency);
    take_spans(&r->service, &t->service);
    take_spans(&r->ttft, &t->ttft);
    take_spans(&r->itl, &t->itl);
    take_spans(&r->failed, &t->failed);
    take_spans(&r->lag, &t->lag);
    take_errors(r, t);
    take_windows(r, t);
    if (load_invalid(plan, t, worker_count, r->invalid) == NULL)
        r->invalid[0] = '\0';
}

/* ---- the verdict ---- */

static bool all_met(const struct result *r)
{
    for (unsigned i = 0; i < r->verdict_count; i++)
        if (!r->verdicts[i].is_met)
            return false;
    return true;
}

const char *result_verdict(const struct result *r)
{
    return r->invalid[0] != '\0' ? "invalid" : all_met(r) ? "met" : "missed";
}

int result_exit(const struct result *r)
{
    return r->invalid[0] != '\0' ? 3 : all_met(r) ? 0 : 1;
}

int result_exit_all(const struct result *const *runs, unsigned count)
{
    int worst = 0;
    for (unsigned i = 0; i < count; i++)
        worst = MAX(worst, result_exit(runs[i]));
    return worst;
}

/* ---- findings ---- */

static const char *const finding_names[] = {
#define FINDING(name, unit, smaller, what) #name,
#include "bench/findings.def"
};

void result_add_finding(struct result *r, enum finding id, double value, double low, double high)
{
    ASSERT(r->finding_count < FINDINGS);
    struct result_finding *f = &r->findings[r->finding_count++];
    *f = (struct result_finding){ .value = value, .low = low, .high = high };
    snprintf(f->name, sizeof f->name, "%s", finding_names[id]);
}

const struct result_finding *result_finding(const struct result *r, enum finding id)
{
    static const struct result_finding none = { .value = NAN, .low = NAN, .high = NAN };
    for (unsigned i = 0; i < r->finding_count; i++)
        if (strcmp(r->findings[i].name, finding_names[id]) == 0)
            return &r->findings[i];
    return &none;
}
