/* metrics.c: finds a metric by its name and takes its value out of a result; see metrics.h. */
#include "bench/metrics.h"
#include <math.h>
#include <stdio.h>

struct row {
    const char *name, *words;
};

static const struct row spans[] = {
#define SPAN(member, name, words, what) { name, words },
#include "bench/metrics.def"
};
static const struct row takes[] = {
#define TAKE(id, name, words, value) { name, words },
#include "bench/metrics.def"
};
static const struct row numbers[] = {
#define NUMBER(id, name, words, unit, smaller, value, what) { name, words },
#include "bench/metrics.def"
};

/* A metric's number: takes of the first span, takes of the second, …, numbers. */
enum { SPAN_COUNT = ARRAY_LEN(spans), TAKE_COUNT = ARRAY_LEN(takes), TAKEN_COUNT = SPAN_COUNT * TAKE_COUNT, METRICS = TAKEN_COUNT + ARRAY_LEN(numbers) };

enum number_id {
#define NUMBER(id, name, words, unit, smaller, value, what) NUMBER_##id,
#include "bench/metrics.def"
};
enum take_id {
#define TAKE(id, name, words, value) TAKE_##id,
#include "bench/metrics.def"
};

/* ---- names ---- */

static bool is_word_of(const struct row *row, struct text name)
{
    struct text word, rest = text_of(row->words);
    if (text_eq(name, text_of(row->name)))
        return true;
    while (rest.len > 0) {
        rest = text_cut(rest, ' ', &word);
        if (text_eq(name, word))
            return true;
    }
    return false;
}

static int find_row(const struct row *rows, int count, struct text name)
{
    for (int i = 0; i < count; i++)
        if (is_word_of(&rows[i], name))
            return i;
    return -1;
}

const char *metric_name(int metric, char out[24])
{
    ASSERT(metric >= 0 && metric < METRICS);
    if (metric >= TAKEN_COUNT)
        snprintf(out, 24, "%s", numbers[metric - TAKEN_COUNT].name);
    else if (metric < TAKE_COUNT)
        snprintf(out, 24, "%s", takes[metric].name);
    else
        snprintf(out, 24, "%s.%s", spans[metric / TAKE_COUNT].name, takes[metric % TAKE_COUNT].name);
    return out;
}

static int complain_unknown(struct text name, struct text meant, struct complaint *why)
{
    char word[24];
    int nearest = -1;
    unsigned least = 2 + (unsigned)meant.len / 4; /* as near as text_nearest wants it */
    for (int i = 0; i < METRICS; i++) {
        unsigned distance = text_distance(meant, text_of(metric_name(i, word)));
        if (distance < least) {
            least = distance;
            nearest = i;
        }
    }
    if (nearest >= 0)
        (void)complain(why, NULL, 0, 0, "There is no metric \"%.*s\"; did you mean \"%s\"?", TEXT_ARG(name), metric_name(nearest, word));
    else
        (void)complain(why, NULL, 0, 0, "There is no metric \"%.*s\". There are p95, ttft.p99, itl.mean, error_rate, rate, and others like them.", TEXT_ARG(name));
    return -1;
}

/* "max(response_time)": what is meant is latency.max. */
static int find_call(struct text name, struct text inner, struct text take, struct complaint *why)
{
    inner = text_trim((struct text){ inner.at, inner.len - 1 });
    int s = find_row(spans, SPAN_COUNT, inner), t = find_row(takes, TAKE_COUNT, take);
    if (s >= 0 && t >= 0)
        return s * TAKE_COUNT + t;
    char meant[64];
    snprintf(meant, sizeof meant, "%.*s%s%.*s", s == 0 ? 0 : (int)MIN(inner.len, 24u), inner.at, s == 0 ? "" : ".", (int)MIN(take.len, 24u), take.at);
    return complain_unknown(name, text_of(meant), why);
}

