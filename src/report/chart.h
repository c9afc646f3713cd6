/* chart.h: line charts and dots as SVG inside HTML, without a script: colours are classes that the page's style gives, tooltips are <title>s.
   charts.c says which. */
#ifndef WEIR_CHART_H
#define WEIR_CHART_H

#include "bench/figure.h"
#include "bench/markup.h"

enum chart_scale {
    CHART_LINEAR, /* from 0 */
    CHART_LOG,
    CHART_FITTING, /* LOG where the largest value is so much more than the smallest that a line near 0 would say nothing */
    CHART_NINES,  /* of shares: 90 %, 99 % and 99.9 % are equally far apart */
};

struct chart_axis {
    const char *name; /* "" for none; y: told by the title */
    enum figure_unit unit;
    enum chart_scale scale;
};

enum chart_mark {
    CHART_LINE,
    CHART_DOTS,
    CHART_RINGS,
    CHART_BANDS, /* wherever y is above 0, over the whole height: y is told, not drawn */
};

/* Rows are the caller's, in rising order of x. NAN is a gap. */
struct chart_series {
    const char *name; /* may come from outside */
    enum chart_mark mark;
    unsigned colour;  /* 1 .. CHART_COLOURS, as the page's style has them */
    const void *rows;
    size_t row_bytes;
    unsigned row_count;
    double (*x)(const void *row), (*y)(const void *row);
};
#define CHART_COLOURS 8
#define CHART_SERIES_MAX 10

struct chart {
    const char *title, *note; /* note: a sentence below, may come from outside; NULL: none */
    struct chart_axis x, y;
    unsigned series_count;
    struct chart_series series[CHART_SERIES_MAX];
    double mark;              /* a line at this x; NAN: none */
    const char *mark_name;
    double warmup;            /* what lies before this x is shaded; 0: nothing does */
};

/* A <figure>. Series without a value are left out; false, and nothing drawn, if none has one. */
bool chart_draw(struct markup *m, const struct chart *c);

#endif
