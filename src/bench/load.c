/* load.c: one worker's part of a load test: starts arrivals or keeps users going, and ends when the plan is over. Called by load_real.c and by simulations. */
#include "bench/call.h"
#include <math.h>

#define LOAD_MAGIC       0x10ad7e57u
#define STARTS_PER_TURN  256                   /* a generator that is late must still read answers */
#define TICK_NS          (10 * NANOS_PER_MS)   /* how finely a ramp of users steps, and how often a closed loop's lag is looked at */
#define CONNECT_PAUSE_NS (10 * NANOS_PER_MS)   /* of a closed loop's user whom nobody let in: without it he would do nothing else, and keep others from their turn */
#define BODY_BYTES_MAX   (64u << 20)           /* of one request */

struct user {
    struct load *load;
    struct node node;        /* among the load's users, or spare ones */
    struct task *task;
    nanos intended;          /* when his next request is meant to start */
    uint64_t number;         /* of his session */
    bool is_thinking, has_asked;
    struct script_session session;
    struct buf body;
    struct caller caller;
};

struct load {
    uint32_t magic;
    struct worker *worker;
    const struct load_plan *plan;
    unsigned worker_number, worker_count;
    nanos ends, drained;     /* moments: no request is meant to start from the first on, none may end behind the second */
    struct call_pool pool;
    struct pace pace;
    nanos next_at;           /* open: our next arrival; NEVER: there is none */
    uint64_t next_number;
    nanos tick_due;
    uint32_t users_max;      /* open: at most so many of ours */
    uint32_t users_wanted;   /* closed: so many of ours now */
    uint64_t sessions;       /* closed: begun */
    bool is_stopped, is_over;
    struct timer arrive, tick;
    struct list users, spare;
    struct tally tally, *parts; /* parts: as many as the plan has */
};

/* Sessions of users have numbers of their own: every worker_count-th is ours. */
static uint64_t next_session(const struct load *l)
{
    return l->sessions * l->worker_count + l->worker_number;
}

static bool may_begin(const struct load *l)
{
    return l->plan->is_open || l->plan->sessions_max == 0 || next_session(l) < l->plan->sessions_max;
}

/* ---- the end ---- */

static void end_if_over(struct load *l)
{
    bool all_done = l->is_stopped || !may_begin(l) || (l->worker->now >= l->ends && l->next_at == NEVER);
    if (!list_is_empty(&l->users) || !all_done || l->is_over)
        return;
    timer_stop(l->worker, &l->arrive);
    timer_stop(l->worker, &l->tick);
    call_pool_fini(&l->pool);
    __atomic_store_n(&l->tally.ended, MAX(l->tally.ended, MIN(l->worker->now, l->ends)), __ATOMIC_RELAXED); /* the live view may be looking */
    l->is_over = true;
}

void load_stop(struct load *l)
{
    CHECK(l, LOAD);
    l->is_stopped = true;
    timer_stop(l->worker, &l->arrive);
    LIST_EACH(&l->users, node)
        task_cancel(CONTAINER_OF(node, struct user, node)->task, FAIL_CANCELLED);
    end_if_over(l);
}

/* The generator cannot go on. What it measured until now stays, and counts for nothing. */
static void give_up(struct load *l, enum fail f)
{
    if (l->tally.stopped == OK)
        __atomic_store_n(&l->tally.stopped, f, __ATOMIC_RELAXED);
    load_stop(l);
}

/* ---- a user ---- */

static bool may_go_on(const struct user *u)
{
    const struct load *l = u->load;
    return !l->is_stopped && u->intended < l->ends && (l->plan->is_open || list_count(&l->users) <= l->users_wanted);
}

/* Until he means to go on. False: he is to leave. */
static bool think(struct task *t, struct user *u)
{
    while (may_go_on(u) && t->worker->now < u->intended) {
        u->is_thinking = true;
        enum fail f = task_park(t, "think", u->intended);
        u->is_thinking = false;
        if (f != OK && f != FAIL_TIMEOUT)
            return false;
    }
    return may_go_on(u);
}

