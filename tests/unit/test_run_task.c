/* test_run_task.c: stacks and the task table of run/task.h: overflows that are named, 100,000 parked tasks, and out of memory anywhere. */
#include "run/jobs.h"
#include "run/wait.h"
#include "test_base.h"
#include <signal.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define MANY (UNDER_TSAN ? 1000u : 100000u) /* a fiber costs TSan a megabyte */

static struct world *world;

static void open_worker(struct worker *w)
{
    world = world_real_new(1);
    assert_non_null(world);
    assert_int_equal(worker_init(w, world, 0), OK);
}

static void close_worker(struct worker *w)
{
    worker_fini(w);
    world_real_free(world);
}

/* ---- overflow ---- */

#define KIB_TOO_MUCH 80 /* past the end of 64, and with a canary no further than into the stack below */

/* Frames on the real stack whatever the sanitizer. */
__attribute__((noinline, no_sanitize("address"))) static int deep(int n, volatile char *above)
{
    volatile char here[1024];
    for (unsigned i = 0; i < sizeof here; i++) /* a canary is only words: a frame that leaves them alone steps over them */
        here[i] = (char)n;
    return n == 0 ? above[0] : deep(n - 1, here) + here[0];
}

static void dives(struct task *t, void *arg)
{
    volatile char here = 0;
    int *depth = arg;
    *depth = deep(*depth, &here);
    (void)!task_yield(t);
}

/* ---- on the loop's stack ---- */

struct call {
    struct worker *worker;
    unsigned made;
};

static void call_within(void *arg)
{
    ((struct call *)arg)->made++;
}

static void call_deep(void *arg)
{
    struct call *c = arg;
    volatile char here = 0;
    (void)deep(KIB_TOO_MUCH, &here);
    c->made++;
    task_call_loop(c->worker, call_within, c); /* a call that calls is a plain one */
}

static void calls(struct task *t, void *arg)
{
    struct call *c = arg;
    for (int i = 0; i < 3; i++) {
        unsigned before = c->made;
        task_call_loop(t->worker, call_deep, c);
        ASSERT(c->made == before + 2 && t->worker->running == t);
        enum fail f = task_yield(t);
        ASSERT(f == OK);
    }
}

static void a_task_borrows_the_loop_s_stack(void **state)
{
    static struct worker w;
    struct call c = { &w, 0 };
    (void)state;
    open_worker(&w);
    task_call_loop(&w, call_within, &c); /* no task runs */
    assert_int_equal(c.made, 1);
    assert_non_null(task_start(&w, "calls", calls, &c));
    assert_non_null(task_start(&w, "calls", calls, &c));
    worker_stop(&w);
    worker_run(&w);
    assert_int_equal(c.made, 13);
    close_worker(&w);
}

static void parks(struct task *t, void *arg)
{
    enum fail *why = arg;
    enum fail f = task_park(t, "nothing", NEVER);
    if (why != NULL)
        *why = f;
}

static enum task_guard guard;

static void overflows(void)
{
    struct worker w;
    int depth = KIB_TOO_MUCH;
    signal(SIGABRT, SIG_DFL); /* cmocka has its own */
    alarm(20);                /* a victim that nobody noticed parks for ever */
    task_guard_limit(guard);
    task_catch_overflow();
    task_thread_begin();
    world = world_real_new(0);
    if (worker_init(&w, world, 0) != OK)
        return;
    if (task_start(&w, "victim", parks, NULL) == NULL || task_start(&w, "deep diver", dives, &depth) == NULL)
        return;
    worker_run(&w);
}

static void overflow_is_named(enum task_guard kind)
{
    char said[2048];
    guard = kind;
    assert_true(dies(overflows, said, sizeof said));
    if (strstr(said, "weir: stack overflow in task \"deep diver\" (64 KiB): a frame is too large or a recursion has no bound\n") == NULL)
        fail_msg("guard %d: the child said: %s", (int)kind, said);
}

TEST(overflow_is_named_by_an_installed_guard) { overflow_is_named(GUARD_INSTALLED); }
TEST(overflow_is_named_by_mprotect)           { overflow_is_named(GUARD_MPROTECT); }
TEST(overflow_is_named_by_a_canary)           { overflow_is_named(GUARD_CANARY); }

/* Its twin, which fits. */
TEST(deep_task_within_its_stack_ends)
{
    struct worker w;
    int depth = 40;
    open_worker(&w);
    assert_non_null(task_start(&w, "diver", dives, &depth));
    worker_stop(&w);
    worker_run(&w);
    close_worker(&w);
}

static void asserts_in_a_task(struct task *t, void *arg)
{
    (void)arg;
    t->pins = 1;
    (void)!task_yield(t);
}

static void parks_with_a_pin(void)
{
    struct worker w;
    signal(SIGABRT, SIG_DFL);
    task_catch_overflow();
    world = world_real_new(0);
    if (worker_init(&w, world, 0) == OK && task_start(&w, "careless", asserts_in_a_task, NULL) != NULL)
        worker_run(&w);
}

