/* test_bench_compare.c: units of bench/compare.c and compare_table.c: how often equal runs are called changed, which differences are found, and what is left open. */
#include "bench/result.h"
#include "base/mem.h"
#include "test_bench_draw.h"
#include "test_base.h"

#define RUNS_MAX 6
static struct result *runs[RUNS_MAX];

static int begin(void **state)
{
    (void)state;
    for (int i = 0; i < RUNS_MAX; i++) {
        runs[i] = mem_alloc(sizeof *runs[i]);
        assert_non_null(runs[i]);
    }
    seed = 42;
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (int i = 0; i < RUNS_MAX; i++)
        mem_free(runs[i]);
    return 0;
}

/* What a synthetic server does. */
struct server {
    double median_ms, spread; /* log-normal */
    double rate, failures;
    double wander;            /* of the median from second to second, as a share of it; each second keeps 0.5 of what the last one had */
    double tokens;
};
static const struct server usual = { .median_ms = 100, .spread = 0.5, .rate = 100, .wander = 0, .failures = 0.02, .tokens = 20 };

/* A run of that server, through the tally like any other. Poisson arrivals. */
static void run(struct result *r, const struct server *s, unsigned seconds)
{
    static struct tally t;
    struct load_plan plan = { .is_open = true, .pace = { .phase_count = 1, .phases = { { seconds * NANOS_PER_S, s->rate, s->rate } } } };
    const struct slo slo = { 0 };
    double at = 0, drift = 0;
    nanos second = 0;
    assert_int_equal(tally_init(&t, 0, seconds * NANOS_PER_S), OK);
    for (;;) {
        at += -log(draw()) / s->rate * 1e9;
        nanos now = (nanos)at;
        if (now >= seconds * NANOS_PER_S)
            break;
        for (; second < now / NANOS_PER_S; second++)
            drift = 0.5 * drift + s->wander * draw_normal();
        double ms = s->median_ms * exp(s->spread * draw_normal() + drift);
        struct sample x = { .intended = now - (nanos)(ms * 1e6), .sent = now, .started = now, .ended = now, .first_token = now - (nanos)(ms * 9e5), .status = 200, .tokens_out = (uint64_t)s->tokens };
        x.outcome = draw() < s->failures ? OUTCOME_CUT : OUTCOME_OK; /* by when they ended: what counts here is windows */
        tally_started(&t, x.started);
        tally_ended(&t, &x, &slo);
    }
    result_init(r);
    result_from_tally(r, &t, &plan, 1);
    r->invalid[0] = '\0';
    tally_fini(&t);
}

static struct comparison compare(const char *metric)
{
    struct comparison c;
    struct complaint why;
    const struct result *before = runs[0], *after = runs[1];
    if (!result_compare(&before, 1, &after, 1, text_of(metric), 7, &c, &why))
        fail_msg("%s: %s", metric, why.text);
    return c;
}

/* Of `pairs` of equal runs, how many times the interval did not hold 1, and how many times a change was said. */
static void count_false(const struct server *s, const char *metric, unsigned pairs, unsigned *out_missed, unsigned *out_changed)
{
    *out_missed = *out_changed = 0;
    for (unsigned i = 0; i < pairs; i++) {
        run(runs[0], s, 30);
        run(runs[1], s, 30);
        struct comparison c = compare(metric);
        *out_missed += !(c.low <= 1 && c.high >= 1);
        *out_changed += c.change == CHANGE_BETTER || c.change == CHANGE_WORSE;
    }
}

/* 200 pairs, 5 % of which chance may call different: 10, and 14 for luck. */
TEST(equal_runs_are_seldom_called_changed)
{
    static const char *const metrics[] = { "rate", "mean", "p50", "p95", "p99", "ttft.p50", "ttft.p95", "error_rate", "tokens_rate" };
    unsigned missed, changed;
    struct server slow = usual;
    slow.rate = 60;
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        count_false(&slow, metrics[i], 200, &missed, &changed);
        print_message("%s: %u of 200 intervals without 1, %u called changed\n", metrics[i], missed, changed);
        assert_in_range(changed, 0, 14);
    }
}

/* A server whose seconds differ and last into the next: requests are no independent samples there, and intervals that take them so would be too narrow. */
TEST(equal_runs_of_a_wandering_server_are_seldom_called_changed)
{
    static const char *const metrics[] = { "p50", "p95", "ttft.p50" };
    unsigned missed, changed;
    struct server wandering = usual;
    wandering.wander = 0.1;
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        count_false(&wandering, metrics[i], 200, &missed, &changed);
        print_message("%s: %u of 200 intervals without 1, %u called changed\n", metrics[i], missed, changed);
        assert_in_range(changed, 0, 24); /* 30 windows of which neighbours resemble each other are about 10 */
    }
}

