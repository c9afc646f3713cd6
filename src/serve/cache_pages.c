/* cache_pages.c: what the caches hold and have saved, and dropping answers from them. */
#include "serve/serve.h"
#include <stdio.h>
#include <string.h>

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

static const char *const kinds[] = { "model", "tenant", "tag" };

struct matching {
    struct cache_match match;
    unsigned count;   /* of conditions */
    struct text bare; /* one without a kind: a model's name, and `*` alone is everything; at == NULL: none */
};

/* A tag's name has no comma, so several are one text. */
static enum fail add_tag(struct request *rq, struct text value, struct text *io_tags)
{
    if (memchr(value.at, ',', value.len) != NULL)
        return because(rq, FAIL_BAD_REQUEST, "A tag has no comma: \"%.*s\".", (int)MIN(value.len, 60u), value.at);
    if (io_tags->at == NULL) {
        *io_tags = value;
        return OK;
    }
    size_t len = io_tags->len + 1 + value.len;
    char *all = arena_alloc(&rq->http->arena, len);
    if (all == NULL)
        return FAIL_NO_MEMORY;
    char *to = mempcpy(all, io_tags->at, io_tags->len);
    *to++ = ',';
    memcpy(to, value.at, value.len);
    *io_tags = (struct text){ all, len };
    return OK;
}

static enum fail add_condition(struct request *rq, struct text kind, struct text value, struct matching *to)
{
    struct text *const rows[] = { &to->match.model, &to->match.tenant, &to->match.tag };
    size_t i = 0;
    while (i < ARRAY_LEN(kinds) && !text_eq(kind, text_of(kinds[i])))
        i++;
    if (i == ARRAY_LEN(kinds))
        return because(rq, FAIL_BAD_REQUEST, "There is no condition \"%.*s\": there are model, tenant and tag, and match=* for everything.",
                       (int)MIN(kind.len, 60u), kind.at);
    if (value.len == 0)
        return because(rq, FAIL_BAD_REQUEST, "%.*s needs a name, or the beginning of one and *.", TEXT_ARG(kind));
    to->count++;
    if (rows[i] == &to->match.tag)
        return add_tag(rq, value, rows[i]);
    if (rows[i]->at != NULL)
        return because(rq, FAIL_BAD_REQUEST, "%.*s stands there twice, and an answer has one: all conditions must hold.", TEXT_ARG(kind));
    *rows[i] = value;
    return OK;
}

static enum fail add_of_match(struct request *rq, struct text condition, struct matching *to)
{
    struct text kind, value = text_cut(condition, ':', &kind);
    if (kind.len < condition.len)
        return add_condition(rq, kind, value, to);
    to->bare = condition;
    return text_eq(condition, TEXT("*")) ? (to->count++, OK) : add_condition(rq, TEXT("model"), condition, to);
}

static bool begins_condition(struct text t)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct text kind = text_of(kinds[i]);
        if (text_starts(t, kind) && t.len > kind.len && t.at[kind.len] == ':')
            return true;
    }
    return false;
}

/* Up to the comma before another condition; any other one is of a name. */
static size_t condition_len(struct text t)
{
    size_t i = 0;
    while (i < t.len && !(t.at[i] == ',' && begins_condition((struct text){ t.at + i + 1, t.len - i - 1 })))
        i++;
    return i;
}

/* Divided before it is decoded, or no name could have a comma. Libraries write every comma as %2C, though: those before another condition divide, too. */
static enum fail read_conditions(struct request *rq, struct text coded, struct matching *to)
{
    enum fail f = OK;
    while (coded.len > 0 && f == OK) {
        struct text part;
        coded = text_cut(coded, ',', &part);
        struct text some = serve_decoded(&rq->http->arena, part);
        if (some.at == NULL)
            return FAIL_NO_MEMORY; /* with a condition less more would match */
        do {
            size_t n = condition_len(some);
            f = add_of_match(rq, (struct text){ some.at, n }, to);
            some = n < some.len ? (struct text){ some.at + n + 1, some.len - n - 1 } : TEXT_NONE;
        } while (f == OK && some.at != NULL);
    }
    return f;
}

/* match=model:chat*,tenant:acme or model=chat*&tenant=acme. */
static enum fail read_match(struct request *rq, struct cache_match *out)
{
    struct text query = rq->http->head->query, pair, name;
    struct matching all = { .count = 0 };
    enum fail f = OK;
    if (query.len == 0)
        return because(rq, FAIL_BAD_REQUEST, "Say what to drop: ?match=model:NAME, tenant:NAME or tag:NAME, several with commas, NAME* for all that begin so, "
                       "or match=* for everything.");
    while (query.len > 0 && f == OK) {
        query = text_cut(query, '&', &pair);
        struct text value = text_cut(pair, '=', &name);
        if (text_eq(name, TEXT("match")))
            f = read_conditions(rq, value, &all);
        else
            f = add_condition(rq, name, serve_decoded(&rq->http->arena, value), &all);
    }
    if (f == OK && all.bare.at != NULL && all.count > 1)
        f = because(rq, FAIL_BAD_REQUEST, "\"%.*s\" has no kind, so it stands alone: beside others it is model:NAME, tenant:NAME or tag:NAME.",
                    (int)MIN(all.bare.len, 60u), all.bare.at);
    if (f == OK && all.count == 0)
        f = because(rq, FAIL_BAD_REQUEST, "match needs a condition, or * for everything.");
    *out = all.match;
    return f;
}

enum fail page_cache_drop(struct task *t, struct request *rq, struct text rest)
{
    struct cache_match match = { 0 };
    uint64_t count = 0;
    char body[64];
    (void)rest;
    enum fail f = read_match(rq, &match), shared = OK;
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
