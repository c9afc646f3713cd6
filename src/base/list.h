/* list.h: counted, intrusive, doubly linked lists. A state change is a move between two lists (PgBouncer objects.c). */
#ifndef WEIR_LIST_H
#define WEIR_LIST_H

#include "base/base.h"

struct node {
    struct node *next, *prev; /* both NULL while in no list */
};

struct list {
    struct node head; /* a ring through the head */
    unsigned count;
};

static inline void list_init(struct list *l) { l->head.next = l->head.prev = &l->head; l->count = 0; }
static inline bool list_is_empty(const struct list *l) { return l->count == 0; }
static inline unsigned list_count(const struct list *l) { return l->count; }
static inline bool node_is_in(const struct node *n) { return n->next != NULL; }

static inline void list_push_before(struct list *l, struct node *at, struct node *n)
{
    ASSERT(!node_is_in(n));
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
    l->count++;
}
static inline void list_push(struct list *l, struct node *n) { list_push_before(l, &l->head, n); }            /* at the end */
static inline void list_push_front(struct list *l, struct node *n) { list_push_before(l, l->head.next, n); }
static inline void list_remove(struct list *l, struct node *n)
{
    ASSERT(node_is_in(n) && l->count > 0);
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
    l->count--;
}
/* First node without removing it, NULL if empty. */
static inline struct node *list_first(const struct list *l) { return l->count ? l->head.next : NULL; }
static inline struct node *list_last(const struct list *l) { return l->count ? l->head.prev : NULL; }
static inline struct node *list_next(const struct list *l, const struct node *n) { return n->next == &l->head ? NULL : n->next; }
static inline struct node *list_pop(struct list *l)
{
    struct node *n = list_first(l);
    if (n != NULL)
        list_remove(l, n);
    return n;
}

/* Walks the list; the body may remove the current node, nothing else. */
#define LIST_EACH(l, it) \
    for (struct node *it = (l)->head.next, *it##_next; it != &(l)->head && (it##_next = it->next, 1); it = it##_next)

#endif
