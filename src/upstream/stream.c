/* stream.c: an event stream on its way through: each event is looked into (content? usage? error? the end?) and passed on as it came.
   A line that is no JSON is left out, not passed on: one bad line must not kill a client's whole stream. */
#include "upstream/stream.h"
#include "upstream/answer.h"
#include "upstream/hedge.h"
#include "base/json.h"
#include "net/sse.h"
#include "stat/stat.h"
#include <string.h>

#define DONE_GRACE_NS   (50 * NANOS_PER_MS)    /* the last chunk line often comes one packet behind [DONE] */

struct stream {
    struct call *call;
    struct flight *flight;
    struct attempt_story *attempt;
    struct worker *worker;
    struct sse_reader reader;
    uint64_t events;   /* that were understood, of any kind */
    bool done;         /* [DONE] came */
    uint64_t begun, finished, whole; /* choices, a bit each by index: what came of them, their finish_reason, and one that ends a whole answer */
    bool broken;       /* the framing broke behind [DONE]: the answer is whole, and nothing more can be read */
    nanos last;        /* when the last content came */
};

#define CHOICES_MAX 64 /* told apart, those after them count as one: OpenAI's n is 128 at most, and nobody streams so many */

enum event_kind { EVENT_BAD, EVENT_QUIET, EVENT_CONTENT, EVENT_USAGE_ONLY, EVENT_ERROR, EVENT_NO_MEMORY };

static bool is_text(yyjson_val *v) { return yyjson_is_str(v) && yyjson_get_len(v) > 0; }
static bool is_filled(yyjson_val *v) { return is_text(v) || (yyjson_is_arr(v) && yyjson_arr_size(v) > 0) || (yyjson_is_obj(v) && yyjson_obj_size(v) > 0); }

/* Does this choice carry something a reader would see: text, reasoning, a tool call, a refusal? Any field of the delta but its role counts, so that new ones do too. */
static bool choice_has_content(yyjson_val *choice)
{
    size_t i, n;
    yyjson_val *key, *value, *delta = yyjson_obj_get(choice, "delta");
    if (is_text(yyjson_obj_get(choice, "text")))
        return true;
    if (delta == NULL)
        return false;
    yyjson_obj_foreach(delta, i, n, key, value)
        if (!yyjson_equals_str(key, "role") && is_filled(value))
            return true;
    return false;
}

/* Has every choice that began come to its finish_reason? With n > 1 they end one by one. */
static bool is_finished(const struct stream *s) { return s->finished != 0 && s->finished == s->begun; }

/* May it be told again? The last bit is that of several choices, of which one may be unfinished. */
static bool is_fit(const struct stream *s) { return s->whole != 0 && s->whole == s->begun && s->begun >> (CHOICES_MAX - 1) == 0; }

/* True if this choice ends here. */
static bool note_choice(struct stream *s, yyjson_val *choice)
{
    yyjson_val *finish = yyjson_obj_get(choice, "finish_reason");
    bool ends = yyjson_is_str(finish);
    uint64_t bit = 1ull << MIN(yyjson_get_uint(yyjson_obj_get(choice, "index")), CHOICES_MAX - 1); /* no index: 0 */
    s->begun |= bit;
    s->flight->is_unfit |= answer_is_spoilt(choice);
    if (!ends)
        return false;
    s->finished |= bit;
    if (answer_ends_whole(finish))
        s->whole |= bit;
    else if (yyjson_get_len(finish) > 0) /* some have "" in every event but the last */
        s->flight->is_unfit = true;
    return true;
}

