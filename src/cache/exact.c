/* exact.c: the cache of exact.h: its beginning and end, values, finding, numbers. path/ calls it. */
#include "base/account.h"
#include "cache/inner.h"

/* ---- the whole ---- */

static struct policy_node *node_of(void *arg, uint32_t index) { return &entry_at(arg, index)->node; }
static uint64_t size_of(void *arg, uint32_t index) { return entry_size(entry_at(arg, index)->value); }
static uint64_t hash_of(void *arg, uint32_t index) { return entry_hash(arg, entry_at(arg, index)->id); }

struct cache *cache_new(struct world *world, const struct cache_limits *limits)
{
    uint64_t seed[2];
    struct cache *c = mem_zero(sizeof *c);
    if (c == NULL)
        return NULL;
    world->random(world, seed, sizeof seed);
    gate_init(&c->gate, world, GATE_CACHE);
    c->seed = seed[0] | 1;
    c->began = world_now(world);
    c->limits = (struct cache_limits){ limits->bytes, MIN(limits->entries, CACHE_ENTRIES_MAX) };
    c->policy = (struct policy){ .node = node_of, .size = size_of, .hash = hash_of, .arg = c };
    policy_init(&c->policy, policy_ghost_new(c->limits.entries), seed[1]);
    struct table *t = cache_table_new(c->limits.entries);
    atomic_init(&c->table, t);
    if (t == NULL || c->policy.ghost == NULL) {
        cache_free(c);
        return NULL;
    }
    return c;
}

static void free_tables(struct table *t)
{
    for (struct table *next; t != NULL; t = next) {
        next = t->next;
        cache_table_free(t);
    }
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    ASSERT(c->next_table == NULL);
    for (uint32_t i = 1; i <= c->made; i++)
        cache_value_drop(entry_at(c, i)->value);
    label_fini(&c->labels);
    free_tables(c->young.tables);
    free_tables(c->old.tables);
    cache_table_free(atomic_load_explicit(&c->table, memory_order_relaxed));
    policy_ghost_free(c->policy.ghost);
    for (uint32_t i = 0; i < CHUNKS; i++)
        entry_chunk_free(c->chunk[i]);
    gate_fini(&c->gate);
    mem_free(c);
}

/* ---- the gate ---- */

void cache_enter(struct worker *w, struct cache *c)
{
    gate_enter(&c->gate);
    if (!quiesce_has(&c->quiesce, w))
        quiesce_come(&c->quiesce, w);
}

void cache_leave(struct cache *c)
{
    struct label *labels = c->labels.gone;
    struct tenant *tenants = c->labels.tenants_gone;
    if (labels != NULL || tenants != NULL) {
        c->labels.gone = NULL;
        c->labels.tenants_gone = NULL;
    }
    gate_leave(&c->gate);
    label_free_list(labels, tenants);
}

/* Aligned to cache lines; what was allocated stands before it. */
struct entry *entry_chunk_new(void)
{
    char *block = mem_alloc((CHUNK_ENTRIES + 1) * sizeof(struct entry));
    if (block == NULL)
        return NULL;
    struct entry *chunk = (struct entry *)(((uintptr_t)block / sizeof *chunk + 1) * sizeof *chunk);
    ((void **)(void *)chunk)[-1] = block;
    return chunk;
}

void entry_chunk_free(struct entry *chunk)
{
    if (chunk != NULL)
        mem_free(((void **)(void *)chunk)[-1]);
}

/* ---- values ---- */

struct cache_value *cache_value_new(size_t len)
{
    if (len > UINT32_MAX / 2 || account_is_short())
        return NULL;
    struct cache_value *v = mem_alloc(offsetof(struct cache_value, bytes) + len);
    if (v == NULL)
        return NULL;
    memset(v, 0, offsetof(struct cache_value, bytes));
    atomic_init(&v->references, 1);
    v->len = (uint32_t)len;
    return v;
}

