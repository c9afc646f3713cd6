/* result.h: a finished run as numbers that people and machines read: one row of a report. Made from a tally; JSON is its stored form, and reports, criteria, compare and
   find-max know nothing else. Spans are milliseconds as doubles, because that is how they are read; NAN: not measured. */
#ifndef WEIR_RESULT_H
#define WEIR_RESULT_H

#include "base/buf.h"
#include "bench/load.h"
#include "conf/conf.h"

/* Quantiles that are reported, and for each an interval that holds the true one 95 times of 100 (order statistics: Hahn and Meeker, Statistical Intervals, 5.2). */
#define RESULT_QUANTILES(Q) Q(p50, 0.5) Q(p75, 0.75) Q(p90, 0.9) Q(p95, 0.95) Q(p99, 0.99) Q(p999, 0.999)
enum result_quantile {
#define Q(name, q) RESULT_##name,
    RESULT_QUANTILES(Q)
#undef Q
    RESULT_QUANTILE_COUNT
};

struct result_spans {
    uint64_t count;
    double mean, stdev, least, most;
    double at[RESULT_QUANTILE_COUNT], low[RESULT_QUANTILE_COUNT], high[RESULT_QUANTILE_COUNT];
    unsigned spectrum_count; /* for the percentile spectrum: (share, ms) */
    struct { double share, ms; } spectrum[64];
};

struct result_error {
    char kind[24]; /* "http_503", "timeout" */
    uint64_t count;
};
#define RESULT_ERRORS_MAX 64

struct result_window {
    double at_s, rate, error_share, mean_ms, p50_ms, p95_ms, p99_ms, tokens_rate, server_cpu, server_rss_mb; /* NAN: not measured; server_cpu: cores kept busy */
    uint32_t in_flight, ended; /* ended: how many the rest is about */
    uint32_t outcomes[TALLY_OUTCOMES];
};

/* What a criterion said. */
struct result_verdict {
    char text[120];   /* "p95 < 200ms" */
    char measured[24]; /* the value as a person reads it: "187ms", "0.4 %", "not measured" */
    double value;     /* in the criterion's own unit: ms, a share, or a second; NAN: not measured */
    bool is_met;
};
#define RESULT_VERDICTS_MAX 64

/* One step of a search or of a scenario with several levels: the throughput against concurrency curve. */
struct result_level {
    double level;     /* users or requests a second meant */
    double rate, p50_ms, p99_ms, error_share;
    bool is_kept;     /* the criteria were met there */
};
#define RESULT_LEVELS_MAX 128

/* What only some scenarios measure, by its row of findings.def. */
enum finding {
#define FINDING(name, unit, smaller, what) FINDING_##name,
#include "bench/findings.def"
    FINDINGS
};
struct result_finding {
    char name[24];
    double value, low, high; /* in its row's unit; low and high: its 95 % interval, NAN where there is none */
};

struct result {
    char name[64], target[256], when[32], commit[64], machine[160]; /* when: ISO 8601, UTC */
    char invalid[200];     /* empty: the run counts */
    char knee[200];        /* a sentence: where throughput stops growing, or what else a scenario found; empty: nothing was looked for */
    double warmup_s, span_s; /* span_s: from the warm-up's end to the last whole answer */
    double intended_rate;    /* of an open loop, over the plan's measured part; NAN: users */
    double rate, ok_rate, good_rate, tokens_rate; /* a second; where answers take long, more than counts divided by span_s: see result.c */
    uint64_t requests, ok, tokens_in, tokens_out, bytes_in, bytes_out, missed, warmup;
    double cached_share;   /* of ok, as the answers say; NAN: none was ok */
    uint32_t in_flight_max;
    struct result_spans latency, service, ttft, itl, failed, lag;
    double generator_busy; /* share of its threads' time */
    double rss_mb, server_cpu; /* of the server, where its pid is known: the highest, and seconds used; NAN otherwise */
    unsigned error_count;
    struct result_error errors[RESULT_ERRORS_MAX];
    unsigned window_count;
    struct result_window windows[TALLY_WINDOWS_MAX];
    unsigned verdict_count;
    struct result_verdict verdicts[RESULT_VERDICTS_MAX];
    unsigned level_count;
    struct result_level levels[RESULT_LEVELS_MAX];
    unsigned finding_count;
    struct result_finding findings[FINDINGS];
};

