/* test_bench_stretch.c: units of bench/stretch.h: what happened in a part of a test, and when a server was itself again. */
#include "bench/stretch.h"
#include "base/mem.h"
#include "test_base.h"
#include <math.h>

#define MS NANOS_PER_MS
#define S  NANOS_PER_S
#define T0 (1000 * S) /* clocks start anywhere */

static struct tally t;
static int64_t alive;
static const struct slo within_a_second = { .latency = S };

static int open_tally(void **state)
{
    (void)state;
    alive = mem_alive();
    return tally_init(&t, T0, 60 * S);
}

static int close_tally(void **state)
{
    (void)state;
    tally_fini(&t);
    return mem_alive() != alive;
}

/* `count` answers that end in a second of the test, evenly, each `took` long. */
static void second(unsigned at, unsigned count, nanos took, enum tally_outcome outcome)
{
    for (unsigned i = 0; i < count; i++) {
        nanos ended = T0 + at * S + (i + 1) * S / (count + 2);
        struct sample s = { .intended = ended - took, .started = ended - took, .sent = ended - took, .ended = ended, .outcome = outcome, .status = 200 };
        tally_started(&t, MAX(s.started, T0));
        tally_ended(&t, &s, &within_a_second);
    }
}

TEST(only_whole_windows_of_a_stretch_count)
{
    struct stretch s;
    for (unsigned i = 0; i < 10; i++)
        second(i, 100, i < 3 || i >= 7 ? 10 * MS : 50 * MS, OUTCOME_OK);
    assert_int_equal(stretch_measure(&t, 2500 * MS, 7500 * MS, &s), OK); /* 3 to 7 */
    assert_int_equal(s.ended, 400);
    assert_true(fabs(s.rate - 100) < 1e-9 && fabs(s.ok_rate - 100) < 1e-9);
    assert_true(fabs(s.p50_ms - 50) < 0.5 && fabs(s.p95_ms - 50) < 0.5);
    assert_true(s.error_share == 0);
    assert_int_equal(stretch_measure(&t, 0, 10 * S, &s), OK);
    assert_int_equal(s.ended, 1000);
    assert_true(fabs(s.p50_ms - 10) < 0.2 && fabs(s.p95_ms - 50) < 0.5);
}

TEST(failures_and_late_answers_are_told_apart)
{
    struct stretch s;
    second(1, 60, 10 * MS, OUTCOME_OK);
    second(1, 30, 2 * S, OUTCOME_OK); /* late */
    second(1, 10, 10 * MS, OUTCOME_STATUS);
    assert_int_equal(stretch_measure(&t, S, 2 * S, &s), OK);
    assert_true(fabs(s.rate - 100) < 1e-9 && fabs(s.ok_rate - 90) < 1e-9 && fabs(s.good_rate - 60) < 1e-9);
    assert_true(fabs(s.error_share - 0.1) < 1e-9);
}

TEST(where_nothing_is_nothing_is_measured)
{
    struct stretch s;
    second(1, 10, 10 * MS, OUTCOME_OK);
    assert_int_equal(stretch_measure(&t, 1200 * MS, 1900 * MS, &s), OK); /* no whole window */
    assert_true(isnan(s.rate) && isnan(s.p95_ms) && isnan(s.error_share));
    assert_int_equal(stretch_measure(&t, 20 * S, 30 * S, &s), OK); /* after the last window */
    assert_true(isnan(s.rate));
}

/* A spike from 5 to 10; p95 of 10 ms before it; afterwards what each row says, a second each. */
TEST(recovered_is_when_two_windows_are_back)
{
    static const struct { unsigned after_ms[6]; nanos expected; const char *what; } rows[] = {
        { { 10, 10, 10, 10, 10, 10 }, 0, "at once" },
        { { 11, 11, 10, 10, 10, 10 }, 0, "within 1.2 times" },
        { { 500, 200, 10, 10, 10, 10 }, 2 * S, "after two seconds" },
        { { 500, 10, 200, 10, 10, 10 }, 3 * S, "one lucky window is none" },
        { { 500, 500, 500, 500, 500, 10 }, 5 * S, "the last window has none behind it" },
        { { 500, 500, 500, 500, 500, 13 }, NEVER, "not back" },
        { { 500, 0, 0, 0, 0, 10 }, 5 * S, "a window in which nothing came back is not back" },
    };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        tally_fini(&t);
        assert_int_equal(tally_init(&t, T0, 60 * S), OK);
        for (unsigned i = 0; i < 16; i++) {
            unsigned ms = i < 5 ? 10 : i < 10 ? 800 : rows[r].after_ms[i - 10];
            if (ms > 0)
                second(i, 50, ms * MS, OUTCOME_OK);
        }
        nanos found = stretch_recovery(&t, 10 * S, 16 * S, 10);
        if (found != rows[r].expected)
            fail_msg("%s: %lld and not %lld", rows[r].what, (long long)found, (long long)rows[r].expected);
    }
}

TEST(failures_alone_are_no_recovery)
{
    for (unsigned i = 0; i < 10; i++)
        second(i, 50, 10 * MS, i < 5 ? OUTCOME_OK : OUTCOME_STATUS);
    assert_true(stretch_recovery(&t, 5 * S, 10 * S, 10) == NEVER);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, open_tally, close_tally)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(only_whole_windows_of_a_stretch_count),
        ROW(failures_and_late_answers_are_told_apart),
        ROW(where_nothing_is_nothing_is_measured),
        ROW(recovered_is_when_two_windows_are_back),
        ROW(failures_alone_are_no_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
