/* both.c: the two worlds a story runs in. Called by tests/sim/test_run_both.c and whoever else writes stories. */
#include "both.h"
#include "run/sim.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REAL_ROUNDS    20
#define REAL_SECONDS   60 /* a hang ends the test; far above what a story takes */
#define VIRTUAL_SPAN   (3600 * NANOS_PER_S)
#define JOB_THREADS    2

struct run {
    struct both both;
    struct worker workers[BOTH_WORKERS];
    const char *name;
    task_fn *story;
    bool ended;
};

static const struct run *current; /* for the report only; set before the threads start */

static void tell(void)
{
    if (current == NULL)
        return;
    if (current->both.sim != NULL)
        fprintf(stderr, "both: story \"%s\", simulated world, seed %llu\n", current->name, (unsigned long long)current->both.seed);
    else
        fprintf(stderr, "both: story \"%s\", real world\n", current->name);
}

static void root(struct task *t, void *arg)
{
    struct run *r = arg;
    r->story(t, &r->both);
    r->ended = true;
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_stop(&r->workers[i]);
}

static void open_run(struct run *r, const char *name, task_fn *story, struct world *world)
{
    r->name = name;
    r->story = story;
    r->both.world = world;
    for (unsigned i = 0; i < BOTH_WORKERS; i++) {
        ASSERT(worker_init(&r->workers[i], world, i) == OK);
        r->both.workers[i] = &r->workers[i];
    }
    ASSERT(task_start(&r->workers[0], name, root, r) != NULL);
    current = r;
    assert_story = tell;
}

static void close_run(struct run *r)
{
    ASSERT(r->ended);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_fini(&r->workers[i]); /* asserts that no task lives */
    current = NULL;
}

static void *thread(void *arg)
{
    worker_run(arg);
    return NULL;
}

static void real_round(const char *name, task_fn *story, const char *scratch)
{
    int64_t alive = mem_alive();
    struct run r = { .both.scratch = scratch };
    struct world *world = world_real_new(JOB_THREADS);
    ASSERT(world != NULL);
    open_run(&r, name, story, world);
    pthread_t threads[BOTH_WORKERS];
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        ASSERT(pthread_create(&threads[i], NULL, thread, &r.workers[i]) == 0);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        pthread_join(threads[i], NULL);
    close_run(&r);
    world_real_free(world);
    ASSERT(mem_alive() == alive);
}

void both_real(const char *name, task_fn *story, unsigned rounds)
{
    char scratch[] = "/tmp/weir-both-XXXXXX";
    ASSERT(mkdtemp(scratch) != NULL);
    for (unsigned i = 0; i < rounds; i++) {
        alarm(REAL_SECONDS);
        real_round(name, story, scratch);
    }
    alarm(0);
    ASSERT(rmdir(scratch) == 0); /* a story removes what it makes */
}

static void simulated_round(const char *name, task_fn *story, uint64_t seed)
{
    int64_t alive = mem_alive();
    struct sim_options options = sim_options_default(seed);
    struct sim *sim = sim_new(&options);
    ASSERT(sim != NULL);
    struct run r = { .both = { .scratch = "/sim", .seed = seed, .sim = sim } };
    open_run(&r, name, story, sim_world(sim));
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        ASSERT(sim_worker(sim, "worker", &r.workers[i]) == OK);
    if (!sim_run(sim, NULL, NULL, VIRTUAL_SPAN)) {
        fprintf(stderr, "both: %s\n", sim_why(sim));
        ASSERT(!"the simulated run ends");
    }
    close_run(&r);
    ASSERT(sim_sockets_open(sim) == 0);
    sim_free(sim);
    ASSERT(mem_alive() == alive);
}

void both_simulated(const char *name, task_fn *story, uint64_t first_seed, unsigned seeds)
{
    for (unsigned i = 0; i < seeds; i++)
        simulated_round(name, story, first_seed + i);
}

void both_run(const char *name, task_fn *story)
{
    const char *more = getenv("WEIR_SEEDS");
    both_real(name, story, REAL_ROUNDS);
    both_simulated(name, story, 1, more != NULL ? (unsigned)strtoul(more, NULL, 10) : BOTH_SEEDS);
}

/* ---- helpers of stories ---- */

struct start {
    const char *name;
    task_fn *fn;
    void *arg;
};

static void start_letter(struct worker *w, void *arg, uint64_t number)
{
    struct start *s = arg;
    (void)number;
    ASSERT(task_start(w, s->name, s->fn, s->arg) != NULL);
    mem_free(s);
}

void both_start(struct worker *on, const char *name, task_fn *fn, void *arg)
{
    struct start *s = mem_alloc(sizeof *s);
    ASSERT(s != NULL);
    *s = (struct start){ name, fn, arg };
    mail_send(on, start_letter, s, 0);
}

struct spare {
    struct task_ref ref;
    enum fail why;
};

static void cancel_one(struct task *t, void *arg)
{
    struct spare *s = arg;
    if (t->worker != s->ref.worker || t->index != s->ref.index)
        task_cancel(t, s->why);
}

static void cancel_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    task_each(w, cancel_one, arg);
    mem_free(arg);
}

void both_cancel_others(struct both *b, struct task *t, enum fail why)
{
    for (unsigned i = 0; i < BOTH_WORKERS; i++) {
        struct spare *s = mem_alloc(sizeof *s);
        ASSERT(s != NULL);
        *s = (struct spare){ task_ref(t), why };
        mail_send(b->workers[i], cancel_letter, s, 0);
    }
}
