/* test_queue.c: whose turn it is: classes and their floors, tenants by tokens served, deadlines, and what the queue foretells. On two workers in the simulated world,
   with every invariant checked at each release of the gate. */
#include "../unit/test_fleet_help.h"

#define SEEDS 20
#define S     NANOS_PER_S

/* One of a tenant's clients: asks, holds, asks again. */
struct customer {
    struct scene *scene;
    struct pool *pool;
    enum conf_class class;
    const char *tenant;
    uint64_t chance;
    nanos until;                   /* asks no more; for open_for: so long from now */
    nanos hold_min, hold_max;      /* of one answer; each ms is a token */
    nanos patience;                /* deadline; 0 = none */
    nanos pause;                   /* between two */
    struct total *total;
    struct task *_Atomic task;
    struct waiter *waits;          /* its worker's */
};

/* What came of them. Both workers add to it, and in the simulated world they take turns. */
struct total {
    _Atomic uint64_t asked, served, refused, late;
    _Atomic uint64_t tokens;
    _Atomic nanos waited, longest;
    _Atomic uint64_t foretold;     /* estimates looked at */
    _Atomic uint64_t foretold_well;
};

static struct claim claim_of(const struct customer *c, nanos now)
{
    return (struct claim){ .pool = c->pool, .class = c->class, .tenant = text_of(c->tenant), .deadline = c->patience != 0 ? now + c->patience : NEVER,
                           .tokens = foresight_share(pool_foresee(c->pool, 40, 0, 1)) };
}

static void serve_customer(struct task *t, struct customer *c, struct slot *slot)
{
    nanos hold = c->hold_min + (nanos)draw(&c->chance, (uint64_t)(c->hold_max - c->hold_min) + 1);
    enum fail f = task_sleep(t, t->worker->now + hold);
    slot->prompt_tokens = 10;
    slot->answer_tokens = hold / MS;
    c->total->served++;
    c->total->tokens += 10 + 2 * (uint64_t)(hold / MS);
    c->total->waited += slot->queued_ns;
    c->total->longest = MAX(c->total->longest, slot->queued_ns);
    slot_give(t->worker, slot);
    (void)f; /* who is cancelled gives it back sooner */
}

static void customer(struct task *t, void *arg)
{
    struct customer *c = arg;
    struct slot slot;
    c->task = t;
    while (t->worker->now < c->until && t->cancel == OK) {
        struct claim claim = claim_of(c, t->worker->now);
        claim.waits = &c->waits;
        c->total->asked++;
        enum fail f = slot_take(t, &claim, &slot);
        if (f == OK)
            serve_customer(t, c, &slot);
        else if (f == FAIL_BUSY)
            c->total->refused++;
        else
            c->total->late++;
        if (f != OK || c->pause != 0)
            if (task_sleep(t, t->worker->now + (f == OK ? c->pause : S)) != OK)
                break;
    }
    c->task = NULL;
    c->scene->alive--;
}

static void open_for(struct scene *s, struct customer *c, unsigned count, const struct customer *like)
{
    for (unsigned i = 0; i < count; i++) {
        c[i] = *like;
        c[i].scene = s;
        c[i].until += s->workers[0].now;
        c[i].chance = s->seed * 100000 + (uint64_t)(uintptr_t)like->tenant[0] * 1000 + i;
        s->alive++;
        both_start(&s->workers[i % BOTH_WORKERS], "customer", customer, &c[i]);
    }
}

static void pause_ms(struct task *t, nanos ms)
{
    ASSERT(task_sleep(t, t->worker->now + ms * MS) == OK);
}

static void all_gone(struct task *t, const struct scene *s)
{
    while (s->alive > 0)
        pause_ms(t, 10);
}

#define ONE_BACKEND(slots) "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: " slots "}}\nmodels: {chat: {use: [a/x]}}\n"
#define LONG_WAITS "classes: {high: {wait: 1h}, normal: {wait: 1h}, low: {wait: 1h}}\n"

/* ---- tenants ---- */

#define TENANTS 6
#define FLOOD   400 /* clients of one tenant, where each other has 4 */

/* Jain, Chiu, Hawe: A Quantitative Measure of Fairness, 1984. */
static double jain(const struct total *totals, unsigned count)
{
    double sum = 0, squares = 0;
    for (unsigned i = 0; i < count; i++) {
        double x = (double)totals[i].tokens;
        sum += x;
        squares += x * x;
    }
    return sum * sum / (count * squares);
}

