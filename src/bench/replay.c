/* replay.c: plays a trace through a cache of each policy; see replay.h. Called by `weir cache simulate`.
   weir  S3-FIFO, by the code that weir serve runs
   LRU   the one that was used last goes last
   CLOCK (Corbato, "A paging experiment with the Multics system", 1968): who is new has not been used yet
   SIEVE (Zhang et al., NSDI 2024)
   MIN   (Belady, "A study of replacement algorithms for a virtual-storage computer", 1966): need not keep what it is given, so it bounds who turns answers away, too */
#include "bench/replay.h"
#include "base/mem.h"
#include "base/random.h"
#include "cache/policy.h"

#define NOWHERE UINT32_MAX

/* ---- policies that keep places in some order ---- */

struct place {
    uint32_t key, newer, older;
    bool is_used;
};

struct cached {
    uint32_t *place_of;  /* each key's, or NOWHERE */
    struct place *at;
    uint32_t room, count, newest, oldest, hand;
};

static void list_push(struct cached *c, uint32_t p)
{
    c->at[p].newer = NOWHERE;
    c->at[p].older = c->newest;
    if (c->newest != NOWHERE)
        c->at[c->newest].newer = p;
    else
        c->oldest = p;
    c->newest = p;
}

static void list_take(struct cached *c, uint32_t p)
{
    uint32_t newer = c->at[p].newer, older = c->at[p].older;
    if (newer != NOWHERE)
        c->at[newer].older = older;
    else
        c->newest = older;
    if (older != NOWHERE)
        c->at[older].newer = newer;
    else
        c->oldest = newer;
}

static void lru_use(struct cached *c, uint32_t p)
{
    list_take(c, p);
    list_push(c, p);
}

static uint32_t lru_victim(struct cached *c)
{
    uint32_t p = c->oldest;
    list_take(c, p);
    return p;
}

static void mark_use(struct cached *c, uint32_t p)
{
    c->at[p].is_used = true;
}

/* Places in the order in which they were filled are a ring. The second round at the latest finds somebody. */
static uint32_t clock_victim(struct cached *c)
{
    uint32_t p = c->hand;
    for (; c->at[p].is_used; p = (p + 1) % c->room)
        c->at[p].is_used = false;
    c->hand = (p + 1) % c->room;
    return p;
}

static void clock_put(struct cached *c, uint32_t p)
{
    c->at[p].is_used = false;
}

static uint32_t sieve_victim(struct cached *c)
{
    uint32_t p = c->hand != NOWHERE ? c->hand : c->oldest;
    while (c->at[p].is_used) {
        c->at[p].is_used = false;
        p = c->at[p].newer != NOWHERE ? c->at[p].newer : c->oldest;
    }
    c->hand = c->at[p].newer;
    list_take(c, p);
    return p;
}

static void sieve_put(struct cached *c, uint32_t p)
{
    c->at[p].is_used = false;
    list_push(c, p);
}

struct order {
    void (*use)(struct cached *c, uint32_t p);
    uint32_t (*victim)(struct cached *c);
    void (*put)(struct cached *c, uint32_t p);
    uint32_t hand;
};
static const struct order orders[REPLAY_POLICIES] = {
    [REPLAY_lru] = { lru_use, lru_victim, list_push, NOWHERE },
    [REPLAY_clock] = { mark_use, clock_victim, clock_put, 0 },
    [REPLAY_sieve] = { mark_use, sieve_victim, sieve_put, NOWHERE },
};

static uint64_t play(const struct replay_trace *t, struct cached *c, const struct order *o)
{
    uint64_t hits = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t key = t->keys[i], p = c->place_of[key];
        if (p != NOWHERE) {
            o->use(c, p);
            hits++;
            continue;
        }
        if (c->count < c->room) {
            p = c->count++;
        } else {
            p = o->victim(c);
            c->place_of[c->at[p].key] = NOWHERE;
        }
        c->place_of[key] = p;
        c->at[p].key = key;
        o->put(c, p);
    }
    return hits;
}

static enum fail play_order(const struct replay_trace *t, const struct order *o, uint32_t room, uint64_t *out_hits)
{
    struct cached c = { .room = room, .newest = NOWHERE, .oldest = NOWHERE, .hand = o->hand };
    c.place_of = mem_alloc(t->distinct * sizeof *c.place_of);
    c.at = mem_alloc(room * sizeof *c.at);
    bool is_ok = c.place_of != NULL && c.at != NULL;
    if (is_ok) {
        memset(c.place_of, 0xff, t->distinct * sizeof *c.place_of); /* NOWHERE */
        *out_hits = play(t, &c, o);
    }
    mem_free(c.place_of);
    mem_free(c.at);
    return is_ok ? OK : FAIL_NO_MEMORY;
}

/* ---- weir's own ---- */

/* What cache/exact.c is to the policy: one owner, whose entries all weigh 1. Places are policy's indexes, from 1 on. */
struct own {
    struct policy policy;
    struct policy_owner owner;
    uint32_t *place_of;  /* each key's, or POLICY_NONE */
    struct policy_node *nodes;
    uint32_t *keys;
};

static struct policy_node *own_node(void *arg, uint32_t index)
{
    return &((struct own *)arg)->nodes[index];
}

static uint64_t own_size(void *arg, uint32_t index)
{
    (void)arg, (void)index;
    return 1;
}

static uint64_t own_hash(void *arg, uint32_t index)
{
    uint64_t mixed = ((struct own *)arg)->keys[index];
    return random_step(&mixed);
}

