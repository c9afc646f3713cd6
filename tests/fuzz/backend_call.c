/* backend_call.c: see backend_call.h. What must hold: the client is told what the reading says is due, to the byte, no more and no less:
   - a failure: its status, and an error of weir's own
   - a body: its status and bytes; cut where the backend's was, and then without a regular end
   - a stream: each event that is due, in order, then [DONE], or an error event and no regular end
   - in none of weir's own words stands half of the backend's key
   - a second request on the same client connection gets the honest answer that was made for it, whatever the first left on the backend's. */
#include "fuzz/backend_call.h"
#include "fuzz/meeting.h"
#include "net/sse.h"

#define EVENT_MAX_KNOWN (1u << 20) /* longer than any answer here */

#define CHAT(length, fields) "content-length: " length "\r\n\r\n{\"model\":\"m\"," fields "\"messages\":[{\"role\":\"user\"}]}"
#define TO "POST /v1/chat/completions "
static const char *const asks[ASK_COUNT] = {
    [ASK_PLAIN] = TO "HTTP/1.1\r\nhost: w\r\n" CHAT("42", ""),
    [ASK_STREAM] = TO "HTTP/1.1\r\nhost: w\r\n" CHAT("56", "\"stream\":true,"),
    [ASK_STREAM_OLD] = TO "HTTP/1.0\r\n" CHAT("56", "\"stream\":true,"),
};

/* ---- events ---- */

struct events {
    struct buf notes;
    bool done, failed; /* [DONE]; an error event of weir's */
    bool clean;        /* the last event was whole, and nothing is behind it */
};

static bool is_our_error(struct text data)
{
    yyjson_doc *doc = yyjson_read(data.at, data.len, 0);
    bool is = yyjson_get_len(yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "error"), "request_id")) == 24;
    yyjson_doc_free(doc);
    return is;
}

static void events_read(struct events *ev, struct text in)
{
    struct sse_reader r;
    struct sse_event e;
    size_t eaten;
    *ev = (struct events){ 0 };
    buf_init(&ev->notes, 64u << 20);
    sse_reader_init(&r, EVENT_MAX_KNOWN);
    while (in.len > 0 && !ev->done && !ev->failed) {
        told(sse_feed(&r, in, &eaten, &e));
        in = (struct text){ in.at + eaten, in.len - eaten };
        if (!e.found)
            break;
        ev->done = text_eq(e.data, TEXT("[DONE]"));
        ev->failed = is_our_error(e.data);
        if (ev->failed)
            ASSERT(!tells_key(e.data));
        else if (!ev->done)
            event_note(&ev->notes, e.name, e.data);
    }
    ev->clean = in.len == 0 && sse_is_clean_end(&r);
    sse_reader_fini(&r);
}

/* ---- what must hold ---- */

static void check_failure(const struct due *due, const struct message *client)
{
    struct text body = buf_text(&client->body);
    ASSERT(client->status == due->status && client->is_whole);
    ASSERT(is_our_error(body) && !tells_key(body));
}

static void check_body(const struct due *due, const struct message *client)
{
    struct text body = buf_text(&client->body);
    ASSERT(client->status == due->status && client->is_whole == due->is_whole);
    ASSERT(text_starts(client->type, TEXT("application/json")));
    if (due->is_withheld)
        ASSERT(!tells_key(body) && text_find(body, TEXT("\"code\":\"withheld\"")) >= 0);
    else
        ASSERT(text_eq(body, buf_text(&due->said)));
}

static void check_events(const struct due *due, const struct message *client)
{
    struct events came;
    ASSERT(client->status == 200 && client->is_whole == due->is_whole);
    ASSERT(text_eq(client->type, TEXT("text/event-stream")));
    events_read(&came, buf_text(&client->body));
    ASSERT(came.clean); /* never half an event, nothing behind the last */
    ASSERT(came.done == due->is_whole && came.failed == !due->is_whole);
    ASSERT(text_eq(buf_text(&came.notes), buf_text(&due->said)));
    buf_fini(&came.notes);
}

static void check_first(const struct meeting *m, const struct backend_play *play)
{
    struct arena arena;
    struct message client;
    struct due due;
    arena_init(&arena, NULL, 0, 1u << 20);
    message_begin(&client, &arena);
    message_feed(&client, buf_text(&m->heard));
    if (m->finished)
        message_eof(&client);
    due_read(&due, play);
    ASSERT(client.has_head && client.rest.len == 0);
    if (due.kind == DUE_FAILURE)
        check_failure(&due, &client);
    else if (due.kind == DUE_BODY)
        check_body(&due, &client);
    else
        check_events(&due, &client);
    due_fini(&due);
    buf_fini(&client.body);
    arena_fini(&arena);
}

static void check_again(const struct meeting *m, enum ask ask)
{
    struct arena arena;
    struct message honest, client;
    struct buf due;
    if (m->finished_before) /* the first answer was cut, or in HTTP/1.0 */
        return;
    arena_init(&arena, NULL, 0, 1u << 20);
    buf_init(&due, 4096);
    ASSERT(m->requests_count == 2);
    meeting_honest_answer(&due, 1, ask != ASK_PLAIN);
    message_begin(&honest, &arena);
    message_feed(&honest, buf_text(&due));
    message_begin(&client, &arena);
    message_feed(&client, buf_text(&m->heard_again));
    ASSERT(client.is_whole && client.status == 200 && client.rest.len == 0);
    ASSERT(text_eq(buf_text(&honest.body), buf_text(&client.body)));
    buf_fini(&honest.body);
    buf_fini(&client.body);
    buf_fini(&due);
    arena_fini(&arena);
}

void backend_call(const struct backend_play *play)
{
    static struct meeting m;
    m = (struct meeting){
        .client = text_of(asks[play->ask]), .client_cuts = { .next = cut_never }, .again = asks[play->ask],
        .backend = play->bytes.at != NULL ? play->bytes : TEXT(""), .backend_cuts = play->cut, .backend_slow = play->slow, .backend_closes = play->closes,
    };
    meeting_run(&m);
    check_first(&m, play);
    check_again(&m, play->ask);
    meeting_fini(&m);
}
