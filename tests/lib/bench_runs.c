/* bench_runs.c: made-up results of load tests; see bench_runs.h. */
#include "bench_runs.h"
#include <math.h>
#include <stdio.h>

/* From 0 to 1, the same for the same i: windows that are all alike would hide what a chart does with real ones. */
static double noise(unsigned i)
{
    double x = sin(i * 12.9898 + 4.1) * 43758.5453;
    return x - floor(x);
}

/* Quantiles of an exponential tail behind a least time. */
static double tail(double least, double scale, double share) { return least - scale * log(1 - MIN(share, 0.99999)); }

static void fill_spans(struct result_spans *s, uint64_t count, double least, double scale)
{
    static const double quantiles[RESULT_QUANTILE_COUNT] = { 0.5, 0.75, 0.9, 0.95, 0.99, 0.999 };
    s->count = count;
    s->least = least;
    s->mean = least + scale;
    s->stdev = scale;
    s->most = tail(least, scale, 0.99999);
    for (unsigned q = 0; q < RESULT_QUANTILE_COUNT; q++) {
        double error = 1.96 * sqrt(quantiles[q] * (1 - quantiles[q]) / (double)count);
        s->at[q] = tail(least, scale, quantiles[q]);
        s->low[q] = tail(least, scale, quantiles[q] - error);
        s->high[q] = quantiles[q] + error < 1 ? tail(least, scale, quantiles[q] + error) : NAN;
    }
    s->spectrum_count = 61;
    for (unsigned i = 0; i < 60; i++) {
        s->spectrum[i].share = 1 - pow(0.5, i / 4.0);
        s->spectrum[i].ms = tail(least, scale, s->spectrum[i].share);
    }
    s->spectrum[60].share = 1;
    s->spectrum[60].ms = s->most;
}

static void fill_window(struct result_window *w, unsigned i, double span_s, double rate, double slowness)
{
    w->at_s = i * span_s;
    w->rate = rate * (0.95 + 0.1 * noise(i));
    w->error_share = 0;
    w->mean_ms = slowness * (6 + noise(i + 1000));
    w->p50_ms = slowness * (5 + noise(i + 1000));
    w->p95_ms = slowness * (15 + 4 * noise(i + 2000));
    w->p99_ms = slowness * (26 + 14 * noise(i + 3000));
    w->tokens_rate = NAN;
    w->in_flight = (uint32_t)(rate * w->p50_ms / 1000 + 3 * noise(i + 4000));
    w->ended = (uint32_t)(w->rate * span_s);
    w->outcomes[OUTCOME_OK] = w->ended;
}

static void name(struct result *r, const char *what)
{
    snprintf(r->name, sizeof r->name, "%s", what);
    snprintf(r->target, sizeof r->target, "http://127.0.0.1:4040/v1/chat/completions");
    snprintf(r->when, sizeof r->when, "2025-03-01T12:00:00Z");
    snprintf(r->commit, sizeof r->commit, "weir 0.5.0 (0123456789ab)");
    snprintf(r->machine, sizeof r->machine, "2 x Example CPU at 2.4 GHz, Linux 6.1");
}

static void criterion(struct result *r, const char *text, const char *measured, double value, bool is_met)
{
    struct result_verdict *v = &r->verdicts[r->verdict_count++];
    snprintf(v->text, sizeof v->text, "%s", text);
    snprintf(v->measured, sizeof v->measured, "%s", measured);
    v->value = value;
    v->is_met = is_met;
}

static void error_kind(struct result *r, const char *kind, uint64_t count)
{
    struct result_error *e = &r->errors[r->error_count++];
    snprintf(e->kind, sizeof e->kind, "%s", kind);
    e->count = count;
    r->ok -= count;
}

static void fill_steady(struct result *r, double rate, double scale)
{
    name(r, "steady");
    r->warmup_s = 5;
    r->span_s = 55;
    r->intended_rate = rate;
    r->rate = r->ok_rate = r->good_rate = rate * 0.998;
    r->requests = r->ok = (uint64_t)(r->rate * r->span_s);
    r->warmup = (uint64_t)(rate * r->warmup_s);
    r->in_flight_max = 18;
    r->generator_busy = 0.21;
    fill_spans(&r->latency, r->ok, 2.5, scale);
    fill_spans(&r->service, r->ok, 2.4, scale * 0.97);
    fill_spans(&r->lag, r->requests, 0.02, 0.04);
    r->window_count = 60;
    for (unsigned i = 0; i < r->window_count; i++)
        fill_window(&r->windows[i], i, 1, rate, scale / 3.2);
}

static void add_tokens(struct result *r)
{
    r->tokens_out = r->ok * 40;
    r->tokens_in = r->ok * 210;
    r->tokens_rate = r->rate * 40;
    r->cached_share = 0.314;
    fill_spans(&r->ttft, r->ok, 1.1, 1.4);
    fill_spans(&r->itl, r->ok * 39, 0.03, 0.05);
    for (unsigned i = 0; i < r->window_count; i++)
        r->windows[i].tokens_rate = r->windows[i].rate * 40;
}

