/* live.c: draws a load test under way; see live.h. */
#include "report/live.h"
#include "bench/figure.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES      512 /* bytes: 60 blocks of three, colours and numbers */
#define WINDOWS_SHOWN 60
#define LABEL         "  %-11s"
#define TARGET_SHOWN  100 /* characters of a target; more fit no line that anyone reads */

#define STYLE_PLAIN   ""
#define STYLE_STRONG  "\033[1m"
#define STYLE_BAD     "\033[31m"

struct drawing {
    const struct live_view *v;
    struct buf *out;
    enum fail fail;
};

/* ---- lines ---- */

/* Cut to what fits: a line that wraps would move all that is drawn after it. All that is printed is one column wide. */
static size_t fitting(struct text t, unsigned columns)
{
    size_t at = 0;
    for (unsigned n = 0; n < columns && at < t.len; n++)
        at += MAX(text_utf8_len((struct text){ t.at + at, t.len - at }), 1u);
    return at;
}

static void add(struct drawing *d, struct text t)
{
    if (d->fail == OK)
        d->fail = buf_add_text(d->out, t);
}

static void put_line(struct drawing *d, const char *style, const char *format, ...) PRINTF(3, 4);
static void put_line(struct drawing *d, const char *style, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    bool is_styled = d->v->is_coloured && *style != '\0';
    add(d, text_of(is_styled ? style : ""));
    add(d, (struct text){ line, fitting(text_of(line), d->v->columns) });
    add(d, text_of(is_styled ? "\033[0m\n" : "\n"));
}

static const char *visible(const char *text, char out[TARGET_SHOWN + 1])
{
    size_t i = 0;
    for (; i < TARGET_SHOWN && text[i] != '\0'; i++)
        out[i] = text[i];
    out[i] = '\0';
    for (i = 0; out[i] != '\0'; i++)
        if (out[i] < 0x20 || out[i] > 0x7e)
            out[i] = '?';
    return out;
}

/* ---- windows ---- */

/* The last one that is over; the first one while there is no other. -1: none. */
static int last_window(const struct tally *t, nanos elapsed)
{
    int64_t whole = MIN(elapsed / t->window_span, (int64_t)t->window_count) - 1;
    return t->window_count == 0 ? -1 : (int)MAX(whole, 0);
}

static double window_rate(const struct tally *t, int i)
{
    return (double)t->windows[i]->ended * NANOS_PER_S / (double)t->window_span;
}

static double ms_of(const struct hist *h, double q)
{
    return h->count == 0 ? NAN : (double)hist_quantile(h, q) / NANOS_PER_MS;
}

static double window_p95(const struct tally *t, int i) { return ms_of(&t->windows[i]->latency, 0.95); }

/* ---- sparklines ---- */

/* From 0 to the highest; a window in which nothing ended is a blank. */
static void spark(const struct drawing *d, const struct tally *t, int last, double (*value)(const struct tally *t, int i), char out[LINE_BYTES])
{
    static const char *const blocks[] = { "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588" };
    static const char *const ascii[] = { "_", ".", ":", "-", "=", "+", "*", "#" };
    int room = MIN((int)d->v->columns - 26, WINDOWS_SHOWN), first = MAX(last - room + 1, 0);
    double most = 0;
    size_t len = 0;
    out[0] = '\0';
    for (int i = first; i <= last; i++)
        most = fmax(most, value(t, i));
    for (int i = first; i <= last && len < LINE_BYTES - 4; i++) {
        double v = value(t, i);
        int level = !(v >= 0) ? -1 : most > 0 ? (int)MIN(v / most * 8, 7.0) : 0;
        len += (size_t)snprintf(out + len, LINE_BYTES - len, "%s", level < 0 ? " " : (d->v->is_utf8 ? blocks : ascii)[level]);
    }
}

