/* retire.c: entries that have gone but may still be looked at, and the lists they wait in. What went since the last look is young; when the old ones are done the young
   ones become old, and wait until every worker has ended the turn it was in. */
#include "cache/inner.h"

#define HOLD_FREES 4

static void push(struct cache *c, struct retired *r, uint32_t index)
{
    entry_at(c, index)->node.next = POLICY_NONE;
    if (r->last != POLICY_NONE)
        entry_at(c, r->last)->node.next = index;
    else
        r->first = index;
    r->last = index;
}

static void litter(struct cache *c)
{
    bool is = c->retired >= LITTER_MIN || c->retired_bytes > c->limits.bytes / RETIRED_SHARE / 2;
    if (atomic_load_explicit(&c->is_littered, memory_order_relaxed) != is)
        atomic_store_explicit(&c->is_littered, is, memory_order_relaxed);
}

void entry_retire(struct cache *c, uint32_t index)
{
    struct entry *e = entry_at(c, index);
    cache_table_remove(atomic_load_explicit(&c->table, memory_order_relaxed), entry_hash(c, e->id), index);
    if (c->next_table != NULL && index <= c->next_done)
        cache_table_remove(c->next_table, entry_hash(c, e->id), index);
    due_remove(c, index);
    label_drop(&c->labels, entry_label(c, e));
    push(c, &c->young, index);
    c->retired++;
    c->retired_bytes += entry_size(e->value);
    litter(c);
}

void entry_remove(struct cache *c, uint32_t index)
{
    policy_remove(&c->policy, &entry_label(c, entry_at(c, index))->tenant->owner, index);
    entry_retire(c, index);
}

/* What is free now: values, or tables. */
struct freed {
    const struct cache_value *value[HOLD_FREES];
    unsigned values;
    struct table *tables;
};

static void take_freed(struct cache *c, struct freed *out)
{
    struct retired *r = &c->old;
    out->tables = r->tables;
    r->tables = NULL;
    while (r->first != POLICY_NONE && out->values < HOLD_FREES) {
        uint32_t index = r->first;
        struct entry *e = entry_at(c, index);
        r->first = e->node.next;
        out->value[out->values++] = e->value;
        c->retired--;
        c->retired_bytes -= entry_size(e->value);
        e->value = NULL;
        e->node.next = c->first_free;
        c->first_free = index;
    }
    if (r->first == POLICY_NONE) {
        r->last = POLICY_NONE;
        c->is_waiting = false;
    }
    litter(c);
}

bool retire_collect(struct worker *w, struct cache *c)
{
    struct freed freed = { .values = 0 };
    cache_enter(w, c);
    if (!c->is_waiting && (c->young.first != POLICY_NONE || c->young.tables != NULL)) {
        c->old = c->young;
        c->young = (struct retired){ 0 };
        c->is_waiting = true;
        quiesce_begin(&c->quiesce);
    }
    if (c->is_waiting && quiesce_passed(&c->quiesce))
        take_freed(c, &freed);
    bool more = freed.values > 0 && c->retired > 0;
    cache_leave(c);
    for (unsigned i = 0; i < freed.values; i++)
        cache_value_drop(freed.value[i]);
    for (struct table *next; freed.tables != NULL; freed.tables = next) {
        next = freed.tables->next;
        cache_table_free(freed.tables);
    }
    return more;
}
