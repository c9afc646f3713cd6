/* policy.c: the queues of policy.h, and the ghosts. */
#include "cache/policy.h"
#include "base/mem.h"

#define SMALL_FIRST 0.5  /* small's share of an owner's bytes, until its ghosts say otherwise. The paper has a tenth for ever: where most come back once, that loses */
#define SMALL_LEAST 0.05
#define SMALL_MOST  0.9
#define STEP        2    /* entries by which small becomes longer for a ghost of its own */
#define MAIN_WEIGHT 16   /* and shorter, so many times as much, for one of main's: that was proved useful */
#define PROVED      1u   /* uses in small that lead to main: the paper's two lose whoever is asked for twice in all */
#define GHOST_WAYS  8    /* a hash may stand in so many places: half a cache line */

enum queue { NOWHERE, SMALL, MAIN };

/* ---- ghosts ---- */

/* A set of GHOST_WAYS places a hash, each with 15 bits of the hash, its queue, and when it came, counted in entries that went. The oldest of its set makes room,
   and one that is older than the cache has entries is none any more: nearly first in, first out, in 4 bytes each. */
struct policy_ghost {
    uint32_t sets, count; /* count: so many have come; wraps */
    uint32_t unit;        /* entries a tick of 16 bits */
    struct { uint16_t print, came; } place[]; /* print 0: empty */
};

#define GHOST_MAIN  0x8000 /* in print: it went from main */
#define GHOST_TICKS 8192 /* that a whole cache takes; the clock goes round after eight of them, when nearly all places have been taken anew */

struct policy_ghost *policy_ghost_new(uint32_t entries)
{
    uint32_t sets = entries / GHOST_WAYS + 1;
    struct policy_ghost *g = mem_zero(sizeof *g + (size_t)sets * GHOST_WAYS * sizeof g->place[0]);
    if (g == NULL)
        return NULL;
    g->sets = sets;
    g->unit = entries / GHOST_TICKS + 1;
    return g;
}

void policy_ghost_free(struct policy_ghost *g)
{
    mem_free(g);
}

static uint32_t ghost_set(const struct policy_ghost *g, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * g->sets) >> 32) * GHOST_WAYS;
}

static uint16_t ghost_print(uint64_t hash)
{
    return (uint16_t)MAX(hash & 0x7fff, 1);
}

static uint16_t ghost_age(const struct policy_ghost *g, uint32_t place)
{
    return (uint16_t)(g->count / g->unit - g->place[place].came);
}

static void ghost_add(struct policy_ghost *g, uint64_t hash, enum queue from)
{
    uint32_t first = ghost_set(g, hash), oldest = first;
    for (uint32_t i = first; i < first + GHOST_WAYS; i++) {
        if (g->place[i].print == 0) {
            oldest = i;
            break;
        }
        if (ghost_age(g, i) > ghost_age(g, oldest))
            oldest = i;
    }
    g->place[oldest].print = (uint16_t)(ghost_print(hash) | (from == MAIN ? GHOST_MAIN : 0));
    g->place[oldest].came = (uint16_t)(g->count++ / g->unit);
}

/* The queue it went from, if it was there and young enough; it goes. Else NOWHERE. */
static enum queue ghost_take(struct policy_ghost *g, uint64_t hash, uint32_t entries)
{
    uint32_t first = ghost_set(g, hash);
    for (uint32_t i = first; i < first + GHOST_WAYS; i++) {
        uint16_t print = g->place[i].print;
        if ((print & ~GHOST_MAIN) != ghost_print(hash))
            continue;
        g->place[i].print = 0;
        return ghost_age(g, i) > entries / g->unit ? NOWHERE : (print & GHOST_MAIN) ? MAIN : SMALL;
    }
    return NOWHERE;
}

/* ---- queues ---- */

static struct policy_queue *queue_of(struct policy_owner *o, unsigned queue)
{
    return queue == SMALL ? &o->small : &o->main;
}

static void queue_push(struct policy *p, struct policy_owner *o, uint32_t index, enum queue queue, uint64_t size)
{
    struct policy_queue *q = queue_of(o, queue);
    struct policy_node *n = p->node(p->arg, index);
    n->queue = queue;
    n->next = POLICY_NONE;
    n->prev = q->last;
    if (q->last != POLICY_NONE)
        p->node(p->arg, q->last)->next = index;
    else
        q->first = index;
    q->last = index;
    q->bytes += size;
}

static void queue_take(struct policy *p, struct policy_owner *o, uint32_t index, uint64_t size)
{
    struct policy_node *n = p->node(p->arg, index);
    ASSERT(n->queue != NOWHERE);
    struct policy_queue *q = queue_of(o, n->queue);
    if (n->prev != POLICY_NONE)
        p->node(p->arg, n->prev)->next = n->next;
    else
        q->first = n->next;
    if (n->next != POLICY_NONE)
        p->node(p->arg, n->next)->prev = n->prev;
    else
        q->last = n->prev;
    q->bytes -= size;
    n->queue = NOWHERE;
}

