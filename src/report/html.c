/* html.c: the report of one or several load tests as one HTML file that needs nothing else: no script, no network. `weir bench --html` writes it. */
#include "report/chart.h"
#include "bench/metrics.h"
#include "report/charts.h"
#include "report/report.h"
#include <math.h>
#include <stdio.h>

/* Colours: Okabe and Ito's, which people with any kind of colour vision tell apart; lighter ones on dark. */
static const char *const style[] = {
    ":root{color-scheme:light dark;--ground:#fff;--card:#f6f7f9;--ink:#1c1f24;--faint:#5a616b;--rule:#d9dde3;--good:#00704f;--bad:#b3123b;--doubt:#8a5a00;"
    "--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#aa4499;--c5:#56b4e9;--c6:#8a6d00;--c7:#444;--c8:#cc79a7}\n",
    "@media(prefers-color-scheme:dark){:root{--ground:#14171b;--card:#1d2126;--ink:#e8eaed;--faint:#a3abb6;--rule:#343a42;--good:#3ecf9d;--bad:#ff7b93;"
    "--doubt:#f0b44a;--c1:#56b4e9;--c2:#ff9347;--c3:#2fd0a0;--c4:#d98ed0;--c5:#3b8bd0;--c6:#f0e442;--c7:#bbb;--c8:#f2b8d5}}\n",
    "*{box-sizing:border-box}\n",
    "body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:76rem;background:var(--ground);color:var(--ink);"
    "font:16px/1.45 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"DejaVu Sans\",sans-serif}\n",
    "h1{font-size:1.6rem;margin:0 0 .75rem}h2{font-size:1.3rem;margin:2.5rem 0 .75rem}h3{font-size:1.05rem;margin:1.75rem 0 .5rem}\n",
    "h1,h2,p,td,th{overflow-wrap:anywhere}a{color:var(--c1)}p{margin:.4rem 0}small,.faint,.note{color:var(--faint)}\n",
    ".verdict{font-size:1.15rem;font-weight:600;border-left:.4rem solid;padding:.5rem .8rem;background:var(--card);margin:.5rem 0}\n",
    ".met{color:var(--good)}.missed{color:var(--bad)}.invalid{color:var(--doubt)}.unjudged{color:var(--ink)}\n",
    ".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.6rem;margin:1rem 0}\n",
    ".tiles div{background:var(--card);padding:.5rem .75rem;border-radius:.4rem}.tiles dt{color:var(--faint);font-size:.85rem}\n",
    ".tiles dd{margin:0;font-size:1.2rem;font-variant-numeric:tabular-nums}.tiles small{display:block;font-size:.8rem}.wide{overflow-x:auto}\n",
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n",
    "th,td{padding:.3rem .8rem .3rem 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}th{font-weight:600}\n",
    "th:first-child,td:first-child,.left{text-align:left}td.name{white-space:normal;min-width:8rem}\n",
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr));gap:1.5rem 2rem;margin-top:1.5rem}\n",
    "figure{margin:0;min-width:0;break-inside:avoid}figcaption{min-height:1.6rem}figcaption b{margin-right:.5rem}\n",
    ".key{white-space:nowrap;margin-right:.6rem;font-size:.9rem}.key i{display:inline-block;vertical-align:middle;margin-right:.3rem}\n",
    ".k-line{width:1.3rem;border-top:3px solid var(--c)}.k-dot,.k-ring{width:.7rem;height:.7rem;border-radius:50%;border:2px solid var(--c)}\n",
    ".k-dot{background:var(--c)}\n",
    ".k-band{width:1.1rem;height:.8rem;background:color-mix(in srgb,var(--bad) 25%,transparent);border-top:4px solid var(--bad)}\n",
    "svg{display:block;width:100%;height:auto}svg text{fill:var(--faint);font-size:12.5px}.end{text-anchor:end}.mid{text-anchor:middle}\n",
    "svg .strong{fill:var(--ink);font-weight:600}.grid{stroke:var(--rule);fill:none}.axis{stroke:var(--faint);fill:none}\n",
    ".line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.dot{fill:var(--c)}\n",
    ".ring{fill:var(--ground);stroke:var(--c);stroke-width:2}.mark{stroke:var(--ink);stroke-dasharray:5 4;fill:none}\n",
    ".warmup,.k-warmup{fill:var(--faint);opacity:.16}.k-warmup{width:1.1rem;height:.8rem;background:var(--faint)}\n",
    ".band{fill:var(--bad);opacity:.14}.bad{fill:var(--bad)}.hit{fill:transparent}.hit:hover{fill:var(--ink);fill-opacity:.15}.c1{--c:var(--c1)}\n",
    ".c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}.c8{--c:var(--c8)}\n",
    "@media(max-width:30rem){body{padding:1rem .75rem}svg text{font-size:15px}th,td{padding-right:.6rem;font-size:.9rem}}\n",
    "@media print{body{max-width:none;padding:0;font-size:11px}.charts{grid-template-columns:1fr 1fr}section{break-before:page}"
    "section:first-of-type{break-before:auto}a{color:inherit}}\n",
};

