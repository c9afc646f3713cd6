/* inner.h: the parts of exact.h's cache: entries (exact.c, put.c), the table that finds them (table.c), whose they are (label.c), when they end (due.c), and what has
   gone but may still be looked at (retire.c). Nobody outside cache/ includes it.

   Writers hold the gate, and take memory before it and free it behind it. Finders hold nothing: what they follow (table, chunks, entries, values) is published by a
   release store, stays as it is while it can be reached, and is used again only when quiesce.h says that nobody can still look. */
#ifndef WEIR_CACHE_INNER_H
#define WEIR_CACHE_INNER_H

#include "cache/exact.h"
#include "cache/policy.h"
#include "run/gate.h"
#include "run/quiesce.h"
#include <endian.h>

#define INDEX_BITS    22 /* of an entry, in the table */
#define CHUNK_ENTRIES 1024u
#define CHUNKS        ((CACHE_ENTRIES_MAX + 1) / CHUNK_ENTRIES)
#define SLACK_MIN     4096u /* entries beyond the limit, which retired ones may take; or an eighth of the limit */

/* How much is done while the gate is held: each entry that goes is some six cache misses, in its neighbours, the table and its label. */
#define HOLD_LOOKS   4
#define RETIRED_SHARE 4 /* what has gone and may still be looked at may have one in so many bytes, beside the limit */
#define LITTER_MIN   16 /* entries that have gone: looking for what may be freed is worth it, unless they have half of the bytes they may have */
#define HOLD_REMOVES 2

/* The clock of entries: ticks of 2^26 ns (67 ms) since the cache was made; 32 bits are nine years. */
#define TICK_SHIFT 26

/* 64 bytes: a cache line. */
struct entry {
    uint8_t id[CACHE_ID_BYTES];
    const struct cache_value *value; /* the cache's reference; NULL: this place is free */
    struct policy_node node;         /* mark: its label; next, while it is in no queue: of the next free or retired one */
    uint32_t ends;                   /* it is found before this tick */
    uint32_t due_next, due_prev;     /* due.c */
};
_Static_assert(sizeof(struct entry) == 64, "finding one touches one cache line");

/* ---- table.c ---- */

#define BUCKET_SLOTS 15 /* and a count: a cache line */
#define BUCKET_FILL  13 /* of them taken when the cache is full */

struct bucket {
    _Atomic uint32_t passed;             /* entries that found this one full, and went on to the next */
    _Atomic uint32_t slot[BUCKET_SLOTS]; /* 10 bits of the hash, 22 of the index; 0: free */
};
struct table {
    struct table *next; /* retired */
    uint32_t count;     /* of buckets */
    struct bucket *bucket;
};
/* The hash's highest bits choose a bucket, mixed anew another, the next ones the slot that is tried first; of the rest some stand in the slot, so that few others are
   looked at. */
static inline uint32_t cache_table_bucket(const struct table *t, uint64_t hash) { return (uint32_t)(((hash >> 32) * t->count) >> 32); }
static inline uint32_t cache_table_other(const struct table *t, uint64_t hash) { return cache_table_bucket(t, (hash ^ hash >> 31) * 0x9e3779b97f4a7c15u); }
static inline unsigned cache_table_slot(uint64_t hash) { return (unsigned)(((hash >> 16 & 0xffff) * BUCKET_SLOTS) >> 16); }
static inline uint32_t cache_table_word(uint64_t hash, uint32_t index) { return (uint32_t)(hash & 0x3ff) << INDEX_BITS | index; }
struct table *cache_table_new(uint32_t entries) MUSTUSE;
void cache_table_free(struct table *t); /* takes NULL */
void cache_table_add(struct table *t, uint64_t hash, uint32_t index);
void cache_table_remove(struct table *t, uint64_t hash, uint32_t index);

/* ---- label.c ---- */

#define LABEL_CHUNK  1024u
#define LABEL_CHUNKS 1024u
#define LABELS_MAX   (LABEL_CHUNK * LABEL_CHUNKS) /* a million: where each answer has tags of its own, as many answers */
#define LABEL_HEADS  1024u

