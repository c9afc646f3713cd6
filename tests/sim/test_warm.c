/* test_warm.c: `weir cache warm` and a server that goes and comes back while it is asked: connections that end before a byte of an answer are tried again, for a while,
   of a server that has answered before. tests/clients/test_cache_cli.py has the rest of the command. */
#include "cli/cache_warm.h"
#include "lib/actor.h"
#include "run/sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))
#define QUESTIONS 4

static struct scene {
    struct sim *sim;
    struct worker worker;
    struct load_target target;
    struct cache_question questions[QUESTIONS];
    struct cache_lines lines;
    struct cache_warming warming;
    const char *says; /* of each connection in turn: a an answer, r a reset, e an end; the last for all that follow */
    unsigned connections;
    nanos took;
} here;

static void converse(struct task *t, void *arg)
{
    static const char whole[] = "HTTP/1.1 200 OK\r\nx-weir-cache: hit\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    struct actor *a = arg;
    size_t last = strlen(here.says) - 1;
    char word = here.says[MIN(here.connections, last)], question[4096];
    size_t n = 0;
    here.connections++;
    enum fail f = actor_read(t, a, question, sizeof question, NEVER, &n);
    if (f == OK && word == 'a')
        f = actor_write_all(t, a, whole, sizeof whole - 1, NEVER);
    ASSERT(f == OK);
    if (word == 'r')
        actor_reset(a);
    else
        actor_close(a);
    mem_free(a);
}

static void serve(struct task *t, void *arg)
{
    (void)arg;
    actor_serve(t, &here.target.addrs.at[0], converse);
}

static void root(struct task *t, void *arg)
{
    (void)arg;
    struct task *server = task_start(t->worker, "server", serve, NULL);
    ASSERT(server != NULL && task_sleep(t, t->worker->now + NANOS_PER_MS) == OK);
    nanos began = t->worker->now;
    cache_ask(t, &here.warming);
    here.took = t->worker->now - began;
    task_cancel(server, FAIL_CANCELLED);
    ASSERT(task_sleep(t, t->worker->now + NANOS_PER_S) == OK);
    worker_stop(t->worker);
}

static void play(const char *says)
{
    memset(&here, 0, sizeof here);
    struct sim_options o = sim_options_default(1);
    here.sim = sim_new(&o);
    here.says = says;
    ASSERT(addr_from_text(&here.target.addrs.at[0], TEXT("10.0.0.1"), 80));
    here.target.addrs.count = 1;
    snprintf(here.target.host, sizeof here.target.host, "10.0.0.1");
    for (uint32_t i = 0; i < QUESTIONS; i++)
        here.questions[i] = (struct cache_question){ .line = i + 1, .path = TEXT("/v1/chat/completions"), .text = TEXT("{}") };
    here.lines.at = here.questions;
    here.lines.count = QUESTIONS;
    here.warming.target = &here.target;
    here.warming.lines = &here.lines;
    ASSERT(worker_init(&here.worker, sim_world(here.sim), 0) == OK && sim_worker(here.sim, "worker", &here.worker) == OK);
    ASSERT(task_start(&here.worker, "root", root, NULL) != NULL);
    ASSERT(sim_run(here.sim, NULL, NULL, 600 * NANOS_PER_S));
    worker_fini(&here.worker);
    ASSERT(sim_sockets_open(here.sim) == 0);
    sim_free(here.sim);
}

TEST(who_goes_before_saying_a_word_is_asked_again)
{
    play("arerraeea");
    assert_int_equal(here.warming.hits, QUESTIONS);
    assert_int_equal(here.connections, QUESTIONS + 6);
    assert_true(here.took < 5 * NANOS_PER_S);
}

TEST(of_one_that_has_never_answered_that_is_not_to_be_hoped_for)
{
    play("rea");
    assert_int_equal(here.warming.failed, 2);
    assert_int_equal(here.warming.hits, QUESTIONS - 2);
    assert_int_equal(here.connections, QUESTIONS);
}

TEST(one_that_stays_away_is_waited_for_once)
{
    play("ar");
    assert_int_equal(here.warming.hits, 1);
    assert_int_equal(here.warming.failed, QUESTIONS - 1);
    assert_in_range(here.took, 9 * NANOS_PER_S, 11 * NANOS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_goes_before_saying_a_word_is_asked_again),
        cmocka_unit_test(of_one_that_has_never_answered_that_is_not_to_be_hoped_for),
        cmocka_unit_test(one_that_stays_away_is_waited_for_once),
    };
    return cmocka_run_group_tests_name("warm", tests, NULL, NULL);
}
