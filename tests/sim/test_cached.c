/* test_cached.c: hostile 48, hostile 55: answers from memory in the simulated world: clients of two tenants ask few questions over and over, whole and as streams, of a backend that fails and
   breaks off; some leave, and an operator drops answers. What must hold of every answer:
     it is one that the backend made for this tenant, for this question, whole;
     it is no older than its time, and not one that was dropped before the question was asked;
     told again it says the same. */
#include "base/random.h"
#include "lib/actor.h"
#include "lib/house.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail

#define SEEDS     200
#define CLIENTS   8
#define ASKS      25
#define QUESTIONS 3
#define TENANTS   2
#define CALLS_MAX 4096
#define TTL_NS    (5 * NANOS_PER_S)
#define TEXT_MAX  16384

static const char yaml[] = "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 100}}\nmodels: {m: {use: [b/up]}}\nlog: {access: 'off'}\nretries: {attempts: 2}\n"
                           "cache: {exact: {ttl: 5s}}\n"
                           "keys:\n  a: {key: key-0, tenant: t0}\n  b: {key: key-1, tenant: t1}\n  admin: {key: key-admin, role: admin}\n";

/* A call that reached the backend. */
struct made {
    char id[32];    /* x-request-id: whose it is */
    int question;
    nanos at;       /* when its answer was whole with the backend; 0 = it never was */
    nanos told;     /* when the client that asked had it */
    unsigned tenants; /* a bit for each that has been told it */
};

struct scene {
    struct house house;
    uint64_t random;
    struct made made[CALLS_MAX];
    unsigned calls, done, hits, joins;
    nanos dropped[TENANTS]; /* when the last drop of the tenant's answers began */
};

static struct scene scene;

static uint64_t draw(uint64_t below) { return random_step(&scene.random) % below; }

/* ---- the backend ---- */

static void write_text(struct task *t, struct actor *a, const char *text) { (void)!actor_write_all(t, a, text, strlen(text), NEVER); }

