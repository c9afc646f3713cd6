/* test_fleet.c: slots and their queue: who gets which slot, when, and that none is ever lost, on two workers in the simulated world and on real threads. */
#include "../unit/test_fleet_help.h"

#define STORM_SEEDS 1000
#define RACE_SEEDS  300
#define REAL_ROUNDS 10

/* Until then or until cancelled, which is all the same to who calls. */
static void rest(struct task *t, nanos until)
{
    if (task_sleep(t, until) != OK)
        return;
}

static enum fail take_slot(struct task *t, struct pool *pool, uint64_t exclude, nanos deadline, struct slot *out)
{
    return slot_take(t, &(struct claim){ .pool = pool, .exclude = exclude, .class = CONF_CLASS_NORMAL, .deadline = deadline }, out);
}

/* ---- whom a slot is taken from: stories of one task ---- */

#define TRIO \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 4}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 4}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: 4}\n"
#define IN_TURN   TRIO "models: {chat: {use: [a/x, b/y, c/z], balance: round_robin}}\n"
#define BY_LOAD   TRIO "models: {chat: {use: [a/x, b/y, c/z], balance: least_loaded}, solo: {use: [a/x]}}\n"
#define TWO_TIERS TRIO "models: {chat: {use: [a/x, b/y], fallback: [c/z], balance: round_robin}}\n"

static struct slot must_take(struct task *t, struct pool *p, uint64_t exclude)
{
    struct slot slot;
    ASSERT(take_slot(t, p, exclude, NEVER, &slot) == OK);
    return slot;
}

/* Which backend a request gets that lets it go at once. */
static char visit(struct task *t, struct pool *p, uint64_t exclude)
{
    struct slot slot = must_take(t, p, exclude);
    char name = slot.backend->name[0];
    slot_give(t->worker, &slot);
    return name;
}

static void visits(struct task *t, struct pool *p, const char *expected)
{
    for (; *expected != '\0'; expected++)
        ASSERT(visit(t, p, 0) == *expected);
}

static void in_turn(struct task *t, void *arg)
{
    struct scene *s = arg;
    unsigned seen[128] = { 0 };
    visits(t, pool_of(s->fleet, "chat"), "abcabc");
    for (int i = 0; i < 300; i++)
        seen[(unsigned char)visit(t, pool_of(s->fleet, "chat"), 0)]++;
    ASSERT(seen['a'] == 100 && seen['b'] == 100 && seen['c'] == 100);
}
TEST(round_robin_is_even) { scene_run(IN_TURN, in_turn, NULL, 1); }

static void by_load(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat"), *solo = pool_of(s->fleet, "solo");
    struct slot kept[12];
    kept[0] = must_take(t, solo, 0);
    kept[1] = must_take(t, solo, 0);
    unsigned n[128] = { ['a'] = 2 };
    for (int i = 2; i < 12; i++) {
        kept[i] = must_take(t, chat, 0);
        unsigned char name = (unsigned char)kept[i].backend->name[0];
        for (const char *other = "abc"; *other != '\0'; other++)
            ASSERT(n[name] <= n[(unsigned char)*other]); /* nobody had fewer */
        n[name]++;
    }
    for (int i = 0; i < 12; i++)
        slot_give(t->worker, &kept[i]);
    char first = visit(t, chat, 0), second = visit(t, chat, 0), third = visit(t, chat, 0);
    ASSERT(first != second && second != third && third != first); /* equals take turns */
}
TEST(least_loaded_goes_where_most_is_free) { scene_run(BY_LOAD, by_load, NULL, 1); }

static void slot_tells(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct slot slot = must_take(t, pool_of(s->fleet, "chat"), backend_bit(backend_of(s->fleet, "a")));
    ASSERT(text_eq(slot.model, TEXT("y")) && slot.endpoint->port == 2 && !slot.fallback && slot.queued_ns == 0);
    apply(s->fleet, "backends: {z: {kind: openai, url: 'http://127.0.0.1:9'}}\n");
    ASSERT(text_eq(slot.model, TEXT("y")) && slot.endpoint->port == 2); /* what a request holds outlives the reload */
    ASSERT(slot.backend->limit == 0 && slot.backend->in_flight == 1);
    slot_give(t->worker, &slot);
    ASSERT(slot.roster == NULL);
}
TEST(a_slot_says_where_to_go_and_keeps_saying_it_after_a_reload) { scene_run(TWO_TIERS, slot_tells, NULL, 1); }

