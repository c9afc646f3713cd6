/* treap.h: an intrusive ordered tree that knows how many stand before a node (a treap: Seidel and Aragon, Randomized Search Trees, 1996). Adding, removing and
   counting take O(log n), expected whatever the order of the keys, and nothing is allocated: the fleet's queues use it inside their gate. */
#ifndef WEIR_TREAP_H
#define WEIR_TREAP_H

#include "base/base.h"

struct treap_node {
    struct treap_node *up, *left, *right;
    uint32_t count;    /* of this node and all below it; 0 while in no tree */
    uint32_t priority; /* random: never lower than that of a child */
};

struct treap {
    struct treap_node *root;
    bool (*before)(const struct treap_node *a, const struct treap_node *b); /* strict, and total over the nodes of a tree */
    uint64_t random;
};

/* seed: of the tree's own numbers; one that outsiders do not know keeps them from choosing keys that make it deep. */
void treap_init(struct treap *treap, bool (*before)(const struct treap_node *a, const struct treap_node *b), uint64_t seed);
void treap_add(struct treap *treap, struct treap_node *n); /* what its key is made of must stay as it is while it is in */
void treap_remove(struct treap *treap, struct treap_node *n);
struct treap_node *treap_first(const struct treap *treap); /* NULL if empty */
struct treap_node *treap_next(const struct treap_node *n);
uint32_t treap_rank(const struct treap_node *n); /* how many stand before it in its tree */
static inline uint32_t treap_count(const struct treap *treap) { return treap->root != NULL ? treap->root->count : 0; }

#endif
