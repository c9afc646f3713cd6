/* test_limits.c: keys and tenants under random requests, cancels, reloads and clock jumps, on two workers in the simulated world and on real threads. Beside the limits
   stands an oracle that knows each request's real size as if it had been known when it came: nothing is let in that the oracle would not have let in. */
#include "../lib/both.h"
#include "admit/admit.h"
#include "base/random.h"
#include "run/sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))
#define SEEDS       400
#define REAL_ROUNDS 10
#define CLIENTS     24
#define KEYS        4
#define TENANTS     2
#define NAMES       (KEYS + TENANTS)
#define EVENTS_MAX  4096
#define US_PER_MINUTE INT64_C(60000000)
#define OPENINGS_MAX 256

/* ---- the oracle: one name's history, played again from its beginning for each question ---- */

struct event {
    int64_t at_us, tokens;   /* of a request: really used, or reserved while nobody knows */
    uint32_t rate;           /* of a change of limit; else 0 */
    bool is_rate;
};

struct history {
    struct conf_limits limits;
    struct event events[EVENTS_MAX];
    unsigned count;
    int64_t last_us;
    uint32_t in_flight;
    struct { nanos start; int64_t told; } periods[OPENINGS_MAX]; /* each that was told of; micro-dollars */
    int64_t openings;
    int64_t overrun;         /* micro-dollars spent beyond what was reserved, at most */
};

static int64_t later(struct history *h, nanos now)
{
    h->last_us = MAX(h->last_us, now / NANOS_PER_US);
    return h->last_us;
}

static unsigned note(struct history *h, nanos now, struct event e)
{
    ASSERT(h->count < EVENTS_MAX);
    e.at_us = later(h, now);
    h->events[h->count] = e;
    return h->count++;
}

/* Drops of a 60 millionth of a token, as in a bucket that drains `rate` of them each microsecond. */
static int64_t level(const struct history *h, int64_t at_us)
{
    int64_t drops = 0, was = 0;
    uint32_t rate = 0;
    for (unsigned i = 0; i <= h->count; i++) {
        int64_t now = i < h->count ? h->events[i].at_us : at_us;
        drops = rate == 0 ? 0 : MAX(drops - (now - was) * rate, 0);
        was = now;
        if (i < h->count && h->events[i].is_rate)
            rate = h->events[i].rate;
        else if (i < h->count)
            drops += h->events[i].tokens * US_PER_MINUTE;
    }
    return drops;
}

/* ---- the storm ---- */

struct storm {
    struct limits *limits;
    struct worker *workers[BOTH_WORKERS];
    bool has_oracle;             /* one thread at a time, so what is noted right after a call is in the order of the calls */
    uint64_t seed;
    struct conf_limits sets[2][NAMES]; /* before and after a reload */
    _Atomic unsigned set, alive;
    struct history *histories;   /* NAMES of them */
    nanos period;                /* of all budgets */
    nanos haste;                 /* what all pauses are divided by */
    _Atomic uint64_t results[FAIL_COUNT];
    int64_t returned, overrun;
};

struct client {
    struct storm *storm;
    uint64_t chance;
    struct task *task;
};

static const char *const names[NAMES] = { "k0", "k1", "k2", "k3", "t0", "t1" };

static uint64_t draw(uint64_t *state, uint64_t below) { return random_step(state) % below; }

static void rest(struct task *t, const struct storm *s, nanos span)
{
    if (task_sleep(t, t->worker->now + span / s->haste) != OK)
        return; /* cancelled: what it has it gives back all the same */
}

static void make_limits(struct conf_limits *c, nanos period, uint64_t *chance)
{
    c->rpm = draw(chance, 3) ? (uint32_t)(10 + draw(chance, 300)) : 0;
    c->tpm = draw(chance, 3) ? (uint32_t)(100 + draw(chance, 20000)) : 0;
    c->concurrency = draw(chance, 3) ? (uint32_t)(1 + draw(chance, 6)) : 0;
    c->budget = (struct conf_number){ .value = (double)(1 + draw(chance, 50)) / 1000, .is_set = draw(chance, 2) };
    c->period = period;
}

