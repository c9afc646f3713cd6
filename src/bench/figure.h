/* figure.h: measured numbers as people read them: three digits that count, and a unit. Reports, charts and the live view print with it. */
#ifndef WEIR_FIGURE_H
#define WEIR_FIGURE_H

#include "base/base.h"

enum figure_unit {
    FIGURE_COUNT, /* "1,234,567"; three digits when it is no whole number */
    FIGURE_MS,    /* milliseconds: "850 us", "12.3 ms", "1.24 s" */
    FIGURE_TIME,  /* seconds of a test: "30 s", "5 min", "2 h" */
    FIGURE_SHARE, /* "0.42 %"; neither "0 %" nor "100 %" unless it is so */
    FIGURE_RATE,  /* "1,234 /s" */
    FIGURE_MB,    /* "512 MB" */
    FIGURE_CORES, /* processors kept busy: "1.50 cores" */
};
#define FIGURE_MAX 40 /* bytes of the longest, with its end */

/* Into out, which is returned. NAN, and what is not finite, is "-": not measured. */
const char *figure_print(char out[FIGURE_MAX], double value, enum figure_unit unit);
/* The same without zeros that say nothing, and in thousands: "1 s", "0.5 ms", "15k /s"; cores without a unit. For the ticks of an axis, which have little room. */
const char *figure_print_short(char out[FIGURE_MAX], double value, enum figure_unit unit);

#endif
