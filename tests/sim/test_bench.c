/* test_bench.c: the load generator and the mock in one simulated world: what it counts is what happened, and its clock is the users'. */
#include "bench/load.h"
#include "mock/inner.h"
#include "lib/actor.h"
#include "run/sim.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS NANOS_PER_MS
#define S  NANOS_PER_S
#define GENERATORS 2

struct rig {
    struct sim *sim;
    struct world *world;
    struct worker server, generators[GENERATORS];
    int listener;
    struct mock *mock;
    struct mock_script mock_script;
    struct mock_stats stats;
    struct load_plan plan;
    struct script_options script;
    struct load *loads[GENERATORS];
    struct actor stopping;       /* the listener of a server that stops */
    nanos began, stops, goes_on; /* and when it does */
    struct tally sum;
    uint64_t hash;
    int64_t blocks_before;
};

static void set_mock(struct rig *r, const char *name, const char *value)
{
    struct complaint why;
    if (!mock_script_set(&r->mock_script, text_of(name), text_of(value), &why))
        fail_msg("%s", why.text);
}

/* A second of plain questions at 100 a second to a mock that answers at once. */
static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->blocks_before = mem_alive();
    mock_script_init(&r->mock_script);
    r->script = (struct script_options){ .api = LOAD_OPENAI, .model = TEXT("mock-1") };
    r->plan = (struct load_plan){ .is_open = true, .users_max = 1000, .timeout = 5 * S, .drain = 5 * S };
    r->plan.pace = (struct pace_plan){ .kind = PACE_POISSON, .seed = 3, .phase_count = 1, .phases = { { S, 100, 100 } } };
    snprintf(r->plan.target.host, sizeof r->plan.target.host, "10.0.0.1:8000");
    r->plan.target.addrs.count = 1;
    assert_true(addr_from_text(&r->plan.target.addrs.at[0], TEXT("10.0.0.1"), 8000));
}

/* starts: when the plan begins, from now on. */
static void rig_open_at(struct rig *r, uint64_t seed, nanos starts)
{
    struct sim_options o = sim_options_default(seed);
    struct complaint why;
    o.latency_min = o.latency_max = 10 * NANOS_PER_US;
    r->sim = sim_new(&o);
    assert_non_null(r->sim);
    r->world = sim_world(r->sim);
    assert_true(script_open(&r->plan.script, &r->script, &why));
    r->began = world_now(r->world) + starts;
    assert_int_equal(worker_init(&r->server, r->world, 0), OK);
    assert_int_equal(sim_worker(r->sim, "server", &r->server), OK);
    for (unsigned i = 0; i < GENERATORS; i++) {
        assert_int_equal(worker_init(&r->generators[i], r->world, 1 + i), OK);
        assert_int_equal(sim_worker(r->sim, "generator", &r->generators[i]), OK);
        r->loads[i] = load_new(&r->generators[i], &r->plan, i, GENERATORS, r->began);
        assert_non_null(r->loads[i]);
    }
}

static void rig_open(struct rig *r, uint64_t seed) { rig_open_at(r, seed, MS); }

static void rig_mock(struct rig *r)
{
    r->mock = mock_new(&r->server, &r->mock_script);
    assert_non_null(r->mock);
    r->listener = r->world->listen(r->world, &r->plan.target.addrs.at[0]);
    assert_true(r->listener >= 0);
    assert_int_equal(mock_listen(r->mock, r->listener), OK);
}

static bool are_over(void *arg)
{
    struct rig *r = arg;
    bool over = true;
    for (unsigned i = 0; i < GENERATORS; i++)
        over = over && load_is_over(r->loads[i]) && task_count(&r->generators[i]) == 0;
    return over;
}

static void rig_run(struct rig *r)
{
    if (!sim_run(r->sim, are_over, r, 120 * S))
        fail_msg("the test never ends: %s", sim_why(r->sim));
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    if (arg != NULL)
        mock_stop(arg);
    worker_stop(w);
}

