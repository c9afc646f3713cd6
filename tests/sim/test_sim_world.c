/* test_sim_world.c: the simulated world itself: its sockets behave as the kernel's do, its faults keep the promises of a stream, and one seed is one run. */
#include "../lib/actor.h"
#include "run/gate.h"
#include "run/jobs.h"
#include "run/sim.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h> /* last: it defines fail() */

#define WORKERS   2
#define MINUTE    (60 * NANOS_PER_S)
#define STORY_MAX (24 * 60 * MINUTE) /* virtual: a story that takes longer hangs */

/* A simulation with two workers, for one test at a time. Tasks find it here. */
static struct stage {
    struct sim *sim;
    struct world *world;
    struct worker w[WORKERS];
    struct addr port; /* someone listens here */
    uint64_t seed;
    int64_t blocks;   /* of memory, before */
} stage;

static void stage_open_with(const struct sim_options *options)
{
    stage.blocks = mem_alive();
    stage.seed = options->seed;
    stage.sim = sim_new(options);
    assert_non_null(stage.sim);
    stage.world = sim_world(stage.sim);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(worker_init(&stage.w[i], stage.world, i), OK);
        assert_int_equal(sim_worker(stage.sim, i ? "worker 1" : "worker 0", &stage.w[i]), OK);
    }
    assert_true(addr_from_text(&stage.port, TEXT("127.0.0.1"), 8080));
}

static void stage_open(uint64_t seed)
{
    struct sim_options options = sim_options_default(seed);
    stage_open_with(&options);
}

static void start(unsigned worker, const char *name, task_fn *fn)
{
    assert_non_null(task_start(&stage.w[worker], name, fn, NULL));
}

/* Runs until every task has ended. */
static void run_to_end(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        worker_stop(&stage.w[i]);
    if (!sim_run(stage.sim, NULL, NULL, STORY_MAX))
        fail_msg("seed %llu: %s", (unsigned long long)stage.seed, sim_why(stage.sim));
}

/* Whatever the story was: no socket and no memory is left. Returns the trace's hash. */
static uint64_t stage_close(void)
{
    uint64_t hash = sim_trace_hash(stage.sim);
    assert_int_equal(sim_sockets_open(stage.sim), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        worker_fini(&stage.w[i]);
    sim_free(stage.sim);
    assert_int_equal(mem_alive(), stage.blocks);
    return hash;
}

static uint64_t run_and_close(void)
{
    run_to_end();
    return stage_close();
}

static nanos after(struct task *t, nanos span)
{
    return t->worker->now + span;
}

/* Tasks do not use cmocka's asserts: those jump off the stack. */
#define MUST(call) ASSERT((call) == OK)

/* One connection from client to server; both are the caller's. */
static void server_of(struct task *t, struct actor *listener, struct actor *a)
{
    MUST(actor_listen(t->worker, listener, &stage.port));
    MUST(actor_accept(t, listener, a, NEVER));
}

/* Servers are started first, yet the seed may run their worker last. */
static void client_of(struct task *t, struct actor *a)
{
    enum fail f;
    do {
        MUST(task_sleep(t, after(t, NANOS_PER_MS)));
        f = actor_connect(t, a, &stage.port, NEVER);
    } while (f == FAIL_CONNECT);
    MUST(f);
}

/* ---- ping and pong ---- */

#define ROUNDS 100

static void pong(struct task *t, void *arg)
{
    struct actor listener, a;
    char word[4];
    (void)arg;
    server_of(t, &listener, &a);
    for (int i = 0; i < ROUNDS; i++) {
        MUST(actor_read_all(t, &a, word, sizeof word, after(t, MINUTE)));
        ASSERT(memcmp(word, "ping", 4) == 0);
        MUST(actor_write_all(t, &a, "pong", 4, after(t, MINUTE)));
    }
    actor_close(&a);
    actor_close(&listener);
}

static void ping(struct task *t, void *arg)
{
    struct actor a;
    char word[4];
    size_t n = 1;
    (void)arg;
    client_of(t, &a);
    for (int i = 0; i < ROUNDS; i++) {
        MUST(actor_write_all(t, &a, "ping", 4, after(t, MINUTE)));
        MUST(actor_read_all(t, &a, word, sizeof word, after(t, MINUTE)));
        ASSERT(memcmp(word, "pong", 4) == 0);
    }
    MUST(actor_read(t, &a, word, sizeof word, after(t, MINUTE), &n));
    ASSERT(n == 0);
    actor_close(&a);
}

static void test_two_workers_talk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        stage_open(seed);
        start(0, "pong", pong);
        start(1, "ping", ping);
        run_and_close();
    }
}

/* The same over a unix socket; one that nobody serves refuses at once, as the kernel does. */
static void ping_unix(struct task *t, void *arg)
{
    struct addr nobody;
    addr_unix(&nobody, "/nowhere.sock");
    ASSERT(t->worker->world->connect(t->worker->world, &nobody) == -ECONNREFUSED);
    ping(t, arg);
}

static void test_unix_sockets(void **state)
{
    (void)state;
    stage_open(1);
    addr_unix(&stage.port, "/somewhere.sock");
    start(0, "pong", pong);
    start(1, "ping", ping_unix);
    run_and_close();
}

/* ---- a stream stays a stream ---- */

#define STREAM_BYTES 10000