static bool is_any(const struct conf_limits *c) { return c->rpm > 0 || c->tpm > 0 || c->concurrency > 0 || c->budget.is_set; }

static void saw_entry(struct storm *s, struct task *t, const unsigned who[LIMIT_OWNERS], const struct conf_limits *const limits[LIMIT_OWNERS], bool is_in)
{
    for (unsigned i = 0; i < LIMIT_OWNERS && s->has_oracle; i++) {
        struct history *h = &s->histories[who[i]];
        if (!is_any(limits[i]))
            continue;
        if (h->count == 0 || h->limits.tpm != limits[i]->tpm)
            note(h, t->worker->now, (struct event){ .is_rate = true, .rate = limits[i]->tpm });
        h->limits = *limits[i];
        if (is_in)
            ASSERT(h->limits.concurrency == 0 || h->in_flight < h->limits.concurrency);
        h->in_flight += is_in;
    }
}

/* It was let in: would the oracle have let it in? */
static void saw_reserve(struct storm *s, struct task *t, const unsigned who[LIMIT_OWNERS], const struct stake *stake, unsigned places[LIMIT_OWNERS])
{
    for (unsigned i = 0; i < LIMIT_OWNERS && s->has_oracle; i++) {
        struct history *h = &s->histories[who[i]];
        if (stake->of[i] == NULL)
            continue;
        int64_t limit = h->limits.tpm * US_PER_MINUTE, wanted = MIN(stake->tokens * US_PER_MINUTE, limit);
        ASSERT(limit == 0 || level(h, later(h, t->worker->now)) + wanted <= limit); /* so it is above its limit by this request at most */
        places[i] = note(h, t->worker->now, (struct event){ .tokens = stake->tokens });
    }
}

static void saw_end(struct storm *s, const unsigned who[LIMIT_OWNERS], const struct stake *stake, const unsigned places[LIMIT_OWNERS], int64_t tokens, int64_t money)
{
    for (unsigned i = 0; i < LIMIT_OWNERS && s->has_oracle; i++) {
        struct history *h = &s->histories[who[i]];
        if (stake->of[i] == NULL)
            continue;
        h->in_flight--;
        if (places[i] != EVENTS_MAX)
            h->events[places[i]].tokens = tokens;
        h->overrun += MAX(money - stake->money, 0) / 1000 + 1;
    }
}

static void told(void *arg, enum limit_owner owner, struct text name, nanos start, int64_t micros)
{
    struct storm *s = arg;
    if (!s->has_oracle)
        return;
    unsigned i = owner == LIMIT_OF_KEY ? 0 : KEYS, k = 0;
    while (!text_eq(text_of(names[i]), name))
        i++;
    struct history *h = &s->histories[i];
    while (k < h->openings && h->periods[k].start != start)
        k++;
    if (k == h->openings) {
        ASSERT(h->openings < OPENINGS_MAX);
        h->periods[h->openings++].start = start;
    }
    ASSERT(start % s->period == 0 && micros >= h->periods[k].told); /* a period that was spent is not opened again */
    h->periods[k].told = micros;
    const struct conf_number *one = &s->sets[0][i].budget, *two = &s->sets[1][i].budget;
    if (one->is_set && two->is_set)
        ASSERT(micros <= (int64_t)(MAX(one->value, two->value) * 1e6) + h->overrun);
}

