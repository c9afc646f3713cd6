/* answer.c: which kind of answer it is: an event stream, a plain body, or a no. Streams are read in stream.c. */
#include "upstream/answer.h"
#include "upstream/stream.h"
#include "base/json.h"
#include "stat/stat.h"
#include <string.h>

static bool is_json(struct text type)
{
    return text_starts(type, TEXT("application/json")) || text_starts(type, TEXT("application/problem+json"));
}

/* Statuses after which another backend may do better: the backend's own trouble, and what is between it and us (our key there, its models). */
static bool is_backends_trouble(int status)
{
    return status >= 500 || status == 401 || status == 403 || status == 404 || status == 408 || status == 429 || (status >= 300 && status < 400) || status < 200;
}

/* ---- a plain body ---- */

struct plain {
    struct flight *flight;
    struct call *call;
    size_t hold_max;  /* more than this is committed and streamed through */
};

static enum fail plain_sink(void *arg, struct text bytes)
{
    struct plain *p = arg;
    return flight_append(p->flight, bytes);
}

void answer_take_usage(struct flight *fl, yyjson_val *usage)
{
    yyjson_val *in = yyjson_obj_get(usage, "prompt_tokens"), *out = yyjson_obj_get(usage, "completion_tokens");
    if (yyjson_is_uint(in))
        fl->prompt_tokens = (int64_t)yyjson_get_uint(in);
    if (yyjson_is_uint(out))
        fl->completion_tokens = (int64_t)yyjson_get_uint(out);
}

/* The message of {"error":{"message":…}}, {"error":"…"} or {"detail":"…"}; at == NULL if there is none. */
static struct text error_message(yyjson_val *root)
{
    yyjson_val *error = yyjson_obj_get(root, "error");
    yyjson_val *message = yyjson_is_obj(error) ? yyjson_obj_get(error, "message") : error;
    if (!yyjson_is_str(message))
        message = yyjson_obj_get(root, "detail");
    return yyjson_is_str(message) ? (struct text){ yyjson_get_str(message), yyjson_get_len(message) } : TEXT_NONE;
}

/* A whole 2xx body must be a JSON object, and no error in disguise. */
static enum fail check_plain(struct call *call, struct attempt_story *a)
{
    struct flight *fl = call->flight;
    size_t room;
    char *pool = conns_json_pool(call->conns, &room);
    struct text body = flight_peek(fl);
    struct arena arena;
    yyjson_doc *doc;
    if (body.len != fl->unread || body.len > USAGE_PARSE_BYTES_MAX)
        return OK; /* in pieces or large: passed on as it is */
    arena_init(&arena, pool, room, 16u << 20);
    enum fail f = json_parse(&arena, body, &doc, NULL);
    if (f == FAIL_NO_MEMORY) {
        arena_fini(&arena);
        return f;
    }
    if (f != OK || !yyjson_is_obj(yyjson_doc_get_root(doc))) {
        attempt_because(fl, a, "answered %d with a body that is no JSON object", a->status);
        f = FAIL_PROTOCOL;
    } else {
        yyjson_val *root = yyjson_doc_get_root(doc), *error = yyjson_obj_get(root, "error");
        answer_take_usage(fl, yyjson_obj_get(root, "usage"));
        if (error != NULL && !yyjson_is_null(error) && a->status < 400) {
            attempt_because(fl, a, "answered %d with an error: %.*s", a->status, TEXT_ARG(error_message(root)));
            f = FAIL_UPSTREAM;
        }
    }
    arena_fini(&arena);
    return f;
}

/* Only now is the status the client's: an attempt that breaks before has not begun an answer. */
static void commit_plain(struct flight *fl, struct attempt_story *a, nanos now)
{
    fl->status = a->status;
    fl->content_type = "application/json";
    a->first_token = now;
    flight_commit(fl);
}

static enum fail read_plain(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos deadline)
{
    struct flight *fl = call->flight;
    struct plain p = { fl, call, fl->buffer_max };
    if (head->content_length > 0 && (uint64_t)head->content_length <= p.hold_max) {
        enum fail f = flight_reserve(fl, (size_t)head->content_length);
        if (f != OK)
            return f;
    }
    while (!c->ended) {
        enum fail f = conn_body(t, c, deadline, plain_sink, &p);
        if (f != OK)
            return f;
        if (!c->ended && fl->unread >= p.hold_max && fl->state == FLIGHT_WAITING) {
            fl->is_long = true;
            fl->length = head->content_length;
            commit_plain(fl, a, t->worker->now);
        }
        if (!c->ended && (f = flight_wait_room(t, fl)) != OK) /* nobody reads what is whole and not yet committed */
            return f;
        deadline = t->worker->now + call->conf->timeouts.between_tokens; /* a slow reader is not the backend's silence */
    }
    if (fl->state == FLIGHT_WAITING) {
        enum fail f = check_plain(call, a);
        if (f != OK)
            return f;
        fl->length = (int64_t)fl->unread;
        commit_plain(fl, a, t->worker->now);
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

static nanos retry_after_of(const struct http_head *head)
{
    uint64_t n;
    if (text_to_u64(http_head_find(head, TEXT("retry-after-ms")), 86400000, &n))
        return (nanos)n * NANOS_PER_MS;
    if (text_to_u64(http_head_get(head, HEADER_RETRY_AFTER), 86400, &n))
        return (nanos)n * NANOS_PER_S;
    return -1;
}

static enum fail read_refusal(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos deadline)
{
    struct buf body;
    struct arena arena;
    yyjson_doc *doc;
    enum fail f = OK;
    buf_init(&body, ANSWER_ERROR_BYTES_MAX);
    while (f == OK && !c->ended && buf_len(&body) < body.max)
        f = conn_body(t, c, deadline, error_sink, &body);
    arena_init(&arena, NULL, 0, 1u << 20);
    struct text message = TEXT_NONE;
    if (f == OK && json_parse(&arena, buf_text(&body), &doc, NULL) == OK)
        message = error_message(yyjson_doc_get_root(doc));
    attempt_because(call->flight, a, "answered %d%s%.*s", head->status, message.len > 0 ? ": " : "", TEXT_ARG(message));
    arena_fini(&arena);
    buf_fini(&body);
    nanos retry = retry_after_of(head);
    if (retry >= 0)
        call->flight->retry_after = MAX(call->flight->retry_after, retry);
    return t->cancel != OK ? t->cancel : FAIL_UPSTREAM;
}

enum fail answer_read(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos deadline)
{
    struct text type = http_head_get(head, HEADER_CONTENT_TYPE);
    if (is_backends_trouble(head->status))
        return read_refusal(t, call, a, c, head, deadline);
    if (http_head_has(head, HEADER_CONTENT_ENCODING) && !text_eq_nocase(http_head_get(head, HEADER_CONTENT_ENCODING), TEXT("identity"))) {
        attempt_because(call->flight, a, "answered in an encoding nobody asked for");
        return FAIL_PROTOCOL;
    }
    if (text_starts(type, TEXT("text/event-stream")))
        return stream_read(t, call, a, c, deadline);
    if (!is_json(type)) {
        attempt_because(call->flight, a, "answered %d with %.*s where JSON was due", head->status, (int)MIN(type.len, 60u), type.at != NULL ? type.at : "no type");
        return FAIL_PROTOCOL;
    }
    return read_plain(t, call, a, c, head, deadline);
}