/* Sums up, ends everything, and asserts that nothing is left. */
static void rig_close(struct rig *r)
{
    assert_int_equal(tally_init(&r->sum, r->began, pace_span(&r->plan.pace) + r->plan.drain), OK);
    for (unsigned i = 0; i < GENERATORS; i++) {
        assert_int_equal(tally_merge(&r->sum, load_tally(r->loads[i])), OK);
        worker_stop(&r->generators[i]);
    }
    mail_send(&r->server, stop_letter, r->mock, 0);
    assert_true(sim_run(r->sim, NULL, NULL, 120 * S));
    if (r->mock != NULL) {
        mock_stats_read(r->mock, &r->stats);
        mock_free(r->mock);
        r->world->close(r->world, r->listener);
    }
    r->hash = sim_trace_hash(r->sim);
    assert_int_equal(sim_sockets_open(r->sim), 0);
    for (unsigned i = 0; i < GENERATORS; i++) {
        load_free(r->loads[i]);
        worker_fini(&r->generators[i]);
    }
    worker_fini(&r->server);
    sim_free(r->sim);
    mock_script_fini(&r->mock_script);
    script_free(r->plan.script);
}

static void rig_forget(struct rig *r)
{
    tally_fini(&r->sum);
    assert_int_equal(mem_alive(), r->blocks_before);
}

static void rig_play(struct rig *r, uint64_t seed)
{
    rig_open(r, seed);
    rig_mock(r);
    rig_run(r);
    rig_close(r);
}

static uint64_t arrivals_of(const struct pace_plan *plan)
{
    struct pace p;
    pace_begin(&p, plan);
    while (pace_next(&p) != NEVER) {
    }
    return p.count;
}

static bool is_near(double a, double b, double share)
{
    return fabs(a - b) <= share * b;
}

/* ---- what is counted ---- */

static void every_arrival_is_a_request_and_every_request_has_an_end(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    rig_play(&r, 1);
    assert_int_equal(tally_requests(&r.sum), arrivals_of(&r.plan.pace));
    assert_int_equal(r.sum.outcomes[OUTCOME_OK], tally_requests(&r.sum));
    assert_int_equal(r.sum.missed, 0);
    assert_int_equal(r.stats.requests, tally_requests(&r.sum));
    assert_int_equal(r.sum.tokens_out, 20 * r.stats.requests);
    assert_int_equal(r.sum.in_flight, 0);
    rig_forget(&r);
}

/* 100 a second, 100 ms each: ten in flight. Room for four of two workers lets none but those in. */
static void what_finds_no_room_is_missed_and_the_run_is_invalid(void **state)
{
    static struct rig r;
    char why[200];
    (void)state;
    rig_init(&r);
    r.plan.users_max = 4;
    set_mock(&r, "ttft", "100ms");
    rig_play(&r, 1);
    assert_true(r.sum.missed > 0);
    assert_int_equal(tally_requests(&r.sum) + r.sum.missed, arrivals_of(&r.plan.pace));
    assert_int_equal(r.sum.in_flight_max, 4);
    assert_non_null(load_invalid(&r.plan, &r.sum, GENERATORS, why));
    assert_non_null(strstr(why, "were not sent"));
    rig_forget(&r);
}

static void an_answer_of_50_ms_has_50_ms(void **state)
{
    static struct rig r;
    char why[200];
    (void)state;
    rig_init(&r);
    set_mock(&r, "ttft", "50ms");
    rig_play(&r, 1);
    assert_true(is_near((double)r.sum.latency.hist.sum / (double)r.sum.latency.hist.count, 50 * MS, 0.02));
    assert_true(r.sum.latency.least >= 50 * MS);
    assert_true(hist_quantile(&r.sum.lag.hist, 0.99) < 20 * NANOS_PER_US);
    assert_null(load_invalid(&r.plan, &r.sum, GENERATORS, why));
    rig_forget(&r);
}

static void a_stream_has_a_first_token_and_spans_between(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.script.stream = true;
    r.plan.slo = (struct slo){ .ttft = 41 * MS };
    set_mock(&r, "ttft", "40ms");
    set_mock(&r, "itl", "10ms");
    set_mock(&r, "tokens", "5");
    rig_play(&r, 1);
    uint64_t n = arrivals_of(&r.plan.pace);
    assert_int_equal(r.sum.outcomes[OUTCOME_OK], n);
    assert_int_equal(r.sum.good, n);
    assert_int_equal(r.sum.itl.hist.count, 4 * n);
    assert_true(is_near((double)r.sum.ttft.hist.sum / (double)n, 40 * MS, 0.02));
    assert_true(is_near((double)r.sum.itl.hist.sum / (4.0 * (double)n), 10 * MS, 0.02));
    assert_true(is_near((double)r.sum.latency.hist.sum / (double)n, 80 * MS, 0.02));
    assert_int_equal(r.sum.tokens_out, 5 * n);
    rig_forget(&r);
}

