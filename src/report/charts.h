/* charts.h: which charts a report has. html.c calls it. */
#ifndef WEIR_REPORT_CHARTS_H
#define WEIR_REPORT_CHARTS_H

#include "bench/markup.h"
#include "bench/result.h"

/* All charts of a run for which something was measured. with_levels: the curve over load too. */
void report_charts(struct markup *m, const struct result *r, bool with_levels);
/* Of several runs the one whose curve over load, and the sentence on it, is about all of them: no other has one. NULL: there is none. */
const struct result *report_of_all(const struct result *const *runs, unsigned count);
/* The latency of several runs in one picture, of the first CHART_COLOURS of them, and their curve over load. */
void report_charts_together(struct markup *m, const struct result *const *runs, unsigned count);

#endif