TEST(assert_tells_the_running_task)
{
    char said[2048];
    assert_true(dies(parks_with_a_pin, said, sizeof said));
    assert_non_null(strstr(said, "weir: ASSERT failed: t->pins == 0"));
    assert_non_null(strstr(said, "weir: in task \"careless\" (worker 0, task 0, its last wait: yield)"));
}

/* ---- 100,000 parked tasks ---- */

static size_t resident(void)
{
    size_t size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &size, &pages), 2);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void count_guards(struct task *t, void *arg)
{
    ((unsigned *)arg)[t->guard]++;
}

static void cancel(struct task *t, void *arg)
{
    (void)arg;
    task_cancel(t, FAIL_DRAINING);
}

static void many_park(enum task_guard kind, unsigned out_guards[3])
{
    static enum fail why[100000];
    struct worker w;
    task_guard_limit(kind);
    open_worker(&w);
    size_t before = resident();
    for (unsigned i = 0; i < MANY; i++)
        assert_non_null(task_start(&w, "parked", parks, &why[i]));
    while (!list_is_empty(&w.ready))
        worker_turn(&w, 0);
    assert_int_equal(task_count(&w), MANY);
    printf("%u parked tasks, guard %d: %zu bytes resident each\n", MANY, (int)kind, (resident() - before) / MANY);

    memset(out_guards, 0, 3 * sizeof *out_guards);
    task_each(&w, count_guards, out_guards);
    task_each(&w, cancel, NULL);
    worker_stop(&w);
    worker_run(&w);
    assert_int_equal(task_count(&w), 0);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(why[i], FAIL_DRAINING);
    close_worker(&w);
    task_guard_limit(GUARD_INSTALLED);
}

TEST(many_tasks_park)
{
    unsigned guards[3];
    many_park(GUARD_INSTALLED, guards);
    printf("  guards: %u installed, %u mprotect, %u canaries\n", guards[0], guards[1], guards[2]);
    assert_int_equal(guards[0] + guards[1] + guards[2], MANY);
}

TEST(many_tasks_park_on_an_older_kernel)
{
    unsigned guards[3];
    many_park(GUARD_MPROTECT, guards);
    assert_int_equal(guards[GUARD_MPROTECT], MIN(MANY, TASK_MPROTECT_MAX));
    assert_int_equal(guards[GUARD_CANARY], MANY - MIN(MANY, TASK_MPROTECT_MAX));
    many_park(GUARD_MPROTECT, guards); /* the first worker gave its mappings back */
    assert_int_equal(guards[GUARD_MPROTECT], MIN(MANY, TASK_MPROTECT_MAX));
}

/* ---- out of memory anywhere ---- */

#define FAULT_TASKS 150 /* three chunks */

static void job_work(void *arg)
{
    (*(_Atomic unsigned *)arg)++;
}

static void runs_a_job(struct task *t, void *arg)
{
    _Atomic unsigned worked = 0;
    bool abandoned;
    enum fail f = task_sleep(t, t->worker->now + 1);
    if (f == OK)
        f = job_run(t, "work", job_work, NULL, (void *)&worked, NEVER, &abandoned);
    ASSERT(worked == (f == OK));
    *(enum fail *)arg = f;
}

/* True if nothing failed. */
static bool whole_life(void)
{
    struct worker w;
    struct world *real = world_real_new(1);
    if (real == NULL)
        return false;
    enum fail f = worker_init(&w, real, 0), job = FAIL_COUNT;
    if (f == OK) {
        for (int i = 0; i < FAULT_TASKS && f == OK; i++)
            f = task_start(&w, "parked", parks, NULL) == NULL ? FAIL_NO_MEMORY : OK;
        bool started = task_start(&w, "job", runs_a_job, &job) != NULL;
        worker_stop(&w);
        while (started && job == FAIL_COUNT)
            worker_turn(&w, NEVER);
        task_each(&w, cancel, NULL);
        worker_run(&w);
        worker_fini(&w);
    }
    world_real_free(real);
    return f == OK && job == OK;
}

TEST(failed_allocations_are_survived)
{
    int64_t alive = mem_alive();
    uint64_t nth = 0, seen;
    bool whole;
    do {
        (void)mem_fault(++nth);
        whole = whole_life();
        seen = mem_fault(0);
        assert_int_equal(mem_alive(), alive);
        assert_true(whole == (seen < nth)); /* each fault is noticed */
        assert_true(whole_life());          /* and leaves nothing behind */
    } while (seen >= nth);
    printf("allocations failed one by one: %llu\n", (unsigned long long)nth - 1);
    assert_true(nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overflow_is_named_by_an_installed_guard),
        cmocka_unit_test(overflow_is_named_by_mprotect),
        cmocka_unit_test(overflow_is_named_by_a_canary),
        cmocka_unit_test(deep_task_within_its_stack_ends),
        cmocka_unit_test(a_task_borrows_the_loop_s_stack),
        cmocka_unit_test(assert_tells_the_running_task),
        cmocka_unit_test(many_tasks_park),
        cmocka_unit_test(many_tasks_park_on_an_older_kernel),
        cmocka_unit_test(failed_allocations_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
