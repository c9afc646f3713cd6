/* test_bench_result.c: units of bench/result.c, result_json.c and the reports without pictures: what follows from a tally, and how it is told. */
#include "report/report.h"
#include "base/json.h"
#include "test_base.h"
#include <math.h>

static struct tally t;
static struct load_plan plan;
static struct result *r, *copy;
static struct buf out, again;

static int begin(void **state)
{
    (void)state;
    r = mem_alloc(sizeof *r);
    copy = mem_alloc(sizeof *copy);
    assert_true(r != NULL && copy != NULL);
    result_init(r);
    memset(copy, 0x5a, sizeof *copy); /* a reader must not rely on what was there */
    buf_init(&out, 8u << 20);
    buf_init(&again, 8u << 20);
    plan = (struct load_plan){ .is_open = true, .users_max = 1000, .pace = { .phase_count = 1, .phases = { { 10 * NANOS_PER_S, 100, 100 } } } };
    assert_int_equal(tally_init(&t, 5 * NANOS_PER_S, 20 * NANOS_PER_S), OK);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tally_fini(&t);
    buf_fini(&out);
    buf_fini(&again);
    mem_free(r);
    mem_free(copy);
    return 0;
}

/* A request meant at `at` after the beginning, with its outcome after span. */
static void add(nanos at, nanos span, enum tally_outcome outcome, int status)
{
    struct sample s = { .intended = t.began + at, .started = t.began + at, .sent = t.began + at + 1, .ended = t.began + at + span, .outcome = outcome, .status = status,
                        .is_warmup = at < plan.warmup };
    struct slo slo = { 0 };
    tally_started(&t, s.started);
    tally_ended(&t, &s, &slo);
}

static void add_many(unsigned count, nanos first, nanos between, nanos span)
{
    for (unsigned i = 0; i < count; i++)
        add(first + i * between, span, OUTCOME_OK, 200);
}