static int by_size(const void *a, const void *b)
{
    nanos x = *(const nanos *)a, y = *(const nanos *)b;
    return (x > y) - (x < y);
}

/* The mock's own draws, one for each of its requests, and sorted: quantiles are not compared with the law but with what really happened. */
static void quantiles_are_those_of_what_the_mock_drew(void **state)
{
    enum { ROOM = 20000 };
    static struct rig r;
    static nanos drawn[ROOM];
    const double shares[] = { 0.5, 0.9, 0.99, 0.999 };
    (void)state;
    rig_init(&r);
    r.plan.pace.phases[0] = (struct pace_phase){ 20 * S, 500, 500 };
    set_mock(&r, "ttft", "lognormal(30ms,0.8)");
    set_mock(&r, "tokens", "1");
    struct mock_span ttft = r.mock_script.ttft;
    uint64_t seed = r.mock_script.seed;
    rig_play(&r, 1);
    uint64_t n = tally_requests(&r.sum);
    assert_in_range(n, 9000, ROOM);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t random = seed ^ (i + 1) * 0x9e3779b97f4a7c15ULL;
        drawn[i] = mock_span_draw(&ttft, &random, i + 1);
    }
    qsort(drawn, n, sizeof *drawn, by_size);
    for (unsigned i = 0; i < ARRAY_LEN(shares); i++) {
        double truth = (double)drawn[(uint64_t)ceil(shares[i] * (double)n) - 1], said = (double)hist_quantile(&r.sum.latency.hist, shares[i]);
        if (fabs(said - truth) > fmax(0.02 * truth, 0.3 * MS))
            fail_msg("q%g: the mock drew %.3f ms, the generator says %.3f ms", shares[i], truth / MS, said / MS);
    }
    rig_forget(&r);
}

static void the_warm_up_is_left_out(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.pace.kind = PACE_CONSTANT;
    r.plan.warmup = 250 * MS;
    rig_play(&r, 1);
    assert_int_equal(r.sum.warmup, 25);
    assert_int_equal(tally_requests(&r.sum), 75);
    assert_int_equal(r.sum.lag.hist.count, 75);
    rig_forget(&r);
}

/* Ten users whose first requests are meant to start in the warm-up and time out behind it: a server that answers nobody must not look like one that was asked nothing. */
static void what_ends_behind_the_warm_up_of_users_counts(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace = (struct pace_plan){ .kind = PACE_CONSTANT, .seed = 3, .phase_count = 1, .phases = { { S, 10, 10 } } };
    r.plan.warmup = 250 * MS;
    r.plan.timeout = 900 * MS;
    set_mock(&r, "fault", "hang");
    rig_play(&r, 1);
    assert_int_equal(r.sum.warmup, 0);
    assert_int_equal(r.sum.outcomes[OUTCOME_TIMEOUT], tally_requests(&r.sum));
    assert_in_range(tally_requests(&r.sum), 10, 20);
    rig_forget(&r);

    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace = (struct pace_plan){ .kind = PACE_CONSTANT, .seed = 3, .phase_count = 1, .phases = { { S, 10, 10 } } };
    r.plan.warmup = 250 * MS;
    set_mock(&r, "ttft", "100ms");
    rig_play(&r, 1);
    assert_int_equal(r.sum.warmup, 20); /* those that ended at 100 and 200 ms */
    rig_forget(&r);
}

/* ---- a server that stops ---- */

struct visit {
    struct rig *rig;
    struct actor actor;
};

static void answer(struct task *t, void *arg)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    struct visit *v = arg;
    struct rig *r = v->rig;
    char in[2048];
    size_t n;
    while (actor_read(t, &v->actor, in, sizeof in, NEVER, &n) == OK && n > 0) {
        if (t->worker->now >= r->stops && t->worker->now < r->goes_on && task_sleep(t, r->goes_on) != OK)
            break;
        if (actor_write_all(t, &v->actor, ok, sizeof ok - 1, NEVER) != OK)
            break;
    }
    actor_close(&v->actor);
    mem_free(v);
}