/* Byte i of what goes in direction d. */
static char stream_byte(unsigned d, size_t i)
{
    uint64_t x = (stage.seed * 2 + d) * 0x9e3779b97f4a7c15u + i * 0xd1342543de82ef95u;
    return (char)(x >> 56);
}

static void stream_write(struct task *t, struct actor *a, unsigned d)
{
    char bytes[1000];
    for (size_t at = 0; at < STREAM_BYTES; at += sizeof bytes) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = stream_byte(d, at + i);
        MUST(actor_write_all(t, a, bytes, sizeof bytes, after(t, 60 * MINUTE)));
    }
    actor_shutdown(a);
}

static void stream_read(struct task *t, struct actor *a, unsigned d)
{
    char bytes[700];
    size_t at = 0, n = 1;
    while (n > 0) {
        MUST(actor_read(t, a, bytes, sizeof bytes, after(t, 60 * MINUTE), &n));
        for (size_t i = 0; i < n; i++)
            ASSERT(bytes[i] == stream_byte(d, at + i));
        at += n;
    }
    ASSERT(at == STREAM_BYTES);
}

static void stream_server(struct task *t, void *arg)
{
    struct actor listener, a;
    (void)arg;
    server_of(t, &listener, &a);
    stream_read(t, &a, 0);
    stream_write(t, &a, 1);
    actor_close(&a);
    actor_close(&listener);
}

static void stream_client(struct task *t, void *arg)
{
    struct actor a;
    (void)arg;
    client_of(t, &a);
    stream_write(t, &a, 0);
    stream_read(t, &a, 1);
    actor_close(&a);
}

static void stream_open(uint64_t seed)
{
    struct sim_options options = sim_options_default(seed);
    options.faults = (struct sim_faults){ .short_read = 300, .short_write = 300, .split = 500, .drip = seed % 4 == 0 ? 500 : 20, .delay = 50, .accept_full = 300 };
    options.window = (size_t)1 << (seed % 17); /* one byte to 64 KiB */
    stage_open_with(&options);
    start(0, "server", stream_server);
    start(1, "client", stream_client);
}

static void test_order_and_content_survive_every_split(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        stream_open(seed);
        run_and_close();
    }
}

static void test_one_seed_is_one_run(void **state)
{
    uint64_t hashes[50];
    (void)state;
    for (uint64_t seed = 0; seed < ARRAY_LEN(hashes); seed++) {
        stream_open(seed);
        hashes[seed] = run_and_close();
        stream_open(seed);
        assert_true(run_and_close() == hashes[seed]);
        for (uint64_t i = 0; i < seed; i++)
            assert_true(hashes[i] != hashes[seed]);
    }
}

/* ---- the end of a connection ---- */

static void finish_server(struct task *t, void *arg)
{
    struct actor listener, a;
    char late[5];
    (void)arg;
    server_of(t, &listener, &a);
    for (int i = 0; i < 3; i++)
        MUST(actor_write_all(t, &a, "three", 5, NEVER));
    actor_shutdown(&a);
    ASSERT(actor_write_all(t, &a, "x", 1, NEVER) == FAIL_RESET);
    MUST(actor_read_all(t, &a, late, 4, NEVER)); /* only our direction has ended */
    actor_close(&a);
    actor_close(&listener);
}

static void finish_client(struct task *t, void *arg)
{
    struct actor a;
    char bytes[16];
    size_t n = 1;
    (void)arg;
    client_of(t, &a);
    MUST(actor_read_all(t, &a, bytes, 15, NEVER));
    for (int i = 0; i < 3; i++) { /* FIN comes behind the bytes, and stays */
        MUST(actor_read(t, &a, bytes, sizeof bytes, NEVER, &n));
        ASSERT(n == 0);
    }
    MUST(actor_write_all(t, &a, "late", 4, NEVER));
    MUST(task_sleep(t, after(t, NANOS_PER_S)));
    MUST(actor_write_all(t, &a, "x", 1, NEVER)); /* taken by the kernel, refused by nobody yet */
    MUST(task_sleep(t, after(t, NANOS_PER_S)));
    ASSERT(actor_write_all(t, &a, "x", 1, NEVER) == FAIL_RESET); /* ECONNRESET once, */
    ASSERT(actor_write_all(t, &a, "x", 1, NEVER) == FAIL_RESET); /* then EPIPE */
    ASSERT(a.events & WATCH_HANGUP);
    actor_close(&a);
}

static void test_fin_comes_last_and_ends_one_direction(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        stage_open(seed);
        start(0, "server", finish_server);
        start(1, "client", finish_client);
        run_and_close();
    }
}

/* How the server ends it, and what the client had not read is lost with it. */
static int how;
enum { BY_RESET, BY_UNREAD, BY_SIM };

static void reset_server(struct task *t, void *arg)
{
    struct actor listener, a;
    size_t n = 0;
    char c;
    (void)arg;
    server_of(t, &listener, &a);
    MUST(actor_write_all(t, &a, "lost", 4, NEVER));
    MUST(task_sleep(t, after(t, NANOS_PER_S)));
    if (how != BY_UNREAD)
        MUST(actor_read_all(t, &a, (char[6]){ 0 }, 6, NEVER));
    if (how == BY_RESET) {
        actor_reset(&a);
    } else if (how == BY_UNREAD) {
        actor_close(&a); /* "unread" lies here */
    } else {
        sim_reset(stage.sim, a.watch.fd);
        ASSERT(actor_read(t, &a, &c, 1, NEVER, &n) == FAIL_RESET);
        actor_close(&a);
    }
    actor_close(&listener);
}

