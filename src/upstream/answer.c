/* answer.c: which kind of answer it is: an event stream, a plain body, or a no. Streams are read in stream.c. */
#include "upstream/answer.h"
#include "upstream/hedge.h"
#include "upstream/stream.h"
#include "base/json.h"
#include "stat/stat.h"
#include <string.h>

#define REFUSAL_NS      NANOS_PER_S           /* for the body of a no, which only makes its message better */
#define RETRY_AFTER_MAX (86400 * NANOS_PER_S) /* a longer one is a day: nobody waits for it */

/* A media type's case says nothing (RFC 9110 section 8.3.1), and parameters may follow it. */
static bool is_type(struct text said, struct text type)
{
    struct text word;
    if (text_eq(said, type))
        return true; /* as nearly all of them write it */
    (void)text_cut(said, ';', &word);
    return text_eq_nocase(text_trim(word), type);
}

static bool is_json(struct text type)
{
    return is_type(type, TEXT("application/json")) || is_type(type, TEXT("application/problem+json"));
}

/* Statuses after which another backend may do better: the backend's own trouble, and what is between it and us (our key there, its models). */
static bool is_backends_trouble(int status)
{
    return status >= 500 || status == 401 || status == 403 || status == 404 || status == 408 || status == 429 || (status >= 300 && status < 400) || status < 200;
}

/* ---- a plain body ---- */

static enum fail plain_sink(void *arg, struct text bytes)
{
    struct call *call = arg;
    return call->lost ? FAIL_CANCELLED : flight_append(call->flight, bytes);
}

void answer_take_usage(struct flight *fl, yyjson_val *usage)
{
    yyjson_val *in = yyjson_obj_get(usage, "prompt_tokens"), *out = yyjson_obj_get(usage, "completion_tokens");
    if (yyjson_is_uint(in))
        fl->prompt_tokens = (int64_t)yyjson_get_uint(in);
    if (yyjson_is_uint(out))
        fl->completion_tokens = (int64_t)yyjson_get_uint(out);
}

/* {"error":{"message":…}}, {"error":"…"}, {"object":"error","message":…} or {"detail":"…"}. */
struct text answer_error_text(yyjson_val *root)
{
    yyjson_val *error = yyjson_obj_get(root, "error");
    yyjson_val *message = yyjson_is_str(error) ? error : yyjson_obj_get(yyjson_is_obj(error) ? error : root, "message");
    if (!yyjson_is_str(message))
        message = yyjson_obj_get(root, "detail");
    return yyjson_is_str(message) ? (struct text){ yyjson_get_str(message), yyjson_get_len(message) } : TEXT_NONE;
}

bool answer_is_error(yyjson_val *root)
{
    yyjson_val *error = yyjson_obj_get(root, "error");
    return (error != NULL && !yyjson_is_null(error)) || yyjson_equals_str(yyjson_obj_get(root, "object"), "error");
}

bool answer_is_spoilt(yyjson_val *choice)
{
    yyjson_val *message = yyjson_obj_get(choice, "message"), *error = yyjson_obj_get(choice, "error");
    yyjson_val *refusal = yyjson_obj_get(message != NULL ? message : yyjson_obj_get(choice, "delta"), "refusal");
    return yyjson_get_len(refusal) > 0 || (error != NULL && !yyjson_is_null(error));
}

bool answer_ends_whole(yyjson_val *finish)
{
    struct text word = { yyjson_get_str(finish), yyjson_get_len(finish) };
#define FINISH(name, why) if (text_eq(word, TEXT(#name))) return true;
#include "upstream/finish.def"
#undef FINISH
    return false;
}

/* Has it choices, and did all of them come to a good end? Errors that no rule above knows for one have none. */
static bool is_fit(yyjson_val *root)
{
    size_t i, n;
    yyjson_val *choice, *choices = yyjson_obj_get(root, "choices");
    yyjson_arr_foreach(choices, i, n, choice)
        if (answer_is_spoilt(choice) || !answer_ends_whole(yyjson_obj_get(choice, "finish_reason")))
            return false;
    return yyjson_arr_size(choices) > 0;
}

