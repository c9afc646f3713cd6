/* cache_values.h: what tests of the cache share: workers that are turned by hand, identities by number, values that say whose they are. */
#ifndef WEIR_TEST_CACHE_VALUES_H
#define WEIR_TEST_CACHE_VALUES_H

#include "base/account.h"
#include "base/random.h"
#include "cache/exact.h"
#include "run/quiesce.h"
#include "run/sim.h"

#define SECOND NANOS_PER_S

static inline __attribute__((unused)) struct cache_id id_of(uint64_t number)
{
    struct cache_id id;
    uint64_t state = number;
    for (unsigned i = 0; i < CACHE_ID_BYTES; i += 8) {
        uint64_t word = random_step(&state);
        memcpy(id.sha256 + i, &word, sizeof word);
    }
    id.hash = random_step(&state);
    return id;
}

/* Its bytes begin with number and version, so that whoever finds it can tell whose it is. */
static inline __attribute__((unused)) struct cache_value *value_of(uint64_t number, uint64_t version, size_t len)
{
    uint64_t said[2] = { number, version };
    struct cache_value *v = cache_value_new(MAX(len, sizeof said));
    if (v == NULL)
        return NULL;
    memset(v->bytes, (int)(number % 251), v->len);
    memcpy(v->bytes, said, sizeof said);
    return v;
}
static inline __attribute__((unused)) uint64_t value_number(const struct cache_value *v) { uint64_t n; memcpy(&n, v->bytes, sizeof n); return n; }
static inline __attribute__((unused)) uint64_t value_version(const struct cache_value *v) { uint64_t n; memcpy(&n, v->bytes + sizeof n, sizeof n); return n; }
/* Every byte is as it was made. */
static inline __attribute__((unused)) bool value_is_whole(const struct cache_value *v)
{
    for (uint32_t i = 2 * sizeof(uint64_t); i < v->len; i++)
        if ((unsigned char)v->bytes[i] != value_number(v) % 251)
            return false;
    return true;
}

static inline __attribute__((unused)) struct cache_label label_of(const char *tenant, const char *model, const char *tags)
{
    return (struct cache_label){ text_of(tenant), text_of(model), text_of(tags) };
}

/* Puts a new value and lets go of it. */
static inline __attribute__((unused)) enum fail put_one(struct worker *w, struct cache *c, uint64_t number, uint64_t version, size_t len, const struct cache_label *label, nanos ttl)
{
    struct cache_id id = id_of(number);
    struct cache_value *v = value_of(number, version, len);
    if (v == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = cache_put(w, c, &id, v, label, ttl);
    cache_value_drop(v);
    return f;
}

static inline __attribute__((unused)) const struct cache_value *find_one(struct worker *w, struct cache *c, uint64_t number)
{
    struct cache_id id = id_of(number);
    return cache_find(w, c, &id);
}

#endif
