/* charts.c: the charts of a load test's report; see charts.h. */
#include "report/charts.h"
#include "report/chart.h"
#include "bench/search.h"
#include <math.h>
#include <stdlib.h>

/* ---- over time ---- */

#define WINDOW(field) \
    static double window_##field(const void *row) { return (double)((const struct result_window *)row)->field; }
WINDOW(at_s)
WINDOW(rate)
WINDOW(error_share)
WINDOW(p50_ms)
WINDOW(p95_ms)
WINDOW(p99_ms)
WINDOW(tokens_rate)
WINDOW(server_cpu)
WINDOW(server_rss_mb)
WINDOW(in_flight)
#undef WINDOW

static double outcome_rate(const struct result_window *w, enum tally_outcome o)
{
    return w->ended == 0 ? w->rate : w->rate * w->outcomes[o] / w->ended;
}

#define OUTCOME(id, name, what) \
    static double window_##id(const void *row) { return outcome_rate(row, OUTCOME_##id); }
#include "bench/outcomes.def"
#undef OUTCOME

static void add_series(struct chart *c, const struct result *r, const char *name, enum chart_mark mark, unsigned colour, double (*y)(const void *row))
{
    ASSERT(c->series_count < CHART_SERIES_MAX);
    c->series[c->series_count++] = (struct chart_series){ name, mark, colour, r->windows, sizeof r->windows[0], r->window_count, window_at_s, y };
}

static struct chart over_time(const struct result *r, const char *title, enum figure_unit unit, enum chart_scale scale)
{
    return (struct chart){ .title = title, .x = { "time since the start", FIGURE_TIME, CHART_LINEAR }, .y = { "", unit, scale }, .mark = NAN, .warmup = r->warmup_s };
}

static void draw_one(struct markup *m, const struct result *r, const char *title, const char *name, enum figure_unit unit, double (*y)(const void *row))
{
    struct chart c = over_time(r, title, unit, CHART_LINEAR);
    add_series(&c, r, name, CHART_LINE, 1, y);
    chart_draw(m, &c);
}

static void draw_latency(struct markup *m, const struct result *r)
{
    struct chart c = over_time(r, "Latency over time", FIGURE_MS, CHART_FITTING);
    add_series(&c, r, "p50", CHART_LINE, 1, window_p50_ms);
    add_series(&c, r, "p95", CHART_LINE, 2, window_p95_ms);
    add_series(&c, r, "p99", CHART_LINE, 3, window_p99_ms);
    add_series(&c, r, "errors", CHART_BANDS, 1, window_error_share);
    chart_draw(m, &c);
}

static bool has_outcome(const struct result *r, enum tally_outcome o)
{
    for (unsigned i = 0; i < r->window_count; i++)
        if (r->windows[i].outcomes[o] > 0)
            return true;
    return false;
}

static void draw_errors(struct markup *m, const struct result *r)
{
    static double (*const rates[TALLY_OUTCOMES])(const void *row) = {
#define OUTCOME(id, name, what) window_##id,
#include "bench/outcomes.def"
#undef OUTCOME
    };
    struct chart c = over_time(r, "Errors over time", FIGURE_RATE, CHART_LINEAR);
    for (unsigned o = 0; o < TALLY_OUTCOMES; o++)
        if (o != OUTCOME_OK && has_outcome(r, (enum tally_outcome)o) && c.series_count < CHART_SERIES_MAX)
            add_series(&c, r, tally_outcome_name((enum tally_outcome)o), CHART_LINE, 1 + c.series_count % CHART_COLOURS, rates[o]);
    chart_draw(m, &c);
}

static bool has_tokens(const struct result *r) { return r->tokens_out > 0; }

static void draw_over_time(struct markup *m, const struct result *r)
{
    draw_one(m, r, "Rate over time", "requests that ended", FIGURE_RATE, window_rate);
    draw_one(m, r, "In flight over time", "requests", FIGURE_COUNT, window_in_flight);
    if (has_tokens(r))
        draw_one(m, r, "Tokens over time", "tokens of answers", FIGURE_RATE, window_tokens_rate);
    draw_errors(m, r);
    draw_one(m, r, "The server's CPU", "cores kept busy", FIGURE_CORES, window_server_cpu);
    draw_one(m, r, "The server's memory", "resident", FIGURE_MB, window_server_rss_mb);
}

/* ---- the spectrum ---- */

struct point { double share, ms; }; /* as result_spans has them */

static double spectrum_share(const void *row) { return ((const struct point *)row)->share; }
static double spectrum_ms(const void *row) { return ((const struct point *)row)->ms; }

static struct chart spectrum(const char *title)
{
    return (struct chart){ .title = title, .x = { "share of requests that took at most so long", FIGURE_SHARE, CHART_NINES },
                           .y = { "", FIGURE_MS, CHART_FITTING }, .mark = NAN };
}