static void reset_client(struct task *t, void *arg)
{
    struct actor a;
    size_t n = 9;
    char c;
    (void)arg;
    client_of(t, &a);
    MUST(actor_write_all(t, &a, "unread", 6, NEVER));
    MUST(task_sleep(t, after(t, 2 * NANOS_PER_S)));
    ASSERT(actor_read(t, &a, &c, 1, NEVER, &n) == FAIL_RESET);
    MUST(actor_read(t, &a, &c, 1, NEVER, &n)); /* the error is told once */
    ASSERT(n == 0);
    actor_close(&a);
}

static void test_reset(void **state)
{
    (void)state;
    for (how = BY_RESET; how <= BY_SIM; how++) {
        stage_open(1);
        start(0, "server", reset_server);
        start(1, "client", reset_client);
        run_and_close();
    }
}

/* ---- the beginning of one ---- */

static void refused_client(struct task *t, void *arg)
{
    struct actor a, b;
    struct addr any;
    nanos began = t->worker->now;
    (void)arg;
    ASSERT(actor_connect(t, &a, &stage.port, NEVER) == FAIL_CONNECT);
    ASSERT(t->worker->now > began);

    ASSERT(sim_blackhole(stage.sim, &stage.port, true) == OK);
    MUST(actor_listen(t->worker, &a, &stage.port));
    ASSERT(actor_listen(t->worker, &b, &stage.port) == FAIL_SYSTEM); /* EADDRINUSE */
    ASSERT(actor_connect(t, &b, &stage.port, after(t, MINUTE)) == FAIL_TIMEOUT);
    ASSERT(sim_blackhole(stage.sim, &stage.port, false) == OK);
    MUST(actor_connect(t, &b, &stage.port, after(t, MINUTE)));
    actor_close(&a); /* with a connection that nobody accepted */
    ASSERT(actor_read(t, &b, &any, 1, after(t, MINUTE), &(size_t){ 0 }) == FAIL_RESET);
    actor_close(&b);

    ASSERT(addr_from_text(&any, TEXT("0.0.0.0"), 8080));
    MUST(actor_listen(t->worker, &a, &any));
    MUST(actor_connect(t, &b, &stage.port, after(t, MINUTE)));
    actor_close(&a);
    actor_close(&b);
}

static void test_refused_and_unanswered(void **state)
{
    (void)state;
    stage_open(1);
    start(0, "client", refused_client);
    run_and_close();
}

static void crowd(struct task *t, void *arg)
{
    struct actor listener, clients[4], served[4];
    unsigned n = 0;
    (void)arg;
    MUST(actor_listen(t->worker, &listener, &stage.port));
    while (n < 4 && actor_connect(t, &clients[n], &stage.port, NEVER) == OK)
        n++;
    ASSERT(n == 2); /* with the listener that is three */
    ASSERT(actor_accept(t, &listener, &served[0], t->worker->now) == FAIL_NO_DESCRIPTORS);
    actor_close(&clients[0]);
    MUST(actor_accept(t, &listener, &served[0], NEVER));
    actor_close(&served[0]);
    actor_close(&clients[1]);
    actor_close(&listener);
}

static void test_descriptors_run_out(void **state)
{
    struct sim_options options = sim_options_default(1);
    (void)state;
    options.fds_max = 3;
    stage_open_with(&options);
    start(0, "crowd", crowd);
    run_and_close();
}

/* ---- back-pressure ---- */

static size_t written;

static void flood_server(struct task *t, void *arg)
{
    struct actor listener, a;
    struct iovec part = { (char[3000]){ 0 }, 3000 };
    (void)arg;
    server_of(t, &listener, &a);
    ASSERT(stage.world->writev(stage.world, a.watch.fd, &part, 1) == 1000);
    ASSERT(stage.world->writev(stage.world, a.watch.fd, &part, 1) == -EAGAIN);
    written = 1000;
    MUST(actor_write_all(t, &a, part.iov_base, 2500, NEVER));
    written = 3500;
    actor_close(&a);
    actor_close(&listener);
}

static void flood_client(struct task *t, void *arg)
{
    struct actor a;
    char bytes[1000];
    size_t got = 0, n = 1;
    (void)arg;
    client_of(t, &a);
    MUST(task_sleep(t, after(t, MINUTE)));
    ASSERT(written == 1000); /* not one byte past the window until someone reads */
    for (; n > 0; got += n)
        MUST(actor_read(t, &a, bytes, sizeof bytes, NEVER, &n));
    ASSERT(got == 3500);
    actor_close(&a);
}

static void test_a_writer_waits_for_its_reader(void **state)
{
    struct sim_options options = sim_options_default(1);
    (void)state;
    options.window = 1000;
    stage_open_with(&options);
    start(0, "server", flood_server);
    start(1, "client", flood_client);
    run_and_close();
}