static void hundredfold(struct task *t, void *arg)
{
    struct scene *s = arg;
    static struct customer customers[TENANTS * FLOOD];
    static const char *const names[TENANTS] = { "flood", "bees", "cats", "dogs", "elks", "foxes" };
    struct total totals[TENANTS] = { 0 };
    struct customer like = { .pool = pool_of(s->fleet, "chat"), .class = CONF_CLASS_NORMAL, .until = 300 * S };
    for (unsigned i = 0; i < TENANTS; i++) {
        like.tenant = names[i];
        like.total = &totals[i];
        like.hold_min = 50 * MS * (1 + i); /* whose answers are longer gets fewer of them */
        like.hold_max = 10 * like.hold_min;
        open_for(s, &customers[i * FLOOD], i == 0 ? FLOOD : 4, &like);
    }
    pause_ms(t, 299000);
    double index = jain(totals, TENANTS);
    uint64_t served = 0;
    for (unsigned i = 0; i < TENANTS; i++)
        served += totals[i].served;
    *(double *)s->arg = index;
    ASSERT(index >= 0.98 && served > 1000);
    ASSERT(totals[1].served > 2 * totals[5].served); /* by tokens, not by requests */
    all_gone(t, s);
}
TEST(a_tenant_that_asks_a_hundred_times_more_gets_no_more_tokens)
{
    double index = 0;
    for (unsigned seed = 1; seed <= 2; seed++) {
        scene_run(ONE_BACKEND("4") LONG_WAITS "limits: {queue: 300}\n", hundredfold, &index, seed);
        printf("jain, one tenant at 100 times the others, seed %u: %.4f\n", seed, index);
    }
}

static void nobody_else(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct customer customers[8];
    struct total total = { 0 };
    nanos began = t->worker->now;
    struct customer like = { .pool = pool_of(s->fleet, "chat"), .class = CONF_CLASS_NORMAL, .tenant = "only", .total = &total, .until = 60 * S, .hold_min = 100 * MS, .hold_max = 100 * MS };
    open_for(s, customers, 8, &like);
    all_gone(t, s);
    ASSERT(total.served * 100 * MS >= (uint64_t)(4 * (t->worker->now - began) * 99 / 100)); /* all four slots, all the time */
}
TEST(who_is_alone_has_everything) { scene_run(ONE_BACKEND("4"), nobody_else, NULL, 1); }

/* It was away while the others were served; that is no credit. */
static void back_again(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct customer customers[16];
    struct total old = { 0 }, back = { 0 };
    struct customer like = { .pool = pool_of(s->fleet, "chat"), .class = CONF_CLASS_NORMAL, .tenant = "old", .total = &old, .until = 200 * S, .hold_min = 100 * MS, .hold_max = 100 * MS };
    open_for(s, customers, 8, &like);
    pause_ms(t, 100000);
    uint64_t before = old.tokens;
    like.tenant = "back";
    like.total = &back;
    open_for(s, customers + 8, 8, &like);
    pause_ms(t, 50000);
    uint64_t mine = back.tokens, theirs = old.tokens - before;
    ASSERT(mine > theirs * 9 / 10 && theirs > mine * 9 / 10);
    all_gone(t, s);
}
TEST(time_without_wishes_saves_nothing_up) { scene_run(ONE_BACKEND("2"), back_again, NULL, 1); }

static void many_names(struct task *t, void *arg)
{
    struct scene *s = arg;
    static char names[3000][8];
    struct pool *chat = pool_of(s->fleet, "chat");
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) { /* a token may say any name */
        struct slot slot;
        snprintf(names[i], sizeof names[i], "t%u", i);
        ASSERT(slot_take(t, &(struct claim){ .pool = chat, .tenant = text_of(names[i]), .class = CONF_CLASS_LOW, .deadline = NEVER, .tokens = 5 }, &slot) == OK);
        slot_give(t->worker, &slot);
    }
    static struct slot kept[1500];
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++) /* more at once than are known: the rest share one */
        ASSERT(slot_take(t, &(struct claim){ .pool = chat, .tenant = text_of(names[i]), .class = CONF_CLASS_LOW, .deadline = NEVER, .tokens = 5 }, &kept[i]) == OK);
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++)
        slot_give(t->worker, &kept[i]);
}
TEST(any_number_of_names_finds_room) { scene_run(ONE_BACKEND("2000"), many_names, NULL, 1); }

