/* slots.c: taking and giving slots, under the fleet's gate. Called by path/ and upstream/ for each attempt, and by fleet.c when limits or members change.

   Every way out of the gate after a change is slots_leave(): it first serves whoever can be served, so nobody waits while something acceptable is free. Under the gate
   a waiter's lists and state move; its task is woken after the gate, by name, as it may be gone by then. Nothing walks all waiters
   but queue_move (a reload) and the check. */
#include "fleet/inner.h"

#define WAKES_MAX      32 /* waiters served in one go: about 1 us; then others get the gate */

struct wakes {
    unsigned count;
    struct task_ref to[WAKES_MAX];
};

/* ---- whose it is ---- */

/* Takes a slot of one of set (free for its class, not none) for a request, and charges its tenant. */
static unsigned occupy(struct fleet *f, struct waiter *me, uint64_t set)
{
    unsigned index = choose_backend(f, me->pool, breaker_prefers(f, set), me->affinity);
    me->pool->cursor = index;
    floor_occupy(f, f->backends[index], me->class);
    breaker_counted(f, f->backends[index]);
    tenant_use(f, me->tenant);
    me->tenant->held++;
    tenant_charge(f, me->tenant, me->tokens);
    me->member = members_find(roster_members(f->roster, me->pool), 1ull << index);
    me->roster = roster_ref(f->roster);
    return index;
}

/* What was used, if it is known. */
static void vacate(struct fleet *f, struct backend *b, enum conf_class class, struct tenant *tn, uint32_t charged, uint64_t used)
{
    floor_vacate(f, b, class);
    breaker_counted(f, b);
    tenant_settle(f, tn, charged, used);
    tn->held--;
    tenant_rest(f, tn);
}

/* Each backend counts its grants to those who waited, up to the turn of the aged; that stays due until somebody has it. */
static void count_turn(struct fleet *f, unsigned index, bool is_aged)
{
    if (is_aged)
        f->turns[index] = 0;
    else if (f->turns[index] < AGE_TURN)
        f->turns[index]++;
    if (f->turns[index] >= AGE_TURN - 1)
        f->aged |= 1ull << index;
    else
        f->aged &= ~(1ull << index);
}

static void grant(struct fleet *f, struct waiter *to, uint64_t set, bool is_aged)
{
    outlook_count(&to->line->grants, f->now, to->class);
    queue_remove(f, to);
    count_turn(f, occupy(f, to, set), is_aged);
    to->state = GRANTED;
    list_push(&f->granted, &to->in_fleet);
}

/* Grants and refuses until nothing is left to do or the wakes are full. */
static void serve(struct fleet *f, struct wakes *wakes)
{
    while (f->serve_due && wakes->count < WAKES_MAX) {
        struct node *refused = list_first(&f->refused);
        uint64_t set = 0;
        bool is_aged = false;
        struct waiter *to = refused != NULL ? CONTAINER_OF(refused, struct waiter, in_lane) : queue_next(f, &set, &is_aged);
        if (to == NULL) {
            f->serve_due = false;
            return;
        }
        wakes->to[wakes->count++] = to->task;
        if (refused == NULL) {
            grant(f, to, set, is_aged);
        } else {
            queue_remove(f, to);
            to->state = REFUSED;
        }
    }
}

static void wake(struct worker *w, const struct task_ref *ref)
{
    struct task *t = ref->worker == w ? task_find(w, ref->index, ref->generation) : NULL;
    if (t != NULL && t != w->running)
        task_wake(t);
    else
        task_wake_mail(*ref); /* also to who serves himself on his way into the queue: he has not parked yet */
}

/* Out of line: its wakes would cost every taker half a KiB of stack. */
static __attribute__((noinline)) void leave_serving(struct fleet *f, struct worker *w)
{
    for (bool more = true; more;) {
        struct wakes wakes;
        wakes.count = 0;
        serve(f, &wakes);
        more = f->serve_due;
        if (f->check_always)
            slots_check(f);
        gate_leave(&f->gate);
        for (unsigned i = 0; i < wakes.count; i++)
            wake(w, &wakes.to[i]);
        if (more)
            gate_enter(&f->gate);
    }
}

