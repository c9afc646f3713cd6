/* limits.c: entering, reserving and settling, each one visit to the gate. A visit is a few adds with bounds: what a store shared by several instances could do, too. */
#include "admit/inner.h"
#include <string.h>

#define ENTER_ROUNDS  4            /* a name that is new may be forgotten again before we come back, but not for ever */
#define PLACE_WAIT_NS NANOS_PER_S  /* when a place becomes free nobody knows */
#define SPEND_NAME_MAX 128         /* bytes of a name that are told; a configured one has 64 at most */

const char *const limit_owners[LIMIT_OWNERS] = { "key", "tenant" };

struct limits *limits_new(struct world *world)
{
    struct limits *l = mem_zero(sizeof *l);
    if (l == NULL)
        return NULL;
    l->magic = LIMITS_MAGIC;
    l->world = world;
    gate_init(&l->gate, world, GATE_TENANT);
    return l;
}

void limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    CHECK(l, LIMITS);
    for (uint32_t i = 0; i < l->count; i++) {
        ASSERT(l->all[i]->in_flight == 0);
        mem_free(l->all[i]);
    }
    gate_fini(&l->gate);
    l->magic = 0;
    mem_free(l);
}

static bool are_any(const struct conf_limits *c)
{
    return c != NULL && (c->rpm > 0 || c->tpm > 0 || c->concurrency > 0 || c->budget.is_set);
}

/* ---- inside the gate ---- */

/* The ledgers of who, as of now and by who's limits. The owner of one that is not there yet, or LIMIT_OWNERS. */
static enum limit_owner find_all(const struct worker *w, struct limits *l, const struct limits_who *who, struct ledger *of[LIMIT_OWNERS])
{
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++) {
        of[i] = NULL;
        if (!are_any(who->limits[i]) || who->name[i].len == 0)
            continue;
        of[i] = ledger_find(l, i, who->name[i]);
        if (of[i] == NULL)
            return i;
        ledger_pass(of[i], w->now, w->wall); /* by the limits that held until now */
        of[i]->limits = *who->limits[i];
        ledger_pass(of[i], w->now, w->wall);
    }
    return LIMIT_OWNERS;
}

/* Notes a no; of several the one that lasts longest is told. */
static void refuse(struct stake *s, struct ledger *a, struct limit_no no)
{
    bool is_longest = s->no.wait == 0 || no.wait < 0 || (s->no.wait > 0 && no.wait > s->no.wait);
    no.owner = a->owner;
    a->refused[no.kind]++;
    if (is_longest)
        s->no = no;
}

static void judge_entry(struct stake *s, struct ledger *a)
{
    const struct conf_limits *c = &a->limits;
    nanos wait = bucket_wait(&a->requests, c->rpm, 1);
    if (c->concurrency > 0 && a->in_flight >= c->concurrency)
        refuse(s, a, (struct limit_no){ .kind = LIMIT_CONCURRENCY, .limit = c->concurrency, .wanted = 1, .wait = PLACE_WAIT_NS });
    if (wait > 0)
        refuse(s, a, (struct limit_no){ .kind = LIMIT_REQUESTS, .limit = c->rpm, .wanted = 1, .wait = wait });
}

static void judge_reserve(const struct worker *w, struct stake *s, struct ledger *a, int64_t tokens, int64_t money)
{
    const struct conf_limits *c = &a->limits;
    nanos wait = bucket_wait(&a->tokens, c->tpm, tokens);
    if (wait > 0)
        refuse(s, a, (struct limit_no){ .kind = LIMIT_TOKENS, .limit = c->tpm, .left = bucket_left(&a->tokens, c->tpm), .wanted = tokens, .wait = wait });
    if (!c->budget.is_set)
        return;
    int64_t limit = (int64_t)(c->budget.value * NANO_PER_USD), left = limit - a->money.spent - a->money.held;
    if (money > 0 && money > left) { /* what costs nothing needs no budget */
        nanos next = money > limit ? -1 : budget_wait(&a->money, w->now, w->wall);
        refuse(s, a, (struct limit_no){ .kind = LIMIT_BUDGET, .limit = limit, .left = MAX(left, 0), .wanted = money, .period = c->period,
                                        .wait = next == 0 ? PLACE_WAIT_NS : next });
    }
}

/* Of key and tenant, whoever has less left. */
static void mark(struct limit_mark *m, const struct bucket *b, uint32_t rate)
{
    if (rate == 0)
        return;
    struct limit_mark now = { rate, bucket_left(b, rate), bucket_wait(b, rate, rate) };
    if (m->limit == 0 || now.remaining < m->remaining)
        *m = now;
}