/* ---- guests: one request each, to see who comes when ---- */

struct guest {
    struct scene *scene;
    struct claim claim;
    nanos hold;
    int *order;
    _Atomic int *served;
    int number;
    enum fail result; /* FAIL_COUNT while it has none */
    nanos queued_ns;
    struct waiter *waits;
    nanos foretold;
    unsigned told;
};

static void guest(struct task *t, void *arg)
{
    struct guest *g = arg;
    struct slot slot;
    g->claim.waits = &g->waits;
    g->result = slot_take(t, &g->claim, &slot);
    if (g->result == OK) {
        g->queued_ns = slot.queued_ns;
        if (g->order != NULL)
            g->order[(*g->served)++] = g->number;
        ASSERT(task_sleep(t, t->worker->now + g->hold) == OK);
        slot_give(t->worker, &slot);
    }
    g->scene->alive--;
}

static void invite(struct scene *s, struct guest *g)
{
    g->scene = s;
    g->result = FAIL_COUNT;
    s->alive++;
    both_start(&s->workers[g->number % BOTH_WORKERS], "guest", guest, g);
}

static struct slot hold_one(struct task *t, struct pool *p, enum conf_class class)
{
    struct slot slot;
    ASSERT(slot_take(t, &(struct claim){ .pool = p, .class = class, .deadline = NEVER }, &slot) == OK);
    return slot;
}

static void deadlines(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    static const int expected[] = { 4, 2, 0, 5, 3, 1 };
    static const nanos in_s[] = { 30, 60, 20, 60, 10, 40 };
    struct guest guests[6];
    int order[6];
    _Atomic int served = 0;
    struct slot slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    nanos now = t->worker->now;
    for (int i = 0; i < 6; i++) {
        guests[i] = (struct guest){ .claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .tenant = TEXT("acme"), .deadline = now + in_s[i] * S }, .hold = MS,
                                    .order = order, .served = &served, .number = i };
        invite(s, &guests[i]);
    }
    pause_ms(t, 1);
    slot_give(t->worker, &slot);
    all_gone(t, s);
    for (int i = 0; i < 4; i++)
        ASSERT(order[i] == expected[i]);
    ASSERT(order[4] + order[5] == 4); /* 1 and 3 have the same; which came first is the seed's */
}
/* complaint 23 */
TEST(of_a_tenant_the_earliest_deadline_goes_first)
{
    for (unsigned seed = 1; seed <= SEEDS; seed++)
        scene_run(ONE_BACKEND("1"), deadlines, NULL, seed);
}

static void classes_in_order(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct guest guests[6];
    int order[6];
    _Atomic int served = 0;
    struct slot slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    for (int i = 0; i < 6; i++) {
        guests[i] = (struct guest){ .claim = { .pool = chat, .class = (enum conf_class)(i % 3), .deadline = NEVER }, .hold = MS, .order = order, .served = &served, .number = i };
        invite(s, &guests[i]);
        pause_ms(t, 1);
    }
    slot_give(t->worker, &slot);
    all_gone(t, s);
    static const int expected[] = { 2, 5, 1, 4, 0, 3 };
    ASSERT(memcmp(order, expected, sizeof order) == 0);
}
/* complaint 21 */
TEST(a_higher_class_goes_first) { scene_run(ONE_BACKEND("1"), classes_in_order, NULL, 1); }

/* arg: where it says that it waits, and NULL when it does not. */
static void raise_waiter(struct worker *w, void *arg, uint64_t class)
{
    struct waiter *const *waits = arg;
    if (*waits != NULL)
        slot_raise(w, *waits, (enum conf_class)class);
}

