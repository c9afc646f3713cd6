/* test_mock.c: `weir mock` over real sockets: what each surface answers, the bytes of each fault, slots, statistics and live scripts.
   The mock runs on a thread of its own; the client is a plain blocking socket that knows nothing of weir. One story is told in the simulated world too. */
#include "../lib/actor.h"
#include "../lib/both.h"
#include "base/json.h"
#include "mock/mock.h"
#include "run/task.h"
#include "test_base.h" /* last: cmocka takes the word fail */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX (24u << 20) /* the 10 MB line and what stands around it */
#define SOON_MS    10000       /* until something that must come has come; only a failing test waits that long */
#define QUIET_MS   60          /* how long nothing must come */

static struct {
    struct world *world;
    struct worker worker;
    struct mock *mock;
    struct mock_script script;
    pthread_t thread;
    int listener;
    int64_t alive; /* blocks of memory before */
    struct sockaddr_in at;
    char answer[ANSWER_MAX + 1];
    size_t answer_len;
    bool was_reset;
} rig;

/* ---- the mock's side ---- */

static void *thread_main(void *arg)
{
    task_thread_begin();
    worker_run(arg);
    task_thread_end();
    return NULL;
}

static void set(const char *name, const char *value)
{
    struct complaint why;
    if (!mock_script_set(&rig.script, text_of(name), text_of(value), &why))
        fail_msg("%s", why.text);
}

static void start_listener(void)
{
    struct addr any;
    socklen_t len = sizeof rig.at;
    assert_true(addr_from_text(&any, TEXT("127.0.0.1"), 0));
    rig.world = world_real_new(1);
    assert_non_null(rig.world);
    rig.listener = rig.world->listen(rig.world, &any);
    assert_true(rig.listener >= 0);
    assert_int_equal(getsockname(rig.listener, (struct sockaddr *)&rig.at, &len), 0);
}

static void start_mock(void)
{
    assert_int_equal(worker_init(&rig.worker, rig.world, 0), OK);
    rig.mock = mock_new(&rig.worker, &rig.script);
    assert_non_null(rig.mock);
    assert_int_equal(mock_listen(rig.mock, rig.listener), OK);
    assert_int_equal(pthread_create(&rig.thread, NULL, thread_main, &rig.worker), 0);
}

static void start(void)
{
    start_listener();
    start_mock();
}

static void start_with_fault(const char *fault)
{
    set("fault", fault);
    start();
}

static int setup(void **state)
{
    (void)state;
    memset(&rig, 0, offsetof(typeof(rig), answer));
    rig.alive = mem_alive();
    mock_script_init(&rig.script);
    return 0;
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    mock_stop(arg);
    worker_stop(w);
}

static int teardown(void **state)
{
    (void)state;
    if (rig.mock == NULL)
        return 0;
    mail_send(&rig.worker, stop_letter, rig.mock, 0);
    pthread_join(rig.thread, NULL);
    mock_free(rig.mock);
    worker_fini(&rig.worker);
    rig.world->close(rig.world, rig.listener);
    world_real_free(rig.world);
    mock_script_fini(&rig.script);
    assert_int_equal(mem_alive(), rig.alive);
    return 0;
}

/* ---- the client's side ---- */

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&rig.at, sizeof rig.at), 0);
    return fd;
}

static void say(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);
        assert_true(k > 0);
        bytes += k;
        n -= (size_t)k;
    }
}

static void ask_on(int fd, const char *method, const char *path, const char *headers, const char *body)
{
    char head[1024];
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: mock\r\n%sContent-Length: %zu\r\n\r\n", method, path, headers, strlen(body));
    assert_true(n > 0 && (size_t)n < sizeof head);
    say(fd, head, (size_t)n);
    say(fd, body, strlen(body));
}

/* Reads until the other side ends (true), or nothing came for so long (false). */
static bool hear(int fd, int quiet_ms)
{
    rig.answer_len = 0;
    rig.was_reset = false;
    for (;;) {
        struct pollfd p = { fd, POLLIN, 0 };
        if (poll(&p, 1, quiet_ms) == 0)
            break;
        ssize_t n = recv(fd, rig.answer + rig.answer_len, ANSWER_MAX - rig.answer_len, 0);
        rig.was_reset = n < 0 && errno == ECONNRESET;
        if (n <= 0) {
            rig.answer[rig.answer_len] = 0;
            return true;
        }
        rig.answer_len += (size_t)n;
    }
    rig.answer[rig.answer_len] = 0;
    return false;
}

/* One request on a connection of its own, to its end. */
static void ask(const char *method, const char *path, const char *body)
{
    int fd = dial();
    ask_on(fd, method, path, "Connection: close\r\n", body);
    assert_true(hear(fd, SOON_MS));
    close(fd);
}

static bool has(const char *part)
{
    return memmem(rig.answer, rig.answer_len, part, strlen(part)) != NULL;
}

static unsigned times(const char *part)
{
    unsigned n = 0;
    for (const char *at = rig.answer; (at = strstr(at, part)) != NULL; at += strlen(part))
        n++;
    return n;
}

/* Reads until `part` has come so many times, then until nothing more comes; the connection must stay open. */
static void hear_part(int fd, const char *part, unsigned count)
{
    rig.answer_len = 0;
    rig.answer[0] = 0;
    for (bool more = true; more || times(part) < count;) {
        struct pollfd p = { fd, POLLIN, 0 };
        more = poll(&p, 1, times(part) < count ? SOON_MS : QUIET_MS) == 1;
        if (!more)
            break;
        ssize_t n = recv(fd, rig.answer + rig.answer_len, ANSWER_MAX - rig.answer_len, 0);
        assert_true(n > 0);
        rig.answer_len += (size_t)n;
        rig.answer[rig.answer_len] = 0;
    }
    assert_int_equal(times(part), count);
}

