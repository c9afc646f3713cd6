/* text.c: what a person sees when a run has ended: one screen, whether it counts in its first line. cli/bench.c prints it. */
#include "bench/figure.h"
#include "bench/markup.h"
#include "bench/metrics.h"
#include "report/report.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define COLUMNS_MAX  100
#define ERRORS_SHOWN 6
#define LINES_MAX    40

/* Texts of plans and of stored runs: at most so many characters, and none that a terminal obeys. */
static void put_plain(struct markup *m, const char *words, size_t columns)
{
    for (struct text t = text_of(words); t.len > 0 && columns > 0; columns--) {
        size_t obeyed = text_obeyed_len(t), len = MAX(obeyed > 0 ? obeyed : text_utf8_len(t), 1u);
        bool is_plain = obeyed == 0 && text_utf8_len(t) > 0;
        markup_put(m, "%.*s", is_plain ? (int)len : 1, is_plain ? t.at : "?");
        t.at += len;
        t.len -= len;
    }
}

/* A sentence over as many lines as it takes; it goes on in column 3. */
static void put_sentence(struct markup *m, const char *words)
{
    struct text t = text_of(words);
    while (t.len > 0) {
        size_t len = t.len;
        if (len > COLUMNS_MAX - 3)
            for (len = COLUMNS_MAX - 3; len > COLUMNS_MAX / 2 && t.at[len] != ' '; len--) {
            }
        char line[COLUMNS_MAX];
        memcpy(line, t.at, len);
        line[len] = '\0';
        markup_put(m, t.at == words ? "" : "  ");
        put_plain(m, line, len);
        markup_put(m, "\n");
        t.at += len + (len < t.len);
        t.len -= len + (len < t.len);
    }
}

static void put_figure(struct markup *m, const char *before, double value, enum figure_unit unit, const char *after)
{
    char figure[FIGURE_MAX];
    markup_put(m, "%s%s%s", before, figure_print(figure, value, unit), after);
}

/* ---- head ---- */

static void put_head(struct markup *m, const struct result *r)
{
    if (r->invalid[0] != '\0') {
        char sentence[sizeof r->invalid + 80];
        snprintf(sentence, sizeof sentence, "INVALID: %s. These are the generator's limits, not the server's.", r->invalid);
        put_sentence(m, sentence);
    }
    put_plain(m, r->name[0] != '\0' ? r->name : "bench", COLUMNS_MAX / 3);
    markup_put(m, "  ");
    put_plain(m, r->target, COLUMNS_MAX / 2);
    put_figure(m, "\n  ", r->span_s, FIGURE_TIME, "");
    if (isnan(r->intended_rate))
        put_figure(m, " of up to ", r->in_flight_max, FIGURE_COUNT, " users");
    else {
        put_figure(m, " at ", r->intended_rate, FIGURE_RATE, " meant");
        put_figure(m, ", at most ", r->in_flight_max, FIGURE_COUNT, " in flight");
    }
    if (r->warmup > 0)
        put_figure(m, "; ", (double)r->warmup, FIGURE_COUNT, " requests of the warm-up left out");
    if (r->missed > 0)
        put_figure(m, "\n  ", (double)r->missed, FIGURE_COUNT, " more could not be sent: too many were in flight");
    markup_put(m, "\n\n");
}

static void put_requests(struct markup *m, const struct result *r)
{
    uint64_t errors = r->requests - MIN(r->ok, r->requests);
    put_figure(m, "  requests   ", (double)r->requests, FIGURE_COUNT, "");
    put_figure(m, ", ok ", (double)r->ok, FIGURE_COUNT, "");
    put_figure(m, ", errors ", (double)errors, FIGURE_COUNT, "");
    if (errors > 0)
        put_figure(m, " (", (double)errors / (double)r->requests, FIGURE_SHARE, ")");
    for (unsigned i = 0; i < MIN(r->error_count, ERRORS_SHOWN); i++) {
        markup_put(m, i % 2 == 0 ? "\n             " : ", ");
        put_plain(m, r->errors[i].kind, sizeof r->errors[i].kind);
        put_figure(m, " ", (double)r->errors[i].count, FIGURE_COUNT, "");
    }
    if (r->error_count > ERRORS_SHOWN)
        markup_put(m, "\n             and %u other kinds", r->error_count - ERRORS_SHOWN);
    put_figure(m, "\n  rate       ", r->rate, FIGURE_RATE, "");
    put_figure(m, ", ok ", r->ok_rate, FIGURE_RATE, "");
    if (r->good_rate < r->ok_rate)
        put_figure(m, ", ok and in time ", r->good_rate, FIGURE_RATE, "");
    markup_put(m, "\n\n");
}