struct tenant {
    struct policy_owner owner;
    struct tenant *next; /* of its hash; or free */
    uint64_t hash;
    uint32_t labels;
    uint32_t len;
    char name[];
};
/* What some entries have in common. */
struct label {
    struct label *next; /* of its hash; or free */
    struct tenant *tenant;
    uint64_t hash;
    uint32_t number, entries;
    uint32_t model_len, tags_len;
    char text[]; /* model, tags */
};
union label_place {
    struct label *label;
    uint32_t next_free;
};
struct labels {
    uint32_t made, first_free, tenants;
    uint64_t bytes;
    struct label *gone; /* freed behind the gate */
    struct tenant *tenants_gone;
    struct label *head[LABEL_HEADS];
    struct tenant *tenant_head[LABEL_HEADS];
    union label_place *chunk[LABEL_CHUNKS];
};
/* Taken before the gate, for a label that may be new. */
struct label_parts {
    struct label *label;
    struct tenant *tenant;
    union label_place *chunk;
};
/* FAIL_NO_MEMORY. What is not used is freed by label_parts_free. */
MUSTUSE enum fail label_parts_new(struct label_parts *parts, const struct cache_label *of, bool with_chunk);
void label_parts_free(struct label_parts *parts);
struct label_key {
    uint64_t tenant, label; /* hashes */
};
struct label_key label_key(const struct cache_label *of, uint64_t seed);
/* An equal one, or NULL. Inside the gate, as all that follows. */
struct label *label_find(struct labels *ls, const struct cache_label *of, struct label_key key);
bool label_wants_chunk(const struct labels *ls); /* the next one needs parts->chunk */
/* Makes one of the parts. FAIL_NO_MEMORY: there are too many. */
MUSTUSE enum fail label_make(struct labels *ls, struct label_parts *parts, struct label_key key, struct label **out);
struct label *label_at(const struct labels *ls, uint32_t number);
void label_drop(struct labels *ls, struct label *l); /* one entry less */
bool label_fits(const struct cache_label *of, const struct cache_match *m); /* shared_drops.c asks, too */
bool label_matches(const struct label *l, const struct cache_match *m);
void label_free_list(struct label *gone, struct tenant *tenants); /* outside the gate */
uint64_t label_bytes(const struct cache_label *of); /* with a tenant of its own */
void label_fini(struct labels *ls);

/* ---- due.c ---- */

#define DUE_LEVELS 3
#define DUE_SPANS  256

/* Spans of 16 ticks (1.07 s). */
struct due {
    uint32_t span; /* all before it are done */
    uint32_t head[DUE_LEVELS][DUE_SPANS];
};

/* ---- the whole ---- */

struct retired {
    uint32_t first, last;
    struct table *tables;
};

struct cache {
    /* For finders: written seldom. */
    struct table *_Atomic table;
    uint64_t seed;   /* odd; nobody outside knows it, so nobody aims at one bucket */
    nanos began;
    struct quiesce quiesce;
    struct entry *chunk[CHUNKS];

    /* Written inside the gate, read anywhere: is there anything to do in there? */
    _Atomic uint32_t due_tick;  /* nothing is over before it */
    _Atomic bool is_littered;   /* much has gone and was not freed yet */

    char apart[64]; /* from the line that every put writes */

    /* The gate's. What every put writes lies together, up to the limits: workers take those lines from each other, and a put fetches them at once. */
    struct gate gate;
    uint32_t made, first_free; /* entries ever used; those free again */
    uint32_t retired;
    bool is_waiting;
    uint64_t retired_bytes;
    struct retired young, old; /* old: waits for quiescence */
    struct policy policy;
    struct cache_status counts;
    struct cache_limits limits;
    struct table *next_table;  /* while the limit of entries changes: it has those up to next_done */
    uint32_t next_done;
    struct labels labels;
    struct due due;
};