#define HAS(part)    do { if (!has(part)) fail_msg("no \"%s\" in: %.600s", (part), rig.answer); } while (0)
#define HAS_NOT(part) do { if (has(part)) fail_msg("there is \"%s\" in: %.600s", (part), rig.answer); } while (0)

/* The body of the last answer; de-chunked in place. */
static struct text body(void)
{
    char *at = strstr(rig.answer, "\r\n\r\n");
    assert_non_null(at);
    at += 4;
    if (strstr(rig.answer, "transfer-encoding: chunked") == NULL)
        return (struct text){ at, rig.answer_len - (size_t)(at - rig.answer) };
    char *to = at, *from = at;
    for (;;) {
        char *end;
        size_t n = strtoul(from, &end, 16);
        assert_true(end > from && end[0] == '\r' && end[1] == '\n');
        if (n == 0)
            break;
        memmove(to, end + 2, n);
        to += n;
        assert_memory_equal(end + 2 + n, "\r\n", 2);
        from = end + 2 + n + 2;
    }
    assert_memory_equal(from, "0\r\n\r\n", 5);
    return (struct text){ at, (size_t)(to - at) };
}

static struct mock_stats stats(void)
{
    struct mock_stats s;
    mock_stats_read(rig.mock, &s);
    return s;
}

/* A condition that another thread makes true; bounded by SOON_MS. */
#define EVENTUALLY(condition) \
    do { \
        int left = SOON_MS; \
        while (!(condition) && left-- > 0) \
            poll(NULL, 0, 1); \
        assert_true(condition); \
    } while (0)

#define HELLO      "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]}"
#define HELLO_4    "{\"model\":\"m\",\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]}"
#define STREAM_4   "{\"model\":\"m\",\"stream\":true,\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]}"
#define STREAM     "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]}"
#define CHAT       "/v1/chat/completions"

/* ---- surfaces ---- */

TEST(chat_is_plain)
{
    start();
    ask("POST", CHAT, HELLO_4);
    HAS("HTTP/1.1 200 OK\r\n");
    HAS("content-type: application/json\r\n");
    HAS("\"object\":\"chat.completion\"");
    HAS("\"finish_reason\":\"length\"");
    HAS("\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}");
    ask("POST", CHAT, HELLO);
    HAS("\"finish_reason\":\"stop\"");
    HAS("\"completion_tokens\":20");
}

TEST(chat_streams)
{
    start();
    ask("POST", CHAT, STREAM_4);
    HAS("content-type: text/event-stream");
    assert_int_equal(times("\"delta\":{\"content\""), 4);
    assert_int_equal(times("\"role\":\"assistant\""), 1);
    HAS("\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n");
    HAS_NOT("usage");
}

TEST(usage_is_streamed_if_asked_for)
{
    start();
    ask("POST", CHAT, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    assert_int_equal(times("\"usage\":null"), 4); /* role, two tokens, the end */
    HAS("\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\ndata: [DONE]");
}

TEST(the_same_question_gets_the_same_words)
{
    static char first[4096];
    start();
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"x\"}");
    const char *words = strstr(rig.answer, "\"text\"");
    snprintf(first, sizeof first, "%.*s", (int)strcspn(words, ","), words);
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"x\"}");
    HAS(first);
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"y\"}");
    HAS_NOT(first);
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"x\",\"user\":\"u\"}");
    HAS_NOT(first);
    ask("POST", "/_mock/script", "{\"seed\":7}");
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"x\"}");
    HAS_NOT(first);
}

/* It has other names for models, and asks for usage by itself. */
TEST(a_gateway_in_front_changes_no_word)
{
    static char first[4096];
    start();
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"x\",\"stream\":true}");
    const char *words = strstr(rig.answer, "\"text\"");
    snprintf(first, sizeof first, "%.*s", (int)strcspn(words, ","), words);
    ask("POST", "/v1/completions", "{\"stream_options\":{\"include_usage\":true}, \"model\" : \"other\",\"prompt\":\"x\",\"stream\":true}");
    HAS(first);
}

TEST(choices_are_several)
{
    start();
    ask("POST", CHAT, "{\"model\":\"m\",\"n\":3,\"max_tokens\":2,\"messages\":[]}");
    HAS("\"index\":2");
    HAS("\"completion_tokens\":6");
    ask("POST", CHAT, "{\"model\":\"m\",\"n\":3,\"stream\":true,\"max_tokens\":2,\"messages\":[]}");
    assert_int_equal(times("\"delta\":{\"content\""), 6);
    assert_int_equal(times("\"finish_reason\":\"length\""), 3);
    ask("POST", CHAT, "{\"model\":\"m\",\"n\":0,\"messages\":[]}");
    HAS("HTTP/1.1 400");
}

TEST(a_stop_word_ends_the_answer)
{
    start();
    ask("POST", "/v1/completions", "{\"model\":\"m\",\"prompt\":\"x\",\"stop\":\" \"}"); /* a blank stands before the second word */
    HAS("\"completion_tokens\":1");
    HAS("\"finish_reason\":\"stop\"");
}

