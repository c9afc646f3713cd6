/* items.c: embeddings by the item: of a request for many, a backend is asked only for those that nobody has asked for before, and the answer is put together again.
   Called by the steps cache, relay and record. */
#include "cache/batch.h"
#include "path/path.h"
#include <string.h>

#define ANSWER_MAX (64u << 20) /* ITEMS_MAX vectors, and room: the longest that models have are 16,000 numbers */

struct item {
    struct cache_id id;
    const struct cache_value *value; /* held; NULL: it is not known */
    struct text span;                /* the input as it stands in the body */
};

/* ---- looking ---- */

static unsigned known(const struct request *rq)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < rq->cache.input_count; i++)
        n += rq->cache.items[i].value != NULL;
    return n;
}

static enum fail find_all(struct worker *w, struct request *rq)
{
    struct request_cache *c = &rq->cache;
    struct text input = { buf_text(&rq->http->body).at + c->input_from, c->input_to - c->input_from };
    struct text *spans = arena_alloc(&rq->http->arena, c->input_count * sizeof *spans);
    c->items = mem_zero(c->input_count * sizeof *c->items);
    if (spans == NULL || c->items == NULL)
        return FAIL_NO_MEMORY;
    bool is_list = batch_spans(input, spans, c->input_count);
    for (uint32_t i = 0; i < c->input_count; i++) {
        struct item *it = &c->items[i];
        struct cache_digest digest = cache_digest_join(&c->digest, &c->inputs[i]);
        cache_identify(&it->id, &digest, &c->scope);
        it->span = is_list ? spans[i] : input;
        it->value = c->wish != CACHE_REFRESH ? cache_find(w, rq->desk->cache, &it->id) : NULL;
        if (it->value != NULL)
            cache_value_hold(it->value);
    }
    return OK;
}

/* What other instances have made, of all that is not known here in one visit. */
static enum fail find_shared(struct task *t, struct request *rq)
{
    struct request_cache *c = &rq->cache;
    unsigned count = c->input_count - known(rq), k = 0;
    if (count == 0 || rq->desk->shared == NULL || c->wish == CACHE_REFRESH)
        return OK;
    struct cache_id *ids = arena_alloc(&rq->http->arena, count * sizeof *ids);
    struct shared_hit *hits = arena_alloc(&rq->http->arena, count * sizeof *hits);
    if (ids == NULL || hits == NULL)
        return FAIL_NO_MEMORY;
    for (uint32_t i = 0; i < c->input_count; i++)
        if (c->items[i].value == NULL)
            ids[k++] = c->items[i].id;
    enum fail f = shared_get_many(t, rq->desk->shared, ids, count, rq->who.tenant, rq->conf->redis.wait, hits);
    if (f != OK)
        return f;
    k = 0;
    for (uint32_t i = 0; i < c->input_count; i++) {
        struct item *it = &c->items[i];
        if (it->value != NULL)
            continue;
        const struct shared_hit *h = &hits[k++];
        if (h->value == NULL || h->value->form != CACHE_VECTOR || h->value->usage_from > h->value->len) {
            cache_value_drop(h->value);
            continue;
        }
        it->value = h->value;
        cache_put_shared(rq, &it->id, h);
    }
    return OK;
}

/* ---- answering ---- */

static struct text vector_of(const struct cache_value *v) { return (struct text){ v->bytes, v->usage_from }; }
static struct text model_of(const struct cache_value *v) { return (struct text){ v->bytes + v->usage_from, v->len - v->usage_from }; }

/* What is known, in its places. Usage is what making it took. */
static void fill_known(const struct request *rq, struct batch_answer *a)
{
    for (uint32_t i = 0; i < rq->cache.input_count; i++) {
        const struct cache_value *v = rq->cache.items[i].value;
        if (v == NULL)
            continue;
        a->items[i].vector = vector_of(v);
        a->prompt_tokens += v->prompt_tokens;
        a->total_tokens += v->prompt_tokens;
        a->model = a->model.at == NULL ? model_of(v) : a->model;
    }
}

