/* stories.c: what happened to the last requests of a worker, kept for `weir explain ID`. Two rings, in which the oldest makes room: what was answered from memory has one
   of its own, as a thousand hits a moment would leave no place for what somebody wants to have explained. */
#include "base/json.h"
#include "path/path.h"
#include <stdio.h>
#include <string.h>

struct story {
    char id[28];
    char model[96], key[40], path[40], client[48];
    const char *why;            /* of its own, or "" */
    const char *api;
    const char *cache, *cache_why; /* NULL: nobody looked; there is none */
    enum fail fail;
    enum step step;
    int status;
    bool stream;
    nanos wall;                 /* when its first byte came */
    nanos total_ns, queue_ns, first_token_ns, overhead_ns;
    nanos step_ns[STEP_COUNT];
    uint64_t bytes;
    int64_t prompt_tokens, completion_tokens;
    unsigned attempt_count;
    struct attempt_story attempts[FLIGHT_ATTEMPTS_MAX];
};

struct stories {
    unsigned next, next_hit;
    struct story *place[STORIES_MAX + STORIES_HITS_MAX]; /* those of hits last. Each made when first needed: an idle weir keeps none */
};

struct stories *stories_new(void)
{
    return mem_zero(sizeof(struct stories));
}

/* Sentences are copies of their own: most attempts have none. */
static void forget(struct story *st)
{
    for (unsigned i = 0; i < st->attempt_count; i++)
        if (st->attempts[i].why[0] != 0)
            mem_free((void *)(uintptr_t)st->attempts[i].why);
    if (st->why != NULL && st->why[0] != 0)
        mem_free((void *)(uintptr_t)st->why);
    st->attempt_count = 0;
    st->why = "";
}

static const char *keep_sentence(const char *why)
{
    char *copy = why[0] != 0 ? mem_copy_text(text_of(why)) : NULL;
    return copy != NULL ? copy : "";
}

void stories_free(struct stories *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < ARRAY_LEN(s->place); i++)
        if (s->place[i] != NULL) {
            forget(s->place[i]);
            mem_free(s->place[i]);
        }
    mem_free(s);
}

static void copy(char *to, size_t room, struct text from)
{
    size_t n = MIN(from.len, room - 1);
    if (n > 0)
        memcpy(to, from.at, n);
    to[n] = 0;
}

/* The ring is longer than the processor's cache: the next one's place comes into it while others do something. */
static void fetch(const struct story *st)
{
    for (size_t at = 0; st != NULL && at < offsetof(struct story, attempts); at += 64)
        __builtin_prefetch((const char *)st + at, 1);
}

static struct story **next_place(struct stories *s, bool is_hit)
{
    unsigned *next = is_hit ? &s->next_hit : &s->next, first = is_hit ? STORIES_MAX : 0, at = *next;
    *next = (at + 1) % (is_hit ? STORIES_HITS_MAX : STORIES_MAX);
    fetch(s->place[first + *next]);
    return &s->place[first + at];
}

void stories_add(struct stories *s, const struct request *rq)
{
    struct story **place = next_place(s, rq->cache.result == CACHE_HIT), *st = *place;
    if (st == NULL)
        st = *place = mem_zero(sizeof *st);
    if (st == NULL)
        return; /* a story less */
    forget(st);
    memset(st, 0, offsetof(struct story, attempts));
    memcpy(st->id, rq->http->id, sizeof st->id);
    copy(st->model, sizeof st->model, rq->model);
    copy(st->key, sizeof st->key, rq->who.name);
    copy(st->path, sizeof st->path, rq->http->head->path);
    st->why = keep_sentence(rq->fail == OK ? "" : rq->why[0] != 0 ? rq->why : fail_row(rq->fail)->text);
    copy(st->client, sizeof st->client, text_of(rq->http->peer_text));
    st->api = rq->api->name;
    st->cache = cache_word(rq);
    st->cache_why = rq->cache.why;
    st->fail = rq->fail;
    st->status = rq->http->answer_status;
    st->stream = rq->stream;
    st->total_ns = rq->task->worker->now - rq->http->began;
    st->wall = rq->task->worker->wall - st->total_ns;
    st->queue_ns = rq->queue_ns;
    st->first_token_ns = rq->first_token_ns;
    st->overhead_ns = rq->overhead_ns;
    memcpy(st->step_ns, rq->step_ns, sizeof st->step_ns);
    st->bytes = rq->http->answer_bytes;
    st->prompt_tokens = st->completion_tokens = -1;
    if (rq->flight != NULL) {
        st->attempt_count = rq->flight->attempt_count;
        memcpy(st->attempts, rq->flight->attempts, st->attempt_count * sizeof st->attempts[0]);
        for (unsigned i = 0; i < st->attempt_count; i++)
            st->attempts[i].why = keep_sentence(st->attempts[i].why);
        st->prompt_tokens = rq->flight->prompt_tokens;
        st->completion_tokens = rq->flight->completion_tokens;
    }
}

