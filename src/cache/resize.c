/* resize.c: other limits for a cache in use. A new table is filled beside the old one, which finders go on using; writers meanwhile write into both. */
#include "cache/inner.h"

#define HOLD_COPIES 8

static bool is_over(const struct cache *c)
{
    return cache_bytes(c) > c->limits.bytes || c->policy.count > c->limits.entries;
}

static void evict_to_limits(struct worker *w, struct cache *c)
{
    for (bool is_done = false; !is_done;) { /* ends: each step brings one nearer to its going; see policy_evict */
        cache_enter(w, c);
        is_done = !is_over(c);
        if (!is_done)
            entry_evict(c);
        cache_leave(c);
    }
}

/* One hold's share of the new table. True: all are in. */
static bool copy_step(struct cache *c)
{
    for (unsigned i = 0; i < HOLD_COPIES && c->next_done < c->made; i++) {
        uint32_t index = ++c->next_done;
        struct entry *e = entry_at(c, index);
        if (e->node.queue != 0)
            cache_table_add(c->next_table, entry_hash(c, e->id), index);
    }
    return c->next_done == c->made;
}

/* The new table is whole: from here on it is found by. */
static void take_over(struct cache *c, struct policy_ghost **io_ghost, uint32_t entries)
{
    struct table *old = atomic_load_explicit(&c->table, memory_order_relaxed);
    struct policy_ghost *ghost = c->policy.ghost;
    atomic_store_explicit(&c->table, c->next_table, memory_order_release);
    c->next_table = NULL;
    old->next = c->young.tables;
    c->young.tables = old;
    c->policy.ghost = *io_ghost;
    *io_ghost = ghost;
    c->limits.entries = entries;
}

static void rebuild(struct worker *w, struct cache *c, struct table *table, struct policy_ghost *ghost, uint32_t entries)
{
    cache_enter(w, c);
    bool is_ours = c->next_table == NULL; /* else another worker is at it, and its number of entries will count */
    if (is_ours) {
        c->next_table = table;
        c->next_done = 0;
    }
    cache_leave(c);
    for (bool is_done = !is_ours; !is_done;) {
        cache_enter(w, c);
        is_done = copy_step(c);
        if (is_done)
            take_over(c, &ghost, entries);
        cache_leave(c);
    }
    if (!is_ours)
        cache_table_free(table);
    policy_ghost_free(ghost);
}

void cache_limit(struct worker *w, struct cache *c, const struct cache_limits *limits)
{
    uint32_t entries = MIN(limits->entries, CACHE_ENTRIES_MAX);
    cache_enter(w, c);
    bool is_other = entries != c->limits.entries;
    c->limits = (struct cache_limits){ limits->bytes, MIN(entries, c->limits.entries) }; /* the table has no room for more yet */
    cache_leave(c);
    evict_to_limits(w, c);
    if (!is_other)
        return;
    struct table *table = cache_table_new(entries);
    struct policy_ghost *ghost = policy_ghost_new(entries);
    if (table != NULL && ghost != NULL) {
        rebuild(w, c, table, ghost, entries);
    } else {
        cache_table_free(table);
        policy_ghost_free(ghost);
    }
}