static enum fail answer(struct task *t, struct request *rq, const struct batch_answer *a)
{
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    enum fail f = batch_write(a, rq->cache.input_count, &out);
    if (f == OK)
        f = path_whole_head(rq, 200, TEXT("application/json"));
    if (f == OK)
        f = http_answer_whole(t, rq->http, buf_text(&out));
    buf_fini(&out);
    return f;
}

/* Only what is told saves anything. */
static void count_saved(const struct request *rq)
{
    for (uint32_t i = 0; i < rq->cache.input_count; i++)
        if (rq->cache.items[i].value != NULL)
            cache_count_saved(rq->task->worker, rq->cache.items[i].value);
}

static struct batch_item *items_new(struct request *rq) { return mem_zero(rq->cache.input_count * sizeof(struct batch_item)); }

static enum fail answer_known(struct task *t, struct request *rq)
{
    struct batch_answer a = { .items = items_new(rq) };
    if (a.items == NULL)
        return FAIL_NO_MEMORY;
    fill_known(rq, &a);
    rq->cache.result = CACHE_HIT;
    rq->first_token_ns = t->worker->now - rq->http->body_done;
    rq->is_answered = true;
    enum fail f = answer(t, rq, &a);
    if (f == OK)
        count_saved(rq);
    mem_free(a.items);
    return f;
}

/* The body goes out with the unknown inputs only. Splices stand in the order of their places. */
static enum fail ask_for_the_rest(struct request *rq)
{
    struct request_cache *c = &rq->cache;
    struct text *spans = arena_alloc(&rq->http->arena, c->input_count * sizeof *spans);
    bool *missing = arena_alloc(&rq->http->arena, c->input_count * sizeof *missing);
    struct buf list;
    if (spans == NULL || missing == NULL)
        return FAIL_NO_MEMORY;
    for (uint32_t i = 0; i < c->input_count; i++) {
        spans[i] = c->items[i].span;
        missing[i] = c->items[i].value == NULL;
    }
    buf_init(&list, c->input_to - c->input_from + 2);
    enum fail f = batch_ask(spans, missing, c->input_count, &list);
    char *copy = f == OK ? arena_copy(&rq->http->arena, buf_text(&list)) : NULL;
    struct splice with = { c->input_from, c->input_to, { copy, buf_len(&list) }, false };
    buf_fini(&list);
    if (copy == NULL)
        return f != OK ? f : FAIL_NO_MEMORY;
    ASSERT(rq->splice_count < SPLICES_MAX);
    unsigned at = rq->splice_count++;
    for (; at > 0 && rq->splices[at - 1].from > with.from; at--)
        rq->splices[at] = rq->splices[at - 1];
    rq->splices[at] = with;
    return OK;
}

/* Who asks a backend for the same inputs shares that call, whatever else is known already of their lists. */
static void join_rest(struct request *rq)
{
    struct request_cache *c = &rq->cache;
    struct cache_digest rest = c->digest;
    struct cache_id id;
    for (uint32_t i = 0; i < c->input_count; i++)
        if (c->items[i].value == NULL)
            rest = cache_digest_join(&rest, &c->inputs[i]);
    cache_identify(&id, &rest, &c->scope);
    cache_join_by(rq, &id);
}

enum fail items_look_up(struct task *t, struct request *rq)
{
    struct request_cache *c = &rq->cache;
    struct worker *w = t->worker;
    enum fail f = find_all(w, rq);
    if (f == OK)
        f = find_shared(t, rq);
    unsigned n = f == OK ? known(rq) : 0;
    COUNT_BY(w, cache_items_found, n);
    if (f == OK && n == c->input_count) {
        COUNT(w, cache_hits);
        return answer_known(t, rq);
    }
    c->is_partial = n > 0 && c->wish != CACHE_ONLY;
    if (f == OK)
        join_rest(rq);
    return f == OK && c->is_partial ? ask_for_the_rest(rq) : f;
}

/* ---- what a backend brought ---- */

/* Keeps the vectors of an answer to the inputs that were not known; its prompt's tokens are shared out by the inputs' lengths. What says more is passed on, and asked
   for again: told from memory it would be less. */