static void ask(struct task *t, struct client *me)
{
    struct storm *s = me->storm;
    uint64_t *c = &me->chance;
    unsigned key = (unsigned)draw(c, KEYS), who[LIMIT_OWNERS] = { key, KEYS + key % TENANTS }, places[LIMIT_OWNERS] = { EVENTS_MAX, EVENTS_MAX };
    const struct conf_limits *set = s->sets[s->set];
    struct limits_who me_is = { .name = { text_of(names[who[0]]), text_of(names[who[1]]) }, .limits = { &set[who[0]], &set[who[1]] } };
    struct stake stake;
    int64_t tokens = (int64_t)draw(c, draw(c, 4) ? 500 : 10000), used = 0, money = 0;
    enum fail f = limits_enter(t->worker, s->limits, &me_is, &stake);
    saw_entry(s, t, who, me_is.limits, f == OK);
    ASSERT(f == OK || (f == FAIL_RATE_LIMIT && stake.no.wait > 0 && !stake_is_any(&stake)));
    s->results[f]++;
    if (f != OK)
        return;
    rest(t, s, (nanos)draw(c, 20) * NANOS_PER_MS);
    f = limits_reserve(t->worker, s->limits, &stake, tokens, tokens * 1000);
    s->results[f]++;
    if (f == OK) {
        saw_reserve(s, t, who, &stake, places);
        rest(t, s, (nanos)draw(c, 30) * NANOS_PER_S);
        used = draw(c, 4) == 0 ? 0 : (int64_t)draw(c, (uint64_t)tokens + 1) + (draw(c, 8) == 0 ? (int64_t)draw(c, 1000) : 0);
        money = used * 1000;
    }
    struct stake had = stake;
    saw_end(s, who, &had, places, used, money);
    limits_settle(t->worker, s->limits, &stake, used, money);
    limits_settle(t->worker, s->limits, &stake, used, money); /* once is enough: again does nothing */
}

static void client(struct task *t, void *arg)
{
    struct client *me = arg;
    struct storm *s = me->storm;
    me->task = t;
    rest(t, s, (nanos)draw(&me->chance, 3000) * NANOS_PER_MS);
    for (uint64_t rounds = 2 + draw(&me->chance, 10); rounds > 0; rounds--) {
        ask(t, me);
        rest(t, s, (nanos)draw(&me->chance, 5000) * NANOS_PER_MS);
    }
    me->task = NULL;
    s->alive--;
}

static void storm_story(struct task *t, struct storm *s)
{
    static struct client clients[CLIENTS];
    uint64_t chance = s->seed;
    s->period = (s->seed % 2 ? 60 : 86400) * NANOS_PER_S;
    for (unsigned k = 0; k < 2; k++)
        for (unsigned i = 0; i < NAMES; i++)
            make_limits(&s->sets[k][i], s->period, &chance);
    limits_on_spend(s->limits, told, s);
    s->alive = CLIENTS;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){ .storm = s, .chance = s->seed * 1000 + i };
        both_start(s->workers[i % BOTH_WORKERS], "client", client, &clients[i]);
    }
    while (s->alive > 0) {
        rest(t, s, (nanos)draw(&chance, 2000) * NANOS_PER_MS);
        struct client *one = &clients[draw(&chance, CLIENTS / BOTH_WORKERS) * BOTH_WORKERS];
        if (one->task != NULL && draw(&chance, 3) == 0)
            task_cancel(one->task, FAIL_CLIENT_GONE);
        if (draw(&chance, 20) == 0)
            s->set ^= 1;
        limits_check(s->limits);
    }
    struct limits_sums sums = limits_check(s->limits);
    ASSERT(sums.in_flight == 0 && sums.held == 0 && sums.money_held == 0);
    s->returned += sums.returned;
    s->overrun += sums.overrun;
}

/* ---- the simulated world ---- */

static struct {
    struct sim *sim;
    struct storm storm;
    struct worker workers[BOTH_WORKERS];
} here;

static void tell(void) { fprintf(stderr, "limits: seed %llu (0: real threads)\n", (unsigned long long)here.storm.seed); }

static void sim_root(struct task *t, void *arg)
{
    (void)arg;
    storm_story(t, &here.storm);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_stop(&here.workers[i]);
}

