/* 05_cache.c: answers given before. Looks one up before anything is queued or asked, here and where instances share them. cache/ knows what is equal and what stays;
   here is what may be looked for at all, in which form it is told, and what clients hear of it. keep.c keeps what came of those that asked a backend. */
#include "net/http_write.h"
#include "path/path.h"
#include "relay/forms.h"
#include <string.h>

#define ARENA_MAX   (64u << 20) /* for the tree of an answer that changes its form */
#define ITEMS_BYTES_MAX (4u << 20) /* of an answer with embeddings, which are kept one by one */

/* ---- what the client wants ---- */

static enum fail take_wish(struct request *rq, struct text said, bool *io_any)
{
    static const struct {
        struct text word;
        enum cache_wish wish;
    } rows[] = { { TEXT("no-cache"), CACHE_REFRESH }, { TEXT("no-store"), CACHE_LEAVE }, { TEXT("only"), CACHE_ONLY }, { TEXT("semantic"), CACHE_USE } };
    said = text_trim(said);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (text_eq_nocase(said, rows[i].word)) {
            if (*io_any && rq->cache.wish != rows[i].wish)
                return because(rq, FAIL_BAD_REQUEST, "x-weir-cache takes one word, not \"%.*s\" beside another.", TEXT_ARG(said));
            *io_any = true;
            rq->cache.wish = rows[i].wish;
            return OK;
        }
    return because(rq, FAIL_BAD_REQUEST, "x-weir-cache takes no-cache, no-store, only or semantic, not \"%.*s\".", (int)MIN(said.len, 60u), said.at);
}

/* All lines, and all words of each (RFC 9110, 5.3): a no-store that a proxy has added is not overlooked. */
enum fail cache_wish_read(struct request *rq)
{
    const struct http_head *h = rq->http->head;
    struct text word;
    bool any = false;
    enum fail f = OK;
    if (!http_head_has(h, HEADER_X_WEIR_CACHE))
        return OK;
    for (unsigned i = h->first[HEADER_X_WEIR_CACHE] - 1u; i < h->count; i++) {
        if (h->headers[i].id != HEADER_X_WEIR_CACHE)
            continue;
        for (struct text rest = h->headers[i].value; f == OK && rest.at != NULL; f = take_wish(rq, word, &any))
            rest = text_cut(rest, ',', &word);
    }
    return f;
}

/* ---- what may be kept ---- */

static enum conf_cache_when keeps(const struct request *rq)
{
    const struct conf *c = rq->conf;
    if (c->cache.exact.enabled != CONF_ON)
        return CONF_CACHE_NEVER;
    return rq->pool_conf != NULL && rq->pool_conf->cache.when != CONF_CACHE_UNSAID ? rq->pool_conf->cache.when : c->cache.exact.when;
}

/* Counts it too. NULL: it may be looked up, and kept. */
static const char *bypass(struct request *rq)
{
    struct worker *w = rq->task->worker;
    const struct request_cache *c = &rq->cache;
    enum conf_cache_when when = keeps(rq);
    bool chance = when == CONF_CACHE_DETERMINISTIC && rq->api->fields != FIELD_EMBEDDING;
    if (c->wish == CACHE_LEAVE) {
        COUNT(w, cache_bypass_no_store);
        return "no-store";
    }
    if (when == CONF_CACHE_NEVER) {
        COUNT(w, cache_bypass_never);
        return "never";
    }
    if (chance && c->has_tools) {
        COUNT(w, cache_bypass_tools);
        return "tools";
    }
    if (chance && !(c->scope.has_temperature && c->scope.temperature == 0)) {
        COUNT(w, cache_bypass_temperature);
        return "temperature";
    }
    if (!c->has_digest) {
        COUNT(w, cache_bypass_too_large);
        return "too-large";
    }
    return NULL;
}

/* ---- a hit ---- */

static enum form_surface form_of(const struct request *rq) { return rq->api->fields == FIELD_CHAT ? FORM_CHAT : FORM_COMPLETION; }

static struct text usage_of(const struct cache_value *v) { return (struct text){ v->bytes + v->usage_from, v->len - v->usage_from }; }
static struct text events_of(const struct cache_value *v) { return (struct text){ v->bytes, v->usage_from }; }

static void take_over(struct cache_value *to, const struct cache_value *from)
{
    to->prompt_tokens = from->prompt_tokens;
    to->completion_tokens = from->completion_tokens;
    to->service_ms = from->service_ms;
    to->nano_usd = from->nano_usd;
    to->made = from->made;
}

/* An answer in the form that was asked for, made of its other one: a body, or events and perhaps the event with their usage. NULL: it has none that says the same, or
   there is no memory. */
