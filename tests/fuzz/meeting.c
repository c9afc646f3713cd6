/* meeting.c: see meeting.h. */
#include "fuzz/meeting.h"
#include "base/json.h"

#define CONNECTIONS_MAX 64
#define QUIET_NS  NANOS_PER_S                /* nothing more comes: far past a simulated way, far before any of weir's time-outs */
#define PAUSE_NS  (400 * NANOS_PER_US)       /* between two pieces, so that they arrive as two */
#define SLOW_NS   (7 * NANOS_PER_MS)         /* and a slow backend's: 42 of them are less than a time-out, 43 are more */
#define PIECES_MAX 64                        /* the last is all the rest: a run must stay short */
#define TIMEOUTS_MS 300
_Static_assert(MEETING_SLOW_LATE * SLOW_NS > TIMEOUTS_MS * NANOS_PER_MS && (MEETING_SLOW_LATE - 1) * SLOW_NS < (TIMEOUTS_MS - 5) * NANOS_PER_MS, "which piece is late");
#define BEAT_MS 100
_Static_assert(MEETING_SLOW_BEAT * SLOW_NS > BEAT_MS * NANOS_PER_MS && (MEETING_SLOW_BEAT - 1) * SLOW_NS < (BEAT_MS - 1) * NANOS_PER_MS, "which piece comes after a heartbeat");
#define HEARD_MAX (64u << 20)

static const char yaml[] =
    "backends: {b: {url: \"http://10.0.0.1:8000\", key: " MEETING_KEY "}}\n"
    "models: {m: {use: [b/m]}}\n"
    "limits: {body: 4096, header: 2048}\n"
    "timeouts: {first_token: 300ms, between_tokens: 300ms}\n"
    "retries: {attempts: 1}\n" /* what the one backend said is what the client is told */
    "stream: {heartbeat: 100ms, buffer: 8192}\n"
    "log: {level: error}\n";

/* ---- writing in pieces ---- */

size_t meeting_piece(struct cutter *cut, unsigned piece, size_t left)
{
    size_t n = piece + 1 < PIECES_MAX ? cut->next(cut, left) : left;
    return MIN(n * n, left); /* a cutter's pieces are small: large ones too */
}

static enum fail write_pieces(struct task *t, struct actor *a, struct text bytes, struct cutter cut, nanos pause)
{
    enum fail f = OK;
    for (unsigned piece = 0; f == OK && bytes.len > 0; piece++) {
        size_t n = meeting_piece(&cut, piece, bytes.len);
        f = actor_write_all(t, a, bytes.at, n, NEVER);
        bytes = (struct text){ bytes.at + n, bytes.len - n };
        if (f == OK && bytes.len > 0)
            f = task_sleep(t, t->worker->now + pause);
    }
    return f;
}

/* ---- the backend ---- */

struct served {
    struct meeting *m;
    struct actor actor;
    struct http_parser parser;
    struct arena arena; /* of the request under way */
    struct buf body;
    struct text method, path, id;
};

bool meeting_wants_stream(struct text body)
{
    yyjson_doc *doc = yyjson_read(body.at, body.len, 0);
    bool stream = yyjson_is_true(yyjson_obj_get(yyjson_doc_get_root(doc), "stream"));
    yyjson_doc_free(doc);
    return stream;
}

