/* test_resilience.c: broken backends and those who ride them out. First the breaker, the throttle and the pauses alone, on a fleet without wires; then whole
   gateways with backends that fail in one way each, where the clients see hardly anything of it and the backends are not asked in vain.

   Throughout: a breaker moves only as its table says; a pool keeps one that is closed; a half-open one is asked one call at a time; nobody is tried more often
   than retries.attempts; and at every release of the fleet's gate what fleet_check says, the throttle's bounds among it. */
#include "lib/actor.h"
#include "lib/house.h"
#include "upstream/retry.h"

#include "../unit/test_fleet_help.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define SECONDS NANOS_PER_S

/* ---- the breaker alone ---- */

#define PAIR \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 20}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 20}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: 20}\n" \
    "models: {chat: {use: [a/x, b/y]}, wide: {use: [a/x], fallback: [c/z]}, solo: {use: [c/z]}}\n"

static void wait_for(struct task *t, nanos span)
{
    ASSERT(task_sleep(t, t->worker->now + span) == OK);
}

static bool fails(struct task *t, struct backend *b, unsigned times)
{
    bool opened = false;
    for (unsigned i = 0; i < times; i++)
        opened |= backend_note(t->worker, b, BACKEND_FAILED);
    return opened;
}

static enum breaker state(const struct backend *b) { return atomic_load(&b->breaker); }

static struct slot visit(struct task *t, struct pool *p)
{
    struct slot slot;
    ASSERT(slot_take(t, &(struct claim){ .pool = p, .deadline = NEVER }, &slot) == OK);
    return slot;
}

static void in_a_row(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct backend *a = backend_of(s->fleet, "a"), *b = backend_of(s->fleet, "b");
    ASSERT(!fails(t, a, BREAKER_FAILURES - 1) && !backend_note(t->worker, a, BACKEND_ANSWERED) && !fails(t, a, BREAKER_FAILURES - 1));
    ASSERT(fails(t, a, 1) && state(a) == BREAKER_OPEN && a->opened == 1 && a->limit == 1);
    ASSERT(!fails(t, b, 100) && state(b) == BREAKER_CLOSED); /* complaint 27: the last closed one of chat */
    for (int i = 0; i < 40; i++) {
        struct slot slot = visit(t, pool_of(s->fleet, "chat"));
        ASSERT(slot.backend == b);
        slot_give(t->worker, &slot);
    }
    wait_for(t, BREAKER_OPEN_NS - 2 * SECONDS);
    ASSERT(state(a) == BREAKER_OPEN);
    wait_for(t, 4 * SECONDS);
    ASSERT(state(a) == BREAKER_HALF_OPEN);
    struct slot probe = visit(t, pool_of(s->fleet, "chat")), other = visit(t, pool_of(s->fleet, "chat")); /* one is let through, and no second */
    ASSERT(probe.backend == a && other.backend == b);
    ASSERT(backend_note(t->worker, a, BACKEND_FAILED) && state(a) == BREAKER_OPEN && a->opened == 2);
    slot_give(t->worker, &probe);
    slot_give(t->worker, &other);
}
TEST(five_in_a_row_open_it_and_one_call_is_let_through) { scene_run(PAIR, in_a_row, NULL, 1); }

static void comes_back(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct backend *a = backend_of(s->fleet, "a");
    ASSERT(fails(t, a, BREAKER_FAILURES));
    backend_checked(t->worker, a, true);
    ASSERT(state(a) == BREAKER_OPEN); /* its list answered all along: that proves nothing */
    backend_checked(t->worker, a, false);
    backend_checked(t->worker, a, true);
    ASSERT(state(a) == BREAKER_HALF_OPEN && a->limit == 1);
    backend_began(t->worker, a);
    uint32_t slots = a->limit;
    ASSERT(state(a) == BREAKER_CLOSED && slots == 1);
    for (int i = 0; i < 11; i++) {
        wait_for(t, SECONDS);
        ASSERT(a->limit >= slots && a->limit <= (uint32_t)(2 * (i + 1) + 1)); /* a tenth of 20 a second */
        slots = a->limit;
    }
    ASSERT(slots == 20);
    ASSERT(!fails(t, a, BREAKER_FAILURES - 1)); /* what it did before it closed is forgotten */
    fails(t, a, 1);
    apply(s->fleet, "backends: {a: {kind: openai, url: 'http://127.0.0.1:9'}, b: {kind: openai, url: 'http://127.0.0.1:2'}}\nmodels: {chat: {use: [a/x, b/y]}}\n");
    wait_for(t, 2 * SECONDS);
    ASSERT(state(a) == BREAKER_HALF_OPEN); /* it is another machine now */
}
TEST(one_that_comes_back_is_tried_at_once_and_warmed_up) { scene_run(PAIR, comes_back, NULL, 1); }

