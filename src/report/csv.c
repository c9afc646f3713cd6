/* csv.c: a row for each window of time, for spreadsheets and plots (RFC 4180). What was not measured is an empty field. */
#include "bench/markup.h"
#include "report/report.h"
#include <inttypes.h>
#include <math.h>

/* In quotes, which double inside. */
static void put_quoted(struct markup *m, const char *words)
{
    markup_put(m, "\"");
    for (; *words != '\0'; words++)
        markup_put(m, "%s%c", *words == '"' ? "\"" : "", *words);
    markup_put(m, "\"");
}

static void put_number(struct markup *m, double value)
{
    markup_put(m, ",");
    if (isfinite(value))
        markup_put(m, "%.9g", value);
}

#define COLUMNS(C) C(rate) C(error_share) C(mean_ms) C(p50_ms) C(p95_ms) C(p99_ms) C(tokens_rate) C(server_cpu) C(server_rss_mb)

static void put_row(struct markup *m, const char *run, const struct result_window *w)
{
    put_quoted(m, run);
    put_number(m, w->at_s);
    markup_put(m, ",%" PRIu32 ",%" PRIu32, w->ended, w->in_flight);
#define C(column) put_number(m, w->column);
    COLUMNS(C)
#undef C
    markup_put(m, "\r\n");
}

enum fail report_csv(const struct result *const *runs, unsigned count, struct buf *out)
{
    struct markup m = { .out = out };
#define C(column) "," #column
    markup_put(&m, "run,at_s,ended,in_flight" COLUMNS(C) "\r\n");
#undef C
    for (unsigned i = 0; i < count; i++)
        for (unsigned w = 0; w < runs[i]->window_count; w++)
            put_row(&m, runs[i]->name, &runs[i]->windows[w]);
    return m.fail;
}