#define WEATHER "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":{\"properties\":{\"city\":{\"type\":\"string\"}," \
                "\"days\":{\"type\":\"integer\"}},\"required\":[\"city\",\"days\"]}}}]"

TEST(a_required_tool_is_called)
{
    start();
    ask("POST", CHAT, "{\"model\":\"m\",\"messages\":[]," WEATHER ",\"tool_choice\":\"required\"}");
    HAS("\"finish_reason\":\"tool_calls\"");
    HAS("\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\\\"");
    HAS("\\\"days\\\":");
    ask("POST", CHAT, "{\"model\":\"m\",\"messages\":[]," WEATHER ",\"stream\":true,\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"weather\"}}}");
    HAS("\"tool_calls\":[{\"index\":0,\"id\":\"call_mock_2_0\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]");
    HAS("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"city");
    ask("POST", CHAT, "{\"model\":\"m\",\"messages\":[]," WEATHER "}");
    HAS_NOT("tool_calls");
}

TEST(agents_are_answered_with_what_they_asked)
{
    start_with_fault("status=503:1:1");
    ask("POST", "/api/register_agent", "{\"agent_id\":\"a1\"}");
    assert_true(text_eq(body(), TEXT("{\"id\":\"agent-mock-1\",\"status\":\"ok\",\"asked\":{\"agent_id\":\"a1\"}}")));
    ask("POST", "/api/agent_infer", "{}");
    HAS("HTTP/1.1 503"); /* faults are for them as for models */
}

TEST(agents_must_ask_in_json)
{
    start();
    ask("POST", "/api/agent_infer", "{\"a\":}");
    HAS("HTTP/1.1 400");
    ask("POST", "/api/register_agent", "[]");
    HAS("HTTP/1.1 400");
    ask("GET", "/api/register_agent", "");
    HAS("HTTP/1.1 405");
}

TEST(embeddings_are_unit_vectors)
{
    start();
    ask("POST", "/v1/embeddings", "{\"model\":\"m\",\"input\":[\"a b\",\"c\"]}");
    struct arena arena;
    yyjson_doc *doc;
    size_t i, n;
    yyjson_val *one;
    double squares = 0;
    arena_init(&arena, NULL, 0, 4u << 20);
    assert_int_equal(json_parse(&arena, body(), &doc, NULL), OK);
    yyjson_val *data = yyjson_obj_get(yyjson_doc_get_root(doc), "data");
    assert_int_equal(yyjson_arr_size(data), 2);
    yyjson_val *vector = yyjson_obj_get(yyjson_arr_get(data, 1), "embedding");
    assert_int_equal(yyjson_arr_size(vector), 384);
    yyjson_arr_foreach(vector, i, n, one)
        squares += yyjson_get_num(one) * yyjson_get_num(one);
    assert_true(squares > 0.99999 && squares < 1.00001);
    arena_fini(&arena);
    HAS("\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}");
    ask("POST", "/v1/embeddings", "{\"model\":\"m\",\"input\":\"c\",\"dimensions\":2,\"encoding_format\":\"base64\"}");
    const char *at = strstr(rig.answer, "\"embedding\":\"");
    assert_non_null(at);
    assert_int_equal(strcspn(at + 13, "\""), 12); /* two floats, 8 bytes */
    HAS("=\"}");
}

TEST(models_are_listed)
{
    set("model", "one");
    set("model", "two");
    start();
    ask("GET", "/v1/models", "");
    HAS("{\"id\":\"one\",\"object\":\"model\"");
    HAS("{\"id\":\"two\",\"object\":\"model\"");
    HAS_NOT("mock-1");
}

TEST(ollama_answers_in_lines)
{
    set("dialect", "ollama");
    start();
    ask("POST", "/api/chat", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}],\"options\":{\"num_predict\":3}}");
    HAS("content-type: application/x-ndjson");
    assert_int_equal(times("\"done\":false}\n"), 3);
    HAS("\"done\":true,\"done_reason\":\"length\"");
    HAS("\"prompt_eval_count\":2");
    HAS("\"eval_count\":3");
    ask("POST", "/api/generate", "{\"model\":\"m\",\"prompt\":\"a\",\"stream\":false}");
    HAS("content-length:");
    HAS("\"response\":\"");
    HAS("\"done_reason\":\"stop\"");
    ask("POST", "/api/embed", "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"dimensions\":2}");
    HAS("\"embeddings\":[[");
    ask("GET", "/api/tags", "");
    HAS("{\"name\":\"mock-1\",\"model\":\"mock-1\"");
    ask("GET", "/api/version", "");
    HAS("{\"version\":\"0.5.0\"}");
    ask("POST", CHAT, HELLO);
    HAS("HTTP/1.1 404");
}

TEST(ollama_streams_a_prompt_and_calls_a_tool)
{
    set("dialect", "ollama");
    start();
    ask("POST", "/api/generate", "{\"model\":\"m\",\"prompt\":\"a b\",\"options\":{\"num_predict\":3}}");
    assert_int_equal(times("\"done\":false}\n"), 3);
    assert_int_equal(times("\"response\":\""), 4);
    HAS("\"context\":[1,2,3],\"done\":true,\"done_reason\":\"length\"");
    static const char tools[] = "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tool_choice\":\"required\","
                                "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\",\"parameters\":{\"type\":\"object\",\"properties\":{\"at\":{\"type\":\"string\"}},\"required\":[\"at\"]}}}]}";
    char body[512];
    snprintf(body, sizeof body, "{\"model\":\"m\",%s", tools);
    ask("POST", "/api/chat", body);
    assert_int_equal(times("\"tool_calls\":[{\"function\":{\"name\":\"look\",\"arguments\":{\"at\":"), 1); /* at once, however long */
    snprintf(body, sizeof body, "{\"model\":\"m\",\"stream\":false,%s", tools);
    ask("POST", "/api/chat", body);
    assert_int_equal(times("\"tool_calls\":["), 1);
    HAS("\"done\":true");
}

