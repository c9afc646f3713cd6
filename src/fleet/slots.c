/* slots.c: taking and giving slots, under the fleet's gate. Called by path/ for each attempt, and by fleet.c when limits or members change.

   Every way out of the gate is leave(): it first serves whoever can be served, so nobody waits while something acceptable is free. Under the gate
   a waiter's lists and state move; its task is woken after the gate, by name, as it may be gone by then. Nothing walks all waiters
   but queue_move (a reload) and the check. */
#include "fleet/inner.h"

#define WAKES_MAX      32 /* waiters served in one go: about 1 us; then others get the gate */
#define SERVICE_WEIGHT 8  /* one in eight: the average forgets a change of load within about 20 answers */
#define SERVICE_MAX_NS (3600 * NANOS_PER_S) /* longer is no measure of the queue; keeps the product with 100,000 waiters in 63 bits */

struct wakes {
    unsigned count;
    struct task_ref to[WAKES_MAX];
};

/* ---- counts ---- */

static void note_free(struct fleet *f, struct backend *b)
{
    if (count_now(&b->in_flight) < count_now(&b->limit))
        f->free |= backend_bit(b);
    else
        f->free &= ~backend_bit(b);
    if (f->reduced & backend_bit(b))
        breaker_counted(f, b);
}

static void occupy(struct fleet *f, struct backend *b)
{
    ASSERT(f->free & backend_bit(b));
    count_set(&b->in_flight, count_now(&b->in_flight) + 1);
    note_free(f, b);
}

static void vacate(struct fleet *f, struct backend *b)
{
    ASSERT(count_now(&b->in_flight) > 0);
    count_set(&b->in_flight, count_now(&b->in_flight) - 1);
    note_free(f, b);
    f->serve_due = true;
}

/* Takes a slot of one of set (free ones, not none) for the pool. */
static const struct member *choose(struct fleet *f, struct pool *p, uint64_t set)
{
    unsigned index = choose_backend(f, p, breaker_prefers(f, set));
    p->cursor = index;
    occupy(f, f->backends[index]);
    return members_find(roster_members(f->roster, p), 1ull << index);
}

static void grant(struct fleet *f, struct waiter *to)
{
    uint64_t set = to->lane->accepts & f->free;
    queue_remove(f, to);
    to->member = choose(f, to->pool, set);
    to->roster = roster_ref(f->roster);
    to->state = GRANTED;
    list_push(&f->granted, &to->in_fleet);
}

/* Grants and refuses until nothing is left to do or the wakes are full. */
static void serve(struct fleet *f, struct wakes *wakes)
{
    while (f->serve_due && wakes->count < WAKES_MAX) {
        struct node *refused = list_first(&f->refused);
        struct waiter *to = refused != NULL ? CONTAINER_OF(refused, struct waiter, in_lane) : queue_next(f);
        if (to == NULL) {
            f->serve_due = false;
            return;
        }
        wakes->to[wakes->count++] = to->task;
        if (refused == NULL) {
            grant(f, to);
        } else {
            queue_remove(f, to);
            to->state = REFUSED;
        }
    }
}

static void wake(struct worker *w, const struct task_ref *ref)
{
    struct task *t = ref->worker == w ? task_find(w, ref->index, ref->generation) : NULL;
    if (t != NULL)
        task_wake(t);
    else
        task_wake_mail(*ref);
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

static void leave(struct fleet *f, struct worker *w)
{
    if (list_is_empty(&f->waiters) && !f->check_always) {
        f->serve_due = false;
        gate_leave(&f->gate);
    } else {
        leave_serving(f, w);
    }
}

static void enter(struct fleet *f, nanos now)
{
    gate_enter(&f->gate);
    breaker_pass(f, now);
}

/* ---- taking and giving ---- */

/* Takes a slot at once, or queues. OK with me->member set: taken. OK without: waits. */
static enum fail ask(struct fleet *f, struct waiter *me)
{
    const struct members *m = roster_members(f->roster, me->pool);
    uint64_t accepts = queue_accepts(f, m->use & ~me->exclude, m->fallback & ~me->exclude);
    uint64_t set = accepts & f->free;
    if (f->serve_due) /* some before us are about to be served: what they may take is not ours */
        LIST_EACH(&f->lanes, node)
            set &= ~CONTAINER_OF(node, struct lane, in_lanes)->accepts;
    if (set != 0) {
        me->member = choose(f, me->pool, set);
        me->roster = roster_ref(f->roster);
        f->held[me->member->endpoint->backend->index]++;
        return OK;
    }
    if (accepts != 0 && count_now(&me->pool->waiting) >= m->queue_max)
        return FAIL_BUSY; /* a longer queue only makes everyone late */
    return queue_add(f, me);
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
            f->held[me->member->endpoint->backend->index]++;
        else
            vacate(f, me->member->endpoint->backend); /* too late for us: the next one has it */
        return true;
    case REFUSED:
        *out_result = why != OK ? why : me->outcome;
        return true;
    }
    ASSERT(!"a waiter is in one of three states");
}