static void retries(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot slot;
    uint64_t a = backend_bit(backend_of(s->fleet, "a")), b = backend_bit(backend_of(s->fleet, "b")), c = backend_bit(backend_of(s->fleet, "c"));
    for (int i = 0; i < 8; i++) {
        ASSERT(visit(t, chat, a) == 'b');
        ASSERT(visit(t, chat, a | c) == 'b');
        ASSERT(visit(t, chat, a | b) == 'c'); /* all of use were tried: fallback */
    }
    ASSERT(take_slot(t, chat, a | b | c, NEVER, &slot) == FAIL_NO_BACKEND);
    apply(s->fleet, TRIO "models: {other: {use: [a/x]}}\n");
    ASSERT(take_slot(t, chat, 0, NEVER, &slot) == FAIL_NO_BACKEND); /* the model went away with the request on its way */
}
TEST(a_retry_goes_to_another_backend_and_then_to_fallback) { scene_run(TWO_TIERS, retries, NULL, 1); }

static void busy_is_no_reason(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot kept[8], more;
    for (int i = 0; i < 8; i++) {
        kept[i] = must_take(t, chat, 0);
        ASSERT(!kept[i].fallback);
    }
    ASSERT(take_slot(t, chat, 0, t->worker->now + MS, &more) == FAIL_TIMEOUT); /* it waits for a or b, though c is idle */
    more = must_take(t, chat, backend_bit(kept[0].backend) | backend_bit(kept[1].backend));
    ASSERT(more.fallback && more.backend->name[0] == 'c');
    slot_give(t->worker, &more);
    for (int i = 0; i < 8; i++)
        slot_give(t->worker, &kept[i]);
}
TEST(fallback_is_not_for_when_the_others_are_busy) { scene_run(TWO_TIERS, busy_is_no_reason, NULL, 1); }

static void avoidance(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct backend *a = backend_of(s->fleet, "a"), *b = backend_of(s->fleet, "b"), *c = backend_of(s->fleet, "c");
    backend_mark(t->worker, a, FAIL_RESET);
    backend_mark(t->worker, a, FAIL_UPSTREAM);
    visits(t, chat, "abab"); /* those say nothing about connecting */
    backend_mark(t->worker, a, FAIL_CONNECT);
    visits(t, chat, "bbbb");
    ASSERT(visit(t, chat, backend_bit(b)) == 'c'); /* fallback comes before one that was not there a moment ago */
    ASSERT(visit(t, chat, backend_bit(b) | backend_bit(c)) == 'a'); /* and that one before nobody */
    backend_mark(t->worker, b, FAIL_NAME);
    visits(t, chat, "cccc");
    backend_mark(t->worker, c, FAIL_CONNECT);
    visits(t, chat, "abab"); /* nobody is better than another */
    backend_mark(t->worker, b, OK);
    visits(t, chat, "bbbb");
    ASSERT(task_sleep(t, t->worker->now + AVOID_NS - MS) == OK);
    visits(t, chat, "bb");
    ASSERT(task_sleep(t, t->worker->now + 2 * MS) == OK);
    visits(t, chat, "abab");
}
TEST(a_backend_that_refused_a_connect_is_avoided_for_a_second) { scene_run(TWO_TIERS, avoidance, NULL, 1); }

/* ---- queueing: stories of several tasks ---- */

#define SINGLE "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 1}}\nmodels: {chat: {use: [a/x]}}\nlimits: {queue: 8}\n"
#define PAIR \
    "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 1}, b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 1}}\n" \
    "models: {chat: {use: [a/x, b/y]}, solo: {use: [a/x]}}\n"

struct guest {
    struct scene *scene;
    struct pool *pool;
    uint64_t exclude;
    nanos wait, hold; /* wait 0: for ever */
    nanos cancel_at;  /* 0: never */
    int number;
    int *order;       /* where numbers go as they are served */
    _Atomic int *served;
    enum fail result; /* FAIL_COUNT while it has none */
    char backend;
    nanos queued_ns;
    struct task *_Atomic task;
};

