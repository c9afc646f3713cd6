/* test_balance.c: whom each balance chooses, and how many at once: shares, homes, bounds and tails, in virtual time. */
#include "../unit/test_fleet_help.h"
#include "base/random.h"

#include <string.h>

#define TRIO_OF(ca, cb, cc) \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: " ca "}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: " cb "}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: " cc "}\n"
#define CHAT(balance) "models: {chat: {use: [a/x, b/y, c/z], balance: " balance "}}\n"

static struct slot must_take(struct task *t, struct pool *p, uint64_t exclude, uint64_t affinity)
{
    struct slot slot;
    ASSERT(slot_take(t, &(struct claim){ .pool = p, .exclude = exclude, .affinity = affinity, .deadline = NEVER }, &slot) == OK);
    return slot;
}

static char visit(struct task *t, struct pool *p, uint64_t exclude, uint64_t affinity)
{
    struct slot slot = must_take(t, p, exclude, affinity);
    char name = slot.backend->name[0];
    slot_give(t->worker, &slot);
    return name;
}

static uint64_t bit_of(struct scene *s, const char *name) { return backend_bit(backend_of(s->fleet, name)); }

/* ---- weighted ---- */

#define WEIGHTED \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 8, weight: 5}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 8}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: 8}\n" CHAT("weighted")

static void by_weight(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    for (int cycle = 0; cycle < 100; cycle++) {
        char order[8] = "";
        for (int i = 0; i < 7; i++)
            order[i] = visit(t, chat, 0, 0);
        ASSERT(strcmp(order, "aabacaa") == 0); /* five in seven, and never more than two of its own in a row within a cycle */
    }
}
TEST(weights_are_exact_over_every_cycle_and_spread_within) { scene_run(WEIGHTED, by_weight, NULL, 1); }

static void by_large_weights(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    unsigned n[128] = { 0 };
    for (int i = 0; i < 1000 + 999 + 1; i++)
        n[(unsigned char)visit(t, chat, 0, 0)]++;
    ASSERT(n['a'] == 1000 && n['b'] == 999 && n['c'] == 1); /* the least has its turn, too */
}
TEST(no_weight_is_lost_to_rounding)
{
    scene_run("backends:\n"
              "  a: {kind: openai, url: 'http://127.0.0.1:1', weight: 1000}\n"
              "  b: {kind: openai, url: 'http://127.0.0.1:2', weight: 999}\n"
              "  c: {kind: openai, url: 'http://127.0.0.1:3', weight: 1}\n" CHAT("weighted"), by_large_weights, NULL, 1);
}

/* ---- power of two ---- */

#define VISITS 3000
#define SIGMAS 5 /* a binomial share so far off is no chance in a test's life; the seed is fixed, besides */
static void two_of_equals(struct task *t, void *arg)
{
    struct scene *s = arg;
    unsigned n[128] = { 0 };
    for (int i = 0; i < VISITS; i++)
        n[(unsigned char)visit(t, pool_of(s->fleet, "chat"), 0, 0)]++;
    for (const char *name = "abc"; *name != '\0'; name++) { /* mean 1000, standard deviation 26 */
        ASSERT(n[(unsigned char)*name] > VISITS / 3 - SIGMAS * 26 && n[(unsigned char)*name] < VISITS / 3 + SIGMAS * 26);
    }
    struct slot kept[3]; /* what is in flight counts: of two that are equal otherwise the emptier one */
    for (int i = 0; i < 3; i++)
        kept[i] = must_take(t, pool_of(s->fleet, "chat"), bit_of(s, "b") | bit_of(s, "c"), 0);
    for (int i = 0; i < 100; i++)
        ASSERT(visit(t, pool_of(s->fleet, "chat"), bit_of(s, "c"), 0) == 'b');
    for (int i = 0; i < 3; i++)
        slot_give(t->worker, &kept[i]);
}
TEST(of_two_equals_the_emptier_and_else_an_even_share) { scene_run(TRIO_OF("8", "8", "8") CHAT("power_of_two"), two_of_equals, NULL, 7); }

static void measured(struct task *t, struct pool *p, uint64_t exclude, nanos first)
{
    struct slot slot = must_take(t, p, exclude, 0);
    ASSERT(task_sleep(t, t->worker->now + first) == OK);
    slot_measured(&slot, first, false);
    slot_give(t->worker, &slot);
}

