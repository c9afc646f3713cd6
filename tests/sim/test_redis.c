/* test_redis.c: what a Redis may do to those who ask it, seeded: late, cut in the middle of an answer, no RESP, an answer nobody asked for, frozen; and those who ask leave
   at any moment. No reply reaches another caller (hostile 58); nobody waits longer than redis.wait, and nobody at all after five have waited in vain (complaint 39);
   together the instances let in what the limits say, and in the end everything is given back. */
#include "admit/share.h"
#include "lib/redis_peer.h"
#include "net/redis.h"
#include "run/sim.h"
#include "stat/stat.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))
#define SEEDS     300
#define INSTANCES 2
#define OUTSIDE   INSTANCES
#define CALLERS   16
#define ROUNDS    40 /* of each caller */
#define LATE_MOST (4 * INSTANCES + CALLERS) /* the fifth of an instance ends the waiting of all who wait then */
#define WAIT_NS   (10 * NANOS_PER_MS)

static struct scene {
    struct sim *sim;
    struct worker workers[INSTANCES + 1];
    struct redis_peer peer;
    uint64_t seed;
    task_fn *story, *host;
    /* of the connection alone */
    struct redis *redis;
    struct task *callers[CALLERS];
    unsigned alive, answered, left, failed;
    bool is_over;
    uint64_t echo;
    /* of shared limits */
    struct redis_server *server[INSTANCES];
    struct share_link *link[INSTANCES];
    struct limits *limits[INSTANCES];
    const char *password;
    unsigned let_in, refused, late, noted;
    bool some_take_nothing;
    nanos longest;
} here;

static void tell(void) { fprintf(stderr, "redis: seed %llu\n", (unsigned long long)here.seed); }

static uint32_t draw(uint64_t *chance, uint32_t below)
{
    *chance = *chance * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*chance >> 33) % below;
}

static void root(struct task *t, void *arg)
{
    struct scene *s = arg;
    s->story(t, s);
    redis_peer_stop(t, &s->peer);
    for (unsigned i = 0; i <= INSTANCES; i++)
        worker_stop(&s->workers[i]);
}

/* Runs story on the outside's worker, beside a peer. */
static void begin(uint64_t seed, unsigned no_memory)
{
    memset(&here, 0, sizeof here);
    struct sim_options o = sim_options_default(seed);
    o.faults.no_memory = no_memory;
    here.seed = seed;
    here.sim = sim_new(&o);
    assert_story = tell;
    for (unsigned i = 0; i <= INSTANCES; i++) {
        ASSERT(worker_init(&here.workers[i], sim_world(here.sim), i) == OK);
        ASSERT(sim_worker(here.sim, "worker", &here.workers[i]) == OK);
    }
    sim_spare(here.sim);
    here.peer.worker = &here.workers[OUTSIDE];
    here.peer.chance = seed * 77 + 5;
    ASSERT(addr_from_text(&here.peer.addr, TEXT("10.0.0.9"), 6379));
}

static void play(task_fn *story)
{
    here.story = story;
    redis_peer_start(&here.peer);
    ASSERT(task_start(&here.workers[OUTSIDE], "root", root, &here) != NULL);
    if (!sim_run(here.sim, NULL, NULL, 600 * NANOS_PER_S)) {
        fprintf(stderr, "%s\n", sim_why(here.sim));
        ASSERT(!"the simulated run ends");
    }
}

static void end(void)
{
    for (unsigned i = 0; i <= INSTANCES; i++)
        worker_fini(&here.workers[i]);
    ASSERT(sim_sockets_open(here.sim) == 0);
    sim_free(here.sim);
}

static void rest(struct task *t, nanos span)
{
    enum fail f = task_sleep(t, t->worker->now + span);
    ASSERT(f == OK || t->cancel != OK);
}

/* ---- one connection, many callers ---- */

static void call(struct task *t, void *arg)
{
    struct task **place = arg;
    uint64_t chance = here.seed * 1000 + (uint64_t)(place - here.callers);
    for (unsigned i = 0; i < ROUNDS && t->cancel == OK; i++) {
        struct redis_reply reply;
        char number[24];
        uint64_t mine = ++here.echo;
        struct text args[] = { TEXT("ECHO"), { number, (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)mine) } };
        enum fail f = redis_ask(t, here.redis, args, 2, t->worker->now + (1 + draw(&chance, 20)) * NANOS_PER_MS, &reply);
        ASSERT(f != OK || (reply.kind == REDIS_NUMBER && reply.numbers[0] == (int64_t)mine)); /* hostile 58 */
        *(f == OK ? &here.answered : f == FAIL_RESET ? &here.failed : &here.left) += 1;
        if (f == FAIL_RESET)
            rest(t, NANOS_PER_MS);
        if (draw(&chance, 3) == 0)
            rest(t, draw(&chance, 3000) * NANOS_PER_US);
    }
    *place = NULL;
    here.alive--;
}

