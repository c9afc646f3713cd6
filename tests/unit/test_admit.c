/* test_admit.c: one key's limits, call by call: how a bucket drains, what a reservation costs and gives back, when to come back, periods of a budget and clocks that jump. */
#include "admit/admit.h"
#include "test_base.h"

#define MS     NANOS_PER_MS
#define S      NANOS_PER_S
#define HOUR   (3600 * S)
#define DAY    (24 * HOUR)
#define BEGAN  (1000 * DAY)
#define CENT   (NANO_PER_USD / 100)

static struct world world; /* gates want one; it has no hooks */
static struct worker worker;
static struct limits *l;
static struct conf_limits key, tenant;
static struct limits_who who;

static int begin(void **state)
{
    (void)state;
    worker.now = 5 * S;
    worker.wall = BEGAN;
    key = tenant = (struct conf_limits){ .period = DAY };
    who = (struct limits_who){ .name = { TEXT("team-a"), TEXT("acme") }, .limits = { &key, &tenant } };
    l = limits_new(&world);
    return l == NULL;
}

static int end(void **state)
{
    (void)state;
    limits_free(l);
    return 0;
}

static void pass(nanos span)
{
    worker.now += span;
    worker.wall += span;
}

static struct stake stake_in(void)
{
    struct stake s;
    assert_int_equal(limits_enter(&worker, l, &who, &s), OK);
    return s;
}

/* A request that uses what it reserves, or is refused. */
static enum fail ask(struct stake *s, int64_t tokens, int64_t money)
{
    enum fail f = limits_enter(&worker, l, &who, s);
    if (f == OK)
        f = limits_reserve(&worker, l, s, tokens, money);
    if (f == OK)
        limits_settle(&worker, l, s, tokens, money);
    else
        limits_settle(&worker, l, s, 0, 0);
    limits_check(l);
    return f;
}

TEST(without_limits_nothing_is_counted)
{
    struct stake s = stake_in();
    assert_false(stake_is_any(&s));
    assert_int_equal(limits_reserve(&worker, l, &s, 1000000, DAY), OK);
    limits_settle(&worker, l, &s, 5, 5);
    assert_int_equal(limits_check(l).ledgers, 0);
}

TEST(requests_a_minute_may_come_at_once_and_then_one_by_one)
{
    struct stake s;
    key.rpm = 60;
    for (int i = 0; i < 60; i++)
        assert_int_equal(ask(&s, 0, 0), OK);
    assert_int_equal(s.requests.limit, 60);
    assert_int_equal(s.requests.remaining, 0);
    assert_int_equal(s.requests.reset, 60 * S);
    assert_int_equal(ask(&s, 0, 0), FAIL_RATE_LIMIT);
    assert_int_equal(s.no.kind, LIMIT_REQUESTS);
    assert_int_equal(s.no.owner, LIMIT_OF_KEY);
    assert_int_equal(s.no.wait, S);
    pass(s.no.wait - 1000); /* the clock of buckets has microseconds */
    assert_int_equal(ask(&s, 0, 0), FAIL_RATE_LIMIT);
    pass(1000);
    assert_int_equal(ask(&s, 0, 0), OK); /* refusals cost nothing, and the wait was exact */
    assert_int_equal(ask(&s, 0, 0), FAIL_RATE_LIMIT);
}

/* complaint 19 (litellm#18730): 663 tokens of 100 */
TEST(complaint_19_five_at_once_at_100_tokens_a_minute)
{
    struct stake s[5];
    key.tpm = 100;
    int let_in = 0;
    for (int i = 0; i < 5; i++) {
        s[i] = stake_in();
        let_in += limits_reserve(&worker, l, &s[i], 130, 0) == OK;
    }
    assert_int_equal(let_in, 1);
    assert_int_equal(s[1].no.kind, LIMIT_TOKENS);
    assert_int_equal(s[1].no.wait, 78 * S); /* 130 of 100 a minute */
    for (int i = 0; i < 5; i++)
        limits_settle(&worker, l, &s[i], i == 0 ? 133 : 0, 0);
    struct limits_sums sums = limits_check(l);
    assert_int_equal(sums.settled, 133);
    assert_int_equal(sums.overrun, 3);
}