/* A whole 2xx body must be a JSON object, and no error in disguise. */
static enum fail check_plain(struct call *call, struct attempt_story *a)
{
    struct flight *fl = call->flight;
    size_t room;
    char *pool = conns_json_pool(call->conns, &room);
    struct arena arena;
    yyjson_doc *doc;
    if (fl->unread > USAGE_PARSE_BYTES_MAX)
        return OK; /* passed on as it is */
    enum fail f = flight_gather(fl);
    if (f != OK)
        return f;
    arena_init(&arena, pool, room, 16u << 20);
    f = json_parse(&arena, flight_peek(fl), &doc, NULL);
    if (f == FAIL_BAD_JSON || (f == OK && !yyjson_is_obj(yyjson_doc_get_root(doc)))) {
        attempt_because(fl, a, "answered %d with a body that is no JSON object", a->status);
        f = FAIL_PROTOCOL;
    } else if (f == OK) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        answer_take_usage(fl, yyjson_obj_get(root, "usage"));
        fl->is_unfit = call->fields != FIELD_EMBEDDING && !is_fit(root); /* what becomes of vectors, items.c knows */
        if (a->status < 400 && answer_is_error(root)) {
            attempt_because(fl, a, "answered %d with an error: %.*s", a->status, TEXT_ARG(border_words(call->slot.endpoint, answer_error_text(root))));
            f = FAIL_UPSTREAM;
        }
        fl->is_checked = f == OK; /* if not, the next one's answer may be too long to be looked into */
    }
    arena_fini(&arena);
    return f;
}

/* Only now is the status the client's: an attempt that breaks before has not begun an answer. */
static struct flight *commit_plain(struct call *call, struct attempt_story *a, nanos now, int64_t length)
{
    hedge_commits(call);
    struct flight *fl = call->flight;
    fl->length = length;
    fl->status = a->status;
    fl->content_type = "application/json";
    a->first_token = now;
    flight_commit(fl);
    return fl;
}

/* A body that drips never falls silent: as long as nothing of it is the client's, the deadline for its first token holds for the whole of it. */
static enum fail too_slow(struct call *call, struct attempt_story *a, enum fail f, bool is_silent)
{
    char span[24];
    if (f != FAIL_TIMEOUT || call->flight->unread == 0 || call->flight->state != FLIGHT_WAITING)
        return f;
    if (is_silent)
        attempt_because(call->flight, a, "fell silent for %s in the middle of its answer (timeouts.between_tokens)",
                        nanos_print(call->conf->timeouts.between_tokens, span));
    else
        attempt_because(call->flight, a, "its answer was not complete in the time for a first token (timeouts.first_token)");
    return f;
}

static enum fail read_plain(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos whole_by)
{
    struct flight *fl = call->flight;
    nanos deadline = whole_by;
    size_t hold_max = fl->buffer_max; /* more than this is committed and streamed through */
    if (head->content_length > 0 && (uint64_t)head->content_length <= hold_max) {
        enum fail f = flight_reserve(fl, (size_t)head->content_length);
        if (f != OK)
            return f;
    }
    while (!c->ended) {
        enum fail f = conn_body(t, c, deadline, plain_sink, call);
        if (f == OK && call->lost)
            f = FAIL_CANCELLED;
        if (f != OK)
            return too_slow(call, a, f, deadline < whole_by);
        if (!c->ended && fl->unread >= hold_max && fl->state == FLIGHT_WAITING && a->status >= 400) {
            attempt_because(fl, a, "answered %d with more words than stream.buffer holds", a->status); /* nobody could look through them */
            return FAIL_PROTOCOL;
        }
        if (!c->ended && fl->unread >= hold_max && fl->state == FLIGHT_WAITING) {
            fl = commit_plain(call, a, t->worker->now, head->content_length);
            fl->is_long = true;
        }
        if (!c->ended && (f = flight_wait_room(t, fl)) != OK) /* nobody reads what is whole and not yet committed */
            return f;
        deadline = t->worker->now + call->conf->timeouts.between_tokens; /* a slow reader is not the backend's silence */
        if (fl->state == FLIGHT_WAITING)
            deadline = MIN(deadline, whole_by);
    }
    if (fl->state == FLIGHT_WAITING) {
        enum fail f = a->status >= 400 ? border_error_body(fl, call->slot.endpoint, a->status) : OK;
        if (f == OK)
            f = check_plain(call, a);
        if (f != OK)
            return f;
        fl = commit_plain(call, a, t->worker->now, (int64_t)fl->unread);
    }
    flight_end(fl, OK);
    return OK;
}