static bool is_near(double value, double wanted, double share)
{
    return fabs(value - wanted) <= fabs(wanted) * share + 1e-12;
}
#define NEAR(value, wanted, share) \
    do { \
        if (!is_near(value, wanted, share)) \
            fail_msg("%s is %.9g, not %.9g", #value, (double)(value), (double)(wanted)); \
    } while (0)

static const char *printed(void)
{
    assert_int_equal(buf_add(&out, "", 1), OK);
    return buf_text(&out).at;
}

/* ---- from a tally ---- */

TEST(rates_leave_the_warm_up_out)
{
    plan.warmup = 2 * NANOS_PER_S;
    add_many(1000, 0, 10 * NANOS_PER_MS, NANOS_PER_MS); /* 100 a second for 10 s */
    result_from_tally(r, &t, &plan, 1);
    assert_int_equal(r->requests, 800);
    assert_int_equal(r->warmup, 200);
    NEAR(r->warmup_s, 2, 0);
    NEAR(r->span_s, 8, 0.01);
    NEAR(r->rate, 100, 0.01);
    NEAR(r->ok_rate, 100, 0.01);
    NEAR(r->good_rate, 100, 0.01);
    NEAR(r->intended_rate, 100, 0.001);
}

/* 1000 requests in 10 s, and one that hangs for 10 s more: the rate was 100 a second all the same. */
TEST(who_waits_for_a_timeout_at_the_end_does_not_lower_the_rate)
{
    add_many(1000, 0, 10 * NANOS_PER_MS, NANOS_PER_MS);
    add(9 * NANOS_PER_S, 10 * NANOS_PER_S, OUTCOME_TIMEOUT, 0);
    result_from_tally(r, &t, &plan, 1);
    NEAR(r->span_s, 10, 0.001);
    NEAR(r->rate, 100.1, 0.002);
}

/* 100 a second for 10 s, each of which takes 3: the last ones come when nothing is asked any more, and the rate was 100 all the same. */
TEST(answers_that_take_long_do_not_lower_the_rate)
{
    plan.warmup = 4 * NANOS_PER_S;
    add_many(1000, 0, 10 * NANOS_PER_MS, 3 * NANOS_PER_S);
    t.good = 300;
    result_from_tally(r, &t, &plan, 1);
    NEAR(r->span_s, 9, 0.01);
    NEAR(r->rate, 100, 0.01);
    NEAR(r->ok_rate, 100, 0.01);
    NEAR(r->good_rate, 50, 0.01);
}

/* 1000 requests meant in 10 s which a server of 50 a second needs 20 s for: the rate is 50, not 100. */
TEST(a_backlog_counts_with_the_time_it_took)
{
    for (unsigned i = 0; i < 1000; i++)
        add(i * 10 * NANOS_PER_MS, (i + 1) * 20 * NANOS_PER_MS - i * 10 * NANOS_PER_MS, OUTCOME_OK, 200);
    result_from_tally(r, &t, &plan, 1);
    NEAR(r->rate, 50, 0.01);
    NEAR(r->intended_rate, 100, 0.001);
}

TEST(intended_rates_follow_the_phases)
{
    plan.pace.phase_count = 2;
    plan.pace.phases[0] = (struct pace_phase){ 10 * NANOS_PER_S, 0, 100 };
    plan.pace.phases[1] = (struct pace_phase){ 10 * NANOS_PER_S, 100, 100 };
    add(0, 1, OUTCOME_OK, 200);
    result_from_tally(r, &t, &plan, 1);
    NEAR(r->intended_rate, 75, 0.001);
    plan.warmup = 5 * NANOS_PER_S; /* then 5 s from 50 to 100, and 10 s at 100 */
    result_from_tally(r, &t, &plan, 1);
    NEAR(r->intended_rate, (5 * 75 + 10 * 100) / 15.0, 0.001);
    plan.is_open = false;
    result_from_tally(r, &t, &plan, 1);
    assert_true(isnan(r->intended_rate));
}

TEST(a_traces_rate_is_that_of_its_moments)
{
    static const nanos moments[] = { 0, NANOS_PER_S, 3 * NANOS_PER_S, 19 * NANOS_PER_S, 100 * NANOS_PER_S };
    plan.pace.kind = PACE_MOMENTS;
    plan.pace.moments = moments;
    plan.pace.moment_count = ARRAY_LEN(moments);
    plan.pace.speed = 2;
    add(0, 1, OUTCOME_OK, 200);
    result_from_tally(r, &t, &plan, 1);
    NEAR(r->intended_rate, 0.4, 0.001); /* four of them in 10 s at twice the speed */
}

TEST(moments_of_spans_are_the_samples_own)
{
    for (int ms = 1; ms <= 1000; ms++)
        add(ms * 9 * NANOS_PER_MS, ms * NANOS_PER_MS, OUTCOME_OK, 200);
    result_from_tally(r, &t, &plan, 1);
    assert_int_equal(r->latency.count, 1000);
    NEAR(r->latency.mean, 500.5, 1e-9);
    NEAR(r->latency.stdev, 288.8194, 1e-6); /* sqrt((1000 * 1000 + 1000) / 12) */
    NEAR(r->latency.least, 1, 0);
    NEAR(r->latency.most, 1000, 0);
    static const double q[] = { 500, 750, 900, 950, 990, 999 };
    for (int i = 0; i < RESULT_QUANTILE_COUNT; i++)
        NEAR(r->latency.at[i], q[i], 0.01);
    assert_int_equal(r->failed.count, 0);
    assert_true(isnan(r->failed.mean) && isnan(r->failed.at[0]) && isnan(r->failed.most));
}

/* Ranks that tables have: Conover's table of binomial intervals, and scipy.stats.binom.ppf(0.025 | 0.975, n, q): sample k of n equal steps of 1 ms is k ms. */
TEST(intervals_are_between_the_ranks_that_the_binomial_says)
{
    static const struct { unsigned n; int quantile; double low, high; } rows[] = {
        { 10, RESULT_p50, 2, 9 },        /* 0.9785 of all */
        { 20, RESULT_p50, 6, 15 },       /* 0.9586 */
        { 100, RESULT_p50, 40, 61 },     /* 0.9648 */
        { 1000, RESULT_p50, 469, 532 },
        { 1000, RESULT_p90, 881, 919 },
        { 1000, RESULT_p99, 983, 997 },
        { 100, RESULT_p99, 97, NAN },    /* of 100 the 99th percentile may be above all */
        { 5, RESULT_p50, NAN, NAN },     /* 1 in 32 on each side is more than 2.5 % */
        { 6, RESULT_p50, 1, 6 },
        { 1, RESULT_p50, NAN, NAN },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        tally_fini(&t);
        assert_int_equal(tally_init(&t, 0, 20 * NANOS_PER_S), OK);
        for (unsigned k = 1; k <= rows[i].n; k++)
            add(k, k * NANOS_PER_MS, OUTCOME_OK, 200);
        result_from_tally(r, &t, &plan, 1);
        double low = r->latency.low[rows[i].quantile], high = r->latency.high[rows[i].quantile];
        if (isnan(rows[i].low) ? !isnan(low) : !is_near(low, rows[i].low, 0.009))
            fail_msg("row %zu: from %g, not %g", i, low, rows[i].low);
        if (isnan(rows[i].high) ? !isnan(high) : !is_near(high, rows[i].high, 0.009))
            fail_msg("row %zu: to %g, not %g", i, high, rows[i].high);
    }
}

/* How often the interval holds the true quantile, which is what it is for. */
TEST(intervals_hold_the_true_value_95_times_of_100)
{
    uint64_t random = 12345;
    unsigned held50 = 0, held95 = 0;
    for (unsigned round = 0; round < 1000; round++) {
        tally_fini(&t);
        assert_int_equal(tally_init(&t, 0, NANOS_PER_S), OK);
        for (unsigned i = 0; i < 200; i++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            double share = ((double)(random >> 11) + 0.5) / 9007199254740992.0;
            add(i, (nanos)(-log(share) * 1e9 / 20), OUTCOME_OK, 200); /* exponential with mean 50 ms */
        }
        result_from_tally(r, &t, &plan, 1);
        held50 += r->latency.low[RESULT_p50] <= 50 * log(2) && r->latency.high[RESULT_p50] >= 50 * log(2);
        held95 += r->latency.low[RESULT_p95] <= 50 * log(20) && r->latency.high[RESULT_p95] >= 50 * log(20);
    }
    assert_in_range(held50, 935, 985); /* 950 or a little more: ranks are whole, and a standard deviation here is 7 */
    assert_in_range(held95, 935, 985);
}

TEST(a_spectrum_grows_towards_its_most)
{
    for (int i = 1; i <= 10000; i++)
        add(i, i * 100 * NANOS_PER_US, OUTCOME_OK, 200);
    result_from_tally(r, &t, &plan, 1);
    const struct result_spans *s = &r->latency;
    assert_in_range(s->spectrum_count, 50, ARRAY_LEN(s->spectrum));
    for (unsigned i = 0; i < s->spectrum_count; i++) {
        assert_true(i == 0 || (s->spectrum[i].share > s->spectrum[i - 1].share && s->spectrum[i].ms >= s->spectrum[i - 1].ms));
        if (s->spectrum[i].share > 0.01)
            NEAR(s->spectrum[i].ms, 1000 * s->spectrum[i].share, 0.01);
    }
    NEAR(s->spectrum[s->spectrum_count - 1].share, 1, 0);
    NEAR(s->spectrum[s->spectrum_count - 1].ms, 1000, 0);
    NEAR(s->spectrum[s->spectrum_count - 2].share, 0.9999, 0.0001);
}

TEST(errors_are_sorted_by_how_many_and_none_is_lost)
{
    add(0, 1, OUTCOME_OK, 200);
    for (int i = 0; i < 3; i++)
        add(0, 1, OUTCOME_TIMEOUT, 0);
    for (int i = 0; i < 5; i++)
        add(0, 1, OUTCOME_STATUS, 503);
    for (int i = 0; i < 3; i++)
        add(0, 1, OUTCOME_STATUS, 404);
    add(0, 1, OUTCOME_STATUS, 999);
    result_from_tally(r, &t, &plan, 1);
    static const struct result_error wanted[] = { { "http_503", 5 }, { "http_404", 3 }, { "timeout", 3 }, { "http_other", 1 } };
    assert_int_equal(r->error_count, ARRAY_LEN(wanted));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_string_equal(r->errors[i].kind, wanted[i].kind);
        assert_int_equal(r->errors[i].count, wanted[i].count);
    }
    for (int status = 400; status < 600; status++)
        add(0, 1, OUTCOME_STATUS, status);
    result_from_tally(r, &t, &plan, 1);
    assert_int_equal(r->error_count, RESULT_ERRORS_MAX);
    uint64_t sum = 0;
    for (unsigned i = 0; i < r->error_count; i++)
        sum += r->errors[i].count;
    assert_int_equal(sum, r->requests - r->ok);
    assert_string_equal(r->errors[0].kind, "http_503");
    assert_string_equal(r->errors[RESULT_ERRORS_MAX - 1].kind, "other");
}

