/* report.h: the forms that results of a load test take for people and other programs: text, CSV, JUnit, HTML; result.h has JSON. cli/bench_report.c calls them. */
#ifndef WEIR_REPORT_H
#define WEIR_REPORT_H

#include "bench/result.h"

MUSTUSE enum fail report_csv(const struct result *const *runs, unsigned count, struct buf *out);
MUSTUSE enum fail report_junit(const struct result *const *runs, unsigned count, struct buf *out);
/* One self-contained file, runs of one report side by side. */
MUSTUSE enum fail report_html(const struct result *const *runs, unsigned count, struct buf *out);
MUSTUSE enum fail report_text(const struct result *r, struct buf *out); /* for a person at a terminal, at most 100 columns */
/* Runs of one test as a table: its head, a line a run as it ends, and at last what was found and missed. */
MUSTUSE enum fail report_text_head(struct buf *out);
MUSTUSE enum fail report_text_run(const struct result *r, struct buf *out);
MUSTUSE enum fail report_text_end(const struct result *const *runs, unsigned count, struct buf *out);

#endif
