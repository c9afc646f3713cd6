/* stream.c: an event stream on its way through: each event is looked into (content? usage? error? the end?) and passed on as it came.
   A line that is no JSON is left out, not passed on: one bad line must not kill a client's whole stream. */
#include "upstream/stream.h"
#include "upstream/answer.h"
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
    uint64_t events;   /* of any kind */
    bool done;         /* [DONE] came */
    bool finished;     /* a finish_reason came */
    nanos last;        /* when the last content came */
};

enum event_kind { EVENT_BAD, EVENT_UNREAD, EVENT_QUIET, EVENT_CONTENT, EVENT_USAGE_ONLY, EVENT_ERROR };

static bool is_text(yyjson_val *v) { return yyjson_is_str(v) && yyjson_get_len(v) > 0; }
static bool is_filled(yyjson_val *v) { return is_text(v) || (yyjson_is_arr(v) && yyjson_arr_size(v) > 0) || (yyjson_is_obj(v) && yyjson_obj_size(v) > 0); }

/* Does this choice carry something a reader would see: text, reasoning, a tool call, a refusal? Any field of the delta but its role counts, so that new ones do too. */
static bool choice_has_content(yyjson_val *choice)
{
    size_t i, n;
    yyjson_val *key, *value, *delta = yyjson_obj_get(choice, "delta");
    if (is_text(yyjson_obj_get(choice, "text")))
        return true;
    yyjson_obj_foreach(delta, i, n, key, value)
        if (!yyjson_equals_str(key, "role") && is_filled(value))
            return true;
    return false;
}

static void take_error(struct stream *s, yyjson_val *error)
{
    yyjson_val *message = yyjson_is_obj(error) ? yyjson_obj_get(error, "message") : error;
    const char *text = yyjson_is_str(message) ? yyjson_get_str(message) : "it did not say why";
    attempt_because(s->flight, s->attempt, "sent an error in its stream: %s", text);
}

static enum event_kind look_into(struct stream *s, yyjson_val *root)
{
    size_t i, n;
    yyjson_val *choice, *choices = yyjson_obj_get(root, "choices"), *usage = yyjson_obj_get(root, "usage"), *error = yyjson_obj_get(root, "error");
    bool content = false;
    if (!yyjson_is_obj(root))
        return EVENT_BAD;
    if (error != NULL && !yyjson_is_null(error)) {
        take_error(s, error);
        return EVENT_ERROR;
    }
    yyjson_arr_foreach(choices, i, n, choice) {
        s->finished = s->finished || yyjson_is_str(yyjson_obj_get(choice, "finish_reason"));
        content = content || choice_has_content(choice);
    }
    if (yyjson_is_obj(usage)) {
        answer_take_usage(s->flight, usage);
        if (yyjson_arr_size(choices) == 0)
            return EVENT_USAGE_ONLY;
    }
    return content || s->finished ? EVENT_CONTENT : EVENT_QUIET;
}

static enum event_kind event_kind(struct stream *s, struct text data)
{
    struct arena arena;
    yyjson_doc *doc;
    size_t room;
    char *pool = conns_json_pool(s->call->conns, &room);
    arena_init(&arena, pool, room, SSE_LINE_BYTES_MAX * 4);
    enum event_kind kind = EVENT_BAD;
    enum fail f = json_parse(&arena, data, &doc, NULL);
    if (f == OK)
        kind = look_into(s, yyjson_doc_get_root(doc));
    else if (f == FAIL_NO_MEMORY)
        kind = EVENT_UNREAD;
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
        s->attempt->first_token = now;
        s->flight->status = 200;
        s->flight->is_stream = true;
        s->flight->content_type = "text/event-stream";
        flight_commit(s->flight);
    }
}

static enum fail stream_event(struct stream *s, const struct sse_event *e)
{
    s->events++;
    if (text_eq(text_trim(e->data), TEXT("[DONE]"))) {
        s->done = true;
        return OK;
    }
    switch (event_kind(s, e->data)) {
    case EVENT_BAD:
        COUNT(s->worker, stream_events_dropped);
        return OK;
    case EVENT_UNREAD:
        return FAIL_NO_MEMORY; /* left out, the answer would be short of a token, and end well */
    case EVENT_ERROR:
        return FAIL_UPSTREAM;
    case EVENT_USAGE_ONLY:
        return s->call->usage_wanted ? pass_on(s, e) : OK;
    case EVENT_CONTENT:
        content_came(s);
        return pass_on(s, e);
    case EVENT_QUIET:
        return pass_on(s, e);
    }
    return OK;
}

static enum fail stream_sink(void *arg, struct text bytes)
{
    struct stream *s = arg;
    struct sse_event e;
    size_t eaten;
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
    if (!s->done && !s->finished) {
        attempt_because(s->flight, s->attempt, "its stream ended without a finish_reason or [DONE]");
        return FAIL_RESET;
    }
    if (s->flight->state == FLIGHT_WAITING)
        content_came(s); /* an answer without content is an answer: zero tokens were asked for, or chosen */
    enum fail f = flight_append(s->flight, TEXT("data: [DONE]\n\n"));
    if (f != OK)
        return f;
    flight_end(s->flight, OK);
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
        if (f == OK && s.flight->state == FLIGHT_OPEN) {
            nanos came = t->worker->now;
            f = flight_wait_room(t, s.flight);
            if (s.events != seen || t->worker->now != came) /* comments are no tokens; what our reader took is not the backend's time */
                deadline = t->worker->now + call->conf->timeouts.between_tokens;
            seen = s.events;
        }
    }
    if (f == OK)
        f = finish(t, &s, c);
    sse_reader_fini(&s.reader);
    return f;
}