/* It waits as low, for a second at most; then it is normal, behind one that is so already; then nothing, as normal is no more than normal; then high. */
static void raised(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct guest guests[5];
    int order[5];
    _Atomic int served = 0;
    struct slot slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    for (int i = 0; i < 5; i++) {
        guests[i] = (struct guest){ .claim = { .pool = chat, .class = i == 0 || i == 3 ? CONF_CLASS_LOW : CONF_CLASS_NORMAL, .deadline = NEVER }, .hold = MS, .order = order,
                                    .served = &served, .number = i };
        invite(s, &guests[i]);
        pause_ms(t, 1);
    }
    mail_send(&s->workers[0], raise_waiter, &guests[0].waits, CONF_CLASS_NORMAL);
    mail_send(&s->workers[1 % BOTH_WORKERS], raise_waiter, &guests[1].waits, CONF_CLASS_LOW);
    mail_send(&s->workers[1 % BOTH_WORKERS], raise_waiter, &guests[3].waits, CONF_CLASS_HIGH);
    pause_ms(t, 2000);
    ASSERT(pool_waiting_of(chat, CONF_CLASS_HIGH) == 1 && pool_waiting_of(chat, CONF_CLASS_NORMAL) == 4 && pool_waiting_of(chat, CONF_CLASS_LOW) == 0);
    slot_give(t->worker, &slot);
    all_gone(t, s);
    static const int expected[] = { 3, 1, 2, 4, 0 };
    ASSERT(memcmp(order, expected, sizeof order) == 0);
}
TEST(who_becomes_more_urgent_waits_among_the_more_urgent)
{
    scene_run(ONE_BACKEND("1") "classes: {low: {wait: 1s}, normal: {wait: 1h}, high: {wait: 1h}}\n", raised, NULL, 1);
}

/* What high keeps free is there for who becomes high. */
static void raised_to_its_floor(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct guest g = { .claim = { .pool = chat, .class = CONF_CLASS_LOW, .deadline = NEVER }, .hold = MS };
    struct slot high = hold_one(t, chat, CONF_CLASS_HIGH); /* its floor is held from now on */
    slot_give(t->worker, &high);
    struct slot slot = hold_one(t, chat, CONF_CLASS_LOW);
    invite(s, &g);
    pause_ms(t, 5);
    ASSERT(g.result == FAIL_COUNT && g.waits != NULL);
    mail_send(&s->workers[0], raise_waiter, &g.waits, CONF_CLASS_HIGH);
    pause_ms(t, 5);
    ASSERT(g.result == OK);
    slot_give(t->worker, &slot);
    all_gone(t, s);
}
TEST(who_becomes_more_urgent_may_have_what_is_kept_for_the_urgent)
{
    scene_run(ONE_BACKEND("2") "classes: {high: {floor: 50}}\n", raised_to_its_floor, NULL, 1);
}

/* ---- floors ---- */

static void floor_is_kept(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct customer customers[100], vip[2];
    struct total low = { 0 }, high = { 0 };
    struct customer like = { .pool = chat, .class = CONF_CLASS_LOW, .tenant = "low", .total = &low, .until = 120 * S, .hold_min = 500 * MS, .hold_max = 1500 * MS };
    open_for(s, customers, 100, &like);
    pause_ms(t, 10);
    ASSERT(backend_of(s->fleet, "a")->in_flight == 10); /* nobody above has asked: nothing is kept free */
    struct slot first = hold_one(t, chat, CONF_CLASS_HIGH); /* from now on it is */
    slot_give(t->worker, &first);
    pause_ms(t, 3000);
    ASSERT(backend_of(s->fleet, "a")->in_flight == 8);
    like = (struct customer){ .pool = chat, .class = CONF_CLASS_HIGH, .tenant = "vip", .total = &high, .until = 60 * S, .hold_min = 100 * MS, .hold_max = 900 * MS, .pause = 50 * MS };
    open_for(s, vip, 2, &like);
    all_gone(t, s);
    ASSERT(high.served > 100 && high.longest == 0); /* two at once, and two slots are theirs: they never wait */
    ASSERT(low.served > 8 * 60);
}
TEST(within_its_floor_a_class_never_waits)
{
    for (unsigned seed = 1; seed <= SEEDS; seed++)
        scene_run(ONE_BACKEND("10") "classes: {high: {floor: 20}, low: {wait: 1h}}\n", floor_is_kept, NULL, seed);
}