/* Nothing measured yet: zeroes, and NAN where that means so. r is large: never on a stack. */
void result_init(struct result *r);
/* Everything that follows from a tally; names, machine and the server's numbers are the caller's to fill in before. */
void result_from_tally(struct result *r, const struct tally *t, const struct load_plan *plan, unsigned worker_count);
/* "met", "missed" or "invalid"; exit codes 0, 1, 3. Of several runs: the worst. */
const char *result_verdict(const struct result *r);
int result_exit(const struct result *r);
int result_exit_all(const struct result *const *runs, unsigned count);
/* value NAN: it could not be measured. Once a run. */
void result_add_finding(struct result *r, enum finding id, double value, double low, double high);
const struct result_finding *result_finding(const struct result *r, enum finding id); /* of NANs when it was not looked for */

/* ---- stored form ---- */
MUSTUSE enum fail result_write_json(const struct result *r, struct buf *out);
/* False with a sentence in why; r is then undefined. */
MUSTUSE bool result_read_json(struct result *r, struct text json, struct complaint *why);
/* Several runs in one file: {"weir_bench": 1, "verdict": …, "runs": […]}. */
MUSTUSE enum fail result_write_runs(const struct result *const *runs, unsigned count, struct buf *out);
#define RESULT_RUNS_MAX 64 /* of one file: some 20 MiB */
/* Of either form. runs: room for RESULT_RUNS_MAX, each to be freed with mem_free. False with a sentence; nothing is to be freed then. */
MUSTUSE bool result_read_runs(struct result **runs, unsigned *out_count, struct text json, struct complaint *why);

/* ---- criteria ---- */

/* "p95 < 200ms", "ttft_p99 <= 2s", "error_rate < 1%", "rate >= 100", and Azure's "avg(response_time) < 2000", "percentage(errors) < 5", "max(response_time) < 10000". */
struct criterion {
    char text[120];
    int metric;  /* criteria.c's own */
    int relation;
    double bound; /* ms, share or a second, as the metric has it */
};
/* False with a sentence naming the nearest metric in why. */
MUSTUSE bool criterion_parse(struct criterion *c, struct text text, struct complaint *why);
/* Artillery's ensure words: "p95" and "200", "http.response_time.p95" and "200" (less than), "maxErrorRate" and "1" (percent at most). */
MUSTUSE bool criterion_from_pair(struct criterion *c, struct text word, struct text bound, struct complaint *why);
/* Adds a verdict for each to r, while there is room. A metric that was not measured is missed. */
void criteria_judge(const struct criterion *c, unsigned count, struct result *r);

/* ---- comparing ---- */

#define COMPARE_SMALLEST 0.02 /* a difference of less than 2 % matters to nobody, and two builds of one source can have it */

enum change { CHANGE_NONE, CHANGE_BETTER, CHANGE_WORSE, CHANGE_UNKNOWN };
struct comparison {
    double before, after, ratio, low, high; /* of after/before, and its 95 % interval by bootstrap over windows; NAN: too little was measured for one */
    enum change change; /* NONE: all of the interval is within COMPARE_SMALLEST; BETTER, WORSE: it does not hold 1, and ratio is farther than that; else UNKNOWN */
};
/* metric: a name that criteria know. What the interval is made from stands in compare.c. seed: the same, the same. False with a sentence: no such metric, it was
   not measured on both sides, or it cannot be compared; or no memory. */
MUSTUSE bool result_compare(const struct result *const *before, unsigned before_count, const struct result *const *after, unsigned after_count, struct text metric,
                            uint64_t seed, struct comparison *out, struct complaint *why);

#define COMPARE_ROWS_MAX 16
struct compare_table {
    bool is_invalid; /* one of the runs is */
    unsigned count;
    struct { const char *metric; bool counts; struct comparison c; } rows[COMPARE_ROWS_MAX];
};
/* The main metrics (COMPARED in metrics.def) that both sides have. */
void compare_all(const struct result *const *before, unsigned before_count, const struct result *const *after, unsigned after_count, uint64_t seed,
                 struct compare_table *out);
MUSTUSE enum fail compare_text(const struct compare_table *t, struct buf *out);
/* The exit code of --fail-on-regression, and why as a sentence: 1 when a metric that counts is worse for certain and by more than limit (0.05: 5 %), 3 when a run is
   invalid or nothing that counts could be compared, else 0. What cannot be told is no regression. */
int compare_exit(const struct compare_table *t, double limit, char why[200]);

#endif
