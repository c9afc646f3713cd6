/* test_memory.c: large bodies, many bodies and many names in a whole gateway of the simulated world: who waits for whom, and that all memory comes back. */
#include "base/account.h"
#include "base/limits.h"
#include "lib/actor.h"
#include "lib/house.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail

#define CANARIES 20
#define CROWD    90

struct scene {
    struct house house;
    char *large;          /* a whole request */
    size_t large_len;
    int large_status;     /* 0: not answered yet */
    char large_answer[4096];
    bool large_leaves;    /* after its last byte */
    bool large_sent;
    nanos large_took;     /* to send it */
    unsigned canaries, canaries_before; /* answered; answered before the large one was */
    nanos slowest_canary;
    unsigned crowd_done, crowd_served, crowd_busy;
    unsigned names_left;
};

static void put(struct buf *b, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        assert_int_equal(buf_add_text(b, text_of(text)), OK);
}

/* A request whose body is `before`, `unit` so many times, `after`. The caller frees it. */
static char *request_of(const char *before, const char *unit, size_t times, const char *after, size_t *out_len)
{
    struct buf b;
    size_t length = strlen(before) + times * strlen(unit) + strlen(after);
    buf_init(&b, 1u << 30);
    assert_int_equal(buf_printf(&b, "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %zu\r\n\r\n", length), OK);
    put(&b, before, 1), put(&b, unit, times), put(&b, after, 1);
    *out_len = buf_len(&b);
    return b.mem;
}

/* One answer with a stated length; its status. 0: the connection ended before. */
static int read_answer(struct task *t, struct actor *a, char *out, size_t room)
{
    size_t got = 0, n;
    for (;;) {
        const char *end, *length;
        out[got] = 0;
        if ((end = strstr(out, "\r\n\r\n")) != NULL && (length = strstr(out, "content-length: ")) != NULL && got >= (size_t)(end + 4 - out) + strtoul(length + 16, NULL, 10))
            return (int)strtoul(out + 9, NULL, 10);
        ASSERT(got + 1 < room);
        if (actor_read(t, a, out + got, room - 1 - got, NEVER, &n) != OK || n == 0)
            return 0;
        got += n;
    }
}

static void backend_call(struct task *t, void *arg)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\nconnection: close\r\n\r\n{\"choices\":[]}";
    struct actor *a = arg;
    static char in[65536];
    size_t n, left = 0;
    if (actor_read(t, a, in, sizeof in - 1, NEVER, &n) == OK && n > 0) {
        in[n] = 0;
        const char *length = strstr(in, "content-length: "), *end = strstr(in, "\r\n\r\n");
        if (length != NULL && end != NULL)
            left = (size_t)(end + 4 - in) + strtoul(length + 16, NULL, 10) - n;
        while (left > 0 && actor_read(t, a, in, MIN(sizeof in - 1, left), NEVER, &n) == OK && n > 0)
            left -= n;
        enum fail f = actor_write_all(t, a, answer, sizeof answer - 1, NEVER);
        (void)f;
    }
    actor_close(a);
    mem_free(a);
}

static void backend(struct task *t, void *arg)
{
    struct addr at;
    (void)arg;
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    actor_serve(t, &at, backend_call);
}

static void large_client(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    nanos began = t->worker->now;
    enum fail f = actor_write_all(t, &a, s->large, s->large_len, NEVER);
    ASSERT(f == OK);
    s->large_sent = true;
    s->large_took = t->worker->now - began;
    if (!s->large_leaves) {
        s->large_status = read_answer(t, &a, s->large_answer, sizeof s->large_answer);
        s->canaries_before = s->canaries;
    }
    actor_close(&a);
}

static void canary(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    char request[512], answer[4096];
    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"canary\"}]}";
    int n = snprintf(request, sizeof request, "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %zu\r\n\r\n%s", sizeof body - 1, body);
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    while (s->canaries < CANARIES) {
        nanos began = t->worker->now;
        ASSERT(actor_write_all(t, &a, request, (size_t)n, NEVER) == OK);
        ASSERT(read_answer(t, &a, answer, sizeof answer) == 200);
        s->canaries++;
        s->slowest_canary = MAX(s->slowest_canary, t->worker->now - began);
    }
    actor_close(&a);
}

static const char yaml[] = "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1000}}\nmodels: {m: {use: [b/up]}}\nlimits: {memory: 1GiB}\n";