static void floor_ends(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot asked = hold_one(t, chat, CONF_CLASS_NORMAL), low[2];
    slot_give(t->worker, &asked);
    nanos since = t->worker->now;
    for (int i = 0; i < 2; i++)
        low[i] = hold_one(t, chat, CONF_CLASS_LOW);
    struct guest waits = { .claim = { .pool = chat, .class = CONF_CLASS_LOW, .deadline = NEVER }, .number = 1 };
    invite(s, &waits);
    pause_ms(t, 59000);
    ASSERT(waits.result == FAIL_COUNT); /* two of four slots are normal's */
    pause_ms(t, 3000);
    ASSERT(waits.result == OK && waits.queued_ns > 59 * S && t->worker->now - since < 63 * S); /* time alone served it */
    for (int i = 0; i < 2; i++)
        slot_give(t->worker, &low[i]);
    all_gone(t, s);
}
TEST(a_class_that_does_not_ask_keeps_nothing)
{
    for (unsigned seed = 1; seed <= SEEDS; seed++)
        scene_run(ONE_BACKEND("4"), floor_ends, NULL, seed);
}

/* ---- nobody waits for ever ---- */

static void from_above(struct task *t, void *arg)
{
    struct scene *s = arg;
    static struct customer customers[150];
    struct total totals[CONF_CLASSES] = { 0 };
    for (int c = 0; c < CONF_CLASSES; c++) {
        struct customer like = { .pool = pool_of(s->fleet, "chat"), .class = (enum conf_class)c, .tenant = c == 0 ? "low" : c == 1 ? "normal" : "high", .total = &totals[c],
                                 .until = 300 * S, .hold_min = 50 * MS, .hold_max = 150 * MS };
        open_for(s, &customers[c * 50], c == 0 ? 10 : 50, &like);
    }
    all_gone(t, s);
    uint64_t all = totals[0].served + totals[1].served + totals[2].served;
    ASSERT(totals[CONF_CLASS_HIGH].served > all * 8 / 10); /* they go first */
    ASSERT(totals[CONF_CLASS_LOW].served + totals[CONF_CLASS_NORMAL].served > all / 10); /* and leave one in eight */
    ASSERT(totals[CONF_CLASS_LOW].served > 50 && totals[CONF_CLASS_LOW].longest < 60 * S); /* ten wait, and share an eighth of ten or twenty a second with normal */
}
TEST(under_two_floods_from_above_low_is_served)
{
    for (unsigned seed = 1; seed <= 5; seed++)
        scene_run(ONE_BACKEND("1") LONG_WAITS, from_above, NULL, seed); /* one slot: there are no floors */
    for (unsigned seed = 1; seed <= 5; seed++)
        scene_run(ONE_BACKEND("2") "classes: {high: {floor: 100, wait: 1h}, normal: {wait: 1h}, low: {wait: 1h}}\n", from_above, NULL, seed);
}

static void from_below(struct task *t, void *arg)
{
    struct scene *s = arg;
    static struct customer customers[500];
    struct total low = { 0 }, normal = { 0 };
    struct customer like = { .pool = pool_of(s->fleet, "chat"), .class = CONF_CLASS_LOW, .tenant = "low", .total = &low, .until = 150 * S, .hold_min = 50 * MS, .hold_max = 150 * MS };
    open_for(s, customers, 450, &like);
    like.tenant = "normal";
    like.class = CONF_CLASS_NORMAL;
    like.total = &normal;
    open_for(s, customers + 450, 20, &like);
    pause_ms(t, 140000);
    ASSERT(low.served * 100 < (low.served + normal.served) * 14); /* old as they are: one in eight */
    all_gone(t, s);
}
TEST(a_flood_of_low_takes_no_more_than_its_turns)
{
    scene_run(ONE_BACKEND("1") LONG_WAITS, from_below, NULL, 1);
}

/* ---- the queue's bounds ---- */

