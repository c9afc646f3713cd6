/* wait.h: waiting for something another task does, and scopes of child tasks: group (wait for all) and race (take the first). */
#ifndef WEIR_WAIT_H
#define WEIR_WAIT_H

#include "run/task.h"

/* Parks in `list` (a list of tasks of one worker). Callers loop: while (!condition) wait_in(...). */
MUSTUSE enum fail wait_in(struct task *t, struct list *list, const char *what, nanos deadline);
void wait_wake_one(struct list *list); /* the one that waits longest */
void wait_wake_all(struct list *list);

/* A scope of children. Leaving it (group_end) cancels and joins whoever still runs, so a child may use its parent's stack. */
struct group {
    struct task *owner;
    struct list children;
    struct task *first_done; /* only compared, never followed */
    unsigned started, done;
    bool awaited;            /* the owner is parked for this group; woken elsewhere it would lose its place in a queue */
};
void group_init(struct group *g, struct task *owner);
/* The child inherits the owner's deadline and story. FAIL_BUSY if no task is to be had. *out_child may be NULL. */
MUSTUSE enum fail group_start(struct group *g, const char *name, task_fn *fn, void *arg, struct task **out_child);
/* Waits until `count` children have ended. */
MUSTUSE enum fail group_wait(struct group *g, unsigned count, nanos deadline);
void group_end(struct group *g);

/* A race: the first child to end wins; the others are cancelled and joined. Returns its index in order of starting, or a failure (then all are cancelled and joined). */
struct racer {
    const char *name;
    task_fn *fn;
    void *arg;
};
#define RACERS_MAX 8
MUSTUSE enum fail race(struct task *t, const struct racer *racers, unsigned count, nanos deadline, unsigned *out_winner);

#endif
