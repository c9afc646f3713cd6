/* test_storm_fleet.c: real threads at once in everything that requests of different workers share: who they are (keys, changed meanwhile), what they may use (limits),
   and slots: classes, tenants, queues, floors, breakers, adaptive concurrency, reloads, cancels, and those who look on. Built with TSan it looks for data races,
   which the simulated world cannot see. Bounded by counts, not by time. */
#include "admit/admit.h"
#include "auth/auth.h"
#include "run/wait.h"

#include "../unit/test_fleet_help.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define ROUNDS  20
#define ASKERS  500 /* a round */
#define VISITS  4   /* requests of each */
#define CHANGES 40  /* of the configuration, and of the ring */
#define NAMES   5
#define US      NANOS_PER_US

#define KEYS \
    "keys:\n" \
    "  k0: {key: key-number-0, tenant: red, priority: low, priority_max: high, rpm: 600000, concurrency: 40}\n" \
    "  k1: {key: key-number-1, tenant: red, tpm: 100000, budget: {usd: 1, per: 1d}}\n" \
    "  k2: {key: key-number-2, tenant: blue, priority: high, concurrency: 8}\n" \
    "  k3: {key: key-number-3, priority: low, rpm: 3000}\n"
#define BEFORE KEYS \
    "tenants: {red: {tpm: 30000000, concurrency: 100}, blue: {rpm: 900000}}\n" \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: 3}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: adaptive}\n" \
    "  c: {kind: openai, url: 'http://127.0.0.1:3', concurrency: 2}\n" \
    "models:\n" \
    "  chat: {use: [a/x, b/y], fallback: [c/z], balance: power_of_two, price: {in: 1, out: 2}}\n" \
    "  wide: {use: [b/x, c/y], balance: weighted}\n" \
    "classes: {high: {floor: 20, wait: 30s}, normal: {floor: 30, wait: 10s}, low: {wait: 5s}}\n" \
    "limits: {queue: 300}\n"
#define AFTER KEYS \
    "tenants: {red: {tpm: 60000000}, blue: {concurrency: 30}}\n" \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1', concurrency: adaptive}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:2', concurrency: 4}\n" \
    "  d: {kind: openai, url: 'http://127.0.0.1:4', concurrency: 1}\n" \
    "models:\n" \
    "  chat: {use: [a/x, d/y], fallback: [b/z], balance: affinity, price: {in: 1, out: 2}}\n" \
    "  wide: {use: [a/x, b/y], balance: least_loaded}\n" \
    "limits: {queue: 60}\n"

struct storm {
    struct scene *scene;
    const struct conf *confs[2];
    struct limits *limits;
    struct pool *chat, *wide;
    struct auth *auth[BOTH_WORKERS];  /* each worker's own */
    struct gate gate;                 /* guards ring and conf */
    struct keyring *ring;
    const struct conf *conf;
    struct task_ref askers[ASKERS];   /* written by each before it waits for the first time */
    _Atomic unsigned known;
    _Atomic unsigned ended, served, told, unknown, limited, cancelled;
    _Atomic unsigned results[FAIL_COUNT];
};

static uint64_t dice(struct task *t, uint64_t sides) { return worker_random(t->worker) % sides; }

/* ---- one request ---- */

static enum fail hears(struct task *t, void *arg, const struct outlook *o)
{
    struct storm *s = arg;
    ASSERT(o->position > 0 && o->retry_after >= NANOS_PER_S);
    s->told++;
    enum fail f = task_sleep(t, t->worker->now + (nanos)dice(t, 200) * US);
    return f == FAIL_TIMEOUT ? OK : f;
}

/* What the attempt says of its backend. */
static void report(struct task *t, struct storm *s, struct slot *slot)
{
    struct worker *w = t->worker;
    unsigned ended = (unsigned)dice(t, 12);
    if (ended < 6) {
        backend_mark(w, slot->backend, OK);
        backend_began(w, slot->backend);
        backend_note(w, slot->backend, BACKEND_ANSWERED);
        pool_answered(slot->pool);
        pool_learn(slot->pool, 400, 100, 0, 1, (int64_t)dice(t, 300));
        slot_measured(slot, 1 + w->now - slot->taken_at, false);
        slot->prompt_tokens = 100;
        slot->answer_tokens = (int64_t)dice(t, 300);
    } else if (ended < 8) {
        slot_measured(slot, 1 + w->now - slot->taken_at, true);
        backend_hold(w, slot->backend, (nanos)dice(t, 3) * MS - MS);
        pool_failed(slot->pool);
    } else if (ended < 10) {
        backend_note(w, slot->backend, ended == 8 ? BACKEND_FAILED : BACKEND_UNREACHABLE);
        pool_failed(slot->pool);
    } else if (ended == 10) {
        backend_mark(w, slot->backend, FAIL_CONNECT);
        backend_checked(w, slot->backend, dice(t, 2) == 0);
    }
    s->served++;
}

