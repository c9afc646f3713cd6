/* fuzz_gateway.c: any bytes as a client's connection to a whole gateway with an honest backend behind it.
   Oracle: read by our parser, the bytes ask for so many answers: so many come, in order, each whole, and after a refusal nothing; what is plainly right is served,
   what is plainly wrong is refused with its status (wish.c);
   the backend is asked with complete requests only, each the body of one of the client's in their order; and nothing stays behind. */
#include "fuzz/meeting.h"
#include "base/json.h"
#include "base/limits.h"
#include "fuzz/wish.h"

/* A request as the reference reading has it. */
struct wish {
    struct text method, path;
    struct buf body;
    bool keep_alive;
    bool is_whole;   /* to its last byte; otherwise its body is cut or wrong */
    bool is_refused; /* its head was: the last one */
    bool is_encoded; /* its body */
    bool is_timed;   /* the client said how long it waits: what comes of it is a question of time */
    bool may_stay_unread; /* its body, if weir answers without having read it: the connection ends then */
};

struct wishes {
    struct wish at[MEETING_REQUESTS_MAX];
    unsigned count;
};

static bool asks_a_model(const struct wish *w)
{
    static const struct text paths[] = { { "/v1/chat/completions", 20 }, { "/v1/completions", 15 }, { "/v1/embeddings", 14 } };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (text_eq(w->path, paths[i]))
            return text_eq(w->method, TEXT("POST"));
    return false;
}

/* The next message of *io_rest into w. False at the end of what can be read: *out_is_wish says whether w counts all the same. */
static bool read_wish(struct http_parser *p, struct text *io_rest, struct wish *w, bool *out_is_wish)
{
    struct http_event e;
    size_t eaten;
    *out_is_wish = false;
    for (;;) {
        enum fail f = http_parse(p, *io_rest, &eaten, &e);
        *io_rest = (struct text){ io_rest->at + eaten, io_rest->len - eaten };
        if (f != OK) {
            w->is_refused = !*out_is_wish;
            if (w->is_refused && p->line_done)
                w->method = p->head->method_text; /* a refusal of HEAD has no body either */
            *out_is_wish = true;
            return false;
        }
        if (e.kind == HTTP_NEED_MORE)
            return false;
        if (e.kind == HTTP_GOT_END)
            return w->is_whole = true;
        if (e.kind == HTTP_GOT_BODY) {
            told(buf_add_text(&w->body, e.body));
            continue;
        }
        *out_is_wish = true;
        w->method = p->head->method_text;
        w->path = p->head->path;
        w->keep_alive = p->head->keep_alive;
        w->is_timed = http_head_has(p->head, HEADER_X_WEIR_TIMEOUT_MS);
        w->is_encoded = http_head_times(p->head, HEADER_CONTENT_ENCODING) > 1 ||
                        (http_head_has(p->head, HEADER_CONTENT_ENCODING) && !text_eq_nocase(http_head_get(p->head, HEADER_CONTENT_ENCODING), TEXT("identity")));
        w->may_stay_unread = (p->head->chunked || p->head->expect_continue) && (!asks_a_model(w) || w->is_timed || w->is_encoded);
    }
}

static void read_wishes(struct arena *a, struct text in, struct wishes *out)
{
    static const struct http_parse_limits limits = { MEETING_HEAD_MAX, TARGET_BYTES_MAX, HTTP_HEADERS_MAX };
    struct http_parser p;
    bool goes_on = true, is_wish = false;
    http_parser_init(&p, HTTP_KIND_REQUEST, &limits);
    while (goes_on) {
        struct wish *w = &out->at[out->count];
        ASSERT(out->count < MEETING_REQUESTS_MAX);
        *w = (struct wish){ 0 };
        buf_init(&w->body, 1u << 20);
        http_parser_begin(&p, a);
        goes_on = read_wish(&p, &in, w, &is_wish);
        if (goes_on || is_wish)
            out->count++;
        else
            buf_fini(&w->body);
        goes_on = goes_on && w->keep_alive;
    }
}

/* What this one must be answered with; 0: that is not said here. */
static int status_due(const struct wish *w)
{
    if (!w->is_whole || w->is_timed || !asks_a_model(w))
        return 0;
    if (w->is_encoded)
        return 415;
    return buf_len(&w->body) > MEETING_BODY_MAX ? 413 : wish_status(w->path, buf_text(&w->body));
}

/* The backend is honest, so nothing is a 502. */
static void check_status(const struct wish *w, int s)
{
    static const int of_heads[] = { 400, 414, 417, 431, 501, 505 }, of_requests[] = { 200, 204, 400, 404, 405, 408, 413, 415, 504 };
    const int *known = w->is_refused ? of_heads : of_requests;
    size_t count = w->is_refused ? ARRAY_LEN(of_heads) : ARRAY_LEN(of_requests), i = 0;
    int due = status_due(w);
    while (i < count && known[i] != s)
        i++;
    ASSERT(i < count);
    ASSERT(due == 0 || s == due);
    ASSERT(s != 408 || !w->is_whole);
    ASSERT(s != 415 || w->is_encoded);
    ASSERT(s != 504 || w->is_timed);
}

