/* limits.c: what limits cost a request: enter, reserve and settle for a key and its tenant. Built by hand; prints nanoseconds, best of ROUNDS.
   With two threads each asks by a key of its own; the gate is one for all. */
#include "admit/admit.h"
#include <stdio.h>

#define ROUNDS  9
#define TURNS   200000
#define THREADS 2

static struct world *world;
static struct limits *limits;

static void *ask(void *arg)
{
    static const char *const names[THREADS] = { "team-a", "team-b" };
    struct conf_limits key = { .rpm = 100000000, .tpm = 4000000000, .concurrency = 1000, .budget = { 1e9, true }, .period = 86400 * NANOS_PER_S }, tenant = key;
    struct limits_who who = { .name = { text_of(names[(uintptr_t)arg]), TEXT("acme") }, .limits = { &key, &tenant } };
    struct worker w = { .world = world };
    nanos *out = mem_zero(sizeof *out), began = world_now(world);
    ASSERT(out != NULL);
    w.wall = world_wall(world);
    for (int i = 0; i < TURNS; i++) {
        struct stake stake;
        w.now = began + i * NANOS_PER_US;
        bool is_in = limits_enter(&w, limits, &who, &stake) == OK && limits_reserve(&w, limits, &stake, 500, 1000) == OK;
        ASSERT(is_in);
        limits_settle(&w, limits, &stake, 300, 600);
    }
    *out = world_now(world) - began;
    return out;
}

static double round_of(unsigned threads)
{
    pthread_t thread[THREADS];
    nanos longest = 0;
    for (uintptr_t i = 0; i < threads; i++)
        ASSERT(pthread_create(&thread[i], NULL, ask, (void *)i) == 0);
    for (unsigned i = 0; i < threads; i++) {
        void *took;
        ASSERT(pthread_join(thread[i], &took) == 0);
        longest = MAX(longest, *(nanos *)took);
        mem_free(took);
    }
    return (double)longest / TURNS;
}

int main(void)
{
    world = world_real_new(1);
    limits = limits_new(world);
    ASSERT(world != NULL && limits != NULL);
    for (unsigned threads = 1; threads <= THREADS; threads++) {
        double best = 1e9;
        for (int i = 0; i < ROUNDS; i++)
            best = MIN(best, round_of(threads));
        printf("enter, reserve and settle, %u thread%s: %.0f ns\n", threads, threads > 1 ? "s at once" : "", best);
    }
    limits_free(limits);
    world_real_free(world);
    return 0;
}