static void guest(struct task *t, void *arg)
{
    struct guest *g = arg;
    struct slot slot;
    g->task = t;
    enum fail f = take_slot(t, g->pool, g->exclude, g->wait ? t->worker->now + g->wait : NEVER, &slot);
    if (f == OK) {
        g->backend = slot.backend->name[0];
        g->queued_ns = slot.queued_ns;
        if (g->order != NULL)
            g->order[(*g->served)++] = g->number;
        rest(t, t->worker->now + g->hold); /* cancelled or not, the slot goes back */
        slot_give(t->worker, &slot);
    }
    g->result = f;
    g->task = NULL;
    g->scene->alive--;
}

static void invite(struct guest *g, unsigned worker)
{
    g->result = FAIL_COUNT;
    g->scene->alive++;
    both_start(g->scene->workers + worker, "guest", guest, g);
}

static void pause_ms(struct task *t, nanos ms)
{
    ASSERT(task_sleep(t, t->worker->now + ms * MS) == OK);
}

/* Guests stand on their story's stack: no story ends before they have. */
static void all_gone(struct task *t, const struct scene *s)
{
    while (s->alive > 0)
        pause_ms(t, 1);
}

#define GUESTS 8
static void first_come(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct guest guests[GUESTS];
    int order[GUESTS];
    _Atomic int served = 0;
    struct slot slot = must_take(t, chat, 0);
    for (int i = 0; i < GUESTS; i++) {
        guests[i] = (struct guest){ .scene = s, .pool = chat, .hold = MS / 10, .number = i, .order = order, .served = &served };
        invite(&guests[i], (unsigned)i % BOTH_WORKERS);
        pause_ms(t, 1);
    }
    ASSERT(pool_waiting(chat) == GUESTS && served == 0);
    slot_give(t->worker, &slot);
    all_gone(t, s);
    for (int i = 0; i < GUESTS; i++)
        ASSERT(order[i] == i && guests[i].queued_ns > 0);
}
TEST(who_came_first_is_served_first_whatever_the_worker)
{
    for (unsigned seed = 1; seed <= seeds_wanted(RACE_SEEDS); seed++)
        scene_run(SINGLE, first_come, NULL, seed);
}

static void over_pools(struct task *t, void *arg)
{
    struct scene *s = arg;
    int order[4];
    _Atomic int served = 0;
    struct slot one = must_take(t, pool_of(s->fleet, "chat"), 0), two = must_take(t, pool_of(s->fleet, "chat"), 0);
    struct slot *a = one.backend->name[0] == 'a' ? &one : &two, *b = a == &one ? &two : &one;
    struct guest guests[4];
    for (int i = 0; i < 4; i++) { /* 0: chat without a; 1: solo; 2: chat; 3: solo */
        guests[i] = (struct guest){ .scene = s, .pool = pool_of(s->fleet, i % 2 ? "solo" : "chat"), .exclude = i == 0 ? backend_bit(a->backend) : 0,
                                    .hold = 3 * MS, .number = i, .order = order, .served = &served };
        invite(&guests[i], (unsigned)i % BOTH_WORKERS);
        pause_ms(t, 1);
    }
    slot_give(t->worker, a); /* not for 0, who came first but will not have it */
    pause_ms(t, 1);
    ASSERT(served == 1 && order[0] == 1);
    slot_give(t->worker, b);
    all_gone(t, s);
    ASSERT(order[1] == 0 && guests[0].backend == 'b' && guests[1].backend == 'a' && guests[3].backend == 'a' && order[2] == 2 && order[3] == 3);
}
TEST(a_slot_goes_to_the_longest_waiting_of_all_its_pools_that_wants_it)
{
    for (unsigned seed = 1; seed <= seeds_wanted(RACE_SEEDS); seed++)
        scene_run(PAIR, over_pools, NULL, seed);
}

static void full_queue(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct guest guests[8], late = { .scene = s, .pool = chat };
    struct slot slot = must_take(t, chat, 0);
    for (int i = 0; i < 8; i++) {
        guests[i] = (struct guest){ .scene = s, .pool = chat, .wait = i % 2 ? 50 * MS : 0 };
        invite(&guests[i], (unsigned)i % BOTH_WORKERS);
    }
    pause_ms(t, 1);
    invite(&late, 1);
    pause_ms(t, 1);
    ASSERT(late.result == FAIL_BUSY && pool_waiting(chat) == 8);
    pause_ms(t, 60);
    ASSERT(pool_waiting(chat) == 4); /* the others' time was over */
    for (int i = 0; i < 8; i++)
        ASSERT(guests[i].result == (i % 2 ? FAIL_TIMEOUT : FAIL_COUNT));
    slot_give(t->worker, &slot);
    all_gone(t, s);
}
TEST(a_full_queue_refuses_and_a_deadline_leaves_it) { scene_run(SINGLE, full_queue, NULL, 1); }