static void set_used(struct policy_node *n, uint32_t used)
{
    uint32_t mark = atomic_load_explicit(&n->mark, memory_order_relaxed);
    atomic_store_explicit(&n->mark, (mark & ~POLICY_USED_MAX) | used, memory_order_relaxed);
}

/* ---- owners ---- */

static struct policy_owner *owner_of(const struct treap_node *n)
{
    return CONTAINER_OF(n, struct policy_owner, node);
}

static bool is_heavier(const struct treap_node *a, const struct treap_node *b)
{
    uint64_t x = policy_owner_bytes(owner_of(a)), y = policy_owner_bytes(owner_of(b));
    return x != y ? x > y : owner_of(a)->number < owner_of(b)->number;
}

struct policy_owner *policy_heaviest(const struct policy *p)
{
    struct treap_node *n = treap_first(&p->owners);
    return n != NULL ? owner_of(n) : NULL;
}

void policy_init(struct policy *p, struct policy_ghost *ghost, uint64_t seed)
{
    p->bytes = p->count = p->looks = p->owners_seen = 0;
    p->ghost = ghost;
    treap_init(&p->owners, is_heavier, seed);
}

/* ---- entries ---- */

/* Who is asked for again just after it went was in a queue that is too short (as in ARC: Megiddo and Modha, FAST 2003). */
static void adapt(struct policy_owner *o, enum queue from)
{
    double step = (double)STEP / o->count;
    o->small_share += from == SMALL ? step : -MAIN_WEIGHT * step;
    o->small_share = MIN(MAX(o->small_share, SMALL_LEAST), SMALL_MOST);
}

void policy_insert(struct policy *p, struct policy_owner *o, uint32_t index)
{
    uint64_t size = p->size(p->arg, index);
    enum queue from = ghost_take(p->ghost, p->hash(p->arg, index), p->count);
    if (o->count++ > 0) {
        treap_remove(&p->owners, &o->node);
    } else {
        o->number = p->owners_seen++;
        o->small_share = SMALL_FIRST;
    }
    if (from != NOWHERE)
        adapt(o, from);
    set_used(p->node(p->arg, index), 0);
    queue_push(p, o, index, from != NOWHERE ? MAIN : SMALL, size);
    treap_add(&p->owners, &o->node);
    p->bytes += size;
    p->count++;
}

void policy_remove(struct policy *p, struct policy_owner *o, uint32_t index)
{
    uint64_t size = p->size(p->arg, index);
    treap_remove(&p->owners, &o->node);
    queue_take(p, o, index, size);
    if (--o->count > 0)
        treap_add(&p->owners, &o->node);
    p->bytes -= size;
    p->count--;
}

static bool is_smalls_turn(const struct policy_owner *o)
{
    return o->main.first == POLICY_NONE || (o->small.first != POLICY_NONE && (double)o->small.bytes > o->small_share * (double)policy_owner_bytes(o));
}

static uint32_t next_of(const struct policy_owner *o) { return is_smalls_turn(o) ? o->small.first : o->main.first; }

/* Looks at the first of one of o's queues: true if it has to go, else it has moved. */
static bool look(struct policy *p, struct policy_owner *o, uint32_t *out_index)
{
    uint32_t index = next_of(o);
    struct policy_node *n = p->node(p->arg, index);
    bool is_small = n->queue == SMALL;
    uint32_t used = policy_used(n);
    *out_index = index;
    if (used < (is_small ? PROVED : 1) || p->looks >= POLICY_LOOKS_MAX)
        return true;
    uint64_t size = p->size(p->arg, index);
    queue_take(p, o, index, size);
    set_used(n, is_small ? 0 : used - 1);
    queue_push(p, o, index, MAIN, size);
    return false;
}

uint32_t policy_next(const struct policy *p)
{
    const struct policy_owner *o = policy_heaviest(p);
    return o != NULL ? next_of(o) : POLICY_NONE;
}

void policy_fetch(const struct policy *p, uint64_t hash)
{
    __builtin_prefetch(&p->ghost->place[ghost_set(p->ghost, hash)], 1);
}

uint32_t policy_evict(struct policy *p, unsigned looks)
{
    struct policy_owner *o = policy_heaviest(p);
    if (o == NULL)
        return POLICY_NONE;
    for (unsigned i = 0; i < looks; i++) {
        uint32_t index;
        if (look(p, o, &index)) {
            ghost_add(p->ghost, p->hash(p->arg, index), p->node(p->arg, index)->queue);
            policy_remove(p, o, index);
            p->looks = 0;
            return index;
        }
        p->looks++;
    }
    return POLICY_NONE;
}
