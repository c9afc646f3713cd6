/* story.c: see story.h. After the fault: every client got a whole answer, an error that names its request, or a visible cut; each request that began ended once;
   the next plain request is served; no slot, task, socket or block of memory is left. The clients and backends here say little and check much: what a fault may change is how a request ends, not what it is answered. */
#include "fault/story.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MOST   (512u << 10)
#define LONG_BYTES    200000u             /* of a long answer: its end still waits in the gateway when its request has ended */
#define PATIENCE_NS   (20 * NANOS_PER_S)  /* beyond every timeout of every story */
#define CALM_NS       (10 * NANOS_PER_S)  /* linger takes 2 s */
#define LATE_NS       (350 * NANOS_PER_MS)
#define STREAM_TOKENS 4
#define EVENT_BYTES   40000u              /* of a large one: more than the gateway's pool for reading one */

#define ONE_BACKEND   "timeouts: {total: 8s, connect: 500ms, first_token: 2s, between_tokens: 2s, header: 3s, body: 3s, write: 3s, drain: 3s}\n" \
                      "backends: {b1: {url: 'http://10.0.0.1:8000', concurrency: 4}}\nmodels: {m: {use: [b1/up]}}\n"
#define ONE_SLOT      "timeouts: {total: 8s, connect: 500ms, first_token: 2s, between_tokens: 2s, header: 3s, body: 3s, write: 3s, drain: 3s}\n" \
                      "backends: {b1: {url: 'http://10.0.0.1:8000', concurrency: 1}}\nmodels: {m: {use: [b1/up]}}\n"
/* b2 says 500, nobody listens at b3 */
#define THREE_BACKENDS "timeouts: {total: 8s, connect: 500ms, first_token: 2s, between_tokens: 2s, header: 3s, body: 3s, write: 3s, drain: 3s}\n" \
                      "backends: {b1: {url: 'http://10.0.0.1:8000'}, b2: {url: 'http://10.0.0.2:8000'}, b3: {url: 'http://10.0.0.3:8000'}}\n" \
                      "models: {m: {use: [b3/up], fallback: [b2/up]}, n: {use: [b2/up], fallback: [b1/up]}}\n"
#define HEDGED        "timeouts: {total: 8s, connect: 500ms, first_token: 2s, between_tokens: 2s, header: 3s, body: 3s, write: 3s, drain: 3s}\n" \
                      "backends: {b1: {url: 'http://10.0.0.1:8000'}, same: {url: 'http://10.0.0.1:8000'}}\nmodels: {m: {use: [b1/up, same/up], hedge: on}}\n"
#define WITH_KEYS     "keys: {user: {key: key-user}, boss: {key: key-boss, role: admin}}\n"
/* b2 says 500, so what asks it first is tried again; one slot, so others wait */
#define LIMITED \
    "timeouts: {total: 8s, connect: 500ms, first_token: 2s, between_tokens: 2s, header: 3s, body: 3s, write: 3s, drain: 3s}\n" \
    "backends: {b1: {url: 'http://10.0.0.1:8000', concurrency: 1}, b2: {url: 'http://10.0.0.2:8000', concurrency: adaptive}}\n" \
    "models: {m: {use: [b2/up], fallback: [b1/up], balance: affinity, defaults: {max_tokens: 100}, price: {in: 1, out: 2}}}\n" \
    "tenants: {red: {tpm: 100000, budget: {usd: 5, per: 1h}}}\n" \
    "keys:\n" \
    "  user: {key: key-user, tenant: red, priority: normal, priority_max: high, rpm: 600, tpm: 50000, concurrency: 10, budget: {usd: 1, per: 1d}}\n" \
    "  narrow: {key: key-narrow, tenant: red, rpm: 1}\n" \
    "  poor: {key: key-poor, budget: {usd: 0.000001, per: 1d}}\n"
#define CHAT          "POST /v1/chat/completions"
#define PLAIN_BODY    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}"
#define STREAM_BODY   "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}"
#define LONG_BODY     "{\"model\":\"m\",\"user\":\"long\",\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}"
#define WHOLE         "\"content\":\"whole\""
#define DONE          "data: [DONE]\n\n"

