/* breaker.c: which backends are asked at all: avoidances, pauses they asked for, and a circuit breaker each. Told by upstream/ how calls end; slots.c and
   queue.c obey.

   State      how it gets there                                       what may happen
   CLOSED     at first; a call of a half-open one succeeded           calls as usual; its slots come back over BREAKER_WARM_NS
   OPEN       BREAKER_FAILURES failures in a row, or too large a      no call. After BREAKER_OPEN_NS, or when a health check sees
              part of many; a call of a half-open one failed          it come back: half-open
   HALF_OPEN  its time is over, or a health check succeeded           one call at a time; success: closed, failure: open

   The last closed backend of a pool never opens: what it has is better than nothing, and a pool without anybody turns some errors into all errors.
   The usual call, a success of a closed backend, takes no gate.

   M. Nygard, "Release It!", the circuit breaker; the two thresholds and the bounded half-open state are those of Envoy's outlier detection and of resilience4j. */
#include "fleet/inner.h"
#include "stat/stat.h"

#define LOOK_NS     NANOS_PER_S /* the timer looks at least so often: what is due may have come nearer on another worker */
#define BUSY_MAX    6           /* doublings of a pause we guess: from 1 s to HOLD_MAX_NS */
#define CALLS_BITS  20          /* of a second's cell: calls and failures of a million each, and the second in the 24 bits above */
#define CELL_MASK   ((1ull << CALLS_BITS) - 1)
#define SECOND_MASK 0xffffffu

const char *breaker_name(enum breaker state)
{
    static const char *const names[] = { [BREAKER_CLOSED] = "closed", [BREAKER_HALF_OPEN] = "half_open", [BREAKER_OPEN] = "open" };
    return names[state];
}

/* ---- counting, without the gate ---- */

static uint32_t second_of(nanos now) { return (uint32_t)(now / NANOS_PER_S) & SECOND_MASK; }
static uint32_t cell_second(uint64_t cell) { return (uint32_t)(cell >> (2 * CALLS_BITS)); }

static void count_call(struct backend *b, nanos now, bool failed)
{
    uint32_t second = second_of(now);
    _Atomic uint64_t *place = &b->seconds[second % BREAKER_WINDOW_S];
    uint64_t was = atomic_load_explicit(place, memory_order_relaxed), is;
    do {
        is = cell_second(was) == second ? was : (uint64_t)second << (2 * CALLS_BITS);
        if ((is & CELL_MASK) == CELL_MASK)
            return; /* a million calls of this second say enough */
        is += 1 + ((uint64_t)failed << CALLS_BITS);
    } while (!atomic_compare_exchange_weak_explicit(place, &was, is, memory_order_relaxed, memory_order_relaxed));
}

static bool fails_mostly(const struct backend *b, nanos now)
{
    uint64_t calls = 0, failures = 0;
    for (unsigned i = 0; i < BREAKER_WINDOW_S; i++) {
        uint64_t cell = atomic_load_explicit(&b->seconds[i], memory_order_relaxed);
        if (((second_of(now) - cell_second(cell)) & SECOND_MASK) >= BREAKER_WINDOW_S)
            continue;
        calls += cell & CELL_MASK;
        failures += (cell >> CALLS_BITS) & CELL_MASK;
    }
    return calls >= BREAKER_CALLS && failures * 2 > calls;
}

/* ---- states, inside the gate ---- */

static enum breaker state_of(const struct backend *b) { return count_now(&b->breaker); }

static uint64_t with(uint64_t set, const struct backend *b, bool is_in)
{
    return is_in ? set | backend_bit(b) : set & ~backend_bit(b);
}

/* A backend that was just mended, or was just broken, would not stand a whole flood: an empty cache, a cold model. */
static uint32_t limit_of(const struct breaker_state *s, nanos now)
{
    if (state_of(s->backend) != BREAKER_CLOSED)
        return MIN(s->slots, 1);
    if (s->warm_since == 0)
        return s->slots;
    return MAX(MIN(s->slots, 1), (uint32_t)(s->slots * MIN(now - s->warm_since, BREAKER_WARM_NS) / BREAKER_WARM_NS));
}

static bool is_timed(const struct backend *b)
{
    return nanos_now(&b->avoid_until) != 0 || nanos_now(&b->hold_until) != 0 || state_of(b) == BREAKER_OPEN;
}

/* Nobody waits for the few slots of one that is not itself yet while another could answer. */
bool breaker_avoids(const struct fleet *f, const struct backend *b)
{
    return is_timed(b) || ((f->reduced & backend_bit(b)) && count_now(&b->in_flight) >= count_now(&b->limit));
}

/* Everything that follows from a backend's state. */
static void settle(struct fleet *f, struct backend *b, nanos now)
{
    struct breaker_state *s = &f->breakers[b->index];
    uint64_t avoided = f->avoided, shut = f->shut;
    uint32_t limit = limit_of(s, now);
    f->shut = with(f->shut, b, state_of(b) == BREAKER_OPEN);
    f->half_open = with(f->half_open, b, state_of(b) == BREAKER_HALF_OPEN);
    f->reduced = with(f->reduced, b, state_of(b) != BREAKER_CLOSED || s->warm_since != 0);
    f->pending = with(f->pending, b, is_timed(b) || s->warm_since != 0);
    if (limit != count_now(&b->limit))
        slots_limit(f, b, limit);
    f->avoided = with(f->avoided, b, breaker_avoids(f, b));
    if (f->avoided != avoided || f->shut != shut)
        queue_judge(f);
}

