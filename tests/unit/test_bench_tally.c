/* test_bench_tally.c: units of bench/tally.h: what is counted where, windows, and that merging is the same as counting everything in one. */
#include "bench/tally.h"
#include "base/mem.h"
#include "test_base.h"
#include <math.h>

#define MS NANOS_PER_MS
#define S  NANOS_PER_S
#define T0 (1000 * S) /* clocks start anywhere */

static struct tally t, other, both;
static int64_t alive;
static const struct slo no_limits;

static int open_all(void **state)
{
    (void)state;
    alive = mem_alive();
    assert_int_equal(tally_init(&t, T0, 10 * S), OK);
    assert_int_equal(tally_init(&other, T0, 10 * S), OK);
    assert_int_equal(tally_init(&both, T0, 10 * S), OK);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tally_fini(&t);
    tally_fini(&other);
    tally_fini(&both);
    assert_int_equal(mem_alive(), alive);
    return 0;
}

/* Meant at T0 + at, sent 1 ms later, first token in the middle, `took` long. */
static struct sample sample_of(nanos at, nanos took, enum tally_outcome outcome)
{
    return (struct sample){ .intended = T0 + at, .started = T0 + at, .sent = T0 + at + MS, .first_token = T0 + at + took / 2, .ended = T0 + at + took, .outcome = outcome,
                            .status = 200, .tokens_in = 3, .tokens_out = 11, .bytes_in = 100, .bytes_out = 50 };
}

static void count(struct tally *to, const struct sample *s)
{
    tally_started(to, s->started);
    tally_ended(to, s, &no_limits);
}

TEST(spans_keep_their_moments)
{
    static struct spans a;
    spans_init(&a);
    assert_int_equal(a.least, NEVER);
    spans_add(&a, 30 * MS);
    spans_add(&a, 40 * MS);
    spans_add(&a, -5);
    assert_int_equal(a.hist.count, 3);
    assert_int_equal(a.hist.sum, 70 * MS);
    assert_int_equal(a.hist.max, 40 * MS);
    assert_int_equal(a.least, 0);
    assert_true(a.squares == 2500.0 * MS * MS);
}

TEST(a_good_request_is_counted_from_when_it_was_meant)
{
    struct sample s = sample_of(0, 100 * MS, OUTCOME_OK);
    s.is_cached = true;
    count(&t, &s);
    assert_int_equal(tally_requests(&t), 1);
    assert_int_equal(t.latency.hist.sum, 100 * MS);
    assert_int_equal(t.service.hist.sum, 99 * MS);
    assert_int_equal(t.ttft.hist.sum, 50 * MS);
    assert_int_equal(t.failed.hist.count, 0);
    assert_int_equal(t.good, 1);
    assert_int_equal(t.cached, 1);
    assert_int_equal(t.tokens_in, 3);
    assert_int_equal(t.tokens_out, 11);
    assert_int_equal(t.bytes_in, 100);
    assert_int_equal(t.bytes_out, 50);
    assert_int_equal(t.in_flight, 0);
    assert_int_equal(t.in_flight_max, 1);
    assert_int_equal(t.ended, T0 + 100 * MS);
}

TEST(a_failure_is_no_latency)
{
    struct sample s = sample_of(0, 100 * MS, OUTCOME_STATUS);
    s.status = 503;
    count(&t, &s);
    s.outcome = OUTCOME_TIMEOUT;
    count(&t, &s);
    assert_int_equal(t.outcomes[OUTCOME_STATUS], 1);
    assert_int_equal(t.statuses[503 - TALLY_STATUS_MIN], 1);
    assert_int_equal(t.outcomes[OUTCOME_TIMEOUT], 1);
    assert_int_equal(t.latency.hist.count, 0);
    assert_int_equal(t.failed.hist.count, 2);
    assert_int_equal(t.good, 0);
    assert_int_equal(t.windows[0]->failed, 2);
    assert_int_equal(t.windows[0]->latency.count, 0);
}

TEST(the_warm_up_is_in_the_windows_only)
{
    struct sample s = sample_of(0, 100 * MS, OUTCOME_OK);
    s.is_warmup = true;
    count(&t, &s);
    assert_int_equal(tally_requests(&t), 0);
    assert_int_equal(t.warmup, 1);
    assert_int_equal(t.latency.hist.count, 0);
    assert_int_equal(t.tokens_out, 0);
    assert_int_equal(t.windows[0]->ended, 1);
    assert_int_equal(t.windows[0]->latency.count, 1);
}

/* 100 ms, the first token after 50 ms, then 10 gaps of 5 ms. */
TEST(each_limit_of_the_slo_decides_alone)
{
    const struct sample s = sample_of(0, 100 * MS, OUTCOME_OK);
    const struct slo kept[] = { { .latency = 100 * MS }, { .ttft = 50 * MS }, { .itl = 5 * MS } };
    const struct slo broken[] = { { .latency = 100 * MS - 1 }, { .ttft = 50 * MS - 1 }, { .itl = 5 * MS - 1 } };
    for (unsigned i = 0; i < 3; i++) {
        tally_started(&t, s.started);
        tally_ended(&t, &s, &kept[i]);
        assert_int_equal(t.good, i + 1);
        tally_started(&other, s.started);
        tally_ended(&other, &s, &broken[i]);
        assert_int_equal(other.good, 0);
    }
}

