/* test_bound.c: weir's own processor as the bottleneck: clients with little patience ask for several times what slow workers can do. Who is served is served in
   time, so that as many get an answer as at the best load; nobody waits behind clients that have given up. */
#include "lib/actor.h"
#include "lib/house.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail

#define TURN_NS     (50 * NANOS_PER_MS) /* a turn takes this long, so a worker can do what so many polls give it */
#define PATIENCE_NS (2 * NANOS_PER_S)
#define CROWD_MAX   2500
#define SETTLE_NS   (10 * NANOS_PER_S) /* the first wave, and what it leaves behind */
#define COUNTED_NS  (20 * NANOS_PER_S)

static const char yaml[] = "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 10000}}\nmodels: {m: {use: [b/up]}}\nlog: {access: 'off'}\n";

struct crowd {
    struct house house;
    unsigned good, inside; /* answers in time while counted; clients whose task lives */
    bool counts, over;
};

/* One question on a connection of its own. Was it answered while somebody waited? */
static bool asked(struct task *t, struct crowd *c, nanos deadline)
{
    static const char request[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: 39\r\n\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"a\"}]}";
    struct actor a;
    char answer[1024];
    size_t n = 0;
    if (actor_connect(t, &a, &c->house.address, deadline) != OK)
        return false;
    bool good = actor_write_all(t, &a, request, sizeof request - 1, deadline) == OK && actor_read(t, &a, answer, sizeof answer, deadline, &n) == OK && n > 12 &&
                memcmp(answer, "HTTP/1.1 200", 12) == 0;
    actor_close(&a);
    return good;
}

static void client(struct task *t, void *arg)
{
    struct crowd *c = arg;
    while (!c->over && t->cancel == OK) {
        nanos deadline = t->worker->now + PATIENCE_NS;
        if (asked(t, c, deadline))
            c->good += c->counts;
        else if (task_sleep(t, MAX(deadline, t->worker->now + NANOS_PER_MS)) != OK)
            break;
    }
    c->inside--;
}

static bool never(void *arg) { (void)arg; return false; }
static bool is_empty(void *arg) { return ((struct crowd *)arg)->inside == 0; }

/* Answers in time that so many clients get in COUNTED_NS. */
static unsigned answers_to(unsigned clients, bool in_flood)
{
    static struct crowd c;
    struct sim_options o = sim_options_default(11);
    memset(&c, 0, sizeof c);
    o.gate_yield = 0; /* a turn is one step */
    house_open(&c.house, &o, yaml);
    house_task(&c.house, "backend", house_backend, NULL);
    sim_slow_turns(c.house.sim, TURN_NS);
    for (; c.inside < clients; c.inside++)
        house_task(&c.house, "client", client, &c);
    (void)house_run(&c.house, never, &c, SETTLE_NS);
    c.counts = true;
    (void)house_run(&c.house, never, &c, COUNTED_NS);
    c.counts = false;
    c.over = true;
    sim_slow_turns(c.house.sim, 0);
    assert_true(house_run(&c.house, is_empty, &c, 3600 * NANOS_PER_S));
    assert_true(!in_flood || (house_count(&c.house, COUNTER_accept_pauses) > 0 && house_count(&c.house, COUNTER_client_left_unheard) > 0));
    house_close(&c.house);
    return c.good;
}

static void a_flood_leaves_the_goodput_where_it_was(void **state)
{
    (void)state;
    unsigned peak = 0;
    for (unsigned clients = 50; clients <= 400; clients *= 2)
        peak = MAX(peak, answers_to(clients, false));
    assert_true(answers_to(CROWD_MAX, true) >= peak * 9 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_leaves_the_goodput_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