static void closed(void *arg) { (void)arg; }

static const struct redis_options plain = { .reply_max = 65536, .out_max = 1u << 20, .closed = closed };

/* Keeps the connection open, and lets callers leave. On their worker. */
static void host(struct task *t, void *arg)
{
    uint64_t chance = here.seed;
    (void)arg;
    here.redis = redis_new(t->worker, &plain);
    ASSERT(here.redis != NULL);
    for (unsigned i = 0; i < CALLERS; i++)
        here.callers[i] = task_start(t->worker, "caller", call, &here.callers[i]);
    here.alive = CALLERS;
    while (here.alive > 0) {
        if (!redis_is_open(here.redis)) {
            enum fail f = redis_open(t, here.redis, &here.peer.addr, t->worker->now + NANOS_PER_S);
            ASSERT(f == OK || f == FAIL_CONNECT);
        }
        rest(t, draw(&chance, 2000) * NANOS_PER_US);
        struct task *one = here.callers[draw(&chance, CALLERS)];
        if (one != NULL && draw(&chance, 10) == 0)
            task_cancel(one, FAIL_CLIENT_GONE);
    }
    redis_free(here.redis);
    here.is_over = true;
}

static void host_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg, (void)number;
    ASSERT(task_start(w, "host", here.host, NULL) != NULL);
}

static void callers_story(struct task *t, void *arg)
{
    (void)arg;
    mail_send(&here.workers[0], host_letter, NULL, 0);
    while (!here.is_over)
        rest(t, NANOS_PER_MS);
}

TEST(hostile_58_no_reply_reaches_another_caller)
{
    unsigned answered = 0, left = 0, failed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t chance = seed;
        begin(seed, 0);
        here.host = host;
        here.peer.delay = draw(&chance, 2) * 200;
        here.peer.cut = draw(&chance, 3) == 0 ? 20 : 0;
        here.peer.garbage = draw(&chance, 3) == 0 ? 20 : 0;
        play(callers_story);
        end();
        answered += here.answered;
        left += here.left;
        failed += here.failed;
    }
    assert_true(answered > 1000 && left > 1000 && failed > 1000); /* or it was no storm */
}

static void host_of_one(struct task *t, void *arg)
{
    struct redis_reply reply;
    struct text args[] = { TEXT("ECHO"), TEXT("7") };
    (void)arg;
    here.redis = redis_new(t->worker, &plain);
    ASSERT(here.redis != NULL && redis_open(t, here.redis, &here.peer.addr, NEVER) == OK);
    ASSERT(redis_ask(t, here.redis, args, 2, NEVER, &reply) == OK && reply.numbers[0] == 7);
    rest(t, NANOS_PER_S);
    ASSERT(redis_is_open(here.redis) == (here.peer.extra == 0));
    ASSERT(redis_is_open(here.redis) || strcmp(redis_why(here.redis), "it answered what nobody asked") == 0);
    redis_free(here.redis);
    here.is_over = true;
}

TEST(an_answer_nobody_asked_for_ends_the_connection)
{
    for (unsigned extra = 0; extra <= 1000; extra += 1000) {
        begin(1, 0);
        here.peer.extra = extra;
        here.host = host_of_one;
        play(callers_story);
        end();
    }
}

/* ---- limits of two instances ---- */

static const struct conf_limits both_limits = { .rpm = 100, .concurrency = 6 };

struct visitor {
    unsigned instance;
    uint64_t chance;
};

/* One request after another, each with a moment in flight. */
static void visit(struct task *t, void *arg)
{
    struct visitor *v = arg;
    struct limits *l = here.limits[v->instance];
    struct limits_who who = { .name = { TEXT("team-a"), TEXT("acme") }, .limits = { &both_limits, v->chance % 2 ? &both_limits : NULL } };
    for (unsigned i = 0; i < ROUNDS && t->cancel == OK; i++) {
        struct stake stake;
        enum fail f = limits_enter(t->worker, l, &who, &stake);
        if (f == OK && here.some_take_nothing && draw(&v->chance, 3) == 0) { /* as an answer from memory */
            share_note(here.link[v->instance], l, &stake);
            here.noted += (stake.of[LIMIT_OF_KEY] != NULL) + (stake.of[LIMIT_OF_TENANT] != NULL);
            limits_settle(t->worker, l, &stake, 0, 0);
            rest(t, draw(&v->chance, 3) * NANOS_PER_MS);
            continue;
        }
        if (f == OK)
            f = limits_reserve(t->worker, l, &stake, 10, 0);
        nanos began = t->worker->now;
        if (f == OK)
            f = share_take(t, here.link[v->instance], l, &stake, WAIT_NS);
        nanos took = t->worker->now - began;
        here.longest = MAX(here.longest, took);
        here.late += took >= WAIT_NS;
        *(f == OK ? &here.let_in : &here.refused) += 1;
        if (f == OK && draw(&v->chance, 2) == 0)
            rest(t, draw(&v->chance, 20) * NANOS_PER_MS);
        share_settle(&stake, f == OK ? 5 : 0, 0);
        limits_settle(t->worker, l, &stake, f == OK ? 5 : 0, 0);
        rest(t, draw(&v->chance, 10) * NANOS_PER_MS + NANOS_PER_US);
    }
    here.alive--;
    mem_free(v);
}