static unsigned visits_of_a(struct task *t, struct scene *s)
{
    unsigned n = 0;
    for (int i = 0; i < 300; i++)
        n += visit(t, pool_of(s->fleet, "chat"), bit_of(s, "c"), 0) == 'a';
    return n;
}

static void slow_once(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct backend *a = backend_of(s->fleet, "a");
    measured(t, chat, bit_of(s, "b") | bit_of(s, "c"), 2000 * MS);
    measured(t, chat, bit_of(s, "a") | bit_of(s, "c"), 100 * MS);
    ASSERT(visits_of_a(t, s) == 0);
    backend_mark(t->worker, a, FAIL_CONNECT);
    backend_mark(t->worker, a, OK);
    ASSERT(a->first_token == 2000 * MS && visits_of_a(t, s) == 0); /* what a connect says is no news about load */
    struct slot held = must_take(t, chat, bit_of(s, "a") | bit_of(s, "c"), 0);
    ASSERT(visits_of_a(t, s) == 0); /* one more in flight does not make up for twenty times the time */
    ASSERT(task_sleep(t, t->worker->now + 60 * NANOS_PER_S) == OK);
    ASSERT(visits_of_a(t, s) == 300); /* long ago: what is in flight decides */
    slot_give(t->worker, &held);
    for (int i = 0; i < 100; i++)
        measured(t, chat, bit_of(s, "b") | bit_of(s, "c"), 100 * MS);
    ASSERT(a->first_token >= 100 * MS && a->first_token < 1000 * MS); /* better is believed bit by bit */
}
/* complaint 27: load that was measured long ago starves a backend; a health check sets load to zero. */
TEST(complaint_27_a_measure_is_forgotten_with_time_and_by_nothing_else) { scene_run(TRIO_OF("8", "8", "8") CHAT("power_of_two"), slow_once, NULL, 3); }

#define USERS   6
#define TURNS   200
struct crowd {
    nanos took[USERS * TURNS];
    unsigned count, slow;
};
struct user {
    struct scene *scene;
    struct crowd *crowd;
};

static void user(struct task *t, void *arg)
{
    struct user *me = arg;
    for (int i = 0; i < TURNS; i++) {
        nanos began = t->worker->now;
        struct slot slot = must_take(t, pool_of(me->scene->fleet, "chat"), 0, 0);
        bool is_slow = slot.backend->name[0] == 'c';
        ASSERT(task_sleep(t, t->worker->now + (is_slow ? 1000 : 100) * MS) == OK);
        slot_measured(&slot, t->worker->now - began, false);
        slot_give(t->worker, &slot);
        me->crowd->slow += is_slow;
        me->crowd->took[me->crowd->count++] = t->worker->now - began;
    }
    me->scene->alive--;
}

static int by_span(const void *a, const void *b)
{
    nanos x = *(const nanos *)a, y = *(const nanos *)b;
    return (x > y) - (x < y);
}

static void one_is_slow(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct user users[USERS];
    for (int i = 0; i < USERS; i++) {
        users[i] = (struct user){ s, s->arg };
        s->alive++;
        both_start(&s->workers[0], "user", user, &users[i]);
    }
    while (s->alive > 0)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
}

static nanos p99_of(const char *yaml, unsigned *out_slow)
{
    static struct crowd crowd;
    crowd.count = crowd.slow = 0;
    scene_run(yaml, one_is_slow, &crowd, 5);
    qsort(crowd.took, crowd.count, sizeof crowd.took[0], by_span);
    *out_slow = crowd.slow;
    return crowd.took[crowd.count * 99 / 100];
}

TEST(beside_a_slow_backend_two_choices_have_the_shorter_tail)
{
    unsigned slow_in_turn, slow_of_two, slow_least;
    nanos in_turn = p99_of(TRIO_OF("64", "64", "64") CHAT("round_robin"), &slow_in_turn);
    nanos least = p99_of(TRIO_OF("64", "64", "64") CHAT("least_loaded"), &slow_least);
    nanos of_two = p99_of(TRIO_OF("64", "64", "64") CHAT("power_of_two"), &slow_of_two);
    printf("one of three backends ten times as slow, %d requests: slow ones, p99\n", USERS * TURNS);
    printf("  round_robin   %4u %5lld ms\n  least_loaded  %4u %5lld ms\n  power_of_two  %4u %5lld ms\n", slow_in_turn, (long long)(in_turn / MS), slow_least,
           (long long)(least / MS), slow_of_two, (long long)(of_two / MS));
    assert_true(of_two * 5 < in_turn);
    assert_true(slow_of_two * 10 < slow_in_turn && slow_of_two > 0); /* it is looked at again and again */
}

