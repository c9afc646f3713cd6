/* backend_reading.c: see backend_reading.h. The rules, each from the documents and not from upstream/:
   - until content came nothing is the client's: whatever is wrong by then is a failed attempt, 504 if only time ran out, else 502
   - statuses that speak of weir's own key, models and place, and all that are the backend's trouble, are failures; what they say is not waited for
   - a body: JSON by its type, an object by its bytes, in no encoding, all of it in the time for a first token; no error with a good status; no stream asked for.
     One of 4xx must fit stream.buffer, and is withheld if half of the key stands in it. A good one that does not fit passes as it comes
   - a stream: events that are JSON objects, in order, none lost; lines that are not are left out, and so are events of usage alone. Before the first content
     no more than stream.buffer. It ends whole with [DONE], or where the body ends and each choice that began has its finish_reason
   - whoever waits for a stream so long that a heartbeat began it is told the rest as events, a failure and a body of 4xx too
   - what is understood prolongs the wait for more, other lines do not. */
#include "fuzz/backend_reading.h"
#include "base/json.h"
#include "fuzz/meeting.h"
#include "net/sse.h"

#define LINE_MAX_KNOWN (1u << 20) /* longer than any input */
#define NEVER_LATE     UINT32_MAX

/* ---- a message ---- */

void message_begin(struct message *m, struct arena *arena)
{
    static const struct http_parse_limits limits = { 65536, 0, HTTP_HEADERS_MAX };
    *m = (struct message){ 0 };
    buf_init(&m->body, 64u << 20);
    http_parser_init(&m->parser, HTTP_KIND_RESPONSE, &limits);
    http_parser_begin(&m->parser, arena);
}

static void take_head(struct message *m)
{
    const struct http_head *h = m->parser.head;
    m->has_head = true;
    m->status = h->status;
    m->type = http_head_get(h, HEADER_CONTENT_TYPE);
    m->coding = http_head_get(h, HEADER_CONTENT_ENCODING);
}

void message_feed(struct message *m, struct text in)
{
    struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
    size_t eaten;
    in = in.at != NULL ? in : TEXT("");
    while (!m->is_broken && !m->is_whole) {
        m->is_broken = http_parse(&m->parser, in, &eaten, &e) != OK;
        in = (struct text){ in.at + eaten, in.len - eaten };
        if (m->is_broken || e.kind == HTTP_NEED_MORE)
            break;
        if (e.kind == HTTP_GOT_HEAD)
            take_head(m);
        else if (e.kind == HTTP_GOT_BODY)
            told(buf_add_text(&m->body, e.body));
        m->is_whole = e.kind == HTTP_GOT_END;
    }
    m->rest = in;
}

void message_eof(struct message *m)
{
    struct http_event e;
    if (!m->is_broken && !m->is_whole)
        m->is_whole = m->has_head && http_parse_eof(&m->parser, &e) == OK;
}

/* ---- the key ---- */

/* Does the word begin here, for one who reads JSON's escapes and for one who does not? */
static bool begins(struct text t, struct text word)
{
    size_t at = 0, i = 0;
    for (; i < word.len && at < t.len; i++) {
        char digits[5] = "", c = t.at[at++];
        if (c == '\\' && at < t.len && t.at[at] == 'u' && t.len - at > 4) {
            memcpy(digits, t.at + at + 1, 4);
            unsigned long point = strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtoul(digits, NULL, 16) : 0;
            c = point < 128 ? (char)point : '\0';
            at += 5;
        } else if (c == '\\' && at < t.len) {
            c = strchr("bfnrt", t.at[at]) != NULL ? '\0' : t.at[at]; /* what those stand for is in no key */
            at++;
        }
        if (c != word.at[i])
            return false;
    }
    return i == word.len;
}

