/* metrics.h: the names of what a result holds; rows of metrics.def. criteria.c and compare.c ask for them. */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include "bench/figure.h"
#include "bench/result.h"

enum metric_unit { METRIC_MS, METRIC_SHARE, METRIC_RATE, METRIC_COUNT, METRIC_MB };

/* The number of a metric from any of its names: "p95", "ttft.p99", "ttft_p99", "max(response_time)", "http.response_time.p95". -1 with a sentence naming the nearest. */
MUSTUSE int metric_find(struct text name, struct complaint *why);
double metric_value(int metric, const struct result *r); /* NAN: not measured */
enum metric_unit metric_unit(int metric);
bool metric_wants_less(int metric);
const char *metric_name(int metric, char out[24]); /* the one that weir itself uses */
/* "187 ms", "0.42 %", or "not measured". */
const char *metric_print(int metric, double value, char out[FIGURE_MAX]);
/* The spans a metric is taken of, and in *out_q which quantile (0: the mean). NULL: of none, or it is neither. */
const struct result_spans *metric_spans(int metric, const struct result *r, double *out_q);

#endif
