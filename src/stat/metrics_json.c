/* metrics_json.c: all numbers as one JSON object, with percentiles instead of buckets. /api/v1/metrics and `weir status --json` call it. */
#include "stat/inner.h"
#include "base/json.h"

static double ms(nanos span)
{
    return (double)span / NANOS_PER_MS;
}

enum fail stat_put_hist_json(struct buf *out, const struct hist *h)
{
    double mean = h->count > 0 ? ms(h->sum) / (double)h->count : 0;
    return buf_printf(out, "{\"count\":%llu,\"mean_ms\":%.3f,\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}",
                      (unsigned long long)h->count, mean, ms(hist_quantile(h, 0.5)), ms(hist_quantile(h, 0.95)), ms(hist_quantile(h, 0.99)), ms(h->max));
}

static enum fail put_head(const struct stats *s, struct buf *out)
{
    char stamp[STAMP_LEN];
    stamp_write(s->started_wall / NANOS_PER_S, stamp);
    enum fail f = buf_printf(out, "{\"version\":");
    if (f == OK)
        f = json_add_string(out, text_of(s->version));
    /* -1: without the point that stands ready for milliseconds */
    return f != OK ? f : buf_printf(out, ",\"started_at\":\"%.*sZ\",\"uptime_seconds\":%.3f,\"workers\":%u", STAMP_LEN - 1, stamp,
                                    (double)(world_now(s->world) - s->started_at) / NANOS_PER_S, atomic_load(&s->count));
}

static enum fail put_process(struct buf *out)
{
    struct process_numbers p;
    process_read(&p);
    return buf_printf(out, ",\"process\":{\"resident_memory_bytes\":%llu,\"virtual_memory_bytes\":%llu,\"cpu_seconds\":%.6f,\"open_fds\":%llu,\"max_fds\":%llu}",
                      (unsigned long long)p.resident_bytes, (unsigned long long)p.virtual_bytes, (double)p.cpu / NANOS_PER_S,
                      (unsigned long long)p.open_fds, (unsigned long long)p.max_fds);
}

/* Flat, by the names of counters.def: whoever reads JSON does not sum labels. */
static enum fail put_counters(const struct stats *s, struct buf *out)
{
    enum fail f = buf_printf(out, ",\"counters\":{");
    const char *comma = "";
    bool gauge = false;
    for (unsigned i = 0; i < stat_row_count && f == OK; i++) {
        const struct stat_row *row = &stat_rows[i];
        if (row->kind != ROW_MEMBER)
            gauge = row->gauge;
        if (row->kind == ROW_FAMILY)
            continue;
        uint64_t value = gauge ? (uint64_t)stat_gauge(s, row->counter) : stat_total(s, row->counter);
        f = buf_printf(out, "%s\"%s\":%llu", comma, row->name, (unsigned long long)value);
        comma = ",";
    }
    return f != OK ? f : buf_printf(out, "}");
}

/* A member "name":{count, percentiles} of an object. Names are our own words. */
static enum fail put_member(const struct stats *s, struct buf *out, struct hist *sum, size_t offset, const char *comma, const char *name)
{
    memset(sum, 0, sizeof *sum);
    stat_sum_hist(s, offset, sum);
    enum fail f = buf_printf(out, "%s\"%s\":", comma, name);
    return f != OK ? f : stat_put_hist_json(out, sum);
}

static enum fail put_histograms(const struct stats *s, struct buf *out, struct hist *sum)
{
    enum fail f = buf_printf(out, ",\"spans\":{");
    for (unsigned i = 0; i < HISTOGRAM_COUNT && f == OK; i++)
        f = put_member(s, out, sum, offsetof(struct stat_worker, histograms) + i * sizeof(struct hist), i > 0 ? "," : "", stat_histogram_rows[i].name);
    return f != OK ? f : buf_printf(out, "}");
}

static enum fail put_steps(const struct stats *s, struct buf *out, struct hist *sum)
{
    enum fail f = buf_printf(out, ",\"steps\":{");
    for (unsigned i = 0; i < s->step_count && f == OK; i++)
        f = put_member(s, out, sum, offsetof(struct stat_worker, steps) + i * sizeof(struct hist), i > 0 ? "," : "", s->step_names[i]);
    return f != OK ? f : buf_printf(out, "}");
}

/* {"openai":{"answered":{…},…},…}: here empty ones stay, so that a program finds every member. */
static enum fail put_requests(const struct stats *s, struct buf *out, struct hist *sum)
{
    enum fail f = buf_printf(out, ",\"requests\":{");
    for (unsigned i = 0; i < SURFACE_COUNT * OUTCOME_COUNT && f == OK; i++) {
        unsigned surface = i / OUTCOME_COUNT, outcome = i % OUTCOME_COUNT;
        if (outcome == 0)
            f = buf_printf(out, "%s\"%s\":{", surface > 0 ? "," : "", surface_name(surface));
        if (f == OK)
            f = put_member(s, out, sum, offsetof(struct stat_worker, requests) + i * sizeof(struct hist), outcome > 0 ? "," : "", outcome_name(outcome));
        if (f == OK && outcome == OUTCOME_COUNT - 1)
            f = buf_printf(out, "}");
    }
    return f != OK ? f : buf_printf(out, "}");
}

static enum fail put_sources(const struct stats *s, struct buf *out)
{
    enum fail f = OK;
    for (unsigned i = 0; i < s->source_count && f == OK; i++) {
        if (s->sources[i].json == NULL)
            continue;
        f = buf_printf(out, ",");
        if (f == OK)
            f = s->sources[i].json(s->sources[i].arg, out);
    }
    return f;
}

enum fail stat_json(const struct stats *s, struct buf *out)
{
    CHECK(s, STATS);
    struct hist *sum = mem_alloc(sizeof *sum); /* 8 KiB: too large for a task's frame */
    if (sum == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = put_head(s, out);
    if (f == OK)
        f = put_process(out);
    if (f == OK)
        f = put_counters(s, out);
    if (f == OK)
        f = put_histograms(s, out, sum);
    if (f == OK)
        f = put_steps(s, out, sum);
    if (f == OK)
        f = put_requests(s, out, sum);
    if (f == OK)
        f = put_sources(s, out);
    mem_free(sum);
    return f != OK ? f : buf_printf(out, "}\n");
}
