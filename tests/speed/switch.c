/* switch.c: what a task costs: a switch, a start and end, a request that never waits, a park and a wake. Built by hand; prints nanoseconds, best of ROUNDS.
   The request that never waits is the same function called plainly and as a task: the difference is the task. */
#include "run/task.h"
#include <stdio.h>

#define ROUNDS 9
#define TURNS  2000
#define CROWD  100 /* tasks at once: their stacks' tops must fit the cache as they do in service */

static struct world *world;
static struct worker worker;

static double best(double (*measure)(void))
{
    double least = 1e9;
    for (int i = 0; i < ROUNDS; i++)
        least = MIN(least, measure());
    return least;
}

static void run_until_empty(void)
{
    while (task_count(&worker) > 0)
        worker_turn(&worker, 0);
}

static void must_start(task_fn *fn, void *arg)
{
    ASSERT(task_start(&worker, "speed", fn, arg) != NULL);
}

/* ---- two contexts alone, without tasks ---- */

static struct context main_context, other;
static char other_stack[65536] __attribute__((aligned(16)));

static void bounces(void *arg)
{
    (void)arg;
    for (;;)
        context_switch(&other, &main_context);
}

static double context_pair(void)
{
    context_init(&other, other_stack, sizeof other_stack, bounces, NULL);
    nanos began = world_now(world);
    for (int i = 0; i < 100 * TURNS; i++)
        context_switch(&main_context, &other);
    double ns = (double)(world_now(world) - began) / (100.0 * TURNS) / 2;
    context_fini(&other);
    return ns;
}

/* ---- task_yield ---- */

static void yields(struct task *t, void *arg)
{
    (void)arg;
    for (int i = 0; i < TURNS; i++)
        ASSERT(task_yield(t) == OK);
}

static double yield_pair(void)
{
    for (int i = 0; i < CROWD; i++)
        must_start(yields, NULL);
    nanos began = world_now(world);
    run_until_empty();
    return (double)(world_now(world) - began) / CROWD / TURNS;
}

/* ---- start and end ---- */

static volatile unsigned served;

static void ends(struct task *t, void *arg)
{
    (void)t, (void)arg;
    served = served + 1;
}

static double start_end(void)
{
    nanos began = world_now(world);
    for (int i = 0; i < TURNS; i++) {
        for (int k = 0; k < CROWD; k++)
            must_start(ends, NULL);
        worker_turn(&worker, 0);
    }
    return (double)(world_now(world) - began) / CROWD / TURNS;
}

/* ---- a request that never parks: some work on its stack ---- */

static __attribute__((noinline)) void cached_answer(struct task *t, void *arg)
{
    volatile char bytes[1024];
    (void)t, (void)arg;
    for (unsigned i = 0; i < sizeof bytes; i += 64)
        bytes[i] = 1;
    served = served + (unsigned)bytes[0];
}

static double plain_call(void)
{
    nanos began = world_now(world);
    for (int i = 0; i < CROWD * TURNS; i++)
        cached_answer(NULL, NULL);
    return (double)(world_now(world) - began) / CROWD / TURNS;
}

static double never_parks(void)
{
    nanos began = world_now(world);
    for (int i = 0; i < TURNS; i++) {
        for (int k = 0; k < CROWD; k++)
            must_start(cached_answer, NULL);
        worker_turn(&worker, 0);
    }
    return (double)(world_now(world) - began) / CROWD / TURNS;
}

/* ---- park and wake ---- */

static struct task *parked[CROWD];
static bool leaving;

static void parks(struct task *t, void *arg)
{
    *(struct task **)arg = t;
    while (!leaving)
        ASSERT(task_park(t, "speed", NEVER) == OK);
}

static void wake_all(void)
{
    for (int k = 0; k < CROWD; k++)
        task_wake(parked[k]);
    worker_turn(&worker, 0);
}

static double park_wake(void)
{
    leaving = false;
    for (int k = 0; k < CROWD; k++)
        must_start(parks, &parked[k]);
    worker_turn(&worker, 0);
    nanos began = world_now(world);
    for (int i = 0; i < TURNS; i++)
        wake_all();
    double ns = (double)(world_now(world) - began) / CROWD / TURNS;
    leaving = true;
    wake_all();
    return ns;
}

int main(void)
{
    world = world_real_new(0);
    ASSERT(world != NULL && worker_init(&worker, world, 0) == OK);
#ifdef WEIR_TASK_UCONTEXT
    printf("implementation      ucontext\n");
#else
    printf("implementation      context_switch.S\n");
#endif
    printf("context switch      %7.1f ns\n", best(context_pair));
    printf("task_yield          %7.1f ns (to the loop and back, its share of the turn included)\n", best(yield_pair));
    printf("task_start and end  %7.1f ns\n", best(start_end));
    printf("never parks, plain  %7.1f ns\n", best(plain_call));
    printf("never parks, task   %7.1f ns\n", best(never_parks));
    printf("park and wake       %7.1f ns\n", best(park_wake));
    worker_fini(&worker);
    world_real_free(world);
    return 0;
}