static struct cache_value *convert(const struct request *rq, struct text said, struct text usage)
{
    struct cache_value *v = NULL;
    struct arena arena;
    struct buf out;
    size_t usage_from = 0;
    arena_init(&arena, NULL, 0, ARENA_MAX);
    buf_init(&out, KEPT_MAX);
    enum fail f = rq->stream ? form_events(&arena, form_of(rq), said, &out, &usage_from) : form_body(&arena, form_of(rq), said, usage, &out);
    struct text bytes = buf_text(&out);
    if (f == OK && (v = cache_value_new(bytes.len)) != NULL) {
        memcpy(v->bytes, bytes.at, bytes.len);
        v->form = rq->stream ? CACHE_EVENTS : CACHE_BODY;
        v->usage_from = (uint32_t)usage_from;
    }
    buf_fini(&out);
    arena_fini(&arena);
    return v;
}

/* One that was kept in the other form. It is kept in this one, too, for what is left of its time, and goes with it. */
static struct cache_value *converted(struct task *t, struct request *rq, const struct cache_value *other)
{
    struct worker *w = t->worker;
    struct cache_value *v = convert(rq, rq->stream ? (struct text){ other->bytes, other->len } : events_of(other), rq->stream ? TEXT_NONE : usage_of(other));
    if (v == NULL)
        return NULL;
    take_over(v, other);
    if (cache_put_beside(w, rq->desk->cache, &rq->cache.id, FORM_WHOLE ^ FORM_STREAM, v) == OK)
        COUNT(w, cache_converted);
    return v;
}

/* Of a stream whose client wants usage: before the end, where OpenAI has it. */
static enum fail put_with_usage(const struct cache_value *v, struct buf *out)
{
    struct text done = EVENTS_END, events = events_of(v);
    ASSERT(text_ends(events, done));
    enum fail f = buf_add(out, events.at, events.len - done.len);
    if (f == OK)
        f = buf_add_text(out, usage_of(v));
    return f == OK ? buf_add_text(out, done) : f;
}

/* Nothing in it waits, so v stays whole without being held; unless heartbeats have begun the answer, and then v is the caller's own. */
static enum fail answer(struct task *t, struct request *rq, const struct cache_value *v)
{
    struct text bytes = v->form == CACHE_EVENTS ? events_of(v) : (struct text){ v->bytes, v->len };
    struct buf all;
    enum fail f = OK;
    buf_init(&all, KEPT_MAX + 64);
    if (v->form == CACHE_EVENTS && rq->usage_wanted && v->usage_from < v->len) {
        f = put_with_usage(v, &all);
        bytes = buf_text(&all);
    }
    if (f == OK && rq->http->answer_begun) {
        f = path_write(t, rq, bytes);
        if (f == OK)
            f = http_answer_end(t, rq->http);
    } else if (f == OK) {
        f = v->form == CACHE_EVENTS ? path_stream_head(rq) : path_whole_head(rq, 200, TEXT("application/json"));
        if (f == OK)
            f = http_answer_whole(t, rq->http, bytes);
    }
    buf_fini(&all);
    return f;
}

static enum fail hit(struct task *t, struct request *rq, const struct cache_value *v)
{
    rq->cache.result = CACHE_HIT;
    rq->is_answered = true;
    rq->first_token_ns = t->worker->now - rq->http->body_done;
    COUNT(t->worker, cache_hits);
    cache_count_saved(t->worker, v);
    if (!rq->cache.by_lane)
        lane_add(rq);
    return answer(t, rq, v);
}

/* What asks for the same just now shares one call, whichever form it wants; but for usage in a stream, which is there or is not from its first event on. */
void cache_join_by(struct request *rq, const struct cache_id *id)
{
    unsigned how = JOIN_FORMS + (rq->stream && rq->usage_wanted) + 2 * (rq->cache.wish == CACHE_REFRESH); /* who wants it new wants it made from now on */
    how += rq->cache.is_apart ? 4 + 4 * rq->stream : 0;
    struct cache_id join = cache_id_form(id, how);
    memcpy(rq->join.id, join.sha256, sizeof rq->join.id);
    rq->join.hash = join.hash;
}

/* Redis is trusted, but for what would make us stumble. */
static bool is_sound(const struct cache_value *v)
{
    return v->form == CACHE_BODY || (v->form == CACHE_EVENTS && v->usage_from <= v->len && text_ends(events_of(v), EVENTS_END));
}

/* What another instance has made. */
static enum fail look_further(struct task *t, struct request *rq)
{
    struct request_cache *c = &rq->cache;
    struct shared_hit h = { 0 };
    enum fail f = shared_get(t, rq->desk->shared, &c->base, rq->who.tenant, rq->conf->redis.wait, &h);
    if (f != OK || h.value == NULL)
        return f;
    bool is_own = (h.value->form == CACHE_EVENTS) == rq->stream;
    struct cache_id id = is_own ? c->id : cache_id_form(&c->id, FORM_WHOLE ^ FORM_STREAM);
    if (is_sound(h.value)) {
        cache_put_shared(rq, &id, &h);
        struct cache_value *made = is_own ? NULL : converted(t, rq, h.value);
        f = is_own ? hit(t, rq, h.value) : made != NULL ? hit(t, rq, made) : OK;
        cache_value_drop(made);
    }
    cache_value_drop(h.value);
    return f;
}

