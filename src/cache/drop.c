/* drop.c: deleting one, for path/; and what matches, for an operator. */
#include "cache/inner.h"
#include "run/task.h"

#define HOLD_MATCHES 8   /* entries looked at while the gate is held */
#define TURN_HOLDS   128 /* and holds before others have their turn */

/* One hold of the gate, from *io_index on. */
static uint64_t drop_step(struct cache *c, const struct cache_match *match, uint32_t *io_index, uint32_t last)
{
    uint64_t removed = 0;
    for (unsigned i = 0; i < HOLD_MATCHES && removed < HOLD_REMOVES && *io_index <= last; i++, ++*io_index) {
        struct entry *e = entry_at(c, *io_index);
        if (e->node.queue != 0 && label_matches(entry_label(c, e), match)) {
            entry_remove(c, *io_index);
            removed++;
        }
    }
    c->counts.dropped += removed;
    return removed;
}

void cache_remove(struct worker *w, struct cache *c, const struct cache_id *id)
{
    if (cache_find(w, c, id) == NULL)
        return;
    cache_enter(w, c);
    uint32_t index = entry_find(c, id->sha256);
    if (index != POLICY_NONE)
        entry_remove(c, index);
    cache_leave(c);
}

enum fail cache_drop(struct task *t, struct cache *c, const struct cache_match *match, uint64_t *out_count)
{
    uint64_t removed = 0;
    cache_enter(t->worker, c);
    uint32_t last = c->made;
    cache_leave(c);
    for (uint32_t index = 1, holds = 1; index <= last; holds++) {
        cache_enter(t->worker, c);
        removed += drop_step(c, match, &index, last);
        cache_leave(c);
        enum fail f = holds % TURN_HOLDS == 0 ? task_yield(t) : OK;
        if (f != OK)
            return f;
        (void)retire_collect(t->worker, c);
    }
    *out_count = removed;
    return OK;
}
