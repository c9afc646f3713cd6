/* test_bench_invalid.c: units of load_invalid and load_busy: which runs do not count, each beside a twin that is only just good enough. */
#include "bench/load.h"
#include "test_base.h"

#define MS NANOS_PER_MS
#define S  NANOS_PER_S

static struct tally t;
static struct load_plan plan;
static char why[200];

/* Ten seconds whose 1,000 answers took 20 ms and began after 10. */
static int good_run(void **state)
{
    (void)state;
    plan = (struct load_plan){ .is_open = true, .users_max = 100, .pace = { .phase_count = 1, .phases = { { 10 * S, 100, 100 } } } };
    t = (struct tally){ .began = S, .ended = 11 * S };
    t.outcomes[OUTCOME_OK] = 1000;
    for (unsigned i = 0; i < 1000; i++) {
        spans_add(&t.latency, 20 * MS);
        spans_add(&t.ttft, 20 * MS);
    }
    return 0;
}

static void add_lag(unsigned count, nanos span)
{
    for (unsigned i = 0; i < count; i++)
        spans_add(&t.lag, span);
}

static void expect_valid(void)
{
    if (load_invalid(&plan, &t, 1, why) != NULL)
        fail_msg("invalid: %s", why);
}

static void expect_invalid(const char *part)
{
    assert_non_null(load_invalid(&plan, &t, 1, why));
    if (strstr(why, part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, why);
}

TEST(few_strokes_are_no_proof)
{
    add_lag(48, 10 * NANOS_PER_US);
    add_lag(2, 30 * MS); /* 4 % of a short run: by chance there may be so many beyond the 99th of 100 */
    expect_valid();
}

TEST(a_few_more_are)
{
    add_lag(47, 10 * NANOS_PER_US);
    add_lag(3, 30 * MS);
    expect_invalid("p99 of its lag");
}

TEST(one_in_a_hundred_is_where_p99_begins)
{
    add_lag(990, 10 * NANOS_PER_US);
    add_lag(10, 5 * MS);
    expect_valid();
    add_lag(30, 5 * MS);
    expect_invalid("p99 of its lag is 5");
}

TEST(a_tenth_of_what_is_measured_is_allowed)
{
    add_lag(1000, 1900 * NANOS_PER_US);
    expect_valid();
    add_lag(1100, 2200 * NANOS_PER_US);
    expect_invalid("p50 of its lag is 2.2ms, and only 2ms is allowed");
}

TEST(a_millisecond_is_always_allowed)
{
    spans_init(&t.latency);
    spans_init(&t.ttft);
    for (unsigned i = 0; i < 1000; i++)
        spans_add(&t.latency, 100 * NANOS_PER_US);
    add_lag(1000, 900 * NANOS_PER_US);
    expect_valid();
    add_lag(1100, 1100 * NANOS_PER_US);
    expect_invalid("only 1ms is allowed");
}

/* The tail of a server that stalls does not excuse a generator that is late with everything. */
TEST(a_long_tail_excuses_nothing)
{
    for (unsigned i = 0; i < 100; i++)
        spans_add(&t.latency, 3 * S);
    add_lag(1000, 5 * MS);
    expect_invalid("p50 of its lag");
}

/* Answers of a minute whose first token comes soon: a lag of 5 ms is nothing to the one and a half of the other. */
TEST(the_first_token_is_judged_too)
{
    spans_init(&t.latency);
    for (unsigned i = 0; i < 1000; i++)
        spans_add(&t.latency, 60 * S);
    add_lag(1000, 1500 * NANOS_PER_US);
    expect_valid();
    add_lag(1500, 5 * MS);
    expect_invalid("a tenth of p50 of what it measured, 20");
}

TEST(failures_are_measured_against_themselves)
{
    spans_init(&t.latency);
    spans_init(&t.ttft);
    for (unsigned i = 0; i < 1000; i++)
        spans_add(&t.failed, 100 * MS);
    add_lag(1000, 9 * MS);
    expect_valid();
    add_lag(1100, 11 * MS);
    expect_invalid("was late");
}

/* What is waited for behind the plan's end is no time in which there was processor to spare. */
TEST(busy_is_a_share_of_the_plan)
{
    t.ended = 61 * S;
    t.busy = 8900 * MS;
    assert_true(load_busy(&plan, &t, 1) > 0.889 && load_busy(&plan, &t, 1) < 0.891);
    expect_valid();
    t.busy = 9100 * MS;
    expect_invalid("busy 91 %");
    assert_null(load_invalid(&plan, &t, 2, why)); /* of two */
}

TEST(nothing_missed_and_something_ended)
{
    t.missed = 1;
    expect_invalid("were not sent");
    t.missed = 0;
    t.outcomes[OUTCOME_OK] = 0;
    expect_invalid("no request ended");
    t.stopped = FAIL_NO_DESCRIPTORS;
    expect_invalid("ran out of descriptors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(few_strokes_are_no_proof, good_run),
        cmocka_unit_test_setup(a_few_more_are, good_run),
        cmocka_unit_test_setup(one_in_a_hundred_is_where_p99_begins, good_run),
        cmocka_unit_test_setup(a_tenth_of_what_is_measured_is_allowed, good_run),
        cmocka_unit_test_setup(a_millisecond_is_always_allowed, good_run),
        cmocka_unit_test_setup(a_long_tail_excuses_nothing, good_run),
        cmocka_unit_test_setup(the_first_token_is_judged_too, good_run),
        cmocka_unit_test_setup(failures_are_measured_against_themselves, good_run),
        cmocka_unit_test_setup(busy_is_a_share_of_the_plan, good_run),
        cmocka_unit_test_setup(nothing_missed_and_something_ended, good_run),
    };
    return cmocka_run_group_tests_name("bench_invalid", tests, NULL, NULL);
}