const struct story stories[] = {
    { "plain", ONE_BACKEND, NULL, false, { { .line = CHAT, .body = PLAIN_BODY, .times = 2, .want = WHOLE, .status = 200 } } },
    { "stream", ONE_BACKEND, NULL, false, { { .line = CHAT, .body = STREAM_BODY, .times = 2, .want = DONE, .status = 200 } } },
    { "failover", "timeouts: {total: 8s, connect: 500ms, first_token: 2s}\nbackends: {b1: {url: 'http://10.0.0.1:8000'}, b2: {url: 'http://10.0.0.2:8000'}, b3: {url: 'http://10.0.0.3:8000'}}\n"
                  "models: {m: {use: [b2/up], fallback: [b1/up]}, r: {use: [b3/up], fallback: [b1/up]}}\n", NULL, false,
      { { .line = CHAT, .body = PLAIN_BODY, .want = WHOLE, .status = 200 }, { .line = CHAT, .at_ms = 50, .body = STREAM_BODY, .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 100, .body = "{\"model\":\"r\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 } } },
    { "all fail", THREE_BACKENDS, "", false, { { .line = CHAT, .body = PLAIN_BODY, .want = "", .status = 502 }, { .line = CHAT, .at_ms = 20, .body = STREAM_BODY, .want = "", .status = 502 } } },
    { "queue", ONE_SLOT, NULL, false, /* hostile 73: who waits leaves while it is being served */
      { { .line = CHAT, .body = STREAM_BODY, .want = DONE, .status = 200 }, { .line = CHAT, .at_ms = 1, .body = STREAM_BODY, .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 2, .body = PLAIN_BODY, .want = WHOLE, .status = 200 } } },
    { "big body", ONE_BACKEND, NULL, false,
      { { .line = CHAT, .body = PLAIN_BODY, .pad = 150000, .chunked = true, .want = WHOLE, .status = 200 },
        { .line = CHAT, .at_ms = 30, .body = PLAIN_BODY, .pad = 90000, .slow = true, .headers = "expect: 100-continue\r\n", .want = WHOLE, .status = 200 } } },
    { "long answer", "stream: {buffer: 4KiB}\n" ONE_BACKEND, NULL, false, { { .line = CHAT, .body = LONG_BODY, .slow = true, .want = "\"long\":\"", .status = 200 } } },
    { "heartbeat", "stream: {heartbeat: 100ms}\n" ONE_BACKEND, NULL, false,
      { { .line = CHAT, .body = "{\"model\":\"m\",\"user\":\"late\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 } } },
    { "hedge", HEDGED, NULL, false, /* of two that are asked the second one is sooner, in a stream and in a body; then both are late, and the first one is */
      { { .line = CHAT, .body = "{\"model\":\"m\",\"user\":\"by turns\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 100, .body = "{\"model\":\"m\",\"user\":\"by turns\",\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = WHOLE, .status = 200 },
        { .line = CHAT, .at_ms = 200, .body = "{\"model\":\"m\",\"user\":\"late\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 } } },
    { "large event", ONE_BACKEND, NULL, false,
      { { .line = CHAT, .body = "{\"model\":\"m\",\"user\":\"large\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 } } },
    { "cut", ONE_BACKEND, NULL, false,
      { { .line = CHAT, .body = "{\"model\":\"m\",\"user\":\"cut\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 } } },
    { "reload", ONE_SLOT WITH_KEYS, "stream: {buffer: 8KiB}\n" ONE_BACKEND "keys: {user: {key: key-user}, more: {key: key-more}}\n", false,
      { { .line = CHAT, .headers = "authorization: Bearer key-user\r\n", .body = STREAM_BODY, .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 1, .headers = "authorization: Bearer key-user\r\n", .body = STREAM_BODY, .want = DONE, .status = 200 },
        { .line = "POST /reload", .at_ms = 4, .admin = true, .want = "", .status = 200 },
        { .line = "GET /v1/models", .at_ms = 3, .times = 200, .revoked = true, .headers = "authorization: Bearer key-boss\r\n", .want = "" },
        { .line = CHAT, .at_ms = 300, .headers = "authorization: Bearer key-user\r\n", .body = PLAIN_BODY, .want = WHOLE, .status = 200 } } },
    { "bad reload", ONE_BACKEND, "models: {m: {use: [nobody/x]}}\n", false,
      { { .line = "POST /reload", .admin = true, .want = "", .status = 409 }, { .line = CHAT, .at_ms = 20, .body = PLAIN_BODY, .want = WHOLE, .status = 200 } } },
    { "discovery", "backends: {b1: {url: 'http://10.0.0.1:8000'}}\n", NULL, false,
      { { .line = CHAT, .at_ms = 1500, .body = PLAIN_BODY, .want = WHOLE, .status = 200 }, { .line = "GET /v1/models", .at_ms = 1600, .want = "\"m\"", .status = 200 } } },
    { "pages", ONE_BACKEND, NULL, false,
      { { .line = "GET /metrics", .want = "weir_", .status = 200 }, { .line = "GET /health", .at_ms = 1, .want = "", .status = 200 },
        { .line = "GET /api/v1/metrics", .at_ms = 2, .want = "{", .status = 200 },
        { .line = "GET /v1/models/m", .at_ms = 3, .want = "\"m\"", .status = 200 } } },
    { "admin", ONE_BACKEND, NULL, false,
      { { .line = CHAT, .body = STREAM_BODY, .want = DONE, .status = 200 }, { .line = "GET /status", .at_ms = 2, .admin = true, .times = 2, .want = "{", .status = 200 },
        { .line = "GET /requests", .at_ms = 3, .admin = true, .want = "", .status = 200 }, { .line = "GET /explain/nobody", .at_ms = 50, .admin = true, .want = "", .status = 404 } } },
    { "refusals", ONE_BACKEND WITH_KEYS, NULL, false,
      { { .line = CHAT, .body = PLAIN_BODY, .status = 401, .want = "" }, { .line = "GET /nowhere", .at_ms = 1, .status = 404, .want = "" },
        { .line = "DELETE /v1/models", .at_ms = 2, .status = 405, .want = "" },
        { .line = CHAT, .at_ms = 3, .headers = "authorization: Bearer key-user\r\nhost: twice\r\n", .body = PLAIN_BODY, .status = 400, .want = "" } } },
    { "limits", LIMITED, NULL, false, /* limits of key and tenant, money, classes, a queue, a retry */
      { { .line = CHAT, .headers = "authorization: Bearer key-user\r\n", .body = STREAM_BODY, .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 1, .headers = "authorization: Bearer key-user\r\nx-weir-priority: low\r\n", .body = STREAM_BODY, .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 2, .headers = "authorization: Bearer key-user\r\nx-weir-session: a\r\n", .body = PLAIN_BODY, .want = WHOLE, .status = 200 },
        { .line = CHAT, .at_ms = 3, .headers = "authorization: Bearer key-narrow\r\n", .times = 2, .body = PLAIN_BODY, .want = WHOLE },
        { .line = CHAT, .at_ms = 4, .headers = "authorization: Bearer key-poor\r\n", .body = PLAIN_BODY, .status = 429, .want = "" } } },
    { "cache", ONE_BACKEND, NULL, false, /* an answer that is joined, hit, told in its other form, and dropped */
      { { .line = CHAT, .times = 2, .body = "{\"model\":\"m\",\"temperature\":0,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 4, .times = 3, .body = "{\"temperature\":0,\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = DONE, .status = 200 },
        { .line = CHAT, .at_ms = 5, .times = 2, .body = "{\"model\":\"m\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = "\"content\":\"", .status = 200 },
        { .line = "DELETE /api/v1/cache?match=*", .at_ms = 60, .admin = true, .want = "dropped", .status = 200 },
        { .line = CHAT, .at_ms = 70, .body = "{\"model\":\"m\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}", .want = "\"content\":\"", .status = 200 } } },
    { "embeddings", ONE_BACKEND, NULL, false, /* some of a list are known, then all */
      { { .line = "POST /v1/embeddings", .times = 2, .body = "{\"model\":\"m\",\"input\":[\"a\",\"b\"]}", .want = "\"embedding\":[1]", .status = 200 },
        { .line = "POST /v1/embeddings", .at_ms = 20, .times = 2, .body = "{\"input\":[\"c\",\"b\",\"d\"],\"model\":\"m\"}", .want = "\"index\":2", .status = 200 },
        { .line = "GET /api/v1/cache/stats", .at_ms = 30, .admin = true, .want = "\"layers\"", .status = 200 } } },
    { "drain", ONE_BACKEND, NULL, true,
      { { .line = CHAT, .body = STREAM_BODY, .want = DONE, .status = 200 }, { .line = CHAT, .body = LONG_BODY, .slow = true, .want = "\"long\":\"", .status = 200 },
        { .line = "POST /drain", .at_ms = 3, .admin = true, .want = "", .status = 202 } } },
};
const unsigned stories_count = ARRAY_LEN(stories);

/* ---- the scene ---- */

struct client {
    struct scene *scene;
    const struct story_ask *ask;
    struct actor actor;
    struct buf in;
    unsigned answers;
    bool asked_late;   /* after the reload */
};

struct scene {
    struct house house;
    const struct story *story;
    const struct faulty_plan *plan;
    struct client clients[STORY_ASKS_MAX + 1];
    unsigned clients_left;
    bool reloaded;
};

static struct scene scene;

static NORETURN void broken(const char *what)
{
    const struct faulty_plan *p = scene.plan;
    fprintf(stderr, "fault: story \"%s\", kind %d, call %d, error %d, number %llu: %s\n", scene.story->name, (int)p->kind, (int)p->call, p->error, (unsigned long long)p->nth, what);
    abort();
}

static void tell_scene(void)
{
    const struct faulty_plan *p = scene.plan;
    fprintf(stderr, "fault: story \"%s\", kind %d, call %d, error %d, number %llu: an assertion failed\n", scene.story->name, (int)p->kind, (int)p->call, p->error, (unsigned long long)p->nth);
}

#define MUST(condition, what) \
    do { \
        if (!(condition)) \
            broken(what); \
    } while (0)

/* ---- backends ---- */

struct server {
    struct addr at;
    bool says_500;
    unsigned turns;    /* questions that asked to be answered late by turns */
};
static struct server servers[2];

static enum fail say(struct task *t, struct actor *a, const char *bytes)
{
    return actor_write_all(t, a, bytes, strlen(bytes), NEVER);
}

static enum fail say_json(struct task *t, struct actor *a, const char *body)
{
    char answer[1024];
    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", strlen(body), body);
    return say(t, a, answer);
}

static enum fail say_chunk(struct task *t, struct actor *a, const char *event)
{
    char size[24];
    snprintf(size, sizeof size, "%zx\r\n", strlen(event));
    enum fail f = say(t, a, size);
    if (f == OK)
        f = say(t, a, event);
    return f == OK ? say(t, a, "\r\n") : f;
}

static enum fail say_token(struct task *t, struct actor *a, unsigned more)
{
    static char event[EVENT_BYTES + 100]; /* the same bytes in every story, so that who waits within a write goes on with its own */
    int n = snprintf(event, sizeof event, "data: {\"choices\":[{\"delta\":{\"content\":\"t");
    memset(event + n, 'x', more);
    snprintf(event + n + more, sizeof event - (size_t)n - more, "\"}}]}\n\n");
    return say_chunk(t, a, event);
}

static enum fail answer_stream(struct task *t, struct actor *a, const char *request)
{
    bool late = strstr(request, "\"late\"") != NULL, cut = strstr(request, "\"cut\"") != NULL, large = strstr(request, "\"large\"") != NULL;
    enum fail f = late ? task_sleep(t, t->worker->now + LATE_NS) : OK;
    if (f == OK)
        f = say(t, a, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < STREAM_TOKENS && f == OK; i++) {
        if (cut && i == STREAM_TOKENS / 2)
            return FAIL_RESET;
        f = say_token(t, a, large ? EVENT_BYTES : 0);
        if (f == OK)
            f = task_sleep(t, t->worker->now + 3 * NANOS_PER_MS);
    }
    if (f == OK)
        f = say_chunk(t, a, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}]}\n\ndata: [DONE]\n\n");
    return f == OK ? say(t, a, "0\r\n\r\n") : f;
}

static enum fail answer_long(struct task *t, struct actor *a)
{
    static char body[LONG_BYTES + 16];
    char head[128];
    memset(body, 'x', LONG_BYTES);
    memcpy(body, "{\"long\":\"", 9);
    memcpy(body + LONG_BYTES - 2, "\"}", 2);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %u\r\n\r\n", LONG_BYTES);
    enum fail f = say(t, a, head);
    return f == OK ? actor_write_all(t, a, body, LONG_BYTES, NEVER) : f;
}

static enum fail answer_embeddings(struct task *t, struct actor *a, const char *request)
{
    const char *at = strstr(request, "\"input\":[");
    char body[512];
    int n = snprintf(body, sizeof body, "{\"object\":\"list\",\"data\":[");
    MUST(at != NULL, "no input");
    for (unsigned i = 0; *at != ']'; at++)
        if (*at == ',' || *at == '[') {
            n += snprintf(body + n, sizeof body - (size_t)n, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":[1]}", i > 0 ? "," : "", i);
            i++;
        }
    snprintf(body + n, sizeof body - (size_t)n, "],\"model\":\"up\",\"usage\":{\"prompt_tokens\":4,\"total_tokens\":4}}");
    return say_json(t, a, body);
}

static enum fail answer(struct task *t, struct actor *a, struct server *b, const char *request)
{
    if (strncmp(request, "GET", 3) == 0)
        return say_json(t, a, "{\"data\":[{\"id\":\"m\"}]}");
    if (b->says_500)
        return say(t, a, "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno");
    if (strstr(request, "\"by turns\"") != NULL && b->turns++ % 2 == 0 && task_sleep(t, t->worker->now + LATE_NS) != OK)
        return FAIL_CANCELLED;
    if (strncmp(request, "POST /v1/embeddings", 19) == 0)
        return answer_embeddings(t, a, request);
    if (strstr(request, "\"stream\":true") != NULL)
        return answer_stream(t, a, request);
    return strstr(request, "\"long\"") != NULL ? answer_long(t, a) : say_json(t, a, "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"whole\"},\"index\":0,\"finish_reason\":\"stop\"}]}");
}

struct visit {
    struct server *server;
    struct actor actor;
    struct buf in;
};

static enum fail more(struct task *t, struct actor *a, struct buf *in, size_t room, nanos until)
{
    size_t n = 0;
    ASSERT(buf_reserve(in, room + 1) == OK);
    enum fail f = actor_read(t, a, buf_end(in), room, until, &n);
    buf_added(in, f == OK ? n : 0);
    *(char *)buf_end(in) = 0;
    return f == OK && n == 0 ? FAIL_RESET : f;
}

/* Bytes of the message that stands whole in b; 0 = not yet. Its head says its length, or it is chunked. */
static size_t message_bytes(const struct buf *b)
{
    if (buf_len(b) == 0)
        return 0;
    const char *all = buf_text(b).at, *end = strstr(all, "\r\n\r\n"), *length = strcasestr(all, "\r\ncontent-length: ");
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - all) + 4;
    if (length != NULL && length < end) {
        size_t whole = head + strtoul(length + 18, NULL, 10);
        return buf_len(b) >= whole ? whole : 0;
    }
    if (strcasestr(all, "\r\ntransfer-encoding: chunked") == NULL)
        return head;
    const char *last = strstr(end, "\r\n0\r\n\r\n");
    return last != NULL ? (size_t)(last - all) + 7 : 0;
}

static void visited(struct task *t, void *arg)
{
    struct visit *v = arg;
    enum fail f = OK;
    while (f == OK) {
        size_t n = message_bytes(&v->in);
        if (n == 0) {
            f = more(t, &v->actor, &v->in, 16384, NEVER);
            continue;
        }
        f = answer(t, &v->actor, v->server, buf_text(&v->in).at);
        buf_eat(&v->in, n);
    }
    actor_close(&v->actor);
    buf_fini(&v->in);
    mem_free(v);
}

static void backend(struct task *t, void *arg)
{
    struct server *b = arg;
    struct actor listener;
    ASSERT(actor_listen(t->worker, &listener, &b->at) == OK);
    for (;;) {
        struct visit *v = mem_zero(sizeof *v);
        ASSERT(v != NULL);
        v->server = b;
        buf_init(&v->in, ANSWER_MOST);
        if (actor_accept(t, &listener, &v->actor, NEVER) != OK) {
            mem_free(v);
            break;
        }
        ASSERT(task_start(t->worker, "visit", visited, v) != NULL);
    }
    actor_close(&listener);
}

/* ---- clients ---- */

static void compose(const struct story_ask *ask, struct buf *out)
{
    struct buf body;
    const char *pad_at = ask->body != NULL ? strchr(ask->body, '@') : NULL;
    buf_init(&body, ANSWER_MOST);
    if (ask->body != NULL)
        ASSERT(buf_add(&body, ask->body, pad_at != NULL ? (size_t)(pad_at - ask->body) : strlen(ask->body)) == OK);
    for (unsigned i = 0; i < ask->pad; i++)
        ASSERT(buf_add(&body, "p", 1) == OK);
    if (pad_at != NULL)
        ASSERT(buf_add(&body, pad_at + 1, strlen(pad_at + 1)) == OK);
    ASSERT(buf_printf(out, "%s HTTP/1.1\r\nhost: w\r\n%s", ask->line, ask->headers != NULL ? ask->headers : "") == OK);
    if (ask->chunked) /* two chunks */
        ASSERT(buf_printf(out, "transfer-encoding: chunked\r\n\r\n%x\r\n%.*s\r\n%zx\r\n%.*s\r\n0\r\n\r\n", 10, 10, buf_text(&body).at, buf_len(&body) - 10, (int)buf_len(&body) - 10, buf_text(&body).at + 10) == OK);
    else
        ASSERT(buf_printf(out, "content-length: %zu\r\n\r\n%.*s", buf_len(&body), (int)buf_len(&body), buf_len(&body) > 0 ? buf_text(&body).at : "") == OK);
    buf_fini(&body);
}

static enum fail send_it(struct task *t, struct client *c)
{
    struct buf out;
    buf_init(&out, ANSWER_MOST);
    c->asked_late = scene.reloaded;
    compose(c->ask, &out);
    size_t step = c->ask->slow ? buf_len(&out) / 3 + 1 : buf_len(&out);
    enum fail f = OK;
    for (size_t at = 0; at < buf_len(&out) && f == OK; at += step) {
        f = actor_write_all(t, &c->actor, buf_text(&out).at + at, MIN(step, buf_len(&out) - at), t->worker->now + PATIENCE_NS);
        if (f == OK && c->ask->slow)
            f = task_sleep(t, t->worker->now + 2 * NANOS_PER_MS);
    }
    buf_fini(&out);
    MUST(f != FAIL_TIMEOUT, "a client cannot send for ever");
    return f;
}

static unsigned tokens_in(const char *answer)
{
    unsigned n = 0;
    for (const char *at = answer; (at = strstr(at, "\"content\":\"t")) != NULL; at++)
        n++;
    return n;
}

/* A whole answer: what its status allows. Without a fault it is what the story says. */
static void judge(struct client *c, const char *answer)
{
    int status = (int)strtol(answer + 9, NULL, 10);
    MUST(strncmp(answer, "HTTP/1.1 ", 9) == 0, "an answer that is no HTTP");
    if (!faulty_struck() && status != c->ask->status && c->ask->status != 0)
        broken(answer);
    scene.reloaded |= strcmp(c->ask->line, "POST /reload") == 0 && status == 200;
    MUST(!c->ask->revoked || !c->asked_late || status != 200, "a revoked key is still good");
    bool cut_on_purpose = c->ask->body != NULL && strstr(c->ask->body, "\"cut\"") != NULL;
    MUST(!cut_on_purpose || status != 200, "an answer that its backend cut ends well");
    if (status == 200)
        MUST(strstr(answer, c->ask->want) != NULL, "a 200 without what was asked for");
    if (status == 200 && strcmp(c->ask->want, DONE) == 0)
        MUST(tokens_in(answer) == STREAM_TOKENS, "a stream that ended well is short of a token");
    if (status >= 400 && status != 409)
        MUST(strstr(answer, "\"request_id\":\"") != NULL, "an error without its request's id");
    c->answers++;
}

/* One answer to its end. */
static enum fail read_answer(struct task *t, struct client *c)
{
    for (;;) {
        size_t n = message_bytes(&c->in);
        if (n > 0) {
            char *answer = mem_copy_text((struct text){ buf_text(&c->in).at, n });
            ASSERT(answer != NULL);
            buf_eat(&c->in, n);
            bool interim = strncmp(answer, "HTTP/1.1 100", 12) == 0;
            if (!interim)
                judge(c, answer);
            mem_free(answer);
            if (!interim)
                return OK;
            continue;
        }
        enum fail f = more(t, &c->actor, &c->in, c->ask->slow ? 2000 : 16384, t->worker->now + PATIENCE_NS);
        if (f == OK && c->ask->slow)
            f = task_sleep(t, t->worker->now + NANOS_PER_MS / 2);
        MUST(f != FAIL_TIMEOUT, "a client waits for ever");
        if (f != OK)
            return f;
    }
}

static void client(struct task *t, void *arg)
{
    struct client *c = arg;
    struct house *h = &c->scene->house;
    enum fail f = task_sleep(t, t->worker->now + (nanos)c->ask->at_ms * NANOS_PER_MS);
    if (c == &scene.clients[0])
        faulty_victim(&c->actor);
    if (f == OK)
        f = actor_connect(t, &c->actor, c->ask->admin ? &h->admin : &h->address, NEVER);
    if (f == OK) {
        unsigned times = MAX(c->ask->times, 1u);
        for (unsigned i = 0; i < times && f == OK; i++) {
            f = send_it(t, c);
            if (f == OK || f == FAIL_RESET) /* it may have answered before it hung up */
                f = read_answer(t, c);
        }
        bool cut_on_purpose = c->ask->body != NULL && strstr(c->ask->body, "\"cut\"") != NULL;
        MUST(f == OK || faulty_struck() || cut_on_purpose, "a client lost its answer without any fault");
        actor_close(&c->actor);
    } else {
        MUST(c->scene->story->drains || faulty_struck(), "a client cannot connect");
    }
    buf_fini(&c->in);
    scene.clients_left--;
}

static void client_start(unsigned i, const struct story_ask *ask)
{
    struct client *c = &scene.clients[i];
    *c = (struct client){ .scene = &scene, .ask = ask, .actor.watch.fd = -1 };
    buf_init(&c->in, ANSWER_MOST);
    scene.clients_left++;
    house_task(&scene.house, "client", client, c);
}

/* ---- the end ---- */

static bool clients_gone(void *arg)
{
    (void)arg;
    return scene.clients_left == 0;
}

static void count_stories(struct task *t, void *arg)
{
    *(unsigned *)arg += strcmp(t->name, "producer") == 0 || strcmp(t->name, "request") == 0;
}

static bool calm(void *arg)
{
    struct house *h = arg;
    unsigned left = 0;
    uint32_t count;
    for (unsigned i = 0; i < HOUSE_WORKERS; i++)
        task_each(gateway_worker(h->gateway, i), count_stories, &left);
    struct roster *r = fleet_roster(gateway_fleet(h->gateway));
    const struct endpoint *e = roster_endpoints(r, &count);
    for (uint32_t i = 0; i < count; i++)
        left += atomic_load(&e[i].backend->in_flight);
    roster_unref(r);
    return left == 0 && house_count(h, COUNTER_requests_open) == 0 && house_count(h, COUNTER_queue_waiting) == 0 && house_count(h, COUNTER_streams_open) == 0 &&
           (scene.story->drains || house_count(h, COUNTER_connections_open) == 0);
}

static uint64_t ended(struct house *h)
{
    return house_count(h, COUNTER_request_answered) + house_count(h, COUNTER_request_cached) + house_count(h, COUNTER_request_refused) + house_count(h, COUNTER_request_failed) +
           house_count(h, COUNTER_request_cancelled);
}

/* What must hold after the fault: everybody has gone, each request that began ended once, the next one is served, and nothing is left. */
static void look(void)
{
    static const struct story_ask next = { .line = CHAT, .headers = "authorization: Bearer key-user\r\n", .body = PLAIN_BODY, .want = WHOLE, .status = 200 };
    static const struct story_ask next_fails = { .line = CHAT, .body = PLAIN_BODY, .want = WHOLE, .status = 502 };
    struct house *h = &scene.house;
    bool ok = house_run(h, calm, h, CALM_NS);
    MUST(ok, "something is still held after its client has gone");
    MUST(house_count(h, COUNTER_requests_started) == ended(h), "a request did not end exactly once");
    if (!scene.story->drains) {
        bool fails = strcmp(scene.story->name, "all fail") == 0;
        client_start(STORY_ASKS_MAX, fails ? &next_fails : &next);
        ok = house_run(h, clients_gone, NULL, 2 * PATIENCE_NS);
        MUST(ok && scene.clients[STORY_ASKS_MAX].answers == 1, "the next request is not served");
        uint64_t started = house_count(h, COUNTER_requests_started);
        ok = house_run(h, calm, h, CALM_NS);
        MUST(ok && ended(h) == started, "the next request leaves something behind");
    }
    house_close(h); /* tasks, sockets, blocks of memory */
}

/* What is late, and that there is room for second calls: these stories are too short to learn it. */
static void teach(struct house *h)
{
    struct roster *r = fleet_roster(gateway_fleet(h->gateway));
    struct pool *p = roster_find(r, TEXT("m"));
    for (int i = 0; i < 100 && p != NULL; i++) {
        pool_first_token(p, i % 2, 10 * NANOS_PER_MS);
        pool_hedge_earn(p);
    }
    roster_unref(r);
}

static void start(void *arg)
{
    *(enum fail *)arg = house_start(&scene.house);
}

uint64_t story_tell(const struct story *s, const struct faulty_plan *plan)
{
    struct house *h = &scene.house;
    struct sim_options options = sim_options_default(7);
    enum fail f = OK;
    memset(&scene, 0, sizeof scene);
    scene.story = s;
    scene.plan = plan;
    assert_story = tell_scene;
    options.latency_min = options.latency_max = 20 * NANOS_PER_US;
    house_prepare(h, &options, s->yaml);
    faulty_begin(h, plan);
    faulty_as_gateway(start, &f);
    if (f != OK) {
        MUST(faulty_struck(), "the gateway does not start, without any fault");
        uint64_t chances = faulty_end();
        conf_unref(h->conf);
        house_leave(h);
        return chances;
    }
    house_inhabit(h);
    fleet_check_always(gateway_fleet(h->gateway), true);
    teach(h);
    if (s->yaml_after != NULL && s->yaml_after[0] != 0)
        h->yaml = s->yaml_after;
    for (unsigned i = 0; i < ARRAY_LEN(servers); i++) {
        char host[16];
        snprintf(host, sizeof host, "10.0.0.%u", i + 1);
        ASSERT(addr_from_text(&servers[i].at, text_of(host), 8000));
        servers[i].says_500 = i == 1;
        servers[i].turns = 0;
        house_task(h, "backend", backend, &servers[i]);
    }
    for (unsigned i = 0; i < STORY_ASKS_MAX && s->asks[i].line != NULL; i++)
        client_start(i, &s->asks[i]);
    bool ok = house_run(h, clients_gone, NULL, 10 * PATIENCE_NS);
    MUST(ok, "clients wait for ever");
    if (strcmp(s->name, "hedge") == 0 && !faulty_struck())
        MUST(house_count(h, COUNTER_hedges) == 3 && house_count(h, COUNTER_hedges_won) == 2, "it is not the story of three second calls, two of them sooner");
    uint64_t chances = faulty_end();
    look();
    return chances;
}