static inline struct entry *entry_at(struct cache *c, uint32_t index)
{
    return &c->chunk[index / CHUNK_ENTRIES][index % CHUNK_ENTRIES];
}
/* Eight bytes of an identity, which lie anywhere. */
static inline uint64_t id_word(const uint8_t *id, unsigned i) { uint64_t word; memcpy(&word, id + i * sizeof word, sizeof word); return word; }
/* But for the last byte, which says the form. */
static inline bool id_near(const uint8_t *a, const uint8_t *b)
{
    uint64_t last = (id_word(a, 3) ^ id_word(b, 3)) & ~htobe64(0xff);
    return ((id_word(a, 0) ^ id_word(b, 0)) | (id_word(a, 1) ^ id_word(b, 1)) | (id_word(a, 2) ^ id_word(b, 2)) | last) == 0;
}
/* Of what is random already: a multiplication hides which bits choose the bucket. */
static inline uint64_t entry_hash(const struct cache *c, const uint8_t *id) { return id_word(id, 0) * c->seed; }
static inline uint32_t cache_ticks(const struct cache *c, nanos at) { return (uint32_t)MIN((uint64_t)MAX(at - c->began, 0) >> TICK_SHIFT, UINT32_MAX); }
static inline struct label *entry_label(const struct cache *c, struct entry *e)
{
    return label_at(&c->labels, atomic_load_explicit(&e->node.mark, memory_order_relaxed) >> 2);
}
/* What v costs as an entry. */
uint64_t entry_size(const struct cache_value *v);
static inline uint64_t cache_bytes(const struct cache *c) { return c->policy.bytes + c->labels.bytes; }
/* CHUNK_ENTRIES of them; NULL when out of memory. */
struct entry *entry_chunk_new(void) MUSTUSE;
void entry_chunk_free(struct entry *chunk); /* takes NULL */

/* The form that would do, too: what its last byte differs in, 0: none. *out_other: the one of that form if it was come by. */
static inline uint32_t entry_find_in(struct cache *c, const struct bucket *b, const uint8_t *id, uint64_t hash, uint8_t form, uint32_t *out_other)
{
    uint32_t print = cache_table_word(hash, 0);
    for (unsigned k = 0, i = cache_table_slot(hash); k < BUCKET_SLOTS; k++, i = i + 1 < BUCKET_SLOTS ? i + 1 : 0) {
        uint32_t word = atomic_load_explicit(&b->slot[i], memory_order_acquire), index = word ^ print;
        if (index >> INDEX_BITS != 0 || word == 0 || !id_near(entry_at(c, index)->id, id))
            continue;
        uint8_t differs = entry_at(c, index)->id[CACHE_ID_BYTES - 1] ^ id[CACHE_ID_BYTES - 1];
        if (differs == 0)
            return index;
        if (differs == form)
            *out_other = index;
    }
    return POLICY_NONE;
}

/* The index of what id names, or POLICY_NONE. With the gate or without. */
static inline uint32_t entry_find_form(struct cache *c, const uint8_t *id, uint8_t form, uint32_t *out_other)
{
    const struct table *t = atomic_load_explicit(&c->table, memory_order_acquire);
    uint64_t hash = entry_hash(c, id);
    uint32_t b = cache_table_other(t, hash);
    __builtin_prefetch(&t->bucket[b]);
    uint32_t index = entry_find_in(c, &t->bucket[cache_table_bucket(t, hash)], id, hash, form, out_other);
    for (uint32_t n = 0; index == POLICY_NONE && n < t->count; n++, b = b + 1 < t->count ? b + 1 : 0) {
        index = entry_find_in(c, &t->bucket[b], id, hash, form, out_other);
        if (atomic_load_explicit(&t->bucket[b].passed, memory_order_relaxed) == 0)
            break;
    }
    return index;
}
static inline uint32_t entry_find(struct cache *c, const uint8_t *id)
{
    uint32_t none;
    return entry_find_form(c, id, 0, &none);
}

void cache_enter(struct worker *w, struct cache *c);
void cache_leave(struct cache *c); /* and frees the labels that went */
/* Out of all queues and tables but its owner's, which the policy has done or policy_remove does. Inside the gate. */
void entry_retire(struct cache *c, uint32_t index);
void entry_remove(struct cache *c, uint32_t index); /* the same, and out of its owner's queue */

void due_add(struct cache *c, uint32_t index);
void due_remove(struct cache *c, uint32_t index);
/* put.c: one hold's share of letting an entry go. Inside the gate. */
uint32_t entry_evict(struct cache *c); /* the one that went; POLICY_NONE: that of the next came nearer */
/* Entries go until so many bytes have gone, or all. Takes the gate itself. */
void cache_evict(struct worker *w, struct cache *c, uint64_t bytes);

/* One hold's work on what is over at `tick`. True: there may be more. Inside the gate. */
bool due_step(struct cache *c, uint32_t tick);

/* retire.c: frees some of what nobody can look at any more. True: there is more. Takes the gate itself. */
bool retire_collect(struct worker *w, struct cache *c);

#endif