/* ---- affinity ---- */

#define SESSIONS 2000
#define MOST     9
static const char *fleet_of(unsigned first, unsigned last, const char *balance)
{
    static char yaml[4096];
    int at = snprintf(yaml, sizeof yaml, "backends:\n");
    for (unsigned i = first; i <= last; i++)
        at += snprintf(yaml + at, sizeof yaml - (size_t)at, "  %c: {kind: openai, url: 'http://127.0.0.1:%u', concurrency: 8}\n", 'a' + (int)i, 1 + i);
    at += snprintf(yaml + at, sizeof yaml - (size_t)at, "models: {chat: {balance: %s, use: [", balance);
    for (unsigned i = first; i <= last; i++)
        at += snprintf(yaml + at, sizeof yaml - (size_t)at, "%s%c/x", i > first ? ", " : "", 'a' + (int)i);
    snprintf(yaml + at, sizeof yaml - (size_t)at, "]}}\n");
    return yaml;
}

static uint64_t session_of(unsigned i)
{
    uint64_t state = i;
    return random_step(&state) | 1;
}

static void homes(struct task *t, struct scene *s, char out[SESSIONS])
{
    for (unsigned i = 0; i < SESSIONS; i++)
        out[i] = visit(t, pool_of(s->fleet, "chat"), 0, session_of(i));
}

static void homes_stay(struct task *t, void *arg)
{
    struct scene *s = arg;
    char (*seen)[SESSIONS] = s->arg; /* 0: eight backends, 1: nine, 2: without the first */
    unsigned n[128] = { 0 }, moved = 0;
    apply(s->fleet, fleet_of(0, MOST - 2, "affinity"));
    homes(t, s, seen[0]);
    homes(t, s, seen[1]);
    ASSERT(memcmp(seen[0], seen[1], SESSIONS) == 0);
    for (unsigned i = 0; i < SESSIONS; i++)
        n[(unsigned char)seen[0][i]]++;
    for (int name = 'a'; name < 'a' + MOST - 1; name++) /* mean 250, standard deviation 15 */
        ASSERT(n[name] > 250 - SIGMAS * 15 && n[name] < 250 + SIGMAS * 15);
    apply(s->fleet, fleet_of(0, MOST - 1, "affinity"));
    homes(t, s, seen[1]);
    for (unsigned i = 0; i < SESSIONS; i++) {
        ASSERT(seen[1][i] == seen[0][i] || seen[1][i] == 'a' + MOST - 1); /* only to the new one */
        moved += seen[1][i] != seen[0][i];
    }
    ASSERT(moved > 222 - SIGMAS * 14 && moved < 222 + SIGMAS * 14); /* a ninth */
    apply(s->fleet, fleet_of(1, MOST - 1, "affinity"));
    homes(t, s, seen[2]);
    for (unsigned i = 0; i < SESSIONS; i++)
        ASSERT(seen[1][i] == 'a' || seen[2][i] == seen[1][i]); /* only from the one that left */
}
/* complaint 45: affinity is lost when the router starts anew: here nothing is kept that could be. */
TEST(complaint_45_sessions_stay_when_backends_come_and_go_and_when_weir_starts_anew)
{
    static char first[3][SESSIONS], again[3][SESSIONS];
    scene_run(fleet_of(0, MOST - 2, "affinity"), homes_stay, first, 1);
    scene_run(fleet_of(3, MOST - 2, "affinity"), homes_stay, again, 2); /* another process, which has met them in another order */
    assert_memory_equal(first, again, sizeof first);
}

