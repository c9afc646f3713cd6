/* keyring.c: see auth.h. */
#include "auth/auth.h"

#define BYTES_MAX (16u << 20) /* as a configuration's: CONF_KEYS_MAX keys with all their models */

struct keyring *keyring_new(uint32_t count)
{
    struct keyring *r = mem_zero(sizeof *r);
    if (r == NULL)
        return NULL;
    r->references = 1;
    r->count = count;
    arena_init(&r->arena, NULL, 0, BYTES_MAX);
    r->keys = arena_alloc(&r->arena, count * sizeof *r->keys + 1);
    if (r->keys == NULL) {
        keyring_unref(r);
        return NULL;
    }
    memset(r->keys, 0, count * sizeof *r->keys);
    return r;
}

struct keyring *keyring_ref(struct keyring *r)
{
    if (r != NULL)
        atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
    return r;
}

void keyring_unref(struct keyring *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) != 1)
        return;
    arena_fini(&r->arena);
    mem_free(r);
}