/* More than half of 20 in 10 s, however they lie. */
static void by_share(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct backend *a = backend_of(s->fleet, "a");
    for (int i = 0; i < 10; i++) { /* half of 20 */
        ASSERT(!backend_note(t->worker, a, BACKEND_FAILED));
        backend_note(t->worker, a, BACKEND_ANSWERED);
        wait_for(t, SECONDS / 4);
    }
    ASSERT(backend_note(t->worker, a, BACKEND_FAILED)); /* 11 of 21 */
    struct backend *b = backend_of(s->fleet, "c");
    ASSERT(!fails(t, b, 50)); /* alone in solo */
    wait_for(t, BREAKER_OPEN_NS + 2 * SECONDS);
    backend_began(t->worker, a);
    for (int i = 0; i < 60; i++) { /* 11 of 20 again, but never within 10 s */
        ASSERT(!backend_note(t->worker, a, BACKEND_FAILED));
        if (i % 2)
            backend_note(t->worker, a, BACKEND_ANSWERED);
        if (i % 2)
            backend_note(t->worker, a, BACKEND_ANSWERED);
        wait_for(t, 2 * SECONDS);
    }
}
TEST(more_than_half_of_twenty_calls_in_ten_seconds_open_it) { scene_run(PAIR, by_share, NULL, 1); }

/* complaint 26, hostile 78 */
static void pauses(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct backend *a = backend_of(s->fleet, "a"), *b = backend_of(s->fleet, "b");
    uint64_t both = backend_bit(a) | backend_bit(b);
    nanos now = t->worker->now, when;
    backend_hold(t->worker, a, 0);
    ASSERT(pool_ready(chat, 0, now, &when) == both && when == now);
    backend_hold(t->worker, a, 10 * SECONDS);
    backend_hold(t->worker, a, 2 * SECONDS); /* the longer one holds */
    backend_mark(t->worker, a, OK);          /* that it accepts connections is no news */
    ASSERT(pool_ready(chat, 0, now, &when) == backend_bit(b));
    ASSERT(pool_ready(chat, backend_bit(b), now, &when) == 0 && when == now + 10 * SECONDS);
    ASSERT(pool_ready(chat, both, now, &when) == 0 && when == NEVER);
    backend_hold(t->worker, b, 86400 * SECONDS);
    ASSERT(pool_ready(chat, backend_bit(a), now, &when) == 0 && when == now + HOLD_MAX_NS);
    wait_for(t, 11 * SECONDS);
    ASSERT(pool_ready(chat, 0, t->worker->now, &when) == backend_bit(a));
    for (nanos pause = SECONDS; pause <= HOLD_MAX_NS; pause *= 2) { /* it does not say for how long, again and again */
        backend_hold(t->worker, a, -1);
        backend_hold(t->worker, a, -1);
        ASSERT(pool_ready(chat, backend_bit(b), t->worker->now, &when) == 0 && when == t->worker->now + pause);
        wait_for(t, pause + SECONDS / 2);
    }
    backend_note(t->worker, a, BACKEND_ANSWERED);
    backend_hold(t->worker, a, -1);
    ASSERT(pool_ready(chat, backend_bit(b), t->worker->now, &when) == 0 && when == t->worker->now + SECONDS);
}
TEST(a_pause_is_kept_and_a_guessed_one_doubles) { scene_run(PAIR, pauses, NULL, 1); }

static void throttle(struct task *t, void *arg)
{
    (void)t;
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    pool_answered(chat);
    for (int i = 0; i < RETRY_TOKENS / 2; i++) {
        ASSERT(pool_may_retry(chat));
        pool_failed(chat);
    }
    ASSERT(!pool_may_retry(chat) && pool_may_retry(pool_of(s->fleet, "wide")));
    pool_answered(chat);
    ASSERT(pool_may_retry(chat));
    for (int i = 0; i < 1000; i++)
        pool_failed(chat);
    for (int i = 0; i < RETRY_TOKENS; i++) {
        ASSERT(!pool_may_retry(chat));
        pool_answered(chat);
    }
    pool_answered(chat);
    ASSERT(pool_may_retry(chat));
}
TEST(the_throttle_allows_retries_above_half_of_its_tokens) { scene_run(PAIR, throttle, NULL, 1); }

