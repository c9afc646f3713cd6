/* share.c: limits that several instances keep together in a Redis: what is asked, what the answers mean, and who waits for them. share_link.c keeps the connection.
   Called by path/, see share.h. */
#include "admit/share_inner.h"
#include "run/wait.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES  (sizeof SHARE_PREFIX - 1 + LEDGER_HASH_BYTES)
#define PER_OWNER  5           /* numbers of a key's limits, see share_scripts.h */
#define ARGS_MAX   (3 + LIMIT_OWNERS + 5 + LIMIT_OWNERS * PER_OWNER)
#define REPLY_LEAST 4          /* numbers of an answer before the levels, two for each key */

/* One request's reservation: its stake's until it is settled; of one that is settled before its answer has come, the connection's. */
struct share_ask {
    struct redis_call call;
    struct share_link *share;
    struct task *waiter; /* NULL: nobody waits any more */
    bool is_done, is_taken, is_settled;
    char session[SHARE_SESSION_BYTES];
    unsigned owners;
    struct ledger_share of[LIMIT_OWNERS];
    int64_t tokens, money, used, spent;
};

/* ---- commands ---- */

/* Arguments of a command, with the memory of the numbers among them. */
struct words {
    unsigned count, numbers;
    struct text at[ARGS_MAX];
    char digits[ARGS_MAX][21];
    char keys[LIMIT_OWNERS][KEY_BYTES];
};

static void add(struct words *c, struct text t)
{
    ASSERT(c->count < ARGS_MAX);
    c->at[c->count++] = t;
}

static void add_number(struct words *c, int64_t n)
{
    char *to = c->digits[c->numbers++];
    add(c, (struct text){ to, (size_t)snprintf(to, sizeof c->digits[0], "%" PRId64, n) });
}

static void add_head(struct words *c, const struct share_ask *a, const char script[SHARE_SHA_BYTES])
{
    c->count = c->numbers = 0;
    add(c, TEXT("EVALSHA"));
    add(c, (struct text){ script, SHARE_SHA_BYTES });
    add_number(c, a->owners);
    for (unsigned i = 0; i < a->owners; i++) {
        memcpy(c->keys[i], SHARE_PREFIX, sizeof SHARE_PREFIX - 1);
        memcpy(c->keys[i] + sizeof SHARE_PREFIX - 1, a->of[i].hash, LEDGER_HASH_BYTES);
        add(c, (struct text){ c->keys[i], KEY_BYTES });
    }
    add(c, (struct text){ a->session, sizeof a->session });
    add_number(c, a->tokens);
    add_number(c, a->money);
}

static void add_limits(struct words *c, const struct share_ask *a)
{
    for (unsigned i = 0; i < a->owners; i++) {
        const struct conf_limits *l = &a->of[i].limits;
        add_number(c, l->rpm);
        add_number(c, l->tpm);
        add_number(c, l->concurrency);
        add_number(c, l->budget.is_set ? (int64_t)(l->budget.value * NANO_PER_USD) : -1);
        add_number(c, l->budget.is_set ? l->period / NANOS_PER_US : 0);
    }
}

static enum fail send_take(struct share_ask *a)
{
    struct words c;
    add_head(&c, a, a->share->take_sha);
    add_limits(&c, a);
    return redis_send(a->share->link.redis, c.at, c.count, &a->call);
}

/* Nobody waits for it. One that finds no connection, or no memory, is lost: what it would have given back drains, or ends with its session, so that ends, too. */
static void send_settle(struct share_ask *a)
{
    struct words c;
    add_head(&c, a, a->share->settle_sha);
    add_number(&c, a->used);
    add_number(&c, a->spent);
    add_limits(&c, a);
    if (redis_send(a->share->link.redis, c.at, c.count, NULL) == OK)
        return;
    COUNT(a->share->link.worker, redis_unsettled);
    share_link_lost(a->share);
}

/* ---- answers ---- */