/* Wherever a reader may begin, in whatever bytes: errors need not be JSON. */
bool tells_key(struct text said)
{
    struct text key = TEXT(MEETING_KEY), halves[] = { { key.at, key.len / 2 }, { key.at + key.len / 2, key.len - key.len / 2 } };
    for (size_t i = 0; i < said.len; i++)
        for (size_t k = 0; k < ARRAY_LEN(halves); k++)
            if (begins((struct text){ said.at + i, said.len - i }, halves[k]))
                return true;
    return false;
}

/* ---- JSON as weir means it ---- */

struct json {
    struct arena arena;
    yyjson_val *root; /* NULL unless it is an object within weir's bounds */
};

static void json_open(struct json *j, struct text t)
{
    yyjson_doc *doc;
    arena_init(&j->arena, NULL, 0, 64u << 20);
    j->root = json_parse(&j->arena, t, &doc, NULL) == OK && yyjson_is_obj(yyjson_doc_get_root(doc)) ? yyjson_doc_get_root(doc) : NULL;
}

static bool is_error(const struct json *j)
{
    yyjson_val *error = yyjson_obj_get(j->root, "error");
    return (error != NULL && !yyjson_is_null(error)) || yyjson_equals_str(yyjson_obj_get(j->root, "object"), "error");
}

/* ---- a stream ---- */

#define CHOICES_MAX 64 /* told apart by weir; the last stands for all behind it */

struct stream_reading {
    struct due *due;
    struct sse_reader sse;
    bool begun[CHOICES_MAX], finished[CHOICES_MAX];
    bool has_content, done, failed, understood; /* understood: in this piece */
    size_t held; /* bytes of events before the first content */
};

void event_note(struct buf *out, struct text name, struct text data)
{
    told(buf_printf(out, "%zu:", name.len));
    told(buf_add_text(out, name));
    told(buf_printf(out, " %zu:", data.len));
    told(buf_add_text(out, data));
    told(buf_add_text(out, TEXT("\n")));
}

/* What it takes as a server-sent event. */
static size_t event_bytes(const struct sse_event *e)
{
    size_t lines = 1;
    for (size_t i = 0; i < e->data.len; i++)
        lines += e->data.at[i] == '\n';
    return (e->name.len > 0 ? e->name.len + sizeof "event: " : 0) + e->data.len + lines * sizeof "data: " + 1 - (lines - 1);
}

static bool is_something(yyjson_val *v)
{
    return yyjson_get_len(v) > 0 && (yyjson_is_str(v) || yyjson_is_ctn(v)); /* a container's len is its size */
}

/* True if a reader would see something of it: words, calls, or that it is over. */
static bool read_choice(struct stream_reading *r, yyjson_val *choice)
{
    size_t i, n;
    yyjson_val *key, *value, *index = yyjson_obj_get(choice, "index"), *delta = yyjson_obj_get(choice, "delta");
    uint64_t at = MIN(yyjson_is_uint(index) ? yyjson_get_uint(index) : 0, (uint64_t)CHOICES_MAX - 1);
    bool ends = yyjson_is_str(yyjson_obj_get(choice, "finish_reason")), shows = ends;
    r->begun[at] = true;
    r->finished[at] = r->finished[at] || ends;
    yyjson_val *text = yyjson_obj_get(choice, "text");
    shows = shows || (yyjson_is_str(text) && is_something(text));
    if (delta == NULL)
        return shows;
    yyjson_obj_foreach(delta, i, n, key, value)
        shows = shows || (!yyjson_equals_str(key, "role") && is_something(value));
    return shows;
}

static void read_object(struct stream_reading *r, const struct sse_event *e, yyjson_val *root)
{
    size_t i, n;
    yyjson_val *choice, *choices = yyjson_obj_get(root, "choices");
    bool shows = false;
    r->understood = true;
    yyjson_arr_foreach(choices, i, n, choice)
        shows |= read_choice(r, choice);
    if (yyjson_is_obj(yyjson_obj_get(root, "usage")) && yyjson_arr_size(choices) == 0)
        return; /* our client did not ask for it */
    r->has_content = r->has_content || shows;
    if (!r->has_content && r->held >= MEETING_BUFFER) {
        r->failed = true;
        return;
    }
    r->held += event_bytes(e);
    event_note(&r->due->said, e->name, e->data);
}

