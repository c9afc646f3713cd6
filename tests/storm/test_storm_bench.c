/* test_storm_bench.c: a load test of two threads on a mock of its own, looked at all the time as the live view does: built with TSan it looks for what one thread writes
   while another reads it. */
#include "bench/load.h"
#include "mock/mock.h"
#include "run/task.h"
#include "../unit/test_base.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#define MS      NANOS_PER_MS
#define WORKERS 2
#define SPAN    (300 * MS)

struct server {
    struct world *world;
    struct worker worker;
    struct mock *mock;
    int listener;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    task_thread_begin();
    worker_run(&s->worker);
    task_thread_end();
    return NULL;
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    mock_stop(arg);
    worker_stop(w);
}

static void open_server(struct server *s, struct load_plan *plan)
{
    struct mock_script script;
    struct complaint why;
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    mock_script_init(&script);
    assert_true(mock_script_set(&script, TEXT("itl"), TEXT("1ms"), &why) && mock_script_set(&script, TEXT("tokens"), TEXT("5"), &why) &&
                mock_script_set(&script, TEXT("fault"), TEXT("cut:0.1"), &why));
    s->world = world_real_new(0);
    assert_non_null(s->world);
    assert_int_equal(worker_init(&s->worker, s->world, 0), OK);
    s->mock = mock_new(&s->worker, &script);
    assert_non_null(s->mock);
    assert_true(addr_from_text(&plan->target.addrs.at[0], TEXT("127.0.0.1"), 0));
    s->listener = s->world->listen(s->world, &plan->target.addrs.at[0]);
    assert_true(s->listener >= 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &len), 0);
    assert_true(addr_from_text(&plan->target.addrs.at[0], TEXT("127.0.0.1"), ntohs(at.sin_port)));
    plan->target.addrs.count = 1;
    snprintf(plan->target.host, sizeof plan->target.host, "127.0.0.1");
    assert_int_equal(mock_listen(s->mock, s->listener), OK);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    mock_script_fini(&script);
}

static void close_server(struct server *s)
{
    mail_send(&s->worker, stop_letter, s->mock, 0);
    pthread_join(s->thread, NULL);
    mock_free(s->mock);
    worker_fini(&s->worker);
    s->world->close(s->world, s->listener);
    world_real_free(s->world);
}

static void look(const struct tally *so_far, nanos elapsed, void *arg)
{
    uint64_t *seen = arg;
    (void)elapsed;
    assert_true(tally_requests(so_far) >= *seen); /* what was counted once stays */
    *seen = tally_requests(so_far);
}

static void play(bool is_open, bool stream)
{
    static struct server server;
    static struct tally sum;
    static const volatile bool never;
    struct load_plan plan = { .is_open = is_open, .users_max = 500, .timeout = 5000 * MS, .drain = 5000 * MS };
    struct script_options options = { .api = LOAD_OPENAI, .model = TEXT("mock-1"), .stream = stream };
    struct complaint why;
    double level = is_open ? 500 : 20;
    uint64_t seen = 0;
    plan.pace = (struct pace_plan){ .kind = PACE_POISSON, .phase_count = 1, .phases = { { SPAN, level, level } } };
    open_server(&server, &plan);
    assert_true(script_open(&plan.script, &options, &why));
    assert_int_equal(load_run(&plan, WORKERS, MS, look, &seen, &never, &sum), OK);
    assert_int_equal(sum.stopped, OK);
    assert_true(sum.outcomes[OUTCOME_OK] > 0);
    assert_int_equal(tally_requests(&sum), sum.outcomes[OUTCOME_OK] + sum.outcomes[OUTCOME_CUT]);
    assert_true(sum.busy > 0 && sum.in_flight == 0);
    tally_fini(&sum);
    script_free(plan.script);
    close_server(&server);
}

TEST(arrivals_are_looked_at) { play(true, false); }
TEST(streams_are_looked_at) { play(true, true); }
TEST(users_are_looked_at) { play(false, true); }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(arrivals_are_looked_at), cmocka_unit_test(streams_are_looked_at), cmocka_unit_test(users_are_looked_at) };
    return cmocka_run_group_tests_name("storm_bench", tests, NULL, NULL);
}