static enum fail put_text(struct buf *out, const char *name, const char *value)
{
    enum fail f = buf_printf(out, "\"%s\":", name);
    if (f == OK)
        f = json_add_string(out, text_of(value));
    return f == OK ? buf_add_text(out, TEXT(",")) : f;
}

static enum fail put_ms(struct buf *out, const char *name, nanos span)
{
    return span < 0 ? OK : buf_printf(out, "\"%s\":%.3f,", name, (double)span / NANOS_PER_MS);
}

static enum fail put_attempt(struct buf *out, const struct attempt_story *a)
{
    enum fail f = buf_add_text(out, TEXT("{"));
    if (f == OK)
        f = put_text(out, "backend", a->backend);
    if (f == OK && a->why[0] != 0)
        f = put_text(out, "why", a->why);
    if (f == OK)
        f = put_text(out, "result", a->fail == OK ? "used" : fail_name(a->fail));
    if (f == OK && a->breaker[0] != 0)
        f = put_text(out, "breaker", a->breaker);
    if (f == OK && a->hedge[0] != 0)
        f = put_text(out, "hedge", a->hedge);
    if (f == OK && a->paused > 0)
        f = put_ms(out, "paused_ms", a->paused);
    if (f == OK)
        f = put_ms(out, "queue_ms", a->queued);
    if (f == OK && a->connected != 0)
        f = put_ms(out, "connect_ms", a->connected - a->began);
    if (f == OK && a->first_byte != 0)
        f = put_ms(out, "first_byte_ms", a->first_byte - a->began);
    if (f == OK && a->first_token != 0)
        f = put_ms(out, "first_token_ms", a->first_token - a->began);
    if (f == OK)
        f = put_ms(out, "total_ms", a->ended - a->began);
    return f == OK ? buf_printf(out, "\"status\":%d,\"reused_connection\":%s}", a->status, a->reused ? "true" : "false") : f;
}

static enum fail put_steps(struct buf *out, const struct story *st)
{
    enum fail f = buf_add_text(out, TEXT("\"steps_ms\":{"));
    for (unsigned i = 0; i < STEP_record && f == OK; i++)
        f = buf_printf(out, "%s\"%s\":%.3f", i > 0 ? "," : "", step_names[i], (double)st->step_ns[i] / NANOS_PER_MS);
    return f == OK ? buf_add_text(out, TEXT("},")) : f;
}

static enum fail put_story(struct buf *out, const struct story *st)
{
    enum fail f = buf_add_text(out, TEXT("{"));
    const struct { const char *name, *value; } texts[] = { { "id", st->id }, { "client", st->client }, { "key", st->key }, { "api", st->api },
                                                           { "path", st->path }, { "model", st->model } };
    for (unsigned i = 0; i < ARRAY_LEN(texts) && f == OK; i++)
        f = put_text(out, texts[i].name, texts[i].value);
    if (f == OK)
        f = buf_printf(out, "\"at\":%.3f,\"status\":%d,\"stream\":%s,\"bytes\":%llu,", (double)st->wall / NANOS_PER_S, st->status,
                       st->stream ? "true" : "false", (unsigned long long)st->bytes);
    if (f == OK)
        f = put_text(out, "result", st->fail == OK ? "answered" : fail_name(st->fail));
    if (f == OK && st->cache != NULL)
        f = put_text(out, "cache", st->cache);
    if (f == OK && st->cache_why != NULL)
        f = put_text(out, "cache_why", st->cache_why);
    if (f == OK && st->why[0] != 0)
        f = put_text(out, "why", st->why);
    if (f == OK)
        f = put_ms(out, "queue_ms", st->queue_ns);
    if (f == OK)
        f = put_ms(out, "first_token_ms", st->first_token_ns);
    if (f == OK)
        f = put_ms(out, "overhead_ms", st->overhead_ns);
    if (f == OK && st->prompt_tokens >= 0)
        f = buf_printf(out, "\"prompt_tokens\":%lld,\"completion_tokens\":%lld,", (long long)st->prompt_tokens, (long long)st->completion_tokens);
    if (f == OK)
        f = put_steps(out, st);
    if (f == OK)
        f = buf_add_text(out, TEXT("\"attempts\":["));
    for (unsigned i = 0; i < st->attempt_count && f == OK; i++) {
        if (i > 0)
            f = buf_add_text(out, TEXT(","));
        if (f == OK)
            f = put_attempt(out, &st->attempts[i]);
    }
    return f == OK ? buf_printf(out, "],\"total_ms\":%.3f}", (double)st->total_ns / NANOS_PER_MS) : f;
}

bool stories_find(struct stories *s, struct text id, struct buf *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(s->place); i++)
        if (s->place[i] != NULL && text_eq(text_of(s->place[i]->id), id))
            return put_story(out, s->place[i]) == OK;
    return false;
}
