/* test_bench_trend.c: units of bench/trend.h: the slope of noisy series, how often its interval holds the true one, and what a run's windows say of drift and memory. */
#include "bench/trend.h"
#include "base/mem.h"
#include "test_bench_draw.h"
#include "test_base.h"

#define POINTS 60

static double at[TALLY_WINDOWS_MAX], value[TALLY_WINDOWS_MAX];

static struct trend line(double begin, double slope, double noise, unsigned count)
{
    struct trend t;
    for (unsigned i = 0; i < count; i++) {
        at[i] = 10 + i;
        value[i] = begin + slope * i + noise * draw_normal();
    }
    assert_int_equal(trend_of(at, value, count, &t), OK);
    return t;
}

TEST(a_straight_line_is_found_as_it_is)
{
    struct trend t = line(5, 0.25, 0, POINTS);
    assert_true(fabs(t.slope - 0.25) < 1e-12 && fabs(t.low - 0.25) < 1e-12 && fabs(t.high - 0.25) < 1e-12);
    assert_true(fabs(t.begin - 5) < 1e-9);
    assert_int_equal(t.count, POINTS);
    t = line(7, 0, 0, POINTS);
    assert_true(t.slope == 0 && t.low == 0 && t.high == 0 && t.begin == 7);
}

/* 95 of 100: of 400 some 380; three deviations (4.4 each) less is what chance allows. */
TEST(the_interval_holds_the_true_slope_95_times_of_100)
{
    static const struct { double slope, noise; unsigned count; } rows[] = { { 0, 1, 10 }, { 0.1, 1, 60 }, { -0.01, 2, 200 } };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        unsigned held = 0;
        for (seed = 1000 * r; seed < 1000 * r + 400;) {
            uint64_t next = seed + 1;
            struct trend t = line(5, rows[r].slope, rows[r].noise, rows[r].count);
            held += t.low <= rows[r].slope && t.high >= rows[r].slope;
            seed = next;
        }
        print_message("%u points: held %u of 400\n", rows[r].count, held);
        assert_in_range(held, 366, 398);
    }
}

TEST(wild_points_and_missing_ones_move_nothing)
{
    struct trend t;
    seed = 7;
    (void)line(100, 0.5, 1, POINTS);
    for (unsigned i = 3; i < POINTS; i += 5)
        value[i] = 1e6 * draw();
    for (unsigned i = 0; i < POINTS; i += 9)
        value[i] = NAN;
    assert_int_equal(trend_of(at, value, POINTS, &t), OK);
    assert_true(fabs(t.slope - 0.5) < 0.1);
    assert_true(t.low > 0 && t.high < 1);
    assert_int_equal(t.count, POINTS - 7);
}

TEST(of_few_points_nothing_is_said)
{
    struct trend t = line(5, 1, 0, TREND_LEAST - 1);
    assert_true(isnan(t.slope) && isnan(t.low) && isnan(t.high) && isnan(t.begin));
    t = line(5, 1, 0, TREND_LEAST);
    assert_true(fabs(t.slope - 1) < 1e-12 && isfinite(t.low) && isfinite(t.high));
    assert_int_equal(trend_of(at, value, 0, &t), OK);
    assert_true(isnan(t.slope));
}

/* ---- a run ---- */

static struct result *r;

/* Ten seconds of warm-up that look nothing like the rest, then p50 and memory from one value to another. */
static void make_run(double ms_from, double ms_to, double mb_from, double mb_to)
{
    result_init(r);
    r->warmup_s = 10;
    r->span_s = 50;
    r->requests = r->ok = 5000;
    r->window_count = 61;
    for (unsigned i = 0; i < r->window_count; i++) {
        double way = i < 10 ? 0 : (i - 10.0) / 49;
        r->windows[i].at_s = i;
        r->windows[i].p50_ms = i < 10 ? 900 - 50.0 * i : i < 60 ? ms_from + (ms_to - ms_from) * way : 5000; /* the last one is not whole */
        r->windows[i].server_rss_mb = i < 10 ? 10.0 * i : mb_from + (mb_to - mb_from) * way;
        r->rss_mb = mb_from > 0 ? MAX(mb_from, mb_to) : NAN;
    }
}

