/* bench_live.h: shows a load test while it runs, on stderr: a block that is drawn again in place on a terminal, else a line now and then. cli/bench.c calls it. */
#ifndef WEIR_BENCH_LIVE_H
#define WEIR_BENCH_LIVE_H

#include "report/live.h"

struct bench_live {
    struct live_view view;
    bool is_terminal;
    nanos next;           /* no terminal: when the next line is due, since the start */
    unsigned lines;       /* of the block that stands there now */
    unsigned widths[LIVE_LINES_MAX];
};

/* What to draw on: stderr, its TERM, NO_COLOR and the locale's encoding. target is the caller's and outlives l. */
void bench_live_init(struct bench_live *l, nanos span, const char *target);
/* load_run's `each`, about once a second; arg is the struct bench_live. */
void bench_live(const struct tally *so_far, nanos elapsed, void *arg);
/* Takes the block off the screen; also after an interrupted test. Nothing else needs to be put right: neither cursor nor screen were changed. */
void bench_live_end(struct bench_live *l);

#endif
