/* metrics.c: all numbers as Prometheus text (exposition format 0.0.4). /metrics calls it, and layers above write their own families with the same helpers. */
#include "stat/inner.h"

#include <stdio.h>

#define NAME_MAX_BYTES   96
#define LABELS_MAX_BYTES 128

/* Bucket limits shared by all spans: from weir's own microseconds to minutes of generation. Prometheus stores a series for each, so: few, and the same
   everywhere, so that any two can be laid over each other. A limit falls inside a bucket of struct hist, which is counted whole: off by 1.6 % at most. */
static const struct {
    nanos limit;
    const char *le;
} buckets[] = {
    { 10 * NANOS_PER_US, "1e-05" },   { 25 * NANOS_PER_US, "2.5e-05" }, { 50 * NANOS_PER_US, "5e-05" },  { 100 * NANOS_PER_US, "0.0001" },
    { 250 * NANOS_PER_US, "0.00025" }, { 500 * NANOS_PER_US, "0.0005" }, { 1 * NANOS_PER_MS, "0.001" },   { 2500 * NANOS_PER_US, "0.0025" },
    { 5 * NANOS_PER_MS, "0.005" },    { 10 * NANOS_PER_MS, "0.01" },    { 25 * NANOS_PER_MS, "0.025" },  { 50 * NANOS_PER_MS, "0.05" },
    { 100 * NANOS_PER_MS, "0.1" },    { 250 * NANOS_PER_MS, "0.25" },   { 500 * NANOS_PER_MS, "0.5" },   { 1 * NANOS_PER_S, "1" },
    { 2500 * NANOS_PER_MS, "2.5" },   { 5 * NANOS_PER_S, "5" },         { 10 * NANOS_PER_S, "10" },      { 20 * NANOS_PER_S, "20" },
    { 40 * NANOS_PER_S, "40" },       { 80 * NANOS_PER_S, "80" },       { 160 * NANOS_PER_S, "160" },    { 320 * NANOS_PER_S, "320" },
    { 640 * NANOS_PER_S, "640" },
};

/* ---- what sources use too ---- */

enum fail stat_put_family(struct buf *out, const char *name, const char *type, const char *help)
{
    return buf_printf(out, "# HELP weir_%s %s\n# TYPE weir_%s %s\n", name, help, name, type);
}

static enum fail put_name(struct buf *out, const char *name, const char *labels)
{
    return labels[0] != '\0' ? buf_printf(out, "weir_%s{%s} ", name, labels) : buf_printf(out, "weir_%s ", name);
}

enum fail stat_put_u64(struct buf *out, const char *name, const char *labels, uint64_t value)
{
    enum fail f = put_name(out, name, labels);
    return f != OK ? f : buf_printf(out, "%llu\n", (unsigned long long)value);
}

enum fail stat_put_numbers(struct buf *out, const struct stat_number *rows, size_t count)
{
    enum fail f = OK;
    for (size_t i = 0; i < count && f == OK; i++) {
        f = stat_put_family(out, rows[i].name, rows[i].type, rows[i].help);
        if (f == OK)
            f = stat_put_u64(out, rows[i].name, "", rows[i].value);
    }
    return f;
}

enum fail stat_put_double(struct buf *out, const char *name, const char *labels, double value)
{
    enum fail f = put_name(out, name, labels);
    return f != OK ? f : buf_printf(out, "%.15g\n", value);
}

enum fail stat_put_hist(struct buf *out, const char *name, const char *labels, const struct hist *h)
{
    const char *comma = labels[0] != '\0' ? "," : "";
    const char *open = labels[0] != '\0' ? "{" : "", *close = labels[0] != '\0' ? "}" : "";
    struct hist_reader r = { 0 };
    enum fail f = OK;
    for (size_t i = 0; i < ARRAY_LEN(buckets) && f == OK; i++)
        f = buf_printf(out, "weir_%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels, comma, buckets[i].le,
                       (unsigned long long)hist_count_on(h, &r, buckets[i].limit));
    if (f != OK)
        return f;
    uint64_t count = hist_count_on(h, &r, NEVER); /* not h->count: the buckets must add up to it, and a writer may be between the two */
    return buf_printf(out, "weir_%s_bucket{%s%sle=\"+Inf\"} %llu\nweir_%s_sum%s%s%s %lld.%09lld\nweir_%s_count%s%s%s %llu\n",
                      name, labels, comma, (unsigned long long)count,
                      name, open, labels, close, (long long)(h->sum / NANOS_PER_S), (long long)(h->sum % NANOS_PER_S),
                      name, open, labels, close, (unsigned long long)count);
}

