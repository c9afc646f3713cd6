/* test_bench_search.c: units of bench/search.c: how near find-max comes to a synthetic server's capacity, in how many runs, and what it says. */
#include "bench/search.h"
#include "test_bench_draw.h"
#include "test_base.h"

/* Serves `capacity` a second well; of what comes above nothing is in time. base_bad: the share that is bad even without load. Ten seconds a run, Poisson arrivals. */
struct server {
    double capacity, base_bad;
};

static uint64_t some_of(uint64_t n, double share)
{
    uint64_t some = 0;
    for (uint64_t i = 0; i < MIN(n, 10000); i++)
        some += draw() < share;
    return n <= 10000 ? some : some * n / 10000;
}

static struct search_outcome serve_rate(const struct server *v, double level)
{
    double came = MAX(0, level * 10 + sqrt(level * 10) * draw_normal()), served = MIN(came, v->capacity * 10);
    struct search_outcome o = { .requests = (uint64_t)came, .p50_ms = 10, .p99_ms = came > served ? 500 : 20 };
    o.good = some_of((uint64_t)served, 1 - v->base_bad);
    o.ok_rate = served / 10;
    return o;
}

/* Users without pauses who each hold one of `capacity` places for 100 ms: more of them wait, and nothing fails. */
static struct search_outcome serve_users(const struct server *v, double users)
{
    double rate = MIN(users, v->capacity) * 10 * (1 + 0.005 * draw_normal()), ms = users / rate * 1000;
    return (struct search_outcome){ .requests = (uint64_t)(rate * 10), .good = (uint64_t)(rate * 10), .ok_rate = rate, .p50_ms = ms, .p99_ms = 2 * ms };
}

static void find(struct search *s, const struct search_plan *plan, const struct server *v, struct search_outcome (*serve)(const struct server *, double))
{
    double level;
    search_begin(s, plan);
    while (search_next(s, &level)) {
        assert_true(level > 0 && level <= plan->most);
        struct search_outcome o = serve(v, level);
        search_told(s, &o);
    }
}

static const struct search_plan rates = { .first = 10, .most = 1e6, .resolution = 0.02, .good_share = 0.99, .is_open = true };
static const struct search_plan users = { .first = 1, .most = 10000, .resolution = 0.02, .good_share = 0.99 };

TEST(a_capacity_is_found_within_5_percent)
{
    struct search s;
    seed = 1;
    unsigned most_steps = 0, missed = 0, count = 0;
    for (double capacity = 25; capacity < 100000; capacity *= 1.17, count++) {
        struct server v = { capacity, 0.001 };
        find(&s, &rates, &v, serve_rate);
        assert_int_equal(s.state, SEARCH_FOUND);
        most_steps = MAX(most_steps, s.steps);
        /* Ten seconds at 25 a second are 250 requests, which chance alone makes 6 % more or less: below 300 a second that is added. */
        double near = 0.05 + (capacity < 300 ? 3 / sqrt(capacity * 10) : 0);
        missed += fabs(s.held / capacity - 1) > near;
        if (fabs(s.held / capacity - 1) > near)
            print_message("capacity %.0f: %.1f\n", capacity, s.held);
    }
    print_message("%u searches, at most %u runs\n", count, most_steps);
    assert_int_equal(missed, 0);
    assert_true(most_steps <= 32);
}

TEST(users_are_found_where_throughput_stops)
{
    struct search s;
    seed = 2;
    for (double capacity = 1; capacity < 3000; capacity = ceil(capacity * 1.5)) {
        struct server v = { capacity, 0 };
        find(&s, &users, &v, serve_users);
        assert_int_equal(s.state, SEARCH_FOUND);
        assert_true(s.held == floor(s.held));
        assert_true(s.steps <= 32);
        if (fabs(s.held - capacity) > MAX(1, 0.05 * capacity))
            fail_msg("capacity %.0f: %.0f", capacity, s.held);
    }
}

TEST(a_server_that_fails_at_once_is_asked_once)
{
    struct search s;
    char text[200];
    struct server dead = { 0, 0 };
    find(&s, &rates, &dead, serve_rate);
    assert_int_equal(s.state, SEARCH_FAILED_AT_ONCE);
    assert_int_equal(s.steps, 1);
    assert_true(s.held == 0);
    search_print(&s, text);
    assert_non_null(strstr(text, "Does not even hold 10 requests a second: 0 % (0 % to "));
}

TEST(a_server_below_the_first_level_is_still_found)
{
    struct search s;
    seed = 3;
    struct search_plan high = rates;
    high.first = 1000;
    find(&s, &high, &(struct server){ 300, 0 }, serve_rate);
    assert_int_equal(s.state, SEARCH_FOUND);
    assert_true(fabs(s.held / 300 - 1) < 0.06);
    find(&s, &high, &(struct server){ 1e9, 0.2 }, serve_rate); /* a fifth is bad at any load */
    assert_int_equal(s.state, SEARCH_FAILED_AT_ONCE);
    assert_true(s.steps <= 8);
}