static struct outlook outlook(struct task *t, struct pool *pool)
{
    return pool_outlook(t->worker, &(struct claim){ .pool = pool, .class = CONF_CLASS_NORMAL, .deadline = NEVER });
}

static void measured(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    ASSERT(outlook(t, chat).wait == 0 && outlook(t, chat).retry_after == NANOS_PER_S);
    for (int i = 0; i < 4; i++) {
        struct slot slot = must_take(t, chat, 0);
        pause_ms(t, 6000);
        slot_give(t->worker, &slot);
    }
    nanos mean = outlook(t, chat).wait * 2; /* nobody waits, two slots: half the mean */
    ASSERT(mean > 5900 * MS && mean < 6100 * MS);
    struct slot one = must_take(t, chat, 0), two = must_take(t, chat, 0);
    struct guest guests[3];
    for (int i = 0; i < 3; i++) {
        guests[i] = (struct guest){ .scene = s, .pool = chat };
        invite(&guests[i], 1);
    }
    pause_ms(t, 1);
    struct outlook o = outlook(t, chat);
    ASSERT(o.position == 4 && o.wait > 4 * mean / 2 - MS && o.wait < 4 * mean / 2 + MS && o.retry_after == o.wait);
    ASSERT(o.wait_max == 60 * NANOS_PER_S && o.grows); /* there were none, and now there are more than slots */
    slot_give(t->worker, &one);
    slot_give(t->worker, &two);
    all_gone(t, s);
}
TEST(retry_after_follows_the_measured_drain_rate) { scene_run(PAIR, measured, NULL, 1); }

static void reloaded(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat"), *solo = pool_of(s->fleet, "solo");
    struct guest guests[4];
    int order[4];
    _Atomic int served = 0;
    struct slot one = must_take(t, chat, 0), two = must_take(t, chat, 0);
    for (int i = 0; i < 4; i++) {
        guests[i] = (struct guest){ .scene = s, .pool = i == 3 ? solo : chat, .hold = 50 * MS, .number = i, .order = order, .served = &served };
        invite(&guests[i], (unsigned)i % BOTH_WORKERS);
        pause_ms(t, 1);
    }
    /* b has three slots now and a is gone, and with it solo: the first two are served at once, and who waits for solo is told */
    apply(s->fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 3}}\nmodels: {chat: {use: [b/y]}}\n");
    pause_ms(t, 1);
    ASSERT(served == 2 && guests[0].backend == 'b' && guests[1].backend == 'b' && guests[3].result == FAIL_NO_BACKEND);
    /* one slot, three held: the next waits until they are back */
    apply(s->fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 1}}\nmodels: {chat: {use: [b/y]}}\n");
    slot_give(t->worker, one.backend->name[0] == 'b' ? &one : &two);
    pause_ms(t, 1);
    ASSERT(served == 2 && backend_of(s->fleet, "b")->in_flight == 2);
    all_gone(t, s);
    ASSERT(served == 3 && guests[2].result == OK);
    slot_give(t->worker, one.roster != NULL ? &one : &two);
}
TEST(a_reload_moves_waiters_and_limits_without_touching_who_is_served)
{
    for (unsigned seed = 1; seed <= 50; seed++)
        scene_run(PAIR, reloaded, NULL, seed);
}

static void limit_found(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct backend *a = backend_of(s->fleet, "a");
    struct guest guests[40];
    fleet_set_limit(s->fleet, a, 1);
    struct slot slot = must_take(t, pool_of(s->fleet, "chat"), 0);
    for (int i = 0; i < 40; i++) {
        guests[i] = (struct guest){ .scene = s, .pool = slot.pool, .hold = 100 * MS };
        invite(&guests[i], (unsigned)i % BOTH_WORKERS);
    }
    pause_ms(t, 1);
    ASSERT(pool_waiting(slot.pool) == 40);
    fleet_set_limit(s->fleet, a, 41); /* more at once than one hold of the gate serves */
    pause_ms(t, 1);
    ASSERT(pool_waiting(slot.pool) == 0 && a->in_flight == 41);
    slot_give(t->worker, &slot);
    all_gone(t, s);
}
TEST(raising_a_limit_serves_who_waits) { scene_run("backends: {a: {kind: openai, url: 'http://127.0.0.1:1'}}\nmodels: {chat: {use: [a/x]}}\n", limit_found, NULL, 1); }

