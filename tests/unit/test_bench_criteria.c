/* test_bench_criteria.c: units of bench/criteria.c and bench/metrics.c: which sentences are understood, and what a run says to them. */
#include "bench/metrics.h"
#include "base/mem.h"
#include "test_base.h"
#include <math.h>

static struct result *r;

static int begin(void **state)
{
    (void)state;
    r = mem_alloc(sizeof *r);
    assert_non_null(r);
    result_init(r);
    r->requests = 1000;
    r->ok = 990;
    r->rate = 100;
    r->ok_rate = 99;
    r->good_rate = 50;
    r->tokens_rate = 1234;
    r->cached_share = 0.95;
    r->latency = (struct result_spans){ .count = 990, .mean = 150, .stdev = 20, .least = 80, .most = 900, .at = { 140, 160, 180, 200, 300, 500 } };
    r->ttft = (struct result_spans){ .count = 990, .mean = 15, .stdev = 2, .least = 8, .most = 90, .at = { 14, 16, 18, 20, 30, 50 } };
    return 0;
}

static int end(void **state)
{
    (void)state;
    mem_free(r);
    return 0;
}

static bool is_met(const char *text)
{
    struct criterion c;
    struct complaint why = { .text = "" };
    if (!criterion_parse(&c, text_of(text), &why))
        fail_msg("%s: %s", text, why.text);
    r->verdict_count = 0;
    criteria_judge(&c, 1, r);
    assert_int_equal(r->verdict_count, 1);
    return r->verdicts[0].is_met;
}

/* Each pair differs in the bound alone: one is met, the other is not. */
TEST(every_form_takes_its_metric_and_its_unit)
{
    static const struct { const char *met, *missed; } rows[] = {
        { "p95 < 201ms", "p95 < 199ms" },
        { "p95 < 201", "p95 < 199" },
        { "p95<0.201s", "p95<0.199s" },
        { " p95 <= 200 ms ", "p95 < 200 ms" },
        { "p50 < 141", "p50 < 139" },
        { "median < 141", "median < 139" },
        { "p75 < 161", "p75 < 159" },
        { "p90 < 181", "p90 < 179" },
        { "p99 < 301", "p99 < 299" },
        { "p99.9 < 501", "p99.9 < 499" },
        { "p999 < 501", "p999 < 499" },
        { "mean < 151", "mean < 149" },
        { "stdev < 21", "stdev < 19" },
        { "max <= 900", "max < 900" },
        { "min > 79", "min > 80" },
        { "latency.p95 < 201", "latency.p95 < 199" },
        { "ttft.p99 <= 30ms", "ttft.p99 <= 29ms" },
        { "ttft_p99 <= 30ms", "ttft_p99 <= 29ms" },
        { "time_to_first_token_p99 <= 30ms", "time_to_first_token_p99 <= 29ms" },
        { "ttft.p99.9 < 51ms", "ttft.p99.9 < 49ms" },
        { "error_rate <= 1%", "error_rate < 1%" },
        { "error_rate < 0.011", "error_rate < 0.009" },
        { "errors == 10", "errors == 9" },
        { "errors = 10", "errors = 9" },
        { "requests >= 1000", "requests >= 1001" },
        { "rate >= 100", "rate > 100" },
        { "rate >= 100/s", "rate > 100 /s" },
        { "ok_rate >= 99", "ok_rate > 99" },
        { "good_rate >= 50", "good_rate > 50" },
        { "good_share >= 50%", "good_share > 50%" },
        { "cached_share >= 95%", "cached_share > 95%" },
        { "tokens_rate > 1000", "tokens_rate > 2000" },
        { "avg(response_time) < 151", "avg(response_time) < 149" },
        { "max(response_time) < 901", "max(response_time) < 899" },
        { "min( response_time ) < 81", "min( response_time ) < 79" },
        { "median(response_time) < 141", "median(response_time) < 139" },
        { "p99(response_time_ms) < 301", "p99(response_time_ms) < 299" },
        { "p99.9(response_time) < 501", "p99.9(response_time) < 499" },
        { "percentage(errors) < 2", "percentage(errors) < 1" },
        { "percentage(error) < 2%", "percentage(error) < 1%" },
        { "count(requests) > 999", "count(requests) > 1000" },
        { "requests_per_sec >= 100", "requests_per_sec > 100" },
        { "avg(requests_per_sec) >= 100", "avg(requests_per_sec) > 100" },
        { "http.response_time.p95 < 201", "http.response_time.p95 < 199" },
        { "http.request_rate >= 100", "http.request_rate > 100" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!is_met(rows[i].met))
            fail_msg("missed: %s (%s)", rows[i].met, r->verdicts[0].measured);
        if (is_met(rows[i].missed))
            fail_msg("met: %s (%s)", rows[i].missed, r->verdicts[0].measured);
    }
}

TEST(a_metric_that_was_not_measured_is_missed_whatever_was_asked)
{
    static const char *const rows[] = { "itl.p95 < 1h", "itl.p95 > 0", "itl.p95 >= 0", "rss_mb < 100000" };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_false(is_met(rows[i]));
        assert_string_equal(r->verdicts[0].measured, "not measured");
        assert_true(isnan(r->verdicts[0].value));
    }
    r->requests = r->ok = 0;
    assert_false(is_met("error_rate < 1%"));
    assert_false(is_met("errors == 0"));
}