static void stopping_server(struct task *t, void *arg)
{
    struct rig *r = arg;
    ASSERT(actor_listen(&r->server, &r->stopping, &r->plan.target.addrs.at[0]) == OK);
    for (;;) {
        struct visit *v = mem_zero(sizeof *v);
        ASSERT(v != NULL);
        v->rig = r;
        if (actor_accept(t, &r->stopping, &v->actor, r->goes_on + 9 * S) != OK) {
            mem_free(v);
            break;
        }
        ASSERT(task_start(&r->server, "answer", answer, v) != NULL);
    }
    actor_close(&r->stopping);
}

/* One second of ten: every tenth arrival finds it stopped and waits from 1 s to nothing, so one of a hundred waits longer than 0.9 s. */
static void a_stopped_server_is_seen_by_all_who_would_have_come(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.script = (struct script_options){ .api = LOAD_PLAIN };
    r.plan.pace = (struct pace_plan){ .kind = PACE_CONSTANT, .phase_count = 1, .phases = { { 10 * S, 100, 100 } } };
    rig_open(&r, 1);
    r.stops = r.began + 4 * S;
    r.goes_on = r.stops + S;
    assert_non_null(task_start(&r.server, "server", stopping_server, &r));
    rig_run(&r);
    rig_close(&r);
    assert_int_equal(tally_requests(&r.sum), 1000);
    assert_true(hist_quantile(&r.sum.latency.hist, 0.99) >= 800 * MS);
    assert_true(hist_quantile(&r.sum.latency.hist, 0.85) < MS);
    assert_true(r.sum.in_flight_max >= 98);
    rig_forget(&r);
}

/* A generator that gets to its work when 400 ms of it are over: what was due then started late, its users waited all the same, and the run says what it is worth. */
static void a_late_generator_is_no_good_server(void **state)
{
    static struct rig r;
    char why[200];
    (void)state;
    rig_init(&r);
    r.plan.pace.kind = PACE_CONSTANT;
    rig_open_at(&r, 1, -400 * MS);
    rig_mock(&r);
    rig_run(&r);
    rig_close(&r);
    assert_int_equal(tally_requests(&r.sum), 100);
    assert_true(is_near((double)r.sum.latency.hist.sum, 40 * 200 * MS, 0.05)); /* forty of them, 200 ms each in the mean */
    assert_true(r.sum.service.hist.max < 5 * MS);
    assert_true(r.sum.lag.hist.max > 390 * MS);
    assert_non_null(load_invalid(&r.plan, &r.sum, GENERATORS, why));
    assert_non_null(strstr(why, "the generator was late"));
    rig_forget(&r);
}

/* The same of users: their clock should have struck 40 times of 100 before. */
static void a_late_generator_of_users_says_so(void **state)
{
    static struct rig r;
    char why[200];
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace.phases[0] = (struct pace_phase){ S, 3, 3 };
    rig_open_at(&r, 1, -400 * MS);
    rig_mock(&r);
    rig_run(&r);
    rig_close(&r);
    assert_int_equal(r.sum.lag.hist.count, 2 * 100);
    assert_true(hist_quantile(&r.sum.lag.hist, 0.7) > 80 * MS);
    assert_non_null(load_invalid(&r.plan, &r.sum, GENERATORS, why));
    rig_forget(&r);
}

/* ---- users ---- */

static void users_ask_one_request_after_the_other(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace.phases[0] = (struct pace_phase){ 10 * S, 7, 7 };
    set_mock(&r, "ttft", "100ms");
    rig_play(&r, 1);
    assert_in_range(tally_requests(&r.sum), 690, 700);
    assert_int_equal(r.sum.in_flight_max, 7);
    assert_int_equal(r.stats.max_active, 7);
    assert_in_range(r.sum.lag.hist.count, 2 * 990, 2 * 1000); /* a stroke every 10 ms, of each worker */
    rig_forget(&r);
}