/* One character of a label's value, escaped as the format asks (\\, \", \n); not UTF-8 becomes U+FFFD. Returns bytes written, *out_used bytes read. */
static size_t escape_label(struct text rest, char out[4], size_t *out_used)
{
    size_t len = text_utf8_len(rest);
    char c = rest.at[0];
    *out_used = MAX(len, 1u);
    if (len == 0) {
        memcpy(out, "\xef\xbf\xbd", 3);
        return 3;
    }
    if (c == '\\' || c == '"' || c == '\n') {
        out[0] = '\\';
        out[1] = c == '\n' ? 'n' : c;
        return 2;
    }
    memcpy(out, rest.at, len);
    return len;
}

void stat_put_label(char *labels, size_t room, const char *name, struct text value)
{
    size_t at = strlen(labels);
    int head = snprintf(labels + at, room - at, "%s%s=\"", at > 0 ? "," : "", name);
    ASSERT(head > 0 && at + (size_t)head + 2 <= room); /* the name and an empty value fit, or the caller's array is too small */
    at += (size_t)head;
    for (size_t i = 0, used; i < value.len; i += used) {
        char escaped[4];
        size_t n = escape_label((struct text){ value.at + i, value.len - i }, escaped, &used);
        if (at + n + 2 > room)
            break;
        memcpy(labels + at, escaped, n);
        at += n;
    }
    labels[at] = '"';
    labels[at + 1] = '\0';
}

/* ---- counters ---- */

static enum fail put_value(const struct stats *s, struct buf *out, const struct stat_row *row, bool gauge, const char *name, const char *labels)
{
    if (gauge)
        return stat_put_u64(out, name, labels, (uint64_t)stat_gauge(s, row->counter));
    return stat_put_u64(out, name, labels, stat_total(s, row->counter));
}

static enum fail put_counters(const struct stats *s, struct buf *out)
{
    char name[NAME_MAX_BYTES] = "", labels[LABELS_MAX_BYTES];
    const struct stat_row *head = NULL; /* of the members that come */
    enum fail f = OK;
    for (unsigned i = 0; i < stat_row_count && f == OK; i++) {
        const struct stat_row *row = &stat_rows[i];
        labels[0] = '\0';
        if (row->kind != ROW_MEMBER) {
            head = row;
            snprintf(name, sizeof name, "%s%s", row->name, row->gauge ? "" : "_total");
            f = stat_put_family(out, name, row->gauge ? "gauge" : "counter", row->help);
        } else {
            ASSERT(head != NULL && head->kind == ROW_FAMILY);
            stat_put_label(labels, sizeof labels, head->label, text_of(row->label));
        }
        if (f == OK && row->kind != ROW_FAMILY)
            f = put_value(s, out, row, head->gauge, name, labels);
    }
    return f;
}

/* ---- histograms ---- */

/* One series of a family. Those that never had a sample are left out: most surfaces never refuse, fail or serve from a cache. */
static enum fail put_series(const struct stats *s, struct buf *out, struct hist *sum, size_t offset, const char *name, const char *labels)
{
    memset(sum, 0, sizeof *sum);
    stat_sum_hist(s, offset, sum);
    return sum->count > 0 ? stat_put_hist(out, name, labels, sum) : OK;
}