static void add_spectrum(struct chart *c, const char *name, const struct result_spans *s)
{
    _Static_assert(sizeof(struct point) == sizeof s->spectrum[0], "a point of the spectrum is two doubles");
    unsigned n = c->series_count++;
    c->series[n] = (struct chart_series){ name, CHART_LINE, n + 1, s->spectrum, sizeof s->spectrum[0], s->spectrum_count, spectrum_share, spectrum_ms };
}

static void draw_spectrum(struct markup *m, const struct result *r)
{
    struct chart c = spectrum("Percentiles");
    add_spectrum(&c, "latency, from when it was due", &r->latency);
    add_spectrum(&c, "service time, from when it was sent", &r->service);
    add_spectrum(&c, "first token", &r->ttft);
    chart_draw(m, &c);
}

/* ---- against concurrency ---- */

static double level_level(const void *row) { return ((const struct result_level *)row)->level; }
static double level_rate(const void *row) { return ((const struct result_level *)row)->rate; }
static double level_p50(const void *row) { return ((const struct result_level *)row)->p50_ms; }
static double level_p99(const void *row) { return ((const struct result_level *)row)->p99_ms; }
static double level_rate_kept(const void *row) { return ((const struct result_level *)row)->is_kept ? level_rate(row) : NAN; }
static double level_rate_lost(const void *row) { return ((const struct result_level *)row)->is_kept ? NAN : level_rate(row); }

static int by_level(const void *a, const void *b)
{
    double x = level_level(a), y = level_level(b);
    return (x > y) - (x < y);
}

static struct chart against(const char *title, enum figure_unit unit, enum chart_scale scale, double knee)
{
    return (struct chart){ .title = title, .x = { "load: users, or requests a second", FIGURE_COUNT, CHART_FITTING }, .y = { "", unit, scale },
                           .mark = knee, .mark_name = "knee" };
}

static void add_levels(struct chart *c, const char *name, enum chart_mark mark, unsigned colour, const struct result_level *levels, unsigned count,
                       double (*y)(const void *row))
{
    c->series[c->series_count++] = (struct chart_series){ name, mark, colour, levels, sizeof *levels, count, level_level, y };
}

static void draw_levels(struct markup *m, const struct result *r)
{
    size_t bytes = r->level_count * sizeof r->levels[0];
    if (bytes == 0)
        return;
    struct result_level *levels = mem_alloc(bytes); /* a search goes up and down, a line only up */
    if (levels == NULL) {
        m->fail = m->fail != OK ? m->fail : FAIL_NO_MEMORY;
        return;
    }
    memcpy(levels, r->levels, bytes);
    qsort(levels, r->level_count, sizeof *levels, by_level);
    const struct result_level *bend = search_bend(levels, r->level_count);
    double knee = bend != NULL ? bend->level : NAN;
    struct chart c = against("Throughput against load", FIGURE_RATE, CHART_LINEAR, knee);
    add_levels(&c, "rate", CHART_LINE, 1, levels, r->level_count, level_rate);
    add_levels(&c, "criteria met", CHART_DOTS, 1, levels, r->level_count, level_rate_kept);
    add_levels(&c, "missed", CHART_RINGS, 2, levels, r->level_count, level_rate_lost);
    c.note = r->knee;
    chart_draw(m, &c);
    c = against("Latency against load", FIGURE_MS, CHART_FITTING, knee);
    add_levels(&c, "p50", CHART_LINE, 1, levels, r->level_count, level_p50);
    add_levels(&c, "p99", CHART_LINE, 3, levels, r->level_count, level_p99);
    chart_draw(m, &c);
    mem_free(levels);
}

const struct result *report_of_all(const struct result *const *runs, unsigned count)
{
    const struct result *found = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (runs[i]->level_count > 0 && found != NULL)
            return NULL;
        found = runs[i]->level_count > 0 ? runs[i] : found;
    }
    return count > 1 ? found : NULL;
}

void report_charts(struct markup *m, const struct result *r, bool with_levels)
{
    markup_put(m, "<div class=\"charts\">\n");
    draw_latency(m, r);
    draw_spectrum(m, r);
    if (with_levels)
        draw_levels(m, r);
    draw_over_time(m, r);
    markup_put(m, "</div>\n");
}

void report_charts_together(struct markup *m, const struct result *const *runs, unsigned count)
{
    struct chart c = spectrum("Latency, percentiles");
    for (unsigned i = 0; i < MIN(count, CHART_COLOURS); i++)
        add_spectrum(&c, runs[i]->name, &runs[i]->latency);
    c.note = count > CHART_COLOURS ? "Only the first eight runs are drawn." : NULL;
    chart_draw(m, &c);
    const struct result *r = report_of_all(runs, count);
    if (r != NULL)
        draw_levels(m, r);
}