/* A reader may stop at a short read: what is left has an edge of its own, as bytes that come a moment later have. */
static void careless_reader(struct task *t, void *arg)
{
    struct actor listener, a;
    char bytes[1000];
    size_t n = 0;
    (void)arg;
    server_of(t, &listener, &a);
    MUST(actor_read(t, &a, bytes, sizeof bytes, NEVER, &n));
    ASSERT(n < sizeof bytes);
    a.waiter = t;
    MUST(task_park(t, "the edge of the rest", after(t, MINUTE)));
    a.waiter = NULL;
    MUST(actor_read_all(t, &a, bytes, sizeof bytes - n, t->worker->now)); /* it all lies there */
    actor_close(&a);
    actor_close(&listener);
}

static void thousand_bytes(struct task *t, void *arg)
{
    struct actor a;
    (void)arg;
    client_of(t, &a);
    MUST(actor_write_all(t, &a, (char[1000]){ 0 }, 1000, NEVER));
    MUST(task_sleep(t, after(t, 4 * MINUTE)));
    actor_close(&a);
}

static void test_a_short_read_is_followed_by_an_edge(void **state)
{
    struct sim_options options = sim_options_default(1);
    (void)state;
    options.faults.short_read = 1000;
    stage_open_with(&options);
    start(0, "careless", careless_reader);
    start(1, "client", thousand_bytes);
    assert_false(sim_run(stage.sim, NULL, NULL, MINUTE / 2));
    assert_string_equal(sim_why(stage.sim), "the limit of virtual time was reached");
    run_and_close();
}

/* Who begins to watch late is told what lies there; who stops is told nothing, though the edge was before. */
static unsigned told_late;

static void count_told(struct worker *w, struct watch *watch, unsigned events)
{
    (void)w, (void)watch;
    told_late++;
    ASSERT(events == (WATCH_READ | WATCH_WRITE));
}

static void late_watcher(struct task *t, void *arg)
{
    struct actor listener, a;
    struct watch late = { .fd = -1, .ready = count_told };
    (void)arg;
    server_of(t, &listener, &a);
    int fd = a.watch.fd;
    MUST(task_sleep(t, after(t, MINUTE)));
    watch_stop(t->worker, &a.watch);
    MUST(watch_start(t->worker, &late, fd, false));
    MUST(task_sleep(t, after(t, MINUTE)));
    ASSERT(told_late == 1);
    watch_stop(t->worker, &late);
    MUST(watch_start(t->worker, &late, fd, false));
    watch_stop(t->worker, &late);
    MUST(task_sleep(t, after(t, MINUTE)));
    ASSERT(told_late == 1);
    stage.world->reset(stage.world, fd);
    actor_close(&listener);
}

static void test_a_watch_begins_with_what_is(void **state)
{
    (void)state;
    told_late = 0;
    stage_open(1);
    start(0, "late", late_watcher);
    start(1, "client", thousand_bytes);
    run_and_close();
}

static void forgotten(struct task *t, void *arg)
{
    (void)arg;
    ASSERT(task_park(t, "nobody", NEVER) == FAIL_CANCELLED);
}

static void cancel_it(struct task *t, void *arg)
{
    (void)arg;
    task_cancel(t, FAIL_CANCELLED);
}

static void cancel_all(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    task_each(w, cancel_it, arg);
}

static void test_a_deadlock_is_named(void **state)
{
    (void)state;
    stage_open(1);
    start(1, "forgotten", forgotten);
    worker_stop(&stage.w[0]);
    worker_stop(&stage.w[1]);
    assert_false(sim_run(stage.sim, NULL, NULL, NEVER));
    assert_string_equal(sim_why(stage.sim), "nothing will ever happen again; waiting: \"worker 1\"");
    mail_send(&stage.w[1], cancel_all, NULL, 0);
    assert_true(sim_run(stage.sim, NULL, NULL, NEVER));
    stage_close();
}

/* ---- a listener that workers share ---- */

static struct watch shared_watches[WORKERS];
static unsigned woken[WORKERS];
static bool all_came;

static void shared_ready(struct worker *w, struct watch *watch, unsigned events)
{
    (void)watch;
    ASSERT(events == WATCH_READ);
    woken[w->index]++; /* and leaves it there: another that was woken, too, would find it and show */
}