TEST(windows_are_seconds)
{
    add_many(500, 0, 10 * NANOS_PER_MS, 5 * NANOS_PER_MS);      /* 100 a second in the first five */
    for (int i = 0; i < 50; i++)
        add(6 * NANOS_PER_S + i, NANOS_PER_MS, i % 2 ? OUTCOME_OK : OUTCOME_CUT, 200);
    t.busy = 3 * NANOS_PER_S;
    r->windows[2].server_cpu = 7;
    result_from_tally(r, &t, &plan, 2);
    assert_int_equal(r->window_count, 7);
    NEAR(r->windows[2].at_s, 2, 0);
    NEAR(r->windows[2].rate, 100, 0.01);
    NEAR(r->windows[2].p99_ms, 5, 0.01);
    NEAR(r->windows[2].mean_ms, 5, 1e-6);
    NEAR(r->windows[2].server_cpu, 7, 0);     /* the caller's */
    assert_true(isnan(r->windows[2].server_rss_mb));
    assert_true(r->windows[2].error_share == 0);
    assert_true(r->windows[5].rate == 0 && isnan(r->windows[5].p50_ms) && isnan(r->windows[5].error_share));
    NEAR(r->windows[6].error_share, 0.5, 0);
    NEAR(r->windows[6].rate, 100, 0.01); /* 50 in the half window that a short one counts as */
    NEAR(r->generator_busy, 3 / 6.001 / 2, 0.001);
}

