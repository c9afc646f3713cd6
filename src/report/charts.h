/* charts.h: which charts a report has. html.c calls it. */
#ifndef WEIR_REPORT_CHARTS_H
#define WEIR_REPORT_CHARTS_H

#include "bench/markup.h"
#include "bench/result.h"

/* All charts of a run for which something was measured. */
void report_charts(struct markup *m, const struct result *r);
/* The latency of several runs in one picture: of the first CHART_COLOURS of them. */
void report_charts_together(struct markup *m, const struct result *const *runs, unsigned count);

#endif