static void shared_client(struct task *t, void *arg)
{
    struct actor a;
    struct addr peer;
    int listener = *(int *)arg;
    for (unsigned i = 1; i <= 100; i++) {
        MUST(actor_connect(t, &a, &stage.port, NEVER));
        MUST(task_sleep(t, after(t, NANOS_PER_S)));
        ASSERT(woken[0] + woken[1] == i);
        int fd = stage.world->accept(stage.world, listener, &peer);
        ASSERT(fd >= 0 && addr_is_loopback(&peer) && peer.in.sin_port != 0);
        stage.world->close(stage.world, fd);
        actor_close(&a);
    }
    all_came = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

static void test_a_shared_listener_wakes_one(void **state)
{
    (void)state;
    memset(woken, 0, sizeof woken);
    all_came = false;
    stage_open(3);
    int fd = stage.world->listen(stage.world, &stage.port);
    for (int i = 0; i < WORKERS; i++) {
        shared_watches[i] = (struct watch){ .fd = -1, .ready = shared_ready };
        assert_int_equal(watch_start(&stage.w[i], &shared_watches[i], fd, true), OK);
    }
    assert_non_null(task_start(&stage.w[0], "client", shared_client, &fd));
    assert_true(sim_run(stage.sim, is_true, &all_came, STORY_MAX)); /* both workers stay: a stopped one would be woken, too */
    for (int i = 0; i < WORKERS; i++)
        watch_stop(&stage.w[i], &shared_watches[i]);
    stage.world->close(stage.world, fd);
    run_and_close();
    assert_in_range(woken[0], 20, 80);
}

/* ---- time, letters, jobs, gates ---- */

static void sleeper(struct task *t, void *arg)
{
    nanos began = t->worker->now, wall = t->worker->wall;
    (void)arg;
    ASSERT(wall >= SIM_EPOCH && wall < SIM_EPOCH + NANOS_PER_S);
    MUST(task_sleep(t, after(t, 60 * MINUTE)));
    ASSERT(t->worker->now - began >= 60 * MINUTE && t->worker->now - began < 60 * MINUTE + NANOS_PER_MS);
    ASSERT(t->worker->wall - wall == t->worker->now - began);
}

static void test_an_hour_takes_no_time(void **state)
{
    (void)state;
    stage_open(1);
    start(0, "sleeper", sleeper);
    run_to_end();
    assert_in_range(sim_steps(stage.sim), 1, 20);
    stage_close();
}

/* A task that never rests does not stop the clock, and sim_run does not wait for it for ever. */
static void restless(struct task *t, void *arg)
{
    nanos end = after(t, 10 * NANOS_PER_MS);
    (void)arg;
    while (t->worker->now < end)
        MUST(task_yield(t));
}

static void test_a_yielding_task_lets_time_pass(void **state)
{
    struct sim_options options = sim_options_default(1);
    (void)state;
    options.steps_max = 1000;
    stage_open_with(&options);
    start(0, "restless", restless);
    assert_false(sim_run(stage.sim, NULL, NULL, NEVER));
    assert_string_equal(sim_why(stage.sim), "the limit of steps was reached");
    for (int i = 0; i < WORKERS; i++)
        worker_stop(&stage.w[i]);
    for (int i = 0; i < 100 && !sim_run(stage.sim, NULL, NULL, NEVER); i++)
        continue;
    stage_close();
}

#define LETTERS    100
#define LETTER_MAX (20 * NANOS_PER_MS)

static nanos sent_at[LETTERS], longest;
static unsigned letters;

static void count_letter(struct worker *w, void *arg, uint64_t number)
{
    ASSERT(w == &stage.w[1] && arg == &stage.w[0] && number == letters); /* in order */
    longest = MAX(longest, w->now - sent_at[number]);
    letters++;
}

static void writes_letters(struct task *t, void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < LETTERS; i++) {
        sent_at[i] = t->worker->now;
        mail_send(&stage.w[1], count_letter, t->worker, i);
        if (i % 7 == 0)
            MUST(task_sleep(t, after(t, 10 * NANOS_PER_US)));
    }
}

static bool all_letters(void *arg)
{
    (void)arg;
    return letters == LETTERS;
}

static void test_letters_take_time_and_keep_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options options = sim_options_default(seed);
        options.mail_max = LETTER_MAX;
        letters = 0;
        longest = 0;
        stage_open_with(&options);
        start(0, "writer", writes_letters);
        assert_true(sim_run(stage.sim, all_letters, NULL, MINUTE));
        assert_in_range(longest, LETTER_MAX / 2, LETTER_MAX + NANOS_PER_MS);
        run_and_close();
    }
}

static int worked, dropped;
static void work(void *arg) { worked += *(int *)arg; }
static void drop(void *arg) { dropped += *(int *)arg; }

static void has_jobs(struct task *t, void *arg)
{
    static int two = 2, forty = 40;
    bool abandoned = true;
    (void)arg;
    nanos began = t->worker->now;
    MUST(job_run(t, "job", work, drop, &two, NEVER, &abandoned));
    ASSERT(worked == 2 && !abandoned && dropped == 0);
    ASSERT(t->worker->now - began >= 100 * NANOS_PER_US);
    ASSERT(job_run(t, "job", work, drop, &forty, t->worker->now + NANOS_PER_US, &abandoned) == FAIL_TIMEOUT);
    ASSERT(worked == 2 && abandoned);
    while (jobs_alive(t->worker) > 0)
        MUST(task_sleep(t, after(t, NANOS_PER_MS)));
    ASSERT(worked == 42 && dropped == 40);
}

static void test_jobs_end_later(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        worked = dropped = 0;
        stage_open(seed);
        start(0, "jobs", has_jobs);
        run_and_close();
    }
}

static struct gate gate;
static int inside[2];       /* changed together, within the gate */
static unsigned overtaken;  /* someone else went first */

static void counts(struct task *t, void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        int before = inside[0];
        gate_enter(&gate);
        if (inside[0] != before)
            overtaken++; /* whoever decides before the gate decides on old news */
        inside[0]++;
        inside[1]++;
        gate_leave(&gate);
        if (i % 10 == 0)
            MUST(task_yield(t));
    }
}

static void both_are_equal(struct sim *sim, void *arg)
{
    (void)sim;
    ++*(unsigned *)arg;
    ASSERT(inside[0] == inside[1]);
}