/* Jobs take two seconds of virtual time; everything else takes microseconds. */
static void open_scene(struct scene *s)
{
    struct sim_options o = sim_options_default(11);
    o.job_min = o.job_max = 2 * NANOS_PER_S;
    memset(s, 0, sizeof *s);
    house_open(&s->house, &o, yaml);
    house_task(&s->house, "backend", backend, NULL);
}

static bool all_answered(void *arg)
{
    struct scene *s = arg;
    return s->canaries == CANARIES && s->large_status != 0;
}

static void with_large(struct scene *s, char *request, size_t len, int status, unsigned aside)
{
    open_scene(s);
    s->large = request;
    s->large_len = len;
    house_task(&s->house, "large", large_client, s);
    house_task(&s->house, "canary", canary, s);
    assert_true(house_run(&s->house, all_answered, s, 100 * NANOS_PER_S));
    assert_int_equal(s->large_status, status);
    assert_int_equal(house_count(&s->house, COUNTER_bodies_read_aside), aside);
    house_close(&s->house);
    mem_free(request);
}

/* hostile 63 */
static void a_large_body_is_read_while_others_are_served(void **state)
{
    static struct scene s;
    size_t len;
    (void)state;
    char *request = request_of("{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}],\"x\":[", "0,", 4u << 20, "0]}", &len);
    with_large(&s, request, len, 413, 1);
    assert_non_null(strstr(s.large_answer, "about a million"));
    assert_int_equal(s.canaries_before, CANARIES);
    assert_true(s.slowest_canary < NANOS_PER_S);
    request = request_of("{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}],\"x\":[", "0,", 1000000, "0]}", &len);
    with_large(&s, request, len, 200, 1); /* a million values are kept */
    assert_int_equal(s.canaries_before, CANARIES);
}

static void what_is_read_aside_begins_behind_256_KiB(void **state)
{
    static const char before[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"a\",\"content\":\"", after[] = "\"}]}";
    static struct scene s;
    size_t len, fill = 262144 - (sizeof before - 1) - (sizeof after - 1);
    (void)state;
    char *request = request_of(before, "x", fill, after, &len);
    with_large(&s, request, len, 200, 0);
    request = request_of(before, "x", fill + 1, after, &len);
    with_large(&s, request, len, 200, 1);
    request = request_of(before, "x", fill + 2, "\"]}", &len);
    with_large(&s, request, len, 400, 1); /* the sentence and the place come from the job, too */
    assert_non_null(strstr(s.large_answer, "at byte 262143"));
}

/* hostile 20: who sends as fast as memory copies may not have the loop for itself */
static void a_large_body_is_read_in_shares(void **state)
{
    static struct scene s;
    size_t len;
    (void)state;
    char *request = request_of("{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}],\"x\":\"", "x", 64 * SHARE_BYTES, "\"}", &len);
    with_large(&s, request, len, 200, 1);
    assert_true(s.large_took > 60 * SHARE_NS); /* what the sockets still hold is not waited for */
}

static bool large_is_gone(void *arg)
{
    struct scene *s = arg;
    return s->large_sent && house_count(&s->house, COUNTER_request_cancelled) == 1;
}

/* hostile 73: the job has the body then, and frees it when it is back. house_close finds every byte. */
static void a_client_that_leaves_its_large_body_leaves_nothing(void **state)
{
    static struct scene s;
    (void)state;
    open_scene(&s);
    s.large = request_of("{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}],\"x\":[", "0,", 500000, "0]}", &s.large_len);
    s.large_leaves = true;
    house_task(&s.house, "large", large_client, &s);
    assert_true(house_run(&s.house, large_is_gone, &s, 100 * NANOS_PER_S));
    assert_int_equal(house_count(&s.house, COUNTER_bodies_read_aside), 1);
    mem_free(s.large);
    house_close(&s.house);
}

static void one_of_a_crowd(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    char answer[4096];
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    enum fail f = actor_write_all(t, &a, s->large, s->large_len, NEVER);
    int status = f == OK ? read_answer(t, &a, answer, sizeof answer) : 0;
    s->crowd_served += status == 200;
    s->crowd_busy += status == 503 && strstr(answer, "Too many large bodies") != NULL && strstr(answer, "retry-after: ") != NULL;
    s->crowd_done++;
    actor_close(&a);
}

static bool crowd_is_done(void *arg) { return ((struct scene *)arg)->crowd_done == CROWD; }

static void the_queue_of_large_bodies_has_an_end(void **state)
{
    static struct scene s;
    (void)state;
    open_scene(&s);
    s.large = request_of("{\"model\":\"m\",\"messages\":[{\"role\":\"a\",\"content\":\"", "x", 262144, "\"}]}", &s.large_len);
    for (unsigned i = 0; i < CROWD; i++)
        house_task(&s.house, "crowd", one_of_a_crowd, &s);
    assert_true(house_run(&s.house, crowd_is_done, &s, 100 * NANOS_PER_S));
    assert_int_equal(s.crowd_served + s.crowd_busy, CROWD);
    assert_true(s.crowd_busy > 0 && s.crowd_served >= 32);
    assert_int_equal(house_count(&s.house, COUNTER_refused_memory), s.crowd_busy);
    mem_free(s.large);
    house_close(&s.house);
}

/* ---- requests when memory is short ---- */

static int ask_small(struct task *t, struct actor *a, char *answer, size_t room)
{
    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}]}";
    char request[256];
    int n = snprintf(request, sizeof request, "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %zu\r\n\r\n%s", sizeof body - 1, body);
    return actor_write_all(t, a, request, (size_t)n, NEVER) == OK ? read_answer(t, a, answer, room) : 0;
}