void breaker_counted(struct fleet *f, struct backend *b)
{
    bool is_avoided = breaker_avoids(f, b);
    if (is_avoided == ((f->avoided & backend_bit(b)) != 0))
        return;
    f->avoided = with(f->avoided, b, is_avoided);
    queue_judge(f);
}

static void move(struct backend *b, enum breaker to, nanos open_until)
{
    count_set(&b->breaker, to);
    nanos_set(&b->open_until, open_until);
}

static void pass(struct fleet *f, struct backend *b, nanos now)
{
    struct breaker_state *s = &f->breakers[b->index];
    if (nanos_now(&b->avoid_until) <= now)
        nanos_set(&b->avoid_until, 0);
    if (nanos_now(&b->hold_until) <= now)
        nanos_set(&b->hold_until, 0);
    if (state_of(b) == BREAKER_OPEN && nanos_now(&b->open_until) <= now)
        move(b, BREAKER_HALF_OPEN, 0);
    if (s->warm_since != 0 && now - s->warm_since >= BREAKER_WARM_NS)
        s->warm_since = 0;
    settle(f, b, now);
}

void breaker_pass(struct fleet *f, nanos now)
{
    for (uint64_t left = f->pending; left != 0; left &= left - 1)
        pass(f, f->backends[__builtin_ctzll(left)], now);
}

/* Of every pool it is in another one is closed. */
static bool may_open(const struct fleet *f, const struct backend *b)
{
    uint64_t closed = ~(f->shut | f->half_open | backend_bit(b));
    for (uint32_t i = 0; i < f->roster->sets_count; i++)
        if ((f->roster->sets[i] & backend_bit(b)) && (f->roster->sets[i] & closed) == 0)
            return false;
    return true;
}

static void open_it(struct fleet *f, struct backend *b, nanos now, bool was_down)
{
    struct breaker_state *s = &f->breakers[b->index];
    move(b, BREAKER_OPEN, now + BREAKER_OPEN_NS);
    count_set(&b->opened, count_now(&b->opened) + 1);
    s->warm_since = 0;
    s->was_down = was_down;
    settle(f, b, now);
}

static void close_it(struct fleet *f, struct backend *b, nanos now)
{
    move(b, BREAKER_CLOSED, 0);
    f->breakers[b->index].warm_since = now;
    count_set(&b->failures_in_row, 0); /* what it did before says nothing about it now */
    for (unsigned i = 0; i < BREAKER_WINDOW_S; i++)
        atomic_store_explicit(&b->seconds[i], 0, memory_order_relaxed);
    settle(f, b, now);
}

void breaker_slots(struct fleet *f, struct backend *b, uint32_t slots)
{
    struct breaker_state *s = &f->breakers[b->index];
    const struct endpoint *e = f->roster->by_index[b->index];
    s->slots = slots;
    if (e != NULL && e->place_version != s->place) { /* another machine, or one that was mended by naming it right */
        s->place = e->place_version;
        if (state_of(b) == BREAKER_OPEN)
            nanos_set(&b->open_until, 1);
    }
    slots_limit(f, b, limit_of(s, world_now(f->world)));
}

/* ---- in and out ---- */

/* When time changes it next; a look too many does no harm. */
static nanos due_of(const struct backend *b, nanos now)
{
    nanos due = now + LOOK_NS;
    const nanos all[] = { nanos_now(&b->avoid_until), nanos_now(&b->hold_until), nanos_now(&b->open_until) };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i] != 0)
            due = MIN(due, all[i]);
    return due;
}

static void timer_fired(struct worker *w, struct timer *timer)
{
    struct breaker_state *s = CONTAINER_OF(timer, struct breaker_state, timer);
    struct fleet *f = s->backend->fleet;
    slots_enter(f, w->now);
    bool goes_on = (f->pending & backend_bit(s->backend)) != 0; /* marked again meanwhile, maybe by another worker */
    if (!goes_on)
        s->worker = NULL;
    slots_leave(f, w);
    if (goes_on)
        timer_set(w, timer, due_of(s->backend, w->now));
}

static struct fleet *enter(struct worker *w, struct backend *b)
{
    CHECK(b, BACKEND);
    slots_enter(b->fleet, w->now);
    return b->fleet;
}

static void leave(struct worker *w, struct backend *b)
{
    struct fleet *f = b->fleet;
    struct breaker_state *s = &f->breakers[b->index];
    settle(f, b, w->now);
    bool begins = (f->pending & backend_bit(b)) && s->worker == NULL;
    if (begins)
        s->worker = w;
    slots_leave(f, w);
    if (begins)
        timer_set(w, &s->timer, due_of(b, w->now));
}