TEST(a_run_in_which_nothing_happened_has_no_latency)
{
    result_from_tally(r, &t, &plan, 1);
    assert_int_equal(r->requests, 0);
    assert_true(r->rate == 0 && isnan(r->latency.mean) && isnan(r->cached_share) && r->generator_busy == 0);
    assert_int_equal(report_text(r, &out), OK);
}

/* ---- stored form ---- */

static void fill(void)
{
    add_many(300, 0, 10 * NANOS_PER_MS, 7 * NANOS_PER_MS + 1);
    add(0, 20 * NANOS_PER_MS, OUTCOME_STATUS, 503);
    add(0, 20 * NANOS_PER_MS, OUTCOME_CUT, 200);
    tally_itl(&t, 0, 3333333);
    t.tokens_in = 123456789012345ULL;
    t.tokens_out = 777;
    t.cached = 100;
    snprintf(r->name, sizeof r->name, "qu\"ick\n<&>");
    snprintf(r->target, sizeof r->target, "http://127.0.0.1:4040/v1/chat/completions");
    snprintf(r->when, sizeof r->when, "2025-01-02T03:04:05Z");
    snprintf(r->knee, sizeof r->knee, "Throughput stops growing at 64 users.");
    result_from_tally(r, &t, &plan, 1);
    r->verdicts[r->verdict_count++] = (struct result_verdict){ "p95 < 200ms", "7.00 ms", 7, true };
    r->verdicts[r->verdict_count++] = (struct result_verdict){ "rate > 1000 & more", "100 /s", 1.0 / 3, false };
    r->verdicts[r->verdict_count++] = (struct result_verdict){ "itl.p99 < 1s", "not measured", NAN, false };
    r->levels[r->level_count++] = (struct result_level){ 64, 1e-9, 0.1, 1e300, NAN, true };
    r->levels[r->level_count++] = (struct result_level){ 128, 100, 0.2, 0.3, 0.01, false };
}

TEST(print_parse_print_is_the_identity)
{
    struct complaint why;
    fill();
    assert_int_equal(result_write_json(r, &out), OK);
    if (!result_read_json(copy, buf_text(&out), &why))
        fail_msg("%s", why.text);
    assert_int_equal(result_write_json(copy, &again), OK);
    assert_int_equal(buf_len(&out), buf_len(&again));
    assert_memory_equal(buf_text(&out).at, buf_text(&again).at, buf_len(&out));
    assert_string_equal(copy->name, r->name);
    assert_int_equal(copy->tokens_in, 123456789012345ULL);
    assert_int_equal(copy->window_count, r->window_count);
    assert_true(copy->windows[1].rate == r->windows[1].rate && copy->latency.stdev == r->latency.stdev && isnan(copy->rss_mb));
    assert_int_equal(copy->latency.spectrum_count, r->latency.spectrum_count);
    assert_int_equal(copy->error_count, 2);
    assert_string_equal(copy->errors[0].kind, "cut");
    assert_true(copy->verdicts[0].is_met && !copy->verdicts[1].is_met && copy->verdicts[1].value == 1.0 / 3);
    assert_string_equal(copy->verdicts[1].measured, "100 /s");
}

