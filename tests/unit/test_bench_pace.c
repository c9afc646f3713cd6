/* test_bench_pace.c: units of bench/pace.h: how many arrivals a plan has, where they fall, and that chance keeps to its law. */
#include "bench/pace.h"
#include "test_base.h"
#include <math.h>

#define S NANOS_PER_S

static struct pace_plan plan_of(enum pace_kind kind, unsigned count, const struct pace_phase *phases)
{
    struct pace_plan p = { .kind = kind, .cv = 1, .seed = 7, .phase_count = count };
    memcpy(p.phases, phases, count * sizeof *phases);
    return p;
}

/* Draws all: their number; into at[] as far as there is room. */
static uint64_t draw(const struct pace_plan *plan, nanos *at, uint64_t room)
{
    struct pace p;
    nanos last = 0;
    pace_begin(&p, plan);
    for (uint64_t n = 0;; n++) {
        nanos now = pace_next(&p);
        if (now == NEVER)
            return n;
        assert_true(now >= last && now < pace_span(plan));
        last = now;
        if (n < room)
            at[n] = now;
    }
}

TEST(a_constant_rate_has_equal_gaps_and_exactly_its_number)
{
    struct pace_plan p = plan_of(PACE_CONSTANT, 1, (struct pace_phase[]){ { 10 * S, 20, 20 } });
    nanos at[200];
    assert_int_equal(draw(&p, at, 200), 200);
    assert_int_equal(at[0], 25 * NANOS_PER_MS);
    for (unsigned i = 1; i < 200; i++)
        assert_in_range(at[i] - at[i - 1], 50 * NANOS_PER_MS - 2, 50 * NANOS_PER_MS + 2);
}

/* The k-th arrival of a rate that grows from 0 to 10 in 10 s is where t^2 / 2 is k - 1/2. */
TEST(a_ramp_is_inverted_exactly)
{
    struct pace_plan p = plan_of(PACE_CONSTANT, 1, (struct pace_phase[]){ { 10 * S, 0, 10 } });
    nanos at[50];
    assert_int_equal(draw(&p, at, 50), 50);
    for (unsigned k = 0; k < 50; k++)
        assert_true(fabs((double)at[k] / S - sqrt(2 * (k + 0.5))) < 1e-8);
}

TEST(ramps_up_and_down_and_flat_parts_add_up)
{
    struct pace_plan p = plan_of(PACE_CONSTANT, 4, (struct pace_phase[]){ { 10 * S, 0, 100 }, { 5 * S, 100, 100 }, { S, 7, 7 }, { 20 * S, 50, 0 } });
    static nanos at[1600];
    assert_int_equal(draw(&p, at, 1600), 500 + 500 + 7 + 500);
    assert_true(at[499] < 10 * S && at[500] >= 10 * S && at[999] < 15 * S && at[1000] >= 15 * S && at[1006] < 16 * S && at[1007] >= 16 * S);
    assert_true(fabs((double)(at[1506] - 16 * S) / S - (20 - sqrt(0.5 / 1.25))) < 1e-6); /* half a request is left: 1.25 x^2 = 0.5 */
}

TEST(nothing_arrives_while_the_rate_is_0)
{
    struct pace_plan p = plan_of(PACE_POISSON, 3, (struct pace_phase[]){ { S, 100, 100 }, { 5 * S, 0, 0 }, { S, 100, 100 } });
    static nanos at[400];
    uint64_t n = draw(&p, at, 400), before = 0;
    assert_in_range(n, 150, 250);
    for (uint64_t i = 0; i < n; i++) {
        assert_true(at[i] < S || at[i] >= 6 * S);
        before += at[i] < S;
    }
    assert_in_range(before, 60, 140);
    p = plan_of(PACE_CONSTANT, 1, (struct pace_phase[]){ { S, 0, 0 } });
    assert_int_equal(draw(&p, NULL, 0), 0);
}

/* Mean within 4 standard errors (cv / sqrt(n)) of 1; the coefficient of variation within 4 of its own, which for a gamma law of that cv is
   cv * sqrt((1/2 + (3/2 - 1) cv^2 + ... ) / n) and below cv * (1 + cv^2) / sqrt(n). */
static void check_gaps(enum pace_kind kind, double cv)
{
    enum { COUNT = 200000 };
    struct pace_plan p = plan_of(kind, 1, (struct pace_phase[]){ { 1000000 * S, 1, 1 } });
    struct pace r;
    double sum = 0, squares = 0, last = 0;
    p.cv = cv;
    pace_begin(&r, &p);
    for (unsigned i = 0; i < COUNT; i++) {
        double now = (double)pace_next(&r) / S, gap = now - last;
        last = now;
        sum += gap;
        squares += gap * gap;
    }
    double mean = sum / COUNT, measured = sqrt(squares / COUNT - mean * mean) / mean;
    assert_true(fabs(mean - 1) < 4 * cv / sqrt(COUNT));
    assert_true(fabs(measured - cv) < 4 * cv * (1 + cv * cv) / sqrt(COUNT));
}