/* ---- the verdict ---- */

static const struct result_verdict *first_missed(const struct result *r)
{
    for (unsigned i = 0; i < r->verdict_count; i++)
        if (!r->verdicts[i].is_met)
            return &r->verdicts[i];
    return NULL;
}

static unsigned missed_count(const struct result *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->verdict_count; i++)
        n += !r->verdicts[i].is_met;
    return n;
}

static bool is_judged(const struct result *r) { return r->verdict_count > 0 || r->invalid[0] != '\0'; }

/* Also classes of the page's style. */
static const char *word_of(const struct result *r) { return is_judged(r) ? result_verdict(r) : "unjudged"; }

static void put_known(struct markup *m, const char *before, const char *text)
{
    if (text[0] == '\0')
        return;
    markup_put(m, "%s", before);
    markup_text(m, text);
}

static void put_verdict(struct markup *m, const struct result *r)
{
    const struct result_verdict *missed = first_missed(r);
    markup_put(m, "<p class=\"verdict %s\">", word_of(r));
    if (r->invalid[0] != '\0') {
        markup_put(m, "INVALID: ");
        markup_text(m, r->invalid);
        markup_put(m, ". These figures say nothing about the server.");
    } else if (r->verdict_count == 0)
        markup_put(m, "Measured. No criteria were given.");
    else if (missed == NULL)
        markup_put(m, "Met: %u of %u criteria.", r->verdict_count, r->verdict_count);
    else {
        markup_put(m, "Missed: %u of %u criteria, the first of them ", missed_count(r), r->verdict_count);
        markup_text(m, missed->text);
        put_known(m, ": it was ", missed->measured);
        markup_put(m, ".");
    }
    markup_put(m, "</p>\n");
}

/* ---- what was tested ---- */

static void put_load(struct markup *m, const struct result *r)
{
    char text[FIGURE_MAX];
    markup_put(m, "<p>");
    markup_text(m, r->target);
    markup_put(m, "<br>");
    if (r->intended_rate > 0)
        markup_put(m, "%s meant, ", figure_print(text, r->intended_rate, FIGURE_RATE));
    markup_put(m, "for %s, ", figure_print(text, r->span_s, FIGURE_TIME));
    markup_put(m, "at most %s in flight</p>\n", figure_print(text, r->in_flight_max, FIGURE_COUNT));
    markup_put(m, "<p class=\"faint\">");
    markup_text(m, r->when);
    put_known(m, " on ", r->machine);
    put_known(m, ", ", r->commit);
    markup_put(m, "</p>\n");
}

/* ---- figures ---- */

static void put_tile(struct markup *m, const char *name, double value, enum figure_unit unit, const char *below)
{
    char text[FIGURE_MAX];
    markup_put(m, "<div><dt>%s</dt><dd>%s", name, figure_print(text, value, unit));
    if (below != NULL)
        markup_put(m, "<small>%s</small>", below);
    markup_put(m, "</dd></div>\n");
}

static double share_of(uint64_t part, uint64_t whole) { return whole > 0 ? (double)part / (double)whole : NAN; }