static void test_another_may_go_first_at_a_gate(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        unsigned looks = 0;
        inside[0] = inside[1] = 0;
        overtaken = 0;
        stage_open(seed);
        gate_init(&gate, stage.world, GATE_POOL);
        sim_on_step(stage.sim, both_are_equal, &looks);
        start(0, "counts", counts);
        start(1, "counts", counts);
        run_to_end();
        assert_int_equal(inside[0], 200);
        assert_true(overtaken > 0);
        assert_true(looks == sim_steps(stage.sim));
        gate_fini(&gate);
        stage_close();
    }
}

/* ---- each fault by itself ---- */

static struct probe {
    enum fail connect;
    size_t first_write, first_read;
    nanos first_read_after;
    unsigned reads, accepts_failed;
    bool over;
} probe;

/* Looks every 5 us instead of waiting for edges, so that it sees what each moment brings. */
static void probe_server(struct task *t, void *arg)
{
    struct world *world = stage.world;
    struct addr peer;
    char bytes[1000];
    size_t got = 0;
    nanos end = after(t, NANOS_PER_S);
    (void)arg;
    int listener = world->listen(world, &stage.port), fd = -1;
    while (got < sizeof bytes && t->worker->now < end) {
        if (fd < 0)
            fd = world->accept(world, listener, &peer);
        probe.accepts_failed += fd == -EMFILE;
        ssize_t n = fd >= 0 ? world->read(world, fd, bytes, sizeof bytes) : 0;
        if (n > 0 && got == 0) {
            probe.first_read = (size_t)n;
            probe.first_read_after = t->worker->now - end + NANOS_PER_S;
        }
        probe.reads += n > 0;
        got += n > 0 ? (size_t)n : 0;
        MUST(task_sleep(t, after(t, 5 * NANOS_PER_US)));
    }
    if (fd >= 0)
        world->close(world, fd);
    world->close(world, listener);
    probe.over = true;
}

static void probe_client(struct task *t, void *arg)
{
    struct actor a;
    char bytes[1000] = { 0 };
    struct iovec part = { bytes, sizeof bytes };
    (void)arg;
    MUST(task_sleep(t, after(t, NANOS_PER_MS)));
    probe.connect = actor_connect(t, &a, &stage.port, after(t, NANOS_PER_S));
    if (probe.connect != OK)
        return;
    probe.first_write = (size_t)stage.world->writev(stage.world, a.watch.fd, &part, 1);
    if (probe.first_write < sizeof bytes) { /* a writer may stop at a short write: the edge follows */
        a.waiter = t;
        MUST(task_park(t, "the edge after a short write", after(t, NANOS_PER_MS)));
        a.waiter = NULL;
    }
    MUST(actor_write_all(t, &a, bytes, sizeof bytes - probe.first_write, NEVER));
    while (!probe.over)
        MUST(task_sleep(t, after(t, NANOS_PER_MS)));
    actor_close(&a);
}

static void probe_with(struct sim_faults faults)
{
    struct sim_options options = sim_options_default(7);
    options.faults = faults;
    probe = (struct probe){ 0 };
    stage_open_with(&options);
    start(0, "server", probe_server);
    start(1, "client", probe_client);
    run_and_close();
}

static void test_each_fault_shows(void **state)
{
    (void)state;
    probe_with(sim_faults_none());
    assert_int_equal(probe.connect, OK);
    assert_int_equal(probe.first_write, 1000);
    assert_int_equal(probe.first_read, 1000);
    assert_int_equal(probe.accepts_failed, 0);
    assert_in_range(probe.first_read_after, NANOS_PER_MS, 3 * NANOS_PER_MS);

    probe_with((struct sim_faults){ .short_read = 1000 });
    assert_in_range(probe.first_read, 1, 999);
    assert_int_equal(probe.first_write, 1000);
    probe_with((struct sim_faults){ .short_write = 1000 });
    assert_in_range(probe.first_write, 1, 999);
    probe_with((struct sim_faults){ .split = 1000 });
    assert_in_range(probe.first_read, 1, 999);
    probe_with((struct sim_faults){ .drip = 1000 });
    assert_in_range(probe.reads, 400, 1000);
    probe_with((struct sim_faults){ .delay = 1000 });
    assert_in_range(probe.first_read_after, 10 * NANOS_PER_MS, NANOS_PER_S);
    probe_with((struct sim_faults){ .refuse = 1000 });
    assert_int_equal(probe.connect, FAIL_CONNECT);
    probe_with((struct sim_faults){ .hang = 1000 });
    assert_int_equal(probe.connect, FAIL_TIMEOUT);
    probe_with((struct sim_faults){ .connect_full = 1000 });
    assert_int_equal(probe.connect, FAIL_NO_DESCRIPTORS);
    probe_with((struct sim_faults){ .accept_full = 1000 });
    assert_int_equal(probe.connect, OK); /* as far as the client can see */
    assert_in_range(probe.accepts_failed, 2, 1000000);
    assert_int_equal(probe.reads, 0);
}

/* Half of the doomed connections die at a moment, the others at a byte, however long they were idle. */
static unsigned dead_by_time, dead_by_byte;
static char flood[65536];

static void doomed_server(struct task *t, void *arg)
{
    struct actor listener, a;
    (void)arg;
    server_of(t, &listener, &a);
    MUST(task_sleep(t, after(t, MINUTE)));
    enum fail f = actor_write_all(t, &a, flood, sizeof flood, NEVER);
    ASSERT(f == OK || f == FAIL_RESET);
    MUST(task_sleep(t, after(t, MINUTE)));
    actor_close(&a);
    actor_close(&listener);
}