/* A period's money: never more than the budget, but for what requests cost beyond what was reserved; and a jump of the clock opens one period too many at most. */
static void check_budgets(const struct storm *s, nanos took)
{
    int64_t jumps = (int64_t)sim_struck(here.sim)[SIM_FAULT_wall_jump];
    for (unsigned i = 0; i < NAMES; i++)
        ASSERT(s->histories[i].openings <= 2 + took / s->period + jumps);
}

static void run_seed(uint64_t seed, unsigned jumps)
{
    int64_t alive = mem_alive();
    struct sim_options options = sim_options_default(seed);
    options.faults.wall_jump = jumps;
    memset(&here.storm.sets, 0, sizeof here.storm.sets);
    here.sim = sim_new(&options);
    struct world *world = sim_world(here.sim);
    struct storm *s = &here.storm;
    s->seed = seed;
    s->has_oracle = true;
    s->haste = 1;
    s->limits = limits_new(world);
    s->histories = mem_zero(NAMES * sizeof *s->histories);
    ASSERT(s->limits != NULL && s->histories != NULL);
    assert_story = tell;
    for (unsigned i = 0; i < BOTH_WORKERS; i++) {
        ASSERT(worker_init(&here.workers[i], world, i) == OK);
        s->workers[i] = &here.workers[i];
        ASSERT(sim_worker(here.sim, "worker", &here.workers[i]) == OK);
    }
    ASSERT(task_start(&here.workers[0], "root", sim_root, NULL) != NULL);
    nanos began = world_now(world);
    if (!sim_run(here.sim, NULL, NULL, 7200 * NANOS_PER_S)) {
        fprintf(stderr, "%s\n", sim_why(here.sim));
        ASSERT(!"the simulated run ends");
    }
    check_budgets(s, world_now(world) - began);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_fini(&here.workers[i]);
    limits_free(s->limits);
    mem_free(s->histories);
    sim_free(here.sim);
    ASSERT(mem_alive() == alive);
}

static void storms(unsigned jumps)
{
    const char *wanted = getenv("SIM_SEEDS");
    unsigned seeds = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : SEEDS;
    memset(&here.storm, 0, sizeof here.storm);
    for (unsigned seed = 1; seed <= seeds; seed++)
        run_seed(seed, jumps);
    const struct storm *s = &here.storm;
    if (seeds < SEEDS / 4)
        return; /* a few seeds need not have seen everything */
    assert_true(s->results[OK] > 0 && s->results[FAIL_RATE_LIMIT] > 0 && s->results[FAIL_BUDGET] > 0); /* or it was no storm */
    assert_true(s->returned > 0 && s->overrun > 0);
}
TEST(in_a_storm_nothing_is_let_in_that_a_clairvoyant_would_refuse) { storms(0); }
/* hostile 92 */
TEST(hostile_92_the_same_while_the_wall_clock_jumps) { storms(20); }

static void real_story(struct task *t, void *arg)
{
    struct both *b = arg;
    struct storm *s = &here.storm;
    s->seed = 0;
    s->has_oracle = false;
    s->haste = 2000;
    s->limits = limits_new(b->world);
    ASSERT(s->limits != NULL);
    memcpy(s->workers, b->workers, sizeof s->workers);
    storm_story(t, s);
    limits_free(s->limits);
}

TEST(the_same_storm_on_real_threads)
{
    memset(&here.storm, 0, sizeof here.storm);
    both_real("limits", real_story, REAL_ROUNDS);
    assert_true(here.storm.results[OK] > 0 && here.storm.results[FAIL_RATE_LIMIT] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_storm_nothing_is_let_in_that_a_clairvoyant_would_refuse),
        cmocka_unit_test(hostile_92_the_same_while_the_wall_clock_jumps),
        cmocka_unit_test(the_same_storm_on_real_threads),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
