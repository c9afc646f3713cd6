/* criteria.c: sentences such as "p95 < 200ms" and what a run says to them. Plans and the command line give them; the exit code comes from them. */
#include "bench/metrics.h"
#include <math.h>
#include <stdio.h>

enum relation { LESS, AT_MOST, MORE, AT_LEAST, EQUAL };
static const struct {
    const char *sign;
    enum relation relation;
} relations[] = { { "<=", AT_MOST }, { ">=", AT_LEAST }, { "==", EQUAL }, { "<", LESS }, { ">", MORE }, { "=", EQUAL } }; /* the longer ones first */

/* ---- reading ---- */

static bool is_bare(struct text bound)
{
    double value;
    return text_to_double(bound, &value);
}

/* Drops an ending that says the unit once more. */
static struct text without(struct text bound, struct text ending)
{
    return text_ends(bound, ending) ? text_trim((struct text){ bound.at, bound.len - ending.len }) : bound;
}

static bool read_ms(struct text bound, double *out)
{
    nanos span;
    if (text_to_double(bound, out))
        return true; /* a bare number is milliseconds, as in Azure's and Artillery's files */
    if (!text_to_nanos(bound, &span))
        return false;
    *out = (double)span / NANOS_PER_MS;
    return true;
}

/* A bare number is a share: 0.01. A bare 1 or 5 would be read as 1 or 5 % by one half of its readers, so it needs its sign. */
static bool read_share(struct text bound, bool is_percent, double *out)
{
    bool has_sign = text_ends(bound, TEXT("%"));
    if (!text_to_double(without(bound, TEXT("%")), out))
        return false;
    if (has_sign || is_percent)
        *out /= 100;
    return has_sign || is_percent || *out < 1;
}

static bool read_bound(struct criterion *c, struct text name, struct text bound, struct complaint *why)
{
    static const char *const examples[] = {
        [METRIC_MS] = "200ms or 2s", [METRIC_SHARE] = "1% or 0.01", [METRIC_RATE] = "100 (a second)", [METRIC_COUNT] = "100", [METRIC_MB] = "512 (megabytes)",
    };
    enum metric_unit unit = metric_unit(c->metric);
    bool ok = unit == METRIC_MS      ? read_ms(bound, &c->bound)
              : unit == METRIC_SHARE ? read_share(bound, text_starts(name, TEXT("percentage(")), &c->bound)
                                     : text_to_double(without(without(bound, TEXT("/s")), TEXT("MB")), &c->bound);
    return ok || complain(why, NULL, 0, 0, "\"%.*s\" is no bound for %.*s: write something like %s.", TEXT_ARG(bound), TEXT_ARG(name), examples[unit]);
}

/* Blanks may stand anywhere between words: "max( response_time )", "200 ms". */
static struct text squeeze(struct text t, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < t.len; i++)
        if (t.at[i] != ' ' && t.at[i] != '\t')
            out[len++] = t.at[i];
    return (struct text){ out, len };
}

bool criterion_parse(struct criterion *c, struct text text, struct complaint *why)
{
    struct criterion made = { .metric = -1 };
    char name_words[sizeof made.text], bound_words[sizeof made.text];
    text = text_trim(text);
    if (text.len >= sizeof made.text)
        return complain(why, NULL, 0, 0, "A criterion has at most %zu characters: \"%.*s…\"", sizeof made.text - 1, 40, text.at);
    snprintf(made.text, sizeof made.text, "%.*s", TEXT_ARG(text));
    for (size_t i = 0; i < ARRAY_LEN(relations); i++) {
        struct text sign = text_of(relations[i].sign);
        ptrdiff_t at = text_find(text, sign);
        if (at < 0)
            continue;
        struct text name = squeeze((struct text){ text.at, (size_t)at }, name_words);
        struct text bound = squeeze((struct text){ text.at + at + sign.len, text.len - (size_t)at - sign.len }, bound_words);
        made.relation = (int)relations[i].relation;
        made.metric = metric_find(name, why);
        if (made.metric < 0 || !read_bound(&made, name, bound, why))
            return false;
        *c = made;
        return true;
    }
    return complain(why, NULL, 0, 0, "\"%.*s\" is no criterion: write something like \"p95 < 200ms\" or \"error_rate < 1%%\".", TEXT_ARG(text));
}

bool criterion_from_pair(struct criterion *c, struct text word, struct text bound, struct complaint *why)
{
    char text[sizeof c->text];
    bool is_error_rate = text_eq(word, TEXT("maxErrorRate"));
    int len = is_error_rate ? snprintf(text, sizeof text, "error_rate <= %.*s%s", TEXT_ARG(bound), is_bare(bound) ? "%" : "")
                            : snprintf(text, sizeof text, "%.*s < %.*s", TEXT_ARG(word), TEXT_ARG(bound));
    if (len < 0 || (size_t)len >= sizeof text)
        return complain(why, NULL, 0, 0, "A criterion has at most %zu characters: \"%.*s…\"", sizeof text - 1, (int)MIN(word.len, 40u), word.at);
    return criterion_parse(c, text_of(text), why);
}

/* ---- judging ---- */

static bool holds(enum relation relation, double value, double bound)
{
    switch (relation) {
    case LESS: return value < bound;
    case AT_MOST: return value <= bound;
    case MORE: return value > bound;
    case AT_LEAST: return value >= bound;
    case EQUAL: return value == bound;
    }
    return false; /* NAN is none of them */
}

void criteria_judge(const struct criterion *c, unsigned count, struct result *r)
{
    char figure[FIGURE_MAX];
    for (unsigned i = 0; i < count && r->verdict_count < RESULT_VERDICTS_MAX; i++) {
        struct result_verdict *v = &r->verdicts[r->verdict_count++];
        v->value = metric_value(c[i].metric, r);
        v->is_met = holds((enum relation)c[i].relation, v->value, c[i].bound);
        snprintf(v->text, sizeof v->text, "%s", c[i].text);
        snprintf(v->measured, sizeof v->measured, "%.*s", (int)sizeof v->measured - 1, metric_print(c[i].metric, v->value, figure));
    }
}
