/* test_streams.c: streams that are too much: for clients that do not read, weir holds stream.buffer and a constant each; from backends that flood it, it reads
   a bounded piece at a time. */
#include "lib/actor.h"
#include "lib/house.h"
#include "base/limits.h"
#include "net/http_client.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define READERS      40
#define BUFFER_BYTES 16384   /* stream.buffer */
#define EVENT_TEXT_MAX 200000
#define HELD_MAX     (OUT_HIGH_BYTES + 65536 + SCRATCH_BYTES) /* unsent bytes, the slice that passed their mark, and one read's worth past the buffer */
#define FLOOD_BYTES  (16u << 20)
#define LOOK_AWAY_NS (20 * NANOS_PER_S) /* under timeouts.write, which would end them */

struct scene {
    struct house house;
    struct actor listener;
    char event[EVENT_TEXT_MAX + 64]; /* one event as a chunk */
    size_t event_bytes;
    uint64_t pour_bytes;        /* a connection sends so much, then waits for its end */
    uint64_t most_held, most_at_once, received;
    unsigned readers, left;
    nanos until;
};

/* One connection of the backend: tells its models, or pours events until nobody takes them. */
struct visit {
    struct scene *scene;
    struct actor actor;
};

static void pour(struct task *t, void *arg)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    static const char list[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"data\":[]}";
    struct visit *v = arg;
    struct scene *s = v->scene;
    char in[2048];
    size_t n = 0;
    enum fail f = actor_read(t, &v->actor, in, sizeof in, NEVER, &n);
    bool is_list = f == OK && n > 3 && memcmp(in, "GET", 3) == 0;
    if (f == OK)
        f = is_list ? actor_write_all(t, &v->actor, list, sizeof list - 1, NEVER) : actor_write_all(t, &v->actor, head, sizeof head - 1, NEVER);
    for (uint64_t sent = 0; f == OK && !is_list && sent < s->pour_bytes; sent += s->event_bytes)
        f = actor_write_all(t, &v->actor, s->event, s->event_bytes, NEVER);
    if (f == OK && !is_list)
        f = actor_read(t, &v->actor, in, sizeof in, NEVER, &n);
    actor_close(&v->actor);
    mem_free(v);
}

static void backend(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct addr at;
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    ASSERT(actor_listen(&s->house.outside, &s->listener, &at) == OK);
    for (;;) {
        struct visit *v = mem_zero(sizeof *v);
        ASSERT(v != NULL);
        v->scene = s;
        if (actor_accept(t, &s->listener, &v->actor, NEVER) != OK) {
            mem_free(v);
            break;
        }
        house_task(&s->house, "visit", pour, v);
    }
    actor_close(&s->listener);
}

/* Asks, looks away, and leaves with a RST. */
static void reader(struct task *t, void *arg)
{
    struct scene *s = arg;
    static const char body[] = "{\"model\":\"m\",\"stream\":true,\"prompt\":\"x\"}";
    struct actor a;
    char request[256];
    int n = snprintf(request, sizeof request, "POST /v1/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %zu\r\n\r\n%s", sizeof body - 1, body);
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    ASSERT(actor_write_all(t, &a, request, (size_t)n, NEVER) == OK);
    ASSERT(task_sleep(t, s->until) == OK);
    actor_reset(&a);
    s->left++;
}

/* After each step of a worker. */
static void look(struct sim *sim, void *arg)
{
    struct scene *s = arg;
    uint64_t in = house_count(&s->house, COUNTER_upstream_received_bytes), out = house_count(&s->house, COUNTER_client_sent_bytes);
    (void)sim;
    s->most_at_once = MAX(s->most_at_once, in - s->received);
    s->received = in;
    if (in > out)
        s->most_held = MAX(s->most_held, in - out);
}

static bool all_left(void *arg) { return ((struct scene *)arg)->left == ((struct scene *)arg)->readers; }
static bool none_open(void *arg) { return house_count(&((struct scene *)arg)->house, COUNTER_requests_open) == 0; }

