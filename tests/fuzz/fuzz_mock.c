/* fuzz_mock.c: any body to a mock model server, in each of its dialects. Input: the path, a line end, the body; see mock/paths.def.
   Oracle: one whole answer; JSON where JSON is said, every event and line of a stream too, with its dialect's end; then the mock's statistics are still served. */
#include "base/json.h"
#include "mock/mock.h"
#include "fuzz/fuzz.h"
#include "lib/actor.h"
#include "net/sse.h"
#include "run/sim.h"

static const struct dialect {
    const char *name, *asks;
} dialects[] = { { "openai", "/v1/chat/completions" }, { "ollama", "/api/chat" }, { "anthropic", "/v1/messages" } };

struct visit {
    struct sim *sim;
    struct worker worker;
    struct mock *mock;
    struct addr at;
    const struct dialect *dialect;
    struct text path, body;
    bool may_misbehave; /* a script may say so */
};

static bool is_json(struct text t)
{
    yyjson_doc *doc = yyjson_read(t.at, t.len, 0);
    bool is = doc != NULL;
    yyjson_doc_free(doc);
    return is;
}

static void check_events(struct text body)
{
    struct sse_reader r;
    struct sse_event e;
    size_t eaten;
    bool ended = false;
    sse_reader_init(&r, 1u << 22);
    while (body.len > 0) {
        told(sse_feed(&r, body, &eaten, &e));
        body = (struct text){ body.at + eaten, body.len - eaten };
        if (!e.found)
            break;
        ASSERT(!ended);
        ended = text_eq(e.data, TEXT("[DONE]")) || text_eq(e.name, TEXT("message_stop"));
        ASSERT(text_eq(e.data, TEXT("[DONE]")) || is_json(e.data));
    }
    ASSERT(ended && sse_is_clean_end(&r));
    sse_reader_fini(&r);
}

static void check_lines(struct text body)
{
    struct text last = TEXT_NONE;
    ASSERT(text_ends(body, TEXT("\n")));
    for (body.len--; body.at != NULL;) {
        last = fuzz_line(&body);
        ASSERT(is_json(last));
    }
    ASSERT(text_find(last, TEXT("\"done\":true")) >= 0);
}

static void check_answer(const struct http_head *h, struct text body)
{
    struct text type = http_head_get(h, HEADER_CONTENT_TYPE);
    ASSERT(h->status == 200 || h->status == 400 || h->status == 404 || h->status == 405);
    if (text_starts(type, TEXT("text/event-stream")))
        check_events(body);
    else if (text_starts(type, TEXT("application/x-ndjson")))
        check_lines(body);
    else
        ASSERT(is_json(body));
}

/* One request, one answer: true if it came whole. */
static bool exchange(struct task *t, struct visit *v, struct text method, struct text path, struct text body, bool check)
{
    static const struct http_parse_limits limits = { 65536, 0, HTTP_HEADERS_MAX };
    struct http_parser p;
    struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
    struct arena arena;
    struct actor a;
    struct buf b;
    char bytes[4096];
    size_t n = 1, eaten;
    buf_init(&b, 64u << 20);
    arena_init(&arena, NULL, 0, 1u << 20);
    http_parser_init(&p, HTTP_KIND_RESPONSE, &limits);
    http_parser_begin(&p, &arena);
    told(actor_connect(t, &a, &v->at, NEVER));
    told(buf_printf(&b, "%.*s %.*s HTTP/1.1\r\nhost: w\r\ncontent-length: %zu\r\n\r\n", TEXT_ARG(method), TEXT_ARG(path), body.len));
    told(buf_add_text(&b, body));
    enum fail f = actor_write_all(t, &a, buf_text(&b).at, buf_len(&b), NEVER);
    buf_clear(&b);
    while (f == OK && n > 0 && e.kind != HTTP_GOT_END) {
        f = actor_read(t, &a, bytes, sizeof bytes, t->worker->now + 100 * NANOS_PER_S, &n);
        struct text in = { bytes, f == OK ? n : 0 };
        do {
            if (f == OK)
                f = http_parse(&p, in, &eaten, &e);
            if (f == OK && e.kind == HTTP_GOT_BODY)
                f = buf_add_text(&b, e.body);
            in = (struct text){ in.at + eaten, in.len - eaten };
        } while (f == OK && e.kind != HTTP_NEED_MORE && e.kind != HTTP_GOT_END);
    }
    bool whole = f == OK && e.kind == HTTP_GOT_END;
    if (check && whole)
        check_answer(p.head, buf_text(&b));
    actor_close(&a);
    arena_fini(&arena);
    buf_fini(&b);
    return whole;
}