static enum fail put_histograms(const struct stats *s, struct buf *out, struct hist *sum)
{
    enum fail f = OK;
    for (unsigned i = 0; i < HISTOGRAM_COUNT && f == OK; i++) {
        char name[NAME_MAX_BYTES];
        snprintf(name, sizeof name, "%s_seconds", stat_histogram_rows[i].name);
        f = stat_put_family(out, name, "histogram", stat_histogram_rows[i].help);
        memset(sum, 0, sizeof *sum);
        stat_sum_hist(s, offsetof(struct stat_worker, histograms) + i * sizeof(struct hist), sum);
        if (f == OK)
            f = stat_put_hist(out, name, "", sum); /* without labels there is but one series: shown even while empty, so that a graph finds it */
    }
    return f;
}

static enum fail put_steps(const struct stats *s, struct buf *out, struct hist *sum)
{
    if (s->step_count == 0)
        return OK;
    enum fail f = stat_put_family(out, "step_seconds", "histogram", "Time requests spent in each step of their path.");
    for (unsigned i = 0; i < s->step_count && f == OK; i++) {
        char labels[LABELS_MAX_BYTES] = "";
        stat_put_label(labels, sizeof labels, "step", text_of(s->step_names[i]));
        f = put_series(s, out, sum, offsetof(struct stat_worker, steps) + i * sizeof(struct hist), "step_seconds", labels);
    }
    return f;
}

static enum fail put_requests(const struct stats *s, struct buf *out, struct hist *sum)
{
    enum fail f = stat_put_family(out, "request_seconds", "histogram", "Time from a request's first byte to its end, by API and outcome.");
    for (unsigned i = 0; i < SURFACE_COUNT * OUTCOME_COUNT && f == OK; i++) {
        char labels[LABELS_MAX_BYTES] = "";
        stat_put_label(labels, sizeof labels, "surface", text_of(surface_name(i / OUTCOME_COUNT)));
        stat_put_label(labels, sizeof labels, "outcome", text_of(outcome_name(i % OUTCOME_COUNT)));
        f = put_series(s, out, sum, offsetof(struct stat_worker, requests) + i * sizeof(struct hist), "request_seconds", labels);
    }
    return f;
}

/* ---- the process ---- */

/* Names that every Prometheus client library uses, so without our prefix. */
static enum fail put_process(const struct stats *s, struct buf *out)
{
    struct process_numbers p;
    process_read(&p);
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        { "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", (double)p.cpu / NANOS_PER_S },
        { "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", (double)p.resident_bytes },
        { "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", (double)p.virtual_bytes },
        { "process_open_fds", "gauge", "Number of open file descriptors.", (double)p.open_fds },
        { "process_max_fds", "gauge", "Maximum number of open file descriptors.", (double)p.max_fds },
        { "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", (double)(s->started_wall / NANOS_PER_MS) / 1000 },
    };
    enum fail f = OK;
    for (size_t i = 0; i < ARRAY_LEN(rows) && f == OK; i++)
        f = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", rows[i].name, rows[i].help, rows[i].name, rows[i].type, rows[i].name, rows[i].value);
    return f;
}

static enum fail put_build(const struct stats *s, struct buf *out)
{
    char labels[LABELS_MAX_BYTES] = "";
    stat_put_label(labels, sizeof labels, "version", text_of(s->version));
    enum fail f = stat_put_family(out, "build_info", "gauge", "Always 1; the label tells which weir this is.");
    if (f == OK)
        f = stat_put_u64(out, "build_info", labels, 1);
    if (f == OK)
        f = stat_put_family(out, "workers", "gauge", "Threads that serve.");
    return f != OK ? f : stat_put_u64(out, "workers", "", atomic_load(&s->count));
}

enum fail stat_metrics(const struct stats *s, struct buf *out)
{
    CHECK(s, STATS);
    struct hist *sum = mem_alloc(sizeof *sum); /* 8 KiB: too large for a task's frame */
    if (sum == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = put_build(s, out);
    if (f == OK)
        f = put_counters(s, out);
    if (f == OK)
        f = put_histograms(s, out, sum);
    if (f == OK)
        f = put_steps(s, out, sum);
    if (f == OK)
        f = put_requests(s, out, sum);
    for (unsigned i = 0; i < s->source_count && f == OK; i++)
        if (s->sources[i].metrics != NULL)
            f = s->sources[i].metrics(s->sources[i].arg, out);
    mem_free(sum);
    return f != OK ? f : put_process(s, out);
}
