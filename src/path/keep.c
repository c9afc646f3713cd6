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

/* Of one line they lie in the head already. */
enum fail cache_tags_read(struct request *rq)
{
    const struct http_head *h = rq->http->head;
    size_t room = 0;
    if (!http_head_has(h, HEADER_X_WEIR_CACHE_TAGS) || http_head_times(h, HEADER_X_WEIR_CACHE_TAGS) == 1)
        return OK;
    for (unsigned i = 0; i < h->count; i++)
        room += h->headers[i].id == HEADER_X_WEIR_CACHE_TAGS ? h->headers[i].value.len + 2 : 0;
    char *all = arena_alloc(&rq->http->arena, room), *to = all;
    if (all == NULL)
        return FAIL_NO_MEMORY;
    for (unsigned i = 0; i < h->count; i++) {
        struct text tags = h->headers[i].value;
        if (h->headers[i].id != HEADER_X_WEIR_CACHE_TAGS || tags.len == 0)
            continue;
        if (to > all)
            to = mempcpy(to, ", ", 2);
        to = mempcpy(to, tags.at, tags.len);
    }
    rq->cache.tags = (struct text){ all, (size_t)(to - all) };
    return OK;
}

struct cache_label cache_label_of(const struct request *rq)
{
    struct text tags = rq->cache.tags.at != NULL ? rq->cache.tags : http_head_get(rq->http->head, HEADER_X_WEIR_CACHE_TAGS);
    return (struct cache_label){ .tenant = rq->who.tenant, .model = rq->model, .tags = tags };
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

/* Whole, and what a backend meant to say: see flight.h. */
static bool is_whole(const struct flight *fl)
{
    return fl != NULL && fl->state == FLIGHT_ENDED && fl->fail == OK && fl->status == 200;
}

/* One question has one answer, and what came last could not be kept. */
static void forget(struct request *rq, const struct cache_id *id, unsigned form)
{
    struct cache_id other = cache_id_form(id, form);
    if (form != 0)
        cache_remove(rq->task->worker, rq->desk->cache, &other);
    if (rq->cache.wish == CACHE_REFRESH)
        cache_remove(rq->task->worker, rq->desk->cache, id);
}

void cache_put_made(struct request *rq, const struct cache_id *id, unsigned form, const struct cache_id *shared_id, struct cache_value *v, uint32_t prompt_tokens,
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
    nanos asked = rq->cache.wish == CACHE_REFRESH ? NEVER : rq->flight->first_upstream_byte_out; /* who asks anew has the last word */
    enum fail f = v == NULL ? FAIL_NO_MEMORY : cache_put_form(w, rq->desk->cache, id, form, v, &label, cache_ttl(rq), asked);
    if (v != NULL && f != FAIL_NOT_CACHED)
        shared_put(rq->desk->shared, shared_id, &label, v, cache_ttl(rq));
    if (f == OK) {
        COUNT(w, cache_stored);
        return;
    }
    COUNT(w, cache_not_stored);
    if (f != FAIL_NOT_CACHED)
        forget(rq, id, form);
}

/* All of it as the client has it, as long as it lies there; NULL: it does not, or there is no memory. Of a stream the event with usage alone comes last, wherever the
   client has it, if at all. */
static struct cache_value *value_of(const struct request *rq)
{
    const struct flight *fl = rq->flight;
    struct text usage = fl->is_stream ? fl->usage_event : TEXT_NONE;
    const struct flight_chunk *c = flight_chunks(fl);
    struct cache_value *v = c != NULL && fl->bytes > 0 && fl->bytes <= KEPT_MAX ? cache_value_new(fl->bytes + usage.len) : NULL;
    if (v == NULL)
        return NULL;
    size_t len = 0;
    for (; c != NULL; len += c->len, c = c->next)
        memcpy(v->bytes + len, c->bytes, c->len);
    ptrdiff_t at = usage.len > 0 && rq->usage_wanted ? text_find((struct text){ v->bytes, len }, usage) : -1;
    if (at >= 0) {
        len -= usage.len;
        memmove(v->bytes + at, v->bytes + at + usage.len, len - (size_t)at);
    }
    if (usage.len > 0)
        memcpy(v->bytes + len, usage.at, usage.len);
    v->form = fl->is_stream ? CACHE_EVENTS : CACHE_BODY;
    v->usage_from = fl->is_stream ? (uint32_t)len : 0;
    v->len = (uint32_t)(len + usage.len);
    return v;
}

/* One question has one answer: what the other form was made of, or had been told before, goes. The form is the one that the backend was asked for. */
static void keep_generation(struct request *rq)
{
    const struct flight *fl = rq->flight;
    struct cache_id id = cache_id_form(&rq->cache.base, fl->is_stream ? FORM_STREAM : FORM_WHOLE);
    struct cache_value *v = value_of(rq);
    cache_put_made(rq, &id, FORM_WHOLE ^ FORM_STREAM, &rq->cache.base, v, (uint32_t)MAX(fl->prompt_tokens, 0), (uint32_t)MAX(fl->completion_tokens, 0));
    cache_value_drop(v);
}

static void keep_items(struct request *rq)
{
    const struct flight *fl = rq->flight;
    struct buf *all = &rq->cache.tee; /* of a long one: what the client took */
    enum fail f = OK;
    for (const struct flight_chunk *c = fl->is_long ? NULL : flight_chunks(fl); c != NULL && f == OK; c = c->next)
        f = buf_add(all, c->bytes, c->len);
    if (f == OK && buf_len(all) == fl->bytes)
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