void meeting_honest_answer(struct buf *out, unsigned number, bool stream)
{
    static const char events[] = "data: {\"choices\":[{\"delta\":{\"content\":\"%08u\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    char body[sizeof events + 16];
    if (!stream) {
        told(buf_printf(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 53\r\n\r\n{\"choices\":[{\"finish_reason\":\"stop\"}],\"n\":\"%08u\"}", number));
        return;
    }
    int n = snprintf(body, sizeof body, events, number);
    told(buf_printf(out, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", (unsigned)n, body));
}

static struct text keep(struct meeting *m, struct text t)
{
    if (m->client_ended)
        return TEXT_NONE; /* the house closes: who told no models may be asked once more */
    const char *copy = arena_copy(&m->arena, t);
    ASSERT(copy != NULL);
    return (struct text){ copy, t.len };
}

static enum fail answer_models(struct task *t, struct served *s)
{
    struct meeting *m = s->m;
    static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 37\r\n\r\n{\"object\":\"list\",\"data\":[{\"id\":\"m\"}]}";
    if (m->models.at == NULL)
        return actor_write_all(t, &s->actor, answer, sizeof answer - 1, NEVER);
    enum fail f = write_pieces(t, &s->actor, m->models, m->backend_cuts, PAUSE_NS);
    return f == OK && m->backend_closes ? FAIL_RESET : f;
}

static enum fail answer(struct task *t, struct served *s)
{
    struct meeting *m = s->m;
    struct buf out;
    if (text_eq(s->path, TEXT("/v1/models")))
        return answer_models(t, s);
    ASSERT(m->requests_count < MEETING_REQUESTS_MAX);
    unsigned number = m->requests_count++;
    m->requests[number] = (struct meeting_request){ s->method, s->path, s->id, keep(m, buf_text(&s->body)) };
    if (number == 0 && m->backend.at != NULL) {
        enum fail f = write_pieces(t, &s->actor, m->backend, m->backend_cuts, m->backend_slow ? SLOW_NS : PAUSE_NS);
        m->backend_wrote = true;
        return f == OK && m->backend_closes ? FAIL_RESET : f;
    }
    buf_init(&out, 4096);
    bool stream = meeting_wants_stream(buf_text(&s->body)) && !text_eq(s->path, TEXT("/v1/embeddings"));
    meeting_honest_answer(&out, number, stream);
    enum fail f = actor_write_all(t, &s->actor, buf_text(&out).at, buf_len(&out), NEVER);
    buf_fini(&out);
    return f;
}

/* One event; *io_bytes moves on. Whatever weir sends must be HTTP that our own reading of requests accepts. */
static enum fail take_event(struct task *t, struct served *s, struct text *io_bytes, bool *out_more)
{
    struct http_event e;
    size_t eaten = 0;
    enum fail f = http_parse(&s->parser, *io_bytes, &eaten, &e);
    ASSERT(f == OK);
    *io_bytes = (struct text){ io_bytes->at + eaten, io_bytes->len - eaten };
    *out_more = e.kind != HTTP_NEED_MORE && (e.kind != HTTP_GOT_END || io_bytes->len > 0);
    if (e.kind == HTTP_GOT_HEAD) {
        const struct http_head *h = s->parser.head;
        s->method = keep(s->m, h->method_text);
        s->path = keep(s->m, h->target);
        s->id = keep(s->m, http_head_find(h, TEXT("x-request-id")));
        ASSERT(text_eq(http_head_find(h, TEXT("authorization")), TEXT("Bearer " MEETING_KEY)));
    } else if (e.kind == HTTP_GOT_BODY) {
        f = buf_add_text(&s->body, e.body);
    } else if (e.kind == HTTP_GOT_END) {
        f = answer(t, s);
        buf_clear(&s->body);
        arena_fini(&s->arena);
        arena_init(&s->arena, NULL, 0, 1u << 20);
        http_parser_begin(&s->parser, &s->arena);
    }
    return f;
}

static void serve(struct task *t, void *arg)
{
    static const struct http_parse_limits limits = { 8192, 8192, HTTP_HEADERS_MAX };
    struct served *s = arg;
    struct meeting *m = s->m;
    char bytes[4096];
    size_t n = 0;
    buf_init(&s->body, 1u << 20);
    arena_init(&s->arena, NULL, 0, 1u << 20);
    http_parser_init(&s->parser, HTTP_KIND_REQUEST, &limits);
    http_parser_begin(&s->parser, &s->arena);
    for (enum fail f = OK; f == OK;) {
        f = actor_read(t, &s->actor, bytes, sizeof bytes, NEVER, &n);
        if (f != OK || n == 0)
            break;
        struct text in = { bytes, n };
        for (bool more = true; f == OK && more;)
            f = take_event(t, s, &in, &more);
    }
    ASSERT(http_parser_is_idle(&s->parser) || m->may_cut_requests);
    actor_close(&s->actor);
    buf_fini(&s->body);
    arena_fini(&s->arena);
    mem_free(s);
    m->players--;
}

static void backend(struct task *t, void *arg)
{
    struct meeting *m = arg;
    for (;;) {
        struct served *s = mem_zero(sizeof *s);
        ASSERT(s != NULL);
        s->m = m;
        if (actor_accept(t, &m->listener, &s->actor, NEVER) != OK) {
            mem_free(s);
            break;
        }
        m->players++;
        (void)house_task(&m->house, "served", serve, s);
    }
    actor_close(&m->listener);
    m->players--;
}

/* ---- the client ---- */

/* Until the gateway is quiet, or has ended the connection. */
static void listen_to(struct task *t, struct meeting *m, struct actor *a, struct buf *heard)
{
    char bytes[4096];
    size_t n = 1;
    enum fail f = OK;
    while (f == OK && n > 0) {
        f = actor_read(t, a, bytes, sizeof bytes, t->worker->now + QUIET_NS, &n);
        if (f == OK)
            told(buf_add(heard, bytes, n));
    }
    m->finished = f == OK;
    m->broken = f != OK && f != FAIL_TIMEOUT;
}

static void client(struct task *t, void *arg)
{
    struct meeting *m = arg;
    struct actor a;
    told(task_sleep(t, t->worker->now + m->client_from));
    told(actor_connect(t, &a, &m->house.address, NEVER));
    (void)write_pieces(t, &a, m->client, m->client_cuts, PAUSE_NS); /* who is refused early cannot write on; the answer still comes */
    listen_to(t, m, &a, &m->heard);
    m->finished_before = m->finished || m->broken;
    if (m->again != NULL && !m->finished_before && actor_write_all(t, &a, m->again, strlen(m->again), NEVER) == OK)
        listen_to(t, m, &a, &m->heard_again);
    actor_close(&a);
    m->client_ended = true;
    m->players--;
}

static bool client_ended(void *arg) { return ((struct meeting *)arg)->client_ended; }

void meeting_run(struct meeting *m)
{
    struct sim_options options = sim_options_default(1);
    struct addr at;
    options.gate_yield = 0;
    options.latency_min = options.latency_max = 50 * NANOS_PER_US;
    house_open(&m->house, &options, yaml);
    arena_init(&m->arena, NULL, 0, 16u << 20);
    buf_init(&m->heard, HEARD_MAX);
    buf_init(&m->heard_again, HEARD_MAX);
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    told(actor_listen(&m->house.outside, &m->listener, &at));
    m->players = 2;
    (void)house_task(&m->house, "backend", backend, m);
    (void)house_task(&m->house, "client", client, m);
    ASSERT(house_run(&m->house, client_ended, m, 600 * NANOS_PER_S));
}

void meeting_fini(struct meeting *m)
{
    buf_fini(&m->heard);
    buf_fini(&m->heard_again);
    arena_fini(&m->arena);
    house_close(&m->house);
    ASSERT(m->players == 0);
}
