/* choose.c: which of several free backends a request gets, by the pool's balance. Called by slots.c, inside the gate. It answers with one of the set it is
   given and nothing else, whatever the balance would like; equal ones take turns.

   least_loaded  most free slots
   round_robin   the next one
   power_of_two  of two random ones, the one with the lower first token x (requests in flight + 1) (Mitzenmacher 2001; the measure: load.c)
   weighted      smooth weighted round robin, as nginx has it: all gain their weight, the richest is taken and pays what all gained
   affinity      rendezvous hashing (Thaler, Ravishankar 1998) with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018). With 64 backends at most
                 it needs no ring; and as its order hangs on names alone, every worker, instance and restart has the same one */
#include "base/random.h"
#include "fleet/inner.h"

/* Bounded load: nobody has more than 1.25 times its share of the requests, the new one included. */
#define BOUND_NUM 5
#define BOUND_DEN 4

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

/* ---- power of two ---- */

static unsigned random_index(struct fleet *f, uint64_t set)
{
    uint64_t skip = random_step(&f->chance) % (unsigned)__builtin_popcountll(set);
    for (; skip > 0; skip--)
        set &= set - 1;
    return (unsigned)__builtin_ctzll(set);
}

static unsigned power_of_two(struct fleet *f, uint64_t set)
{
    unsigned one = random_index(f, set);
    uint64_t others = set & ~(1ull << one);
    if (others == 0)
        return one;
    unsigned two = random_index(f, others);
    double of_one, of_two;
    load_compare(f, one, two, &of_one, &of_two);
    of_one *= count_now(&f->backends[one]->in_flight) + 1.0;
    of_two *= count_now(&f->backends[two]->in_flight) + 1.0;
    return of_two < of_one ? two : one; /* equal: the first one drawn, which is as good as a turn */
}

/* ---- weighted ---- */

static unsigned weighted(struct pool *p, const struct members *m, uint64_t set)
{
    int64_t gained = 0;
    unsigned best = BACKENDS_MAX;
    for (uint64_t left = set; left != 0; left &= left - 1) {
        unsigned index = (unsigned)__builtin_ctzll(left);
        int64_t weight = members_find(m, 1ull << index)->endpoint->conf->weight;
        p->credit[index] += weight;
        gained += weight;
        if (best == BACKENDS_MAX || p->credit[index] > p->credit[best])
            best = index;
    }
    p->credit[best] -= gained;
    return best;
}

/* ---- affinity ---- */

/* Those that share the load of a pool now, free or not. */
static uint64_t sharers(const struct fleet *f, const struct members *m, uint64_t set)
{
    uint64_t all = queue_accepts(f, m->use, m->fallback);
    return all & set ? all | set : set;
}

static unsigned at_home(const struct fleet *f, const struct members *m, uint64_t set, uint64_t affinity)
{
    uint64_t slots = 0, load = 1, highest[2] = { 0, 0 };
    unsigned best[2] = { BACKENDS_MAX, BACKENDS_MAX }; /* of all; of those below their bound */
    for (uint64_t left = sharers(f, m, set); left != 0; left &= left - 1) {
        const struct backend *b = f->backends[__builtin_ctzll(left)];
        slots += count_now(&b->limit);
        load += count_now(&b->in_flight);
    }
    for (uint64_t left = set; left != 0; left &= left - 1) {
        const struct backend *b = f->backends[__builtin_ctzll(left)];
        uint64_t mixed = affinity ^ b->name_hash, score = random_step(&mixed);
        bool is_below = BOUND_DEN * slots * count_now(&b->in_flight) < BOUND_NUM * load * count_now(&b->limit); /* its share is by its slots */
        for (int i = 0; i <= is_below; i++)
            if (best[i] == BACKENDS_MAX || score > highest[i]) {
                highest[i] = score;
                best[i] = b->index;
            }
    }
    return best[best[1] != BACKENDS_MAX]; /* a retry excludes some, so all that are left may be above theirs */
}

unsigned choose_backend(struct fleet *f, struct pool *p, uint64_t set, uint64_t affinity)
{
    const struct members *m = roster_members(f->roster, p);
    switch (m->balance) {
    case CONF_BALANCE_ROUND_ROBIN:
        return next_index(set, p->cursor);
    case CONF_BALANCE_POWER_OF_TWO:
        return power_of_two(f, set);
    case CONF_BALANCE_WEIGHTED:
        return weighted(p, m, set);
    case CONF_BALANCE_AFFINITY:
        if (affinity != 0)
            return at_home(f, m, set, affinity);
        break;
    case CONF_BALANCE_LEAST_LOADED:
        break;
    }
    return least_loaded(f, set, p->cursor);
}
