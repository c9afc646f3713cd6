/* table.c: finds entries by hash: buckets of a cache line, where what finds its bucket full goes on to the next one and is counted on the way (Bronson and Shi, F14,
   2019). Nothing ever moves, so a finder without a lock misses nothing that stays. */
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

/* A free slot of b, sought from where the hash says on: there it is found first, too. -1: there is none. */
static int free_slot(const struct bucket *b, uint64_t hash)
{
    for (unsigned n = 0, i = cache_table_slot(hash); n < BUCKET_SLOTS; n++, i = i + 1 < BUCKET_SLOTS ? i + 1 : 0)
        if (atomic_load_explicit(&b->slot[i], memory_order_relaxed) == 0)
            return (int)i;
    return -1;
}

void cache_table_add(struct table *t, uint64_t hash, uint32_t index)
{
    for (uint32_t n = 0, i = cache_table_bucket(t, hash); n < t->count; n++, i = i + 1 < t->count ? i + 1 : 0) {
        int slot = free_slot(&t->bucket[i], hash);
        if (slot >= 0) {
            atomic_store_explicit(&t->bucket[i].slot[slot], cache_table_word(hash, index), memory_order_release); /* with all that the entry says */
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
    for (uint32_t n = 0, i = cache_table_bucket(t, hash); n < t->count; n++, i = i + 1 < t->count ? i + 1 : 0) {
        if (clear(&t->bucket[i], word))
            return;
        atomic_fetch_sub_explicit(&t->bucket[i].passed, 1, memory_order_relaxed);
    }
    ASSERT(!"an entry is where its hash says");
}
