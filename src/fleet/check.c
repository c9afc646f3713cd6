/* check.c: what must hold at every release of the fleet's gate. Called by tests, and by slots.c while fleet_check_always is on. */
#include "fleet/inner.h"

static void check_waiter(struct fleet *f, const struct waiter *each, uint64_t least_number)
{
    ASSERT(each->state == WAITING && each->number >= least_number);
    each->pool->checked++;
    if (each->lane == NULL)
        return;
    const struct members *m = roster_members(f->roster, each->pool);
    ASSERT(each->lane->use == (m->use & ~each->exclude) && each->lane->fallback == (m->fallback & ~each->exclude));
}

static void check_lane(const struct fleet *f, const struct lane *lane)
{
    ASSERT(!list_is_empty(&lane->waiters) && lane->accepts == queue_accepts(f, lane->use, lane->fallback));
    ASSERT(f->serve_due || (lane->accepts & f->free) == 0); /* nobody waits while something acceptable is free */
    uint64_t least_number = 0;
    LIST_EACH(&lane->waiters, node) {
        const struct waiter *each = CONTAINER_OF(node, struct waiter, in_lane);
        ASSERT(each->lane == lane && each->number >= least_number);
        least_number = each->number + 1;
    }
}

static void check_breaker(const struct fleet *f, const struct backend *b)
{
    const struct breaker_state *s = &f->breakers[b->index];
    enum breaker state = count_now(&b->breaker);
    ASSERT(breaker_avoids(f, b) == ((f->avoided & backend_bit(b)) != 0));
    ASSERT((state == BREAKER_OPEN) == ((f->shut & backend_bit(b)) != 0) && (state == BREAKER_HALF_OPEN) == ((f->half_open & backend_bit(b)) != 0));
    ASSERT((state == BREAKER_OPEN) == (nanos_now(&b->open_until) != 0) && (state == BREAKER_CLOSED || s->warm_since == 0));
    ASSERT(count_now(&b->limit) <= s->slots && (s->slots == 0 || count_now(&b->limit) > 0));
    ASSERT(count_now(&b->limit) == s->slots || state != BREAKER_CLOSED || s->warm_since != 0);
    ASSERT(state == BREAKER_CLOSED || count_now(&b->limit) <= 1); /* so one probe at a time */
}

static void check_counts(const struct fleet *f)
{
    uint32_t granted[BACKENDS_MAX] = { 0 };
    LIST_EACH(&f->granted, node) {
        const struct waiter *each = CONTAINER_OF(node, struct waiter, in_fleet);
        ASSERT(each->state == GRANTED);
        granted[each->member->endpoint->backend->index]++;
    }
    for (uint32_t i = 0; i < f->backends_count; i++) {
        const struct backend *b = f->backends[i];
        bool is_free = (f->free & backend_bit(b)) != 0;
        ASSERT(count_now(&b->in_flight) == granted[i] + f->held[i]);
        ASSERT(is_free == (count_now(&b->in_flight) < count_now(&b->limit)));
        check_breaker(f, b);
    }
}

void slots_check(struct fleet *f)
{
    for (uint32_t i = 0; i < f->pools_count; i++)
        f->pools[i]->checked = 0;
    uint64_t least_number = 0;
    unsigned in_lanes = list_count(&f->refused);
    LIST_EACH(&f->waiters, node) {
        struct waiter *each = CONTAINER_OF(node, struct waiter, in_fleet);
        check_waiter(f, each, least_number);
        least_number = each->number + 1;
    }
    LIST_EACH(&f->lanes, node) {
        const struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        check_lane(f, lane);
        in_lanes += list_count(&lane->waiters);
    }
    ASSERT(in_lanes == list_count(&f->waiters));
    for (uint32_t i = 0; i < f->pools_count; i++) {
        int32_t gone = atomic_load_explicit(&f->pools[i]->halves, memory_order_relaxed);
        ASSERT(f->pools[i]->checked == count_now(&f->pools[i]->waiting) && gone >= 0 && gone <= 2 * RETRY_TOKENS);
    }
    check_counts(f);
}

void fleet_check(struct fleet *f)
{
    CHECK(f, FLEET);
    gate_enter(&f->gate);
    slots_check(f);
    gate_leave(&f->gate);
}

void fleet_check_always(struct fleet *f, bool on)
{
    CHECK(f, FLEET);
    gate_enter(&f->gate);
    f->check_always = on;
    gate_leave(&f->gate);
}
