/* cache_pages.c: what the caches hold and have saved, and dropping answers from them. */
#include "serve/serve.h"
#include <stdio.h>

#define DROP_NS (5 * NANOS_PER_S) /* Redis may be busy; an operator waits */

/* ---- what they hold ---- */

static enum fail put_bypasses(const struct stats *s, struct buf *out)
{
    const struct {
        const char *why;
        enum counter counter;
    } rows[] = { { "temperature", COUNTER_cache_bypass_temperature }, { "tools", COUNTER_cache_bypass_tools }, { "too-large", COUNTER_cache_bypass_too_large },
                 { "never", COUNTER_cache_bypass_never }, { "no-store", COUNTER_cache_bypass_no_store } };
    enum fail f = buf_add_text(out, TEXT("\"bypasses\":{"));
    for (size_t i = 0; i < ARRAY_LEN(rows) && f == OK; i++)
        f = buf_printf(out, "%s\"%s\":%llu", i > 0 ? "," : "", rows[i].why, (unsigned long long)stat_total(s, rows[i].counter));
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

static enum fail put_exact(struct worker *w, struct cache *cache, const struct stats *s, struct buf *out)
{
    struct cache_status c;
    cache_status(cache, &c);
    return buf_printf(out, "\"exact\":{\"hits\":%llu,\"converted\":%llu,\"stored\":%llu,\"not_stored\":%llu,\"entries\":%llu,\"entries_max\":%llu,\"bytes\":%llu,"
                      "\"bytes_max\":%llu,\"tenants\":%llu,\"evictions\":%llu,\"expired\":%llu,\"dropped\":%llu,\"oldest_seconds\":%.3f}",
                      (unsigned long long)stat_total(s, COUNTER_cache_hits), (unsigned long long)stat_total(s, COUNTER_cache_converted),
                      (unsigned long long)stat_total(s, COUNTER_cache_stored), (unsigned long long)stat_total(s, COUNTER_cache_not_stored),
                      (unsigned long long)c.entries, (unsigned long long)c.entries_max, (unsigned long long)c.bytes, (unsigned long long)c.bytes_max,
                      (unsigned long long)c.tenants, (unsigned long long)c.evictions, (unsigned long long)c.expired, (unsigned long long)c.dropped,
                      c.oldest != INT64_MAX ? MAX((double)w->wall / NANOS_PER_S - (double)c.oldest, 0.0) : 0.0);
}

static enum fail put_shared(const struct stats *s, struct buf *out)
{
    return buf_printf(out, ",\"shared\":{\"hits\":%llu,\"asked\":%llu,\"unasked\":%llu,\"late\":%llu,\"stored\":%llu,\"not_stored\":%llu}",
                      (unsigned long long)stat_total(s, COUNTER_cache_shared_hits), (unsigned long long)stat_total(s, COUNTER_cache_shared_asked),
                      (unsigned long long)stat_total(s, COUNTER_cache_shared_unasked), (unsigned long long)stat_total(s, COUNTER_cache_shared_late),
                      (unsigned long long)stat_total(s, COUNTER_cache_shared_puts), (unsigned long long)stat_total(s, COUNTER_cache_shared_lost));
}

static enum fail put_all(struct worker *w, struct cache *cache, const struct stats *s, bool shares, struct buf *out)
{
    uint64_t hits = stat_total(s, COUNTER_cache_hits), misses = stat_total(s, COUNTER_cache_misses);
    enum fail f = buf_printf(out, "\"hits\":%llu,\"joins\":%llu,\"misses\":%llu,\"hit_rate\":%.4f,", (unsigned long long)hits,
                             (unsigned long long)stat_total(s, COUNTER_cache_joins), (unsigned long long)misses,
                             hits + misses > 0 ? (double)hits / (double)(hits + misses) : 0.0);
    if (f == OK)
        f = put_bypasses(s, out);
    if (f == OK)
        f = buf_printf(out, ",\"saved\":{\"tokens\":%llu,\"seconds\":%.3f,\"usd\":%.6f},\"layers\":{", (unsigned long long)stat_total(s, COUNTER_cache_saved_tokens),
                       (double)stat_total(s, COUNTER_cache_saved_ms) / 1000, (double)stat_total(s, COUNTER_cache_saved_nanodollars) / NANO_PER_USD);
    if (f == OK)
        f = put_exact(w, cache, s, out);
    if (f == OK && shares)
        f = put_shared(s, out);
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

enum fail page_cache_stats(struct task *t, struct request *rq, struct text rest)
{
    struct buf out;
    (void)rest;
    buf_init(&out, 8192);
    enum fail f = buf_add_text(&out, TEXT("{"));
    if (f == OK)
        f = put_all(t->worker, rq->desk->cache, gateway_stats(rq->desk->gateway), rq->desk->shared != NULL, &out);
    if (f == OK)
        f = buf_add_text(&out, TEXT("}"));
    if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}

static enum fail metrics(void *arg, struct buf *out)
{
    struct cache_status c;
    cache_status(arg, &c);
    const struct stat_number rows[] = {
        { "cache_entries", "gauge", "Answers kept in memory.", c.entries },
        { "cache_bytes", "gauge", "Bytes they take, of cache.exact.memory.", c.bytes },
        { "cache_evictions_total", "counter", "Answers that made room for others.", c.evictions },
        { "cache_expired_total", "counter", "Answers whose time was over.", c.expired },
        { "cache_dropped_total", "counter", "Answers that were deleted.", c.dropped },
    };
    return stat_put_numbers(out, rows, ARRAY_LEN(rows));
}

static enum fail json(void *arg, struct buf *out)
{
    struct cache_status c;
    cache_status(arg, &c);
    return buf_printf(out, "\"cache\":{\"entries\":%llu,\"bytes\":%llu,\"evictions\":%llu,\"expired\":%llu,\"dropped\":%llu}", (unsigned long long)c.entries,
                      (unsigned long long)c.bytes, (unsigned long long)c.evictions, (unsigned long long)c.expired, (unsigned long long)c.dropped);
}

struct stat_source cache_numbers(struct cache *c)
{
    return (struct stat_source){ metrics, json, c };
}

/* ---- dropping ---- */

/* One condition, "model:chat*"; without a kind it is a model's name, and `*` alone is everything. */
static enum fail read_condition(struct request *rq, struct text kind, struct text value, struct cache_match *m)
{
    const struct {
        struct text kind;
        struct text *to;
    } rows[] = { { TEXT("model"), &m->model }, { TEXT("tenant"), &m->tenant }, { TEXT("tag"), &m->tag } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (text_eq(kind, rows[i].kind)) {
            if (value.len == 0)
                return because(rq, FAIL_BAD_REQUEST, "%.*s needs a name, or the beginning of one and *.", TEXT_ARG(kind));
            *rows[i].to = value;
            return OK;
        }
    return because(rq, FAIL_BAD_REQUEST, "There is no condition \"%.*s\": there are model, tenant and tag, and match=* for everything.",
                   (int)MIN(kind.len, 60u), kind.at);
}

/* match=model:chat*,tenant:acme or model=chat*&tenant=acme. */
static enum fail read_match(struct request *rq, struct cache_match *m, bool *out_all)
{
    struct text query = rq->http->head->query, pair, name;
    enum fail f = OK;
    *out_all = false;
    if (query.len == 0)
        return because(rq, FAIL_BAD_REQUEST, "Say what to drop: ?match=model:NAME, tenant:NAME or tag:NAME, several with commas, NAME* for all that begin so, "
                       "or match=* for everything.");
    while (query.len > 0 && f == OK) {
        query = text_cut(query, '&', &pair);
        struct text value = serve_decoded(&rq->http->arena, text_cut(pair, '=', &name));
        if (!text_eq(name, TEXT("match"))) {
            f = read_condition(rq, name, value, m);
            continue;
        }
        *out_all = text_eq(value, TEXT("*"));
        while (value.len > 0 && f == OK && !*out_all) {
            struct text condition, kind;
            value = text_cut(value, ',', &condition);
            struct text rest = text_cut(condition, ':', &kind);
            f = kind.len == condition.len ? read_condition(rq, TEXT("model"), condition, m) : read_condition(rq, kind, rest, m);
        }
    }
    bool any = m->model.at != NULL || m->tenant.at != NULL || m->tag.at != NULL;
    return f != OK || *out_all || any ? f : because(rq, FAIL_BAD_REQUEST, "match needs a condition, or * for everything.");
}

enum fail page_cache_drop(struct task *t, struct request *rq, struct text rest)
{
    struct cache_match match = { 0 };
    uint64_t count = 0;
    bool all;
    char body[64];
    (void)rest;
    enum fail f = read_match(rq, &match, &all), shared = OK;
    if (f == OK && rq->desk->shared != NULL)
        shared = shared_drop(t, rq->desk->shared, &match, t->worker->now + DROP_NS);
    if (f == OK)
        f = cache_drop(t, rq->desk->cache, &match, &count);
    if (f != OK)
        return f;
    const char *were = count == 1 ? "answer was" : "answers were";
    if (shared != OK)
        return because(rq, FAIL_BUSY, "%llu %s dropped here, but Redis could not be told, so this and other instances may tell %s again from there: try again.",
                       (unsigned long long)count, were, count == 1 ? "it" : "them");
    log_line(t->worker, LOG_LEVEL_INFO, "cache_dropped", "%llu %s dropped from the cache", (unsigned long long)count, were);
    int n = snprintf(body, sizeof body, "{\"dropped\":%llu}", (unsigned long long)count);
    return page_json(t, rq, 200, (struct text){ body, (size_t)n });
}
