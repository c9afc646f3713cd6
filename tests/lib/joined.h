/* joined.h: a story of requests that join each other's flights on two workers: producers that fail, are slow or never say anything, readers that are slow, stand
   still, leave or are cancelled. Used by tests/sim/test_joins.c, and by tests/storm with real threads. What must hold is asserted in it. */
#ifndef WEIR_TESTS_JOINED_H
#define WEIR_TESTS_JOINED_H

#include "lib/both.h"

/* A task's function for both_run and its like. */
void joined_story(struct task *t, void *both);

/* One reader that stands still on the flight's own worker leaves: the other worker's reader goes on at once. */
void joined_slow_leader(struct task *t, void *both);

struct joined_sum {
    _Atomic unsigned led, followed, crossed, whole, failed, dropped, left, abandoned, longer;
};
extern struct joined_sum joined_sum; /* of all rounds so far */

#endif