/* A second slot beside the first one, if it was earned and is free, which it hardly ever is here: what the workers race over is the histogram and the budget. */
static void hedge(struct task *t, const struct claim *claim, const struct slot *first)
{
    struct claim other = *claim;
    struct slot second;
    bool is_stream = dice(t, 2);
    pool_hedge_earn(claim->pool);
    pool_first_token(claim->pool, is_stream, (nanos)dice(t, 400) * US);
    other.exclude |= backend_bit(first->backend);
    if (dice(t, 2) || pool_late(claim->pool, is_stream) == NEVER || !pool_hedge_pay(claim->pool))
        return;
    if (!slot_try(t->worker, &other, first, &second)) {
        pool_hedge_return(claim->pool);
        return;
    }
    ASSERT(second.backend != first->backend && second.fallback == first->fallback);
    slot_give(t->worker, &second);
}

static enum fail attempt(struct task *t, struct storm *s, struct claim *claim)
{
    struct slot slot;
    enum fail f = slot_take(t, claim, &slot);
    s->results[f]++;
    if (f == FAIL_BUSY)
        ASSERT(pool_outlook(t->worker, claim).retry_after >= NANOS_PER_S);
    if (f != OK)
        return f;
    ASSERT(slot.endpoint->backend == slot.backend && slot.model.len == 1);
    hedge(t, claim, &slot);
    f = task_sleep(t, t->worker->now + (nanos)dice(t, 300) * US);
    report(t, s, &slot);
    claim->exclude |= dice(t, 2) ? backend_bit(slot.backend) : 0;
    slot_give(t->worker, &slot);
    return f == FAIL_TIMEOUT ? OK : f;
}

static enum fail slots_of(struct task *t, struct storm *s, const struct identity *who)
{
    struct waiter *waits = NULL;
    struct claim claim = { .pool = dice(t, 2) ? s->chat : s->wide, .affinity = dice(t, 4), .deadline = dice(t, 3) ? NEVER : t->worker->now + (nanos)dice(t, 4000) * US,
                           .class = (enum conf_class)dice(t, (uint64_t)who->priority_max + 1), .tenant = who->tenant, .waits = &waits, .beat = 2 * MS, .tell = hears, .arg = s };
    claim.tokens = foresight_share(pool_foresee(claim.pool, 400, 0, 1));
    enum fail f = attempt(t, s, &claim);
    ASSERT(waits == NULL);
    nanos when;
    if (f == OK && dice(t, 3) == 0 && pool_may_retry(claim.pool) && pool_ready(claim.pool, claim.exclude, t->worker->now, &when) != 0)
        f = attempt(t, s, &claim);
    return f;
}

static enum fail within_limits(struct task *t, struct storm *s, const struct identity *who)
{
    static const struct conf_limits of_tenants[2] = { { .tpm = 3000000, .concurrency = 100 }, { .rpm = 900000, .budget = { .value = 1, .is_set = true }, .period = 3600 * NANOS_PER_S } };
    struct limits_who names = { .name = { who->name, who->tenant }, .limits = { who->limits, &of_tenants[who->tenant.len % 2] } };
    struct stake stake;
    enum fail f = limits_enter(t->worker, s->limits, &names, &stake);
    if (f == OK)
        f = limits_reserve(t->worker, s->limits, &stake, 500, 1000);
    if (f == OK)
        f = slots_of(t, s, who);
    else
        s->limited++;
    limits_settle(t->worker, s->limits, &stake, f == OK ? (int64_t)dice(t, 700) : 0, f == OK ? 500 : 0);
    return f;
}

/* Of the six keys one is nobody's, and one is in the ring or is not. */
static enum fail visit(struct task *t, struct storm *s)
{
    char key[32];
    struct identity who;
    const char *why;
    int n = snprintf(key, sizeof key, "key-number-%u", (unsigned)dice(t, NAMES + 1));
    struct http_header header = { TEXT("x-api-key"), { key, (size_t)n }, HEADER_X_API_KEY };
    struct http_head head = { .count = 1, .headers = &header };
    head.first[HEADER_X_API_KEY] = 1;
    enum fail f = auth_check(s->auth[t->worker->index], t->worker, &head, &who, &why);
    if (f != OK) {
        ASSERT(f == FAIL_BAD_KEY);
        s->unknown++;
        return f;
    }
    f = within_limits(t, s, &who); /* its key may be revoked meanwhile: what it was lent stays */
    identity_end(&who);
    return f;
}

static void asker(struct task *t, void *arg)
{
    struct storm *s = arg;
    s->askers[atomic_fetch_add(&s->known, 1)] = task_ref(t);
    enum fail f = task_sleep(t, t->worker->now + (nanos)dice(t, 20000) * US);
    for (int i = 0; i < VISITS && t->cancel == OK; i++)
        f = visit(t, s);
    s->cancelled += t->cancel != OK;
    (void)f; /* counted where it happened */
    s->ended++;
    s->scene->alive--;
}

/* ---- beside them ---- */

static void cancel_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg;
    struct task *t = task_find(w, (uint32_t)(number >> 32), (uint32_t)number);
    if (t != NULL)
        task_cancel(t, FAIL_CLIENT_GONE);
}