static void visit_letter(struct worker *w, void *arg, uint64_t number)
{
    struct visitor *v = mem_zero(sizeof *v);
    (void)arg;
    if (v != NULL)
        *v = (struct visitor){ (unsigned)number % INSTANCES, here.seed * 2000 + number };
    if (v == NULL || task_start(w, "visitor", visit, v) == NULL) {
        mem_free(v);
        here.alive--;
    }
}

static void start_visitors(void)
{
    here.alive = CALLERS;
    for (unsigned i = 0; i < CALLERS; i++)
        mail_send(&here.workers[i % INSTANCES], visit_letter, NULL, i);
}

static void cancel(struct task *t, void *arg)
{
    (void)arg;
    task_cancel(t, FAIL_DRAINING);
}

static void cancel_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg, (void)number;
    task_each(w, cancel, NULL);
}

static void free_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)arg;
    share_link_free(here.link[number]);
    here.link[number] = NULL;
}

/* The ends of both instances: their tasks, then their connections. */
static void leave(struct task *t)
{
    for (unsigned i = 0; i < INSTANCES; i++)
        mail_send(&here.workers[i], cancel_letter, NULL, 0);
    while (task_count(&here.workers[0]) + task_count(&here.workers[1]) > 0)
        rest(t, NANOS_PER_MS);
    rest(t, 100 * NANOS_PER_MS); /* the last settlements arrive */
    for (unsigned i = 0; i < here.peer.session_count; i++)
        ASSERT(here.peer.sessions[i].held == 0 || !here.peer.sessions[i].is_open); /* late ones too; what could not be given back ended with its session */
    for (unsigned i = 0; i < INSTANCES; i++)
        mail_send(&here.workers[i], free_letter, NULL, i);
    while (here.link[0] != NULL || here.link[1] != NULL)
        rest(t, NANOS_PER_MS);
}

static void limits_story(struct task *t, void *arg)
{
    (void)arg;
    rest(t, NANOS_PER_S); /* both are connected */
    start_visitors();
    while (here.alive > 0)
        rest(t, NANOS_PER_MS);
    leave(t);
}

static void frozen_story(struct task *t, void *arg)
{
    (void)arg;
    rest(t, NANOS_PER_S);
    here.peer.is_frozen = true;
    start_visitors();
    while (here.alive > 0)
        rest(t, NANOS_PER_MS);
    here.peer.is_frozen = false;
    rest(t, 30 * NANOS_PER_S); /* as long as the longest pause, and its sessions end */
    unsigned before = here.peer.taken + here.peer.refused;
    start_visitors();
    while (here.alive > 0)
        rest(t, NANOS_PER_MS);
    ASSERT(here.peer.taken + here.peer.refused > before); /* it is asked again */
    leave(t);
}

static void open_instances(void)
{
    for (unsigned i = 0; i < INSTANCES; i++) {
        here.server[i] = redis_server_new(&(struct redis_place){ "10.0.0.9", NULL, here.password, NULL, 6379, 0 }, NULL);
        here.limits[i] = limits_new(sim_world(here.sim));
        here.link[i] = share_link_new(&here.workers[i], here.server[i], WAIT_NS);
        ASSERT(here.server[i] != NULL && here.limits[i] != NULL && here.link[i] != NULL);
    }
}

static void close_instances(void)
{
    for (unsigned i = 0; i < INSTANCES; i++) {
        struct limits_sums sums = limits_check(here.limits[i]);
        ASSERT(sums.in_flight == 0 && sums.held == 0);
        redis_server_free(here.server[i]);
        limits_free(here.limits[i]);
    }
}

TEST(together_they_let_in_what_the_limits_say)
{
    unsigned refused = 0;
    for (uint64_t seed = 1; seed <= SEEDS / 3; seed++) {
        begin(seed, 0);
        open_instances();
        play(limits_story);
        ASSERT(here.let_in == here.peer.taken && here.peer.taken == here.peer.settled && here.late == 0);
        ASSERT(here.let_in <= both_limits.rpm);
        for (unsigned k = 0; k < here.peer.key_count; k++)
            ASSERT(here.peer.keys[k].at_once == 0);
        refused += here.peer.refused;
        close_instances();
        end();
    }
    assert_true(refused > 1000);
}