TEST(the_fullest_result_is_the_identity_too)
{
    struct complaint why;
    fill();
    r->error_count = RESULT_ERRORS_MAX;
    for (unsigned i = 0; i < RESULT_ERRORS_MAX; i++)
        snprintf(r->errors[i].kind, sizeof r->errors[i].kind, "kind_%u", i);
    r->window_count = TALLY_WINDOWS_MAX;
    r->level_count = RESULT_LEVELS_MAX;
    r->verdict_count = RESULT_VERDICTS_MAX;
    memset(r->target, 't', sizeof r->target - 1);
    assert_int_equal(result_write_json(r, &out), OK);
    if (!result_read_json(copy, buf_text(&out), &why))
        fail_msg("%s", why.text);
    assert_int_equal(result_write_json(copy, &again), OK);
    assert_true(buf_len(&out) == buf_len(&again) && memcmp(buf_text(&out).at, buf_text(&again).at, buf_len(&out)) == 0);
}

TEST(json_has_what_was_promised_at_its_top)
{
    static const char *const promised[] = { "requests", "ok", "errors", "rate", "p50_ms", "p75_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "mean_ms", "stdev_ms", "ttft", "itl",
                                            "tokens", "cached_share", "generator_lag_ms", "rss_mb", "verdict" };
    struct arena a;
    yyjson_doc *doc;
    fill();
    arena_init(&a, NULL, 0, 64u << 20);
    assert_int_equal(result_write_json(r, &out), OK);
    assert_int_equal(json_parse(&a, buf_text(&out), &doc, NULL), OK);
    yyjson_val *root = yyjson_doc_get_root(doc);
    for (size_t i = 0; i < ARRAY_LEN(promised); i++)
        if (yyjson_obj_get(root, promised[i]) == NULL)
            fail_msg("no %s", promised[i]);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "verdict")), "missed");
    NEAR(yyjson_get_num(yyjson_obj_get(root, "p99_ms")), 7, 0.01);
    NEAR(yyjson_get_num(yyjson_obj_get(yyjson_obj_get(root, "itl"), "p50_ms")), 3.333333, 0.01);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(yyjson_obj_get(root, "errors"), "http_503")), 1);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(root, "tokens")), 777);
    assert_true(yyjson_is_null(yyjson_obj_get(root, "rss_mb")));
    arena_fini(&a);
    assert_non_null(strstr(printed(), "\n  \"requests\": 302,\n"));
}

