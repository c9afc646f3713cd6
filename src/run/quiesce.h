/* quiesce.h: when memory that other workers may still look at can be freed (quiescent states: McKenney and Slingwine, Read-copy update, 1998). Whoever has a table
   that workers read without a lock keeps one of these beside the gate of its writers.

   A worker looks only within a turn. worker->turns is odd within one and even in poll: who sleeps there has passed already, and only those who are awake are waited for.
     quiesce_begin    under the gate, behind the last store that takes something out of reach: notes in which turn each worker is
     quiesce_passed   has each of them ended that turn?
   Both ends of a turn and quiesce_begin are read-modify-writes of turns. A turn that begins behind quiesce_begin therefore sees what was taken out, and whatever a
   turn looked at was before its end, which quiesce_passed sees. */
#ifndef WEIR_QUIESCE_H
#define WEIR_QUIESCE_H

#include "run/loop.h"

struct quiesce {
    struct worker *worker[WORKERS_MAX]; /* by index: those that have come */
    uint64_t turns[WORKERS_MAX];        /* at quiesce_begin */
};

/* w may look from now on. Under the gate, so that a writer who has not seen it has left the gate before. Its place stays valid as long as q is used. */
static inline void quiesce_come(struct quiesce *q, struct worker *w) { q->worker[w->index] = w; }
/* On w itself, without the gate. */
static inline bool quiesce_has(const struct quiesce *q, const struct worker *w) { return q->worker[w->index] == w; }

void quiesce_begin(struct quiesce *q);
bool quiesce_passed(const struct quiesce *q); /* under the gate */

/* loop.c only */
static inline void quiesce_turn(struct worker *w) { atomic_fetch_add_explicit(&w->turns, 1, memory_order_acq_rel); }

#endif