static void mark_all(struct stake *s, struct ledger *const of[LIMIT_OWNERS])
{
    s->requests = s->tokens_mark = (struct limit_mark){ 0 };
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++) {
        if (of[i] == NULL)
            continue;
        mark(&s->requests, &of[i]->requests, of[i]->limits.rpm);
        mark(&s->tokens_mark, &of[i]->tokens, of[i]->limits.tpm);
    }
}

static enum fail enter(struct stake *s, struct ledger *const of[LIMIT_OWNERS])
{
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++)
        if (of[i] != NULL)
            judge_entry(s, of[i]);
    for (enum limit_owner i = 0; i < LIMIT_OWNERS && s->no.wait == 0; i++) {
        if (of[i] == NULL)
            continue;
        bucket_use(&of[i]->requests, 1);
        of[i]->in_flight++;
        s->of[i] = of[i];
    }
    mark_all(s, of);
    return s->no.wait == 0 ? OK : FAIL_RATE_LIMIT;
}

static void settle(struct limits *l, struct ledger *a, const struct stake *s, int64_t tokens, int64_t money)
{
    ASSERT(a->in_flight > 0 && a->tokens.held >= s->tokens && a->money.held >= s->money);
    bucket_settle(&a->tokens, s->tokens, tokens);
    a->money.held -= s->money;
    a->money.spent += money;
    a->in_flight--;
    l->settled += tokens;
    l->returned += MAX(s->tokens - tokens, 0);
    l->overrun += MAX(tokens - s->tokens, 0);
}

/* ---- the calls ---- */

enum fail limits_enter(const struct worker *w, struct limits *l, const struct limits_who *who, struct stake *stake)
{
    struct ledger *of[LIMIT_OWNERS];
    CHECK(l, LIMITS);
    *stake = (struct stake){ 0 };
    if (!are_any(who->limits[LIMIT_OF_KEY]) && !are_any(who->limits[LIMIT_OF_TENANT]))
        return OK;
    for (unsigned i = 0; i < ENTER_ROUNDS; i++) {
        enum fail f = OK;
        gate_enter(&l->gate);
        enum limit_owner missing = find_all(w, l, who, of);
        if (missing == LIMIT_OWNERS)
            f = enter(stake, of);
        gate_leave(&l->gate);
        if (missing == LIMIT_OWNERS)
            return f;
        f = ledger_add(w, l, missing, who->name[missing]);
        if (f != OK)
            return f;
    }
    return FAIL_NO_MEMORY;
}

enum fail limits_reserve(const struct worker *w, struct limits *l, struct stake *stake, int64_t tokens, int64_t money)
{
    ASSERT(tokens >= 0 && money >= 0 && stake->tokens == 0 && stake->money == 0);
    if (!stake_is_any(stake))
        return OK;
    tokens = MIN(tokens, LIMIT_TOKENS_MAX);
    stake->no = (struct limit_no){ 0 };
    gate_enter(&l->gate);
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++) {
        if (stake->of[i] == NULL)
            continue;
        ledger_pass(stake->of[i], w->now, w->wall);
        judge_reserve(w, stake, stake->of[i], tokens, money);
    }
    for (enum limit_owner i = 0; i < LIMIT_OWNERS && stake->no.wait == 0; i++) {
        if (stake->of[i] == NULL)
            continue;
        bucket_reserve(&stake->of[i]->tokens, tokens);
        stake->of[i]->money.held += money;
        l->reserved += tokens;
    }
    mark_all(stake, stake->of);
    gate_leave(&l->gate);
    if (stake->no.wait != 0)
        return stake->no.kind == LIMIT_BUDGET ? FAIL_BUDGET : FAIL_RATE_LIMIT;
    stake->tokens = tokens;
    stake->money = money;
    return OK;
}

static void share_of(const struct ledger *a, struct ledger_share *out)
{
    out->owner = a->owner;
    out->limits = a->limits;
    memcpy(out->hash, a->hash, LEDGER_HASH_BYTES);
}

unsigned limits_shared(struct limits *l, const struct stake *stake, struct ledger_share out[LIMIT_OWNERS])
{
    unsigned n = 0;
    gate_enter(&l->gate);
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++) {
        if (stake->of[i] != NULL)
            share_of(stake->of[i], &out[n++]);
    }
    gate_leave(&l->gate);
    return n;
}