#define SPARE \
    "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 1}, b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 1}}\n" \
    "models: {chat: {use: [a/x], fallback: [b/y]}, solo: {use: [b/y]}}\n"

static void avoided_meanwhile(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot slot = must_take(t, chat, 0);
    struct guest first = { .scene = s, .pool = chat, .hold = MS }, second = first;
    invite(&first, 1);
    pause_ms(t, 1);
    ASSERT(first.result == FAIL_COUNT); /* a is busy, and busy is no reason for fallback */
    backend_mark(t->worker, slot.backend, FAIL_CONNECT);
    pause_ms(t, 5);
    ASSERT(first.result == OK && first.backend == 'b'); /* but this is, also for who waits already */

    struct slot spare = must_take(t, pool_of(s->fleet, "solo"), 0);
    slot_give(t->worker, &slot);
    invite(&second, 0);
    pause_ms(t, 100);
    ASSERT(second.result == FAIL_COUNT); /* a is free and avoided, b busy */
    pause_ms(t, AVOID_NS / MS);
    ASSERT(second.result == OK && second.backend == 'a'); /* nobody gave anything back: time alone served it */
    slot_give(t->worker, &spare);
    all_gone(t, s);
}
TEST(waiters_follow_when_a_backend_is_avoided_and_when_it_no_longer_is)
{
    for (unsigned seed = 1; seed <= 50; seed++)
        scene_run(SPARE, avoided_meanwhile, NULL, seed);
}

static void mark_from_elsewhere(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    backend_mark(w, arg, FAIL_CONNECT);
}

static void avoided_twice(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct backend *a = backend_of(s->fleet, "a");
    struct slot spare = must_take(t, pool_of(s->fleet, "solo"), 0);
    struct guest one = { .scene = s, .pool = chat };
    backend_mark(t->worker, a, FAIL_CONNECT);
    invite(&one, 1);
    pause_ms(t, 500);
    mail_send(&s->workers[1], mark_from_elsewhere, a, 0); /* again, by another worker: the first one's timer has to go on */
    pause_ms(t, 800);
    ASSERT(one.result == FAIL_COUNT);
    pause_ms(t, 300);
    ASSERT(one.result == OK && one.backend == 'a');
    slot_give(t->worker, &spare);
    all_gone(t, s);
}
TEST(an_avoidance_is_prolonged_by_any_worker)
{
    for (unsigned seed = 1; seed <= 50; seed++)
        scene_run(SPARE, avoided_twice, NULL, seed);
}

/* ---- cancel against grant ---- */

struct race_story {
    unsigned won, lost; /* the cancelled one was served; was not */
};

static void cancel_guest(struct worker *w, void *arg, uint64_t number)
{
    struct guest *g = arg;
    struct task *t = g->task;
    (void)w, (void)number;
    if (t != NULL)
        task_cancel(t, FAIL_CLIENT_GONE);
}

/* The slot comes back while the first in the queue, on the other worker, is cancelled or runs out of time: somewhere between before and after. */
static void cancel_against_grant(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct race_story *story = s->arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    uint64_t chance = s->seed;
    bool by_deadline = draw(&chance, 2) != 0;
    struct guest first = { .scene = s, .pool = chat, .hold = MS, .wait = by_deadline ? 2 * MS : 0 }, second = { .scene = s, .pool = chat, .hold = MS };
    struct slot slot = must_take(t, chat, 0);
    invite(&first, 1);
    pause_ms(t, 1);
    invite(&second, 0);
    ASSERT(task_sleep(t, t->worker->now + MS + (nanos)draw(&chance, 40000) - (by_deadline ? 20000 : 0)) == OK);
    if (!by_deadline && draw(&chance, 2))
        mail_send(&s->workers[1], cancel_guest, &first, 0);
    slot_give(t->worker, &slot);
    if (!by_deadline)
        mail_send(&s->workers[1], cancel_guest, &first, 0);
    all_gone(t, s);
    ASSERT(second.result == OK); /* whatever became of the first */
    ASSERT(first.result == OK || first.result == FAIL_TIMEOUT || first.result == FAIL_CLIENT_GONE);
    first.result == OK ? story->won++ : story->lost++;
}
TEST(a_slot_granted_to_one_who_leaves_goes_to_the_next)
{
    struct race_story story = { 0 };
    for (unsigned seed = 1; seed <= seeds_wanted(RACE_SEEDS); seed++)
        scene_run(SINGLE, cancel_against_grant, &story, seed);
    assert_true(story.won > 0 && story.lost > 0); /* or the race was none */
}

