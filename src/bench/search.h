/* search.h: find-max: the highest load that a server holds. Decides which level to try next and knows nothing of how it is tried; cli/bench.c runs the levels.

   state      what happens                                                             goes to
   DOUBLING   a level was held: twice as much, up to the most that was allowed         over (NEVER_FAILED), or BISECTING at the first that was not held
   HALVING    the first level was not held, though something was good: half as much    BISECTING at the first that is held, or over (FAILED_AT_ONCE)
   BISECTING  the middle between the highest held and the lowest not held              over (FOUND) when they are as near as asked for */
#ifndef WEIR_SEARCH_H
#define WEIR_SEARCH_H

#include "bench/result.h"

#define SEARCH_STEPS_MAX 64 /* runs: 20 doublings, 6 bisections, each twice when in doubt, and air */

/* Users by themselves never fail a server that is merely slow, so there the end of growth is looked for too: the fewest users that bring its highest throughput. */
struct search_plan {
    double first, most; /* levels: requests a second, or users; 0 < first <= most */
    double resolution;  /* 0.02: until what is held and what is not are 2 % apart */
    double good_share;  /* of requests that have to be good for a level to be held: 0.99 */
    bool is_open;       /* levels are requests a second; else users, which are whole */
};

/* What a run at a level said. */
struct search_outcome {
    uint64_t requests, good;
    double ok_rate, p50_ms, p99_ms, error_share;
};

enum search_state { SEARCH_DOUBLING, SEARCH_HALVING, SEARCH_BISECTING, SEARCH_FOUND, SEARCH_FAILED_AT_ONCE, SEARCH_NEVER_FAILED, SEARCH_OUT_OF_STEPS };

struct search {
    struct search_plan plan;
    enum search_state state;
    double level;               /* to try next */
    double held, not_held;      /* the highest and the lowest; 0: none yet */
    unsigned steps, tries;      /* runs; of this level */
    uint64_t requests, good;    /* of this level */
    double peak;                /* users: the throughput that more of them did not raise; 0: it always grew */
    bool is_saturated;          /* not_held is where throughput has reached what it can, and answers are good */
    double share, share_low, share_high, rate; /* at not_held: the share of good ones with its Wilson interval, and what came */
    unsigned level_count;
    struct result_level levels[SEARCH_STEPS_MAX]; /* in the order they were tried */
};

void search_begin(struct search *s, const struct search_plan *plan);
/* False: it is over. */
bool search_next(const struct search *s, double *out_level);
void search_told(struct search *s, const struct search_outcome *o);
/* What was found and why it is the limit. */
void search_print(const struct search *s, char out[200]);

/* The 95 % interval of a share (Wilson 1927): honest for shares near 0 and 1, where the textbook's is not. */
void search_wilson(uint64_t good, uint64_t requests, double *out_low, double *out_high);
/* The lowest level with nearly the highest rate: more load than there brings only waiting. NULL: less than three levels, or throughput still grows. In any order. */
const struct result_level *search_bend(const struct result_level *levels, unsigned count);
/* The same as a sentence; empty for less than three levels. unit: "users" or "requests a second". */
void search_knee(const struct result_level *levels, unsigned count, const char *unit, char out[200]);

#endif