static uint32_t own_victim(struct own *o)
{
    uint32_t p;
    do /* ends: POLICY_LOOKS_MAX */
        p = policy_evict(&o->policy, POLICY_LOOKS_MAX);
    while (p == POLICY_NONE);
    o->place_of[o->keys[p]] = POLICY_NONE;
    return p;
}

static uint64_t play_own(const struct replay_trace *t, struct own *o, uint32_t room)
{
    uint64_t hits = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t key = t->keys[i], p = o->place_of[key];
        if (p != POLICY_NONE) {
            policy_touch(&o->nodes[p]);
            hits++;
            continue;
        }
        p = o->policy.count < room ? o->policy.count + 1 : own_victim(o);
        o->place_of[key] = p;
        o->keys[p] = key;
        policy_insert(&o->policy, &o->owner, p);
    }
    return hits;
}

static enum fail play_weir(const struct replay_trace *t, uint32_t room, uint64_t *out_hits)
{
    struct own o = { .policy = { .node = own_node, .size = own_size, .hash = own_hash, .arg = &o } };
    struct policy_ghost *ghost = policy_ghost_new(room);
    o.place_of = mem_zero(t->distinct * sizeof *o.place_of);
    o.nodes = mem_zero((room + 1u) * sizeof *o.nodes);
    o.keys = mem_alloc((room + 1u) * sizeof *o.keys);
    bool is_ok = ghost != NULL && o.place_of != NULL && o.nodes != NULL && o.keys != NULL;
    if (is_ok) {
        policy_init(&o.policy, ghost, 1);
        *out_hits = play_own(t, &o, room);
    }
    mem_free(o.place_of);
    mem_free(o.nodes);
    mem_free(o.keys);
    policy_ghost_free(ghost);
    return is_ok ? OK : FAIL_NO_MEMORY;
}

/* ---- MIN ---- */

/* Who is kept, as a heap: the one that is asked for last of all is at[1]. */
struct coming {
    uint32_t key, next;
};
struct ideal {
    uint32_t *place_of;  /* each key's in the heap, or 0 */
    struct coming *at;   /* [1..count] */
    uint32_t room, count;
};

static void put(struct ideal *h, uint32_t p, struct coming c)
{
    h->at[p] = c;
    h->place_of[c.key] = p;
}

static void rise(struct ideal *h, uint32_t p, struct coming c)
{
    for (; p > 1 && h->at[p / 2].next < c.next; p /= 2)
        put(h, p, h->at[p / 2]);
    put(h, p, c);
}

static void sink(struct ideal *h, uint32_t p, struct coming c)
{
    for (uint32_t child; (child = 2 * p) <= h->count; p = child) {
        child += child < h->count && h->at[child + 1].next > h->at[child].next;
        if (h->at[child].next <= c.next)
            break;
        put(h, p, h->at[child]);
    }
    put(h, p, c);
}

/* Nobody asks for it any more. It was asked for just now, before any of the others will be, so it is a leaf: what takes its place can only rise. */
static void forget(struct ideal *h, uint32_t key)
{
    uint32_t p = h->place_of[key];
    struct coming last = h->at[h->count--];
    h->place_of[key] = 0;
    if (last.key != key)
        rise(h, p, last);
}

static uint64_t play_min(const struct replay_trace *t, struct ideal *h)
{
    uint64_t hits = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        struct coming c = { t->keys[i], t->next[i] };
        uint32_t p = h->place_of[c.key];
        hits += p != 0;
        if (p != 0 && c.next == REPLAY_NEVER) {
            forget(h, c.key);
        } else if (p != 0) {
            rise(h, p, c);
        } else if (c.next != REPLAY_NEVER && h->count < h->room) {
            rise(h, ++h->count, c);
        } else if (c.next < h->at[1].next) {
            h->place_of[h->at[1].key] = 0;
            sink(h, 1, c);
        }
    }
    return hits;
}

static enum fail play_ideal(const struct replay_trace *t, uint32_t room, uint64_t *out_hits)
{
    struct ideal h = { .room = room };
    h.place_of = mem_zero(t->distinct * sizeof *h.place_of);
    h.at = mem_alloc((room + 1u) * sizeof *h.at);
    bool is_ok = h.place_of != NULL && h.at != NULL;
    if (is_ok) {
        h.at[1] = (struct coming){ 0, 0 }; /* while it is empty nobody comes before it */
        *out_hits = play_min(t, &h);
    }
    mem_free(h.place_of);
    mem_free(h.at);
    return is_ok ? OK : FAIL_NO_MEMORY;
}

/* ---- all of them ---- */

const char *replay_policy_name(enum replay_policy p)
{
    static const char *const names[] = {
#define POLICY(name, what) #name,
#include "bench/replay.def"
#undef POLICY
    };
    return names[p];
}

const char *replay_policy_what(enum replay_policy p)
{
    static const char *const whats[] = {
#define POLICY(name, what) what,
#include "bench/replay.def"
#undef POLICY
    };
    return whats[p];
}

enum fail replay_run(const struct replay_trace *t, enum replay_policy p, uint32_t room, uint64_t *out_hits)
{
    ASSERT(room > 0 && t->next != NULL);
    room = MIN(room, t->distinct); /* more would stay empty */
    if (p == REPLAY_weir)
        return play_weir(t, room, out_hits);
    return p == REPLAY_ideal ? play_ideal(t, room, out_hits) : play_order(t, &orders[p], room, out_hits);
}