static enum fail look_up(struct task *t, struct request *rq)
{
    struct cache *cache = rq->desk->cache;
    bool is_other;
    const struct cache_value *v = cache_find_form(t->worker, cache, &rq->cache.id, FORM_WHOLE ^ FORM_STREAM, &is_other);
    if (v != NULL && !is_other)
        return hit(t, rq, v);
    struct cache_value *made = v != NULL ? converted(t, rq, v) : NULL;
    enum fail f = made != NULL ? hit(t, rq, made) : OK;
    cache_value_drop(made);
    return f != OK || rq->is_answered ? f : look_further(t, rq);
}

/* ---- the step ---- */

/* What came by a lane hits, or its body is parsed after all. */
static enum fail leave_lane(struct task *t, struct request *rq)
{
    const struct cache_value *v = cache_find(t->worker, rq->desk->cache, &rq->cache.id);
    if (v != NULL)
        COUNT(t->worker, cache_lane_hits);
    if (v != NULL)
        return hit(t, rq, v);
    rq->cache.by_lane = false;
    return rq->is_shed ? path_shed_now(t, rq) : body_parse(t, rq);
}

enum fail path_cache(struct task *t, struct request *rq)
{
    struct request_cache *c = &rq->cache;
    enum fail f = c->by_lane ? leave_lane(t, rq) : OK;
    if (f != OK || rq->is_answered || rq->pool == NULL)
        return f; /* where there is no such model the next step says so */
    c->why = bypass(rq);
    if (c->why != NULL) {
        c->result = CACHE_BYPASS;
    } else if (rq->api->fields == FIELD_EMBEDDING) {
        f = items_look_up(t, rq);
    } else {
        cache_join_by(rq, &c->base);
        c->id = cache_id_form(&c->base, rq->stream ? FORM_STREAM : FORM_WHOLE);
        if (c->wish != CACHE_REFRESH)
            f = look_up(t, rq);
    }
    if (f != OK || rq->is_answered)
        return f;
    if (c->why == NULL) {
        c->result = CACHE_MISS;
        c->keeps = true;
        rq->joins = true;
        buf_init(&c->tee, ITEMS_BYTES_MAX);
    }
    return c->wish == CACHE_ONLY ? FAIL_NOT_CACHED : OK;
}

/* ---- joined in another form ---- */

enum fail cache_read_all(struct task *t, struct request *rq, struct buf *out)
{
    enum fail f = OK;
    while (f == OK && !flight_is_read(&rq->reader)) {
        nanos beat = rq->stream ? t->worker->now + rq->conf->stream.heartbeat : NEVER;
        f = flight_wait(t, &rq->reader, false, beat);
        if (f == FAIL_TIMEOUT)
            f = path_beat(t, rq, TEXT("waiting"));
        for (struct text some = flight_next(&rq->reader); f == OK && some.len > 0; some = flight_next(&rq->reader)) {
            f = buf_add(out, some.at, some.len);
            flight_took(&rq->reader, some.len);
        }
        if (f == OK && rq->reader.is_dropped)
            f = FAIL_TOO_LARGE;
    }
    return f;
}

/* It cannot be told so: those that want it in this form ask after all, and share one call as well; if that does not end in this form, each by itself. */
static enum fail ask_apart(struct task *t, struct request *rq)
{
    flight_reader_leaves(&rq->reader);
    rq->flight = NULL;
    rq->role = JOIN_NONE;
    rq->joins = !rq->cache.is_apart;
    rq->cache.is_apart = true;
    rq->cache.keeps = false;
    cache_join_by(rq, &rq->cache.base);
    enum fail f = path_admit(t, rq);
    if (f == OK)
        f = path_upstream(t, rq);
    return f == OK ? path_relay(t, rq) : f;
}

enum fail cache_relay_converted(struct task *t, struct request *rq)
{
    const struct flight *fl = rq->flight;
    struct cache_value *v = NULL;
    struct buf all;
    buf_init(&all, KEPT_MAX);
    enum fail f = cache_read_all(t, rq, &all);
    if (f == OK && fl->fail != OK)
        f = because(rq, fl->fail, "%s", fl->fail_text);
    if (f == OK)
        v = convert(rq, buf_text(&all), fl->usage_event);
    buf_fini(&all);
    if (f == FAIL_TOO_LARGE || (f == OK && v == NULL))
        return ask_apart(t, rq);
    if (f == OK)
        f = answer(t, rq, v);
    cache_value_drop(v);
    return f;
}

const char *cache_word(const struct request *rq)
{
    static const char *const words[] = { [CACHE_UNASKED] = NULL, [CACHE_HIT] = "hit", [CACHE_MISS] = "miss", [CACHE_BYPASS] = "bypass" };
    return rq->role == JOIN_FOLLOWS ? "join" : words[rq->cache.result];
}

enum fail cache_headers(const struct request *rq, struct buf *head)
{
    if (rq->cache.result == CACHE_UNASKED)
        return OK;
    enum fail f = http_write_header(head, TEXT("x-weir-cache"), text_of(cache_word(rq)));
    return f == OK && rq->cache.why != NULL ? http_write_header(head, TEXT("x-weir-cache-why"), text_of(rq->cache.why)) : f;
}