TEST(a_verdict_says_what_was_wanted_and_what_was_measured)
{
    assert_true(is_met("  ttft.p99 <= 2s"));
    assert_string_equal(r->verdicts[0].text, "ttft.p99 <= 2s");
    assert_string_equal(r->verdicts[0].measured, "30.0 ms");
    assert_true(is_met("error_rate < 2%"));
    assert_string_equal(r->verdicts[0].measured, "1.00 %");
    assert_true(r->verdicts[0].value > 0.0099 && r->verdicts[0].value < 0.0101);
}

TEST(what_is_not_understood_is_refused_with_the_nearest_word)
{
    static const struct { const char *text, *said; } rows[] = {
        { "pp95 < 200ms", "did you mean \"p95\"" },
        { "eror_rate < 1%", "did you mean \"error_rate\"" },
        { "tfft.p99 < 1s", "did you mean \"ttft.p99\"" },
        { "maxx(response_time) < 20", "did you mean \"max\"" },
        { "max(respons_time) < 20", "There is no metric \"max(respons_time)\"" },
        { "happiness > 3", "There are p95" },
        { "p80 < 200ms", "There is no metric \"p80\"" },
        { "p95 200ms", "is no criterion" },
        { "", "is no criterion" },
        { "p95 < fast", "is no bound for p95: write something like 200ms" },
        { "p95 < ", "is no bound for p95" },
        { "error_rate < 1", "write something like 1%" },
        { "error_rate < 5", "write something like 1%" },
        { "rate > 100ms", "is no bound for rate" },
        { "p95 < 200ms < 300ms", "is no bound for p95" },
        { "< 200ms", "There is no metric \"\"" },
        { "max() < 200ms", "There is no metric \"max()\"" },
        { "() < 200ms", "There is no metric \"()\"" },
        { "ttft. < 200ms", "There is no metric \"ttft.\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct criterion c = { .text = "untouched" };
        struct complaint why = { .text = "" };
        if (criterion_parse(&c, text_of(rows[i].text), &why))
            fail_msg("understood: %s", rows[i].text);
        if (strstr(why.text, rows[i].said) == NULL)
            fail_msg("%s: %s", rows[i].text, why.text);
        assert_string_equal(c.text, "untouched");
    }
    char longest[200];
    struct criterion c;
    struct complaint why;
    memset(longest, 'p', sizeof longest);
    assert_false(criterion_parse(&c, (struct text){ longest, sizeof longest }, &why));
    assert_false(criterion_from_pair(&c, (struct text){ longest, sizeof longest }, TEXT("1"), &why));
}

TEST(ensure_words_of_artillery_are_criteria)
{
    static const struct { const char *word, *bound; bool met; } rows[] = {
        { "p95", "201", true }, { "p95", "200", false }, { "max", "901", true }, { "median", "139", false }, { "maxErrorRate", "1", true }, { "maxErrorRate", "0.9", false },
        { "http.response_time.p99", "301", true }, { "http.response_time.p99", "300", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct criterion c;
        struct complaint why;
        assert_true(criterion_from_pair(&c, text_of(rows[i].word), text_of(rows[i].bound), &why));
        r->verdict_count = 0;
        criteria_judge(&c, 1, r);
        assert_int_equal(r->verdicts[0].is_met, rows[i].met);
    }
}

TEST(verdicts_make_the_exit_code)
{
    struct criterion c[2];
    struct complaint why;
    assert_true(criterion_parse(&c[0], TEXT("p95 < 1s"), &why));
    assert_true(criterion_parse(&c[1], TEXT("p95 < 1ms"), &why));
    assert_int_equal(result_exit(r), 0); /* nothing was asked */
    criteria_judge(c, 1, r);
    assert_int_equal(result_exit(r), 0);
    assert_string_equal(result_verdict(r), "met");
    criteria_judge(c + 1, 1, r);
    assert_int_equal(result_exit(r), 1);
    assert_string_equal(result_verdict(r), "missed");
    snprintf(r->invalid, sizeof r->invalid, "the generator was busy");
    assert_int_equal(result_exit(r), 3);
    assert_string_equal(result_verdict(r), "invalid");
    for (int i = 0; i < 100; i++)
        criteria_judge(c, 2, r);
    assert_int_equal(r->verdict_count, RESULT_VERDICTS_MAX);
}

/* What the table calls a thing is understood, and found again by that name. */
TEST(each_metric_answers_to_its_own_name)
{
    char name[24], figure[FIGURE_MAX];
    struct complaint why;
    int count = metric_find(TEXT("rss_mb"), &why) + 1; /* the last row */
    assert_true(count > 60);
    for (int i = 0; i < count; i++) {
        assert_int_equal(metric_find(text_of(metric_name(i, name)), &why), i);
        assert_true(strlen(metric_print(i, metric_value(i, r), figure)) > 0);
    }
    double q;
    assert_ptr_equal(metric_spans(metric_find(TEXT("ttft.p99"), &why), r, &q), &r->ttft);
    assert_true(q > 0.98 && q < 0.995);
    assert_null(metric_spans(metric_find(TEXT("ttft.max"), &why), r, &q));
    assert_null(metric_spans(metric_find(TEXT("rate"), &why), r, &q));
    assert_false(metric_wants_less(metric_find(TEXT("rate"), &why)));
    assert_true(metric_wants_less(metric_find(TEXT("error_rate"), &why)));
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(every_form_takes_its_metric_and_its_unit),
        ROW(a_metric_that_was_not_measured_is_missed_whatever_was_asked),
        ROW(a_verdict_says_what_was_wanted_and_what_was_measured),
        ROW(what_is_not_understood_is_refused_with_the_nearest_word),
        ROW(ensure_words_of_artillery_are_criteria),
        ROW(verdicts_make_the_exit_code),
        ROW(each_metric_answers_to_its_own_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
