/* policy.h: which entries of a cache go when it is full: S3-FIFO (Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023), over numbers alone. The
   cache asks it inside its gate; `weir cache simulate` drives the same code without a cache.

   Every owner (a tenant) has two queues of its own, first in, first out:
     small   what is new. Who reaches its end was asked for and moves to main, or goes
     main    what has proved useful, and what comes back while its ghost is still there. Who reaches its end goes round again once for each use, three at most
   Who goes leaves its hash among the ghosts. How much of the owner's bytes small has moves with the ghosts that come back: small's make it longer, main's shorter.
   The owner with the most bytes pays for the next entry: whoever floods the cache evicts its own.

   Entries are indexes from 1 on; their nodes, sizes and hashes stay where the caller has them. Nothing here allocates but policy_ghost_new. */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include "base/fail.h"
#include "base/treap.h"
#include <stdatomic.h>

#define POLICY_NONE     0
#define POLICY_INDEXES  (1u << 30) /* an index is less */
#define POLICY_USED_MAX 3u         /* uses that count; the paper's two bits */

/* Of one entry. */
struct policy_node {
    uint32_t next;
    uint32_t prev : 30, queue : 2;
    _Atomic uint32_t mark; /* uses in the lowest two bits; the rest is the caller's, who changes it only while the entry is in no queue */
};

struct policy_queue {
    uint32_t first, last;
    uint64_t bytes;
};

/* Zero-initialised by the caller. It stays where it is while it has entries. */
struct policy_owner {
    struct treap_node node; /* in the tree while it has entries */
    uint32_t number;
    uint32_t count;
    struct policy_queue small, main;
    double small_share; /* of its bytes, as it should be */
};

struct policy_ghost; /* hashes of what went lately */

/* The caller fills in node, size, hash and arg; policy_init does the rest. */
struct policy {
    struct policy_node *(*node)(void *arg, uint32_t index);
    uint64_t (*size)(void *arg, uint32_t index); /* > 0; always the same for an entry that is in */
    uint64_t (*hash)(void *arg, uint32_t index); /* of its identity; well mixed */
    void *arg;

    uint64_t bytes; /* of all that are in */
    uint32_t count;
    struct treap owners;
    uint32_t owners_seen;
    uint32_t looks; /* since the last one that went */
    struct policy_ghost *ghost;
};
/* seed: of the tree's own numbers. ghost: of policy_ghost_new; the caller's, who may put another one in its place. */
void policy_init(struct policy *p, struct policy_ghost *ghost, uint64_t seed);
/* For a cache of so many entries. NULL when out of memory. */
struct policy_ghost *policy_ghost_new(uint32_t entries) MUSTUSE;
void policy_ghost_free(struct policy_ghost *ghost);

/* A new entry; its mark's uses become 0. */
void policy_insert(struct policy *p, struct policy_owner *owner, uint32_t index);
void policy_remove(struct policy *p, struct policy_owner *owner, uint32_t index);
/* Takes one entry out and says which; POLICY_NONE: none has to go yet after `looks` (call again), or the cache is empty. It ends: after POLICY_LOOKS_MAX looks the next
   one goes, however often it was used. */
#define POLICY_LOOKS_MAX 256
uint32_t policy_evict(struct policy *p, unsigned looks);
/* What policy_evict would look at first; POLICY_NONE: there is nothing. */
uint32_t policy_next(const struct policy *p);
/* Ahead of an insert of what has this hash, or its eviction: the processor fetches what they touch. */
void policy_fetch(const struct policy *p, uint64_t hash);
/* The owner who would pay next; NULL: the cache is empty. */
struct policy_owner *policy_heaviest(const struct policy *p);
static inline uint64_t policy_owner_bytes(const struct policy_owner *o) { return o->small.bytes + o->main.bytes; }

/* A use. Any thread, without a lock: two at once may count as one. What is used often is not written to any more. */
static inline void policy_touch(struct policy_node *n)
{
    uint32_t mark = atomic_load_explicit(&n->mark, memory_order_relaxed);
    if ((mark & POLICY_USED_MAX) < POLICY_USED_MAX)
        atomic_store_explicit(&n->mark, mark + 1, memory_order_relaxed);
}
static inline uint32_t policy_used(struct policy_node *n) { return atomic_load_explicit(&n->mark, memory_order_relaxed) & POLICY_USED_MAX; }

#endif
