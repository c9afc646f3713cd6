/* test_base_hist.c: units of base/hist.h. */
#include "base/hist.h"
#include "test_base.h"

static struct hist h, other;

static int wipe(void **state)
{
    (void)state;
    memset(&h, 0, sizeof h);
    memset(&other, 0, sizeof other);
    return 0;
}

TEST(an_empty_histogram_answers_zero)
{
    assert_int_equal(hist_quantile(&h, 0.5), 0);
    assert_int_equal(hist_count_below(&h, NEVER), 0);
}

TEST(a_quantile_is_within_a_64th_of_the_truth_everywhere)
{
    for (nanos v = 1100; v < 4000000000000; v += v / 7) {
        wipe(NULL);
        hist_add(&h, v);
        hist_add(&h, 4 * v); /* so that the maximum does not hide the bucket's middle */
        nanos said = hist_quantile(&h, 0.5);
        nanos error = said > v ? said - v : v - said;
        assert_true(error <= v / 64);
    }
}

TEST(quantiles_of_1_to_1000_ms_are_where_they_belong)
{
    for (int ms = 1; ms <= 1000; ms++)
        hist_add(&h, ms * NANOS_PER_MS);
    assert_int_equal(h.count, 1000);
    assert_int_equal(h.sum, 500500 * NANOS_PER_MS);
    assert_int_equal(h.max, 1000 * NANOS_PER_MS);
    assert_in_range(hist_quantile(&h, 0.5), 492 * NANOS_PER_MS, 508 * NANOS_PER_MS);
    assert_in_range(hist_quantile(&h, 0.99), 975 * NANOS_PER_MS, 1000 * NANOS_PER_MS);
    assert_in_range(hist_quantile(&h, 0), 984 * NANOS_PER_US, 1016 * NANOS_PER_US);
    assert_in_range(hist_quantile(&h, 1), 985 * NANOS_PER_MS, 1000 * NANOS_PER_MS); /* never above the maximum */
}

TEST(values_outside_the_range_count_at_its_ends)
{
    hist_add(&h, -5);
    hist_add(&h, 0);
    hist_add(&h, 1);
    hist_add(&h, NEVER / 2);
    assert_int_equal(h.buckets[0], 3);
    assert_int_equal(h.count, 4);
    assert_int_equal(h.sum, NEVER / 2 + 1); /* a clock that went back adds nothing, and takes nothing away */
    assert_int_equal(hist_count_below(&h, 999), 0);
    assert_int_equal(hist_count_below(&h, NANOS_PER_US), 3);
    assert_int_equal(hist_count_below(&h, (1LL << 42) - 1), 3);
    assert_int_equal(hist_count_below(&h, NEVER), 4);
    assert_in_range(hist_quantile(&h, 1), 1LL << 42, (1LL << 42) + (1LL << 36));
}

TEST(a_sample_equal_to_the_limit_is_below_it)
{
    const nanos limits[] = { 5 * NANOS_PER_MS, 25 * NANOS_PER_MS, NANOS_PER_S, 10 * NANOS_PER_S };
    for (unsigned i = 0; i < ARRAY_LEN(limits); i++) {
        wipe(NULL);
        hist_add(&h, limits[i]);
        hist_add(&h, limits[i] + limits[i] / 32);
        assert_int_equal(hist_count_below(&h, limits[i]), 1);
        assert_int_equal(hist_count_below(&h, limits[i] - limits[i] / 32), 0);
    }
}

TEST(merging_is_the_same_as_adding_everything_to_one)
{
    static struct hist both;
    memset(&both, 0, sizeof both);
    for (nanos v = 1; v < 1000000000; v += v / 3 + 1) {
        hist_add(v % 2 ? &h : &other, v);
        hist_add(&both, v);
    }
    hist_add(&other, 2000000000); /* the maximum comes from the other side */
    hist_add(&both, 2000000000);
    hist_merge(&h, &other);
    assert_memory_equal(&h, &both, sizeof both);
}

TEST(a_full_bucket_stays_full)
{
    h.buckets[0] = UINT32_MAX - 1;
    hist_add(&h, 1);
    hist_add(&h, 1);
    assert_int_equal(h.buckets[0], UINT32_MAX);
    other.buckets[0] = 10;
    hist_merge(&other, &h);
    assert_int_equal(other.buckets[0], UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_histogram_answers_zero, wipe),
        cmocka_unit_test_setup(a_quantile_is_within_a_64th_of_the_truth_everywhere, wipe),
        cmocka_unit_test_setup(quantiles_of_1_to_1000_ms_are_where_they_belong, wipe),
        cmocka_unit_test_setup(values_outside_the_range_count_at_its_ends, wipe),
        cmocka_unit_test_setup(a_sample_equal_to_the_limit_is_below_it, wipe),
        cmocka_unit_test_setup(merging_is_the_same_as_adding_everything_to_one, wipe),
        cmocka_unit_test_setup(a_full_bucket_stays_full, wipe),
    };
    return cmocka_run_group_tests_name("base_hist", tests, NULL, NULL);
}