TEST(pauses_are_spread_over_a_span_that_doubles_up_to_a_second)
{
    uint64_t chance = 7;
    for (unsigned n = 0; n < 70; n++) {
        nanos most = n < 4 ? (100 * MS) << n : SECONDS;
        unsigned tenths[10] = { 0 };
        for (int i = 0; i < 2000; i++) {
            nanos pause = retry_pause(n, draw(&chance, UINT64_MAX));
            assert_true(pause >= 0 && pause < most);
            tenths[pause * 10 / most]++;
        }
        for (int i = 0; i < 10; i++)
            assert_in_range(tenths[i], 140, 260); /* 200, and five times its deviation of 13 on both sides */
    }
}

/* ---- whole gateways ---- */

#define SERVERS      2
#define ARRIVAL_NS   (20 * NANOS_PER_MS) /* 50 requests a second */
#define ATTEMPTS     6

enum manner { WELL, FAILS_30, SAYS_503, HANGS };

struct server {
    struct stage *stage;
    unsigned number;
    enum manner manner;
    struct actor listener;
    unsigned calls;
};

struct stage {
    struct house house;
    struct server servers[SERVERS];
    struct backend *backends[SERVERS];
    enum breaker seen[SERVERS];
    uint64_t chance;
    unsigned requests, ended, good, slow; /* slow: took longer than 1.2 s and began after the first 5 s */
    unsigned late;                        /* requests that began after the first 5 s */
    nanos began;
};

struct visitor {
    struct server *server;
    struct actor actor;
};

static enum fail say(struct task *t, struct actor *a, int status, const char *body)
{
    char out[256];
    int n = snprintf(out, sizeof out, "HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status, strlen(body), body);
    return actor_write_all(t, a, out, (size_t)n, NEVER);
}

static enum fail serve_one(struct task *t, struct visitor *v)
{
    struct server *s = v->server;
    s->calls++;
    if (s->manner == HANGS)
        return task_sleep(t, t->worker->now + 3600 * SECONDS);
    enum fail f = task_sleep(t, t->worker->now + 5 * MS);
    if (f != OK)
        return f;
    if (s->manner == SAYS_503)
        return say(t, &v->actor, 503, "{}");
    return s->manner == FAILS_30 && draw(&s->stage->chance, 10) < 3 ? say(t, &v->actor, 500, "{}") : say(t, &v->actor, 200, "{\"choices\":[]}");
}

/* A request here is a whole one: the simulated world delivers what was written in one piece, unless it is asked not to. */
static void serve_many(struct task *t, void *arg)
{
    struct visitor *v = arg;
    char in[4096];
    size_t n;
    while (actor_read(t, &v->actor, in, sizeof in, NEVER, &n) == OK && n > 0) {
        enum fail f = memcmp(in, "GET", 3) == 0 ? say(t, &v->actor, 200, "{\"data\":[]}") : serve_one(t, v);
        if (f != OK)
            break;
    }
    actor_close(&v->actor);
    mem_free(v);
}

static void server(struct task *t, void *arg)
{
    struct server *s = arg;
    struct addr at;
    char host[32];
    snprintf(host, sizeof host, "10.0.0.%u", s->number + 1);
    ASSERT(addr_from_text(&at, text_of(host), 8000));
    ASSERT(actor_listen(&s->stage->house.outside, &s->listener, &at) == OK);
    for (;;) {
        struct visitor *v = mem_zero(sizeof *v);
        ASSERT(v != NULL);
        v->server = s;
        if (actor_accept(t, &s->listener, &v->actor, NEVER) != OK) {
            mem_free(v);
            break;
        }
        house_task(&s->stage->house, "visit", serve_many, v);
    }
    actor_close(&s->listener);
}

static void one_request(struct task *t, void *arg)
{
    static const char ask[] = "POST /v1/completions HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: 27\r\n\r\n{\"model\":\"m\",\"prompt\":\"hi\"}";
    struct stage *s = arg;
    struct actor a;
    char in[4096];
    size_t n = 0;
    nanos began = t->worker->now;
    unsigned attempts = 0;
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    ASSERT(actor_write_all(t, &a, ask, sizeof ask - 1, NEVER) == OK);
    ASSERT(actor_read(t, &a, in, sizeof in - 1, NEVER, &n) == OK && n > 12);
    in[n] = 0;
    const char *said = strstr(in, "x-weir-attempts: ");
    ASSERT(said == NULL || sscanf(said, "x-weir-attempts: %u", &attempts) == 1);
    ASSERT(attempts <= ATTEMPTS); /* nobody is tried more often */
    bool is_late = began - s->began >= 5 * SECONDS;
    s->good += memcmp(in, "HTTP/1.1 200", 12) == 0;
    s->late += is_late;
    s->slow += is_late && t->worker->now - began > 1200 * MS;
    s->ended++;
    actor_close(&a);
}

static void arrivals(struct task *t, void *arg)
{
    struct stage *s = arg;
    for (unsigned i = 0; i < s->requests; i++) {
        house_task(&s->house, "request", one_request, s);
        ASSERT(task_sleep(t, t->worker->now + ARRIVAL_NS) == OK);
    }
}

/* After each step of the simulation. */
static void look(struct sim *sim, void *arg)
{
    struct stage *s = arg;
    unsigned closed = 0;
    (void)sim;
    for (unsigned i = 0; i < SERVERS; i++) {
        static const bool moves[3][3] = { [BREAKER_CLOSED] = { true, false, true }, [BREAKER_HALF_OPEN] = { true, true, true }, [BREAKER_OPEN] = { false, true, true } };
        enum breaker now = state(s->backends[i]);
        ASSERT(moves[s->seen[i]][now]);
        s->seen[i] = now;
        closed += now == BREAKER_CLOSED;
    }
    ASSERT(closed > 0);
}

static bool all_ended(void *arg) { return ((struct stage *)arg)->ended == ((struct stage *)arg)->requests; }

static unsigned calls(const struct stage *s) { return s->servers[0].calls + s->servers[1].calls; }

static void play(struct stage *s, enum manner first, enum manner second, unsigned requests, uint64_t seed)
{
    struct sim_options o = sim_options_default(seed);
    memset(s, 0, sizeof *s);
    s->chance = seed;
    s->requests = requests;
    house_open(&s->house, &o, "backends: {a: {url: 'http://10.0.0.1:8000'}, b: {url: 'http://10.0.0.2:8000'}}\n"
                              "models: {m: {use: [a/m, b/m]}}\ntimeouts: {first_token: 1s}\n");
    struct fleet *f = gateway_fleet(s->house.gateway);
    fleet_check_always(f, true);
    s->backends[0] = backend_of(f, "a");
    s->backends[1] = backend_of(f, "b");
    s->servers[0] = (struct server){ .stage = s, .number = 0, .manner = first };
    s->servers[1] = (struct server){ .stage = s, .number = 1, .manner = second };
    for (unsigned i = 0; i < SERVERS; i++)
        house_task(&s->house, "server", server, &s->servers[i]);
    sim_on_step(s->house.sim, look, s);
    s->began = s->house.outside.now;
    house_task(&s->house, "arrivals", arrivals, s);
    assert_true(house_run(&s->house, all_ended, s, 7200 * SECONDS));
    sim_on_step(s->house.sim, NULL, NULL);
    printf("%u requests, %.2f %% good, %.3f calls a request, %.3f %% slow; breakers opened %u and %u times\n", s->requests, 100.0 * s->good / s->requests,
           (double)calls(s) / s->requests, s->late > 0 ? 100.0 * s->slow / s->late : 0, s->backends[0]->opened, s->backends[1]->opened);
    house_close(&s->house);
}

static struct stage stage;

TEST(a_third_of_errors_is_ridden_out) /* complaint 25 */
{
    unsigned good = 0, all = 0, asked = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        play(&stage, FAILS_30, FAILS_30, 4000, seed);
        good += stage.good;
        all += stage.requests;
        asked += calls(&stage);
    }
    assert_true(good >= 0.998 * all);
    assert_true(asked <= 1.5 * all);
}

