/* both.h: one story, two worlds. A story is a task's function: both_run() runs it with real threads, then in the simulated world once a seed.
   Stories say what must hold with ASSERT: cmocka's own asserts jump off the stack, and a task's stack is not the test's. A failing one names its world and seed. */
#ifndef WEIR_TEST_BOTH_H
#define WEIR_TEST_BOTH_H

#include "run/task.h"

#define BOTH_WORKERS 2
#define BOTH_SEEDS   200 /* of each story; WEIR_SEEDS in the environment asks for more */

/* What a story finds behind its arg. */
struct both {
    struct world *world;
    struct worker *workers[BOTH_WORKERS];
    uint64_t seed;        /* 0 in the real world */
    const char *scratch;  /* a directory of its own in the real world; only a prefix of names in the simulated one */
    struct sim *sim;      /* NULL in the real world */
};

/* Runs story(t, struct both *) on worker 0 in each world. It has passed when the story returned, every task of every worker ended by itself, every job came back,
   and no block of memory and no simulated socket is left. */
void both_run(const char *name, task_fn *story);
void both_real(const char *name, task_fn *story, unsigned rounds);
void both_simulated(const char *name, task_fn *story, uint64_t first_seed, unsigned seeds);

/* Starts a root task on any worker, from any. */
void both_start(struct worker *on, const char *name, task_fn *fn, void *arg);
/* Cancels every task of every worker but t, as drain does. */
void both_cancel_others(struct both *b, struct task *t, enum fail why);

#endif