TEST(what_was_not_used_comes_back_and_what_is_above_is_owed)
{
    struct stake s = stake_in(), t;
    key.tpm = 1000;
    s = stake_in();
    assert_int_equal(limits_reserve(&worker, l, &s, 900, 0), OK);
    assert_int_equal(s.tokens_mark.remaining, 100);
    assert_int_equal(ask(&t, 200, 0), FAIL_RATE_LIMIT);
    limits_settle(&worker, l, &s, 300, 0);
    assert_int_equal(ask(&t, 700, 0), OK);
    assert_int_equal(t.tokens_mark.remaining, 0);
    pass(60 * S);
    s = stake_in();
    assert_int_equal(limits_reserve(&worker, l, &s, 100, 0), OK);
    limits_settle(&worker, l, &s, 2000, 0); /* nobody foresaw that */
    assert_int_equal(ask(&t, 1, 0), FAIL_RATE_LIMIT);
    assert_int_equal(t.no.wait, 60 * S + 60 * MS);
}

/* Drained tokens are not given back once more: else who reserves much, and waits, would have them twice. */
TEST(what_has_drained_is_not_given_back)
{
    struct stake old, full, t;
    key.tpm = 1000;
    old = stake_in();
    assert_int_equal(limits_reserve(&worker, l, &old, 1000, 0), OK);
    pass(60 * S); /* its reservation has drained */
    full = stake_in();
    assert_int_equal(limits_reserve(&worker, l, &full, 1000, 0), OK);
    limits_settle(&worker, l, &old, 100, 0);
    assert_int_equal(ask(&t, 100, 0), FAIL_RATE_LIMIT);
    limits_settle(&worker, l, &full, 1000, 0);
}

TEST(key_and_tenant_both_hold_and_the_tighter_is_shown)
{
    struct stake s, t;
    key.rpm = 10;
    tenant.rpm = 3;
    tenant.concurrency = 2;
    s = stake_in();
    assert_int_equal(s.requests.limit, 3);
    assert_int_equal(s.requests.remaining, 2);
    t = stake_in();
    struct stake third;
    assert_int_equal(limits_enter(&worker, l, &who, &third), FAIL_RATE_LIMIT);
    assert_int_equal(third.no.kind, LIMIT_CONCURRENCY);
    assert_int_equal(third.no.owner, LIMIT_OF_TENANT);
    assert_int_equal(third.requests.remaining, 1); /* it has cost neither of them a request */
    limits_settle(&worker, l, &s, 0, 0);
    limits_settle(&worker, l, &t, 0, 0);
    assert_int_equal(limits_check(l).in_flight, 0);
    s = stake_in();
    limits_settle(&worker, l, &s, 0, 0);
    assert_int_equal(ask(&t, 0, 0), FAIL_RATE_LIMIT);
    assert_int_equal(t.no.owner, LIMIT_OF_TENANT);
}

TEST(a_changed_limit_holds_at_once_and_use_stays)
{
    struct stake s;
    key.rpm = 10;
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&s, 0, 0), OK);
    key.rpm = 4;
    assert_int_equal(ask(&s, 0, 0), FAIL_RATE_LIMIT);
    key.rpm = 6;
    assert_int_equal(ask(&s, 0, 0), OK);
    assert_int_equal(ask(&s, 0, 0), FAIL_RATE_LIMIT);
    key.rpm = 0;
    assert_int_equal(ask(&s, 0, 0), OK);
}