struct wrong_ask {
    const char *path, *body, *why;
};

static void all_are_refused(const char *dialect, const struct wrong_ask *rows, size_t count)
{
    set("dialect", dialect);
    start();
    for (size_t i = 0; i < count; i++) {
        ask("POST", rows[i].path, rows[i].body);
        HAS("HTTP/1.1 400");
        HAS(rows[i].why);
    }
}

TEST(bodies_that_openai_would_not_take)
{
    static const struct wrong_ask rows[] = {
        { CHAT, "{\"model\":\"m\",\"messages\":1}", "messages must be an array" },
        { "/v1/completions", "{\"model\":\"m\",\"prompt\":1}", "prompt must be a string" },
        { "/v1/embeddings", "{\"model\":\"m\",\"input\":[]}", "input must be a string or an array" },
        { "/v1/embeddings", "{\"model\":\"m\",\"input\":\"a\",\"dimensions\":0}", "dimensions is out of range" },
    };
    all_are_refused("openai", rows, ARRAY_LEN(rows));
}

TEST(bodies_that_ollama_would_not_take)
{
    static const struct wrong_ask rows[] = {
        { "/api/chat", "{\"model\":\"m\"}", "messages must be an array" },
        { "/api/generate", "{\"model\":\"m\",\"prompt\":[]}", "prompt must be a string" },
        { "/api/embed", "{\"model\":\"m\",\"input\":{}}", "input must be a string or an array" },
    };
    all_are_refused("ollama", rows, ARRAY_LEN(rows));
}