static void put_spark(struct drawing *d, const char *name, const struct tally *t, int last, double (*value)(const struct tally *t, int i), enum figure_unit unit)
{
    char line[LINE_BYTES], text[FIGURE_MAX];
    spark(d, t, last, value, line);
    put_line(d, STYLE_PLAIN, LABEL "%11s  %s", name, figure_print(text, last < 0 ? NAN : value(t, last), unit), line);
}

/* ---- progress ---- */

static void put_progress(struct drawing *d, const struct tally *t, nanos elapsed)
{
    char bar[LINE_BYTES / 2] = "", at[FIGURE_MAX], whole[FIGURE_MAX], left[FIGURE_MAX + 16];
    double seconds = floor((double)elapsed / NANOS_PER_S), span = (double)d->v->span / NANOS_PER_S;
    if (d->v->span <= 0) {
        put_line(d, STYLE_PLAIN, "  %s", figure_print(at, seconds, FIGURE_TIME));
        return;
    }
    int room = MIN((int)d->v->columns - 36, 40), done = (int)MIN((double)room * seconds / span, (double)room);
    for (int i = 0, len = 0; i < room; i++)
        len += snprintf(bar + len, sizeof bar - (size_t)len, "%s", i < done ? (d->v->is_utf8 ? "\u2588" : "#") : d->v->is_utf8 ? "\u2591" : "-");
    if (seconds < span)
        snprintf(left, sizeof left, "%s left", figure_print(whole, ceil(span - seconds), FIGURE_TIME));
    else
        snprintf(left, sizeof left, "waiting for %s", figure_print(whole, t->in_flight, FIGURE_COUNT));
    put_line(d, STYLE_PLAIN, "  %s %s of %s, %s", bar, figure_print(at, seconds, FIGURE_TIME), figure_print(whole, span, FIGURE_TIME), left);
}

/* ---- percentiles ---- */

static void put_quantiles(struct drawing *d, const char *name, const struct hist *h)
{
    char p50[FIGURE_MAX], p95[FIGURE_MAX], p99[FIGURE_MAX];
    put_line(d, STYLE_PLAIN, LABEL "%11s %11s %11s", name, figure_print(p50, ms_of(h, 0.5), FIGURE_MS), figure_print(p95, ms_of(h, 0.95), FIGURE_MS),
             figure_print(p99, ms_of(h, 0.99), FIGURE_MS));
}

static void put_percentiles(struct drawing *d, const struct tally *t, int last)
{
    static const struct hist nothing;
    char name[32];
    snprintf(name, sizeof name, "last %llds", (long long)(t->window_span / NANOS_PER_S));
    put_line(d, STYLE_STRONG, LABEL "%11s %11s %11s", "latency", "p50", "p95", "p99");
    put_quantiles(d, name, last < 0 ? &nothing : &t->windows[last]->latency);
    put_quantiles(d, "all", &t->latency.hist);
    if (t->ttft.hist.count > 0 && t->tokens_out > 0)
        put_quantiles(d, "first token", &t->ttft.hist);
}

/* ---- outcomes ---- */

static uint64_t errors_of(const struct tally *t) { return tally_requests(t) - t->outcomes[OUTCOME_OK]; }

/* ", timeout 3" for each kind that there was; statuses by their numbers. */
static void list_errors(const struct tally *t, char out[LINE_BYTES])
{
    size_t len = 0;
    out[0] = '\0';
    for (unsigned o = 0; o < TALLY_OUTCOMES && len < LINE_BYTES; o++)
        if (o != OUTCOME_OK && o != OUTCOME_STATUS && t->outcomes[o] > 0)
            len += (size_t)snprintf(out + len, LINE_BYTES - len, ", %s %llu", tally_outcome_name((enum tally_outcome)o), (unsigned long long)t->outcomes[o]);
    for (unsigned i = 0; i < ARRAY_LEN(t->statuses) && len < LINE_BYTES; i++)
        if (t->statuses[i] > 0)
            len += (size_t)snprintf(out + len, LINE_BYTES - len, ", http_%u %llu", TALLY_STATUS_MIN + i, (unsigned long long)t->statuses[i]);
}

