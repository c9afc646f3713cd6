/* map.h: a hash table from bytes to pointers (XXH3, open addressing, robin hood). Keys are not copied: the caller keeps them alive. Not thread-safe. */
#ifndef WEIR_MAP_H
#define WEIR_MAP_H

#include "base/mem.h"

struct map_slot {
    struct text key;
    void *value;
    uint32_t hash; /* 0 = empty */
};
struct map {
    struct map_slot *slots;
    uint32_t room, count; /* room is a power of two or 0 */
    uint64_t seed;        /* chosen by the caller, so that outsiders cannot aim collisions */
};
void map_init(struct map *m, uint64_t seed);
void map_fini(struct map *m); /* values are the caller's */
void *map_get(const struct map *m, struct text key); /* NULL if absent */
/* Adds or replaces; *out_old (may be NULL) gets the previous value. */
MUSTUSE enum fail map_set(struct map *m, struct text key, void *value, void **out_old);
void *map_remove(struct map *m, struct text key); /* the removed value, or NULL */
/* for (uint32_t i = 0; (slot = map_next(m, &i)) != NULL;) */
struct map_slot *map_next(const struct map *m, uint32_t *i);

#endif