static void keep_all(struct request *rq, const struct batch_answer *a)
{
    struct worker *w = rq->task->worker;
    struct request_cache *c = &rq->cache;
    uint64_t bytes = 0, before = 0, told = 0;
    if (a->has_more) {
        COUNT_BY(w, cache_not_stored, rq->role != JOIN_FOLLOWS);
        return;
    }
    for (uint32_t i = 0; i < c->input_count; i++)
        bytes += c->items[i].value == NULL ? c->items[i].span.len : 0;
    for (uint32_t i = 0, k = 0; i < c->input_count; i++) {
        const struct item *it = &c->items[i];
        if (it->value != NULL)
            continue;
        struct text vector = a->items[k++].vector;
        struct cache_value *v = cache_value_new(vector.len + a->model.len);
        if (v != NULL) {
            v->form = CACHE_VECTOR;
            v->usage_from = (uint32_t)vector.len;
            memcpy(v->bytes, vector.at, vector.len);
            if (a->model.len > 0)
                memcpy(v->bytes + vector.len, a->model.at, a->model.len);
        }
        before += it->span.len;
        uint64_t tokens = a->prompt_tokens * before / MAX(bytes, 1u) - told; /* so that the sum is theirs */
        told += tokens;
        cache_put_made(rq, &it->id, 0, &it->id, v, (uint32_t)tokens, 0);
        cache_value_drop(v);
    }
    if (rq->role != JOIN_FOLLOWS)
        COUNT_BY(w, cache_items_missed, c->input_count - known(rq));
}

/* Of a whole answer to what was asked: its items by the unknown inputs in turn. The caller frees a->items. */
static enum fail read_answer(struct request *rq, struct arena *arena, struct text body, struct batch_answer *a)
{
    *a = (struct batch_answer){ .items = items_new(rq) };
    arena_init(arena, NULL, 0, 16u << 20);
    return a->items == NULL ? FAIL_NO_MEMORY : batch_read(arena, body, rq->cache.input_count - known(rq), a);
}

void items_keep(struct request *rq, struct text body)
{
    struct batch_answer a;
    struct arena arena;
    if (read_answer(rq, &arena, body, &a) == OK)
        keep_all(rq, &a);
    arena_fini(&arena);
    mem_free(a.items);
}

static enum fail merge(struct task *t, struct request *rq, struct text body)
{
    struct batch_answer brought, all = { .items = items_new(rq) };
    struct arena arena;
    enum fail f = read_answer(rq, &arena, body, &brought);
    if (f == FAIL_PROTOCOL)
        f = because(rq, f, "The backend's answer has not one embedding for each input.");
    if (all.items == NULL)
        f = FAIL_NO_MEMORY;
    if (f == OK) {
        keep_all(rq, &brought);
        all.model = brought.model;
        all.prompt_tokens = brought.prompt_tokens;
        all.total_tokens = brought.total_tokens;
        fill_known(rq, &all);
        for (uint32_t i = 0, k = 0; i < rq->cache.input_count; i++)
            if (rq->cache.items[i].value == NULL)
                all.items[i] = brought.items[k++];
        f = answer(t, rq, &all);
    }
    if (f == OK)
        count_saved(rq);
    arena_fini(&arena);
    mem_free(brought.items);
    mem_free(all.items);
    return f;
}

enum fail items_relay(struct task *t, struct request *rq)
{
    const struct flight *fl = rq->flight;
    struct buf body;
    buf_init(&body, ANSWER_MAX);
    enum fail f = cache_read_all(t, rq, &body);
    if (f == OK && fl->fail != OK)
        f = because(rq, fl->fail, "%s", fl->fail_text);
    if (f == OK)
        f = merge(t, rq, buf_text(&body));
    buf_fini(&body);
    return f;
}

void items_end(struct request *rq)
{
    struct request_cache *c = &rq->cache;
    for (uint32_t i = 0; c->items != NULL && i < c->input_count; i++)
        cache_value_drop(c->items[i].value);
    mem_free(c->items);
    mem_free(c->inputs);
    c->items = NULL;
    c->inputs = NULL;
}