static void fill_spike(struct result *r)
{
    fill_steady(r, 200, 3.2);
    name(r, "spike");
    r->span_s = 1200;
    r->warmup_s = 0;
    r->warmup = 0;
    r->requests = r->ok = 239500;
    error_kind(r, "http_503", 9120);
    error_kind(r, "timeout", 1204);
    error_kind(r, "reset", 17);
    fill_spans(&r->latency, r->ok, 2.5, 41);
    fill_spans(&r->service, r->ok, 2.4, 3.1);
    fill_spans(&r->failed, r->requests - r->ok, 0.6, 900);
    r->window_count = TALLY_WINDOWS_MAX;
    for (unsigned i = 0; i < r->window_count; i++) {
        bool is_high = i >= 290 && i < 325;
        struct result_window *w = &r->windows[i];
        fill_window(w, i, 2, is_high ? 1400 : 200, is_high ? 60 + 40 * noise(i) : 1);
        w->error_share = is_high && i > 295 ? 0.1 + 0.3 * noise(i) : i == 480 ? 0.002 : 0;
        w->outcomes[OUTCOME_STATUS] = (uint32_t)(0.85 * w->error_share * w->ended);
        w->outcomes[OUTCOME_TIMEOUT] = (uint32_t)(0.15 * w->error_share * w->ended);
        w->outcomes[OUTCOME_RESET] = i >= 322 && i < 325 ? 6 : 0;
        w->outcomes[OUTCOME_OK] -= w->outcomes[OUTCOME_STATUS] + w->outcomes[OUTCOME_TIMEOUT] + w->outcomes[OUTCOME_RESET];
        w->server_cpu = is_high ? 1.9 : 0.5 + 0.1 * noise(i);
        w->server_rss_mb = 61 + i * 0.02 + (is_high ? 40 : 0);
        if (i >= 326 && i < 332) { /* it stood still: nothing ended */
            w->rate = w->ended = w->outcomes[OUTCOME_OK] = 0;
            w->error_share = w->mean_ms = w->p50_ms = w->p95_ms = w->p99_ms = NAN;
        }
    }
    r->server_cpu = 702;
    r->rss_mb = 113.4;
    r->in_flight_max = 812;
    criterion(r, "p95 < 200ms", "2.1s", 2100, false);
    criterion(r, "error_rate < 1%", "4.3 %", 0.043, false);
    criterion(r, "rate >= 150", "199.6 /s", 199.6, true);
}

static void fill_search(struct result *r)
{
    static const double levels[] = { 10, 20, 40, 80, 160, 320, 640, 480, 400, 440, 420 };
    fill_steady(r, 400, 3.2);
    name(r, "find-max");
    for (unsigned i = 0; i < ARRAY_LEN(levels); i++) {
        double load = levels[i], served = load < 412 ? load : 412 - 0.03 * (load - 412);
        r->levels[r->level_count++] = (struct result_level){ load, served, 6 + load / 90, load < 410 ? 24 + load / 8 : 24 + pow(load - 380, 1.4), load > 410 ? 0.02 : 0, load < 410 };
    }
    snprintf(r->knee, sizeof r->knee, "Throughput stops growing at about 400 requests a second; 420 missed p99 < 100ms.");
}

static void fill_hostile(struct result *r)
{
    static const char attack[] = "</title><script>alert('1')</script>\"'&<b>\x1b[31m\xe2\x80\xae\xff";
    fill_steady(r, 50, 3);
    char *const texts[] = { r->name, r->target, r->when, r->commit, r->machine, r->invalid, r->knee };
    const size_t sizes[] = { sizeof r->name, sizeof r->target, sizeof r->when, sizeof r->commit, sizeof r->machine, sizeof r->invalid, sizeof r->knee };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        snprintf(texts[i], sizes[i], "%s", attack);
    r->levels[r->level_count++] = (struct result_level){ 10, 10, 5, 6, 0, true };
    criterion(r, attack, "<i>", 1, false);
    error_kind(r, "<img src=x>", 3);
}

void bench_run_make(struct result *r, enum bench_run which)
{
    result_init(r);
    switch (which) {
    case BENCH_RUN_STEADY:
        fill_steady(r, 250, 3.2);
        add_tokens(r);
        criterion(r, "p95 < 200ms", "12.1ms", 12.1, true);
        criterion(r, "error_rate < 1%", "0 %", 0, true);
        break;
    case BENCH_RUN_SPIKE: fill_spike(r); break;
    case BENCH_RUN_INVALID:
        fill_steady(r, 9000, 3.2);
        name(r, "too much for one machine");
        r->generator_busy = 0.97;
        r->missed = 1204;
        fill_spans(&r->lag, r->requests, 2, 30);
        snprintf(r->invalid, sizeof r->invalid, "the generator was 41ms late at p99, more than 5 %% of the latency's p50");
        criterion(r, "p95 < 200ms", "12.1ms", 12.1, true);
        break;
    case BENCH_RUN_SEARCH: fill_search(r); break;
    case BENCH_RUN_EMPTY: name(r, "nothing"); break;
    case BENCH_RUN_HOSTILE: fill_hostile(r); break;
    case BENCH_RUN_COUNT: break;
    }
}