/* ---- a no ---- */

static enum fail error_sink(void *arg, struct text bytes)
{
    struct buf *b = arg;
    size_t room = b->max - buf_len(b);
    return buf_add(b, bytes.at, MIN(room, bytes.len)); /* the rest of a long complaint is not needed */
}

/* When to come back, from now; -1 if it is not said, or in a form nobody knows. A date counts from the answer's own, if it has one: clocks differ. */
static nanos retry_after_of(const struct http_head *head, nanos wall)
{
    struct text said = http_head_get(head, HEADER_RETRY_AFTER);
    int64_t at, from;
    uint64_t n;
    if (text_to_u64(http_head_find(head, TEXT("retry-after-ms")), INT64_MAX, &n))
        return (nanos)MIN(n, RETRY_AFTER_MAX / NANOS_PER_MS) * NANOS_PER_MS;
    if (text_to_u64(said, INT64_MAX, &n))
        return (nanos)MIN(n, RETRY_AFTER_MAX / NANOS_PER_S) * NANOS_PER_S;
    if (!http_date_read(said, &at))
        return -1;
    if (!http_date_read(http_head_get(head, HEADER_DATE), &from))
        from = wall / NANOS_PER_S;
    return MIN(MAX(at - from, 0), RETRY_AFTER_MAX / NANOS_PER_S) * NANOS_PER_S;
}

static enum fail read_refusal(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos deadline)
{
    struct buf body;
    struct arena arena;
    yyjson_doc *doc;
    enum fail f = OK;
    deadline = MIN(deadline, t->worker->now + REFUSAL_NS);
    buf_init(&body, ANSWER_ERROR_BYTES_MAX);
    while (f == OK && !c->ended && buf_len(&body) < body.max)
        f = conn_body(t, c, deadline, error_sink, &body);
    arena_init(&arena, NULL, 0, 1u << 20);
    struct text message = TEXT_NONE;
    if (f == OK && json_parse(&arena, buf_text(&body), &doc, NULL) == OK)
        message = border_words(call->slot.endpoint, answer_error_text(yyjson_doc_get_root(doc)));
    attempt_because(call->flight, a, "answered %d%s%.*s", head->status, message.len > 0 ? ": " : "", TEXT_ARG(message));
    arena_fini(&arena);
    buf_fini(&body);
    nanos retry = retry_after_of(head, t->worker->wall);
    a->retry_after = retry;
    if (retry >= 0)
        call->flight->retry_after = MAX(call->flight->retry_after, retry);
    return t->cancel != OK ? t->cancel : FAIL_UPSTREAM;
}

enum fail answer_read(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos deadline)
{
    struct text type = http_head_get(head, HEADER_CONTENT_TYPE);
    if (call->lost) /* within this turn, so the head was read all the same */
        return FAIL_CANCELLED;
    if (is_backends_trouble(head->status))
        return read_refusal(t, call, a, c, head, deadline);
    if (http_head_has(head, HEADER_CONTENT_ENCODING) && !text_eq_nocase(http_head_get(head, HEADER_CONTENT_ENCODING), TEXT("identity"))) {
        attempt_because(call->flight, a, "answered in an encoding nobody asked for");
        return FAIL_PROTOCOL;
    }
    if (call->stream && head->status < 400 && is_type(type, TEXT("text/event-stream")))
        return stream_read(t, call, a, c, deadline);
    if (!is_json(type)) {
        type = border_words(call->slot.endpoint, type);
        attempt_because(call->flight, a, "answered %d with %.*s where JSON was due", head->status, (int)MIN(type.len, 60u), type.at != NULL ? type.at : "no type");
        return FAIL_PROTOCOL;
    }
    if (call->stream && head->status < 400) { /* who reads events finds none in it, and takes that for a whole answer without a word */
        attempt_because(call->flight, a, "answered %d in one piece where a stream was due", head->status);
        return FAIL_PROTOCOL;
    }
    return read_plain(t, call, a, c, head, deadline);
}
