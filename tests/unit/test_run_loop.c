/* test_run_loop.c: what a single turn of run/loop.h promises (timers, watches, turn ends, letters), full job queues, the order of gates, addresses. */
#include "run/gate.h"
#include "run/jobs.h"
#include "run/release.h"
#include "run/wait.h"
#include "test_base.h"
#include <signal.h>
#include <sys/socket.h>

static struct world *world;
static struct worker worker;

static int open_worker(void **state)
{
    (void)state;
    world = world_real_new(1);
    return world == NULL || worker_init(&worker, world, 0) != OK;
}

static int close_worker(void **state)
{
    (void)state;
    worker_fini(&worker);
    world_real_free(world);
    return 0;
}

static unsigned fired;
static void fire(struct worker *w, struct timer *timer)
{
    (void)w, (void)timer;
    fired++;
}

TEST(more_timers_than_were_reserved)
{
    static struct timer timers[1000];
    fired = 0;
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++) {
        timers[i].fire = fire;
        timer_set(&worker, &timers[i], worker.now);
    }
    worker_turn(&worker, NEVER);
    assert_int_equal(fired, ARRAY_LEN(timers));
}

/* ---- watches ---- */

static struct watch pair[2];
static unsigned readies;
static void stops_the_other(struct worker *w, struct watch *self, unsigned events)
{
    readies++;
    assert_true(events & WATCH_READ);
    watch_stop(w, self == &pair[0] ? &pair[1] : &pair[0]);
}

TEST(stopped_watch_gets_no_event_of_this_turn)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        pair[i] = (struct watch){ .fd = -1, .ready = stops_the_other };
        assert_int_equal(watch_start(&worker, &pair[i], fds[i], false), OK);
        assert_int_equal(write(fds[1 - i], "x", 1), 1);
    }
    readies = 0;
    worker_turn(&worker, 0);
    worker_turn(&worker, 0);
    assert_int_equal(readies, 1);
    for (int i = 0; i < 2; i++) {
        watch_stop(&worker, &pair[i]);
        close(fds[i]);
    }
    assert_int_equal(watch_start(&worker, &pair[0], 9999, false), FAIL_SYSTEM);
    assert_int_equal(pair[0].fd, -1);
}

/* ---- turn ends ---- */

static unsigned ends_run;
static void end_again(struct worker *w, struct turn_end *self)
{
    ends_run++;
    turn_end_ask(w, self); /* next turn, not this one */
}

static void end_last(struct worker *w, struct turn_end *self)
{
    (void)w, (void)self;
    ends_run++;
}

TEST(turn_end_runs_once_a_turn)
{
    struct turn_end e = { .run = end_again };
    ends_run = 0;
    turn_end_ask(&worker, &e);
    turn_end_ask(&worker, &e);
    worker_turn(&worker, NEVER);
    assert_int_equal(ends_run, 1);
    worker_turn(&worker, NEVER); /* does not sleep: something was asked for */
    assert_int_equal(ends_run, 2);
    e.run = end_last;
    worker_turn(&worker, NEVER);
    assert_int_equal(ends_run, 3);
    worker_turn(&worker, 0);
    assert_int_equal(ends_run, 3);
}

/* ---- large buffers ---- */

#define LARGE (4u << 20)

static void fill(struct buf *b, size_t bytes)
{
    buf_init(b, LARGE);
    assert_int_equal(buf_reserve_exact(b, bytes), OK);
    memset(buf_end(b), 'x', bytes);
    buf_added(b, bytes);
}

TEST(large_buffers_go_back_in_pieces)
{
    struct buf small, one, other;
    int64_t before = mem_alive();
    fill(&small, 1000), fill(&one, LARGE), fill(&other, LARGE);
    release_buf(&worker, &small);
    release_buf(&worker, &one);
    release_buf(&worker, &other);
    assert_int_equal(mem_alive(), before + 2);
    assert_int_equal(buf_add(&one, "again", 5), OK);
    unsigned turns = 0, at_first = 0;
    for (; mem_alive() > before + 1; turns++) {
        worker_turn(&worker, NEVER); /* does not sleep */
        at_first += mem_alive() == before + 3;
    }
    assert_true(at_first >= 8 && turns >= 2 * at_first); /* one after the other, both in pieces */
    buf_fini(&one);
    assert_int_equal(mem_alive(), before);
}

/* ---- yield ---- */

static unsigned steps;
static void yields(struct task *t, void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        steps++;
        ASSERT(task_yield(t) == OK);
    }
}

TEST(yielding_task_runs_once_a_turn) /* so that the sockets get their turn too */
{
    steps = 0;
    assert_non_null(task_start(&worker, "yields", yields, NULL));
    for (unsigned turn = 1; turn <= 3; turn++) {
        worker_turn(&worker, NEVER);
        assert_int_equal(steps, turn);
    }
    worker_turn(&worker, NEVER);
    assert_int_equal(task_count(&worker), 0);
}

/* ---- letters ---- */

static uint64_t echoes;
static void echo(struct worker *w, void *arg, uint64_t number)
{
    echoes++;
    if (number > 0)
        mail_send(w, echo, arg, number - 1);
}

