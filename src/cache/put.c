/* put.c: what comes into the cache, and what goes for it. path/ calls cache_put, a worker's clock cache_tick. */
#include "base/account.h"
#include "cache/inner.h"

#define PUT_STEPS     4    /* holds of the gate that one put spends on what is over: it brings one entry, and may take eight away */
#define TICK_STEPS    2048 /* and one tick: some ms at most */
#define TICK_SHARE    16   /* of all, what goes with a tick while memory is short */
#define LARGE_SHARE   10   /* a value may have one in so many bytes: small's share, or it would go at once */

/* ---- making room ---- */

/* One hold's share of letting an entry go. */
uint32_t entry_evict(struct cache *c)
{
    uint32_t index = policy_evict(&c->policy, HOLD_LOOKS);
    if (index != POLICY_NONE) {
        entry_retire(c, index);
        c->counts.evictions++;
    }
    return index;
}

/* What goes next has not been touched for long: its entry comes into the processor's cache while others do something, and what the entry leads to while we do. */
static void fetch_next(struct cache *c)
{
    uint32_t index = policy_next(&c->policy);
    if (index != POLICY_NONE)
        __builtin_prefetch(entry_at(c, index), 1);
}

static void fetch_what_it_leads_to(struct cache *c)
{
    uint32_t index = policy_next(&c->policy);
    if (index == POLICY_NONE)
        return;
    const struct entry *e = entry_at(c, index);
    const struct table *t = atomic_load_explicit(&c->table, memory_order_relaxed);
    uint64_t hash = entry_hash(c, e->id);
    __builtin_prefetch(e->value);
    __builtin_prefetch(&t->bucket[cache_table_bucket(t, hash)], 1);
    policy_fetch(&c->policy, hash);
}

void cache_evict(struct worker *w, struct cache *c, uint64_t bytes)
{
    bool is_done = false;
    cache_enter(w, c);
    uint64_t goal = cache_bytes(c) - MIN(bytes, cache_bytes(c));
    cache_leave(c);
    while (!is_done) { /* each step lets one go, or brings that nearer; see policy_evict */
        cache_enter(w, c);
        is_done = cache_bytes(c) <= goal || c->policy.count == 0;
        if (!is_done)
            entry_evict(c);
        cache_leave(c);
    }
}

/* Frees what is over. */
static void clean(struct worker *w, struct cache *c, unsigned steps, bool all)
{
    uint32_t tick = cache_ticks(c, w->now);
    bool more = atomic_load_explicit(&c->due_tick, memory_order_relaxed) <= tick;
    for (unsigned i = 0; i < steps && more; i++) {
        cache_enter(w, c);
        more = due_step(c, tick);
        cache_leave(c);
    }
    more = all || atomic_load_explicit(&c->is_littered, memory_order_relaxed);
    for (unsigned i = 0; i < steps && more; i++)
        more = retire_collect(w, c);
}

void cache_tick(struct worker *w, struct cache *c)
{
    if (account_is_short()) {
        struct cache_status s;
        cache_status(c, &s);
        cache_evict(w, c, s.bytes / TICK_SHARE + ACCOUNT_STEP);
    }
    clean(w, c, TICK_STEPS, true);
}

/* ---- putting ---- */

struct putting {
    const struct cache_id *id;
    unsigned form;                   /* what is there of it in that form goes, too; 0: nothing */
    bool is_beside;                  /* no, it stays, and what comes has its label and end */
    const struct cache_value *value;
    const struct cache_label *label; /* of what is not beside another */
    struct label_key key;
    uint64_t size, label_size;
    uint32_t ends, late;             /* late: it is, where there is one that ends behind this tick */
    struct label_parts parts;
    struct entry *chunk;
};
enum step { PUT_DONE, PUT_AGAIN, PUT_WANTS_LABEL, PUT_WANTS_CHUNK, PUT_TOO_LARGE, PUT_REFUSED, PUT_NOT };

