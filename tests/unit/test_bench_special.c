/* test_bench_special.c: what scenarios count besides a load: an ideal cache, fair shares, prompts that are made up and their mix, and answers that are compared. */
#include "bench/fair.h"
#include "bench/ideal.h"
#include "bench/verify.h"
#include <math.h>
#include "test_bench_help.h" /* last: cmocka takes the word fail */

static int64_t alive;

static int setup(void **state)
{
    (void)state;
    alive = mem_alive();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return mem_alive() == alive ? 0 : -1;
}

static void is_about(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9))
        fail_msg("%.12g, not %.12g", value, expected);
}

/* ---- a cache without limits ---- */

TEST(the_first_of_each_key_is_no_hit)
{
    assert_true(isnan(ideal_share((uint32_t[]){ 0, 0 }, 2)));
    is_about(ideal_share((uint32_t[]){ 1, 1, 1 }, 3), 0);
    is_about(ideal_share((uint32_t[]){ 4 }, 1), 0.75);
    is_about(ideal_share((uint32_t[]){ 4, 0, 1, 5 }, 4), 0.7); /* 3 + 0 + 4 of 10 */
}

/* ---- fairness ---- */

static void shares_are(const double *wanted, unsigned count, double served, const double *expected)
{
    double shares[8];
    fair_shares(wanted, count, served, shares);
    for (unsigned i = 0; i < count; i++)
        is_about(shares[i], expected[i]);
}

TEST(nobody_gets_more_than_he_wants_nor_than_a_hungrier_one)
{
    shares_are((double[]){ 1, 1, 1 }, 3, 3, (double[]){ 1, 1, 1 });
    shares_are((double[]){ 100, 1, 1 }, 3, 12, (double[]){ 10, 1, 1 });
    shares_are((double[]){ 2, 2.6, 4, 5 }, 4, 10, (double[]){ 2, 2.6, 2.7, 2.7 }); /* the textbook's example */
    shares_are((double[]){ 100, 100, 0 }, 3, 10, (double[]){ 5, 5, 0 });
    shares_are((double[]){ 1, 2 }, 2, 10, (double[]){ 1, 2 }); /* more than anybody wanted */
}

TEST(the_index_is_one_when_all_is_fair_and_less_when_it_is_not)
{
    is_about(fair_index((double[]){ 3, 3, 3 }, (double[]){ 3, 3, 3 }, 3), 1);
    is_about(fair_index((double[]){ 10, 1, 1 }, (double[]){ 10, 1, 1 }, 3), 1); /* a hungry one may have what is left */
    is_about(fair_index((double[]){ 4, 0, 0, 0 }, (double[]){ 1, 1, 1, 1 }, 4), 0.25);
    is_about(fair_index((double[]){ 2, 1 }, (double[]){ 1, 1 }, 2), 0.9);
    is_about(fair_index((double[]){ 2, 0 }, (double[]){ 2, 0 }, 2), 1); /* who wants nothing is not treated badly */
    assert_true(isnan(fair_index((double[]){ 0, 0 }, (double[]){ 0, 0 }, 2)));
}

/* ---- prompts that are made up ---- */

static struct script *opened(const struct script_options *o)
{
    struct script *s = NULL;
    struct complaint why;
    if (!script_open(&s, o, &why))
        fail_msg("refused: %s", why.text);
    return s;
}

static uint64_t prompt_of(const struct script *s, uint64_t number)
{
    struct script_session x;
    script_begin(&x, s, number);
    uint64_t prompt = script_prompt(&x);
    script_end(&x);
    return prompt;
}

TEST(prompts_differ_and_come_again)
{
    struct script *s = opened(&(struct script_options){ .api = LOAD_OPENAI, .model = TEXT("m"), .made = { .count = 3 } });
    char first[512];
    snprintf(first, sizeof first, "%s", bench_session(s, 0, NULL));
    assert_non_null(strstr(first, "Question 1.1: "));
    assert_string_not_equal(bench_session(s, 1, NULL), first);
    assert_string_equal(bench_session(s, 3, NULL), first);
    for (uint64_t i = 0; i < 7; i++)
        assert_int_equal(prompt_of(s, i), i % 3);
    script_free(s);
}