/* As evenly as can be: every tenth, if it is a tenth. */
static bool leaves(const struct user *u, const struct script_call *call)
{
    double share = u->load->plan->leave_share, number = (double)(u->session.number + u->session.calls);
    return call->stream && floor((number + 1) * share) > floor(number * share);
}

/* An error inside an answer does not excuse what was said before it. */
static enum fail verify(const struct user *u, const struct script_call *call, struct sample *s)
{
    bool is_right = true;
    enum fail f = verify_answer(&u->load->plan->mock, call, buf_text(&u->caller.reading.text), s->outcome == OUTCOME_OK && !s->has_left, s->tokens_out, &is_right);
    if (f == FAIL_NO_MEMORY)
        return f;
    if (f == OK ? !is_right : s->outcome == OUTCOME_OK) /* what the mock would refuse has no right answer */
        s->outcome = OUTCOME_WRONG;
    return OK;
}

/* Makes the call, and looks at what was said where that is wanted. As call_make. */
static enum fail call_and_verify(struct task *t, struct user *u, const struct script_call *what, nanos deadline, struct sample *s)
{
    struct load *l = u->load;
    struct script_call call = *what;
    call.wants_answer = what->wants_answer || l->plan->verify;
    call.leaves = leaves(u, what);
    enum fail f = call_make(t, &l->pool, &u->caller, &call, deadline, s->is_warmup ? NULL : &l->tally, s);
    return f == OK && l->plan->verify ? verify(u, &call, s) : f;
}

/* Of arrivals those that were meant to start in it, whenever they ended. Users ask again when they were answered, so of theirs what ended in it: who waits longer than
   it lasts would be left out for good otherwise. */
static bool is_of_warmup(const struct load *l, nanos intended, nanos ended)
{
    return (l->plan->is_open ? intended : ended) < l->tally.counts_from;
}

static void count_in_part(const struct user *u, const struct sample *s)
{
    const struct load_parts *parts = u->load->plan->parts;
    unsigned part = parts->ended(parts->arg, &u->session, s);
    if (part >= parts->count)
        return;
    tally_started(&u->load->parts[part], s->started);
    tally_ended(&u->load->parts[part], s, &u->load->plan->slo);
}

/* One request. False: his session ends. */
static bool ask(struct task *t, struct user *u, const struct script_call *call)
{
    struct load *l = u->load;
    const struct load_plan *plan = l->plan;
    nanos now = t->worker->now;
    struct sample s = { .intended = u->intended, .started = now, .is_warmup = is_of_warmup(l, u->intended, NEVER), .flow = u->session.flow };
    tally_started(&l->tally, now);
    if (plan->is_open && !s.is_warmup)
        tally_lag(&l->tally, now - u->intended);
    u->has_asked = true;
    enum fail f = call_and_verify(t, u, call, MIN(now + plan->timeout, l->drained), &s);
    if (f != OK) {
        tally_dropped(&l->tally, t->worker->now);
        if (t->cancel == OK)
            give_up(l, f);
        return false;
    }
    s.is_warmup = is_of_warmup(l, s.intended, s.ended);
    tally_ended(&l->tally, &s, &plan->slo);
    if (plan->parts != NULL && !s.is_warmup)
        count_in_part(u, &s);
    u->intended = t->worker->now;
    if (s.outcome == OUTCOME_CONNECT)
        u->intended += CONNECT_PAUSE_NS;
    return s.outcome == OUTCOME_OK && !s.has_left;
}

/* One step. False: the session is over. */
static bool go_on(struct task *t, struct user *u)
{
    struct script_call call = { 0 };
    bool is_over = false;
    enum fail f = script_next(&u->session, &u->body, &call, &is_over);
    u->intended += call.think; /* also behind the last request */
    if (f == OK && (is_over || !think(t, u) || !ask(t, u, &call)))
        return false;
    if (f == OK && call.wants_answer)
        f = script_heard(&u->session, buf_text(&u->caller.reading.text));
    if (f != OK && f != FAIL_BAD_JSON && f != FAIL_BAD_FIELD) /* these: the answer lacks what the next request needs, so the session ends */
        give_up(u->load, f);
    return f == OK;
}