TEST(anthropic_answers_in_events)
{
    set("dialect", "anthropic");
    start();
    ask("POST", "/v1/messages", "{\"model\":\"m\",\"max_tokens\":3,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a b\"}]}]}");
    HAS("event: message_start\ndata: {\"type\":\"message_start\"");
    HAS("\"input_tokens\":2");
    assert_int_equal(times("event: content_block_delta\n"), 3);
    HAS("\"stop_reason\":\"max_tokens\"");
    HAS("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    ask("POST", "/v1/messages", "{\"model\":\"m\",\"max_tokens\":300,\"messages\":[]}");
    HAS("\"content\":[{\"type\":\"text\",\"text\":\"");
    HAS("\"stop_reason\":\"end_turn\"");
    ask("POST", "/v1/messages", "{\"model\":\"m\",\"messages\":[]}");
    HAS("HTTP/1.1 400");
    HAS("{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\"");
    ask("POST", "/v1/messages", "{\"model\":\"m\",\"max_tokens\":3,\"messages\":[],\"tools\":[{\"name\":\"f\",\"input_schema\":{\"required\":[\"x\"]}}],\"tool_choice\":{\"type\":\"any\"}}");
    HAS("{\"type\":\"tool_use\",\"id\":\"toolu_mock_4\",\"name\":\"f\",\"input\":{\"x\":\"");
    HAS("\"stop_reason\":\"tool_use\"");
    ask("GET", "/v1/models", "");
    HAS("\"display_name\":\"mock-1\"");
}

TEST(wrong_requests_are_told)
{
    start();
    ask("POST", CHAT, "{\"model\":");
    HAS("HTTP/1.1 400");
    ask("POST", CHAT, "{\"messages\":[]}");
    HAS("you must provide a model parameter");
    ask("GET", CHAT, "");
    HAS("HTTP/1.1 405");
    HAS("allow: POST\r\n");
    ask("GET", "/nowhere", "");
    HAS("HTTP/1.1 404");
    int fd = dial();
    say(fd, "nonsense\r\n\r\n", 12);
    assert_true(hear(fd, SOON_MS));
    HAS("HTTP/1.1 400");
    close(fd);
}

/* ---- connections ---- */

TEST(a_connection_serves_many)
{
    start();
    int fd = dial();
    for (int i = 0; i < 3; i++) /* pipelined */
        ask_on(fd, "POST", CHAT, "", HELLO_4);
    hear_part(fd, "HTTP/1.1 200 OK", 3);
    ask_on(fd, "POST", CHAT, "Connection: close\r\n", STREAM_4);
    assert_true(hear(fd, SOON_MS));
    HAS("data: [DONE]");
    close(fd);
}

static size_t question_of(char *to, size_t room)
{
    size_t at = (size_t)snprintf(to, room, "{\"model\":\"m\",\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (; at + 64 < room; at += 2)
        memcpy(to + at, "w ", 2);
    return at + (size_t)snprintf(to + at, room - at, "\"}]}");
}

TEST(a_large_body_arrives_whole)
{
    static char large[6u << 20];
    start();
    question_of(large, sizeof large);
    for (int i = 0; i < 5; i++) {
        ask("POST", CHAT, large);
        HAS("HTTP/1.1 200 OK");
        HAS("\"completion_tokens\":4");
    }
}

/* More than the look-ahead holds lies in the socket before anybody reads, and no later byte brings another edge. */
TEST(a_body_that_came_before_its_reader_is_read)
{
    static char large[400000];
    int room = 1 << 20;
    question_of(large, sizeof large);
    start_listener();
    assert_int_equal(setsockopt(rig.listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0); /* its connections inherit it */
    int fd = dial();
    ask_on(fd, "POST", CHAT, "Connection: close\r\n", large);
    poll(NULL, 0, QUIET_MS); /* until it lies there */
    start_mock();
    assert_true(hear(fd, SOON_MS));
    HAS("HTTP/1.1 200 OK");
    close(fd);
}

#define PIPELINED 500 /* requests that fit into the look-ahead together; their answers are 60 MB, the kernel takes 10 at most */

TEST(who_does_not_read_is_not_answered_on)
{
    set("tokens", "20000");
    start();
    int fd = dial();
    for (int i = 0; i < PIPELINED; i++)
        ask_on(fd, "POST", "/v1/completions", "", "{\"model\":\"m\",\"prompt\":\"\"}");
    for (uint64_t before = UINT64_MAX; before != stats().completed; poll(NULL, 0, 2 * QUIET_MS))
        before = stats().completed;
    assert_in_range(stats().completed, 1, PIPELINED / 2);
    for (int left = SOON_MS; left > 0 && stats().completed < PIPELINED;) { /* and all of them come once somebody reads */
        struct pollfd p = { fd, POLLIN, 0 };
        if (poll(&p, 1, 1) == 1)
            assert_true(recv(fd, rig.answer, ANSWER_MAX, 0) > 0);
        else
            left--; /* the last bytes may be here before they are counted */
    }
    assert_int_equal(stats().completed, PIPELINED);
    close(fd);
}

/* ---- faults ---- */

TEST(fault_status)
{
    start_with_fault("status=429,retry-after=2");
    ask("POST", CHAT, HELLO);
    HAS("HTTP/1.1 429 Too Many Requests\r\n");
    HAS("retry-after: 2\r\n");
    HAS("{\"error\":{\"message\":");
    ask("GET", "/v1/models", ""); /* lists stay honest */
    HAS("HTTP/1.1 200");
    assert_int_equal(stats().faults[MOCK_FAULT_STATUS], 1);
}

TEST(fault_hang)
{
    start_with_fault("hang");
    int fd = dial();
    ask_on(fd, "POST", CHAT, "", HELLO);
    EVENTUALLY(stats().active == 1);
    assert_false(hear(fd, QUIET_MS));
    assert_int_equal(rig.answer_len, 0);
    close(fd);
    EVENTUALLY(stats().cancelled == 1);
    assert_int_equal(stats().active, 0);
    assert_true(stats().last_cancelled != NEVER);
}

TEST(fault_hang_headers)
{
    start_with_fault("hang-headers");
    int fd = dial();
    ask_on(fd, "POST", CHAT, "", HELLO);
    hear_part(fd, "OK\r\n", 1);
    assert_string_equal(rig.answer, "HTTP/1.1 200 OK\r\n");
    close(fd);
    EVENTUALLY(stats().cancelled == 1);
}

TEST(fault_cut)
{
    start_with_fault("cut");
    ask("POST", CHAT, STREAM_4);
    assert_int_equal(times("\"delta\":{\"content\""), 2);
    HAS_NOT("[DONE]");
    HAS_NOT("\r\n0\r\n\r\n");
    assert_false(rig.was_reset);
    ask("POST", CHAT, HELLO_4);
    HAS("\"object\":\"chat.completion\"");
    HAS_NOT("total_tokens");
}

TEST(fault_cut_first)
{
    start_with_fault("cut=first");
    ask("POST", CHAT, STREAM_4);
    assert_int_equal(rig.answer_len, 0);
    assert_false(rig.was_reset);
}

TEST(fault_stall)
{
    start_with_fault("stall");
    int fd = dial();
    ask_on(fd, "POST", CHAT, "", STREAM_4);
    hear_part(fd, "\"delta\":{\"content\"", 2);
    assert_int_equal(stats().active, 1);
    close(fd);
    EVENTUALLY(stats().cancelled == 1);
}

TEST(fault_drip)
{
    set("itl", "10us");
    start_with_fault("drip");
    int fd = dial();
    ask_on(fd, "POST", CHAT, "Connection: close\r\n", STREAM_4);
    char first[64];
    ssize_t n = recv(fd, first, sizeof first, 0);
    assert_true(n > 0 && n < (ssize_t)sizeof first); /* not even the head came at once */
    assert_int_equal(first[0], 'H');
    assert_true(hear(fd, SOON_MS));
    HAS("data: [DONE]\n\n\r\n0\r\n\r\n");
    close(fd);
    ask("POST", CHAT, HELLO_4);
    HAS("\"total_tokens\":7}}");
}

TEST(fault_garbage)
{
    start_with_fault("garbage");
    ask("POST", CHAT, HELLO);
    assert_true(rig.answer_len > 10);
    HAS_NOT("HTTP/1.1");
}

TEST(fault_badchunk)
{
    start_with_fault("badchunk");
    ask("POST", CHAT, STREAM_4);
    HAS("\r\nzz\r\n");
    HAS_NOT("[DONE]");
    ask("POST", CHAT, HELLO_4);
    HAS("transfer-encoding: chunked");
    HAS("\r\nzz\r\n");
}

static void check_length(const char *question, long wrong_by)
{
    ask("POST", CHAT, question);
    const char *length = strstr(rig.answer, "content-length: "), *at = strstr(rig.answer, "\r\n\r\n");
    assert_non_null(length);
    assert_non_null(at);
    assert_int_equal(strtol(length + 16, NULL, 10), (long)rig.answer_len - (at + 4 - rig.answer) + wrong_by);
}

TEST(fault_wronglength)
{
    start_with_fault("wronglength");
    check_length(HELLO_4, 7);
    check_length(STREAM_4, 7);
    ask("POST", "/_mock/script", "{\"faults\":[\"wronglength=short\"]}");
    check_length(HELLO_4, -7);
    check_length(STREAM_4, -7);
}

TEST(fault_splitutf8)
{
    start_with_fault("splitutf8");
    ask("POST", CHAT, STREAM_4);
    HAS("\r\nda\r\n"); /* a chunk ends within "data:" */
    bool is_split = false;
    for (size_t i = 0; i + 2 < rig.answer_len; i++) /* a chunk that begins within a character */
        is_split |= memcmp(rig.answer + i, "\r\n", 2) == 0 && ((unsigned char)rig.answer[i + 2] & 0xc0) == 0x80;
    assert_true(is_split);
    struct text whole = body();
    assert_true(text_is_utf8(whole));
    assert_true(text_ends(whole, TEXT("data: [DONE]\n\n")));
}

TEST(fault_bigline)
{
    start_with_fault("bigline");
    ask("POST", CHAT, STREAM_4);
    assert_true(rig.answer_len > 10u << 20);
    struct text whole = body();
    assert_true(text_ends(whole, TEXT("data: [DONE]\n\n")));
    size_t longest = 0;
    for (struct text line; whole.len > 0; longest = MAX(longest, line.len))
        whole = text_cut(whole, '\n', &line);
    assert_true(longest > 10u << 20);
}

TEST(fault_nodone)
{
    start_with_fault("nodone");
    ask("POST", CHAT, STREAM_4);
    HAS("\"finish_reason\":\"length\"");
    HAS_NOT("[DONE]");
    HAS("\r\n0\r\n\r\n");
}

TEST(fault_errorevent)
{
    start_with_fault("errorevent");
    ask("POST", CHAT, STREAM_4);
    assert_int_equal(times("\"delta\":{\"content\""), 2);
    HAS("data: {\"error\":{\"message\":\"");
    HAS_NOT("[DONE]");
    ask("POST", CHAT, HELLO_4);
    HAS("HTTP/1.1 200 OK");
    HAS("{\"error\":{");
    ask("POST", "/_mock/script", "{\"faults\":[\"errorevent=first\"]}");
    ask("POST", CHAT, STREAM_4);
    HAS_NOT("\"delta\":{\"content\"");
    HAS("data: {\"error\":{\"message\":\"");
}

TEST(fault_rst)
{
    start_with_fault("rst");
    ask("POST", CHAT, STREAM_4);
    assert_true(rig.was_reset);
    assert_int_equal(times("\"delta\":{\"content\""), 2);
    ask("POST", CHAT, HELLO_4);
    assert_true(rig.was_reset);
    ask("POST", "/_mock/script", "{\"faults\":[\"rst=first\"]}");
    ask("POST", CHAT, STREAM_4);
    assert_true(rig.was_reset);
    assert_int_equal(rig.answer_len, 0);
}

TEST(fault_hugeheader)
{
    start_with_fault("hugeheader");
    ask("POST", CHAT, HELLO_4);
    HAS("x-huge: xxxx");
    assert_true(rig.answer_len > 1u << 20);
    HAS("\"total_tokens\":7}}");
}

TEST(fault_html)
{
    start_with_fault("html");
    ask("POST", CHAT, STREAM_4);
    HAS("HTTP/1.1 200 OK");
    HAS("content-type: text/html");
    HAS("<html>");
}

TEST(fault_echo_id)
{
    start_with_fault("echo-id");
    int fd = dial();
    ask_on(fd, "POST", CHAT, "Connection: close\r\nX-Request-Id: q\"17\r\n", STREAM_4);
    assert_true(hear(fd, SOON_MS));
    close(fd);
    assert_int_equal(times("q\\\"17:"), 4);
}

TEST(faults_have_a_rate_and_a_start)
{
    start_with_fault("status=500:1:2");
    ask("POST", CHAT, HELLO);
    HAS("HTTP/1.1 200");
    ask("POST", CHAT, HELLO);
    HAS("HTTP/1.1 200");
    ask("POST", CHAT, HELLO);
    HAS("HTTP/1.1 500");
    ask("POST", "/_mock/script", "{\"faults\":[\"status=503:0.5\"]}");
    unsigned refused = 0;
    for (int i = 0; i < 100; i++) {
        ask("POST", CHAT, HELLO_4);
        refused += has("HTTP/1.1 503");
    }
    assert_in_range(refused, 30, 70);
    assert_int_equal(stats().faults[MOCK_FAULT_STATUS], refused + 1);
    ask("POST", "/_mock/script", "{\"faults\":[]}");
    ask("POST", CHAT, HELLO);
    HAS("HTTP/1.1 200");
}

/* ---- slots, pace, statistics, scripts ---- */

static nanos clock_now(void)
{
    return world_now(rig.world);
}

TEST(slots_are_a_queue)
{
    set("slots", "1");
    start_with_fault("hang:1:0");
    int first = dial(), second = dial(), third = dial();
    ask_on(first, "POST", CHAT, "", HELLO);
    EVENTUALLY(stats().active == 1);
    ask_on(second, "POST", CHAT, "", HELLO);
    EVENTUALLY(stats().queued == 1);
    ask("POST", "/_mock/script", "{\"faults\":[]}"); /* who waits drew its fault when it came, so the second hangs too */
    ask_on(third, "POST", CHAT, "", HELLO_4);
    EVENTUALLY(stats().queued == 2);
    close(second); /* leaves from the queue */
    EVENTUALLY(stats().cancelled == 1 && stats().queued == 1);
    assert_int_equal(stats().active, 1);
    close(first);
    hear_part(third, "HTTP/1.1 200 OK", 1);
    EVENTUALLY(stats().cancelled == 2 && stats().active == 0 && stats().queued == 0);
    assert_int_equal(stats().max_active, 1);
    close(third);
}

/* A model's time begins when the request has its slot. */
TEST(waiting_is_not_answering)
{
    set("slots", "1");
    set("ttft", "20ms");
    start();
    int fds[3];
    nanos began = clock_now();
    for (int i = 0; i < 3; i++) {
        fds[i] = dial();
        ask_on(fds[i], "POST", CHAT, "Connection: close\r\n", HELLO_4);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(hear(fds[i], SOON_MS));
        close(fds[i]);
    }
    assert_true(clock_now() - began >= 60 * NANOS_PER_MS);
}

TEST(more_slots_let_the_waiting_in)
{
    set("slots", "1");
    start_with_fault("hang");
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = dial();
        ask_on(fds[i], "POST", CHAT, "", HELLO);
    }
    EVENTUALLY(stats().active == 1 && stats().queued == 3);
    ask("POST", "/_mock/script", "{\"slots\":3}");
    EVENTUALLY(stats().active == 3 && stats().queued == 1);
    ask("POST", "/_mock/script", "{\"slots\":0}");
    EVENTUALLY(stats().active == 4 && stats().queued == 0);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    EVENTUALLY(stats().cancelled == 4);
}


TEST(tokens_come_at_their_pace)
{
    set("ttft", "30ms");
    set("itl", "10ms");
    start();
    nanos began = clock_now();
    ask("POST", CHAT, STREAM_4);
    assert_true(clock_now() - began >= 60 * NANOS_PER_MS);
    HAS("data: [DONE]");
    assert_true(times("data: ") >= 6);
    began = clock_now();
    ask("POST", CHAT, HELLO_4);
    assert_true(clock_now() - began >= 60 * NANOS_PER_MS);
    ask("POST", "/_mock/script", "{\"ttft\":\"lognormal(5ms,0.5)\",\"itl\":\"0\"}");
    ask("POST", CHAT, STREAM_4);
    HAS("data: [DONE]");
}

TEST(a_client_that_leaves_is_noticed)
{
    set("itl", "20ms");
    set("tokens", "1000");
    start();
    int fd = dial();
    ask_on(fd, "POST", CHAT, "", STREAM);
    EVENTUALLY(stats().streams == 1);
    nanos left_at = clock_now();
    close(fd);
    EVENTUALLY(stats().cancelled == 1);
    assert_true(stats().last_cancelled - left_at < 5 * NANOS_PER_S);
    assert_int_equal(stats().completed, 0);
    ask("GET", "/_mock/stats", "");
    HAS("\"cancelled\":1,\"last_cancelled_ms_ago\":");
    HAS_NOT("\"last_cancelled_ms_ago\":null");
}

TEST(statistics_are_a_page)
{
    start_with_fault("nodone");
    ask("POST", CHAT, HELLO_4);
    ask("POST", CHAT, STREAM_4);
    ask("GET", "/v1/models", "");
    ask("GET", "/_mock/stats", "");
    HAS("{\"requests\":2,\"streams\":1,\"active\":0,\"queued\":0,\"max_active\":1,\"completed\":2,\"cancelled\":0,\"last_cancelled_ms_ago\":null,");
    HAS("\"script\":{\"seed\":0,\"tokens\":20,\"pauses\":false}");
    HAS("\"faults\":{\"nodone\":2}");
    HAS("\"/v1/chat/completions\":2,\"/v1/models\":1,\"/_mock/stats\":1");
    ask("POST", "/_mock/reset", "");
    HAS("{\"ok\":true}");
    ask("GET", "/_mock/stats", "");
    HAS("{\"requests\":0,");
    HAS("\"faults\":{}");
}

TEST(wrong_scripts_change_nothing)
{
    start();
    ask("POST", "/_mock/script", "{\"tokens\":3,\"ttf\":\"1s\"}");
    HAS("HTTP/1.1 400");
    HAS("did you mean ttft?");
    ask("POST", CHAT, HELLO);
    HAS("\"completion_tokens\":20");
    static const char *const wrong[] = {
        "[]", "{", "{\"ttft\":\"soon\"}", "{\"tokens\":0}", "{\"slots\":-1}", "{\"faults\":[\"cat\"]}", "{\"faults\":[\"cut:2\"]}", "{\"faults\":[\"cut:1:x\"]}",
        "{\"faults\":[\"status\"]}", "{\"faults\":[\"hang=first\"]}", "{\"dialect\":\"latin\"}", "{\"ttft\":\"lognormal(1s)\"}", "{\"ttft\":\"exponential(1)\"}", "{\"ttft\":\"trace:/nowhere\"}", "{\"tokens\":[1]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        ask("POST", "/_mock/script", wrong[i]);
        if (!has("HTTP/1.1 400"))
            fail_msg("%s was taken", wrong[i]);
    }
}

TEST(a_trace_is_a_file)
{
    char name[] = "/tmp/weir-mock-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "1ms\n\n40ms\n", 10), 10);
    close(fd);
    char value[64];
    snprintf(value, sizeof value, "trace:%s", name);
    set("ttft", value);
    assert_int_equal(rig.script.ttft.trace_count, 2);
    start();
    nanos began = clock_now();
    ask("POST", CHAT, HELLO_4);
    ask("POST", CHAT, HELLO_4);
    assert_true(clock_now() - began >= 41 * NANOS_PER_MS);
    unlink(name);
}

/* ---- the simulated world ---- */

#define STORY_NS (60 * NANOS_PER_S) /* virtual */

struct story {
    struct addr at;
    struct mock *mock;
};

static void story_ask(struct task *t, struct story *s, struct actor *a, const char *path, const char *question)
{
    char head[512];
    nanos until = t->worker->now + STORY_NS;
    ASSERT(actor_connect(t, a, &s->at, until) == OK);
    int n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: mock\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", path, strlen(question));
    ASSERT(actor_write_all(t, a, head, (size_t)n, until) == OK);
    ASSERT(actor_write_all(t, a, question, strlen(question), until) == OK);
}

static void story_hear(struct task *t, struct actor *a, const char *part)
{
    char got[16384];
    size_t len = 0, n = 1;
    while (n > 0) { /* ends with the answer; got's room is above all of them */
        ASSERT(actor_read(t, a, got + len, sizeof got - 1 - len, t->worker->now + STORY_NS, &n) == OK);
        len += n;
    }
    got[len] = 0;
    ASSERT(strstr(got, part) != NULL);
    actor_close(a);
}

static void story_await(struct task *t, struct story *s, uint64_t cancelled, uint32_t queued)
{
    struct mock_stats now;
    for (int i = 0; i < 1000; i++) {
        mock_stats_read(s->mock, &now);
        if (now.cancelled == cancelled && now.queued == queued)
            return;
        ASSERT(task_sleep(t, t->worker->now + NANOS_PER_MS) == OK);
    }
    ASSERT(!"the mock comes to where it should");
}

static void mock_story(struct task *t, void *arg)
{
    struct both *b = arg;
    struct story s;
    struct mock_script script;
    struct complaint why;
    struct actor hanging, waiting, asking;
    mock_script_init(&script);
    ASSERT(mock_script_set(&script, TEXT("slots"), TEXT("1"), &why) && mock_script_set(&script, TEXT("ttft"), TEXT("lognormal(2s,0.6)"), &why));
    ASSERT(mock_script_set(&script, TEXT("itl"), TEXT("50ms"), &why) && mock_script_set(&script, TEXT("fault"), TEXT("stall"), &why));
    s.mock = mock_new(t->worker, &script);
    ASSERT(s.mock != NULL && addr_from_text(&s.at, TEXT("127.0.0.1"), 4041));
    int listener = b->world->listen(b->world, &s.at);
    ASSERT(listener >= 0 && mock_listen(s.mock, listener) == OK);
    story_ask(t, &s, &hanging, CHAT, STREAM_4);
    ASSERT(task_sleep(t, t->worker->now + 100 * NANOS_PER_MS) == OK);
    story_ask(t, &s, &asking, "/_mock/script", "{\"faults\":[]}");
    story_hear(t, &asking, "{\"ok\":true}");
    story_ask(t, &s, &waiting, CHAT, STREAM_4);
    story_await(t, &s, 0, 1);
    actor_reset(&hanging); /* its slot goes to who waits */
    story_await(t, &s, 1, 0);
    story_hear(t, &waiting, "data: [DONE]\n\n");
    mock_stop(s.mock);
    ASSERT(task_sleep(t, t->worker->now + 10 * NANOS_PER_S) == OK); /* lingering connections end */
    mock_free(s.mock);
    b->world->close(b->world, listener);
    mock_script_fini(&script);
}

TEST(it_lives_in_the_simulated_world)
{
    both_simulated("mock", mock_story, 1, 50);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(chat_is_plain), T(chat_streams), T(usage_is_streamed_if_asked_for), T(the_same_question_gets_the_same_words), T(a_gateway_in_front_changes_no_word), T(choices_are_several),
        T(a_stop_word_ends_the_answer), T(a_required_tool_is_called), T(agents_are_answered_with_what_they_asked), T(agents_must_ask_in_json),
        T(embeddings_are_unit_vectors), T(models_are_listed), T(ollama_answers_in_lines), T(ollama_streams_a_prompt_and_calls_a_tool), T(bodies_that_openai_would_not_take),
        T(bodies_that_ollama_would_not_take),
        T(anthropic_answers_in_events), T(wrong_requests_are_told), T(a_connection_serves_many), T(a_large_body_arrives_whole), T(a_body_that_came_before_its_reader_is_read),
        T(who_does_not_read_is_not_answered_on), T(fault_status), T(fault_hang), T(fault_hang_headers), T(fault_cut), T(fault_cut_first), T(fault_stall),
        T(fault_drip), T(fault_garbage), T(fault_badchunk), T(fault_wronglength), T(fault_splitutf8), T(fault_bigline), T(fault_nodone), T(fault_errorevent),
        T(fault_rst), T(fault_hugeheader), T(fault_html), T(fault_echo_id), T(faults_have_a_rate_and_a_start), T(slots_are_a_queue), T(waiting_is_not_answering),
        T(more_slots_let_the_waiting_in), T(tokens_come_at_their_pace), T(a_client_that_leaves_is_noticed), T(statistics_are_a_page),
        T(wrong_scripts_change_nothing), T(a_trace_is_a_file), T(it_lives_in_the_simulated_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