TEST(drift_and_growth_are_shares_of_where_a_run_began)
{
    make_run(20, 30, 100, 110);
    assert_int_equal(trend_find(r), OK);
    assert_true(fabs(result_finding(r, FINDING_drift)->value - 0.5) < 1e-9);
    assert_true(fabs(result_finding(r, FINDING_drift)->low - 0.5) < 1e-9);
    assert_true(fabs(result_finding(r, FINDING_memory_growth)->value - 0.1) < 1e-9);
    make_run(20, 20, 0, 0);
    assert_int_equal(trend_find(r), OK);
    assert_true(result_finding(r, FINDING_drift)->value == 0);
    assert_int_equal(r->finding_count, 1); /* nobody measured memory */
}

TEST(findings_are_metrics_and_stand_in_files)
{
    struct criterion c;
    struct complaint why;
    struct buf out;
    static struct result back;
    make_run(20, 30, 0, 0);
    assert_int_equal(trend_find(r), OK);
    assert_true(criterion_parse(&c, TEXT("drift.low < 10%"), &why));
    criteria_judge(&c, 1, r);
    assert_false(r->verdicts[0].is_met);
    assert_string_equal(r->verdicts[0].measured, "50.0 %");
    assert_true(criterion_parse(&c, TEXT("recovery < 30s"), &why));
    criteria_judge(&c, 1, r);
    assert_false(r->verdicts[1].is_met); /* nobody looked for it */
    buf_init(&out, 1 << 20);
    assert_int_equal(result_write_json(r, &out), OK);
    assert_true(result_read_json(&back, buf_text(&out), &why));
    assert_true(result_finding(&back, FINDING_drift)->value == result_finding(r, FINDING_drift)->value);
    buf_fini(&out);
}

TEST(several_runs_come_back_from_one_file_and_one_from_its_own)
{
    struct buf out;
    struct complaint why;
    const struct result *both[] = { r, r };
    struct result *read[RESULT_RUNS_MAX];
    unsigned count = 99;
    int64_t alive = mem_alive();
    make_run(20, 30, 0, 0);
    snprintf(r->name, sizeof r->name, "quick");
    buf_init(&out, 1 << 20);
    assert_int_equal(result_write_runs(both, 2, &out), OK);
    assert_true(text_find(buf_text(&out), TEXT("\"verdict\": \"met\"")) >= 0);
    assert_true(result_read_runs(read, &count, buf_text(&out), &why));
    assert_int_equal(count, 2);
    assert_string_equal(read[1]->name, "quick");
    for (unsigned i = 0; i < count; i++)
        mem_free(read[i]);
    buf_clear(&out);
    assert_int_equal(result_write_json(r, &out), OK);
    assert_true(result_read_runs(read, &count, buf_text(&out), &why));
    assert_int_equal(count, 1);
    mem_free(read[0]);
    assert_false(result_read_runs(read, &count, TEXT("{\"weir_bench\": 1, \"runs\": [{\"weir_bench\": 1}, 3]}"), &why));
    assert_int_equal(count, 1);
    buf_fini(&out);
    assert_int_equal(mem_alive(), alive);
}

static int make_result(void **state)
{
    (void)state;
    r = mem_zero(sizeof *r);
    return r == NULL;
}

static int free_result(void **state)
{
    (void)state;
    mem_free(r);
    return 0;
}

#define ROW(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(a_straight_line_is_found_as_it_is),
        ROW(the_interval_holds_the_true_slope_95_times_of_100),
        ROW(wild_points_and_missing_ones_move_nothing),
        ROW(of_few_points_nothing_is_said),
        ROW(drift_and_growth_are_shares_of_where_a_run_began),
        ROW(findings_are_metrics_and_stand_in_files),
        ROW(several_runs_come_back_from_one_file_and_one_from_its_own),
    };
    return cmocka_run_group_tests(tests, make_result, free_result);
}