void breaker_init(struct fleet *f)
{
    for (unsigned i = 0; i < BACKENDS_MAX; i++)
        f->breakers[i].timer.fire = timer_fired;
}

/* ---- what calls say ---- */

void backend_mark(struct worker *w, struct backend *b, enum fail what)
{
    bool unreachable = what == FAIL_CONNECT || what == FAIL_NAME;
    if (!unreachable && (what != OK || nanos_now(&b->avoid_until) == 0))
        return; /* the usual case takes no gate */
    enter(w, b);
    nanos_set(&b->avoid_until, unreachable ? w->now + AVOID_NS : 0);
    leave(w, b);
}

static void tell_opened(struct worker *w, const struct backend *b, enum breaker was, uint32_t in_row)
{
    if (was == BREAKER_CLOSED)
        log_line(w, LOG_LEVEL_WARN, "breaker", "%s is not asked for %lld s: %s", b->name, (long long)(BREAKER_OPEN_NS / NANOS_PER_S),
                 in_row >= BREAKER_FAILURES ? "too many calls in a row failed" : "more than half of its calls failed");
}

static bool note_failure(struct worker *w, struct backend *b, bool unreachable)
{
    uint32_t in_row = atomic_fetch_add_explicit(&b->failures_in_row, 1, memory_order_relaxed) + 1;
    struct fleet *f = enter(w, b);
    enum breaker was = state_of(b);
    bool is_bad = in_row >= BREAKER_FAILURES || fails_mostly(b, w->now);
    bool opens = was == BREAKER_HALF_OPEN || (was == BREAKER_CLOSED && is_bad && may_open(f, b));
    if (opens)
        open_it(f, b, w->now, unreachable && was == BREAKER_CLOSED);
    leave(w, b);
    if (opens)
        tell_opened(w, b, was, in_row);
    return opens;
}

void backend_began(struct worker *w, struct backend *b)
{
    if (state_of(b) != BREAKER_HALF_OPEN)
        return;
    struct fleet *f = enter(w, b);
    bool closes = state_of(b) == BREAKER_HALF_OPEN;
    if (closes)
        close_it(f, b, w->now);
    leave(w, b);
    if (closes)
        log_line(w, LOG_LEVEL_INFO, "breaker", "%s answers and is asked again", b->name);
}

bool backend_note(struct worker *w, struct backend *b, enum backend_news news)
{
    count_call(b, w->now, news != BACKEND_ANSWERED);
    if (news != BACKEND_ANSWERED)
        return note_failure(w, b, news == BACKEND_UNREACHABLE);
    if (count_now(&b->failures_in_row) != 0)
        count_set(&b->failures_in_row, 0);
    if (count_now(&b->busy_in_row) != 0)
        count_set(&b->busy_in_row, 0);
    backend_began(w, b);
    return false;
}

/* How long it meant: what it said, or our guess, which grows while it goes on being busy. */
static nanos pause_of(struct backend *b, nanos said)
{
    if (said > 0)
        return MIN(said, HOLD_MAX_NS);
    uint32_t before = atomic_fetch_add_explicit(&b->busy_in_row, 1, memory_order_relaxed);
    return MIN(AVOID_NS << MIN(before, BUSY_MAX), HOLD_MAX_NS);
}

void backend_hold(struct worker *w, struct backend *b, nanos said)
{
    if (said == 0)
        return;
    enter(w, b);
    nanos until = nanos_now(&b->hold_until);
    if (said > 0 || until == 0) { /* many calls of one moment are one guess */
        nanos pause = pause_of(b, said);
        nanos_set(&b->hold_until, MAX(until, w->now + pause));
    }
    leave(w, b);
}

void backend_checked(struct worker *w, struct backend *b, bool is_up)
{
    struct fleet *f = enter(w, b);
    struct breaker_state *s = &f->breakers[b->index];
    if (state_of(b) == BREAKER_OPEN && is_up && s->was_down) {
        move(b, BREAKER_HALF_OPEN, 0);
        nanos_set(&b->avoid_until, 0); /* the check has just connected */
    }
    s->was_down |= !is_up;
    leave(w, b);
}

/* ---- whom a retry may ask ---- */

uint64_t pool_ready(struct pool *p, uint64_t except, nanos at, nanos *out_when)
{
    struct fleet *f = p->fleet;
    uint64_t ready = 0;
    nanos when = NEVER;
    gate_enter(&f->gate);
    const struct members *m = roster_members(f->roster, p);
    for (uint64_t left = (m->use | m->fallback) & ~except & ~f->shut; left != 0; left &= left - 1) {
        const struct backend *b = f->backends[__builtin_ctzll(left)];
        nanos until = nanos_now(&b->hold_until);
        if (until <= at)
            ready |= backend_bit(b);
        else
            when = MIN(when, until);
    }
    gate_leave(&f->gate);
    *out_when = ready != 0 ? at : when;
    return ready;
}

uint64_t pool_shut(struct pool *p)
{
    struct fleet *f = p->fleet;
    gate_enter(&f->gate);
    const struct members *m = roster_members(f->roster, p);
    uint64_t shut = (m->use | m->fallback) & f->shut;
    gate_leave(&f->gate);
    return shut;
}
