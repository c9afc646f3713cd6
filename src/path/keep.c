/* keep.c: keeping what came of a request: which answers, in which form, for how long, in this process and for other instances. Called by the steps cache, relay and
   record. */
#include "path/path.h"
#include <string.h>

nanos cache_ttl(const struct request *rq)
{
    if (rq->pool_conf != NULL && rq->pool_conf->cache.ttl > 0)
        return rq->pool_conf->cache.ttl;
    return rq->api->fields == FIELD_EMBEDDING ? rq->conf->cache.exact.embedding_ttl : rq->conf->cache.exact.ttl;
}

struct cache_label cache_label_of(const struct request *rq)
{
    return (struct cache_label){ .tenant = rq->who.tenant, .model = rq->model, .tags = http_head_get(rq->http->head, HEADER_X_WEIR_CACHE_TAGS) };
}

void cache_count_saved(struct worker *w, const struct cache_value *v)
{
    COUNT_BY(w, cache_saved_tokens, (uint64_t)v->prompt_tokens + v->completion_tokens);
    COUNT_BY(w, cache_saved_ms, v->service_ms);
    COUNT_BY(w, cache_saved_nanodollars, (uint64_t)v->nano_usd);
}

void cache_put_shared(struct request *rq, const struct cache_id *id, const struct shared_hit *h)
{
    struct cache_label label = { .tenant = rq->who.tenant, .model = rq->model, .tags = h->tags };
    if (cache_put(rq->task->worker, rq->desk->cache, id, h->value, &label, h->ttl) != OK)
        COUNT(rq->task->worker, cache_not_stored);
}

/* Of embeddings that are too long to be held back. */
void cache_tee(struct request *rq, struct text bytes)
{
    const struct flight *fl = rq->flight;
    if (!rq->cache.keeps || rq->cache.items == NULL || !fl->is_long)
        return;
    if (fl->length > (int64_t)rq->cache.tee.max || buf_add(&rq->cache.tee, bytes.at, bytes.len) != OK)
        rq->cache.keeps = false;
}

/* The stream's events without the one with usage alone, wherever it stands, and that one behind them. */
static struct cache_value *value_of_stream(const struct request *rq, struct text all)
{
    struct text usage = rq->flight->usage_event;
    ptrdiff_t at = usage.len > 0 && rq->usage_wanted ? text_find(all, usage) : -1; /* where it is in the stream */
    size_t before = at >= 0 ? (size_t)at : all.len, behind = at >= 0 ? all.len - before - usage.len : 0, len = before + behind;
    struct cache_value *v = cache_value_new(len + usage.len);
    if (v == NULL)
        return NULL;
    v->form = CACHE_EVENTS;
    v->usage_from = (uint32_t)len;
    memcpy(v->bytes, all.at, before);
    if (behind > 0)
        memcpy(v->bytes + before, all.at + before + usage.len, behind);
    if (usage.len > 0)
        memcpy(v->bytes + len, usage.at, usage.len);
    return v;
}

static struct cache_value *value_of_body(struct text body)
{
    struct cache_value *v = cache_value_new(body.len);
    if (v == NULL)
        return NULL;
    v->form = CACHE_BODY;
    memcpy(v->bytes, body.at, body.len);
    return v;
}

/* Whole, and what a backend meant to say: see flight.h. */
static bool is_whole(const struct flight *fl)
{
    return fl != NULL && fl->state == FLIGHT_ENDED && fl->fail == OK && fl->status == 200;
}

void cache_put_made(struct request *rq, const struct cache_id *id, const struct cache_id *shared_id, struct cache_value *v, uint32_t prompt_tokens,
                    uint32_t completion_tokens)
{
    struct worker *w = rq->task->worker;
    if (v != NULL) {
        v->prompt_tokens = prompt_tokens;
        v->completion_tokens = completion_tokens;
        v->service_ms = (uint32_t)MIN((w->now - rq->http->body_done) / NANOS_PER_MS, UINT32_MAX);
        v->nano_usd = limits_cost(rq->pool_conf, prompt_tokens, completion_tokens);
        v->made = w->wall / NANOS_PER_S;
    }
    struct cache_label label = cache_label_of(rq);
    if (v != NULL)
        shared_put(rq->desk->shared, shared_id, &label, v, cache_ttl(rq));
    if (v != NULL && cache_put(w, rq->desk->cache, id, v, &label, cache_ttl(rq)) == OK)
        COUNT(w, cache_stored);
    else
        COUNT(w, cache_not_stored);
}

/* All of it, as long as it lies there. */
static enum fail collect(const struct flight *fl, struct buf *out)
{
    enum fail f = OK;
    for (const struct flight_chunk *c = flight_chunks(fl); c != NULL && f == OK; c = c->next)
        f = buf_add(out, c->bytes, c->len);
    return f;
}

/* One question has one answer: what the other form was made of, or had been told before, goes. The form is the one that the backend was asked for. */
static void keep_generation(struct request *rq)
{
    const struct flight *fl = rq->flight;
    struct cache_id other = cache_id_form(&rq->cache.id, FORM_WHOLE ^ FORM_STREAM), *own = &rq->cache.id;
    bool is_other = fl->is_stream != rq->stream;
    struct cache_value *v = NULL;
    struct buf all;
    buf_init(&all, KEPT_MAX);
    if (collect(fl, &all) == OK && buf_len(&all) > 0)
        v = fl->is_stream ? value_of_stream(rq, buf_text(&all)) : value_of_body(buf_text(&all));
    cache_remove(rq->task->worker, rq->desk->cache, is_other ? own : &other);
    cache_put_made(rq, is_other ? &other : own, &rq->cache.base, v, (uint32_t)MAX(fl->prompt_tokens, 0), (uint32_t)MAX(fl->completion_tokens, 0));
    cache_value_drop(v);
    buf_fini(&all);
}

static void keep_items(struct request *rq)
{
    struct buf *all = &rq->cache.tee; /* of a long one: what the client took */
    enum fail f = rq->flight->is_long ? OK : collect(rq->flight, all);
    if (f == OK && buf_len(all) == rq->flight->bytes)
        items_keep(rq, buf_text(all));
}

/* Of an answer that several read, who pays for it keeps it. */
void cache_keep(struct request *rq)
{
    struct request_cache *c = &rq->cache;
    const struct flight *fl = rq->flight;
    if (c->keeps && is_whole(fl)) {
        if (c->items != NULL && !c->is_partial && rq->pays) /* who merged an answer has kept its items */
            keep_items(rq);
        else if (c->items == NULL && rq->pays && fl->is_checked && !fl->is_unfit)
            keep_generation(rq);
    }
    if (c->result == CACHE_MISS && rq->role == JOIN_FOLLOWS)
        COUNT(rq->task->worker, cache_joins);
    else if (c->result == CACHE_MISS)
        COUNT(rq->task->worker, cache_misses);
    c->keeps = false;
    buf_fini(&c->tee);
    items_end(rq);
}
