/* test_fleet_help.h: a fleet on two workers, in the simulated world or on real threads. Used by tests/unit/test_fleet_*.c and tests/sim/test_fleet.c.
   Stories run as tasks and say what must hold with ASSERT: cmocka's own asserts jump off the stack, and a task's stack is not the test's. */
#ifndef TEST_FLEET_HELP_H
#define TEST_FLEET_HELP_H

#include "../lib/both.h"
#include "fleet/fleet.h"
#include "run/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <unistd.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))
#define MS NANOS_PER_MS

struct scene {
    struct world *world;
    struct sim *sim; /* NULL on real threads */
    struct worker workers[BOTH_WORKERS];
    struct fleet *fleet;
    uint64_t seed; /* 0 on real threads */
    task_fn *story;
    void *arg;              /* the test's own */
    _Atomic unsigned alive; /* tasks the story started and that have not ended */
};

static inline const struct conf *conf_of(const char *yaml)
{
    struct conf_options options = { .path = "weir.yaml", .yaml = text_of(yaml) };
    const struct conf *c = NULL;
    struct complaint why;
    if (!conf_load(&options, &c, &why)) {
        fprintf(stderr, "%s\n", why.text);
        ASSERT(!"the test's configuration loads");
    }
    return c;
}

static inline void apply(struct fleet *f, const char *yaml)
{
    const struct conf *c = conf_of(yaml);
    ASSERT(fleet_apply(f, c) == OK);
    conf_unref(c);
}

static inline __attribute__((unused)) struct pool *pool_of(struct fleet *f, const char *model)
{
    struct roster *r = fleet_roster(f);
    struct pool *p = roster_find(r, text_of(model));
    roster_unref(r);
    ASSERT(p != NULL);
    return p;
}

static inline __attribute__((unused)) struct backend *backend_of(struct fleet *f, const char *name)
{
    struct roster *r = fleet_roster(f);
    const struct endpoint *e = roster_endpoint(r, text_of(name));
    ASSERT(e != NULL);
    struct backend *b = e->backend;
    roster_unref(r);
    return b;
}

static inline void scene_root(struct task *t, void *arg)
{
    struct scene *s = arg;
    s->story(t, s);
    while (s->alive > 0)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_stop(&s->workers[i]);
}

static inline void scene_step(struct sim *sim, void *arg)
{
    (void)sim;
    fleet_check(((struct scene *)arg)->fleet);
}

static inline void *scene_thread(void *arg)
{
    worker_run(arg);
    return NULL;
}

static inline void scene_go(struct scene *s)
{
    pthread_t threads[BOTH_WORKERS];
    if (s->sim != NULL) {
        sim_on_step(s->sim, scene_step, s);
        for (unsigned i = 0; i < BOTH_WORKERS; i++)
            ASSERT(sim_worker(s->sim, "worker", &s->workers[i]) == OK);
        if (sim_run(s->sim, NULL, NULL, 3600 * NANOS_PER_S))
            return;
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)s->seed, sim_why(s->sim));
        ASSERT(!"the simulated run ends");
    }
    alarm(60); /* a hang ends the test; far above what a story takes */
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        ASSERT(pthread_create(&threads[i], NULL, scene_thread, &s->workers[i]) == 0);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        pthread_join(threads[i], NULL);
    alarm(0);
}

static uint64_t seed_running; /* for the report */

static inline void scene_tell(void)
{
    fprintf(stderr, "scene: seed %llu (0: real threads)\n", (unsigned long long)seed_running);
}

/* Runs story(t, struct scene *) on worker 0 with a fleet of that configuration; seed 0: on real threads. It has passed when every task has ended by itself,
   no slot is held, nobody waits, and no memory is left. */
static inline __attribute__((unused)) void scene_run(const char *yaml, task_fn *story, void *arg, uint64_t seed)
{
    int64_t alive = mem_alive();
    struct scene *s = mem_zero(sizeof *s);
    ASSERT(s != NULL);
    struct sim_options options = sim_options_default(seed);
    s->sim = seed != 0 ? sim_new(&options) : NULL;
    s->world = seed != 0 ? sim_world(s->sim) : world_real_new(1);
    s->seed = seed_running = seed;
    s->story = story;
    s->arg = arg;
    assert_story = scene_tell;
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        ASSERT(worker_init(&s->workers[i], s->world, i) == OK);
    ASSERT(fleet_new(s->world, &s->fleet) == OK);
    fleet_check_always(s->fleet, true);
    apply(s->fleet, yaml);
    ASSERT(task_start(&s->workers[0], "root", scene_root, s) != NULL);
    scene_go(s);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_fini(&s->workers[i]);
    fleet_free(s->fleet); /* asserts that all slots are back */
    if (s->sim != NULL)
        sim_free(s->sim);
    else
        world_real_free(s->world);
    mem_free(s);
    ASSERT(mem_alive() == alive);
}

static inline __attribute__((unused)) unsigned seeds_wanted(unsigned usual)
{
    const char *wanted = getenv("WEIR_SEEDS");
    return wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : usual;
}

/* splitmix64: each task draws its own, as real threads share none. */
static inline __attribute__((unused)) uint64_t draw(uint64_t *state, uint64_t below)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

#endif