/* 10 users think 100 ms and wait 100 ms: 50 requests a second. */
static void users_think_before_they_ask(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.script.think = 100 * MS;
    r.plan.pace.phases[0] = (struct pace_phase){ 10 * S, 10, 10 };
    set_mock(&r, "ttft", "100ms");
    rig_play(&r, 1);
    assert_in_range(tally_requests(&r.sum), 490, 500);
    assert_true(is_near((double)r.sum.latency.hist.sum / (double)r.sum.latency.hist.count, 100 * MS, 0.02)); /* thinking is not waiting */
    rig_forget(&r);
}

/* Up to 20 in 5 s, down to 0 in 5 s: windows show how many there are, and requests are the area under it. */
static void users_come_and_go_along_ramps(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace.phase_count = 2;
    r.plan.pace.phases[0] = (struct pace_phase){ 5 * S, 0, 20 };
    r.plan.pace.phases[1] = (struct pace_phase){ 5 * S, 20, 0 };
    set_mock(&r, "ttft", "50ms");
    rig_play(&r, 1);
    assert_true(is_near((double)tally_requests(&r.sum), 100 / 0.05, 0.06));
    assert_in_range(r.sum.windows[1]->in_flight, 7, 9);
    assert_in_range(r.sum.windows[4]->in_flight, 19, 20);
    assert_in_range(r.sum.windows[7]->in_flight, 7, 9);
    rig_forget(&r);
}

static void who_is_not_let_in_does_not_spin(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace.phases[0] = (struct pace_phase){ S, 2, 2 };
    rig_open(&r, 1); /* and nobody listens */
    rig_run(&r);
    rig_close(&r);
    assert_int_equal(r.sum.outcomes[OUTCOME_CONNECT], tally_requests(&r.sum));
    assert_in_range(tally_requests(&r.sum), 100, 200); /* every 10 ms each, and not more */
    rig_forget(&r);
}

/* ---- how requests end ---- */

static void expect(const char *fault, bool stream, enum tally_outcome outcome)
{
    static struct rig r;
    rig_init(&r);
    r.script.stream = stream;
    r.plan.timeout = 500 * MS;
    r.plan.pace.phases[0] = (struct pace_phase){ S, 20, 20 };
    set_mock(&r, "fault", fault);
    set_mock(&r, "itl", "1ms");
    rig_play(&r, 1);
    uint64_t n = arrivals_of(&r.plan.pace);
    assert_int_equal(tally_requests(&r.sum), n);
    if (r.sum.outcomes[outcome] != n)
        for (unsigned o = 0; o < TALLY_OUTCOMES; o++)
            if (r.sum.outcomes[o] > 0)
                fail_msg("%s, stream %d: %llu of %llu are \"%s\" and not \"%s\"", fault, stream, (unsigned long long)r.sum.outcomes[o], (unsigned long long)n,
                         tally_outcome_name(o), tally_outcome_name(outcome));
    assert_int_equal(r.sum.failed.hist.count, outcome == OUTCOME_OK ? 0 : n);
    rig_forget(&r);
}

static void each_fault_has_its_outcome(void **state)
{
    (void)state;
    expect("status=500", false, OUTCOME_STATUS);
    expect("hang", false, OUTCOME_TIMEOUT);
    expect("hang-headers", false, OUTCOME_TIMEOUT);
    expect("cut", false, OUTCOME_CUT);
    expect("cut=first", false, OUTCOME_RESET);
    expect("cut", true, OUTCOME_CUT);
    expect("rst=first", true, OUTCOME_RESET);
    expect("rst", true, OUTCOME_CUT);
    expect("stall", true, OUTCOME_TIMEOUT);
    expect("garbage", false, OUTCOME_PROTOCOL);
    expect("badchunk", true, OUTCOME_PROTOCOL);
    expect("html", false, OUTCOME_PROTOCOL);
    expect("html", true, OUTCOME_PROTOCOL);
    expect("hugeheader", false, OUTCOME_PROTOCOL);
    expect("wronglength", false, OUTCOME_CUT);
    expect("wronglength=short", false, OUTCOME_PROTOCOL);
    expect("nodone", true, OUTCOME_CUT);
    expect("errorevent", true, OUTCOME_ERROR);
    expect("errorevent", false, OUTCOME_ERROR);
    expect("splitutf8", true, OUTCOME_OK);
}

