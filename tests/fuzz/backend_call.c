/* backend_call.c: see backend_call.h. The oracle:
   - a plain 200 is the backend's whole body, byte for byte, and an object
   - a stream is whole events in the backend's order; its content is the backend's; usage that the client did not ask for is left out; it ends in [DONE] only if the backend's did, or said finish_reason
   - all else ends in an error the client can see: a status, an error event, or a connection without its regular end
   - what is whole and good at the backend is never refused
   - a second request on the same client connection gets the honest answer that was made for it, whatever the first left on the backend's */
#include "fuzz/backend_call.h"
#include "base/json.h"
#include "fuzz/meeting.h"
#include "net/sse.h"

#define LINE_MAX_KNOWN (1u << 20) /* longer than any input */

static const char ask_plain[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: 42\r\n\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}";
static const char ask_stream[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: 56\r\n\r\n{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\"}]}";

/* One message, read to its end. */
struct message {
    bool has_head, is_whole; /* is_whole: it had its regular end */
    int status;
    bool chunked;
    struct text type, coding;
    struct buf body;
    struct text rest;        /* behind it */
};

static void message_read(struct message *m, struct arena *arena, struct text in, bool eof)
{
    static const struct http_parse_limits limits = { 65536, 0, HTTP_HEADERS_MAX };
    struct http_parser p;
    struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
    size_t eaten;
    *m = (struct message){ 0 };
    buf_init(&m->body, 64u << 20);
    http_parser_init(&p, HTTP_KIND_RESPONSE, &limits);
    http_parser_begin(&p, arena);
    do {
        enum fail f = http_parse(&p, in, &eaten, &e);
        in = (struct text){ in.at + eaten, in.len - eaten };
        if (f != OK)
            return;
        if (e.kind == HTTP_GOT_HEAD) {
            m->has_head = true;
            m->status = p.head->status;
            m->chunked = p.head->chunked;
            m->type = http_head_get(p.head, HEADER_CONTENT_TYPE);
            m->coding = http_head_get(p.head, HEADER_CONTENT_ENCODING);
        } else if (e.kind == HTTP_GOT_BODY) {
            told(buf_add_text(&m->body, e.body));
        }
    } while (e.kind != HTTP_NEED_MORE && e.kind != HTTP_GOT_END);
    m->is_whole = e.kind == HTTP_GOT_END || (m->has_head && eof && http_parse_eof(&p, &e) == OK);
    m->rest = in;
}

/* ---- events ---- */

struct events {
    struct buf content;  /* of the first choice, one after the other */
    unsigned count;
    bool done, finished; /* [DONE]; a finish_reason */
    bool failed;         /* an error event: what follows is nobody's */
    bool has_usage;      /* an event of nothing else: weir asked for it, our client did not */
    bool clean;          /* the last event was whole */
};

static void take_event(struct events *ev, struct text data)
{
    if (text_eq(text_trim(data), TEXT("[DONE]"))) {
        ev->done = true;
        return;
    }
    yyjson_doc *doc = yyjson_read(data.at, data.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *error = yyjson_obj_get(root, "error");
    yyjson_val *choice = yyjson_arr_get_first(yyjson_obj_get(root, "choices")), *text = yyjson_obj_get(yyjson_obj_get(choice, "delta"), "content");
    struct arena arena;
    yyjson_doc *ours;
    arena_init(&arena, NULL, 0, 16u << 20);
    bool is_read = json_parse(&arena, data, &ours, NULL) == OK; /* its bounds (depth) are part of what a bad line is */
    arena_fini(&arena);
    if (is_read && yyjson_is_obj(root)) {
        ev->count++;
        ev->failed = error != NULL && !yyjson_is_null(error);
        if (!ev->failed && yyjson_is_str(text))
            told(buf_add(&ev->content, yyjson_get_str(text), yyjson_get_len(text)));
        size_t i, n;
        yyjson_val *one, *choices = yyjson_obj_get(root, "choices");
        ev->has_usage = ev->has_usage || (!ev->failed && yyjson_is_obj(yyjson_obj_get(root, "usage")) && yyjson_arr_size(choices) == 0);
        yyjson_arr_foreach(choices, i, n, one)
            ev->finished = ev->finished || (!ev->failed && yyjson_is_str(yyjson_obj_get(one, "finish_reason")));
    }
    yyjson_doc_free(doc);
}

static void events_read(struct events *ev, struct text in)
{
    struct sse_reader r;
    struct sse_event e;
    size_t eaten;
    *ev = (struct events){ 0 };
    buf_init(&ev->content, 64u << 20);
    sse_reader_init(&r, LINE_MAX_KNOWN);
    while (in.len > 0 && !ev->done && !ev->failed) {
        told(sse_feed(&r, in, &eaten, &e));
        in = (struct text){ in.at + eaten, in.len - eaten };
        if (e.found)
            take_event(ev, e.data);
    }
    ev->clean = in.len == 0 && sse_is_clean_end(&r);
    sse_reader_fini(&r);
}

/* ---- what must hold ---- */

static bool is_object(struct text body, bool *out_has_error)
{
    struct arena arena;
    yyjson_doc *doc;
    arena_init(&arena, NULL, 0, 16u << 20);
    bool is = json_parse(&arena, body, &doc, NULL) == OK && yyjson_is_obj(yyjson_doc_get_root(doc));
    yyjson_val *error = is ? yyjson_obj_get(yyjson_doc_get_root(doc), "error") : NULL;
    *out_has_error = error != NULL && !yyjson_is_null(error);
    arena_fini(&arena);
    return is;
}

static bool is_identity(const struct message *m) { return m->coding.at == NULL || text_eq_nocase(m->coding, TEXT("identity")); }

static void check_plain(const struct message *back, const struct message *told_client)
{
    bool has_error;
    bool is = is_object(buf_text(&back->body), &has_error);
    bool is_good = back->is_whole && back->status == 200 && is_identity(back) && text_starts(back->type, TEXT("application/json")) && is && !has_error;
    ASSERT(!is_good || told_client->status == 200);
    if (told_client->status >= 500)
        return;
    ASSERT(told_client->is_whole);
    ASSERT(back->is_whole && is && told_client->status == back->status);
    ASSERT(text_eq(buf_text(&back->body), buf_text(&told_client->body)));
}

static void check_stream(const struct message *back, const struct message *told_client)
{
    struct events sent, came;
    events_read(&sent, buf_text(&back->body));
    events_read(&came, buf_text(&told_client->body));
    ASSERT(came.clean); /* never half an event, nothing behind the last */
    ASSERT(!came.has_usage);
    struct text a = buf_text(&came.content), b = buf_text(&sent.content);
    ASSERT(a.len <= b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0));
    if (came.done) {
        ASSERT(told_client->is_whole && !came.failed);
        ASSERT(!sent.failed && (sent.done || (sent.finished && back->is_whole)));
        ASSERT(a.len == b.len);
    } else {
        ASSERT(!told_client->is_whole && came.failed);
        ASSERT(!sent.done && !(sent.finished && back->is_whole));
    }
    buf_fini(&sent.content);
    buf_fini(&came.content);
}

/* A stream of a backend that ends as it should must reach the client. */
static bool is_good_stream(const struct message *back)
{
    struct events sent;
    if (back->status != 200 || !is_identity(back) || !text_starts(back->type, TEXT("text/event-stream")))
        return false;
    events_read(&sent, buf_text(&back->body));
    buf_fini(&sent.content);
    return !sent.failed && (sent.done || (sent.finished && back->is_whole));
}

static void check_first(const struct meeting *m, struct text backend, bool closes)
{
    struct arena arena;
    struct message back, client;
    arena_init(&arena, NULL, 0, 16u << 20);
    message_read(&back, &arena, backend, closes);
    message_read(&client, &arena, buf_text(&m->heard), m->finished);
    ASSERT(client.has_head && client.rest.len == 0);
    ASSERT(!is_good_stream(&back) || client.status == 200);
    if (client.status == 200 && text_starts(client.type, TEXT("text/event-stream")))
        check_stream(&back, &client);
    else
        check_plain(&back, &client);
    buf_fini(&back.body);
    buf_fini(&client.body);
    arena_fini(&arena);
}

static void check_again(const struct meeting *m, bool stream)
{
    struct arena arena;
    struct message honest, client;
    struct buf due;
    if (m->finished_before) /* the first answer was cut */
        return;
    arena_init(&arena, NULL, 0, 1u << 20);
    buf_init(&due, 4096);
    ASSERT(m->requests_count == 2);
    meeting_honest_answer(&due, 1, stream);
    message_read(&honest, &arena, buf_text(&due), false);
    message_read(&client, &arena, buf_text(&m->heard_again), false);
    ASSERT(client.is_whole && client.status == 200 && client.rest.len == 0);
    ASSERT(text_eq(buf_text(&honest.body), buf_text(&client.body)));
    buf_fini(&honest.body);
    buf_fini(&client.body);
    buf_fini(&due);
    arena_fini(&arena);
}

void backend_call(struct text backend, struct cutter cut, bool closes, bool stream)
{
    static struct meeting m;
    const char *ask = stream ? ask_stream : ask_plain;
    m = (struct meeting){
        .client = text_of(ask), .client_cuts = { .next = cut_never }, .again = ask,
        .backend = backend.at != NULL ? backend : TEXT(""), .backend_cuts = cut, .backend_closes = closes,
    };
    meeting_run(&m);
    check_first(&m, backend, closes);
    check_again(&m, stream);
    meeting_fini(&m);
}
