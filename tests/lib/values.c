/* values.c: the memory of answers where exact.c is not linked. Weak, so that it is exact.c's where it is. */
#include "cache/exact.h"

__attribute__((weak)) struct cache_value *cache_value_new(size_t len)
{
    struct cache_value *v = len <= UINT32_MAX ? mem_zero(sizeof *v + len) : NULL;
    if (v == NULL)
        return NULL;
    atomic_init(&v->references, 1);
    v->len = (uint32_t)len;
    return v;
}

__attribute__((weak)) void cache_value_hold(const struct cache_value *v) { atomic_fetch_add(&((struct cache_value *)v)->references, 1); }

__attribute__((weak)) void cache_value_drop(const struct cache_value *v)
{
    if (v != NULL && atomic_fetch_sub(&((struct cache_value *)v)->references, 1) == 1)
        mem_free((struct cache_value *)v);
}