static void put_outcomes(struct drawing *d, const struct tally *t)
{
    char ok[FIGURE_MAX], errors[FIGURE_MAX], share[FIGURE_MAX], kinds[LINE_BYTES];
    uint64_t all = tally_requests(t), failed = errors_of(t);
    if (all == 0 && t->warmup > 0) {
        put_line(d, STYLE_PLAIN, LABEL "%11s requests, which are not counted", "warm-up", figure_print(ok, (double)t->warmup, FIGURE_COUNT));
        return;
    }
    put_line(d, STYLE_PLAIN, LABEL "%11s ok, %s errors (%s)", "requests", figure_print(ok, (double)t->outcomes[OUTCOME_OK], FIGURE_COUNT),
             figure_print(errors, (double)failed, FIGURE_COUNT), figure_print(share, all == 0 ? 0 : (double)failed / (double)all, FIGURE_SHARE));
    list_errors(t, kinds);
    if (kinds[0] != '\0')
        put_line(d, STYLE_BAD, LABEL "%s", "errors", kinds + 2);
}

/* ---- the whole ---- */

enum fail live_block(const struct live_view *v, const struct tally *t, nanos elapsed, struct buf *out)
{
    struct drawing d = { v, out, OK };
    int last = last_window(t, elapsed);
    char target[TARGET_SHOWN + 1], now[FIGURE_MAX], most[FIGURE_MAX];
    ASSERT(v->columns >= LIVE_COLUMNS_MIN);
    put_line(&d, STYLE_STRONG, "weir bench %s", visible(v->target, target));
    put_progress(&d, t, elapsed);
    put_spark(&d, "rate", t, last, window_rate, FIGURE_RATE);
    put_spark(&d, "p95", t, last, window_p95, FIGURE_MS);
    put_line(&d, STYLE_PLAIN, LABEL "%11s  at most %s", "in flight", figure_print(now, t->in_flight, FIGURE_COUNT), figure_print(most, t->in_flight_max, FIGURE_COUNT));
    put_percentiles(&d, t, last);
    put_outcomes(&d, t);
    if (t->missed > 0)
        put_line(&d, STYLE_BAD, LABEL "%11s arrivals: this generator is the limit", "missed", figure_print(now, (double)t->missed, FIGURE_COUNT));
    return d.fail;
}

enum fail live_line(const struct live_view *v, const struct tally *t, nanos elapsed, struct buf *out)
{
    struct live_view wide = *v;
    wide.columns = LINE_BYTES; /* a log wraps by itself */
    wide.is_coloured = false;
    struct drawing d = { &wide, out, OK };
    int last = last_window(t, elapsed);
    const struct hist *h = last < 0 ? &t->latency.hist : &t->windows[last]->latency;
    char at[FIGURE_MAX], rate[FIGURE_MAX], p50[FIGURE_MAX], p95[FIGURE_MAX], p99[FIGURE_MAX], kinds[LINE_BYTES];
    list_errors(t, kinds);
    put_line(&d, STYLE_PLAIN, "%s: %s, %u in flight, p50 %s, p95 %s, p99 %s; %llu ok, %llu errors%s%s%s",
             figure_print(at, floor((double)elapsed / NANOS_PER_S), FIGURE_TIME), figure_print(rate, last < 0 ? NAN : window_rate(t, last), FIGURE_RATE), t->in_flight,
             figure_print(p50, ms_of(h, 0.5), FIGURE_MS), figure_print(p95, ms_of(h, 0.95), FIGURE_MS), figure_print(p99, ms_of(h, 0.99), FIGURE_MS),
             (unsigned long long)t->outcomes[OUTCOME_OK], (unsigned long long)errors_of(t), *kinds != '\0' ? " (" : "", *kinds != '\0' ? kinds + 2 : "",
             *kinds != '\0' ? ")" : "");
    return d.fail;
}