/* One event of that many bytes of text, as a chunk. */
static void make_event(struct scene *s, unsigned text_bytes)
{
    static const char before[] = "data: {\"choices\":[{\"text\":\"", after[] = "\"}]}\n\n";
    int n = snprintf(s->event, sizeof s->event, "%zx\r\n%s", sizeof before - 1 + text_bytes + sizeof after - 1, before);
    memset(s->event + n, 'x', text_bytes);
    s->event_bytes = (size_t)n + text_bytes;
    memcpy(s->event + s->event_bytes, after, sizeof after - 1);
    memcpy(s->event + s->event_bytes + sizeof after - 1, "\r\n", 2);
    s->event_bytes += sizeof after - 1 + 2;
}

static void play(struct scene *s, size_t window, nanos span, unsigned readers)
{
    struct sim_options o = sim_options_default(11);
    o.window = window;
    s->readers = readers;
    house_open(&s->house, &o, "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 100}}\nmodels: {m: {use: [b/up]}}\nstream: {buffer: 16KiB}\n");
    s->until = s->house.outside.now + span;
    sim_on_step(s->house.sim, look, s);
    house_task(&s->house, "backend", backend, s);
    for (unsigned i = 0; i < readers; i++)
        house_task(&s->house, "reader", reader, s);
    assert_true(house_run(&s->house, all_left, s, 60 * NANOS_PER_S));
    nanos left = s->house.outside.now;
    uint64_t poured = house_count(&s->house, COUNTER_upstream_received_bytes);
    assert_true(house_run(&s->house, none_open, s, 60 * NANOS_PER_S));
    assert_true(s->house.outside.now - left < 50 * NANOS_PER_MS);
    assert_true(house_count(&s->house, COUNTER_upstream_received_bytes) - poured < readers * HELD_MAX); /* nobody read on for who had left */
    sim_on_step(s->house.sim, NULL, NULL);
}

/* hostile 79: READERS clients ask and do not read. What weir has of the backend's bytes and has not given to the sockets is bounded by its settings. */
static void many_look_away(unsigned text_bytes)
{
    static struct scene s;
    memset(&s, 0, sizeof s);
    make_event(&s, text_bytes);
    s.pour_bytes = UINT64_MAX;
    play(&s, 65536, LOOK_AWAY_NS, READERS);
    size_t each = BUFFER_BYTES + HELD_MAX + 2 * s.event_bytes;
    assert_int_equal(house_count(&s.house, COUNTER_client_left_streaming), READERS);
    assert_true(s.most_held > READERS * BUFFER_BYTES); /* all of them were read ahead for, */
    assert_true(s.most_held <= READERS * each);        /* and none of them further */
    house_close(&s.house);
}

/* hostile 78: a backend sends comments faster than they are read: there are always more. The worker must come to its other tasks and clocks all the same. */
static void a_flood_is_read_in_pieces(void **state)
{
    static struct scene s;
    (void)state;
    memset(&s, 0, sizeof s);
    s.event_bytes = (size_t)snprintf(s.event, sizeof s.event, "%x\r\n", 65536);
    memset(s.event + s.event_bytes, '\n', 65536);
    memcpy(s.event + s.event_bytes + 65536, "\r\n", 2);
    s.event_bytes += 65536 + 2;
    s.pour_bytes = FLOOD_BYTES;
    play(&s, FLOOD_BYTES, NANOS_PER_S, 1);
    assert_true(s.received >= FLOOD_BYTES); /* all of it came, */
    assert_true(s.most_at_once <= CONN_BURST_MAX + SCRATCH_BYTES);
    house_close(&s.house);
}

static void small_events(void **state) { (void)state; many_look_away(300); }
static void events_larger_than_the_buffer(void **state) { (void)state; many_look_away(EVENT_TEXT_MAX); }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(small_events), cmocka_unit_test(events_larger_than_the_buffer), cmocka_unit_test(a_flood_is_read_in_pieces) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