static void visit(struct task *t, void *arg)
{
    struct visit *v = arg;
    bool whole = exchange(t, v, TEXT("POST"), v->path, v->body, !v->may_misbehave);
    ASSERT(whole || v->may_misbehave);
    if (v->may_misbehave) { /* the script's faults, whatever they are */
        struct text asks = text_of(v->dialect->asks);
        (void)exchange(t, v, TEXT("POST"), asks, TEXT("{\"model\":\"m\",\"stream\":true,\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"), false);
        (void)exchange(t, v, TEXT("POST"), asks, TEXT("{\"model\":\"m\",\"stream\":false,\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"), false);
    }
    whole = exchange(t, v, TEXT("GET"), v->path, TEXT(""), true); /* a list, or a 405 */
    ASSERT(whole || v->may_misbehave);
    whole = exchange(t, v, TEXT("GET"), TEXT("/_mock/stats"), TEXT(""), true);
    ASSERT(whole);
    mock_stop(v->mock);
    worker_stop(t->worker);
}

/* Where the path does not say it, the body's length does. */
static const struct dialect *dialect_of(struct text path, struct text body)
{
    if (text_starts(path, TEXT("/api/")))
        return &dialects[1];
    if (text_eq(path, TEXT("/v1/messages")))
        return &dialects[2];
    return text_starts(path, TEXT("/_mock/")) || text_eq(path, TEXT("/v1/models")) ? &dialects[body.len % ARRAY_LEN(dialects)] : &dialects[0];
}

static void play(struct text path, struct text body)
{
    struct sim_options options = sim_options_default(1);
    struct visit v = { .dialect = dialect_of(path, body), .path = path, .body = body, .may_misbehave = text_starts(path, TEXT("/_mock/")) };
    struct mock_script script;
    struct complaint why;
    mock_script_init(&script);
    ASSERT(mock_script_set(&script, TEXT("tokens"), TEXT("4"), &why) && mock_script_set(&script, TEXT("itl"), TEXT("0"), &why));
    ASSERT(mock_script_set(&script, TEXT("dialect"), text_of(v.dialect->name), &why));
    v.sim = sim_new(&options);
    told(worker_init(&v.worker, sim_world(v.sim), 0));
    v.mock = mock_new(&v.worker, &script);
    ASSERT(v.mock != NULL && addr_from_text(&v.at, TEXT("10.0.0.1"), 80));
    int listener = sim_world(v.sim)->listen(sim_world(v.sim), &v.at);
    told(mock_listen(v.mock, listener));
    struct task *t = task_start(&v.worker, "visit", visit, &v);
    ASSERT(t != NULL);
    told(sim_worker(v.sim, "mock", &v.worker));
    bool ended = sim_run(v.sim, NULL, NULL, 10000 * NANOS_PER_S);
    ASSERT(ended);
    mock_free(v.mock);
    worker_fini(&v.worker);
    sim_world(v.sim)->close(sim_world(v.sim), listener);
    ASSERT(sim_sockets_open(v.sim) == 0);
    sim_free(v.sim);
    mock_script_fini(&script);
}

static bool is_fit(struct text path)
{
    for (size_t i = 0; i < path.len; i++)
        if ((path.at[i] < 'a' || path.at[i] > 'z') && path.at[i] != '/' && path.at[i] != '_' && path.at[i] != '1')
            return false;
    return path.len > 0 && path.at[0] == '/';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    struct text body = { (const char *)data, size }, path = fuzz_line(&body);
    if (size > 16384 || !is_fit(path))
        return 0;
    play(path, body.at != NULL ? body : TEXT(""));
    ASSERT(mem_alive() == before);
    return 0;
}