void slots_leave(struct fleet *f, struct worker *w)
{
    if (list_is_empty(&f->waiters) && !f->check_always) {
        f->serve_due = false;
        gate_leave(&f->gate);
    } else {
        leave_serving(f, w);
    }
}

void slots_enter(struct fleet *f, nanos now)
{
    gate_enter(&f->gate);
    f->now = MAX(f->now, now);
    if (f->now >= f->floors.look_at)
        floor_end(f);
    breaker_pass(f, now);
}

/* ---- floors ---- */

static void floors_fired(struct worker *w, struct timer *timer)
{
    struct fleet *f = CONTAINER_OF(timer, struct fleet, floors.timer);
    slots_enter(f, w->now);
    nanos next = f->floors.look_at;
    if (next == NEVER)
        f->floors.worker = NULL;
    slots_leave(f, w);
    if (next != NEVER)
        timer_set(w, timer, next);
}

/* ---- taking and giving ---- */

/* Queues, unless that is hopeless: who would wait too long is told now. */
static enum fail queue_up(struct fleet *f, struct waiter *me)
{
    if (queue_is_full(f, me))
        return FAIL_BUSY;
    enum fail failure = queue_add(f, me);
    if (failure != OK)
        return failure;
    struct outlook o = outlook_of(f, me);
    if (o.wait <= o.wait_max)
        return OK;
    queue_remove(f, me);
    return FAIL_BUSY;
}

/* Takes a slot at once, or queues. OK with me->member set: taken. OK without: waits. *out_look_at: of floor_asked. */
static enum fail ask(struct fleet *f, struct worker *w, struct waiter *me, nanos *out_look_at)
{
    const struct members *m = roster_members(f->roster, me->pool);
    uint64_t accepts = queue_accepts(f, m->use & ~me->exclude, m->fallback & ~me->exclude);
    if (accepts == 0)
        return FAIL_NO_BACKEND;
    *out_look_at = floor_asked(f, w, me->pool, me->class, accepts);
    tenant_lift(f, me->tenant);
    uint64_t set = accepts & f->free[me->class];
    if (f->serve_due) /* some before us are about to be served: what they may take is not ours */
        LIST_EACH(&f->lanes, node)
            set &= ~CONTAINER_OF(node, struct lane, in_lanes)->accepts;
    if (set == 0)
        return queue_up(f, me);
    f->held[occupy(f, me, set)][me->class]++;
    return OK;
}

/* After each wake. False: go on waiting. */
static bool settle(struct fleet *f, struct waiter *me, enum fail why, enum fail *out_result)
{
    *out_result = why;
    switch (me->state) {
    case WAITING:
        if (why == OK)
            return false; /* woken for something else */
        queue_remove(f, me);
        return true;
    case GRANTED:
        list_remove(&f->granted, &me->in_fleet);
        if (why == OK)
            f->held[me->member->endpoint->backend->index][me->class]++;
        else
            vacate(f, me->member->endpoint->backend, me->class, me->tenant, me->tokens, 0); /* too late for us: the next one has it */
        return true;
    case REFUSED:
        *out_result = why != OK ? why : me->outcome;
        return true;
    }
    ASSERT(!"a waiter is in one of three states");
}

/* The time for a word is over: says where it stands. It may wait for that, and be granted a slot meanwhile. */
static enum fail tell(struct task *t, const struct waiter *me, const struct claim *claim)
{
    struct outlook o = slot_outlook(me);
    return o.position > 0 ? claim->tell(t, claim->arg, &o) : OK;
}

static enum fail wait_turn(struct task *t, struct fleet *f, struct waiter *me, const struct claim *claim)
{
    enum fail result = OK;
    nanos beat = claim->tell != NULL ? t->worker->now + claim->beat : NEVER;
    for (bool over = false; !over;) {
        enum fail why = task_park(t, "slot", MIN(me->until, beat));
        if (why == FAIL_TIMEOUT && t->worker->now < me->until) {
            why = tell(t, me, claim);
            beat = t->worker->now + claim->beat;
        }
        slots_enter(f, t->worker->now);
        over = settle(f, me, why, &result);
        slots_leave(f, t->worker);
    }
    if (result != OK)
        roster_unref(me->roster);
    return result == FAIL_TIMEOUT && t->worker->now < me->deadline ? FAIL_BUSY : result; /* its class waits no longer */
}