static void places(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct guest flood[9], other[3];
    struct slot slot = hold_one(t, chat, CONF_CLASS_LOW);
    for (int i = 0; i < 9; i++) {
        flood[i] = (struct guest){ .claim = { .pool = chat, .class = CONF_CLASS_LOW, .tenant = TEXT("flood"), .deadline = NEVER }, .number = i };
        invite(s, &flood[i]);
        pause_ms(t, 1);
    }
    ASSERT(flood[7].result == FAIL_COUNT && flood[8].result == FAIL_BUSY); /* it may fill the queue */
    for (int i = 0; i < 3; i++) {
        other[i] = (struct guest){ .claim = { .pool = chat, .class = i == 2 ? CONF_CLASS_HIGH : CONF_CLASS_LOW, .tenant = i == 0 ? TEXT("other") : TEXT("flood"), .deadline = NEVER }, .number = i };
        invite(s, &other[i]);
        pause_ms(t, 1);
    }
    ASSERT(other[0].result == FAIL_COUNT && other[2].result == FAIL_COUNT); /* but keep no other tenant out, and no other class */
    ASSERT(other[1].result == FAIL_BUSY && pool_waiting(chat) == 10 && pool_waiting_of(chat, CONF_CLASS_HIGH) == 1);
    slot_give(t->worker, &slot);
    all_gone(t, s);
}
TEST(a_full_queue_has_room_for_other_tenants_and_classes) { scene_run(ONE_BACKEND("1") "limits: {queue: 8}\n", places, NULL, 1); }

static void too_late(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot slot;
    for (int i = 0; i < 2; i++) { /* an answer takes 10 s */
        slot = hold_one(t, chat, CONF_CLASS_NORMAL);
        pause_ms(t, 10000);
        slot_give(t->worker, &slot);
    }
    slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    struct guest guests[4];
    static const nanos in_s[] = { 100, 15, 25, 100 };
    for (int i = 0; i < 4; i++) {
        guests[i] = (struct guest){ .claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .deadline = t->worker->now + in_s[i] * S }, .number = i };
        invite(s, &guests[i]);
        pause_ms(t, 1);
    }
    ASSERT(guests[0].result == FAIL_COUNT && guests[1].result == FAIL_COUNT); /* with its deadline it goes before the first: 10 s */
    ASSERT(guests[2].result == FAIL_COUNT);                                    /* 20 s */
    ASSERT(guests[3].result == FAIL_BUSY);                                     /* 40 s, and its class waits 35 */
    struct outlook o = pool_outlook(t->worker, &(struct claim){ .pool = chat, .class = CONF_CLASS_NORMAL, .deadline = t->worker->now + 100 * S });
    ASSERT(o.position == 4 && o.wait > 39 * S && o.wait < 41 * S && o.wait_max == 35 * S && o.retry_after > 4 * S && o.retry_after < 6 * S);
    struct guest hurried = { .claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .deadline = t->worker->now + 5 * S } };
    invite(s, &hurried);
    pause_ms(t, 1);
    ASSERT(hurried.result == FAIL_BUSY);
    slot_give(t->worker, &slot);
    all_gone(t, s);
}
TEST(who_would_wait_too_long_is_told_at_once) { scene_run(ONE_BACKEND("1") "classes: {normal: {wait: 35s}}\n", too_late, NULL, 1); }

static void waited_enough(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    struct guest g = { .claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .deadline = NEVER } }, h = g;
    h.claim.deadline = t->worker->now + 3 * S;
    invite(s, &g);
    invite(s, &h);
    pause_ms(t, 4000);
    ASSERT(g.result == FAIL_COUNT && h.result == FAIL_TIMEOUT);
    pause_ms(t, 1100);
    ASSERT(g.result == FAIL_BUSY); /* nothing was measured, so it could not be foretold */
    slot_give(t->worker, &slot);
    all_gone(t, s);
}
TEST(nobody_waits_longer_than_its_class_does) { scene_run(ONE_BACKEND("1") "classes: {normal: {wait: 5s}}\n", waited_enough, NULL, 1); }

/* ---- what is foretold ---- */

static enum fail note_estimate(struct task *t, void *arg, const struct outlook *o)
{
    struct guest *g = arg;
    (void)t;
    if (g->told++ == 0)
        g->foretold = o->wait;
    return OK;
}