TEST(what_is_no_result_is_refused_with_a_sentence)
{
    static const struct { const char *json, *said; } rows[] = {
        { "", "the body is empty" },
        { "{", "This is no result of weir bench" },
        { "[]", "has no \"weir_bench\"" },
        { "{}", "has no \"weir_bench\"" },
        { "{\"weir_bench\": 2}", "\"weir_bench\" is not a version" },
        { "{\"weir_bench\": 1, \"requests\": -1}", "\"requests\" is not a count" },
        { "{\"weir_bench\": 1, \"requests\": 1.5}", "\"requests\" is not a count" },
        { "{\"weir_bench\": 1, \"rate\": \"fast\"}", "\"rate\" is not a number" },
        { "{\"weir_bench\": 1, \"name\": 7}", "\"name\" is not a text" },
        { "{\"weir_bench\": 1, \"when\": \"a moment that is too long for its field\"}", "\"when\" is not a text" },
        { "{\"weir_bench\": 1, \"name\": \"a\\u0000b\"}", "\"name\" is not a text" },
        { "{\"weir_bench\": 1, \"in_flight_max\": 4294967296}", "\"in_flight_max\" is not a count" },
        { "{\"weir_bench\": 1, \"latency\": 7}", "\"latency\" is not an object" },
        { "{\"weir_bench\": 1, \"latency\": {\"spectrum\": [[1]]}}", "\"spectrum\" is not a list" },
        { "{\"weir_bench\": 1, \"errors\": []}", "\"errors\" is not an object" },
        { "{\"weir_bench\": 1, \"errors\": {\"a\": null}}", "\"errors\" is not an object" },
        { "{\"weir_bench\": 1, \"errors\": {\"a kind with a name that is too long\": 1}}", "\"errors\" is not a text" },
        { "{\"weir_bench\": 1, \"windows\": {}}", "\"windows\" is not a list" },
        { "{\"weir_bench\": 1, \"windows\": [1]}", "\"windows\" is not a list of objects" },
        { "{\"weir_bench\": 1, \"criteria\": [{\"met\": 1}]}", "\"met\" is not true or false" },
    };
    struct complaint why;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        why.text[0] = '\0';
        if (result_read_json(copy, text_of(rows[i].json), &why))
            fail_msg("read: %s", rows[i].json);
        if (strstr(why.text, rows[i].said) == NULL)
            fail_msg("%s: %s", rows[i].json, why.text);
    }
    assert_true(result_read_json(copy, TEXT("{\"weir_bench\": 1, \"later\": {}}"), &why)); /* a newer weir's extras are no harm */
    assert_true(copy->requests == 0 && isnan(copy->latency.mean));
}

/* ---- told ---- */

static unsigned widest(const char *text)
{
    unsigned most = 0, now = 0;
    for (; *text != '\0'; text++) {
        now = *text == '\n' ? 0 : now + (((unsigned char)*text & 0xc0) != 0x80);
        most = MAX(most, now);
    }
    return most;
}

static unsigned line_count(const char *text)
{
    unsigned n = 0;
    while ((text = strchr(text, '\n')) != NULL) {
        n++;
        text++;
    }
    return n;
}

TEST(a_screen_says_what_was_measured)
{
    fill();
    assert_int_equal(report_text(r, &out), OK);
    const char *text = printed();
    static const char *const said[] = { "qu\"ick?<&>  http://", "http://127.0.0.1:4040/v1/chat/completions", "requests   302, ok 300, errors 2 (0.66 %)", "http_503 1", "cut 1",
                                        "p99.9", "7.00 ms", "between tokens", "3.33 ms", "777 out", "MISSED  rate > 1000 & more: 100 /s", "MISSED  itl.p99 < 1s: not measured",
                                        "met     p95 < 200ms: 7.00 ms", "Throughput stops growing at 64 users." };
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (strstr(text, said[i]) == NULL)
            fail_msg("%s is not in:\n%s", said[i], text);
    assert_true(widest(text) <= 100);
    assert_true(strncmp(text, "INVALID", 7) != 0);
}

TEST(an_invalid_run_says_so_first)
{
    fill();
    snprintf(r->invalid, sizeof r->invalid, "the generator was busy for 97 %% of its time");
    assert_int_equal(report_text(r, &out), OK);
    assert_true(strncmp(printed(), "INVALID: the generator was busy for 97 % of its time.", 53) == 0);
}

TEST(the_fullest_screen_fits_40_lines_of_100_columns)
{
    fill();
    memset(r->invalid, 'i', sizeof r->invalid - 1);
    memset(r->name, 'n', sizeof r->name - 1);
    memset(r->target, 't', sizeof r->target - 1);
    for (size_t i = 0; i < sizeof r->knee - 1; i++)
        r->knee[i] = i % 7 == 6 ? ' ' : 'k';
    r->ttft = r->itl = r->failed = r->latency;
    r->latency.most = r->latency.at[5] = 123456.7;
    r->error_count = RESULT_ERRORS_MAX;
    for (unsigned i = 0; i < RESULT_ERRORS_MAX; i++)
        r->errors[i] = (struct result_error){ "http_503_and_much_more", 1234567890 };
    r->verdict_count = RESULT_VERDICTS_MAX;
    for (unsigned i = 0; i < RESULT_VERDICTS_MAX; i++) {
        memset(r->verdicts[i].text, 'c', sizeof r->verdicts[i].text - 1);
        snprintf(r->verdicts[i].measured, sizeof r->verdicts[i].measured, "%s", "12345678901234567890123");
    }
    r->missed = 1234567;
    r->warmup = 123456789;
    r->rss_mb = r->server_cpu = 12345;
    r->requests = 1ULL << 60;
    assert_int_equal(report_text(r, &out), OK);
    const char *text = printed();
    if (widest(text) > 100 || line_count(text) > 40)
        fail_msg("%u columns, %u lines:\n%s", widest(text), line_count(text), text);
}