static enum event_kind look_into(struct stream *s, const struct sse_event *e, yyjson_val *root)
{
    size_t i, n;
    yyjson_val *choice, *choices = yyjson_obj_get(root, "choices"), *usage = yyjson_obj_get(root, "usage");
    bool content = false;
    if (!yyjson_is_obj(root))
        return EVENT_BAD;
    if (answer_is_error(root) || text_eq(e->name, TEXT("error"))) {
        struct text message = border_words(s->call->slot.endpoint, answer_error_text(root));
        attempt_because(s->flight, s->attempt, "sent an error in its stream: %.*s", TEXT_ARG(message.len > 0 ? message : TEXT("it did not say why")));
        return EVENT_ERROR;
    }
    yyjson_arr_foreach(choices, i, n, choice) {
        content |= note_choice(s, choice);
        content = content || choice_has_content(choice);
    }
    if (yyjson_is_obj(usage)) {
        answer_take_usage(s->flight, usage);
        if (yyjson_arr_size(choices) == 0)
            return EVENT_USAGE_ONLY;
    }
    return content ? EVENT_CONTENT : EVENT_QUIET;
}

static enum event_kind event_kind(struct stream *s, const struct sse_event *e)
{
    struct arena arena;
    yyjson_doc *doc;
    size_t room;
    char *pool = conns_json_pool(s->call->conns, &room);
    arena_init(&arena, pool, room, SSE_LINE_BYTES_MAX * 4);
    enum fail f = json_parse(&arena, e->data, &doc, NULL);
    enum event_kind kind = f == FAIL_NO_MEMORY ? EVENT_NO_MEMORY : EVENT_BAD; /* what we could not look into may have been content */
    if (f == OK)
        kind = look_into(s, e, yyjson_doc_get_root(doc));
    if (kind == EVENT_BAD && text_eq(e->name, TEXT("error"))) {
        attempt_because(s->flight, s->attempt, "sent an error in its stream: %.*s", TEXT_ARG(border_words(s->call->slot.endpoint, e->data)));
        kind = EVENT_ERROR;
    }
    arena_fini(&arena);
    return kind;
}

static enum fail pass_on(struct stream *s, const struct sse_event *e)
{
    bool is_simple = e->name.len == 0 && memchr(e->data.at, '\n', e->data.len) == NULL;
    if (is_simple) {
        enum fail f = flight_reserve(s->flight, e->data.len + 8); /* in one chunk: a cut falls between two events */
        if (f == OK)
            f = flight_append(s->flight, TEXT("data: "));
        if (f == OK)
            f = flight_append(s->flight, e->data);
        return f == OK ? flight_append(s->flight, TEXT("\n\n")) : f;
    }
    struct buf b;
    buf_init(&b, SSE_LINE_BYTES_MAX + 4096);
    enum fail f = sse_write(&b, e->name, e->data);
    if (f == OK)
        f = flight_append(s->flight, buf_text(&b));
    buf_fini(&b);
    return f;
}

static void content_came(struct stream *s)
{
    nanos now = s->worker->now;
    if (s->last != 0)
        RECORD(s->worker, between_tokens, now - s->last);
    s->last = now;
    if (s->flight->state == FLIGHT_WAITING) {
        hedge_commits(s->call);
        s->flight = s->call->flight;
        s->attempt->first_token = now;
        s->flight->status = 200;
        s->flight->is_stream = true;
        flight_commit(s->flight);
        backend_began(s->worker, s->call->slot.backend);
    }
    s->flight->pieces++;
}

/* What comes before the first content is held back, so it needs a bound of its own: nobody reads yet. */
static enum fail hold_back(struct stream *s, const struct sse_event *e)
{
    if (s->flight->state == FLIGHT_WAITING && !flight_has_room(s->flight)) {
        attempt_because(s->flight, s->attempt, "sent more than %zu bytes of events without a token (stream.buffer)", s->flight->buffer_max);
        return FAIL_PROTOCOL;
    }
    return pass_on(s, e);
}

/* For who asks later for the same stream, and with its usage. */
static void keep_usage(struct stream *s, const struct sse_event *e)
{
    bool is_simple = e->name.len == 0 && memchr(e->data.at, '\n', e->data.len) == NULL;
    s->flight->usage_event = text_of(is_simple ? arena_printf(&s->flight->arena, "data: %.*s\n\n", TEXT_ARG(e->data)) : NULL);
    s->flight->is_unfit |= s->flight->usage_event.at == NULL;
}

