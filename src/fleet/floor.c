/* floor.c: what is free for whom: slots in flight by class, and the floors (bulkheads) that a class keeps from those below it. Called by slots.c inside the gate.

   A class has a floor at the backends it asked for within FLOOR_NS: where only one class asks, nothing is kept from it. Below limit - in flight of a backend
   stands what the classes above have not used of their floors; what is left is free. A backend keeps at least one slot that any class may have. */
#include "fleet/inner.h"

#define LOOK_NS NANOS_PER_S /* floors are begun and ended this late at most: looking is then no part of each request's work */

void floor_init(struct fleet *f)
{
    f->floors.look_at = NEVER;
}

/* What each class may take, after a change of what is in flight. */
static void note(struct fleet *f, const struct backend *b)
{
    uint32_t limit = count_now(&b->limit), taken = count_now(&b->in_flight), spare = limit > taken ? limit - taken : 0, kept = 0;
    const uint32_t *floors = f->floors.slots[b->index], *used = f->in_flight[b->index];
    for (int c = CONF_CLASS_HIGH; c >= CONF_CLASS_LOW; c--) {
        uint64_t bit = backend_bit(b);
        f->free[c] = spare > kept ? f->free[c] | bit : f->free[c] & ~bit;
        kept += floors[c] > used[c] ? floors[c] - used[c] : 0;
    }
}

void floor_note(struct fleet *f, const struct backend *b)
{
    uint32_t limit = count_now(&b->limit), left = limit > 0 ? limit - 1 : 0;
    for (int c = CONF_CLASS_HIGH; c >= CONF_CLASS_LOW; c--) {
        bool held = (f->floors.held[c] & backend_bit(b)) != 0;
        uint32_t floor = held ? MIN((uint32_t)(((uint64_t)limit * f->floors.percent[c] + 50) / 100), left) : 0;
        f->floors.slots[b->index][c] = floor;
        left -= floor;
    }
    note(f, b);
}

void floor_occupy(struct fleet *f, struct backend *b, enum conf_class class)
{
    ASSERT(f->free[class] & backend_bit(b));
    count_set(&b->in_flight, count_now(&b->in_flight) + 1);
    f->in_flight[b->index][class]++;
    outlook_count(&f->grants[b->index], f->now, class);
    note(f, b);
}

void floor_vacate(struct fleet *f, struct backend *b, enum conf_class class)
{
    ASSERT(count_now(&b->in_flight) > 0 && f->in_flight[b->index][class] > 0);
    count_set(&b->in_flight, count_now(&b->in_flight) - 1);
    f->in_flight[b->index][class]--;
    note(f, b);
    f->serve_due = true;
}

nanos floor_asked(struct fleet *f, struct worker *w, struct pool *p, enum conf_class class, uint64_t accepts)
{
    struct floors *all = &f->floors;
    if (all->percent[class] == 0 || f->now < p->ask_floor_at[class])
        return 0;
    p->ask_floor_at[class] = f->now + LOOK_NS;
    for (uint64_t left = accepts; left != 0; left &= left - 1) {
        const struct backend *b = f->backends[__builtin_ctzll(left)];
        bool held = (all->held[class] & backend_bit(b)) != 0;
        all->until[b->index][class] = f->now + FLOOR_NS;
        all->held[class] |= backend_bit(b);
        if (held)
            continue;
        floor_note(f, b);
        f->serve_due |= !list_is_empty(&f->waiters); /* this floor may take from that of the class below, so that there is more for the lowest */
    }
    all->look_at = MIN(all->look_at, f->now + FLOOR_NS);
    if (all->worker != NULL)
        return 0;
    all->worker = w;
    return all->look_at;
}

void floor_end(struct fleet *f)
{
    struct floors *all = &f->floors;
    nanos next = NEVER;
    for (int c = CONF_CLASS_NORMAL; c <= CONF_CLASS_HIGH; c++)
        for (uint64_t left = all->held[c]; left != 0; left &= left - 1) {
            const struct backend *b = f->backends[__builtin_ctzll(left)];
            if (all->until[b->index][c] > f->now) {
                next = MIN(next, all->until[b->index][c]);
                continue;
            }
            all->held[c] &= ~backend_bit(b);
            floor_note(f, b);
        }
    all->look_at = next == NEVER ? NEVER : MAX(next, f->now + LOOK_NS);
    f->serve_due = true;
}

void floor_read(struct fleet *f)
{
    const struct conf *conf = f->roster->conf;
    for (int c = 0; c < CONF_CLASSES; c++) {
        f->floors.percent[c] = conf != NULL ? conf->classes[c].floor : 0;
        f->wait_max[c] = conf != NULL ? conf->classes[c].wait : NEVER;
    }
}
