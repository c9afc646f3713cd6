/* compare_table.c: the main metrics of two sets of runs beside each other, and what --fail-on-regression makes of them. */
#include "bench/markup.h"
#include "bench/metrics.h"
#include <math.h>
#include <stdio.h>

static bool is_any_invalid(const struct result *const *runs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (runs[i]->invalid[0] != '\0')
            return true;
    return false;
}

void compare_all(const struct result *const *before, unsigned before_count, const struct result *const *after, unsigned after_count, uint64_t seed,
                 struct compare_table *out)
{
    static const struct { const char *metric; bool counts; } compared[] = {
#define COMPARED(name, counts) { name, counts },
#include "bench/metrics.def"
    };
    struct complaint why;
    _Static_assert(ARRAY_LEN(compared) <= COMPARE_ROWS_MAX, "room for all rows");
    out->is_invalid = is_any_invalid(before, before_count) || is_any_invalid(after, after_count);
    out->count = 0;
    for (size_t i = 0; i < ARRAY_LEN(compared); i++) {
        if (!result_compare(before, before_count, after, after_count, text_of(compared[i].metric), seed, &out->rows[out->count].c, &why))
            continue; /* one side has none */
        out->rows[out->count].metric = compared[i].metric;
        out->rows[out->count++].counts = compared[i].counts;
    }
}

static const char *change_print(double ratio, char out[24])
{
    if (!isfinite(ratio))
        snprintf(out, 24, "-");
    else if (ratio >= 3)
        snprintf(out, 24, "%.3g times", ratio);
    else
        snprintf(out, 24, "%+.1f %%", (ratio - 1) * 100);
    return out;
}

enum fail compare_text(const struct compare_table *t, struct buf *out)
{
    static const char *const words[] = { [CHANGE_NONE] = "not changed", [CHANGE_BETTER] = "better", [CHANGE_WORSE] = "WORSE", [CHANGE_UNKNOWN] = "cannot tell" };
    struct markup m = { .out = out };
    char before[FIGURE_MAX], after[FIGURE_MAX], change[24], low[24], high[24];
    struct complaint why;
    if (t->is_invalid)
        markup_put(&m, "INVALID: in one of these runs the generator was the limit.\n");
    markup_put(&m, "  %-12s %12s %12s %11s   %-24s\n", "", "before", "after", "change", "95 % of chance");
    for (unsigned i = 0; i < t->count; i++) {
        const struct comparison *c = &t->rows[i].c;
        int metric = metric_find(text_of(t->rows[i].metric), &why);
        bool has_interval = isfinite(c->low) && isfinite(c->high);
        markup_put(&m, "  %-12s %12s %12s %11s   ", t->rows[i].metric, metric_print(metric, c->before, before), metric_print(metric, c->after, after),
                   change_print(c->ratio, change));
        if (has_interval)
            markup_put(&m, "%10s to %-10s %s\n", change_print(c->low, low), change_print(c->high, high), words[c->change]);
        else
            markup_put(&m, "%-24s %s\n", "", words[c->change]);
    }
    return m.fail;
}

int compare_exit(const struct compare_table *t, double limit, char why[200])
{
    char change[24], bound[24];
    unsigned counted = 0;
    if (t->is_invalid) {
        snprintf(why, 200, "A run in which the generator was the limit cannot be compared.");
        return 3;
    }
    for (unsigned i = 0; i < t->count; i++) {
        const struct comparison *c = &t->rows[i].c;
        bool wants_less = metric_wants_less(metric_find(text_of(t->rows[i].metric), &(struct complaint){ .line = 0 }));
        counted += t->rows[i].counts;
        if (t->rows[i].counts && c->change == CHANGE_WORSE && (wants_less ? c->ratio > 1 + limit : c->ratio < 1 - limit)) {
            snprintf(why, 200, "%s got worse by more than %s: %s.", t->rows[i].metric, change_print(1 + limit, bound), change_print(c->ratio, change));
            return 1;
        }
    }
    snprintf(why, 200, counted > 0 ? "Nothing got worse by more than %s for certain." : "Nothing could be compared.", change_print(1 + limit, bound));
    return counted > 0 ? 0 : 3;
}