TEST(a_shift_of_20_percent_is_found)
{
    static const char *const metrics[] = { "mean", "p50", "p95", "ttft.p50" };
    struct server slower = usual;
    slower.median_ms *= 1.2;
    unsigned found[ARRAY_LEN(metrics)] = { 0 };
    for (int i = 0; i < 20; i++) {
        run(runs[0], &usual, 30);
        run(runs[1], &slower, 30);
        for (size_t m = 0; m < ARRAY_LEN(metrics); m++) {
            struct comparison c = compare(metrics[m]);
            found[m] += c.change == CHANGE_WORSE;
            assert_true(c.change != CHANGE_BETTER && c.low <= c.ratio && c.ratio <= c.high);
        }
    }
    for (size_t m = 0; m < ARRAY_LEN(metrics); m++)
        if (found[m] < 19)
            fail_msg("%s: found %u times of 20", metrics[m], found[m]);
    struct server faster = usual;
    faster.rate *= 1.2;
    run(runs[0], &usual, 30);
    run(runs[1], &faster, 30);
    assert_int_equal(compare("rate").change, CHANGE_BETTER); /* more is better there */
    assert_int_equal(compare("tokens_rate").change, CHANGE_BETTER);
    faster.failures = 0.3;
    run(runs[1], &faster, 30);
    assert_int_equal(compare("error_rate").change, CHANGE_WORSE);
}

TEST(the_same_run_twice_is_not_changed)
{
    struct server exact = usual;
    exact.spread = 0.001;
    run(runs[0], &exact, 30);
    run(runs[1], &exact, 30);
    assert_int_equal(compare("p50").change, CHANGE_NONE);
    assert_int_equal(compare("mean").change, CHANGE_NONE);
    exact.median_ms *= 1.01; /* certain, and too small to matter */
    run(runs[1], &exact, 30);
    struct comparison c = compare("p50");
    assert_int_equal(c.change, CHANGE_NONE);
    assert_true(c.ratio > 1.005);
    exact.median_ms *= 1.03;
    run(runs[1], &exact, 30);
    assert_int_equal(compare("p50").change, CHANGE_WORSE);
}

TEST(too_few_windows_cannot_tell)
{
    struct server slower = usual;
    slower.median_ms *= 3;
    static const char *const metrics[] = { "p50", "rate", "ttft.p95", "error_rate" };
    run(runs[0], &usual, 30);
    run(runs[1], &slower, 9);
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        struct comparison c = compare(metrics[i]);
        assert_int_equal(c.change, CHANGE_UNKNOWN);
        assert_true(isnan(c.low) && isnan(c.high));
    }
    assert_true(compare("p50").ratio > 2.5); /* which is still told */
    run(runs[1], &slower, 12);
    assert_int_equal(compare("p50").change, CHANGE_WORSE);
}

TEST(none_and_none_are_equal_and_one_more_than_none_is_no_change)
{
    struct server sound = usual;
    sound.failures = 0;
    run(runs[0], &sound, 30);
    run(runs[1], &sound, 30);
    assert_int_equal(runs[0]->ok, runs[0]->requests);
    assert_int_equal(compare("error_rate").change, CHANGE_NONE);
    assert_true(compare("error_rate").ratio == 1);
    runs[1]->windows[3].error_share = 1.0 / runs[1]->windows[3].ended;
    runs[1]->ok--;
    assert_int_equal(compare("error_rate").change, CHANGE_UNKNOWN);
    struct server broken = usual;
    broken.failures = 0.1;
    run(runs[1], &broken, 30);
    assert_int_equal(compare("error_rate").change, CHANGE_WORSE);
}

TEST(none_of_many_is_no_better_than_none_of_few)
{
    struct server sound = usual;
    sound.failures = 0;
    run(runs[0], &sound, 60);
    run(runs[1], &sound, 20);
    struct comparison c = compare("error_rate");
    assert_true(fabs(c.ratio - 1) < 1e-9);
    assert_int_equal(c.change, CHANGE_NONE);
    runs[1]->windows[3].error_share = 1.0 / runs[1]->windows[3].ended;
    runs[1]->ok--;
    assert_true(fabs(compare("error_rate").ratio - 3) < 0.01); /* one and a half against a half, of the same number */
}

TEST(a_seed_is_a_result)
{
    struct comparison a, b, other;
    struct complaint why;
    const struct result *before = runs[0], *after = runs[1];
    run(runs[0], &usual, 30);
    run(runs[1], &usual, 30);
    assert_true(result_compare(&before, 1, &after, 1, TEXT("p95"), 1, &a, &why));
    assert_true(result_compare(&before, 1, &after, 1, TEXT("p95"), 1, &b, &why));
    assert_true(result_compare(&before, 1, &after, 1, TEXT("p95"), 2, &other, &why));
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.low != other.low && fabs(a.low - other.low) < 0.02);
}

