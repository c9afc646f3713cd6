/* test_hedge.c: what hedging needs to know of a pool: when a first token is late, how many second calls were earned, and whose slot may be taken for one. The whole of
   it, with wires, is in tests/flow/hedge_*.flow and in the floods of test_gateway.c. complaint 29 (hedging) */
#include "../unit/test_fleet_help.h"

#include <math.h>

#define SECONDS NANOS_PER_S

#define THREE \
    "limits: {queue: 10}\n" \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 2}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 2}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: 2}\n" \
    "models: {chat: {use: [a/x, b/y], fallback: [c/z]}, narrow: {use: [b/y]}}\n"

/* A lognormal span by the sum of twelve dice. */
static nanos some_span(uint64_t *chance, double median_ms, double sigma)
{
    double normal = -6;
    for (int i = 0; i < 12; i++)
        normal += (double)draw(chance, 1u << 20) / (1u << 20);
    return (nanos)(median_ms * exp(sigma * normal) * MS);
}

static int by_length(const void *a, const void *b)
{
    nanos x = *(const nanos *)a, y = *(const nanos *)b;
    return x < y ? -1 : x > y;
}

static void is_late(struct task *t, void *arg)
{
    (void)t;
    static nanos seen[1900]; /* fewer than fade */
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    uint64_t chance = 7;
    for (unsigned i = 0; i < ARRAY_LEN(seen); i++) {
        ASSERT(i >= 20 || pool_late(chat, true) == NEVER);
        seen[i] = some_span(&chance, 200, 0.8);
        pool_first_token(chat, true, seen[i]);
    }
    qsort(seen, ARRAY_LEN(seen), sizeof seen[0], by_length);
    nanos exact = seen[ARRAY_LEN(seen) * 95 / 100], late = pool_late(chat, true);
    ASSERT(late >= exact && late <= exact + exact / 8 + 1); /* a bucket too late at most, and never too early */
    ASSERT(pool_late(chat, false) == NEVER && pool_late(pool_of(s->fleet, "narrow"), true) == NEVER);
    for (unsigned i = 0; i < 8000; i++) /* it has become ten times as quick */
        pool_first_token(chat, true, some_span(&chance, 20, 0.8));
    ASSERT(pool_late(chat, true) < exact / 8);
    for (unsigned i = 0; i < 40; i++) { /* the ends of what is told apart */
        pool_first_token(chat, false, i % 2 ? -5 : 0);
        ASSERT(i < 19 || pool_late(chat, false) < MS);
    }
    for (unsigned i = 0; i < 40; i++)
        pool_first_token(chat, false, INT64_MAX);
    ASSERT(pool_late(chat, false) > 1800 * SECONDS && pool_late(chat, false) < NEVER);
}
TEST(late_is_what_95_in_a_hundred_are_not) { scene_run(THREE, is_late, NULL, 1); }

static void budget(struct task *t, void *arg)
{
    (void)t;
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    uint64_t chance = 3, calls = 0, paid = 0;
    for (unsigned i = 0; i < 200000; i++) {
        if (draw(&chance, 3) > 0) {
            pool_hedge_earn(chat);
            calls++;
        } else if (pool_hedge_pay(chat)) {
            paid++;
            if (draw(&chance, 4) == 0) { /* nothing was to be had */
                pool_hedge_return(chat);
                paid--;
            }
        }
        ASSERT(20 * paid <= calls);
    }
    ASSERT(20 * paid + 400 > calls); /* and none is kept back */
    for (unsigned i = 0; i < 100000; i++)
        pool_hedge_earn(chat);
    for (paid = 0; pool_hedge_pay(chat);)
        paid++;
    ASSERT(paid == 10); /* of a quiet hour */
}
TEST(a_second_call_costs_what_twenty_calls_earn) { scene_run(THREE, budget, NULL, 1); }

static struct slot visit(struct task *t, struct pool *p, uint64_t exclude)
{
    struct slot slot;
    ASSERT(slot_take(t, &(struct claim){ .pool = p, .exclude = exclude, .class = CONF_CLASS_HIGH, .deadline = NEVER }, &slot) == OK);
    return slot;
}