/* ---- the storm ---- */

#define CLIENTS 200
#define STORM_A \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 3}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 2}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: 4}\n" \
    "models:\n" \
    "  one: {use: [a/x, b/y], fallback: [c/z]}\n" \
    "  two: {use: [b/y, c/z], balance: round_robin}\n" \
    "limits: {queue: 60}\n"
#define STORM_B \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 6}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:4', concurrency: 1}\n" \
    "models:\n" \
    "  one: {use: [a/x]}\n" \
    "  two: {use: [c/z], fallback: [a/x]}\n"
#define STORM_LIMIT_MAX 6

struct storm {
    struct scene *scene;
    struct pool *one, *two;
    struct backend *backends[3];
    const struct conf *confs[2];
    struct guest_slot {
        struct storm *storm;
        uint64_t chance;
        struct task *task; /* on its own worker only */
        unsigned worker;
    } clients[CLIENTS];
    _Atomic int held[3];
    _Atomic unsigned results[FAIL_COUNT];
    unsigned *totals;
};

static void storm_hold(struct task *t, struct storm *storm, uint64_t *chance, struct slot *slot)
{
    _Atomic int *held = &storm->held[slot->backend->index];
    int now = atomic_fetch_add(held, 1) + 1;
    ASSERT(now <= STORM_LIMIT_MAX && (uint32_t)now <= slot->backend->in_flight); /* granted counts too */
    ASSERT(slot->endpoint->backend == slot->backend && slot->model.len == 1);
    rest(t, t->worker->now + (nanos)draw(chance, 300) * NANOS_PER_US);
    static const enum fail says[] = { OK, OK, OK, FAIL_CONNECT, FAIL_RESET };
    backend_mark(t->worker, slot->backend, says[draw(chance, 5)]);
    atomic_fetch_sub(held, 1);
    slot_give(t->worker, slot);
}

static void storm_client(struct task *t, void *arg)
{
    struct guest_slot *me = arg;
    struct storm *storm = me->storm;
    struct slot slot;
    me->task = t;
    rest(t, t->worker->now + (nanos)draw(&me->chance, 2000) * NANOS_PER_US);
    for (uint64_t rounds = 1 + draw(&me->chance, 3), exclude = 0; rounds > 0; rounds--) {
        nanos patience = draw(&me->chance, 3) ? NEVER : t->worker->now + (nanos)draw(&me->chance, 1000) * NANOS_PER_US;
        enum fail f = take_slot(t, draw(&me->chance, 2) ? storm->one : storm->two, exclude, patience, &slot);
        storm->results[f]++;
        if (f == OK) {
            exclude = draw(&me->chance, 2) ? exclude | backend_bit(slot.backend) : 0; /* a retry, or something new */
            storm_hold(t, storm, &me->chance, &slot);
        }
    }
    me->task = NULL;
    storm->scene->alive--;
}

/* One a worker: cancels some of its clients at random moments. */
static void storm_canceller(struct task *t, void *arg)
{
    struct guest_slot *first = arg;
    struct storm *storm = first->storm;
    uint64_t chance = first->chance ^ 1;
    for (int i = 0; i < 30; i++) {
        ASSERT(task_sleep(t, t->worker->now + (nanos)draw(&chance, 200) * NANOS_PER_US) == OK);
        struct guest_slot *it = &storm->clients[first->worker + draw(&chance, CLIENTS / BOTH_WORKERS) * BOTH_WORKERS];
        if (it->task != NULL)
            task_cancel(it->task, FAIL_CLIENT_GONE);
    }
    storm->scene->alive--;
}

static void storm_reloads(struct task *t, struct storm *storm, uint64_t *chance)
{
    for (int i = 0; i < 6; i++) {
        rest(t, t->worker->now + (nanos)draw(chance, 1000) * NANOS_PER_US);
        ASSERT(fleet_apply(storm->scene->fleet, storm->confs[draw(chance, 2)]) == OK);
    }
}