static bool has_room(struct cache *c, const struct putting *p, uint32_t old)
{
    uint64_t bytes = cache_bytes(c) + p->size + p->label_size, entries = (uint64_t)c->policy.count + 1;
    if (old != POLICY_NONE) {
        bytes -= entry_size(entry_at(c, old)->value);
        entries--;
    }
    return bytes <= c->limits.bytes && entries <= c->limits.entries;
}

static uint32_t slack_of(const struct cache *c)
{
    return MAX(c->limits.entries / 8, SLACK_MIN);
}

/* A place for an entry can be had. PUT_DONE if so. */
static enum step look_for_place(struct cache *c, struct putting *p)
{
    uint32_t next = c->made + 1;
    if (c->first_free != POLICY_NONE)
        return PUT_DONE;
    if (next > CACHE_ENTRIES_MAX || next > (uint64_t)c->limits.entries + slack_of(c))
        return PUT_REFUSED;
    if (c->chunk[next / CHUNK_ENTRIES] != NULL)
        return PUT_DONE;
    if (p->chunk == NULL)
        return PUT_WANTS_CHUNK;
    c->chunk[next / CHUNK_ENTRIES] = p->chunk;
    p->chunk = NULL;
    return PUT_DONE;
}

static uint32_t place_take(struct cache *c)
{
    uint32_t index = c->first_free;
    if (index == POLICY_NONE)
        return ++c->made;
    c->first_free = entry_at(c, index)->node.next;
    return index;
}

static bool ends_behind(struct cache *c, uint32_t index, uint32_t tick)
{
    return index != POLICY_NONE && entry_at(c, index)->ends > tick;
}

static enum step label_for(struct cache *c, struct putting *p, struct label **out)
{
    *out = label_find(&c->labels, p->label, p->key);
    if (*out != NULL)
        return PUT_DONE;
    if (p->parts.label == NULL || (label_wants_chunk(&c->labels) && p->parts.chunk == NULL))
        return PUT_WANTS_LABEL;
    return label_make(&c->labels, &p->parts, p->key, out) == OK ? PUT_DONE : PUT_REFUSED;
}

/* Who finds the one first has not looked for its other form. */
static uint32_t find_other(struct cache *c, const struct putting *p)
{
    struct cache_id other = cache_id_form(p->id, p->form);
    return entry_find(c, other.sha256);
}

static void make_way(struct cache *c, uint32_t index)
{
    if (index == POLICY_NONE)
        return;
    entry_remove(c, index);
    c->counts.replaced++;
}

static void publish(struct cache *c, const struct putting *p, struct label *label)
{
    uint32_t index = place_take(c);
    struct entry *e = entry_at(c, index);
    memcpy(e->id, p->id->sha256, sizeof e->id);
    e->value = p->value;
    e->ends = p->ends;
    atomic_store_explicit(&e->node.mark, label->number << 2, memory_order_relaxed);
    label->entries++;
    policy_insert(&c->policy, &label->tenant->owner, index);
    due_add(c, index);
    cache_table_add(atomic_load_explicit(&c->table, memory_order_relaxed), entry_hash(c, p->id->sha256), index);
    if (c->next_table != NULL && index <= c->next_done)
        cache_table_add(c->next_table, entry_hash(c, p->id->sha256), index);
}

/* One hold of the gate. */
static enum step put_step(struct cache *c, struct putting *p)
{
    struct label *label;
    if (p->size + p->label_size > c->limits.bytes / LARGE_SHARE || c->limits.entries == 0) {
        c->counts.too_large++;
        return PUT_TOO_LARGE;
    }
    if (c->retired_bytes > c->limits.bytes / RETIRED_SHARE)
        return PUT_REFUSED; /* more that goes would free nothing yet */
    policy_fetch(&c->policy, entry_hash(c, p->id->sha256));
    if (!has_room(c, p, POLICY_NONE))
        fetch_what_it_leads_to(c);
    uint32_t other = POLICY_NONE, old = entry_find_form(c, p->id->sha256, (uint8_t)p->form, &other);
    if (old != POLICY_NONE && p->form != 0)
        other = find_other(c, p);
    if (p->is_beside ? other == POLICY_NONE : ends_behind(c, old, p->late) || ends_behind(c, other, p->late))
        return PUT_NOT;
    for (unsigned i = 0; i < HOLD_REMOVES && !has_room(c, p, old); i++) {
        uint32_t gone = entry_evict(c);
        old = gone == old ? POLICY_NONE : old;
        other = gone == other ? POLICY_NONE : other;
    }
    if (!has_room(c, p, old))
        return PUT_AGAIN;
    if (p->is_beside && other == POLICY_NONE)
        return PUT_NOT;
    enum step s = look_for_place(c, p);
    if (s == PUT_DONE && p->is_beside) {
        label = entry_label(c, entry_at(c, other));
        p->ends = entry_at(c, other)->ends;
        other = POLICY_NONE;
    } else if (s == PUT_DONE) {
        s = label_for(c, p, &label);
    }
    if (s != PUT_DONE)
        return s;
    cache_value_hold(p->value);
    publish(c, p, label);
    make_way(c, old);
    make_way(c, other);
    c->counts.puts++;
    fetch_next(c);
    return PUT_DONE;
}