#define ASKERS 60
static void foretold(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct customer customers[90];
    struct total totals[4] = { 0 };
    static const char *const names[] = { "ants", "bees", "cats", "dogs" };
    static const unsigned sizes[] = { 40, 5, 10, 30 };
    for (unsigned i = 0, from = 0; i < 4; from += sizes[i++]) {
        struct customer like = { .pool = chat, .class = CONF_CLASS_NORMAL, .tenant = names[i], .total = &totals[i], .until = 200 * S, .hold_min = 200 * MS, .hold_max = 1800 * MS };
        open_for(s, customers + from, sizes[i], &like);
    }
    pause_ms(t, 20000);
    static struct guest guests[ASKERS];
    for (int i = 0; i < ASKERS; i++) {
        guests[i] = (struct guest){ .claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .tenant = text_of(names[i % 4]), .deadline = NEVER, .tokens = 500,
                                               .tell = note_estimate, .arg = &guests[i], .beat = MS }, .hold = S, .number = i };
        invite(s, &guests[i]);
        pause_ms(t, 2000);
    }
    all_gone(t, s);
    unsigned good = 0;
    double sum = 0, told = 0;
    for (int i = 0; i < ASKERS; i++) {
        ASSERT(guests[i].result == OK && guests[i].told > 0);
        good += guests[i].foretold < 2 * guests[i].queued_ns && guests[i].queued_ns < 2 * guests[i].foretold;
        sum += (double)guests[i].queued_ns;
        told += (double)guests[i].foretold;
    }
    printf("foretold / waited: %.2f; within a factor of two: %u of %d\n", told / sum, good, ASKERS);
    ASSERT(good >= ASKERS * 9 / 10 && told < 1.4 * sum && sum < 1.4 * told);
}
TEST(the_wait_is_as_long_as_foretold)
{
    for (unsigned seed = 1; seed <= 3; seed++)
        scene_run(ONE_BACKEND("8") LONG_WAITS, foretold, NULL, seed);
}

static enum fail slow_tale(struct task *t, void *arg, const struct outlook *o)
{
    struct guest *g = arg;
    ASSERT(o->position == 1);
    g->told++;
    return task_sleep(t, t->worker->now + 100 * MS); /* a client that does not read */
}

static void told_meanwhile(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    struct guest first = { .claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .deadline = NEVER, .tell = slow_tale, .beat = S }, .number = (int)s->seed }, next = first;
    first.claim.arg = &first;
    next.claim.tell = NULL;
    invite(s, &first);
    pause_ms(t, 1);
    invite(s, &next);
    pause_ms(t, 1049);
    ASSERT(first.told == 1 && first.waits != NULL && slot_outlook(first.waits).position == 1);
    slot_give(t->worker, &slot);
    pause_ms(t, 1);
    ASSERT(next.result == FAIL_COUNT); /* the slot is the first one's, though it cannot take it yet */
    all_gone(t, s);
    ASSERT(first.result == OK && next.result == OK && first.told == 1 && first.waits == NULL);
}
TEST(who_is_being_told_keeps_its_place)
{
    for (unsigned seed = 1; seed <= SEEDS; seed++)
        scene_run(ONE_BACKEND("1"), told_meanwhile, NULL, seed);
}

static void growing(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct pool *chat = pool_of(s->fleet, "chat");
    struct slot slot = hold_one(t, chat, CONF_CLASS_NORMAL);
    struct claim claim = { .pool = chat, .class = CONF_CLASS_NORMAL, .deadline = NEVER };
    static struct guest guests[40];
    ASSERT(!pool_outlook(t->worker, &claim).grows);
    for (int i = 0; i < 40; i++) {
        guests[i] = (struct guest){ .claim = claim, .number = i, .hold = MS };
        invite(s, &guests[i]);
        pause_ms(t, 100);
    }
    ASSERT(pool_outlook(t->worker, &claim).grows);
    pause_ms(t, 120000);
    ASSERT(!pool_outlook(t->worker, &claim).grows); /* it stands */
    slot_give(t->worker, &slot);
    pause_ms(t, 20);
    ASSERT(!pool_outlook(t->worker, &claim).grows && pool_waiting(chat) < 40); /* and falls */
    all_gone(t, s);
}
TEST(a_backlog_grows_or_stands) { scene_run(ONE_BACKEND("1") LONG_WAITS, growing, NULL, 1); }

/* ---- the storm ---- */

#define CLIENTS 120
#define STORM_A \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 5}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 2}\n" \
    "models: {one: {use: [a/x, b/y]}, two: {use: [b/y], fallback: [a/x]}}\n" \
    "limits: {queue: 40}\n"
#define STORM_B \
    "backends: {a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 3}, b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 4}}\n" \
    "models: {one: {use: [a/x]}, two: {use: [b/y, a/x]}}\n" \
    "classes: {high: {floor: 40}, normal: {floor: 0, wait: 300ms}}\n"