static enum fail wait_turn(struct task *t, struct fleet *f, struct waiter *me, nanos deadline)
{
    enum fail result;
    for (bool over = false; !over;) {
        enum fail why = task_park(t, "slot", deadline);
        enter(f, t->worker->now);
        over = settle(f, me, why, &result);
        leave(f, t->worker);
    }
    if (result != OK)
        roster_unref(me->roster);
    return result;
}

enum fail slot_take(struct task *t, const struct claim *claim, struct slot *out_slot)
{
    struct pool *pool = claim->pool;
    CHECK(pool, POOL);
    if (t->cancel != OK)
        return t->cancel;
    struct fleet *f = pool->fleet;
    struct waiter me = { .pool = pool, .exclude = claim->exclude, .task = task_ref(t) };
    nanos since = t->worker->now;
    enter(f, since);
    enum fail failure = ask(f, &me);
    bool waits = failure == OK && me.member == NULL; /* before the gate opens: after it others write */
    leave(f, t->worker);
    if (waits)
        failure = wait_turn(t, f, &me, claim->deadline);
    if (failure != OK)
        return failure;

    struct backend *b = me.member->endpoint->backend;
    bool fallback = (roster_members(me.roster, pool)->fallback & backend_bit(b)) != 0;
    *out_slot = (struct slot){ b, me.member->endpoint, pool, me.member->model, fallback, t->worker->now, t->worker->now - since, me.roster };
    return OK;
}

static void measure(struct pool *p, nanos span)
{
    nanos sample = MIN(MAX(span, 1), SERVICE_MAX_NS), mean = atomic_load_explicit(&p->service_ns, memory_order_relaxed);
    atomic_store_explicit(&p->service_ns, mean == 0 ? sample : mean + (sample - mean) / SERVICE_WEIGHT, memory_order_relaxed);
}

void slot_give(struct worker *w, struct slot *slot)
{
    struct roster *roster = slot->roster;
    ASSERT(roster != NULL); /* given twice, or never taken */
    slot->roster = NULL;
    struct fleet *f = slot->pool->fleet;
    enter(f, w->now);
    ASSERT(f->held[slot->backend->index] > 0);
    f->held[slot->backend->index]--;
    vacate(f, slot->backend);
    measure(slot->pool, w->now - slot->taken_at);
    leave(f, w);
    roster_unref(roster);
}

uint32_t pool_waiting(const struct pool *p)
{
    CHECK(p, POOL);
    return count_now(&p->waiting);
}

nanos pool_retry_after(const struct pool *p)
{
    CHECK(p, POOL);
    struct fleet *f = p->fleet;
    int64_t slots = 0;
    gate_enter(&f->gate);
    const struct members *m = roster_members(f->roster, p);
    for (uint64_t left = m->use; left != 0; left &= left - 1)
        slots += count_now(&f->backends[__builtin_ctzll(left)]->limit);
    gate_leave(&f->gate);
    nanos mean = atomic_load_explicit(&p->service_ns, memory_order_relaxed);
    return MAX((count_now(&p->waiting) + 1) * mean / MAX(slots, 1), NANOS_PER_S);
}

/* ---- changes ---- */

void slots_init(struct fleet *f)
{
    list_init(&f->waiters);
    list_init(&f->granted);
    list_init(&f->refused);
    list_init(&f->lanes);
    list_init(&f->lanes_free);
    for (unsigned i = 0; i < LANES_MAX; i++) {
        list_init(&f->lane_of[i].waiters);
        list_push(&f->lanes_free, &f->lane_of[i].in_lanes);
    }
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
    for (uint32_t i = 0; i < f->backends_count; i++)
        breaker_slots(f, f->backends[i], next->limits[i]);
    queue_move(f);
    leave(f, NULL);
    return before;
}

void slots_set_limit(struct fleet *f, struct backend *b, uint32_t limit)
{
    gate_enter(&f->gate);
    breaker_slots(f, b, limit);
    leave(f, NULL);
}

void slots_limit(struct fleet *f, struct backend *b, uint32_t limit)
{
    count_set(&b->limit, limit);
    note_free(f, b);
    f->serve_due = true;
}

void slots_leave(struct fleet *f, struct worker *w)
{
    leave(f, w);
}
