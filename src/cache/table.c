/* table.c: finds entries by hash: buckets of a cache line, of which each entry has two and goes into the first, or where that has more than its share into the emptier
   one (Azar, Broder, Karlin, Upfal, Balanced allocations, 1994). The few that find both full go on behind the second and are counted on the way (Bronson and Shi, F14,
   2019). Nothing ever moves, so a finder without a lock misses nothing that stays. With one bucket each that would not do: as entries come and go and nothing moves up,
   nearly every bucket is passed by somebody, and who looks for what is not there looks at ten. */
#include "cache/inner.h"

/* Aligned to cache lines by hand, as mem_alloc aligns to 16. */
struct table *cache_table_new(uint32_t entries)
{
    uint32_t count = entries / BUCKET_FILL + 1;
    struct table *t = mem_zero(sizeof *t + (size_t)(count + 1) * sizeof(struct bucket));
    if (t == NULL)
        return NULL;
    t->count = count;
    t->bucket = (struct bucket *)(((uintptr_t)(t + 1) + sizeof(struct bucket) - 1) / sizeof(struct bucket) * sizeof(struct bucket));
    return t;
}

void cache_table_free(struct table *t)
{
    mem_free(t);
}

static void put_in(struct bucket *b, int slot, uint64_t hash, uint32_t index)
{
    atomic_store_explicit(&b->slot[slot], cache_table_word(hash, index), memory_order_release); /* with all that the entry says */
}

/* A free slot of b, sought from where the hash says on: there it is found first, too. -1: there is none. */
static int free_slot(const struct bucket *b, uint64_t hash)
{
    for (unsigned n = 0, i = cache_table_slot(hash); n < BUCKET_SLOTS; n++, i = i + 1 < BUCKET_SLOTS ? i + 1 : 0)
        if (atomic_load_explicit(&b->slot[i], memory_order_relaxed) == 0)
            return (int)i;
    return -1;
}

static unsigned taken(const struct bucket *b)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        n += atomic_load_explicit(&b->slot[i], memory_order_relaxed) != 0;
    return n;
}

void cache_table_add(struct table *t, uint64_t hash, uint32_t index)
{
    struct bucket *first = &t->bucket[cache_table_bucket(t, hash)];
    uint32_t i = cache_table_other(t, hash);
    if (taken(first) < BUCKET_FILL || taken(first) <= MIN(taken(&t->bucket[i]), BUCKET_SLOTS - 1)) {
        put_in(first, free_slot(first, hash), hash, index);
        return;
    }
    for (uint32_t n = 0; n < t->count; n++, i = i + 1 < t->count ? i + 1 : 0) {
        int slot = free_slot(&t->bucket[i], hash);
        if (slot >= 0) {
            put_in(&t->bucket[i], slot, hash, index);
            return;
        }
        atomic_fetch_add_explicit(&t->bucket[i].passed, 1, memory_order_relaxed);
    }
    ASSERT(!"the table has more slots than there can be entries");
}

static bool clear(struct bucket *b, uint32_t word)
{
    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        if (atomic_load_explicit(&b->slot[i], memory_order_relaxed) == word) {
            atomic_store_explicit(&b->slot[i], 0, memory_order_relaxed);
            return true;
        }
    return false;
}

void cache_table_remove(struct table *t, uint64_t hash, uint32_t index)
{
    uint32_t word = cache_table_word(hash, index);
    if (clear(&t->bucket[cache_table_bucket(t, hash)], word))
        return;
    for (uint32_t n = 0, i = cache_table_other(t, hash); n < t->count; n++, i = i + 1 < t->count ? i + 1 : 0) {
        if (clear(&t->bucket[i], word))
            return;
        atomic_fetch_sub_explicit(&t->bucket[i].passed, 1, memory_order_relaxed);
    }
    ASSERT(!"an entry is where its hash says");
}