uint32_t limits_tell(struct limits *l, struct ledger *a, uint32_t more, struct ledger_share *out)
{
    uint32_t n = 0;
    gate_enter(&l->gate);
    if (a->limits.rpm > 0)
        a->untold += more;
    if (!a->is_telling && a->untold > 0) {
        n = a->untold;
        a->untold = 0;
        a->is_telling = true;
        share_of(a, out);
    }
    gate_leave(&l->gate);
    return n;
}

void limits_told(const struct worker *w, struct limits *l, struct ledger *a, int64_t level)
{
    gate_enter(&l->gate);
    a->is_telling = false;
    ledger_pass(a, w->now, w->wall);
    if (level > 0 && a->limits.rpm > 0)
        bucket_raise(&a->requests, level);
    gate_leave(&l->gate);
}

void limits_take_back(struct limits *l, struct stake *stake, const struct limit_no *no)
{
    gate_enter(&l->gate);
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++)
        if (stake->of[i] != NULL)
            bucket_unuse(&stake->of[i]->requests, 1);
    stake->of[no->owner]->refused[no->kind]++;
    gate_leave(&l->gate);
    stake->no = *no;
}

/* What is told of a ledger outside the gate. */
struct news {
    nanos start;
    int64_t micros;
    size_t len;
    char name[SPEND_NAME_MAX];
};

static void note(struct news *n, const struct ledger *a)
{
    n->start = a->money.start;
    n->micros = (a->money.spent + 999) / 1000; /* up: a restart forgets nothing */
    n->len = MIN(a->name_len, sizeof n->name);
    memcpy(n->name, a->name, n->len);
}

void limits_settle(const struct worker *w, struct limits *l, struct stake *stake, int64_t tokens, int64_t money)
{
    struct news news[LIMIT_OWNERS];
    bool is_told = l->on_spend != NULL && money > 0;
    ASSERT(tokens >= 0 && money >= 0);
    if (!stake_is_any(stake))
        return;
    tokens = MIN(tokens, LIMIT_TOKENS_MAX);
    gate_enter(&l->gate);
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++) {
        if (stake->of[i] == NULL)
            continue;
        ledger_pass(stake->of[i], w->now, w->wall);
        settle(l, stake->of[i], stake, tokens, money);
        if (is_told)
            note(&news[i], stake->of[i]);
    }
    gate_leave(&l->gate);
    for (enum limit_owner i = 0; i < LIMIT_OWNERS && is_told; i++)
        if (stake->of[i] != NULL)
            l->on_spend(l->on_spend_arg, i, (struct text){ news[i].name, news[i].len }, news[i].start, news[i].micros);
    stake->of[LIMIT_OF_KEY] = stake->of[LIMIT_OF_TENANT] = NULL;
}

/* ---- what is kept over a restart ---- */

void limits_on_spend(struct limits *l, limits_spend_fn *fn, void *arg)
{
    l->on_spend = fn;
    l->on_spend_arg = arg;
}

enum fail limits_restore(struct limits *l, enum limit_owner owner, struct text name, nanos period_start, int64_t micros)
{
    enum fail f = ledger_add(NULL, l, owner, name);
    if (f != OK)
        return f;
    gate_enter(&l->gate);
    struct ledger *a = ledger_find(l, owner, name);
    if (a->money.period == 0 && period_start >= a->money.start) {
        a->money.start = period_start;
        a->money.spent = micros * 1000;
    }
    gate_leave(&l->gate);
    return OK;
}

/* ---- looking ---- */

struct limits_sums limits_check(struct limits *l)
{
    CHECK(l, LIMITS);
    gate_enter(&l->gate);
    struct limits_sums sums = { .reserved = l->reserved, .returned = l->returned, .overrun = l->overrun, .settled = l->settled, .ledgers = l->count };
    for (uint32_t i = 0; i < l->count; i++) {
        const struct ledger *a = l->all[i];
        ASSERT(a->place == i && ledger_find(l, a->owner, ledger_name(a)) == a);
        ASSERT(a->tokens.held >= 0 && a->money.held >= 0 && a->money.spent >= 0);
        ASSERT(a->tokens.used >= 0 && a->tokens.real >= 0 && a->requests.used >= 0);
        ASSERT(a->in_flight > 0 || (a->tokens.held == 0 && a->money.held == 0));
        sums.held += a->tokens.held;
        sums.money_held += a->money.held;
        sums.in_flight += a->in_flight;
    }
    gate_leave(&l->gate);
    ASSERT(sums.reserved + sums.overrun == sums.returned + sums.settled + sums.held); /* no token comes from nowhere, none is lost */
    return sums;
}
