/* treap.c: the treap behind treap.h. A node goes in as a leaf and rises by rotations while its parent's priority is lower; it sinks the same way before it leaves. */
#include "base/treap.h"
#include "base/random.h"

void treap_init(struct treap *treap, bool (*before)(const struct treap_node *a, const struct treap_node *b), uint64_t seed)
{
    *treap = (struct treap){ .before = before, .random = seed };
}

static uint32_t count_of(const struct treap_node *n) { return n != NULL ? n->count : 0; }

/* Puts `with` where n hangs. */
static void replace(struct treap *treap, const struct treap_node *n, struct treap_node *with)
{
    if (n->up == NULL)
        treap->root = with;
    else if (n->up->left == n)
        n->up->left = with;
    else
        n->up->right = with;
    if (with != NULL)
        with->up = n->up;
}

/* Changes places with the parent; the order stays. */
static void rotate_up(struct treap *treap, struct treap_node *n)
{
    struct treap_node *p = n->up, *moved = p->left == n ? n->right : n->left;
    replace(treap, p, n);
    if (p->left == n) {
        p->left = moved;
        n->right = p;
    } else {
        p->right = moved;
        n->left = p;
    }
    if (moved != NULL)
        moved->up = p;
    p->up = n;
    n->count = p->count;
    p->count = 1 + count_of(p->left) + count_of(p->right);
}

void treap_add(struct treap *treap, struct treap_node *n)
{
    ASSERT(n->count == 0);
    struct treap_node **link = &treap->root;
    *n = (struct treap_node){ .count = 1, .priority = (uint32_t)random_step(&treap->random) };
    while (*link != NULL) {
        n->up = *link;
        n->up->count++;
        link = treap->before(n, n->up) ? &n->up->left : &n->up->right;
    }
    *link = n;
    while (n->up != NULL && n->up->priority < n->priority)
        rotate_up(treap, n);
}

void treap_remove(struct treap *treap, struct treap_node *n)
{
    ASSERT(n->count > 0);
    while (n->left != NULL && n->right != NULL)
        rotate_up(treap, n->left->priority > n->right->priority ? n->left : n->right);
    for (struct treap_node *above = n->up; above != NULL; above = above->up)
        above->count--;
    replace(treap, n, n->left != NULL ? n->left : n->right);
    *n = (struct treap_node){ 0 };
}

static struct treap_node *leftmost(struct treap_node *n)
{
    while (n != NULL && n->left != NULL)
        n = n->left;
    return n;
}

struct treap_node *treap_first(const struct treap *treap)
{
    return leftmost(treap->root);
}

struct treap_node *treap_next(const struct treap_node *n)
{
    if (n->right != NULL)
        return leftmost(n->right);
    while (n->up != NULL && n->up->right == n)
        n = n->up;
    return n->up;
}

uint32_t treap_rank(const struct treap_node *n)
{
    ASSERT(n->count > 0);
    uint32_t rank = count_of(n->left);
    for (; n->up != NULL; n = n->up)
        if (n->up->right == n)
            rank += 1 + count_of(n->up->left);
    return rank;
}