static enum fail put(struct worker *w, struct cache *c, struct putting *p)
{
    for (;;) { /* ends: each round something goes, or one of the two things it may want is there */
        cache_enter(w, c);
        enum step s = put_step(c, p);
        bool wants_chunk = s == PUT_WANTS_LABEL && label_wants_chunk(&c->labels);
        c->counts.refused += s == PUT_REFUSED;
        cache_leave(c);
        enum fail f = OK;
        switch (s) {
        case PUT_AGAIN:
            break;
        case PUT_NOT:
            return FAIL_NOT_CACHED;
        case PUT_WANTS_LABEL:
            label_parts_free(&p->parts);
            f = label_parts_new(&p->parts, p->label, wants_chunk);
            break;
        case PUT_WANTS_CHUNK:
            p->chunk = entry_chunk_new();
            f = p->chunk != NULL ? OK : FAIL_NO_MEMORY;
            break;
        default:
            return s == PUT_DONE ? OK : s == PUT_TOO_LARGE ? FAIL_TOO_LARGE : FAIL_NO_MEMORY;
        }
        if (f != OK)
            return f;
    }
}

/* All at once, before the gate, what another worker has had last: behind it they would come one after another. */
static void fetch_what_is_written(const struct cache *c)
{
    for (const char *at = (const char *)&c->gate; at < (const char *)&c->limits; at += 64)
        __builtin_prefetch(at, 1);
}

static enum fail put_it(struct worker *w, struct cache *c, struct putting *p)
{
    fetch_what_is_written(c);
    clean(w, c, PUT_STEPS, false);
    p->size = entry_size(p->value);
    if (account_is_short()) {
        cache_evict(w, c, p->size + ACCOUNT_STEP);
        cache_enter(w, c);
        c->counts.refused++;
        cache_leave(c);
        return FAIL_NO_MEMORY;
    }
    enum fail f = put(w, c, p);
    label_parts_free(&p->parts);
    entry_chunk_free(p->chunk);
    return f;
}

static uint32_t end_of(const struct cache *c, nanos from, nanos ttl) { return cache_ticks(c, ttl > NEVER - from ? NEVER : from + ttl); }

enum fail cache_put_form(struct worker *w, struct cache *c, const struct cache_id *id, unsigned form, const struct cache_value *v, const struct cache_label *label,
                         nanos ttl, nanos asked)
{
    struct putting p = { .id = id, .form = form, .value = v, .label = label, .key = label_key(label, c->seed), .label_size = label_bytes(label),
                         .ends = end_of(c, w->now, ttl), .late = end_of(c, asked, ttl) };
    return put_it(w, c, &p);
}

enum fail cache_put(struct worker *w, struct cache *c, const struct cache_id *id, const struct cache_value *v, const struct cache_label *label, nanos ttl)
{
    return cache_put_form(w, c, id, 0, v, label, ttl, NEVER);
}

enum fail cache_put_beside(struct worker *w, struct cache *c, const struct cache_id *id, unsigned form, const struct cache_value *v)
{
    struct putting p = { .id = id, .form = form, .is_beside = true, .value = v };
    return put_it(w, c, &p);
}