static enum fail stream_event(struct stream *s, const struct sse_event *e)
{
    if (text_starts(text_trim(e->data), TEXT("[DONE]"))) { /* whatever follows it: no JSON begins so, and the official SDKs end here too */
        s->done = true;
        return OK;
    }
    enum event_kind kind = event_kind(s, e);
    s->events += kind != EVENT_BAD;
    switch (kind) {
    case EVENT_BAD:
        COUNT(s->worker, stream_events_dropped);
        s->flight->is_unfit = true; /* it may have been content */
        return OK;
    case EVENT_NO_MEMORY:
        return FAIL_NO_MEMORY; /* left out, the answer would be short of a token, and end well */
    case EVENT_ERROR:
        return FAIL_UPSTREAM;
    case EVENT_USAGE_ONLY:
        keep_usage(s, e);
        return s->call->usage_wanted ? hold_back(s, e) : OK;
    case EVENT_CONTENT:
        content_came(s);
        return pass_on(s, e);
    case EVENT_QUIET:
        return hold_back(s, e);
    }
    return OK;
}

static enum fail stream_sink(void *arg, struct text bytes)
{
    struct stream *s = arg;
    struct sse_event e;
    size_t eaten;
    if (s->call->lost)
        return FAIL_CANCELLED;
    while (bytes.len > 0 && !s->done) { /* what follows [DONE] is nobody's */
        enum fail f = sse_feed(&s->reader, bytes, &eaten, &e);
        if (f != OK)
            return f == FAIL_TOO_LARGE ? FAIL_PROTOCOL : f;
        bytes.at += eaten;
        bytes.len -= eaten;
        if (!e.found)
            return OK;
        f = stream_event(s, &e);
        if (f != OK)
            return f;
    }
    return OK;
}

/* Reads on behind [DONE], so that the connection can be used again. No client waits for this: the flight has ended. */
static void read_remains(struct task *t, struct stream *s, struct conn *c)
{
    nanos until = t->worker->now + DONE_GRACE_NS;
    while (!c->ended && conn_body(t, c, until, stream_sink, s) == OK)
        ;
}

static enum fail finish(struct task *t, struct stream *s, struct conn *c)
{
    if (!s->done && !is_finished(s)) {
        attempt_because(s->flight, s->attempt, "its stream ended without a finish_reason or [DONE]");
        return FAIL_RESET;
    }
    if (s->flight->state == FLIGHT_WAITING)
        content_came(s); /* an answer without content is an answer: zero tokens were asked for, or chosen */
    enum fail f = flight_append(s->flight, TEXT("data: [DONE]\n\n"));
    if (f != OK)
        return f;
    s->flight->is_checked = true;
    s->flight->is_unfit |= !is_fit(s);
    flight_end(s->flight, OK);
    if (!s->broken)
        read_remains(t, s, c);
    return OK;
}

enum fail stream_read(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, nanos deadline)
{
    struct stream s = { .call = call, .flight = call->flight, .attempt = a, .worker = t->worker };
    enum fail f = OK;
    uint64_t seen = 0;
    sse_reader_init(&s.reader, SSE_LINE_BYTES_MAX);
    while (f == OK && !c->ended && !s.done) {
        f = conn_body(t, c, deadline, stream_sink, &s);
        if (f != OK && s.done) { /* had [DONE] come in a read of its own, nobody would know */
            s.broken = true;
            f = OK;
        }
        if (f == OK && s.flight->state == FLIGHT_OPEN) {
            nanos came = t->worker->now;
            f = flight_wait_room(t, s.flight);
            if (s.events != seen || t->worker->now != came) /* comments and broken lines are no tokens; what our reader took is not the backend's time */
                deadline = t->worker->now + call->conf->timeouts.between_tokens;
            seen = s.events;
        }
    }
    if (f == OK && call->lost)
        f = FAIL_CANCELLED;
    if (f == OK)
        f = finish(t, &s, c);
    sse_reader_fini(&s.reader);
    return f;
}