/* Runs of one side that differ by 10 % from start to start: one pair calls that a change, three runs a side know better. */
TEST(several_runs_tell_how_much_a_start_changes)
{
    unsigned changed = 0;
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < RUNS_MAX; k++) {
            struct server started = usual;
            started.median_ms *= exp(0.1 * draw_normal());
            run(runs[k], &started, 20);
        }
        struct comparison c;
        struct complaint why;
        assert_true(result_compare((const struct result *const *)runs, 3, (const struct result *const *)runs + 3, 3, TEXT("p50"), 7, &c, &why));
        changed += c.change == CHANGE_BETTER || c.change == CHANGE_WORSE;
    }
    print_message("%u of 40 called changed\n", changed);
    assert_in_range(changed, 0, 8); /* three runs a side are few: 95 % is about 85 there */
}

TEST(what_cannot_be_compared_is_a_sentence)
{
    static const struct { const char *metric, *said; } rows[] = {
        { "p59x", "There is no metric" }, { "max", "\"max\" cannot be compared" }, { "requests", "cannot be compared" }, { "itl.p95", "\"itl.p95\" was not measured on both sides" },
    };
    struct comparison c;
    const struct result *before = runs[0], *after = runs[1];
    run(runs[0], &usual, 12);
    run(runs[1], &usual, 12);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct complaint why = { .text = "" };
        assert_false(result_compare(&before, 1, &after, 1, text_of(rows[i].metric), 7, &c, &why));
        if (strstr(why.text, rows[i].said) == NULL)
            fail_msg("%s: %s", rows[i].metric, why.text);
    }
}

/* ---- the table and its exit code ---- */

static struct compare_table table;

static int exit_of(double limit, char why[200])
{
    compare_all((const struct result *const *)runs, 1, (const struct result *const *)runs + 1, 1, 7, &table);
    return compare_exit(&table, limit, why);
}

TEST(a_regression_is_worse_for_certain_and_by_more_than_the_limit)
{
    char why[200];
    struct server slower = usual;
    run(runs[0], &usual, 60);
    run(runs[1], &usual, 60);
    assert_int_equal(exit_of(0.05, why), 0);
    assert_string_equal(why, "Nothing got worse by more than +5.0 % for certain.");
    slower.median_ms *= 1.2;
    run(runs[1], &slower, 60);
    assert_int_equal(exit_of(0.05, why), 1);
    assert_non_null(strstr(why, "p50 got worse by more than +5.0 %: +"));
    assert_int_equal(exit_of(0.40, why), 0);
    slower = usual;
    slower.rate /= 1.3; /* less is worse there */
    run(runs[1], &slower, 60);
    assert_int_equal(exit_of(0.05, why), 1);
    assert_non_null(strstr(why, "rate got worse"));
    run(runs[1], &slower, 5);
    assert_int_equal(exit_of(0.05, why), 0); /* cannot tell */
    snprintf(runs[0]->invalid, sizeof runs[0]->invalid, "busy");
    assert_int_equal(exit_of(0.05, why), 3);
    result_init(runs[0]);
    assert_int_equal(exit_of(0.05, why), 3);
    assert_string_equal(why, "Nothing could be compared.");
}

TEST(a_table_fits_100_columns)
{
    struct buf out;
    struct server slower = usual;
    slower.median_ms *= 10;
    slower.failures = 0.9;
    buf_init(&out, 1u << 20);
    run(runs[0], &usual, 30);
    run(runs[1], &slower, 30);
    compare_all((const struct result *const *)runs, 1, (const struct result *const *)runs + 1, 1, 7, &table);
    assert_int_equal(compare_text(&table, &out), OK);
    assert_int_equal(buf_add(&out, "", 1), OK);
    const char *text = buf_text(&out).at;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_in_range(strchr(line, '\n') - line, 10, 100);
    assert_non_null(strstr(text, "WORSE"));
    assert_null(strstr(text, "itl"));
    print_message("%s", text);
    buf_fini(&out);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(equal_runs_are_seldom_called_changed),
        ROW(equal_runs_of_a_wandering_server_are_seldom_called_changed),
        ROW(a_shift_of_20_percent_is_found),
        ROW(the_same_run_twice_is_not_changed),
        ROW(too_few_windows_cannot_tell),
        ROW(none_and_none_are_equal_and_one_more_than_none_is_no_change),
        ROW(none_of_many_is_no_better_than_none_of_few),
        ROW(a_seed_is_a_result),
        ROW(several_runs_tell_how_much_a_start_changes),
        ROW(what_cannot_be_compared_is_a_sentence),
        ROW(a_regression_is_worse_for_certain_and_by_more_than_the_limit),
        ROW(a_table_fits_100_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