TEST(windows_have_what_started_and_what_ended_in_them)
{
    struct sample s = sample_of(500 * MS, 3 * S, OUTCOME_OK);
    tally_started(&t, T0 + 500 * MS);
    tally_started(&t, T0 + 600 * MS);
    tally_ended(&t, &s, &no_limits);
    assert_int_equal(t.window_span, S);
    assert_int_equal(t.window_count, 4);
    const uint32_t started[] = { 2, 0, 0, 0 }, ended[] = { 0, 0, 0, 1 }, in_flight[] = { 2, 2, 2, 1 };
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(t.windows[i]->started, started[i]);
        assert_int_equal(t.windows[i]->ended, ended[i]);
        assert_int_equal(t.windows[i]->in_flight, in_flight[i]);
    }
    assert_int_equal(t.windows[3]->tokens_out, 11);
}

TEST(a_long_test_has_longer_windows_and_what_comes_behind_them_is_in_none)
{
    struct tally l;
    assert_int_equal(tally_init(&l, T0, 3600 * S), OK);
    assert_int_equal(l.window_span, 6 * S);
    assert_int_equal(l.window_room, TALLY_WINDOWS_MAX);
    tally_fini(&l);
    struct sample s = sample_of(60 * S, S, OUTCOME_OK);
    count(&t, &s);
    assert_int_equal(tally_requests(&t), 1);
    assert_int_equal(t.window_count, 0);
}

TEST(who_was_cancelled_is_neither_good_nor_bad)
{
    tally_started(&t, T0);
    tally_dropped(&t, T0 + S);
    assert_int_equal(tally_requests(&t), 0);
    assert_int_equal(t.in_flight, 0);
    assert_int_equal(t.windows[0]->started, 1);
    assert_int_equal(t.windows[1]->ended, 0);
}

TEST(merging_is_the_same_as_counting_everything_in_one)
{
    for (unsigned i = 0; i < 190; i++) { /* one after another, so that as many are in flight in one as in two */
        struct sample s = sample_of(i * 50 * MS, (i % 40 + 2) * MS, i % 9 == 0 ? OUTCOME_CUT : OUTCOME_OK);
        s.is_warmup = i < 20;
        s.flow = i % 3;
        count(i % 2 ? &t : &other, &s);
        count(&both, &s);
        tally_itl(i % 2 ? &t : &other, 0, i * MS);
        tally_itl(&both, 0, i * MS);
    }
    tally_missed(&other);
    tally_missed(&both);
    assert_int_equal(tally_merge(&t, &other), OK);
    assert_int_equal(t.in_flight_max, 2); /* they need not have been at the same moment: an upper bound */
    t.in_flight_max = both.in_flight_max;
    assert_int_equal(t.window_count, both.window_count);
    for (unsigned i = 0; i < t.window_count; i++)
        assert_memory_equal(t.windows[i], both.windows[i], sizeof *t.windows[i]);
    struct window **mine = t.windows;
    t.windows = both.windows;
    assert_memory_equal(&t, &both, sizeof t);
    t.windows = mine;
}

TEST(merged_windows_know_what_a_quiet_worker_has_in_flight)
{
    struct sample s = sample_of(0, 3 * S + MS, OUTCOME_OK);
    tally_started(&other, T0); /* and nothing more is heard of it */
    count(&t, &s);
    assert_int_equal(tally_merge(&both, &other), OK);
    assert_int_equal(tally_merge(&both, &t), OK);
    assert_int_equal(both.window_count, 4);
    assert_int_equal(both.windows[3]->in_flight, 1);
    assert_int_equal(both.windows[1]->in_flight, 2);
    assert_int_equal(both.in_flight, 1);
}

TEST(without_memory_a_window_is_missing_and_the_rest_counts)
{
    struct sample s = sample_of(0, 100 * MS, OUTCOME_OK);
    mem_fault(1);
    tally_started(&t, s.started);
    mem_fault(1);
    tally_ended(&t, &s, &no_limits);
    mem_fault(0);
    assert_int_equal(t.window_count, 0);
    assert_int_equal(tally_requests(&t), 1);
    assert_int_equal(t.latency.hist.count, 1);
}

TEST(outcomes_have_names_and_sentences)
{
    for (unsigned o = 0; o < TALLY_OUTCOMES; o++)
        assert_true(strlen(tally_outcome_name(o)) > 1 && strlen(tally_outcome_what(o)) > 5);
    assert_string_equal(tally_outcome_name(OUTCOME_CUT), "cut");
}

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_keep_their_moments),
        ROW(a_good_request_is_counted_from_when_it_was_meant),
        ROW(a_failure_is_no_latency),
        ROW(the_warm_up_is_in_the_windows_only),
        ROW(each_limit_of_the_slo_decides_alone),
        ROW(windows_have_what_started_and_what_ended_in_them),
        ROW(a_long_test_has_longer_windows_and_what_comes_behind_them_is_in_none),
        ROW(who_was_cancelled_is_neither_good_nor_bad),
        ROW(merging_is_the_same_as_counting_everything_in_one),
        ROW(merged_windows_know_what_a_quiet_worker_has_in_flight),
        ROW(without_memory_a_window_is_missing_and_the_rest_counts),
        cmocka_unit_test(outcomes_have_names_and_sentences),
    };
    return cmocka_run_group_tests_name("bench_tally", tests, NULL, NULL);
}