TEST(a_mix_follows_zipfs_law)
{
    enum { DRAWS = 200000, PROMPTS = 100 };
    for (double exponent = 0.5; exponent < 1.6; exponent += 0.5) {
        struct script_options o = { .api = LOAD_OPENAI, .model = TEXT("m"), .seed = 5, .made = { .count = PROMPTS, .zipf = exponent } };
        struct script *s = opened(&o), *again = opened(&o);
        unsigned counts[PROMPTS] = { 0 };
        double sum = 0;
        for (int r = 1; r <= PROMPTS; r++)
            sum += pow(r, -exponent);
        for (uint64_t i = 0; i < DRAWS; i++)
            counts[prompt_of(s, i)]++;
        for (int r = 1; r <= PROMPTS; r++) {
            double expected = DRAWS * pow(r, -exponent) / sum;
            assert_true(fabs(counts[r - 1] - expected) < 5 * sqrt(expected)); /* five sigmas: the seed is fixed */
        }
        for (uint64_t i = 0; i < 100; i++)
            assert_int_equal(prompt_of(again, i), prompt_of(s, i));
        script_free(s);
        script_free(again);
    }
}

TEST(conversations_have_so_many_turns)
{
    struct script *s = opened(&(struct script_options){ .api = LOAD_OPENAI, .model = TEXT("m"), .made = { .count = 2, .turns = 3 } });
    const char *said = bench_session(s, 1, "yes");
    unsigned requests = 0;
    for (const char *at = said; (at = strstr(at, "POST ")) != NULL; at++)
        requests++;
    assert_int_equal(requests, 3);
    assert_non_null(strstr(said, "Question 2.1: "));
    assert_non_null(strstr(said, "},{\"role\":\"assistant\",\"content\":\"yes\"},{\"role\":\"user\",\"content\":\"Question 2.3: "));
    script_free(s);
}

TEST(askers_have_names_weights_and_keys)
{
    const struct script_asker askers[] = { { TEXT("greedy"), TEXT("k1"), 3, false }, { TEXT("modest"), TEXT_NONE, 1, true } };
    struct script *s = opened(&(struct script_options){ .api = LOAD_OPENAI, .model = TEXT("m"), .askers = askers, .asker_count = 2 });
    unsigned greedy = 0;
    assert_int_equal(script_flow_count(s), 2);
    assert_true(text_eq(script_flow_name(s, 1), TEXT("modest")));
    for (uint64_t i = 0; i < 4000; i++) {
        struct script_session x;
        script_begin(&x, s, i);
        greedy += x.flow == 0;
        const char *said = bench_session(s, i, NULL);
        assert_true((strstr(said, "authorization: Bearer k1\r\n") != NULL) == (x.flow == 0));
        assert_true((strstr(said, " stream\n") != NULL) == (x.flow == 1));
        script_end(&x);
    }
    assert_in_range(greedy, 2850, 3150); /* 3,000 of 4,000: five sigmas */
    script_free(s);
}

/* ---- what cannot be compared ---- */

TEST(what_asks_no_model_is_right_and_what_no_mock_takes_is_told)
{
    const struct verify v = { .seed = 0, .tokens = 3 };
    struct script_call call = { .api = LOAD_PLAIN, .path = TEXT("/"), .body = TEXT("") };
    bool is_right = false;
    assert_int_equal(verify_answer(&v, &call, TEXT("anything"), true, 0, &is_right), OK);
    assert_true(is_right);
    call = (struct script_call){ .api = LOAD_OPENAI, .path = TEXT("/v1/chat/completions"), .body = TEXT("{\"model\":\"m\"}") };
    assert_int_equal(verify_answer(&v, &call, TEXT(""), true, 0, &is_right), FAIL_BAD_FIELD);
    call.body = TEXT("{");
    assert_int_equal(verify_answer(&v, &call, TEXT(""), true, 0, &is_right), FAIL_BAD_JSON);
}

TEST(tokens_are_compared_where_they_are_told)
{
    const struct verify v = { .seed = 0, .tokens = 0 }; /* a mock of no words */
    struct script_call call = { .api = LOAD_OPENAI, .path = TEXT("/v1/completions?x=1"), .body = TEXT("{\"model\":\"m\",\"prompt\":\"x\"}") };
    bool is_right = false;
    assert_int_equal(verify_answer(&v, &call, TEXT(""), true, 0, &is_right), OK);
    assert_true(is_right);
    assert_int_equal(verify_answer(&v, &call, TEXT(""), true, 1, &is_right), OK);
    assert_false(is_right);
    assert_int_equal(verify_answer(&v, &call, TEXT("a"), false, 0, &is_right), OK);
    assert_false(is_right);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(the_first_of_each_key_is_no_hit),
        ROW(nobody_gets_more_than_he_wants_nor_than_a_hungrier_one),
        ROW(the_index_is_one_when_all_is_fair_and_less_when_it_is_not),
        ROW(prompts_differ_and_come_again),
        ROW(a_mix_follows_zipfs_law),
        ROW(conversations_have_so_many_turns),
        ROW(askers_have_names_weights_and_keys),
        ROW(what_asks_no_model_is_right_and_what_no_mock_takes_is_told),
        ROW(tokens_are_compared_where_they_are_told),
    };
    return cmocka_run_group_tests_name("bench_special", tests, NULL, NULL);
}