static void asks_while_memory_is_short(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a, b;
    char answer[4096];
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    ASSERT(actor_connect(t, &b, &s->house.address, NEVER) == OK);
    ASSERT(ask_small(t, &a, answer, sizeof answer) == 200 && ask_small(t, &b, answer, sizeof answer) == 200);
    void *most = mem_alloc(930u << 20); /* of 1 GiB: more than seven eighths, and nobody touches it */
    ASSERT(most != NULL && account_is_short());
    ASSERT(ask_small(t, &a, answer, sizeof answer) == 503);
    ASSERT(strstr(answer, "There is no memory left for more requests (limits.memory); retry later.") != NULL && strstr(answer, "retry-after: ") != NULL);
    mem_free(most);
    ASSERT(ask_small(t, &b, answer, sizeof answer) == 200); /* the same bytes, now that there is room */
    actor_close(&a), actor_close(&b);
    s->crowd_done = 1;
}

/* All that answers in flight may have. */
static unsigned fill(void **blocks, unsigned most, size_t bytes)
{
    unsigned n = 0;
    while (n < most && (blocks[n] = mem_alloc(bytes)) != NULL)
        n++;
    return n;
}

static int ask_bytes(struct task *t, struct actor *a, const char *bytes, char *answer, size_t room)
{
    return actor_write_all(t, a, bytes, strlen(bytes), NEVER) == OK ? read_answer(t, a, answer, room) : 0;
}

static void asks_when_memory_is_full(struct task *t, void *arg)
{
    static void *blocks[1024];
    static char metrics[512 << 10];
    static struct actor silent[64];
    struct scene *s = arg;
    struct actor a;
    char answer[4096];
    static const char healthz[] = "GET /healthz HTTP/1.1\r\nhost: w\r\n\r\n";
    unsigned large = fill(blocks, 1000, 1u << 20), count = large + fill(blocks + large, 24, 64u << 10);
    ASSERT(count < 1024 && account_is_short());
    task_share(t, ACCOUNT_PAGES); /* the simulated sockets are in memory, too */
    for (unsigned i = 0; i < 20; i++) {
        ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
        ASSERT(ask_bytes(t, &a, "GET /metrics HTTP/1.1\r\nhost: w\r\n\r\n", metrics, sizeof metrics) == 200);
        ASSERT(strstr(metrics, "connection: close") != NULL);
        actor_close(&a);
        ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
        ASSERT(ask_small(t, &a, answer, sizeof answer) == 503 && strstr(answer, "connection: close") != NULL);
        actor_close(&a);
        ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
        ASSERT(ask_bytes(t, &a, "GET /healthz HTTP/1.1\r\nhost: ", answer, sizeof answer) == 503 && strstr(answer, "comes in pieces") != NULL);
        actor_close(&a);
        task_share(t, ACCOUNT_COMMON);
        void *more = mem_alloc(256u << 10); /* what those took is not left for others */
        task_share(t, ACCOUNT_PAGES);
        ASSERT(more == NULL);
    }
    mem_free(blocks[--count]); /* short, no longer full: the world's side of the sockets is in memory, too */
    ASSERT(account_is_short());
    for (unsigned i = 0; i < ARRAY_LEN(silent); i++)
        ASSERT(actor_connect(t, &silent[i], &s->house.address, NEVER) == OK);
    nanos began = t->worker->now;
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    ASSERT(ask_bytes(t, &a, healthz, answer, sizeof answer) == 200);
    ASSERT(t->worker->now - began < NANOS_PER_S); /* the silent ones went, a doorful each tenth of a second */
    actor_close(&a);
    for (unsigned i = 0; i < ARRAY_LEN(silent); i++)
        actor_close(&silent[i]);
    while (count > 0)
        mem_free(blocks[--count]);
    s->crowd_done = 1;
}