static void ollama_is_read_line_by_line(void **state)
{
    static struct rig r;
    (void)state;
    for (unsigned stream = 0; stream < 2; stream++) {
        rig_init(&r);
        r.script.api = LOAD_OLLAMA;
        r.script.stream = stream;
        set_mock(&r, "dialect", "ollama");
        set_mock(&r, "tokens", "5");
        set_mock(&r, "itl", "2ms");
        rig_play(&r, 1);
        uint64_t n = arrivals_of(&r.plan.pace);
        assert_int_equal(r.sum.outcomes[OUTCOME_OK], n);
        assert_int_equal(r.sum.tokens_out, 5 * n);
        assert_int_equal(r.sum.itl.hist.count, stream ? 4 * n : 0);
        rig_forget(&r);
    }
    rig_init(&r);
    r.script.api = LOAD_OLLAMA;
    r.script.stream = true;
    set_mock(&r, "dialect", "ollama");
    set_mock(&r, "fault", "nodone");
    rig_play(&r, 1);
    assert_int_equal(r.sum.outcomes[OUTCOME_CUT], tally_requests(&r.sum));
    rig_forget(&r);
}

/* ---- seeds, and stopping ---- */

static void the_same_seed_is_the_same_test(void **state)
{
    static struct rig a, b;
    (void)state;
    struct rig *const both[] = { &a, &b };
    for (unsigned i = 0; i < 2; i++) {
        rig_init(both[i]);
        set_mock(both[i], "ttft", "lognormal(30ms,0.8)");
        rig_play(both[i], 5);
        rig_forget(both[i]); /* windows go, numbers stay */
    }
    assert_true(a.hash == b.hash);
    a.sum.windows = b.sum.windows;
    assert_memory_equal(&a.sum, &b.sum, sizeof a.sum);
}

static bool has_waited(void *arg)
{
    struct rig *r = arg;
    return world_now(r->world) >= r->began + 300 * MS;
}

static void stop_load(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)number;
    load_stop(arg);
}

/* At a moment of the middle: what was under way counts nowhere, and leaves nothing behind (rig_close and rig_forget look). */
static void stopping_leaves_nothing(void **state)
{
    static struct rig r;
    (void)state;
    for (unsigned open = 0; open < 2; open++) {
        rig_init(&r);
        r.plan.is_open = open;
        r.script.think = open ? 0 : 30 * MS;
        r.plan.pace.phases[0] = (struct pace_phase){ 10 * S, 100, 100 };
        set_mock(&r, "ttft", "lognormal(50ms,0.8)");
        rig_open(&r, 1);
        rig_mock(&r);
        assert_true(sim_run(r.sim, has_waited, &r, 10 * S));
        for (unsigned i = 0; i < GENERATORS; i++)
            mail_send(&r.generators[i], stop_load, r.loads[i], 0);
        rig_run(&r);
        assert_true(world_now(r.world) < r.began + 310 * MS);
        rig_close(&r);
        assert_true(tally_requests(&r.sum) > 0 && r.stats.cancelled > 0);
        assert_int_equal(tally_requests(&r.sum), r.sum.outcomes[OUTCOME_OK]);
        assert_int_equal(r.stats.requests, tally_requests(&r.sum) + r.stats.cancelled);
        assert_int_equal(r.sum.in_flight, 0);
        rig_forget(&r);
    }
}

/* What is in flight when the plan is over has `drain` to end, and is a timeout then. */
static void the_last_ones_are_waited_for_and_not_for_ever(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.pace.kind = PACE_CONSTANT;
    r.plan.drain = 100 * MS;
    set_mock(&r, "ttft", "500ms");
    rig_play(&r, 1);
    assert_in_range(r.sum.outcomes[OUTCOME_OK], 59, 61); /* those of the first 0.6 s */
    assert_int_equal(r.sum.outcomes[OUTCOME_TIMEOUT], 100 - r.sum.outcomes[OUTCOME_OK]);
    rig_forget(&r);
}

/* No more sockets: it is the generator's end, and not the server's error. */
static void without_descriptors_the_run_is_invalid(void **state)
{
    static struct rig r;
    char why[200];
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.pace.phases[0] = (struct pace_phase){ 5 * S, 5000, 5000 }; /* a simulated world has 4,096 sockets */
    set_mock(&r, "ttft", "10s");
    rig_play(&r, 1);
    assert_int_equal(r.sum.stopped, FAIL_NO_DESCRIPTORS);
    assert_int_equal(r.sum.outcomes[OUTCOME_CONNECT], 0);
    assert_non_null(load_invalid(&r.plan, &r.sum, GENERATORS, why));
    assert_non_null(strstr(why, "ran out of descriptors"));
    rig_forget(&r);
}