/* "q2#17 and on" in pieces, or whole; perhaps it breaks off. False: the connection is no good any more. */
static bool answer_call(struct task *t, struct actor *a, struct made *m, bool is_stream, unsigned serial)
{
    char out[1024];
    uint64_t fate = draw(10);
    if (draw(3) == 0 && task_sleep(t, t->worker->now + (nanos)draw(900) * NANOS_PER_MS) != OK)
        return false;
    if (fate == 0) {
        write_text(t, a, "HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
        return true;
    }
    if (!is_stream) {
        char body[256];
        const char *reason = fate == 1 ? "content_filter" : "stop";
        int n = snprintf(body, sizeof body, "{\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"q%d#%u and on\",\"finish_reason\":\"%s\"}]}", m->question, serial, reason);
        snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%.*s", n, fate == 2 ? n / 2 : n, body);
        m->at = fate > 2 ? t->worker->now : 0;
        write_text(t, a, out);
        return fate != 2;
    }
    snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"index\":0,\"text\":\"q%d#%u\"}]}\n\n", m->question, serial);
    write_text(t, a, out);
    if (draw(3) == 0 && task_sleep(t, t->worker->now + (nanos)draw(300) * NANOS_PER_MS) != OK)
        return false;
    if (fate == 2)
        return false;
    m->at = fate > 1 ? t->worker->now : 0;
    snprintf(out, sizeof out, "data: {\"choices\":[{\"index\":0,\"text\":\" and on\",\"finish_reason\":\"%s\"}]}\n\ndata: [DONE]\n\n", fate == 1 ? "content_filter" : "stop");
    write_text(t, a, out);
    return false; /* such a body ends with its connection */
}

static void carry(struct task *t, void *arg)
{
    struct actor *a = arg;
    char in[4096];
    size_t got = 0, n;
    bool good = true;
    while (good && actor_read(t, a, in + got, sizeof in - 1 - got, NEVER, &n) == OK && n > 0) {
        got += n;
        in[got] = 0;
        if (strncmp(in, "GET ", 4) == 0 && strstr(in, "\r\n\r\n") != NULL) { /* which models are there? */
            write_text(t, a, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}");
            got = 0;
            continue;
        }
        const char *end = strstr(in, "\r\n\r\n"), *length = strstr(in, "content-length: "), *id = strstr(in, "x-request-id: ");
        if (end == NULL || length == NULL || got < (size_t)(end + 4 - in) + strtoul(length + 16, NULL, 10))
            continue;
        ASSERT(scene.calls < CALLS_MAX);
        unsigned serial = scene.calls++;
        struct made *m = &scene.made[serial];
        *m = (struct made){ .question = (int)strtol(strstr(end, "q ") + 2, NULL, 10), };
        snprintf(m->id, sizeof m->id, "%.*s", (int)strcspn(id + 14, "\r"), id + 14);
        good = answer_call(t, a, m, strstr(end, "\"stream\":true") != NULL || strstr(end, "\"stream\": true") != NULL, serial);
        got = 0;
    }
    actor_close(a);
    mem_free(a);
}

static void backend(struct task *t, void *arg)
{
    struct addr at;
    (void)arg;
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    actor_serve(t, &at, carry);
}

/* ---- clients ---- */

/* All of an answer on a connection that ends with it. */
static size_t read_all(struct task *t, struct actor *a, char out[TEXT_MAX])
{
    size_t got = 0, n;
    while (actor_read(t, a, out + got, TEXT_MAX - 1 - got, NEVER, &n) == OK && n > 0)
        got += n;
    out[got] = 0;
    return got;
}

/* The answer's text, put together from its pieces. */
static void text_of_answer(const char *from, char *out, size_t room)
{
    size_t len = 0;
    for (const char *at = from; (at = strstr(at, "\"text\":\"")) != NULL;) {
        at += 8;
        size_t n = strcspn(at, "\"");
        ASSERT(len + n < room);
        memcpy(out + len, at, n);
        len += n;
    }
    out[len] = 0;
}

static void check(struct task *t, const char *answer, int tenant, int question, nanos asked)
{
    char text[256], id[32];
    int said = -1;
    unsigned serial = 0;
    const char *head_id = strstr(answer, "x-request-id: ");
    bool is_hit = strstr(answer, "x-weir-cache: hit\r\n") != NULL;
    bool is_miss = strstr(answer, "x-weir-cache: miss\r\n") != NULL, is_join = strstr(answer, "x-weir-cache: join\r\n") != NULL;
    ASSERT(is_hit || is_miss || is_join);
    scene.joins += is_join;
    snprintf(id, sizeof id, "%.*s", (int)strcspn(head_id + 14, "\r"), head_id + 14);
    text_of_answer(strstr(answer, "\r\n\r\n"), text, sizeof text);
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || strstr(answer, "\"error\"") != NULL || strstr(answer, "content_filter") != NULL) {
        ASSERT(!is_hit);
        return;
    }
    ASSERT(sscanf(text, "q%d#%u and on", &said, &serial) == 2 && strstr(text, " and on") != NULL);
    ASSERT(said == question && serial < scene.calls);
    struct made *m = &scene.made[serial];
    ASSERT(m->question == question && m->at != 0);
    m->tenants |= 1u << tenant;
    ASSERT(m->tenants == 1u << tenant);
    if (is_miss) {
        ASSERT(strcmp(m->id, id) == 0);
        m->told = t->worker->now;
        return;
    }
    if (is_join)
        return;
    scene.hits++;
    ASSERT(asked <= m->at + TTL_NS + 2 * NANOS_PER_S); /* kept when the client had it all, which may take a while */
    ASSERT(m->told == 0 || m->told >= scene.dropped[tenant] || asked < scene.dropped[tenant]);
}