static void doomed_client(struct task *t, void *arg)
{
    struct actor a;
    size_t n;
    (void)arg;
    client_of(t, &a);
    MUST(task_sleep(t, after(t, MINUTE / 2)));
    if (a.events & WATCH_HANGUP) {
        dead_by_time++;
    } else {
        MUST(actor_write_all(t, &a, flood, sizeof flood, NEVER));
        MUST(task_sleep(t, after(t, MINUTE)));
        ASSERT(actor_read(t, &a, flood, sizeof flood, NEVER, &n) == FAIL_RESET);
        dead_by_byte++;
    }
    actor_close(&a);
}

static void test_resets_come_at_moments_and_at_bytes(void **state)
{
    (void)state;
    dead_by_time = dead_by_byte = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct sim_options options = sim_options_default(seed);
        options.faults.reset = 1000;
        stage_open_with(&options);
        start(0, "server", doomed_server);
        start(1, "client", doomed_client);
        run_and_close();
    }
    assert_in_range(dead_by_time, 8, 32);
    assert_int_equal(dead_by_time + dead_by_byte, 40);
}

/* ---- all faults at once ---- */

enum { CLIENTS = 20 };
static unsigned outcomes[FAIL_COUNT];

static void serve_one(struct task *t, void *arg)
{
    struct actor *a = arg;
    char question[100];
    nanos deadline = after(t, 5 * NANOS_PER_S);
    if (actor_read_all(t, a, question, sizeof question, deadline) == OK && actor_write_all(t, a, question, sizeof question, deadline) == OK)
        actor_close(a);
    else
        actor_reset(a);
    mem_free(a);
}

static void serve_many(struct task *t, void *arg)
{
    struct actor listener;
    (void)arg;
    MUST(actor_listen(t->worker, &listener, &stage.port));
    for (;;) {
        struct actor *a = mem_alloc(sizeof *a);
        if (actor_accept(t, &listener, a, after(t, MINUTE)) != OK) {
            mem_free(a);
            break;
        }
        ASSERT(task_start(t->worker, "serve", serve_one, a) != NULL);
    }
    actor_close(&listener);
}

static void asks_one(struct task *t, void *arg)
{
    struct actor a;
    char question[100], answer[100];
    memset(question, (int)(uintptr_t)arg, sizeof question);
    MUST(task_sleep(t, after(t, NANOS_PER_MS * (nanos)(uintptr_t)arg)));
    enum fail f = actor_connect(t, &a, &stage.port, after(t, 10 * NANOS_PER_S));
    if (f == OK) {
        f = actor_write_all(t, &a, question, sizeof question, after(t, 10 * NANOS_PER_S));
        if (f == OK)
            f = actor_read_all(t, &a, answer, sizeof answer, after(t, 10 * NANOS_PER_S));
        ASSERT(f != OK || memcmp(question, answer, sizeof answer) == 0); /* its own bytes, whole, or a failure */
        actor_close(&a);
    }
    outcomes[f]++;
}

static void flood_open(uint64_t seed)
{
    struct sim_options options = sim_options_default(seed);
    options.faults = sim_faults_seeded(seed);
    options.faults.no_memory = 0; /* these tasks are the test's own: they assert that they have it */
    stage_open_with(&options);
    start(0, "server", serve_many);
    for (uintptr_t i = 1; i <= CLIENTS; i++)
        assert_non_null(task_start(&stage.w[1], "client", asks_one, (void *)i));
}

static void test_every_seeded_flood_ends(void **state)
{
    (void)state;
    memset(outcomes, 0, sizeof outcomes);
    for (uint64_t seed = 0; seed < 300; seed++) {
        flood_open(seed);
        uint64_t hash = run_and_close();
        if (seed % 30 == 0) {
            flood_open(seed);
            assert_true(run_and_close() == hash);
        }
    }
    assert_true(outcomes[OK] > 3000);
    assert_true(outcomes[FAIL_RESET] > 0);
    assert_true(outcomes[FAIL_CONNECT] > 0);
    assert_true(outcomes[FAIL_TIMEOUT] > 0);
}

/* What a task sees of the clocks, turn after turn. */
static struct {
    unsigned stood, jumped;
    nanos passed;
} clocks;

static void watch_clocks(struct task *t, void *arg)
{
    struct worker *w = t->worker;
    nanos began = w->now, now = w->now, wall = w->wall;
    (void)arg;
    for (int i = 0; i < 300; i++) {
        MUST(task_yield(t));
        ASSERT(w->now >= now); /* whatever it does, it never goes back */
        clocks.stood += w->now == now;
        clocks.jumped += w->wall - wall != w->now - now;
        now = w->now;
        wall = w->wall;
    }
    clocks.passed = now - began;
}

static void watch_clocks_with(struct sim_faults faults)
{
    struct sim_options options = sim_options_default(7);
    options.faults = faults;
    memset(&clocks, 0, sizeof clocks);
    stage_open_with(&options);
    start(0, "watches the clocks", watch_clocks);
    run_and_close();
}

