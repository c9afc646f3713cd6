/* cache_storm.h: many tasks on two workers that find, put, hold, delete, and change the limits of one cache, each looking at what it finds. tests/storm runs it with real
   threads, tests/sim in the simulated world. */
#ifndef WEIR_TEST_CACHE_STORM_H
#define WEIR_TEST_CACHE_STORM_H

#include "both.h"

/* A story for both_run; see cache_storm.c for what it asserts. It prints what happened if it runs in the real world. */
void cache_storm(struct task *t, void *arg);
/* How often each thing has happened in all storms so far: a storm in which it does not proves nothing. */
struct cache_storm_counts {
    uint64_t found, missed, held, put, evicted, expired, dropped, replaced, resized, waited;
};
extern struct cache_storm_counts cache_storm_counts;

#endif