/* complaint 20 (litellm#26672, #27735): what is in flight counts, and nothing counts twice */
TEST(complaint_20_a_budget_is_not_overspent_by_those_in_flight)
{
    struct stake s[5];
    key.budget = (struct conf_number){ 1.0, true };
    int let_in = 0;
    for (int i = 0; i < 5; i++) {
        s[i] = stake_in();
        let_in += limits_reserve(&worker, l, &s[i], 0, 40 * CENT) == OK;
    }
    assert_int_equal(let_in, 2);
    assert_int_equal(s[4].no.kind, LIMIT_BUDGET);
    assert_int_equal(s[4].no.left, 20 * CENT);
    assert_int_equal(s[4].no.wait, DAY);
    for (int i = 0; i < 5; i++)
        limits_settle(&worker, l, &s[i], 0, i < 2 ? 5 * CENT : 0);
    struct stake t;
    assert_int_equal(ask(&t, 0, 90 * CENT), OK); /* 10 cents were spent, not 80 */
    assert_int_equal(ask(&t, 0, 1), FAIL_BUDGET);
    assert_int_equal(ask(&t, 0, 0), OK); /* what is free is free */
    assert_int_equal(ask(&t, 0, 101 * CENT), FAIL_BUDGET);
    assert_int_equal(t.no.wait, -1); /* it never fits */
    pass(DAY);
    assert_int_equal(ask(&t, 0, 100 * CENT), OK);
}

/* hostile 92 */
TEST(hostile_92_a_clock_set_back_opens_no_spent_period_and_one_set_forward_closes_none_for_long)
{
    struct stake s;
    key.budget = (struct conf_number){ 1.0, true };
    key.rpm = 100;
    worker.wall = BEGAN + HOUR / 2;
    assert_int_equal(ask(&s, 0, 100 * CENT), OK);
    worker.wall -= HOUR; /* it is yesterday again */
    assert_int_equal(ask(&s, 0, 1), FAIL_BUDGET);
    pass(HOUR);
    assert_int_equal(ask(&s, 0, 1), FAIL_BUDGET); /* and today for the second time */
    worker.wall += DAY;
    assert_int_equal(ask(&s, 0, 100 * CENT), OK); /* tomorrow, for all we know */
    worker.wall -= DAY;
    assert_int_equal(ask(&s, 0, 1), FAIL_BUDGET); /* that was tomorrow's */
    worker.wall += 1000 * DAY;
    assert_int_equal(ask(&s, 0, 100 * CENT), OK);
    worker.wall -= 1000 * DAY;
    assert_int_equal(ask(&s, 0, 1), FAIL_BUDGET);
    assert_true(s.no.wait > 0 && s.no.wait <= DAY);
    pass(s.no.wait);
    assert_int_equal(ask(&s, 0, 1), OK); /* not in a thousand days */
    assert_int_equal(s.requests.limit, 100);
    assert_true(s.requests.remaining >= 98); /* rates never saw any of it */
}

static struct { enum limit_owner owner; char name[16]; nanos start; int64_t micros; unsigned count; } last;
static void told(void *arg, enum limit_owner owner, struct text name, nanos start, int64_t micros)
{
    assert_ptr_equal(arg, &last);
    assert_false(gate_holds_any());
    last.owner = owner;
    snprintf(last.name, sizeof last.name, "%.*s", TEXT_ARG(name));
    last.start = start;
    last.micros = micros;
    last.count++;
}

