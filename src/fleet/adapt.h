/* adapt.h: concurrency control: how many requests one backend should have at once, found from how long its first tokens take. Used by slots.c inside the
   gate; it knows nothing of fleets, so that tests can try it on simulated backends.

   doing      what a window of answers says                      next
   doubling   every slot was in use, and nobody waits inside     twice the limit
              somebody waits inside, or is refused               as below, and following from now on
   following  every slot was in use, and nobody waits inside     an eighth more
              more than an eighth wait inside                    fewer by as many, at most by half
              more are refused than usual                        looking, then an eighth fewer
              24 windows in use went by                          looking, then as before
   looking    (half the limit for one window)                    what a first token takes there, and how many are refused, is what the others are held against */
#ifndef WEIR_ADAPT_H
#define WEIR_ADAPT_H

#include "base/base.h"

#define ADAPT_FIRST 4    /* where it begins: what a small server takes, and five doublings from a large one */
#define ADAPT_MAX   1024 /* four times the largest batch that vLLM makes unless told otherwise */

/* How one attempt went. */
struct adapt_sample {
    nanos began;        /* when its slot was taken */
    nanos first, whole; /* from then to its first token, and to its end */
    uint32_t in_flight; /* at its end, itself included */
    bool is_refused;    /* 429 or 503; first is then unknown */
};

/* Of one backend. All zero: off. */
struct adapt {
    uint32_t limit; /* 1 to ADAPT_MAX; 0 = off */
    uint32_t kept;  /* looking: the limit of before; else 0 */
    bool follows;   /* it has met its knee once */
    double unloaded;       /* nanoseconds to a first token where nobody waits inside; 0 = not known yet */
    double refusing;       /* share of attempts that are refused whatever the limit */
    uint32_t looks, since_look; /* how often it has looked; windows in use since then */

    nanos since;    /* the window: what began after this, under this limit */
    uint32_t answered, refused, full; /* full: those that found every slot taken */
    double first, squares, whole, in_flight; /* sums over the answered; squares of first */
};

void adapt_begin(struct adapt *a, nanos now);
/* Takes in an attempt. True: the limit is another one now. */
bool adapt_take(struct adapt *a, const struct adapt_sample *s, nanos now);

#endif