static void cancel_customer(struct worker *w, void *arg, uint64_t number)
{
    struct customer *c = arg;
    struct task *t = c->task;
    (void)w, (void)number;
    if (t != NULL)
        task_cancel(t, FAIL_CLIENT_GONE);
}

static void storm(struct task *t, void *arg)
{
    struct scene *s = arg;
    const struct conf *const *confs = s->arg;
    static struct customer customers[CLIENTS];
    static const char *const names[] = { "ants", "bees", "cats", "dogs", "elks" };
    struct total total = { 0 };
    uint64_t chance = s->seed;
    for (unsigned i = 0; i < CLIENTS; i++) {
        customers[i] = (struct customer){ .scene = s, .pool = pool_of(s->fleet, draw(&chance, 2) ? "one" : "two"), .class = (enum conf_class)draw(&chance, CONF_CLASSES),
                                          .tenant = names[draw(&chance, 5)], .chance = draw(&chance, UINT64_MAX), .until = t->worker->now + 8 * S, .hold_max = 40 * MS,
                                          .patience = draw(&chance, 2) ? (nanos)draw(&chance, 600) * MS : 0, .pause = (nanos)draw(&chance, 50) * MS, .total = &total };
        s->alive++;
        both_start(&s->workers[i % BOTH_WORKERS], "customer", customer, &customers[i]);
    }
    for (int i = 0; i < 60; i++) {
        pause_ms(t, (nanos)draw(&chance, 200));
        unsigned victim = (unsigned)draw(&chance, CLIENTS);
        mail_send(&s->workers[victim % BOTH_WORKERS], cancel_customer, &customers[victim], 0);
        for (unsigned k = 0; k < 5; k++) {
            unsigned other = (unsigned)draw(&chance, CLIENTS);
            mail_send(&s->workers[other % BOTH_WORKERS], raise_waiter, &customers[other].waits, draw(&chance, CONF_CLASSES));
        }
        if (i % 10 == 9)
            ASSERT(fleet_apply(s->fleet, confs[draw(&chance, 2)]) == OK);
    }
    all_gone(t, s);
    ASSERT(total.served > 500 && total.refused + total.late > 0);
    ASSERT(pool_waiting(pool_of(s->fleet, "one")) == 0 && pool_waiting(pool_of(s->fleet, "two")) == 0);
}
TEST(in_a_storm_of_classes_tenants_and_deadlines_all_adds_up)
{
    const struct conf *confs[] = { conf_of(STORM_A), conf_of(STORM_B) };
    for (unsigned seed = 1; seed <= seeds_wanted(SEEDS); seed++)
        scene_run(STORM_A, storm, confs, seed);
    conf_unref(confs[0]);
    conf_unref(confs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenant_that_asks_a_hundred_times_more_gets_no_more_tokens),
        cmocka_unit_test(who_is_alone_has_everything),
        cmocka_unit_test(time_without_wishes_saves_nothing_up),
        cmocka_unit_test(any_number_of_names_finds_room),
        cmocka_unit_test(of_a_tenant_the_earliest_deadline_goes_first),
        cmocka_unit_test(a_higher_class_goes_first),
        cmocka_unit_test(who_becomes_more_urgent_waits_among_the_more_urgent),
        cmocka_unit_test(who_becomes_more_urgent_may_have_what_is_kept_for_the_urgent),
        cmocka_unit_test(within_its_floor_a_class_never_waits),
        cmocka_unit_test(a_class_that_does_not_ask_keeps_nothing),
        cmocka_unit_test(under_two_floods_from_above_low_is_served),
        cmocka_unit_test(a_flood_of_low_takes_no_more_than_its_turns),
        cmocka_unit_test(a_full_queue_has_room_for_other_tenants_and_classes),
        cmocka_unit_test(who_would_wait_too_long_is_told_at_once),
        cmocka_unit_test(nobody_waits_longer_than_its_class_does),
        cmocka_unit_test(the_wait_is_as_long_as_foretold),
        cmocka_unit_test(who_is_being_told_keeps_its_place),
        cmocka_unit_test(a_backlog_grows_or_stands),
        cmocka_unit_test(in_a_storm_of_classes_tenants_and_deadlines_all_adds_up),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