static struct cache_value *counted(const struct cache_value *v)
{
    return (struct cache_value *)(uintptr_t)v; /* immutable but for its references */
}

void cache_value_hold(const struct cache_value *v)
{
    atomic_fetch_add_explicit(&counted(v)->references, 1, memory_order_relaxed);
}

void cache_value_drop(const struct cache_value *v)
{
    if (v != NULL && atomic_fetch_sub_explicit(&counted(v)->references, 1, memory_order_acq_rel) == 1)
        mem_free(counted(v));
}

/* With malloc's header and rounding, its share of the table and its ghost. */
uint64_t entry_size(const struct cache_value *v)
{
    uint64_t block = (offsetof(struct cache_value, bytes) + (uint64_t)v->len + 8 + 15) / 16 * 16;
    return sizeof(struct entry) + sizeof(struct bucket) / BUCKET_FILL + 4 + block;
}

/* ---- finding ---- */

static void come(struct worker *w, struct cache *c)
{
    cache_enter(w, c);
    cache_leave(c);
}

void cache_fetch(const struct worker *w, const struct cache *c, const struct cache_id *id)
{
    if (UNLIKELY(!quiesce_has(&c->quiesce, w)))
        return; /* nobody waits with the table's end for who has not come yet */
    const struct table *t = atomic_load_explicit(&c->table, memory_order_acquire);
    uint64_t hash = entry_hash(c, id->sha256);
    __builtin_prefetch(&t->bucket[cache_table_bucket(t, hash)]);
    __builtin_prefetch(&t->bucket[cache_table_other(t, hash)]);
}

static const struct cache_value *use(const struct worker *w, struct cache *c, uint32_t index)
{
    struct entry *e = index != POLICY_NONE ? entry_at(c, index) : NULL;
    if (e == NULL || cache_ticks(c, w->now) >= e->ends)
        return NULL;
    policy_touch(&e->node);
    return e->value;
}

const struct cache_value *cache_find(struct worker *w, struct cache *c, const struct cache_id *id)
{
    if (UNLIKELY(!quiesce_has(&c->quiesce, w)))
        come(w, c);
    return use(w, c, entry_find(c, id->sha256));
}

const struct cache_value *cache_find_form(struct worker *w, struct cache *c, const struct cache_id *id, unsigned form, bool *out_is_other)
{
    uint32_t other = POLICY_NONE;
    if (UNLIKELY(!quiesce_has(&c->quiesce, w)))
        come(w, c);
    const struct cache_value *own = use(w, c, entry_find_form(c, id->sha256, (uint8_t)form, &other));
    *out_is_other = own == NULL;
    return own != NULL ? own : use(w, c, other);
}

/* ---- numbers ---- */

#define STATUS_TENANTS 16 /* looked at, the heaviest first, while the gate is held */

static int64_t made_of(struct cache *c, const struct policy_queue *q)
{
    return q->first != POLICY_NONE ? entry_at(c, q->first)->value->made : INT64_MAX;
}

static int64_t oldest_made(struct cache *c)
{
    int64_t oldest = INT64_MAX;
    struct treap_node *n = treap_first(&c->policy.owners);
    for (unsigned i = 0; i < STATUS_TENANTS && n != NULL; i++, n = treap_next(n)) {
        const struct policy_owner *o = CONTAINER_OF(n, struct policy_owner, node);
        oldest = MIN(oldest, MIN(made_of(c, &o->small), made_of(c, &o->main)));
    }
    return oldest;
}

void cache_status(struct cache *c, struct cache_status *out)
{
    gate_enter(&c->gate);
    *out = c->counts;
    out->bytes = cache_bytes(c);
    out->entries = c->policy.count;
    out->tenants = c->labels.tenants;
    out->bytes_max = c->limits.bytes;
    out->entries_max = c->limits.entries;
    out->retired_bytes = c->retired_bytes;
    out->oldest = oldest_made(c);
    cache_leave(c);
}
