/* map.c: robin hood hashing from bytes to pointers (Celis 1986; deletion by shifting back). Tables of names use it: models, tools, keys. */
#include "base/map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAP_ROOM_MIN 16u
#define MAP_ROOM_MAX (1u << 30) /* the hash has 32 bits, and a slot 32 bytes */

void map_init(struct map *m, uint64_t seed)
{
    *m = (struct map){ .seed = seed };
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    map_init(m, m->seed);
}

static uint32_t hash_of(const struct map *m, struct text key)
{
    uint32_t hash = (uint32_t)XXH3_64bits_withSeed(key.len ? key.at : "", key.len, m->seed);
    return hash ? hash : 1; /* 0 marks an empty slot */
}

/* How far the slot at i is from where its key would like to be. */
static uint32_t distance_of(const struct map *m, uint32_t i)
{
    return (i - m->slots[i].hash) & (m->room - 1);
}

/* The slot of key, or NULL. A key poorer than the resident cannot be further on: it would have taken that place. */
static struct map_slot *find(const struct map *m, struct text key, uint32_t hash)
{
    if (m->count == 0)
        return NULL;
    for (uint32_t i = hash & (m->room - 1), far = 0; m->slots[i].hash != 0; i = (i + 1) & (m->room - 1), far++) {
        if (distance_of(m, i) < far)
            return NULL;
        if (m->slots[i].hash == hash && text_eq(m->slots[i].key, key))
            return &m->slots[i];
    }
    return NULL;
}

/* Puts in a slot whose key is not there yet; there is room. The richer resident gives way and walks on. */
static void insert(struct map *m, struct map_slot incoming)
{
    uint32_t i = incoming.hash & (m->room - 1);
    for (uint32_t far = 0; m->slots[i].hash != 0; i = (i + 1) & (m->room - 1), far++) {
        uint32_t resident_far = distance_of(m, i);
        if (resident_far >= far)
            continue;
        struct map_slot resident = m->slots[i];
        m->slots[i] = incoming;
        incoming = resident;
        far = resident_far;
    }
    m->slots[i] = incoming;
    m->count++;
}

static enum fail grow(struct map *m)
{
    if (m->room >= MAP_ROOM_MAX)
        return FAIL_NO_MEMORY;
    struct map old = *m;
    uint32_t room = old.room ? 2 * old.room : MAP_ROOM_MIN;
    struct map_slot *slots = mem_zero(room * sizeof *slots);
    if (slots == NULL)
        return FAIL_NO_MEMORY;
    m->slots = slots;
    m->room = room;
    m->count = 0;
    for (uint32_t i = 0; i < old.room; i++)
        if (old.slots[i].hash != 0)
            insert(m, old.slots[i]);
    mem_free(old.slots);
    return OK;
}

void *map_get(const struct map *m, struct text key)
{
    const struct map_slot *slot = find(m, key, hash_of(m, key));
    return slot ? slot->value : NULL;
}

enum fail map_set(struct map *m, struct text key, void *value, void **out_old)
{
    uint32_t hash = hash_of(m, key);
    struct map_slot *slot = find(m, key, hash);
    void *old = slot ? slot->value : NULL;
    if (slot != NULL) {
        slot->key = key; /* the old key often lives in the old value, which the caller is about to free */
        slot->value = value;
    } else {
        if (m->count >= m->room - m->room / 4) { /* three quarters full: probes stay under 3 slots on average */
            enum fail f = grow(m);
            if (f != OK)
                return f;
        }
        insert(m, (struct map_slot){ key, value, hash });
    }
    if (out_old != NULL)
        *out_old = old;
    return OK;
}

void *map_remove(struct map *m, struct text key)
{
    struct map_slot *slot = find(m, key, hash_of(m, key));
    if (slot == NULL)
        return NULL;
    void *value = slot->value;
    uint32_t hole = (uint32_t)(slot - m->slots);
    for (;;) { /* those after the hole that are not at home move one back; no tombstones are left */
        uint32_t next = (hole + 1) & (m->room - 1);
        if (m->slots[next].hash == 0 || distance_of(m, next) == 0)
            break;
        m->slots[hole] = m->slots[next];
        hole = next;
    }
    m->slots[hole] = (struct map_slot){ 0 };
    m->count--;
    return value;
}

struct map_slot *map_next(const struct map *m, uint32_t *i)
{
    while (*i < m->room) {
        struct map_slot *slot = &m->slots[(*i)++];
        if (slot->hash != 0)
            return slot;
    }
    return NULL;
}