static bool one_is_done(void *arg) { return ((struct scene *)arg)->crowd_done == 1; }

static void play_one(struct scene *s, task_fn *fn)
{
    open_scene(s);
    house_task(&s->house, "one", fn, s);
    assert_true(house_run(&s->house, one_is_done, s, 100 * NANOS_PER_S));
}

static void a_request_is_refused_while_memory_is_short_and_its_twin_is_not(void **state)
{
    static struct scene s;
    (void)state;
    play_one(&s, asks_while_memory_is_short);
    assert_int_equal(house_count(&s.house, COUNTER_refused_memory), 1);
    house_close(&s.house);
}

/* hostile 79 */
static void pages_are_answered_when_memory_is_full(void **state)
{
    static struct scene s;
    (void)state;
    play_one(&s, asks_when_memory_is_full);
    house_close(&s.house);
}

/* ---- names ---- */

static void asks_for_names(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    char request[512], body[128], answer[4096];
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    for (; s->names_left > 0; s->names_left--) {
        int n = snprintf(body, sizeof body, "{\"model\":\"name-%u\",\"messages\":[{\"role\":\"a\"}]}", s->names_left * 2654435761u);
        int all = snprintf(request, sizeof request, "POST /v1/chat/completions?%u HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n%s", s->names_left, n, body);
        ASSERT(actor_write_all(t, &a, request, (size_t)all, NEVER) == OK);
        ASSERT(read_answer(t, &a, answer, sizeof answer) == 404);
        all = snprintf(request, sizeof request, "GET /path-%u HTTP/1.1\r\nhost: w\r\n\r\n", s->names_left * 2654435761u);
        ASSERT(actor_write_all(t, &a, request, (size_t)all, NEVER) == OK);
        ASSERT(read_answer(t, &a, answer, sizeof answer) == 404);
    }
    actor_close(&a);
}

static bool names_are_done(void *arg) { return ((struct scene *)arg)->names_left == 0; }

/* Lines of a page, which is the number of series and their heads. */
static unsigned lines_of(struct scene *s, enum fail (*print)(const struct stats *, struct buf *), const char *never)
{
    struct buf page;
    unsigned lines = 0;
    buf_init(&page, 16u << 20);
    assert_int_equal(print(gateway_stats(s->house.gateway), &page), OK);
    assert_int_equal(buf_add(&page, "", 1), OK);
    assert_null(strstr(buf_text(&page).at, never));
    for (const char *at = buf_text(&page).at; (at = strpbrk(at, "\n,")) != NULL; at++)
        lines++;
    buf_fini(&page);
    return lines;
}

static void ask_names(struct scene *s, unsigned count)
{
    s->names_left = count;
    house_task(&s->house, "names", asks_for_names, s);
    assert_true(house_run(&s->house, names_are_done, s, 1000 * NANOS_PER_S));
}

/* hostile 76 */
static void ten_thousand_names_are_no_label(void **state)
{
    static struct scene s;
    (void)state;
    open_scene(&s);
    ask_names(&s, 1);
    unsigned metrics = lines_of(&s, stat_metrics, "name-"), json = lines_of(&s, stat_json, "path-");
    for (unsigned i = 0; i < 6; i++) /* each connection is one worker's: stories and buffers of both have then what they keep */
        ask_names(&s, 1000);
    uint64_t used = account_used();
    ask_names(&s, 10000);
    assert_int_equal(lines_of(&s, stat_metrics, "name-"), metrics);
    assert_int_equal(lines_of(&s, stat_metrics, "path-"), metrics);
    assert_int_equal(lines_of(&s, stat_json, "name-"), json);
    assert_in_range(account_used(), used - 65536, used + 65536);
    house_close(&s.house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_body_is_read_while_others_are_served),
        cmocka_unit_test(what_is_read_aside_begins_behind_256_KiB),
        cmocka_unit_test(a_large_body_is_read_in_shares),
        cmocka_unit_test(a_client_that_leaves_its_large_body_leaves_nothing),
        cmocka_unit_test(the_queue_of_large_bodies_has_an_end),
        cmocka_unit_test(a_request_is_refused_while_memory_is_short_and_its_twin_is_not),
        cmocka_unit_test(pages_are_answered_when_memory_is_full),
        cmocka_unit_test(ten_thousand_names_are_no_label),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