static void canceller(struct task *t, void *arg)
{
    struct storm *s = arg;
    while (s->ended < ASKERS * 9 / 10) {
        ASSERT(task_sleep(t, t->worker->now + 300 * US) == OK);
        if (s->known < ASKERS) /* refs are all written then */
            continue;
        struct task_ref ref = s->askers[dice(t, ASKERS)];
        mail_send(ref.worker, cancel_letter, NULL, (uint64_t)ref.index << 32 | ref.generation);
    }
    s->scene->alive--;
}

static void look(struct storm *s)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    ASSERT(fleet_print_json(s->scene->fleet, &out) == OK && limits_print_json(s->limits, &out) == OK);
    buf_fini(&out);
    fleet_check(s->scene->fleet);
    limits_check(s->limits);
}

/* One a worker: takes the keys as they are now, as the gateway's workers do when they are told, and looks around. */
static void keeper_of_keys(struct task *t, void *arg)
{
    struct storm *s = arg;
    while (s->ended < ASKERS) {
        gate_enter(&s->gate);
        struct keyring *ring = keyring_ref(s->ring);
        const struct conf *conf = s->conf;
        gate_leave(&s->gate);
        struct auth *next = auth_new(conf, ring), *before = s->auth[t->worker->index];
        ASSERT(next != NULL);
        s->auth[t->worker->index] = next;
        auth_free(before);
        keyring_unref(ring);
        look(s);
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    }
    s->scene->alive--;
}

/* A ring with key-number-4, or an empty one. */
static struct keyring *ring_of(const struct conf *conf, unsigned count)
{
    struct keyring *r = keyring_new(count);
    ASSERT(r != NULL);
    if (count > 0)
        ASSERT(keyring_set(r, 0, &conf->keys[0], 1) == OK);
    return r;
}

static void changes(struct task *t, struct storm *s, const struct conf *made)
{
    for (unsigned i = 0; i < CHANGES; i++) {
        ASSERT(task_sleep(t, t->worker->now + (nanos)dice(t, 2000) * US) == OK);
        struct keyring *next = ring_of(made, i % 2);
        gate_enter(&s->gate);
        struct keyring *before = s->ring;
        s->ring = next;
        s->conf = s->confs[i % 2];
        gate_leave(&s->gate);
        keyring_unref(before);
        ASSERT(fleet_apply(s->scene->fleet, s->confs[i % 2]) == OK);
        fleet_set_limit(s->scene->fleet, backend_of(s->scene->fleet, "a"), 1 + (uint32_t)dice(t, 6));
    }
}

static void start(struct storm *s, unsigned on, const char *name, task_fn *fn)
{
    s->scene->alive++;
    both_start(&s->scene->workers[on % BOTH_WORKERS], name, fn, s);
}

static void storm(struct task *t, void *arg)
{
    static struct storm s; /* too large for a task's stack */
    struct scene *scene = arg;
    const struct conf *const *confs = scene->arg;
    s = (struct storm){ .scene = scene, .confs = { confs[0], confs[1] }, .conf = confs[0], .limits = limits_new(scene->world), .chat = pool_of(scene->fleet, "chat"),
                        .wide = pool_of(scene->fleet, "wide") };
    ASSERT(s.limits != NULL);
    gate_init(&s.gate, scene->world, GATE_POOL);
    s.ring = ring_of(confs[2], 0);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        s.auth[i] = auth_new(s.conf, s.ring);
    fleet_check_always(scene->fleet, false); /* or the quick way out of the gate is never gone */
    for (unsigned i = 0; i < ASKERS; i++)
        start(&s, i, "asker", asker);
    for (unsigned i = 0; i < BOTH_WORKERS; i++) {
        start(&s, i, "canceller", canceller);
        start(&s, i, "keeper of keys", keeper_of_keys);
    }
    changes(t, &s, confs[2]);
    while (scene->alive > 0)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    struct limits_sums sums = limits_check(s.limits);
    ASSERT(sums.in_flight == 0 && sums.held == 0 && sums.money_held == 0);
    ASSERT(pool_waiting(s.chat) == 0 && pool_waiting(s.wide) == 0);
    fleet_check(scene->fleet);
    printf("storm: %u served, %u told, %u unknown, %u limited, %u cancelled; %u busy, %u timeouts, %u nobody\n", s.served, s.told, s.unknown, s.limited, s.cancelled,
           s.results[FAIL_BUSY], s.results[FAIL_TIMEOUT], s.results[FAIL_NO_BACKEND]);
    ASSERT(s.served > 100 && s.unknown > 0 && s.limited > 0);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        auth_free(s.auth[i]);
    keyring_unref(s.ring);
    limits_free(s.limits);
    gate_fini(&s.gate);
}

TEST(requests_of_two_workers_share_keys_limits_and_slots)
{
    const struct conf *confs[3] = { conf_of(BEFORE), conf_of(AFTER), conf_of("keys: {k4: {key: key-number-4, tenant: blue}}\nbackends: {b: {url: 'http://x'}}\n") };
    for (unsigned i = 0; i < ROUNDS; i++)
        scene_run(BEFORE, storm, confs, 0);
    for (unsigned i = 0; i < ARRAY_LEN(confs); i++)
        conf_unref(confs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(requests_of_two_workers_share_keys_limits_and_slots) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