/* One answer of *io_rest; true if the connection may go on after it. */
static bool check_answer(const struct meeting *m, const struct wish *w, struct text *io_rest)
{
    static const struct http_parse_limits limits = { 65536, 0, HTTP_HEADERS_MAX };
    struct http_parser p;
    struct arena arena;
    struct http_event e;
    size_t eaten;
    bool keep_alive = false;
    int status = 0;
    arena_init(&arena, NULL, 0, 1u << 20);
    http_parser_init(&p, HTTP_KIND_RESPONSE, &limits);
    http_parser_begin(&p, &arena);
    if (text_eq(w->method, TEXT("HEAD")))
        http_parser_answers_head(&p);
    do {
        told(http_parse(&p, *io_rest, &eaten, &e));
        *io_rest = (struct text){ io_rest->at + eaten, io_rest->len - eaten };
        if (e.kind == HTTP_GOT_HEAD) {
            status = p.head->status;
            keep_alive = p.head->keep_alive;
            ASSERT(http_head_find(p.head, TEXT("x-request-id")).len == 24);
        }
        if (e.kind == HTTP_NEED_MORE) { /* an answer in HTTP/1.0's way ends with the connection */
            ASSERT(io_rest->len == 0 && m->finished);
            told(http_parse_eof(&p, &e));
        }
    } while (e.kind != HTTP_GOT_END);
    arena_fini(&arena);
    check_status(w, status);
    ASSERT(!w->is_refused || !keep_alive);
    return keep_alive;
}

static void check_answers(const struct meeting *m, const struct wishes *wishes)
{
    struct text rest = buf_text(&m->heard);
    bool open = true;
    for (unsigned i = 0; i < wishes->count && open; i++) {
        const struct wish *w = &wishes->at[i];
        if (!w->is_whole && !w->is_refused && rest.len == 0)
            break; /* its body never came: nobody waits so long here */
        bool keeps = check_answer(m, w, &rest);
        bool may_end = !w->keep_alive || w->may_stay_unread || !w->is_whole || buf_len(&w->body) > MEETING_BODY_MAX;
        ASSERT(keeps || may_end);
        open = keeps && w->is_whole && !(m->finished && rest.len == 0 && may_end);
    }
    ASSERT(rest.len == 0);
    ASSERT(!m->broken);
    ASSERT(open || m->finished || !wishes->at[wishes->count - 1].is_whole);
}

/* What weir adds and replaces is left out on both sides; all else must have passed as it was. */
static bool is_made_of(yyjson_val *came, yyjson_val *sent)
{
    size_t i, n;
    yyjson_val *key, *value;
    if (!yyjson_is_obj(sent) || !yyjson_equals_str(yyjson_obj_get(came, "model"), "m"))
        return false;
    yyjson_obj_foreach(sent, i, n, key, value)
        if (!yyjson_equals_str(key, "stream_options") && !yyjson_equals(value, yyjson_obj_getn(came, yyjson_get_str(key), yyjson_get_len(key))))
            return false;
    size_t added = yyjson_obj_size(came) - yyjson_obj_size(sent);
    return added == 0 || (added == 1 && yyjson_obj_get(sent, "stream_options") == NULL && yyjson_obj_get(came, "stream_options") != NULL);
}

static bool is_asked_by(const struct meeting_request *rq, const struct wish *w)
{
    int due = status_due(w);
    if (!w->is_whole || !asks_a_model(w) || !text_eq(w->path, rq->path) || (due != 0 && due != 200))
        return false;
    struct text sent = buf_text(&w->body);
    yyjson_doc *a = yyjson_read(sent.at, sent.len, 0), *b = yyjson_read(rq->body.at, rq->body.len, 0);
    yyjson_val *wrong;
    const char *why;
    bool is = a != NULL && b != NULL && json_check_all_keys(b, &wrong, &why) == OK && is_made_of(yyjson_doc_get_root(b), yyjson_doc_get_root(a));
    yyjson_doc_free(a);
    yyjson_doc_free(b);
    return is;
}

static void check_upstream(const struct meeting *m, const struct wishes *wishes)
{
    unsigned next = 0;
    for (unsigned i = 0; i < m->requests_count; i++) {
        const struct meeting_request *rq = &m->requests[i];
        while (next < wishes->count && !is_asked_by(rq, &wishes->at[next]))
            next++;
        ASSERT(next < wishes->count);
        ASSERT(text_eq(rq->method, TEXT("POST")) && rq->id.len == 24);
        next++;
    }
}

/* hostile 18, hostile 58 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct meeting m;
    static struct wishes wishes;
    struct text in = { (const char *)data, size };
    struct arena arena;
    if (size > 16384)
        return 0;
    m = (struct meeting){ .client = in, .client_cuts = fuzz_cutter(2, in), .may_cut_requests = text_find(in, TEXT("imeout-ms")) >= 0 };
    wishes.count = 0;
    arena_init(&arena, NULL, 0, 16u << 20);
    read_wishes(&arena, in, &wishes);
    meeting_run(&m);
    check_answers(&m, &wishes);
    check_upstream(&m, &wishes);
    meeting_fini(&m);
    for (unsigned i = 0; i < wishes.count; i++)
        buf_fini(&wishes.at[i].body);
    arena_fini(&arena);
    return 0;
}