/* hostile 92 */
static void test_faults_of_the_clocks_show(void **state)
{
    (void)state;
    watch_clocks_with(sim_faults_none());
    assert_int_equal(clocks.stood + clocks.jumped, 0);
    assert_in_range(clocks.passed, 300 * NANOS_PER_US, 10 * NANOS_PER_MS);
    watch_clocks_with((struct sim_faults){ .wall_jump = 500 });
    assert_in_range(clocks.jumped, 50, 300);
    watch_clocks_with((struct sim_faults){ .leap = 500 });
    assert_in_range(clocks.passed, 10 * NANOS_PER_S, 300 * NANOS_PER_S);
    assert_int_equal(clocks.jumped, 0);
    watch_clocks_with((struct sim_faults){ .stall = 500 });
    assert_in_range(clocks.stood, 100, 300);
    watch_clocks_with((struct sim_faults){ .slow_turn = 500 });
    assert_in_range(clocks.passed, NANOS_PER_S, 30 * NANOS_PER_S);
}

/* Between two that still believe in each other nothing arrives any more, and no word of it: only a deadline ends the wait. */
static void talks_to_nobody(struct task *t, void *arg)
{
    struct actor a;
    char byte = 'x';
    size_t n;
    enum fail f = OK;
    (void)arg;
    MUST(actor_connect(t, &a, &stage.port, NEVER));
    MUST(task_sleep(t, after(t, 60 * NANOS_PER_S))); /* longer than the longest draw: it has vanished by then */
    for (unsigned i = 0; i < 200000 && f == OK; i++)
        f = actor_write_all(t, &a, &byte, 1, after(t, NANOS_PER_S));
    ASSERT(f == FAIL_TIMEOUT); /* the kernel took what it can hold */
    ASSERT(actor_read(t, &a, &byte, 1, after(t, NANOS_PER_S), &n) == FAIL_TIMEOUT);
    actor_close(&a);
    probe.over = true;
}

static void keeps_its_end(struct task *t, void *arg)
{
    struct actor listener, a;
    (void)arg;
    MUST(actor_listen(t->worker, &listener, &stage.port));
    MUST(actor_accept(t, &listener, &a, NEVER));
    while (!probe.over)
        MUST(task_sleep(t, after(t, NANOS_PER_S)));
    actor_close(&a);
    actor_close(&listener);
}

static void test_half_open_connections_tell_nobody(void **state)
{
    struct sim_options options = sim_options_default(7);
    (void)state;
    options.faults.half_open = 1000;
    probe = (struct probe){ 0 };
    stage_open_with(&options);
    start(0, "server", keeps_its_end);
    start(1, "client", talks_to_nobody);
    run_and_close();
    assert_true(probe.over);
}

/* Faults that are off are off; a profile repeats; over seeds each fault is met. */
static void test_profiles(void **state)
{
    struct sim_faults none = sim_faults_none(), seen = { 0 };
    unsigned quiet = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim_faults f = sim_faults_seeded(seed), again = sim_faults_seeded(seed);
        assert_memory_equal(&f, &again, sizeof f);
        quiet += memcmp(&f, &none, sizeof f) == 0;
#define FAULT(name, seeded_max, one_in, what) assert_true(f.name <= (seeded_max)); seen.name += f.name;
        SIM_FAULTS(FAULT)
#undef FAULT
    }
    assert_in_range(quiet, 5, 30);
#define FAULT(name, seeded_max, one_in, what) assert_true(seen.name > 0);
    SIM_FAULTS(FAULT)
#undef FAULT
}

/* Out of memory at any allocation, making a world fails whole. */
static void test_making_a_world_may_fail(void **state)
{
    struct sim_options options = sim_options_default(1);
    int64_t blocks = mem_alive();
    unsigned failed = 0;
    (void)state;
    for (struct sim *sim = NULL; sim == NULL; failed++) {
        mem_fault(failed + 1);
        sim = sim_new(&options);
        mem_fault(0);
        assert_true(sim != NULL || mem_alive() == blocks);
        sim_free(sim);
    }
    assert_in_range(failed, 3, 20);
    assert_int_equal(mem_alive(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_workers_talk),
        cmocka_unit_test(test_unix_sockets),
        cmocka_unit_test(test_order_and_content_survive_every_split),
        cmocka_unit_test(test_one_seed_is_one_run),
        cmocka_unit_test(test_fin_comes_last_and_ends_one_direction),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_refused_and_unanswered),
        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_a_writer_waits_for_its_reader),
        cmocka_unit_test(test_a_short_read_is_followed_by_an_edge),
        cmocka_unit_test(test_a_watch_begins_with_what_is),
        cmocka_unit_test(test_a_deadlock_is_named),
        cmocka_unit_test(test_a_shared_listener_wakes_one),
        cmocka_unit_test(test_an_hour_takes_no_time),
        cmocka_unit_test(test_a_yielding_task_lets_time_pass),
        cmocka_unit_test(test_letters_take_time_and_keep_order),
        cmocka_unit_test(test_jobs_end_later),
        cmocka_unit_test(test_another_may_go_first_at_a_gate),
        cmocka_unit_test(test_each_fault_shows),
        cmocka_unit_test(test_faults_of_the_clocks_show),
        cmocka_unit_test(test_half_open_connections_tell_nobody),
        cmocka_unit_test(test_resets_come_at_moments_and_at_bytes),
        cmocka_unit_test(test_every_seeded_flood_ends),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_making_a_world_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
