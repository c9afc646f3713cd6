/* hedge.c: a second backend for a request whose first token is later than 95 % of them were (J. Dean, L. Barroso, "The Tail at Scale", CACM 2013); called by
   produce.c. fleet/tail.c knows what is late and keeps the budget.

   Both attempts are children of the producer. The second one writes into a flight of its own until it has content; who has that first commits: its bytes are
   the request's, and the other one is cancelled, which closes its connection and gives its slot back within the same turn. What that one used is charged to
   nobody, and its end is no failure. One that fails leaves the answer to the other; when both have failed the retries go on, with both tried. */
#include "upstream/hedge.h"
#include "stat/stat.h"

struct contest {
    struct retry *retry;
    struct group group;
    struct runner {
        struct contest *contest;
        struct call *call;
        struct attempt_story *story;
        struct task *task;       /* NULL: it has ended */
    } first, second;
    struct call hedge;           /* the second one's */
    enum fail fail;              /* of who ended last and has not lost */
};

bool hedge_is_on(const struct call *call)
{
    const struct conf_model *m = roster_conf_model(call->view->roster, call->claim.pool);
    return m != NULL && m->hedge == CONF_ON;
}

/* One that lost would have taken longer than this; as for what is late it need not be known how much. */
static void learn(const struct call *call, const struct attempt_story *a)
{
    nanos until = a->status >= 400 ? 0 : a->first_token != 0 ? a->first_token : call->lost || a->fail == FAIL_TIMEOUT ? a->ended : 0;
    if (until != 0)
        pool_first_token(call->claim.pool, call->stream, until - a->began);
}

static void run(struct task *t, void *arg)
{
    struct runner *r = arg;
    enum fail f = produce_attempt(t, r->call, r->contest->retry, r->story);
    r->task = NULL;
    if (!r->call->lost)
        r->contest->fail = f;
}

static enum fail begin(struct contest *c, struct runner *r, struct call *call, struct attempt_story *a)
{
    *r = (struct runner){ .contest = c, .call = call, .story = a };
    *a = (struct attempt_story){ .backend = call->slot.backend->name, .why = "", .breaker = "", .hedge = "" }; /* it may be read before the task runs */
    return group_start(&c->group, "attempt", run, r, &r->task);
}

/* A slot that nobody waits for, and a flight; false: there is none, or no budget. */
static bool take_second(struct worker *w, struct call *call, struct call *hedge)
{
    struct pool *p = call->claim.pool;
    const struct flight *fl = call->flight;
    if (fl->attempt_count >= MIN(call->conf->retries.attempts, FLIGHT_ATTEMPTS_MAX) || !pool_hedge_pay(p))
        return false;
    *hedge = *call; /* what it borrows is the first one's, which is there until both have ended */
    hedge->is_hedge = true;
    hedge->claim.exclude = backend_bit(call->slot.backend);
    hedge->flight = flight_new(fl->hangar, fl->buffer_max);
    if (hedge->flight != NULL && slot_try(w, &hedge->claim, &call->slot, &hedge->slot))
        return true;
    if (hedge->flight != NULL)
        flight_let_go(hedge->flight);
    hedge->flight = NULL;
    pool_hedge_return(p);
    return false;
}

static void ask_second(struct worker *w, struct contest *c, struct call *call)
{
    struct flight *fl = call->flight;
    if (!take_second(w, call, &c->hedge))
        return;
    call->contest = c->hedge.contest = c;
    if (begin(c, &c->second, &c->hedge, &fl->attempts[fl->attempt_count]) == OK) {
        fl->attempt_count++;
        COUNT(w, hedges);
        return;
    }
    call->contest = NULL;
    c->hedge.slot.prompt_tokens = c->hedge.slot.answer_tokens = 0;
    slot_give(w, &c->hedge.slot);
    pool_hedge_return(call->claim.pool);
}

void hedge_commits(struct call *call)
{
    struct contest *c = call->contest;
    if (c == NULL)
        return;
    bool is_second = call == &c->hedge;
    struct runner *winner = is_second ? &c->second : &c->first, *other = is_second ? &c->first : &c->second;
    winner->story->hedge = "won";
    if (is_second) {
        struct flight *own = call->flight;
        call->flight = c->first.call->flight;
        flight_adopt(call->flight, own);
        flight_let_go(own);
        COUNT(c->group.owner->worker, hedges_won);
    }
    if (other->task == NULL)
        return; /* it has failed */
    other->story->hedge = "lost";
    other->call->lost = true;
    task_cancel(other->task, FAIL_CANCELLED);
}

/* Keeps what the second one said, whose flight goes unless it was adopted. */
static void settle(struct contest *c, struct flight *fl)
{
    struct flight *own = c->hedge.flight;
    if (own == NULL || own == fl)
        return;
    if (c->second.story->why[0] != 0) {
        const char *why = arena_copy(&fl->arena, text_of(c->second.story->why));
        c->second.story->why = why != NULL ? why : "no memory left to say why";
    }
    fl->retry_after = MAX(fl->retry_after, own->retry_after);
    flight_let_go(own);
}

static void end(struct contest *c, enum fail why)
{
    struct runner *both[] = { &c->first, &c->second };
    for (size_t i = 0; i < ARRAY_LEN(both) && why != OK; i++)
        if (both[i]->task != NULL)
            task_cancel(both[i]->task, why);
    group_end(&c->group);
}

enum fail hedge_attempt(struct task *t, struct call *call, struct retry *retry, struct attempt_story *a)
{
    struct flight *fl = call->flight;
    struct contest c = { .retry = retry };
    nanos late = pool_late(call->claim.pool, call->stream);
    pool_hedge_earn(call->claim.pool);
    group_init(&c.group, t);
    if (late == NEVER || begin(&c, &c.first, call, a) != OK) { /* also when there is no other task to be had */
        enum fail f = produce_attempt(t, call, retry, a);
        learn(call, a);
        return f;
    }
    enum fail f = group_wait(&c.group, 1, t->worker->now + late);
    if (f == FAIL_TIMEOUT && fl->state == FLIGHT_WAITING)
        ask_second(t->worker, &c, call);
    if (f == OK || f == FAIL_TIMEOUT)
        f = group_wait(&c.group, c.group.started, NEVER);
    end(&c, f);
    settle(&c, fl);
    call->contest = NULL;
    learn(call, a);
    return f == OK ? c.fail : f;
}