/* ---- latency ---- */

static void put_cell(struct markup *m, double ms)
{
    char figure[FIGURE_MAX];
    markup_put(m, "%9s", figure_print(figure, ms, FIGURE_MS));
}

static void put_row(struct markup *m, const char *what, const struct result_spans *s)
{
    if (s->count == 0)
        return;
    markup_put(m, "  %-16s", what);
    put_cell(m, s->mean);
    for (unsigned i = 0; i < RESULT_QUANTILE_COUNT; i++)
        put_cell(m, s->at[i]);
    put_cell(m, s->most);
    markup_put(m, "\n");
}

static void put_bounds(struct markup *m, const char *what, const double bounds[RESULT_QUANTILE_COUNT])
{
    markup_put(m, "  %-16s%9s", what, "");
    for (unsigned i = 0; i < RESULT_QUANTILE_COUNT; i++)
        put_cell(m, bounds[i]);
    markup_put(m, "\n");
}

static void put_latency(struct markup *m, const struct result *r)
{
    if (r->latency.count > 0 || r->failed.count > 0)
        markup_put(m, "  %-16s%9s%9s%9s%9s%9s%9s%9s%9s\n", "", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max");
    put_row(m, "latency", &r->latency);
    if (r->latency.count > 0) {
        put_bounds(m, "  95 % from", r->latency.low);
        put_bounds(m, "       to", r->latency.high);
    }
    put_row(m, "first token", &r->ttft);
    put_row(m, "between tokens", &r->itl);
    put_row(m, "failed", &r->failed);
    markup_put(m, "\n");
}

/* ---- the rest ---- */

/* "  drift      1.20 % (-0.40 % to 3.10 %)", and the sentence. */
static void put_findings(struct markup *m, const struct result *r)
{
    char figure[FIGURE_MAX];
    struct complaint why;
    for (unsigned i = 0; i < r->finding_count; i++) {
        const struct result_finding *f = &r->findings[i];
        int metric = metric_find(text_of(f->name), &why);
        if (metric < 0)
            continue; /* of a newer weir's file */
        markup_put(m, "  %-18s %s", f->name, metric_print(metric, f->value, figure));
        if (isfinite(f->low) && isfinite(f->high)) {
            markup_put(m, " (%s", metric_print(metric, f->low, figure));
            markup_put(m, " to %s)", metric_print(metric, f->high, figure));
        }
        markup_put(m, "\n");
    }
    if (r->knee[0] != '\0') {
        markup_put(m, "  ");
        put_sentence(m, r->knee);
    }
}

static void put_tokens(struct markup *m, const struct result *r)
{
    if (r->tokens_in + r->tokens_out > 0) {
        put_figure(m, "  tokens     ", (double)r->tokens_in, FIGURE_COUNT, " in, ");
        put_figure(m, "", (double)r->tokens_out, FIGURE_COUNT, " out, ");
        put_figure(m, "", r->tokens_rate, FIGURE_RATE, "\n");
    }
    if (r->cached_share > 0)
        put_figure(m, "  cache      ", r->cached_share, FIGURE_SHARE, " of what was ok\n");
    put_figure(m, "  generator  ", r->lag.at[RESULT_p99], FIGURE_MS, " late (p99), ");
    put_figure(m, "", r->generator_busy, FIGURE_SHARE, " busy\n");
    if (!isnan(r->rss_mb))
        put_figure(m, "  server     ", r->rss_mb, FIGURE_MB, " at most");
    if (!isnan(r->server_cpu))
        put_figure(m, isnan(r->rss_mb) ? "  server     " : ", ", r->server_cpu, FIGURE_TIME, " of processor time");
    if (!isnan(r->rss_mb) || !isnan(r->server_cpu))
        markup_put(m, "\n");
    put_findings(m, r);
}

static unsigned put_verdicts(struct markup *m, const struct result *r, bool are_met, unsigned room)
{
    unsigned put = 0;
    for (unsigned i = 0; i < r->verdict_count && put < room; i++) {
        if (r->verdicts[i].is_met != are_met)
            continue;
        markup_put(m, are_met ? "  met     " : "  MISSED  ");
        put_plain(m, r->verdicts[i].text, COLUMNS_MAX / 2);
        markup_put(m, ": ");
        put_plain(m, r->verdicts[i].measured, sizeof r->verdicts[i].measured);
        markup_put(m, "\n");
        put++;
    }
    return put;
}

static unsigned line_count(struct text t)
{
    unsigned n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += t.at[i] == '\n';
    return n;
}

/* Who is missed comes first, and as many others as the screen has lines for. */
static void put_criteria(struct markup *m, const struct result *r)
{
    if (r->verdict_count == 0)
        return;
    unsigned room = LINES_MAX - 2 - MIN(line_count(buf_text(m->out)), LINES_MAX - 2); /* an empty one, and what was left out */
    markup_put(m, "\n");
    unsigned put = put_verdicts(m, r, false, room);
    put += put_verdicts(m, r, true, room - put);
    if (put < r->verdict_count)
        markup_put(m, "  and %u more in the other reports\n", r->verdict_count - put);
}

enum fail report_text(const struct result *r, struct buf *out)
{
    struct markup m = { .out = out };
    put_head(&m, r);
    put_requests(&m, r);
    put_latency(&m, r);
    put_tokens(&m, r);
    put_criteria(&m, r);
    return m.fail;
}

/* ---- several runs ---- */

#define NAME_COLUMNS 28

enum fail report_text_head(struct buf *out)
{
    struct markup m = { .out = out };
    markup_put(&m, "  %-*s%11s%11s%11s%11s%11s%11s\n", NAME_COLUMNS, "", "requests", "errors", "rate", "p50", "p95", "p99");
    return m.fail;
}

enum fail report_text_run(const struct result *r, struct buf *out)
{
    struct markup m = { .out = out };
    struct { double value; enum figure_unit unit; } const cells[] = {
        { (double)r->requests, FIGURE_COUNT },
        { r->requests > 0 ? (double)(r->requests - r->ok) / (double)r->requests : NAN, FIGURE_SHARE },
        { r->rate, FIGURE_RATE },
        { r->latency.at[RESULT_p50], FIGURE_MS },
        { r->latency.at[RESULT_p95], FIGURE_MS },
        { r->latency.at[RESULT_p99], FIGURE_MS },
    };
    markup_put(&m, "  ");
    put_plain(&m, r->name, NAME_COLUMNS);
    markup_put(&m, "%*s", (int)(NAME_COLUMNS - MIN(strlen(r->name), NAME_COLUMNS)), "");
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        char figure[FIGURE_MAX];
        markup_put(&m, "%11s", figure_print(figure, cells[i].value, cells[i].unit));
    }
    markup_put(&m, r->invalid[0] != '\0' ? "  INVALID\n" : "\n");
    return m.fail;
}