static void leave(struct user *u)
{
    struct load *l = u->load;
    list_remove(&l->users, &u->node);
    list_push_front(&l->spare, &u->node);
    end_if_over(l);
}

static uint64_t begin_session(struct load *l)
{
    uint64_t number = next_session(l);
    l->sessions++;
    return number;
}

static void live(struct task *t, void *arg)
{
    struct user *u = arg;
    struct load *l = u->load;
    for (bool again = true; again;) {
        u->has_asked = false;
        script_begin(&u->session, l->plan->script, u->number);
        while (go_on(t, u)) { /* the script has an end */
        }
        script_end(&u->session);
        again = !l->plan->is_open && u->has_asked && may_begin(l) && may_go_on(u);
        if (again)
            u->number = begin_session(l);
    }
    leave(u);
}

static struct user *user_new(struct load *l)
{
    struct node *n = list_pop(&l->spare);
    if (n != NULL)
        return CONTAINER_OF(n, struct user, node);
    struct user *u = mem_zero(sizeof *u);
    if (u == NULL)
        return NULL;
    u->load = l;
    buf_init(&u->body, BODY_BYTES_MAX);
    caller_init(&u->caller);
    return u;
}

static void user_free(struct user *u)
{
    buf_fini(&u->body);
    caller_fini(&u->caller);
    mem_free(u);
}

/* False: the generator has given up. */
static bool start(struct load *l, uint64_t number, nanos intended)
{
    struct user *u = user_new(l);
    struct task *t = u != NULL ? task_start(l->worker, "user", live, u) : NULL;
    if (t == NULL) {
        if (u != NULL)
            user_free(u);
        give_up(l, FAIL_NO_MEMORY);
        return false;
    }
    u->task = t;
    u->number = number;
    u->intended = intended;
    list_push(&l->users, &u->node);
    return true;
}

/* ---- open: arrivals ---- */

/* Every worker draws all of them, so that their moments do not depend on how many workers there are. */
static void draw(struct load *l)
{
    nanos at;
    do {
        l->next_number = l->pace.count;
        at = pace_next(&l->pace);
    } while (at != NEVER && l->next_number % l->worker_count != l->worker_number);
    l->next_at = at == NEVER ? NEVER : l->tally.began + at;
}

static void arrive(struct worker *w, struct timer *self)
{
    struct load *l = CONTAINER_OF(self, struct load, arrive);
    for (unsigned n = 0; n < STARTS_PER_TURN && l->next_at <= w->now; n++) {
        if (list_count(&l->users) < l->users_max) {
            if (!start(l, l->next_number, l->next_at))
                return;
        } else if (l->next_at >= l->tally.counts_from) {
            tally_missed(&l->tally);
        }
        draw(l);
    }
    if (l->next_at != NEVER)
        timer_set(w, self, l->next_at);
}

/* ---- closed: users ---- */

static uint32_t wanted_at(const struct load *l, nanos at)
{
    uint32_t all = (uint32_t)ceil(MIN(pace_level(&l->plan->pace, at - l->tally.began), (double)LOAD_USERS_MAX));
    return (all + l->worker_count - 1 - l->worker_number) / l->worker_count;
}

/* Those who think are woken to see that they are too many; the others see it between two requests. */
static void send_away(struct load *l, uint32_t surplus)
{
    LIST_EACH(&l->users, node) {
        struct user *u = CONTAINER_OF(node, struct user, node);
        if (surplus == 0)
            break;
        if (!u->is_thinking)
            continue;
        task_wake(u->task);
        surplus--;
    }
}

static void keep_users(struct load *l, nanos at)
{
    l->users_wanted = wanted_at(l, at);
    while (list_count(&l->users) < l->users_wanted && may_begin(l))
        if (!start(l, begin_session(l), at))
            return;
    if (list_count(&l->users) > l->users_wanted)
        send_away(l, list_count(&l->users) - l->users_wanted);
}

