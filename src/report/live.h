/* live.h: a load test under way, as text: what has been measured so far goes in, lines come out. No terminal here: cli/bench_live.c has it. */
#ifndef WEIR_LIVE_H
#define WEIR_LIVE_H

#include "base/buf.h"
#include "bench/tally.h"

#define LIVE_LINES_MAX   12
#define LIVE_COLUMNS_MIN 40 /* below, the numbers themselves do not fit */

struct live_view {
    const char *target;  /* in words; bytes that are no visible ASCII are shown as ? */
    nanos span;          /* of the whole test; 0: it has no end */
    unsigned columns;    /* at least LIVE_COLUMNS_MIN; no line is longer */
    bool is_coloured;    /* escape sequences for colours, and no others */
    bool is_utf8;        /* else sparklines of ASCII */
};

/* At most LIVE_LINES_MAX lines, each with its end: rate, in flight, percentiles of the last whole window and of all, errors by kind, time left. */
MUSTUSE enum fail live_block(const struct live_view *v, const struct tally *t, nanos elapsed, struct buf *out);
/* The same in one line, for logs. */
MUSTUSE enum fail live_line(const struct live_view *v, const struct tally *t, nanos elapsed, struct buf *out);

#endif