TEST(in_an_outage_a_request_costs_one_call) /* hostile 80 */
{
    play(&stage, SAYS_503, SAYS_503, 1000, 1);
    assert_int_equal(stage.good, 0);
    assert_true(calls(&stage) >= stage.requests && calls(&stage) <= 1.1 * stage.requests);
}

TEST(one_that_hangs_delays_hardly_anybody) /* complaint 25, figure: 5,750 requests begin after the first 5 s */
{
    play(&stage, HANGS, WELL, 6000, 1);
    assert_int_equal(stage.good, stage.requests);
    assert_true(stage.slow <= stage.late / 1000);
    assert_true(stage.servers[0].calls < 60); /* those of the first second, and one a minute */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_in_a_row_open_it_and_one_call_is_let_through),
        cmocka_unit_test(one_that_comes_back_is_tried_at_once_and_warmed_up),
        cmocka_unit_test(more_than_half_of_twenty_calls_in_ten_seconds_open_it),
        cmocka_unit_test(a_pause_is_kept_and_a_guessed_one_doubles),
        cmocka_unit_test(the_throttle_allows_retries_above_half_of_its_tokens),
        cmocka_unit_test(pauses_are_spread_over_a_span_that_doubles_up_to_a_second),
        cmocka_unit_test(a_third_of_errors_is_ridden_out),
        cmocka_unit_test(in_an_outage_a_request_costs_one_call),
        cmocka_unit_test(one_that_hangs_delays_hardly_anybody),
    };
    return cmocka_run_group_tests_name("resilience", tests, NULL, NULL);
}