/* A closed loop means to start requests when answers come, so its lag cannot be seen from them. How late a clock strikes shows how late its users get the processor;
   after a long stall each stroke that should have been counts. */
static void tick(struct worker *w, struct timer *self)
{
    struct load *l = CONTAINER_OF(self, struct load, tick);
    nanos due = l->tick_due;
    for (; l->tick_due <= w->now; l->tick_due += TICK_NS) {
        due = l->tick_due;
        if (!l->plan->is_open && due >= l->tally.counts_from && due < l->ends)
            tally_lag(&l->tally, w->now - due);
    }
    if (!l->plan->is_open && !l->is_stopped && due < l->ends)
        keep_users(l, due);
    if (w->now < l->ends)
        timer_set(w, self, MIN(l->tick_due, l->ends));
    else
        end_if_over(l);
}

/* ---- the whole ---- */

static unsigned part_count(const struct load_plan *plan)
{
    return plan->parts != NULL ? plan->parts->count : 0;
}

static void fini_tallies(struct load *l)
{
    tally_fini(&l->tally);
    for (unsigned i = 0; l->parts != NULL && i < part_count(l->plan); i++)
        tally_fini(&l->parts[i]);
    mem_free(l->parts);
}

static enum fail init_tallies(struct load *l, nanos began, nanos span)
{
    unsigned count = part_count(l->plan);
    enum fail f = tally_init(&l->tally, began, span);
    if (f != OK || count == 0)
        return f;
    l->parts = mem_zero(count * sizeof *l->parts);
    for (unsigned i = 0; l->parts != NULL && i < count && f == OK; i++)
        f = tally_init_whole(&l->parts[i], began);
    return l->parts != NULL ? f : FAIL_NO_MEMORY;
}

struct load *load_new(struct worker *w, const struct load_plan *plan, unsigned worker_number, unsigned worker_count, nanos began)
{
    struct load *l = mem_zero(sizeof *l);
    if (l == NULL)
        return NULL;
    l->magic = LOAD_MAGIC;
    l->worker = w;
    l->plan = plan;
    l->worker_number = worker_number;
    l->worker_count = worker_count;
    l->ends = began + pace_span(&plan->pace);
    l->drained = l->ends + plan->drain;
    l->tick_due = began;
    l->users_max = (MIN(plan->users_max, LOAD_USERS_MAX) + worker_count - 1 - worker_number) / worker_count;
    l->next_at = NEVER;
    l->arrive.fire = arrive;
    l->tick.fire = tick;
    list_init(&l->users);
    list_init(&l->spare);
    enum fail f = init_tallies(l, began, pace_span(&plan->pace) + plan->drain);
    l->tally.counts_from = began + plan->warmup;
    if (f == OK)
        f = call_pool_init(&l->pool, w, &plan->target, plan->new_connections);
    if (f != OK) {
        fini_tallies(l);
        mem_free(l);
        return NULL;
    }
    if (plan->is_open) {
        pace_begin(&l->pace, &plan->pace);
        draw(l);
        timer_set(w, &l->arrive, MIN(l->next_at, l->ends));
    }
    timer_set(w, &l->tick, began);
    return l;
}

bool load_is_over(const struct load *l)
{
    CHECK(l, LOAD);
    return l->is_over;
}

const struct tally *load_tally(const struct load *l)
{
    CHECK(l, LOAD);
    return &l->tally;
}

const struct tally *load_part(const struct load *l, unsigned part)
{
    CHECK(l, LOAD);
    ASSERT(l->is_over && part < part_count(l->plan));
    return &l->parts[part];
}

void load_free(struct load *l)
{
    if (l == NULL)
        return;
    CHECK(l, LOAD);
    ASSERT(l->is_over);
    for (struct node *n; (n = list_pop(&l->spare)) != NULL;)
        user_free(CONTAINER_OF(n, struct user, node));
    fini_tallies(l);
    l->magic = 0;
    mem_free(l);
}