static void read_event(struct stream_reading *r, const struct sse_event *e)
{
    struct json j;
    if (text_starts(text_trim(e->data), TEXT("[DONE]"))) {
        r->done = true;
        return;
    }
    json_open(&j, e->data);
    if (is_error(&j) || text_eq(e->name, TEXT("error")))
        r->failed = true;
    else if (j.root != NULL)
        read_object(r, e, j.root);
    arena_fini(&j.arena);
}

static void read_events(struct stream_reading *r, struct text in)
{
    struct sse_event e;
    size_t eaten;
    r->understood = false;
    while (in.len > 0 && !r->done && !r->failed) {
        told(sse_feed(&r->sse, in, &eaten, &e));
        in = (struct text){ in.at + eaten, in.len - eaten };
        if (e.found)
            read_event(r, &e);
    }
}

static bool all_finished(const struct stream_reading *r)
{
    bool any = false;
    for (unsigned i = 0; i < CHOICES_MAX; i++) {
        if (r->begun[i] && !r->finished[i])
            return false;
        any = any || r->finished[i];
    }
    return any;
}

/* ---- the whole connection ---- */

static bool is_type(struct text said, const char *name)
{
    size_t at = strlen(name);
    if (said.len < at || strncasecmp(said.at, name, at) != 0)
        return false;
    while (at < said.len && (said.at[at] == ' ' || said.at[at] == '\t'))
        at++;
    return at == said.len || said.at[at] == ';';
}

static bool is_backends_trouble(int s)
{
    return s >= 500 || s / 100 == 3 || s == 401 || s == 403 || s == 404 || s == 408 || s == 429;
}

/* How an answer is to be read once its head is known. */
enum manner { AS_FAILURE, AS_REFUSAL, AS_BODY, AS_STREAM }; /* a refusal is read for the sake of its words, which change nothing */

static enum manner manner_of(const struct message *m, enum ask ask)
{
    bool is_json = is_type(m->type, "application/json") || is_type(m->type, "application/problem+json");
    if (is_backends_trouble(m->status))
        return AS_REFUSAL;
    if (m->coding.at != NULL && !text_eq_nocase(m->coding, TEXT("identity")))
        return AS_FAILURE;
    if (ask != ASK_PLAIN && m->status < 400 && is_type(m->type, "text/event-stream"))
        return AS_STREAM;
    return is_json && (ask == ASK_PLAIN || m->status >= 400) ? AS_BODY : AS_FAILURE;
}

struct clock {
    unsigned piece, late; /* which one comes; from which on it comes too late */
    unsigned between;     /* and so many without anything new are too many */
};

static void fail_with(struct due *due, int status)
{
    due->kind = DUE_FAILURE;
    due->status = status;
}

/* The end of a body that had begun to pass, or that was read whole. */
static void body_ended(struct due *due, const struct message *m, bool passes)
{
    struct text body = buf_text(&m->body);
    struct json j;
    due->kind = DUE_BODY;
    due->status = m->status;
    due->is_whole = m->is_whole;
    due->is_withheld = m->status >= 400 && tells_key(body);
    told(buf_add_text(&due->said, body));
    if (passes || due->is_withheld)
        return;
    json_open(&j, body);
    if (j.root == NULL || (m->status < 400 && is_error(&j)))
        fail_with(due, 502);
    arena_fini(&j.arena);
}

/* One piece after another, as the gateway gets them. */
struct play {
    const struct backend_play *of;
    struct cutter cut;
    struct text left;
    struct clock clock;
    bool timed_out;
};