static bool is_answer(const struct share_ask *a)
{
    const struct redis_reply *r = &a->call.reply;
    return a->call.fail == OK && r->kind == REDIS_ARRAY && r->count == REPLY_LEAST + 2 * a->owners && r->numbers[0] >= 0 && r->numbers[0] <= LIMIT_KINDS &&
           r->numbers[1] >= 0 && r->numbers[1] < (int64_t)a->owners;
}

static void end(struct share_ask *a)
{
    if (a->is_taken)
        send_settle(a);
    mem_free(a);
}

static void answered(struct redis_call *call)
{
    struct share_ask *a = CONTAINER_OF(call, struct share_ask, call);
    a->is_done = true;
    a->is_taken = is_answer(a) && call->reply.numbers[0] == 0;
    if (call->fail == OK && call->reply.kind == REDIS_ERROR)
        share_link_refused(a->share, &call->reply);
    if (a->is_settled)
        end(a);
    else if (a->waiter != NULL)
        task_wake(a->waiter);
}

/* What headers say, where the instances together have less left than this one knows of. */
static void mark(struct limit_mark *m, uint32_t rate, int64_t thousandths)
{
    int64_t used = MIN(MAX(thousandths, 0), INT64_C(1000) * LIMIT_TOKENS_MAX);
    if (rate == 0)
        return;
    uint32_t left = (uint32_t)(rate - MIN((used + 999) / 1000, (int64_t)rate));
    if (m->limit == 0 || left < m->remaining)
        *m = (struct limit_mark){ rate, left, used * 60 * NANOS_PER_MS / rate };
}

static enum fail read_answer(struct limits *l, struct stake *stake, const struct share_ask *a)
{
    const int64_t *n = a->call.reply.numbers;
    for (unsigned i = 0; i < a->owners; i++) {
        mark(&stake->requests, a->of[i].limits.rpm, n[REPLY_LEAST + 2 * i]);
        mark(&stake->tokens_mark, a->of[i].limits.tpm, n[REPLY_LEAST + 1 + 2 * i]);
    }
    if (n[0] == 0)
        return OK;
    const struct ledger_share *of = &a->of[n[1]];
    struct limit_no no = { .kind = (enum limit_kind)(n[0] - 1), .owner = of->owner, .left = n[2], .period = of->limits.period,
                           .wait = n[3] < 0 ? -1 : MAX(n[3], 1) * NANOS_PER_US };
    bool is_budget = no.kind == LIMIT_BUDGET;
    no.limit = is_budget ? (int64_t)(of->limits.budget.value * NANO_PER_USD) : no.kind == LIMIT_TOKENS ? of->limits.tpm : no.kind == LIMIT_REQUESTS ? of->limits.rpm
                                                                                                       : of->limits.concurrency;
    no.wanted = is_budget ? a->money : no.kind == LIMIT_TOKENS ? a->tokens : 1;
    limits_take_back(l, stake, &no);
    return is_budget ? FAIL_BUDGET : FAIL_RATE_LIMIT;
}

/* ---- the calls ---- */

static struct share_ask *ask_new(struct share_link *share, struct limits *l, const struct stake *stake)
{
    struct share_ask *a = mem_zero(sizeof *a);
    if (a == NULL)
        return NULL;
    a->call.done = answered;
    a->share = share;
    a->owners = limits_shared(l, stake, a->of);
    a->tokens = stake->tokens;
    a->money = stake->money;
    memcpy(a->session, share->session, sizeof a->session);
    return a;
}

/* Until the answer is there, its time is over, or enough others have waited in vain. */
static enum fail wait_for(struct task *t, struct share_ask *a, nanos wait)
{
    struct redis_link *link = &a->share->link;
    nanos deadline = t->worker->now + wait;
    enum fail f = OK;
    a->waiter = t;
    while (f == OK && !a->is_done && !redis_link_is_away(link))
        f = wait_in(t, &link->waiting, "redis", deadline);
    a->waiter = NULL;
    if (f == FAIL_TIMEOUT && !a->is_done && !redis_link_is_away(link)) {
        COUNT(t->worker, redis_late);
        redis_link_late(link);
    }
    return f == FAIL_TIMEOUT ? OK : f;
}