TEST(poisson_gaps_have_mean_1_and_cv_1) { check_gaps(PACE_POISSON, 1); }

TEST(gamma_gaps_have_the_cv_that_was_stated)
{
    const double cvs[] = { 0.1, 0.5, 1, 2, 4 };
    for (unsigned i = 0; i < ARRAY_LEN(cvs); i++)
        check_gaps(PACE_GAMMA, cvs[i]);
}

/* In a ramp from 0 the share of arrivals before x of the span is x^2: a Poisson process seen through the other clock (Kolmogorov's bound at 0.1 %). */
TEST(poisson_arrivals_follow_the_ramp)
{
    enum { ROOM = 120000 };
    static nanos at[ROOM];
    struct pace_plan p = plan_of(PACE_POISSON, 1, (struct pace_phase[]){ { 1000 * S, 0, 200 } });
    uint64_t n = draw(&p, at, ROOM);
    double most = 0;
    assert_in_range(n, 100000 - 4 * 317, 100000 + 4 * 317);
    for (uint64_t i = 0; i < n; i++) {
        double x = (double)at[i] / (1000.0 * S);
        most = fmax(most, fabs(x * x - (double)i / (double)n));
    }
    assert_true(most < 1.95 / sqrt((double)n));
}

TEST(the_same_seed_is_the_same_arrivals_and_another_one_is_not)
{
    struct pace_plan p = plan_of(PACE_POISSON, 1, (struct pace_phase[]){ { 10 * S, 50, 50 } }), q = p;
    nanos a[300], b[300], c[300];
    q.seed = 8;
    assert_int_equal(draw(&p, a, 300), draw(&p, b, 300));
    assert_memory_equal(a, b, 300 * sizeof *a);
    draw(&q, c, 300);
    assert_memory_not_equal(a, c, 300 * sizeof *a);
}

/* Every worker draws all and starts each n-th: together they start each once, and count tells which one was drawn. */
TEST(workers_share_arrivals_by_their_number)
{
    struct pace_plan plan = plan_of(PACE_GAMMA, 1, (struct pace_phase[]){ { 10 * S, 20, 40 } });
    nanos all[400];
    uint64_t n = draw(&plan, all, 400), seen = 0;
    for (unsigned worker = 0; worker < 3; worker++) {
        struct pace p;
        pace_begin(&p, &plan);
        for (;;) {
            uint64_t number = p.count;
            nanos at = pace_next(&p);
            if (at == NEVER)
                break;
            if (number % 3 == worker) {
                assert_int_equal(at, all[number]);
                seen++;
            }
        }
    }
    assert_int_equal(seen, n);
}

TEST(a_trace_is_played_at_its_speed_until_the_plan_ends)
{
    const nanos moments[] = { 0, S, S, 3 * S, 9 * S };
    struct pace_plan p = plan_of(PACE_MOMENTS, 1, (struct pace_phase[]){ { 4 * S, 1, 1 } });
    nanos at[5];
    p.moments = moments;
    p.moment_count = 5;
    assert_int_equal(draw(&p, at, 5), 4);
    assert_int_equal(at[3], 3 * S);
    p.speed = 3;
    assert_int_equal(draw(&p, at, 5), 5);
    assert_int_equal(at[4], 3 * S);
}

TEST(levels_span_and_peak)
{
    struct pace_plan p = plan_of(PACE_CONSTANT, 3, (struct pace_phase[]){ { 10 * S, 0, 100 }, { S, 500, 500 }, { 10 * S, 100, 20 } });
    assert_int_equal(pace_span(&p), 21 * S);
    assert_true(pace_peak(&p) == 500);
    assert_true(pace_level(&p, 0) == 0 && pace_level(&p, 5 * S) == 50 && pace_level(&p, 10 * S) == 500 && pace_level(&p, 16 * S) == 60);
    assert_true(pace_level(&p, 21 * S) == 0 && pace_level(&p, -1) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_rate_has_equal_gaps_and_exactly_its_number),
        cmocka_unit_test(a_ramp_is_inverted_exactly),
        cmocka_unit_test(ramps_up_and_down_and_flat_parts_add_up),
        cmocka_unit_test(nothing_arrives_while_the_rate_is_0),
        cmocka_unit_test(poisson_gaps_have_mean_1_and_cv_1),
        cmocka_unit_test(gamma_gaps_have_the_cv_that_was_stated),
        cmocka_unit_test(poisson_arrivals_follow_the_ramp),
        cmocka_unit_test(the_same_seed_is_the_same_arrivals_and_another_one_is_not),
        cmocka_unit_test(workers_share_arrivals_by_their_number),
        cmocka_unit_test(a_trace_is_played_at_its_speed_until_the_plan_ends),
        cmocka_unit_test(levels_span_and_peak),
    };
    return cmocka_run_group_tests_name("bench_pace", tests, NULL, NULL);
}
