/* test_ops.c: weir itself as the bottleneck: workers whose turns are slow refuse the lowest class first, take nobody new when they are far behind, and recover.
   And a server that another one has replaced: it accepts nobody, hangs up on nobody, and ends. */
#include "lib/actor.h"
#include "lib/house.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail

#define WARM 40 /* requests until the smoothed lag is what it will be */
#define ASKS 20 /* and so many are looked at */
#define RECOVERY_NS (500 * NANOS_PER_MS)

static const char yaml[] = "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1000}}\nmodels: {m: {use: [b/up]}}\ntimeouts: {header: 1h}\n"
                           "keys:\n  low: {key: low-key, priority: low}\n  normal: {key: normal-key}\n  high: {key: high-key, priority: high}\n";
static const char *const keys[CONF_CLASSES] = { [CONF_CLASS_LOW] = "low-key", [CONF_CLASS_NORMAL] = "normal-key", [CONF_CLASS_HIGH] = "high-key" };

struct scene {
    struct house house;
    struct actor client[CONF_CLASSES], late;
    bool late_is_in, done;
    unsigned refused[CONF_CLASSES]; /* of ASKS, at the last level */
};

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

static int ask_for(struct task *t, struct actor *a, enum conf_class class, const char *body)
{
    char request[512], answer[4096];
    int n = snprintf(request, sizeof request, "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\nx-api-key: %s\r\ncontent-length: %zu\r\n\r\n%s", keys[class], strlen(body), body);
    ASSERT(actor_write_all(t, a, request, (size_t)n, NEVER) == OK);
    int status = read_answer(t, a, answer, sizeof answer);
    ASSERT(status == 200 || (status == 503 && strstr(answer, "Weir itself is too busy") != NULL && strstr(answer, "retry-after: ") != NULL));
    return status;
}

static int ask(struct task *t, struct actor *a, enum conf_class class) { return ask_for(t, a, class, "{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}]}"); }

/* Every step takes `turn` from now on; who is refused then? */
static void level(struct task *t, struct scene *s, nanos turn)
{
    sim_slow_turns(s->house.sim, turn);
    memset(s->refused, 0, sizeof s->refused);
    for (unsigned i = 0; i < WARM + ASKS; i++)
        for (unsigned class = 0; class < CONF_CLASSES; class ++)
            s->refused[class] += ask(t, &s->client[class], class) == 503 && i >= WARM;
}

static void expect(const struct scene *s, unsigned low, unsigned normal, unsigned high)
{
    ASSERT(s->refused[CONF_CLASS_LOW] == low && s->refused[CONF_CLASS_NORMAL] == normal && s->refused[CONF_CLASS_HIGH] == high);
}

static void late_client(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    ASSERT(ask(t, &a, CONF_CLASS_HIGH) == 200); /* it was not closed, but waited */
    s->late_is_in = true;
    actor_close(&a);
}

static void rises_and_falls(struct task *t, void *arg)
{
    struct scene *s = arg;
    for (unsigned class = 0; class < CONF_CLASSES; class ++)
        ASSERT(actor_connect(t, &s->client[class], &s->house.address, NEVER) == OK);
    level(t, s, 0);
    expect(s, 0, 0, 0);
    level(t, s, 15 * NANOS_PER_MS);
    expect(s, 0, 0, 0);
    level(t, s, 35 * NANOS_PER_MS);
    expect(s, ASKS, 0, 0);
    level(t, s, 75 * NANOS_PER_MS);
    expect(s, ASKS, ASKS, 0);
    level(t, s, 160 * NANOS_PER_MS);
    expect(s, ASKS, ASKS, 0);
    house_task(&s->house, "late", late_client, s);
    level(t, s, 160 * NANOS_PER_MS);
    ASSERT(!s->late_is_in); /* it waits in the listener's queue */
    sim_slow_turns(s->house.sim, 0);
    ASSERT(task_sleep(t, t->worker->now + RECOVERY_NS) == OK);
    level(t, s, 0);
    expect(s, 0, 0, 0);
    for (unsigned class = 0; class < CONF_CLASSES; class ++)
        actor_close(&s->client[class]);
    s->done = true;
}

static bool is_done(void *arg)
{
    const struct scene *s = arg;
    return s->done && s->late_is_in;
}

static void the_lowest_class_is_refused_first_and_all_recover(void **state)
{
    static struct scene s;
    struct sim_options o = sim_options_default(7);
    (void)state;
    o.gate_yield = 0; /* a turn is one step */
    house_open(&s.house, &o, yaml);
    house_task(&s.house, "backend", house_backend, NULL);
    house_task(&s.house, "clients", rises_and_falls, &s);
    assert_true(house_run(&s.house, is_done, &s, 3600 * NANOS_PER_S));
    assert_true(house_count(&s.house, COUNTER_refused_lag_low) > house_count(&s.house, COUNTER_refused_lag_normal));
    assert_true(house_count(&s.house, COUNTER_refused_lag_normal) > 0);
    assert_true(house_count(&s.house, COUNTER_accept_pauses) > 0);
    house_close(&s.house);
}