/* "  MISSED  full 25 users: error_rate < 1%: 3 %": a run's name before what it said. */
static void put_verdicts_of(struct markup *m, const struct result *r)
{
    for (unsigned i = 0; i < r->verdict_count; i++) {
        markup_put(m, r->verdicts[i].is_met ? "  met     " : "  MISSED  ");
        put_plain(m, r->name, NAME_COLUMNS);
        markup_put(m, ": ");
        put_plain(m, r->verdicts[i].text, COLUMNS_MAX / 2);
        markup_put(m, ": ");
        put_plain(m, r->verdicts[i].measured, sizeof r->verdicts[i].measured);
        markup_put(m, "\n");
    }
}

enum fail report_text_end(const struct result *const *runs, unsigned count, struct buf *out)
{
    struct markup m = { .out = out };
    markup_put(&m, "\n");
    for (unsigned i = 0; i < count; i++) {
        put_findings(&m, runs[i]);
        if (runs[i]->invalid[0] != '\0') {
            char sentence[sizeof runs[i]->invalid + 80];
            snprintf(sentence, sizeof sentence, "INVALID, %s: %s", runs[i]->name, runs[i]->invalid);
            put_sentence(&m, sentence);
        }
    }
    for (unsigned i = 0; i < count; i++)
        put_verdicts_of(&m, runs[i]);
    return m.fail;
}