static void put_tiles_of_load(struct markup *m, const struct result *r)
{
    char text[FIGURE_MAX], line[80];
    uint64_t errors = r->requests - r->ok;
    snprintf(line, sizeof line, "and %s of the warm-up", figure_print(text, (double)r->warmup, FIGURE_COUNT));
    put_tile(m, "Requests", (double)r->requests, FIGURE_COUNT, r->warmup > 0 ? line : NULL);
    put_tile(m, "OK", (double)r->ok, FIGURE_COUNT, NULL);
    snprintf(line, sizeof line, "%s of all", figure_print(text, share_of(errors, r->requests), FIGURE_SHARE));
    put_tile(m, "Errors", (double)errors, FIGURE_COUNT, line);
    snprintf(line, sizeof line, "of %s meant", figure_print(text, r->intended_rate, FIGURE_RATE));
    put_tile(m, "Rate", r->rate, FIGURE_RATE, r->intended_rate > 0 ? line : NULL);
    put_tile(m, "Good answers", r->good_rate, FIGURE_RATE, NULL);
    if (r->tokens_out > 0) {
        snprintf(line, sizeof line, "%s in all", figure_print(text, (double)r->tokens_out, FIGURE_COUNT));
        put_tile(m, "Tokens", r->tokens_rate, FIGURE_RATE, line);
    }
    if (isfinite(r->cached_share))
        put_tile(m, "From a cache", r->cached_share, FIGURE_SHARE, NULL);
}

/* What only some scenarios measure. */
static void put_findings(struct markup *m, const struct result *r)
{
    char value[FIGURE_MAX], low[FIGURE_MAX], high[FIGURE_MAX];
    struct complaint why;
    for (unsigned i = 0; i < r->finding_count; i++) {
        const struct result_finding *f = &r->findings[i];
        int metric = metric_find(text_of(f->name), &why);
        if (metric < 0)
            continue; /* of a newer weir's file */
        markup_put(m, "<div><dt>");
        markup_text(m, f->name);
        markup_put(m, "</dt><dd>%s", metric_print(metric, f->value, value));
        if (isfinite(f->low) && isfinite(f->high))
            markup_put(m, "<small>%s to %s</small>", metric_print(metric, f->low, low), metric_print(metric, f->high, high));
        markup_put(m, "</dd></div>\n");
    }
}

static void put_tiles(struct markup *m, const struct result *r)
{
    char text[FIGURE_MAX], line[80];
    markup_put(m, "<dl class=\"tiles\">\n");
    put_tiles_of_load(m, r);
    put_tile(m, "p50", r->latency.at[RESULT_p50], FIGURE_MS, NULL);
    put_tile(m, "p99", r->latency.at[RESULT_p99], FIGURE_MS, NULL);
    snprintf(line, sizeof line, "at p99; p50 %s", figure_print(text, r->lag.at[RESULT_p50], FIGURE_MS));
    put_tile(m, "Generator's lag", r->lag.at[RESULT_p99], FIGURE_MS, line);
    snprintf(line, sizeof line, "%s arrivals missed", figure_print(text, (double)r->missed, FIGURE_COUNT));
    put_tile(m, "Generator busy", r->generator_busy, FIGURE_SHARE, r->missed > 0 ? line : NULL);
    if (isfinite(r->server_cpu))
        put_tile(m, "Server's CPU time", r->server_cpu, FIGURE_TIME, NULL);
    if (isfinite(r->rss_mb))
        put_tile(m, "Server's memory", r->rss_mb, FIGURE_MB, "the highest");
    put_findings(m, r);
    markup_put(m, "</dl>\n");
}

static void put_knee(struct markup *m, const struct result *r)
{
    if (r->knee[0] == '\0')
        return;
    markup_put(m, "<p>");
    markup_text(m, r->knee);
    markup_put(m, "</p>\n");
}

#define KINDS_MAX 6

struct kind {
    const char *name;
    const struct result_spans *spans;
};

/* Those that were measured. */
static unsigned kinds_of(const struct result *r, struct kind kinds[KINDS_MAX])
{
    const struct kind all[KINDS_MAX] = { { "Latency", &r->latency }, { "Service time", &r->service }, { "First token", &r->ttft },
                                         { "Between tokens", &r->itl }, { "Failed", &r->failed }, { "Generator's lag", &r->lag } };
    unsigned count = 0;
    for (unsigned i = 0; i < KINDS_MAX; i++)
        if (all[i].spans->count > 0)
            kinds[count++] = all[i];
    return count;
}