/* Class low asks what has been answered before, and what has not. */
static void asks_again(struct task *t, void *arg)
{
    static const char known[] = "{\"model\":\"m\",\"temperature\":0,\"messages\":[{\"role\":\"a\"}]}", other[] = "{\"model\":\"m\",\"temperature\":0,\"messages\":[{\"role\":\"b\"}]}";
    struct scene *s = arg;
    struct actor *low = &s->client[CONF_CLASS_LOW], *high = &s->client[CONF_CLASS_HIGH];
    ASSERT(actor_connect(t, low, &s->house.address, NEVER) == OK && actor_connect(t, high, &s->house.address, NEVER) == OK);
    for (unsigned i = 0; i < 3; i++)
        ASSERT(ask_for(t, low, CONF_CLASS_LOW, known) == 200);
    sim_slow_turns(s->house.sim, 75 * NANOS_PER_MS);
    for (unsigned i = 0; i < WARM; i++)
        ASSERT(ask(t, high, CONF_CLASS_HIGH) == 200 && ask(t, low, CONF_CLASS_LOW) != 0);
    for (unsigned i = 0; i < ASKS; i++)
        ASSERT(ask_for(t, low, CONF_CLASS_LOW, known) == 200 && ask_for(t, low, CONF_CLASS_LOW, other) == 503 && ask(t, high, CONF_CLASS_HIGH) == 200);
    sim_slow_turns(s->house.sim, 0);
    actor_close(low);
    actor_close(high);
    s->done = s->late_is_in = true;
}

static void a_late_worker_tells_what_it_knows(void **state)
{
    static struct scene s;
    struct sim_options o = sim_options_default(9);
    (void)state;
    o.gate_yield = 0;
    house_open(&s.house, &o, yaml);
    house_task(&s.house, "backend", house_backend, NULL);
    house_task(&s.house, "clients", asks_again, &s);
    assert_true(house_run(&s.house, is_done, &s, 3600 * NANOS_PER_S));
    assert_true(house_count(&s.house, COUNTER_cache_lane_hits) >= ASKS);
    house_close(&s.house);
}

/* Refusing everybody would be all that a late worker does. */
static void asks_alone(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor *a = &s->client[0];
    ASSERT(actor_connect(t, a, &s->house.address, NEVER) == OK);
    sim_slow_turns(s->house.sim, 75 * NANOS_PER_MS);
    for (unsigned i = 0; i < WARM + ASKS; i++)
        ASSERT(ask(t, a, CONF_CLASS_LOW) == 200);
    actor_close(a);
    s->done = s->late_is_in = true;
}

static void a_class_that_asks_alone_is_served(void **state)
{
    static struct scene s;
    struct sim_options o = sim_options_default(9);
    (void)state;
    house_open(&s.house, &o, yaml);
    house_task(&s.house, "backend", house_backend, NULL);
    house_task(&s.house, "client", asks_alone, &s);
    assert_true(house_run(&s.house, is_done, &s, 3600 * NANOS_PER_S));
    sim_slow_turns(s.house.sim, 0);
    house_close(&s.house);
}

/* ---- a server that was replaced ---- */

/* The answer says that it is the connection's last, and so it is. */
static void ask_for_the_last_time(struct task *t, struct actor *a)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nhost: w\r\n\r\n";
    char answer[4096];
    size_t n;
    ASSERT(actor_write_all(t, a, request, sizeof request - 1, NEVER) == OK);
    ASSERT(read_answer(t, a, answer, sizeof answer) == 200 && strstr(answer, "connection: close") != NULL);
    ASSERT(actor_read(t, a, answer, sizeof answer, NEVER, &n) == OK && n == 0);
    actor_close(a);
}

static void asks_a_retired_server(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor *stays = &s->client[0], *idle = &s->client[1], *comes = &s->late;
    char byte;
    size_t n;
    ASSERT(actor_connect(t, stays, &s->house.address, NEVER) == OK && ask(t, stays, CONF_CLASS_HIGH) == 200);
    ASSERT(actor_connect(t, idle, &s->house.address, NEVER) == OK && ask(t, idle, CONF_CLASS_HIGH) == 200);
    gateway_retire(s->house.gateway);
    ASSERT(task_sleep(t, t->worker->now + NANOS_PER_S) == OK);
    ask_for_the_last_time(t, stays);
    ASSERT(actor_connect(t, comes, &s->house.address, NEVER) == OK); /* as far as the queue, from which the successor takes it */
    nanos before = t->worker->now;
    ASSERT(actor_read(t, idle, &byte, 1, NEVER, &n) == OK && n == 0 && t->worker->now - before < 3 * NANOS_PER_S);
    actor_close(idle);
    s->done = true;
}

static bool has_ended(void *arg)
{
    struct scene *s = arg;
    for (unsigned i = 0; i < HOUSE_WORKERS; i++)
        if (!atomic_load(&gateway_worker(s->house.gateway, i)->stopping))
            return false;
    return s->done;
}

static void a_retired_server_hangs_up_on_nobody_and_ends(void **state)
{
    static struct scene s;
    struct sim_options o = sim_options_default(8);
    (void)state;
    house_open(&s.house, &o, yaml);
    house_task(&s.house, "backend", house_backend, NULL);
    house_task(&s.house, "clients", asks_a_retired_server, &s);
    assert_true(house_run(&s.house, has_ended, &s, 3600 * NANOS_PER_S));
    assert_int_equal(house_count(&s.house, COUNTER_connections_accepted), 2);
    actor_close(&s.late);
    house_close(&s.house);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_lowest_class_is_refused_first_and_all_recover),
                                        cmocka_unit_test(a_late_worker_tells_what_it_knows),
                                        cmocka_unit_test(a_class_that_asks_alone_is_served),
                                        cmocka_unit_test(a_retired_server_hangs_up_on_nobody_and_ends) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