/* Letters that answer letters must not keep the loop from its timers. */
TEST(letters_that_never_end_leave_room_for_timers)
{
    struct timer timer = { .fire = fire };
    echoes = fired = 0;
    mail_send(&worker, echo, NULL, 5000);
    timer_set(&worker, &timer, worker.now);
    worker_turn(&worker, NEVER);
    assert_int_equal(fired, 1);
    assert_true(echoes > 0 && echoes < 5000);
    for (int i = 0; i < 10; i++)
        worker_turn(&worker, worker.now + 1);
    assert_int_equal(echoes, 5001);
}

TEST(mailbox_grows_and_keeps_its_order)
{
    echoes = 0;
    for (int i = 0; i < 3000; i++)
        mail_send(&worker, echo, NULL, 0);
    for (int i = 0; i < 10; i++)
        worker_turn(&worker, worker.now + 1);
    assert_int_equal(echoes, 3000);
}

/* ---- a full job queue ---- */

#define JOBS (JOBS_QUEUE_MAX + 20)

static pthread_mutex_t hold = PTHREAD_MUTEX_INITIALIZER;
static unsigned done, busy;
static void waits_for_hold(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&hold);
    pthread_mutex_unlock(&hold);
}

static void runs_a_job(struct task *t, void *arg)
{
    bool abandoned;
    (void)arg;
    enum fail f = job_run(t, "hold", waits_for_hold, NULL, NULL, NEVER, &abandoned);
    ASSERT(!abandoned && (f == OK || f == FAIL_BUSY));
    done += f == OK;
    busy += f == FAIL_BUSY;
}

TEST(full_job_queue_refuses)
{
    done = busy = 0;
    pthread_mutex_lock(&hold);
    for (int i = 0; i < JOBS; i++)
        assert_non_null(task_start(&worker, "job", runs_a_job, NULL));
    worker_turn(&worker, 0);
    assert_true(busy == JOBS - JOBS_QUEUE_MAX || busy == JOBS - JOBS_QUEUE_MAX - 1); /* one may be with the thread already */
    assert_int_equal(jobs_alive(&worker), JOBS - busy);
    pthread_mutex_unlock(&hold);
    while (task_count(&worker) > 0)
        worker_turn(&worker, NEVER);
    assert_int_equal(done, JOBS - busy);
    assert_int_equal(jobs_alive(&worker), 0);
}

/* ---- gates ---- */

static struct gate pool, flight, other_pool;
static void wrong_order(void)
{
    signal(SIGABRT, SIG_DFL);
    gate_enter(&flight);
    gate_enter(&pool);
}

static void two_of_a_rank(void)
{
    signal(SIGABRT, SIG_DFL);
    gate_enter(&pool);
    gate_enter(&other_pool);
}

static void yields_inside(struct task *t, void *arg)
{
    (void)arg;
    gate_enter(&pool);
    (void)!task_yield(t);
}

static void parks_inside(void)
{
    signal(SIGABRT, SIG_DFL);
    if (task_start(&worker, "careless", yields_inside, NULL) != NULL)
        worker_turn(&worker, 0);
}

TEST(gates_have_an_order)
{
    gate_init(&pool, world, GATE_POOL);
    gate_init(&other_pool, world, GATE_POOL);
    gate_init(&flight, world, GATE_FLIGHT);
    gate_enter(&pool);
    gate_enter(&flight);
    assert_true(gate_holds_any());
    gate_leave(&pool);
    gate_leave(&flight);
    assert_false(gate_holds_any());
    asserts(wrong_order, "held < (unsigned)g->rank");
    asserts(two_of_a_rank, "held < (unsigned)g->rank");
    asserts(parks_inside, "!gate_holds_any()");
    gate_fini(&pool);
    gate_fini(&other_pool);
    gate_fini(&flight);
}

/* ---- addresses ---- */

TEST(addresses_are_read_and_printed)
{
    static const struct { const char *host, *printed; bool loopback; } rows[] = {
        { "127.0.0.1", "127.0.0.1:80", true }, { "10.0.0.1", "10.0.0.1:80", false }, { "::1", "[::1]:80", true },
        { "[::1]", "[::1]:80", true }, { "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80", true }, { "::ffff:10.0.0.1", "[::ffff:10.0.0.1]:80", false },
        { "[127.0.0.1]", NULL, false }, { "localhost", NULL, false }, { "", NULL, false }, { "[]", NULL, false }, { "127.0.0.1 ", NULL, false },
    };
    struct addr a;
    char printed[64];
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(addr_from_text(&a, text_of(rows[i].host), 80), rows[i].printed != NULL);
        if (rows[i].printed == NULL)
            continue;
        assert_string_equal(addr_print(&a, printed), rows[i].printed);
        assert_int_equal(addr_is_loopback(&a), rows[i].loopback);
    }
    assert_false(addr_from_text(&a, TEXT("127.0.0.1\0.example"), 80));
    addr_unix(&a, "/tmp/x");
    assert_true(addr_is_loopback(&a));
    assert_string_equal(addr_print(&a, printed), "unix");
}

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(name, open_worker, close_worker)
    const struct CMUnitTest tests[] = {
        ROW(more_timers_than_were_reserved),
        ROW(stopped_watch_gets_no_event_of_this_turn),
        ROW(turn_end_runs_once_a_turn),
        ROW(large_buffers_go_back_in_pieces),
        ROW(yielding_task_runs_once_a_turn),
        ROW(letters_that_never_end_leave_room_for_timers),
        ROW(mailbox_grows_and_keeps_its_order),
        ROW(full_job_queue_refuses),
        ROW(gates_have_an_order),
        ROW(addresses_are_read_and_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