static void put_cell(struct markup *m, double value, enum figure_unit unit)
{
    char text[FIGURE_MAX];
    markup_put(m, "<td>%s</td>", figure_print(text, value, unit));
}

/* Few samples bound the high quantiles on one side only. */
static void put_interval(struct markup *m, double low, double high)
{
    char from[FIGURE_MAX], to[FIGURE_MAX];
    figure_print(from, low, FIGURE_MS);
    figure_print(to, high, FIGURE_MS);
    if (isfinite(low) && isfinite(high))
        markup_put(m, "<td class=\"faint\">%s to %s</td>", from, to);
    else if (isfinite(low))
        markup_put(m, "<td class=\"faint\">over %s</td>", from);
    else
        markup_put(m, "<td class=\"faint\">%s%s</td>", isfinite(high) ? "under " : "", to);
}

static void put_moments(struct markup *m, const struct kind *kinds, unsigned count, const char *name, size_t offset)
{
    markup_put(m, "<tr><th>%s</th>", name);
    for (unsigned i = 0; i < count; i++) {
        put_cell(m, *(const double *)((const char *)kinds[i].spans + offset), FIGURE_MS);
        if (i == 0)
            markup_put(m, "<td></td>");
    }
    markup_put(m, "</tr>\n");
}

static void put_quantiles(struct markup *m, const struct kind *kinds, unsigned count)
{
    static const char *const names[] = { "p50", "p75", "p90", "p95", "p99", "p99.9" };
    _Static_assert(ARRAY_LEN(names) == RESULT_QUANTILE_COUNT, "a name for each");
    for (unsigned q = 0; q < RESULT_QUANTILE_COUNT; q++) {
        markup_put(m, "<tr><th>%s</th>", names[q]);
        for (unsigned i = 0; i < count; i++) {
            put_cell(m, kinds[i].spans->at[q], FIGURE_MS);
            if (i == 0)
                put_interval(m, kinds[0].spans->low[q], kinds[0].spans->high[q]);
        }
        markup_put(m, "</tr>\n");
    }
}

static void put_spans(struct markup *m, const struct result *r)
{
    struct kind kinds[KINDS_MAX];
    unsigned count = kinds_of(r, kinds);
    if (count == 0)
        return;
    markup_put(m, "<h3>Times</h3>\n<div class=\"wide\"><table><thead><tr><th></th>");
    for (unsigned i = 0; i < count; i++)
        markup_put(m, "<th>%s</th>%s", kinds[i].name, i == 0 ? "<th class=\"faint\">95 % interval</th>" : "");
    markup_put(m, "</tr></thead><tbody>\n");
    put_quantiles(m, kinds, count);
    put_moments(m, kinds, count, "largest", offsetof(struct result_spans, most));
    put_moments(m, kinds, count, "mean", offsetof(struct result_spans, mean));
    put_moments(m, kinds, count, "deviation", offsetof(struct result_spans, stdev));
    markup_put(m, "</tbody></table></div>\n<p class=\"note\">Latency counts from when a request was due, so that waiting for a server that stood still is part of it. "
                  "Times are of answers that were complete; those that were not are under Failed.</p>\n");
}

/* ---- criteria and errors ---- */

static void put_criteria(struct markup *m, const struct result *r)
{
    if (r->verdict_count == 0)
        return;
    markup_put(m, "<h3>Criteria</h3>\n<div class=\"wide\"><table><thead><tr><th>wanted</th><th>measured</th><th class=\"left\">verdict</th></tr></thead><tbody>\n");
    for (unsigned i = 0; i < r->verdict_count; i++) {
        const struct result_verdict *v = &r->verdicts[i];
        markup_put(m, "<tr><td class=\"name\">");
        markup_text(m, v->text);
        markup_put(m, "</td><td>");
        markup_text(m, v->measured);
        markup_put(m, "</td><td class=\"left %s\">%s</td></tr>\n", v->is_met ? "met" : "missed", v->is_met ? "&#x2713; met" : "&#x2717; missed");
    }
    markup_put(m, "</tbody></table></div>\n");
}