/* False at the end: no more comes, or what comes is late. */
static bool next_piece(struct play *p, struct message *m, struct text *out_new)
{
    size_t before = buf_len(&m->body);
    *out_new = TEXT_NONE;
    if (m->is_whole || m->is_broken)
        return false;
    if (p->left.len == 0) {
        p->timed_out = !p->of->closes;
        if (p->of->closes)
            message_eof(m);
        return false;
    }
    if (p->clock.piece >= p->clock.late) {
        p->timed_out = true;
        return false;
    }
    size_t n = meeting_piece(&p->cut, p->clock.piece++, p->left.len);
    message_feed(m, (struct text){ p->left.at, n });
    p->left = (struct text){ p->left.at + n, p->left.len - n };
    if (buf_len(&m->body) > before)
        *out_new = (struct text){ buf_text(&m->body).at + before, buf_len(&m->body) - before };
    return true;
}

static void read_body(struct due *due, struct play *p, struct message *m)
{
    struct text some;
    bool passes = false;
    do {
        if (!m->is_whole && !m->is_broken && !passes && buf_len(&m->body) >= MEETING_BUFFER) {
            if (m->status >= 400) {
                fail_with(due, 502);
                return;
            }
            passes = true;
            p->clock.late = NEVER_LATE; /* each piece is news now */
        }
    } while (next_piece(p, m, &some));
    if (m->is_whole || passes)
        body_ended(due, m, passes);
    else
        fail_with(due, p->timed_out ? 504 : 502);
}

static void read_stream(struct due *due, struct play *p, struct message *m)
{
    struct stream_reading r = { .due = due };
    struct text some = buf_text(&m->body);
    sse_reader_init(&r.sse, LINE_MAX_KNOWN);
    due->kind = DUE_EVENTS;
    do {
        read_events(&r, some);
        if (r.has_content && r.understood && p->clock.between != NEVER_LATE)
            p->clock.late = p->clock.piece - 1 + p->clock.between;
    } while (!r.done && !r.failed && next_piece(p, m, &some));
    due->is_whole = r.done || (!r.failed && m->is_whole && all_finished(&r));
    if (!r.has_content && !due->is_whole)
        fail_with(due, p->timed_out && !r.failed && !m->is_whole ? 504 : 502);
    sse_reader_fini(&r.sse);
}

/* Too late for a status: 200 is the client's already. */
static void told_by_events(struct due *due, const struct play *p)
{
    bool beats = p->timed_out || (p->of->slow && p->clock.piece > MEETING_SLOW_BEAT);
    if (p->of->ask == ASK_PLAIN || due->kind == DUE_EVENTS || !beats)
        return;
    due->kind = DUE_EVENTS;
    due->is_whole = false;
    buf_clear(&due->said);
}

void due_read(struct due *due, const struct backend_play *of)
{
    unsigned late = of->slow ? MEETING_SLOW_LATE : NEVER_LATE;
    struct play p = { .of = of, .cut = of->cut, .left = of->bytes, .clock = { 0, late, late } };
    struct message m;
    struct arena arena;
    struct text some;
    arena_init(&arena, NULL, 0, 16u << 20);
    *due = (struct due){ 0 };
    buf_init(&due->said, 64u << 20);
    message_begin(&m, &arena);
    while (!m.has_head && next_piece(&p, &m, &some))
        ;
    enum manner manner = m.has_head ? manner_of(&m, of->ask) : AS_FAILURE;
    if (manner == AS_BODY)
        read_body(due, &p, &m);
    else if (manner == AS_STREAM)
        read_stream(due, &p, &m);
    else
        fail_with(due, !m.has_head && p.timed_out ? 504 : 502);
    while (manner == AS_REFUSAL && next_piece(&p, &m, &some))
        ;
    told_by_events(due, &p);
    buf_fini(&m.body);
    arena_fini(&arena);
}

void due_fini(struct due *due) { buf_fini(&due->said); }