static void storm_story(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct storm *storm = mem_zero(sizeof *storm);
    struct storm *given = s->arg;
    ASSERT(storm != NULL);
    storm->scene = s;
    storm->one = pool_of(s->fleet, "one");
    storm->two = pool_of(s->fleet, "two");
    memcpy(storm->confs, given->confs, sizeof storm->confs);
    static const char *const names[] = { "a", "b", "c" };
    for (unsigned i = 0; i < 3; i++)
        storm->backends[i] = backend_of(s->fleet, names[i]);
    for (unsigned i = 0; i < CLIENTS; i++) {
        storm->clients[i] = (struct guest_slot){ .storm = storm, .chance = s->seed * 1000 + i, .worker = i % BOTH_WORKERS };
        s->alive++;
        both_start(&s->workers[i % BOTH_WORKERS], "client", storm_client, &storm->clients[i]);
    }
    for (unsigned i = 0; i < BOTH_WORKERS; i++) {
        s->alive++;
        both_start(&s->workers[i], "canceller", storm_canceller, &storm->clients[i]);
    }
    uint64_t chance = s->seed;
    if (s->seed % 2 == 0)
        storm_reloads(t, storm, &chance);
    all_gone(t, s);
    for (unsigned i = 0; i < 3; i++)
        ASSERT(storm->backends[i]->in_flight == 0 && storm->held[i] == 0);
    ASSERT(pool_waiting(storm->one) == 0 && pool_waiting(storm->two) == 0);
    for (unsigned f = 0; f < FAIL_COUNT; f++)
        given->results[f] += storm->results[f];
    mem_free(storm);
}

static void storm_runs(uint64_t first_seed, unsigned count, bool real)
{
    static struct storm given;
    memset(&given, 0, sizeof given);
    given.confs[0] = conf_of(STORM_A);
    given.confs[1] = conf_of(STORM_B);
    for (unsigned i = 0; i < count; i++)
        scene_run(STORM_A, storm_story, &given, real ? 0 : first_seed + i);
    for (unsigned i = 0; i < 2; i++)
        conf_unref(given.confs[i]);
    assert_true(given.results[OK] > 0 && given.results[FAIL_TIMEOUT] > 0 && given.results[FAIL_CLIENT_GONE] > 0); /* or it was no storm */
    if (!real)
        assert_true(given.results[FAIL_BUSY] > 0 && given.results[FAIL_NO_BACKEND] > 0);
}
TEST(in_a_storm_of_cancels_deadlines_marks_and_reloads_no_slot_is_lost) { storm_runs(1, seeds_wanted(STORM_SEEDS), false); }
TEST(the_same_storm_on_real_threads) { storm_runs(0, REAL_ROUNDS, true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_is_even),
        cmocka_unit_test(least_loaded_goes_where_most_is_free),
        cmocka_unit_test(a_slot_says_where_to_go_and_keeps_saying_it_after_a_reload),
        cmocka_unit_test(a_retry_goes_to_another_backend_and_then_to_fallback),
        cmocka_unit_test(fallback_is_not_for_when_the_others_are_busy),
        cmocka_unit_test(a_backend_that_refused_a_connect_is_avoided_for_a_second),
        cmocka_unit_test(who_came_first_is_served_first_whatever_the_worker),
        cmocka_unit_test(a_slot_goes_to_the_longest_waiting_of_all_its_pools_that_wants_it),
        cmocka_unit_test(a_full_queue_refuses_and_a_deadline_leaves_it),
        cmocka_unit_test(retry_after_follows_the_measured_drain_rate),
        cmocka_unit_test(a_reload_moves_waiters_and_limits_without_touching_who_is_served),
        cmocka_unit_test(raising_a_limit_serves_who_waits),
        cmocka_unit_test(waiters_follow_when_a_backend_is_avoided_and_when_it_no_longer_is),
        cmocka_unit_test(an_avoidance_is_prolonged_by_any_worker),
        cmocka_unit_test(a_slot_granted_to_one_who_leaves_goes_to_the_next),
        cmocka_unit_test(in_a_storm_of_cancels_deadlines_marks_and_reloads_no_slot_is_lost),
        cmocka_unit_test(the_same_storm_on_real_threads),
    };
    return cmocka_run_group_tests_name("fleet", tests, NULL, NULL);
}