/* Whom it gets beside the backend `beside`, or NULL; and gives it back. */
static struct backend *tries(struct task *t, struct pool *p, const struct slot *beside)
{
    struct slot slot;
    struct claim claim = { .pool = p, .exclude = backend_bit(beside->backend), .class = CONF_CLASS_HIGH, .deadline = NEVER };
    if (!slot_try(t->worker, &claim, beside, &slot))
        return NULL;
    struct backend *b = slot.backend;
    slot_give(t->worker, &slot);
    return b;
}

static void waits(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct slot slot = visit(t, pool_of(s->fleet, "narrow"), 0);
    slot_give(t->worker, &slot);
    s->alive--;
}

static void whose_slot(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat"), *narrow = pool_of(s->fleet, "narrow");
    struct backend *a = backend_of(s->fleet, "a"), *b = backend_of(s->fleet, "b");
    struct slot first = visit(t, chat, backend_bit(b));
    ASSERT(first.backend == a && tries(t, chat, &first) == b);
    struct slot one = visit(t, narrow, 0), two = visit(t, narrow, 0);
    ASSERT(tries(t, chat, &first) == NULL); /* full: fallback is for when nobody of use is left */
    s->alive++;
    struct task *waiter = task_start(t->worker, "waiter", waits, s);
    ASSERT(waiter != NULL && task_sleep(t, t->worker->now + MS) == OK && pool_waiting(narrow) == 1);
    ASSERT(tries(t, chat, &first) == NULL);
    slot_give(t->worker, &one); /* the waiter has it */
    ASSERT(tries(t, chat, &first) == NULL);
    slot_give(t->worker, &two);
    ASSERT(task_sleep(t, t->worker->now + MS) == OK && tries(t, chat, &first) == b);
    backend_mark(t->worker, b, FAIL_CONNECT);
    ASSERT(tries(t, chat, &first) == NULL); /* it was not there a moment ago */
    backend_mark(t->worker, b, OK);
    backend_hold(t->worker, b, 5 * SECONDS);
    ASSERT(tries(t, chat, &first) == NULL); /* it asked for a pause */
    ASSERT(task_sleep(t, t->worker->now + 6 * SECONDS) == OK && tries(t, chat, &first) == b);
    slot_give(t->worker, &first);
}
TEST(only_a_slot_that_nobody_else_wants_is_taken) { scene_run(THREE, whose_slot, NULL, 1); }

/* narrow's last one: its breaker never opens, so this one is of another configuration. */
static void half_open(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct backend *a = backend_of(s->fleet, "a"), *b = backend_of(s->fleet, "b");
    struct slot first = visit(t, chat, backend_bit(b));
    ASSERT(first.backend == a && tries(t, chat, &first) == b);
    for (int i = 0; i < BREAKER_FAILURES; i++)
        backend_note(t->worker, b, BACKEND_FAILED);
    ASSERT(tries(t, chat, &first) == NULL);
    ASSERT(task_sleep(t, t->worker->now + BREAKER_OPEN_NS + 2 * SECONDS) == OK);
    ASSERT(atomic_load(&b->breaker) == BREAKER_HALF_OPEN && tries(t, chat, &first) == NULL); /* a call that may be cancelled proves nothing */
    backend_began(t->worker, b);
    ASSERT(tries(t, chat, &first) == b);
    slot_give(t->worker, &first);
}
TEST(a_broken_one_is_not_asked_beside) { scene_run("backends: {a: {kind: openai, url: 'http://127.0.0.1:1'}, b: {kind: openai, url: 'http://127.0.0.1:2'}}\nmodels: {chat: {use: [a/x, b/y]}}\n", half_open, NULL, 1); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_is_what_95_in_a_hundred_are_not),
        cmocka_unit_test(a_second_call_costs_what_twenty_calls_earn),
        cmocka_unit_test(only_a_slot_that_nobody_else_wants_is_taken),
        cmocka_unit_test(a_broken_one_is_not_asked_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
