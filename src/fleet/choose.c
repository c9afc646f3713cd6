/* choose.c: which of several free backends a request gets, by the pool's balance. Called by slots.c, inside the gate. */
#include "fleet/inner.h"

/* The lowest bit above the cursor, round and round. */
static unsigned next_index(uint64_t set, unsigned cursor)
{
    uint64_t above = cursor >= BACKENDS_MAX - 1 ? 0 : set & (~0ull << (cursor + 1));
    return (unsigned)__builtin_ctzll(above ? above : set);
}

/* Most free slots; equal ones take turns. */
static unsigned least_loaded(const struct fleet *f, uint64_t set, unsigned cursor)
{
    unsigned best = next_index(set, cursor), index = best;
    uint32_t most = 0;
    for (int n = __builtin_popcountll(set); n > 0; n--, index = next_index(set, index)) {
        uint32_t spare = count_now(&f->backends[index]->limit) - count_now(&f->backends[index]->in_flight);
        if (spare > most) {
            most = spare;
            best = index;
        }
    }
    return best;
}

unsigned choose_backend(const struct fleet *f, const struct pool *p, uint64_t set)
{
    return roster_members(f->roster, p)->balance == CONF_BALANCE_ROUND_ROBIN ? next_index(set, p->cursor) : least_loaded(f, set, p->cursor);
}