static void put_errors(struct markup *m, const struct result *r)
{
    if (r->error_count == 0)
        return;
    markup_put(m, "<h3>Errors</h3>\n<div class=\"wide\"><table><thead><tr><th>kind</th><th>requests</th><th>of all</th></tr></thead><tbody>\n");
    for (unsigned i = 0; i < r->error_count; i++) {
        markup_put(m, "<tr><td class=\"name\">");
        markup_text(m, r->errors[i].kind);
        markup_put(m, "</td>");
        put_cell(m, (double)r->errors[i].count, FIGURE_COUNT);
        put_cell(m, share_of(r->errors[i].count, r->requests), FIGURE_SHARE);
        markup_put(m, "</tr>\n");
    }
    markup_put(m, "</tbody></table></div>\n");
}

/* ---- the page ---- */

static void put_run(struct markup *m, const struct result *r, unsigned number, unsigned count, bool has_curve)
{
    markup_put(m, "<section id=\"run%u\">\n", number);
    if (count > 1) {
        markup_put(m, "<h2>");
        markup_text(m, r->name);
        markup_put(m, "</h2>\n");
    }
    put_verdict(m, r);
    put_load(m, r);
    put_tiles(m, r);
    if (has_curve)
        put_knee(m, r);
    put_criteria(m, r);
    put_spans(m, r);
    report_charts(m, r, has_curve);
    put_errors(m, r);
    markup_put(m, "</section>\n");
}

static void put_comparison(struct markup *m, const struct result *const *runs, unsigned count)
{
    markup_put(m, "<nav><ol>\n");
    for (unsigned i = 0; i < count; i++) {
        markup_put(m, "<li><a href=\"#run%u\">", i + 1);
        markup_text(m, runs[i]->name);
        markup_put(m, "</a></li>\n");
    }
    markup_put(m, "</ol></nav>\n<h2>Side by side</h2>\n<div class=\"wide\"><table><thead><tr><th>run</th><th class=\"left\">verdict</th>"
                  "<th>requests</th><th>errors</th><th>rate</th><th>p50</th><th>p95</th><th>p99</th><th>p99.9</th>"
                  "<th>first token, p50</th><th>tokens</th></tr></thead><tbody>\n");
    for (unsigned i = 0; i < count; i++) {
        const struct result *r = runs[i];
        markup_put(m, "<tr><td class=\"name\">");
        markup_text(m, r->name);
        markup_put(m, "</td><td class=\"left %s\">%s</td>", word_of(r), word_of(r));
        put_cell(m, (double)r->requests, FIGURE_COUNT);
        put_cell(m, share_of(r->requests - r->ok, r->requests), FIGURE_SHARE);
        put_cell(m, r->rate, FIGURE_RATE);
        static const enum result_quantile quantiles[] = { RESULT_p50, RESULT_p95, RESULT_p99, RESULT_p999 };
        for (unsigned q = 0; q < ARRAY_LEN(quantiles); q++)
            put_cell(m, r->latency.at[quantiles[q]], FIGURE_MS);
        put_cell(m, r->ttft.at[RESULT_p50], FIGURE_MS);
        put_cell(m, r->tokens_out > 0 ? r->tokens_rate : NAN, FIGURE_RATE);
        markup_put(m, "</tr>\n");
    }
    markup_put(m, "</tbody></table></div>\n");
    const struct result *all = report_of_all(runs, count);
    if (all != NULL)
        put_knee(m, all);
    markup_put(m, "<div class=\"charts\">\n");
    report_charts_together(m, runs, count);
    markup_put(m, "</div>\n");
}

enum fail report_html(const struct result *const *runs, unsigned count, struct buf *out)
{
    struct markup m = { out, OK };
    markup_put(&m, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n");
    markup_put(&m, "<title>Load test: ");
    markup_text(&m, count == 1 ? runs[0]->name : "several runs");
    markup_put(&m, "</title>\n<style>\n");
    for (size_t i = 0; i < ARRAY_LEN(style); i++)
        markup_put(&m, "%s", style[i]);
    markup_put(&m, "</style>\n</head>\n<body>\n<h1>Load test: ");
    markup_text(&m, count == 1 ? runs[0]->name : "several runs");
    markup_put(&m, "</h1>\n");
    if (count > 1)
        put_comparison(&m, runs, count);
    for (unsigned i = 0; i < count; i++)
        put_run(&m, runs[i], i + 1, count, runs[i] != report_of_all(runs, count));
    markup_put(&m, "</body>\n</html>\n");
    return m.fail;
}