enum fail share_take(struct task *t, struct share_link *share, struct limits *l, struct stake *stake, nanos wait)
{
    if (share == NULL || !stake_is_any(stake))
        return OK;
    share->link.wait = wait;
    struct share_ask *a = redis_link_is_away(&share->link) ? NULL : ask_new(share, l, stake);
    if (a == NULL || send_take(a) != OK) {
        mem_free(a);
        COUNT(t->worker, redis_unasked);
        return OK;
    }
    stake->shared = a;
    COUNT(t->worker, redis_asked);
    enum fail f = wait_for(t, a, wait);
    if (f != OK)
        return f;
    if (!a->is_done || !is_answer(a)) {
        COUNT(t->worker, redis_unanswered);
        return OK;
    }
    redis_link_answered(&share->link);
    return read_answer(l, stake, a);
}

/* ---- requests that nobody waits for ---- */

struct share_note {
    struct share_ask ask; /* of one owner; its tokens are requests */
    struct limits *limits;
    struct ledger *ledger;
};

static void tell(struct share_link *share, struct limits *l, struct ledger *a, uint32_t more);

static void noted(struct redis_call *call)
{
    struct share_note *n = CONTAINER_OF(CONTAINER_OF(call, struct share_ask, call), struct share_note, ask);
    struct share_link *share = n->ask.share;
    bool is_known = call->fail == OK && call->reply.kind == REDIS_ARRAY && call->reply.count == 1;
    limits_told(share->link.worker, n->limits, n->ledger, is_known ? call->reply.numbers[0] : -1);
    if (call->fail == OK && call->reply.kind == REDIS_ERROR)
        share_link_refused(share, &call->reply);
    if (is_known)
        tell(share, n->limits, n->ledger, 0); /* what came meanwhile */
    mem_free(n);
}

static enum fail send_note(struct share_note *n)
{
    struct words c;
    add_head(&c, &n->ask, n->ask.share->note_sha);
    add_limits(&c, &n->ask);
    return redis_send(n->ask.share->link.redis, c.at, c.count, &n->ask.call);
}

/* What cannot be told is lost, as it is while Redis is away. */
static void tell(struct share_link *share, struct limits *l, struct ledger *a, uint32_t more)
{
    struct ledger_share of;
    uint32_t count = limits_tell(l, a, more, &of);
    if (count == 0)
        return;
    struct share_note *n = mem_zero(sizeof *n);
    if (n != NULL) {
        n->ask.call.done = noted;
        n->ask.share = share;
        n->ask.owners = 1;
        n->ask.of[0] = of;
        n->ask.tokens = count;
        memcpy(n->ask.session, share->session, sizeof n->ask.session);
        n->limits = l;
        n->ledger = a;
    }
    if (n != NULL && send_note(n) == OK) {
        COUNT_BY(share->link.worker, redis_noted, count);
        return;
    }
    mem_free(n);
    limits_told(share->link.worker, l, a, -1);
}

void share_note(struct share_link *share, struct limits *l, const struct stake *stake)
{
    if (share == NULL || stake->shared != NULL || redis_link_is_away(&share->link))
        return;
    for (enum limit_owner i = 0; i < LIMIT_OWNERS; i++)
        if (stake->of[i] != NULL)
            tell(share, l, stake->of[i], 1);
}

void share_settle(struct stake *stake, int64_t tokens, int64_t money)
{
    struct share_ask *a = stake->shared;
    stake->shared = NULL;
    if (a == NULL)
        return;
    a->used = MIN(tokens, LIMIT_TOKENS_MAX);
    a->spent = money;
    a->is_settled = true;
    if (a->is_done)
        end(a);
}