void slot_raise(struct worker *w, struct waiter *me, enum conf_class class)
{
    struct fleet *f = me->pool->fleet;
    nanos look_at = 0;
    slots_enter(f, w->now);
    if (me->state == WAITING && me->line != NULL && class > me->class) {
        queue_raise(f, me, class);
        me->until = MAX(me->until, MIN(me->deadline, f->wait_max[class] == NEVER ? NEVER : f->now + f->wait_max[class]));
        look_at = floor_asked(f, w, me->pool, me->class, me->line->lane->accepts);
        f->serve_due = true;
    }
    struct task_ref task = me->task;
    slots_leave(f, w);
    if (look_at != 0)
        timer_set(w, &f->floors.timer, look_at);
    wake(w, &task); /* it has another time to wait for */
}

static struct waiter waiter_of(const struct claim *claim, nanos now)
{
    return (struct waiter){ .pool = claim->pool, .exclude = claim->exclude, .affinity = claim->affinity, .class = claim->class,
                            .tokens = MAX(claim->tokens, 1), .since = now, .deadline = claim->deadline };
}

/* What the gate tells of a newcomer. */
static void introduce(struct fleet *f, struct waiter *me, uint64_t tenant)
{
    me->tenant = tenant_find(f, tenant);
    me->until = f->wait_max[me->class] == NEVER ? me->deadline : MIN(me->deadline, me->since + f->wait_max[me->class]);
}

static enum fail take(struct task *t, const struct claim *claim, struct waiter *me)
{
    struct worker *w = t->worker;
    struct fleet *f = claim->pool->fleet;
    uint64_t tenant = tenant_id(f, claim->tenant);
    nanos look_at = 0;
    slots_enter(f, w->now);
    introduce(f, me, tenant);
    enum fail failure = ask(f, w, me, &look_at);
    bool waits = failure == OK && me->member == NULL; /* before the gate opens: after it others write */
    slots_leave(f, w);
    if (look_at != 0)
        timer_set(w, &f->floors.timer, look_at);
    if (!waits)
        return failure;
    if (claim->waits != NULL)
        *claim->waits = me;
    failure = wait_turn(t, f, me, claim);
    if (claim->waits != NULL)
        *claim->waits = NULL;
    return failure;
}

/* What me->member grants, as its holder sees it. */
static struct slot slot_of(const struct waiter *me, nanos now)
{
    struct backend *b = me->member->endpoint->backend;
    bool fallback = (roster_members(me->roster, me->pool)->fallback & backend_bit(b)) != 0;
    return (struct slot){ .backend = b, .endpoint = me->member->endpoint, .pool = me->pool, .model = me->member->model, .fallback = fallback, .taken_at = now,
                          .queued_ns = now - me->since, .roster = me->roster, .class = me->class, .tenant = me->tenant, .charged = me->tokens,
                          .prompt_tokens = -1, .answer_tokens = -1 };
}

enum fail slot_take(struct task *t, const struct claim *claim, struct slot *out_slot)
{
    struct pool *pool = claim->pool;
    CHECK(pool, POOL);
    if (t->cancel != OK)
        return t->cancel;
    struct waiter me = waiter_of(claim, t->worker->now);
    me.task = task_ref(t);
    me.deadline = MIN(me.deadline, t->deadline);
    enum fail failure = take(t, claim, &me);
    if (failure != OK)
        return failure;
    *out_slot = slot_of(&me, t->worker->now);
    return OK;
}

/* Backends with a slot that nobody waits for and that me may have. */
static uint64_t idle_set(struct fleet *f, const struct waiter *me, bool fallback)
{
    const struct members *m = roster_members(f->roster, me->pool);
    uint64_t set = (fallback ? m->fallback : m->use) & ~me->exclude & ~f->avoided & ~f->half_open & f->free[me->class];
    for (int c = 0; c < CONF_CLASSES; c++)
        if (count_now(&me->pool->waiting[c]) > 0)
            return 0;
    LIST_EACH(&f->lanes, node)
        set &= ~CONTAINER_OF(node, struct lane, in_lanes)->accepts; /* those who wait for other models, too */
    return set;
}