TEST(spend_is_told_and_survives_a_restart)
{
    struct stake s;
    memset(&last, 0, sizeof last);
    key.budget = (struct conf_number){ 1.0, true };
    limits_on_spend(l, told, &last);
    worker.wall = BEGAN + HOUR;
    assert_int_equal(ask(&s, 0, 0), OK);
    assert_int_equal(last.count, 0);
    assert_int_equal(ask(&s, 0, 30 * CENT), OK);
    assert_int_equal(ask(&s, 0, 30 * CENT + 1), OK);
    assert_int_equal(last.count, 2);
    assert_int_equal(last.owner, LIMIT_OF_KEY);
    assert_string_equal(last.name, "team-a");
    assert_true(last.start == BEGAN && last.micros == 600001);
    limits_free(l);
    l = limits_new(&world);
    assert_int_equal(limits_restore(l, last.owner, text_of(last.name), last.start, last.micros), OK);
    worker.wall -= 2 * HOUR; /* even if the clock was set back meanwhile */
    assert_int_equal(ask(&s, 0, 40 * CENT), FAIL_BUDGET);
    assert_int_equal(ask(&s, 0, 39 * CENT), OK);
    limits_free(l);
    l = limits_new(&world);
    assert_int_equal(limits_restore(l, last.owner, text_of(last.name), last.start, last.micros), OK);
    worker.wall = BEGAN + DAY;
    assert_int_equal(ask(&s, 0, 100 * CENT), OK); /* yesterday's */
}

/* Names come and go over years of reloads: those that nobody would miss make room, and who has spent is not forgotten. */
TEST(names_are_bounded_and_no_spent_one_is_forgotten)
{
    struct stake s;
    char name[16];
    key = (struct conf_limits){ .rpm = 1, .budget = { 1.0, true }, .period = DAY };
    assert_int_equal(ask(&s, 0, 100 * CENT), OK);
    key.rpm = 1000;
    for (unsigned i = 0; i < 40000; i++) {
        snprintf(name, sizeof name, "n%u", i);
        who.name[LIMIT_OF_KEY] = text_of(name);
        assert_int_equal(ask(&s, 0, 0), OK);
        pass(MS * 60); /* the minute's thousandth: empty again */
    }
    assert_int_equal(limits_check(l).ledgers, 16384);
    who.name[LIMIT_OF_KEY] = TEXT("team-a");
    assert_int_equal(ask(&s, 0, 1), FAIL_BUDGET);
}

TEST(full_of_names_in_use_the_next_is_refused)
{
    static struct stake kept[16384];
    struct stake s;
    char name[16];
    key.concurrency = 1;
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++) {
        snprintf(name, sizeof name, "n%u", i);
        who.name[LIMIT_OF_KEY] = text_of(name);
        kept[i] = stake_in();
    }
    who.name[LIMIT_OF_KEY] = TEXT("one more");
    assert_int_equal(limits_enter(&worker, l, &who, &s), FAIL_NO_MEMORY);
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        limits_settle(&worker, l, &kept[i], 0, 0);
    s = stake_in();
    limits_settle(&worker, l, &s, 0, 0);
}

TEST(cost_is_counted_in_billionths)
{
    struct conf_model m = { .price = { .in = { 0.02, true }, .out = { 0.6, true } } };
    assert_int_equal(limits_cost(&m, 10, 0), 200);
    assert_int_equal(limits_cost(&m, 1000000, 1000000), 620 * NANO_PER_USD / 1000);
    assert_int_equal(limits_cost(NULL, 10, 10), 0);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(without_limits_nothing_is_counted),
        ROW(requests_a_minute_may_come_at_once_and_then_one_by_one),
        ROW(complaint_19_five_at_once_at_100_tokens_a_minute),
        ROW(what_was_not_used_comes_back_and_what_is_above_is_owed),
        ROW(what_has_drained_is_not_given_back),
        ROW(key_and_tenant_both_hold_and_the_tighter_is_shown),
        ROW(a_changed_limit_holds_at_once_and_use_stays),
        ROW(complaint_20_a_budget_is_not_overspent_by_those_in_flight),
        ROW(hostile_92_a_clock_set_back_opens_no_spent_period_and_one_set_forward_closes_none_for_long),
        ROW(spend_is_told_and_survives_a_restart),
        ROW(names_are_bounded_and_no_spent_one_is_forgotten),
        ROW(full_of_names_in_use_the_next_is_refused),
        ROW(cost_is_counted_in_billionths),
    };
    return cmocka_run_group_tests_name("admit", tests, NULL, NULL);
}