#define SLOTS_ALL (4 + 8 + 16)
static void bounded(struct task *t, void *arg)
{
    struct scene *s = arg;
    static const char *const names[] = { "a", "b", "c" };
    struct slot kept[SLOTS_ALL];
    for (unsigned session = 0; session < 50; session++) {
        char last = 0;
        unsigned spilled = 0;
        for (unsigned n = 0; n < SLOTS_ALL; n++) {
            kept[n] = must_take(t, pool_of(s->fleet, "chat"), 0, session_of(session)); /* one busy conversation: all of it has one home */
            uint32_t load = kept[n].backend->in_flight, limit = kept[n].backend->limit;
            ASSERT(4 * SLOTS_ALL * (load - 1) < 5 * (n + 1) * limit); /* load <= ceil(1.25 x its share of all n + 1) */
            spilled += last != 0 && kept[n].backend->name[0] != last;
            last = kept[n].backend->name[0];
        }
        ASSERT(spilled > 0);
        for (unsigned i = 0; i < 3; i++) {
            struct backend *b = backend_of(s->fleet, names[i]);
            ASSERT(b->in_flight == b->limit);
        }
        for (unsigned n = 0; n < SLOTS_ALL; n++)
            slot_give(t->worker, &kept[n]);
    }
}
/* complaint 27: a death spiral to the busiest worker. */
TEST(complaint_27_one_busy_session_never_loads_its_home_beyond_its_bound) { scene_run(TRIO_OF("4", "8", "16") CHAT("affinity"), bounded, NULL, 1); }

static void unknown_sessions(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    char one = visit(t, chat, 0, 0), two = visit(t, chat, 0, 0), three = visit(t, chat, 0, 0);
    ASSERT(one != two && two != three && one != three);
    char home = visit(t, chat, 0, 42), next = visit(t, chat, bit_of(s, (char[]){ home, 0 }), 42);
    ASSERT(next != home);
    for (int i = 0; i < 10; i++)
        ASSERT(visit(t, chat, bit_of(s, (char[]){ home, 0 }), 42) == next); /* its second home is always the same, too */
}
TEST(who_belongs_nowhere_goes_where_most_is_free_and_a_retry_to_its_next_home) { scene_run(TRIO_OF("8", "8", "8") CHAT("affinity"), unknown_sessions, NULL, 1); }

/* ---- all of them ---- */

/* That only free ones are chosen is asserted at each choice (slots.c), and that nobody waits beside a free one at each release of the gate. */
static void crush(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct slot kept[6];
    unsigned count = 0;
    uint64_t chance = s->seed;
    for (int i = 0; i < 2000; i++) {
        uint64_t exclude = draw(&chance, 8);
        struct slot more;
        if (count < ARRAY_LEN(kept) && draw(&chance, 2)) {
            enum fail f = slot_take(t, &(struct claim){ .pool = pool_of(s->fleet, "chat"), .exclude = exclude, .affinity = draw(&chance, 3),
                                                        .deadline = t->worker->now + MS }, &more);
            ASSERT(f == (exclude == 7 ? FAIL_NO_BACKEND : OK) || f == FAIL_TIMEOUT || f == FAIL_BUSY); /* BUSY: it would not be its turn in time */
            ASSERT(f != OK || !(exclude & backend_bit(more.backend)));
            if (f == OK)
                kept[count++] = more;
        } else if (count > 0) {
            unsigned at = (unsigned)draw(&chance, count);
            slot_measured(&kept[at], (nanos)draw(&chance, 3) * 10 * MS, draw(&chance, 4) == 0);
            slot_give(t->worker, &kept[at]);
            kept[at] = kept[--count];
        }
        if (draw(&chance, 20) == 0)
            backend_mark(t->worker, backend_of(s->fleet, (char[]){ (char)('a' + draw(&chance, 3)), 0 }), draw(&chance, 2) ? FAIL_CONNECT : OK);
    }
    while (count > 0)
        slot_give(t->worker, &kept[--count]);
}
TEST(no_balance_ever_chooses_who_is_full_tried_or_avoided)
{
    static const char *const all[] = { TRIO_OF("1", "2", "4") CHAT("round_robin"), TRIO_OF("1", "2", "4") CHAT("least_loaded"),
                                       TRIO_OF("1", "2", "adaptive") CHAT("power_of_two"), TRIO_OF("1", "2", "4") CHAT("affinity"),
                                       "backends:\n  a: {url: 'http://127.0.0.1:1', concurrency: 1, weight: 9}\n  b: {url: 'http://127.0.0.1:2', concurrency: 2}\n"
                                       "  c: {url: 'http://127.0.0.1:3', concurrency: 4, weight: 3}\n" CHAT("weighted") };
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        for (unsigned seed = 1; seed <= seeds_wanted(20); seed++)
            scene_run(all[i], crush, NULL, seed);
}

