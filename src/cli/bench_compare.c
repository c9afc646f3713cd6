/* bench_compare.c: runs that were kept: `weir bench compare OLD NEW` says what changed, test by test, and whether that is more than chance; `weir bench report RUNS`
   shows them again. Called by bench.c. */
#include "bench/metrics.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <stdio.h>

#define TABLE_MAX (1u << 20) /* bytes that are printed: 64 tests of 12 lines have a tenth of it */
#define SEED      1          /* of the bootstrap: the same files, the same answer */

struct kept {
    struct result *runs[RESULT_RUNS_MAX];
    unsigned count;
};

/* Those of one name: a test that was run several times. */
static unsigned runs_named(const struct kept *k, const char *name, const struct result **out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < k->count; i++)
        if (strcmp(k->runs[i]->name, name) == 0)
            out[count++] = k->runs[i];
    return count;
}

static bool is_first_of_its_name(const struct kept *k, unsigned i)
{
    for (unsigned j = 0; j < i; j++)
        if (strcmp(k->runs[j]->name, k->runs[i]->name) == 0)
            return false;
    return true;
}

static void print_table(const struct compare_table *t, const char *name, unsigned before_count, unsigned after_count)
{
    struct buf out;
    buf_init(&out, TABLE_MAX);
    if (compare_text(t, &out) == OK)
        printf("%s  (runs: %u before, %u after)\n%.*s\n", name, before_count, after_count, TEXT_ARG(buf_text(&out)));
    buf_fini(&out);
}

static bool fill_table(const struct result *const *before, unsigned before_count, const struct result *const *after, unsigned after_count, const char *metric,
                       struct compare_table *t, struct complaint *why)
{
    compare_all(before, before_count, after, after_count, SEED, t);
    if (metric == NULL)
        return true;
    t->count = 1;
    t->rows[0].metric = metric;
    t->rows[0].counts = true;
    return result_compare(before, before_count, after, after_count, text_of(metric), SEED, &t->rows[0].c, why);
}

struct outcome {
    unsigned tests;
    int code;      /* the worst of all tests */
    char why[320]; /* of that one */
};

static bool compare_test(const struct kept *old, const struct kept *new, const char *name, const struct bench_words *w, double limit, struct outcome *o,
                         struct complaint *why)
{
    static const struct result *before[RESULT_RUNS_MAX], *after[RESULT_RUNS_MAX]; /* static: larger than a frame should be */
    static struct compare_table t;
    unsigned before_count = runs_named(old, name, before), after_count = runs_named(new, name, after);
    char sentence[200];
    if (before_count == 0)
        return true;
    if (!fill_table(before, before_count, after, after_count, w->metric, &t, why))
        return false;
    print_table(&t, name, before_count, after_count);
    int code = compare_exit(&t, limit, sentence);
    if (o->tests++ == 0 || code > o->code)
        snprintf(o->why, sizeof o->why, "%s: %s", name, sentence);
    o->code = MAX(o->code, code);
    return true;
}

static int compare_kept(const struct kept *old, const struct kept *new, const struct bench_words *w, double limit)
{
    struct complaint why;
    struct outcome o = { 0 };
    for (unsigned i = 0; i < new->count; i++)
        if (is_first_of_its_name(new, i) && !compare_test(old, new, new->runs[i]->name, w, limit, &o, &why))
            return bench_fail(&why, EXIT_USAGE);
    if (o.tests == 0) {
        (void)complain(&why, NULL, 0, 0, "these runs have no test in common: the first ones are \"%s\" and \"%s\"", old->count > 0 ? old->runs[0]->name : "",
                       new->count > 0 ? new->runs[0]->name : "");
        return bench_fail(&why, EXIT_USAGE);
    }
    printf("%s\n", o.why);
    return w->fail_on_regression != NULL ? o.code : EXIT_OK;
}

static void forget(struct kept *k)
{
    for (unsigned i = 0; i < k->count; i++)
        mem_free(k->runs[i]);
}

/* "5%" or "5": of what it was. */
static bool read_limit(const char *word, double *out, struct complaint *why)
{
    struct text t = text_of(word);
    if (text_ends(t, TEXT("%")))
        t.len--;
    return (text_to_double(t, out) && *out >= 0 && *out <= 1000) || complain(why, NULL, 0, 0, "--fail-on-regression must be a percentage such as 5%%, not \"%s\"", word);
}

static int compare(const struct bench_words *w, const char *old_name, const char *new_name)
{
    static struct kept old, new;
    struct complaint why = { 0 };
    double percent = 0;
    if ((w->fail_on_regression != NULL && !read_limit(w->fail_on_regression, &percent, &why)) || (w->metric != NULL && metric_find(text_of(w->metric), &why) < 0))
        return bench_fail(&why, EXIT_USAGE);
    int code = EXIT_USAGE;
    if (!bench_store_read(old_name, old.runs, &old.count, &why) || !bench_store_read(new_name, new.runs, &new.count, &why))
        (void)bench_fail(&why, code);
    else
        code = compare_kept(&old, &new, w, percent / 100);
    forget(&old);
    forget(&new);
    return code;
}

int bench_compare(struct bench_scene *s, const char *const *at, size_t count)
{
    int code;
    if (count != 2)
        return bench_refuse("compare needs two names or files: weir bench compare OLD NEW");
    return bench_allows("compare", " fail-on-regression metric ", &code) ? compare(s->words, at[0], at[1]) : code;
}

int bench_report(struct bench_scene *s, const char *const *at, size_t count)
{
    static struct kept kept;
    struct complaint why = { 0 };
    int code;
    if (count != 1)
        return bench_refuse("report needs a name or a file: weir bench report RUNS --html FILE");
    if (!bench_allows("report", " json csv html junit ", &code))
        return code;
    if (!bench_store_read(at[0], kept.runs, &kept.count, &why))
        return bench_fail(&why, EXIT_USAGE);
    const struct result *const *runs = (const struct result *const *)kept.runs;
    for (unsigned i = 0; i < kept.count; i++)
        bench_report_print_line(runs[i], i == 0);
    bench_report_print_end(runs, kept.count);
    bool is_ok = bench_report_write(runs, kept.count, s->words, &why);
    forget(&kept);
    return is_ok ? EXIT_OK : bench_fail(&why, EXIT_FAILED);
}