/* ---- what was said ---- */

static const struct script_asker both_ways[] = { { .name = TEXT("plain"), .weight = 1 }, { .name = TEXT("stream"), .weight = 1, .stream = true } };

/* A second of plain questions and streams to a mock whose words are known. */
static void rig_init_verifying(struct rig *r)
{
    rig_init(r);
    r->script.made = (struct script_made){ .count = 1000 };
    r->script.askers = both_ways;
    r->script.asker_count = ARRAY_LEN(both_ways);
    r->plan.verify = true;
    set_mock(r, "seed", "7");
    set_mock(r, "tokens", "12");
    r->plan.mock = (struct verify){ .seed = 7, .tokens = 12 };
}

static void what_the_mock_says_is_right_however_it_travels(void **state)
{
    static const char *const faults[] = { NULL, "splitutf8", "drip:0.2" };
    (void)state;
    for (unsigned dialect = 0; dialect < 2; dialect++)
        for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
            static struct rig r;
            rig_init_verifying(&r);
            r.script.api = dialect == 0 ? LOAD_OPENAI : LOAD_OLLAMA;
            r.script.max_tokens = i == 1 ? 5 : 0;
            set_mock(&r, "dialect", dialect == 0 ? "openai" : "ollama");
            if (faults[i] != NULL)
                set_mock(&r, "fault", faults[i]);
            rig_play(&r, 1);
            assert_int_equal(r.sum.outcomes[OUTCOME_OK], arrivals_of(&r.plan.pace));
            assert_true(r.stats.streams > 20 && r.stats.streams < r.stats.requests - 20);
            rig_forget(&r);
        }
}

static void a_token_of_ten_megabytes_is_compared_too(void **state)
{
    static struct rig r;
    (void)state;
    rig_init_verifying(&r);
    r.plan.pace.phases[0] = (struct pace_phase){ S, 6, 6 };
    set_mock(&r, "fault", "bigline");
    rig_play(&r, 1);
    assert_true(r.sum.outcomes[OUTCOME_OK] > 1);
    assert_int_equal(r.sum.outcomes[OUTCOME_OK], tally_requests(&r.sum));
    assert_true(r.sum.bytes_in > r.sum.outcomes[OUTCOME_OK] * (10u << 20));
    rig_forget(&r);
}

/* What was expected differs from what is said in everything, or in the last token alone. */
static void other_words_are_wrong_from_the_first_to_the_last(void **state)
{
    const struct verify expected[] = { { .seed = 8, .tokens = 12 }, { .seed = 7, .tokens = 13 }, { .seed = 7, .tokens = 11 } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        static struct rig r;
        rig_init_verifying(&r);
        r.plan.mock = expected[i];
        rig_play(&r, 1);
        assert_int_equal(r.sum.outcomes[OUTCOME_WRONG], arrivals_of(&r.plan.pace));
        rig_forget(&r);
    }
}

/* An answer that was cut is an error of its own while it was right until then. */
static void a_cut_answer_is_right_or_wrong_until_its_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 7; seed < 9; seed++) {
        static struct rig r;
        rig_init_verifying(&r);
        r.script.askers = &both_ways[1];
        r.script.asker_count = 1;
        r.plan.mock.seed = seed;
        set_mock(&r, "fault", "cut");
        rig_play(&r, 1);
        assert_int_equal(r.sum.outcomes[seed == 7 ? OUTCOME_CUT : OUTCOME_WRONG], arrivals_of(&r.plan.pace));
        rig_forget(&r);
    }
}

static void who_leaves_is_cancelled_and_counted_apart(void **state)
{
    static struct rig r;
    (void)state;
    rig_init_verifying(&r);
    r.plan.leave_share = 0.2;
    set_mock(&r, "itl", "5ms");
    rig_play(&r, 1);
    assert_true(r.sum.left >= 5 && r.sum.left <= 20); /* of about 100, half of them streams */
    assert_int_equal(r.stats.cancelled, r.sum.left);
    assert_int_equal(r.sum.outcomes[OUTCOME_OK] + r.sum.left, arrivals_of(&r.plan.pace));
    assert_int_equal(tally_requests(&r.sum), r.sum.outcomes[OUTCOME_OK]);
    assert_int_equal(r.stats.active, 0);
    rig_forget(&r);
}