/* ---- concurrency: adaptive, in a fleet ---- */

#define ADAPTIVE "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: adaptive}}\nmodels: {chat: {use: [a/x]}}\n"
#define FIXED    "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 3}}\nmodels: {chat: {use: [a/x]}}\n"
#define KNEE     8
#define ASKERS   40
#define FIRST    (50 * MS)
#define REST     (450 * MS)

struct server {
    struct scene *scene;
    nanos free_at[KNEE]; /* when each of its places is free; it queues behind them */
    unsigned most, served;
    nanos until;
};

static void asker(struct task *t, void *arg)
{
    struct server *server = arg;
    while (t->worker->now < server->until) {
        struct slot slot = must_take(t, pool_of(server->scene->fleet, "chat"), 0, 0);
        unsigned best = 0;
        for (unsigned i = 1; i < KNEE; i++)
            best = server->free_at[i] < server->free_at[best] ? i : best;
        nanos begins = MAX(server->free_at[best], t->worker->now), ends = server->free_at[best] = begins + FIRST + REST;
        server->most = MAX(server->most, slot.backend->in_flight);
        nanos first = begins + FIRST - t->worker->now;
        ASSERT(task_sleep(t, ends) == OK);
        slot_measured(&slot, first, false);
        slot_give(t->worker, &slot);
        server->served++;
    }
    server->scene->alive--;
}

static void finds_knee(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct backend *a = backend_of(s->fleet, "a");
    struct server server = { .scene = s, .until = t->worker->now + 120 * NANOS_PER_S };
    for (int i = 0; i < ASKERS; i++) {
        s->alive++;
        both_start(&s->workers[i % BOTH_WORKERS], "asker", asker, &server);
    }
    ASSERT(task_sleep(t, t->worker->now + 60 * NANOS_PER_S) == OK);
    unsigned half = server.served;
    apply(s->fleet, ADAPTIVE); /* a reload forgets nothing */
    ASSERT(a->limit >= KNEE / 2 && a->limit <= KNEE * 3 / 2);
    struct buf status;
    buf_init(&status, 1u << 16);
    ASSERT(fleet_print_json(s->fleet, &status) == OK && text_find(buf_text(&status), TEXT("\"adaptive\":true")) > 0);
    buf_fini(&status);
    while (s->alive > 0)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    ASSERT((server.served - half) * 10 > 9 * KNEE * 60 * 2); /* nine tenths of what it can in the second minute, at two a second and place */
    ASSERT(server.most < ASKERS / 2);
    apply(s->fleet, FIXED);
    ASSERT(a->limit == 3);
    apply(s->fleet, ADAPTIVE);
    ASSERT(a->limit == 4); /* it begins anew */
}
TEST(an_adaptive_backend_gets_as_many_as_it_serves_at_once)
{
    for (unsigned seed = 1; seed <= 3; seed++)
        scene_run(ADAPTIVE, finds_knee, NULL, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_exact_over_every_cycle_and_spread_within),
        cmocka_unit_test(no_weight_is_lost_to_rounding),
        cmocka_unit_test(of_two_equals_the_emptier_and_else_an_even_share),
        cmocka_unit_test(complaint_27_a_measure_is_forgotten_with_time_and_by_nothing_else),
        cmocka_unit_test(beside_a_slow_backend_two_choices_have_the_shorter_tail),
        cmocka_unit_test(complaint_45_sessions_stay_when_backends_come_and_go_and_when_weir_starts_anew),
        cmocka_unit_test(complaint_27_one_busy_session_never_loads_its_home_beyond_its_bound),
        cmocka_unit_test(who_belongs_nowhere_goes_where_most_is_free_and_a_retry_to_its_next_home),
        cmocka_unit_test(no_balance_ever_chooses_who_is_full_tried_or_avoided),
        cmocka_unit_test(an_adaptive_backend_gets_as_many_as_it_serves_at_once),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
