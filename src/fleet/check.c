/* check.c: what must hold at every release of the fleet's gate. Called by tests, and by slots.c while fleet_check_always is on. */
#include "fleet/inner.h"

static void check_waiter(const struct fleet *f, const struct waiter *each, uint64_t least_number)
{
    ASSERT(each->state == WAITING && each->number >= least_number);
    each->pool->checked[each->class]++;
    each->tenant->checked_requests++;
    if (each->line == NULL)
        return;
    const struct members *m = roster_members(f->roster, each->pool);
    const struct line *line = each->line;
    ASSERT(line->lane->use == (m->use & ~each->exclude) && line->lane->fallback == (m->fallback & ~each->exclude));
    ASSERT(line->tenant == each->tenant && line->class == each->class);
}

/* In order of deadlines, and as many as the treap says. */
static unsigned check_line(const struct line *line)
{
    const struct waiter *before = NULL;
    ASSERT(treap_count(&line->waiters) > 0 && line->counter <= line->tenant->counter);
    for (const struct treap_node *n = treap_first(&line->waiters); n != NULL; n = treap_next(n)) {
        const struct waiter *each = CONTAINER_OF(n, struct waiter, in_line);
        ASSERT(each->line == line && (before == NULL || before->deadline < each->deadline || (before->deadline == each->deadline && before->number < each->number)));
        before = each;
    }
    return treap_count(&line->waiters);
}

static unsigned check_lane(const struct fleet *f, const struct lane *lane)
{
    unsigned waiting = 0, in_lines = 0;
    ASSERT(lane->accepts == queue_accepts(f, lane->use, lane->fallback));
    for (int c = 0; c < CONF_CLASSES; c++) {
        uint64_t least_number = 0, least_counter = 0;
        ASSERT(f->serve_due || list_is_empty(&lane->waiters[c]) || (lane->accepts & f->free[c]) == 0); /* nobody waits while something acceptable is free */
        LIST_EACH(&lane->waiters[c], node) {
            const struct waiter *each = CONTAINER_OF(node, struct waiter, in_lane);
            ASSERT(each->line->lane == lane && each->number >= least_number);
            least_number = each->number + 1;
        }
        waiting += list_count(&lane->waiters[c]);
        for (const struct treap_node *n = treap_first(&lane->lines[c]); n != NULL; n = treap_next(n)) {
            const struct line *line = CONTAINER_OF(n, struct line, in_lane);
            ASSERT(line->lane == lane && line->class == (enum conf_class)c && line->counter >= least_counter);
            least_counter = line->counter;
            in_lines += check_line(line);
        }
    }
    ASSERT(waiting > 0 && waiting == in_lines);
    return waiting;
}

/* What each class finds free, from limit, floors and what is in flight; reckoned from the configuration. */
static void check_free(const struct fleet *f, const struct backend *b)
{
    const struct conf *conf = f->roster->conf;
    int64_t limit = count_now(&b->limit), spare = limit - count_now(&b->in_flight), left = MAX(limit - 1, 0);
    for (int c = CONF_CLASS_HIGH; c >= CONF_CLASS_LOW; c--) {
        bool held = conf != NULL && (f->floors.held[c] & backend_bit(b)) != 0;
        int64_t floor = held ? MIN((limit * conf->classes[c].floor + 50) / 100, left) : 0;
        ASSERT((spare > 0) == ((f->free[c] & backend_bit(b)) != 0));
        spare -= MAX(floor - f->in_flight[b->index][c], 0);
        left -= floor;
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
    uint32_t taken[BACKENDS_MAX][CONF_CLASSES];
    memcpy(taken, f->held, sizeof taken);
    LIST_EACH(&f->granted, node) {
        const struct waiter *each = CONTAINER_OF(node, struct waiter, in_fleet);
        ASSERT(each->state == GRANTED);
        taken[each->member->endpoint->backend->index][each->class]++;
    }
    for (uint32_t i = 0; i < f->roster->backends_known; i++) {
        const struct backend *b = f->backends[i];
        ASSERT(memcmp(taken[i], f->in_flight[i], sizeof taken[i]) == 0);
        ASSERT(count_now(&b->in_flight) == taken[i][CONF_CLASS_LOW] + taken[i][CONF_CLASS_NORMAL] + taken[i][CONF_CLASS_HIGH]);
        check_free(f, b);
        check_breaker(f, b);
    }
}

static void check_tenants(struct fleet *f)
{
    uint64_t held = 0, in_flight = 0;
    for (uint32_t i = 0; i < f->tenants.made; i++) {
        struct tenant *tn = &f->tenants.at[i];
        ASSERT(tn->waiting == tn->checked_requests && tn->counter >= tn->checked_counter);
        ASSERT(i == 0 || node_is_in(&tn->in_idle) == (tn->waiting == 0 && tn->held == 0));
        ASSERT(tn->waiting > 0 || list_is_empty(&tn->lines));
        tn->checked_counter = tn->counter;
        held += tn->held;
    }
    for (uint32_t i = 0; i < f->roster->backends_known; i++)
        in_flight += count_now(&f->backends[i]->in_flight);
    ASSERT(held == in_flight);
}

static void check_begin(struct fleet *f)
{
    for (uint32_t i = 0; i < f->roster->pools_known; i++)
        memset(f->pools[i]->checked, 0, sizeof f->pools[i]->checked);
    for (uint32_t i = 0; i < f->tenants.made; i++)
        f->tenants.at[i].checked_requests = 0;
}

void slots_check(struct fleet *f)
{
    uint64_t least_number = 0;
    unsigned in_lanes = list_count(&f->refused);
    check_begin(f);
    LIST_EACH(&f->waiters, node) {
        struct waiter *each = CONTAINER_OF(node, struct waiter, in_fleet);
        check_waiter(f, each, least_number);
        least_number = each->number + 1;
    }
    LIST_EACH(&f->lanes, node)
        in_lanes += check_lane(f, CONTAINER_OF(node, struct lane, in_lanes));
    ASSERT(in_lanes == list_count(&f->waiters));
    for (uint32_t i = 0; i < f->roster->pools_known; i++) {
        int32_t gone = atomic_load_explicit(&f->pools[i]->halves, memory_order_relaxed);
        ASSERT(gone >= 0 && gone <= 2 * RETRY_TOKENS);
        for (int c = 0; c < CONF_CLASSES; c++)
            ASSERT(f->pools[i]->checked[c] == count_now(&f->pools[i]->waiting[c]));
    }
    check_counts(f);
    check_tenants(f);
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