/* ---- how much ---- */

static void so_many_sessions_and_then_it_is_over(void **state)
{
    static struct rig r;
    (void)state;
    rig_init(&r);
    r.plan.is_open = false;
    r.plan.sessions_max = 101;
    r.plan.pace.phases[0] = (struct pace_phase){ 100 * S, 7, 7 };
    set_mock(&r, "ttft", "10ms");
    rig_play(&r, 1);
    assert_int_equal(tally_requests(&r.sum), 101);
    assert_int_equal(r.stats.requests, 101);
    assert_true(r.sum.ended - r.sum.began < S);
    rig_forget(&r);
}

static unsigned by_flow(void *arg, const struct script_session *x, const struct sample *s)
{
    unsigned *told = arg;
    ++*told;
    assert_int_equal(x->flow, s->flow);
    return s->flow;
}

static void parts_are_counted_by_themselves(void **state)
{
    static struct rig r;
    unsigned told = 0;
    struct load_parts parts = { .count = 1, .ended = by_flow, .arg = &told }; /* of streams it is told, and counts them nowhere */
    uint64_t requests = 0, tokens = 0;
    (void)state;
    rig_init_verifying(&r);
    r.plan.parts = &parts;
    rig_open(&r, 1);
    rig_mock(&r);
    rig_run(&r);
    for (unsigned i = 0; i < GENERATORS; i++) {
        const struct tally *part = load_part(r.loads[i], 0);
        requests += tally_requests(part);
        tokens += part->tokens_out;
        assert_int_equal(part->latency.hist.count, tally_requests(part));
    }
    rig_close(&r);
    assert_int_equal(told, tally_requests(&r.sum));
    assert_int_equal(requests, r.sum.flows[0]);
    assert_true(requests > 20 && r.sum.flows[1] > 20);
    assert_int_equal(tokens, 12 * requests);
    rig_forget(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_arrival_is_a_request_and_every_request_has_an_end),
        cmocka_unit_test(what_finds_no_room_is_missed_and_the_run_is_invalid),
        cmocka_unit_test(an_answer_of_50_ms_has_50_ms),
        cmocka_unit_test(a_stream_has_a_first_token_and_spans_between),
        cmocka_unit_test(quantiles_are_those_of_what_the_mock_drew),
        cmocka_unit_test(the_warm_up_is_left_out),
        cmocka_unit_test(what_ends_behind_the_warm_up_of_users_counts),
        cmocka_unit_test(a_stopped_server_is_seen_by_all_who_would_have_come),
        cmocka_unit_test(a_late_generator_is_no_good_server),
        cmocka_unit_test(a_late_generator_of_users_says_so),
        cmocka_unit_test(users_ask_one_request_after_the_other),
        cmocka_unit_test(users_think_before_they_ask),
        cmocka_unit_test(users_come_and_go_along_ramps),
        cmocka_unit_test(who_is_not_let_in_does_not_spin),
        cmocka_unit_test(each_fault_has_its_outcome),
        cmocka_unit_test(ollama_is_read_line_by_line),
        cmocka_unit_test(the_same_seed_is_the_same_test),
        cmocka_unit_test(stopping_leaves_nothing),
        cmocka_unit_test(the_last_ones_are_waited_for_and_not_for_ever),
        cmocka_unit_test(without_descriptors_the_run_is_invalid),
        cmocka_unit_test(what_the_mock_says_is_right_however_it_travels),
        cmocka_unit_test(a_token_of_ten_megabytes_is_compared_too),
        cmocka_unit_test(other_words_are_wrong_from_the_first_to_the_last),
        cmocka_unit_test(a_cut_answer_is_right_or_wrong_until_its_cut),
        cmocka_unit_test(who_leaves_is_cancelled_and_counted_apart),
        cmocka_unit_test(so_many_sessions_and_then_it_is_over),
        cmocka_unit_test(parts_are_counted_by_themselves),
    };
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