bool slot_try(struct worker *w, const struct claim *claim, const struct slot *beside, struct slot *out_slot)
{
    struct fleet *f = claim->pool->fleet;
    struct waiter me = waiter_of(claim, w->now);
    uint64_t tenant = tenant_id(f, claim->tenant);
    slots_enter(f, w->now);
    introduce(f, &me, tenant);
    uint64_t set = idle_set(f, &me, beside->fallback);
    if (set != 0)
        f->held[occupy(f, &me, set)][me.class]++;
    slots_leave(f, w);
    if (set != 0)
        *out_slot = slot_of(&me, w->now);
    return set != 0;
}

void slot_give(struct worker *w, struct slot *slot)
{
    struct roster *roster = slot->roster;
    ASSERT(roster != NULL); /* given twice, or never taken */
    slot->roster = NULL;
    struct fleet *f = slot->pool->fleet;
    bool known = slot->prompt_tokens >= 0 && slot->answer_tokens >= 0;
    uint64_t used = known ? tenant_weigh((uint64_t)slot->prompt_tokens, (uint64_t)slot->answer_tokens) : slot->charged;
    slots_enter(f, w->now);
    ASSERT(f->held[slot->backend->index][slot->class] > 0);
    f->held[slot->backend->index][slot->class]--;
    load_measured(f, slot, w->now);
    vacate(f, slot->backend, slot->class, slot->tenant, slot->charged, used);
    outlook_measure(slot, w->now - slot->taken_at);
    slots_leave(f, w);
    roster_unref(roster);
}

/* Stands in the queue for as long as it takes to look. */
struct outlook pool_outlook(struct worker *w, const struct claim *claim)
{
    CHECK(claim->pool, POOL);
    struct fleet *f = claim->pool->fleet;
    struct waiter me = waiter_of(claim, w->now);
    uint64_t tenant = tenant_id(f, claim->tenant);
    slots_enter(f, w->now);
    introduce(f, &me, tenant);
    bool stands = queue_add(f, &me) == OK;
    struct outlook o = outlook_of(f, &me);
    if (stands)
        queue_remove(f, &me);
    slots_leave(f, w);
    return o;
}

/* ---- changes ---- */

void slots_init(struct fleet *f)
{
    list_init(&f->waiters);
    list_init(&f->granted);
    list_init(&f->refused);
    list_init(&f->lanes);
    list_init(&f->lanes_free);
    list_init(&f->lines_free);
    floor_init(f);
    f->floors.timer.fire = floors_fired;
    breaker_init(f);
}

void slots_fini(struct fleet *f)
{
    ASSERT(list_is_empty(&f->waiters) && list_is_empty(&f->granted));
    for (uint32_t i = 0; i < f->backends_count; i++)
        ASSERT(count_now(&f->backends[i]->in_flight) == 0);
}

struct roster *slots_install(struct fleet *f, struct roster *next)
{
    gate_enter(&f->gate);
    struct roster *before = f->roster;
    f->roster = next;
    floor_read(f);
    for (uint32_t i = 0; i < f->backends_count; i++) {
        breaker_slots(f, f->backends[i], load_limit(f, i, next->limits[i]));
        floor_note(f, f->backends[i]); /* what its floors are may have changed although its limit has not */
    }
    queue_move(f);
    slots_leave(f, NULL);
    return before;
}

void slots_set_limit(struct fleet *f, struct backend *b, uint32_t limit)
{
    gate_enter(&f->gate);
    breaker_slots(f, b, load_limit(f, b->index, limit));
    slots_leave(f, NULL);
}

void slots_limit(struct fleet *f, struct backend *b, uint32_t limit)
{
    count_set(&b->limit, limit);
    floor_note(f, b);
    breaker_counted(f, b);
    f->serve_due = true;
}