static void ask(struct task *t, unsigned who)
{
    static char answers[CLIENTS][TEXT_MAX];
    char *answer = answers[who], request[512], body[256];
    int tenant = (int)(who % TENANTS);
    struct actor a;
    int question = (int)draw(QUESTIONS);
    bool is_stream = draw(2), leaves = draw(12) == 0;
    int n = draw(2) ? snprintf(body, sizeof body, "{\"model\":\"m\",\"prompt\":\"q %d\",\"temperature\":0%s}", question, is_stream ? ",\"stream\":true" : "")
                    : snprintf(body, sizeof body, "{\"temperature\":0.0, \"prompt\":\"q %d\"%s ,\"model\":\"m\"}", question, is_stream ? ",\"stream\":true" : "");
    snprintf(request, sizeof request, "POST /v1/completions HTTP/1.1\r\nhost: w\r\nconnection: close\r\nx-api-key: key-%d\r\ncontent-length: %d\r\n\r\n%s", tenant, n, body);
    if (actor_connect(t, &a, &scene.house.address, NEVER) != OK)
        return;
    nanos asked = t->worker->now;
    bool sent = actor_write_all(t, &a, request, strlen(request), NEVER) == OK;
    if (sent && leaves)
        (void)!task_sleep(t, t->worker->now + (nanos)draw(300) * NANOS_PER_MS);
    else if (sent && read_all(t, &a, answer) > 0)
        check(t, answer, tenant, question, asked);
    actor_close(&a);
}

static void client(struct task *t, void *arg)
{
    for (unsigned i = 0; i < ASKS; i++) {
        ask(t, (unsigned)(uintptr_t)arg);
        (void)!task_sleep(t, t->worker->now + (nanos)draw(900) * NANOS_PER_MS);
    }
    scene.done++;
}

static void operator(struct task *t, void *arg)
{
    static char answer[TEXT_MAX];
    (void)arg;
    for (unsigned i = 0; i < 3; i++) {
        struct actor a;
        char request[256];
        int tenant = (int)draw(TENANTS);
        (void)!task_sleep(t, t->worker->now + (nanos)draw(6000) * NANOS_PER_MS);
        if (actor_connect(t, &a, &scene.house.address, NEVER) != OK)
            continue;
        nanos began = t->worker->now;
        snprintf(request, sizeof request, "DELETE /api/v1/cache?tenant=t%d HTTP/1.1\r\nhost: w\r\nconnection: close\r\nx-api-key: key-admin\r\n\r\n", tenant);
        if (actor_write_all(t, &a, request, strlen(request), NEVER) == OK && read_all(t, &a, answer) > 0) {
            ASSERT(strncmp(answer, "HTTP/1.1 200", 12) == 0);
            scene.dropped[tenant] = began;
        }
        actor_close(&a);
    }
    scene.done++;
}

static bool all_done(void *arg) { (void)arg; return scene.done == CLIENTS + 1; }

static void run(uint64_t seed, unsigned *hits, unsigned *joins)
{
    struct sim_options o = sim_options_default(seed);
    memset(&scene, 0, sizeof scene);
    scene.random = seed;
    house_open(&scene.house, &o, yaml);
    house_task(&scene.house, "backend", backend, NULL);
    house_task(&scene.house, "operator", operator, NULL);
    for (uintptr_t i = 0; i < CLIENTS; i++)
        house_task(&scene.house, "client", client, (void *)i);
    ASSERT(house_run(&scene.house, all_done, NULL, 3600 * NANOS_PER_S));
    ASSERT(scene.hits <= house_count(&scene.house, COUNTER_cache_hits)); /* of some their client has left */
    *hits += scene.hits;
    *joins += scene.joins;
    house_close(&scene.house);
}

static void every_answer_is_its_tenants_whole_fresh_and_the_same(void **state)
{
    const char *first = getenv("SIM_FIRST"), *count = getenv("SIM_SEEDS");
    uint64_t from = first != NULL ? strtoull(first, NULL, 10) : 1, seeds = count != NULL ? strtoull(count, NULL, 10) : SEEDS;
    unsigned hits = 0, joins = 0;
    (void)state;
    for (uint64_t seed = from; seed < from + seeds; seed++)
        run(seed, &hits, &joins);
    assert_true(hits > seeds * 10 && joins > seeds * 3); /* hostile 51: an isolation that leaves none at all would pass the rest */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_answer_is_its_tenants_whole_fresh_and_the_same) };
    unsigned hits = 0, joins = 0;
    if (argc > 1) {
        run(strtoull(argv[1], NULL, 10), &hits, &joins);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