TEST(a_server_that_never_fails_ends_at_the_bound)
{
    struct search s;
    char text[200];
    seed = 4;
    struct search_plan low = rates;
    low.most = 5000;
    find(&s, &low, &(struct server){ 1e9, 0 }, serve_rate);
    assert_int_equal(s.state, SEARCH_NEVER_FAILED);
    assert_true(s.held == 5000);
    assert_true(s.steps <= 14); /* nine doublings, and some runs twice while 400 good ones are needed to be sure of 99 % */
    search_print(&s, text);
    assert_string_equal(text, "Holds 5,000 requests a second, the most that was tried.");
}

/* Answers that contradict each other from run to run must not keep it going. */
TEST(a_server_that_makes_no_sense_ends_all_the_same)
{
    struct search s;
    double level;
    for (seed = 0; seed < 2000; seed += 7) {
        uint64_t keep = seed;
        search_begin(&s, seed % 2 ? &rates : &users);
        while (search_next(&s, &level)) {
            uint64_t n = (uint64_t)(draw() * 1000);
            struct search_outcome o = { .requests = n, .good = (uint64_t)((double)n * draw()), .ok_rate = draw() * level, .p50_ms = draw(), .p99_ms = draw() };
            if (draw() < 0.7)
                o.good = n, o.ok_rate = level;
            search_told(&s, &o);
        }
        assert_true(s.steps <= SEARCH_STEPS_MAX && s.level_count == s.steps);
        seed = keep;
    }
}

TEST(doubt_is_tried_again_and_no_more)
{
    struct search s;
    double level;
    search_begin(&s, &rates);
    struct search_outcome doubtful = { .requests = 100, .good = 99, .ok_rate = 9.9 };
    search_told(&s, &doubtful);
    assert_true(search_next(&s, &level) && level == 10);
    search_told(&s, &doubtful);
    assert_true(search_next(&s, &level) && level == 20); /* 99 % was wanted, and 99 % it was */
    struct search_outcome sure = { .requests = 2000, .good = 2000, .ok_rate = 20 };
    search_told(&s, &sure);
    assert_true(search_next(&s, &level) && level == 40);
    struct search_outcome bad = { .requests = 400, .good = 380, .ok_rate = 38 };
    search_told(&s, &bad);
    assert_true(search_next(&s, &level) && level == 30);
    struct search_outcome late = { .requests = 400, .good = 400, .ok_rate = 20 }; /* all good, but half of them later than they came */
    search_told(&s, &late);
    assert_true(search_next(&s, &level) && level == 25);
    assert_int_equal(s.level_count, 5);
    assert_true(!s.levels[0].is_kept && s.levels[1].is_kept && s.levels[2].is_kept && !s.levels[3].is_kept && !s.levels[4].is_kept);
    char text[200];
    search_print(&s, text);
    assert_string_equal(text, "Holds 20 requests a second at least, not 30 requests a second: 20.0 /s came back there, and no more.");
}

/* Wilson's own values: Newcombe 1998, table I, method 3. */
TEST(wilsons_interval_is_that_of_the_tables)
{
    static const struct { uint64_t good, of; double low, high; } rows[] = { { 81, 263, 0.2553, 0.3662 }, { 15, 148, 0.0624, 0.1605 }, { 0, 20, 0, 0.1611 }, { 1, 29, 0.0061, 0.1718 } };
    double low, high;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        search_wilson(rows[i].good, rows[i].of, &low, &high);
        assert_true(fabs(low - rows[i].low) < 0.00006 && fabs(high - rows[i].high) < 0.00006);
    }
    search_wilson(0, 0, &low, &high);
    assert_true(low == 0 && high == 1);
}

TEST(a_knee_is_where_throughput_stops)
{
    char text[200];
    struct result_level levels[] = {
        { .level = 1000, .rate = 480, .p99_ms = 2100 }, { .level = 5, .rate = 50, .p99_ms = 110 }, { .level = 25, .rate = 250, .p99_ms = 120 },
        { .level = 100, .rate = 490, .p99_ms = 300 }, { .level = 500, .rate = 500, .p99_ms = 1100 },
    };
    search_knee(levels, ARRAY_LEN(levels), "users", text);
    assert_string_equal(text, "Throughput stops growing at about 100 users: 490 /s there, p99 300 ms; at 1,000 users p99 is 2.10 s.");
    search_knee(levels + 1, 2, "users", text);
    assert_string_equal(text, "");
    levels[0].rate = 10000;
    levels[3].rate = 1000;
    levels[4].rate = 5000;
    search_knee(levels, ARRAY_LEN(levels), "users", text);
    assert_string_equal(text, "Throughput still grows at 1,000 users.");
}

#define ROW(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(a_capacity_is_found_within_5_percent),
        ROW(users_are_found_where_throughput_stops),
        ROW(a_server_that_fails_at_once_is_asked_once),
        ROW(a_server_below_the_first_level_is_still_found),
        ROW(a_server_that_never_fails_ends_at_the_bound),
        ROW(a_server_that_makes_no_sense_ends_all_the_same),
        ROW(doubt_is_tried_again_and_no_more),
        ROW(wilsons_interval_is_that_of_the_tables),
        ROW(a_knee_is_where_throughput_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