TEST(csv_has_a_row_a_window)
{
    fill();
    const struct result *const runs[] = { r, r };
    assert_int_equal(report_csv(runs, 2, &out), OK);
    const char *text = printed();
    assert_true(strncmp(text, "run,at_s,ended,in_flight,rate,error_share,", 42) == 0);
    assert_int_equal(line_count(text) - 2 * r->window_count - 1, 2 * r->window_count); /* each name has a line break of its own */
    assert_non_null(strstr(text, "\n\"qu\"\"ick\n<&>\",1,"));
    assert_non_null(strstr(text, ",,\r\n")); /* nobody looked at the server */
}

TEST(junit_has_a_case_a_criterion_and_one_for_validity)
{
    fill();
    const struct result *const runs[] = { r, r };
    snprintf(r->invalid, sizeof r->invalid, "late & busy");
    assert_int_equal(report_junit(runs, 2, &out), OK);
    const char *text = printed();
    static const char *const said[] = { "<testsuites name=\"weir bench\" tests=\"8\" failures=\"4\" errors=\"2\">", "tests=\"4\" failures=\"2\" errors=\"1\" skipped=\"0\"",
                                        "name=\"p95 &lt; 200ms\"/>", "name=\"rate &gt; 1000 &amp; more\"><failure message=\"measured: 100 /s\"/></testcase>",
                                        "<error message=\"late &amp; busy\"/>", "</testsuites>\n" };
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (strstr(text, said[i]) == NULL)
            fail_msg("%s is not in:\n%s", said[i], text);
    assert_null(strstr(text, "ick\n"));
}

/* Every failing allocation ends as a failure, and leaves nothing behind. */
TEST(without_memory_nothing_is_half_told)
{
    struct complaint why;
    fill();
    assert_int_equal(result_write_json(r, &out), OK);
    int64_t alive = mem_alive();
    uint64_t failed = 0;
    for (uint64_t nth = 1;; nth++) {
        struct buf b;
        buf_init(&b, 8u << 20);
        (void)mem_fault(nth);
        bool ok = result_write_json(r, &b) == OK && result_read_json(copy, buf_text(&out), &why);
        uint64_t left = mem_fault(0);
        buf_fini(&b);
        assert_int_equal(mem_alive(), alive);
        if (left < nth)
            break;
        failed += !ok; /* a buffer that cannot double may still grow by what it needs */
    }
    assert_true(failed > 2);
    struct buf small;
    buf_init(&small, 100);
    assert_int_equal(report_text(r, &small), FAIL_TOO_LARGE);
    buf_fini(&small);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(rates_leave_the_warm_up_out),
        ROW(who_waits_for_a_timeout_at_the_end_does_not_lower_the_rate),
        ROW(answers_that_take_long_do_not_lower_the_rate),
        ROW(a_backlog_counts_with_the_time_it_took),
        ROW(intended_rates_follow_the_phases),
        ROW(a_traces_rate_is_that_of_its_moments),
        ROW(moments_of_spans_are_the_samples_own),
        ROW(intervals_are_between_the_ranks_that_the_binomial_says),
        ROW(intervals_hold_the_true_value_95_times_of_100),
        ROW(a_spectrum_grows_towards_its_most),
        ROW(errors_are_sorted_by_how_many_and_none_is_lost),
        ROW(windows_are_seconds),
        ROW(a_run_in_which_nothing_happened_has_no_latency),
        ROW(print_parse_print_is_the_identity),
        ROW(the_fullest_result_is_the_identity_too),
        ROW(json_has_what_was_promised_at_its_top),
        ROW(what_is_no_result_is_refused_with_a_sentence),
        ROW(a_screen_says_what_was_measured),
        ROW(an_invalid_run_says_so_first),
        ROW(the_fullest_screen_fits_40_lines_of_100_columns),
        ROW(csv_has_a_row_a_window),
        ROW(junit_has_a_case_a_criterion_and_one_for_validity),
        ROW(without_memory_nothing_is_half_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
