/* test_outbound.c: names with several addresses, seeded: each address serves, refuses or is a black hole, in any mixture and order. One that serves is found
   within timeouts.connect wherever it stands, and the next connection begins there. Without one, the attempt ends when timeouts.connect does. */
#include "lib/actor.h"
#include "lib/house.h"
#include "upstream/upstream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS      300
#define CONNECT_NS (2 * NANOS_PER_S) /* timeouts.connect of this file's configuration */

enum manner { SERVES, REFUSES, IS_SILENT };

struct scene {
    struct house house;
    struct addr addrs[ADDRS_MAX];
    unsigned count, serving;
    bool ok[2];
    nanos took[2];
    bool done;
};

static uint32_t roll(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\nconnection: close\r\n\r\n{\"choices\":[]}";

struct stand {
    struct scene *scene;
    unsigned number;
};

static void serve(struct task *t, void *arg)
{
    struct stand *st = arg;
    struct actor listener, a;
    char in[4096];
    assert_int_equal(actor_listen(t->worker, &listener, &st->scene->addrs[st->number]), OK);
    while (actor_accept(t, &listener, &a, NEVER) == OK) {
        size_t n, got = 0;
        bool whole = false;
        while (!whole && actor_read(t, &a, in + got, sizeof in - got - 1, NEVER, &n) == OK && n > 0) {
            got += n;
            in[got] = '\0';
            whole = strncmp(in, "GET", 3) == 0 ? strstr(in, "\r\n\r\n") != NULL : strstr(in, "\"x\"}") != NULL;
        }
        if (whole && actor_write_all(t, &a, answer, strlen(answer), NEVER) != OK)
            fail_msg("weir went away");
        actor_close(&a);
    }
    actor_close(&listener);
    mem_free(st);
}

static void draw(struct scene *s, uint64_t seed)
{
    static char says[400];
    uint64_t state = seed * 2654435761u;
    size_t at = 0;
    s->count = 1 + roll(&state) % ADDRS_MAX;
    for (unsigned i = 0; i < s->count; i++) {
        char host[32];
        enum manner manner = (enum manner)(roll(&state) % 4 % 3);
        if (i + 1 == s->count && s->serving == 0 && roll(&state) % 4 > 0)
            manner = SERVES;
        snprintf(host, sizeof host, roll(&state) % 2 ? "10.0.0.%u" : "fd00::%u", i + 1);
        assert_true(addr_from_text(&s->addrs[i], text_of(host), 8000));
        at += (size_t)snprintf(says + at, sizeof says - at, "%s%s", i > 0 ? " " : "", host);
        s->serving += manner == SERVES;
        if (manner == IS_SILENT)
            assert_int_equal(sim_blackhole(s->house.sim, &s->addrs[i], true), OK);
        if (manner != SERVES)
            continue;
        struct stand *st = mem_zero(sizeof *st);
        *st = (struct stand){ s, i };
        house_task(&s->house, "backend", serve, st);
    }
    assert_true(names_set(&s->house.names, TEXT("gpu.test"), text_of(says)));
}

static void client(struct task *t, void *arg)
{
    static const char request[] = "POST /v1/completions HTTP/1.1\r\nhost: w\r\ncontent-length: 26\r\nconnection: close\r\n\r\n{\"model\":\"m\",\"prompt\":\"x\"}";
    struct scene *s = arg;
    char in[4096];
    assert_int_equal(task_sleep(t, t->worker->now + 20 * NANOS_PER_S), OK); /* discovery has come to its end with each of them */
    for (unsigned i = 0; i < 2; i++) {
        struct actor a;
        size_t n, got = 0;
        nanos began = t->worker->now;
        assert_int_equal(actor_connect(t, &a, &s->house.address, NEVER), OK);
        assert_int_equal(actor_write_all(t, &a, request, strlen(request), NEVER), OK);
        while (actor_read(t, &a, in + got, sizeof in - got - 1, NEVER, &n) == OK && n > 0)
            got += n;
        in[got] = '\0';
        s->ok[i] = strstr(in, "200 OK") != NULL;
        s->took[i] = t->worker->now - began;
        actor_close(&a);
    }
    s->done = true;
}

static bool is_done(void *arg) { return ((struct scene *)arg)->done; }

static void play(uint64_t seed)
{
    static struct scene s;
    memset(&s, 0, sizeof s);
    struct sim_options o = sim_options_default(seed);
    house_open(&s.house, &o, "workers: 1\nbackends: {b: {url: 'http://gpu.test:8000'}}\nmodels: {m: {use: [b/up]}}\ntimeouts: {connect: 2s}\nretries: {attempts: 1}\n");
    draw(&s, seed);
    house_task(&s.house, "client", client, &s);
    assert_true(house_run(&s.house, is_done, &s, 60 * NANOS_PER_S));
    for (unsigned i = 0; i < 2; i++)
        if (s.ok[i] != (s.serving > 0) || s.took[i] > CONNECT_NS + 50 * NANOS_PER_MS)
            fail_msg("seed %llu: %u of %u addresses serve, request %u %s after %lld us", (unsigned long long)seed, s.serving, s.count, i, s.ok[i] ? "succeeded" : "failed",
                     (long long)(s.took[i] / 1000));
    house_close(&s.house);
}

static void one_that_serves_is_found_wherever_it_stands(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        play(seed);
}

/* One connection after another on one worker: the first goes by the black holes, the next ones do not. */
struct dials {
    struct scene scene;
    nanos took[3];
    enum fail result[3];
    bool done;
};

static void dial_again(struct task *t, void *arg)
{
    struct dials *ds = arg;
    struct endpoint e = { .addrs = { .count = 3 }, .backend = &(struct backend){ .name = "b" }, .conf = &(struct conf_backend){ .name = "b" } };
    struct dial d = { .first = 0 };
    memcpy(e.addrs.at, ds->scene.addrs, 3 * sizeof e.addrs.at[0]);
    for (unsigned i = 0; i < 3; i++) {
        struct conn *c;
        nanos began = t->worker->now;
        ds->result[i] = dial(t, &e, began + CONNECT_NS, &d, &c);
        ds->took[i] = t->worker->now - began;
        if (ds->result[i] == OK) {
            assert_true(addr_equal(&c->peer, &ds->scene.addrs[2]));
            conn_free(c);
        }
    }
    ds->done = true;
}

static bool dials_done(void *arg) { return ((struct dials *)arg)->done; }

static void the_next_connection_begins_where_the_last_one_ended(void **state)
{
    static struct dials ds;
    (void)state;
    memset(&ds, 0, sizeof ds);
    struct sim_options o = sim_options_default(1);
    house_open(&ds.scene.house, &o, "backends: {b: {url: 'http://10.0.0.9:1'}}\n");
    for (unsigned i = 0; i < 3; i++) {
        char host[16];
        snprintf(host, sizeof host, "10.0.0.%u", i + 1);
        assert_true(addr_from_text(&ds.scene.addrs[i], text_of(host), 8000));
        if (i < 2)
            assert_int_equal(sim_blackhole(ds.scene.house.sim, &ds.scene.addrs[i], true), OK);
    }
    struct stand *st = mem_zero(sizeof *st);
    *st = (struct stand){ &ds.scene, 2 };
    house_task(&ds.scene.house, "backend", serve, st);
    assert_non_null(task_start(gateway_worker(ds.scene.house.gateway, 0), "dial", dial_again, &ds));
    assert_true(house_run(&ds.scene.house, dials_done, &ds, 60 * NANOS_PER_S));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ds.result[i], OK);
    assert_in_range(ds.took[0], CONNECT_NS * 3 / 4, CONNECT_NS * 3 / 4 + 10 * NANOS_PER_MS); /* half of it, and half of the rest */
    assert_in_range(ds.took[1], 0, 10 * NANOS_PER_MS);
    assert_in_range(ds.took[2], 0, 10 * NANOS_PER_MS);
    house_close(&ds.scene.house);
}

static uint32_t addresses_known(struct house *h, const char **out_why)
{
    struct roster *r = fleet_roster(gateway_fleet(h->gateway));
    const struct endpoint *e = roster_endpoint(r, TEXT("b"));
    uint32_t count = e->addrs.count;
    *out_why = atomic_load(&e->backend->name_why);
    roster_unref(r);
    return count;
}

static bool never(void *arg) { return arg == NULL; }

static void a_name_that_stops_resolving_keeps_its_addresses(void **state)
{
    static struct house h;
    static const char *const says[] = { "fails", "silent", "0.0.0.0" };
    const char *why;
    (void)state;
    struct sim_options o = sim_options_default(1);
    house_open(&h, &o, "backends: {b: {url: 'http://gpu.test:8000'}}\n");
    assert_true(names_set(&h.names, TEXT("gpu.test"), TEXT("10.0.0.1 fd00::1 ttl 10s")));
    assert_false(sim_run(h.sim, never, &h, 45 * NANOS_PER_S));
    assert_int_equal(addresses_known(&h, &why), 2);
    assert_null(why);
    assert_in_range(h.names.asked, 4, 5); /* now, and after each TTL */
    for (size_t i = 0; i < ARRAY_LEN(says); i++) {
        unsigned before = h.names.asked;
        assert_true(names_set(&h.names, TEXT("gpu.test"), text_of(says[i])));
        assert_false(sim_run(h.sim, never, &h, 300 * NANOS_PER_S));
        assert_int_equal(addresses_known(&h, &why), 2);
        assert_non_null(why);
        assert_in_range(h.names.asked - before, 7, 16); /* after 1, 2, 4, 8, 16 seconds, then every 30 */
    }
    assert_true(names_set(&h.names, TEXT("gpu.test"), TEXT("10.0.0.1")));
    assert_false(sim_run(h.sim, never, &h, 45 * NANOS_PER_S));
    assert_int_equal(addresses_known(&h, &why), 1);
    assert_null(why);
    house_close(&h);
}

static void names_are_asked_again_in_bounded_time(void **state)
{
    (void)state;
    assert_int_equal(discover_pause(0, 0), 5 * NANOS_PER_S); /* a TTL of 0 */
    assert_int_equal(discover_pause(5 * NANOS_PER_S, 0), 5 * NANOS_PER_S);
    assert_int_equal(discover_pause(60 * NANOS_PER_S, 0), 60 * NANOS_PER_S);
    assert_int_equal(discover_pause(86400LL * NANOS_PER_S, 0), 300 * NANOS_PER_S);
    nanos before = 0;
    for (unsigned failures = 1; failures < 200; failures++) { /* the TTL of an answer that failed says nothing */
        nanos pause = discover_pause(86400LL * NANOS_PER_S, failures);
        assert_in_range(pause, MAX(before, NANOS_PER_S), 30 * NANOS_PER_S);
        before = pause;
    }
    assert_int_equal(before, 30 * NANOS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_serves_is_found_wherever_it_stands),
        cmocka_unit_test(the_next_connection_begins_where_the_last_one_ended),
        cmocka_unit_test(a_name_that_stops_resolving_keeps_its_addresses),
        cmocka_unit_test(names_are_asked_again_in_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