/* What waits for nobody is counted, too, once each, and by all of it those that come later are judged. */
TEST(together_they_count_what_takes_no_tokens)
{
    for (uint64_t seed = 1; seed <= SEEDS / 3; seed++) {
        begin(seed, 0);
        here.some_take_nothing = true;
        open_instances();
        play(limits_story);
        ASSERT(here.noted > 0 && here.noted == here.peer.noted && here.let_in == here.peer.taken && here.late == 0);
        for (unsigned k = 0; k < here.peer.key_count; k++)
            ASSERT(here.peer.keys[k].let_in <= both_limits.rpm + CALLERS); /* more than that: those that were let in before the news came */
        close_instances();
        end();
    }
}

/* complaint 39 */
TEST(a_frozen_one_keeps_five_waiting_and_no_more)
{
    for (uint64_t seed = 1; seed <= SEEDS / 3; seed++) {
        begin(seed, 0);
        open_instances();
        play(frozen_story);
        ASSERT(here.longest <= WAIT_NS + NANOS_PER_MS);
        ASSERT(here.late >= INSTANCES && here.late <= LATE_MOST);
        close_instances();
        end();
    }
}

TEST(whatever_it_answers_nobody_waits_longer_and_all_is_given_back)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t chance = seed;
        begin(seed, draw(&chance, 3) == 0 ? 50 : 0);
        here.peer.delay = draw(&chance, 2) * 300;
        here.peer.cut = draw(&chance, 2) * 30;
        here.peer.garbage = draw(&chance, 2) * 30;
        here.some_take_nothing = draw(&chance, 2) == 0;
        open_instances();
        play(limits_story);
        ASSERT(here.longest <= WAIT_NS + NANOS_PER_MS);
        ASSERT(here.peer.settled <= here.peer.taken);
        close_instances();
        end();
    }
}

/* ---- what operators are told ---- */

static void gone_story(struct task *t, void *arg)
{
    (void)arg;
    rest(t, NANOS_PER_S);
    here.peer.is_frozen = true;
    start_visitors();
    rest(t, 30 * NANOS_PER_S);
    here.peer.is_closed_to_us = true; /* somebody has set another password, and started it anew */
    here.peer.is_frozen = false;
    rest(t, 180 * NANOS_PER_S);
    here.peer.is_closed_to_us = false;
    rest(t, 30 * NANOS_PER_S);
    leave(t);
}

/* A file's lines with this word. */
static unsigned lines_with(FILE *file, const char *word)
{
    char line[2048];
    unsigned n = 0;
    rewind(file);
    while (fgets(line, sizeof line, file) != NULL)
        n += strstr(line, word) != NULL;
    return n;
}

TEST(when_it_stays_away_for_another_reason_that_is_told_once)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct log log;
        struct stats stats;
        FILE *said = tmpfile();
        assert_non_null(said);
        begin(seed, 0);
        log_init(&log, sim_world(here.sim));
        log.fd = dup(fileno(said));
        log.is_file = true;
        stat_init(&stats, sim_world(here.sim), &log, "0", NULL, 0);
        for (unsigned i = 0; i < INSTANCES; i++)
            assert_int_equal(stat_attach(&stats, &here.workers[i]), OK);
        here.password = "secret";
        open_instances();
        play(gone_story);
        for (unsigned i = 0; i < INSTANCES; i++)
            stat_detach(&here.workers[i]);
        assert_int_equal(lines_with(said, " redis_away "), INSTANCES);
        assert_int_equal(lines_with(said, " redis_still_away "), INSTANCES);
        assert_int_equal(lines_with(said, "it does not take the user and password of redis.url"), INSTANCES);
        assert_int_equal(lines_with(said, " redis_back "), INSTANCES);
        close_instances();
        stat_fini(&stats);
        log_fini(&log);
        fclose(said);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_58_no_reply_reaches_another_caller),
        cmocka_unit_test(an_answer_nobody_asked_for_ends_the_connection),
        cmocka_unit_test(together_they_let_in_what_the_limits_say),
        cmocka_unit_test(together_they_count_what_takes_no_tokens),
        cmocka_unit_test(a_frozen_one_keeps_five_waiting_and_no_more),
        cmocka_unit_test(whatever_it_answers_nobody_waits_longer_and_all_is_given_back),
        cmocka_unit_test(when_it_stays_away_for_another_reason_that_is_told_once),
    };
    return cmocka_run_group_tests_name("redis", tests, NULL, NULL);
}