/* "ttft.p99", "ttft_p99", "p99"; -1. */
static int find_taken(struct text name)
{
    int alone = find_row(takes, TAKE_COUNT, name);
    for (size_t i = 1; alone < 0 && i + 1 < name.len; i++)
        if (name.at[i] == '.' || name.at[i] == '_') {
            int s = find_row(spans, SPAN_COUNT, (struct text){ name.at, i });
            int t = find_row(takes, TAKE_COUNT, (struct text){ name.at + i + 1, name.len - i - 1 });
            if (s >= 0 && t >= 0)
                return s * TAKE_COUNT + t;
        }
    return alone;
}

int metric_find(struct text name, struct complaint *why)
{
    struct text take, plain = name;
    if (text_starts(plain, TEXT("http."))) /* as Artillery has it */
        plain = (struct text){ plain.at + 5, plain.len - 5 };
    int n = find_row(numbers, ARRAY_LEN(numbers), plain), taken = find_taken(plain);
    if (n >= 0)
        return TAKEN_COUNT + n;
    if (taken >= 0)
        return taken;
    struct text inner = text_cut(plain, '(', &take);
    if (text_ends(inner, TEXT(")")))
        return find_call(name, inner, take, why);
    return complain_unknown(name, plain, why);
}

/* ---- values ---- */

static double share_of(const struct result *r, uint64_t count)
{
    return r->requests == 0 ? NAN : (double)count / (double)r->requests;
}

static double number_value(enum number_id id, const struct result *r)
{
    switch (id) {
#define NUMBER(id, name, words, unit, smaller, value, what) \
    case NUMBER_##id: return value;
#include "bench/metrics.def"
    }
    return NAN;
}

static double take_value(enum take_id id, const struct result_spans *s)
{
    switch (id) {
#define TAKE(id, name, words, value) \
    case TAKE_##id: return value;
#include "bench/metrics.def"
    }
    return NAN;
}

static const struct result_spans *spans_of(int metric, const struct result *r)
{
    const struct result_spans *const all[] = {
#define SPAN(member, name, words, what) &r->member,
#include "bench/metrics.def"
    };
    return all[metric / TAKE_COUNT];
}

double metric_value(int metric, const struct result *r)
{
    ASSERT(metric >= 0 && metric < METRICS);
    if (metric < TAKEN_COUNT)
        return take_value((enum take_id)(metric % TAKE_COUNT), spans_of(metric, r));
    return r->requests > 0 ? number_value((enum number_id)(metric - TAKEN_COUNT), r) : NAN; /* a run in which nothing happened has no rate of errors */
}

const struct result_spans *metric_spans(int metric, const struct result *r, double *out_q)
{
    static const double quantiles[] = {
#define Q(name, q) [TAKE_##name] = (q),
        RESULT_QUANTILES(Q)
#undef Q
    };
    int take = metric % TAKE_COUNT;
    if (metric >= TAKEN_COUNT || take > TAKE_p999)
        return NULL;
    *out_q = quantiles[take];
    return spans_of(metric, r);
}

/* ---- units ---- */

enum metric_unit metric_unit(int metric)
{
    static const enum metric_unit units[] = {
#define NUMBER(id, name, words, unit, smaller, value, what) METRIC_##unit,
#include "bench/metrics.def"
    };
    return metric < TAKEN_COUNT ? METRIC_MS : units[metric - TAKEN_COUNT];
}

bool metric_wants_less(int metric)
{
    static const bool smaller[] = {
#define NUMBER(id, name, words, unit, is_smaller, value, what) is_smaller,
#include "bench/metrics.def"
    };
    return metric < TAKEN_COUNT || smaller[metric - TAKEN_COUNT];
}

const char *metric_print(int metric, double value, char out[FIGURE_MAX])
{
    static const enum figure_unit figures[] = {
        [METRIC_MS] = FIGURE_MS, [METRIC_SHARE] = FIGURE_SHARE, [METRIC_RATE] = FIGURE_RATE, [METRIC_COUNT] = FIGURE_COUNT, [METRIC_MB] = FIGURE_MB,
    };
    if (isfinite(value))
        return figure_print(out, value, figures[metric_unit(metric)]);
    snprintf(out, FIGURE_MAX, "not measured");
    return out;
}
